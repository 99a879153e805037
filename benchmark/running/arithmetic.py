"""Portable arithmetic: the same bits on every x86-64 processor that has AVX2 and FMA, whoever made it.

Libraries choose their machine code by the processor; on another one they add up in another order or approximate
otherwise. Here each is held to code that runs on all of them and uses no instruction whose result its maker may choose
(the approximate reciprocals ``rcpps`` and ``rsqrtps`` are the only ones). ``docs/portable.md`` goes through it,
operation by operation. What comes out still depends on the versions of torch, NumPy, SciPy and the C library.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmark.errors import BenchmarkError
from benchmark.names import GRIDS

if TYPE_CHECKING:
    from torch import Tensor

NATIVE, PORTABLE = "native", "portable"
_computing = [NATIVE]  # the last is that of the innermost block of `computing`
# The libraries read these when they are loaded.
ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own loops, which use AVX-512 where it is there
    "MKL_CBWR": "COMPATIBLE",  # torch's matrix products: the branch that is the same on all makers' processors
    "MKL_VML_DEBUG_CPU_TYPE": "1",  # torch's exp, log, sqrt, ...: MKL's one set of them without approximate reciprocals
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's convolutions
    "OPENBLAS_CORETYPE": "Haswell",  # matrix products of NumPy, SciPy and scikit-learn
    "OPENBLAS_L2_SIZE": "512",  # KiB of cache, for which it cuts them into blocks
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's own loops
}
# Digests of what the operations below give, by torch's version; the same on a processor of AMD with AVX-512, and on an
# Intel Haswell and an AMD Rome that were emulated. Another version may have others: then they are not compared.
PROVEN = {
    "2.13.0": {
        "matrix products": "c988b494cacf221d",
        "exp and log": "36ba456bc71f5d07",
        "sqrt": "b39cbba53efff9ba",
        "tanh, erf, sin and cos": "71991b7d0f6557d9",
        "softmax and losses": "1bf53a21951d700f",
        "norms and sums": "82f35995a499be70",
        "convolutions": "2ab207e5184bb556",
        "LSTMs": "c660da6d92f9fe5d",
        "GRUs": "4114da4486d0eb22",
        "NumPy": "676806763a555b4c",
    },
}


def asked_for_by(grid: str | None) -> bool:
    """Whether a grid wants portable arithmetic, read before a library is loaded that would have to know.

    What is wrong with a grid is told by those who read it after this.
    """
    import yaml

    path = GRIDS / f"{grid}.yaml"
    try:
        content = yaml.safe_load((path if path.is_file() else Path(str(grid))).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and content.get("portable") is True


def have_this_process() -> None:
    """Have this process compute portably, where no library has been loaded yet that would have to know of it."""
    if "numpy" not in sys.modules and "torch" not in sys.modules:
        os.environ |= ENVIRONMENT


@contextmanager
def in_new_processes() -> Iterator[None]:
    """Have the processes that are started in the block compute portably."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ |= ENVIRONMENT
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def apart(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function gives in a process that computes portably: this one, or else one that is started for it.

    Raises
    ------
    BenchmarkError
        If that process is killed.
    """
    if not fault():
        return function(*arguments, **named)
    from joblib.externals.loky.cloudpickle_wrapper import dumps, loads  # for classes of a notebook

    # No pool: a worker of Dask's may start a program, but no process of Python's.
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import answer; answer()"],
        input=dumps((function, arguments, named)),
        stdout=subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError("the process that computes portably for this one was killed (out of memory?)")
    fine, result = loads(done.stdout)
    if not fine:
        raise result
    return result


def answer() -> None:
    """In the process that :func:`apart` starts: read the call, answer it."""
    from joblib.externals.loky.cloudpickle_wrapper import dumps, loads

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    function, arguments, named = loads(sys.stdin.buffer.read())
    try:
        result = True, function(*arguments, **named)
    except Exception as error:
        result = False, error
    with out:
        out.write(dumps(result))


@contextmanager
def computing(arithmetic: str) -> Iterator[None]:
    """Compute a cell in the block. In portable arithmetic, LSTMs are torch's own.

    oneDNN's, which torch takes for input that is not packed, cuts products into blocks by the size of the caches.
    """
    from torch import backends, nn

    if arithmetic == NATIVE:
        yield
        return
    _computing.append(arithmetic)
    forward, onednn = nn.LSTM.forward, cast(Any, backends.mkldnn)

    def of_torch(self: nn.LSTM, *arguments: Any, **named: Any) -> Any:
        enabled, *_ = onednn.set_flags(_enabled=False)
        try:
            return forward(self, *arguments, **named)
        finally:
            onednn.set_flags(_enabled=enabled)

    nn.LSTM.forward = of_torch  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.LSTM.forward = forward  # type: ignore[method-assign]
        _computing.pop()


def is_portable() -> bool:
    """Whether a cell is computed portably, in the block of :func:`computing`."""
    return _computing[-1] == PORTABLE


def machine_fault() -> str:
    """Why no process of this machine can compute portably; empty where one can."""
    import torch

    if platform.machine() not in ("x86_64", "AMD64"):
        return f"this is a processor of kind {platform.machine()}, and portable arithmetic is for x86-64"
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return "this processor lacks AVX2 or FMA, which portable arithmetic needs"
    return ""


@cache
def fault() -> str:
    """Why this process does not compute portably; empty where it does, which takes a few milliseconds to find out."""
    import torch

    if reason := machine_fault():
        return reason
    if unset := [name for name, value in ENVIRONMENT.items() if os.environ.get(name) != value]:
        return f"this process was started without {unset[0]}={ENVIRONMENT[unset[0]]}"
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        return "torch was loaded before portable arithmetic was asked for"
    shown = PROVEN.get(torch.__version__.partition("+")[0], {})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as cells are computed: several would divide a product, and add up in another order
    try:
        with computing(PORTABLE):
            given = operations() if shown else {}
    finally:
        torch.set_num_threads(threads)
    if other := [name for name, digest in shown.items() if given[name] != digest]:
        return f"{' and '.join(other)} give other bits here than portable arithmetic does; native arithmetic works"
    return ""


def check_portable(device: str, *, here: bool, say: Callable[[str], None]) -> None:
    """Refuse what cannot be computed portably, and say what is not known.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
    here : bool
        Cells are computed on this machine.
    say : callable

    Raises
    ------
    BenchmarkError
    """
    import torch

    if device == "cuda":
        raise BenchmarkError("portable arithmetic is of the CPU; leave --device cuda out, or give --no-portable")
    if here and (reason := machine_fault()):
        raise BenchmarkError(f"{reason}; give --no-portable, whose numbers differ a little from processor to processor")
    if torch.__version__.partition("+")[0] not in PROVEN:
        say(
            f"warning: that portable arithmetic gives the same bits on all processors was shown with torch "
            f"{' and '.join(PROVEN)}, and this is {torch.__version__}"
        )


def operations() -> dict[str, str]:
    """Digests of what operations of each kind give here, on numbers that are the same everywhere."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn

    def numbers(*shape: int) -> Tensor:
        whole = np.arange(np.prod(shape), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**16)  # of 16 bits
        return torch.from_numpy((whole / 2.0**15 - 1.0).astype(np.float32)).reshape(shape)  # from -1 to 1, exactly

    def trained(network: nn.Module, x: Tensor) -> list[Tensor]:
        for parameter in network.parameters():
            parameter.data = numbers(*parameter.shape) / 8
        given = network(x)
        given = given[0] if isinstance(given, tuple) else given
        given.square().sum().backward()
        return [given, *(parameter.grad for parameter in network.parameters() if parameter.grad is not None)]

    x, positive = numbers(4096), numbers(4096).abs() + 0.01
    square = x.view(64, 64)
    weights = numbers(40, 300)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        given: dict[str, list[Tensor]] = {
            "matrix products": [numbers(64, 300) @ weights.T, torch.bmm(numbers(8, 30, 20), numbers(8, 20, 30))],
            "exp and log": [x.exp(), positive.log(), x.double().exp(), positive.double().log()],
            "sqrt": [positive.sqrt(), positive.double().sqrt(), positive.rsqrt()],
            "tanh, erf, sin and cos": [x.tanh(), x.erf(), x.sin(), x.cos()],
            "softmax and losses": [F.log_softmax(square, 1), x.sigmoid(), F.softplus(x), F.gelu(x)],
            "norms and sums": [
                F.layer_norm(x.view(64, 64), (64,)),
                x.norm(),
                x.var(),
                torch.cdist(x.view(64, 64), x.view(64, 64)),
            ],
            "convolutions": trained(nn.Conv1d(30, 40, 3, padding=1), numbers(8, 30, 20)),
            "LSTMs": trained(nn.LSTM(20, 32, bidirectional=True), numbers(12, 8, 20)),
            "GRUs": trained(nn.GRU(20, 32, bidirectional=True), numbers(12, 8, 20)),
        }
    array = square.double().numpy()
    given["NumPy"] = [torch.from_numpy(np.exp(array)), torch.from_numpy(array @ array)]
    return {name: _digest(values) for name, values in given.items()}


def _digest(values: list[Tensor]) -> str:
    content = hashlib.sha256()
    for value in values:
        content.update(value.detach().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


def processor(arithmetic: str) -> dict[str, Any]:
    """What computes here, for a cell's record: the processor and its maker, its instructions, arithmetic, threads."""
    import torch

    fields = dict(line.partition(":")[::2] for line in _text(Path("/proc/cpuinfo")).partition("\n\n")[0].splitlines())
    known = {name.strip(): value.strip() for name, value in fields.items()}
    return {
        "model": known.get("model name") or platform.processor() or platform.machine(),
        "vendor": known.get("vendor_id", ""),
        "family": " ".join(filter(None, (known.get("cpu family"), known.get("model"), known.get("stepping")))),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "arithmetic": arithmetic,
        "threads": torch.get_num_threads(),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
