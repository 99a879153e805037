"""Predictions → scores. Truth and prediction are keyword-only, so they cannot be swapped.

There is one definition of every metric, over samples that count as often as a weight says: with weights of one it is
the score of a split, with the counts of a bootstrap that of a draw. Each is made of sums over samples, which for all
settings and all draws at once are products of matrices. The tests hold them to scikit-learn and scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from benchmark.protocol.metrics import CALIBRATION_BINS, ROUNDED, metric, metric_names
from benchmark.protocol.target import CATEGORY, INTENSITY, POLARITY, Target

Array = NDArray[np.floating[Any]]

_FEW_STEPS = 1e-12  # variance below which a draw holds one value only


class Scorer:
    """Scores models on one split, in all settings at once, whole and on draws of its samples.

    Parameters
    ----------
    target : Target
    labels : ndarray, shape (N,)
        As in the data.
    metrics : sequence of M str
        Among those of :func:`metric_names`.
    weights : ndarray, shape (B, N), optional
        How often each sample counts, B times; by default once. Their type is that of the scores.

    Attributes
    ----------
    scales : ndarray of float64, shape (M,)
        What scores are multiplied by to be printed: 100 for per cents.
    n : list of M int
        The number of samples that each metric is computed on.
    """

    def __init__(
        self, *, target: Target, labels: NDArray[np.generic], metrics: Sequence[str], weights: Array | None = None
    ) -> None:
        self.target, self.labels, self.metrics = target, labels, list(metrics)
        self.weights: Array = np.ones((1, len(labels))) if weights is None else weights
        self.scales = np.array([100.0 if metric(name).percent else 1.0 for name in metrics])
        polar = {"f1", "acc2"} if target.kind == INTENSITY else {"f1", "auroc", "balanced_accuracy"}
        if target.kind == CATEGORY:
            polar = set()
        counted = int(self.polar.sum())
        self.n = [counted if name in polar else len(labels) for name in metrics]

    @property
    def neutral(self) -> float:
        """The label that is neither negative nor positive."""
        return self.target.below if self.target.kind == POLARITY else 0.0

    @cached_property
    def polar(self) -> NDArray[np.bool_]:
        """The samples that are not neutral, (N,)."""
        if self.target.kind == CATEGORY:
            return np.ones(len(self.labels), dtype=bool)
        return self.labels != self.neutral

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """The true categories, (N,)."""
        return self.target.category_indices(self.labels)

    @cached_property
    def by_sample(self) -> Array:
        """Weights with the samples first, (N, B), for products."""
        return np.ascontiguousarray(self.weights.T, dtype=np.float64)

    @cached_property
    def total(self) -> Array:
        """Sum of the weights, (B,)."""
        return self.weights.sum(1)

    @cached_property
    def polar_counts(self) -> _Counts:
        """Of the categories, over the samples that are not neutral."""
        return _Counts(self.truth, self.polar, len(self.target.categories), self.weights)

    @cached_property
    def neutral_counts(self) -> _Counts:
        """Of the categories, over the others."""
        return _Counts(self.truth, ~self.polar, len(self.target.categories), self.weights)

    @cached_property
    def supports(self) -> list[Array]:
        """Weights of the samples of each category, K arrays of shape (B,)."""
        polar = self.polar_counts.supports
        if self.target.kind == CATEGORY:
            return polar
        return [a + b for a, b in zip(polar, self.neutral_counts.supports, strict=True)]

    @cached_property
    def signs(self) -> dict[str, _Counts]:
        """Of an intensity: two classes, by where a label of 0 falls; ``polar`` leaves it out."""
        positive, everything = self.labels > 0, np.ones(len(self.labels), dtype=bool)  # type: ignore[operator]
        return {
            "polar": _Counts(positive.astype(int), self.polar, 2, self.weights),
            "nonneg": _Counts((self.labels >= 0).astype(int), everything, 2, self.weights),  # type: ignore[operator]
            "pos": _Counts(positive.astype(int), everything, 2, self.weights),
        }

    def scores(self, outputs: NDArray[Any]) -> Array:
        """All metrics of one model.

        Parameters
        ----------
        outputs : ndarray, shape (S, N, K) or (S, N)
            By setting: K logits, or one intensity; or, as whole numbers of shape (S, N), predicted categories, from
            which what `needs_outputs` cannot be had.

        Returns
        -------
        ndarray, shape (M, S, B)
            To be multiplied by `scales`. NaN where a metric is undefined: without a sample that counts; of a category
            that no sample shows, which is left out of means; a correlation with what does not vary.
        """
        view = _Intensities(self, outputs) if self.target.kind == INTENSITY else _Categories(self, outputs)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.stack([view.score(name) for name in self.metrics])


class _Counts:
    """How often each true class was predicted as which, over some samples."""

    def __init__(self, truth: NDArray[Any], rows: NDArray[np.bool_], num_classes: int, weights: Array) -> None:
        self.num_classes = num_classes
        places = [np.flatnonzero(rows & (truth == k)) for k in range(num_classes)]
        # A product with the weights of the samples of one true class counts a row of the confusions.
        strata = [np.ascontiguousarray(weights[:, own].T) for own in places]  # each (n_k, B)
        self.supports = [w.sum(0) for w in strata]  # each (B,)
        self._strata = list(zip(places, strata, self.supports, strict=True))

    def of(self, predicted: NDArray[np.integer[Any]]) -> list[list[Array]]:
        """(S, N) → K x K arrays of shape (S, B): true class, predicted class."""
        found = []
        for rows, weights, support in self._strata:
            own = predicted[:, rows]
            row = [(own == k).astype(weights.dtype) @ weights for k in range(self.num_classes - 1)]
            rest = support - sum(row)
            found.append([*row, rest if row else np.broadcast_to(rest, (len(predicted), len(support)))])
        return found


class _Categories:
    """One model's scores where the target is a polarity or a category."""

    def __init__(self, scorer: Scorer, outputs: NDArray[Any]) -> None:
        self.scorer, self.outputs = scorer, outputs

    def score(self, name: str) -> Array:
        """(S, B)."""
        own: dict[str, Callable[[], Array]] = {
            "f1": self._f1, "f1_nonneg": lambda: self.against_rest[0],
            "f1_weighted": self._f1_weighted, "accuracy": self._accuracy, "balanced_accuracy": self._balanced,
            "auroc": self._auroc, "log_loss": self._log_loss, "calibration": self._calibration,
        }  # fmt: skip
        if name in own:
            return own[name]()
        k = self.scorer.target.categories.index(name.removeprefix("f1_"))
        return self._where_there(k, self.against_rest[k])

    @cached_property
    def predicted(self) -> NDArray[np.integer[Any]]:
        return self.outputs if self.outputs.ndim == 2 else predicted_categories(self.outputs)

    @cached_property
    def log_probabilities(self) -> Array:
        """(S, N, K)."""
        if self.outputs.ndim == 2:
            raise ValueError("this metric needs logits, not predicted categories")
        return np.asarray(log_softmax(self.outputs.astype(np.float64), axis=-1))

    @cached_property
    def polar(self) -> list[list[Array]]:
        return self.scorer.polar_counts.of(self.predicted)

    @cached_property
    def everything(self) -> list[list[Array]]:
        if self.scorer.target.kind == CATEGORY:
            return self.polar
        neutral = self.scorer.neutral_counts.of(self.predicted)
        return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(self.polar, neutral, strict=True)]

    @cached_property
    def against_rest(self) -> list[Array]:
        """Weighted F1 of each category against the rest; of a sign once, since that is both."""
        supports = self.scorer.supports
        kinds = 1 if self.scorer.target.kind == POLARITY else len(supports)
        return [_against_rest(self.everything, supports, k) for k in range(kinds)]

    def _f1(self) -> Array:
        if self.scorer.target.kind == POLARITY:  # with two categories, one against the rest is both
            return _against_rest(self.polar, self.scorer.polar_counts.supports, 0)
        return self._mean_there(self.against_rest)

    def _f1_weighted(self) -> Array:
        return _weighted_f1(self.everything, self.scorer.supports)

    def _accuracy(self) -> Array:
        hits = [self.everything[k][k] for k in range(len(self.scorer.supports))]
        return sum(hits[1:], start=hits[0]) / sum(self.scorer.supports)

    def _balanced(self) -> Array:
        supports = self.scorer.polar_counts.supports
        return self._mean_there([self.polar[k][k] / np.maximum(w, 1) for k, w in enumerate(supports)], supports)

    def _where_there(self, k: int, score: Array, supports: list[Array] | None = None) -> Array:
        support = (supports or self.scorer.supports)[k]
        return score if support.all() else np.where(support > 0, score, score.dtype.type(np.nan))

    def _mean_there(self, scores: list[Array], supports: list[Array] | None = None) -> Array:
        """The mean over the categories that a draw holds."""
        supports = supports or self.scorer.supports
        if all(support.all() for support in supports):
            return sum(scores[1:], start=scores[0]) / scores[0].dtype.type(len(scores))
        there = [support > 0 for support in supports]  # each (B,)
        number = np.sum(there, axis=0, dtype=scores[0].dtype)
        zero = scores[0].dtype.type(0)
        return sum(np.where(own, score, zero) for own, score in zip(there, scores, strict=True)) / number  # type: ignore[return-value]

    def _auroc(self) -> Array:
        if self.scorer.target.kind == POLARITY:
            margin = self.log_probabilities[..., 1] - self.log_probabilities[..., 0]  # (S, N)
            return self._areas(margin, self.scorer.truth == 1)
        supports = self.scorer.supports
        areas = [
            self._where_there(k, self._areas(self.log_probabilities[..., k], self.scorer.truth == k))
            for k in range(len(supports))
        ]
        both = [np.minimum(w, sum(supports) - w) for w in supports]  # 0 where there is no other either
        return self._mean_there(areas, both)

    def _areas(self, values: Array, positive: NDArray[np.bool_]) -> Array:
        """Areas under the ROC curve on the samples that are not neutral, ties counting half: (S, N) → (S, B)."""
        rows = np.flatnonzero(self.scorer.polar)
        found = []
        for row in values[:, rows]:
            order = np.argsort(row, kind="stable")
            ordered, weights = row[order], self.scorer.weights[:, rows[order]]  # (n,), (B, n)
            is_positive = positive[rows[order]]
            negatives = np.flatnonzero(~is_positive)
            below = np.zeros((len(weights), len(rows) + 1))  # weight of the positives before each place
            np.cumsum(weights * is_positive, axis=1, out=below[:, 1:])
            first = np.searchsorted(ordered, ordered[negatives], side="left")
            after = np.searchsorted(ordered, ordered[negatives], side="right")
            won = below[:, -1:] - 0.5 * (below[:, first] + below[:, after])  # (B, negatives)
            total = below[:, -1] * weights[:, negatives].sum(1)
            found.append((won * weights[:, negatives]).sum(1) / np.where(total > 0, total, np.nan))
        return np.stack(found).astype(self.scorer.weights.dtype)

    def _log_loss(self) -> Array:
        own = self.log_probabilities[:, np.arange(len(self.scorer.truth)), self.scorer.truth]  # (S, N)
        return _mean(self.scorer, -own)

    def _calibration(self) -> Array:
        confidence = np.exp(self.log_probabilities.max(-1))  # (S, N)
        gap = (self.predicted == self.scorer.truth) - confidence
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        parts = [np.abs(_mean(self.scorer, np.where(bins == b, gap, 0.0))) for b in np.unique(bins)]
        return sum(parts[1:], start=parts[0])


