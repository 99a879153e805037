"""What is wrong or odd in a data file: the one judgement that reading it and ``--inspect`` share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.frames import Extent, frame_extents
from benchmark.data.labels import are_multiples, label_faults, label_warnings, order_doubts
from benchmark.data.raw import RawFile, RawSplit
from benchmark.data.task import Known, Task, known_tasks
from benchmark.errors import one_line
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES
from benchmark.protocol.target import CATEGORY

_LEAST_TOKEN = 30  # where whole numbers reach this, they are no counts of one utterance and no marks
_LEAST_PADDING = -100  # token ids may be padded with one number below 0
_WIDE = 10_000  # numbers in the one frame of a sample; the largest sets of functionals have 7,000


@dataclass
class Examined:
    """What came of examining a file.

    Parameters
    ----------
    faults : list of str
        Those for which it is refused, the worst first, one line each.
    warnings : list of str
        What is mended or looks odd, one line each; where there are faults, only what can be said all the same.
    extents : dict of split name to dict of modality to Extent
        For the splits whose arrays fit each other.
    ids : dict of split name to list of str
        As the file has them, or the rows' numbers.
    """

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    extents: dict[str, dict[str, Extent]] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)


class Survey:
    """What can be said of a file whatever it is used for, so that several tasks can be judged by one look at it.

    Parameters
    ----------
    raw : RawFile
    """

    def __init__(self, raw: RawFile) -> None:
        self.raw = raw
        self.ids: dict[str, list[str]] = {}
        self.extents: dict[str, dict[str, Extent]] = {}
        self.faults: dict[str, list[str]] = {}
        self.warnings: dict[str, list[str]] = {}
        self.broken: set[str] = set()  # the splits of whose labels nothing can be said
        for name, split in raw.splits.items():
            self.ids[name] = [f"{name}-{row}" for row in range(len(split.labels))] if split.ids is None else split.ids
            self.warnings[name] = []
            faults = self.faults[name] = _structure_faults(split, name)
            if faults:
                self.broken.add(name)
                continue
            faults += _token_faults(split, name) or _axes_faults(split, name)
            if not faults:
                faults += _length_faults(split, name)
                extents = self.extents[name] = frame_extents(split)
                for m in MODALITIES:
                    self.warnings[name] += _feature_warnings(split, m, extents[m], name)
        self.widths = _width_faults(raw)

    @cached_property
    def odd(self) -> list[str]:
        """Warnings of a file that has no fault."""
        return _silent_modalities(self.raw) + copies(self.raw.splits, self.ids)

    @cached_property
    def shared(self) -> list[str]:
        """Warnings of ids in two splits."""
        return overlaps({name: unique_ids(ids) for name, ids in self.ids.items()})


def examine(raw: RawFile, task: Task, survey: Survey | None = None) -> Examined:
    """Find all faults and oddities.

    Parameters
    ----------
    raw : RawFile
    task : Task
        That it is to be used for.
    survey : Survey, optional
        Of that file, if there is one already.
    """
    survey = survey or Survey(raw)
    found = Examined(warnings=list(raw.remarks), extents=survey.extents, ids=survey.ids)
    doubts = []
    for name, split in raw.splits.items():
        found.faults += survey.faults[name]
        found.warnings += survey.warnings[name]
        if name not in survey.broken:
            wrong = label_faults(split.labels, name, task)
            found.faults += wrong
            if not wrong:
                found.warnings += label_warnings(split.labels, name, task)
                doubts += order_doubts(split.labels, task) if task.target.kind == CATEGORY and name == "test" else []
        found.warnings += _id_warnings(split.ids, name)
    found.faults += survey.widths
    if not found.faults and (fault := _of_another(raw, found.ids, task)):
        found.faults.append(fault)
    if not found.faults:
        found.warnings += survey.odd
    found.warnings += survey.shared
    found.warnings += doubts
    return found


# --- Faults -----------------------------------------------------------------------------------------------------------


def _of_another(raw: RawFile, ids: Mapping[str, list[str]], task: Task) -> str:
    """Why a file is another data set's, told from its sizes, the grid of its labels or its ids; else empty.

    A task of a person's own that does not say what its files look like takes any.
    """
    if task.known == Known() and task.name not in known_tasks():
        return ""
    sizes = [len(split.labels) for split in raw.splits.values()]
    labels = [split.labels for split in raw.splits.values()]
    every = [sample_id for own in ids.values() for sample_id in own]
    numbers = task.target.kind != CATEGORY

    def surely(other: Task) -> list[str]:
        known = other.known
        found = []
        if known.samples and sizes == known.samples:
            found.append(f"its splits have {', '.join(map(str, sizes))} samples")
        if known.ids is not None and every and all(re.fullmatch(known.ids, sample_id) for sample_id in every):
            found.append("its ids are written so")
        return found

    def likely(other: Task) -> list[str]:
        grid = other.known.grid
        if grid is None or not numbers or other.target.kind == CATEGORY or not are_multiples(labels, grid):
            return []
        return [f"its labels are multiples of {grid:.3g}, and not of {task.known.grid:.3g}"]

    for signs in (surely, likely):
        if signs(task) or (signs is likely and task.known.grid is None):
            return ""
        for other in known_tasks().values():
            if other.data_set != task.data_set and (why := signs(other)):
                return (
                    f"this looks like {other.title}, not {task.title}: {' and '.join(why)}; ask for task "
                    f"{other.name!r}, or write a task file of your own if it is other data"
                )
    return ""


def _structure_faults(raw: RawSplit, name: str) -> list[str]:
    """Why nothing more can be said of a split."""
    there = [m for m in MODALITIES if m not in raw.absent]
    counts = {MODALITY_NAMES[m]: len(raw.features[m]) for m in there} | {"labels": len(raw.labels)}
    counts |= {f"{MODALITY_NAMES[m]} lengths": len(raw.lengths[m]) for m in there if m in raw.lengths}
    if raw.ids is not None:
        counts["ids"] = len(raw.ids)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        return [f"split {name!r} has differing sample counts: {told}; remove the samples that are not in all of them"]
    if len(raw.labels) == 0:
        return [f"split {name!r} is empty; it must hold samples"]
    return [
        f"split {name!r}, {MODALITY_NAMES[m]}: shape {x.shape} holds nothing; write features, or one of zeros"
        for m, x in raw.features.items()
        if 0 in x.shape
    ]


def _length_faults(raw: RawSplit, name: str) -> list[str]:
    faults = []
    for m, lengths in raw.lengths.items():
        num_frames = raw.features[m].shape[1]
        wrong = (lengths < 0) | (lengths > num_frames)
        if wrong.any():
            faults.append(
                f"split {name!r}, {MODALITY_NAMES[m]} lengths: {int(wrong.sum())} outside 0 to {num_frames}, the "
                f"first in row {int(wrong.argmax())}; correct them or leave the lengths out"
            )
    if raw.mask is not None:
        faults += _mask_faults(raw.mask, raw.features["l"], name)
    return faults


def _runs(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of runs in each row, (N, T) → (N,)."""
    return (marks[:, 0] + (marks[:, 1:] & ~marks[:, :-1]).sum(1)).astype(np.int64)


