"""``scores.csv``: its columns, and reading it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError
from benchmark.files.csvfiles import number, read_csv, text, whole
from benchmark.names import check_name
from benchmark.protocol.metrics import category_of, metric
from benchmark.protocol.missing import PATTERNS, SUBSETS
from benchmark.protocol.target import CATEGORY, KINDS, POLARITY

TASK = ["target", "modalities"]
"""The columns that say what a task is; in all its lines they are the same."""

COLUMNS = ["task", "source", "method", "seed", "kind", "available", "ratio", "draw", "metric", "value", "n", "key"]
COLUMNS += TASK  # behind, so that what reads older files finds all where it was
SOURCE = text({"simulated", "file"})
SETTING_KINDS = {f"{kind}{pattern}" for kind in ("inter", "intra") for pattern in ("", *(f"-{p}" for p in PATTERNS))}
_FIELDS = {
    "task": text(),
    "source": SOURCE,
    "method": text(),
    "seed": whole(),
    "kind": text(SETTING_KINDS),
    "available": text(SUBSETS),
    "ratio": number(0, 1),
    "draw": whole(),
    "metric": text(),
    "value": number(empty=True),  # f1 where every label is 0
    "n": whole(),
    "key": text(),
    "target": text(KINDS),
    "modalities": text({"lav", "la", "lv", "av"}),
}
_FORMER = {"target": None, "modalities": "lav"}  # what files of earlier versions do not say


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
    return scores[COLUMNS]


def _refuse_two_targets(scores: pd.DataFrame, path: Path) -> None:
    """Refuse a task whose lines say that it is two; raises BenchmarkError."""
    where = ["task", "source"]
    found = scores[[*where, *TASK]].drop_duplicates()
    for name, source in found.loc[found.duplicated(where), where].itertuples(index=False, name=None):
        raise BenchmarkError(
            f"{path}: {' and '.join(TASK)} of {name!r} ({source}) are not the same in all lines; the file must be as a "
            "report writes it"
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
