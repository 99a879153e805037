"""The conformance suite: what every method must do, whoever wrote it.

``python run_benchmark.py --check NAME`` runs it on one method, ``--check all`` on every one, and ``--plugin`` brings a
method of one's own. The project's tests run the same checks over the registry. All of it uses tiny simulated data.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.dataset import Dataset
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.errors import BenchmarkError
from benchmark.methods.cards import card
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.methods.loading import load
from benchmark.methods.mechanism_check import check_mechanism
from benchmark.methods.registry import Entry
from benchmark.methods.search_check import check_search_space
from benchmark.methods.violations import NotApplicable, Violation
from benchmark.methods.weights import packed_weights, unpack_weights
from benchmark.protocol.answers import ContractError, outputs_of, representation_of, terms_of
from benchmark.protocol.method import Batch, Method, Stage
from benchmark.protocol.missing import MODALITIES, MRM, SUBSETS, Setting
from benchmark.protocol.target import INTENSITY
from benchmark.protocol.training_config import TrainingConfig

CPU = torch.device("cpu")
TASKS = ("mosi", "iemocap", "mosi_intensity")  # of every kind: polarity, category, intensity
SETTINGS = [Setting(subset, ratio) for subset in SUBSETS for ratio in (0.0, 0.5, 1.0)]
TOLERANCE = 1e-4  # of logits or intensities that should be equal but for rounding
BY_HEART = 0.5  # what may be left of the error of the best constant where intensities are known by heart


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
    _datasets: dict[str, Dataset] = field(default_factory=dict)

    def dataset(self, task: str) -> Dataset:
        """A tiny simulated task, the same each time; not to be changed."""
        if task not in self._datasets:
            self._datasets[task] = simulate(known_tasks()[task], (48, 16, 32))
        return self._datasets[task]

    def build(self, dataset: Dataset, seed: int = 0, **changes: Any) -> Method:
        """A new method with its default hyper-parameters, but for `changes`."""
        cls = load(self.entry)
        constructor, _ = hyperparameters(cls, self.entry.name, dataset.task, [changes])
        torch.manual_seed(seed)
        return cls(task_spec(dataset), **constructor)

    def train_anew(self, dataset: Dataset, **changes: Any) -> Method:
        """Build and train for one epoch a stage, as the harness would."""
        method = self.build(dataset, **changes)
        _, defaults = hyperparameters(load(self.entry), self.entry.name, dataset.task, [])
        config = TrainingConfig.model_validate(
            defaults.model_dump() | {"epochs": 1, "min_epochs": 1, "validation_draws": 1}
        )
        self.harness.train(method, dataset, trains_on=self.entry.trains_on, config=config, seed=0, device=CPU)
        return method

    def trained(self, dataset: Dataset) -> Method:
        """A method trained once a task and shared by the checks that only look at it."""
        if dataset.name not in self._trained:
            self._trained[dataset.name] = self.train_anew(dataset)
        return copy.deepcopy(self._trained[dataset.name])

    def batch(
        self, dataset: Dataset, rows: NDArray[np.int64], *, training: bool, mrm: MRM | None = None, split: str = "train"
    ) -> Batch:
        """Samples with missing frames; what is missing depends on the row alone."""
        tensors = SplitTensors(dataset, split, CPU)
        frames = {m: x.shape[1] for m, x in tensors.features.items()}
        kept = (mrm or MRM()).draw(np.random.default_rng(7), len(tensors), frames)
        return tensors.batch(rows, {m: kept[m][rows] for m in MODALITIES}, training=training)

    def stages(self, dataset: Dataset, **changes: Any) -> Iterator[tuple[Stage, Method]]:
        """One method, taken through its stages; the caller trains it, or does not."""
        method = self.build(dataset, **changes)
        tensors = SplitTensors(dataset, "train", CPU)
        for stage in method.stages:
            method.eval()
            with torch.no_grad():
                method.start_stage(stage, list(tensors.in_order(len(tensors))))
            if any(p.requires_grad for p in method.parameters()):
                yield stage, method


def _outputs(method: Method, batch: Batch) -> Tensor:
    with torch.no_grad():
        return outputs_of(method.eval(), batch)


def _equal(found: Tensor, expected: Tensor, message: str) -> None:
    if found.shape != expected.shape or not torch.allclose(found, expected, atol=TOLERANCE):
        largest = float((found - expected).abs().max()) if found.shape == expected.shape else float("nan")
        raise Violation(f"{message} (logits differ by up to {largest:.2g})")


def _on_every_kind(check: Callable[[Subject, Dataset], None]) -> Callable[[Subject], None]:
    """The check on a task of every kind; what is raised bears the task's name as a note."""

    @functools.wraps(check)
    def run(subject: Subject) -> None:
        for task in TASKS:
            try:
                check(subject, subject.dataset(task))
            except Exception as error:
                error.add_note(f"task {task}")
                raise

    return run


