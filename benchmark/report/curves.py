"""Curves and dots: the score against the ratio of missing frames, by modality, and a panel for each of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from scipy.optimize import isotonic_regression

from benchmark.evidence.statistics import AVERAGE, FLOORS, of_primary
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import PATTERNS, Setting
from benchmark.report.content import Picture, Table, file_prefix, leads
from benchmark.report.figures import (
    GREY,
    ONE_COLUMN,
    RATIO,
    TWO_COLUMNS,
    Look,
    Looks,
    about_one_task,
    add_legend,
    add_title,
    axis_label,
    describe_interval,
    describe_samples,
    fitting_size,
    interval,
    label_ratios,
    lay_out,
    look_of,
    new_figure,
    panel_grid,
    styled,
    tell_floors,
)
from benchmark.report.naming import method_name, method_names, task_name
from benchmark.report.tables import COMPLETE, compared_metrics, order_methods, sentence

MOST_METRICS = {True: 6, False: 4}
"""Panels side by side in the overview, where they share a y axis and where each has its own."""

MOST_PANELS = 30
"""Methods up to which each of the grey ones has a panel of its own."""

_LABEL = 6.5  # points
_WIDEST = 1.0  # inches of a label
_LINE = 1.25  # of a line of text, in its size
_LEAD = 0.13  # inches between a panel and its labels
_CONNECTOR = {"arrowstyle": "-", "linewidth": 0.4, "color": "#999999", "shrinkA": 0.5, "shrinkB": 0.0}


def draw(table: Table, looks: Looks) -> Picture:
    """The picture that belongs to a table.

    Parameters
    ----------
    table : Table
        Of kind ``intra`` for degradation curves, mean against p; of another kind for dots by condition. Both have error
        bars; see :func:`benchmark.report.figures.interval` for the columns of its summary that these come from.
    looks : Looks
        From :func:`benchmark.report.highlight.stand_out`.

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
    rows, columns, height = (1, panels, 2.2) if curves else (panels, 1, 1.2 * panels + 0.6)
    if curves:
        summary = summary.assign(ratio=summary["condition"].str.removeprefix("p=").astype(float))
    with styled():
        figure = new_figure(width, height, table.lead)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, (name, title) in zip(grid.flat, titles.items(), strict=True):
            shown = summary[summary["metric"] == name]
            handles = None if curves else _dots(axes, shown, table, looks)
            if curves:
                plot_curves(axes, shown, names, looks)
            if shown["mean"].isna().all():  # no test sample shows the category
                axes.set_yticks([])
            if panels > 1:
                add_title(axes, title, (width - 0.6) / columns)
        if handles is None:
            grid[0, 0].set_ylabel(words)
            label_ratios(grid[0], width)
            label_ends(figure, grid, names, looks)
        else:
            figure.supylabel(words, fontsize=7.5)
            add_legend(figure, list(handles.values()), list(handles), 1.7)
    what = f"Curves: {words} against the ratio p of missing frames" if curves else f"Dots: {words} by modalities"
    alt = f"{what}, for {', '.join(method_names(names))}. {table.lead} The numbers are in the table above."
    shown = summary[summary["metric"].isin(list(titles))]
    caption = f"{table.lead} {what}; {describe_bars(shown, looks)}.{looks.said}{tell_floors(names)}"
    return Picture(table.stem, "", caption, alt, figure)


