"""Computes several cells in one pass, where they differ in little; each is stored as its own."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext

import torch

from benchmark.data import closed_test
from benchmark.errors import storage_fault, storing
from benchmark.files.atomic import json_line
from benchmark.running.arithmetic import NATIVE
from benchmark.running.cell import (
    Outcome,
    Work,
    build_method,
    dataset_of,
    run_cell,
    store_failure,
    surroundings,
    write_trained,
)
from benchmark.running.devices import device_of
from benchmark.running.grid import Cell
from benchmark.running.mechanisms import Mechanisms
from benchmark.running.processes import leave_with
from benchmark.running.stack import NotTogether
from benchmark.running.stacked import Member, train_together
from benchmark.running.store import DONE, Store, logged

_MAY_DIFFER = ("learning_rate", "weight_decay", "clip_norm", "epochs", "patience", "selection", "min_epochs")
_ON_A_GPU = 32  # cells trained at once there, unless its memory holds fewer
_ON_A_CPU = 8


def at_once(together: int | str, device: str, cells: int, jobs: int) -> int:
    """How many cells are trained at once, at most.

    ``auto`` is many on a GPU, and on a CPU as many as leave every worker its share; there it is measured besides
    whether that is faster.
    """
    if together != "auto":
        return int(together)
    if device_of(device, NATIVE).type == "cuda":
        return _ON_A_GPU
    return max(1, min(_ON_A_CPU, -(-cells // jobs)))


def grouped(cells: Iterable[Cell], most: int) -> list[list[Cell]]:
    """Cells in groups of at most `most` that differ in their seeds and in how they are trained, but not in what."""
    groups: list[list[Cell]] = []
    open_: dict[str, list[Cell]] = {}
    for cell in cells:
        training = {k: v for k, v in cell.definition["training"].items() if k not in _MAY_DIFFER}
        same = json_line({**cell.definition, "seed": None, "training": training})
        group = open_.get(same)
        if group is None or len(group) >= most:
            group = open_[same] = []
            groups.append(group)
        group.append(cell)
    return groups


def run_together(
    cells: Sequence[Cell], before: Mapping[str, str], work: Work, parent: int | None = None
) -> list[Outcome]:
    """:func:`benchmark.running.cell.run_cell` for cells that may be trained at once; one by one where that cannot be.

    Where the device's memory does not hold them all, they go in halves. They go one by one with a time limit; in
    portable arithmetic, whose bits may not depend on what else is computed; and where it was left open and is faster.

    Parameters
    ----------
    cells : sequence of Cell
        Alike, as :func:`grouped` gives them.
    before : mapping of key to str
        The cells' stamps when the run began.
    work : Work
    parent : int, optional
        The process this worker works for.
    """
    found: dict[str, Outcome] = {}
    if len(cells) > 1 and work.timeout is None and cells[0].arithmetic == NATIVE:
        if parent is not None:
            leave_with(parent)
        torch.set_num_threads(1)
        try:
            found = _computed(cells, before, work)
        except NotTogether:
            pass  # then they are computed one by one, as if nobody had tried
        except torch.OutOfMemoryError:
            half = len(cells) // 2
            return [o for part in (cells[:half], cells[half:]) for o in run_together(part, before, work, parent)]
    return [found.get(cell.key) or run_cell(cell, before[cell.key], work, parent) for cell in cells]


def _computed(cells: Sequence[Cell], before: Mapping[str, str], work: Work) -> dict[str, Outcome]:
    """The outcomes of the cells that were trained at once; of those that need no training, or another run has, none."""
    store, started = Store(work.out), time.time()
    with storing(work.out), ExitStack() as claims:
        own = [
            cell
            for cell in cells
            if claims.enter_context(store.claim(cell.key)) and _needs_training(store, cell, before[cell.key], work)
        ]
        if len(own) < 2:
            return {}
        sides = {cell.key: store.attempt(cell.key) for cell in own}
        paths = {key: side.__enter__() for key, side in sides.items()}
        found: dict[str, Outcome] = {}
        try:
            with closed_test() if work.tried else nullcontext(), surroundings(own[0]):
                dataset, device = dataset_of(own[0]), device_of(work.device, own[0].arithmetic)
                members, looks = [], []
                for cell in own:
                    method = build_method(cell, dataset, device)
                    looks.append(Mechanisms(method, cell.training.clip_norm))
                    calls = (logged(paths[cell.key]), looks[-1].on_stage)
                    members.append(Member(method, cell.training, cell.seed, torch.get_rng_state(), *calls))
                if_faster = work.together == "auto" and device.type == "cpu"
                trains_on = own[0].row.trains_on
                train_together(members, dataset, trains_on=trains_on, device=device, if_faster=if_faster)
                for cell, member, look in zip(own, members, looks, strict=True):
                    key = cell.key
                    fault: BaseException | None = member.fault
                    if fault is None:
                        try:
                            outcome = write_trained(
                                paths[key], cell, work, dataset, member.method, look, member.history, started
                            )
                            sides.pop(key).__exit__(None, None, None)
                            found[key] = outcome
                        except (Exception, SystemExit) as error:
                            fault = error
                    if fault is not None:
                        if (gone := storage_fault(fault, work.out)) is not None:
                            raise gone from fault
                        trace = "".join(traceback.format_exception(fault))
                        keep = not work.fresh
                        found[key] = store_failure(store, cell, trace, started, before[key], keep=keep)
        finally:
            for side in sides.values():  # those that did not end well are dropped
                dropped = NotTogether("dropped")
                side.__exit__(NotTogether, dropped, None)
        return found


def _needs_training(store: Store, cell: Cell, before: str, work: Work) -> bool:
    record = store.readable(cell.key)
    return work.trains and store.stamp(cell.key) == before and (record is None or record["state"] != DONE or work.fresh)
