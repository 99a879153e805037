"""A device made of the CPU, on which what would fail or wait on a GPU fails or is noted.

Tensors on it hold a tensor of the CPU, and every operation is the CPU's, so results can be compared. Operations on
tensors of different devices are errors, as on a GPU; what makes the program wait for a GPU is noted: values that are
asked for, results whose size depends on values, copies. Random numbers come from the CPU.

The device is registered for the whole process and for good, so ``python -m tests.pretend METHOD ...`` has one of its own.
It prints what `tests/parts/test_pretend.py` looks at; ``--together METHOD ...`` of several models in a stack.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from benchmark import methods
from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.protocol.answers import terms_of
from benchmark.protocol.method import Method
from benchmark.protocol.missing import Setting
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.evaluation import predict_settings, represent_test
from benchmark.running.recorded import Ways
from benchmark.running.stack import Stack, training_fields
from benchmark.running.training import Course, train
from tests.batches import moved, random_batch, small_task, without_dropout
from tests.smaller import SMALLER

CPU = torch.device("cpu")
aten = torch.ops.aten
WAITS = {  # for a value, or for how many there are
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.bincount.default,
    aten._unique2.default,
}
INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
TAKES_BOTH = {aten._to_copy.default, aten.copy_.default, aten._pack_padded_sequence.default, *INDEXES}
ON_THE_CPU = ("lstm", "gru", "lstm_cell", "gru_cell")  # whole networks, which a GPU has other code for

waits: list[str] | None = None
"""Where the program waited, while somebody listens."""
copies_count = False
"""Whether copies between devices that nothing waits for are noted, too: a recorded step may have none."""


def register_device() -> torch.device:
    """Make the device known to torch; once a process, before its first backward pass."""
    _setup_privateuseone_for_python_backend("pretend")
    return torch.device("pretend:0")


class There(Tensor):
    """A tensor on the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        there = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device("pretend:0"),
        )
        there.held = held
        return there

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Sees also what makes a tensor out of nothing, or out of tensors of the CPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


def _mapped(change: Callable[[Tensor], Any], values: Any) -> Any:
    """Arguments or results of an operation with each tensor changed; torch's own way takes longer than the operation."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, list | tuple):
        return type(values)([_mapped(change, value) for value in values])
    return {name: _mapped(change, value) for name, value in values.items()} if isinstance(values, dict) else values


def _run(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors: list[Tensor] = []
    _mapped(tensors.append, (args, kwargs))
    from_there = any(isinstance(t, There) for t in tensors)
    from_here = any(not isinstance(t, There) and t.dim() > 0 for t in tensors)  # a number may go anywhere
    asked = kwargs.get("device")
    to_there = from_there if asked is None else asked.type == "pretend"
    if not from_there and not to_there:
        return function(*args, **kwargs)
    if from_there and from_here and function not in TAKES_BOTH:
        raise RuntimeError(f"{function.name()} of tensors on different devices")
    if waits is not None and _waits(function, args, kwargs, from_there, from_here, to_there):
        waits.append(f"{function.name()} at {_place()}")
    if asked is not None:
        kwargs = {**kwargs, "device": CPU}
    held = _mapped(lambda t: t.held if isinstance(t, There) else t, (args, kwargs))
    out = function(*held[0], **held[1])
    if not to_there:
        return out
    if function is aten._pack_padded_sequence.default:
        return There(out[0]), out[1]  # the batch sizes belong on the CPU
    return return_and_correct_aliasing(function, args, kwargs, _mapped(There, out))


def _waits(function: Any, args: Any, kwargs: Any, from_there: bool, from_here: bool, to_there: bool) -> bool:
    if function is aten._to_copy.default:
        return from_there != to_there and (copies_count or not (to_there and kwargs.get("non_blocking")))
    if function is aten.copy_.default:
        return from_here
    if function in INDEXES:
        places = [i for i in args[1] if i is not None]
        return any(i.dtype == torch.bool or not isinstance(i, There) for i in places)
    return function in WAITS


def _place() -> str:
    """The innermost line of the benchmark or of a method, if any."""
    folders = ("benchmark", "baselines", "corrkd")
    lines = [f for f in traceback.extract_stack() if Path(f.filename).parent.name in folders]
    return f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else "the backward pass"


@contextmanager
def pretended() -> Iterator[None]:
    """Within, the device can be used."""

    def on_the_cpu(network: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            global waits
            if not any(isinstance(t, There) for t in tree_leaves(args)):
                return network(*args)
            listening, waits = waits, None
            out = network(*_mapped(lambda t: t.cpu(), args))
            out = _mapped(lambda t: t.to("pretend:0"), out)
            waits = listening
            return out

        return call

    of_numbers = torch.tensor

    def tensor(*args: Any, device: torch.device | None = None, **kwargs: Any) -> Tensor:
        made = of_numbers(*args, **kwargs)  # copies past every mode
        return made if device is None else made.to(device)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(torch, "tensor", tensor))
        for name in ON_THE_CPU:
            stack.enter_context(mock.patch.object(torch._VF, name, on_the_cpu(getattr(torch._VF, name))))
        stack.enter_context(_Everywhere())
        yield


def build(name: str, task: Any) -> Method:
    """An untrained method without dropout, whose coins depend on the size of blocks, which depends on the device."""
    torch.manual_seed(0)
    cls = methods.load(methods.catalogue()[name])
    sizes = SMALLER.get(name, {})  # where it waits does not depend on them
    return without_dropout(cls(task, **hyperparameters(cls, name, known_tasks()[task.name], [sizes])[0]))


def trained(name: str, device: torch.device) -> np.ndarray:
    """Logits after one epoch, through the benchmark's own loops."""
    dataset = simulate(known_tasks()["mosi"], (8, 4, 4))
    method = build(name, task_spec(dataset)).to(device)
    config = TrainingConfig(epochs=1, learning_rate=1e-4, batch_size=4, validation_draws=1)
    train(method, dataset, trains_on="missing", config=config, seed=0, device=device)
    represent_test(method, dataset, draw=0, device=device)
    return predict_settings(method, dataset, [Setting(), Setting("l", 0.5)], draw=0, device=device)


