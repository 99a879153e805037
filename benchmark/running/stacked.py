"""Several models of one class trained at once, as one model with a dimension more.

Each has its own weights, batches, masks, dropout, clipping, state of Adam, early stopping and checkpoint, and comes out
as it would alone but for rounding and for which coins its dropout throws.
"""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from benchmark.data.batches import SplitTensors
from benchmark.data.dataset import Dataset
from benchmark.protocol.answers import stages_of, terms_of
from benchmark.protocol.method import Batch, Method
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.training import Course, Ended, TrainingError, means_of

_TRIED = 8  # samples of the batch on which it is tried whether a method can be stacked
_TOLERANCE = 1e-3  # of a loss, or a gradient, computed both ways in float32
_BY_MODALITY = ("features", "present", "frames", "complete")


class NotTogether(RuntimeError):
    """Models that cannot be trained at once; says why."""


@dataclass
class Member:
    """One of the models that train at once.

    Parameters
    ----------
    method : Method
        Trained in place.
    config : TrainingConfig
        All members' have one `batch_size`.
    seed : int
    random : Tensor
        State of torch's generator of the CPU behind the making of the method.
    on_epoch, on_stage : callable
        As of :func:`benchmark.running.training.train`. What they raise ends this member alone.

    Attributes
    ----------
    history : list of dict
        As `train` gives it.
    fault : Exception or None
        Why the member failed.
    """

    method: Method
    config: TrainingConfig
    seed: int
    random: Tensor
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None
    on_stage: Callable[[Ended], None] = lambda ended: None
    history: list[dict[str, Any]] = field(default_factory=list, init=False)
    fault: Exception | None = field(default=None, init=False)


def train_together(members: Sequence[Member], dataset: Dataset, *, trains_on: str, device: torch.device) -> None:
    """Train models of one class in place, as :func:`benchmark.running.training.train` does each.

    Parameters
    ----------
    members : sequence of Member
        Alike but for seeds and for what `TrainingConfig` says besides the size of a batch.
    dataset : Dataset
    trains_on : {"complete", "missing"}
    device : torch.device

    Raises
    ------
    NotTogether
        If the method's structure does not allow it. The members are then of no more use.
    """
    if len({m.config.batch_size for m in members}) > 1:
        raise NotTogether("their batches differ in size")
    training, validation = (SplitTensors(dataset, name, device) for name in ("train", "valid"))
    row_of = {str(i): row for row, i in enumerate(training.split.ids)}
    for number in range(len(stages_of(members[0].method))):
        courses = {}
        for at, member in enumerate(members):
            if member.fault is None:
                with _RandomOf(member):
                    of = (member.method, dataset, training, validation, number, trains_on, member.config, member.seed)
                    courses[at] = Course(*of)
        if not courses or not any(course.parameters for course in courses.values()):
            continue
        for at, course in courses.items():
            _try_out(members[next(iter(courses))].method, members[at].method, next(course.batches()), row_of)
        _train_stage(members, courses, row_of)
    for member in members:
        member.method.eval()


def _train_stage(members: Sequence[Member], courses: Mapping[int, Course], row_of: Mapping[str, int]) -> None:
    going = list(courses)
    stack = Stack([members[at].method for at in going], [members[at].config for at in going])
    while going:
        started = time.perf_counter()
        names, numbers, sizes = stack.epoch([courses[at].batches() for at in going], row_of)
        over = []
        for row, at in enumerate(going):
            member, course = members[at], courses[at]
            try:
                with _RandomOf(member):
                    terms = means_of(names, numbers[:, :, row], sizes)
                    member.history.append(course.examine(terms, started))
                    member.on_epoch(member.history[-1])
            except Exception as error:  # of this member alone
                member.fault = course.told(error) if isinstance(error, TrainingError) else error
            if member.fault is not None or course.over:
                over.append(row)
        if over:
            stack.leave(over)
            for row in over:
                member = members[going[row]]
                if member.fault is None:
                    _end(member, courses[going[row]])
            going = [at for row, at in enumerate(going) if row not in over]


