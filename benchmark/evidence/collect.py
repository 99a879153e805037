"""Stored cells → the tidy table of scores, and all else that a report is made of."""

from __future__ import annotations

import math
import re
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

from benchmark.data import known_tasks
from benchmark.errors import BenchmarkError, unknown
from benchmark.evidence.choosing import choose, slot_of
from benchmark.evidence.groups import Groups, groups_of
from benchmark.evidence.scores import COLUMNS, SAID_KINDS, SETTING
from benchmark.names import visible
from benchmark.protocol.metrics import metric, metric_names, usual_metrics
from benchmark.protocol.missing import Setting
from benchmark.protocol.scoring import Scorer, count_confusions, predicted_of
from benchmark.protocol.target import INTENSITY, Target
from benchmark.protocol.thresholds import f1_by_thresholds
from benchmark.running.choice import check_metrics
from benchmark.running.processes import divided
from benchmark.running.selection import Keeper, kept, rule_of
from benchmark.running.store import Damaged, Predictions, Representations, Store

EPOCH = ("stage", "epoch", "train_loss", "valid_loss", "valid_score")
"""What is kept of an epoch's record."""

CONFUSED = (Setting(), Setting("l"), Setting("lav", 0.5))
"""The settings whose confusion matrices are drawn."""


@dataclass(frozen=True)
class Model:
    """A trained model as the statistics see it.

    Parameters
    ----------
    task, source : str
    target : Target
    metrics : tuple of str
        That are to be reported, the primary one first.
    modalities : str
        Those that the data have.
    method : str
        As it stands in tables.
    seed : int
    settings : tuple of S (Setting, draw)
    labels : ndarray, shape (N,)
        As in the data.
    groups : Groups
        Which samples belong together.
    predicted : ndarray of int8, shape (S, N)
        Categories; of an intensity the nearest bins.
    outputs : ndarray
        What its scores are made of: `predicted`, where no metric needs more, or the outputs, shape (S, N, K).
    thresholds : ndarray, shape (2, S), optional
        F1 as predicted, and with the thresholds that are best on the validation split; None where this is not known.
    """

    task: str
    source: str
    target: Target
    metrics: tuple[str, ...]
    modalities: str
    method: str
    seed: int
    settings: tuple[tuple[Setting, int], ...]
    labels: NDArray[np.generic]
    groups: Groups
    predicted: NDArray[np.int8]
    outputs: NDArray[Any]
    thresholds: NDArray[np.float64] | None = None

    @property
    def truth(self) -> NDArray[np.int64]:
        """The true categories, shape (N,)."""
        return self.target.category_indices(self.labels)


@dataclass(frozen=True)
class Representation:
    """Joint representations of some test samples by one trained model, for plots.

    Parameters
    ----------
    task, source, method : str
    seed : int
    setting : Setting
        What the model got to see.
    names : tuple of str
        The categories there are, in order; of an intensity its bins.
    categories : ndarray of str, shape (M,)
        True ones.
    values : ndarray of float32, shape (M, D)
    """

    task: str
    source: str
    method: str
    seed: int
    setting: Setting
    names: tuple[str, ...]
    categories: NDArray[np.str_]
    values: NDArray[np.float32]


