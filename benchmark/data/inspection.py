"""``--inspect FILE``: what a data file holds, and which faults it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.checks import Examined, examine, overlaps, unique_ids, usable_features
from benchmark.data.dataset import EMOTIONS, SPLITS
from benchmark.data.formats import parse, task_of, warning_lines
from benchmark.data.frames import describe_padding
from benchmark.data.labels import EMOTIONS_IN_TEST, STRONGEST, emotion_marks, kind_of, kind_of_labels
from benchmark.data.raw import RawFile, RawSplit
from benchmark.errors import one_line
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES


@np.errstate(all="ignore")
def inspect_file(path: Path) -> str:
    """Describe a data file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    str
        Layout, SHA-256; for each split samples, shapes, lengths and the side of the padding, NaN and infinite numbers,
        constant features, labels; ids that stand twice; how many samples of each emotion MulT's file has; the warnings
        that :func:`benchmark.data.formats.read_dataset` gives, each after ``warning:``; and at the end every fault for
        which it refuses the file.

    Raises
    ------
    BenchmarkError
        If the file cannot be taken apart at all.
    """
    raw = parse(path)
    task = task_of(path)
    kind = kind_of_labels(raw.splits["train"].labels) if task is None else kind_of(task)
    found = examine(raw, kind)
    size = path.stat().st_size / 2**20
    lines = [f"{path.name}: {size:.1f} MiB, layout {raw.layout}, SHA-256 {raw.sha256}"]
    for name in SPLITS:
        split = raw.splits[name]
        lines += ["", f"{name}: {len(split.labels)} samples"]
        lines += [f"  {text}" for m in MODALITIES for text in _modality(split, m, found, name)]
        lines += [f"  labels    {text}" for text in _labels(split.labels, kind)]
    lines += ["", *_ids(raw)]
    if kind == "emotion" and not found.faults:
        expected = ", ".join(f"{count} {name}" for name, count in EMOTIONS_IN_TEST.items())
        lines += ["", f"emotions: MulT's own file holds {expected} in 'test'"]
    lines += ["", *(f"warning: {text}" for text in warning_lines(path, found.warnings))]
    if found.faults:
        count = f"{len(found.faults)} {'fault' if len(found.faults) == 1 else 'faults'}"
        lines += [f"{count} for which the file is refused:", *(f"  {fault}" for fault in found.faults)]
    else:
        lines.append(f"no fault; can be used as {'iemocap' if kind == 'emotion' else 'mosi or mosei'}")
    return "\n".join(lines)


def _modality(split: RawSplit, m: str, found: Examined, name: str) -> list[str]:
    x = split.features[m]
    label = f"{MODALITY_NAMES[m]:<9}"
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


def _labels(labels: NDArray[np.generic], kind: str) -> list[str]:
    shape = " x ".join(map(str, labels.shape))
    if kind == "emotion" and labels.shape[1:] in ((4,), (4, 2)):
        marks = emotion_marks(labels)
        counts = ", ".join(f"{count} {name}" for name, count in zip(EMOTIONS, marks.sum(0), strict=True))
        none, several = int((marks.sum(1) == 0).sum()), int((marks.sum(1) > 1).sum())
        return [f"{shape}: {counts}; {none} with none, {several} with several"]
    flat = labels.astype(np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    if len(finite) == 0:
        return [f"{shape}: no number"]
    lines = [
        f"{shape}: {finite.min():g} to {finite.max():g}, {len(np.unique(finite))} distinct; {int((finite < 0).sum())} "
        f"negative, {int((finite == 0).sum())} zero, {int((finite > 0).sum())} positive"
        + (f", {len(flat) - len(finite)} NaN or infinite" if len(finite) < len(flat) else "")
    ]
    if np.abs(finite).max() > STRONGEST:
        lines.append("labels beyond -3 to 3: is this a sentiment task?")
    rounded = np.clip(np.round(finite), -3, 3)
    if len(np.unique(finite)) > 2:
        lines.append("rounded: " + ", ".join(f"{k:+d}: {int((rounded == k).sum())}" for k in range(-3, 4)))
    return lines


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
