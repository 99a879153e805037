"""Computes one cell."""

from __future__ import annotations

import faulthandler
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark._version import __version__
from benchmark.data import closed_test, load_task
from benchmark.data.batches import task_spec
from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError, storage_fault, storing
from benchmark.methods.loading import load
from benchmark.methods.sources import outside_packages
from benchmark.methods.surroundings import kept_surroundings
from benchmark.methods.weights import packed_weights, unpack_weights
from benchmark.protocol.method import Method
from benchmark.protocol.missing import Setting
from benchmark.protocol.thresholds import Validation
from benchmark.running import arithmetic
from benchmark.running.accounts import account_of
from benchmark.running.arithmetic import PORTABLE
from benchmark.running.devices import device_of
from benchmark.running.environment import environment, git_commit, timestamp
from benchmark.running.evaluation import digests, predict_settings, represent_test, represented
from benchmark.running.grid import Cell, Grid
from benchmark.running.mechanisms import Mechanisms
from benchmark.running.processes import leave_with
from benchmark.running.store import (
    DONE,
    FAILED,
    Damaged,
    Predictions,
    Representations,
    Store,
    logged,
    setting_name,
    write_predictions,
    write_record,
    write_representations,
)
from benchmark.running.training import train
from benchmark.running.trial import lacking_validation, stored_trial, tried_in, try_on_validation

TODO, EXTEND, DAMAGED, BUSY = "to do", "to extend", "damaged", "busy"
_GRACE = 120.0  # seconds, at most, that a cell may take to notice that its time is up: it looks once an epoch


