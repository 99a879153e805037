"""Curves and dots, and what all figures share: sizes for a two-column paper, style, legends, the bytes of a file.

Figures are made of data frames alone, and the same input gives the same bytes.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from benchmark.evidence.statistics import AVERAGE, FLOORS, of_primary
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import PATTERNS, Setting
from benchmark.report.content import Picture, Table, file_prefix, lead, leads
from benchmark.report.tables import COMPLETE, compared_metrics, number_range, order_methods, sentence
from benchmark.report.verdicts import interval_words

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9  # inches

# Okabe and Ito's palette, without black and with its yellow darkened to stand out from white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8F8A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
STYLE: dict[str, Any] = {
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

RATIO = "ratio p of missing frames"
MOST_METRICS = {True: 6, False: 4}
"""Panels side by side in the overview, where they share a y axis and where each has its own."""

Look = dict[str, Any]


def method_looks(methods: Sequence[str]) -> dict[str, Look]:
    """Colour, marker and line of each method, to tell them apart in grey too; the floors are grey dashes and dots."""
    cycle = zip(itertools.cycle(COLOURS), itertools.cycle(MARKERS), itertools.cycle(DASHES), strict=False)
    looks: dict[str, Look] = {
        method: {"color": colour, "marker": marker, "linestyle": dash}
        for method, (colour, marker, dash) in zip([m for m in methods if m not in FLOORS], cycle, strict=False)
    }
    looks |= {m: {"color": "#777777", "marker": "", "linestyle": d} for m, d in zip(FLOORS, ("--", ":"), strict=True)}
    return looks


def styled() -> AbstractContextManager[None]:
    """The style that all figures are made and drawn in."""
    return style.context(["default", STYLE])


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, sizes in inches, that says at its top which data it shows."""
    figure = Figure(figsize=(width, height), layout="constrained")
    title = title.rstrip(".")
    figure.suptitle(title, fontsize=fitting_size([title], 0.85 * width, 8), fontweight="bold")  # bold takes more room
    return figure


def text_width(text: str, size: float) -> float:
    """Width in inches of a line of text, `size` in points."""
    font = FontProperties(family=STYLE["font.family"], size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def fitting_size(texts: Sequence[str], width: float, largest: float) -> float:
    """The font size, 2 points to `largest`, at which every text is at most `width` inches wide, if there is one."""
    return max(2.0, min(largest, width / max(0.001, *(text_width(text, 1.0) for text in texts))))


def panel_grid(panels: int, most: int) -> tuple[int, int]:
    """Rows and columns for a number of panels, at most `most` side by side and rows of about one length."""
    rows = ceil(panels / most)
    return rows, ceil(panels / rows)


def label_ratios(row: Sequence[Axes], width: float) -> None:
    """Name the x axis of panels that share `width` inches; a label of the whole figure would run into the legend."""
    for axes in row:
        axes.set_xlabel(RATIO if text_width(RATIO, 7.5) < 0.85 * width / len(row) else "ratio p")


def add_title(axes: Axes, title: str, width: float) -> None:
    """Put a title above a panel that is `width` inches wide, in two lines where one would be too long."""
    if text_width(title, 8) > width:
        title = title.replace(", ", ",\n", 1)
    axes.set_title(title, fontsize=fitting_size(title.split("\n"), width, 8))


def legend_rows(names: Sequence[str], width: float) -> int:
    """How many rows a legend needs in a figure that is `width` inches wide."""
    widest = max(text_width(name, STYLE["legend.fontsize"]) for name in names)
    return ceil(len(names) / max(1, int(width / (0.6 + widest))))


def add_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], handlelength: float = 2.6) -> None:
    """Make the figure higher by a legend that stands below all of it."""
    width, height = figure.get_size_inches()
    rows = legend_rows(names, width)
    figure.set_size_inches(width, height + 0.15 * rows)
    figure.legend(
        handles, names, loc="outside lower center", ncols=ceil(len(names) / rows), frameon=False,
        handlelength=handlelength, columnspacing=1.2, labelspacing=0.3, borderaxespad=0.6,
    )  # fmt: skip


def axis_label(name: str) -> str:
    """A metric as axes and captions call it: ``F1 (%)``, ``MAE (less is better)``."""
    said = metric(name)
    notes = ["%"] * said.percent + ["less is better"] * said.lower_is_better
    return said.title + (f" ({', '.join(notes)})" if notes else "")


