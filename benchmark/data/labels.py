"""Labels as they stand in a file: what is wrong with them, and what a data set makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.data.task import Task
from benchmark.errors import one_line
from benchmark.protocol.target import CATEGORY, INTENSITY, SIGNS

EMOTIONS_IN_TEST = {"happy": 135, "sad": 193, "angry": 227, "neutral": 383}
"""Of MulT's IEMOCAP file, 938 samples."""

_ROUNDING = 1e-4
_FEW = 4  # distinct labels that are listed one by one
_LEAST_STEPS = 5  # distinct labels that an intensity has at least


def label_faults(labels: NDArray[np.generic], name: str, task: Task) -> list[str]:
    """What is wrong with a split's labels, the worst alone.

    Parameters
    ----------
    labels : ndarray, shape (N, ...)
        As in the file, N > 0.
    name : str
        The split.
    task : Task
    """
    if labels.dtype.kind in "SU":
        if task.target.kind != CATEGORY:
            first = one_line(repr(str(labels.ravel()[0])), 30)
            return [f"labels of {name!r} are text ({first}); {_wanted(task)}: write numbers"]
    elif (unusable := ~np.isfinite(labels.astype(np.float32))).any():
        rows = unusable.reshape(len(labels), -1).any(1)
        return [
            f"split {name!r}: {int(rows.sum())} labels are NaN or infinite, the first in row {int(rows.argmax())}; "
            "remove these samples"
        ]
    if task.target.kind == CATEGORY:
        return _category_faults(labels, name, task)
    if labels.size != len(labels):
        return [
            f"split {name!r}: labels of shape {labels.shape} where one number a sample is expected; write the "
            f"sentiment {_range(task)}, no marks of classes"
        ]
    return _number_faults(labels.reshape(-1), name, task)


def _range(task: Task) -> str:
    low, high = task.target.range
    return f"from {low:g} to {high:g}"


def _wanted(task: Task) -> str:
    low, high = task.target.range
    return f"a sentiment of {low:g} to {high:g} is expected"


def _number_faults(labels: NDArray[np.generic], name: str, task: Task) -> list[str]:
    wanted, below = _wanted(task), task.target.below
    low, high = task.target.range
    if labels.dtype.kind == "b":
        return [f"labels of {name!r} are true or false; {wanted}: recode them, false to -1 and true to 1"]
    numbers = labels.astype(np.float64)
    beyond = (numbers < low - _ROUNDING) | (numbers > high + _ROUNDING)
    if beyond.any():
        return [
            f"labels of {name!r} are {_listed(numbers)}, {int(beyond.sum())} of them beyond {low:g} to {high:g}, the "
            f"first in row {int(beyond.argmax())}; {wanted}: {_advice(numbers, task)}"
        ]
    if task.target.kind == INTENSITY:
        steps = len(np.unique(numbers))
        if low < 0 <= numbers.min():
            return [
                f"labels of {name!r} are {_listed(numbers)}, none below 0, so that a sign says nothing; {wanted}: "
                f"{_advice(numbers, task)}"
            ]
        if steps < _LEAST_STEPS and len(numbers) >= 2 * _LEAST_STEPS:
            return [
                f"labels of {name!r} are {_listed(numbers)}: {steps} distinct {'ones are' if steps > 1 else 'one is'} "
                "no intensity; choose a task of polarity, or bring the annotators' means"
            ]
        return []
    lowest, highest = numbers.min(), numbers.max()
    if lowest >= below:
        lack, all_are = f"none below {below:g}", SIGNS[1]
    elif highest < below:
        lack, all_are = f"all below {below:g}", SIGNS[0]
    elif highest == below:
        lack, all_are = f"none above {below:g}", f"{SIGNS[0]} or not counted"
    else:
        return []
    return [
        f"labels of {name!r} are {_listed(numbers)}, {lack}, so that every sample is {all_are} and no score means "
        f"anything; {wanted}: {_advice(numbers, task)}"
    ]


def _listed(numbers: NDArray[np.float64]) -> str:
    """``0 and 1``, or ``0 to 6 (7 distinct)``."""
    distinct = np.unique(numbers + 0.0)  # -0.0 is 0
    if len(distinct) == 1:
        return f"all {distinct[0]:g}"
    if len(distinct) > _FEW:
        return f"{distinct[0]:g} to {distinct[-1]:g} ({len(distinct)} distinct)"
    *first, last = (f"{number:g}" for number in distinct)
    return f"{', '.join(first)} and {last}"


def _advice(numbers: NDArray[np.float64], task: Task) -> str:
    """How to recode labels, guessed from which there are."""
    low, high = numbers.min(), numbers.max()
    (least, most), below = task.target.range, task.target.below
    whole = bool((numbers == np.round(numbers)).all())
    if whole and low >= 0 and low < high and below == 0:
        classes = int(high - min(low, 1.0)) + 1
        if classes == 2:
            return "recode them, the lower to -1 and the higher to 1"
        if classes in (3, 5, 7) and (classes - 1) / 2 <= most:
            return f"recode them, by {int(high) - classes // 2} less if these are {classes} classes in order"
    if low < 0 < high or high - low > most - least:
        return "rescale them, or remove these samples"
    return f"recode them, negative ones below {below:g} and positive ones above, and have both in every split"


# --- Categories -------------------------------------------------------------------------------------------------------


