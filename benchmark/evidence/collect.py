"""Stored cells → the tidy table of scores, and all else that a report is made of."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection as Collection_
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.data import TASKS
from benchmark.errors import BenchmarkError
from benchmark.evidence.scores import COLUMNS
from benchmark.methods.registry import TRAINS_ON
from benchmark.names import check_name, visible
from benchmark.protocol.metrics import (
    category_indices,
    count_confusions,
    metric_names,
    predicted_categories,
    score_settings,
)
from benchmark.protocol.missing import Setting
from benchmark.running.processes import divided
from benchmark.running.store import DONE, Damaged, Predictions, Representations, Store

EPOCH = ("stage", "epoch", "train_loss", "valid_loss", "valid_f1")
"""What is kept of an epoch's record."""

DEFINES = ("method", "hyperparameters", "source", "task", "training")
"""What all cells of a row on a task have in common; with the seed, a cell's key is made of it."""

CONFUSED = (Setting(), Setting("l"), Setting("lav", 0.5))
"""The settings whose confusion matrices are drawn."""


@dataclass(frozen=True)
class Model:
    """A trained model as the statistics see it.

    Parameters
    ----------
    task, source, kind : str
        `kind` is that of the task: ``sentiment`` or ``emotion``.
    categories : tuple of K str
    method : str
        As it stands in tables.
    seed : int
    settings : tuple of S (Setting, draw)
    labels : ndarray, shape (N,)
        As in the data.
    predicted : ndarray of int8, shape (S, N)
        Categories.
    """

    task: str
    source: str
    kind: str
    categories: tuple[str, ...]
    method: str
    seed: int
    settings: tuple[tuple[Setting, int], ...]
    labels: NDArray[np.generic]
    predicted: NDArray[np.int8]

    @property
    def truth(self) -> NDArray[np.int64]:
        """The true categories, shape (N,)."""
        return category_indices(self.labels, self.kind)


@dataclass(frozen=True)
class Representation:
    """Joint representations of some test samples by one trained model, for plots.

    Parameters
    ----------
    task, source, method : str
    seed : int
    setting : Setting
        What the model got to see.
    categories : ndarray of str, shape (M,)
        True ones.
    values : ndarray of float32, shape (M, D)
    """

    task: str
    source: str
    method: str
    seed: int
    setting: Setting
    categories: NDArray[np.str_]
    values: NDArray[np.float32]


@dataclass
class Collection:
    """What is stored under one or several output folders.

    Parameters
    ----------
    scores : DataFrame
        Tidy, one row a number, columns `COLUMNS`.
    records : list of dict
        ``cell.json`` of the cells shown.
    models : list of Model
        The same cells' predictions.
    histories : DataFrame
        ``task, source, method, seed, stage, epoch, train_loss, valid_loss, valid_f1``, one row an epoch.
    representations : list of Representation
        Of each method's first seed that has any.
    failures : list of dict
        ``method, task, seed, error`` of the cells that failed, or whose predictions are damaged.
    damaged : list of str
        What is wrong with cells of which not even the method can be told.
    superseded : Counter
        Done cells not shown, because another definition of their row is, or other data of their task are; by row and
        task, as ``mult on mosi``.
    """

    scores: pd.DataFrame
    records: list[dict[str, Any]] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    histories: pd.DataFrame = field(default_factory=pd.DataFrame)
    representations: list[Representation] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    superseded: Counter[str] = field(default_factory=Counter)

    def of_rows(self, labels: Collection_[str]) -> Collection:
        """Only what is of some rows."""
        scores, histories = (
            frame if frame.empty else frame[frame["method"].isin(list(labels))].reset_index(drop=True)
            for frame in (self.scores, self.histories)
        )
        return Collection(
            scores=scores,
            records=[record for record in self.records if record["label"] in labels],
            models=[model for model in self.models if model.method in labels],
            histories=histories,
            representations=[shown for shown in self.representations if shown.method in labels],
            failures=[failure for failure in self.failures if failure["method"] in labels],
            damaged=self.damaged,
            superseded=Counter({row: n for row, n in self.superseded.items() if row.rpartition(" on ")[0] in labels}),
        )


