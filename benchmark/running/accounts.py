"""What a prediction costs: seconds, floating-point operations and memory, of a trained method."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop

from benchmark.data.batches import SplitTensors
from benchmark.data.dataset import Dataset
from benchmark.protocol.answers import outputs_of
from benchmark.protocol.method import Batch, Method

SAMPLES = 16
"""The first so many test samples, complete, are predicted in one batch."""

_aten = torch.ops.aten
_REPEATS = (3, 15)
_ENOUGH = 0.15  # seconds of repeats, from which on the fewest will do


def account_of(method: Method, dataset: Dataset, device: torch.device) -> dict[str, Any]:
    """What it costs a method to predict the first `SAMPLES` test samples in one batch, with nothing missing.

    Random numbers are left as they were. The method is set to evaluation.

    Parameters
    ----------
    method : Method
        Trained, on `device`.
    dataset : Dataset
    device : torch.device

    Returns
    -------
    dict
        ``device``, ``cpu`` or ``cuda``; ``samples``, how many; ``seconds``, a sample, the median of ``repeats``
        predictions in ``threads`` threads; ``operations``, floating-point ones a sample, and ``uncounted``, the names
        of what ran and is not among them; ``memory``, in bytes. Or only ``fault``, why it cannot be told.
    """
    tensors = SplitTensors(dataset, "test", device)
    batch = tensors.batch(np.arange(min(SAMPLES, len(tensors))), training=False)
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            method.eval()
            counted = count(method, batch)
            seconds = _seconds(method, batch)
        except Exception as error:  # it costs no trained model
            return {"fault": f"{type(error).__name__}: {error}".partition("\n")[0]}
    return {
        "device": device.type,
        "samples": len(batch),
        "threads": torch.get_num_threads(),
        "repeats": len(seconds),
        "seconds": statistics.median(seconds) / len(batch),
        "operations": counted.operations / len(batch),
        "uncounted": sorted(counted.uncounted),
        "memory": counted.most,
    }


def count(method: Method, batch: Batch) -> Counted:
    """The operations and the memory of one prediction; gradients must be off.

    Parameters
    ----------
    method : Method
    batch : Batch
    """
    counted = Counted()
    held = chain(
        method.parameters(),
        method.buffers(),
        *(by_modality.values() for by_modality in (batch.features, batch.present, batch.frames)),
    )
    for tensor in held:
        counted.hold(tensor)
    with _plain_attention(), counted:
        outputs_of(method, batch)
    return counted


def _seconds(method: Method, batch: Batch) -> list[float]:
    """How long predictions take, one after another; the first, which warms up, is left out."""
    found: list[float] = []
    fewest, most = _REPEATS
    outputs_of(method, batch)
    while len(found) < fewest or (len(found) < most and sum(found) < _ENOUGH):
        _wait(batch.device)
        started = time.perf_counter()
        outputs_of(method, batch)
        _wait(batch.device)
        found.append(time.perf_counter() - started)
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """No attention layer of torch as one operation, inside of which nothing can be counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is untyped
    """Counts what torch does while the context is open, on any device.

    Operations are those of products of matrices, convolutions, attention and recurrent layers, a multiplication and an
    addition each, by the formulas of :class:`torch.utils.flop_counter.FlopCounterMode` and our own for what it lacks;
    biases, activations and all else that goes element by element are not counted. Memory is that of all tensors that
    are there at once, those that were told by `hold` before among them; what an operation needs inside of itself is
    not seen.

    Attributes
    ----------
    operations : int
    uncounted : set of str
        Names of what ran that may hide multiplications, and has no formula.
    most : int
        Bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = self.most = 0
        self.uncounted: set[str] = set()
        self._now = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would load its compiler, which takes a second of every worker, to keep it away from here."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = _FORMULAS.get(func._overloadpacket)
        if formula is None:
            with self:  # what consists of other operations is counted as these
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        if formula is not None:
            self.operations += formula(*args, **kwargs, out_val=out)
        elif not _is_light(func):
            self.uncounted.add(str(func._overloadpacket))
        for tensor in _tensors(out):
            self.hold(tensor)
        return out

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor's memory, once, for as long as it is there."""
        storage = tensor.untyped_storage()
        place, size = id(storage), storage.nbytes()
        if place in self._alive:
            return

        def gone(_: object) -> None:
            self._now -= size
            del self._alive[place]

        self._alive[place] = weakref.ref(storage, gone)
        self._now += size
        self.most = max(self.most, self._now)


def _tensors(out: Any) -> Iterator[Tensor]:
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, tuple | list):
        for part in out:
            yield from _tensors(part)


def _recurrent(x: Tensor, *weights: Any, **_: Any) -> int:
    """Of a layer of LSTM or GRU cells, or several: every weight matrix meets every frame, (T, N, d) or packed."""
    frames = x.numel() // x.shape[-1]
    found = chain.from_iterable(_tensors(own) for own in weights[:4])
    return 2 * frames * sum(w.numel() for w in found if w.ndim == 2)


def _of_vectors(*tensors: Any, **_: Any) -> int:
    """Of products with a vector: each element of the largest factor is multiplied, and added, once."""
    return 2 * max(x.numel() for x in tensors if isinstance(x, Tensor))


def _distances(x: Tensor, y: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Of all pairs of rows, (N, d) and (M, d): a difference, a power and an addition for each number of each."""
    return 3 * out_val.numel() * x.shape[-1]


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop(q.shape, k.shape, v.shape))


_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    _aten.mkldnn_rnn_layer: _recurrent,
    _aten._cudnn_rnn: _recurrent,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._cdist_forward: _distances,
    **dict.fromkeys((_aten.mv, _aten.addmv, _aten.dot, _aten.vdot), _of_vectors),
}

_NAMES = """
    _adaptive_avg_pool2d _embedding_bag _linalg_check_errors _local_scalar_dense _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_no_training _pack_padded_sequence _prelu_kernel _reshape_alias
    _softmax _thnn_fused_gru_cell _thnn_fused_lstm_cell _to_copy _unique2 _unsafe_index _unsafe_view all amax amin
    aminmax any arange argmax argmin as_strided avg_pool2d bernoulli bincount bucketize cat clone constant_pad_nd
    copy count_nonzero cummax cummin cumprod cumsum detach embedding empty empty_like equal fill flip floor_divide
    full full_like gather glu index index_add index_fill index_put index_select lift_fresh linalg_vector_norm
    log_softmax logsumexp masked_fill masked_select max max_pool2d_with_indices mean median min multinomial
    native_batch_norm native_dropout native_group_norm native_layer_norm new_empty new_full new_ones new_zeros
    nonzero norm normal ones ones_like prod rand rand_like randint randn randn_like randperm repeat
    repeat_interleave resize roll scalar_tensor scatter scatter_add scatter_reduce searchsorted softmax sort squeeze
    stack std std_mean sum swapaxes t topk trace transpose tril triu uniform unsafe_split unsafe_split_with_sizes
    unsqueeze upsample_linear1d upsample_nearest1d var var_mean where zero zeros zeros_like
"""
_LIGHT = frozenset(_NAMES.split())
"""What hides no product: it moves, compares, adds up or normalises. In-place forms are meant too."""


def _is_light(func: Any) -> bool:
    name = func._schema.name.partition("::")[2].rstrip("_")
    return torch.Tag.pointwise in func.tags or func.is_view or func.namespace == "prim" or name in _LIGHT