def small_multiples(intervals: pd.DataFrame, looks: Looks, order: Sequence[str] | None = None) -> Picture | None:
    """Degradation curves of all tasks and metrics: scattered frames missing, all modalities available.

    Parameters
    ----------
    intervals : DataFrame
        Columns `task, source, method, metric, kind, ratio, mean, std, seeds, low, high, n`.
    looks : Looks
        From :func:`benchmark.report.highlight.stand_out`, of all tasks together.
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
        figure = new_figure(width, 1.3 * len(tasks) + 0.55, about)
        grid = figure.subplots(len(tasks), columns, squeeze=False, sharex=True, sharey="row" if share else False)
        for ((task, source), rows), own, line in zip(tasks.items(), panels, grid, strict=True):
            named = [task_name(task), *([source] if len(sources) > 1 else []), *([] if alike else [axis_label(own[0])])]
            if len(tasks) > 1:  # one alone is named above
                line[0].set_ylabel(",\n".join(named), fontsize=fitting_size(named, 1.2, 7.5))
            for name, axes in zip(own, line, strict=True):
                plot_curves(axes, rows[rows["metric"] == name], methods, looks)
        for name, axes in zip(panels[0] if alike else (), grid[0], strict=False):
            add_title(axes, axis_label(name), (width - 0.6) / columns - 0.35 * (not share))
        label_ratios(grid[-1], width)
        label_ends(figure, grid, methods, looks)
    what = "Scores against the ratio p of missing frames, which are scattered over all modalities"
    caption = (
        f"{about} {what}; {describe_samples(shown)}; {describe_bars(shown, looks)}.{looks.said}{tell_floors(methods)}"
    )
    if share and columns > 1:
        caption += " The y axis is shared within a row."
    across = " and a column a metric" if alike else ", of its primary metric"
    alt = f"{what}, a row of panels a task{across}, for {', '.join(method_names(methods))}. {about}"
    return Picture("overview", "All tasks and metrics" if alike else "All tasks", caption, alt, figure)


def pattern_curves(
    intervals: pd.DataFrame, looks: Looks, order: Sequence[str] | None = None, *, prefix: str = ""
) -> Picture | None:
    """Degradation curves of one task and source by which frames go: scattered ones, a burst, all after an early end.

    Parameters
    ----------
    intervals : DataFrame
        Columns as in :func:`small_multiples`.
    looks : Looks
        From :func:`benchmark.report.highlight.stand_out`.
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
        figure = new_figure(TWO_COLUMNS, 2.2, about)
        grid = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)
        for axes, (pattern, rows) in zip(grid[0], panels.items(), strict=True):
            plot_curves(axes, rows, methods, looks)
            axes.set_title(pattern.replace("_", " "))
        grid[0, 0].set_ylabel(words)
        label_ratios(grid[0], TWO_COLUMNS)
        label_ends(figure, grid, methods, looks)
    names = " or ".join(pattern.replace("_", " ") for pattern in panels)
    what = (
        f"{sentence(words)} against the ratio p of missing frames by their pattern ({names}), all modalities available"
    )
    caption = (
        f"{about} {what}; {describe_samples(shown)}; {describe_bars(shown, looks)}.{looks.said}{tell_floors(methods)}"
    )
    alt = f"{what}, a panel a pattern, for {', '.join(method_names(methods))}. {about}"
    return Picture(f"{prefix or file_prefix(task)}_patterns", "Patterns of missing frames", caption, alt, figure)