@dataclass
class Collection:
    """What is stored under one or several output folders.

    Parameters
    ----------
    scores : DataFrame
        Tidy, one row a number, columns `COLUMNS`, and `SETTING` where there are settings of `SAID_KINDS`.
    records : list of dict
        ``cell.json`` of the cells shown.
    models : list of Model
        The same cells' predictions.
    histories : DataFrame
        ``task, source, method, seed, stage, epoch, train_loss, valid_loss, valid_score, kept``, one row an
        epoch.
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


def collect(*stores: Store, keys: Set[str] = frozenset(), metrics: Sequence[str] = ()) -> Collection:
    """Score what is stored: of each row on a task, the cells of one definition.

    Parameters
    ----------
    *stores : Store
    keys : set of str
        Those of the cells of a grid. Its definitions of rows, and its data, count before others; where it has none, the
        latest cell's do.
    metrics : sequence of str
        To score besides those that the tasks list, where there are such.

    Raises
    ------
    BenchmarkError
        If two folders hold different predictions of one cell, or different definitions of one row, or no task has one
        of the metrics.
    """
    choice = choose(*stores, keys=keys)
    listed = _metrics([record for _, record in choice.cells], metrics)
    rows = [list(own) for _, own in groupby(choice.cells, key=lambda cell: slot_of(cell[1])[:3])]
    calls = (([(store.out, record) for store, record in own], listed[slot_of(own[0][1])[:2]]) for own in rows)
    models: list[Model] = []
    scored: list[_Scored] = []
    representations: list[Representation] = []
    records: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for own, (read, representation) in zip(rows, divided(_read_row, calls, cells=len(choice.cells)), strict=True):
        for (_, record), cell in zip(own, read, strict=True):
            if isinstance(cell, Damaged):
                failures.append(_failure(record, str(cell)))
                continue
            records.append(record)
            scored.append(cell)
            models.append(_model(record, cell, models[-1:], listed[slot_of(record)[:2]]))
        if representation is not None:
            representations.append(representation)
    return Collection(
        scores=_scores(models, scored, [record["key"] for record in records]),
        records=records,
        models=models,
        histories=_histories(models, [cell.history for cell in scored]),
        representations=representations,
        failures=failures + [_failure(record, record["error"]) for record in choice.failed],
        damaged=choice.damaged,
        superseded=choice.superseded,
    )


def _failure(record: dict[str, Any], error: str) -> dict[str, str]:
    return {
        "task": record["task"]["name"],
        "method": record["label"],
        "seed": str(record["seed"]),
        "error": visible(error),
    }


@dataclass(frozen=True)
class _Scored:
    """What the files of a cell hold.

    Parameters
    ----------
    settings : tuple of S (Setting, draw)
    labels : ndarray, shape (N,)
    groups : Groups
    predicted : ndarray of int8, shape (S, N)
    outputs : ndarray
        As in :class:`Model`.
    values : ndarray, shape (S, M)
        As printed.
    thresholds : ndarray, optional
        As in :class:`Model`.
    n : list of M int
        The number of samples behind each metric.
    history : list of tuple
        An epoch each, as `EPOCH` says, and whether its stage kept it.
    """

    settings: tuple[tuple[Setting, int], ...]
    labels: NDArray[np.generic]
    groups: Groups
    predicted: NDArray[np.int8]
    outputs: NDArray[Any]
    values: NDArray[np.float64]
    thresholds: NDArray[np.float64] | None
    n: list[int]
    history: list[tuple[Any, ...]]


def _read_row(
    cells: Sequence[tuple[Path, dict[str, Any]]], metrics: tuple[str, ...]
) -> tuple[list[_Scored | Damaged], Representation | None]:
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
        found.append(_scored(record, predictions, history, metrics))
        if stored is not None:
            representation = _representation(record, stored)
    return found, representation


def _metrics(records: Sequence[dict[str, Any]], asked: Sequence[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """By task and source, what its cells are scored by: what the latest of them lists, then what is asked for.

    Raises
    ------
    BenchmarkError
        If no task has one of the metrics that are asked for, or a cell lists one that there is not.
    """
    latest = {slot_of(record)[:2]: record["data"] for record in sorted(records, key=lambda record: record["finished"])}
    targets = {where: Target.of_record(data) for where, data in latest.items()}
    found = {}
    for (task, source), data in latest.items():
        target = targets[task, source]
        own = metric_names(target)
        listed = data.get("metrics") or usual_metrics(target)
        for name in listed:
            if name not in own:
                raise BenchmarkError(f"cells of {task}: {unknown('metric', name, own)}; update the benchmark")
        found[task, source] = tuple(dict.fromkeys([*listed, *(name for name in asked if name in own)]))
    if targets:
        check_metrics(asked, targets.values())
    return found


def _scored(
    record: dict[str, Any],
    predictions: Predictions,
    history: Sequence[Mapping[str, Any]],
    names: Sequence[str],
) -> _Scored:
    target = Target.of_record(record["data"])
    predicted = predicted_of(predictions.logits, target).astype(np.int8)
    whole = target.kind == INTENSITY or any(metric(name).needs_outputs for name in names)
    outputs = predictions.logits if whole else predicted
    scorer = Scorer(target=target, labels=predictions.labels, metrics=names)
    values = (scorer.scores(outputs)[:, :, 0] * scorer.scales[:, None]).T  # (S, M)
    epochs = _epochs(history, record["training"], names[0])
    groups, labels, validation = _groups(predictions.ids, record), predictions.labels, predictions.validation
    thresholds = None
    if validation is not None:
        thresholds = f1_by_thresholds(target=target, labels=labels, outputs=predictions.logits, validation=validation)
    return _Scored(predictions.settings, labels, groups, predicted, outputs, values, thresholds, scorer.n, epochs)


def _groups(ids: NDArray[np.str_], record: Mapping[str, Any]) -> Groups:
    """Which samples of a cell belong together, as it says, or where it was made before cells did, as its task says."""
    data, task = record["data"], known_tasks().get(record["task"]["name"])
    if "group" not in data and task is not None:
        return groups_of(ids, task.group, task.unit)
    try:
        return groups_of(ids, data.get("group"), data.get("unit") or "")
    except (re.error, IndexError, TypeError) as error:  # it may be anybody's
        raise BenchmarkError(f"cells of {record['task']['name']}: 'group' cannot be used: {error}") from error


def _representation(record: dict[str, Any], stored: Representations) -> Representation:
    task, source, method, seed = slot_of(record)
    target = Target.of_record(record["data"])
    return Representation(
        task=task,
        source=source,
        method=method,
        seed=seed,
        setting=Setting.parse(stored.setting.rpartition("#")[0]),
        names=target.categories,
        categories=np.array(target.categories)[target.category_indices(stored.labels)],
        values=stored.values,
    )


def _model(record: dict[str, Any], scored: _Scored, before: Sequence[Model], metrics: tuple[str, ...]) -> Model:
    """A cell's model; where its labels are those of the model before it, as nearly always, they are kept once."""
    data, labels, groups = record["data"], scored.labels, scored.groups
    for model in before:
        if model.labels.dtype == labels.dtype and np.array_equal(model.labels, labels):
            labels = model.labels
        if model.groups.unit == groups.unit and np.array_equal(model.groups.index, groups.index):
            groups = model.groups
    return Model(
        task=record["task"]["name"],
        source=data["source"],
        target=Target.of_record(data),
        metrics=metrics,
        modalities=data.get("modalities", "lav"),
        method=record["label"],
        seed=record["seed"],
        settings=scored.settings,
        labels=labels,
        groups=groups,
        predicted=scored.predicted,
        outputs=scored.outputs,
        thresholds=scored.thresholds,
    )