def _end(member: Member, course: Course) -> None:
    try:
        with _RandomOf(member):
            if (ended := course.end()) is not None:
                member.on_stage(ended)
    except Exception as error:
        member.fault = error


class _RandomOf:
    """What is drawn on the CPU within is drawn from the member's own generator."""

    def __init__(self, member: Member) -> None:
        self.member = member

    def __enter__(self) -> None:
        self.shared = torch.get_rng_state()
        torch.set_rng_state(self.member.random)

    def __exit__(self, *_: object) -> None:
        self.member.random = torch.get_rng_state()
        torch.set_rng_state(self.shared)


class Stack:
    """Models of one class whose weights are rows of one matrix; theirs are views of it, so each is always up to date.

    Parameters
    ----------
    methods : sequence of Method
        Their stage is started.
    configs : sequence of TrainingConfig
    """

    def __init__(self, methods: Sequence[Method], configs: Sequence[TrainingConfig]) -> None:
        self.methods, self.configs = list(methods), list(configs)
        self.base = copy.deepcopy(self.methods[0])  # whose code runs, and none of whose weights count
        self.used: list[str] | None = None  # parameters that have a gradient; known after the first step
        self.steps = 0
        self.fixed = {
            name: torch.stack([dict(m.named_parameters())[name].detach() for m in methods])
            for name, parameter in self.base.named_parameters()
            if not parameter.requires_grad
        }
        self.buffers = {
            name: torch.stack([dict(m.named_buffers())[name] for m in methods]) for name, _ in self.base.named_buffers()
        }
        self.shapes = {name: p.shape for name, p in self.base.named_parameters() if p.requires_grad}
        rows = [
            torch.cat([p.detach().flatten() for p in m.parameters() if p.requires_grad]) for m in methods
        ]  # (weights,)
        self.flat = torch.stack(rows)  # (models, weights)
        self.mean, self.square = torch.zeros_like(self.flat), torch.zeros_like(self.flat)  # of Adam
        self._link()

    def _link(self) -> None:
        """Have parameters and buffers of the models be views of the stacked ones."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = torch.split(self.flat, sizes, 1)
        # (models, numbers) → (models, *shape): views of the matrix
        self.parameters = {
            name: part.view(len(part), *shape).detach().requires_grad_()
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=self.flat.dtype, device=self.flat.device)[:, None]  # (models, 1)

        self.rate = column([c.learning_rate for c in self.configs])
        self.decay = column([c.weight_decay for c in self.configs])
        self.most = column([math.inf if c.clip_norm is None else c.clip_norm for c in self.configs])
        for row, method in enumerate(self.methods):
            for name, parameter in method.named_parameters():
                if name in self.parameters:
                    parameter.data = self.parameters[name].detach()[row]
            for name, stacked in self.buffers.items():
                _set_buffer(method, name, stacked[row])

    def leave(self, rows: Sequence[int]) -> None:
        """Let some models go, with their weights as they are; the others go on in a smaller stack."""
        for row in rows:
            method = self.methods[row]
            for parameter in method.parameters():
                parameter.data = parameter.data.clone()
            for name, buffer in list(method.named_buffers()):
                _set_buffer(method, name, buffer.clone())
        stay = [row for row in range(len(self.methods)) if row not in rows]
        self.methods = [self.methods[row] for row in stay]
        self.configs = [self.configs[row] for row in stay]
        self.flat, self.mean, self.square = self.flat[stay], self.mean[stay], self.square[stay]
        self.fixed = {name: x[stay] for name, x in self.fixed.items()}
        self.buffers = {name: x[stay] for name, x in self.buffers.items()}
        self._link()

    def epoch(self, batches: Sequence[Iterator[Batch]], row_of: Mapping[str, int]) -> tuple[list[str], Any, list[int]]:
        """One pass over the training batches of every model; waits for the device at the end only.

        Returns
        -------
        list of str
            Names of the loss's terms.
        ndarray, shape (batches, terms + 1, models)
            Their values; the norm of the gradient stands last.
        list of int
            Samples of each batch.
        """
        self.base.train()
        names: list[str] = []
        seen, sizes = [], []
        for step in zip(*batches, strict=True):
            terms = self._terms(stacked_batch(step, row_of))
            names = list(terms)
            norms = self._step(sum(terms.values(), start=torch.zeros((), device=self.flat.device)).sum())
            seen.append(torch.stack([*(term.detach() for term in terms.values()), norms]))  # (terms + 1, models)
            sizes.append(len(step[0]))
        return names, torch.stack(seen).double().cpu().numpy(), sizes

    def _terms(self, tensors: dict[str, Any]) -> dict[str, Tensor]:
        try:
            return terms_together(self.base, self.parameters | self.fixed, self.buffers, tensors)
        except Exception as error:
            raise NotTogether(f"a loss of several models at once: {type(error).__name__}: {error}") from error

    @torch.no_grad()
    def _step(self, loss: Tensor) -> Tensor:
        """Clip and take a step of Adam, as torch does, for each model with its own settings; gives the norms."""
        with torch.enable_grad():
            found = torch.autograd.grad(loss, list(self.parameters.values()), allow_unused=True)
        used = [name for name, gradient in zip(self.parameters, found, strict=True) if gradient is not None]
        if self.used is None:
            self.used = used
            idle = [torch.full((p[0].numel(),), p[0].numel() > 0 and n in used) for n, p in self.parameters.items()]
            self.moves = torch.cat(idle).to(self.flat)  # (weights,): 1 where a parameter has a gradient
        elif used != self.used:
            raise NotTogether("which parameters have a gradient differs between steps")
        gradient = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).flatten(1)
                for p, g in zip(self.parameters.values(), found, strict=True)
            ],
            1,
        )  # (models, weights)
        norms = gradient.norm(dim=1)  # (models,)
        gradient.mul_((self.most / (norms[:, None] + 1e-6)).clamp(max=1.0))
        gradient.addcmul_(self.flat, self.decay * self.moves)  # what has no gradient does not decay either
        self.steps += 1
        self.mean.lerp_(gradient, 1 - 0.9)
        self.square.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
        spread = (self.square / (1 - 0.999**self.steps)).sqrt_().add_(1e-8)
        self.flat.sub_(self.mean / spread * (self.rate / (1 - 0.9**self.steps)))
        return norms


def _set_buffer(method: nn.Module, name: str, value: Tensor) -> None:
    owner, _, last = name.rpartition(".")
    method.get_submodule(owner)._buffers[last] = value


class _Loss(nn.Module):
    """A method whose forward pass is its loss, which `functional_call` asks for."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if type(self.method).loss is Method.loss:
            return dict(self.method.terms(batch))
        return {"loss": self.method.loss(batch)}


