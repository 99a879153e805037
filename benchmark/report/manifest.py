"""``manifest.json``: where the numbers under an output folder came from."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark._version import __version__
from benchmark.evidence.readings import readings_of
from benchmark.files.manifest import cell_summary
from benchmark.report.naming import method_name, method_names, task_name
from benchmark.running.arithmetic import NATIVE, processor
from benchmark.running.selection import rule_of, tell

if TYPE_CHECKING:
    from benchmark.evidence.collect import Collection


_OF_DATA = ("display", "metrics", "modalities", "max_frames", "feature_dims")


def build_manifest(
    collection: Collection,
    *,
    command: str,
    grid: str,
    methods: dict[str, str],
    against: str | None,
    margin: float,
    names: Mapping[str, str] = {},
    metrics: Sequence[str] = (),
    tables: Mapping[str, Any] = {},
    highlight: Sequence[str] = (),
    lacking: Sequence[Mapping[str, Any]] = (),
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
    margin : float
        Within how many points of it they counted as alike.
    names : mapping of label to str
        The rows as papers print them, where that is not their label.
    metrics : sequence of str
        Of which tables were asked for, where it is not one of all that a task lists.
    tables : mapping of name to mapping
        The tables for a paper, as they were asked for.
    highlight : sequence of str
        Which methods were asked to stand out in figures.
    lacking : sequence of mapping
        Planned cells that are not computed.
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
        "benchmark": __version__,
        "command": command,
        "grid": grid,
        "selection": tell(_rules(records)),
        "against": against,
        "margin": margin,
        **({"metrics": list(metrics)} if metrics else {}),
        **({"tables": dict(tables)} if tables else {}),
        **({"highlight": list(highlight)} if highlight else {}),
        "methods": [
            {"label": label, "description": text}
            | ({"display": names[label]} if names.get(label, label) != label else {})
            for label, text in methods.items()
        ],
        **({"readings": readings} if readings else {}),
        "versions": [json.loads(text) for text in sorted(environments)],
        "machine": machine(),
        "arithmetic": " and ".join(sorted({record.get("arithmetic", NATIVE) for record in records})),
        "processors": _processors(records),
        "git_commit": ", ".join(commits),
        "tasks": list(tasks.values()),
        "started": min((record["started"] for record in records), default=""),
        "finished": max((record["finished"] for record in records), default=""),
        "superseded": collection.superseded.total(),
        "failed": len(collection.failures),
        **({"failures": collection.failures} if collection.failures else {}),
        **({"not_computed": list(lacking)} if lacking else {}),
        "cells": [cell_summary(record) for record in records],
    }


def _rules(records: Sequence[dict[str, Any]]) -> dict[str, tuple[str, int]]:
    """By which rule the models of each row were selected; with the task where a row has more than one."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for record in records:
        found.setdefault(record["label"], {})[record["task"]["name"]] = rule_of(record["training"])
    rules: dict[str, tuple[str, int]] = {}
    for label, own in found.items():
        alike = len(set(own.values())) == 1
        rules |= {label if alike else f"{label} on {task}": rule for task, rule in own.items()}
    return rules


def machine() -> dict[str, Any]:
    """The processor, its cores and the memory, without names of hosts or people."""
    return {
        "processor": processor(NATIVE)["model"],
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": platform.system(),
    }