def _scores(models: Sequence[Model], scored: Sequence[_Scored], keys: Sequence[str]) -> pd.DataFrame:
    """The tidy scores: model by model, setting by setting, metric by metric."""
    if not models:
        return pd.DataFrame(columns=COLUMNS)
    parts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("kind", "available", "ratio", "draw", "metric", "value", "n")
    }
    said: list[NDArray[Any]] = []
    for model, cell in zip(models, scored, strict=True):
        for name, column in _setting_columns(model.settings, cell.values.shape[1]).items():
            (said if name == SETTING else parts[name]).append(column)
        parts["metric"].append(np.tile(_objects(model.metrics), len(cell.values)))
        parts["value"].append(cell.values.ravel())
        parts["n"].append(np.tile(cell.n, len(cell.values)))
    sizes = [len(part) for part in parts["value"]]
    names = {name: _objects([getattr(m, name) for m in models]) for name in ("task", "source", "method")}
    columns: dict[str, NDArray[Any]] = {
        **{name: np.repeat(column, sizes) for name, column in names.items()},
        "seed": np.repeat([model.seed for model in models], sizes),
        **{name: np.concatenate(column) for name, column in parts.items()},
        "key": np.repeat(_objects(keys), sizes),
        "target": np.repeat(_objects([model.target.kind for model in models]), sizes),
        "modalities": np.repeat(_objects([model.modalities for model in models]), sizes),
    }
    if any(set(SAID_KINDS).intersection(kinds) for kinds in parts["kind"]):
        columns[SETTING] = np.concatenate(said)
    return pd.DataFrame(columns)


