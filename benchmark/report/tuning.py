"""What tuning gave, as a table, a figure of the score by budget, and a line on which comparisons change their sign."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, MultipleLocator

from benchmark.evidence.comparisons import ALPHA
from benchmark.protocol.metrics import metric
from benchmark.report.content import Block, Cell, Picture, Table
from benchmark.report.curves import label_ends
from benchmark.report.figures import (
    GREY,
    TWO_COLUMNS,
    Look,
    Looks,
    about_one_task,
    axis_label,
    look_of,
    new_figure,
    styled,
)
from benchmark.report.naming import method_name, method_names
from benchmark.report.tables import number_range, order_methods

COLOURED = 3
"""Methods in colour besides the reference: those whose place changes most."""

_RANKS = 8
"""At most so many ranks are written at the axis."""

_GREY = {"color": GREY, "linewidth": 0.7, "zorder": 2}
_PANELS = {"valid": "chosen by: validation", "test": "what was chosen, on test", "rank": "order on test"}


def tuning_table(scores: Table, outcomes: pd.DataFrame) -> Table | None:
    """Each method with its defaults and tuned.

    Parameters
    ----------
    scores : Table
        Any table of the task.
    outcomes : DataFrame
        Of the task and source, from :func:`benchmark.evidence.tuning.outcomes`.

    Returns
    -------
    Table or None
        None where nothing was tuned.
    """
    if outcomes.empty:
        return None
    own = outcomes.set_index("method")
    methods = [method for method in scores.methods if method in own.index]
    condition, said = str(own["condition"].iloc[0]), metric(str(own["metric"].iloc[0]), scores.target)
    columns = [
        f"{condition}, default", f"{condition}, tuned", "tuned less default", "rank", "validation", "less test",
        "optimism", "overtuned", "chosen",
    ]  # fmt: skip

    def cells(method: str) -> list[Cell]:
        row, places = own.loc[method], said.decimals

        def number(name: str, sign: str = "") -> str:
            return "" if pd.isna(row[name]) else f"{row[name]:{sign}z.{places}f}"

        ends = f"[{number('low', '+')}, {number('high', '+')}]" if pd.notna(row["low"]) else ""
        rank = [f"{row[name]:.0f}" for name in ("default_rank", "tuned_rank") if pd.notna(row[name])]
        return [
            Cell(number("default_mean")),
            Cell(number("tuned_mean")),
            Cell(number("gain", "+"), ends),
            Cell(" → ".join(rank) if len(rank) == 2 else ""),
            Cell(number("valid")),
            Cell(number("less_test", "+")),
            Cell(number("optimism", "+")),
            Cell("" if pd.isna(row["overtuned"]) else "yes" if row["overtuned"] else "no"),
            Cell(str(row["values"])),
        ]

    better = "less is better" if said.lower_is_better else "more is better"
    return replace(
        scores,
        stem=f"{scores.prefix}_tuning",
        title="Default and tuned",
        kind="tuning",
        caption=(
            f"{said.title} ({better}) of each method with its defaults and with the best of these and of "
            f"{number_range(own['trials'])} random configurations by the validation score; both rows trained anew with "
            f"fresh seeds. Tuned less default: paired difference of {condition} on test with its 95 % interval. Rank: "
            "among the methods with their defaults → among the tuned. Validation: the score that the choice was made "
            "by, over inter, intra and complete settings in equal parts; less test: by how much it is better than the "
            "same trial's score on test, which nothing was chosen by; optimism: this, less its mean over all trials of "
            "the method, so that it is what comes of choosing, not of one split being easier. Overtuned: the choice "
            "tested worse than the default, trial against trial. Of what other configurations would have given, the "
            "interval says nothing."
        ),
        methods=methods,
        columns=columns,
        summary=outcomes.drop(columns=["task", "source"]),
        blocks=[Block("", [(method, cells(method)) for method in methods])],
        words=("rank", "overtuned", "chosen"),
        metrics={},
        notes=_opened(own.loc[methods]),
        reference="",
    )


def _opened(outcomes: pd.DataFrame) -> tuple[str, ...]:
    """Whose trials could have been tested before the choice; nothing where that is so of none."""
    early = outcomes[outcomes["opened"] > 0]
    if early.empty:
        return ()
    told = ", ".join(
        f"{method_name(method)} ({row.opened} of {row.trials + 1} trials)" for method, row in early.iterrows()
    )
    return (
        f"The test split had been opened before the choice was made, as an earlier budget does, for trials of {told}; "
        "choices are made of validation predictions alone.",
    )


def tuning_figure(
    budgets: pd.DataFrame,
    order: Sequence[str] | None = None,
    *,
    prefix: str,
    against: str | None = None,
) -> Picture | None:
    """What each budget is expected to give on validation and on test, and the methods' order at each.

    Parameters
    ----------
    budgets : DataFrame
        Of one task and source, from :func:`benchmark.evidence.tuning.by_budget`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with.
    against : str, optional
        The reference, which is drawn thick.

    Returns
    -------
    Picture or None
        None where nothing was tried but the defaults.
    """
    if budgets.empty or budgets["budget"].max() < 1:
        return None
    _, about = about_one_task(budgets)
    words = axis_label(str(budgets["metric"].iloc[0]))
    methods = order_methods(list(budgets["method"]), order)
    lines = Looks(dict.fromkeys(methods, _GREY) | _coloured(budgets, against))
    shown = {name: title for name, title in _PANELS.items() if budgets[name].notna().any()}
    ranked = "rank" in shown
    height = max(1.7, 0.12 * len(methods) + 0.5)
    with styled():
        figure = new_figure(TWO_COLUMNS, (1 + ranked) * height + 0.45, about)
        grid = figure.add_gridspec(1 + ranked, 2)
        for place, (name, title) in enumerate(shown.items()):
            axes = figure.add_subplot(grid[1, :] if name == "rank" else grid[0, place])
            _curves(axes, budgets, name, lines)
            axes.set_title(title)
            axes.set_xlabel("random configurations tried besides the default")
            axes.set_ylabel("rank (1 is best)" if name == "rank" else words)
        label_ends(figure, [[axes] for axes in figure.axes], methods, lines)
    thick = f"; {method_name(against)} is thick" if against in methods else ""
    what = "Expected score of the best of the default and n random configurations, against n"
    end = "below, the order of the methods by the latter" if ranked else "no order, since not all methods were tested"
    caption = (
        f"{about} {what}: the validation score that it is chosen by, and the test score of the choice, over inter, "
        "intra and complete settings in equal parts; mean over all orders of the configurations (expected validation "
        "performance, Dodge et al., EMNLP 2019, without putting back; the csv file has theirs, too). A trial is a "
        f"model of one seed. A trial was tested when its method's choice was stored; {end}{thick}; in colour the "
        "methods whose place changes most."
    )
    alt = f"{what}, on validation and on test, a line a method, for {', '.join(method_names(methods))}. {about}"
    alt += f" The numbers are in tables/{prefix}_tuning_budget.csv."
    return Picture(
        f"{prefix}_tuning_budget", "What a budget buys", caption, alt, figure,
        numbers=budgets.drop(columns=["task", "source"]),
    )  # fmt: skip


def _coloured(budgets: pd.DataFrame, against: str | None) -> dict[str, Look]:
    """How the reference is drawn, and the methods whose place on test changes most with the budget."""
    spans = budgets.groupby("method", sort=False)["rank"].agg(lambda rank: rank.max() - rank.min())
    spans = spans[(spans > 0) & (spans.index != against)].sort_values(ascending=False, kind="stable")
    found = {str(method): look_of(str(method)) | {"linewidth": 1.3, "zorder": 3} for method in spans.index[:COLOURED]}
    if against in set(budgets["method"]):
        found[str(against)] = look_of(str(against)) | {"linewidth": 2.2, "zorder": 4}
    return {method: look | {"marker": ""} for method, look in found.items()}


def _curves(axes: Axes, budgets: pd.DataFrame, name: str, lines: Mapping[str, Look]) -> None:
    """A line a method, which bears its name as its id."""
    for method, line in lines.items():
        rows = budgets[(budgets["method"] == method) & budgets[name].notna()].sort_values("budget")
        axes.plot(rows["budget"], rows[name], **line)[0].set_gid(method)
    axes.set_xlim(0, int(budgets["budget"].max()))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    if name == "rank":
        axes.yaxis.set_inverted(True)
        axes.yaxis.set_major_locator(MultipleLocator(math.ceil(len(lines) / _RANKS), offset=1))  # no rank is 0


def tell_changes(changes: pd.DataFrame, against: str | None) -> str:
    """Which comparisons with the reference change their sign when both are tuned; empty where none could be made.

    Parameters
    ----------
    changes : DataFrame
        Of one task and source, from :func:`benchmark.evidence.tuning.against_reference`.
    against : str or None
    """
    if changes.empty:
        return ""
    turned = changes[changes["changed"]]
    compared = f"{len(changes)} {'comparison' if len(changes) == 1 else 'comparisons'} with {method_name(against)}"
    if turned.empty:
        return f"Tuned in place of default, none of {compared} changes its sign."
    changed = "changes its" if len(turned) == 1 else "change their"
    told = [f"{method_name(row.method)} ({row.default:+.2f} → {row.tuned:+.2f})" for row in turned.itertuples()]
    clear = turned.loc[(turned["default_p"] < ALPHA) & (turned["tuned_p"] < ALPHA), "method"]
    tested = f"of {', '.join(method_names(clear))}" if len(clear) else "of none of these"
    return (
        f"Tuned in place of default, {len(turned)} of {compared} {changed} sign: {', '.join(told)}; {tested}, tests "
        f"tell both differences from 0 (p < {ALPHA:g}, uncorrected)."
    )
