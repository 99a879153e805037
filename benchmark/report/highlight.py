"""Which methods stand out in figures of curves and dots: those asked for, or the reference and the two best others."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmark.evidence.statistics import AVERAGE, FLOORS, average_inter, of_primary
from benchmark.protocol.metrics import metric
from benchmark.report.figures import GREY, Looks, method_looks
from benchmark.report.naming import method_name, method_names

MOST_COLOURED = 6
"""Methods, floors not counted, up to which all are in colour."""

BEST = 2
"""Methods in colour besides the reference, where there are more."""

_REFERENCE = {"linewidth": 2.2, "markersize": 4.4, "zorder": 4}
_GREY = {"color": GREY, "marker": "", "linestyle": "-", "linewidth": 0.6, "zorder": 1.5}


def stand_out(
    values: pd.DataFrame, methods: Sequence[str], *, against: str | None = None, highlight: Sequence[str] = ()
) -> Looks:
    """How each method is drawn: the reference thick, few in colour, all others grey.

    In colour are the methods that were asked for; else, of up to `MOST_COLOURED`, all; of more, the reference and the
    two best others: by `Avg.` of the primary metric, by the mean of all settings where there is no `Avg.`, and of
    several tasks by the mean of their ranks in it. Floors are neither; they are dashes and dots everywhere.

    Parameters
    ----------
    values : DataFrame
        From :func:`benchmark.evidence.statistics.average_draws`, of the tasks that the figure shows.
    methods : sequence of str
        In the order of tables.
    against : str, optional
        The reference.
    highlight : sequence of str
        What was asked for.
    """
    looks = method_looks(methods)
    trained = [method for method in methods if method not in FLOORS]
    thick = [method for method in trained if method == against]
    said = [f"Thick: {method_name(against)}, the reference"] if thick else []
    asked = [method for method in trained if method in highlight and method not in thick]
    coloured = [*thick, *asked]
    if set(highlight) & set(trained):
        said += [f"in colour: {', '.join(method_names(asked))}, as was asked for"] if asked else []
    elif len(trained) <= MOST_COLOURED:
        coloured = trained
    else:
        ranked, by = _ranked(values)
        best = [method for method in ranked if method in trained and method not in thick][:BEST]
        coloured += best
        said.append(f"in colour: {' and '.join(method_names(best))}, the best {'others ' * len(thick)}by {by}")
    grey = [method for method in trained if method not in coloured]
    said += [f"grey: the other {len(grey)}"] if grey else []
    told = "; ".join(said)
    return Looks(
        looks | dict.fromkeys(grey, _GREY) | {method: looks[method] | _REFERENCE for method in thick},
        grey,
        f" {told[0].upper()}{told[1:]}." if told else "",
    )


def _ranked(values: pd.DataFrame) -> tuple[list[str], str]:
    """The methods that every task has, best first, and what by."""
    primary = of_primary(values)
    averages, by = average_inter(primary), AVERAGE
    if averages.empty:
        averages, by = primary, "the mean of all settings"
    by_task = averages.groupby(["task", "source", "metric", "method"], sort=False, observed=True)["value"].mean()
    means = by_task.unstack("method")
    signs = [-1.0 if metric(str(name)).lower_is_better else 1.0 for name in means.index.get_level_values("metric")]
    ranks = means.mul(signs, axis="index").rank(axis="columns", ascending=False).mean(skipna=False).dropna()
    by = by if len(means) == 1 else f"the mean of their ranks by task in {by}"
    return [str(method) for method in ranks.sort_values(kind="stable").index], by
