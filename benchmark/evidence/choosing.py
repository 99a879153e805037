"""Which of the stored cells are shown: of each row on a task, those of one definition, on one version of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data import known_tasks
from benchmark.errors import BenchmarkError
from benchmark.methods.registry import TRAINS_ON
from benchmark.names import check_name
from benchmark.running.store import DONE, Damaged, Store
from benchmark.running.tuned import as_rows, read_tuning

DEFINES = ("method", "hyperparameters", "source", "task", "training")
"""What all cells of a row on a task have in common; with the seed, a cell's key is made of it."""

Stored = tuple[Store, dict[str, Any]]
"""Where a cell is stored, and its record."""

Slot = tuple[str, str, str, int]


@dataclass(frozen=True)
class Choice:
    """What is shown of what is stored, and what is told of the rest.

    Parameters
    ----------
    cells : list of (Store, dict)
        Done cells and their records, tasks in the benchmark's order, a row's cells one after another.
    failed : list of dict
        Records of failed cells.
    damaged : list of str
        What is wrong with cells of which not even the method can be told.
    superseded : Counter
        Done cells that are not shown, by row and task.
    """

    cells: list[Stored]
    failed: list[dict[str, Any]]
    damaged: list[str]
    superseded: Counter[str]


def choose(*stores: Store, keys: Set[str] = frozenset()) -> Choice:
    """Choose the cells that are shown; see :func:`benchmark.evidence.collect.collect`.

    Parameters
    ----------
    *stores : Store
    keys : set of str
        Those of the cells of a grid.

    Raises
    ------
    BenchmarkError
        If two folders hold different predictions of one cell, or different definitions of one row, or a cell's names
        cannot be shown.
    """
    damaged: list[str] = []
    found = _cells(stores, damaged)
    ranked = sorted(found, key=lambda cell: _rank(cell[1], keys))
    shown = _shown(ranked, keys)
    superseded = Counter(_row_name(record) for _, record in found if record["state"] == DONE)
    superseded -= Counter(_row_name(record) for _, record in shown.values())
    order = list(known_tasks())
    place = {slot: (order.index(slot[0]) if slot[0] in order else len(order), *slot) for slot in shown}
    cells = [shown[slot] for slot in sorted(shown, key=lambda slot: place[slot])]
    return Choice(cells, _failed(ranked, shown, keys), damaged, superseded)


def slot_of(record: dict[str, Any]) -> Slot:
    """Task, source, label and seed."""
    return record["task"]["name"], record["data"]["source"], record["label"], record["seed"]


def _cells(stores: Sequence[Store], damaged: list[str]) -> list[Stored]:
    """Every cell once, from whichever folder holds more of it; what is not read, or cannot be, goes to `damaged`."""
    cells: dict[str, Stored] = {}
    unseen: Counter[tuple[Path, Path]] = Counter()
    for store in stores:
        for key in store.stored_keys():
            try:
                record = store.read(key)
            except Damaged as damage:
                damaged.append(str(damage))
                continue
            if record is None:
                continue
            _check_names(record, store.path(key) / "cell.json")
            if key not in cells or cells[key][1]["state"] != DONE:
                cells[key] = (store, record)
            elif record["state"] == DONE:
                other, known = cells[key]
                _refuse_different(key, other, store, record)
                less, more = (other, known), (store, record)
                if len(record["settings"]) <= len(known["settings"]):
                    less, more = more, less
                cells[key] = more
                if not set(less[1]["settings"]) <= set(more[1]["settings"]):
                    unseen[less[0].out, more[0].out] += 1
    damaged += [
        f"settings of {less} that {more}, which has more others of the same cells, lacks ({number} of its cells); "
        "run both grids with one --out"
        for (less, more), number in unseen.items()
    ]
    pairs = [pair for store in stores for pair in read_tuning(store.out).get("pairs", ())]
    return [(store, row) for store, record in cells.values() for row in as_rows({"pairs": pairs}, [record])]


