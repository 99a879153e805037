"""Runs cells on a Dask cluster that is there already.

The cells are handed to `distributed` itself and not to joblib's Dask backend, which never returns when a task's worker
dies each time (``return_as="generator_unordered"`` waits for a result that does not come), and computes in the calling
process when the cluster has a single worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import pickle
import re
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from threadpoolctl import threadpool_limits

from benchmark.errors import BenchmarkError
from benchmark.methods.registry import FOLDERS, ROOT
from benchmark.running import arithmetic
from benchmark.running.arithmetic import PORTABLE
from benchmark.running.cell import Outcome, Work, record_failure, run_cell
from benchmark.running.devices import device_fault
from benchmark.running.environment import environment
from benchmark.running.grid import Cell
from benchmark.running.store import Store

TIMEOUT = 10  # seconds to wait for the scheduler
_ADDRESS = re.compile(r"(tcp|tls|ucx|wss?)://\S+:\d+/?")


@dataclass(frozen=True)
class Demands:
    """What a worker must have in common with the driver.

    Parameters
    ----------
    mark : Path
        A file in the output folder, there as long as the run lasts.
    data : tuple of Path
        Files that it must be able to read.
    root : Path
        Where the code lies.
    sources : dict of str to str
        Digests of the code, by file.
    environment : dict of str to str
        Versions that may change a number.
    device : {"auto", "cpu", "cuda"}
        What it must compute on.
    portable : bool
        Whether its processor must be able to compute portably.
    """

    mark: Path
    data: tuple[Path, ...]
    root: Path
    sources: dict[str, str]
    environment: dict[str, str]
    device: str
    portable: bool


class Cluster:
    """A connection to a Dask scheduler; a context manager that closes it, upon which what is queued is cancelled.

    Parameters
    ----------
    scheduler : str
        Its address, such as ``tcp://host:8786``.

    Raises
    ------
    BenchmarkError
        If it is no address, cannot be reached or has no workers, or `distributed` is not installed.
    """

    def __init__(self, scheduler: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise BenchmarkError("--backend dask needs a package more: pip install 'distributed>=2024.8'") from None
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it logs is said here in one line
        if not _ADDRESS.fullmatch(scheduler):
            raise BenchmarkError(f"--scheduler {scheduler!r} is no address; give one such as tcp://host:8786")
        try:
            asyncio.run(_knock(scheduler))  # a client that finds nobody shows a traceback when it is thrown away
            self._client = Client(scheduler, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError, ImportError) as error:  # a timeout is an OSError
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise BenchmarkError(f"no Dask scheduler answers at {scheduler}: {reason}") from None
        self.scheduler = scheduler
        if not self.workers:
            self._client.close()
            raise BenchmarkError(f"the Dask cluster at {scheduler} has no workers; start some, with --nthreads 1")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close(timeout=TIMEOUT)

    @property
    def workers(self) -> int:
        """How many there are now."""
        return len(self._client.nthreads())

    def outcomes(self, todo: Sequence[Cell], before: Mapping[str, str], work: Work) -> Iterator[tuple[Cell, Outcome]]:
        """Compute cells on the workers; yields each as it ends.

        Dask tries a cell whose worker is lost again on another one, as often as the scheduler's ``allowed-failures``
        says. A cell that loses all of them is tried once more when the others are through, because a cell that only
        waits at a worker that dies is counted too.

        Raises
        ------
        BenchmarkError
            If a worker does not meet the :class:`Demands` or cannot store a cell, or the scheduler is gone.
        """
        from distributed import KilledWorker

        started, work = time.time(), replace(work, out=work.out.resolve())
        store = Store(work.out)
        demands = _demands(work.out / f".seen.{uuid.uuid4().hex}", todo, work.device)

        def ended(cell: Cell, result: Any) -> tuple[Cell, Outcome]:
            if isinstance(result, Outcome):
                return cell, result
            if isinstance(result, BenchmarkError):  # a full disk, or a worker that has come late and cannot be used
                raise result
            trace = "".join(traceback.format_exception(result))
            if isinstance(result, KilledWorker):
                last = result.last_worker.address
                trace = f"KilledWorker: every worker that computed this cell died (out of memory?), at last {last}"
            return cell, record_failure(store, cell, trace, started, before[cell.key], keep=not work.fresh)

        work.out.mkdir(parents=True, exist_ok=True)  # trials have a folder of their own
        demands.mark.touch()
        try:
            self._check(demands)
            suspects = []
            for cell, result in self._results(todo, before, work, demands):
                if isinstance(result, KilledWorker):
                    suspects.append(cell)
                else:
                    yield ended(cell, result)
            for cell in suspects:  # alone, so that it is clear which one it was
                for _, result in self._results([cell], before, work, demands):
                    yield ended(cell, result)
        finally:
            demands.mark.unlink(missing_ok=True)

    def _results(
        self, cells: Sequence[Cell], before: Mapping[str, str], work: Work, demands: Demands
    ) -> Iterator[tuple[Cell, Any]]:
        """Cells as they end, with their outcome or the exception that came instead."""
        from distributed import as_completed

        client = self._client
        futures = {}
        for cell in cells:
            call = pickle.dumps(_Call((cell, before[cell.key], work, demands)))
            futures[client.submit(pickle.loads, call, key=f"{cell.row.label}-{uuid.uuid4().hex}", pure=False)] = cell
        for future, result in as_completed(list(futures), loop=client.loop, with_results=True, raise_errors=False):
            if future.status not in ("finished", "error"):
                raise BenchmarkError(
                    f"the Dask scheduler at {self.scheduler} is gone; what is done is stored, and the same command "
                    "goes on from there"
                )
            yield futures.pop(future), result[1] if future.status == "error" else result

    def _check(self, demands: Demands) -> None:
        answers = self._client.run(fault, demands, on_error="return")
        faults = {}
        for worker, answer in answers.items():
            if isinstance(answer, BaseException):
                reason = str(answer).partition("\n")[0]
                answer = f"does not find the benchmark ({reason}); start workers in the environment of this command"
            if answer:
                faults[worker] = answer
        if faults:
            worker, reason = next(iter(faults.items()))
            more = f" ({len(faults)} of {len(answers)} workers cannot be used)" if len(faults) > 1 else ""
            raise BenchmarkError(f"worker {worker} {reason}{more}")


async def _knock(scheduler: str) -> None:
    """Connect to a scheduler, as a client would, and leave."""
    from distributed.comm import connect
    from distributed.security import Security

    comm = await connect(scheduler, timeout=TIMEOUT, **Security().get_connection_args("client"))
    await comm.close()


def _demands(mark: Path, cells: Sequence[Cell], device: str) -> Demands:
    plugins = {cell.entry.path for cell in cells if not cell.entry.path.is_relative_to(ROOT)}
    data = {cell.task.path for cell in cells if cell.task.path is not None}
    digests = {**_sources(), **{str(path): _digest(path) for path in sorted(plugins)}}
    portable = any(cell.arithmetic == PORTABLE for cell in cells)
    return Demands(mark, tuple(sorted(data)), ROOT, digests, environment(), device, portable)


@cache
def _sources() -> dict[str, str]:
    files = [path for folder in ("benchmark", *FOLDERS) for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path): _digest(path) for path in files}


@cache  # once a process: as the file was when it was imported
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fault(demands: Demands, dask_worker: Any) -> str:
    """On a worker: what keeps it from computing cells for the driver; empty where nothing does.

    Parameters
    ----------
    demands : Demands
    dask_worker : distributed.Worker
        This one.
    """
    if dask_worker.state.nthreads != 1:
        return f"has {dask_worker.state.nthreads} threads; start workers with --nthreads 1"
    here = environment()
    for name, version in demands.environment.items():
        if here[name] != version:
            return f"has {name} {here[name]}, and this command {version}; start both in one environment"
    if demands.root != ROOT:
        return f"runs the code in {ROOT}, and this command that in {demands.root}; start both from one folder"
    own = _sources()
    for name, digest in demands.sources.items():
        try:
            same = (own.get(name) or _digest(Path(name))) == digest
        except OSError:
            return f"cannot read {name}; plug-ins must be where all workers see them"
        if not same:
            return f"has loaded another {name}; start the workers again"
    if not demands.mark.exists():
        return f"does not see the files in {demands.mark.parent}; name a folder that all share with --out"
    for path in demands.data:
        if not path.is_file():
            return f"cannot read {path}; name a folder that all share with --data"
    if demands.portable and (reason := arithmetic.machine_fault()):
        return f"cannot compute portably: {reason}"
    return device_fault(demands.device)


@dataclass(frozen=True)
class _Call:
    """Is carried out when it is unpickled, on a worker: the scheduler, which unpickles tasks too, sees bytes only.

    So it need not import torch, nor run in the environment of the workers.
    """

    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _work, self.arguments


def _work(cell: Cell, before: str, work: Work, demands: Demands) -> Outcome:
    """On a worker: compute a cell; the worker may have come after the first check."""
    from distributed import get_worker

    reason = fault(demands, get_worker())
    if reason:
        raise BenchmarkError(
            f"worker {get_worker().address} {reason}; what is done is stored, and the same command goes on from there"
        )
    with threadpool_limits(1):
        if cell.arithmetic == PORTABLE:  # a worker serves all kinds of runs, so it was not started for this one
            return cast(Outcome, arithmetic.apart(run_cell, cell, before, work, os.getpid()))
        return run_cell(cell, before, work)
