"""Models of one class as one model: their weights are rows of a matrix, and one step trains all."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from benchmark.protocol.answers import outputs_of
from benchmark.protocol.method import Batch, Method
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.recorded import Ways
from benchmark.running.training import Course

_VALIDATION_BATCH = 256  # samples: of each model on a GPU, of all together on a CPU


class NotTogether(RuntimeError):
    """Models that cannot be trained at once; says why."""


class Stack:
    """Models of one class whose weights are rows of one matrix; theirs are views of it, so each is always up to date.

    Parameters
    ----------
    methods : sequence of Method
        Their stage is started.
    configs : sequence of TrainingConfig
    ways : Ways
        Those of the device that the methods are on.
    """

    def __init__(self, methods: Sequence[Method], configs: Sequence[TrainingConfig], ways: Ways) -> None:
        self.methods, self.configs, self.ways = list(methods), list(configs), ways
        self.base = copy.deepcopy(self.methods[0])  # whose code runs, and none of whose weights count
        self.used: list[str] | None = None  # parameters that have a gradient; known after the first step
        self.names: list[str] = []  # of the loss's terms; likewise
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
        self.steps = torch.zeros((), dtype=torch.float64, device=self.flat.device)
        self._link()

    def _link(self) -> None:
        """Have parameters and buffers of the models be views of the stacked ones."""
        self.take, self.derive = self.ways.stepping(self._take), self.ways.deriving(self._derive)
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
        if not stay:
            return
        self.methods = [self.methods[row] for row in stay]
        self.configs = [self.configs[row] for row in stay]
        self.flat, self.mean, self.square = self.flat[stay], self.mean[stay], self.square[stay]
        self.fixed = {name: x[stay] for name, x in self.fixed.items()}
        self.buffers = {name: x[stay] for name, x in self.buffers.items()}
        self._link()

    def epoch(self, batches: Iterator[dict[str, Any]]) -> tuple[list[str], Any, list[int]]:
        """One pass over the training batches of every model; waits for the device at the end only.

        Parameters
        ----------
        batches : iterator of dict
            From :func:`training_fields`.

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
        seen, sizes = [], []
        with self.ways.coins():
            for fields_ in batches:
                seen.append(self.take(fields_))  # (terms + 1, models)
                sizes.append(fields_["labels"].shape[1])
        return self.names, torch.stack(seen).double().cpu().numpy(), sizes

    @torch.no_grad()
    def outputs(self, courses: Sequence[Course]) -> Tensor:
        """What every model says of the validation rows of its course, on the CPU: (models, n, K)."""
        self.base.eval()
        split, n = courses[0].validation, len(courses)
        size = _VALIDATION_BATCH if self.flat.is_cuda else max(1, _VALIDATION_BATCH // n)
        parts = split.parts(*_side_by_side([course.examined for course in courses]), size, training=False)
        weights = self.parameters | self.fixed
        asked = partial(asked_together, self.base, outputs_of, weights, self.buffers)
        return torch.cat([_or_not(asked, given) for _, _, given in parts], 1).cpu()

    def _take(self, fields_: dict[str, Any]) -> Tensor:
        """A step on a batch: the terms of its loss and the norms of the gradients, (terms + 1, models)."""
        terms, gradients = _or_not(self.derive, self.parameters, self.fixed, self.buffers, fields_)
        self.names = list(terms)
        norms = self._step(gradients)
        return torch.stack([*terms.values(), norms])

    def _derive(
        self,
        parameters: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        fields_: dict[str, Any],
    ) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        """The terms of the loss, (models,) each, and the gradients of their sum."""
        with torch.enable_grad(), self.ways.precision():
            terms = asked_together(self.base, loss_of, {**parameters, **fixed}, buffers, fields_)
            total = torch.stack([*terms.values()]).sum()
        found = torch.autograd.grad(total, [*parameters.values()], allow_unused=True)
        return {name: term.detach() for name, term in terms.items()}, [*found]

    @torch.no_grad()
    def _step(self, found: Sequence[Tensor | None]) -> Tensor:
        """Clip and take a step of Adam, as torch does, for each model with its own settings; gives the norms."""
        used = [name for name, gradient in zip(self.parameters, found, strict=True) if gradient is not None]
        if self.used is None:
            self.used = used
            moves = [self.flat.new_full((p[0].numel(),), float(n in used)) for n, p in self.parameters.items()]
            self.moves = torch.cat(moves)  # (weights,): 1 where a parameter has a gradient
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
        spread = (self.square / (1 - torch.pow(0.999, self.steps))).sqrt_().add_(1e-8)
        self.flat.sub_(self.mean / spread * (self.rate / (1 - torch.pow(0.9, self.steps))))
        return norms


def _or_not(compute: Callable[..., Any], *given: Any) -> Any:
    """What is computed of several models; what goes wrong in it says that they cannot be, unless memory ran out."""
    try:
        return compute(*given)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise NotTogether(f"several models at once: {type(error).__name__}: {error}") from error


def _set_buffer(method: nn.Module, name: str, value: Tensor) -> None:
    owner, _, last = name.rpartition(".")
    method.get_submodule(owner)._buffers[last] = value


class _Asked(nn.Module):
    """A method whose forward pass is what is asked of it, since `functional_call` calls that alone."""

    def __init__(self, method: Method, what: Callable[[Method, Batch], Any]) -> None:
        super().__init__()
        self.method, self.what = method, what

    def forward(self, batch: Batch) -> Any:
        return self.what(self.method, batch)


def loss_of(method: Method, batch: Batch) -> dict[str, Tensor]:
    """The terms of a loss."""
    if type(method).loss is Method.loss:
        return dict(method.terms(batch))
    return {"loss": method.loss(batch)}


def asked_together(
    base: Method,
    what: Callable[[Method, Batch], Any],
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    fields_: dict[str, Any],
) -> Any:
    """What every model answers to its own batch; models stand first in all tensors.

    Parameters
    ----------
    base : Method
        Whose code runs.
    what : callable
        A method and a batch → its answer, tensors.
    parameters, buffers : mapping of name to Tensor, shape (models, ...)
    fields_ : dict
        Of a `Batch`, but for its ids.
    """
    asked = _Asked(base, what)

    def of_one(weights: dict[str, Tensor], given: dict[str, Any]) -> Any:
        n = len(given["labels"])
        # Each model has samples of its own, so that these names are none of a data set.
        return functional_call(asked, weights, Batch(ids=[f"\0{i}" for i in range(n)], **({"intensity": None} | given)))

    weights = {f"method.{name}": x for name, x in {**parameters, **buffers}.items()}
    return vmap(of_one, randomness="different")(weights, {k: x for k, x in fields_.items() if x is not None})


def training_fields(courses: Sequence[Course], multiple: int = 1) -> Iterator[dict[str, Any]]:
    """The fields of the batches of the next epoch of several models, models first, with the samples' `places`.

    Parameters
    ----------
    courses : sequence of Course
        With batches of one size.
    multiple : int
        As of :meth:`benchmark.data.batches.SplitTensors.parts`.
    """
    split, size = courses[0].training, courses[0].config.batch_size
    drawn = _side_by_side([course.drawn() for course in courses])
    for _, places, given in split.parts(*drawn, size, training=True, merge_single=True, multiple=multiple):
        yield {name: x for name, x in given.items() if x is not None} | {"places": places}


def _side_by_side(drawn: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Rows (n,) and masks (n, T_m) of several models → (models, n) and (models, n, T_m)."""
    masks = None if drawn[0][1] is None else {m: np.stack([kept[m] for _, kept in drawn]) for m in MODALITIES}
    return np.stack([rows for rows, _ in drawn]), masks
