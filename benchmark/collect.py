"""Stored predictions → the tidy table of scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.data import TASKS
from benchmark.errors import BenchmarkError
from benchmark.metrics import scores
from benchmark.store import DONE, Store

COLUMNS = ["task", "source", "method", "seed", "kind", "available", "ratio", "draw", "metric", "value", "n", "key"]


@dataclass
class Collection:
    """What is stored under an output folder.

    Parameters
    ----------
    scores : DataFrame
        Tidy, one row a number, columns `COLUMNS`.
    records : list of dict
        ``cell.json`` of the cells shown.
    failures : list of dict
        ``method, task, seed, error`` of the cells that failed.
    superseded : int
        Done cells not shown because a later one of the same method, task and seed is.
    """

    scores: pd.DataFrame
    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    superseded: int = 0


def collect(store: Store) -> Collection:
    """Score everything stored; of several cells with the same method, task, source and seed the latest counts.

    Raises
    ------
    BenchmarkError
        If a stored file is damaged.
    """
    latest: dict[tuple[str, str, str, int], dict[str, Any]] = {}
    failed: dict[tuple[str, str, int], dict[str, Any]] = {}
    done = 0
    for key in store.stored_keys():
        record = store.read(key)
        if record is None:
            continue
        identity = (record["task"]["name"], record["label"], record["seed"])
        if record["state"] != DONE:
            failed[identity] = record
            continue
        done += 1
        slot = (identity[0], record["data"]["source"], *identity[1:])
        if slot not in latest or latest[slot]["finished"] < record["finished"]:
            latest[slot] = record
    succeeded = {(task, label, seed): record["finished"] for (task, _, label, seed), record in latest.items()}
    order = list(TASKS)
    records = [latest[slot] for slot in sorted(latest, key=lambda slot: (order.index(slot[0]), *slot[1:]))]
    return Collection(
        scores=pd.DataFrame([row for record in records for row in _rows(store, record)], columns=COLUMNS),
        records=records,
        failures=[
            {"task": task, "method": label, "seed": str(seed), "error": record["error"]}
            for (task, label, seed), record in sorted(failed.items())
            if succeeded.get((task, label, seed), "") < record["finished"]
        ],
        superseded=done - len(latest),
    )


def _rows(store: Store, record: dict[str, Any]) -> list[dict[str, Any]]:
    predictions = store.predictions(record["key"])
    data = record["data"]
    rows = []
    for (setting, draw), logits in zip(predictions.settings, predictions.logits, strict=True):
        for score in scores(
            labels=predictions.labels, logits=logits, kind=data["kind"], categories=tuple(data["categories"])
        ):
            rows.append(
                {
                    "task": record["task"]["name"],
                    "source": data["source"],
                    "method": record["label"],
                    "seed": record["seed"],
                    "kind": setting.kind,
                    "available": setting.available,
                    "ratio": setting.ratio,
                    "draw": draw,
                    "metric": score.metric,
                    "value": score.value,
                    "n": score.n,
                    "key": record["key"],
                }
            )
    return rows


def read_scores(path: Path) -> pd.DataFrame:
    """``scores.csv`` as written by a report.

    Raises
    ------
    BenchmarkError
        If there is no such file or it lacks a column.
    """
    try:
        frame = pd.read_csv(path, dtype={"key": str, "method": str, "available": str, "task": str})
    except FileNotFoundError as error:
        raise BenchmarkError(f"nothing is stored in {path.parent}; run the grid first") from error
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from error
    lacking = [column for column in COLUMNS if column not in frame]
    if lacking:
        raise BenchmarkError(f"{path} lacks the column {lacking[0]!r}; it must be as a report writes it")
    return frame
