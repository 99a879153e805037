"""The one training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.batches import SplitTensors
from benchmark.data.dataset import Dataset
from benchmark.protocol.answers import ContractError, lack_of_frames, outputs_of, stages_of, terms_of
from benchmark.protocol.method import Batch, Method, Stage
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import MODALITIES, MRM
from benchmark.protocol.scoring import scores
from benchmark.protocol.target import INTENSITY
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.selection import Keeper

# Part of every cell's key: raise it when the loop changes what a trained model is.
PROTOCOL_VERSION = 2  # 2: a last batch of one sample goes with the one before it
_SHUFFLE, _TRAINING_MASKS, _VALIDATION_MASKS = range(3)
_VALIDATION_BATCH = 256


class TrainingError(RuntimeError):
    """Training produced a number that is none; `batch` is the place of the batch in its epoch, where it is of one."""

    def __init__(self, message: str, batch: int | None = None) -> None:
        super().__init__(message)
        self.batch = batch


@dataclass(frozen=True)
class Ended:
    """A stage that has ended, and what to look at its model with.

    Parameters
    ----------
    stage : Stage
    kept, epochs : int
        The epoch whose model was kept, and how many there were; they begin at 1.
    training : iterator of Batch
        The training batches of the epoch that was kept.
    validation : iterator of Batch
        The validation split, with missing frames where the stage trains on such, and as training batches are: with
        labels and complete features.
    """

    stage: Stage
    kept: int
    epochs: int
    training: Iterator[Batch]
    validation: Iterator[Batch]


def train(
    method: Method,
    dataset: Dataset,
    *,
    trains_on: str,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
    on_stage: Callable[[Ended], None] = lambda ended: None,
) -> list[dict[str, Any]]:
    """Train a method in place, stage by stage; each ends with the checkpoint loaded that `config.selection` keeps.

    Adam, gradients clipped to a norm, early stopping. Deterministic for a seed on one machine: shuffling and masks come
    from generators made of (seed, purpose, stage, epoch). The test split is not touched.

    Parameters
    ----------
    method : Method
    dataset : Dataset
    trains_on : {"complete", "missing"}
        For stages that do not say themselves.
    config : TrainingConfig
    seed : int
    device : torch.device
    on_epoch : callable
        Called with each epoch's record.
    on_stage : callable
        Called where a stage ends, when the checkpoint kept is loaded.

    Returns
    -------
    list of dict
        A record an epoch: ``stage, epoch, train_loss, terms, valid_loss, valid_score, seconds``; ``terms`` are what
        ``train_loss`` is a sum of, where the method names them; ``valid_score`` is of the task's primary metric.

    Raises
    ------
    TrainingError
        If a loss, a gradient or a validation output becomes NaN or infinite; says where, and which term of the loss.
    """
    training, validation = (SplitTensors(dataset, name, device) for name in ("train", "valid"))
    history: list[dict[str, Any]] = []
    for number in range(len(stages_of(method))):
        course = Course(method, dataset, training, validation, number, trains_on, config, seed)
        if not course.parameters:
            continue
        optimiser = torch.optim.Adam(course.parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        while not course.over:
            started = time.perf_counter()
            try:
                terms = train_epoch(method, optimiser, course.batches(), config.clip_norm)
                record = course.examine(terms, started)
            except TrainingError as error:
                raise course.told(error) from None
            history.append(record)
            on_epoch(record)
        if (ended := course.end()) is not None:
            on_stage(ended)
    method.eval()
    return history


class Course:
    """One stage of one model's training: its batches, its validation, and which epoch is kept. It trains nothing.

    Parameters
    ----------
    method : Method
        Its stage is started.
    dataset : Dataset
    training, validation : SplitTensors
    number : int
        Of the stage, from 0.
    trains_on, config, seed
        As of :func:`train`.

    Attributes
    ----------
    parameters : list of Parameter
        Those to train; where there are none, there is nothing to do in this stage.
    examined : (ndarray of int, shape (n,), and dict of modality to bool ndarray, shape (n, T_m), or None)
        Rows of the validation split that the model is validated on, and their masks.
    """

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        training: SplitTensors,
        validation: SplitTensors,
        number: int,
        trains_on: str,
        config: TrainingConfig,
        seed: int,
    ) -> None:
        self.method, self.dataset, self.training, self.validation = method, dataset, training, validation
        self.stage, self.number, self.config, self.seed = stages_of(method)[number], number, config, seed
        method.eval()
        with torch.no_grad():
            method.start_stage(self.stage, _Passes(training))
        self.parameters = [p for p in method.parameters() if p.requires_grad]
        incomplete = (self.stage.trains_on or trains_on) == "missing"
        self.mrm = MRM(**config.mrm.model_dump(), modalities=dataset.task.modalities) if incomplete else None
        self.entropy = [seed, _VALIDATION_MASKS, number]
        rows = np.tile(np.arange(len(validation)), config.validation_draws if incomplete else 1)
        self.examined = rows, _draw(self.mrm, self.entropy, validation, len(rows))
        lower = metric(dataset.task.scored[0]).lower_is_better
        self.keeper = Keeper(config.selection, config.min_epochs, lower, config.patience)
        self.epoch = 0  # the last one that was trained
        self._best: dict[str, Any] | None = None

    def batches(self, epoch: int | None = None) -> Iterator[Batch]:
        """The training batches of an epoch, by default the next one."""
        epoch = self.epoch + 1 if epoch is None else epoch
        return training_batches(self.training, self.mrm, self.config.batch_size, self.seed, self.number, epoch)

    def drawn(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.bool_]] | None]:
        """The rows of the next epoch in order, and their masks: what :meth:`batches` is cut from."""
        return _drawn(self.training, self.mrm, self.seed, self.number, self.epoch + 1)

    def examine(self, terms: Mapping[str, float], started: float, outputs: Tensor | None = None) -> dict[str, Any]:
        """Validate the model after an epoch, and keep it where it is the best so far; gives the epoch's record.

        Parameters
        ----------
        terms : mapping of str to float
            Of the loss.
        started : float
            When the epoch began, by `time.perf_counter`.
        outputs : Tensor, shape (n, K), optional
            The model's for `examined`, where they are known already.

        Raises
        ------
        TrainingError
            Where an output is NaN or infinite.
        """
        valid_loss, valid_score = self._judged(self._outputs() if outputs is None else outputs)
        self.epoch += 1
        record = {
            "stage": self.stage.name,
            "epoch": self.epoch,
            "train_loss": sum(terms.values()),
            **({"terms": dict(terms)} if len(terms) > 1 else {}),
            "valid_loss": valid_loss,
            "valid_score": valid_score,
            "seconds": round(time.perf_counter() - started, 4),
        }
        if self.keeper.better(record):
            # Cloned, since a copy of a view is one of all that it is a view of.
            state = self.method.state_dict().items()
            self._best = {k: x.clone() if isinstance(x, Tensor) else copy.deepcopy(x) for k, x in state}
        return record

    @cached_property
    def _examined_batches(self) -> list[Batch]:
        return list(self.validation.batches(*self.examined, _VALIDATION_BATCH, training=False))

    @torch.no_grad()
    def _outputs(self) -> Tensor:
        self.method.eval()
        return torch.cat([outputs_of(self.method, batch) for batch in self._examined_batches])

    def _judged(self, outputs: Tensor) -> tuple[float, float]:
        """The task's loss and its primary score; raises TrainingError where an output is NaN or infinite."""
        rows, _ = self.examined
        split, target = self.validation.split, self.dataset.target
        if not torch.isfinite(outputs).all():
            row = int((~torch.isfinite(outputs)).any(1).int().argmax())
            hint = lack_of_frames(self._examined_batches[row // _VALIDATION_BATCH], row % _VALIDATION_BATCH)
            raise TrainingError(f"a logit of validation sample {split.ids[rows[row]]} became NaN or infinite{hint}")
        index = torch.from_numpy(rows).to(outputs.device)
        if target.kind == INTENSITY:
            assert self.validation.intensity is not None
            loss = F.l1_loss(outputs[:, 0], self.validation.intensity.to(outputs.device)[index])
        else:
            loss = F.cross_entropy(outputs, self.validation.labels.to(outputs.device)[index])
        if not torch.isfinite(loss):
            raise TrainingError(f"the validation loss became {float(loss)}")
        first = self.dataset.task.scored[0]
        score = scores(target=target, y_true=split.labels[rows], y_pred=outputs.cpu().numpy(), metrics=[first])
        return float(loss), score[first]

    @property
    def over(self) -> bool:
        """Whether no further epoch is to be trained."""
        return self.keeper.over or self.epoch >= self.config.epochs

    def told(self, error: TrainingError) -> TrainingError:
        """What went wrong in the epoch after the last one examined, with where that was."""
        hint = ""
        if error.batch is not None:  # the epoch's batches again, up to the one that it came of
            hint = lack_of_frames(next(islice(self.batches(), error.batch, None)))
        return TrainingError(f"{error}, in stage {self.stage.name!r}, epoch {self.epoch + 1}{hint}")

    def end(self) -> Ended | None:
        """Load the model that was kept; None where none was."""
        if self._best is None:
            return None
        self.method.load_state_dict(self._best)
        masks = _draw(self.mrm, self.entropy, self.validation, len(self.validation))
        everything = np.arange(len(self.validation))
        whole = self.validation.batches(everything, masks, _VALIDATION_BATCH, training=True)
        return Ended(self.stage, self.keeper.kept, self.epoch, self.batches(self.keeper.kept), whole)


def train_epoch(
    method: Method, optimiser: torch.optim.Optimizer, batches: Iterable[Batch], clip_norm: float | None
) -> dict[str, float]:
    """One pass over the training batches; the loop itself waits for the device at the end only.

    Parameters
    ----------
    method : Method
    optimiser : torch.optim.Optimizer
        Over the parameters to train, in one group.
    batches : iterable of Batch
    clip_norm : float
        Largest norm of the gradient of all parameters together; None for as large as it is.

    Returns
    -------
    dict of str to float
        Mean over the samples of each term of the loss.

    Raises
    ------
    TrainingError
        If a term or a gradient became NaN or infinite; names the first batch in which that was so.
    """
    method.train()
    parameters = optimiser.param_groups[0]["params"]
    most = math.inf if clip_norm is None else clip_norm
    names: list[str] = []
    seen, sizes = [], []
    for batch in batches:
        optimiser.zero_grad(set_to_none=True)
        terms = _terms(method, batch)
        first, *others = terms.values()
        torch.autograd.backward(sum(others, start=first))
        norm = torch.nn.utils.clip_grad_norm_(parameters, most)
        optimiser.step()
        names = list(terms)
        seen.append(torch.stack([*(term.detach() for term in terms.values()), norm]))
        sizes.append(len(batch))
    return means_of(names, torch.stack(seen).double().cpu().numpy(), sizes)


def means_of(names: Sequence[str], numbers: NDArray[np.float64], sizes: Sequence[int]) -> dict[str, float]:
    """Each term's mean over the samples of an epoch.

    Parameters
    ----------
    names : sequence of str
        Of the terms.
    numbers : ndarray, shape (batches, terms + 1)
        The norm of the gradient stands last.
    sizes : sequence of int
        Samples of each batch.

    Raises
    ------
    TrainingError
        If a number is NaN or infinite; names the first batch in which that was so.
    """
    broken = ~np.isfinite(numbers)
    if broken.any():
        row = int(broken.any(1).argmax())
        faulty = [name for name, is_broken in zip(names, broken[row], strict=False) if is_broken]
        value = numbers[row][broken[row]][0]
        if not faulty:
            what = "the gradient"
        elif list(names) == ["loss"]:
            what = "the training loss"
        else:
            what = f"the {' and the '.join(faulty)} term{'s' * (len(faulty) > 1)} of the loss"
        raise TrainingError(f"{what} became {value} in batch {row + 1} of {len(numbers)}", batch=row)
    means = np.average(numbers[:, :-1], axis=0, weights=sizes)
    return dict(zip(names, means.tolist(), strict=True))


def _terms(method: Method, batch: Batch) -> dict[str, Tensor]:
    """The terms of the loss. Where a method fails in its loss because of the outputs it made, it is told of these."""
    try:
        return terms_of(method, batch)
    except ContractError:
        raise
    except Exception:
        with torch.no_grad():
            outputs_of(method.eval(), batch)
        raise


class _Passes:
    """The complete training split in order, as often as a method iterates over it."""

    def __init__(self, training: SplitTensors) -> None:
        self.training = training

    def __iter__(self) -> Iterator[Batch]:
        return self.training.in_order(_VALIDATION_BATCH)


def _draw(
    mrm: MRM | None, entropy: list[int], split: SplitTensors, num_samples: int
) -> dict[str, NDArray[np.bool_]] | None:
    if mrm is None:
        return None
    num_frames = {m: split.features[m].shape[1] for m in MODALITIES}
    return mrm.draw(np.random.default_rng(entropy), num_samples, num_frames)


def training_batches(
    training: SplitTensors, mrm: MRM | None, batch_size: int, seed: int, stage: int, epoch: int
) -> Iterator[Batch]:
    """The batches of an epoch, in an order and under masks made of (seed, stage, epoch).

    A last batch of one sample goes with the one before it: batch normalisation, and every loss over pairs, need two.
    """
    order, masks = _drawn(training, mrm, seed, stage, epoch)
    return training.batches(order, masks, batch_size, training=True, merge_single=True)


def _drawn(
    training: SplitTensors, mrm: MRM | None, seed: int, stage: int, epoch: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.bool_]] | None]:
    order = np.random.default_rng([seed, _SHUFFLE, stage, epoch]).permutation(len(training))
    kept = _draw(mrm, [seed, _TRAINING_MASKS, stage, epoch], training, len(training))
    return order, None if kept is None else {m: kept[m][order] for m in MODALITIES}
