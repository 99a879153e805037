"""Predictions → scores. Truth and prediction are keyword-only, so they cannot be swapped.

Every score is a closed form of how often each true category was predicted as which, and all settings of a model are
scored in one pass. The tests hold the forms to scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIMARY = "f1"


@dataclass(frozen=True)
class Score:
    """One number: its metric's name, its value times 100, and the number of samples it was computed on."""

    metric: str
    value: float
    n: int


def metric_names(kind: str, categories: Sequence[str]) -> list[str]:
    """The metrics of a task, the primary one first.

    Sentiment: ``f1`` (weighted F1, negative against positive, on samples whose label is not 0), ``f1_nonneg`` (negative
    against non-negative, all samples), ``accuracy`` (all samples). Emotion: ``f1`` (the mean of those that follow and
    are defined), ``f1_<emotion>`` (weighted F1 of that emotion against the rest, undefined where no sample shows it),
    ``accuracy``.
    """
    if kind == "sentiment":
        return [PRIMARY, "f1_nonneg", "accuracy"]
    return [PRIMARY, *(f"f1_{name}" for name in categories), "accuracy"]


def count_confusions(
    *, truth: NDArray[np.integer], predicted: NDArray[np.integer], num_categories: int
) -> NDArray[np.int64]:
    """How often each true category was predicted as which.

    Parameters
    ----------
    truth : ndarray of int, shape (N,)
    predicted : ndarray of int, shape (S, N)
        Once for each setting.
    num_categories : int
        K.

    Returns
    -------
    ndarray of int64, shape (S, K, K)
        Setting, true category, predicted category.
    """
    shape = (len(predicted), num_categories, num_categories)
    places = np.arange(shape[0])[:, None] * num_categories**2 + truth * num_categories + predicted  # (S, N)
    return np.bincount(places.ravel(), minlength=int(np.prod(shape))).reshape(shape)


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
    classes, places = np.unique(np.concatenate([y_true, y_pred]), return_inverse=True)
    truth, predicted = places[: len(y_true)], places[len(y_true) :]
    return float(_weighted_f1(count_confusions(truth=truth, predicted=predicted[None], num_categories=len(classes)))[0])


def _weighted_f1(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """(..., K, K) → (...); a class that is neither there nor predicted counts nothing, no samples give NaN."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)  # (..., K)
    support = confusions.sum(-1)
    f1 = 2 * hits / np.maximum(support + confusions.sum(-2), 1)
    with np.errstate(invalid="ignore"):
        return (f1 * support).sum(-1) / support.sum(-1)


def _against_rest(confusions: NDArray[np.int64], category: int) -> NDArray[np.int64]:
    """(S, K, K) → (S, 2, 2): the rest first, then the category."""
    hits = confusions[:, category, category]
    missed, false = confusions[:, category].sum(-1) - hits, confusions[:, :, category].sum(-1) - hits
    rest = confusions.sum((1, 2)) - hits - missed - false
    return np.stack([rest, false, missed, hits], axis=-1).reshape(-1, 2, 2)


def score_settings(
    *, labels: NDArray[np.generic], predicted: NDArray[np.integer], kind: str, categories: tuple[str, ...]
) -> tuple[NDArray[np.float64], list[int]]:
    """All scores of one model in all settings.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        As in the data: intensity in sentiment tasks, category index in emotion tasks.
    predicted : ndarray of int, shape (S, N)
        Categories.
    kind : {"sentiment", "emotion"}
    categories : tuple of K str

    Returns
    -------
    values : ndarray of float64, shape (S, M)
        Times 100, metrics as :func:`metric_names` says; NaN where one is undefined.
    n : list of M int
        The number of samples that each metric is computed on.
    """
    truth, k = category_indices(labels, kind), len(categories)
    everything = count_confusions(truth=truth, predicted=predicted, num_categories=k)
    with np.errstate(invalid="ignore"):
        accuracy = np.trace(everything, axis1=1, axis2=2) / np.float64(len(truth))
    if kind == "sentiment":
        polar = labels != 0
        only_polar = count_confusions(truth=truth[polar], predicted=predicted[:, polar], num_categories=k)
        values = np.stack([_weighted_f1(only_polar), _weighted_f1(everything), accuracy], axis=-1)
        return 100 * values, [int(polar.sum()), len(truth), len(truth)]
    against_rest = np.stack([100 * _weighted_f1(_against_rest(everything, c)) for c in range(k)], axis=-1)  # (S, K)
    there = np.bincount(truth, minlength=k) > 0
    against_rest[:, ~there] = np.nan  # of a category that no sample shows, only false alarms could be scored
    mean = against_rest[:, there].mean(-1) if there.any() else np.full(len(predicted), np.nan)
    values = np.concatenate([mean[:, None], against_rest, 100 * accuracy[:, None]], axis=-1)
    return values, [len(truth)] * (k + 2)


def scores(
    *, labels: NDArray[np.generic], logits: NDArray[np.floating], kind: str, categories: tuple[str, ...]
) -> list[Score]:
    """All scores of one setting, in the order of :func:`metric_names`.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        As in the data: intensity in sentiment tasks, category index in emotion tasks.
    logits : ndarray, shape (N, K)
    kind : {"sentiment", "emotion"}
    categories : tuple of K str

    Raises
    ------
    ValueError
        If a logit is NaN or infinite.
    """
    predicted = predicted_categories(logits)
    values, n = score_settings(labels=labels, predicted=predicted[None], kind=kind, categories=categories)
    return list(map(Score, metric_names(kind, categories), values[0].tolist(), n))


def predicted_categories(logits: NDArray[np.floating]) -> NDArray[np.intp]:
    """The category of the largest logit, (..., K) → (...).

    Raises
    ------
    ValueError
        If a logit is NaN or infinite.
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinity")
    return logits.argmax(-1)


def primary(
    *, labels: NDArray[np.generic], logits: NDArray[np.floating], kind: str, categories: tuple[str, ...]
) -> float:
    """The primary score alone; parameters as for :func:`scores`."""
    found = scores(labels=labels, logits=logits, kind=kind, categories=categories)
    return next(score.value for score in found if score.metric == PRIMARY)


def category_indices(labels: NDArray[np.generic], kind: str) -> NDArray[np.int64]:
    """Labels as in the data → indices of the categories trained, shape (N,).

    Sentiment: 0 negative (< 0), 1 non-negative. Emotion labels are indices already.
    """
    if kind == "sentiment":
        return (labels >= 0).astype(np.int64)  # type: ignore[operator]
    return labels.astype(np.int64)
