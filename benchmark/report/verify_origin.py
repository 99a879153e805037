"""Is ``manifest.json`` what the cells say of themselves? A part of ``--verify``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.files.atomic import json_text
from benchmark.report.compose import Content
from benchmark.report.findings import UNKNOWN, WRONG, Finding
from benchmark.report.verify_trials import lacking_trials

OF_CELLS = (
    "tasks", "git_commit", "started", "finished", "failed", "failures", "cells", "readings", "tuning", "tuned_by",
)  # fmt: skip
"""What a manifest has from the cells alone, and readers, such as a leaderboard, rely on."""


def check_origin(folder: Path, content: Content) -> Iterator[Finding | str]:
    """Data, times, commits, failures and trials as the stored manifest tells them, with what the cells give.

    Parameters
    ----------
    folder : Path
    content : Content
        What follows from its cells.

    Yields
    ------
    Finding or str
        The last is a text that says what was looked at.
    """
    open_ = ""
    if not content.from_cells:
        open_ = "without cells, there is only what manifest.json says of data, times and failures"
    elif not (folder / "scores.csv").is_file():  # a run goes on, and has left word of itself
        open_ = "no report is written yet; --report-only writes it"
    if open_:
        yield Finding("", UNKNOWN, open_)
        yield "manifest.json"
        return
    try:
        stored = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        stored = {}
    stored = stored if isinstance(stored, dict) else {}
    again = json.loads(json_text(content.manifest))
    gone = ("tuning", "tuned_by") if lacking_trials(folder) else ()  # which the check of trials tells
    for name in OF_CELLS:
        if name not in gone and not _same(stored.get(name), again.get(name)):
            told = f"manifest.json: {name} is not what the cells say; --report-only writes it anew"
            yield Finding("", WRONG, told)
    yield f"of {len(again['cells'])} cells"


def _same(one: Any, other: Any) -> bool:
    """Of JSON; numbers that another processor adds up may differ a little."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other)
