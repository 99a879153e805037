"""A data set in memory: three splits of standardised features, whatever file or simulator they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.task import Task
from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.target import Target

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Split:
    """One split.

    Parameters
    ----------
    ids : ndarray of str, shape (N,)
        Unique within the split.
    features : dict of modality to float32 ndarray, shape (N, T_m, d_m)
        Real frames first; padding behind them is zero.
    lengths : dict of modality to int64 ndarray, shape (N,)
        The number of real frames, 0 to T_m.
    labels : ndarray, shape (N,)
        As in the data: float32 numbers for polarity and intensity, int64 category indices for categories.
    """

    ids: NDArray[np.str_]
    features: dict[str, NDArray[np.float32]]
    lengths: dict[str, NDArray[np.int64]]
    labels: NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.ids)

    def num_frames(self, modality: str) -> int:
        """T_m."""
        return self.features[modality].shape[1]

    def frames(self, modality: str) -> NDArray[np.bool_]:
        """True at real frames, shape (N, T_m)."""
        return np.arange(self.features[modality].shape[1])[None, :] < self.lengths[modality][:, None]


@dataclass(frozen=True)
class Dataset:
    """A task's data.

    Parameters
    ----------
    task : Task
    source : {"simulated", "file"}
    splits : dict of split name to Split
        ``train``, ``valid`` and ``test``; features already standardised.
    fingerprint : str
        Identifies the data in cell keys: two data sets with the same one hold the same numbers.
    origin : str
        For people: the file's name, or the simulator's version.
    warnings : tuple of str
        What was mended while reading, one line each.
    """

    task: Task
    source: str
    splits: dict[str, Split]
    fingerprint: str
    origin: str
    warnings: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def target(self) -> Target:
        """What is asked for."""
        return self.task.as_target

    @property
    def feature_dims(self) -> dict[str, int]:
        """d_m by modality."""
        return {m: self.splits["train"].features[m].shape[2] for m in MODALITIES}

    @property
    def max_frames(self) -> dict[str, int]:
        """The largest T_m of the three splits, by modality."""
        return {m: max(s.num_frames(m) for s in self.splits.values()) for m in MODALITIES}

    def without_test(self) -> Dataset:
        """The same data with a test split of which only the sizes can be read; all else of it raises BenchmarkError."""
        return replace(self, splits={**self.splits, "test": cast("Split", ClosedSplit(self.splits["test"]))})


class ClosedSplit:
    """Stands in a split's place where nothing may be read of it but how large it is.

    Parameters
    ----------
    split : Split
    """

    def __init__(self, split: Split) -> None:
        self._size = len(split)
        self._frames = {m: split.num_frames(m) for m in split.features}

    def __len__(self) -> int:
        return self._size

    def num_frames(self, modality: str) -> int:
        """T_m."""
        return self._frames[modality]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # which copying and pickling look for
            raise AttributeError(name)
        raise BenchmarkError(
            f"the test split is closed while a configuration is tried, and {name!r} of it was asked for; choose by the "
            "validation split"
        )


def standardise(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Features with mean 0 and variance 1 per dimension over the training split's real frames; padding zero.

    A dimension that is constant in training is only centred. The statistics are computed in float64.
    """
    train = splits["train"]
    scaled: dict[str, dict[str, NDArray[np.float32]]] = {name: {} for name in splits}
    for modality in MODALITIES:
        real = train.features[modality][train.frames(modality)].astype(np.float64)  # (frames, d)
        if len(real) == 0:
            mean = np.zeros(train.features[modality].shape[2])
            scale = np.ones_like(mean)
        else:
            mean, scale = real.mean(axis=0), real.std(axis=0)
            scale[scale < 1e-6 * np.maximum(1.0, np.abs(mean))] = 1.0
        for name, split in splits.items():
            standard = (split.features[modality] - mean) / scale
            standard[~split.frames(modality)] = 0.0
            scaled[name][modality] = np.clip(standard, -_LARGEST, _LARGEST, out=standard).astype(np.float32)
    return {name: Split(split.ids, scaled[name], split.lengths, split.labels) for name, split in splits.items()}