class CellTimeout(RuntimeError):
    """A cell took longer than it may."""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended: ``done``, ``failed``, with the error's last line, or ``busy``: another run computes it."""

    key: str
    state: str
    error: str = ""
    seconds: float = 0.0
    valid_score: float = float("nan")


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
    own = cell.task.task.modalities
    tested = grid.setting_names[own].issubset(record["settings"])
    return DONE if tested and not lacking_validation(record, tried_in(grid.tried, own)) else EXTEND


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
    tried : tuple of (Setting, draw)
        Not empty: the cell is a trial, which predicts the validation split in these, with the test split closed.
    together : int or "auto"
        How many cells may be trained at once where they differ in little.
    trains : bool
        False: cells are only tested, and what would have to be trained for it fails.
    """

    settings: list[Setting]
    draw: int
    out: Path
    device: str
    fresh: bool
    timeout: float | None
    tried: tuple[tuple[Setting, int], ...] = ()
    together: int | str = 1
    trains: bool = True


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
        leave_with(parent)
    torch.set_num_threads(1)
    store = Store(work.out)
    with storing(work.out), store.claim(cell.key) as mine:
        if not mine:
            return Outcome(cell.key, BUSY)
        started, stamp = time.time(), store.stamp(cell.key)
        since = stamp != before
        keep = since or not work.fresh
        try:
            closed = closed_test() if work.tried else nullcontext()
            with closed, _limit(cell, store, work.timeout, started, stamp, keep=keep) as check:
                damage: Damaged | None = None
                try:
                    record = store.read(cell.key)
                    if record is not None and record["state"] == FAILED and since:
                        return Outcome(cell.key, FAILED, record["error"], record["seconds"])
                    if record is not None and record["state"] == DONE and keep:
                        store.verify(cell.key)
                        return (_extend_trial if work.tried else _extend)(store, cell, record, work, check)
                except Damaged as found:
                    damage = found  # it is computed anew, and what is there moves to replaced/
                if not work.trains:
                    why = "it is not stored any more" if damage is None else damage.fault
                    where = f"move {store.path(cell.key)} away and give the command again"
                    return Outcome(cell.key, FAILED, f"{why}, and nothing is trained while it is tested; {where}")
                return _compute(store, cell, work, check)
        except (Exception, SystemExit) as error:
            fault = storage_fault(error, work.out)
            if fault is not None:
                raise fault from error
            keep = keep or isinstance(error, BenchmarkError)  # which is no fault of the cell's
            return store_failure(store, cell, traceback.format_exc(), started, stamp, keep=keep)


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
            store_failure(store, cell, f"{reason}, and did not end by itself", started, stamp, keep=keep)
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


@contextmanager
def surroundings(cell: Cell) -> Iterator[None]:
    """What a cell is computed in: its arithmetic, and nothing that another one leaves behind.

    Raises
    ------
    BenchmarkError
        If this process does not compute in that arithmetic.
    """
    if cell.arithmetic == PORTABLE and (reason := arithmetic.fault()):
        raise BenchmarkError(f"cannot compute portably: {reason}")
    with kept_surroundings(), arithmetic.computing(cell.arithmetic):
        yield


def build_method(cell: Cell, dataset: Dataset, device: torch.device) -> Method:
    """The untrained method of a cell, its initial weights set by the cell's seed.

    Raises
    ------
    BenchmarkError
        If the method's code was no longer what the cell says when this process came to import it.
    """
    cls = load(cell.entry, cell.definition["source"])
    torch.manual_seed(cell.seed)
    return cls(task_spec(dataset), **cell.definition["hyperparameters"]).to(device)


def dataset_of(cell: Cell) -> Dataset:
    """The data of a cell; raises BenchmarkError where they are others than at the start."""
    dataset, expected = load_task(cell.task), cell.definition["task"]["fingerprint"]
    if dataset.fingerprint != expected:
        where = cell.task.path or "the simulator"
        raise BenchmarkError(f"{where} gives other data here ({dataset.fingerprint}) than at the start ({expected})")
    return dataset


def _compute(store: Store, cell: Cell, work: Work, check: Callable[[], None]) -> Outcome:
    started = time.time()
    dataset, device = dataset_of(cell), device_of(work.device, cell.arithmetic)
    with store.attempt(cell.key) as side, surroundings(cell):
        method = build_method(cell, dataset, device)
        mechanisms = Mechanisms(method, cell.training.clip_norm)
        history = train(
            method,
            dataset,
            trains_on=cell.row.trains_on,
            config=cell.training,
            seed=cell.seed,
            device=device,
            on_epoch=logged(side, check),
            on_stage=mechanisms.on_stage,
        )
        return write_trained(side, cell, work, dataset, method, mechanisms, history, started, check)


def write_trained(
    side: Path,
    cell: Cell,
    work: Work,
    dataset: Dataset,
    method: Method,
    mechanisms: Mechanisms,
    history: list[dict[str, Any]],
    started: float,
    check: Callable[[], None] = lambda: None,
) -> Outcome:
    """Test a trained method in all settings, and write the cell into its side folder.

    Parameters
    ----------
    side : Path
    cell, work, dataset
    method : Method
        Trained.
    mechanisms : Mechanisms
        Found where its stages ended.
    history : list of dict
    started : float
        When the training began, in seconds since the epoch.
    check : callable
        Called now and then.
    """
    device = device_of(work.device, cell.arithmetic)
    trained = time.time() - mechanisms.seconds
    if work.tried:
        told = try_on_validation(method, dataset, work.tried, device, side)
    else:
        told = _test(method, dataset, cell.settings(work.settings), work.draw, device, side, check)
    (side / "model.safetensors").write_bytes(packed_weights(method))
    seconds = time.time() - started
    record = _record(cell, dataset, DONE, started) | {
        **told,
        "training_seconds": round(trained - started, 3),
        "tests": len(told["settings"]),  # of these seconds; others may be added later
        "epochs": len(history),
        "parameters": sum(p.numel() for p in method.parameters()),
        "mechanisms": mechanisms.found,
        "account": {} if work.tried else account_of(method, dataset, device),
        "device": str(device),
    }
    write_record(side, record)
    ended = mechanisms.found["stages"][-1:]  # none where nothing was trained
    scored = {(epoch["stage"], epoch["epoch"]): epoch["valid_score"] for epoch in history}
    score = scored[ended[0]["stage"], ended[0]["kept"]] if ended else float("nan")
    return Outcome(cell.key, DONE, seconds=seconds, valid_score=score)


def _test(
    method: Method,
    dataset: Dataset,
    settings: list[Setting],
    draw: int,
    device: torch.device,
    side: Path,
    check: Callable[[], None],
) -> dict[str, Any]:
    """Predict the test split in all settings, into a side folder; returns what the record tells of it."""
    logits = predict_settings(method, dataset, settings, draw=draw, device=device)
    check()
    joint = represent_test(method, dataset, draw=draw, device=device)
    check()
    validation = _validation(method, dataset, settings, draw, device)
    test = dataset.splits["test"]
    tested = tuple((s, draw) for s in settings)
    write_predictions(side, Predictions(test.ids, test.labels, tested, logits, validation))
    if joint is not None:
        rows, values = joint
        named = Representations(
            test.ids[rows], test.labels[rows], setting_name(represented(dataset.task.modalities), draw), values
        )
        write_representations(side, named)
    return {"settings": [setting_name(s, draw) for s in settings], **digests(test, settings, draw, logits)}


def _validation(
    method: Method, dataset: Dataset, settings: list[Setting], draw: int, device: torch.device
) -> Validation:
    """What thresholds are chosen by; the method itself is not changed by it."""
    logits = predict_settings(method, dataset, settings, draw=draw, device=device, split_name="valid")
    return Validation.of(dataset.splits["valid"].labels, logits)


def _extend(store: Store, cell: Cell, record: dict[str, Any], work: Work, check: Callable[[], None]) -> Outcome:
    """Test a trained model in the settings that are not stored yet."""
    started, draw = time.time(), work.draw
    lacking = [s for s in cell.settings(work.settings) if setting_name(s, draw) not in record["settings"]]
    if not lacking:  # done by another run, or by a worker that was killed before it could say so
        return Outcome(cell.key, DONE, seconds=record["seconds"])
    old = store.predictions(cell.key) if record["settings"] else None  # a trial that was never tested has none
    dataset, device = dataset_of(cell), device_of(work.device, cell.arithmetic)
    with surroundings(cell):
        method = build_method(cell, dataset, device)
        unpack_weights(method, store.weights(cell.key))
        logits = predict_settings(method, dataset, lacking, draw=draw, device=device)
        check()
        validation = None  # of a trial there is another one, and thresholds are those of rows
        if old is not None and old.validation is not None:
            validation = _validation(method, dataset, lacking, draw, device)
    test = dataset.splits["test"]
    found = Predictions(test.ids, test.labels, tuple((s, draw) for s in lacking), logits, validation)
    with _extended(store, cell.key) as side:
        write_predictions(side, found if old is None else old.with_more(found))
        new = digests(test, lacking, draw, logits)
        told = {what: record.get(what, {}) | own for what, own in new.items()}
        names = [setting_name(s, draw) for s in lacking]
        write_record(side, record | {"settings": record["settings"] + names} | told)
    return Outcome(cell.key, DONE, seconds=time.time() - started)


def _extend_trial(store: Store, cell: Cell, record: dict[str, Any], work: Work, check: Callable[[], None]) -> Outcome:
    """Predict the validation split with a trial's model in the settings and draws that are not stored yet."""
    started = time.time()
    lacking = lacking_validation(record, tried_in(work.tried, cell.task.task.modalities))
    if not lacking:
        return Outcome(cell.key, DONE, seconds=record["seconds"])
    dataset, device = dataset_of(cell), device_of(work.device, cell.arithmetic)
    with _extended(store, cell.key) as side, surroundings(cell):
        method = build_method(cell, dataset, device)
        unpack_weights(method, store.weights(cell.key))
        told = try_on_validation(method, dataset, lacking, device, side, before=stored_trial(store, cell.key))
        check()
        write_record(side, record | {"tried": told["tried"]})
    return Outcome(cell.key, DONE, seconds=time.time() - started)


