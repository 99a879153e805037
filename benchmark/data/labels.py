"""Labels as they stand in a file: what is wrong with them, and what a data set makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import EMOTIONS, SENTIMENT_CATEGORIES

COLUMNS = ("neutral", "happy", "sad", "angry")
"""Of emotion labels, as MulT's src/eval_metrics.py names them."""

EMOTIONS_IN_TEST = {"happy": 135, "sad": 193, "angry": 227, "neutral": 383}
"""Of MulT's IEMOCAP file, 938 samples."""

STRONGEST = 3.0
"""Sentiment is from this below 0 to this above."""

_ROUNDING = 1e-4
_FEW = 4  # distinct labels that are listed one by one


def kind_of(task: str) -> str:
    """The kind of a task: ``sentiment`` or ``emotion``."""
    return "emotion" if task == "iemocap" else "sentiment"


def kind_of_labels(labels: NDArray[np.generic]) -> str:
    """The kind of task that labels of this shape are of."""
    return "emotion" if labels.shape[1:] in ((4,), (4, 2)) else "sentiment"


def label_faults(labels: NDArray[np.generic], name: str, kind: str) -> list[str]:
    """What is wrong with a split's labels, the worst alone.

    Parameters
    ----------
    labels : ndarray, shape (N, ...)
        As in the file, N > 0.
    name : str
        The split.
    kind : {"sentiment", "emotion"}
    """
    unusable = ~np.isfinite(labels.astype(np.float32))
    if unusable.any():
        rows = unusable.reshape(len(labels), -1).any(1)
        return [
            f"split {name!r}: {int(rows.sum())} labels are NaN or infinite, the first in row {int(rows.argmax())}; "
            "remove these samples"
        ]
    if kind == "emotion":
        return _emotion_faults(labels, name)
    if labels.size != len(labels):
        return [
            f"split {name!r}: labels of shape {labels.shape} where one number a sample is expected; write the "
            "sentiment from -3 to 3, no marks of classes"
        ]
    return _sentiment_faults(labels.reshape(-1), name)


def _sentiment_faults(labels: NDArray[np.generic], name: str) -> list[str]:
    wanted = "a sentiment of -3 to 3 is expected"
    if labels.dtype.kind == "b":
        return [f"labels of {name!r} are true or false; {wanted}: recode them, false to -1 and true to 1"]
    numbers = labels.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    beyond = np.abs(numbers) > STRONGEST + _ROUNDING
    if beyond.any():
        return [
            f"labels of {name!r} are {_listed(numbers)}, {int(beyond.sum())} of them beyond -3 to 3, the first in row "
            f"{int(beyond.argmax())}; {wanted}: {_advice(numbers)}"
        ]
    if low >= 0:
        lack, all_are = "none below 0", SENTIMENT_CATEGORIES[1]
    elif high < 0:
        lack, all_are = "all below 0", SENTIMENT_CATEGORIES[0]
    elif high == 0:
        lack, all_are = "none above 0", f"{SENTIMENT_CATEGORIES[0]} or not counted"
    else:
        return []
    return [
        f"labels of {name!r} are {_listed(numbers)}, {lack}, so that every sample is {all_are} and no score means "
        f"anything; {wanted}: {_advice(numbers)}"
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


def _advice(numbers: NDArray[np.float64]) -> str:
    """How to recode labels, guessed from which there are."""
    low, high = numbers.min(), numbers.max()
    whole = bool((numbers == np.round(numbers)).all())
    if whole and low >= 0 and low < high:
        classes = int(high - min(low, 1.0)) + 1
        if classes == 2:
            return "recode them, the lower to -1 and the higher to 1"
        if classes in (3, 5, 7):
            return f"recode them, by {int(high) - classes // 2} less if these are {classes} classes in order"
    if low < 0 < high or high - low > 2 * STRONGEST:
        return "rescale them, or remove these samples"
    return "recode them, negative ones below 0 and positive ones above, and have both in every split"


def _emotion_faults(labels: NDArray[np.generic], name: str) -> list[str]:
    if labels.shape[1:] not in ((4,), (4, 2)):
        return [
            f"split {name!r}: labels of shape {labels.shape} where (samples, 4) or (samples, 4, 2) is expected; "
            f"write a mark for each of {', '.join(COLUMNS)}, in this order"
        ]
    marks = emotion_marks(labels)
    wrong = marks.sum(1) != 1
    if wrong.any():
        return [
            f"split {name!r}: {int(wrong.sum())} samples do not show exactly one emotion, the first in row "
            f"{int(wrong.argmax())}; remove them, the task has one category a sample"
        ]
    there = np.flatnonzero(marks.any(0))
    if len(there) == 1:
        return [
            f"labels of {name!r} show {EMOTIONS[there[0]]} in every sample, so that no score means anything; have "
            "samples of other emotions in every split"
        ]
    return []


def label_warnings(labels: NDArray[np.generic], name: str, kind: str) -> list[str]:
    """What is odd about labels that have no fault."""
    if kind == "emotion":
        absent = [EMOTIONS[k] for k in np.flatnonzero(emotion_marks(labels).sum(0) == 0)]
        effect = {
            "train": "nothing can learn it",
            "valid": "it does not count in choosing a checkpoint",
            "test": "its score is undefined and left out of the mean",
        }[name]
        return [f"no sample of {name!r} is {emotion}: {effect}" for emotion in absent]
    numbers = labels.astype(np.float64)
    tiny = (numbers != 0) & (np.abs(numbers) < _ROUNDING)
    if not tiny.any():
        return []
    return [
        f"{int(tiny.sum())} labels of {name!r} are not 0 but nearer to it than {_ROUNDING:g}, and count as negative or "
        "positive by their sign; round them if they are neutral"
    ]


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
    return shown[:, [COLUMNS.index(emotion) for emotion in EMOTIONS]]


def order_doubts(labels: NDArray[np.generic]) -> list[str]:
    """One line if the emotions of a test split are as many as in MulT's file, but in columns ordered as `EMOTIONS`."""
    found = dict(zip(EMOTIONS, emotion_marks(labels).sum(0).tolist(), strict=True))
    if [found[emotion] for emotion in COLUMNS] != [EMOTIONS_IN_TEST[emotion] for emotion in EMOTIONS]:
        return []
    return [
        f"the columns of its labels are read as {', '.join(COLUMNS)}, but the counts of 'test' say that they are "
        f"{', '.join(EMOTIONS)}: scores by emotion bear wrong names until you put the columns in the first order"
    ]


def category_or_intensity(labels: NDArray[np.generic], kind: str) -> NDArray[np.generic]:
    """Checked labels as :class:`benchmark.data.dataset.Split` wants them, shape (N,)."""
    if kind == "emotion":
        return emotion_marks(labels).argmax(1).astype(np.int64)
    return labels.reshape(len(labels)).astype(np.float32)
