"""What tuning gave: the score that a budget buys, on validation and on test, and what became of the order of methods.

A method has one trial with its defaults and K with random configurations. Of a budget of n, the default and n of the
random ones are tried, and the one with the best validation score is chosen; of equal ones the earlier trial, and one
that failed never. In which order the random ones came is chance, so that what n of them give is the mean over all
orders, in closed form: a trial is the best of n where the n - 1 others are among those that lose to it.

This is the expected validation performance of Dodge et al. ("Show your work: improved reporting of experimental
results", EMNLP 2019), drawn without putting back, so that it ends at what was chosen; theirs, which puts back, stands
beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.evidence.readings import flat
from benchmark.protocol.metrics import metric

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Tuning:
    """The trials of a method on a task.

    Parameters
    ----------
    task, source : str
    method, tuned : str
        The rows with the defaults and with what was chosen, as they stand in tables.
    metric : str
        The task's primary one.
    valid, test : tuple of float, length K + 1
        Scores of the trials, the default's first: means over inter, intra and complete settings in equal parts. NaN for
        one that failed, or was not tested.
    values : tuple of dict, length K + 1
        What each trial sets; nothing for the default.
    opened : int
        Of how many trials the test split had been opened before the choice was made, as an earlier budget does.
    """

    task: str
    source: str
    method: str
    tuned: str
    metric: str
    valid: tuple[float, ...]
    test: tuple[float, ...]
    values: tuple[Mapping[str, Any], ...]
    opened: int = 0

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Tuning:
        """The inverse of `record`."""
        scores = {name: tuple(math.nan if x is None else float(x) for x in record[name]) for name in ("valid", "test")}
        return cls(**{**record, **scores, "values": tuple(record["values"])})

    @property
    def record(self) -> dict[str, Any]:
        """As the manifest keeps it: null is a score that is not there."""
        scores = {name: [None if math.isnan(x) else x for x in getattr(self, name)] for name in ("valid", "test")}
        return {**asdict(self), **scores, "values": [dict(own) for own in self.values]}

    def is_of(self, other: Tuning) -> bool:
        """Whether both are of the same trials, by their validation scores and what they set."""
        return np.array_equal(self.valid, other.valid, equal_nan=True) and self.values == other.values

    def with_tests(self, other: Tuning) -> Tuning:
        """With the test scores of `other` for trials that have none here, if it is of the same trials."""
        if not self.is_of(other):
            return self
        both = zip(self.test, other.test, strict=True)
        return replace(self, test=tuple(b if math.isnan(a) else a for a, b in both))

    @property
    def turned(self) -> float:
        """-1 where less is better, else 1."""
        return -1.0 if metric(self.metric).lower_is_better else 1.0

    @property
    def order(self) -> list[int]:
        """The trials, the one to choose first."""
        scores = np.nan_to_num(self.turned * np.array(self.valid), nan=-np.inf)
        return [int(place) for place in np.argsort(-scores, kind="stable")]

    @property
    def chosen(self) -> int:
        """The trial with the best validation score."""
        return self.order[0]

    @property
    def less_test(self) -> tuple[float, ...]:
        """By how much each trial's validation score is better than its test score; NaN where one of them is not there.

        Much of it is a difference of the splits, and of the epoch that was kept, which trials have in common.
        """
        return tuple(self.turned * (valid - test) for valid, test in zip(self.valid, self.test, strict=True))

    @property
    def optimism(self) -> float:
        """By how much validation flatters the choice: its `less_test`, less the mean of that over all trials."""
        known = [gap for gap in self.less_test if not math.isnan(gap)]
        return self.less_test[self.chosen] - (math.fsum(known) / len(known) if known else math.nan)

    @property
    def overtuned(self) -> bool | None:
        """Whether the choice tested worse than the default; None where one of them was not tested."""
        gain = self.turned * (self.test[self.chosen] - self.test[0])
        return None if math.isnan(gain) else gain < 0


def chances(order: Sequence[int], budget: int) -> Scores:
    """How likely each trial is chosen when the default, trial 0, and `budget` of the others are tried.

    Parameters
    ----------
    order : sequence of K + 1 int
        The trials, the best first.
    budget : int
        0 to K.

    Returns
    -------
    ndarray, shape (K + 1,)
        They sum to 1.
    """
    trials = len(order) - 1
    found = np.zeros(trials + 1)
    for place, trial in enumerate(order):
        if trial == 0:
            found[0] = comb(trials - place, budget) / comb(trials, budget)
            break  # nothing that loses to the default is ever chosen
        if budget:  # it is among them, and the others are of the random ones that lose to it
            found[trial] = comb(trials - place - 1, budget - 1) / comb(trials, budget)
    return found


def expected(scores: Sequence[float], weights: Scores) -> float:
    """The mean of some scores; NaN where one that counts is not known."""
    counting = weights > 0
    return float(np.asarray(scores)[counting] @ weights[counting])


def with_replacement(tuning: Tuning, budget: int) -> float:
    """Dodge et al.'s expected best validation score of `budget` draws of random trials; at least the default's."""
    first, *others = tuning.turned * np.array(tuning.valid)
    if np.isnan(first):
        return float("nan")
    best = np.sort(np.fmax(others, first))  # a trial that failed gives no more than the default
    shares = (np.arange(len(best) + 1) / max(1, len(best))) ** budget
    return float(tuning.turned * (best @ np.diff(shares) if budget else first))


def by_budget(tunings: Iterable[Tuning]) -> pd.DataFrame:
    """What each budget is expected to give.

    Returns
    -------
    DataFrame
        ``task, source, method, metric, budget, valid, with_replacement, test, rank``: `budget` random configurations
        are tried besides the default; `rank` is the method's by `test` among the task's methods, at budgets and scores
        that all of them have.
    """
    rows = [
        {
            "task": own.task,
            "source": own.source,
            "method": own.method,
            "metric": own.metric,
            "budget": budget,
            "valid": expected(own.valid, weights := chances(own.order, budget)),
            "with_replacement": with_replacement(own, budget),
            "test": expected(own.test, weights),
            "turned": own.turned,
        }
        for own in tunings
        for budget in range(len(own.valid))
    ]
    if not rows:
        return pd.DataFrame()
    found = pd.DataFrame(rows)
    same = [found["task"], found["source"], found["budget"]]
    methods = found.groupby(same[:2])["method"].transform("nunique")
    known = found["test"].groupby(same).transform("count") == methods
    rank = (found["test"] * found["turned"]).groupby(same).rank(method="min", ascending=False)
    return found.assign(rank=rank.where(known)).drop(columns="turned")


def outcomes(tunings: Sequence[Tuning], intervals: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """What tuning gave each method on the test split, by the rows that were trained anew with fresh seeds.

    Parameters
    ----------
    tunings : sequence of Tuning
        Those without both rows in `pairs` are left out.
    intervals, pairs : DataFrame
        Of :class:`benchmark.evidence.stored.Evidence`.

    Returns
    -------
    DataFrame
        ``task, source, method, tuned, metric, condition, default_mean, tuned_mean, gain, low, high, p, default_rank,
        tuned_rank, trials, chosen, values, valid, test, less_test, optimism, overtuned, opened``: `gain` is tuned less
        default in `condition`, with the ends of its 95 % interval; `p` is NaN where the default was chosen, since both
        rows are the same models; ranks are among the task's methods with their defaults, and tuned.
    """
    rows = []
    for own in tunings:
        found = _difference(own.task, own.source, own.tuned, own.method, pairs)
        if found is None:
            continue
        means = {
            name: _mean(intervals, own, row, found["condition"])
            for name, row in (("default_mean", own.method), ("tuned_mean", own.tuned))
        }
        rows.append(
            {
                **{name: getattr(own, name) for name in ("task", "source", "method", "tuned", "metric")},
                "condition": found["condition"],
                **means,
                **{name: found[name] for name in ("gain", "low", "high")},
                "p": found["p"] if own.chosen else np.nan,
                "trials": len(own.valid) - 1,
                "chosen": own.chosen,
                "values": tell_values(own.values[own.chosen]),
                "valid": own.valid[own.chosen],
                "test": own.test[own.chosen],
                "less_test": own.less_test[own.chosen],
                "optimism": own.optimism,
                "overtuned": own.overtuned,
                "opened": own.opened,
                "turned": own.turned,
            }
        )
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    for way in ("default", "tuned"):
        turned = table[f"{way}_mean"] * table["turned"]
        table[f"{way}_rank"] = turned.groupby([table["task"], table["source"]]).rank(method="min", ascending=False)
    return table.drop(columns="turned")


def tell_values(values: Mapping[str, Any]) -> str:
    """``learning_rate 0.0012, layers 3``; ``the default`` where nothing is set."""
    told = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in flat(values).items()
    ]
    return ", ".join(told) or "the default"


def against_reference(tunings: Sequence[Tuning], pairs: pd.DataFrame, against: str) -> pd.DataFrame:
    """Each method less the reference, both with their defaults and both tuned.

    Returns
    -------
    DataFrame
        ``task, source, method, default, tuned, default_p, tuned_p, changed``: differences in the pairs' condition, and
        whether they have opposite signs. Empty where the reference was not tuned.
    """
    rows = []
    for reference in (own for own in tunings if own.method == against):
        where = reference.task, reference.source
        for own in tunings:
            if (own.task, own.source) != where or own.method == against:
                continue
            before = _difference(*where, own.method, reference.method, pairs)
            after = _difference(*where, own.tuned, reference.tuned, pairs)
            if before is not None and after is not None:
                changed = before["gain"] * after["gain"] < 0
                differences = before["gain"], after["gain"], before["p"], after["p"]
                rows.append((*where, own.method, *differences, changed))
    columns = ["task", "source", "method", "default", "tuned", "default_p", "tuned_p", "changed"]
    return pd.DataFrame(rows, columns=columns)


def _difference(task: str, source: str, one: str, other: str, pairs: pd.DataFrame) -> dict[str, Any] | None:
    """What `pairs` say of a row less another, whichever way round they say it; None where they say nothing."""
    if pairs.empty:
        return None
    here = pairs[(pairs["task"] == task) & (pairs["source"] == source)]
    for sign, method, against in ((1.0, one, other), (-1.0, other, one)):
        found = here[(here["method"] == method) & (here["against"] == against)]
        if not found.empty:
            row = found.iloc[0]
            gain, *ends = (sign * row[name] + 0.0 for name in ("difference", "low", "high"))  # no -0.0
            names = {"condition": row["condition"], "p": row["p"]}
            return {"gain": gain, "low": min(ends), "high": max(ends), **names}
    return None


def _mean(intervals: pd.DataFrame, own: Tuning, row: str, condition: str) -> float:
    wanted = {"task": own.task, "source": own.source, "metric": own.metric, "method": row, "condition": condition}
    here = intervals[(intervals[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    return float(here["mean"].iloc[0]) if len(here) else float("nan")
