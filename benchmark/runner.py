"""Runs cells: in this process, in parallel or on a cluster, resuming from the store."""

from __future__ import annotations

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from safetensors.torch import load_file, save_file

from benchmark.data import load_task
from benchmark.data.batches import task_spec
from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError
from benchmark.evaluation import REPRESENTED, predict_settings, represent_test
from benchmark.grid import Cell, Grid
from benchmark.method import Method
from benchmark.missing import Setting
from benchmark.registry import ROOT, load
from benchmark.store import (
    DONE,
    FAILED,
    Predictions,
    Representations,
    Store,
    setting_name,
    write_json,
    write_predictions,
    write_representations,
)
from benchmark.training import train

if TYPE_CHECKING:
    from benchmark.cluster import Cluster

TODO, EXTEND = "to do", "to extend"
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "pandas", "joblib", "safetensors")


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; `code` is the exit status."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.code = 128 + signum


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: ``done`` or ``failed``, with the error's last line."""

    key: str
    state: str
    error: str = ""
    seconds: float = 0.0
    valid_f1: float = float("nan")


def state_of(store: Store, cell: Cell, grid: Grid) -> str:
    """``done``, ``to do``, ``failed``, or ``to extend`` where settings of the grid are not predicted yet."""
    record = store.read(cell.key)
    if record is None:
        return TODO
    if record["state"] == FAILED:
        return FAILED
    return DONE if grid.setting_names.issubset(record["settings"]) else EXTEND


def run_grid(
    grid: Grid,
    store: Store,
    *,
    jobs: int,
    device: str,
    fresh: bool,
    on_outcome: Callable[[Cell, Outcome], None],
    cluster: Cluster | None = None,
) -> dict[str, int]:
    """Run the cells that are not done yet; each is on disk the moment it is done.

    Parameters
    ----------
    grid : Grid
    store : Store
    jobs : int
        Worker processes, each with one thread. 1: everything in this process.
    device : {"auto", "cpu", "cuda"}
    fresh : bool
        Compute done cells anew; the old ones move to ``replaced/``.
    on_outcome : callable
        Called in this process as each cell ends.
    cluster : Cluster, optional
        Its workers compute the cells, and `jobs` does not count.

    Returns
    -------
    dict of state to int
        ``done`` and ``failed``, over all cells of the grid.

    Raises
    ------
    Stopped
        On Ctrl-C or SIGTERM, after the workers are gone.
    """
    store.remove_leftovers()
    todo = [cell for cell in grid.cells if fresh or state_of(store, cell, grid) != DONE]
    counts = {DONE: len(grid.cells) - len(todo), FAILED: 0}

    def note(cell: Cell, outcome: Outcome) -> None:
        counts[outcome.state] += 1
        on_outcome(cell, outcome)

    suspects: list[Cell] = []
    with _signals():
        try:
            while todo:
                ended: set[str] = set()
                try:
                    for cell, outcome in _outcomes(todo, grid, store, jobs, device, fresh, cluster):
                        ended.add(cell.key)
                        note(cell, outcome)
                except TerminatedWorkerError:  # one was killed, most likely for its memory, and takes the others along
                    killed = set(store.remove_leftovers()) - ended
                    if not killed and not ended:
                        raise BenchmarkError("the workers die before they begin a cell; try --jobs 1") from None
                    suspects += [cell for cell in todo if cell.key in killed]
                    ended |= killed
                todo = [cell for cell in todo if cell.key not in ended]
            for cell in suspects:  # alone, so that it is clear which one it was
                started = time.time()
                try:
                    for _, outcome in _outcomes([cell], grid, store, jobs, device, fresh):
                        note(cell, outcome)
                except TerminatedWorkerError:
                    store.remove_leftovers()
                    note(cell, record_failure(store, cell, "the worker process was killed (out of memory?)", started))
        except KeyboardInterrupt:
            if jobs > 1 and cluster is None:
                get_reusable_executor().shutdown(wait=True, kill_workers=True)
            store.remove_leftovers()
            raise
    return counts


def _outcomes(
    todo: list[Cell],
    grid: Grid,
    store: Store,
    jobs: int,
    device: str,
    fresh: bool,
    cluster: Cluster | None = None,
) -> Iterator[tuple[Cell, Outcome]]:
    cells = {cell.key: cell for cell in todo}
    if cluster is not None:
        yield from cluster.outcomes(todo, grid, store, device, fresh)
        return
    if jobs == 1:
        for cell in todo:
            yield cell, run_cell(cell, grid.settings, grid.draw, store.out, device, fresh)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        # loky replaces a worker whose memory has grown, and says so each time
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
        workers = max(2, min(jobs, len(todo)))  # joblib would run a single one in this process
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="all", batch_size=1)
        arguments = (grid.settings, grid.draw, store.out, device, fresh, os.getpid())
        for outcome in parallel(joblib.delayed(run_cell)(cell, *arguments) for cell in todo):
            yield cells[outcome.key], outcome


