"""What a mechanism achieves, beside what is achieved without it."""

from __future__ import annotations

from torch import Tensor


def error_of_the_mean(target: Tensor, counts: Tensor, *, squared: bool = False) -> Tensor:
    """Mean absolute or squared error where the mean of what counts stands in for everything.

    Parameters
    ----------
    target : Tensor, shape (..., d)
    counts : bool Tensor, shape (...)
        Which vectors count.
    squared : bool

    Returns
    -------
    Tensor
        A scalar; zero where nothing counts.
    """
    wanted = target[counts]  # (M, d)
    mean = wanted.sum(0) / max(1, len(wanted))  # (d,)
    error = (wanted - mean).square() if squared else (wanted - mean).abs()
    return error.sum() / max(1, wanted.numel())


def beside_the_mean(found: Tensor, target: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute error of a reconstruction, and that of the mean of what was to be reconstructed.

    Parameters
    ----------
    found, target : Tensor, shape (..., d)
    counts : bool Tensor, shape (...)
        Which vectors count.

    Returns
    -------
    (Tensor, Tensor)
        Two scalars; both zero where nothing counts.
    """
    error = (found[counts] - target[counts]).abs()  # (M, d)
    return error.sum() / max(1, error.numel()), error_of_the_mean(target, counts)
