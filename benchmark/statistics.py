"""From scores to means and standard deviations over seeds.

Everything starts at the tidy scores (one row a number, as in ``scores.csv``) and stays a data frame. The
order is always the same: average the draws of a mask within a seed, average over conditions within a seed
where a table asks for it, and only then look across seeds, so that a deviation is one between trained models.
"""

from __future__ import annotations

import pandas as pd

from benchmark.missing import SUBSETS

INCOMPLETE = SUBSETS[:-1]
"""The six subsets that lack a modality; `Avg.` is over these."""

AVERAGE, DROP, AREA = "Avg.", "drop", "AUDC"
"""Conditions of several settings: the mean of the six, complete less that, the area under the degradation curve."""

DERIVED = "derived"
"""Their kind."""

RUN = ["task", "source", "method", "seed", "metric"]
"""What tells one trained model's numbers of one metric from all others."""


def average_draws(scores: pd.DataFrame) -> pd.DataFrame:
    """One value per trained model, metric and setting: the mean over draws.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.

    Returns
    -------
    DataFrame
        Columns `task, source, method, seed, metric, available, ratio, value, n`, rows in the order of
        `scores`. The value is NaN where one of the draws is.

    Raises
    ------
    ValueError
        If there are two numbers for the same model, metric, setting and draw, as from two versions of a
        method.
    """
    setting = [*RUN, "available", "ratio"]
    scores = scores.assign(ratio=scores["ratio"].astype(float).round(6))  # 0.1 + 0.2 is p=0.3
    twice = scores.duplicated([*setting, "draw"])
    if twice.any():
        first = scores.loc[twice, [*setting, "draw"]].iloc[0].to_dict()
        raise ValueError(f"{int(twice.sum())} scores stand there twice, the first of {first}; keep one key per cell")
    groups = scores.groupby(setting, sort=False, observed=True)
    return pd.DataFrame({"value": groups["value"].mean(skipna=False), "n": groups["n"].max()}).reset_index()


def average_inter(values: pd.DataFrame) -> pd.DataFrame:
    """`Avg.`: each trained model's mean of the six conditions that lack a modality, without {l,a,v}.

    Parameters
    ----------
    values : DataFrame
        As :func:`average_draws` returns it.

    Returns
    -------
    DataFrame
        Columns `task, source, method, seed, metric, value`; a model that lacks one of the six has no row.
    """
    six = values[values["available"].isin(INCOMPLETE) & (values["ratio"] == 0.0)]
    groups = six.groupby(RUN, sort=False, observed=True)["value"]
    return groups.mean()[groups.count() == len(INCOMPLETE)].reset_index()


def over_seeds(values: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean, standard deviation and number of seeds within each group.

    Parameters
    ----------
    values : DataFrame
        One row per seed in each group, the number in `value`; NaN rows do not count as seeds.
    by : list of str
        The columns that make a group.

    Returns
    -------
    DataFrame
        Columns `by`, `mean`, `std` (ddof = 1, NaN for one seed) and `seeds`.
    """
    groups = values.groupby(by, sort=False, observed=True)["value"]
    return groups.agg(mean="mean", std="std", seeds="count").reset_index()
