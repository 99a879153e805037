"""Figures of a table's numbers, sized for a two-column paper; the same input gives the same bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from math import ceil
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report.content import Picture, Table
from benchmark.report.tables import BASELINE, COMPLETE, printed_metrics
from benchmark.statistics import AVERAGE

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9  # inches

# Okabe and Ito's palette, without black and with its yellow darkened to stand out from white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8F8A00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "lines.markeredgewidth": 0.0,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a method's name is no formula
}

Look = dict[str, Any]


def method_looks(methods: Sequence[str]) -> dict[str, Look]:
    """Colour, marker and line of each method, to tell them apart in grey too; `constant` is grey dashes."""
    cycle = zip(itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), itertools.cycle(_DASHES), strict=False)
    looks: dict[str, Look] = {
        method: {"color": colour, "marker": marker, "linestyle": dash}
        for method, (colour, marker, dash) in zip([m for m in methods if m != BASELINE], cycle, strict=False)
    }
    looks[BASELINE] = {"color": "#777777", "marker": "", "linestyle": "--"}
    return looks


def draw(table: Table, looks: dict[str, Look]) -> Picture:
    """The picture that belongs to a table.

    Parameters
    ----------
    table : Table
        Of kind ``intra`` for degradation curves, mean against p with a band of one standard deviation over
        seeds; of kind ``inter`` for dots with error bars by condition.
    looks : dict of str to dict
        From :func:`method_looks`; the same for all figures of a report.

    Returns
    -------
    Picture
        One column wide for one metric. Emotions are panels, side by side (``intra``) or stacked (``inter``).
    """
    titles = printed_metrics(list(table.summary["metric"]))
    curves = table.kind == "intra"
    panels, names = len(titles), table.methods
    width = ONE_COLUMN if panels == 1 and (curves or len(names) <= 5) else TWO_COLUMNS
    fitting = max(1, int(width / (0.6 + 0.06 * max(map(len, names)))))  # an inch and a half for 15 letters
    legend_rows = ceil(len(names) / fitting)
    if curves:
        rows, columns, height = 1, panels, 2.1
    else:
        rows, columns, height = panels, 1, 1.2 * panels + 0.6
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height + 0.15 * legend_rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, (metric, title) in zip(grid.flat, titles.items(), strict=True):
            summary = table.summary[table.summary["metric"] == metric]
            handles = (_curves if curves else _dots)(axes, summary, table, looks)
            if panels > 1:
                axes.set_title(title)
        figure.suptitle(table.lead.rstrip("."), fontsize=8, fontweight="bold")
        label = "weighted F1 (%)"
        if curves:
            grid[0, 0].set_ylabel(label)
            grid[0, panels // 2].set_xlabel("ratio p of missing frames")
        else:
            figure.supylabel(label, fontsize=7.5)
        figure.legend(
            handles, names, loc="outside lower center", ncols=ceil(len(names) / legend_rows), frameon=False,
            handlelength=2.6 if curves else 1.0, columnspacing=1.2, labelspacing=0.3, borderaxespad=0.6,
        )  # fmt: skip
    what = "Curves: weighted F1 against the ratio of missing frames" if curves else "Dots: weighted F1 by modalities"
    alt = f"{what}, for {', '.join(names)}. {table.lead} The numbers are in the table above."
    caption = f"{table.lead} {what}; bands and bars are one standard deviation over seeds."
    return Picture(table.stem, "", caption, alt, figure)


def _curves(axes: Axes, summary: pd.DataFrame, table: Table, looks: dict[str, Look]) -> list[Artist]:
    summary = summary.assign(ratio=summary["condition"].str.removeprefix("p=").astype(float))
    handles: list[Artist] = []
    for method in table.methods:
        line = summary[summary["method"] == method].sort_values("ratio")
        look = looks[method]
        handles += axes.plot(line["ratio"], line["mean"], **look)
        low, high = line["mean"] - line["std"], line["mean"] + line["std"]  # NaN, so no band, for one seed
        axes.fill_between(line["ratio"], low, high, color=look["color"], alpha=0.15, linewidth=0, zorder=1)
    return handles


def _dots(axes: Axes, summary: pd.DataFrame, table: Table, looks: dict[str, Look]) -> list[Artist]:
    place = {condition: i for i, condition in enumerate(table.columns)}
    step = 0.8 / len(table.methods)
    handles: list[Artist] = []
    for i, method in enumerate(table.methods):
        look = looks[method]
        dots = summary[summary["method"] == method]
        at = dots["condition"].map(place) + (i - (len(table.methods) - 1) / 2) * step
        marker, edge = (look["marker"], 0.0) if look["marker"] else ("_", 1.2)
        axes.errorbar(at, dots["mean"], yerr=dots["std"], fmt="none", ecolor=look["color"], elinewidth=0.7, capsize=0)
        handles += axes.plot(at, dots["mean"], color=look["color"], marker=marker, mew=edge, linestyle="none")
    axes.set_xticks(range(len(place)), list(place))
    axes.set_xlim(-0.5, len(place) - 0.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    for i, condition in enumerate(place):
        if i and condition in (AVERAGE, COMPLETE):
            axes.axvline(i - 0.5, color="#AAAAAA", linewidth=0.6)
    return handles


def to_bytes(figure: Figure, suffix: str) -> bytes:
    """The file, without a date or a version in it, and with the figure's title among what it says of itself.

    Parameters
    ----------
    figure : Figure
    suffix : {"png", "pdf"}
    """
    dated = {"png": ["Software"], "pdf": ["CreationDate", "Creator", "Producer"]}[suffix]
    metadata = dict.fromkeys(dated) | {"Title": figure.get_suptitle()}
    buffer = io.BytesIO()
    with style.context(["default", _STYLE]):
        figure.savefig(buffer, format=suffix, dpi=300, metadata=metadata)
    return buffer.getvalue()