def stepped(name: str, device: torch.device) -> tuple[np.ndarray, list[str]]:
    """Gradients of a batch of modalities of unequal length, and where the program waited for the device."""
    global waits
    task = small_task("mosi", {"l": 8, "a": 11, "v": 6})
    method = build(name, task).to(device)
    batch = moved(random_batch(task, 12, seed=2, kept=0.6), device)
    gradients, waited = [], []
    for stage in method.stages:
        with torch.no_grad():
            method.start_stage(stage, [batch])
        method.train()
        parameters = [p for p in method.parameters() if p.requires_grad]
        if not parameters:
            continue
        optimiser = torch.optim.Adam(parameters)
        first: list[Tensor] = []  # Adam's first step is as long for a gradient that is but rounding as for any other
        for _ in range(2):
            waits = []
            optimiser.zero_grad()
            sum(terms_of(method, batch).values()).backward()
            first = first or [p.grad.flatten().clone() for p in parameters if p.grad is not None]
            optimiser.step()
            waited, waits = waited + waits, None
        gradients += [gradient.cpu() for gradient in first]
    numbers = torch.cat(gradients).numpy() if gradients else np.zeros(0)
    return numbers, sorted(set(waited))


def stepped_together(name: str, device: torch.device) -> tuple[np.ndarray, list[str]]:
    """Losses and gradients' norms in a step of two models in a stack, as it is recorded, and where it waited or copied."""
    global waits, copies_count
    dataset = simulate(known_tasks()["mosi"], (4, 4, 4))
    tensors = [SplitTensors(dataset, split, device) for split in ("train", "valid")]
    config = TrainingConfig(batch_size=4)
    made = [build(name, task_spec(dataset)).to(device) for _ in range(2)]
    numbers, waited = [], []
    for stage in range(len(made[0].stages)):
        courses = [Course(one, dataset, *tensors, stage, "missing", config, seed) for seed, one in enumerate(made)]
        if not courses[0].parameters:
            continue
        stack = Stack(made, [config] * 2, Ways(graphs=False))
        with Ways().coins():
            (fields,), waits, copies_count = training_fields(courses, Ways().multiple), [], True
            taken = stack.take(fields)
            waited, waits, copies_count = waited + waits, None, False
        numbers = numbers or [taken.flatten()]  # Adam's steps are as long for a gradient that is but rounding
        stack.leave(range(2))
    return torch.cat([x.cpu() for x in numbers]).numpy(), sorted(set(waited))


def compared_together(name: str, device: torch.device) -> dict[str, Any]:
    """How far losses and norms in a stack are from the CPU's, as a share, and what waits."""
    expected, _ = stepped_together(name, CPU)
    with pretended():
        given, waited = stepped_together(name, device)
    off = np.abs(given - expected) / np.maximum(1.0, np.abs(expected))
    return {"difference": float(off.max()), "waits": waited}


def compared(name: str, device: torch.device) -> dict[str, Any]:
    """How far the device's results are from the CPU's, gradients as a share of the largest, and what waits."""
    expected_logits, (expected_gradients, _) = trained(name, CPU), stepped(name, CPU)
    with pretended():
        logits, (gradients, waited) = trained(name, device), stepped(name, device)
    differences = [
        float(np.abs(a - b).max(initial=0.0)) for a, b in ((logits, expected_logits), (gradients, expected_gradients))
    ]
    largest = float(np.abs(expected_gradients).max(initial=1.0))
    return {"logits": differences[0], "gradients": differences[1] / largest, "waits": waited}


def main(compare: Callable[[str, torch.device], dict[str, Any]], names: Sequence[str]) -> None:
    """Print what was found, by method; of one that raises, its traceback."""
    global waits, copies_count
    device, found = register_device(), {}
    for name in names:
        try:
            found[name] = compare(name, device)
        except Exception:
            found[name], waits, copies_count = {"error": traceback.format_exc()}, None, False
    print(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    stacked = sys.argv[1] == "--together"
    main(compared_together if stacked else compared, sys.argv[1 + stacked :])
    sys.stdout.flush()
    os._exit(
        0
    )  # torch's threads for a device of Python's may end after what they need: "terminate called", now and then