@contextmanager
def _extended(store: Store, key: str) -> Iterator[Path]:
    """A side folder with the files of a done cell, to be written over."""
    with store.attempt(key) as side:
        for file in store.path(key).iterdir():
            shutil.copy2(file, side)
        yield side


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
            return store_failure(store, cell, trace, started, before, keep=keep)
        record = store.read(cell.key)  # it may have said how it ended before its process did
        if record is None:
            return store_failure(store, cell, trace, started, before, keep=keep)
        return Outcome(cell.key, record["state"], record.get("error", ""), record["seconds"])


def store_failure(store: Store, cell: Cell, trace: str, started: float, before: str, *, keep: bool) -> Outcome:
    """:func:`record_failure` for whom the cell is claimed already."""
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
        **({"changed": dict(cell.changed)} if cell.changed else {}),
        "state": state,
        "started": timestamp(started),
        "finished": timestamp(now),
        "seconds": round(now - started, 3),
        "benchmark": __version__,
        "environment": environment(),
        "processor": arithmetic.processor(cell.arithmetic),
        "packages": outside_packages(cell.entry),
        "git_commit": git_commit(),
    }
    if dataset is not None:
        record |= {
            "data": {
                "source": dataset.source,
                "origin": dataset.origin,
                "warnings": list(dataset.warnings),
                "display": dataset.task.title,
                **dataset.target.record(),
                "modalities": dataset.task.modalities,
                "group": dataset.task.group,
                "unit": dataset.task.unit,
                "metrics": dataset.task.scored,
                "samples": {name: len(split) for name, split in dataset.splits.items()},
                "feature_dims": dataset.feature_dims,
                "max_frames": dataset.max_frames,
            }
        }
    return record
