"""``scores.csv``: its columns, and reading it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmark.errors import BenchmarkError
from benchmark.files.csvfiles import number, read_csv, text, whole
from benchmark.names import check_name
from benchmark.protocol.missing import PATTERNS, SUBSETS

COLUMNS = ["task", "source", "method", "seed", "kind", "available", "ratio", "draw", "metric", "value", "n", "key"]
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
    "value": number(0, 100, empty=True),  # f1 where every label is 0
    "n": whole(),
    "key": text(),
}


def read_scores(path: Path) -> pd.DataFrame:
    """``scores.csv`` as written by a report.

    Raises
    ------
    BenchmarkError
        If there is no such file, it lacks a column, or a line is not as a report writes it.
    """
    try:
        scores = read_csv(path, _FIELDS)
    except FileNotFoundError as error:
        raise BenchmarkError(f"nothing is stored in {path.parent}; run the grid first") from error
    check_names(scores, path)
    return scores


def check_names(table: pd.DataFrame, path: Path) -> None:
    """Refuse a table that was read where a name in it cannot be shown; raises BenchmarkError."""
    told = {"method": "row"}
    for column in ("task", "method", "metric", "condition", "against"):
        what = told.get(column, column)
        for name in table[column].unique() if column in table else ():
            check_name(name.removeprefix("f1_"), what, path)  # a metric may have the name of a category