def family_curves(
    intervals: pd.DataFrame,
    looks: Looks,
    families: Mapping[str, str],
    order: Sequence[str] | None = None,
    *,
    reference: str | None = None,
    prefix: str = "",
) -> Picture | None:
    """The degradation curve of each method that is grey elsewhere, in a panel of its own, for one task and source.

    Parameters
    ----------
    intervals : DataFrame
        Columns as in :func:`small_multiples`.
    looks : Looks
        From :func:`benchmark.report.highlight.stand_out`.
    families : mapping of method to str
        The groups of its card; by these the panels are ordered.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    reference : str, optional
        A method that is drawn in every panel.
    prefix : str
        What the file's name begins with, by default the task.

    Returns
    -------
    Picture or None
        None where no method is grey, or more than `MOST_PANELS` are, or there are not two ratios.
    """
    curves = of_primary(intervals)
    curves = curves[curves["kind"] == Setting().kind].dropna(subset="mean").sort_values("ratio")
    methods = order_methods(list(curves["method"]), order)
    family = {method: families.get(method, "") for method in methods if method in looks.grey}
    first = list(dict.fromkeys([name for name in family.values() if name]))
    rest = sorted(family, key=lambda method: first.index(family[method]) if family[method] else len(first))
    if not rest or len(rest) > MOST_PANELS or curves["ratio"].nunique() < 2:
        return None
    task, about = about_one_task(curves)
    words = axis_label(str(curves["metric"].iloc[0]))
    lines = {method: curves[curves["method"] == method] for method in methods}
    behind = np.concatenate([np.vstack([line[["ratio", "mean"]], [[np.nan] * 2]]) for line in lines.values()])
    rows, columns = panel_grid(len(rest), 6)
    width = TWO_COLUMNS if columns > 2 else ONE_COLUMN
    size = fitting_size(method_names(rest), 0.9 * (width - 0.4) / columns, 7.5)
    with styled():
        figure = new_figure(width, 0.95 * rows + 0.5, about)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, method in zip(grid.flat, rest, strict=False):
            axes.plot(*behind.T, color=GREY, linewidth=0.4, zorder=1)
            if reference in lines:
                own = lines[str(reference)]
                axes.plot(own["ratio"], own["mean"], color="#222222", linewidth=0.9, linestyle=(0, (4, 1.5)), zorder=2)
            own, look = lines[method], look_of(method)
            axes.fill_between(own["ratio"], *interval(own), color=look["color"], alpha=0.2, linewidth=0, zorder=2)
            axes.plot(own["ratio"], own["mean"], color=look["color"], linewidth=1.4, zorder=3)
            axes.set_title(method_name(method), fontsize=size, pad=3)
            axes.text(0.04, 0.05, family[method], transform=axes.transAxes, size=5.5, color="#666666")
        for axes in grid.flat[len(rest) :]:
            axes.set_axis_off()
        figure.supxlabel(RATIO, fontsize=7.5)
        figure.supylabel(words, fontsize=7.5)
    shown = curves[curves["method"].isin(rest)]
    what = (
        f"{sentence(words)} against the ratio p of missing frames, a panel for each method that is grey in the curves"
    )
    dashed = f"; dashes: {method_name(reference)}" if reference in lines else ""
    caption = (
        f"{about} {what}, by the groups that their cards name (in the corners); thin and grey: all methods{dashed}; "
        f"{describe_samples(shown)}; {describe_interval(shown, 'bands')}."
    )
    alt = f"{what}, for {', '.join(method_names(rest))}. {about}"
    return Picture(f"{prefix or file_prefix(task)}_families", "The other methods, one by one", caption, alt, figure)


def plot_curves(axes: Axes, rows: pd.DataFrame, methods: Sequence[str], looks: Looks, *, along: str = "ratio") -> None:
    """A line a method through its means against the column `along`; those in colour have error bars, side by side."""
    coloured = looks.coloured(methods)
    step = 0.012 * float(rows[along].max() - rows[along].min())
    for method in methods:
        line = rows[rows["method"] == method].sort_values(along)
        axes.plot(line[along], line["mean"], **looks[method])[0].set_gid(method)
        if method in coloured:
            at = line[along] + (coloured.index(method) - (len(coloured) - 1) / 2) * step
            axes.vlines(at, *interval(line), color=looks[method]["color"], linewidth=0.7, alpha=0.8)


def label_ends(figure: Figure, rows: Iterable[Sequence[Axes]], methods: Sequence[str], looks: Looks) -> None:
    """Write the names of curves to the right of each row of panels, beside their ends and not on one another.

    Parameters
    ----------
    figure : Figure
        With all else in it, since the places follow from its layout.
    rows : iterable of sequence of Axes
        Whose lines bear the methods' names as their ids. Ends are those of the last panel; thin lines lead from them to
        the names.
    methods : sequence of str
    looks : Looks
        The grey ones have one label together.
    """
    lay_out(figure)
    for row in rows:
        axes = row[-1]
        ends: dict[str, tuple[Axes, tuple[float, float]]] = {}
        for panel in row:  # what has no end in the last one is named all the same
            ends |= {str(line.get_gid()): (panel, end) for line in panel.lines if (end := _end(line)) is not None}
        ends = {method: ends[method] for method in methods if method in ends}
        height = axes.get_window_extent().height / figure.dpi
        places = {method: _share(panel, end) for method, (panel, end) in ends.items() if method not in looks.grey}
        grey = [_share(panel, end) for method, (panel, end) in ends.items() if method in looks.grey]
        others = f"{len(grey)} {'other' if len(grey) == 1 else 'others'}"
        names = {method: method_name(method) for method in places}
        if grey:
            places[others], names[others] = float(np.median(grey)), others
        if not names:
            continue
        size = min(fitting_size(list(names.values()), _WIDEST, _LABEL), 72 * height / _LINE / len(names))
        spots = spread(list(places.values()), 0.0, 1.0, _LINE * size / 72 / height)
        beside = axes.transAxes + ScaledTranslation(_LEAD, 0, figure.dpi_scale_trans)
        for name, spot in zip(names, spots, strict=True):
            if name in ends and ends[name][0] is axes:
                axes.annotate(
                    "", ends[name][1], (1, spot), xycoords="data", textcoords=beside, annotation_clip=False,
                    arrowprops=_CONNECTOR,
                )  # fmt: skip
            look: Look = looks[name] if name in ends else {"color": GREY}
            weight = "bold" if look.get("linewidth", 0) > 2 else "normal"
            text = f" {names[name]}"
            axes.text(1, spot, text, transform=beside, size=size, va="center", color=_dark(look), weight=weight)


