"""From scores to means and standard deviations over seeds.

Everything starts at the tidy scores (one row a number, as in ``scores.csv``) and stays a data frame. The
order is always the same: average the draws of a mask within a seed, average over conditions within a seed
where a table asks for it, and only then look across seeds, so that a deviation is one between trained models.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.evidence.scores import SETTING, TASK
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import SUBSETS, incomplete_subsets

INCOMPLETE = SUBSETS[:-1]
"""The six subsets that lack a modality; `Avg.` is over these, or those of them that the data have."""

AVERAGE, DROP, AREA = "Avg.", "drop", "AUDC"
"""Conditions of several settings: the mean of the six, complete less that, the area under the degradation curve."""

DERIVED = "derived"
"""Their kind."""

FLOORS = ("constant", "random")
"""Rows that are no method: what guessing gives."""

LEAST_BLOCKS = 10
"""Data sets that a test of ranks takes."""

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
        Columns `task, source, method, seed, metric, kind, available, ratio, target, modalities, value, n`, and
        `setting` where the scores have it, rows in the order of `scores`. The value is NaN where one of the draws is.

    Raises
    ------
    ValueError
        If there are two numbers for the same model, metric, setting and draw, as from two versions of a
        method.
    """
    setting = [*RUN, "kind", "available", "ratio", *([SETTING] if SETTING in scores else [])]
    scores = scores.assign(ratio=scores["ratio"].astype(float).round(6))  # 0.1 + 0.2 is p=0.3
    twice = scores.duplicated([*setting, "draw"])
    if twice.any():
        first = scores.loc[twice, [*setting, "draw"]].iloc[0].to_dict()
        raise ValueError(f"{int(twice.sum())} scores stand there twice, the first of {first}; keep one key per cell")
    groups = scores.groupby([*setting, *TASK], sort=False, observed=True)
    return pd.DataFrame({"value": groups["value"].mean(skipna=False), "n": groups["n"].max()}).reset_index()


def average_inter(values: pd.DataFrame) -> pd.DataFrame:
    """`Avg.`: each trained model's mean of the conditions that lack a modality, without the complete one.

    Parameters
    ----------
    values : DataFrame
        As :func:`average_draws` returns it.

    Returns
    -------
    DataFrame
        Columns `task, source, method, seed, metric, target, modalities, value`; a model that was not tested in one of
        the six (of the two, where the data have two modalities) has no row, and NaN where one of its scores is.
    """
    six = values[(values["kind"] == "inter") & (values["ratio"] == 0.0)]
    groups = six.groupby([*RUN, *TASK], sort=False, observed=True)["value"]
    found = pd.DataFrame({"value": groups.mean(skipna=False), "count": groups.size()}).reset_index()
    wanted = {own: len(incomplete_subsets(own)) for own in found["modalities"].unique()}
    return found[found["count"] == found["modalities"].map(wanted)].drop(columns="count").reset_index(drop=True)


def whole_frames(values: pd.DataFrame) -> pd.Series:
    """Which rows are of settings in which no frames are missing, but perhaps whole modalities."""
    return values["kind"].isin(["inter", "intra"]) & (values["ratio"] == 0.0)


