"""Readers for the files that people pass around: MulT's and MMSA's pickles, dialogues, and the neutral layout.

A file is taken apart by :func:`parse`, which recognises the layout and gives each split as it stands in the file, and
judged by :func:`benchmark.data.checks.examine`; ``--inspect`` reports on both. :func:`read_dataset` refuses or mends
what was found and makes a data set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.checks import examine, unique_ids, usable_features
from benchmark.data.dataset import Dataset, Split, standardise
from benchmark.data.dialogues import split_dialogues
from benchmark.data.file_kinds import is_neutral
from benchmark.data.frames import Extent, moved_to_front
from benchmark.data.labels import labels_read
from benchmark.data.neutral import load_neutral
from benchmark.data.pickles import load_pickle
from benchmark.data.raw import RawFile, RawSplit
from benchmark.data.task import SPLITS, Key, Keys, Task, find_task
from benchmark.data.values import as_ids, as_labels, as_numbers, by_text
from benchmark.errors import BenchmarkError, one_line
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES

READER_VERSION = 2  # part of every fingerprint: raise it when a reader's result changes

_SPLITS = {"train": ("train",), "valid": ("valid", "dev", "val"), "test": ("test",)}
_FEATURES = {"l": ("language", "text"), "a": ("audio",), "v": ("vision",)}
_LABELS = ("regression_labels", "labels")
_IDS = ("id", "ids")
_UNUSABLE = "this layout is not known; docs/data.md, which README names, has those that are"
_SHOWN = "docs/own-data.md shows the usual names"
_USUAL = Keys()


@dataclass(frozen=True)
class Content:
    """What a file holds, before its layout is known.

    Parameters
    ----------
    path : Path
    value : object
    neutral : bool
        Whether it is ``.npz`` or HDF5.
    sha256 : str
    """

    path: Path
    value: Any
    neutral: bool
    sha256: str


def open_file(path: Path, every: Sequence[Keys] = (_USUAL,)) -> Content:
    """Read a file, whatever its layout.

    Parameters
    ----------
    path : Path
    every : sequence of Keys
        Of the tasks that it may be of: of an ``.npz`` or HDF5 file, only what they name is read.

    Raises
    ------
    BenchmarkError
        If it cannot be read.
    """
    if not is_neutral(path):
        return Content(path, load_pickle(path), False, _sha256(path))
    splits = [name for keys in every for split in SPLITS for name in _names(getattr(keys, split), _SPLITS[split])]
    names = [_names(keys.labels, _LABELS) for keys in every] + [_names(keys.ids, _IDS) for keys in every]
    for m in MODALITIES:
        for keys in every:
            usual = _names(getattr(keys, MODALITY_NAMES[m]), _FEATURES[m])
            names += [usual, *(_length_names(keys, m, name) for name in usual)]
    return Content(
        path, load_neutral(path, list(dict.fromkeys(splits)), list(dict.fromkeys(names))), True, _sha256(path)
    )


def _names(own: Key | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    """The task's own name for something, or the usual ones; a number is a place in a tuple, and no name."""
    return (own,) if isinstance(own, str) else usual


def named_only(keys: Keys) -> Keys:
    """The same without places in a tuple, which say nothing of a file of another layout."""
    return keys.model_copy(update={name: None for name, key in keys if not isinstance(key, str)})


def _length_names(keys: Keys, m: str, name: str) -> tuple[str, ...]:
    alike = _FEATURES[m] if name in _FEATURES[m] else (name,)
    return _names(getattr(keys, f"{MODALITY_NAMES[m]}_lengths"), tuple(f"{each}_lengths" for each in (name, *alike)))


