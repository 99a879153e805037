"""The contract of a method: what it is told of the task, what a batch holds, and what it must answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmark.errors import BenchmarkError


@dataclass(frozen=True)
class TaskSpec:
    """What a method may know of a task before it sees a sample.

    Parameters
    ----------
    name : str
        ``mosi``, ``mosei``, ``iemocap``.
    num_categories : int
        K, the number of logits.
    feature_dims : dict of modality to int
        d_m.
    max_frames : dict of modality to int
        The largest T_m of any sample.
    """

    name: str
    num_categories: int
    feature_dims: Mapping[str, int]
    max_frames: Mapping[str, int]


@dataclass
class Batch:
    """N samples. Real frames come first; padding stands behind them.

    Parameters
    ----------
    ids : list of str, length N
    labels : Tensor of int64, shape (N,)
        Category indices in training batches; -1 everywhere else, so that nothing can look.
    intensity : Tensor of float32, shape (N,), or None
        The label of the data in sentiment tasks; NaN outside training batches. None in emotion tasks.
    features : dict of modality to float32 Tensor, shape (N, T_m, d_m)
        Missing frames and padding are zero.
    present : dict of modality to bool Tensor, shape (N, T_m)
        Real frames that are not missing.
    frames : dict of modality to bool Tensor, shape (N, T_m)
        Real frames, missing or not.
    complete : dict of modality to float32 Tensor, shape (N, T_m, d_m), or None
        The features with nothing missing, in training batches only.
    """

    ids: list[str]
    labels: Tensor
    intensity: Tensor | None
    features: dict[str, Tensor]
    present: dict[str, Tensor]
    frames: dict[str, Tensor]
    complete: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        """Where the batch's tensors are."""
        return self.labels.device


@dataclass(frozen=True)
class Stage:
    """One stage of a method's training: its own optimiser, early stopping and checkpoint.

    Parameters
    ----------
    name : str
    trains_on : {"complete", "missing"} or None
        None: as the method was registered, or as the row's suffix ``+mrm`` / ``-mrm`` says.
    """

    name: str
    trains_on: str | None = None

    def __post_init__(self) -> None:
        if self.trains_on not in ("complete", "missing", None):
            raise BenchmarkError(
                f"stage {self.name!r}: trains_on={self.trains_on!r}; use 'complete' or 'missing', or leave it out"
            )


class Method(nn.Module):
    """Base class of all methods.

    A method implements `predict` and either `loss` or `terms`, and is registered with :func:`benchmark.register`. Its
    constructor takes the task and keyword-only, typed hyper-parameters with the paper's defaults. It never draws masks
    and never sees the validation or test labels; the harness owns the loop, the masks and the metrics.

    Class attributes
    ----------------
    training_defaults : dict
        What the paper says of the training where it differs from the harness's defaults: any field of
        :class:`benchmark.running.grid_file.TrainingConfig`, such as ``learning_rate`` or ``batch_size``.
    per_task : dict of task name to dict
        Hyper-parameters, of the constructor or the training, that the paper sets by data set.
    augmentable : bool
        Whether training under Modality Random Missing differs from training on whole samples; False for `constant` and
        `linear`. It must be written in the class body, where it is read without an import.
    stages : tuple of Stage
        One by default. A constructor may set others, where they depend on hyper-parameters.
    """

    training_defaults: ClassVar[dict[str, Any]] = {}
    per_task: ClassVar[dict[str, dict[str, Any]]] = {}
    augmentable: ClassVar[bool] = True
    stages: tuple[Stage, ...] = (Stage("training"),)

    def __init__(self, task: TaskSpec) -> None:
        super().__init__()
        self.task = task

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Called before each stage; does nothing unless a method overrides it.

        Parameters
        ----------
        stage : Stage
            The stage about to start, one of `stages`.
        training_set : iterable of Batch
            One pass over the complete training split, in order; may be iterated again. Gradients are off.
        """

    def loss(self, batch: Batch) -> Tensor:
        """The scalar training loss of a batch: the sum of `terms`."""
        first, *others = self.terms(batch).values()
        return sum(others, start=first)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """What the loss is a sum of, by name: weighted scalars. For methods that do not override `loss`.

        Each term's mean over an epoch is recorded, and one that becomes NaN or infinite is named.
        """
        raise NotImplementedError

    def predict(self, batch: Batch) -> Tensor:
        """Logits, shape (N, K), for a batch in which anything, or everything, may be missing."""
        raise NotImplementedError

    def represent(self, batch: Batch) -> Tensor | None:
        """The joint representation before the classifier, shape (N, D), for plots; None where a method has none."""
        return None
