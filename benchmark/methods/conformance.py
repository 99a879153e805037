"""The conformance suite: what every method must do, whoever wrote it.

``python run_benchmark.py --check NAME`` runs it on one method, ``--check all`` on every one, and ``--plugin`` brings a
method of one's own. The project's tests run the same checks over the registry. All of it uses tiny simulated data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.dataset import Dataset
from benchmark.data.simulator import simulate
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.methods.loading import load
from benchmark.methods.registry import Entry
from benchmark.methods.weights import packed_weights, unpack_weights
from benchmark.protocol.answers import ContractError, logits_of, representation_of, terms_of
from benchmark.protocol.method import Batch, Method, Stage
from benchmark.protocol.missing import MODALITIES, MRM, SUBSETS, Setting
from benchmark.protocol.training_config import TrainingConfig

CPU = torch.device("cpu")
SETTINGS = [Setting(subset, ratio) for subset in SUBSETS for ratio in (0.0, 0.5, 1.0)]
TOLERANCE = 1e-4  # of logits that should be equal but for rounding


class Violation(Exception):
    """A method does not do what it must; the message is one line that says what and where."""


class NotApplicable(Exception):
    """A check that has no meaning for a method, such as over-fitting for one without parameters."""


@dataclass(frozen=True)
class Harness:
    """How methods are trained and tested; the suite uses the benchmark's own, which it does not know.

    Parameters
    ----------
    train : callable
        :func:`benchmark.running.training.train`.
    predict_settings : callable
        :func:`benchmark.running.evaluation.predict_settings`.
    """

    train: Callable[..., Any]
    predict_settings: Callable[..., NDArray[np.float32]]


@dataclass
class Subject:
    """A method under examination.

    Parameters
    ----------
    entry : Entry
    harness : Harness
    """

    entry: Entry
    harness: Harness
    _trained: dict[str, Method] = field(default_factory=dict)

    def dataset(self, task: str) -> Dataset:
        """A tiny simulated task, the same each time."""
        return simulate(task, {"train": 48, "valid": 16, "test": 32})

    def build(self, dataset: Dataset, seed: int = 0) -> Method:
        """A new method with its default hyper-parameters."""
        cls = load(self.entry)
        constructor, _ = hyperparameters(cls, self.entry.name, dataset.name, [])
        torch.manual_seed(seed)
        return cls(task_spec(dataset), **constructor)

    def train_anew(self, dataset: Dataset) -> Method:
        """Build and train for one epoch a stage, as the harness would."""
        method = self.build(dataset)
        _, defaults = hyperparameters(load(self.entry), self.entry.name, dataset.name, [])
        config = TrainingConfig.model_validate(defaults.model_dump() | {"epochs": 1, "validation_draws": 1})
        self.harness.train(method, dataset, trains_on=self.entry.trains_on, config=config, seed=0, device=CPU)
        return method

    def trained(self, task: str) -> Method:
        """A method trained once and shared by the checks that only look at it."""
        if task not in self._trained:
            self._trained[task] = self.train_anew(self.dataset(task))
        return copy.deepcopy(self._trained[task])

    def batch(
        self, dataset: Dataset, rows: NDArray[np.int64], *, training: bool, mrm: MRM | None = None, split: str = "train"
    ) -> Batch:
        """Samples with missing frames; what is missing depends on the row alone."""
        tensors = SplitTensors(dataset, split, CPU)
        frames = {m: x.shape[1] for m, x in tensors.features.items()}
        kept = (mrm or MRM()).draw(np.random.default_rng(7), len(tensors), frames)
        return tensors.batch(rows, {m: kept[m][rows] for m in MODALITIES}, training=training)

    def stages(self, dataset: Dataset) -> Iterator[tuple[Stage, Method]]:
        """One method, taken through its stages; the caller trains it, or does not."""
        method = self.build(dataset)
        tensors = SplitTensors(dataset, "train", CPU)
        for stage in method.stages:
            method.eval()
            with torch.no_grad():
                method.start_stage(stage, list(tensors.in_order(len(tensors))))
            if any(p.requires_grad for p in method.parameters()):
                yield stage, method


def _logits(method: Method, batch: Batch) -> Tensor:
    with torch.no_grad():
        return logits_of(method.eval(), batch)


def _equal(found: Tensor, expected: Tensor, message: str) -> None:
    if found.shape != expected.shape or not torch.allclose(found, expected, atol=TOLERANCE):
        largest = float((found - expected).abs().max()) if found.shape == expected.shape else float("nan")
        raise Violation(f"{message} (logits differ by up to {largest:.2g})")


def check_contract(subject: Subject) -> None:
    """On both kinds of task `predict` gives float logits (N, K), `loss` a scalar, and `represent` (N, D) or None."""
    for task in ("mosi", "iemocap"):
        dataset = subject.dataset(task)
        for stage, method in subject.stages(dataset):
            where = f"in stage {stage.name!r} on {task}"
            tested = subject.batch(dataset, np.arange(5), training=False, split="test")
            try:
                terms_of(method.train(), subject.batch(dataset, np.arange(5), training=True))
                _logits(method, tested)
                joint = representation_of(method, tested)
            except ContractError as error:
                raise Violation(f"{error}, {where}") from error
            if joint is not None and not torch.isfinite(joint).all():
                raise Violation(f"represent gave NaN or infinity {where}")


def check_any_setting(subject: Subject) -> None:
    """Finite logits in every setting, everything missing included, and for a sample without a frame."""
    for task in ("mosi", "iemocap"):
        dataset, method = subject.dataset(task), subject.trained(task)
        try:
            subject.harness.predict_settings(method, dataset, SETTINGS, draw=0, device=CPU)
        except ValueError as error:
            raise Violation(f"{error}, task {task}") from error
        batch = subject.batch(dataset, np.arange(4), training=False, split="test")
        for m in MODALITIES:
            batch.frames[m][1], batch.present[m][1], batch.features[m][1] = False, False, 0.0
        if not torch.isfinite(_logits(method, batch)).all():
            raise Violation(f"logits hold NaN or infinity for a sample without a single real frame, task {task}")


def check_finite_loss(subject: Subject) -> None:
    """Finite losses and gradients at every ratio of missing frames, and in the smallest batch that training has."""
    dataset = subject.dataset("mosi")
    for stage, method in subject.stages(dataset):
        for ratio in (0.0, 0.5, 0.9, 1.0):
            mrm = MRM(frame_probability=1.0, modality_probability=0.5, max_ratio=ratio)
            for n in (32, 2):
                method.train().zero_grad()
                loss = method.loss(subject.batch(dataset, np.arange(n), training=True, mrm=mrm))
                where = f"stage {stage.name!r}, ratios up to {ratio}, {n} samples"
                if not torch.isfinite(loss):
                    raise Violation(f"loss is {float(loss.detach())} in {where}")
                torch.autograd.backward(loss)
                for name, parameter in method.named_parameters():
                    if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                        raise Violation(f"gradient of {name} is not finite in {where}")


def check_gradients(subject: Subject) -> None:
    """Gradients reach every parameter in some stage."""
    dataset = subject.dataset("mosi")
    reached: set[str] = set()
    every: set[str] = set()
    for _, method in subject.stages(dataset):
        # Several batches, two of odd size: in one, gradients can cancel, as an L1 loss's do in the bias of the output
        # where as many samples lie above their labels as below.
        for rows in (np.arange(48), np.arange(31), np.arange(31, 48)):
            method.train().zero_grad()
            torch.autograd.backward(method.loss(subject.batch(dataset, rows, training=True)))
            for name, parameter in method.named_parameters():
                every.add(name)
                if parameter.grad is not None and bool(parameter.grad.any()):
                    reached.add(name)
        method.zero_grad()
    if not every:
        raise NotApplicable("nothing to train")
    idle = sorted(every - reached)
    if idle:
        raise Violation(
            f"no gradient reaches {', '.join(idle[:3])}" + (f" and {len(idle) - 3} more" if idle[3:] else "")
        )


def check_overfits(subject: Subject) -> None:
    """Learns 32 samples by heart."""
    dataset = simulate("iemocap", {"train": 32, "valid": 8, "test": 8})
    everything = SplitTensors(dataset, "train", CPU).batch(np.arange(32), training=True)
    trained = False
    for stage, method in subject.stages(dataset):
        trained = True
        optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=2e-3)
        most = 0
        for _ in range(300):
            optimiser.zero_grad()
            torch.autograd.backward(method.train().loss(everything))
            optimiser.step()
            logits = _logits(method, everything)
            # At any one step: where a discriminator plays against the classifier, the loss never settles.
            most = max(most, int((logits.argmax(1) == everything.labels).sum()))
            if most == 32:
                break
        if most < 32:
            raise Violation(f"in 300 steps in stage {stage.name!r}, at most {most} of 32 training samples are right")
    if not trained:
        raise NotApplicable("nothing to train")


def check_deterministic(subject: Subject) -> None:
    """The same seed gives the same weights, and predicting twice the same logits."""
    dataset = subject.dataset("mosi")
    first, second = subject.train_anew(dataset).state_dict(), subject.train_anew(dataset).state_dict()
    for name, value in first.items():
        if not torch.equal(value, second[name]):
            raise Violation(f"two trainings with one seed give different {name}; draw numbers from torch only")
    method = subject.trained("mosi")
    batch = subject.batch(dataset, np.arange(8), training=False)
    if not torch.equal(_logits(method, batch), _logits(method, batch)):
        raise Violation("predicting a batch twice gives different logits; is dropout on in evaluation?")


def check_batch_independence(subject: Subject) -> None:
    """A sample's logits do not depend on what else is in the batch, nor on its place in it, nor on padding."""
    whole, method = subject.dataset("mosi"), subject.trained("mosi")
    rows = np.arange(32)
    for dataset, where in ((whole, ""), (_lacking(whole), " where samples lack every frame of some modalities")):

        def predict(some: NDArray[np.int64], dataset: Dataset = dataset) -> Tensor:
            return _logits(method, subject.batch(dataset, some, training=False, split="test"))

        together = predict(rows)
        _equal(
            torch.cat([predict(rows[i : i + 1]) for i in rows]), together, f"batch size 1 and 32 do not agree{where}"
        )
        _equal(predict(rows[::-1].copy()).flip(0), together, f"the order within a batch changes logits{where}")


