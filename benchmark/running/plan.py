"""Which cells a run would compute, and how long they may take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.data.source import Identity
from benchmark.running.arithmetic import NATIVE
from benchmark.running.cell import state_of
from benchmark.running.choice import Choice, is_of_shard
from benchmark.running.devices import device_of
from benchmark.running.expected import expected
from benchmark.running.grid import Cell, Grid
from benchmark.running.progress import Estimates, tell_time
from benchmark.running.store import DONE, Store
from benchmark.running.tuning import Tuning, seconds_tried


@dataclass(frozen=True)
class _Planned:
    """A cell, its state, and the seconds to expect: 0 where nothing is left to do, None where that is not known."""

    cell: Cell
    state: str
    seconds: float | None
    testing: float | None = 0.0
    """Of these, those of a trial's later test."""


def plan_run(
    choice: Choice,
    out: Path,
    *,
    part: tuple[int, int] | None,
    fresh: bool,
    jobs: int,
    device: str,
    together: int | str,
    on_data: Callable[[Identity], None],
) -> dict[str, Any]:
    """The content of a :class:`benchmark.report.results.Plan`; computes no cell.

    Parameters
    ----------
    choice : Choice
    out : Path
        The folder of the run.
    part : (int, int) or None
        A shard.
    fresh : bool
        Done cells would be computed anew.
    jobs : int
    device : {"auto", "cpu", "cuda"}
        On a GPU the time is that of `benchmark.running.expected`, for all that is left to train.
    together : int or "auto"
        How many cells are trained at once there.
    on_data : callable
        Called with what each task's data are.
    """
    store = Store(out)
    tuning = Tuning(choice, out, on_data) if choice.config.tune else None
    built = tuning.plain if tuning else choice.build(on_data)
    estimates = Estimates(store, trials=tuning.store if tuning else None, fresh=fresh)

    def planned(grid: Grid, own: Store) -> list[_Planned]:
        cells = [(cell, _state(own, cell, grid)) for cell in grid.cells if is_of_shard(cell, part)]
        return [
            _Planned(cell, state, estimates.left(cell, grid) if fresh or state != DONE else 0.0)
            for cell, state in cells
        ]

    said, found = "", []
    if tuning is None:
        found = planned(built, store)
    else:
        trials = _trials(tuning, planned(tuning.trials, tuning.store), estimates, fresh=fresh)
        found = trials + planned(tuning.planned(), store)
        said = tuning.planned_words(tell_time([each.testing for each in trials if each.testing != 0.0], 1))
    rows = [(each.cell.row.label, each.cell.task.name, each.cell.seed, each.state, each.cell.key) for each in found]
    frame = pd.DataFrame(rows, columns=["method", "task", "seed", "state", "key"])
    left = [each for each in found if each.seconds != 0.0]
    on_gpu = device_of(device, NATIVE).type == "cuda" and left
    seconds = [math.nan if each.seconds is None else each.seconds for each in found]
    return {
        "grid": built.name,
        "cells": frame.assign(seconds=pd.Series(seconds, dtype=float)),
        "settings": len(built.settings),
        "jobs": jobs,
        "time": expected([each.cell for each in left], together)
        if on_gpu
        else tell_time([each.seconds for each in left], jobs),
        "tuning": said,
    }


def _state(store: Store, cell: Cell, grid: Grid) -> str:
    """A cell's state in the first draw in which it is not done."""
    states = (state_of(store, cell, own) for own in grid.in_draws)
    return next((state for state in states if state != DONE), DONE)


def _trials(tuning: Tuning, trials: Sequence[_Planned], estimates: Estimates, *, fresh: bool) -> list[_Planned]:
    """Trials with the time of their later test; where a time is divided, none takes more than its pair's share."""
    limit, hours = math.inf, tuning.asked.hours
    of_pair = {cell.key: number for number, pair in enumerate(tuning.pairs) for cell in pair.cells}
    used: dict[int, float] = {}
    if hours is not None:
        limit = hours * 3600.0 / len(tuning.pairs)
    found = []
    for each in trials:
        pair = of_pair[each.cell.key]
        if used.get(pair, 0.0) >= limit:
            found.append(_Planned(each.cell, each.state, 0.0))
            continue
        stored = None if fresh or each.state != DONE else tuning.store.readable(each.cell.key)
        used[pair] = used.get(pair, 0.0) + (seconds_tried(stored) if stored else each.seconds or 0.0)
        tested = state_of(tuning.store, each.cell, tuning.tested) == DONE and not fresh
        testing = 0.0 if tested else estimates.of(each.cell, "testing", len(each.cell.settings(tuning.tested.settings)))
        both = None if each.seconds is None or testing is None else each.seconds + testing
        found.append(_Planned(each.cell, each.state, both, testing))
    return found