def of_primary(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of each task's primary metric, the first that stands among its scores."""
    first = scores.groupby(["task", "source"], sort=False, observed=True)["metric"].transform("first")
    return scores[scores["metric"] == first]


def over_seeds(values: pd.DataFrame, by: list[str], *, of_defined: bool = False) -> pd.DataFrame:
    """Mean, standard deviation and number of seeds within each group.

    Parameters
    ----------
    values : DataFrame
        One row per seed in each group, the number in `value`; NaN rows do not count as seeds.
    by : list of str
        The columns that make a group.
    of_defined : bool
        Of a group with NaN rows, take the mean of the others. By default there is none: a method is not to gain by the
        seeds that leave it without a score.

    Returns
    -------
    DataFrame
        Columns `by`, `mean`, `std` (ddof = 1, NaN for one seed) and `seeds`.
    """
    groups = values.groupby(by, sort=False, observed=True)["value"]
    found = groups.agg(mean="mean", std="std", seeds="count", rows="size").reset_index()
    if not of_defined:
        found.loc[found["seeds"] < found["rows"], ["mean", "std"]] = np.nan
    return found.drop(columns="rows")


def missing_conditions(values: pd.DataFrame) -> pd.DataFrame:
    """The primary scores of the conditions in which something, but not everything, is missing.

    Parameters
    ----------
    values : DataFrame
        As :func:`average_draws` returns it.

    Returns
    -------
    DataFrame
        The rows of the primary metric in the six incomplete subsets, and at ratios above 0 and below 1 on all
        modalities; their values turned, where less is better, so that more is.
    """
    primary = of_primary(values)
    subset = (primary["kind"] == "inter") & (primary["ratio"] == 0.0)
    frames = (primary["kind"] == "intra") & primary["ratio"].between(0.0, 1.0, inclusive="neither")
    found = primary[subset | frames]
    signs = {name: -1.0 if metric(name).lower_is_better else 1.0 for name in found["metric"].unique()}
    return found.assign(value=found["value"] * found["metric"].map(signs).astype(float))


def condition_blocks(values: pd.DataFrame) -> pd.DataFrame:
    """Mean primary score over seeds in each task and missing condition.

    Parameters
    ----------
    values : DataFrame
        As :func:`average_draws` returns it.

    Returns
    -------
    DataFrame
        A row for each task, source and condition; a column for each method. Only rows in which every method stands.
    """
    block = ["task", "source", "available", "ratio"]
    return _over_seeds(missing_conditions(values), block).unstack("method").dropna()


def _over_seeds(values: pd.DataFrame, block: list[str]) -> pd.Series:
    """Means by block and method; -inf, the worst, where a score is undefined, so that nobody gains by it."""
    by = [*block, "method"]
    return values.groupby(by, observed=True)["value"].mean(skipna=False).fillna(-np.inf)


def ranks(blocks: pd.DataFrame) -> pd.DataFrame:
    """Average rank and win rate of each method over blocks, on means over seeds.

    Parameters
    ----------
    blocks : DataFrame
        As :func:`rank_blocks` returns it.

    Returns
    -------
    DataFrame
        Index `method`; columns `rank` (1 is best, ties share), `wins` (the percentage of comparisons with another
        method in a block that it wins, a tie counting half) and `blocks` (their number). Empty where there
        are no blocks, or a single method.
    """
    if blocks.empty or blocks.shape[1] < 2:
        return pd.DataFrame(columns=["rank", "wins", "blocks"])
    rank = blocks.round(6).rank(axis=1, ascending=False).mean()
    wins = 100 * (blocks.shape[1] - rank) / (blocks.shape[1] - 1)  # ranks count, ties halved, how many are ahead
    return pd.DataFrame({"rank": rank, "wins": wins, "blocks": len(blocks)})


def counted_tasks(scores: pd.DataFrame, blocks: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of task and source that some blocks are of, in the order of the scores."""
    counted = set(zip(*(blocks.index.get_level_values(name) for name in ("task", "source")), strict=True))
    pairs = scores[["task", "source"]].drop_duplicates().itertuples(index=False, name=None)
    return [pair for pair in pairs if pair in counted]


def data_set_blocks(values: pd.DataFrame) -> pd.DataFrame:
    """Mean primary score over the missing conditions, for a critical-difference diagram.

    Parameters
    ----------
    values : DataFrame
        As :func:`average_draws` returns it.

    Returns
    -------
    DataFrame
        A row for each task; a column for each method, the mean over its seeds. Only rows in which every method stands.
        Seeds are no blocks: they share a test split, so that they are not independent.
    """
    means = condition_blocks(values)  # the conditions that every method was tested in
    return means.groupby(["task", "source"]).mean()


def rank_blocks(values: pd.DataFrame) -> pd.DataFrame:
    """What ranks, wins and losses are counted over, in tables and figures alike.

    Parameters
    ----------
    values : DataFrame
        As :func:`average_draws` returns it.

    Returns
    -------
    DataFrame
        :func:`data_set_blocks` where these are enough for a test of ranks, else :func:`condition_blocks`.
    """
    sets = data_set_blocks(values)
    return sets if len(sets) >= LEAST_BLOCKS else condition_blocks(values)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's correction (Scandinavian Journal of Statistics, 1979) along the first axis; NaN stay out.

    Parameters
    ----------
    p : ndarray, shape (M, ...)

    Returns
    -------
    ndarray, shape (M, ...)
    """
    order = np.argsort(p, axis=0)  # NaN last
    ranked = np.take_along_axis(p, order, axis=0)
    tests = (~np.isnan(p)).sum(0)
    factors = tests - np.arange(len(p)).reshape(-1, *[1] * (p.ndim - 1))
    corrected = np.minimum(np.maximum.accumulate(ranked * factors, axis=0), 1.0)
    result = np.empty_like(corrected)
    np.put_along_axis(result, order, corrected, axis=0)
    return result


def seed_level_test(values: pd.DataFrame, against: str, *, alpha: float, called: Callable[[str], str] = str) -> str:
    """Wilcoxon's signed-rank test of `Avg.` over seeds, or how many seeds it would take to be of any use, in words.

    Parameters
    ----------
    values : DataFrame
        As :func:`average_inter` returns it, of one task, source and metric.
    against : str
        The method that all others are compared with.
    alpha : float
    called : callable
        Gives the name that a method is printed by.

    Returns
    -------
    str
        Empty where there is nothing to compare.
    """
    table = values.pivot(index="seed", columns="method", values="value").dropna()
    others = [method for method in table.columns if method != against]
    if against not in table or not others or table.empty:
        return ""
    seeds, least = len(table), 2.0 ** (1 - len(table))
    if least * len(others) >= alpha:
        enough = math.floor(math.log2(2 * len(others) / alpha)) + 1
        count = "one seed" if seeds == 1 else f"{seeds} seeds"
        return (
            f"Over seeds alone, Wilcoxon's signed-rank test can tell no method from {called(against)}: with {count} "
            f"its least p is {least:.3g}, before Holm's correction for {len(others)} comparisons; it would take "
            f"{enough} seeds."
        )
    from scipy import stats  # most of a second, and a command that only plans needs none of it

    p = holm(np.array([stats.wilcoxon(table[m], table[against], zero_method="zsplit").pvalue for m in others]))
    listed = ", ".join(f"{called(str(method))} p = {value:.3g}" for method, value in zip(others, p, strict=True))
    versus = f"Avg. against {called(against)}"
    return f"Wilcoxon's signed-rank test over {seeds} seeds, {versus}, two-sided, after Holm: {listed}."
