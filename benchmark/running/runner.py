"""Runs cells: in this process, in parallel or on a cluster, resuming from the store."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import joblib
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from benchmark.errors import BenchmarkError
from benchmark.running import arithmetic
from benchmark.running.arithmetic import NATIVE
from benchmark.running.cell import BUSY, Outcome, Work, record_failure, run_cell
from benchmark.running.grid import Cell, Grid
from benchmark.running.store import (
    FAILED,
    Store,
)
from benchmark.running.together import at_once, grouped, run_together

if TYPE_CHECKING:
    from benchmark.running.cluster import Cluster

_WAIT = 2.0  # seconds between two looks at cells that another run computes
_FRUITLESS = 3  # so often in a row may a worker be killed while none has begun a cell


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `code` is the exit status."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.code = 128 + signum


def run_grid(
    grid: Grid,
    store: Store,
    todo: Sequence[Cell],
    *,
    jobs: int,
    device: str,
    fresh: bool,
    on_outcome: Callable[[Cell, Outcome], None],
    on_wait: Callable[[int], None] = lambda cells: None,
    timeout: float | None = None,
    cluster: Cluster | None = None,
    together: int | str = 1,
) -> int:
    """Run cells; each is on disk the moment it is done.

    Several runs on one folder divide the cells between them: what another run computes is left to it, and waited for.

    Parameters
    ----------
    grid : Grid
    store : Store
    todo : sequence of Cell
    jobs : int
        Worker processes, each with one thread. 1: everything in this process, unless there is a `timeout`.
    device : {"auto", "cpu", "cuda"}
    fresh : bool
        Compute done cells anew; the old ones move to ``replaced/``.
    on_outcome : callable
        Called in this process as each cell ends.
    on_wait : callable
        Called with the number of cells left when other runs compute all of them.
    timeout : float, optional
        Seconds; a cell that takes longer fails.
    cluster : Cluster, optional
        Its workers compute the cells, and `jobs` does not count.
    together : int or "auto"
        How many cells that differ in little are trained at once, in one worker; not with a `cluster` or a `timeout`.

    Returns
    -------
    int
        How many cells failed.

    Raises
    ------
    Stopped
        On Ctrl-C or SIGTERM, after the workers are gone.
    BenchmarkError
        If the output folder cannot be written to any more, or workers cannot work.
    """
    store.remove_leftovers()
    before = {cell.key: store.stamp(cell.key) for cell in todo}
    work = Work(grid.settings, grid.draw, store.out, device, fresh, timeout, grid.tried, together, grid.trains)
    failed = 0

    def note(cell: Cell, outcome: Outcome) -> None:
        nonlocal failed
        failed += outcome.state == FAILED
        on_outcome(cell, outcome)

    left = list(todo)
    suspects: list[Cell] = []
    waiting, fruitless = False, 0
    with _signals(), _workers(grid):
        try:
            while left:
                ended: set[str] = set()
                try:
                    for cell, outcome in _outcomes(left, before, work, jobs, cluster):
                        if outcome.state != BUSY:
                            ended.add(cell.key)
                            note(cell, outcome)
                except TerminatedWorkerError:  # one was killed, most likely for its memory, and takes the others along
                    _end_workers()
                    killed = set(store.remove_leftovers()) - ended
                    fruitless = 0 if killed or ended else fruitless + 1
                    if fruitless == _FRUITLESS:
                        raise BenchmarkError("the workers die before they begin a cell; try --jobs 1") from None
                    suspects += [cell for cell in left if cell.key in killed]
                    ended |= killed
                else:
                    if not ended:
                        if not waiting:
                            on_wait(len(left))
                        waiting = True
                        time.sleep(_WAIT)
                left = [cell for cell in left if cell.key not in ended]
            while suspects:  # alone, so that it is clear which one it was
                outcome = _alone(suspects[0], before, work, jobs)
                if outcome.state != BUSY:
                    note(suspects.pop(0), outcome)
        except (KeyboardInterrupt, BenchmarkError):
            if cluster is None:
                _end_workers()
            store.remove_leftovers()
            raise
    return failed


def _alone(cell: Cell, before: Mapping[str, str], work: Work, jobs: int) -> Outcome:
    started, store = time.time(), Store(work.out)
    try:
        ((_, outcome),) = _outcomes([cell], before, work, jobs)
    except TerminatedWorkerError:
        _end_workers()
        reason = "the worker process was killed (out of memory?)"
        if work.timeout is not None and time.time() - started > work.timeout:
            reason = f"CellTimeout: it took longer than --cell-timeout {work.timeout:g} s, and did not end by itself"
        outcome = record_failure(store, cell, reason, started, before[cell.key], keep=not work.fresh)
    if outcome.state == BUSY:
        time.sleep(_WAIT)
    return outcome


@contextmanager
def _workers(grid: Grid) -> Iterator[None]:
    """Have workers compute in the arithmetic of a grid's cells; those of before and after do not."""
    if not grid.cells or grid.cells[0].arithmetic == NATIVE:
        yield
        return
    _end_workers()
    try:
        with arithmetic.in_new_processes():
            yield
    finally:
        _end_workers()


def _end_workers() -> None:
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _outcomes(
    cells: Sequence[Cell], before: Mapping[str, str], work: Work, jobs: int, cluster: Cluster | None = None
) -> Iterator[tuple[Cell, Outcome]]:
    if cluster is not None:
        yield from cluster.outcomes(cells, before, work)
        return
    here = cells[0].arithmetic == NATIVE or not arithmetic.fault()
    most = at_once(work.together, work.device, len(cells), jobs)
    if jobs == 1 and work.timeout is None and here:
        for group in grouped(cells, most):
            if len(group) == 1:
                yield group[0], run_cell(group[0], before[group[0].key], work)
            else:
                yield from zip(group, run_together(group, before, work), strict=True)
        return
    named = {cell.key: cell for cell in cells}
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and says so each time
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
        workers = max(2, min(jobs, len(cells)))  # joblib would run a single one in this process
        parallel = joblib.Parallel(
            n_jobs=workers, return_as="generator_unordered", pre_dispatch="all" if jobs > 1 else 1, batch_size=1
        )
        groups = ((group, {cell.key: before[cell.key] for cell in group}) for group in grouped(cells, most))
        calls = (joblib.delayed(run_together)(group, stamps, work, os.getpid()) for group, stamps in groups)
        for outcomes in parallel(calls):
            for outcome in outcomes:
                yield named[outcome.key], outcome


def _unless_of_loky(arguments: threading.ExceptHookArgs) -> None:
    """Say nothing of loky's own thread, which may stumble over work that is cancelled."""
    if arguments.thread is None or "ExecutorManagerThread" not in arguments.thread.name:
        threading.__excepthook__(arguments)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped in this process (where it owns its main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # once is enough: let the clean-up finish
        threading.excepthook = _unless_of_loky
        raise Stopped(signum)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
