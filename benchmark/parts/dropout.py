"""Dropout whose coins come from a fixed pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from benchmark.parts.stacking import by_rule

_PLACES = 2**18  # where a dropout mask may start in the pool


@lru_cache(maxsize=8)
def _coins(p: float, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coins thrown once and for all: 0 with chance p, else 1 / (1 - p). A longer pool begins like a shorter one."""
    # Its own generator: what is drawn elsewhere does not depend on whether the pool had to be made.
    words = torch.empty(count, dtype=torch.int32).random_(generator=torch.Generator().manual_seed(20240616))
    return ((words >= p * 2**31) * (1.0 / (1.0 - p))).to(device, dtype)  # words are in [0, 2^31); (count,)


def dropout_mask(shape: Sequence[int], p: float, like: Tensor) -> Tensor:
    """What dropout multiplies with: 0 with chance p, else 1 / (1 - p); not to be written to.

    A stretch of a fixed pool of coins that starts at one of 2^18 places, drawn from torch's global generator of the
    CPU. Any one coin, any two of a mask, and masks drawn one after another are independent for all that training
    can tell; nothing is drawn on the device, and nothing waits for it.

    Parameters
    ----------
    shape : sequence of int
    p : float
        In [0, 1).
    like : Tensor
        Its type and device are the mask's. Several models at once have a mask each where it differs between them.
    """
    return by_rule(
        lambda one: _stretch(shape, p, one), lambda models, all_of_it: _stretch([models, *shape], p, all_of_it), [like]
    )


def _stretch(shape: Sequence[int], p: float, like: Tensor) -> Tensor:
    count = math.prod(shape)
    # Lengths are rounded up to powers of two, so that a few pools serve masks of all shapes.
    pool = _coins(p, _PLACES + 2 ** max(18, (count - 1).bit_length()), like.dtype, like.device)
    start = int(torch.randint(_PLACES, ()))  # on the CPU, where nothing waits for it
    return pool[start : start + count].view(tuple(shape))  # a view of the pool: no memory of its own


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout by :func:`dropout_mask`; `x` itself where there is nothing to drop."""
    return x * dropout_mask(x.shape, p, x) if training and p > 0 else x


class Dropout(nn.Module):
    """Module form of :func:`dropout`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout p={p!r} is outside [0, 1)")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return dropout(x, self.p, self.training)
