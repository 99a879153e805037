"""The same tuning budget for every method: trials, the choice by validation, and what is trained with it.

For each row whose method trains, and each task, configuration 0 is the default and 1 … K are random ones of its search
space. A trial is a cell, trained with a seed that no other cell has, while the test split is closed; it stores
predictions for the validation split. The best one is trained again with the grid's seeds, as a row of its own. See
:mod:`benchmark.running.tuned` for what is stored of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.source import Identity, TaskSource
from benchmark.errors import BenchmarkError
from benchmark.methods.labels import TUNED, Row
from benchmark.methods.loading import load
from benchmark.methods.search import configurations
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import Setting
from benchmark.protocol.scoring import Scorer
from benchmark.protocol.target import Target
from benchmark.running.choice import Choice
from benchmark.running.grid import Cell, Grid, build
from benchmark.running.store import DONE, FAILED, Damaged, Store, setting_name
from benchmark.running.trial import DRAWS, Trial, drawn, lacking_validation, stored_trial, tried_in
from benchmark.running.tuned import TRIALS, choices_digest, place_of, read_tuning, tuned_label, write_tuning

SEED = 10_000
"""Of all trials; seeds of grids are below it."""

RULE = (
    "chosen by the primary metric on the validation split: the mean of three parts (complete, whole modalities "
    "missing, frames missing or noisy), each the mean over the grid's settings and over fixed draws of masks; of "
    "equals the first; what failed counts as tried and is never chosen"
)


@dataclass(frozen=True)
class Pair:
    """A row and a task, and its trials.

    Parameters
    ----------
    row : Row
    task : TaskSource
    values : list of dict
        By configuration; the first is empty, the default.
    cells : list of Cell
        By configuration. Two that come to the same are one cell.
    """

    row: Row
    task: TaskSource
    values: list[dict[str, Any]]
    cells: list[Cell]


class Tuning:
    """The trials of a grid, in the folder of its results.

    Parameters
    ----------
    choice : Choice
        Of a grid with a `tune`.
    out : Path
    on_data : callable
        Called with what each task's data are.

    Raises
    ------
    BenchmarkError
        If no row has anything to tune, or a search space is none.
    """

    def __init__(self, choice: Choice, out: Path, on_data: Callable[[Identity], None] = lambda identity: None) -> None:
        if choice.config.tune is None:
            raise ValueError("the grid is not to be tuned")
        self.choice, self.out, self.asked = choice, out, choice.config.tune
        self.store = Store(out / TRIALS)
        self.plain = choice.build(on_data)
        self.pairs = [pair for task in choice.tasks for pair in self._pairs(task)]
        if not self.pairs:
            raise BenchmarkError(
                f"--tune: of the rows of grid {choice.name} ({', '.join(choice.labels)}) none has anything to tune; "
                "name a method that trains, or leave it out"
            )

    def _pairs(self, task: TaskSource) -> list[Pair]:
        choice = self.choice
        found = []
        for row in choice.rows:
            cls = load(choice.entries[row.name])
            drawn_values = []
            if cls.augmentable or cls.search_space:  # else it is a floor, which is the same however it is trained
                count = self.asked.configurations
                drawn_values = configurations(cls, row.name, task.name, row.trains_on, count)
            if drawn_values:
                values = [{}, *drawn_values]
                found.append((row, values, [_configured(row, own, f"#{i}") for i, own in enumerate(values)]))
        cells = self._cells([row for _, _, rows in found for row in rows], task, seeds=[SEED])
        return [Pair(row, task, values, [cells[own.label][0] for own in rows]) for row, values, rows in found]

    def _cells(
        self, rows: Sequence[Row], task: TaskSource, seeds: Sequence[int] | None = None
    ) -> dict[str, list[Cell]]:
        """The cells of some rows that the grid does not have, by label."""
        if not rows:
            return {}
        choice = self.choice  # with all of its rows, for which something may be set
        grid = build(
            choice.name, choice.config, [*choice.rows, *rows], choice.entries, [task], choice.overrides, seeds=seeds,
            twins=True,
        )  # fmt: skip
        return {row.label: [cell for cell in grid.cells if cell.row.label == row.label] for row in rows}

    @property
    def trials(self) -> Grid:
        """All trials, each once; none opens the test split."""
        cells = {cell.key: cell for pair in self.pairs for cell in pair.cells}
        name = f"{self.choice.name}, trials"
        return Grid(name, list(cells.values()), [], self.plain.draw, drawn(self.plain.settings))

    @property
    def tested(self) -> Grid:
        """The trials in the grid's settings: what is computed of them when every choice is stored."""
        name = f"{self.choice.name}, test of the trials"
        return Grid(name, self.trials.cells, self.plain.settings, self.plain.draw, trains=False)

    def planned_words(self, testing: str) -> str:
        """For people: what the cells of a plan are for; `testing` is the time that the test of the trials takes."""
        trials, hours = len(self.trials.cells), self.asked.hours
        within = "" if hours is None else f", or as many as {hours:g} h allow, divided between methods and tasks"
        return (
            f"tuning: {trials} trials ({self.asked.configurations} configurations and the default of each method and "
            f"task{within}); then the chosen ones with the grid's seeds, at most as below; "
            f"then the trials are tested, which trains nothing ({testing})"
        )

    def due(self) -> list[Cell]:
        """The trials to be there before a choice; with a time to divide, those that it allows for and the next ones.

        The share of a pair is used up by the seconds that its stored trials took, in order, so that what is due does
        not depend on when it is asked for.
        """
        return list({cell.key: cell for pair in self.pairs for cell in self._admitted(pair)}.values())

    def _admitted(self, pair: Pair) -> list[Cell]:
        if self.asked.hours is None:
            return pair.cells
        share, used = self.asked.hours * 3600.0 / len(self.pairs), 0.0
        admitted: list[Cell] = []
        for cell in pair.cells:
            if admitted and used >= share:
                break
            admitted.append(cell)
            record = self.store.readable(cell.key)
            if record is None:
                break
            used += seconds_tried(record)
        return admitted

    def lacking(self) -> list[Cell]:
        """The trials that are due and not stored."""
        tried = self.trials.tried
        return [cell for cell in self.due() if not self._is_there(cell, tried)]

    def _is_there(self, cell: Cell, tried: Sequence[Any]) -> bool:
        record = self.store.readable(cell.key)
        if record is None or record["state"] == FAILED:
            return record is not None
        return not lacking_validation(record, tried_in(tried, cell.task.task.modalities))

    def given_up(self) -> set[str]:
        """The trials that had failed when a choice was stored, and still have: tried again, they would change it."""
        pairs = read_tuning(self.out).get("pairs", ())
        failed = {trial["key"] for pair in pairs for trial in pair["trials"] if trial["state"] == FAILED}
        return {key for key in failed if (self.store.readable(key) or {}).get("state") == FAILED}

    def choices(self) -> dict[str, Any]:
        """What is chosen by the stored trials, in the form of :mod:`benchmark.running.tuned`."""
        stored = read_tuning(self.out)
        opened, before = list(stored.get("opened", ())), {place_of(pair): pair for pair in stored.get("pairs", ())}
        open_ = {key for each in opened for key in each["trials"]}
        pairs = [_as_before(pair, before) for pair in (self._chosen(pair, open_) for pair in self.pairs)]
        own = set(map(place_of, pairs))
        return {
            "grid": self.choice.name,
            "configurations": self.asked.configurations,
            "hours": self.asked.hours,
            "seed": SEED,
            "draws": list(DRAWS),
            "rule": RULE,
            "opened": opened,
            "pairs": pairs + [pair for place, pair in before.items() if place not in own],
        }

    def _chosen(self, pair: Pair, open_: set[str]) -> dict[str, Any]:
        target = pair.task.task.as_target
        primary = metric(pair.task.task.scored[0], target.kind)
        trials, wanted = [], self._tried(pair)
        for number, (cell, values) in enumerate(zip(self._admitted(pair), pair.values, strict=False)):
            told = self._told(cell.key, target, primary.name, wanted)
            trials.append(
                {"number": number, "values": values, "key": cell.key, "opened_before": cell.key in open_, **told}
            )
        sign = -1.0 if primary.lower_is_better else 1.0
        fine = [trial for trial in trials if trial["score"] is not None]
        best = max(fine, key=lambda trial: (sign * trial["score"], -trial["number"]), default=None)
        label = pair.row.label
        default = [cell for cell in self.plain.cells if (cell.row.label, cell.task) == (label, pair.task)]
        tuned = [] if best is None else self._refits(pair, best["values"])
        return {
            "method": label,
            "tuned": tuned_label(label),
            "name": pair.row.name,
            "task": pair.task.name,
            "source": "simulated" if pair.task.path is None else "file",
            "configurations": self.asked.configurations,
            "hours": self.asked.hours,
            "tried": wanted,
            "metric": primary.name,
            "lower_is_better": primary.lower_is_better,
            "chosen": None if best is None else best["number"],
            "values": {} if best is None else best["values"],
            "cells": {"default": [cell.key for cell in default], "tuned": [cell.key for cell in tuned]},
            "trials": trials,
        }

    def _tried(self, pair: Pair) -> list[str]:
        """The settings and draws of a pair's trials, by name."""
        return [setting_name(*each) for each in tried_in(self.trials.tried, pair.task.task.modalities)]

    def _told(self, key: str, target: Target, primary: str, wanted: Sequence[str]) -> dict[str, Any]:
        """State, score and time of a trial."""
        told: dict[str, Any] = {"state": FAILED, "score": None, "parts": {}, "seconds": 0.0, "error": ""}
        record = self.store.readable(key)
        if record is None:
            return told | {"error": "it is damaged"}
        told["seconds"] = seconds_tried(record)
        if record["state"] != DONE:
            return told | {"error": record["error"]}
        try:
            trial = stored_trial(self.store, key)
        except Damaged as damage:
            return told | {"error": damage.fault}
        if trial is None or not set(wanted) <= set(trial.names):  # of a run in other settings, and fails in these
            return told | {"error": "it has not stored all predictions for the validation split"}
        score, parts = score_on_validation(trial, target, primary, wanted)
        return told | {"state": DONE, "score": score, "parts": parts}

    def _refits(self, pair: Pair, values: Mapping[str, Any]) -> list[Cell]:
        row = _configured(pair.row, values, tuned_label(pair.row.label))
        cells = self._cells([row], pair.task)[row.label]
        told = replace(row, variant=(*pair.row.variant, TUNED))
        return [replace(cell, row=told) for cell in cells]

    def refits(self, tuning: Mapping[str, Any]) -> Grid:
        """The grid's cells, and those of the tuned rows; a cell that belongs to both stands once, as the grid's."""
        cells = {cell.key: cell for cell in self.plain.cells}
        for pair, told in zip(self.pairs, self._own(tuning), strict=True):
            if told["chosen"] is not None:
                for cell in self._refits(pair, told["values"]):
                    cells.setdefault(cell.key, cell)
        return replace(self.plain, cells=list(cells.values()))

    def _own(self, tuning: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What is told of the pairs that are asked for; those that an earlier command asked for stand behind them."""
        return list(tuning["pairs"][: len(self.pairs)])

    def planned(self) -> Grid:
        """The grid's cells and those of the tuned rows, as far as they are known; at most so many are computed."""
        if not self.lacking():
            return self.refits(self.choices())
        tuned = {(pair.row.label, pair.task) for pair in self.pairs}
        assumed = [
            replace(cell, row=replace(cell.row, label=tuned_label(cell.row.label)), definition=_unknown(cell))
            for cell in self.plain.cells
            if (cell.row.label, cell.task) in tuned
        ]
        return replace(self.plain, cells=[*self.plain.cells, *assumed])

    def opened(self, tuning: Mapping[str, Any]) -> Grid:
        """Note that the test split is opened for the trials from now on; they, to be tested in the grid's settings.

        Only what is done is tested. What is chosen does not change by it.
        """
        keys = {trial["key"] for pair in self._own(tuning) for trial in pair["trials"] if trial["state"] == DONE}
        known = {key for each in tuning["opened"] for key in each["trials"]}
        if keys - known:
            new = {"digest": choices_digest(tuning["pairs"]), "trials": sorted(keys - known)}
            write_tuning(self.out, {**tuning, "opened": [*tuning["opened"], new]})
        return replace(self.tested, cells=[cell for cell in self.trials.cells if cell.key in keys])

    def remarks(self, tuning: Mapping[str, Any]) -> list[str]:
        """What a person should know of the choices, a line each."""
        found, own = [], self._own(tuning)
        if any(trial["opened_before"] for pair in own for trial in pair["trials"]):
            found.append(
                "the test split was opened for some of these trials before this choice, which another budget or "
                "--fresh has made anew; choices are made of validation predictions alone, so that it cannot show in "
                "them"
            )
        if self.asked.hours is not None:
            found.append(
                f"each method was given its share of {self.asked.hours:g} h on each task: how many configurations that "
                "allows for depends on this machine"
            )
        for pair in own:
            where, tried = f"{pair['method']} on {pair['task']}", len(pair["trials"])
            failed = sum(trial["state"] == FAILED for trial in pair["trials"])
            of_tried = f"{tried} tried" + (f", {failed} failed" if failed else "")
            if pair["chosen"] is None:
                found.append(f"tuning {where}: {of_tried}; none could be chosen, so there is no tuned row")
            else:
                said = (
                    "the default" if pair["chosen"] == 0 else f"configuration {pair['chosen']} {shown(pair['values'])}"
                )
                found.append(f"tuning {where}: {of_tried}; chosen: {said}")
        return found


def _as_before(pair: dict[str, Any], before: Mapping[tuple[str, str, str], dict[str, Any]]) -> dict[str, Any]:
    """A pair as it was chosen once, if nothing that it was chosen by has changed: the same choice is not a new one."""

    def by(told: Mapping[str, Any]) -> list[Any]:
        return [(trial["key"], trial["score"]) for trial in told["trials"]]

    known = before.get(place_of(pair))
    if known is None or by(known) != by(pair):
        return pair
    flags = [{"opened_before": trial["opened_before"]} for trial in known["trials"]]
    return {**pair, "trials": [trial | flag for trial, flag in zip(pair["trials"], flags, strict=True)]}


def _unknown(cell: Cell) -> dict[str, Any]:
    """In a definition's place while it is not known what will be chosen."""
    return {**cell.definition, "hyperparameters": "as chosen"}


def shown(values: Mapping[str, Any], prefix: str = "") -> str:
    """For people: ``learning_rate=0.003, mrm.frame_probability=0.4``."""
    return ", ".join(
        shown(value, f"{prefix}{name}.") if isinstance(value, Mapping) else f"{prefix}{name}={value}"
        for name, value in values.items()
    )


def seconds_tried(record: Mapping[str, Any]) -> float:
    """What a stored trial takes of a time that is divided; a cell that failed has only the time of all it did."""
    return float(record.get("training_seconds", record["seconds"]))


def score_on_validation(
    trial: Trial, target: Target, primary: str, wanted: Sequence[str]
) -> tuple[float | None, dict[str, float]]:
    """The score that a trial is chosen by, and its parts; None where the metric is not defined there.

    Parameters
    ----------
    trial : Trial
    target : Target
    primary : str
        The task's primary metric.
    wanted : sequence of str
        The settings and draws that count, by name.
    """
    scorer = Scorer(target=target, labels=trial.labels, metrics=[primary])
    logits = trial.logits[[trial.names.index(name) for name in wanted]]  # (S, N, K)
    values = scorer.scores(logits)[0, :, 0] * scorer.scales[0]  # (S,)
    score, parts = score_of(wanted, values)
    return (score if math.isfinite(score) else None), parts


def score_of(names: Iterable[str], values: Any) -> tuple[float, dict[str, float]]:
    """The score of a trial and its parts, from a metric's values by setting and draw.

    Parameters
    ----------
    names : iterable of S str
        As from :func:`benchmark.running.store.setting_name`.
    values : sequence of S float

    Returns
    -------
    float
        The mean of the parts.
    dict
        ``complete``, ``inter`` and ``intra``, each the mean over its settings of the means over their draws; without
        those that have no setting.
    """
    by_setting: dict[str, list[float]] = {}
    for name, value in zip(names, values, strict=True):
        by_setting.setdefault(name.rpartition("#")[0], []).append(float(value))
    parts: dict[str, list[float]] = {}
    for setting, own in by_setting.items():
        parts.setdefault(_part(setting), []).append(float(np.mean(own)))
    means = {name: float(np.mean(parts[name])) for name in sorted(parts)}
    return float(np.mean(list(means.values()))), means


def _part(setting: str) -> str:
    parsed = Setting.parse(setting)
    if parsed == Setting():
        return "complete"
    return "intra" if parsed.available == "lav" else "inter"


def _configured(row: Row, values: Mapping[str, Any], label: str) -> Row:
    """A row of its own for a configuration of another row; its values win over the row's."""
    label = f"{row.label} {label}" if label.startswith("#") else label
    return replace(row, label=label, variant=(*row.variant, *values.items()))