@np.errstate(all="ignore")
def parse(path: Path, keys: Keys = _USUAL, modalities: str = "lav", content: Content | None = None) -> RawFile:
    """Recognise the layout of a file and take it apart; nothing is checked but what that needs.

    Parameters
    ----------
    path : Path
    keys : Keys
        Where things stand; by default in the usual places.
    modalities : str
        Those to read; of another one every sample has no frame.
    content : Content, optional
        Of that file, if it was read already.

    Raises
    ------
    BenchmarkError
        If the file cannot be read, its layout is unknown, or a split or an array is missing.
    """
    content = content or open_file(path, [keys])
    value, splits, layouts = content.value, {}, set()
    remarks: list[str] = []
    dialogues = isinstance(value, list | tuple)
    if dialogues:
        value, remarks = split_dialogues(value, keys, modalities, str(path))
        keys = _USUAL
    if not isinstance(value, dict):
        raise BenchmarkError(f"{path} holds a {type(value).__name__} where splits are expected; {_UNUSABLE}")
    value = by_text(value, str(path))
    for name in SPLITS:
        found = [each for each in _names(getattr(keys, name), _SPLITS[name]) if each in value]
        if not found:
            there = one_line(", ".join(sorted(value)), 80) or "nothing"
            raise BenchmarkError(f"{path} lacks the split {name!r}; it holds {there}; {_SHOWN}")
        if len(found) > 1:
            remarks.append(f"it holds {' and '.join(map(repr, found))}; only {found[0]!r} is read")
        split, where = value[found[0]], f"{path}: split {name!r}"
        if not isinstance(split, dict):
            raise BenchmarkError(f"{path}: split {name!r} is a {type(split).__name__}; {_UNUSABLE}")
        layout, splits[name], passed_over = _parse_split(by_text(split, where), where, keys, modalities)
        layouts.add("dialogues" if dialogues else "neutral" if content.neutral else layout)
        remarks += [f"split {name!r}, {remark}" for remark in passed_over]
    if len(layouts) > 1:
        raise BenchmarkError(f"{path}: its splits have different layouts; write them all alike")
    return RawFile(layouts.pop(), splits, content.sha256, tuple(remarks))


def _parse_split(
    content: Mapping[str, Any], where: str, keys: Keys, modalities: str
) -> tuple[str, RawSplit, list[str]]:
    names = {}
    for m in modalities:
        asked = getattr(keys, MODALITY_NAMES[m])
        names[m] = _find(content, _names(asked, _FEATURES[m]), MODALITY_NAMES[m], asked, where)
    label_key = _find(content, _names(keys.labels, _LABELS), "labels", keys.labels, where)
    features, flat = {}, set()
    for m, key in names.items():
        x = as_numbers(content[key], f"{where}, {key}")
        if x.ndim == 2:
            flat.add(m)
            x = x[:, None, :]  # (N, d): one frame an utterance
        if x.ndim != 3:
            raise BenchmarkError(
                f"{where}, {key}: shape {x.shape} where (samples, frames, features) is expected; reshape it"
            )
        features[m] = x
    lengths, remarks = _lengths(content, names, keys, where), []
    mask, doubt = (None, "") if "l" in lengths or "l" not in names else _bert_mask(content, names["l"], features["l"])
    if mask is not None:
        lengths["l"] = mask.sum(1).astype(np.int64)
    remarks += [doubt] if doubt else []
    for m, key in names.items():
        others = [name for name in _FEATURES[m] if name != key and _are_features(content.get(name))]
        remarks += [f"it holds {key!r} and {other!r}; only {key!r} is read" for other in others if key in _FEATURES[m]]
    aligned = len({x.shape[1] for x in features.values()}) == 1
    layout = f"{'MMSA' if 'regression_labels' in content else 'MulT'}, {'word-aligned' if aligned else 'unaligned'}"
    asked = keys.ids if isinstance(keys.ids, str) else None
    id_key = next((name for name in _names(asked, _IDS) if name in content), None)
    if asked is not None and id_key is None:
        raise BenchmarkError(f"{where} lacks {one_line(repr(asked))}, which the task's keys name; correct them")
    split = RawSplit(
        features,
        lengths,
        as_labels(content[label_key], f"{where}, {label_key}"),
        None if id_key is None else as_ids(content[id_key], f"{where}, {id_key}"),
        mask,
        frozenset(flat),
        names=names,
        others=_other_features(content, set(names.values())),
    )
    return layout, split.with_absent(modalities), remarks


def _find(content: Mapping[str, Any], names: tuple[str, ...], what: str, asked: Key | None, where: str) -> str:
    """The first of some names that is there; raises BenchmarkError where none is."""
    for name in names:
        if name in content:
            return name
    wanted = " or ".join(one_line(repr(name)) for name in names)
    advice = _UNUSABLE
    if isinstance(asked, str):
        advice = "correct the keys in the task's file"
    elif what == "language" and "text_bert" in content:
        advice = "'text_bert' holds token ids; write what a language model makes of them as 'text'"
        if others := _other_features(content, {"audio", "vision"}):
            advice += (
                f", or name other features of language, {_quoted(others)}, with keys: {{language: …}} in a task file"
            )
    elif what != "labels" and any(name in content for name in _LABELS):
        advice = f"if the data have no {what}, say so with modalities: in a task file"
    there = one_line(", ".join(sorted(content)), 120) or "nothing"
    raise BenchmarkError(f"{where} lacks {wanted}; it holds {there}; {advice}")


