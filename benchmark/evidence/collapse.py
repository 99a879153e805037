"""Models that no longer tell samples apart: one answer for all of a condition, or a category that never comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmark.evidence.collect import Model
from benchmark.evidence.statistics import FLOORS
from benchmark.protocol.target import INTENSITY


def collapsed(models: Sequence[Model]) -> dict[str, int]:
    """By condition, how many of a method's models give all test samples the same answer there.

    Parameters
    ----------
    models : sequence of Model
        Of one method on one task, a seed each.

    Returns
    -------
    dict of str to int
        Of an intensity, answers are the same that differ by less than a hundredth of the labels' standard deviation.
        With several draws of a setting, all of them must.
    """
    found: dict[str, int] = {}
    for model in models:
        if model.target.kind == INTENSITY:  # many a bin is as wide as all that a model says
            one = np.ptp(model.outputs[..., 0], axis=1) < 0.01 * model.labels.std()  # (S, N, 1) → (S,)
        else:
            one = (model.predicted == model.predicted[:, :1]).all(1)  # (S,)
        own: dict[str, bool] = {}
        for (setting, _), alike in zip(model.settings, one, strict=True):
            own[setting.condition] = bool(alike) and own.get(setting.condition, True)
        for condition, alike in own.items():
            found[condition] = found.get(condition, 0) + alike
    return found


def never_predicted(models: Iterable[Model]) -> dict[tuple[str, str], dict[str, list[str]]]:
    """By task and source, the categories that some methods predict with no seed in no condition, with these methods.

    The floors are left out, and tasks of intensity.
    """
    seen: dict[tuple[str, str], dict[str, NDArray[np.bool_]]] = {}
    names: dict[tuple[str, str], tuple[str, ...]] = {}
    for model in models:
        if model.method in FLOORS or model.target.kind == INTENSITY:
            continue
        where = model.task, model.source
        names[where] = model.target.categories
        counts = np.bincount(model.predicted.ravel(), minlength=len(names[where]))
        before = seen.setdefault(where, {}).get(model.method, np.zeros(len(names[where]), dtype=bool))
        seen[where][model.method] = before | (counts > 0)
    return {
        where: {
            category: lacking
            for k, category in enumerate(names[where])
            if (lacking := [method for method, there in by_method.items() if not there[k]])
        }
        for where, by_method in seen.items()
    }