@lru_cache(maxsize=64)
def _setting_columns(settings: tuple[tuple[Setting, int], ...], repeats: int) -> dict[str, NDArray[Any]]:
    """``kind, available, ratio, draw, setting`` of each setting, each `repeats` times."""
    columns = {
        "kind": _objects([setting.kind for setting, _ in settings]),
        "available": _objects([setting.available for setting, _ in settings]),
        "ratio": np.array([setting.share for setting, _ in settings]),
        "draw": np.array([draw for _, draw in settings]),
        SETTING: _objects([str(setting) for setting, _ in settings]),
    }
    return {name: np.repeat(column, repeats) for name, column in columns.items()}


def _objects(texts: Sequence[str]) -> NDArray[np.object_]:
    """Texts that stay the same objects however often they are repeated."""
    return np.array(texts, dtype=object)


def _epoch(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is kept of an epoch's record, which is one of very many."""
    score = record.get("valid_score", record.get("valid_f1"))  # as earlier versions called it
    numbers = (*(record[name] for name in EPOCH[1:-1]), score)  # null in JSON is a score or loss that is none
    return (sys.intern(record["stage"]), *(math.nan if number is None else number for number in numbers))


def _epochs(history: Sequence[Mapping[str, Any]], training: Mapping[str, Any], primary: str) -> list[tuple[Any, ...]]:
    """The epochs of a cell, and whether each was kept."""
    found, lower = [], metric(primary).lower_is_better
    for _, own in groupby(history, key=lambda epoch: epoch["stage"]):
        stage = list(own)
        best = kept(stage, Keeper(*rule_of(training), lower))
        found += [(*_epoch(epoch), epoch["epoch"] == best) for epoch in stage]
    return found


def _histories(models: Sequence[Model], histories: Sequence[Sequence[tuple[Any, ...]]]) -> pd.DataFrame:
    sizes = [len(history) for history in histories]
    if not sum(sizes):
        return pd.DataFrame()
    names = {name: _objects([getattr(m, name) for m in models]) for name in ("task", "source", "method")}
    return pd.DataFrame(
        {
            **{name: np.repeat(column, sizes) for name, column in names.items()},
            "seed": np.repeat([model.seed for model in models], sizes),
            **{
                name: [epoch[i] for history in histories for epoch in history]
                for i, name in enumerate((*EPOCH, "kept"))
            },
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
            truth=model.truth, predicted=model.predicted[places], num_categories=len(model.target.categories)
        )
        for place, own in zip(places, found, strict=True):
            slot = (model.task, model.source, model.method, model.settings[place][0].condition)
            counts[slot] = (model.target.categories, own + (counts[slot][1] if slot in counts else 0))
    rows = [
        (*slot, truth, category, count)
        for slot, (categories, own) in counts.items()
        for (truth, category), count in zip(product(categories, categories), own.ravel(), strict=True)
    ]
    return pd.DataFrame(rows, columns=["task", "source", "method", "condition", "truth", "predicted", "count"])
