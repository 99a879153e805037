"""What ``verify.json`` vouches for: the files that a verification looked at, by their digests, and as they are now."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmark.errors import one_line
from benchmark.report.findings import DIFFERS, FILE, RIGHT
from benchmark.running.store import Store

CELLS = "cells"
"""Under this name is one digest of all cells, of each its ``cell.json``, which holds those of its other files."""

_FILES = ("scores.csv", "intervals.csv", "comparisons.csv", "pairs.csv", "manifest.json", "tuning.json")


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of what a verification looks at in an output folder, by name; what is not there is left out."""
    paths = [*(folder / name for name in _FILES), *sorted((folder / "tables").rglob("*.*"))]
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


class _Stored(BaseModel):
    """What is relied on of a ``verify.json``."""

    model_config = ConfigDict(strict=True)
    verdict: str
    checks: list[_Check]
    files: dict[str, str] = {}


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
