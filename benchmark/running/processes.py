"""Work on many stored cells, divided between processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from joblib import Parallel, cpu_count, delayed

from benchmark.errors import BenchmarkError

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
