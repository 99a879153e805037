"""``tuning.json``: what was tried for each method on each task, and what was chosen.

.. code-block:: json

    {"grid": "tuned", "configurations": 20, "hours": null, "seed": 10000, "draws": [0, 1, 2], "rule": "...",
     "opened": [{"digest": "0123456789abcdef", "trials": ["<key>"]}],
     "pairs": [{"method": "mult", "tuned": "mult tuned", "name": "mult", "task": "mosi", "source": "simulated",
                "configurations": 20, "hours": null, "tried": ["lav@0.0#0", "lav@0.5#0", "lav@0.5#1"],
                "metric": "f1", "lower_is_better": false, "chosen": 3, "values": {"learning_rate": 0.003},
                "cells": {"default": ["<key>"], "tuned": ["<key>"]},
                "trials": [{"number": 0, "values": {}, "key": "<key>", "state": "done", "score": 61.2,
                            "parts": {"complete": 66.0, "inter": 58.1, "intra": 59.5}, "seconds": 12.3, "error": "",
                            "opened_before": false}]}]}

What stands above the pairs is of the last command; pairs that it did not ask for stay as they were. ``method`` is a
row's label and ``name`` its method; ``tried`` are the settings and draws that a score is of. ``chosen`` is a trial's
number, null where all have failed. A trial lies in ``trials/cells/<key>``; ``cells`` are those of the rows, in
``cells/<key>``: where the default was chosen, both rows have the same. ``opened`` lists the passes that opened the test
split for trials: a digest of the choices that were stored before, and the trials that could be tested from then on. Of
a trial that was open before its pair's choice was made, ``opened_before`` is true; the same choice of the same trials
and scores is not made anew. Choices are made of validation predictions alone, whatever is open.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.files.atomic import json_text, replace_file
from benchmark.files.validation import describe
from benchmark.methods.labels import TUNED
from benchmark.running.store import DONE

FILE = "tuning.json"
TRIALS = "trials"
"""The folder of the trials' store, in an output folder."""

SUFFIX = " tuned"
_OF_TUNING = re.compile(r" (#\d+|tuned)$")


def tuned_label(label: str) -> str:
    """``mult`` → ``mult tuned``."""
    return label + SUFFIX


def plain_label(label: str) -> str:
    """The row that a trial, ``mult #3``, or a tuned row, ``mult tuned``, is of."""
    return _OF_TUNING.sub("", label)


def place_of(pair: Mapping[str, Any]) -> tuple[str, str, str]:
    """Method, task and source: what tells a pair from all others."""
    return str(pair["method"]), str(pair["task"]), str(pair["source"])


class TrialTold(BaseModel):
    """What ``tuning.json`` says of a trial."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    number: int = Field(ge=0)
    key: str = Field(pattern="^[0-9a-f]+$")
    values: dict[str, Any]
    score: float | None
    parts: dict[str, float]
    state: str = DONE
    opened_before: bool


class CellsTold(BaseModel):
    """What it says of the cells of a pair's rows."""

    model_config = ConfigDict(strict=True)
    default: list[str] = []
    tuned: list[str]


class PairTold(BaseModel):
    """What it says of a method on a task."""

    model_config = ConfigDict(strict=True)
    method: str
    tuned: str
    name: str = ""
    task: str
    source: str
    configurations: int | None = None
    hours: float | None = None
    tried: list[str] = []
    metric: str
    lower_is_better: bool
    chosen: int | None
    values: dict[str, Any]
    cells: CellsTold
    trials: list[TrialTold]


class OpenedTold(BaseModel):
    """What it says of a pass that opened the test split."""

    model_config = ConfigDict(strict=True)
    digest: str
    trials: list[str]


class TuningTold(BaseModel):
    """All that it says."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    grid: str = ""
    seed: int | None = None
    draws: list[int] = []
    rule: str = ""
    opened: list[OpenedTold] = []
    pairs: list[PairTold]


def tuning_told(out: Path) -> TuningTold | None:
    """``OUT/tuning.json``; None where there is none. Raises as :func:`read_tuning`."""
    content = read_tuning(out)
    return TuningTold.model_validate(content) if content else None


def read_tuning(out: Path) -> dict[str, Any]:
    """``OUT/tuning.json`` as it is written; empty where there is none.

    Raises
    ------
    BenchmarkError
        If it cannot be read, or is not as a run writes it.
    """
    path = out / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        TuningTold.model_validate(content)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # a ValidationError is a ValueError
        reason = describe(error, TuningTold) if isinstance(error, ValidationError) else error
        raise BenchmarkError(
            f"{path} cannot be used ({reason}); move it away: the command that made it makes it anew"
        ) from error
    return dict(content)


def write_tuning(out: Path, tuning: Mapping[str, Any]) -> None:
    """Write ``OUT/tuning.json``, whole or not at all."""
    replace_file(out / FILE, json_text(tuning).encode())


def choices_digest(pairs: Iterable[Mapping[str, Any]]) -> str:
    """Of what is chosen: methods on tasks, and the trial chosen for each."""
    said = sorted(json.dumps([*place_of(pair), pair["chosen"], pair["values"]], sort_keys=True) for pair in pairs)
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def trials_frame(tunings: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """All trials of some folders, one row each.

    Returns
    -------
    DataFrame
        ``method, task, source, number, chosen, state, score, complete, inter, intra, seconds, values, key``.
    """
    columns = [
        "method", "task", "source", "number", "chosen", "state", "score", "complete", "inter", "intra", "seconds",
        "values", "key",
    ]  # fmt: skip
    rows = {}
    for tuning in tunings:
        for pair in tuning.get("pairs", ()):
            for trial in pair["trials"]:
                where = {name: pair[name] for name in ("method", "task", "source")}
                told = {**trial, **trial["parts"], **where, "chosen": trial["number"] == pair["chosen"]}
                rows[place_of(pair), trial["number"]] = {name: told.get(name) for name in columns}
    return pd.DataFrame(list(rows.values()), columns=columns)


def as_rows(tuning: Mapping[str, Any], records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stored records as a tuned grid shows them.

    A tuned row has the cells that were chosen for it last, also those that are stored under another row, such as the
    default; what was chosen before is left out.
    """
    wanted: dict[tuple[str, str], list[str]] = {}
    for pair in tuning.get("pairs", ()):  # two of one name and task where there are two sources of its data
        wanted.setdefault((pair["tuned"], pair["task"]), []).extend(pair["cells"]["tuned"])
    shown = []
    for record in records:
        task = record["task"]["name"]
        if record["key"] in wanted.get((record["label"], task), [record["key"]]):
            shown.append(record)
        shown += [
            {**record, "label": label, "variant": {**record["variant"], **dict([TUNED])}}
            for (label, own), keys in wanted.items()
            if own == task and label != record["label"] and record["key"] in keys
        ]
    return shown