class _Intensities:
    """One model's scores where the target is an intensity."""

    def __init__(self, scorer: Scorer, outputs: NDArray[Any]) -> None:
        self.scorer = scorer
        values = outputs[..., 0] if outputs.ndim == 3 else outputs
        if not np.isfinite(values).all():
            raise ValueError("outputs hold NaN or infinity")
        self.values: Array = values.astype(np.float64)  # (S, N)

    def score(self, name: str) -> Array:
        """(S, B)."""
        if name == "mae":
            return _mean(self.scorer, np.abs(self.values - self.scorer.labels))  # type: ignore[operator]
        if name == "corr":
            return self._correlation()
        if name in ROUNDED:
            return _mean(self.scorer, self._classes(name, self.values) == self._classes(name, self.scorer.labels))
        kind, _, way = name.partition("_")
        counts = self.scorer.signs[way or "polar"]
        confusions = counts.of((self.values >= 0 if way == "nonneg" else self.values > 0).astype(np.int8))
        if kind == "f1":
            return _against_rest(confusions, counts.supports, 0)
        return (confusions[0][0] + confusions[1][1]) / sum(counts.supports)

    def _classes(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        cuts = dict(self.scorer.target.cuts)
        if name in cuts:  # (a, b]: as many cuts as lie below
            return np.searchsorted(np.array(cuts[name]), np.clip(values, *self.scorer.target.span), side="left")
        return np.round(np.clip(values, -ROUNDED[name], ROUNDED[name]))

    def _correlation(self) -> Array:
        x = self.values - self.values.mean(1, keepdims=True)  # about the middle, so that little cancels
        y = self.scorer.labels - self.scorer.labels.astype(np.float64).mean()
        x[np.ptp(self.values, axis=1) == 0] = np.nan  # what does not vary has no correlation
        mean_x, mean_y = _mean(self.scorer, x), _mean(self.scorer, y[None])  # (S, B), (1, B)
        both = _mean(self.scorer, x * y) - mean_x * mean_y
        spread_x, spread_y = _mean(self.scorer, x**2) - mean_x**2, _mean(self.scorer, y[None] ** 2) - mean_y**2
        varied = (spread_x > _FEW_STEPS) & (spread_y > _FEW_STEPS)
        found = np.clip(both / np.sqrt(spread_x * spread_y), -1.0, 1.0)  # rounding gives a little more than 1
        return np.where(varied, found, np.nan).astype(both.dtype)


def _mean(scorer: Scorer, values: NDArray[Any]) -> Array:
    """Weighted means over all samples, (S, N) → (S, B), in float64; the same bits in whatever order a product adds up.

    Values are rounded to multiples of a power of two, so small that no sum reaches 2**53 of them: each is exact then.
    """
    values = values.astype(np.float64)
    _, exponent = np.frexp(np.nanmax(np.abs(values), axis=1, keepdims=True, initial=0.0) * scorer.total.max())
    step = np.ldexp(1.0, exponent - 52)  # (S, 1)
    return (np.rint(values / step) @ scorer.by_sample) * step / scorer.total


def _against_rest(confusions: Sequence[Sequence[Array]], supports: Sequence[Array], category: int) -> Array:
    """Weighted F1 of a category against the rest, on K x K counts of shape (S, B) → (S, B)."""
    hits, support, total = confusions[category][category], supports[category], sum(supports)
    predicted = sum((row[category] for row in confusions[1:]), start=confusions[0][category])
    rest_hits, rest_support, rest_predicted = (total - support) - predicted + hits, total - support, total - predicted
    own = 2 * hits / np.maximum(support + predicted, 1)  # 0 where a category is neither there nor predicted
    rest = 2 * rest_hits / np.maximum(rest_support + rest_predicted, 1)
    return (support * own + rest_support * rest) / total


def _weighted_f1(confusions: Sequence[Sequence[Array]], supports: Sequence[Array]) -> Array:
    """F1 of each class, weighted by its support, on K x K counts of shape (S, B) → (S, B)."""
    k = range(len(supports))
    predicted = [sum((row[c] for row in confusions[1:]), start=confusions[0][c]) for c in k]
    parts = [supports[c] * (2 * confusions[c][c] / np.maximum(supports[c] + predicted[c], 1)) for c in k]
    return sum(parts[1:], start=parts[0]) / sum(supports)


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
    if not len(truth):
        return float("nan")
    counts = _Counts(truth, np.ones(len(truth), dtype=bool), len(classes), np.ones((1, len(truth))))
    return float(_weighted_f1(counts.of(predicted[None]), counts.supports)[0, 0])


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


def scores(
    *, target: Target, y_true: NDArray[np.generic], y_pred: NDArray[Any], metrics: Sequence[str] | None = None
) -> dict[str, float]:
    """The scores of one setting, as printed: times 100 where they are per cents.

    Parameters
    ----------
    target : Target
    y_true : ndarray, shape (N,)
        Labels as in the data.
    y_pred : ndarray, shape (N, K) or (N,)
        Logits, or intensities.
    metrics : sequence of str, optional
        By default all of :func:`metric_names`.

    Raises
    ------
    ValueError
        If an output is NaN or infinite.
    """
    names = metric_names(target) if metrics is None else list(metrics)
    scorer = Scorer(target=target, labels=y_true, metrics=names)
    values = scorer.scores(y_pred[None])[:, 0, 0] * scorer.scales
    return dict(zip(names, values.tolist(), strict=True))


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


def predicted_of(outputs: NDArray[np.floating], target: Target) -> NDArray[np.intp]:
    """Predicted categories, (S, N, K) → (S, N); of an intensity the nearest bin."""
    if target.kind == INTENSITY:
        if not np.isfinite(outputs).all():
            raise ValueError("outputs hold NaN or infinity")
        return target.category_indices(outputs[..., 0])
    return predicted_categories(outputs)
