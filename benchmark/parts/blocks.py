"""How much is worked on at a time, so that it stays in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_BLOCK = 2**17  # attention weights, or hidden units' values, worked on at a time: half a MiB stays in the cache
_BLOCK_OF_A_GPU = 2**26  # there each block costs a dozen calls, and 256 MiB are little


def rows_a_block(rows: int, numbers_a_row: int, device: torch.device) -> int:
    """How many of `rows` rows, each of so many numbers, are worked on at a time."""
    numbers = _BLOCK if device.type == "cpu" else _BLOCK_OF_A_GPU
    return max(1, min(rows, numbers // numbers_a_row))  # one row at least, be it larger than the cache


def split_rows(tensors: Iterable[Tensor], rows: int) -> list[Sequence[Tensor]]:
    """Each tensor in parts of so many rows."""
    return [torch.split(tensor, rows) for tensor in tensors]
