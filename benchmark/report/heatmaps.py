"""Heat maps: scores by condition, by subset and ratio together, and confusion matrices."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from seaborn.utils import relative_luminance

from benchmark.evidence.statistics import AVERAGE, FLOORS, INCOMPLETE, of_primary
from benchmark.protocol.metrics import Metric, metric
from benchmark.protocol.missing import PATTERNS, SUBSETS, Setting, format_ratio
from benchmark.protocol.target import INTENSITY
from benchmark.report.content import Picture, file_prefix
from benchmark.report.figures import (
    ONE_COLUMN,
    RATIO,
    TWO_COLUMNS,
    about_one_task,
    axis_label,
    describe_samples,
    fitting_size,
    new_figure,
    panel_grid,
    styled,
    text_width,
)
from benchmark.report.naming import method_name, method_names
from benchmark.report.tables import order_methods, sentence

COLOURS = "cividis"


def condition_heatmap(
    intervals: pd.DataFrame, order: Sequence[str] | None = None, *, prefix: str = ""
) -> Picture | None:
    """The primary score of every method in every condition, for one task and source.

    Parameters
    ----------
    intervals : DataFrame
        Columns `task, source, method, metric, kind, ratio, condition, mean, seeds, n`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.

    Returns
    -------
    Picture or None
        Methods down; across whole modalities missing, their average, nothing missing, frames missing. None where
        there are not two conditions.
    """
    scores = of_primary(intervals).dropna(subset="mean")
    ratios = sorted(scores.loc[(scores["kind"] == Setting().kind) & (scores["ratio"] > 0), "ratio"].unique())
    groups = [
        [Setting(subset).condition for subset in INCOMPLETE],
        [AVERAGE],
        [Setting().condition],
        [Setting(ratio=ratio).condition for ratio in ratios],
    ]
    known = set(scores["condition"].unique())
    groups = [[condition for condition in group if condition in known] for group in groups]
    conditions = [condition for group in groups for condition in group]
    if len(conditions) < 2:
        return None
    shown = scores[scores["condition"].isin(conditions)]
    methods = order_methods(list(shown["method"]), order)
    means = shown.pivot(index="method", columns="condition", values="mean").reindex(index=methods, columns=conditions)
    said, words = metric(str(shown["metric"].iloc[0])), axis_label(str(shown["metric"].iloc[0]))
    printed = means.round(said.decimals - 1)  # what looks tied is tied
    best = printed.eq(printed.min() if said.lower_is_better else printed.max()).to_numpy()
    task, about = about_one_task(shown)
    with styled():
        figure = new_figure(TWO_COLUMNS, max(0.17 * len(methods), 0.85) + 0.75, about)
        axes = figure.subplots()
        mesh = heat_map(axes, means, means.map(f"{{:.{said.decimals - 1}f}}".format), 6.0, cmap=colours(said))
        for text in axes.texts:
            x, y = text.get_position()
            text.set_fontweight("bold" if best[int(y), int(x)] else "normal")
        names = method_names(methods)
        axes.set_yticklabels(names, rotation=0, fontsize=fitting_size(names, 2.5, 7))
        axes.set_xticklabels(conditions, rotation=90)
        for place in np.cumsum([len(group) for group in groups if group])[:-1]:
            axes.axvline(place, color="white", linewidth=2.5)
        floors = sum(method in FLOORS for method in methods)
        if 0 < floors < len(methods):
            axes.axhline(len(methods) - floors, color="white", linewidth=2.5)
        figure.colorbar(mesh, ax=axes, label=words, pad=0.01, aspect=12).outline.set_linewidth(0.0)
    what = f"{sentence(words)} of each method (down) in each condition (across)"
    caption = f"{about} {what}, best of each condition in bold; {describe_samples(shown)}."
    if AVERAGE in conditions:
        caption += f" {AVERAGE} = mean of the conditions that lack a modality, without {Setting().condition}."
    alt = f"{what}, methods {', '.join(names)}; conditions {', '.join(conditions)}. {about}"
    return Picture(f"{prefix or file_prefix(task)}_heatmap", "All conditions", caption, alt, figure)


def crossed_heatmap(
    intervals: pd.DataFrame, order: Sequence[str] | None = None, *, prefix: str = "", pattern: str = PATTERNS[0]
) -> Picture | None:
    """The primary score where modalities and frames are missing at once, for one task and source.

    Parameters
    ----------
    intervals : DataFrame
        Columns `task, source, method, metric, kind, available, ratio, mean, seeds, n`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.
    pattern : str
        Which frames are missing.

    Returns
    -------
    Picture or None
        A panel a method: available modalities down, ratio of missing frames across, colours alike in all panels. None
        where no frames are missing under incomplete modalities.
    """
    scores = of_primary(intervals).dropna(subset="mean")
    kinds = ({Setting(s, p, own).kind for s in SUBSETS} for p, own in ((0.0, PATTERNS[0]), (0.5, pattern)))
    plain, own = (scores["kind"].isin(kind) for kind in kinds)
    scores = scores[own | plain & scores["ratio"].isin([0.0, 1.0])]  # these belong to every pattern
    crossed = scores[(scores["available"] != SUBSETS[-1]) & scores["ratio"].between(0, 1, inclusive="neither")]
    if crossed.empty:
        return None
    methods = order_methods(list(crossed["method"]), order)
    shown = scores[scores["method"].isin(methods)]
    available = set(shown["available"].unique())
    subsets = [subset for subset in SUBSETS if subset in available]
    ratios = sorted(shown["ratio"].unique())
    task, about = about_one_task(shown)
    said, words = metric(str(shown["metric"].iloc[0])), axis_label(str(shown["metric"].iloc[0]))
    panels = {}
    for method in methods:
        means = shown[shown["method"] == method].pivot(index="available", columns="ratio", values="mean")
        panels[method] = (
            means.reindex(index=subsets, columns=ratios)
            .set_axis([Setting(subset).condition for subset in subsets], axis=0)
            .set_axis([format_ratio(ratio) for ratio in ratios], axis=1)
        )
    figure = method_panels(panels, said, about, across=RATIO)
    named = pattern.replace("_", " ")
    what = (
        f"{sentence(words)} by the modalities available (down) and the ratio of frames missing in them (across; "
        f"{named})"
    )
    caption = f"{about} {what}; {describe_samples(shown)}. Colours mean the same in all panels."
    alt = f"{what}, a panel a method, for {', '.join(method_names(methods))}. {about}"
    several = "" if pattern == PATTERNS[0] else f"_{pattern}"
    title = f"Modalities and frames missing at once, {named}"
    return Picture(f"{prefix or file_prefix(task)}_mixed{several}", title, caption, alt, figure)


def method_panels(
    panels: Mapping[str, pd.DataFrame], said: Metric, about: str, *, across: str, down: str = "", steep: bool = False
) -> Figure:
    """A heat map a method, in one scale of colours.

    Parameters
    ----------
    panels : mapping of method to DataFrame
        Scores, with the labels of their rows and columns, which are the same in all.
    said : Metric
    about : str
        Which data it is, from :func:`benchmark.report.content.lead`.
    across, down : str
        What the labels are of.
    steep : bool
        Write the labels of the columns upwards.
    """
    methods, first = list(panels), next(iter(panels.values()))
    short: Callable[[float], str] = "{:.0f}".format if said.percent else short_number
    numbers = np.concatenate([means.to_numpy().ravel() for means in panels.values()])
    limits = {"vmin": np.nanmin(numbers), "vmax": np.nanmax(numbers), "cmap": colours(said)}
    rows, columns = panel_grid(len(methods), 3)
    width = ONE_COLUMN if columns == 1 else TWO_COLUMNS
    cell = (width - 0.7) / columns / len(first.columns) - 0.015  # inches across; labels and colour bar take the rest
    below = 0.07 + text_width(max(first.columns, key=len), 6) if steep else 0.15
    ticks = min(6.0, 72 * cell) if steep else fitting_size(list(first.columns), cell, 6)
    with styled():
        figure = new_figure(width, rows * (0.15 * len(first) + 0.25) + below + 0.4, about)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        names = fitting_size(method_names(methods), cell * len(first.columns), 8)
        size = fitting_size([short(number) for number in numbers if np.isfinite(number)], 0.8 * cell, 6)
        for i, axes in enumerate(grid.flat):
            if i >= len(methods):
                axes.set_axis_off()
                continue
            means = panels[methods[i]]
            mesh = heat_map(axes, means, means.map(lambda mean: "" if pd.isna(mean) else short(mean)), size, **limits)
            axes.set_title(method_name(methods[i]), fontsize=names, pad=3)
            axes.set_yticklabels(means.index, rotation=0, fontsize=6)
            axes.set_xticklabels(means.columns, rotation=90 if steep else 0, fontsize=ticks)
            axes.tick_params(labelbottom=i + columns >= len(methods))
        figure.supylabel(down, fontsize=7.5)
        figure.supxlabel(across, fontsize=7.5)
        figure.colorbar(mesh, ax=grid, label=axis_label(said.name), pad=0.01, aspect=10 * rows).outline.set_linewidth(
            0.0
        )
    return figure


def confusion_matrices(
    confusions: pd.DataFrame,
    order: Sequence[str] | None = None,
    *,
    prefix: str = "",
    target: str = "",
    undrawn: Collection[str] = (),
) -> Picture | None:
    """What each method takes each category for, for one task and source.

    Parameters
    ----------
    confusions : DataFrame
        Columns `task, source, method, condition, truth, predicted, count`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.
    target : str
        The kind of the task's target, for the caption.
    undrawn : collection of str
        Methods whose counts are in the csv file alone: twenty methods would fill two pages.

    Returns
    -------
    Picture or None
        Methods across, conditions down; each row of a matrix (a category in truth) sums to 1. None without counts.
    """
    everything, confusions = confusions, confusions[~confusions["method"].isin(undrawn)]
    if confusions["count"].sum() == 0:  # also where there are no rows
        return None
    task, about = about_one_task(confusions)
    methods = order_methods(list(confusions["method"]), order)
    count = everything["method"].nunique()
    conditions = list(confusions["condition"].unique())
    categories = list(confusions["truth"].unique())
    categories += [category for category in confusions["predicted"].unique() if category not in categories]
    least = max(0.8, 0.19 * len(categories))  # inches that a panel needs
    blocks, columns = panel_grid(len(methods), max(1, int((TWO_COLUMNS - 1.0) / least)))
    width = ONE_COLUMN if columns * least + 1.0 <= ONE_COLUMN else TWO_COLUMNS
    across, down = (width - 1.0) / columns, max(0.5, 0.17 * len(categories))
    height = blocks * (len(conditions) * (down + 0.05) + 0.75) + 0.4
    names = fitting_size(method_names(methods), across - 0.08, 8)
    ticks = fitting_size(categories, 0.8, 6)
    numbers = fitting_size([".00"], 0.85 * across / len(categories), 6.5)
    with styled():
        figure = new_figure(width, height, about)
        grid = figure.subplots(blocks * len(conditions), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for i, method in enumerate(methods):
            for j, condition in enumerate(conditions):
                axes = grid[i // columns * len(conditions) + j, i % columns]
                axes.set_axis_on()
                rows = confusions[(confusions["method"] == method) & (confusions["condition"] == condition)]
                counts = rows.pivot(index="truth", columns="predicted", values="count")
                counts = counts.reindex(index=categories, columns=categories).fillna(0)
                shares = counts.div(counts.sum(axis=1), axis=0)  # NaN where a category does not occur
                mesh = heat_map(axes, shares, shares.map(short_number), numbers, vmin=0.0, vmax=1.0)
                axes.set_xticklabels(categories, rotation=90, fontsize=ticks)
                axes.set_yticklabels(categories, rotation=0, fontsize=ticks)
                axes.tick_params(labelleft=i % columns == 0, labelbottom=j == len(conditions) - 1)
                if i % columns == 0:
                    axes.set_ylabel(condition)
                if j == 0:
                    axes.set_title(method_name(method), fontsize=names, pad=3)
        figure.supylabel("truth", fontsize=7.5)
        figure.supxlabel("prediction", fontsize=7.5)
        bar = figure.colorbar(mesh, ax=grid, label="share of the category in truth", pad=0.01, aspect=8 * height)
        bar.outline.set_linewidth(0.0)
    kind = "intensities to the nearest bin," if target == INTENSITY else "categories"
    what = f"Confusion matrices: {kind} in truth (down) and as predicted (across)"
    caption = f"{about} {what}, methods across and conditions down, over all seeds; each row sums to 1."
    if count > len(methods):
        caption += f" The csv file has the counts of all {count} methods."
    alt = f"{what}, for {', '.join(method_names(methods))} in the conditions {', '.join(conditions)}. {about}"
    counted = everything.drop(columns=["task", "source"]) if count > len(methods) else None
    return Picture(f"{prefix or file_prefix(task)}_confusion", "Confusion matrices", caption, alt, figure, counted)


def colours(said: Metric) -> str:
    """Light is better."""
    return f"{COLOURS}_r" if said.lower_is_better else COLOURS


def short_number(number: float) -> str:
    """Two decimals without the leading zero: ``.72``, ``1.0``."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{number:z.2f}").replace("1.00", "1.0")


def heat_map(axes: Axes, numbers: pd.DataFrame, texts: pd.DataFrame, size: float, **limits: Any) -> ScalarMappable:
    """Coloured cells with their numbers in them, grey where there is none; all labels of the axes set by the caller."""
    sns.heatmap(
        numbers, ax=axes, cbar=False, annot=texts, fmt="", annot_kws={"size": size},
        xticklabels=False, yticklabels=False, linewidths=0.3, linecolor="white", **({"cmap": COLOURS} | limits),
    )  # fmt: skip
    # Labels that seaborn sets it also measures, with a canvas of the whole figure for each.
    axes.set_xticks(np.arange(numbers.shape[1]) + 0.5, numbers.columns)
    axes.set_yticks(np.arange(numbers.shape[0]) + 0.5, numbers.index, va="center")
    axes.set(xlabel="", ylabel="", facecolor="#EEEEEE")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    mesh = axes.collections[0]
    faces = np.asarray(mesh.get_facecolor()).reshape(*numbers.shape, 4)
    for text in axes.texts:
        x, y = text.get_position()
        text.set_color("black" if relative_luminance(faces[int(y), int(x)]) > 0.18 else "white")  # equal contrast
    return mesh
