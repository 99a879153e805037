"""What an output folder brings to a leaderboard: its rows, from ``scores.csv``, ``intervals.csv`` and the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pandas as pd

from benchmark import methods
from benchmark._version import __version__
from benchmark.errors import BenchmarkError
from benchmark.evidence.readings import flat
from benchmark.evidence.robustness import worst_cases
from benchmark.evidence.scores import SETTING, read_scores, setting_of
from benchmark.evidence.statistics import AVERAGE, average_draws, average_inter, of_primary, over_seeds
from benchmark.evidence.stored import read_evidence
from benchmark.evidence.tuning import Tuning
from benchmark.files.manifest import read_manifest
from benchmark.report.marks import Mark, read_mark
from benchmark.running.store import Store
from benchmark.running.tuned import SUFFIX

DEFAULT = "default"
BEFORE = "before 0.2"
"""The version of folders that do not say it."""

_WITH = re.compile(r"; (\S+) with (.+)$", re.DOTALL)  # as methods.describe ends, of a variant


@dataclass(frozen=True)
class Where:
    """What rows must share to be compared.

    Parameters
    ----------
    task, source : str
    fingerprint : str
        Of the data.
    metric : str
        The task's primary one.
    version : str
        Of the benchmark, as far as it says what may break: ``0.2``.
    """

    task: str
    source: str
    fingerprint: str
    metric: str
    version: str


@dataclass(frozen=True)
class Score:
    """A mean over seeds, with the ends of its 95 % interval, NaN where there are none."""

    mean: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Run:
    """What all rows of an output folder share."""

    folder: Path
    grid: str
    finished: str
    commit: str
    mark: Mark


@dataclass(frozen=True)
class Standing:
    """A row of a table in a folder.

    Parameters
    ----------
    run : Run
    method : str
        Its label.
    name, task : str
        The row and the task as tables print them.
    configuration : str
        ``default``, ``tuned: …``, or the hyper-parameters that set it apart.
    target : str
        The kind of the task's target.
    seeds : int
    scores : dict of condition to Score
    values : DataFrame
        Of each seed and setting, with its `condition`, for what is made of several rows.
    """

    run: Run
    method: str
    name: str
    task: str
    configuration: str
    target: str
    seeds: int
    scores: dict[str, Score]
    values: pd.DataFrame = field(repr=False)


def read_standings(folder: Path) -> dict[Where, list[Standing]]:
    """The rows of an output folder, by what they may be compared with.

    Raises
    ------
    BenchmarkError
        In one line, if it is no output folder with a report, or a file of it cannot be used.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{folder} is no folder; name the output folder of a run")
    if not (folder / "scores.csv").is_file():
        if Store(folder).stored_keys():
            raise BenchmarkError(f"{folder} has no report yet; --report-only {folder} writes it")
        raise BenchmarkError(f"{folder} is {'no output folder of a run' if any(folder.iterdir()) else 'empty'}")
    manifest = read_manifest(folder / "manifest.json")
    if not manifest:
        mend = f"--report-only {folder} writes it" if Store(folder).stored_keys() else "copy it from the run once more"
        raise BenchmarkError(f"{folder / 'manifest.json'} is missing or cannot be used; {mend}")
    scores = read_scores(folder / "scores.csv")
    if scores.empty:
        raise BenchmarkError(f"{folder / 'scores.csv'} has no scores: nothing is computed yet, or all of it failed")
    primary = of_primary(average_draws(scores))
    values = primary.assign(condition=_conditions(primary))
    ends = read_evidence(folder, scores).intervals
    if ends.empty:
        ends = pd.DataFrame(columns=["task", "source", "metric", "method", "condition", "low", "high"])
    averages = average_inter(primary).assign(condition=AVERAGE)
    where = ["task", "source", "metric", "method", "condition"]
    means = over_seeds(pd.concat([values, averages], ignore_index=True), where).merge(
        ends[[*where, "low", "high"]], how="left", on=where
    )
    run = Run(
        folder,
        str(manifest.get("grid") or folder.name),
        str(manifest.get("finished") or ""),
        str(manifest.get("git_commit") or ""),
        read_mark(folder),
    )
    shown = {row["label"]: row.get("display") for row in manifest.get("methods", [])}
    entries = methods.catalogue()  # for the names of methods in manifests that do not tell them
    titles = {own.get("name"): own.get("display") for own in manifest.get("tasks", [])}
    found: dict[Where, list[Standing]] = {}
    for key, own in values.groupby(where[:4], sort=False):
        task, source, metric, method = map(str, cast("tuple[str, ...]", key))
        place = Where(task, source, _fingerprint(manifest, task, source, folder), metric, _version(manifest))
        of_row = means[(means[where[:4]] == [task, source, metric, method]).all(axis=1) & means["mean"].notna()]
        numbers = of_row[["condition", "mean", "low", "high"]].itertuples(index=False, name=None)
        found.setdefault(place, []).append(
            Standing(
                run,
                method,
                shown.get(method) or methods.display_name(methods.label_row(method, entries), entries),
                str(titles.get(task) or task),
                _configuration(manifest, task, source, method),
                str(own["target"].iloc[0]),
                own["seed"].nunique(),
                {condition: Score(mean, low, high) for condition, mean, low, high in numbers},
                own,
            )
        )
    return found


