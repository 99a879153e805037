"""Intervals and paired tests of all methods in all conditions, from their models' predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.collect import Model
from benchmark.registry import Row
from benchmark.resampling import (
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
    """A method on the draws of a test split: axes of `sampled` are conditions and metrics."""

    conditions: list[Condition]
    metrics: list[str]
    sampled: Sampled
    n: list[int]

    def only(self, names: Sequence[str]) -> Sampled:
        """The sampled scores of some conditions."""
        place = {condition.name: i for i, condition in enumerate(self.conditions)}
        rows = [place[name] for name in names]
        s = self.sampled
        return Sampled(s.seeds, s.values[:, rows], s.draws[:, rows], s.interaction[rows])


def weigh(models: Sequence[Model], *, rows: Mapping[str, Row], against: str | None) -> Evidence:
    """Intervals of all methods and all paired comparisons that they allow.

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
    for (task, source), group in by_task.items():
        samples = _sample(group)
        where = {"task": task, "source": source}
        for method, sample in samples.items():
            intervals.append(_interval_rows(sample).assign(**where, method=method))
        for purpose, compared in _comparisons(samples, rows, against):
            comparisons.append(_comparison_rows(compared).assign(**where, purpose=purpose))
    return Evidence(_concatenated(intervals), _concatenated(comparisons))


def _concatenated(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _sample(models: Sequence[Model]) -> dict[str, _Sample]:
    first = models[0]
    weights = sample_draws(len(first.labels))
    polar = first.labels != 0 if first.kind == "sentiment" else None
    metrics = metric_names(first.kind, first.categories)
    n = [int(polar.sum()) if polar is not None and metric == "f1" else len(first.labels) for metric in metrics]
    by_method: dict[str, list[Model]] = {}
    for model in models:
        by_method.setdefault(model.method, []).append(model)
    samples = {}
    for method, own in by_method.items():
        shared = [s for s in own[0].settings if all(s in model.settings for model in own)]
        found = conditions(shared)
        sums = np.stack([condition.weights for condition in found], axis=1)  # (S, C)

        def drawn(model: Model, shared: list = shared, sums: np.ndarray = sums) -> np.ndarray:  # type: ignore[type-arg]
            scores = resampled_scores(
                model.predicted[[model.settings.index(s) for s in shared]],
                truth=model.truth,
                polar=polar,
                weights=weights,
                num_categories=len(model.categories),
            )  # (B + 1, S, M)
            return np.einsum("bsm,sc->bcm", scores, sums)

        samples[method] = _Sample(found, metrics, combine((model.seed, drawn(model)) for model in own), n)
    return samples


def _interval_rows(sample: _Sample) -> pd.DataFrame:
    found = estimate((1.0, sample.sampled))
    seeds = sample.sampled.seeds
    std = sample.sampled.values.std(0, ddof=1) if len(seeds) > 1 else np.full_like(found.value, np.nan)
    rows = []
    for c, condition in enumerate(sample.conditions):
        bounds = (-np.inf, np.inf) if condition.name == DROP else (0.0, 100.0)
        for m, metric in enumerate(sample.metrics):
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
                    "n": sample.n[m],
                }
            )
    return pd.DataFrame(rows)


_Compared = list[tuple[str, str, list[str], list[str], Estimate]]  # method, against, conditions, metrics, estimate


def _comparisons(
    samples: Mapping[str, _Sample], rows: Mapping[str, Row], against: str | None
) -> Iterator[tuple[str, _Compared]]:
    """Each purpose with its comparisons."""
    if against is not None and against in samples:
        yield REFERENCE, [_compare(samples, m, {m: 1.0, against: -1.0}, against) for m in samples if m != against]
    trained = {way: _plain(samples, rows, way) for way in ("complete", "missing")}
    both = [name for name in trained["missing"] if name in trained["complete"]]
    pairs = [(trained["missing"][name], trained["complete"][name]) for name in both]
    yield AUGMENTATION, [_compare(samples, new, {new: 1.0, old: -1.0}, old) for new, old in pairs]
    labels = list(trained["missing"].values())
    if both and len(labels) > 1:
        against_mean = f"mean of {len(labels)} methods trained on incomplete samples"
        share = dict.fromkeys(labels, -1.0 / len(labels))
        yield IDEA, [_compare(samples, m, share | {m: 1.0 + share[m]}, against_mean) for m in labels]


def _plain(samples: Mapping[str, _Sample], rows: Mapping[str, Row], trains_on: str) -> dict[str, str]:
    """Label by method, of the rows trained in one way that are no variants."""
    found = [rows[label] for label in samples if label in rows]
    return {row.name: row.label for row in found if row.trains_on == trains_on and not row.variant}


def _compare(
    samples: Mapping[str, _Sample], method: str, weights: Mapping[str, float], against: str
) -> tuple[str, str, list[str], list[str], Estimate]:
    names = [c.name for c in samples[method].conditions]
    names = [n for n in names if all(n in {c.name for c in samples[label].conditions} for label in weights)]
    found = estimate(*((weight, samples[label].only(names)) for label, weight in weights.items()))
    return method, against, names, samples[method].metrics, found


def _comparison_rows(compared: _Compared) -> pd.DataFrame:
    rows = [
        {
            "metric": metric,
            "condition": name,
            "method": method,
            "against": against,
            "difference": found.value[c, m],
            "low": found.low[c, m],
            "high": found.high[c, m],
            "p": found.p[c, m],
        }
        for method, against, names, metrics, found in compared
        for c, name in enumerate(names)
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