def _end(line: Line2D) -> tuple[float, float] | None:
    """The last point of a method's line that is there."""
    points = np.asarray(line.get_xydata())
    points = points[np.isfinite(points).all(axis=1)]
    return (float(points[-1, 0]), float(points[-1, 1])) if line.get_gid() is not None and len(points) else None


def _share(axes: Axes, point: tuple[float, float]) -> float:
    """How far up a point of the data stands, as a share of the panel's height."""
    return float(axes.transAxes.inverted().transform(axes.transData.transform(point))[1])


def _dark(look: Mapping[str, Any]) -> str:
    """A line's colour, dark enough to be read as text."""
    red, green, blue = (0.72 * part for part in to_rgb(look["color"]))
    return str(to_hex((red, green, blue)))


def spread(places: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Places of labels that stand `gap` apart, in their order, between two ends and as near as can be to their own."""
    order = np.argsort(places, kind="stable")
    gap = min(gap, (high - low) / max(1, len(order)))
    steps = gap * np.arange(len(order))
    fitted = isotonic_regression(np.asarray(places, dtype=float)[order] - steps).x
    found = np.empty(len(order))
    found[order] = np.clip(fitted, low + gap / 2, high - gap / 2 - steps[-1]) + steps
    return [float(place) for place in found]


def describe_bars(rows: pd.DataFrame, looks: Looks) -> str:
    """What a caption says of the error bars."""
    coloured = rows[~rows["method"].isin([*looks.grey, *FLOORS])]
    return describe_interval(rows if coloured.empty else coloured, "bars")


def _dots(axes: Axes, summary: pd.DataFrame, table: Table, looks: Looks) -> dict[str, Artist]:
    """Dots with bars, side by side within each condition; gives what a legend shows, by its names.

    A floor is a line across the condition, its bar at the line's end. The grey methods are short lines above one
    another, to the left of the others, and have no bars.
    """
    place = {condition: i for i, condition in enumerate(table.columns)}
    grey = [method for method in table.methods if method in looks.grey]
    columns = [*([grey] if grey else []), *([method] for method in looks.coloured(table.methods))]
    step = 0.8 / max(1, len(columns))
    handles: dict[str, Artist] = {}
    for method in table.methods:
        look, dots = looks[method], summary[summary["method"] == method]
        at = dots["condition"].map(place).astype(float)
        if method in FLOORS:
            ends = np.stack([at - 0.45, at + 0.45, np.full(len(at), np.nan)], axis=1).ravel()
            axes.vlines(at + 0.45, *interval(dots), color=look["color"], linewidth=0.7)
            (handles[method_name(method)],) = axes.plot(ends, np.repeat(dots["mean"], 3), **look | {"linewidth": 0.9})
            continue
        at += (next(i for i, own in enumerate(columns) if method in own) - (len(columns) - 1) / 2) * step
        if method in grey:
            (handle,) = axes.plot(at, dots["mean"], "_", color=GREY, markersize=5, markeredgewidth=0.9)
            handles.setdefault(f"{len(grey)} {'other' if len(grey) == 1 else 'others'}", handle)
            continue
        axes.vlines(at, *interval(dots), color=look["color"], linewidth=0.7)
        (handles[method_name(method)],) = axes.plot(at, dots["mean"], **look | {"linestyle": "none"})
    axes.set_xticks(range(len(place)), list(place))
    axes.set_xlim(-0.5, len(place) - 0.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    for i, condition in enumerate(place):
        if i and condition in (AVERAGE, COMPLETE):
            axes.axvline(i - 0.5, color="#AAAAAA", linewidth=0.6)
    return handles
