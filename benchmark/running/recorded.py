"""What a GPU can do to the step of several models at once: record it and replay it, bfloat16, compiled code.

A step is thousands of small kernels, and a GPU is done with each before the next one is launched. Recorded as a CUDA
graph it is one launch. A graph does again exactly what it was recorded with, so that whatever changes from step to step
must lie in tensors of the device that stay where they are.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

Fields = dict[str, Any]
Step = Callable[[Fields], Tensor]
Replay = Callable[[], Tensor]

_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_SHAPES = 12  # of batches that are recorded, at most; those of other shapes are computed as they come


@dataclass(frozen=True)
class Ways:
    """How the step of several models is computed on a GPU. Nothing of it is done elsewhere.

    Parameters
    ----------
    graphs : bool
        Recorded as a CUDA graph for each shape of a batch.
    bf16 : bool
        Matrix products in bfloat16. It changes numbers, and is no default.
    compiled : bool
        Loss and gradients in code that is compiled for each shape first, which takes minutes.
    """

    graphs: bool = True
    bf16: bool = False
    compiled: bool = False

    def on(self, device: torch.device) -> Ways:
        """Those of a device."""
        return self if device.type == "cuda" else Ways(graphs=False)

    @property
    def multiple(self) -> int:
        """Of how many frames batches are as long as a multiple, so that there are few shapes of them."""
        return 16 if self.graphs else 1

    def precision(self) -> AbstractContextManager[Any]:
        """Within, matrix products are of this precision."""
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if self.bf16 else nullcontext()

    def coins(self) -> AbstractContextManager[Any]:
        """Within, dropout takes what a recorded step can go on with."""
        return coins_of_the_device() if self.graphs else nullcontext()

    def deriving(self, derive: Callable[..., Any]) -> Callable[..., Any]:
        """A function that changes nothing but in place, computed in these ways."""
        return compiled(derive) if self.compiled else derive

    def stepping(self, step: Step) -> Step:
        """A step, computed in these ways."""
        return Recorded(step, _CudaGraphs()) if self.graphs else step


USUAL = Ways()
"""Without being asked."""


@contextmanager
def coins_of_the_device() -> Iterator[None]:
    """Within, dropout's coins are thrown by the device's generator, which goes on from replay to replay.

    The place in the pool of coins, a number that the CPU draws, would be the same in each.
    """
    pool: Any = importlib.import_module("benchmark.parts.dropout")  # by its name `benchmark.parts` has the function
    before = pool._stretch

    def thrown(shape: Sequence[int], p: float, like: Tensor) -> Tensor:
        return F.dropout(like.new_ones(tuple(shape)), p)

    pool._stretch = thrown
    try:
        yield
    finally:
        pool._stretch = before


def compiled(function: Callable[..., Any], backend: str = "inductor") -> Callable[..., Any]:
    """A function of tensors as compiled code, made when a shape is first met; what runs is traced, and not how.

    So a gradient may be taken in it, and models be stacked. Gradients do not go through it.
    """
    known: dict[Any, Callable[..., Any]] = {}

    def call(*given: Any) -> Any:
        tensors, structure = tree_flatten(given)
        shape = _shape(tensors)
        if shape not in known:
            # It runs as it is traced, on copies, since it may change what it is given.
            copies = [x.detach().clone().requires_grad_(x.requires_grad) for x in tensors]
            traced = make_fx(lambda flat: function(*tree_unflatten(flat, structure)))(copies)
            known[shape] = torch.compile(traced, backend=backend)
        with torch.no_grad():
            return known[shape](tensors)

    return call


def _shape(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    return tuple((x.shape, x.dtype) for x in tensors)


class Recorded:
    """A step whose input lies in fixed buffers, one set for each shape, so that it can be recorded and replayed.

    Where recording fails, a line says so, and each step is computed as it comes.

    Parameters
    ----------
    step : callable
        Fields of a batch → numbers of it, a Tensor. All else that it changes, it changes in place.
    record : callable
        A function without arguments → one that does again what this would do now, and gives what it would give. It
        computes nothing itself.
    """

    def __init__(self, step: Step, record: Callable[[Replay], Replay]) -> None:
        self.step, self.record = step, record
        self.fault = ""
        self._known: dict[tuple[Any, ...], tuple[list[Tensor], Replay] | None] = {}

    def __call__(self, fields: Fields) -> Tensor:
        """What the step gives."""
        given, structure = tree_flatten(fields)
        shape = _shape(given)
        if self.fault or (shape not in self._known and len(self._known) >= _SHAPES):
            return self.step(fields)
        if shape not in self._known:  # at first as it comes: what is made when it is first needed is not recorded
            self._known[shape] = None
            return self._watched(fields)
        known = self._known[shape]
        if known is None:
            buffers = [x.clone() for x in given]
            try:
                replay = self.record(lambda: self.step(tree_unflatten(buffers, structure)))
            except Exception as error:
                self._give_up(f"{type(error).__name__}: {error}".partition("\n")[0])
                return self.step(fields)
            known = self._known[shape] = buffers, replay
        buffers, replay = known
        for buffer, x in zip(buffers, given, strict=True):
            buffer.copy_(x)
        return replay().clone()  # the next replay writes over it

    def _watched(self, fields: Fields) -> Tensor:
        before = torch.get_rng_state()
        with _Copies() as copies:
            result = self.step(fields)
        if copies.between_devices:  # a graph would copy again from where its first tensor was
            self._give_up("its loss copies between the CPU and the device")
        elif not torch.equal(before, torch.get_rng_state()):
            self._give_up("its loss draws numbers on the CPU")
        return result

    def _give_up(self, why: str) -> None:
        self.fault = why
        warnings.warn(f"steps are not recorded as CUDA graphs: {why}", stacklevel=2)


class _Copies(TorchDispatchMode):  # type: ignore[no-untyped-call] # of torch
    """Within, notes whether anything is copied from one device to another."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.between_devices = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in _COPIES:
            self.between_devices |= len({x.device for x in tree_leaves((args, result)) if isinstance(x, Tensor)}) > 1
        return result


class _CudaGraphs:
    """Records into graphs that share their memory: they run one after another, and keep nothing between them."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Replay) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            result = work()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay
