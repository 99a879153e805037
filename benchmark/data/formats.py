"""Readers for the files that people pass around: MulT's and MMSA's pickles.

A file is taken apart in two steps. :func:`parse` recognises the layout and gives a :class:`RawSplit` for each split, as
it stands in the file; ``--inspect`` reports on these. :func:`read_dataset` checks and mends them and makes a data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import EMOTIONS, SENTIMENT_CATEGORIES, SPLITS, Dataset, Split, standardise
from benchmark.data.pickles import load_pickle
from benchmark.errors import BenchmarkError, one_line
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES

READER_VERSION = 2  # part of every fingerprint: raise it when a reader's result changes

_STEMS = {"mosi": "mosi", "mosei": "mosei_senti", "iemocap": "iemocap"}
_KEYS = {"l": "text", "a": "audio", "v": "vision"}
_COLUMNS = ("neutral", "happy", "sad", "angry")  # of emotion labels, as MulT's src/eval_metrics.py names them
EMOTIONS_IN_TEST = {"happy": 135, "sad": 193, "angry": 227, "neutral": 383}  # of MulT's IEMOCAP file, 938 samples
_ALIASES = {"valid": ("valid", "dev", "val"), "train": ("train",), "test": ("test",)}
_LONGEST_ID = 200  # characters; all ids are held at the width of the longest
_UNUSABLE = "this layout is not known; see README for the two that are"


@dataclass(frozen=True)
class RawSplit:
    """A split as it stands in the file.

    Parameters
    ----------
    features : dict of modality to ndarray, shape (N, T_m, d_m)
        As in the file, padding in front or behind.
    lengths : dict of modality to int64 ndarray, shape (N,)
        For the modalities whose lengths the file tells; their padding stands behind.
    labels : ndarray
        As in the file.
    ids : list of str, or None
    """

    features: dict[str, NDArray[np.generic]]
    lengths: dict[str, NDArray[np.int64]]
    labels: NDArray[np.generic]
    ids: list[str] | None


@dataclass(frozen=True)
class RawFile:
    """A data file taken apart: its layout's name, its splits, and its SHA-256."""

    layout: str
    splits: dict[str, RawSplit]
    sha256: str


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
    content = {_text(key): value for key, value in content.items()}
    splits, layouts = {}, set()
    for name in SPLITS:
        found = [content[alias] for alias in _ALIASES[name] if alias in content]
        if not found:
            there = one_line(", ".join(sorted(content)), 80) or "nothing"
            raise BenchmarkError(f"{path} lacks the split {name!r}; it holds {there}")
        if not isinstance(found[0], dict):
            raise BenchmarkError(f"{path}: split {name!r} is a {type(found[0]).__name__}; {_UNUSABLE}")
        layout, splits[name] = _parse_split({_text(k): v for k, v in found[0].items()}, f"{path}: split {name!r}")
        layouts.add(layout)
    if len(layouts) > 1:
        raise BenchmarkError(f"{path}: its splits have different layouts; write them all alike")
    return RawFile(layouts.pop(), splits, _sha256(path))


def _parse_split(content: Mapping[str, Any], where: str) -> tuple[str, RawSplit]:
    label_key = next((key for key in ("regression_labels", "labels") if key in content), None)
    for key in (*_KEYS.values(), label_key):
        if key not in content:
            there = one_line(", ".join(sorted(content)), 120)
            wanted = "'regression_labels' or 'labels'" if key is None else repr(key)
            raise BenchmarkError(f"{where} lacks {wanted}; it holds {there}; {_UNUSABLE}")
    assert label_key is not None
    features = {}
    for m, key in _KEYS.items():
        x = _numbers(content[key], f"{where}, {key}")
        if x.ndim == 2:
            x = x[:, None, :]  # (N, d): one frame an utterance
        if x.ndim != 3:
            raise BenchmarkError(f"{where}, {key}: shape {x.shape} where (samples, frames, features) is expected")
        features[m] = x
    lengths = {}
    for m, key in _KEYS.items():
        if f"{key}_lengths" in content:
            told = _numbers(content[f"{key}_lengths"], f"{where}, {key}_lengths").reshape(-1)
            if not np.array_equal(told, np.round(np.nan_to_num(told.astype(float)))):
                raise BenchmarkError(f"{where}, {key}_lengths: holds what is no whole number; leave the lengths out")
            lengths[m] = told.astype(np.int64)
    bert = content.get("text_bert")
    if "l" not in lengths and isinstance(bert, np.ndarray) and bert.ndim == 3 and bert.shape[1] == 3:
        mask = bert[:, 1]  # token ids, attention mask, segment ids
        if mask.shape == features["l"].shape[:2] and bert.dtype.kind in "biuf" and np.isin(mask, (0, 1)).all():
            lengths["l"] = mask.astype(np.int64).sum(1)
    labels = _numbers(content[label_key], f"{where}, {label_key}")
    if labels.ndim == 0:
        raise BenchmarkError(f"{where}, {label_key}: one number where one a sample is expected")
    mmsa = label_key == "regression_labels"
    aligned = len({x.shape[1] for x in features.values()}) == 1
    layout = f"{'MMSA' if mmsa else 'MulT'}, {'word-aligned' if aligned else 'unaligned'}"
    return layout, RawSplit(features, lengths, labels, _ids(content.get("id"), f"{where}, id"))


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
        raise BenchmarkError(f"{where}: no array of numbers (rows of different length, or text); mend it") from error
    if array.dtype.kind not in "biuf":
        raise BenchmarkError(f"{where}: holds {array.dtype} where numbers are expected; mend it")
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
        With ``source="file"``; `warnings` tells what was mended.

    Raises
    ------
    BenchmarkError
        If the file cannot be used: one line that says what is wrong, where, and how to mend it.
    """
    raw = parse(path)
    kind = "emotion" if task == "iemocap" else "sentiment"
    warnings: list[str] = []
    splits = {name: _split(raw.splits[name], name, kind, path, warnings) for name in SPLITS}
    if faults := width_faults(raw):
        raise BenchmarkError(f"{path}: {faults[0]}")
    warnings += overlaps({name: split.ids.tolist() for name, split in splits.items()})
    if kind == "emotion":
        warnings += [f"{path.name}: {doubt}" for doubt in order_doubts(raw.splits["test"].labels)]
    return Dataset(
        name=task,
        source="file",
        kind=kind,
        categories=EMOTIONS if kind == "emotion" else SENTIMENT_CATEGORIES,
        splits=standardise(splits),
        fingerprint="file-" + hashlib.sha256(f"{raw.sha256}:{READER_VERSION}".encode()).hexdigest()[:16],
        origin=f"{path.name}, {raw.layout}",
        warnings=tuple(warnings),
    )


def _split(raw: RawSplit, name: str, kind: str, path: Path, warnings: list[str]) -> Split:
    faults = check(raw, name, kind)
    if faults:
        raise BenchmarkError(f"{path}: {faults[0]}")
    n = len(raw.labels)
    extents = frame_extents(raw)
    features, lengths = {}, {}
    for m in MODALITIES:
        x = raw.features[m].astype(np.float32)
        unusable = ~np.isfinite(x)
        if unusable.any():
            warnings.append(
                f"{path.name}: {int(unusable.sum())} NaN or infinite numbers in {MODALITY_NAMES[m]} of {name!r}, in "
                f"{int(unusable.any((1, 2)).sum())} samples, set to 0"
            )
            x[unusable] = 0.0
        start, stop = extents[m]
        features[m], lengths[m] = _moved_to_front(x, start, stop), stop - start
    ids = raw.ids
    if ids is None:
        warnings.append(
            f"{path.name}: split {name!r} has no ids; rows are numbered, so its masks depend on their order"
        )
        ids = [f"{name}-{row}" for row in range(n)]
    unique = unique_ids(ids)
    if unique != ids:
        repeated = sum(a != b for a, b in zip(unique, ids, strict=True))
        warnings.append(f"{path.name}: {repeated} ids of {name!r} stand there already; numbered (#2, #3, …)")
    return Split(np.array(unique), features, lengths, category_or_intensity(raw.labels, kind))


def check(raw: RawSplit, name: str, kind: str) -> list[str]:
    """The faults for which a split is refused, one line each; empty where it can be used."""
    counts = {MODALITY_NAMES[m]: len(x) for m, x in raw.features.items()} | {"labels": len(raw.labels)}
    counts |= {f"{MODALITY_NAMES[m]} lengths": len(x) for m, x in raw.lengths.items()}
    if raw.ids is not None:
        counts["ids"] = len(raw.ids)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        return [f"split {name!r} has differing sample counts: {told}; remove the samples that are not in all of them"]
    if len(raw.labels) == 0:
        return [f"split {name!r} is empty"]
    faults = []
    for m, x in raw.features.items():
        if 0 in x.shape:
            faults.append(f"split {name!r}, {MODALITY_NAMES[m]}: shape {x.shape} holds nothing")
        if m in raw.lengths:
            wrong = (raw.lengths[m] < 0) | (raw.lengths[m] > x.shape[1])
            if wrong.any():
                faults.append(
                    f"split {name!r}, {MODALITY_NAMES[m]} lengths: {int(wrong.sum())} outside 0 to {x.shape[1]}, the "
                    f"first in row {int(wrong.argmax())}; correct them or leave the lengths out"
                )
    return faults + label_faults(raw.labels, name, kind)


def width_faults(raw: RawFile) -> list[str]:
    """The modalities that are not equally wide in all splits, one line each."""
    faults = []
    for m in MODALITIES:
        widths = {name: split.features[m].shape[2] for name, split in raw.splits.items()}
        if len(set(widths.values())) > 1:
            told = ", ".join(f"{width} in {name!r}" for name, width in widths.items())
            faults.append(
                f"{MODALITY_NAMES[m]} has different numbers of features by split: {told}; write them all alike"
            )
    return faults


def label_faults(labels: NDArray[np.generic], name: str, kind: str) -> list[str]:
    """What is wrong with a split's labels."""
    unusable = ~np.isfinite(labels.astype(np.float32))
    if unusable.any():
        rows = unusable.reshape(len(labels), -1).any(1)
        return [
            f"split {name!r}: {int(rows.sum())} labels are NaN or infinite, the first in row {int(rows.argmax())}; "
            "remove these samples"
        ]
    if kind == "sentiment":
        if labels.size != len(labels):
            return [f"split {name!r}: labels of shape {labels.shape} where one number a sample is expected"]
        return []
    if labels.shape[1:] not in ((4,), (4, 2)):
        return [f"split {name!r}: labels of shape {labels.shape} where (samples, 4) or (samples, 4, 2) is expected"]
    wrong = emotion_marks(labels).sum(1) != 1
    if wrong.any():
        return [
            f"split {name!r}: {int(wrong.sum())} samples do not show exactly one emotion, the first in row "
            f"{int(wrong.argmax())}; remove them, the task has one category a sample"
        ]
    return []


def emotion_marks(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which emotions a sample shows, (N, 4), in the order of `EMOTIONS`.

    Parameters
    ----------
    labels : ndarray, shape (N, 4) or (N, 4, 2)
        As in the file, (N, 4, 2) with [not shown, shown] for each. The columns are neutral, happy, sad, angry: the file
        does not name them, but MulT's official code does (github.com/yaohungt/Multimodal-Transformer,
        ``src/eval_metrics.py``, ``eval_iemocap``).
    """
    numbers = labels.astype(np.float64)
    shown = numbers[:, :, 1] > numbers[:, :, 0] if labels.ndim == 3 else numbers > 0
    return shown[:, [_COLUMNS.index(emotion) for emotion in EMOTIONS]]


def order_doubts(labels: NDArray[np.generic]) -> list[str]:
    """One line if the emotions of a test split are as many as in MulT's file, but in columns ordered as `EMOTIONS`."""
    found = dict(zip(EMOTIONS, emotion_marks(labels).sum(0).tolist(), strict=True))
    if [found[emotion] for emotion in _COLUMNS] != [EMOTIONS_IN_TEST[emotion] for emotion in EMOTIONS]:
        return []
    return [
        f"the columns of its labels are read as {', '.join(_COLUMNS)}, but the counts of 'test' say that they are "
        f"{', '.join(EMOTIONS)}: scores by emotion bear wrong names until you put the columns in the first order"
    ]


