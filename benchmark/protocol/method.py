"""The contract of a method: what it is told of the task, what a batch holds, and what it must answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import BenchmarkError
from benchmark.protocol.search import Choice, Range
from benchmark.protocol.target import CATEGORY, INTENSITY


@dataclass(frozen=True)
class TaskSpec:
    """What a method may know of a task before it sees a sample.

    Parameters
    ----------
    name : str
        Such as ``mosi``.
    num_categories : int
        K: two for polarity; of an intensity the number of `bins`.
    feature_dims : dict of modality to int
        d_m.
    max_frames : dict of modality to int
        The largest T_m of any sample.
    kind : {"polarity", "category", "intensity"}
        What is asked for.
    span : (float, float)
        The least and the largest label of a polarity or an intensity.
    bins : tuple of K float
        Of an intensity: the values of the classes of Acc-7, for methods that need categories.
    """

    name: str
    num_categories: int
    feature_dims: Mapping[str, int]
    max_frames: Mapping[str, int]
    kind: str = CATEGORY
    span: tuple[float, float] = (-3.0, 3.0)
    bins: tuple[float, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Numbers that `predict` gives for a sample: K logits, or one intensity."""
        return 1 if self.kind == INTENSITY else self.num_categories


@dataclass
class Batch:
    """N samples. Real frames come first; padding stands behind them.

    Parameters
    ----------
    ids : list of str, length N
    labels : Tensor of int64, shape (N,)
        Category indices in training batches, of an intensity the nearest bin's; -1 everywhere else, so that nothing can
        look.
    intensity : Tensor of float32, shape (N,), or None
        The label of the data for polarity and intensity; NaN outside training batches. None for categories.
    features : dict of modality to float32 Tensor, shape (N, T_m, d_m)
        Missing frames and padding are zero.
    present : dict of modality to bool Tensor, shape (N, T_m)
        Real frames that are not missing.
    frames : dict of modality to bool Tensor, shape (N, T_m)
        Real frames, missing or not.
    complete : dict of modality to float32 Tensor, shape (N, T_m, d_m), or None
        The features with nothing missing, in training batches only.
    places : Tensor of int64, shape (N,), or None
        Where each sample stands in the training split. Told where several models train at once: then `ids` name no
        samples, since each model has its own.
    """

    ids: list[str]
    labels: Tensor
    intensity: Tensor | None
    features: dict[str, Tensor]
    present: dict[str, Tensor]
    frames: dict[str, Tensor]
    complete: dict[str, Tensor] | None = None
    places: Tensor | None = None

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
    idle : int
        Through which epoch what the stage is there for takes no part yet: a model kept so early has not met it. For the
        report alone.
    """

    name: str
    trains_on: str | None = None
    idle: int = 1

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
        :class:`benchmark.protocol.training_config.TrainingConfig`, such as ``learning_rate`` or ``batch_size``, but the
        rules of selection, which are the same for all methods.
    per_task : dict of task or data set name to dict
        Hyper-parameters, of the constructor or the training, that the paper sets by data set; those under a task's own
        name count before those of its data set.
    search_space : dict of str to Range or Choice, or None
        What the method is tuned over: hyper-parameters of the constructor or the training, eight at most. None, where
        a class says nothing: the training settings alone. Empty: there is nothing to tune.
    augmentable : bool
        Whether training under Modality Random Missing differs from training on whole samples; False for `constant`,
        `random` and `linear`. It must be written in the class body, where it is read without an import.
    stages : tuple of Stage
        One by default. A constructor may set others, where they depend on hyper-parameters.
    """

    training_defaults: ClassVar[dict[str, Any]] = {}
    per_task: ClassVar[dict[str, dict[str, Any]]] = {}
    search_space: ClassVar[Mapping[str, Range | Choice] | None] = None
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

    def task_loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The task's own loss: cross-entropy for polarity and category, the mean absolute error for intensity.

        Parameters
        ----------
        outputs : Tensor, shape (N, task.num_outputs)
            Logits, or intensities. On an intensity task also (N, K) logits of its `bins`, for methods that need
            categories: then it is their cross-entropy.
        batch : Batch
            A training batch.
        """
        if self.task.kind == INTENSITY and outputs.shape[1] == 1:
            assert batch.intensity is not None
            return F.l1_loss(outputs[:, 0], batch.intensity)
        return F.cross_entropy(outputs, batch.labels)

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Whether the method's idea acts: errors by name, each beside what it would be if the idea did nothing.

        Asked once, of the model that was kept, on validation samples with what only training batches hold: labels and
        complete features; gradients are off. It changes no score, and stands in the report.

        Returns
        -------
        dict of str to (Tensor, Tensor)
            Two scalars, means over the batch, of which the first is the smaller one where the idea acts: such as the
            error of a reconstruction, and that of predicting the mean, which
            :func:`benchmark.parts.effects.beside_the_mean` gives. Empty where there is nothing to ask.
        """
        return {}

    def predict(self, batch: Batch) -> Tensor:
        """Outputs, shape (N, task.num_outputs), for a batch in which anything, or everything, may be missing.

        Logits of the categories; of an intensity one number, or (N, K) logits of its bins, whose expectation counts.
        """
        raise NotImplementedError

    def represent(self, batch: Batch) -> Tensor | None:
        """The joint representation before the classifier, shape (N, D), for plots; None where a method has none."""
        return None
