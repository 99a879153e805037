"""Readers for the files that people pass around: MulT's and MMSA's pickles.

A file is taken apart by :func:`parse`, which recognises the layout and gives each split as it stands in the file, and
judged by :func:`benchmark.data.checks.examine`; ``--inspect`` reports on both. :func:`read_dataset` refuses or mends
what was found and makes a data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.checks import examine, unique_ids, usable_features
from benchmark.data.dataset import EMOTIONS, SENTIMENT_CATEGORIES, SPLITS, Dataset, Split, standardise
from benchmark.data.frames import Extent, moved_to_front
from benchmark.data.labels import category_or_intensity, kind_of
from benchmark.data.pickles import load_pickle
from benchmark.data.raw import KEYS, RawFile, RawSplit
from benchmark.errors import BenchmarkError, one_line
from benchmark.protocol.missing import MODALITIES

READER_VERSION = 2  # part of every fingerprint: raise it when a reader's result changes

_STEMS = {"mosi": "mosi", "mosei": "mosei_senti", "iemocap": "iemocap"}
_ALIASES = {"valid": ("valid", "dev", "val"), "train": ("train",), "test": ("test",)}
_LONGEST_ID = 200  # characters; all ids are held at the width of the longest
_UNUSABLE = "this layout is not known; docs/data.md, which README names, has the two that are"


def task_of(path: Path) -> str | None:
    """The task that a file's name tells; None where it tells none, as MMSA's."""
    return next((task for task, stem in _STEMS.items() if path.name.startswith(f"{stem}_data")), None)


def find_file(directory: Path, task: str, *, only_task: bool = False) -> Path | None:
    """Look for a task's file under its usual names, in `directory` and in its folder of that name.

    Parameters
    ----------
    directory : Path
    task : str
    only_task : bool
        MMSA's file names do not tell the task, so directly in `directory` they count only if this is the one task
        asked for, or if the folder is named after it.

    Returns
    -------
    Path or None
        Word-aligned before unaligned, MulT's before MMSA's.

    Raises
    ------
    BenchmarkError
        If `directory` is no folder that can be read.
    """
    try:
        folders = [path for path in sorted(directory.iterdir()) if path.is_dir() and path.name.lower() == task]
    except OSError as error:
        raise BenchmarkError(f"cannot read the data folder {directory}: {error.strerror}") from error
    folders += [folder / "Processed" for folder in folders if (folder / "Processed").is_dir()]
    own = only_task or directory.resolve().name.lower() == task
    candidates = []
    for kind in ("", "un"):
        mult = f"{_STEMS[task]}_data{'_noalign' if kind else ''}.pkl"
        candidates += [folder / mult for folder in (directory, *folders)]
        candidates += [folder / f"{kind}aligned_50.pkl" for folder in ((directory,) if own else ())]
        candidates += [folder / f"{kind}aligned_50.pkl" for folder in folders]
    return next((path for path in candidates if path.is_file()), None)


@np.errstate(all="ignore")
def parse(path: Path) -> RawFile:
    """Recognise the layout of a file and take it apart; nothing is checked but what that needs.

    Raises
    ------
    BenchmarkError
        If the file cannot be read, its layout is unknown, or a split or an array is missing.
    """
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path} holds a {type(content).__name__} where splits are expected; {_UNUSABLE}")
    content = _by_text(content, str(path))
    splits, layouts, remarks = {}, set(), []
    for name in SPLITS:
        found = [alias for alias in _ALIASES[name] if alias in content]
        if not found:
            there = one_line(", ".join(sorted(content)), 80) or "nothing"
            raise BenchmarkError(f"{path} lacks the split {name!r}; it holds {there}")
        if len(found) > 1:
            remarks.append(f"it holds {' and '.join(map(repr, found))}; only {found[0]!r} is read")
        split, where = content[found[0]], f"{path}: split {name!r}"
        if not isinstance(split, dict):
            raise BenchmarkError(f"{path}: split {name!r} is a {type(split).__name__}; {_UNUSABLE}")
        layout, splits[name], passed_over = _parse_split(_by_text(split, where), where)
        layouts.add(layout)
        remarks += [f"split {name!r}, {remark}" for remark in passed_over]
    if len(layouts) > 1:
        raise BenchmarkError(f"{path}: its splits have different layouts; write them all alike")
    return RawFile(layouts.pop(), splits, _sha256(path), tuple(remarks))


def _by_text(content: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """A dictionary with its keys as text."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        text = _text(key)
        if text in found:
            raise BenchmarkError(f"{where} holds {one_line(repr(text))} twice, as text and as another type; leave one")
        found[text] = value
    return found


