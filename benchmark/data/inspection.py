"""``--inspect FILE``: what a data file holds, which tasks it fits, and why it does not fit the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.data.checks import Examined, Survey, examine, overlaps, unique_ids, usable_features
from benchmark.data.formats import Content, named_only, open_file, parse, warning_lines
from benchmark.data.frames import describe_padding
from benchmark.data.labels import EMOTIONS_IN_TEST, category_marks
from benchmark.data.raw import RawFile, RawSplit
from benchmark.data.task import SPLITS, Task, known_tasks
from benchmark.errors import BenchmarkError, one_line
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES
from benchmark.protocol.target import CATEGORY

_SUFFIXES = (".pkl", ".npz", ".h5", ".hdf5")
_REASON = 240  # characters
_MOST_TEXTS = 10  # labels that are counted one by one


@dataclass(frozen=True)
class _Judged:
    """A file as one task takes it: apart, and examined; or the one line that says why it cannot be taken apart."""

    task: Task
    raw: RawFile | None
    found: Examined
    refusal: str = ""

    @property
    def fault(self) -> str:
        """Why it does not fit; empty if it does."""
        return self.refusal or next(iter(self.found.faults), "")


class Inspection(NamedTuple):
    """What was found: the text to print, and whether each file can be used as the task that it is described as."""

    text: str
    fits: bool


def inspect_file(path: Path, tasks: Sequence[Task] = ()) -> Inspection:
    """Describe a data file, or those in a folder.

    Parameters
    ----------
    path : Path
        If it is a folder: its files under the names of the tasks, and all others that end as data files do; also those
        in its folders that bear a data set's name, and in their ``Processed``.
    tasks : sequence of Task
        Of the person's own, beside those that come with the benchmark.

    Returns
    -------
    Inspection
        The text tells of a file its layout and SHA-256; for each split samples, shapes, lengths and the side of the
        padding, NaN and infinite numbers, constant features, labels; ids that stand twice; the warnings that
        :func:`benchmark.data.formats.read_dataset` gives, each after ``warning:``; every fault for which it is refused,
        if it fits none of `tasks` or else of those that its name tells; the tasks that it fits, and why not the others.
        It `fits` if there is no such fault; a folder does if all its files do.

    Raises
    ------
    BenchmarkError
        If the file cannot be taken apart at all, or the folder has no data file.
    """
    every = list({task.name: task for task in (*tasks, *known_tasks().values())}.values())
    if not path.is_dir():
        return _file(path, path.name, every, tasks)
    each = []
    for found in data_files(path, every):
        name = found.relative_to(path).as_posix()
        try:
            each.append(_file(found, name, every, tasks))
        except BenchmarkError as error:
            each.append(Inspection(f"{name}: cannot be used\n{error}", fits=False))
    if not each:
        ends = ", ".join(_SUFFIXES)
        raise BenchmarkError(f"no data file in {path}; those end in {ends}, or have a name that docs/data.md lists")
    return Inspection("\n\n".join(one.text for one in each), all(one.fits for one in each))


def data_files(folder: Path, tasks: Sequence[Task]) -> list[Path]:
    """The files of a folder that could be data files.

    Parameters
    ----------
    folder : Path
    tasks : sequence of Task
        Whose data sets may have a folder in it.

    Raises
    ------
    BenchmarkError
        If it cannot be read.
    """
    data_sets, names = {task.data_set for task in tasks}, {name for task in tasks for name in task.file_names}
    try:
        folders = [folder, *(p for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in data_sets)]
        folders += [inner / "Processed" for inner in folders if (inner / "Processed").is_dir()]
        every = [path for inner in sorted(folders) for path in sorted(inner.iterdir())]
    except OSError as error:
        raise BenchmarkError(f"cannot read the data folder {folder}: {error.strerror}") from error
    return [path for path in every if (path.suffix.lower() in _SUFFIXES or path.name in names) and path.is_file()]


@np.errstate(all="ignore")
def _file(path: Path, name: str, every: Sequence[Task], own: Sequence[Task]) -> Inspection:
    content = open_file(path, list(dict.fromkeys(task.keys for task in every)))
    judged = _judge(content, every)
    subject = _subject(judged, path, own)
    raw, found, task = subject.raw, subject.found, subject.task
    if raw is None:
        raise BenchmarkError(subject.refusal)
    size = path.stat().st_size / 2**20
    lines = [f"{name}: {size:.1f} MiB, layout {raw.layout}, SHA-256 {raw.sha256}"]
    for split_name in SPLITS:
        split = raw.splits[split_name]
        lines += ["", f"{split_name}: {len(split.labels)} samples"]
        lines += [f"  {text}" for m in MODALITIES for text in _modality(split, m, found, split_name)]
        lines += [f"  labels    {text}" for text in _labels(split.labels, task)]
    lines += ["", *_ids(raw)]
    if task.target.columns and sorted(task.target.names) == sorted(EMOTIONS_IN_TEST) and not found.faults:
        expected = ", ".join(f"{count} {emotion}" for emotion, count in EMOTIONS_IN_TEST.items())
        lines += ["", f"emotions: MulT's own file holds {expected} in 'test'"]
    lines += ["", *(f"warning: {text}" for text in warning_lines(path, found.warnings))]
    if found.faults:
        count = f"{len(found.faults)} {'fault' if len(found.faults) == 1 else 'faults'}"
        lines += [f"{count} for which the file is refused as {task.name}:", *(f"  {fault}" for fault in found.faults)]
    return Inspection("\n".join([*lines, *_fits(judged, path)]), not subject.fault)


def _judge(content: Content, tasks: Sequence[Task]) -> list[_Judged]:
    """What each task makes of a file, which is taken apart once for all tasks with the same keys."""
    apart: dict[tuple[str, str], RawFile | BenchmarkError] = {}
    surveys: dict[tuple[str, str], Survey] = {}
    judged = []
    for task in tasks:
        keys = task.keys if isinstance(content.value, list | tuple) else named_only(task.keys)
        place = (keys.model_dump_json(), task.modalities)
        if place not in apart:
            try:
                apart[place] = parse(content.path, keys, task.modalities, content)
            except BenchmarkError as error:
                apart[place] = error
        raw = apart[place]
        if isinstance(raw, BenchmarkError):
            judged.append(_Judged(task, None, Examined(), str(raw)))
            continue
        if place not in surveys:
            surveys[place] = Survey(raw)
        judged.append(_Judged(task, raw, examine(raw, task, surveys[place])))
    return judged


def _subject(judged: Sequence[_Judged], path: Path, own: Sequence[Task]) -> _Judged:
    """The task as which a file is described: the first that it fits, of those that its name tells if there are any."""
    asked = {task.name for task in own}
    for group in (
        [one for one in judged if one.task.name in asked],
        [one for one in judged if path.name in one.task.file_names],
    ):
        if group:
            return next((one for one in group if not one.fault), next((one for one in group if one.raw), group[0]))
    apart = [one for one in judged if one.raw is not None] or list(judged)
    return min(apart, key=lambda one: (len(one.found.faults), len(one.found.warnings)))


def _fits(judged: Sequence[_Judged], path: Path) -> list[str]:
    fitting = [one.task.name for one in judged if not one.fault]
    reasons: dict[str, list[str]] = {}
    for one in judged:
        if one.fault:
            reason = one.fault.removeprefix(str(path)).lstrip(":, ")
            reasons.setdefault(one_line(reason, _REASON), []).append(one.task.name)
    told = f"fits: {', '.join(fitting)}" if fitting else "fits no task; docs/own-data.md shows how to write one"
    return [told, *(f"does not fit {', '.join(names)}: {reason}" for reason, names in reasons.items())]


def _modality(split: RawSplit, m: str, found: Examined, name: str) -> list[str]:
    x = split.features[m]
    label = f"{MODALITY_NAMES[m]:<9}"
    if m in split.absent:
        return [f"{label} none"]
    lines = [f"{label} {' x '.join(map(str, x.shape))} (samples x frames x features), {x.dtype}"]
    if x.size == 0:
        return lines
    if name in found.extents:
        extent = found.extents[name][m]
        lengths = extent.stop - extent.start
        how = ["told by the file" if extent.told else "found from zeros", describe_padding(extent, x.shape[1])]
        lines.append(
            f"{'':<9} lengths {lengths.min()} to {lengths.max()}, median {np.median(lengths):g} "
            f"({', '.join(filter(None, how))})"
            + (f", {int((lengths == 0).sum())} samples without a frame" if (lengths == 0).any() else "")
        )
    lines += [f"{'':<9} {text}" for text in _unusable(x, split.ids)]
    flat = x.reshape(-1, x.shape[2])
    constant = np.flatnonzero((flat == flat[:1]).all(0))
    if len(constant):
        first = ", ".join(map(str, constant[:5])) + (", …" if len(constant) > 5 else "")
        lines.append(f"{'':<9} {len(constant)} constant {'feature' if len(constant) == 1 else 'features'} ({first})")
    return lines


def _unusable(x: NDArray[np.generic], ids: list[str] | None) -> list[str]:
    found = []
    _, unusable = usable_features(x)
    if not unusable.any():
        return []
    finite = np.isfinite(x)
    kinds = {
        "NaN": np.isnan(x),
        "infinite numbers": np.isinf(x),
        "numbers beyond float32": unusable & finite,
    }
    for what, where in kinds.items():
        if where.any():
            rows, frames = where.any((1, 2)), where.any(2)
            first = int(rows.argmax())
            name = one_line(ids[first]) if ids is not None and first < len(ids) else f"row {first}"
            found.append(
                f"{int(where.sum())} {what} in {int(frames.sum())} frames of {int(rows.sum())} samples, first {name}, "
                f"feature {int(where[first].any(0).argmax())}"
            )
    return found


def _labels(labels: NDArray[np.generic], task: Task) -> list[str]:
    shape = " x ".join(map(str, labels.shape))
    target = task.target
    lines = [f"{shape}: {_texts(labels) if labels.dtype.kind in 'SU' else _numbers(labels)}"]
    width = len(target.names)
    marks = labels.dtype.kind not in "SU" and labels.shape[1:] in ((width,), (width, 2))
    if target.kind == CATEGORY and (marks or labels.size == len(labels) > 0):
        shown = category_marks(labels, task)
        counts = ", ".join(f"{count} {name}" for name, count in zip(target.names, shown.sum(0), strict=True))
        none, several = int((shown.sum(1) == 0).sum()), int((shown.sum(1) > 1).sum())
        told = f"{counts}; {none} with none, {several} with several"
        return [f"{shape}: {told}"] if marks else [*lines, f"as {task.name}: {counts}; {none} of none"]
    if target.kind == CATEGORY or labels.dtype.kind in "SU":
        return lines
    numbers = labels.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    low, high = target.range
    if ((finite < low) | (finite > high)).any():
        lines.append(f"labels beyond {low:g} to {high:g}: is this a sentiment task?")
    if [low, high] == [-3, 3] and len(np.unique(finite)) > 2:
        rounded = np.clip(np.round(finite), -3, 3)
        lines.append("rounded: " + ", ".join(f"{k:+d}: {int((rounded == k).sum())}" for k in range(-3, 4)))
    return lines


def _numbers(labels: NDArray[np.generic]) -> str:
    numbers = labels.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    if len(finite) == 0:
        return "no number"
    return (
        f"{finite.min():g} to {finite.max():g}, {len(np.unique(finite))} distinct; {int((finite < 0).sum())} negative, "
        f"{int((finite == 0).sum())} zero, {int((finite > 0).sum())} positive"
        + (f", {len(numbers) - len(finite)} NaN or infinite" if len(finite) < len(numbers) else "")
    )


def _texts(labels: NDArray[np.generic]) -> str:
    texts, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_TEXTS]
    shown = ", ".join(f"{counts[place]} {one_line(repr(str(texts[place])), 40)}" for place in order)
    return f"text, {len(texts)} distinct: {shown}{', …' if len(texts) > _MOST_TEXTS else ''}"


def _ids(raw: RawFile) -> list[str]:
    lines = []
    for name, split in raw.splits.items():
        if split.ids is None:
            lines.append(f"ids: none in {name!r}")
        elif (repeated := sum(a != b for a, b in zip(unique_ids(split.ids), split.ids, strict=True))) > 0:
            lines.append(f"ids: {repeated} of {name!r} stand there already")
    known = {name: split.ids or [] for name, split in raw.splits.items()}
    shared = overlaps(known)
    lines += [f"ids: {line}" for line in shared] or ["ids: none stands in two splits"]
    return lines
