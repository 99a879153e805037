"""``scores.csv``: its columns, and reading it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError
from benchmark.files.csvfiles import number, read_csv, text, whole
from benchmark.names import check_name
from benchmark.protocol.metrics import category_of, metric
from benchmark.protocol.missing import PATTERNS, RANDOM, SUBSETS, Setting
from benchmark.protocol.target import CATEGORY, KINDS, POLARITY

TASK = ["target", "modalities"]
"""The columns that say what a task is; in all its lines they are the same."""

COLUMNS = ["task", "source", "method", "seed", "kind", "available", "ratio", "draw", "metric", "value", "n", "key"]
COLUMNS += TASK  # behind, so that what reads older files finds all where it was
SETTING = "setting"
"""A last column of files with settings of `SAID_KINDS`, in all their lines: the setting's text, such as
``lav@0.1/0.5/0.9``. Of other settings the columns before it say all."""

SOURCE = text({"simulated", "file"})
SAID_KINDS = ("imbalanced", "noise", "random")
SETTING_KINDS = {f"{kind}{pattern}" for kind in ("inter", "intra") for pattern in ("", *(f"-{p}" for p in PATTERNS))}
SETTING_KINDS |= set(SAID_KINDS)
AVAILABLE = {*SUBSETS, *(subset + RANDOM for subset in SUBSETS if len(subset) > 1)}
_FIELDS = {
    "task": text(),
    "source": SOURCE,
    "method": text(),
    "seed": whole(),
    "kind": text(SETTING_KINDS),
    "available": text(AVAILABLE),
    "ratio": number(0, 1),
    "draw": whole(),
    "metric": text(),
    "value": number(empty=True),  # f1 where every label is 0
    "n": whole(),
    "key": text(),
    "target": text(KINDS),
    "modalities": text({"lav", "la", "lv", "av"}),
    SETTING: text(),
}
_FORMER = {"target": None, "modalities": "lav", SETTING: None}  # what files of earlier versions do not say


def read_scores(path: Path) -> pd.DataFrame:
    """``scores.csv`` as written by a report.

    Raises
    ------
    BenchmarkError
        If there is no such file, it lacks a column, or a line is not as a report writes it.
    """
    try:
        scores = read_csv(path, _FIELDS, optional=_FORMER)
    except FileNotFoundError as error:
        raise BenchmarkError(f"nothing is stored in {path.parent}; run the grid first") from error
    check_names(scores, path)
    _check_values(scores, path)
    if "target" not in scores:  # before files said so, a task with a score for each category was one of categories
        by_category = scores["metric"].map({name: category_of(name) is not None for name in scores["metric"].unique()})
        own = by_category.groupby(scores["task"], sort=False).transform("any")
        scores["target"] = np.where(own, CATEGORY, POLARITY)
    _refuse_two_targets(scores, path)
    _refuse_other_settings(scores, path)
    _refuse_twice(scores, path)
    return scores[[*COLUMNS, *([SETTING] if SETTING in scores else [])]]


def setting_of(kind: str, available: str, ratio: float, said: str = "") -> Setting:
    """The setting of a line of scores, from its columns; `said` is that of `SETTING`."""
    return (
        Setting.parse(said) if kind in SAID_KINDS else Setting(available, ratio, kind.partition("-")[2] or PATTERNS[0])
    )


def conditions_of(scores: pd.DataFrame) -> dict[str, Setting]:
    """The settings of `SAID_KINDS` among some scores, by the names of their conditions."""
    said = scores.loc[scores["kind"].isin(SAID_KINDS), SETTING].unique() if SETTING in scores else ()
    return {setting.condition: setting for setting in map(Setting.parse, said)}


def _refuse_other_settings(scores: pd.DataFrame, path: Path) -> None:
    """Refuse a setting that is not what the other columns say; raises BenchmarkError."""
    known = scores["kind"].isin(SAID_KINDS)
    if SETTING not in scores and known.any():
        raise BenchmarkError(
            f"{path} lacks the column {SETTING!r}, without which {scores.loc[known, 'kind'].iloc[0]} settings cannot "
            "be told; it must be as a report writes it"
        )
    columns = ["kind", "available", "ratio", *([SETTING] if SETTING in scores else [])]
    for kind, available, ratio, *said in scores[columns].drop_duplicates().itertuples(index=False, name=None):
        try:
            setting = Setting.parse(*said) if said else setting_of(kind, available, ratio)
        except ValueError as error:
            raise BenchmarkError(f"{path}: {error}; the file must be as a report writes it") from error
        as_written = (setting.kind, setting.available) == (kind, available) and abs(setting.share - ratio) <= 1e-6
        if not as_written or said not in ([], [str(setting)]):
            raise BenchmarkError(
                f"{path}: the setting {said[0] if said else str(setting)!r} is not {kind} {available!r} at {ratio:g}; "
                "the file must be as a report writes it"
            )


def _refuse_two_targets(scores: pd.DataFrame, path: Path) -> None:
    """Refuse a task whose lines say that it is two; raises BenchmarkError."""
    where = ["task", "source"]
    found = scores[[*where, *TASK]].drop_duplicates()
    for name, source in found.loc[found.duplicated(where), where].itertuples(index=False, name=None):
        raise BenchmarkError(
            f"{path}: {' and '.join(TASK)} of {name!r} ({source}) are not the same in all lines; the file must be as a "
            "report writes it"
        )


def _refuse_twice(scores: pd.DataFrame, path: Path) -> None:
    """Refuse two scores of the same thing; raises BenchmarkError."""
    others = {"value", "n", "key", *TASK}
    where = [column for column in [*COLUMNS, SETTING] if column in scores and column not in others]
    twice = scores.assign(ratio=scores["ratio"].round(6)).duplicated(where)
    if twice.any():
        line = int(scores.index[twice][0])
        first = scores.loc[line, where].drop("source").to_dict()
        told = ", ".join(f"{column} {value}" for column, value in first.items())
        raise BenchmarkError(
            f"{path}, line {line + 2}: a second score of {told}; only one of the two can hold: remove the other line"
        )


def _check_values(scores: pd.DataFrame, path: Path) -> None:
    """Refuse a value that its metric cannot have; raises BenchmarkError."""
    for name, values in scores.groupby("metric", sort=False)["value"]:
        try:
            low, high = metric(str(name)).bounds
        except KeyError as error:
            raise BenchmarkError(
                f"{path}: the metric {name!r} is unknown; the file must be as a report writes it"
            ) from error
        wrong = values[(values < low) | (values > high)]
        if not wrong.empty:
            raise BenchmarkError(
                f"{path}, line {int(wrong.index[0]) + 2}: value: {wrong.iloc[0]} is not in {low:g} to {high:g}; the "
                "file must be as a report writes it"
            )


def check_names(table: pd.DataFrame, path: Path) -> None:
    """Refuse a table that was read where a name in it cannot be shown; raises BenchmarkError."""
    told = {"method": "row"}
    for column in ("task", "method", "metric", "condition", "against"):
        what = told.get(column, column)
        for name in table[column].unique() if column in table else ():
            check_name(name.removeprefix("f1_"), what, path)  # a metric may have the name of a category