def _lengths(
    content: Mapping[str, Any], names: Mapping[str, str], keys: Keys, where: str
) -> dict[str, NDArray[np.int64]]:
    lengths = {}
    for m, key in names.items():
        asked = getattr(keys, f"{MODALITY_NAMES[m]}_lengths")
        length_key = next((name for name in _length_names(keys, m, key) if name in content), None)
        if isinstance(asked, str) and length_key is None:
            raise BenchmarkError(f"{where} lacks {one_line(repr(asked))}, which the task's keys name; correct them")
        if length_key is not None:
            told = as_numbers(content[length_key], f"{where}, {length_key}").reshape(-1)
            if not np.array_equal(told, np.round(np.nan_to_num(told.astype(float)))):
                raise BenchmarkError(f"{where}, {length_key}: holds what is no whole number; leave the lengths out")
            lengths[m] = told.astype(np.int64)
    return lengths


def _bert_mask(content: Mapping[str, Any], key: str, text: NDArray[np.generic]) -> tuple[NDArray[np.bool_] | None, str]:
    """BERT's attention mask (N, T), if it is of these features; and what is doubtful about it."""
    bert = content.get("text_bert")
    if key not in _FEATURES["l"] or not isinstance(bert, np.ndarray) or bert.ndim != 3 or bert.shape[1] != 3:
        return None, ""
    ones = bert[:, 1]  # token ids, attention mask, segment ids
    if ones.shape != text.shape[:2] or bert.dtype.kind not in "biuf":
        return None, ""
    if np.isin(ones, (0, 1)).all():
        return ones.astype(bool), ""
    return None, (
        "text_bert: its second row is no attention mask of 0 and 1 and is passed over; the lengths of language are "
        "found from zeros"
    )


def _are_features(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim == 3


def _other_features(content: Mapping[str, Any], used: set[str]) -> tuple[str, ...]:
    """Names of what could be features of a modality, and is read as none."""
    return tuple(key for key, x in content.items() if key not in used and key != "text_bert" and _are_features(x))


def _quoted(names: Sequence[str]) -> str:
    return one_line(", ".join(map(repr, names)))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@np.errstate(all="ignore")  # what overflows is found and told
def read_dataset(path: Path, task: Task | str) -> Dataset:
    """Read a task's file.

    NaN and infinite features become 0, padding is moved behind the real frames, features are standardised with the
    training split's statistics.

    Parameters
    ----------
    path : Path
    task : Task or str
        Or its name.

    Returns
    -------
    Dataset
        With ``source="file"``; `warnings` tells what was mended or looks odd.

    Raises
    ------
    BenchmarkError
        If the file cannot be used: one line that says what is wrong, where, and how to mend it.
    """
    task = find_task(task)
    raw = parse(path, task.keys, task.modalities)
    found = examine(raw, task)
    if found.faults:
        raise BenchmarkError(f"{path}: {found.faults[0]}")
    splits = {name: _split(split, found.extents[name], found.ids[name], task) for name, split in raw.splits.items()}
    # Files of which other frames are read than by the first readers: their cells are none of those readers'.
    moved = any(e.told and e.start.any() for extents in found.extents.values() for e in extents.values())
    reading = json.dumps(task.reading(), sort_keys=True)
    content = f"{raw.sha256}:{READER_VERSION}{':padded in front' if moved else ''}:{reading}"
    return Dataset(
        task=task,
        source="file",
        splits=standardise(splits),
        fingerprint=f"file-{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        origin=f"{path.name}, {raw.layout}",
        warnings=tuple(warning_lines(path, found.warnings)),
    )


def warning_lines(path: Path, warnings: list[str]) -> list[str]:
    """Warnings as they are told, with the file's name."""
    return [f"{path.name}: {text}" for text in warnings]


def _split(raw: RawSplit, extents: Mapping[str, Extent], ids: list[str], task: Task) -> Split:
    features, lengths = {}, {}
    for m in MODALITIES:
        x, unusable = usable_features(raw.features[m])
        if unusable.any():
            x = np.where(unusable, np.float32(0), x)
        features[m] = moved_to_front(x, extents[m])
        lengths[m] = extents[m].stop - extents[m].start
    return Split(np.array(unique_ids(ids)), features, lengths, labels_read(raw.labels, task))