def collect(*stores: Store, keys: Set[str] = frozenset()) -> Collection:
    """Score what is stored: of each row on a task, the cells of one definition.

    Parameters
    ----------
    *stores : Store
    keys : set of str
        Those of the cells of a grid. Its definitions of rows, and its data, count before others; where it has none, the
        latest cell's do.

    Raises
    ------
    BenchmarkError
        If two folders hold different predictions of one cell, or different definitions of one row.
    """
    damaged: list[str] = []
    found = _cells(stores, damaged)
    ranked = sorted(found, key=lambda cell: _rank(cell[1], keys))
    shown = _shown(ranked, keys)
    superseded = Counter(_row_name(record) for _, record in found if record["state"] == DONE)
    superseded -= Counter(_row_name(record) for _, record in shown.values())
    order = list(TASKS)
    place = {slot: (order.index(slot[0]) if slot[0] in order else len(order), *slot) for slot in shown}
    cells = [shown[slot] for slot in sorted(shown, key=lambda slot: place[slot])]
    rows = [list(own) for _, own in groupby(cells, key=lambda cell: _slot(cell[1])[:3])]
    calls = (([(store.out, record) for store, record in own],) for own in rows)
    models: list[Model] = []
    scored: list[_Scored] = []
    representations: list[Representation] = []
    records: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for own, (read, representation) in zip(rows, divided(_read_row, calls, cells=len(cells)), strict=True):
        for (_, record), cell in zip(own, read, strict=True):
            if isinstance(cell, Damaged):
                failures.append(_failure(record, str(cell)))
                continue
            records.append(record)
            scored.append(cell)
            models.append(_model(record, cell, models[-1:]))
        if representation is not None:
            representations.append(representation)
    return Collection(
        scores=_scores(models, scored, [record["key"] for record in records]),
        records=records,
        models=models,
        histories=_histories(models, [cell.history for cell in scored]),
        representations=representations,
        failures=failures + [_failure(record, record["error"]) for record in _failed(ranked, shown, keys)],
        damaged=damaged,
        superseded=superseded,
    )


def _failure(record: dict[str, Any], error: str) -> dict[str, str]:
    return {
        "task": record["task"]["name"],
        "method": record["label"],
        "seed": str(record["seed"]),
        "error": visible(error),
    }


Stored = tuple[Store, dict[str, Any]]


def _cells(stores: Sequence[Store], damaged: list[str]) -> list[Stored]:
    """Every cell once, from whichever folder holds more of it; faults of those that cannot be read go to `damaged`."""
    cells: dict[str, Stored] = {}
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
                if len(record["settings"]) > len(known["settings"]):
                    cells[key] = (store, record)
    return list(cells.values())


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
    chosen = [p.logits[[p.settings.index(s) for s in both]].argmax(-1) for p in (a, b)]
    if list(a.ids) != list(b.ids) or not np.array_equal(*chosen):
        raise BenchmarkError(
            f"{_row_name(record)}, seed {record['seed']}, stands in {first.path(key)} and in {second.path(key)} with "
            "different scores; move one of the two away"
        )


def _row_name(record: dict[str, Any]) -> str:
    return f"{record['label']} on {record['task']['name']}"


Slot = tuple[str, str, str, int]


def _slot(record: dict[str, Any]) -> Slot:
    """Task, source, label and seed."""
    return record["task"]["name"], record["data"]["source"], record["label"], record["seed"]


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
    data = {_slot(record)[:2]: record["task"]["fingerprint"] for _, record in counting}  # the last one stays
    rows = {
        _slot(record)[:3]: (store, record)
        for store, record in counting
        if record["task"]["fingerprint"] == data[_slot(record)[:2]]
    }
    alike = [cell for cell in counting if (row := rows.get(_slot(cell[1])[:3])) and _same_row(cell[1], row[1])]
    holders = {(_slot(record)[:3], store.out) for store, record in alike}
    for store, record in done:
        where = _slot(record)[:3]
        if where in rows and (where, store.out) not in holders:
            other = rows[where]
            raise BenchmarkError(
                f"{_row_name(record)} stands in {other[0].path(other[1]['key'])} and in {store.path(record['key'])}, "
                "made with different hyper-parameters, code or data; move one of the two away"
            )
    return {_slot(record): (store, record) for store, record in alike if record["state"] == DONE}


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


@dataclass(frozen=True)
class _Scored:
    """What the files of a cell hold.

    Parameters
    ----------
    settings : tuple of S (Setting, draw)
    labels : ndarray, shape (N,)
    predicted : ndarray of int8, shape (S, N)
    values : ndarray, shape (S, M)
    n : list of M int
        With `values`, from :func:`benchmark.protocol.metrics.score_settings`.
    history : list of tuple
        An epoch each, as `EPOCH` says.
    """

    settings: tuple[tuple[Setting, int], ...]
    labels: NDArray[np.generic]
    predicted: NDArray[np.int8]
    values: NDArray[np.float64]
    n: list[int]
    history: list[tuple[Any, ...]]


