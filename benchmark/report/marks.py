"""What ``verify.json`` vouches for: the files that a verification looked at, by their digests, and as they are now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmark.errors import one_line
from benchmark.report.findings import DIFFERS, FILE, RIGHT, Finding
from benchmark.running.store import Store

CELLS = "cells"
"""Under this name is one digest of all cells, of each its ``cell.json``, which holds those of its other files."""

_NUMBERS = ("scores.csv", "intervals.csv", "comparisons.csv", "pairs.csv", "manifest.json", "tuning.json")
_OF_CELLS = ("cells", "data and masks", "scores", "origin", "trials", "recomputed")
"""The checks that look at cells and trials, or compare numbers with these."""

_ONCE = "when the cells were here, on "


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of what a verification looks at in an output folder, by name; what is not there is left out."""
    paths = [*(folder / name for name in _NUMBERS), *sorted((folder / "tables").rglob("*.*"))]
    found = {path.relative_to(folder).as_posix(): _digest(path) for path in paths if path.is_file()}
    store = Store(folder)
    if keys := store.stored_keys():
        found[CELLS] = _digest(*(store.path(key) / "cell.json" for key in keys))
    return found


def _digest(*paths: Path) -> str:
    content = hashlib.sha256()
    for path in paths:
        try:
            content.update(path.read_bytes())
        except OSError:  # which whoever reads it for its content tells
            content.update(b"not readable")
    return content.hexdigest()


@dataclass(frozen=True)
class Mark:
    """What may be said of a folder's numbers.

    Parameters
    ----------
    verified : bool
        Whether nothing was wrong, scores were compared with the models' outputs, and no file has changed since.
    text : str
        What was looked at, or why there is no mark.
    there : bool
        Whether there is a ``verify.json``.
    """

    verified: bool
    text: str
    there: bool = True


class _Check(BaseModel):
    check: str
    state: str
    looked_at: str


class _Found(BaseModel):
    check: str
    state: str
    what: str


class _Stored(BaseModel):
    """What is relied on of a ``verify.json``."""

    model_config = ConfigDict(strict=True)
    verdict: str
    checks: list[_Check]
    files: dict[str, str] = {}
    findings: list[_Found] = []
    date: str = ""


@dataclass(frozen=True)
class Vouched:
    """What a verification found when a folder had its cells, of numbers that are still the same.

    Parameters
    ----------
    checked : dict of str to str
        By check, what was looked at then.
    findings : list of Finding
        Of these checks.
    files : dict of str to str
        The digests of what was looked at.
    """

    checked: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def still(self, now: Mapping[str, str], again: Collection[str]) -> dict[str, str]:
        """Of the digests `now`, those of files that were looked at `again`, or are what they were then."""
        if not self.files:
            return dict(now)
        kept = {name: own for name, own in now.items() if name in again or self.files.get(name) == own}
        return kept | {CELLS: self.files[CELLS]}


def vouched_for(folder: Path) -> Vouched:
    """What the ``verify.json`` of a folder whose cells were left behind still says; nothing where it says nothing.

    Tables may have been written anew since; a number, or what the manifest says, may not have changed.
    """
    try:
        stored = _Stored.model_validate(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return Vouched()
    now = digests_of(folder)
    states = {check.check: check.state for check in stored.checks}
    same = all(now.get(name) == stored.files.get(name) for name in _NUMBERS)
    if CELLS in now or CELLS not in stored.files or not same or states.get("scores") != RIGHT:
        return Vouched()
    looked_at = {check.check: check.looked_at for check in stored.checks if check.check in _OF_CELLS}
    return Vouched(
        {name: what if _ONCE in what else f"{what} ({_ONCE}{stored.date})" for name, what in looked_at.items()},
        [Finding(own.check, own.state, own.what) for own in stored.findings if own.check in _OF_CELLS],
        stored.files,
    )


def read_mark(folder: Path) -> Mark:
    """What the ``verify.json`` of an output folder says of the files that are there now.

    Cells may have been left behind after the verification, as where a folder is handed in; all that is there must be
    what was looked at.
    """
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except OSError:
        return Mark(False, "not verified", there=False)
    except ValueError:
        return Mark(False, f"{FILE} cannot be read")
    try:
        stored = _Stored.model_validate(json.loads(text))
    except (ValueError, RecursionError):
        return Mark(False, f"{FILE} cannot be read")
    if stored.verdict != "sound":
        return Mark(False, "something was wrong")
    if not stored.files:
        return Mark(False, f"{FILE} names no files; verify again")
    others = [name for name, digest in digests_of(folder).items() if stored.files.get(name) != digest]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        return Mark(False, one_line(f"changed since it was verified: {others[0]}{more}"))
    states = {check.check: check for check in stored.checks}
    if "scores" not in states or states["scores"].state != RIGHT:
        return Mark(False, "scores were not compared with outputs")
    again = states.get("recomputed")
    if again is not None and again.state in (RIGHT, DIFFERS):
        bits = "the same bits" if again.state == RIGHT else "other bits"
        return Mark(True, one_line(f"computed again, {bits}: {again.looked_at}", 200))
    return Mark(True, "scores follow from the outputs")
