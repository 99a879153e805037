"""Runs cells: in this process, in parallel or on a cluster, resuming from the store."""

from __future__ import annotations

import faulthandler
import json
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from benchmark.data import load_task
from benchmark.data.batches import task_spec
from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError, storage_fault, storing
from benchmark.evaluation import REPRESENTED, predict_settings, represent_test
from benchmark.grid import Cell, Grid
from benchmark.method import Method
from benchmark.missing import Setting
from benchmark.registry import ROOT, Entry, load, source_digest
from benchmark.store import (
    DONE,
    FAILED,
    Damaged,
    Predictions,
    Representations,
    Store,
    setting_name,
    write_predictions,
    write_record,
    write_representations,
)
from benchmark.training import train

if TYPE_CHECKING:
    from benchmark.cluster import Cluster

TODO, EXTEND, DAMAGED, BUSY = "to do", "to extend", "damaged", "busy"
_WAIT = 2.0  # seconds between two looks at cells that another run computes
_GRACE = 120.0  # seconds, at most, that a cell may take to notice that its time is up: it looks once an epoch
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "joblib", "safetensors")


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `code` is the exit status."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.code = 128 + signum


class CellTimeout(RuntimeError):
    """A cell took longer than it may."""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: ``done``, ``failed``, with the error's last line, or ``busy``: another run computes it."""

    key: str
    state: str
    error: str = ""
    seconds: float = 0.0
    valid_f1: float = float("nan")


def state_of(store: Store, cell: Cell, grid: Grid) -> str:
    """``done``, ``to do``, ``failed``, ``damaged``, or ``to extend`` where settings are not predicted yet."""
    try:
        record = store.read(cell.key)
    except Damaged:
        return DAMAGED
    if record is None:
        return TODO
    if record["state"] == FAILED:
        return FAILED
    return DONE if grid.setting_names.issubset(record["settings"]) else EXTEND


@dataclass(frozen=True)
class Work:
    """How the cells of a run are computed; small enough to hand to a worker.

    Parameters
    ----------
    settings : list of Setting
    draw : int
    out : Path
    device : {"auto", "cpu", "cuda"}
    fresh : bool
        Compute done cells anew; the old ones move to ``replaced/``.
    timeout : float, optional
        Seconds that a cell may take.
    """

    settings: list[Setting]
    draw: int
    out: Path
    device: str
    fresh: bool
    timeout: float | None


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
    work = Work(grid.settings, grid.draw, store.out, device, fresh, timeout)
    failed = 0

    def note(cell: Cell, outcome: Outcome) -> None:
        nonlocal failed
        failed += outcome.state == FAILED
        on_outcome(cell, outcome)

    left = list(todo)
    suspects: list[Cell] = []
    waiting = False
    with _signals():
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
                    if not killed and not ended:
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


def _end_workers() -> None:
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _outcomes(
    cells: Sequence[Cell], before: Mapping[str, str], work: Work, jobs: int, cluster: Cluster | None = None
) -> Iterator[tuple[Cell, Outcome]]:
    if cluster is not None:
        yield from cluster.outcomes(cells, before, work)
        return
    if jobs == 1 and work.timeout is None:
        for cell in cells:
            _source(cell.entry)  # all methods were imported when the grid was built
        for cell in cells:
            yield cell, run_cell(cell, before[cell.key], work)
        return
    named = {cell.key: cell for cell in cells}
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and says so each time
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
        workers = max(2, min(jobs, len(cells)))  # joblib would run a single one in this process
        parallel = joblib.Parallel(
            n_jobs=workers, return_as="generator_unordered", pre_dispatch="all" if jobs > 1 else 1, batch_size=1
        )
        calls = (joblib.delayed(run_cell)(cell, before[cell.key], work, os.getpid()) for cell in cells)
        for outcome in parallel(calls):
            yield named[outcome.key], outcome


def run_cell(cell: Cell, before: str, work: Work, parent: int | None = None) -> Outcome:
    """Train a cell's method, test it in all settings, and store it; what goes wrong is stored too.

    A cell that is done already is only tested in the settings it lacks; where that goes wrong it stays as it is.

    Parameters
    ----------
    cell : Cell
    before : str
        The cell's stamp when the run began; if it is another one now, another run has computed the cell since.
    work : Work
    parent : int, optional
        The process this worker works for; when it is gone, the worker leaves.

    Returns
    -------
    Outcome
        ``busy`` where another run computes the cell now.

    Raises
    ------
    StorageError
        If the cell cannot be stored.
    """
    if parent is not None:
        _leave_with(parent)
    torch.set_num_threads(1)
    store = Store(work.out)
    with storing(work.out), store.claim(cell.key) as mine:
        if not mine:
            return Outcome(cell.key, BUSY)
        started, stamp = time.time(), store.stamp(cell.key)
        since = stamp != before
        keep = since or not work.fresh
        try:
            with _limit(cell, store, work.timeout, started, stamp, keep=keep) as check:
                try:
                    record = store.read(cell.key)
                    if record is not None and record["state"] == FAILED and since:
                        return Outcome(cell.key, FAILED, record["error"], record["seconds"])
                    if record is not None and record["state"] == DONE and keep:
                        store.verify(cell.key)
                        return _extend(store, cell, record, work, check)
                except Damaged:
                    pass  # it is computed anew, and what is there moves to replaced/
                return _compute(store, cell, work, check)
        except (Exception, SystemExit) as error:
            fault = storage_fault(error, work.out)
            if fault is not None:
                raise fault from error
            keep = keep or isinstance(error, BenchmarkError)  # which is no fault of the cell's
            return _record_failure(store, cell, traceback.format_exc(), started, stamp, keep=keep)