def _parse_split(content: Mapping[str, Any], where: str) -> tuple[str, RawSplit, list[str]]:
    label_key = next((key for key in ("regression_labels", "labels") if key in content), None)
    for key in (*KEYS.values(), label_key):
        if key not in content:
            there = one_line(", ".join(sorted(content)), 120)
            wanted = "'regression_labels' or 'labels'" if key is None else repr(key)
            advice = _UNUSABLE
            if key == "text" and "text_bert" in content:
                advice = "'text_bert' holds token ids; write what a language model makes of them as 'text'"
            raise BenchmarkError(f"{where} lacks {wanted}; it holds {there}; {advice}")
    assert label_key is not None
    features, flat = {}, set()
    for m, key in KEYS.items():
        x = _numbers(content[key], f"{where}, {key}")
        if x.ndim == 2:
            flat.add(m)
            x = x[:, None, :]  # (N, d): one frame an utterance
        if x.ndim != 3:
            raise BenchmarkError(
                f"{where}, {key}: shape {x.shape} where (samples, frames, features) is expected; reshape it"
            )
        features[m] = x
    lengths = {}
    for m, key in KEYS.items():
        if f"{key}_lengths" in content:
            told = _numbers(content[f"{key}_lengths"], f"{where}, {key}_lengths").reshape(-1)
            if not np.array_equal(told, np.round(np.nan_to_num(told.astype(float)))):
                raise BenchmarkError(f"{where}, {key}_lengths: holds what is no whole number; leave the lengths out")
            lengths[m] = told.astype(np.int64)
    mask, remarks = None, []
    bert = content.get("text_bert")
    if "l" not in lengths and isinstance(bert, np.ndarray) and bert.ndim == 3 and bert.shape[1] == 3:
        ones = bert[:, 1]  # token ids, attention mask, segment ids
        if ones.shape == features["l"].shape[:2] and bert.dtype.kind in "biuf":
            if np.isin(ones, (0, 1)).all():
                mask = ones.astype(bool)
                lengths["l"] = mask.sum(1).astype(np.int64)
            else:
                remarks.append(
                    "text_bert: its second row is no attention mask of 0 and 1 and is passed over; the lengths of "
                    "language are found from zeros"
                )
    labels = _numbers(content[label_key], f"{where}, {label_key}")
    if labels.ndim == 0:
        raise BenchmarkError(f"{where}, {label_key}: one number where one a sample is expected; write them all")
    mmsa = label_key == "regression_labels"
    aligned = len({x.shape[1] for x in features.values()}) == 1
    layout = f"{'MMSA' if mmsa else 'MulT'}, {'word-aligned' if aligned else 'unaligned'}"
    ids = _ids(content.get("id"), f"{where}, id")
    return layout, RawSplit(features, lengths, labels, ids, mask, frozenset(flat)), remarks