def _lacking(dataset: Dataset) -> Dataset:
    """The same data, but of seven test samples in a row six lack every real frame of one or two modalities.

    Alone such a sample has one frame of padding there; among others, as many as the longest of them has frames.
    """
    test = dataset.splits["test"]
    subsets = np.resize(SUBSETS, len(test))
    there = {m: np.array([m in subset for subset in subsets]) for m in MODALITIES}
    lacking = replace(
        test,
        features={m: x * there[m][:, None, None] for m, x in test.features.items()},
        lengths={m: n * there[m] for m, n in test.lengths.items()},
    )
    return replace(dataset, splits={**dataset.splits, "test": lacking})


def check_saved_state(subject: Subject) -> None:
    """Stored as a cell's are and loaded into a new method, the weights give the same logits."""
    for task in ("mosi", "iemocap"):
        dataset, method = subject.dataset(task), subject.trained(task)
        again = subject.build(dataset, seed=1)
        unpack_weights(again, packed_weights(method))
        batch = subject.batch(dataset, np.arange(8), training=False, split="test")
        message = (
            f"a saved and loaded method predicts otherwise on {task}; keep what it learned in parameters or buffers"
        )
        _equal(_logits(again, batch), _logits(method, batch), message)


def check_labels(subject: Subject) -> None:
    """`predict` does not look at labels, not even where a batch has them."""
    dataset, method = subject.dataset("mosi"), subject.trained("mosi")
    batch = subject.batch(dataset, np.arange(16), training=True)
    expected = _logits(method, copy.deepcopy(batch))
    assert batch.intensity is not None
    other = replace(batch, labels=1 - batch.labels, intensity=-batch.intensity)
    _equal(_logits(method, other), expected, "predict looks at the labels")


