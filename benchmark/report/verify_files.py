"""Is a stored file what follows from the outputs? A part of ``--verify``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

_NEAR = 1e-9  # statistics may be rounded otherwise on another processor; scores are printed to two decimals
_PLACE = ("task", "method", "other", "seed", "available", "ratio", "condition", "metric")  # columns that say of what


def same_text(stored: str, again: str) -> bool:
    """Whether two tables differ at most in the last digits of numbers that stand alone between commas."""
    if stored == again:
        return True
    before, now = (re.split(r"(,|\r?\n)", text) for text in (stored, again))
    return len(before) == len(now) and all(a == b or _near(a, b) for a, b in zip(before, now, strict=True))


def compare_csv(stored: Path, again: Path) -> Iterator[str]:
    """Where two csv files differ: texts must be the same, numbers nearly so."""
    if stored.read_bytes() == again.read_bytes():
        return
    before, now = map(_read, (stored, again))
    if list(before.columns) != list(now.columns) or len(before) != len(now):
        yield (
            f"{stored.name} has {len(before)} lines of {len(before.columns)} columns; from the outputs it would have "
            f"{len(now)} of {len(now.columns)}"
        )
        return
    for i in np.flatnonzero((before != now).any(axis=1)):
        for column in before.columns[before.iloc[i] != now.iloc[i]]:
            old, new = before[column].iloc[i], now[column].iloc[i]
            if not _near(old, new):
                where = ", ".join(filter(None, (before[c].iloc[i] for c in _PLACE if c in before)))
                yield f"{stored.name}, line {i + 2} ({where}): {column} is {old}, not {new}"


def _read(path: Path) -> pd.DataFrame:
    """A csv file as texts; empty where it is none."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError:  # pandas's errors are such, and so is a byte that is no UTF-8
        return pd.DataFrame()


def _near(old: str, new: str) -> bool:
    try:
        return math.isclose(float(old), float(new), rel_tol=_NEAR, abs_tol=_NEAR)
    except ValueError:
        return False


def first_other(stored: str, text: str) -> str:
    """Where two texts part, by :func:`same_text`."""
    for number, (old, new) in enumerate(zip_longest(stored.splitlines(), text.splitlines(), fillvalue=""), 1):
        if not same_text(old, new):
            place = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
            start = max(0, place - 20)
            return f"line {number} says {old[start : place + 20]!r}, and the scores give {new[start : place + 20]!r}"
    return "its line ends are others"
