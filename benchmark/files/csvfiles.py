"""csv files as a report writes them, read strictly: each field is checked, and a fault is told with its line."""

from __future__ import annotations

import csv
import sys
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError, one_line
from benchmark.names import as_written

LARGEST = 1e30
"""More than any score, difference or end of an interval."""


@dataclass(frozen=True)
class Column:
    """What the fields of a column hold: how one is read, and the type code of its numbers (texts have none)."""

    parse: Callable[[str], Any]
    code: str = ""


def text(words: Collection[str] = (), *, empty: bool = False) -> Column:
    """One of some words, or any text where none are given."""

    def parse(field: str) -> str:
        field = as_written(field)
        if (not field and not empty) or (field and words and field not in words):
            raise ValueError(f"{field!r} is unknown")
        return sys.intern(field)

    return Column(parse)


def whole() -> Column:
    """A whole number of at least 0."""

    def parse(field: str) -> int:
        value = int(field)
        if value < 0:
            raise ValueError(f"{value} is below 0")
        return value

    return Column(parse, "q")


def number(low: float = -LARGEST, high: float = LARGEST, *, empty: bool = False) -> Column:
    """A number between two; an empty field is NaN where that is allowed."""

    def parse(field: str) -> float:
        if empty and not field:
            return float("nan")
        value = float(field)
        if not low <= value <= high:
            raise ValueError(f"{value} is not in {low:g} to {high:g}")
        return value

    return Column(parse, "d")


def read_csv(
    path: Path, columns: Mapping[str, Column], *, may_be_empty: bool = False, optional: Mapping[str, Any] = {}
) -> pd.DataFrame:
    """The named columns of a file that was written by :func:`benchmark.names.without_formulas`; others are left out.

    A column of `optional` that the file lacks has the value given there in every row; with None it is left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BenchmarkError
        If it lacks a column, or a line is not as a report writes it. One without any row need not have the columns
        if it `may_be_empty`.
    """
    line, name = 1, ""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            lacking = [column for column in columns if column not in header and column not in optional]
            if lacking and may_be_empty and next(reader, None) is None:
                return pd.DataFrame()
            if lacking:
                raise BenchmarkError(f"{path} lacks the column {lacking[0]!r}; it must be as a report writes it")
            read = {own: column for own, column in columns.items() if own in header}
            found: dict[str, Any] = {own: array(column.code) if column.code else [] for own, column in read.items()}
            parts = [(own, header.index(own), column.parse, found[own].append) for own, column in read.items()]
            for row in reader:
                line, name = reader.line_num, ""
                if len(row) != len(header):
                    raise ValueError(f"{len(row)} fields where the first line has {len(header)}")
                for name, place, parse, keep in parts:  # noqa: B007 (the name is told where a field is refused)
                    keep(parse(row[place]))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is no UTF-8 text; it must be as a report writes it") from error
    except (ValueError, OverflowError, csv.Error) as error:
        what = f"{name}: " if name and not isinstance(error, csv.Error) else ""
        raise BenchmarkError(
            f"{path}, line {line}: {what}{one_line(str(error))}; the file must be as a report writes it"
        ) from error
    frame = pd.DataFrame({name: np.array(c) if isinstance(c, array) else c for name, c in found.items()})
    return frame.assign(**{own: value for own, value in optional.items() if own not in read and value is not None})
