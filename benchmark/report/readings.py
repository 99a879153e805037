"""The readings of a method side by side: a table, and a specification curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmark.evidence.statistics import AVERAGE, average_draws, over_seeds, whole_frames
from benchmark.protocol.metrics import metric
from benchmark.report.content import Block, Cell, Picture, Table
from benchmark.report.figures import (
    COLOURS,
    TWO_COLUMNS,
    axis_label,
    describe_interval,
    describe_samples,
    fitting_size,
    interval,
    new_figure,
    styled,
)
from benchmark.report.methods import published_of
from benchmark.report.naming import method_name, method_names
from benchmark.report.tables import sentence
from benchmark.report.verdicts import interval_words

THRESHOLD_FREE = "auroc"
DISTANCE = "from published"
_LINE = 0.105  # inches of a line of the dots
_OTHER, _DEFAULT = COLOURS[0], COLOURS[1]


def reading_parts(
    scores: pd.DataFrame,
    table: Table,
    intervals: pd.DataFrame,
    readings: Sequence[Mapping[str, Any]],
    cards: Mapping[str, Mapping[str, Any]],
    *,
    pictures: bool = True,
) -> list[Table | Picture]:
    """Table and specification curve of each method of which there are readings.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.
    table : Table
        Any table of the task: it says which rows there are.
    intervals : DataFrame
        Those of the task and source; columns as in :class:`benchmark.evidence.comparisons.Evidence`.
    readings : sequence of mapping
        From :func:`benchmark.evidence.readings.readings_of`.
    cards : mapping of label to card
        Published numbers are those of the method's own row.
    pictures : bool
        Without them, tables alone.

    Returns
    -------
    list of Table and Picture
        Empty where there are no readings, or they were not tested in all that `Avg.` is a mean of.
    """
    by_method: dict[str, dict[str, Mapping[str, Any]]] = {}
    for reading in readings:
        if (reading["task"], reading["source"]) == (table.task, table.source) and reading["label"] in table.methods:
            by_method.setdefault(reading["method"], {})[reading["label"]] = reading["options"]
    parts: list[Table | Picture] = []
    for method, options in by_method.items():
        frame = _frame(intervals, list(options))
        if len(frame["method"].unique()) < 2:
            continue
        stem = f"{table.prefix}_readings" + (f"_{method}" if len(by_method) > 1 else "")
        distances = _distances(scores, table, list(options), cards.get(method, {}))
        beside = _beside(intervals, table, frame)
        parts.append(readings_table(table, frame, options, distances, method=method, stem=stem, beside=beside))
        if pictures:
            parts.append(specification_curve(frame, options, method=method, stem=stem, about=table.lead))
    return parts


def _frame(intervals: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """`Avg.` of the readings, primary metric first, in the order of its means, lowest first."""
    if intervals.empty:
        return intervals.reindex(columns=["method", "metric", "mean"])
    own = intervals[(intervals["condition"] == AVERAGE) & intervals["method"].isin(labels)].dropna(subset="mean")
    first = str(intervals["metric"].iloc[0])
    shown = [first, *({THRESHOLD_FREE} & set(own["metric"]) - {first})]
    order = list(own[own["metric"] == first].sort_values("mean", kind="stable")["method"])
    own = own[own["metric"].isin(shown) & own["method"].isin(order)]
    ranked = pd.DataFrame({"method": own["method"].map(order.index), "metric": own["metric"].map(shown.index)})
    return own.loc[ranked.sort_values(["metric", "method"]).index].reset_index(drop=True)


def _beside(intervals: pd.DataFrame, table: Table, frame: pd.DataFrame) -> str:
    """`Avg.` of the rows that are no readings, such as the constant predictor, for a caption; empty where none is."""
    name = str(frame["metric"].iloc[0])
    own = intervals[(intervals["condition"] == AVERAGE) & (intervals["metric"] == name)].set_index("method")["mean"]
    rows = [row for row in table.methods if row not in set(frame["method"]) and pd.notna(own.get(row))]
    told = [f"{method_name(row)} {own[row]:.{metric(name).decimals}f}" for row in rows]
    return f" {AVERAGE} {metric(name, table.target).title} of what is no reading: {', '.join(told)}." if told else ""


def _distances(
    scores: pd.DataFrame, table: Table, labels: Sequence[str], card: Mapping[str, Any]
) -> dict[str, tuple[float, int]]:
    """How far each reading's means are from the numbers published of the method: the mean absolute difference over the
    reported conditions, and how many these are. Nothing on simulated data, nor of another task's numbers.
    """
    published = {
        (name, row["condition"]): row["value"] for name, row in published_of(card, table.task) if "row" not in row
    }
    if table.source != "file" or not published:
        return {}
    part = scores[(scores["task"] == table.task) & (scores["source"] == table.source) & scores["method"].isin(labels)]
    values = average_draws(part)
    means = over_seeds(values[whole_frames(values)], ["method", "metric", "available"])
    # By what is available, so that an average of conditions, published beside them, counts for nothing.
    gaps: dict[str, list[float]] = {}
    for label, name, available, mean in means[["method", "metric", "available", "mean"]].itertuples(index=False):
        if (name, available) in published and not pd.isna(mean):
            gaps.setdefault(label, []).append(abs(mean - published[name, available]))
    return {label: (float(np.mean(own)), len(own)) for label, own in gaps.items()}


def readings_table(
    table: Table,
    frame: pd.DataFrame,
    options: Mapping[str, Mapping[str, Any]],
    distances: Mapping[str, tuple[float, int]],
    *,
    method: str,
    stem: str,
    beside: str = "",
) -> Table:
    """`Avg.` of each reading with its interval, best first, and how far it is from the published numbers.

    The CSV file has what each is set to as well.
    """
    shown = list(frame["metric"].unique())
    labels = list(frame.loc[frame["metric"] == shown[0], "method"])[::-1]
    numbers: dict[Any, dict[Any, Any]] = {(row["metric"], row["method"]): row for row in frame.to_dict("records")}
    columns = [f"{AVERAGE} {metric(name, table.target).title.partition(',')[0]}" for name in shown]
    digits = [metric(name).decimals for name in shown]

    def cell(name: str, label: str, decimals: int) -> Cell:
        row = numbers.get((name, label))
        if row is None:
            return Cell("")
        ends = "" if pd.isna(row["low"]) else f"[{row['low']:.{decimals - 1}f}, {row['high']:.{decimals - 1}f}]"
        return Cell(f"{row['mean']:.{decimals}f}", ends)

    rows = [(label, [cell(name, label, d) for name, d in zip(shown, digits, strict=True)]) for label in labels]
    told = [
        f"{column} from {frame.loc[frame['metric'] == name, 'mean'].min():.{d}f} to "
        f"{frame.loc[frame['metric'] == name, 'mean'].max():.{d}f}"
        for column, name, d in zip(columns, shown, digits, strict=True)
    ]
    caption = (
        f"Readings of {method_name(method)}, its own row the default, sorted by {columns[0]}; mean "
        f"[{interval_words(frame)}]. They span {' and '.join(told)}.{beside}"
    )
    if distances:
        rows = [
            (label, [*cells, Cell(f"{distances[label][0]:.2f}" if label in distances else "")]) for label, cells in rows
        ]
        columns = [*columns, DISTANCE]
        caption += (
            f" {DISTANCE}: mean absolute difference from the numbers published of {method_name(method)} over "
            f"{max(count for _, count in distances.values())} conditions; features, splits and labels of the file need "
            "not be those behind them."
        )
    summary = pd.DataFrame(
        [
            {
                "method": label,
                **{
                    f"{name}_{what}": numbers.get((name, label), {}).get(what)
                    for name in shown
                    for what in ("mean", "std", "low", "high", "seeds")
                },
                **({"from_published": distances.get(label, (None,))[0]} if distances else {}),
                **{option: _text(value) for option, value in options[label].items()},
            }
            for label in labels
        ]
    )
    return replace(
        table,
        stem=stem,
        title=f"Readings of {method_name(method)}",
        kind="readings",
        caption=caption,
        methods=labels,
        columns=columns,
        summary=summary,
        blocks=[Block("", rows)],
        metrics={name: metric(name, table.target).title for name in shown},
    )


def specification_curve(
    frame: pd.DataFrame, options: Mapping[str, Mapping[str, Any]], *, method: str, stem: str, about: str
) -> Picture:
    """Readings in the order of their primary `Avg.`, a panel a metric, and below as dots what each is set to.

    Parameters
    ----------
    frame : DataFrame
        `Avg.` of the readings, sorted; columns `method, metric, mean, std, low, high, seeds, n`.
    options : mapping of label to mapping
        What each reading is set to.
    method : str
        The reading of this label is the default.
    stem, about : str
        The file's name, and the sentence that says which data it is.

    References
    ----------
    Simonsohn, Simmons and Nelson, "Specification curve analysis", Nature Human Behaviour 4, 2020.
    """
    shown = list(frame["metric"].unique())
    labels = list(frame.loc[frame["metric"] == shown[0], "method"])
    place = {label: i for i, label in enumerate(labels)}
    options = {label: own for label, own in options.items() if label in place}
    lines = _lines(options, method)
    called = method_names(labels)
    names = fitting_size([max(called, key=len)], 1.3, min(5.5, 0.8 * 72 * (TWO_COLUMNS - 2.2) / len(labels)))
    with styled():
        heights = [*(1.0 for _ in shown), _LINE * len(lines)]
        figure = new_figure(TWO_COLUMNS, sum(heights) + 1.6, about)
        *panels, dots = figure.subplots(len(heights), sharex=True, gridspec_kw={"height_ratios": heights})
        for axes, name in zip(panels, shown, strict=True):
            _scores(axes, frame[frame["metric"] == name], place, method)
            axes.set_ylabel(f"{AVERAGE}\n{axis_label(name)}")
            axes.tick_params(axis="x", length=0, labelbottom=False)
        _matrix(dots, lines, options, place, method)
        dots.set_xticks(range(len(labels)), called, rotation=90, fontsize=names)
        for tick, label in zip(dots.get_xticklabels(), labels, strict=True):
            tick.set_color(_DEFAULT if label == method else "black")
    words = " and ".join(axis_label(name) for name in shown)
    what = f"{sentence(words)}, {AVERAGE} of {len(labels)} readings of {method_name(method)}, in the order of the first"
    caption = (
        f"{about} {what}; below, a dot for what each is set to. "
        + (
            f"Orange, and dashed across: the default, {method_name(method)}, whose values are in bold. "
            if method in place
            else ""
        )
        + f"{describe_samples(frame)}; {describe_interval(frame, 'bars')}."
    )
    alt = f"{what}, and what each of them is set to. {about} The numbers are in the table above."
    return Picture(stem, "", caption, alt, figure)


def _scores(axes: Axes, rows: pd.DataFrame, place: Mapping[str, int], method: str) -> None:
    at = rows["method"].map(place)
    colours = [_DEFAULT if label == method else _OTHER for label in rows["method"]]
    axes.vlines(at, *interval(rows), colors=colours, linewidth=0.8, alpha=0.6)
    axes.scatter(at, rows["mean"], c=colours, s=9, zorder=3, linewidths=0)
    default = rows.loc[rows["method"] == method, "mean"]
    if len(default):
        axes.axhline(float(default.iloc[0]), color=_DEFAULT, linewidth=0.7, linestyle="--")
    axes.grid(axis="x", visible=False)


def _lines(options: Mapping[str, Mapping[str, Any]], method: str) -> list[tuple[str, Any]]:
    """The lines of dots: each option with each of its values, numbers in their order, else the default's first."""
    lines: list[tuple[str, Any]] = []
    rows = [options[method], *options.values()] if method in options else list(options.values())
    for option in rows[0]:
        values = list({_text(row[option]): row[option] for row in rows}.values())
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            values.sort()
        lines += [(option, value) for value in values]
    return lines


def _matrix(
    axes: Axes,
    lines: Sequence[tuple[str, Any]],
    options: Mapping[str, Mapping[str, Any]],
    place: Mapping[str, int],
    method: str,
) -> None:
    default = options.get(method, {})
    ticks, names = [], list(dict.fromkeys(option for option, _ in lines))
    for y, (option, value) in enumerate(lines):
        of_it = [label for label in place if _text(options[label][option]) == _text(value)]
        colours = [_DEFAULT if label == method else "#444444" for label in of_it]
        axes.scatter([place[label] for label in of_it], [y] * len(of_it), c=colours, s=5, linewidths=0)
        if names.index(option) % 2:
            axes.axhspan(y - 0.5, y + 0.5, color="#F0F0F0", linewidth=0, zorder=0)
        first = y == 0 or lines[y - 1][0] != option
        ticks.append(f"{option}: {_text(value)}" if first else _text(value))
    axes.set_yticks(range(len(lines)), ticks, fontsize=fitting_size(ticks, 1.9, 5.5))
    for tick, (option, value) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if option in default and _text(default[option]) == _text(value) else "normal")
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(-0.7, len(place) - 0.3)
    axes.tick_params(length=0, pad=2)
    axes.grid(visible=False)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
