"""Whether models of a class can train at once, by the class's structure, and whether that is faster."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from benchmark.protocol.answers import outputs_of, terms_of
from benchmark.protocol.method import Batch, Method
from benchmark.running.recorded import Ways
from benchmark.running.stack import NotTogether, Stack, asked_together, loss_of, training_fields
from benchmark.running.training import Course, train_epoch

_TRIED = 8  # samples of the batch on which it is tried whether a method can be stacked
_TOLERANCE = 1e-3  # of a loss, or a gradient, computed both ways in float32
_TIMED = 2  # batches by which it is found whether a stack is faster
WORTH = 1.05
"""The least gain for which models are stacked: two batches tell a rate to a few per cent only."""


def try_out(base: Method, course: Course) -> bool:
    """One loss and its gradient, of a method alone and of the stack's code with its weights; both must be one.

    They differ where a method keeps numbers that are neither parameters nor buffers, looks at ids, or changes itself.

    Returns
    -------
    bool
        Whether its outputs for validation are one as well, so that they can be computed together too.

    Raises
    ------
    NotTogether
        If the losses or the gradients differ, or cannot be computed.
    """
    method, batch = course.method, _head(next(course.batches()), _TRIED)
    given = tree_map(lambda x: x[:, :_TRIED], next(training_fields([course])))
    alone, code = copy.deepcopy(method).train(), copy.deepcopy(base).train()
    before = _plain(alone)
    trained = {name: p for name, p in alone.named_parameters() if p.requires_grad}
    parameters = {name: p.detach()[None].clone() for name, p in method.named_parameters()}
    for name in trained:
        parameters[name].requires_grad_()
    buffers = {name: b[None].clone() for name, b in method.named_buffers()}
    # The same coins both ways, and on a GPU products that are as exact both ways.
    devices = [batch.device] if batch.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        torch.manual_seed(course.seed)
        expected = terms_of(alone, batch)
        total = torch.stack(list(expected.values())).sum()
        wanted = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
        if not all(term.isfinite() for term in expected.values()):
            return False  # which is told where it is trained
        if _plain(alone) != before:
            raise NotTogether(f"{type(method).__name__} changes itself in its loss")
        torch.manual_seed(course.seed)
        try:
            terms = asked_together(code, loss_of, parameters, buffers, given)
            total = torch.cat(list(terms.values())).sum()
            found = torch.autograd.grad(total, [parameters[n] for n in trained], allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise NotTogether(f"{type(method).__name__} under vmap: {why}") from error
        pairs = [(terms[name][0], term, name, float(term.detach().abs())) for name, term in expected.items()]
        largest = max((float(g.abs().max()) for g in wanted if g is not None and g.numel()), default=0.0)
        for name, one, other in zip(trained, found, wanted, strict=True):
            if (one is None) != (other is None):
                raise NotTogether(f"{type(method).__name__}: {name} has a gradient one way only")
            if one is not None and other is not None:
                pairs.append((one[0], other, f"the gradient of {name}", largest))
        for one, other, what, size in pairs:
            if not _one(one, other, size):
                raise NotTogether(f"{type(method).__name__}: {what} is another one in a stack")
        return _predicts(alone.eval(), code.eval(), batch, given, parameters, buffers)


@torch.no_grad()
def _predicts(
    alone: Method,
    code: Method,
    batch: Batch,
    given: dict[str, Any],
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
) -> bool:
    expected = outputs_of(alone, batch)
    try:
        (found,) = asked_together(code, outputs_of, parameters, buffers, given)
    except Exception:
        return False  # then each model is validated by itself
    return _one(found, expected, float(expected.abs().max()))


def _one(value: Tensor, other: Tensor, size: float) -> bool:
    return torch.allclose(value, other, rtol=_TOLERANCE, atol=_TOLERANCE * size, equal_nan=True)


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


def gain(courses: Sequence[Course]) -> float:
    """How many times as fast as one after another models take a step at once, by a few batches and copies of them."""
    methods, configs = [copy.deepcopy(course.method) for course in courses], [course.config for course in courses]
    one, first = copy.deepcopy(courses[0].method), courses[0]
    stack = Stack(methods, configs, Ways(graphs=False))
    optimiser = torch.optim.Adam([p for p in one.parameters() if p.requires_grad], lr=first.config.learning_rate)

    def alone() -> None:
        train_epoch(one, optimiser, islice(first.batches(), 1), first.config.clip_norm)

    def together() -> None:
        stack.epoch(islice(training_fields(courses), 1))

    taken: dict[Callable[[], None], list[float]] = {alone: [], together: []}
    with torch.random.fork_rng(devices=[]):
        for _ in range(1 + _TIMED):  # in turns, so that what else the machine does meets both
            for work, seconds in taken.items():
                began = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - began)
    return len(courses) * min(taken[alone][1:]) / min(taken[together][1:])
