"""Intervals and paired tests of all methods in all conditions, from their models' predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.collect import Model
from benchmark.missing import Setting
from benchmark.registry import Row
from benchmark.resampling import (
    Array,
    Condition,
    Estimate,
    Sampled,
    combine,
    conditions,
    estimate,
    metric_names,
    resampled_scores,
    sample_draws,
)
from benchmark.statistics import DROP, holm

ALPHA = 0.05
REFERENCE, AUGMENTATION, IDEA = "reference", "augmentation", "idea"
"""What a comparison is for: a method against the reference; its training on incomplete samples against that on whole
ones; a method against the mean of all, each trained on incomplete samples."""


@dataclass(frozen=True)
class Evidence:
    """What the stored predictions tell of the methods.

    Parameters
    ----------
    intervals : DataFrame
        ``task, source, metric, method, condition, kind, available, ratio, mean, std, seeds, low, high, n``: mean and
        standard deviation over seeds, the ends of the mean's 95 % interval over seeds and test samples, and the number
        of test samples.
    comparisons : DataFrame
        ``purpose, task, source, metric, method, condition, against, difference, low, high, p, p_holm, family``: `p`
        is two-sided; `p_holm` is corrected for the `family` comparisons of one purpose, metric and condition.
    """

    intervals: pd.DataFrame = field(default_factory=pd.DataFrame)
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class _Sample:
    """Scores on the draws of a test split: axes of `sampled` are conditions and metrics."""

    conditions: list[Condition]
    sampled: Sampled

    def only(self, names: Sequence[str]) -> Sampled:
        """The sampled scores of some conditions."""
        place = {condition.name: i for i, condition in enumerate(self.conditions)}
        rows = [place[name] for name in names]
        s = self.sampled
        return Sampled(s.seeds, s.values[:, rows], s.draws[:, rows], s.interaction[rows])


class _Group:
    """The models of one task and source, and the draws of their test split."""

    def __init__(self, models: Sequence[Model]) -> None:
        first = models[0]
        self.weights = sample_draws(len(first.labels))
        self.polar = first.labels != 0 if first.kind == "sentiment" else None
        self.metrics = metric_names(first.kind, first.categories)
        polar = len(first.labels) if self.polar is None else int(self.polar.sum())
        self.n = [polar if metric == "f1" else len(first.labels) for metric in self.metrics]
        self.by_method: dict[str, dict[int, Model]] = {}
        for model in models:
            self.by_method.setdefault(model.method, {})[model.seed] = model
        self.samples = {method: self._sample(method) for method in self.by_method if self._shared(method)}

    def _shared(self, *methods: str) -> list[tuple[Setting, int]]:
        """The settings that all models of some methods were tested in."""
        models = [model for method in methods for model in self.by_method[method].values()]
        return [s for s in models[0].settings if all(s in model.settings for model in models)]

    def _sample(self, *methods: str) -> _Sample:
        """Of one method; or of the differences of two, seed by seed."""
        own = [self.by_method[method] for method in methods]
        settings = self._shared(*methods)
        found = conditions(settings)
        sums = np.stack([condition.weights for condition in found], axis=1)  # (S, C)

        def scores(model: Model) -> Array:
            """(B + 1, C, metrics)."""
            by_setting = resampled_scores(
                model.predicted[[model.settings.index(s) for s in settings]],
                truth=model.truth,
                polar=self.polar,
                weights=self.weights,
                num_categories=len(model.categories),
            )  # (B + 1, S, metrics)
            return np.einsum("bsm,sc->bcm", by_setting, sums)

        def by_seed(seed: int) -> Array:
            first, *second = (scores(models[seed]) for models in own)
            return first - second[0] if second else first

        return _Sample(found, combine((seed, by_seed(seed)) for seed in own[0]))

    def compare(self, method: str, against: str, *, by_seed: bool) -> _Compared:
        """The difference of two methods; `by_seed` where one seed gives both the same start and batches."""
        same_seeds = self.by_method[method].keys() == self.by_method[against].keys()
        if by_seed and same_seeds and self._shared(method, against):
            sample = self._sample(method, against)
            return _Compared(method, against, [c.name for c in sample.conditions], estimate((1.0, sample.sampled)))
        return self.contrast(method, against, {method: 1.0, against: -1.0})

    def contrast(self, method: str, against: str, weights: Mapping[str, float]) -> _Compared:
        """A weighted sum of methods whose models are independent, in the conditions that all of them have."""
        names = [
            condition.name
            for condition in self.samples[method].conditions
            if all(condition.name in {c.name for c in self.samples[label].conditions} for label in weights)
        ]
        terms = ((weight, self.samples[label].only(names)) for label, weight in weights.items())
        return _Compared(method, against, names, estimate(*terms))


@dataclass(frozen=True)
class _Compared:
    """A comparison; axes of `found` are conditions and metrics."""

    method: str
    against: str
    conditions: list[str]
    found: Estimate


def weigh(models: Sequence[Model], *, rows: Mapping[str, Row], against: str | None) -> Evidence:
    """Intervals of all methods and all paired comparisons that they allow.

    Rows of one method (its variants, and itself trained in the other way) are compared seed by seed, since one seed
    gives them the same start and the same batches. Models of different methods count as independent.

    Parameters
    ----------
    models : sequence of Model
        Those of one task and source on the same test split.
    rows : mapping of label to Row
    against : str or None
        The label of the reference.
    """
    by_task: dict[tuple[str, str], list[Model]] = {}
    for model in models:
        by_task.setdefault((model.task, model.source), []).append(model)
    intervals: list[pd.DataFrame] = []
    comparisons: list[pd.DataFrame] = []
    for (task, source), own in by_task.items():
        group, where = _Group(own), {"task": task, "source": source}
        for method in group.samples:
            intervals.append(_interval_rows(group, method).assign(**where, method=method))
        for purpose, compared in _comparisons(group, rows, against):
            comparisons.append(_comparison_rows(compared, group.metrics).assign(**where, purpose=purpose))
    return Evidence(_concatenated(intervals), _concatenated(comparisons))


def _concatenated(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _interval_rows(group: _Group, method: str) -> pd.DataFrame:
    sample = group.samples[method]
    found = estimate((1.0, sample.sampled))
    seeds = sample.sampled.seeds
    std = sample.sampled.values.std(0, ddof=1) if len(seeds) > 1 else np.full_like(found.value, np.nan)
    rows = []
    for c, condition in enumerate(sample.conditions):
        bounds = (-np.inf, np.inf) if condition.name == DROP else (0.0, 100.0)
        for m, metric in enumerate(group.metrics):
            low, high = np.clip([found.low[c, m], found.high[c, m]], *bounds)
            rows.append(
                {
                    "metric": metric,
                    "condition": condition.name,
                    "kind": condition.kind,
                    "available": condition.available,
                    "ratio": condition.ratio,
                    "mean": found.value[c, m],
                    "std": std[c, m],
                    "seeds": len(seeds),
                    "low": low,
                    "high": high,
                    "n": group.n[m],
                }
            )
    return pd.DataFrame(rows)


def _comparisons(group: _Group, rows: Mapping[str, Row], against: str | None) -> Iterator[tuple[str, list[_Compared]]]:
    """Each purpose with its comparisons."""
    if against is not None and against in group.samples:
        one_method = {label for label, row in rows.items() if against in rows and row.name == rows[against].name}
        others = [label for label in group.samples if label != against]
        yield REFERENCE, [group.compare(m, against, by_seed=m in one_method) for m in others]
    trained = {way: _plain(group, rows, way) for way in ("complete", "missing")}
    both = [name for name in trained["missing"] if name in trained["complete"]]
    pairs = [(trained["missing"][name], trained["complete"][name]) for name in both]
    yield AUGMENTATION, [group.compare(new, old, by_seed=True) for new, old in pairs]
    labels = list(trained["missing"].values())
    if both and len(labels) > 1:
        against_mean = f"mean of {len(labels)} methods trained on incomplete samples"
        share = dict.fromkeys(labels, -1.0 / len(labels))
        yield IDEA, [group.contrast(m, against_mean, share | {m: 1.0 + share[m]}) for m in labels]


def _plain(group: _Group, rows: Mapping[str, Row], trains_on: str) -> dict[str, str]:
    """Label by method, of the rows trained in one way that are no variants."""
    found = [rows[label] for label in group.samples if label in rows]
    return {row.name: row.label for row in found if row.trains_on == trains_on and not row.variant}


def _comparison_rows(comparisons: Sequence[_Compared], metrics: Sequence[str]) -> pd.DataFrame:
    rows = [
        {
            "metric": metric,
            "condition": name,
            "method": compared.method,
            "against": compared.against,
            "difference": compared.found.value[c, m],
            "low": compared.found.low[c, m],
            "high": compared.found.high[c, m],
            "p": compared.found.p[c, m],
        }
        for compared in comparisons
        for c, name in enumerate(compared.conditions)
        for m, metric in enumerate(metrics)
    ]
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows)
    groups = frame.groupby(["metric", "condition"], sort=False)["p"]
    return frame.assign(
        p_holm=groups.transform(lambda p: holm(p.to_numpy())), family=groups.transform("count").astype(int)
    )


def write_evidence(evidence: Evidence, out: Path) -> None:
    """Write ``intervals.csv`` and ``comparisons.csv``."""
    evidence.intervals.to_csv(out / "intervals.csv", index=False)
    evidence.comparisons.to_csv(out / "comparisons.csv", index=False)


def read_evidence(out: Path) -> Evidence:
    """Both files as written; empty where there are none."""
    frames = []
    for name in ("intervals.csv", "comparisons.csv"):
        try:
            frames.append(pd.read_csv(out / name))
        except (FileNotFoundError, pd.errors.EmptyDataError):
            frames.append(pd.DataFrame())
    intervals, comparisons = frames
    if not intervals.empty:
        intervals["available"] = intervals["available"].fillna("")  # of conditions of several settings
    return Evidence(intervals, comparisons)