def terms_together(
    base: Method, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], tensors: dict[str, Any]
) -> dict[str, Tensor]:
    """The terms of the loss of every model, each of shape (models,).

    Parameters
    ----------
    base : Method
        Whose code runs.
    parameters, buffers : mapping of name to Tensor, shape (models, ...)
    tensors : dict
        From :func:`stacked_batch`.
    """
    loss = _Loss(base)

    def of_one(weights: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        n = len(batch["labels"])
        # Each model has samples of its own, so that these names are none of a data set.
        return functional_call(loss, weights, Batch(ids=[f"\0{i}" for i in range(n)], **({"intensity": None} | batch)))

    weights = {f"method.{name}": x for name, x in {**parameters, **buffers}.items()}
    terms: dict[str, Tensor] = vmap(of_one, randomness="different")(weights, tensors)
    return terms


def stacked_batch(batches: Sequence[Batch], row_of: Mapping[str, int]) -> dict[str, Any]:
    """The fields of a `Batch`, with the models' dimension first; shorter batches are padded to the longest.

    Parameters
    ----------
    batches : sequence of Batch
        One a model, of as many samples each.
    row_of : mapping of id to int
        Where samples stand in the training split.
    """
    first = batches[0]
    stacked: dict[str, Any] = {"labels": torch.stack([b.labels for b in batches])}
    if first.intensity is not None:
        stacked["intensity"] = torch.stack([b.intensity for b in batches if b.intensity is not None])
    for name in _BY_MODALITY:
        by_modality = {}
        for m in MODALITIES:
            parts = [getattr(b, name)[m] for b in batches]  # (N, T_m) or (N, T_m, d_m) each
            longest = max(x.shape[1] for x in parts)
            tail = (0,) * (2 * (parts[0].ndim - 2))
            by_modality[m] = torch.stack([F.pad(x, (*tail, 0, longest - x.shape[1])) for x in parts])
        stacked[name] = by_modality
    places = torch.tensor([[row_of[i] for i in b.ids] for b in batches])  # (models, N)
    return stacked | {"places": places.to(first.device, non_blocking=True)}


def _try_out(base: Method, method: Method, batch: Batch, row_of: Mapping[str, int]) -> None:
    """One loss and its gradient, of a method alone and of the stack's code with its weights; both must be one.

    They differ where a method keeps numbers that are neither parameters nor buffers, looks at ids, or changes itself.

    Raises
    ------
    NotTogether
        If they differ, or cannot be computed.
    """
    batch = _head(batch, _TRIED)
    alone, code = copy.deepcopy(method).train(), copy.deepcopy(base).train()
    state, before = torch.get_rng_state(), _plain(alone)
    trained = {name: p for name, p in alone.named_parameters() if p.requires_grad}
    expected = terms_of(alone, batch)
    wanted = torch.autograd.grad(torch.stack(list(expected.values())).sum(), list(trained.values()), allow_unused=True)
    if not all(term.isfinite() for term in expected.values()):
        return  # which is told where it is trained
    if _plain(alone) != before:
        raise NotTogether(f"{type(method).__name__} changes itself in its loss")
    torch.set_rng_state(state)  # the same coins again
    parameters = {name: p.detach()[None].clone() for name, p in method.named_parameters()}
    for name in trained:
        parameters[name].requires_grad_()
    buffers = {name: b[None].clone() for name, b in method.named_buffers()}
    try:
        given = terms_together(code, parameters, buffers, stacked_batch([batch], row_of))
        found = torch.autograd.grad(
            torch.cat(list(given.values())).sum(), [parameters[n] for n in trained], allow_unused=True
        )
    except Exception as error:
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise NotTogether(f"{type(method).__name__} under vmap: {why}") from error
    finally:
        torch.set_rng_state(state)
    pairs = [(given[name][0], term, name, float(term.detach().abs())) for name, term in expected.items()]
    largest = max((float(g.abs().max()) for g in wanted if g is not None and g.numel()), default=0.0)
    for name, one, other in zip(trained, found, wanted, strict=True):
        if (one is None) != (other is None):
            raise NotTogether(f"{type(method).__name__}: {name} has a gradient one way only")
        if one is not None and other is not None:
            pairs.append((one[0], other, f"the gradient of {name}", largest))
    for one, other, what, size in pairs:
        if not torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE * size, equal_nan=True):
            raise NotTogether(f"{type(method).__name__}: {what} is another one in a stack")


def _head(batch: Batch, n: int) -> Batch:
    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: x[:n] for name, x in value.items()}
        return None if value is None else value[:n]

    return Batch(**{f.name: cut(getattr(batch, f.name)) for f in fields(Batch)})


def _plain(method: Method) -> list[tuple[str, bytes | int]]:
    """What a method holds besides modules, parameters and buffers, to compare with itself later."""
    held = ("_parameters", "_buffers", "_modules", "training")
    return [(name, _told(x)) for module in method.modules() for name, x in vars(module).items() if name not in held]


def _told(value: Any) -> bytes | int:
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError):  # such as the references of a recurrent module of torch
        return id(value)