def _processors(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What computed the cells, and how many of them; unknown for cells of versions that did not say it."""
    counted = Counter(json.dumps(record.get("processor", {}), sort_keys=True) for record in records)
    return [{**json.loads(text), "cells": count} for text, count in counted.most_common()]


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def tell_processors(manifest: Mapping[str, Any]) -> str:
    """Where cells were computed, and what that means for their numbers; empty where they do not say it."""
    by_model: Counter[str] = Counter()
    for own in manifest.get("processors", []):
        by_model[own.get("model", "a processor that is not known")] += own["cells"]
    if not by_model or list(by_model) == ["a processor that is not known"]:
        return ""
    native = "native" in manifest.get("arithmetic", "")
    arithmetic = "native" if native else "portable"
    if len(by_model) == 1:
        said = f"Computed on one kind of processor, {next(iter(by_model))}, in {arithmetic} arithmetic"
    else:
        counted = ", ".join(f"{model}: {count} cells" for model, count in by_model.most_common())
        said = f"Computed on {len(by_model)} kinds of processor ({counted}), in {arithmetic} arithmetic"
    if native:
        return f"{said}: on another one numbers are a little different, and with --portable they are not."
    return f"{said}: the numbers are the same on every other x86-64 one with AVX2."


def tell_tuning(budgets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """How methods were tuned, a sentence or more for each budget.

    Parameters
    ----------
    budgets : sequence of mapping
        From :func:`benchmark.evidence.trials.budgets_of`.
    """
    for own in budgets:
        pairs = own["pairs"]
        tried = own.get("configurations") or max(pair["tried"] for pair in pairs) - 1  # earlier versions did not say it
        configurations = "1 random configuration" if tried == 1 else f"{tried} random configurations"
        hours = own.get("hours")
        within = "" if hours is None else f", or as many as an equal share of {hours:g} h allowed,"
        seed = "" if own.get("seed") is None else f", each trained once, with seed {own['seed']}"
        draws = f" (draws {', '.join(map(str, own['draws']))})" if own.get("draws") else ""
        where = ", ".join(method_names(dict.fromkeys(pair["method"] for pair in pairs)))
        yield (
            f"The default and {configurations}{within} of {where}{seed}; {own.get('rule') or 'chosen by validation'}"
            f"{draws}."
        )
        if failed := _counted(pairs, "failed"):
            yield f"Trials that failed: {failed}."
        if opened := _counted(pairs, "opened_before"):
            yield (
                f"The test split had been opened for trials before the choice was made, as an earlier budget does: "
                f"{opened}; choices are made of validation predictions alone."
            )


def _counted(pairs: Sequence[Mapping[str, Any]], what: str) -> str:
    """``2 of 21 of mult on mosi``; empty where there are none."""
    return ", ".join(
        f"{pair[what]} of {pair['tried']} of {method_name(pair['method'])} on {task_name(pair['task'])}"
        for pair in pairs
        if pair[what]
    )


def counted_cells(
    cells: Sequence[Mapping[str, Any]],
    failures: Sequence[Mapping[str, str]],
    lacking: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[str, int]]:
    """How many cells are done, failed and not computed, by task and source.

    Parameters
    ----------
    cells : sequence of mapping
        Those that are shown, as the manifest lists them.
    failures : sequence of mapping
        `task` of each failed cell.
    lacking : sequence of mapping
        `task, source, method, seed` of planned cells that are not computed. Where another definition of one is shown in
        its place, it still lacks.
    """

    def place(cell: Mapping[str, Any]) -> tuple[Any, ...]:
        return cell["task"], cell["source"], cell["method"], cell["seed"]

    open_places = set(map(place, lacking))
    shown = Counter(place(cell)[:2] for cell in cells if place(cell) not in open_places)
    missing = Counter(where[:2] for where in open_places)
    failed = Counter(failure["task"] for failure in failures)
    found = {
        where: {"done": shown[where], "failed": failed[where[0]], "not computed": missing[where]}
        for where in dict.fromkeys([*shown, *missing])
    }
    nowhere = [task for task in failed if task not in {name for name, _ in found}]
    return found | {(task, ""): {"done": 0, "failed": failed[task], "not computed": 0} for task in nowhere}


def tell_cells(counts: Mapping[str, int]) -> str:
    """``8 of 21 cells done; 2 failed, 11 not computed``; empty where none is missing."""
    gone = [f"{counts[state]} {state}" for state in ("failed", "not computed") if counts.get(state)]
    total = sum(counts.values())
    return f"{counts['done']} of {total} {'cell' if total == 1 else 'cells'} done; {', '.join(gone)}" if gone else ""


def provenance(
    manifest: dict[str, Any],
    methods: dict[str, str],
    failures: Sequence[dict[str, str]],
    lacking: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A manifest as the report shows it: cells counted, the versions of one environment flat."""
    versions = manifest.get("versions", [])
    elsewhere = (
        "versions",
        "cells",
        "failed",
        "failures",
        "superseded",
        "against",
        "margin",
        "metrics",
        "tables",
        "highlight",
        "not_computed",
        "readings",
        "tuning",
        "tuned_by",
        "processors",
        "arithmetic",
    )
    by_task = counted_cells(manifest.get("cells", []), failures, lacking)
    cells = {state: sum(counts[state] for counts in by_task.values()) for state in ("done", "failed", "not computed")}
    cells["failed"] = len(failures)  # those of a task from two sources are counted with each
    return {
        **{k: v for k, v in manifest.items() if k not in elsewhere},
        **({"processors": told} if (told := tell_processors(manifest)) else {}),
        **({"tuning": budgets} if (budgets := list(tell_tuning(manifest.get("tuned_by", [])))) else {}),
        "versions": versions[0] if len(versions) == 1 else {str(i + 1): str(v) for i, v in enumerate(versions)},
        "cells": cells if lacking else {state: cells[state] for state in ("done", "failed")},
        "methods": methods,
    }
