"""The one training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from benchmark.config import TrainingConfig
from benchmark.data.batches import SplitTensors
from benchmark.data.dataset import Dataset
from benchmark.method import Batch, Method
from benchmark.metrics import primary
from benchmark.missing import MODALITIES, MRM

# Part of every cell's key: raise it when the loop changes what a trained model is.
PROTOCOL_VERSION = 1
SELECTION = "checkpoint with the lowest cross-entropy on the validation split"

_SHUFFLE, _TRAINING_MASKS, _VALIDATION_MASKS = range(3)
_VALIDATION_BATCH = 256


class TrainingError(RuntimeError):
    """Training produced a number that is none."""


def train(
    method: Method,
    dataset: Dataset,
    *,
    trains_on: str,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """Train a method in place, stage by stage; each stage ends with its best checkpoint loaded.

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

    Returns
    -------
    list of dict
        A record an epoch: ``stage, epoch, train_loss, valid_loss, valid_f1, seconds``.

    Raises
    ------
    TrainingError
        If a loss becomes NaN or infinite; says where.
    """
    training, validation = (SplitTensors(dataset, name, device) for name in ("train", "valid"))
    history: list[dict[str, Any]] = []
    for number, stage in enumerate(method.stages):
        method.eval()
        with torch.no_grad():
            method.start_stage(stage, _Passes(training))
        parameters = [p for p in method.parameters() if p.requires_grad]
        if not parameters:
            continue
        incomplete = (stage.trains_on or trains_on) == "missing"
        mrm = MRM(**config.mrm.model_dump()) if incomplete else None
        optimiser = torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        examined = _validation_batches(validation, mrm, config.validation_draws, [seed, _VALIDATION_MASKS, number])
        best, best_state, since = math.inf, None, 0
        for epoch in range(1, config.epochs + 1):
            started = time.perf_counter()
            batches = training_batches(training, mrm, config.batch_size, seed, number, epoch)
            train_loss = train_epoch(method, optimiser, batches, config.clip_norm)
            if not math.isfinite(train_loss):
                raise TrainingError(f"the training loss became {train_loss} in stage {stage.name!r}, epoch {epoch}")
            valid_loss, valid_f1 = _validate(method, dataset, validation, examined)
            if not math.isfinite(valid_loss):
                raise TrainingError(f"the validation loss became {valid_loss} in stage {stage.name!r}, epoch {epoch}")
            history.append(
                {
                    "stage": stage.name,
                    "epoch": epoch,
                    "train_loss": train_loss,
                    "valid_loss": valid_loss,
                    "valid_f1": valid_f1,
                    "seconds": round(time.perf_counter() - started, 4),
                }
            )
            on_epoch(history[-1])
            since += 1
            if valid_loss < best:
                best, best_state, since = valid_loss, copy.deepcopy(method.state_dict()), 0
            if since >= config.patience:
                break
        if best_state is not None:
            method.load_state_dict(best_state)
    method.eval()
    return history


def train_epoch(method: Method, optimiser: torch.optim.Optimizer, batches: Iterable[Batch], clip_norm: float) -> float:
    """One pass over the training batches; the loop itself waits for the device at the end only.

    Parameters
    ----------
    method : Method
    optimiser : torch.optim.Optimizer
        Over the parameters to train, in one group.
    batches : iterable of Batch
    clip_norm : float
        Largest norm of the gradient of all parameters together.

    Returns
    -------
    float
        Mean loss over the samples.
    """
    method.train()
    parameters = optimiser.param_groups[0]["params"]
    total, samples = torch.zeros((), device=parameters[0].device), 0
    for batch in batches:
        optimiser.zero_grad(set_to_none=True)
        loss = method.loss(batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimiser.step()
        total += loss.detach() * len(batch)
        samples += len(batch)
    return float(total) / samples


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
    """The batches of an epoch, in an order and under masks made of (seed, stage, epoch)."""
    n = len(training)
    order = np.random.default_rng([seed, _SHUFFLE, stage, epoch]).permutation(n)
    kept = _draw(mrm, [seed, _TRAINING_MASKS, stage, epoch], training, n)
    masks = None if kept is None else {m: kept[m][order] for m in MODALITIES}
    return training.batches(order, masks, batch_size, training=True)


def _validation_batches(
    validation: SplitTensors, mrm: MRM | None, draws: int, entropy: list[int]
) -> tuple[NDArray[np.int64], list[Batch]]:
    rows = np.tile(np.arange(len(validation)), draws if mrm is not None else 1)
    kept = _draw(mrm, entropy, validation, len(rows))
    return rows, list(validation.batches(rows, kept, _VALIDATION_BATCH, training=False))


@torch.no_grad()
def _validate(
    method: Method, dataset: Dataset, validation: SplitTensors, examined: tuple[NDArray[np.int64], list[Batch]]
) -> tuple[float, float]:
    """Cross-entropy and primary score."""
    method.eval()
    rows, batches = examined
    logits = torch.cat([method.predict(batch) for batch in batches])
    if not torch.isfinite(logits).all():
        return math.nan, math.nan
    loss = F.cross_entropy(logits, validation.labels[torch.from_numpy(rows).to(logits.device)])
    score = primary(
        labels=validation.split.labels[rows],
        logits=logits.cpu().numpy(),
        kind=dataset.kind,
        categories=dataset.categories,
    )
    return float(loss), score
