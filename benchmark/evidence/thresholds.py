"""What a missing condition costs: how much of the loss of F1 is a shifted threshold, and how much is lost information.

F1 needs categories, and so a threshold: a method says yes where its score is above 0. Where modalities or frames are
missing, scores shift as a whole, and F1 falls though they may still order the samples as well as before. To tell the
two apart, F1 is computed a second time, with the threshold that is best on the validation split under the same
condition. Of a condition c, with c0 the complete one, the loss of F1 is

    F1(c0) - F1(c)  =  [F1*(c0) - F1*(c)]  +  the rest
                       information            threshold

with F1 as predicted and F1* with thresholds of the validation split. Information is what is lost even where the
threshold is moved to its best place in both conditions; the rest, which is the shift of the threshold, is what moving
it there gives back in c beyond what it gives in c0. It may be below 0. No source has this definition; it is the
benchmark's own.

Of what thresholds are, :mod:`benchmark.protocol.thresholds` tells.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from benchmark.evidence.collect import Model
from benchmark.evidence.statistics import AVERAGE, DERIVED, FLOORS
from benchmark.protocol.metrics import metric_names
from benchmark.protocol.missing import Setting, incomplete_subsets

SPLIT = ["loss", "threshold", "information"]


def split_losses(models: Iterable[Model]) -> pd.DataFrame:
    """The loss of F1 of each method in each condition, and its two parts, in points.

    Parameters
    ----------
    models : iterable of Model
        The floors, models tested without the complete condition, and those whose `thresholds` are not known, are left
        out.

    Returns
    -------
    DataFrame
        ``task, source, method, condition, kind, available, ratio, f1, f1_moved, loss, threshold, information, std_loss,
        std_threshold, std_information, seeds``: means and standard deviations over seeds; `f1_moved` is F1*. With
        `Avg.`, the mean of the conditions that lack a modality, where all of these are there.
    """
    rows: list[dict[str, object]] = []
    for model in models:
        if model.thresholds is None or model.method in FLOORS or all(s != Setting() for s, _ in model.settings):
            continue
        rows += _of_model(model)
    if not rows:
        return pd.DataFrame()
    by = ["task", "source", "method", "condition", "kind", "available", "ratio"]
    groups = pd.DataFrame(rows).groupby(by, sort=False, dropna=False)
    means = groups[["f1", "f1_moved", *SPLIT]].mean()
    spread = groups[SPLIT].std().add_prefix("std_")
    return pd.concat([means, spread, groups.size().rename("seeds")], axis=1).reset_index()


def unknown_methods(models: Iterable[Model]) -> dict[tuple[str, str], list[str]]:
    """By task and source, the methods of which no model tells the split, though there is an F1; without the floors."""
    found: dict[tuple[str, str], dict[str, bool]] = {}
    for model in models:
        if model.method not in FLOORS and "f1" in metric_names(model.target):
            own = found.setdefault((model.task, model.source), {})
            own[model.method] = own.get(model.method, False) or model.thresholds is not None
    return {where: [method for method, known in own.items() if not known] for where, own in found.items()}


def _of_model(model: Model) -> list[dict[str, object]]:
    assert model.thresholds is not None
    draws: dict[Setting, list[int]] = {}
    for place, (setting, _) in enumerate(model.settings):
        draws.setdefault(setting, []).append(place)
    scores = {setting: model.thresholds[:, own].mean(1) for setting, own in draws.items()}  # each (2,)
    named = {setting: (setting.condition, setting.kind, setting.available, setting.share) for setting in scores}
    shown = {
        named[setting]: values
        for setting, values in scores.items()
        if setting.kind == Setting().kind or (setting.kind == "inter" and setting.ratio == 0.0)
    }
    lacking = [Setting(subset) for subset in incomplete_subsets(model.modalities)]
    if all(setting in scores for setting in lacking):
        shown[AVERAGE, DERIVED, "", np.nan] = np.mean([scores[setting] for setting in lacking], axis=0)
    whole = scores[Setting()]
    rows: list[dict[str, object]] = []
    for (condition, kind, available, ratio), values in shown.items():
        loss, information = (whole - values).tolist()
        rows.append(
            {
                "task": model.task, "source": model.source, "method": model.method, "condition": condition,
                "kind": kind, "available": available, "ratio": ratio, "f1": values[0], "f1_moved": values[1],
                "loss": loss, "threshold": loss - information, "information": information,
            }
        )  # fmt: skip
    return rows