def _mask_faults(mask: NDArray[np.bool_], text: NDArray[np.generic], name: str) -> list[str]:
    broken = _runs(mask) > 1
    if broken.any():
        return [
            f"split {name!r}, text_bert: the attention mask is more than one run of ones in {int(broken.sum())} "
            f"samples, the first in row {int(broken.argmax())}; correct it, or tell text_lengths"
        ]
    if not mask.any() and (text != 0).any():
        return [
            f"split {name!r}, text_bert: the attention mask has not a single one, so that language would be empty; its "
            "three rows must be token ids, mask and segments, in this order"
        ]
    return []


def _token_faults(raw: RawSplit, name: str) -> list[str]:
    """Text as token ids: one number a token, or ids with their attention mask and segments."""
    if "l" in raw.absent:
        return []
    x = raw.features["l"]
    flat = "l" in raw.flat
    shape = (x.shape[0], x.shape[2]) if flat else x.shape
    found = 1 in x.shape[1:] and _are_token_ids(x, 2 if flat and x.dtype.kind in "iu" else _LEAST_TOKEN)
    for axis in (1, 2):
        if not found and x.shape[axis] in (2, 3):
            ids, *others = np.moveaxis(x, axis, 0)  # each (N, T)
            marks = all(((other == 0) | (other == 1)).all() for other in others)
            surely = len(others) == 2 and (_runs(others[0] == 1) == 1).all() and not others[1].any()
            found = marks and _are_token_ids(ids, 2 if surely else _LEAST_TOKEN)
    if not found:
        return []
    advice = (
        "write what a language model makes of them, such as BERT's last hidden states, as (samples, frames, features)"
    )
    if raw.others:
        names = one_line(", ".join(map(repr, raw.others)))
        advice += f", or name other features of language, {names}, with keys: {{language: …}} in a task file"
    if flat and x.dtype.kind in "iu":
        advice += "; if they are counts, write them as floating-point numbers"
    what = one_line(raw.names["l"])
    return [f"split {name!r}, {what}: whole numbers of shape {shape} are token ids, not features; {advice}"]


