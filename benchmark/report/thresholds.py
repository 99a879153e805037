"""How the loss of F1 splits into a shifted threshold and lost information: a table and a figure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from benchmark.evidence.statistics import AVERAGE, INCOMPLETE
from benchmark.evidence.thresholds import SPLIT
from benchmark.protocol.missing import Setting
from benchmark.report.content import Block, Cell, Picture, Table
from benchmark.report.figures import (
    TWO_COLUMNS,
    about_one_task,
    add_legend,
    fitting_size,
    new_figure,
    panel_grid,
    styled,
)
from benchmark.report.naming import method_name, method_names
from benchmark.report.tables import COMPLETE, number_range, order_methods

COLOURS = {"information": "#0072B2", "threshold": "#E69F00"}
DEFINED = (
    f"information: how far F1 falls from {COMPLETE} if in either condition the threshold between yes and no is put "
    "where it is best on the validation samples in that condition. threshold: the rest of the loss; it comes of scores "
    "that shift as a whole while the threshold stays"
)


def threshold_table(scores: Table, losses: pd.DataFrame, unknown: Collection[str] = ()) -> Table | None:
    """The loss of `Avg.` and its two parts.

    Parameters
    ----------
    scores : Table
        Any table of the task.
    losses : DataFrame
        Of the task and source, from :func:`benchmark.evidence.thresholds.split_losses`.
    unknown : collection of str
        The methods of which it is not known.

    Returns
    -------
    Table or None
        Its csv file has all conditions. None where there is no `Avg.`.
    """
    own = losses if losses.empty else losses[losses["condition"] == AVERAGE].set_index("method")
    methods = [method for method in scores.methods if method in own.index]
    if not methods:
        return None
    columns = [f"{COMPLETE} less {AVERAGE}", "threshold", "information"]

    def cell(method: str, part: str) -> Cell:
        value, spread = (float(own[name][method]) for name in (part, f"std_{part}"))
        return Cell(f"{value:z.2f}", "" if np.isnan(spread) else f"± {spread:.2f}")

    seeds = number_range(own["seeds"])
    return replace(
        scores,
        stem=f"{scores.prefix}_threshold",
        title="What is lost: threshold or information",
        kind="threshold",
        caption=(
            f"Points of F1 that are lost where a modality is missing, and what they are lost to; mean ± standard "
            f"deviation over seeds ({seeds} {'seed' if seeds == '1' else 'seeds'}). {DEFINED}. Both parts may be below "
            "0. Nothing is tested here." + _besides(unknown)
        ),
        methods=methods,
        columns=columns,
        summary=losses.drop(columns=["task", "source"]),
        blocks=[Block("", [(m, [cell(m, part) for part in SPLIT]) for m in methods])],
        words=(),
        metrics={},
        notes=(),
        reference="",
    )


def threshold_figure(
    losses: pd.DataFrame, order: Sequence[str] | None = None, *, prefix: str, unknown: Collection[str] = ()
) -> Picture | None:
    """The two parts of the loss in each condition, one above the other.

    Parameters
    ----------
    losses : DataFrame
        Of one task and source, from :func:`benchmark.evidence.thresholds.split_losses`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with.
    unknown : collection of str
        The methods of which it is not known.

    Returns
    -------
    Picture or None
        A panel a method. None where there is no condition but the complete one.
    """
    conditions = _conditions(losses)
    if not conditions:
        return None
    methods = order_methods(losses["method"], order)
    _, about = about_one_task(losses)
    rows, columns = panel_grid(len(methods), 4 if len(methods) > 6 else 3)
    with styled():
        figure = new_figure(TWO_COLUMNS, 1.15 * rows + 0.75, about)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        at = np.arange(len(conditions)) + [0.6 * (conditions.index(c) >= _inter(conditions)) for c in conditions]
        size = fitting_size(method_names(methods), (TWO_COLUMNS - 0.6) / columns, 8)
        for axes in grid.flat[len(methods) :]:
            axes.set_axis_off()
        for axes, method in zip(grid.flat, methods, strict=False):
            own = losses[losses["method"] == method].set_index("condition").reindex(conditions)
            above, below = np.zeros(len(conditions)), np.zeros(len(conditions))
            for part, colour in COLOURS.items():
                heights = own[part].to_numpy()
                foot = np.where(heights >= 0, above, below)
                bars = axes.bar(at, heights, 0.8, foot, color=colour, linewidth=0)
                bars.set_label(part)
                above, below = above + np.maximum(heights, 0), below + np.minimum(heights, 0)
            axes.plot(
                at, own["loss"], linestyle="none", marker="_", markersize=5, mew=1.0, color="#222222", label="loss"
            )
            axes.axhline(0, color="#777777", linewidth=0.6)
            axes.set_title(method_name(method), fontsize=size, pad=3)
            axes.set_xticks(at, conditions, rotation=90, fontsize=5.5)
            axes.grid(axis="x", visible=False)
            axes.tick_params(axis="x", length=0, labelbottom=True)
        for axes in grid.flat[: max(0, len(methods) - columns)]:
            axes.tick_params(labelbottom=False)
        figure.supylabel("points of F1 lost", fontsize=7.5)
        handles, names = grid[0, 0].get_legend_handles_labels()
        named = dict(zip(names, handles, strict=True))
        shown = ["loss", *COLOURS]
        add_legend(figure, [named[name] for name in shown], shown, 1.2)
    what = f"Points of F1 that each method loses against {COMPLETE} in each condition, and what they are lost to"
    caption = f"{about} {what}, mean over seeds. {DEFINED}. Where the bar is blue, no threshold could give it back."
    alt = f"{what}, a panel a method, for {', '.join(method_names(methods))}. {about}"
    alt += f" The numbers are in tables/{prefix}_threshold.csv."
    return Picture(
        f"{prefix}_threshold", "Threshold or information", caption + _besides(unknown), alt, figure,
        numbers=losses.drop(columns=["task", "source"]),
    )  # fmt: skip


def _conditions(losses: pd.DataFrame) -> list[str]:
    """Those that are drawn: modalities missing, their average, frames missing."""
    if losses.empty:
        return []
    known = set(losses["condition"])
    ratios = sorted(losses.loc[(losses["kind"] == Setting().kind) & (losses["ratio"] > 0), "ratio"].unique())
    names = [*(Setting(s).condition for s in INCOMPLETE), AVERAGE, *(Setting(ratio=r).condition for r in ratios)]
    return [name for name in names if name in known]


def _inter(conditions: Sequence[str]) -> int:
    """How many of the conditions lack modalities, or are their average."""
    first = [i for i, name in enumerate(conditions) if name.startswith("p=")]
    return first[0] if first else len(conditions)


def _besides(unknown: Collection[str]) -> str:
    if not unknown:
        return ""
    listed = ", ".join(method_names(unknown))
    return f" Not known of {listed}, whose cells were made before validation outputs were stored."


def tell_unknown(losses: pd.DataFrame, unknown: Collection[str]) -> str:
    """What stands in place of table and figure where the split of the loss is known of no method; else empty."""
    if not losses.empty or not unknown:
        return ""
    return (
        "Whether F1 is lost to the threshold or as information is not known: the cells were made before outputs on the "
        "validation split were stored with them; --fresh computes them anew."
    )