def worst_of(standings: list[Standing]) -> dict[int, tuple[str, float]]:
    """By place, the condition in which a row does worst, and its mean there, among those that all were tested in.

    Only rows with an `Avg.` count: all of them were tested with each set of modalities missing. Others have no worst
    case.
    """
    counted = {place: own for place, own in enumerate(standings) if AVERAGE in own.scores}
    if not counted:
        return {}
    shared = set.intersection(*(set(own.scores) for own in counted.values()))
    values = pd.concat([own.values.assign(method=place) for place, own in counted.items()], ignore_index=True)
    worst = worst_cases(values[values["condition"].isin(shared)])
    return {
        int(place): (str(condition), float(mean))
        for place, condition, mean in worst[["method", "condition", "mean"]].itertuples(index=False, name=None)
    }


def _conditions(values: pd.DataFrame) -> list[str]:
    columns = ["kind", "available", "ratio", *([SETTING] if SETTING in values else [])]
    rows = list(values[columns].itertuples(index=False, name=None))
    names = {row: setting_of(*row).condition for row in set(rows)}
    return [names[row] for row in rows]


def _fingerprint(manifest: Mapping[str, Any], task: str, source: str, folder: Path) -> str:
    found = {
        str(own["fingerprint"])
        for own in manifest.get("tasks", [])
        if (own.get("name"), own.get("source")) == (task, source) and own.get("fingerprint")
    }
    if len(found) != 1:
        told = "does not say which" if not found else "names several"
        raise BenchmarkError(f"{folder / 'manifest.json'} {told} data its scores of {task} ({source}) are of")
    return found.pop()


def _version(manifest: Mapping[str, Any]) -> str:
    said = str(manifest.get("benchmark") or "")
    return ".".join(said.split(".")[:2]) if said else BEFORE


def is_former(where: Where) -> bool:
    """Whether rows were made by a version whose numbers are not those of this one."""
    return where.version != ".".join(__version__.split(".")[:2])


def _configuration(manifest: Mapping[str, Any], task: str, source: str, method: str) -> str:
    described = {row["label"]: row["description"] for row in manifest.get("methods", [])}.get(method, "")
    variant = _WITH.search(described)
    changed: dict[str, Any] = {}
    for cell in manifest.get("cells", []):
        if (cell["task"], cell["source"], cell["method"]) == (task, source, method):
            changed |= flat(cell["changed"])
    tuned, chosen = _tuned(manifest, task, source, method) if method.endswith(SUFFIX) else ("", {})
    apart = _listed({name: value for name, value in changed.items() if name not in chosen})
    if variant:  # what cells of earlier versions do not say, their method's description does
        apart = f"{variant[1]} with {apart or variant[2]}"
    elif apart:
        apart = f"with {apart}"
    return ", ".join(filter(None, [tuned, apart])) or DEFAULT


def _tuned(manifest: Mapping[str, Any], task: str, source: str, method: str) -> tuple[str, Mapping[str, Any]]:
    """What was chosen, in words and by name."""
    for own in map(Tuning.of_record, manifest.get("tuning", [])):
        if (own.task, own.source, own.tuned) == (task, source, method):
            chosen = flat(own.values[own.order[0]])
            return f"tuned: {_listed(chosen) or 'the default was chosen'}", chosen
    return "tuned", {}  # in trials that the manifest does not have


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
