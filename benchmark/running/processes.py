"""Work on many stored cells, divided between processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from joblib import Parallel, cpu_count, delayed

from benchmark.errors import BenchmarkError
from benchmark.running.arithmetic import fault

T = TypeVar("T")
MANY = 2000
"""Cells from which on it is worth starting processes."""

_SEMAPHORES = 32  # that worker processes need at once, and more


def cores() -> int:
    """How many cores this process may use: of its affinity, and its container's share of the machine."""
    return int(cpu_count())


def lack_of_processes() -> str:
    """Why no worker processes can be started here; empty where they can."""
    if not int(os.environ.get("JOBLIB_MULTIPROCESSING", "1") or 0):
        return "JOBLIB_MULTIPROCESSING=0 forbids them"
    try:
        [multiprocessing.get_context().Semaphore(1) for _ in range(_SEMAPHORES)]
    except (ImportError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return (
            "the system gives no semaphores, for which /dev/shm must be there, writable and not full: "
            f"{reason or error}"
        )
    return ""


def worker_count(jobs: int | None, *, timeout: float | None, portable: bool, say: Callable[[str], None]) -> int:
    """How many processes compute cells; 1 where none can be started, which is said.

    Parameters
    ----------
    jobs : int, optional
        As many as are asked for; by default one for each core.
    timeout : float, optional
        Seconds that a cell may take.
    portable : bool
        Whether cells are computed in portable arithmetic.
    say : callable

    Raises
    ------
    BenchmarkError
        If none can be started, and this process cannot do without.
    """
    workers = jobs or cores()
    if not (workers > 1 or timeout is not None or portable) or not (lacks := lack_of_processes()):
        return workers
    if timeout is not None:
        raise BenchmarkError(f"no worker processes can be started, and --cell-timeout needs them: {lacks}")
    if portable and (reason := fault()):
        raise BenchmarkError(f"no worker processes can be started: {lacks}; and {reason}; give --no-portable")
    if workers > 1:
        say(f"warning: no worker processes can be started: {lacks}; all is computed in this one")
    return 1


def divided(function: Callable[..., T], calls: Iterable[tuple[Any, ...]], *, cells: int) -> Iterator[T]:
    """Call a function several times, in processes of their own where there are many cells.

    Parameters
    ----------
    function : callable
        At the top level of a module.
    calls : iterable of tuple
        The arguments of each call.
    cells : int
        How many cells they are about in all; from `MANY` on, there is a process for each core.

    Yields
    ------
    object
        What the calls give, in their order.

    Raises
    ------
    BenchmarkError
        If a process was killed; and whatever the function raises.
    """
    processes = cores() if cells >= MANY and not lack_of_processes() else 1
    with told_if_killed("reads and weighs what is stored"):
        yield from Parallel(processes, return_as="generator")(delayed(function)(*call) for call in calls)


@contextmanager
def told_if_killed(what: str) -> Iterator[None]:
    """Turns the death of a process that does `what` into one clear line."""
    try:
        yield
    except BrokenProcessPool as error:
        raise BenchmarkError(
            f"a process that {what} was killed, perhaps for want of memory; what was computed is stored, and "
            "--report-only goes on from there"
        ) from error


@lru_cache(maxsize=1)
def leave_with(parent: int) -> None:
    """Watch the process that this worker works for, from a thread, and leave when it is gone."""
    gc.freeze()  # what a worker has imported by now lasts as long as it does, and need not be searched for garbage

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
