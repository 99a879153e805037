"""Two summaries over settings: how evenly a model uses its modalities, and the worst that it does.

What the absence of a modality m costs a model is d_m = max(0, s(all) - s(all but m)), in points of a score s of which
more is better. With q_m = d_m / sum of d, the evenness is the entropy of these shares over its largest value,

    E = - sum over m of q_m ln q_m / ln M,

M the number of modalities: 1 where each absence costs the same, 0 where only one modality's does. Where no absence
costs anything, as with a floor, there is no evenness. Entropy so divided is Pielou's evenness ("The measurement of
diversity in different types of biological collections", Journal of Theoretical Biology, 1966); of what the absences of
modalities cost, it is the benchmark's own. It tells how costs are shared, not how large they are, and a model that does
better without a modality counts as one that does as well.

The worst case is the condition with the lowest mean score over seeds among those in which something, but not
everything, is missing or there is noise. It depends on which conditions were tested, so it compares rows of one table.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmark.evidence.scores import SETTING, TASK, setting_of
from benchmark.evidence.statistics import FLOORS, RUN, of_primary, over_seeds
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import Setting

_ROUNDING = 1e-6
"""Of a score as printed: a model that ignores a modality gives other numbers by as much, as batches are other ones."""


def evenness(costs: list[float]) -> float:
    """The entropy of the shares of what each modality's absence costs, over its largest value; see above.

    Parameters
    ----------
    costs : list of float
        One for each of at least two modalities; what is below 0, or no more than rounding, counts as 0.

    Returns
    -------
    float
        In [0, 1]; NaN where nothing costs anything, or a cost is NaN.
    """
    paid = np.maximum(np.array(costs, dtype=float), 0.0)
    paid[paid < _ROUNDING] = 0.0
    if len(paid) < 2 or np.isnan(paid).any() or paid.sum() == 0.0:
        return float("nan")
    shares = paid[paid > 0] / paid.sum()
    return float(-(shares * np.log(shares)).sum() / np.log(len(paid)) + 0.0)  # -0.0 is 0.0


def modality_costs(values: pd.DataFrame) -> pd.DataFrame:
    """What each modality's absence costs each trained model, and how even that is.

    Parameters
    ----------
    values : DataFrame
        As :func:`benchmark.evidence.statistics.average_draws` returns it.

    Returns
    -------
    DataFrame
        Columns `RUN`, `cost_l`, … for each modality of the data (NaN for one that they lack), in points of the primary
        metric, turned so that more is worse; and `evenness`. Models without one of the settings have no row.
    """
    primary = of_primary(values)
    primary = primary[primary["kind"].isin(["inter", "intra"]) & (primary["ratio"] == 0.0)]
    rows = []
    for run, own in primary.groupby([*RUN, *TASK], sort=False, observed=True):
        named = dict(zip([*RUN, *TASK], run, strict=True))
        scores, modalities = dict(zip(own["available"], own["value"], strict=True)), str(named["modalities"])
        sign = -1.0 if metric(str(named["metric"])).lower_is_better else 1.0
        without = {m: modalities.replace(m, "") for m in modalities}
        if not {"lav", *without.values()} <= scores.keys():
            continue
        costs = {m: sign * (scores["lav"] - scores[rest]) for m, rest in without.items()}
        even = float("nan") if named["method"] in FLOORS else evenness(list(costs.values()))
        rows.append(
            {name: named[name] for name in RUN}
            | {f"cost_{m}": costs.get(m, np.nan) for m in "lav"}
            | {"evenness": even}
        )
    return pd.DataFrame(rows, columns=[*RUN, "cost_l", "cost_a", "cost_v", "evenness"])


def worst_cases(values: pd.DataFrame) -> pd.DataFrame:
    """The condition in which each method does worst, by its mean primary score over seeds.

    Parameters
    ----------
    values : DataFrame
        As :func:`benchmark.evidence.statistics.average_draws` returns it.

    Returns
    -------
    DataFrame
        Columns `task, source, metric, method, condition, mean, std, seeds`; the first of conditions that are alike.
        A score that is undefined, with any seed, is worse than all others. Methods that were not tested with anything
        missing or noise have no row.
    """
    primary = of_primary(values)
    columns = ["kind", "available", "ratio", *([SETTING] if SETTING in primary else [])]
    conditions = [_condition(*row) for row in primary[columns].itertuples(index=False, name=None)]
    primary = primary.assign(condition=conditions)
    shown = primary[primary["condition"] != ""]
    if shown.empty:
        return pd.DataFrame(columns=["task", "source", "metric", "method", "condition", "mean", "std", "seeds"])
    means = over_seeds(shown, ["task", "source", "metric", "method", "condition"])
    signs = means["metric"].map({name: -1.0 if metric(str(name)).lower_is_better else 1.0 for name in means["metric"]})
    turned = (means["mean"] * signs.astype(float)).fillna(-np.inf)
    places = means.assign(turned=turned).groupby(["task", "source", "method"], sort=False, observed=True)["turned"]
    return means.loc[places.idxmin()].reset_index(drop=True)


def _condition(kind: str, available: str, ratio: float, said: str = "") -> str:
    """The name of a row's condition; empty where nothing is missing, or everything."""
    setting = setting_of(kind, available, ratio, said)
    return "" if setting == Setting() or setting.share == 1.0 else setting.condition