def interval(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The ends of what is drawn around each mean.

    Parameters
    ----------
    rows : DataFrame
        Columns `mean`, `std` and, where intervals are known, `low` and `high`.

    Returns
    -------
    low, high : Series
        The interval; one standard deviation to each side where there is none; NaN where there is neither.
    """
    low, high = rows["mean"] - rows["std"], rows["mean"] + rows["std"]
    known = _interval_known(rows)
    return (low.mask(known, rows["low"]), high.mask(known, rows["high"])) if known.any() else (low, high)


def describe_interval(rows: pd.DataFrame, drawn: str) -> str:
    """What :func:`interval` gives for these rows, as a caption says it of what is drawn, for instance ``bands``."""
    known = _interval_known(rows)
    deviation, ends = "one standard deviation over seeds", interval_words(rows[known], "intervals")
    if known.all():
        return f"{drawn} are {ends}"
    if not rows.loc[~known, "std"].notna().any():
        return f"{drawn} are {ends}, where there are any" if known.any() else f"no {drawn}, for there is one seed"
    return f"{drawn} are {ends} or, where there are none, {deviation}" if known.any() else f"{drawn} are {deviation}"


def _interval_known(rows: pd.DataFrame) -> pd.Series:
    return rows.reindex(columns=["low", "high"]).notna().all(axis=1)


def tell_floors(methods: Sequence[str]) -> str:
    """What a caption says of the lines of the floors; empty where there are none."""
    lines = {"constant": "dashes: constant, the same answer for all", "random": "dots: random, a weighted coin"}
    told = [lines[floor] for floor in FLOORS if floor in methods]
    return f" Grey lines are floors ({'; '.join(told)})." if told else ""


def describe_samples(rows: pd.DataFrame) -> str:
    """Number of test samples and of seeds behind rows with the columns `n` and `seeds`."""
    seeds = number_range(rows.loc[rows["seeds"] > 0, "seeds"])
    return f"n = {number_range(rows['n'].dropna())} test samples, {seeds} {'seed' if seeds == '1' else 'seeds'}"


def draw(table: Table, looks: dict[str, Look]) -> Picture:
    """The picture that belongs to a table.

    Parameters
    ----------
    table : Table
        Of kind ``intra`` for degradation curves, mean against p with a band; of kind ``inter`` for dots with error
        bars by condition. See :func:`interval` for the columns of its summary that bands and bars come from.
    looks : dict of str to dict
        From :func:`method_looks`; the same for all figures of a report.

    Returns
    -------
    Picture
        One column wide for one metric. Categories are panels, side by side (``intra``) or stacked (``inter``).
    """
    summary = table.summary
    titles = {name: table.metrics[name] for name in compared_metrics(list(table.metrics))}
    words = axis_label(next(iter(titles)))
    curves = table.kind == "intra"
    panels, names = len(titles), table.methods
    width = ONE_COLUMN if panels == 1 and (curves or len(names) <= 5) else TWO_COLUMNS
    rows, columns, height = (1, panels, 2.1) if curves else (panels, 1, 1.2 * panels + 0.6)
    if curves:
        summary = summary.assign(ratio=summary["condition"].str.removeprefix("p=").astype(float))
    with styled():
        figure = new_figure(width, height, table.lead)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, (name, title) in zip(grid.flat, titles.items(), strict=True):
            shown = summary[summary["metric"] == name]
            handles = plot_curves(axes, shown, names, looks) if curves else _dots(axes, shown, table, looks)
            if shown["mean"].isna().all():  # no test sample shows the category
                axes.set_yticks([])
            if panels > 1:
                add_title(axes, title, (width - 0.6) / columns)
        if curves:
            grid[0, 0].set_ylabel(words)
            label_ratios(grid[0], width)
        else:
            figure.supylabel(words, fontsize=7.5)
        add_legend(figure, handles, names, 2.6 if curves else 1.7)
    what = f"Curves: {words} against the ratio p of missing frames" if curves else f"Dots: {words} by modalities"
    alt = f"{what}, for {', '.join(names)}. {table.lead} The numbers are in the table above."
    shown = summary[summary["metric"].isin(list(titles))]
    caption = f"{table.lead} {what}; {describe_interval(shown, 'bands' if curves else 'bars')}."
    caption += tell_floors(names)
    return Picture(table.stem, "", caption, alt, figure)


def small_multiples(
    intervals: pd.DataFrame, looks: dict[str, Look], order: Sequence[str] | None = None
) -> Picture | None:
    """Degradation curves of all tasks and metrics: scattered frames missing, all modalities available.

    Parameters
    ----------
    intervals : DataFrame
        Columns `task, source, method, metric, kind, ratio, mean, std, seeds, low, high, n`.
    looks : dict of str to dict
        From :func:`method_looks`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.

    Returns
    -------
    Picture or None
        Tasks down, and across the first metrics that all of them have; where the primary metric of a task is none of
        these, each task's primary metric alone. None where no task has two ratios.
    """
    curves = intervals[intervals["kind"] == Setting().kind]
    tasks = {
        (str(task), str(source)): rows
        for (task, source), rows in curves.groupby(["task", "source"], sort=False, observed=True)
        if rows["ratio"].nunique() > 1
    }
    if not tasks:
        return None
    metrics = [list(rows["metric"].unique()) for rows in tasks.values()]
    common = [name for name in metrics[0] if all(name in own for own in metrics)]
    alike = all(own[0] in common for own in metrics)
    share = alike and all(metric(name).percent for name in common[: MOST_METRICS[True]])
    panels = [common[: MOST_METRICS[share]] if alike else own[:1] for own in metrics]
    shown = pd.concat(rows[rows["metric"].isin(own)] for rows, own in zip(tasks.values(), panels, strict=True))
    methods = order_methods(list(shown["method"]), order)
    about, sources = leads(tasks), {source for _, source in tasks}
    columns = len(panels[0])
    width = ONE_COLUMN if columns == 1 else TWO_COLUMNS
    with styled():
        figure = new_figure(width, 1.25 * len(tasks) + 0.65, about)
        grid = figure.subplots(len(tasks), columns, squeeze=False, sharex=True, sharey="row" if share else False)
        for ((task, source), rows), own, line in zip(tasks.items(), panels, grid, strict=True):
            named = [task, *([source] if len(sources) > 1 else []), *([] if alike else [axis_label(own[0])])]
            line[0].set_ylabel(",\n".join(named), fontsize=fitting_size(named, 1.2, 7.5))
            for name, axes in zip(own, line, strict=True):
                handles = plot_curves(axes, rows[rows["metric"] == name], methods, looks)
        for name, axes in zip(panels[0] if alike else (), grid[0], strict=False):
            add_title(axes, axis_label(name), (width - 0.6) / columns - 0.35 * (not share))
        label_ratios(grid[-1], width)
        add_legend(figure, handles, methods)
    what = "Scores against the ratio p of missing frames, which are scattered over all modalities"
    caption = f"{about} {what}; {describe_samples(shown)}; {describe_interval(shown, 'bands')}."
    caption += tell_floors(methods)
    if share and columns > 1:
        caption += " The y axis is shared within a row."
    across = " and a column a metric" if alike else ", of its primary metric"
    alt = f"{what}, a row of panels a task{across}, for {', '.join(methods)}. {about}"
    return Picture("overview", "All tasks and metrics" if alike else "All tasks", caption, alt, figure)


def pattern_curves(
    intervals: pd.DataFrame, looks: dict[str, Look], order: Sequence[str] | None = None, *, prefix: str = ""
) -> Picture | None:
    """Degradation curves of one task and source by which frames go: scattered ones, a burst, all after an early end.

    Parameters
    ----------
    intervals : DataFrame
        Columns as in :func:`small_multiples`.
    looks : dict of str to dict
        From :func:`method_looks`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.

    Returns
    -------
    Picture or None
        A panel a pattern, the primary metric against p. None where there are not two patterns.
    """
    intervals = of_primary(intervals)
    complete = intervals["kind"] == Setting().kind
    ends = intervals[complete & intervals["ratio"].isin([0.0, 1.0])]  # these belong to every pattern
    panels = {}
    for pattern in PATTERNS:
        rows = intervals[intervals["kind"] == Setting(ratio=0.5, pattern=pattern).kind]
        rows = rows[~rows["ratio"].isin([0.0, 1.0])]
        if not rows.empty:
            panels[pattern] = pd.concat([ends, rows])
    if len(panels) < 2:
        return None
    shown = pd.concat(panels.values())
    task, about = about_one_task(shown)
    words = axis_label(str(shown["metric"].iloc[0]))
    methods = order_methods(list(shown["method"]), order)
    with styled():
        figure = new_figure(TWO_COLUMNS, 2.1, about)
        grid = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
        for axes, (pattern, rows) in zip(grid, panels.items(), strict=True):
            handles = plot_curves(axes, rows, methods, looks)
            axes.set_title(pattern.replace("_", " "))
        grid[0].set_ylabel(words)
        label_ratios(grid, TWO_COLUMNS)
        add_legend(figure, handles, methods)
    names = " or ".join(pattern.replace("_", " ") for pattern in panels)
    what = (
        f"{sentence(words)} against the ratio p of missing frames by their pattern ({names}), all modalities available"
    )
    caption = f"{about} {what}; {describe_samples(shown)}; {describe_interval(shown, 'bands')}."
    caption += tell_floors(methods)
    alt = f"{what}, a panel a pattern, for {', '.join(methods)}. {about}"
    return Picture(f"{prefix or file_prefix(task)}_patterns", "Patterns of missing frames", caption, alt, figure)


def about_one_task(rows: pd.DataFrame) -> tuple[str, str]:
    """The task of rows of one task and source, and the sentence that says which data they are from."""
    task, source = str(rows["task"].iloc[0]), str(rows["source"].iloc[0])
    return task, lead(task, source)


def plot_curves(
    axes: Axes, rows: pd.DataFrame, methods: Sequence[str], looks: dict[str, Look], *, along: str = "ratio"
) -> list[Artist]:
    """A line a method through its means, with a band, against the column `along`; gives the lines."""
    handles: list[Artist] = []
    alpha = min(0.15, 0.75 / len(methods))  # of many bands one above the other, each is fainter
    for method in methods:
        line = rows[rows["method"] == method].sort_values(along)
        look = looks[method]
        handles += axes.plot(line[along], line["mean"], **look)
        axes.fill_between(line[along], *interval(line), color=look["color"], alpha=alpha, linewidth=0, zorder=1)
    return handles


def _dots(axes: Axes, summary: pd.DataFrame, table: Table, looks: dict[str, Look]) -> list[Artist]:
    """Dots with bars, side by side within each condition; a floor is a line across it, its bar at the line's end."""
    place = {condition: i for i, condition in enumerate(table.columns)}
    methods = [method for method in table.methods if method not in FLOORS]
    step = 0.8 / max(1, len(methods))
    handles: list[Artist] = []
    for method in table.methods:
        look, dots = looks[method], summary[summary["method"] == method]
        at = dots["condition"].map(place).astype(float)
        if method in FLOORS:
            ends = np.stack([at - 0.45, at + 0.45, np.full(len(at), np.nan)], axis=1).ravel()
            axes.vlines(at + 0.45, *interval(dots), color=look["color"], linewidth=0.7)
            handles += axes.plot(ends, np.repeat(dots["mean"], 3), **look | {"linewidth": 0.9})
            continue
        at += (methods.index(method) - (len(methods) - 1) / 2) * step
        axes.vlines(at, *interval(dots), color=look["color"], linewidth=0.7)
        handles += axes.plot(at, dots["mean"], color=look["color"], marker=look["marker"], mew=0.0, linestyle="none")
    axes.set_xticks(range(len(place)), list(place))
    axes.set_xlim(-0.5, len(place) - 0.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    for i, condition in enumerate(place):
        if i and condition in (AVERAGE, COMPLETE):
            axes.axvline(i - 0.5, color="#AAAAAA", linewidth=0.6)
    return handles


def to_files(figure: Figure) -> dict[str, bytes]:
    """The figure as PNG and as PDF, by suffix, laid out once and for both.

    The files hold no date or version, and the figure's title is among what they say of themselves.
    """
    dated = {"png": ["Software"], "pdf": ["CreationDate", "Creator", "Producer"]}
    files = {}
    with styled():
        for suffix, names in dated.items():
            buffer = io.BytesIO()
            metadata = dict.fromkeys(names) | {"Title": figure.get_suptitle()}
            figure.savefig(buffer, format=suffix, dpi=300, metadata=metadata)
            figure.set_layout_engine("none")  # what the first layout gave stays
            files[suffix] = buffer.getvalue()
    return files