def check_masked_frames(subject: Subject) -> None:
    """`predict` does not look at what is missing: changing the content of missing frames changes nothing."""
    dataset, method = subject.dataset("mosi"), subject.trained("mosi")
    batch = subject.batch(dataset, np.arange(16), training=True)
    expected = _logits(method, copy.deepcopy(batch))
    assert batch.complete is not None
    complete = {
        m: torch.where(batch.present[m][:, :, None], batch.complete[m], batch.complete[m] + 9.0) for m in MODALITIES
    }
    message = "predict looks at missing frames"
    _equal(_logits(method, replace(batch, complete=complete)), expected, message)
    changed = copy.deepcopy(dataset)
    for split in changed.splits.values():
        split.features["v"][:] += 9.0
    only = [Setting("la")]
    predict = subject.harness.predict_settings
    before, after = (predict(method, d, only, draw=0, device=CPU) for d in (dataset, changed))
    _equal(torch.from_numpy(after), torch.from_numpy(before), f"{message} of vision, which is not available")


def check_inputs_untouched(subject: Subject) -> None:
    """Neither `predict` nor `loss` changes the batch it is given."""
    dataset = subject.dataset("mosi")

    def examine(call: Callable[[Batch], Any], what: str, training: bool) -> None:
        batch = subject.batch(dataset, np.arange(8), training=training)
        before = copy.deepcopy(batch)
        call(batch)
        for part in ("features", "present", "frames", "complete"):
            for m in MODALITIES if getattr(before, part) is not None else ():
                if not torch.equal(getattr(batch, part)[m], getattr(before, part)[m]):
                    raise Violation(f"{what} changes {part}[{m!r}] of its batch; work on a copy")
        if not torch.equal(batch.labels, before.labels):
            raise Violation(f"{what} changes the labels of its batch")

    method = subject.trained("mosi")
    examine(lambda batch: _logits(method, batch), "predict", training=False)
    for stage, trained in subject.stages(dataset):
        examine(trained.train().loss, f"loss in stage {stage.name!r}", training=True)


