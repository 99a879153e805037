"""A data file taken apart, before anything in it is judged or mended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.protocol.missing import MODALITIES


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
    absent : frozenset of str
        The modalities that the task does not have: one frame of one zero, and no real frame.
    names : dict of modality to str
        What each is called in the file.
    others : tuple of str
        The names of further arrays that could be features.
    """

    features: dict[str, NDArray[np.generic]]
    lengths: dict[str, NDArray[np.int64]]
    labels: NDArray[np.generic]
    ids: list[str] | None
    mask: NDArray[np.bool_] | None = None
    flat: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    names: dict[str, str] = field(default_factory=lambda: {"l": "text", "a": "audio", "v": "vision"})
    others: tuple[str, ...] = ()

    def with_absent(self, modalities: str) -> RawSplit:
        """The same with what stands for the modalities that are not among `modalities`."""
        absent = frozenset(MODALITIES) - set(modalities)
        n = len(self.labels)
        none = {m: np.zeros((n, 1, 1), dtype=np.float32) for m in absent}
        features = {m: (none | self.features)[m] for m in MODALITIES}
        return replace(
            self,
            features=features,
            lengths=self.lengths | {m: np.zeros(n, dtype=np.int64) for m in absent},
            absent=absent,
        )


@dataclass(frozen=True)
class RawFile:
    """A data file taken apart: its layout's name, its splits, its SHA-256, and what was passed over, a line each."""

    layout: str
    splits: dict[str, RawSplit]
    sha256: str
    remarks: tuple[str, ...] = ()