def _are_token_ids(ids: NDArray[np.generic], least: int) -> bool:
    """Whether numbers are whole, reach `least`, and are at most padded with one number below 0."""
    numbers = ids.astype(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size or numbers.max() < least or (numbers != np.round(numbers)).any():
        return False
    below = numbers[numbers < 0]
    return not below.size or bool(below.min() == below.max() >= _LEAST_PADDING)


def _axes_faults(raw: RawSplit, name: str) -> list[str]:
    """Features whose last two axes are exchanged: what looks like padding stands along the last one."""
    turned = {m: _looks_turned(x) for m, x in raw.features.items() if m not in raw.absent}
    likely = [MODALITY_NAMES[m] for m, found in turned.items() if found]
    if len(likely) < 2 and "surely" not in turned.values():
        return []
    return [
        f"split {name!r}: features of {', '.join(likely)} look like (samples, features, frames), for the zeros of "
        "padding stand along the last axis; exchange the last two axes"
    ]


def _looks_turned(x: NDArray[np.generic]) -> str:
    """``surely`` where no number between the padding is zero, ``likely`` where no column is; else empty."""
    if x.shape[1] < 2 or x.shape[2] < 2:
        return ""
    padded = ~((x[:, 0] != 0).any(1) & (x[:, -1] != 0).any(1))  # (N,)
    if (x[padded] != 0).any():  # there is padding along the axis of frames
        return ""
    filled = x[~padded] != 0
    columns = filled.any(1)  # (N, d)
    sizes = columns.sum(1)
    width = x.shape[2]
    first, last = columns.argmax(1), width - columns[:, ::-1].argmax(1)
    together = last - first == sizes
    at_one_end = (first == 0) | (last == width)
    if not (together & at_one_end).all() or len(np.unique(sizes)) < 2 or 2 * (sizes < width).sum() < len(x):
        return ""
    return "surely" if (filled.sum((1, 2)) == sizes * x.shape[1]).all() else "likely"


def _width_faults(raw: RawFile) -> list[str]:
    """The modalities that are not equally wide in all splits."""
    faults = []
    for m in MODALITIES:
        widths = {name: split.features[m].shape[2] for name, split in raw.splits.items()}
        if len(set(widths.values())) > 1:
            told = ", ".join(f"{width} in {name!r}" for name, width in widths.items())
            faults.append(
                f"{MODALITY_NAMES[m]} has different numbers of features by split: {told}; write them all alike"
            )
    return faults


# --- Warnings ---------------------------------------------------------------------------------------------------------


def usable_features(x: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features as float32, and which of them cannot be used: NaN, infinite, or beyond float32."""
    narrow = x.astype(np.float32, copy=False)
    return narrow, ~np.isfinite(narrow)


def _feature_warnings(raw: RawSplit, m: str, extent: Extent, name: str) -> list[str]:
    x, what = raw.features[m], MODALITY_NAMES[m]
    found = []
    unusable = usable_features(x)[1]
    if unusable.any():
        large = int((unusable & np.isfinite(x)).sum())
        kind = (
            "NaN or infinite numbers" if not large else f"NaN, infinite or too large numbers ({large} beyond float32)"
        )
        text = f"{int(unusable.sum())} {kind} in {what} of {name!r}, in {int(unusable.any((1, 2)).sum())} samples, "
        text += "set to 0"
        ends = np.isnan(x[:, [0, -1]]).all(2).any(1)  # (N,)
        if ends.any() and x.shape[1] > 1 and not extent.told:
            text += f"; in {int(ends.sum())} the first or last frame is all NaN: if this is padding, write zeros there"
        found.append(text)
    if extent.unclear.any() and not (m == "l" and raw.mask is not None):
        key = f"{raw.names[m]}_lengths" if m in raw.lengths else "the words' lengths"
        found.append(
            f"in {int(extent.unclear.sum())} samples of {name!r}, frames of {what} beyond {key} are not zero, whether "
            "counted from the front or from behind; the first ones are kept: correct the lengths or leave them out"
        )
    if not extent.told and (count := _constant_padding(x)):
        found.append(
            f"{count} samples of {name!r} begin or end with the same frame of {what} several times, which is not zero: "
            f"if this is padding, write zeros there or tell {raw.names[m]}_lengths"
        )
    if x.shape[1] == 1 and x.shape[2] > _WIDE:
        found.append(
            f"{what} of {name!r} has {x.shape[2]} numbers a sample in one frame: if these are waveforms or images, "
            "write features of their frames: (samples, frames, features)"
        )
    return found


def _constant_padding(x: NDArray[np.generic]) -> int:
    """The samples that begin or end with one and the same frame twice, if they are a quarter of all."""
    if x.shape[1] < 3:
        return 0
    for frame, next_to_it in ((x[:, -1], x[:, -2]), (x[:, 0], x[:, 1])):  # (N, d)
        twice = (frame == next_to_it).all(1) & (frame != 0).any(1)
        if twice.any():
            alike = twice & (frame == frame[twice.argmax()]).all(1)
            if alike.sum() >= max(2, len(x) / 4):
                return int(alike.sum())
    return 0


def _id_warnings(ids: list[str] | None, name: str) -> list[str]:
    if ids is None:
        return [f"split {name!r} has no ids; rows are numbered, so its masks depend on their order"]
    repeated = sum(a != b for a, b in zip(unique_ids(ids), ids, strict=True))
    return [f"{repeated} ids of {name!r} stand there already; numbered (#2, #3, …)"] if repeated else []


def _silent_modalities(raw: RawFile) -> list[str]:
    """Modalities that are nothing but zeros in a split."""
    found = []
    for m in MODALITIES:
        names = [repr(n) for n, split in raw.splits.items() if m not in split.absent and not split.features[m].any()]
        if names:
            found.append(f"{MODALITY_NAMES[m]} of {', '.join(names)} is nothing but zeros, so that it says nothing")
    return found


def copies(splits: Mapping[str, RawSplit], ids: Mapping[str, list[str]]) -> list[str]:
    """One line for each two splits that share samples, number by number, under different ids."""
    prints = {name: _fingerprints(split) for name, split in splits.items()}
    found = []
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        known = set(ids[first])
        both = sum(
            bool(x) and x in prints[first] and sample_id not in known
            for x, sample_id in zip(prints[second], ids[second], strict=True)
        )
        if both:
            found.append(f"{both} samples of {second!r} are those of {first!r} under other ids, number by number")
    return found


def _fingerprints(split: RawSplit) -> list[bytes]:
    """Of each sample's features; empty for one that is all zero."""
    arrays = [np.ascontiguousarray(x) for x in split.features.values()]
    found = []
    for row in range(len(split.labels)):
        digest = hashlib.blake2b(digest_size=16)
        for x in arrays:
            digest.update(x[row].data)
        found.append(digest.digest() if any(x[row].any() for x in arrays) else b"")
    return found


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