def _category_faults(labels: NDArray[np.generic], name: str, task: Task) -> list[str]:
    names = task.target.names
    if labels.size == len(labels):  # one a sample
        index = _indices(labels.reshape(-1), task)
        unknown = index < 0
        if unknown.any():
            row = int(unknown.argmax())
            found = labels.reshape(-1)[row]
            shown = one_line(repr(str(found))) if labels.dtype.kind in "SU" else f"{found:g}"
            asked = "; ".join(
                f"{category} {' or '.join(map(str, values))}"
                for category, values in zip(names, _written(task), strict=True)
            )
            return [
                f"labels of {name!r}: {int(unknown.sum())} are no category of the task, the first in row {row} "
                f"({shown}); expected are {one_line(asked, 200)}"
            ]
        return _one_category(index, name, task)
    k = len(names)
    if labels.shape[1:] not in ((k,), (k, 2)) or labels.dtype.kind in "SU":
        order = ", ".join(task.target.columns or names)
        return [
            f"split {name!r}: labels of shape {labels.shape} where (samples, {k}) or (samples, {k}, 2) is expected; "
            f"write a mark for each of {order}, in this order"
            + ("" if task.target.columns else ", or one label a sample")
        ]
    marks = category_marks(labels, task)
    wrong = marks.sum(1) != 1
    if wrong.any():
        return [
            f"split {name!r}: {int(wrong.sum())} samples do not show exactly one category, the first in row "
            f"{int(wrong.argmax())}; remove them, the task has one category a sample"
        ]
    return _one_category(marks.argmax(1), name, task)


def _one_category(index: NDArray[np.integer], name: str, task: Task) -> list[str]:
    there = np.unique(index)
    if len(there) > 1:
        return []
    return [
        f"labels of {name!r} show {task.target.names[int(there[0])]} in every sample, so that no score means anything; "
        "have samples of other categories in every split"
    ]


def _written(task: Task) -> list[list[int | float | str]]:
    """How each category may be written: as the task says, by its place or by its name."""
    if task.target.values:
        return [value if isinstance(value, list) else [value] for value in task.target.values]
    return [[place, name] for place, name in enumerate(task.target.names)]


def _indices(labels: NDArray[np.generic], task: Task) -> NDArray[np.int64]:
    """One label a sample → places in the task's categories, (N,); -1 for what is none."""
    found = np.full(len(labels), -1, dtype=np.int64)
    for place, values in enumerate(_written(task)):
        for value in values:
            if isinstance(value, str):
                if labels.dtype.kind in "SU":
                    found[labels.astype(str) == value] = place
            elif labels.dtype.kind not in "SU":
                found[labels.astype(np.float64) == value] = place
    return found


def category_marks(labels: NDArray[np.generic], task: Task) -> NDArray[np.bool_]:
    """Which categories a sample shows, (N, K), in the task's order.

    Parameters
    ----------
    labels : ndarray, shape (N,), (N, K) or (N, K, 2)
        As in the file, (N, K, 2) with [not shown, shown] for each. The columns are ordered as the task says: MulT's
        IEMOCAP file does not name them, but its official code does (github.com/yaohungt/Multimodal-Transformer,
        ``src/eval_metrics.py``, ``eval_iemocap``).
    task : Task
    """
    names = task.target.names
    if labels.size == len(labels):
        return np.arange(len(names))[None, :] == _indices(labels.reshape(-1), task)[:, None]
    numbers = labels.astype(np.float64)
    shown = numbers[:, :, 1] > numbers[:, :, 0] if labels.ndim == 3 else numbers > 0
    columns = task.target.columns or names
    return shown[:, [columns.index(name) for name in names]]


def label_warnings(labels: NDArray[np.generic], name: str, task: Task) -> list[str]:
    """What is odd about labels that have no fault."""
    if task.target.kind == CATEGORY:
        counts = category_marks(labels, task).sum(0)
        absent = [task.target.names[k] for k in np.flatnonzero(counts == 0)]
        effect = {
            "train": "nothing can learn it",
            "valid": "it does not count in choosing a checkpoint",
            "test": "its score is undefined and left out of the mean",
        }[name]
        return [f"no sample of {name!r} is {category}: {effect}" for category in absent]
    numbers = labels.astype(np.float64).reshape(-1) - (task.target.below if task.target.kind != INTENSITY else 0.0)
    tiny = (numbers != 0) & (np.abs(numbers) < _ROUNDING)
    if not tiny.any():
        return []
    return [
        f"{int(tiny.sum())} labels of {name!r} are not 0 but nearer to it than {_ROUNDING:g}, and count as negative or "
        "positive by their sign; round them if they are neutral"
    ]


def order_doubts(labels: NDArray[np.generic], task: Task) -> list[str]:
    """One line if the emotions of a test split are as many as in MulT's file, but in columns ordered as the names."""
    names, columns = task.target.names, task.target.columns
    if not columns or labels.size == len(labels) or sorted(names) != sorted(EMOTIONS_IN_TEST):
        return []
    found = dict(zip(names, category_marks(labels, task).sum(0).tolist(), strict=True))
    if [found[emotion] for emotion in columns] != [EMOTIONS_IN_TEST[emotion] for emotion in names]:
        return []
    return [
        f"the columns of its labels are read as {', '.join(columns)}, but the counts of 'test' say that they are "
        f"{', '.join(names)}: scores by emotion bear wrong names until you put the columns in the first order"
    ]


def labels_read(labels: NDArray[np.generic], task: Task) -> NDArray[np.generic]:
    """Checked labels as :class:`benchmark.data.dataset.Split` wants them, shape (N,)."""
    if task.target.kind == CATEGORY:
        return category_marks(labels, task).argmax(1).astype(np.int64)
    return labels.reshape(len(labels)).astype(np.float32)


def are_multiples(labels: Sequence[NDArray[np.generic]], grid: float) -> bool:
    """Whether all labels of some splits are multiples of a number, but for rounding."""
    numbers = np.concatenate([split.astype(np.float64).ravel() for split in labels]) / grid
    return bool((np.abs(numbers - np.round(numbers)) < 2e-3).all())