@_on_every_kind
def check_contract(subject: Subject, dataset: Dataset) -> None:
    """`predict` gives float logits (N, K) or intensities (N, 1), `loss` a scalar, and `represent` (N, D) or None."""
    for stage, method in subject.stages(dataset):
        where = f"in stage {stage.name!r}"
        tested = subject.batch(dataset, np.arange(5), training=False, split="test")
        try:
            _outputs(method, tested)  # first: of outputs of a wrong shape a loss says less
            terms_of(method.train(), subject.batch(dataset, np.arange(5), training=True))
            joint = representation_of(method, tested)
        except ContractError as error:
            raise Violation(f"{error}, {where}") from error
        if joint is not None and not torch.isfinite(joint).all():
            raise Violation(f"represent gave NaN or infinity {where}")


@_on_every_kind
def check_any_setting(subject: Subject, dataset: Dataset) -> None:
    """Finite logits in every setting, everything missing included, and for a sample without a frame."""
    method = subject.trained(dataset)
    try:
        subject.harness.predict_settings(method, dataset, SETTINGS, draw=0, device=CPU)
    except ValueError as error:
        raise Violation(str(error)) from error
    batch = subject.batch(dataset, np.arange(4), training=False, split="test")
    for m in MODALITIES:
        batch.frames[m][1], batch.present[m][1], batch.features[m][1] = False, False, 0.0
    if not torch.isfinite(_outputs(method, batch)).all():
        raise Violation("logits hold NaN or infinity for a sample without a single real frame")


@_on_every_kind
def check_finite_loss(subject: Subject, dataset: Dataset) -> None:
    """Finite losses and gradients at every ratio of missing frames, and in the smallest batch that training has."""
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


@_on_every_kind
def check_gradients(subject: Subject, dataset: Dataset) -> None:
    """Gradients reach every parameter in some stage."""
    reached: set[str] = set()
    every: set[str] = set()
    for _, method in subject.stages(dataset):
        # Several batches, two of odd size: in one, gradients can cancel, as an L1 loss's do in the bias of the output
        # where as many samples lie above their labels as below. All of them thrice: what a method makes of a sample
        # at its first visits may teach it from the third on.
        for rows in (np.arange(48), np.arange(31), np.arange(31, 48), np.arange(48)):
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


@_on_every_kind
def check_overfits(subject: Subject, dataset: Dataset) -> None:
    """Learns 32 samples by heart: the category of each, or their intensities but for a small error."""
    everything = SplitTensors(dataset, "train", CPU).batch(np.arange(32), training=True)
    regression = dataset.target.kind == INTENSITY
    trained = False
    for stage, method in subject.stages(dataset):
        trained = True
        optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=2e-3)
        least, where = float("inf"), f"in 300 steps in stage {stage.name!r}"
        for _ in range(300):
            optimiser.zero_grad()
            torch.autograd.backward(method.train().loss(everything))
            optimiser.step()
            # At any one step: where a discriminator plays against the classifier, the loss never settles.
            least = min(least, _error(_outputs(method, everything), everything))
            if least <= (BY_HEART if regression else 0):
                break
        if regression and least > BY_HEART:
            raise Violation(f"{where}, the error of 32 training samples stays at {least:.0%} of their median's")
        if not regression and least:
            raise Violation(f"{where}, at most {32 - least:.0f} of 32 training samples are right")
    if not trained:
        raise NotApplicable("nothing to train")


def _error(outputs: Tensor, batch: Batch) -> float:
    """How many categories are wrong; of intensities, the absolute error as a share of that of their median."""
    if outputs.shape[1] > 1:
        return float((outputs.argmax(1) != batch.labels).sum())
    assert batch.intensity is not None
    of_median = (batch.intensity - batch.intensity.median()).abs().mean()
    return float((outputs[:, 0] - batch.intensity).abs().mean() / of_median)


