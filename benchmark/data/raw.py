"""A data file taken apart, before anything in it is judged or mended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEYS = {"l": "text", "a": "audio", "v": "vision"}
"""What each modality is called in a file."""


@dataclass(frozen=True)
class RawSplit:
    """A split as it stands in the file.

    Parameters
    ----------
    features : dict of modality to ndarray, shape (N, T_m, d_m)
        As in the file, padding in front or behind.
    lengths : dict of modality to int64 ndarray, shape (N,)
        For the modalities whose number of real frames the file tells.
    labels : ndarray
        As in the file.
    ids : list of str, or None
    mask : ndarray of bool, shape (N, T_l), or None
        BERT's attention mask, where the lengths of language come from it.
    flat : frozenset of str
        The modalities that have no axis of frames in the file; here they have one frame.
    """

    features: dict[str, NDArray[np.generic]]
    lengths: dict[str, NDArray[np.int64]]
    labels: NDArray[np.generic]
    ids: list[str] | None
    mask: NDArray[np.bool_] | None = None
    flat: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RawFile:
    """A data file taken apart: its layout's name, its splits, its SHA-256, and what was passed over, a line each."""

    layout: str
    splits: dict[str, RawSplit]
    sha256: str
    remarks: tuple[str, ...] = ()