def run_cell(
    cell: Cell,
    settings: list[Setting],
    draw: int,
    out: Path,
    device: str,
    fresh: bool = False,
    parent: int | None = None,
    owner: str | None = None,
) -> Outcome:
    """Train a cell's method, test it in all settings, and store it; what goes wrong is stored too.

    A cell that is done already is only tested in the settings it lacks.

    Parameters
    ----------
    cell : Cell
    settings : list of Setting
    draw : int
    out : Path
    device : {"auto", "cpu", "cuda"}
    fresh : bool
    parent : int, optional
        The process this worker works for; when it is gone, the worker leaves.
    owner : str, optional
        See :class:`benchmark.store.Store`.
    """
    if parent is not None:
        _leave_with(parent)
    torch.set_num_threads(1)
    store = Store(out, owner)
    started, before = time.time(), store.stamp(cell.key)
    try:
        record = None if fresh else store.read(cell.key)
        if record is not None and record["state"] == DONE:
            return _extend(store, cell, record, settings, draw, _device(device))
        return _compute(store, cell, settings, draw, _device(device))
    except Exception:
        return record_failure(store, cell, traceback.format_exc(), started, before)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def build_method(cell: Cell, dataset: Dataset, device: torch.device) -> Method:
    """The untrained method of a cell, its initial weights set by the cell's seed."""
    torch.manual_seed(cell.seed)
    return load(cell.entry)(task_spec(dataset), **cell.definition["hyperparameters"]).to(device)


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


def _compute(store: Store, cell: Cell, settings: list[Setting], draw: int, device: torch.device) -> Outcome:
    started = time.time()
    dataset = _dataset(cell)
    with store.attempt(cell.key) as side, (side / "history.jsonl").open("a", encoding="utf-8") as log:

        def on_epoch(record: dict[str, Any]) -> None:
            log.write(json.dumps(record) + "\n")
            log.flush()

        method = build_method(cell, dataset, device)
        training = cell.training
        history = train(
            method,
            dataset,
            trains_on=cell.row.trains_on,
            config=training,
            seed=cell.seed,
            device=device,
            on_epoch=on_epoch,
        )
        trained = time.time()
        logits = predict_settings(method, dataset, settings, draw=draw, device=device)
        test = dataset.splits["test"]
        write_predictions(side, Predictions(test.ids, test.labels, tuple((s, draw) for s in settings), logits))
        represented = represent_test(method, dataset, draw=draw, device=device)
        if represented is not None:
            rows, values = represented
            named = Representations(test.ids[rows], test.labels[rows], setting_name(REPRESENTED, draw), values)
            write_representations(side, named)
        save_file(
            {k: v.detach().cpu().contiguous() for k, v in method.state_dict().items()}, side / "model.safetensors"
        )
        seconds = time.time() - started
        record = _record(cell, dataset, DONE, started) | {
            "settings": [setting_name(s, draw) for s in settings],
            "training_seconds": round(trained - started, 3),
            "epochs": len(history),
            "parameters": sum(p.numel() for p in method.parameters()),
            "device": str(device),
        }
        write_json(side / "cell.json", record)
    best = min(history, key=lambda r: (r["stage"] != method.stages[-1].name, r["valid_loss"]), default=None)
    return Outcome(cell.key, DONE, seconds=seconds, valid_f1=best["valid_f1"] if best else float("nan"))


def _extend(
    store: Store, cell: Cell, record: dict[str, Any], settings: list[Setting], draw: int, device: torch.device
) -> Outcome:
    """Test a trained model in the settings that are not stored yet."""
    started = time.time()
    old = store.predictions(cell.key)
    lacking = [s for s in settings if (s, draw) not in old.settings]
    if not lacking:  # done by a worker that was killed before it could say so
        return Outcome(cell.key, DONE)
    dataset = _dataset(cell)
    method = build_method(cell, dataset, device)
    method.load_state_dict(load_file(store.path(cell.key) / "model.safetensors", device=str(device)))
    logits = predict_settings(method, dataset, lacking, draw=draw, device=device)
    added = tuple((s, draw) for s in lacking)
    with store.attempt(cell.key) as side:
        for file in store.path(cell.key).iterdir():
            if file.name not in ("cell.json", "predictions.npz"):
                shutil.copy2(file, side)
        write_predictions(
            side, Predictions(old.ids, old.labels, old.settings + added, np.concatenate([old.logits, logits]))
        )
        names = [setting_name(s, d) for s, d in added]
        write_json(side / "cell.json", record | {"settings": record["settings"] + names})
    return Outcome(cell.key, DONE, seconds=time.time() - started)


def record_failure(store: Store, cell: Cell, trace: str, started: float, before: str | None = None) -> Outcome:
    """Store that a cell has failed, unless another attempt has finished it since.

    Parameters
    ----------
    store : Store
    cell : Cell
    trace : str
        The traceback; its last line is the reason shown.
    started : float
        Seconds since the epoch.
    before : str, optional
        The cell's stamp when the work on it began.
    """
    error = trace.strip().splitlines()[-1]
    with store.attempt(cell.key, before) as side:
        write_json(
            side / "cell.json",
            _record(cell, None, FAILED, started) | {"traceback": trace, "error": error},
        )
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


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped in this process (where it owns its main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # once is enough: let the clean-up finish
        raise Stopped(signum)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