CHECKS: dict[str, Callable[[Subject], None]] = {
    "contract": check_contract,
    "any setting": check_any_setting,
    "finite loss": check_finite_loss,
    "gradients": check_gradients,
    "over-fits": check_overfits,
    "deterministic": check_deterministic,
    "batch independence": check_batch_independence,
    "saved state": check_saved_state,
    "labels": check_labels,
    "masked frames": check_masked_frames,
    "inputs untouched": check_inputs_untouched,
}


@dataclass(frozen=True)
class Result:
    """How one check ended: ``passed``, ``failed`` or ``not applicable``, with one line that says why."""

    check: str
    state: str
    reason: str = ""


def examine(
    entry: Entry, harness: Harness, checks: Mapping[str, Callable[[Subject], None]] = CHECKS
) -> Iterator[Result]:
    """Run checks on a method; a method that raises fails the check it raised in.

    Parameters
    ----------
    entry : Entry
    harness : Harness
    checks : mapping of name to check
        All of them by default.
    """
    torch.set_num_threads(1)
    subject = Subject(entry, harness)
    for name, check in checks.items():
        try:
            check(subject)
        except NotApplicable as error:
            yield Result(name, "not applicable", str(error))
        except Violation as error:
            yield Result(name, "failed", str(error))
        except Exception as error:
            yield Result(name, "failed", _where(error))
        else:
            yield Result(name, "passed")


def _where(error: Exception) -> str:
    """The error and the last place in its traceback, in one line."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "site-packages" not in code.co_filename:
            place = f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text} (at {place})"