@_on_every_kind
def check_deterministic(subject: Subject, dataset: Dataset) -> None:
    """The same seed gives the same weights, and predicting twice the same logits."""
    method = subject.trained(dataset)
    second = subject.train_anew(dataset).state_dict()
    for name, value in method.state_dict().items():
        if not torch.equal(value, second[name]):
            raise Violation(f"two trainings with one seed give different {name}; draw numbers from torch only")
    batch = subject.batch(dataset, np.arange(8), training=False)
    if not torch.equal(_outputs(method, batch), _outputs(method, batch)):
        raise Violation("predicting a batch twice gives different logits; is dropout on in evaluation?")


@_on_every_kind
def check_batch_independence(subject: Subject, dataset: Dataset) -> None:
    """A sample's logits do not depend on what else is in the batch, nor on its place in it, nor on padding."""
    method = subject.trained(dataset)
    rows = np.arange(16)
    for data, where in ((dataset, ""), (_lacking(dataset), " where samples lack every frame of some modalities")):

        def predict(some: NDArray[np.int64], data: Dataset = data) -> Tensor:
            return _outputs(method, subject.batch(data, some, training=False, split="test"))

        together = predict(rows)
        _equal(
            torch.cat([predict(rows[i : i + 1]) for i in rows]), together, f"batch size 1 and 16 do not agree{where}"
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


@_on_every_kind
def check_saved_state(subject: Subject, dataset: Dataset) -> None:
    """Stored as a cell's are and loaded into a new method, the weights give the same logits."""
    method = subject.trained(dataset)
    again = subject.build(dataset, seed=1)
    unpack_weights(again, packed_weights(method))
    batch = subject.batch(dataset, np.arange(8), training=False, split="test")
    message = "a saved and loaded method predicts otherwise; keep what it learned in parameters or buffers"
    _equal(_outputs(again, batch), _outputs(method, batch), message)


@_on_every_kind
def check_labels(subject: Subject, dataset: Dataset) -> None:
    """`predict` does not look at labels, not even where a batch has them."""
    method = subject.trained(dataset)
    batch = subject.batch(dataset, np.arange(16), training=True)
    expected = _outputs(method, copy.deepcopy(batch))
    others = (batch.labels + 1) % len(dataset.target.categories)
    other = replace(batch, labels=others, intensity=None if batch.intensity is None else -batch.intensity)
    _equal(_outputs(method, other), expected, "predict looks at the labels")


@_on_every_kind
def check_masked_frames(subject: Subject, dataset: Dataset) -> None:
    """`predict` does not look at what is missing: changing the content of missing frames changes nothing."""
    method = subject.trained(dataset)
    batch = subject.batch(dataset, np.arange(16), training=True)
    expected = _outputs(method, copy.deepcopy(batch))
    assert batch.complete is not None
    complete = {
        m: torch.where(batch.present[m][:, :, None], batch.complete[m], batch.complete[m] + 9.0) for m in MODALITIES
    }
    message = "predict looks at missing frames"
    _equal(_outputs(method, replace(batch, complete=complete)), expected, message)
    changed = copy.deepcopy(dataset)
    for split in changed.splits.values():
        split.features["v"][:] += 9.0
    only = [Setting("la")]
    predict = subject.harness.predict_settings
    before, after = (predict(method, d, only, draw=0, device=CPU) for d in (dataset, changed))
    _equal(torch.from_numpy(after), torch.from_numpy(before), f"{message} of vision, which is not available")


@_on_every_kind
def check_inputs_untouched(subject: Subject, dataset: Dataset) -> None:
    """Neither `predict` nor `loss` changes the batch it is given."""

    def examine(call: Callable[[Batch], Any], what: str, training: bool) -> None:
        batch = subject.batch(dataset, np.arange(8), training=training)
        before = copy.deepcopy(batch)
        call(batch)
        for part in ("features", "present", "frames", "complete"):
            for m in MODALITIES if getattr(before, part) is not None else ():
                if not torch.equal(getattr(batch, part)[m], getattr(before, part)[m]):
                    raise Violation(f"{what} changes {part}[{m!r}] of its batch; work on a copy")
        same = torch.equal(batch.labels, before.labels)
        if before.intensity is not None and batch.intensity is not None:
            same &= torch.equal(batch.intensity.nan_to_num(), before.intensity.nan_to_num())
        if not same:
            raise Violation(f"{what} changes the labels of its batch")

    method = subject.trained(dataset)
    examine(lambda batch: _outputs(method, batch), "predict", training=False)
    for stage, trained in subject.stages(dataset):
        examine(trained.train().loss, f"loss in stage {stage.name!r}", training=True)


def check_hyperparameters(subject: Subject) -> None:
    """Each hyper-parameter acts: another value gives other weights, losses or outputs, or the card says when."""
    dataset, cls = subject.dataset(TASKS[0]), load(subject.entry)
    values, _ = hyperparameters(cls, subject.entry.name, dataset.task, [])
    if not values:
        raise NotApplicable("no hyper-parameters")
    said = card(subject.entry).get("hyperparameters", {})
    by_default, hints = _traces(subject, dataset), get_type_hints(cls.__init__)
    for name, value in values.items():
        changed = (
            other for other in _others(value, hints[name]) if _differs(subject, dataset, by_default, {name: other})
        )
        if "idle" not in said.get(name, {}) and next(changed, None) is None:
            raise Violation(
                f"no other value of the hyper-parameter {name} changes anything; use it, or say in the card when"
            )


def _others(value: Any, hint: Any) -> list[Any]:
    """Other values than the default, of which a method takes one."""
    if isinstance(value, str):
        return [other for other in get_args(hint) if other != value]  # of a Literal
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, value // 2, 1]
    return [value / 2 + 0.1, 2 * value, value + 1] if isinstance(value, float) else [1.0, 1]


def _differs(subject: Subject, dataset: Dataset, by_default: list[Tensor], changes: dict[str, Any]) -> bool:
    try:
        traces = _traces(subject, dataset, **changes)
    except (BenchmarkError, ValueError, RuntimeError, AssertionError):
        return False  # not every value goes with the others
    return len(traces) != len(by_default) or not all(map(torch.equal, traces, by_default))


def _traces(subject: Subject, dataset: Dataset, **changes: Any) -> list[Tensor]:
    """What a hyper-parameter acts on: weights, losses of samples that come thrice, their gradients, and outputs."""
    traces, tested = [], subject.batch(dataset, np.arange(8), training=False)
    for _, method in subject.stages(dataset, **changes):
        torch.manual_seed(0)
        traces += [value.clone() for value in method.state_dict().values()]
        for rows in (np.arange(8), np.arange(8, 16)) * 3:
            loss = method.train().loss(subject.batch(dataset, rows, training=True))
            traces.append(loss.detach())
        torch.autograd.backward(loss)
        traces += [p.grad.norm() for p in method.parameters() if p.grad is not None] + [_outputs(method, tested)]
        method.zero_grad()
    return traces or [_outputs(subject.train_anew(dataset, **changes), tested)]  # of one with nothing to train


CHECKS: dict[str, Callable[[Subject], str | None]] = {
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
    "hyper-parameters": check_hyperparameters,
    "mechanism": functools.partial(check_mechanism, task=TASKS[0]),
    "search space": functools.partial(check_search_space, tasks=TASKS),
}


@dataclass(frozen=True)
class Result:
    """How one check ended: ``passed``, ``failed`` or ``not applicable``, with one line that says why."""

    check: str
    state: str
    reason: str = ""


def examine(
    entry: Entry, harness: Harness, checks: Mapping[str, Callable[[Subject], str | None]] = CHECKS
) -> Iterator[Result]:
    """Run checks on a method; a method that raises fails the check it raised in, and a text is a remark on one passed.

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
            remark = check(subject)
        except NotApplicable as error:
            yield Result(name, "not applicable", str(error))
        except Violation as error:
            yield Result(name, "failed", _with_notes(str(error), error))
        except Exception as error:
            yield Result(name, "failed", _where(error))
        else:
            yield Result(name, "passed", remark or "")


def _where(error: Exception) -> str:
    """The error and the last place in its traceback, in one line."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "site-packages" not in code.co_filename:
            place = f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    text = str(error).partition("\n")[0]
    return _with_notes(f"{type(error).__name__}: {text} (at {place})", error)


def _with_notes(text: str, error: Exception) -> str:
    return ", ".join([text, *getattr(error, "__notes__", [])])
