"""F1 with the thresholds that are best on the validation split, beside F1 as predicted.

What is thresholded is what `f1` is scored by: of a polarity the difference of the two logits, on samples whose label is
not neutral; of categories the log odds of each against the rest, each with a threshold of its own, then the mean; of an
intensity the output, on samples whose label is not 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from benchmark.protocol.metrics import metric_names
from benchmark.protocol.scoring import Scorer
from benchmark.protocol.target import CATEGORY, INTENSITY, Target


@dataclass(frozen=True)
class Validation:
    """What one trained model says of the validation split, in the settings of the test split.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        As in the data.
    logits : ndarray of float16, shape (S, N, K)
        Logits, or intensities; in half precision, since only thresholds are made of them.
    """

    labels: NDArray[np.generic]
    logits: NDArray[np.float16]

    @classmethod
    def of(cls, labels: NDArray[np.generic], logits: NDArray[np.floating]) -> Validation:
        """Of logits in any precision; those that are too large for half of it become the largest that there is."""
        largest = np.finfo(np.float16).max
        return cls(labels, np.clip(logits, -largest, largest).astype(np.float16))


def f1_by_thresholds(
    *, target: Target, labels: NDArray[np.generic], outputs: NDArray[np.floating], validation: Validation
) -> NDArray[np.float64] | None:
    """F1 as predicted and F1 with the best thresholds of the validation split, in each setting.

    Parameters
    ----------
    target : Target
    labels : ndarray, shape (N,)
        Of the test split.
    outputs : ndarray, shape (S, N, K)
        Logits, or intensities, for the test split.
    validation : Validation
        In the same settings.

    Returns
    -------
    ndarray, shape (2, S), or None
        In per cents, NaN where F1 is undefined. None for a target without an F1. Where the validation split shows a
        category not at all, or nothing else, the predictions stay as they are.
    """
    if "f1" not in metric_names(target):
        return None
    scorer = Scorer(target=target, labels=labels, metrics=["f1"])
    plain = scorer.scores(outputs)[0, :, 0]  # (S,)
    truths, counted = _truths(target, labels)
    seen, own = _truths(target, validation.labels)
    predicted = outputs.argmax(-1) if target.kind == CATEGORY else None  # (S, N)
    moved = []
    for k, (values, known) in enumerate(zip(_values(target, outputs), _values(target, validation.logits), strict=True)):
        if not truths[k][counted].any() and target.kind == CATEGORY:
            continue  # undefined, and left out of the mean
        above = values > 0 if predicted is None else predicted == k
        if 0 < np.count_nonzero(seen[k][own]) < np.count_nonzero(own):
            above = values > best_thresholds(known[:, own], seen[k][own])[:, None]
        moved.append(weighted_f1_of(above[:, counted], truths[k][counted]))
    return 100 * np.stack([plain, np.mean(moved, axis=0) if moved else np.full_like(plain, np.nan)])


def _truths(target: Target, labels: NDArray[np.generic]) -> tuple[list[NDArray[np.bool_]], NDArray[np.bool_]]:
    """What is to be told apart, each of shape (N,), and which samples count for it."""
    scorer = Scorer(target=target, labels=labels, metrics=["f1"])
    if target.kind == INTENSITY:
        return [labels > 0], scorer.polar  # type: ignore[operator]
    if target.kind == CATEGORY:
        return [scorer.truth == k for k in range(len(target.categories))], scorer.polar
    return [scorer.truth == 1], scorer.polar


def _values(target: Target, outputs: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    """What has a threshold, each of shape (S, N), 0 where neither is the more likely."""
    numbers = outputs.astype(np.float64)
    if target.kind == INTENSITY:
        return [numbers[..., 0]]
    if target.kind == CATEGORY:
        others = [np.delete(numbers, k, axis=-1) for k in range(numbers.shape[-1])]
        return [numbers[..., k] - logsumexp(rest, axis=-1) for k, rest in enumerate(others)]
    return [numbers[..., 1] - numbers[..., 0]]


def best_thresholds(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Above which value to say yes, so that the weighted F1 of yes and no is the largest.

    Parameters
    ----------
    values : ndarray, shape (S, N)
    positive : ndarray of bool, shape (N,)
        The truth; both answers occur.

    Returns
    -------
    ndarray, shape (S,)
        In the middle between two neighbouring values, or infinite, where one answer for all is the best. Of several
        that are equally good the one nearest to 0, and 0 itself where it is between the same two values.
    """
    n, order = len(positive), np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)  # (S, N)
    edges = np.pad(ordered, ((0, 0), (1, 1)), constant_values=((0, 0), (-np.inf, np.inf)))  # (S, N + 2)
    low, high = edges[:, :-1], edges[:, 1:]  # a threshold in [low, high) says yes to all from the i-th on, (S, N + 1)
    below = np.pad(np.cumsum(positive[order], axis=1), ((0, 0), (1, 0)))  # positives below it, (S, N + 1)
    number = positive.sum()
    score = _weighted_f1(number - below, n - np.arange(n + 1) - (number - below), number, n - number)
    with np.errstate(invalid="ignore"):
        middle = np.where((low <= 0) & (high > 0), 0.0, (low + high) / 2)
    distance = np.where((score >= score.max(1, keepdims=True, where=low < high, initial=-1) - 1e-12) & (low < high),
                        np.abs(middle), np.nan)  # fmt: skip
    best = np.nanargmin(distance, axis=1)
    return np.take_along_axis(middle, best[:, None], axis=1)[:, 0]


def weighted_f1_of(predicted: NDArray[np.bool_], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The weighted F1 of yes and no, (S, N) and (N,) → (S,), in [0, 1]; NaN for N = 0."""
    true = (predicted & positive).sum(1)
    number = int(positive.sum())
    with np.errstate(invalid="ignore"):
        return _weighted_f1(true, predicted.sum(1) - true, number, len(positive) - number)


def _weighted_f1(
    true: NDArray[np.integer], false: NDArray[np.integer], positives: int, negatives: int
) -> NDArray[np.float64]:
    """From the true and the false answers of yes."""
    right = negatives - false  # true answers of no
    yes = 2 * true / np.maximum(true + false + positives, 1)
    no = 2 * right / np.maximum(right + (positives - true) + negatives, 1)
    return np.asarray((positives * yes + negatives * no) / np.float64(positives + negatives))