def _read_row(cells: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[list[_Scored | Damaged], Representation | None]:
    """The cells of one row on one task, given by folder and record, and the representations of the first with any."""
    found: list[_Scored | Damaged] = []
    representation: Representation | None = None
    for out, record in cells:
        store, key = Store(out), record["key"]
        store.recall(record)
        try:
            predictions, history = store.predictions(key), store.history(key)
            stored = store.representations(key) if representation is None else None
        except Damaged as damage:
            found.append(damage)
            continue
        found.append(_scored(record, predictions, history))
        if stored is not None:
            representation = _representation(record, stored)
    return found, representation


def _scored(record: dict[str, Any], predictions: Predictions, history: Sequence[Mapping[str, Any]]) -> _Scored:
    data, labels = record["data"], predictions.labels
    predicted = predicted_categories(predictions.logits).astype(np.int8)
    values, n = score_settings(
        labels=labels, predicted=predicted, kind=data["kind"], categories=tuple(data["categories"])
    )
    return _Scored(predictions.settings, labels, predicted, values, n, [_epoch(epoch) for epoch in history])


def _representation(record: dict[str, Any], stored: Representations) -> Representation:
    task, source, method, seed = _slot(record)
    return Representation(
        task=task,
        source=source,
        method=method,
        seed=seed,
        setting=Setting.parse(stored.setting.rpartition("#")[0]),
        categories=np.array(record["data"]["categories"])[category_indices(stored.labels, record["data"]["kind"])],
        values=stored.values,
    )


def _model(record: dict[str, Any], scored: _Scored, before: Sequence[Model]) -> Model:
    """A cell's model; where its labels are those of the model before it, as nearly always, they are kept once."""
    data, labels = record["data"], scored.labels
    for model in before:
        if model.labels.dtype == labels.dtype and np.array_equal(model.labels, labels):
            labels = model.labels
    return Model(
        task=record["task"]["name"],
        source=data["source"],
        kind=data["kind"],
        categories=tuple(data["categories"]),
        method=record["label"],
        seed=record["seed"],
        settings=scored.settings,
        labels=labels,
        predicted=scored.predicted,
    )


def _scores(models: Sequence[Model], scored: Sequence[_Scored], keys: Sequence[str]) -> pd.DataFrame:
    """The tidy scores: model by model, setting by setting, metric by metric."""
    if not models:
        return pd.DataFrame(columns=COLUMNS)
    parts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("kind", "available", "ratio", "draw", "metric", "value", "n")
    }
    for model, cell in zip(models, scored, strict=True):
        for name, column in _setting_columns(model.settings, cell.values.shape[1]).items():
            parts[name].append(column)
        parts["metric"].append(np.tile(_objects(metric_names(model.kind, model.categories)), len(cell.values)))
        parts["value"].append(cell.values.ravel())
        parts["n"].append(np.tile(cell.n, len(cell.values)))
    sizes = [len(part) for part in parts["value"]]
    names = {name: _objects([getattr(m, name) for m in models]) for name in ("task", "source", "method")}
    columns: dict[str, NDArray[Any]] = {
        **{name: np.repeat(column, sizes) for name, column in names.items()},
        "seed": np.repeat([model.seed for model in models], sizes),
        **{name: np.concatenate(column) for name, column in parts.items()},
        "key": np.repeat(_objects(keys), sizes),
    }
    return pd.DataFrame(columns)


@lru_cache(maxsize=64)
def _setting_columns(settings: tuple[tuple[Setting, int], ...], repeats: int) -> dict[str, NDArray[Any]]:
    """``kind, available, ratio, draw`` of each setting, each `repeats` times."""
    columns = {
        "kind": _objects([setting.kind for setting, _ in settings]),
        "available": _objects([setting.available for setting, _ in settings]),
        "ratio": np.array([setting.ratio for setting, _ in settings]),
        "draw": np.array([draw for _, draw in settings]),
    }
    return {name: np.repeat(column, repeats) for name, column in columns.items()}


def _objects(texts: Sequence[str]) -> NDArray[np.object_]:
    """Texts that stay the same objects however often they are repeated."""
    return np.array(texts, dtype=object)


def _epoch(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is kept of an epoch's record, which is one of very many."""
    return (sys.intern(record["stage"]), *(record[name] for name in EPOCH[1:]))


def _histories(models: Sequence[Model], histories: Sequence[Sequence[tuple[Any, ...]]]) -> pd.DataFrame:
    sizes = [len(history) for history in histories]
    if not sum(sizes):
        return pd.DataFrame()
    names = {name: _objects([getattr(m, name) for m in models]) for name in ("task", "source", "method")}
    return pd.DataFrame(
        {
            **{name: np.repeat(column, sizes) for name, column in names.items()},
            "seed": np.repeat([model.seed for model in models], sizes),
            **{name: [epoch[i] for history in histories for epoch in history] for i, name in enumerate(EPOCH)},
        }
    )


def confusions(models: Sequence[Model]) -> pd.DataFrame:
    """How often each true category was predicted as which, summed over seeds, in the settings `CONFUSED`.

    Returns
    -------
    DataFrame
        ``task, source, method, condition, truth, predicted, count``.
    """
    counts: dict[tuple[str, str, str, str], tuple[tuple[str, ...], NDArray[np.int64]]] = {}
    for model in models:
        places = [i for i, (setting, _) in enumerate(model.settings) if setting in CONFUSED]
        found = count_confusions(
            truth=model.truth, predicted=model.predicted[places], num_categories=len(model.categories)
        )
        for place, own in zip(places, found, strict=True):
            slot = (model.task, model.source, model.method, model.settings[place][0].condition)
            counts[slot] = (model.categories, own + (counts[slot][1] if slot in counts else 0))
    rows = [
        (*slot, truth, category, count)
        for slot, (categories, own) in counts.items()
        for (truth, category), count in zip(product(categories, categories), own.ravel(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["task", "source", "method", "condition", "truth", "predicted", "count"])
