"""Predictions → scores. Truth and prediction are keyword-only, so they cannot be swapped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from benchmark.data.dataset import category_indices

PRIMARY = "f1"


@dataclass(frozen=True)
class Score:
    """One number: its metric's name, its value times 100, and the number of samples it was computed on."""

    metric: str
    value: float
    n: int


def weighted_f1(*, y_true: NDArray[np.generic], y_pred: NDArray[np.generic]) -> float:
    """F1 of each class present, weighted by its frequency in `y_true`, in [0, 1].

    Swapping the arguments would weight by the frequency in the predictions, which inflates the score of a skewed
    predictor.

    Parameters
    ----------
    y_true, y_pred : ndarray, shape (N,)

    Returns
    -------
    float
        NaN for N = 0.
    """
    if len(y_true) == 0:
        return float("nan")
    return float(f1_score(y_true, y_pred, average="weighted", zero_division=0))


def scores(
    *, labels: NDArray[np.generic], logits: NDArray[np.floating], kind: str, categories: tuple[str, ...]
) -> list[Score]:
    """All scores of one setting.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        As in the data: intensity in sentiment tasks, category index in emotion tasks.
    logits : ndarray, shape (N, K)
    kind : {"sentiment", "emotion"}
    categories : tuple of K str

    Returns
    -------
    list of Score
        Sentiment: ``f1`` (weighted F1, negative against positive, on samples whose label is not 0), ``f1_nonneg``
        (negative against non-negative, all samples), ``accuracy`` (all samples). Emotion: ``f1_<emotion>`` (weighted
        F1 of that emotion against the rest), ``f1`` (their mean), ``accuracy``.

    Raises
    ------
    ValueError
        If a logit is NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinity")
    truth, predicted = category_indices(labels, kind), logits.argmax(1)
    accuracy = Score("accuracy", 100 * float(accuracy_score(truth, predicted)), len(truth))
    if kind == "sentiment":
        polar = labels != 0
        return [
            Score(PRIMARY, 100 * weighted_f1(y_true=truth[polar], y_pred=predicted[polar]), int(polar.sum())),
            Score("f1_nonneg", 100 * weighted_f1(y_true=truth, y_pred=predicted), len(truth)),
            accuracy,
        ]
    by_emotion = [
        Score(f"f1_{name}", 100 * weighted_f1(y_true=truth == k, y_pred=predicted == k), len(truth))
        for k, name in enumerate(categories)
    ]
    mean = Score(PRIMARY, float(np.mean([score.value for score in by_emotion])), len(truth))
    return [mean, *by_emotion, accuracy]


def primary(
    *, labels: NDArray[np.generic], logits: NDArray[np.floating], kind: str, categories: tuple[str, ...]
) -> float:
    """The primary score alone; parameters as for :func:`scores`."""
    found = scores(labels=labels, logits=logits, kind=kind, categories=categories)
    return next(score.value for score in found if score.metric == PRIMARY)