def _text(value: Any) -> str:
    """Text that can be written: without halves of characters, and without the zeros behind it that NumPy drops."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8").rstrip("\0")


def _numbers(value: Any, where: str) -> NDArray[np.generic]:
    try:
        array = np.asarray(_scalars_in_lists(value))
        if array.dtype == object:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(
            f"{where}: no array of numbers (rows of different length, or text); write an array of numbers"
        ) from error
    if array.dtype.kind not in "biuf":
        first = f" ({one_line(repr(_text(array.ravel()[0])), 30)})" if array.dtype.kind in "SU" and array.size else ""
        raise BenchmarkError(f"{where}: holds {array.dtype} where numbers are expected{first}; write numbers")
    return array


def _scalars_in_lists(value: Any) -> Any:
    """Numbers in lists, or an array that is not of objects; no text, which NumPy would widen to the longest."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if isinstance(value, np.ndarray | list | tuple):
        items = [_scalars_in_lists(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
        if any(isinstance(item, np.ndarray) and item.dtype.kind in "SU" for item in items):
            raise TypeError("text")
        return items
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(type(value).__name__)


def _ids(value: Any, where: str) -> list[str] | None:
    """MulT's ids are arrays of (video, start, end), MMSA's are ``video$_$clip``."""
    if value is None:
        return None
    rows = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(rows, list | tuple):
        raise BenchmarkError(f"{where}: a {type(rows).__name__} where one id a sample is expected; write a list of ids")
    ids = []
    for number, row in enumerate(rows):
        try:
            ids.append("$_$".join(_text(part) for part in _parts(row)))
        except TypeError as error:
            raise BenchmarkError(f"{where}: row {number} holds a {error} where text is expected; mend it") from error
        if len(ids[-1]) > _LONGEST_ID:
            raise BenchmarkError(f"{where}: row {number} has more than {_LONGEST_ID} characters; shorten it")
    return ids


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray | list | tuple):
        for item in np.atleast_1d(value).tolist() if isinstance(value, np.ndarray) else value:
            yield from _parts(item)
    elif isinstance(value, str | bytes | bool | int | float):
        yield value
    else:
        raise TypeError(type(value).__name__)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@np.errstate(all="ignore")  # what overflows is found and told
def read_dataset(path: Path, task: str) -> Dataset:
    """Read a task's file.

    NaN and infinite features become 0, padding is moved behind the real frames, features are standardised with the
    training split's statistics.

    Parameters
    ----------
    path : Path
    task : {"mosi", "mosei", "iemocap"}

    Returns
    -------
    Dataset
        With ``source="file"``; `warnings` tells what was mended or looks odd.

    Raises
    ------
    BenchmarkError
        If the file cannot be used: one line that says what is wrong, where, and how to mend it.
    """
    raw = parse(path)
    kind = kind_of(task)
    found = examine(raw, kind)
    if found.faults:
        raise BenchmarkError(f"{path}: {found.faults[0]}")
    splits = {name: _split(split, found.extents[name], found.ids[name], kind) for name, split in raw.splits.items()}
    # Files of which other frames are read than by the first readers: their cells are none of those readers'.
    moved = any(e.told and e.start.any() for extents in found.extents.values() for e in extents.values())
    content = f"{raw.sha256}:{READER_VERSION}{':padded in front' if moved else ''}"
    return Dataset(
        name=task,
        source="file",
        kind=kind,
        categories=EMOTIONS if kind == "emotion" else SENTIMENT_CATEGORIES,
        splits=standardise(splits),
        fingerprint=f"file-{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        origin=f"{path.name}, {raw.layout}",
        warnings=tuple(warning_lines(path, found.warnings)),
    )


def warning_lines(path: Path, warnings: list[str]) -> list[str]:
    """Warnings as they are told, with the file's name."""
    return [f"{path.name}: {text}" for text in warnings]


def _split(raw: RawSplit, extents: Mapping[str, Extent], ids: list[str], kind: str) -> Split:
    features, lengths = {}, {}
    for m in MODALITIES:
        x, unusable = usable_features(raw.features[m])
        if unusable.any():
            x = np.where(unusable, np.float32(0), x)
        features[m] = moved_to_front(x, extents[m])
        lengths[m] = extents[m].stop - extents[m].start
    return Split(np.array(unique_ids(ids)), features, lengths, category_or_intensity(raw.labels, kind))
