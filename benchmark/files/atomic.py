"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.names import check_inside


def plain(value: Any) -> Any:
    """A value as JSON can hold it: what is NaN or infinite, of which JSON knows nothing, becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def json_text(content: Mapping[str, Any]) -> str:
    """Readable JSON with a stable order of keys."""
    return json.dumps(plain(content), indent=2, sort_keys=True, allow_nan=False) + "\n"


def json_line(content: Mapping[str, Any]) -> str:
    """JSON in one line."""
    return json.dumps(plain(content), allow_nan=False) + "\n"


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or as it was before; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(content)
        flush(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_writable(out: Path) -> None:
    """Make an output folder, and refuse one that cannot be written to, or that links lead out of.

    Raises
    ------
    BenchmarkError
        Then.
    """
    for name in ("scores.csv", "intervals.csv", "comparisons.csv", "manifest.json", "tables", "figures"):
        check_inside(out / name, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable.{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BenchmarkError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error