def category_or_intensity(labels: NDArray[np.generic], kind: str) -> NDArray[np.generic]:
    """Checked labels as :class:`benchmark.data.dataset.Split` wants them, shape (N,)."""
    if kind == "emotion":
        return emotion_marks(labels).argmax(1).astype(np.int64)
    return labels.reshape(len(labels)).astype(np.float32)


def frame_extents(raw: RawSplit) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """First real frame and the one after the last, by modality, (N,) each.

    From the file's lengths where it has them. Otherwise padding is what is all zero before the first and behind the
    last frame that is not; where frames of all modalities belong to the same words (equal numbers of frames), a frame
    is real if any modality says so.
    """
    extents = {}
    for m, x in raw.features.items():
        if m in raw.lengths:
            extents[m] = (np.zeros(len(x), dtype=np.int64), raw.lengths[m])
            continue
        filled = (x != 0).any(2)  # (N, T); NaN is not zero, so it is no padding
        start = filled.argmax(1)
        stop = np.where(filled.any(1), filled.shape[1] - filled[:, ::-1].argmax(1), start)
        extents[m] = (start.astype(np.int64), stop.astype(np.int64))
    detected = [m for m in raw.features if m not in raw.lengths]
    if len({x.shape[:2] for x in raw.features.values()}) == 1 and raw.features["l"].shape[1] > 1:
        if "l" in raw.lengths:  # the words' lengths hold for what is aligned to them
            extents |= dict.fromkeys(detected, extents["l"])
        elif len(detected) == len(MODALITIES):
            empty = {m: extents[m][0] == extents[m][1] for m in detected}
            longest = raw.features["l"].shape[1]
            start = np.min([np.where(empty[m], longest, extents[m][0]) for m in detected], axis=0)
            stop = np.max([np.where(empty[m], 0, extents[m][1]) for m in detected], axis=0)
            extents = dict.fromkeys(detected, (np.minimum(start, stop), stop))
    return extents


def _moved_to_front(x: NDArray[np.float32], start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float32]:
    """Real frames first, zeros behind, cut to the longest sample: (N, T, d) → (N, longest, d)."""
    longest = max(1, int((stop - start).max()))
    position = start[:, None] + np.arange(longest)[None, :]  # (N, longest)
    moved = np.take_along_axis(x, np.minimum(position, x.shape[1] - 1)[:, :, None], axis=1)
    moved[position >= stop[:, None]] = 0.0
    return moved


def unique_ids(ids: list[str]) -> list[str]:
    """An id that stands there already gets ``#2``, ``#3``, …."""
    seen: dict[str, int] = {}
    taken = set(ids)
    result = []
    for sample_id in ids:
        unique = sample_id
        while sample_id in seen and unique in taken:
            seen[sample_id] += 1
            unique = f"{sample_id}#{seen[sample_id]}"
        seen.setdefault(sample_id, 1)
        taken.add(unique)
        result.append(unique)
    return result


def overlaps(ids: Mapping[str, list[str]]) -> list[str]:
    """One line for each two splits that share ids."""
    found = []
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        both = sorted(set(ids[first]) & set(ids[second]))
        if both:
            found.append(f"{len(both)} ids stand in both {first!r} and {second!r}, for instance {both[0]!r}")
    return found
