"""What a mechanism achieves, beside what is achieved without it."""

from __future__ import annotations

from torch import Tensor


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
    wanted = target[counts]  # (M, d)
    mean = wanted.mean(0) if len(wanted) else wanted.sum(0)  # (d,)
    largest = max(1, wanted.numel())
    return (found[counts] - wanted).abs().sum() / largest, (mean - wanted).abs().sum() / largest