@contextmanager
def _limit(
    cell: Cell, store: Store, timeout: float | None, started: float, stamp: str, *, keep: bool = True
) -> Iterator[Callable[[], None]]:
    """Give a function to call now and then, which raises CellTimeout when the time is up.

    A cell that does not call it any more takes its process along, a little later: from a thread, or, where the cell
    keeps the interpreter to itself, so that no thread can run, from outside of it.
    """
    if timeout is None:
        yield lambda: None
        return
    end = time.monotonic() + timeout
    reason = f"CellTimeout: it took longer than --cell-timeout {timeout:g} s"

    def check() -> None:
        if time.monotonic() > end:
            raise CellTimeout(reason.partition(": ")[2])

    def leave() -> None:
        try:
            _record_failure(store, cell, f"{reason}, and did not end by itself", started, stamp, keep=keep)
        finally:
            os._exit(1)

    grace = min(_GRACE, timeout)
    timer = threading.Timer(timeout + grace, leave)
    timer.daemon = True
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - it writes where the cell hangs, which nobody asked for
        timer.start()
        faulthandler.dump_traceback_later(timeout + 2 * grace, exit=True, file=nowhere)
        try:
            yield check
        finally:
            timer.cancel()
            faulthandler.cancel_dump_traceback_later()


def device_fault(name: str) -> str:
    """What this machine lacks for ``--device``; empty where it lacks nothing."""
    if name == "cuda" and not torch.cuda.is_available():
        return "has no GPU that torch can use; leave --device cuda out, or choose a machine that has one"
    return ""


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@cache
def _source(entry: Entry) -> str:
    """The digest of a method's code as it was when this process first asked; empty if it could not be read."""
    try:
        return source_digest(entry)
    except (OSError, SyntaxError, ValueError):  # it is being written
        return ""


def build_method(cell: Cell, dataset: Dataset, device: torch.device) -> Method:
    """The untrained method of a cell, its initial weights set by the cell's seed.

    Raises
    ------
    BenchmarkError
        If the method's code was no longer what the cell says when this process came to import it.
    """
    if _source(cell.entry) != cell.definition["source"]:
        raise BenchmarkError(
            f"the code of {cell.entry.name} ({cell.entry.path} or what it imports) was changed after this run had "
            "begun; give the same command again"
        )
    torch.manual_seed(cell.seed)
    return load(cell.entry)(task_spec(dataset), **cell.definition["hyperparameters"]).to(device)


def packed_weights(method: Method) -> bytes:
    """The content of ``model.safetensors``; what has several names, such as tied weights, is stored under each."""
    copies = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in method.state_dict().items()}
    return save(copies)


def unpack_weights(method: Method, content: bytes) -> None:
    """Give a method the weights in ``model.safetensors``, wherever it lies."""
    method.load_state_dict(load_tensors(content))


def _dataset(cell: Cell) -> Dataset:
    dataset, expected = load_task(cell.task), cell.definition["task"]["fingerprint"]
    if dataset.fingerprint != expected:
        where = cell.task.path or "the simulator"
        raise BenchmarkError(f"{where} gives other data here ({dataset.fingerprint}) than at the start ({expected})")
    return dataset


