"""``manifest.json``: where the numbers under an output folder came from."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.evidence.readings import readings_of
from benchmark.files.manifest import cell_summary
from benchmark.running.training import SELECTION

if TYPE_CHECKING:
    from benchmark.evidence.collect import Collection


_OF_DATA = ("display", "metrics", "modalities", "max_frames", "feature_dims")


def build_manifest(
    collection: Collection, *, command: str, grid: str, methods: dict[str, str], against: str | None
) -> dict[str, Any]:
    """All that the report says of a run's origin, from the cells that stand in it.

    Parameters
    ----------
    collection : Collection
    command : str
        The command line that gives the same again.
    grid : str
    methods : dict of label to str
        The rows in order, each in one line of text.
    against : str or None
        The row that the others were tested against.
    """
    records = collection.records
    tasks: dict[tuple[str, str, str], dict[str, Any]] = {}
    for record in records:
        data, task = record["data"], record["task"]
        identity = (task["name"], data["source"], task["fingerprint"])
        tasks[identity] = {
            "name": task["name"],
            "source": data["source"],
            "origin": data["origin"],
            "fingerprint": task["fingerprint"],
            "samples": data["samples"],
            "target": {name: data[name] for name in ("kind", "categories") if name in data},
            **{name: data[name] for name in _OF_DATA if name in data},
        }
        if data.get("warnings"):
            tasks[identity]["warnings"] = data["warnings"]
    environments = {json.dumps(record["environment"], sort_keys=True) for record in records}
    readings = readings_of(records)
    commits = sorted({record["git_commit"] for record in records if record["git_commit"]})
    return {
        "command": command,
        "grid": grid,
        "selection": SELECTION,
        "against": against,
        "methods": [{"label": label, "description": text} for label, text in methods.items()],
        **({"readings": readings} if readings else {}),
        "versions": [json.loads(text) for text in sorted(environments)],
        "machine": machine(),
        "git_commit": ", ".join(commits),
        "tasks": list(tasks.values()),
        "started": min((record["started"] for record in records), default=""),
        "finished": max((record["finished"] for record in records), default=""),
        "superseded": collection.superseded.total(),
        "failed": len(collection.failures),
        **({"failures": collection.failures} if collection.failures else {}),
        "cells": [cell_summary(record) for record in records],
    }


def machine() -> dict[str, Any]:
    """The processor, its cores and the memory, without names of hosts or people."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": platform.system(),
    }


def _processor() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def provenance(manifest: dict[str, Any], methods: dict[str, str], failures: Sequence[dict[str, str]]) -> dict[str, Any]:
    """A manifest as the report shows it: cells counted, the versions of one environment flat."""
    versions = manifest.get("versions", [])
    elsewhere = ("versions", "cells", "failed", "failures", "superseded", "against", "readings")
    return {
        **{k: v for k, v in manifest.items() if k not in elsewhere},
        "versions": versions[0] if len(versions) == 1 else {str(i + 1): str(v) for i, v in enumerate(versions)},
        "cells": {"done": len(manifest.get("cells", [])), "failed": len(failures)},
        "methods": methods,
    }
