"""The metrics: what each is called, which way is better, and which a task has; `scoring` computes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmark.protocol.target import CATEGORY, INTENSITY, POLARITY, Target

CALIBRATION_BINS = 15  # of equal width, as in Guo et al., ICML 2017


@dataclass(frozen=True)
class Metric:
    """What a metric is called, which way is better, and what it needs.

    Parameters
    ----------
    name : str
        As in ``scores.csv``.
    title : str
        As printed over a table.
    text : str
        What it is, in words, for captions.
    percent : bool
        Whether values are times 100.
    lower_is_better : bool
    bounds : (float, float)
        The least and the largest value.
    needs_outputs : bool
        Whether predicted categories are not enough.
    """

    name: str
    title: str
    text: str
    percent: bool = True
    lower_is_better: bool = False
    bounds: tuple[float, float] = (0.0, 100.0)
    needs_outputs: bool = False

    @property
    def decimals(self) -> int:
        """As printed in tables: of per cents two, of others three."""
        return 2 if self.percent else 3


_POLAR = "of negative against positive, on the test samples whose label is not 0"
_METRICS = {
    metric.name: metric
    for metric in (
        Metric("f1", "F1", f"Weighted F1 × 100 {_POLAR}"),
        Metric("f1_nonneg", "F1, 0 as non-negative", "Weighted F1 × 100 of negative against non-negative"),
        Metric("f1_pos", "F1, 0 as non-positive", "Weighted F1 × 100 of positive against non-positive"),
        Metric("f1_weighted", "weighted F1", "F1 × 100 of the categories, weighted by their frequency"),
        Metric("accuracy", "accuracy", "Accuracy × 100"),
        Metric("balanced_accuracy", "balanced accuracy", "Mean recall × 100 of the categories"),
        Metric("auroc", "AUROC", "Area × 100 under the ROC curve, which no threshold moves", needs_outputs=True),
        Metric(
            "log_loss", "log loss", "Mean negative log-likelihood of the true category, in nats",
            percent=False, lower_is_better=True, bounds=(0.0, np.inf), needs_outputs=True,
        ),
        Metric(
            "calibration", "calibration error",
            f"Expected calibration error × 100: by how much confidence and accuracy differ, in {CALIBRATION_BINS} bins",
            lower_is_better=True, needs_outputs=True,
        ),
        Metric(
            "mae", "MAE", "Mean absolute error of the intensity",
            percent=False, lower_is_better=True, bounds=(0.0, np.inf), needs_outputs=True,
        ),
        Metric(
            "corr", "Corr", "Correlation (Pearson) of predicted and true intensity",
            percent=False, bounds=(-1.0, 1.0), needs_outputs=True,
        ),
        Metric("acc7", "Acc-7", "Accuracy × 100 of seven classes", needs_outputs=True),
        Metric("acc5", "Acc-5", "Accuracy × 100 of five classes", needs_outputs=True),
        Metric("acc3", "Acc-3", "Accuracy × 100 of three classes", needs_outputs=True),
        Metric("acc2", "Acc-2", f"Accuracy × 100 {_POLAR}", needs_outputs=True),
        Metric(
            "acc2_nonneg", "Acc-2, 0 as non-negative", "Accuracy × 100 of negative against non-negative",
            needs_outputs=True,
        ),
        Metric(
            "acc2_pos", "Acc-2, 0 as non-positive", "Accuracy × 100 of positive against non-positive",
            needs_outputs=True,
        ),
    )
}  # fmt: skip
_OF_CATEGORIES = {
    "f1": Metric("f1", "mean F1", "Mean of the weighted F1 × 100 of each category against the rest"),
}
_OF_POLARITY = {
    "auroc": replace(_METRICS["auroc"], text=f"Area × 100 under the ROC curve {_POLAR}"),
    "balanced_accuracy": replace(_METRICS["balanced_accuracy"], text=f"Mean recall × 100 {_POLAR}"),
}
ROUNDED = {"acc7": 3.0, "acc5": 2.0, "acc3": 1.0}
"""Classes of an intensity from -3 to 3: cut at ± this, then rounded."""
RESERVED = frozenset(name.removeprefix("f1_") for name in _METRICS if name.startswith("f1_"))
"""What no category may be called, since ``f1_<category>`` would be another metric."""


def metric(name: str, kind: str = "") -> Metric:
    """A metric by its name; ``f1_<category>`` is that category against the rest.

    Parameters
    ----------
    name : str
    kind : str
        Of the target, where title and text are to be those that the metric has there.

    Raises
    ------
    KeyError
        If there is none.
    """
    if name not in _METRICS and name.startswith("f1_"):
        category = name.removeprefix("f1_")
        return Metric(name, f"F1 {category}", f"Weighted F1 × 100 of {category} against the rest")
    own = {CATEGORY: _OF_CATEGORIES, POLARITY: _OF_POLARITY}.get(kind, {})
    return own.get(name) or _METRICS[name]


def category_of(name: str) -> str | None:
    """The category that a metric is of, ``happy`` for ``f1_happy``; None for one that is of all."""
    return name.removeprefix("f1_") if name.startswith("f1_") and name not in _METRICS else None


def metric_names(target: Target) -> list[str]:
    """All metrics that there are for a target; the field's own first, those that need no threshold behind.

    Polarity: ``f1`` (weighted F1, negative against positive, on samples whose label is not neutral), ``f1_nonneg``
    (negative against non-negative, all samples), ``accuracy`` (all samples). Category: ``f1`` (the mean of those that
    follow and are defined), ``f1_<category>`` (weighted F1 of it against the rest, undefined where no sample shows it),
    ``f1_weighted``, ``accuracy``. Both: ``auroc`` and ``balanced_accuracy`` (on the samples of ``f1``; the mean over
    categories), ``log_loss``, ``calibration``.

    Intensity, as MMSA's code has them: ``mae``, ``corr``; ``acc7``, ``acc5``, ``acc3`` (cut to ±3, ±2, ±1 and rounded,
    half to even; or classes by `Target.cuts`); ``acc2_nonneg`` and ``f1_nonneg`` (negative against non-negative),
    ``acc2`` and ``f1`` (negative against positive, without labels of 0), ``acc2_pos`` and ``f1_pos`` (positive against
    non-positive, as for CH-SIMS), where labels have signs.
    """
    if target.kind == INTENSITY:
        cuts = dict(target.cuts)
        classes = [name for name in ROUNDED if name in cuts or (not cuts and target.span == (-3.0, 3.0))]
        signs = ["acc2_nonneg", "f1_nonneg", "acc2", "f1", "acc2_pos", "f1_pos"]
        return ["mae", "corr", *classes, *(signs if target.span[0] < 0 < target.span[1] else ())]
    own = ["f1", "f1_nonneg", "accuracy"]
    if target.kind == CATEGORY:
        own = ["f1", *(f"f1_{name}" for name in target.categories), "f1_weighted", "accuracy"]
    return [*own, "auroc", "balanced_accuracy", "log_loss", "calibration"]


def usual_metrics(target: Target) -> list[str]:
    """Those that papers of the field print, for a task that lists none; the primary one first."""
    if target.kind == POLARITY:
        return ["f1", "f1_nonneg", "accuracy"]
    if target.kind == CATEGORY:
        return ["f1", *(f"f1_{name}" for name in target.categories), "accuracy"]
    return [name for name in metric_names(target) if not name.endswith("_pos")]