@lru_cache(maxsize=1)
def _leave_with(parent: int) -> None:
    """Watch the process that this worker works for, from a thread, and leave when it is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _compute(store: Store, cell: Cell, work: Work, check: Callable[[], None]) -> Outcome:
    started = time.time()
    dataset, device = _dataset(cell), _device(work.device)
    settings, draw = work.settings, work.draw
    with store.attempt(cell.key) as side:
        with (side / "history.jsonl").open("a", encoding="utf-8") as log:

            def on_epoch(record: dict[str, Any]) -> None:
                log.write(json.dumps(record) + "\n")
                log.flush()
                check()

            method = build_method(cell, dataset, device)
            history = train(
                method,
                dataset,
                trains_on=cell.row.trains_on,
                config=cell.training,
                seed=cell.seed,
                device=device,
                on_epoch=on_epoch,
            )
        trained = time.time()
        logits = predict_settings(method, dataset, settings, draw=draw, device=device)
        check()
        test = dataset.splits["test"]
        write_predictions(side, Predictions(test.ids, test.labels, tuple((s, draw) for s in settings), logits))
        represented = represent_test(method, dataset, draw=draw, device=device)
        if represented is not None:
            rows, values = represented
            named = Representations(test.ids[rows], test.labels[rows], setting_name(REPRESENTED, draw), values)
            write_representations(side, named)
        (side / "model.safetensors").write_bytes(packed_weights(method))
        seconds = time.time() - started
        record = _record(cell, dataset, DONE, started) | {
            "settings": [setting_name(s, draw) for s in settings],
            "training_seconds": round(trained - started, 3),
            "epochs": len(history),
            "parameters": sum(p.numel() for p in method.parameters()),
            "device": str(device),
        }
        write_record(side, record)
    best = min(history, key=lambda r: (r["stage"] != method.stages[-1].name, r["valid_loss"]), default=None)
    return Outcome(cell.key, DONE, seconds=seconds, valid_f1=best["valid_f1"] if best else float("nan"))


def _extend(store: Store, cell: Cell, record: dict[str, Any], work: Work, check: Callable[[], None]) -> Outcome:
    """Test a trained model in the settings that are not stored yet."""
    started, draw = time.time(), work.draw
    lacking = [s for s in work.settings if setting_name(s, draw) not in record["settings"]]
    if not lacking:  # done by another run, or by a worker that was killed before it could say so
        return Outcome(cell.key, DONE, seconds=record["seconds"])
    old = store.predictions(cell.key)
    dataset, device = _dataset(cell), _device(work.device)
    method = build_method(cell, dataset, device)
    unpack_weights(method, store.weights(cell.key))
    logits = predict_settings(method, dataset, lacking, draw=draw, device=device)
    check()
    added = tuple((s, draw) for s in lacking)
    with store.attempt(cell.key) as side:
        for file in store.path(cell.key).iterdir():
            shutil.copy2(file, side)
        write_predictions(
            side, Predictions(old.ids, old.labels, old.settings + added, np.concatenate([old.logits, logits]))
        )
        names = [setting_name(s, d) for s, d in added]
        write_record(side, record | {"settings": record["settings"] + names})
    return Outcome(cell.key, DONE, seconds=time.time() - started)


def record_failure(store: Store, cell: Cell, trace: str, started: float, before: str, *, keep: bool = True) -> Outcome:
    """Store that a cell has failed, unless another run has finished it since, or computes it now.

    Parameters
    ----------
    store : Store
    cell : Cell
    trace : str
        The traceback; its last line is the reason shown.
    started : float
        Seconds since the epoch.
    before : str
        The cell's stamp when the work on it began.
    keep : bool
        A done cell that is as it was written stays; that the work on it failed is told and not stored.

    Raises
    ------
    StorageError
        If it cannot be stored.
    """
    with storing(store.out), store.claim(cell.key) as mine:
        if not mine:
            return Outcome(cell.key, BUSY)
        if store.stamp(cell.key) == before:
            return _record_failure(store, cell, trace, started, before, keep=keep)
        record = store.read(cell.key)  # it may have said how it ended before its process did
        if record is None:
            return _record_failure(store, cell, trace, started, before, keep=keep)
        return Outcome(cell.key, record["state"], record.get("error", ""), record["seconds"])


def _record_failure(store: Store, cell: Cell, trace: str, started: float, before: str, *, keep: bool) -> Outcome:
    error = "".join(c if c.isprintable() else "?" for c in trace.strip().splitlines()[-1])
    stored = store.readable(cell.key) if keep else None
    if stored is None or stored["state"] != DONE or store.damaged([cell.key]):
        with storing(store.out), store.attempt(cell.key, before) as side:
            write_record(side, _record(cell, None, FAILED, started) | {"traceback": trace, "error": error})
    return Outcome(cell.key, FAILED, error=error, seconds=time.time() - started)


def _record(cell: Cell, dataset: Dataset | None, state: str, started: float) -> dict[str, Any]:
    now = time.time()
    record: dict[str, Any] = {
        **cell.definition,
        "key": cell.key,
        "label": cell.row.label,
        "variant": dict(cell.row.variant),
        "position": cell.row.position,
        "state": state,
        "started": timestamp(started),
        "finished": timestamp(now),
        "seconds": round(now - started, 3),
        "environment": environment(),
        "git_commit": git_commit(),
    }
    if dataset is not None:
        record |= {
            "data": {
                "source": dataset.source,
                "origin": dataset.origin,
                "warnings": list(dataset.warnings),
                "kind": dataset.kind,
                "categories": list(dataset.categories),
                "samples": {name: len(split) for name, split in dataset.splits.items()},
            }
        }
    return record


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def environment() -> dict[str, str]:
    """Versions that may change a number."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{library: version(library) for library in LIBRARIES},
    }


def git_commit() -> str | None:
    """The commit of the code, with ``+`` where files differ from it; None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "benchmark/runner.py") is None:
        return None
    commit = git("rev-parse", "HEAD")
    return commit and commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


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
