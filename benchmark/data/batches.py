"""A split as tensors, and batches cut from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.dataset import Dataset
from benchmark.protocol.method import Batch, TaskSpec
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.target import CATEGORY


def task_spec(dataset: Dataset) -> TaskSpec:
    """What a method may know of the data set."""
    target = dataset.target
    return TaskSpec(
        dataset.name,
        len(target.categories),
        dataset.feature_dims,
        dataset.max_frames,
        kind=target.kind,
        span=target.span,
        bins=target.bins,
    )


class SplitTensors:
    """One split on a device.

    Parameters
    ----------
    dataset : Dataset
    name : str
        The split's name.
    device : torch.device
    """

    def __init__(self, dataset: Dataset, name: str, device: torch.device) -> None:
        split = dataset.splits[name]
        self.split = split
        self.device = device
        self.features = {m: torch.from_numpy(split.features[m]).to(device) for m in MODALITIES}
        self.frames = {m: torch.from_numpy(split.frames(m)).to(device) for m in MODALITIES}
        target = dataset.target
        self.labels = torch.from_numpy(target.category_indices(split.labels)).to(device)
        numbers = target.kind != CATEGORY
        self.intensity = torch.from_numpy(split.labels.astype(np.float32)).to(device) if numbers else None

    def __len__(self) -> int:
        return len(self.split)

    def batch(
        self, rows: NDArray[np.int64], kept: Mapping[str, NDArray[np.bool_]] | None = None, *, training: bool
    ) -> Batch:
        """The samples in `rows`, cut to the longest of them.

        Parameters
        ----------
        rows : ndarray of int, shape (N,)
            May repeat.
        kept : mapping of modality to bool ndarray, shape (N, T_m), optional
            Row i belongs to ``rows[i]``. None: nothing is missing.
        training : bool
            Whether labels and complete features are handed out.
        """
        (batch,) = self.batches(rows, kept, len(rows), training=training)
        return batch

    def batches(
        self,
        rows: NDArray[np.int64],
        kept: Mapping[str, NDArray[np.bool_]] | None,
        batch_size: int,
        *,
        training: bool,
        merge_single: bool = False,
    ) -> Iterator[Batch]:
        """`batch` for `batch_size` rows at a time; rows and masks go to the device once, before the first.

        With `merge_single` a last row that would be alone goes with the batch before it.
        """
        parts = self.parts(rows, kept, batch_size, training=training, merge_single=merge_single)
        for own, _, fields in parts:
            yield Batch([str(i) for i in self.split.ids[own]], **fields)

    def parts(
        self,
        rows: NDArray[np.int64],
        kept: Mapping[str, NDArray[np.bool_]] | None,
        batch_size: int,
        *,
        training: bool,
        merge_single: bool = False,
        multiple: int = 1,
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, dict[str, Any]]]:
        """What :meth:`batches` makes its batches of, also for several models at once.

        Parameters
        ----------
        rows : ndarray of int, shape (n,) or (models, n)
        kept : mapping of modality to bool ndarray, shape (n, T_m) or (models, n, T_m), or None
        batch_size, training, merge_single
            As of :meth:`batches`.
        multiple : int
            Batches are as long as a multiple of this, or as the longest sample of the split.

        Yields
        ------
        ndarray of int, shape (N,) or (models, N)
            The rows of a batch; and the same on the device.
        dict
            The fields of a `Batch` but for its ids; models stand first.
        """
        index = torch.from_numpy(rows).to(self.device)
        masks = None if kept is None else {m: torch.from_numpy(kept[m]).to(self.device) for m in MODALITIES}
        count = rows.shape[-1]
        starts = list(range(0, count, batch_size))
        if merge_single and batch_size > 1 and len(starts) > 1 and count - starts[-1] == 1:
            starts.pop()
        for start, stop in zip(starts, [*starts[1:], count], strict=True):
            part = (..., slice(start, stop))
            some = None if masks is None else {m: masks[m][*part, slice(None)] for m in MODALITIES}
            yield rows[part], index[part], self._cut(rows[part], index[part], some, training, multiple)

    def _cut(
        self,
        rows: NDArray[np.int64],
        index: Tensor,
        kept: Mapping[str, Tensor] | None,
        training: bool,
        multiple: int = 1,
    ) -> dict[str, Any]:
        features: dict[str, Tensor] = {}
        present: dict[str, Tensor] = {}
        frames: dict[str, Tensor] = {}
        complete: dict[str, Tensor] = {}
        for m in MODALITIES:
            longest = max(1, int(self.split.lengths[m][rows].max()))
            longest = -(-longest // multiple) * multiple  # a slice ends where the split does
            complete[m] = self.features[m][index, :longest]  # (N, T_m, d_m), or models first, as of all below
            frames[m] = self.frames[m][index, :longest]  # (N, T_m)
            if kept is None:
                features[m], present[m] = complete[m], frames[m]
            else:
                present[m] = frames[m] & kept[m][..., :longest]
                features[m] = torch.where(present[m][..., None], complete[m], 0.0)  # a product may be -0.0
        labels, intensity = self.labels[index], None if self.intensity is None else self.intensity[index]
        if not training:
            labels = torch.full_like(labels, -1)
            intensity = None if intensity is None else torch.full_like(intensity, float("nan"))
        return {
            "labels": labels,
            "intensity": intensity,
            "features": features,
            "present": present,
            "frames": frames,
            "complete": complete if training else None,
        }

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """One pass over the complete split, in order, as training batches."""
        return self.batches(np.arange(len(self)), None, batch_size, training=True)