def _check_names(record: Mapping[str, Any], where: Path) -> None:
    """Refuse a cell, which anybody may have written, whose names lead elsewhere or cannot be shown."""
    task, data = record.get("task"), record.get("data")
    check_name(record.get("label"), "row", where)
    check_name(record.get("method"), "method", where)
    check_name(task.get("name") if isinstance(task, dict) else task, "task", where)
    training = record.get("training")
    if not (isinstance(training, dict) and training.get("trains_on") in TRAINS_ON):
        raise BenchmarkError(f"{where} does not say whether the method trains on complete or on missing samples")
    if isinstance(data, dict):
        _check_source(data.get("source"), where)
        for category in data.get("categories", []):
            check_name(category, "category", where)


def _check_source(source: Any, where: Path) -> None:
    if source not in ("simulated", "file"):
        raise BenchmarkError(f"{where}: the source of data {ascii(source)[:60]} must be 'simulated' or 'file'")


def _refuse_different(key: str, first: Store, second: Store, record: dict[str, Any]) -> None:
    a, b = first.predictions(key), second.predictions(key)
    both = [setting for setting in a.settings if setting in b.settings]
    one, two = (p.logits[[p.settings.index(s) for s in both]] for p in (a, b))  # (S, N, K)
    alike = list(a.ids) == list(b.ids) and one.shape == two.shape
    if alike and one.shape[-1] > 1:
        alike = np.array_equal(one.argmax(-1), two.argmax(-1))
    elif alike:  # intensities, which another processor may round otherwise
        alike = np.allclose(one, two, rtol=0.0, atol=1e-3)
    if not alike:
        raise BenchmarkError(
            f"{_row_name(record)}, seed {record['seed']}, stands in {first.path(key)} and in {second.path(key)} with "
            "different scores; move one of the two away"
        )


def _row_name(record: dict[str, Any]) -> str:
    return f"{record['label']} on {record['task']['name']}"


def _rank(record: dict[str, Any], keys: Set[str]) -> tuple[bool, str]:
    """Of two cells the one with the higher rank says what is shown: one of the grid's, then the later one."""
    return record["key"] in keys, record["finished"]


def _definition(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record.get(name) for name in DEFINES}


def _shown(ranked: Sequence[Stored], keys: Set[str]) -> dict[Slot, Stored]:
    """The done cells of one definition of each row, all of a task and source on the same data; by rank.

    What the grid has tried and failed at counts too: then no other definition takes its row.
    """
    done = [(store, record) for store, record in ranked if record["state"] == DONE]
    sources = {record["task"]["fingerprint"]: record["data"]["source"] for _, record in done}
    counting: list[Stored] = [
        (store, {"data": {"source": sources[record["task"]["fingerprint"]]}} | record)
        for store, record in ranked
        if record["state"] == DONE or (record["key"] in keys and record["task"]["fingerprint"] in sources)
    ]
    data = {slot_of(record)[:2]: record["task"]["fingerprint"] for _, record in counting}  # the last one stays
    rows = {
        slot_of(record)[:3]: (store, record)
        for store, record in counting
        if record["task"]["fingerprint"] == data[slot_of(record)[:2]]
    }
    alike = [cell for cell in counting if (row := rows.get(slot_of(cell[1])[:3])) and _same_row(cell[1], row[1])]
    holders = {(slot_of(record)[:3], store.out) for store, record in alike}
    for store, record in done:
        where = slot_of(record)[:3]
        if where in rows and (where, store.out) not in holders:
            other = rows[where]
            raise BenchmarkError(
                f"{_row_name(record)} stands in {other[0].path(other[1]['key'])} and in {store.path(record['key'])}, "
                "made with different hyper-parameters, code or data; move one of the two away"
            )
    return {slot_of(record): (store, record) for store, record in alike if record["state"] == DONE}


def _same_row(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return _definition(one) == _definition(other)


def _failed(ranked: Sequence[Stored], shown: Mapping[Slot, Stored], keys: Set[str]) -> list[dict[str, Any]]:
    """What is to be told of failed cells, one a row, task and seed: no definition older than the one that is shown."""
    rows = {(task, label): record for (task, _, label, _), (_, record) in shown.items()}
    failed = {}
    for _, record in ranked:
        row = record["task"]["name"], record["label"]
        if record["state"] == DONE:
            continue
        if row not in rows or _same_row(record, rows[row]) or _rank(record, keys) > _rank(rows[row], keys):
            failed[*row, record["seed"]] = record
    return [failed[slot] for slot in sorted(failed)]
