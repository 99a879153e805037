"""From stored predictions to intervals and paired tests.

A method's score varies for two reasons: which seeds it was trained with, and which samples happen to be in the test
split. Every model of a task is tested on the same samples, so the two are crossed, and the variance of a mean over
seeds is that over seeds, plus that over samples, less what both hold (Cameron, Gelbach and Miller, "Robust inference
with multiway clustering", Journal of Business & Economic Statistics, 2011):

- over samples: the test split is drawn anew, with replacement, the same draws for all models of a task (a bootstrap).
  What is drawn are groups, such as videos, since the clips of a video are not independent; drawn one by one they would
  make intervals too narrow, on the real MOSI by a factor of up to 2.4;
- over seeds: the variance between trained models. Drawing them anew too would understate it, by a fifth for five seeds;
- both: how differently the draws of samples move the models of one method.

A difference between two methods is treated in the same way, so what the shared samples do to both cancels out.
Intervals and p-values come from Student's t with Satterthwaite's degrees of freedom, since five seeds are few, and so
may be groups: the part from the samples rests on as many as the effective number of groups less one. Its variance is
multiplied by G / (G - 1) (1 + 1 / G*), of G groups and effectively G*: drawing G out of G groups gives too little, and
this about what leaving out one group at a time gives, which is right for few groups (MacKinnon, Nielsen and Webb,
"Cluster-robust inference: A guide to empirical practice", Journal of Econometrics, 2023). The tests measure both.

Of fewer than three seeds there is no telling what others would give: then an interval is over samples alone, and there
is no p-value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.evidence.groups import Groups
from benchmark.evidence.statistics import AREA, AVERAGE, DERIVED, DROP
from benchmark.protocol.missing import Setting, incomplete_subsets

DRAWS = 1000
CONFIDENCE = 0.95
POWER = 0.8
LEAST_SEEDS = 3
"""Of each method, for a test: two tell too little of what others would give."""
Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Condition:
    """A weighted sum of a model's scores by setting, such as one setting, or the mean of six.

    Parameters
    ----------
    name : str
        As printed: ``{l,a}``, ``p=0.3``, ``Avg.``.
    kind : str
        Of its setting; ``derived`` for sums of several.
    available : str
    ratio : float
        Of its setting; empty and NaN for sums of several.
    weights : ndarray, shape (S,)
        By setting.
    """

    name: str
    kind: str
    available: str
    ratio: float
    weights: Array


def conditions(settings: Sequence[tuple[Setting, int]], modalities: str = "lav") -> list[Condition]:
    """All conditions that some settings give.

    Parameters
    ----------
    settings : sequence of S (Setting, draw)
        Several draws of a setting are averaged.
    modalities : str
        Those that the data have.

    Returns
    -------
    list of Condition
        Each setting; and, where their settings are there: `Avg.`, the mean of the six subsets that lack a modality
        (the two, where the data have two modalities);
        `AUDC`, the area under the degradation curve (trapezoids over p, divided by its range); `drop`, the complete
        setting less `Avg.`.
    """
    draws: dict[Setting, list[int]] = {}
    for place, (setting, _) in enumerate(settings):
        draws.setdefault(setting, []).append(place)

    def one(setting: Setting) -> Array:
        weights = np.zeros(len(settings))
        weights[draws[setting]] = 1.0 / len(draws[setting])
        return weights

    found = [Condition(s.condition, s.kind, s.available, s.share, one(s)) for s in draws]
    six = [Setting(subset) for subset in incomplete_subsets(modalities)]
    if all(s in draws for s in six):
        average = np.mean([one(s) for s in six], axis=0)
        found.append(Condition(AVERAGE, DERIVED, "", np.nan, average))
        if Setting() in draws:
            found.append(Condition(DROP, DERIVED, "", np.nan, one(Setting()) - average))
    curve = sorted((s for s in draws if s.kind == "intra"), key=lambda s: s.share)
    if len(curve) > 1:
        steps = np.diff([s.share for s in curve]) / (curve[-1].share - curve[0].share)
        areas = [width * (one(a) + one(b)) / 2 for width, a, b in zip(steps, curve, curve[1:], strict=False)]
        found.append(Condition(AREA, DERIVED, "", np.nan, np.sum(areas, axis=0)))
    return found


def sample_draws(groups: Groups, draws: int = DRAWS) -> Array:
    """How often each sample is drawn, shape (draws + 1, N), all of a group together; first the split as it is."""
    rng = np.random.default_rng(0)
    count = groups.count
    counts = rng.multinomial(count, np.full(count, 1.0 / max(1, count)), size=draws)  # (draws, G)
    return np.concatenate([np.ones((1, count)), counts]).astype(np.float32)[:, groups.index]


def in_conditions(scores: Array, found: Sequence[Condition], scales: Array) -> Array:
    """Scores by setting → weighted sums of them.

    Parameters
    ----------
    scores : ndarray, shape (metrics, S, B)
        From :meth:`benchmark.protocol.scoring.Scorer.scores`.
    found : sequence of C Condition
    scales : ndarray, shape (metrics,)
        The scorer's.

    Returns
    -------
    ndarray of float64, shape (B, C, metrics)
        As printed; a view, in which the scores of one metric and condition lie side by side. NaN where one of the
        settings that a condition is made of has no score.
    """
    weights = np.stack([condition.weights for condition in found])  # (C, S)
    values = np.multiply(scores, scales[:, None, None], dtype=np.float64)
    sums = np.zeros((len(values), len(found), values.shape[2]))  # (metrics, C, B)
    # One setting after the other: a matrix product adds up in an order that depends on the processor, and would have to
    # be kept from making NaN of a NaN times a weight of zero.
    for c, s in np.argwhere(weights):
        sums[:, c] += weights[c, s] * values[:, s]
    return sums.transpose(2, 1, 0)


@dataclass(frozen=True)
class Sampled:
    """The scores of a method's models, and what the draws of the test split do to them.

    Parameters
    ----------
    seeds : list of R int
    values : ndarray, shape (R, ...)
        Scores on the test split as it is.
    draws : ndarray, shape (B, ...)
        Means over the seeds on each draw.
    interaction : ndarray, shape (...)
        The variance of the mean that both samples and seeds hold.
    groups : float
        The effective number of groups that were drawn.
    correction : float
        What a variance over the draws is to be multiplied by.
    """

    seeds: list[int]
    values: Array
    draws: Array
    interaction: Array
    groups: float = np.inf
    correction: float = 1.0

    def part(self, conditions: Sequence[int], metrics: Sequence[int] | slice = slice(None)) -> Sampled:
        """Only some conditions and metrics, where these are the axes."""
        return replace(
            self,
            values=self.values[:, conditions][:, :, metrics],
            draws=self.draws[:, conditions][:, :, metrics],
            interaction=self.interaction[conditions][:, metrics],
        )

    @property
    def mean(self) -> Array:
        """Over seeds."""
        return self.values.mean(0)

    @property
    def seed_variance(self) -> Array:
        """Of the mean, over seeds; 0 for one seed."""
        return self.values.var(0, ddof=1) / len(self.seeds) if len(self.seeds) > 1 else np.zeros_like(self.values[0])


class Pool:
    """Puts the models of a method together, one at a time, so that no more than one need be in memory.

    Parameters
    ----------
    groups : Groups, optional
        What was drawn; by default independent samples, very many.
    """

    def __init__(self, groups: Groups | None = None) -> None:
        self._groups = groups
        self._seeds: list[int] = []
        self._values: list[Array] = []
        self._total: Array = np.zeros(())
        self._spread: Array = np.zeros(())

    def add(self, seed: int, scores: Array) -> None:
        """Take in a model.

        Parameters
        ----------
        seed : int
        scores : ndarray of shape (B + 1, ...)
            The first row on the test split as it is, the others on the draws of it.
        """
        self._seeds.append(seed)
        self._values.append(scores[0].copy())
        self._total = self._total + scores[1:]
        self._spread = self._spread + scores[1:].var(0, ddof=1)

    def merge(self, other: Pool) -> None:
        """Take in what another pool, of other seeds, holds."""
        self._seeds += other._seeds
        self._values += other._values
        self._total = self._total + other._total
        self._spread = self._spread + other._spread

    def sampled(self) -> Sampled:
        """What came of those taken in."""
        r = len(self._seeds)
        draws = self._total / r
        # Mean over samples of the variance over seeds, by what the draws do: sum of squares less square of the sum.
        inside = np.maximum(self._spread - r * draws.var(0, ddof=1), 0.0)
        effective, correction = np.inf, 1.0
        if self._groups is not None:
            count, effective = self._groups.count, self._groups.effective
            correction = count / (count - 1) * (1 + 1 / effective) if count > 1 else np.nan
        between = inside / max(1, r * (r - 1))
        return Sampled(self._seeds, np.stack(self._values), draws, between, effective, correction)


def combine(models: Iterable[tuple[int, Array]], groups: Groups | None = None) -> Sampled:
    """Put the models of a method together; pairs of what :meth:`Pool.add` takes."""
    pool = Pool(groups)
    for seed, scores in models:
        pool.add(seed, scores)
    return pool.sampled()


@dataclass(frozen=True)
class Estimate:
    """A weighted sum of methods' means over seeds; all of shape (...).

    Parameters
    ----------
    value, low, high : ndarray
        With the ends of its 95 % interval.
    p : ndarray
        Two-sided, of its being zero. NaN where one of the methods has fewer than `LEAST_SEEDS`: others might tell
        otherwise.
    detectable : ndarray
        The least difference that a test at 5 % would find with a chance of 80 %, from the same variance.
    """

    value: Array
    low: Array
    high: Array
    p: Array
    detectable: Array


def estimate(*terms: tuple[float, Sampled]) -> Estimate:
    """A weighted sum of methods: one for its interval, ``(1, a), (-1, b)`` for a paired comparison, and so on.

    Parameters
    ----------
    terms : (weight, Sampled)
        All on the same draws of the same test split; the models of different methods are independent.
    """
    from scipy import stats  # most of a second

    value = np.round(np.asarray(sum(weight * m.mean for weight, m in terms)), 9)  # what is equal differs by nothing
    enough = all(len(m.seeds) >= LEAST_SEEDS for _, m in terms)
    samples = np.asarray(sum(weight * m.draws for weight, m in terms)).var(0, ddof=1) * terms[0][1].correction
    groups = max(terms[0][1].groups - 1.0, 1.0)
    between = np.asarray(sum(weight**2 * m.seed_variance for weight, m in terms))
    both = np.asarray(sum(weight**2 * m.interaction for weight, m in terms))
    seeds = np.maximum(between - both, 0.0) if enough else np.zeros_like(samples)
    variance = samples + seeds
    # Each part rests on few numbers: the seeds of each method, and the groups.
    of_seeds = np.asarray(sum(weight**4 * m.seed_variance**2 / max(1, len(m.seeds) - 1) for weight, m in terms))
    few = np.where(seeds > 0, of_seeds, 0.0) + samples**2 / groups
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.maximum(np.where(few > 0, variance**2 / few, np.inf), 1.0)
        p = 2 * stats.t.sf(np.abs(value) / np.sqrt(variance), freedom)
    p = np.where(value == 0, 1.0, p) if enough else np.full_like(value, np.nan)
    error, ends = np.sqrt(variance), stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)
    detectable = (ends + stats.t.ppf(POWER, freedom)) * error if enough else np.full_like(value, np.nan)
    return Estimate(value, value - ends * error, value + ends * error, p, detectable)
