"""From frames to one vector; safe for samples without a single real frame."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the frames where `mask` is True; zero where there are none.

    Parameters
    ----------
    x : Tensor, shape (..., T, d)
    mask : bool Tensor, shape (..., T)

    Returns
    -------
    Tensor, shape (..., d)
    """
    weights = mask.to(x.dtype)
    # A product with the mask writes no masked copy of x: (..., 1, T) @ (..., T, d) → (..., 1, d).
    total = (weights.unsqueeze(-2) @ x).squeeze(-2)  # (..., d)
    return total / weights.sum(-1, keepdim=True).clamp(min=1.0)  # 0 / 1 where there is no frame


def filled(frames: Tensor) -> Tensor:
    """Real frames (N, T), where a sample without one counts as one (zero) frame; for packing and attention."""
    first = torch.arange(frames.shape[1], device=frames.device) == 0  # (T,)
    return frames | (first & ~frames.any(1, keepdim=True))  # (T,) & (N, 1) → (N, T)


def padded(
    features: Mapping[str, Tensor], max_frames: Mapping[str, int]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Every modality as long as the task's longest sample, and masks in which padding counts as any frame.

    For methods whose official code reads padding: what it reads is then the same whatever the batch.

    Parameters
    ----------
    features : mapping of modality to Tensor, shape (N, T_m, d_m)
        Zero at padding.
    max_frames : mapping of modality to int
        The task's.

    Returns
    -------
    dict of modality to Tensor, shape (N, max_frames[m], d_m)
    dict of modality to bool Tensor, shape (N, max_frames[m])
        True throughout.
    """
    # Behind the task's longest sample there is nothing but padding, which a batch may have more of.
    x = {m: F.pad(f, (0, 0, 0, max_frames[m] - f.shape[1])) for m, f in features.items()}
    return x, {m: f.new_ones(f.shape[:2], dtype=torch.bool) for m, f in x.items()}


def last_frame(x: Tensor, mask: Tensor) -> Tensor:
    """The last real frame of each sample; zero where there is none.

    Parameters
    ----------
    x : Tensor, shape (N, T, d)
    mask : bool Tensor, shape (N, T)
        Real frames, which come first.

    Returns
    -------
    Tensor, shape (N, d)
    """
    lengths = mask.sum(1)  # (N,)
    index = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, x.shape[-1])  # (N, 1, d)
    # Without a frame the index is 0, which is padding; the product turns that into zeros.
    return x.gather(1, index).squeeze(1) * (lengths > 0).to(x.dtype)[:, None]  # (N, 1, d) → (N, d)
