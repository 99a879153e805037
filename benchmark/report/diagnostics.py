"""Diagnostics of trained models: how their losses went, and how categories lie in their representations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmark.evidence.collect import Representation
from benchmark.names import visible
from benchmark.report.content import Picture, file_prefix, lead
from benchmark.report.figures import (
    MARKERS,
    ONE_COLUMN,
    TWO_COLUMNS,
    Look,
    about_one_task,
    add_legend,
    fitting_size,
    new_figure,
    panel_grid,
    styled,
)
from benchmark.report.naming import method_name, method_names
from benchmark.report.tables import number_range, order_methods

MOST_LINES = 10
"""Seeds of a method up to which each has a line of its own."""

_LOSSES: dict[str, Any] = {"train_loss": "-", "valid_loss": (0, (3, 1.2))}


def training_curves(
    histories: pd.DataFrame, looks: Mapping[str, Look], order: Sequence[str] | None = None, *, prefix: str = ""
) -> Picture | None:
    """Training and validation loss of every seed, for one task and source.

    Parameters
    ----------
    histories : DataFrame
        Columns `task, source, method, seed, stage, epoch, train_loss, valid_loss, kept`, one row an epoch; epochs begin
        at 1 in each stage, and stages stand in the order of their training.
    looks : dict of str to dict
        From :func:`benchmark.report.figures.method_looks`; the colours are used.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.

    Returns
    -------
    Picture or None
        A panel a method that has epochs; None without any. Of more than `MOST_LINES` seeds, the median and a band.
    """
    if histories.empty:
        return None
    task, about = about_one_task(histories)
    methods = order_methods(list(histories["method"]), order)
    rows, columns = panel_grid(len(methods), 5)
    width = ONE_COLUMN if columns <= 2 else TWO_COLUMNS
    with styled():
        figure = new_figure(width, 1.3 * rows + 0.55, about)
        grid = figure.subplots(rows, columns, squeeze=False)
        size = fitting_size(method_names(methods), width / columns - 0.4, 8)
        for axes, method in zip(grid.flat, methods, strict=False):
            _losses(axes, histories[histories["method"] == method], looks[method]["color"])
            axes.set_title(method_name(method), fontsize=size)
        for axes in grid.flat[len(methods) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("epoch")
        figure.supylabel("loss", fontsize=7.5)
        handles = [Line2D([], [], color="#333333", linewidth=0.8, linestyle=dash) for dash in _LOSSES.values()]
        handles.append(Line2D([], [], color="#333333", linestyle="none", marker="o"))
        add_legend(figure, handles, ["training", "validation", "epoch kept"])
    counts = histories.groupby("method", observed=True)["seed"].nunique()
    seeds = number_range(counts)
    lines = f"a line a seed ({seeds} {'seed' if seeds == '1' else 'seeds'})"
    dots = "dots mark the epoch that each stage kept"
    if counts.max() > MOST_LINES:
        lines += f" or, of more than {MOST_LINES}, the median of those still in training and a band of the middle 80 %"
        dots += " (its median)"
    what = "Training and validation loss by epoch"
    caption = (
        f"{about} {what}, {lines}; {dots}. Stages follow one another at vertical lines; losses of different stages "
        "and methods are not on one scale, and axes that span more than a factor of ten are logarithmic."
    )
    alt = f"{what}, a panel a method, for {', '.join(method_names(methods))}. {about}"
    return Picture(f"{prefix or file_prefix(task)}_training", "Training", caption, alt, figure)


def _losses(axes: Axes, history: pd.DataFrame, colour: str) -> None:
    stages = list(history["stage"].unique())
    start = 0
    for i, stage in enumerate(stages):
        rows = history[history["stage"] == stage]
        end = start + int(rows["epoch"].max())
        rows = rows.sort_values("epoch")
        if rows["seed"].nunique() > MOST_LINES:
            _middle(axes, rows, start, colour)
        else:
            for _, run in rows.groupby("seed", sort=True):
                for loss, dash in _LOSSES.items():
                    axes.plot(start + run["epoch"], run[loss], color=colour, linestyle=dash, linewidth=0.7)
                kept = run[run["kept"]]
                axes.plot(start + kept["epoch"], kept["valid_loss"], "o", color=colour, markersize=3, zorder=3)
        if i:
            axes.axvline(start + 0.5, color="#888888", linewidth=0.6)
        start, stages[i] = end, (stage, start, end)
    axes.set_xlim(0.5, start + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    low, high = axes.dataLim.intervaly
    if low > 0 and high > 10 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    if len(stages) > 1:
        # Each name has a line of its own above the curves: a stage can be much shorter than its name.
        scale = axes.yaxis.get_transform()
        bottom, top = scale.transform(axes.get_ylim())
        axes.set_ylim(top=scale.inverted().transform([top + 0.14 * len(stages) * (top - bottom)])[0])
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        for i, (stage, first, last) in enumerate(stages):
            place, side = (first / start + 0.02, "left") if first < start / 2 else (last / start - 0.02, "right")
            axes.text(
                place, 0.98 - 0.12 * i, _short(stage), transform=axes.transAxes, size=6, ha=side, va="top", bbox=behind
            )


def _short(stage: str) -> str:
    """A stage's name as it fits into a panel."""
    stage = " ".join(visible(stage).split())
    return stage if len(stage) <= 24 else f"{stage[:23]}…"


def _middle(axes: Axes, rows: pd.DataFrame, start: int, colour: str) -> None:
    """Many seeds of a stage, summarised, so that a figure does not grow with their number."""
    for loss, dash in _LOSSES.items():
        low, median, high = rows.groupby("epoch")[loss].quantile(np.array([0.1, 0.5, 0.9])).unstack().to_numpy().T
        epochs = start + np.sort(rows["epoch"].unique())
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0, zorder=1)
        axes.plot(epochs, median, color=colour, linestyle=dash, linewidth=0.7)
    at = rows.loc[rows["kept"], ["epoch", "valid_loss"]].median()
    axes.plot([start + at["epoch"]], [at["valid_loss"]], "o", color=colour, markersize=3, zorder=3)


def representation_plots(
    representations: Sequence[Representation],
    order: Sequence[str] | None = None,
    *,
    prefix: str = "",
    places: Callable[[Representation], NDArray[np.floating]] | None = None,
) -> Picture | None:
    """t-SNE of the joint representations, for one task, source and setting.

    Parameters
    ----------
    representations : sequence of Representation
        The first one of each method is shown. t-SNE takes seconds for a thousand samples, and minutes for many more.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.
    places : callable, optional
        Gives what :func:`embed` makes of a representation's values, where it is known already.

    Returns
    -------
    Picture or None
        A panel a method, with the silhouette score (Euclidean, of the representations as they are) below it. Methods
        whose silhouette is not above 0 or not there (see :func:`silhouette`) are left out; None if these are all.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.
    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", 1987.
    """
    shown: dict[str, Representation] = {}
    for representation in representations:
        shown.setdefault(representation.method, representation)
    scores = {method: silhouette(representation) for method, representation in shown.items()}
    shown = {method: representation for method, representation in shown.items() if scores[method] > 0}
    if not shown:
        return None
    methods = order_methods(list(shown), order)
    first = shown[methods[0]]
    about = lead(first.task, first.source)
    there = {str(category) for r in shown.values() for category in r.categories}
    categories = [name for name in first.names if name in there]
    colours = mpl.colormaps["viridis"](np.linspace(0.0, 0.9, len(categories)))  # by lightness, for grey
    rows, columns = panel_grid(len(methods), 5)
    width = ONE_COLUMN if columns <= 2 else TWO_COLUMNS
    side = min((width - 0.1) / columns, 1.7)
    with styled():
        figure = new_figure(width, (side + 0.3) * rows + 0.3, about)
        grid = figure.subplots(rows, columns, squeeze=False)
        size = fitting_size(method_names(methods), side - 0.1, 8)
        for axes, method in zip(grid.flat, methods, strict=False):
            plane = places(shown[method]) if places else embed(shown[method].values)
            for category, colour, marker in zip(categories, colours, cycle(MARKERS), strict=False):
                at = plane[shown[method].categories == category]
                axes.plot(at[:, 0], at[:, 1], marker, color=colour, markersize=2.2, alpha=0.7, linestyle="none")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(True)
            axes.set_title(method_name(method), fontsize=size)
            axes.set_xlabel(f"silhouette {scores[method]:.2f}")
        for axes in grid.flat[len(methods) :]:
            axes.set_axis_off()
        handles = [
            Line2D([], [], color=colour, marker=marker, linestyle="none")
            for colour, marker in zip(colours, cycle(MARKERS), strict=False)
        ]
        add_legend(figure, handles, categories, 1.0)
    counts = number_range(pd.Series([len(r.values) for r in shown.values()]))
    seeds = sorted({r.seed for r in shown.values()})
    what = f"t-SNE of the joint representations in the condition {first.setting.condition}"
    caption = (
        f"{about} {what}, {counts} test samples, of one trained model a method (seed {', '.join(map(str, seeds))}); "
        "below it the silhouette score of the categories in the representations themselves, not in the plot."
    )
    if left := _not_apart(scores):
        caption += f" Not shown, for want of a silhouette above 0: {left}."
    alt = f"{what}, a panel a method, samples marked by category, for {', '.join(method_names(methods))}. {about}"
    stem = f"{prefix or file_prefix(first.task)}_tsne"
    return Picture(stem, "Representations", caption, alt, figure)


def can_be_embedded(values: NDArray[np.floating]) -> bool:
    """Whether values, of shape (M, D), are enough, finite and not all alike."""
    return bool(values.shape[1] > 1 and np.isfinite(values).all() and len(np.unique(values, axis=0)) > 4)


def embed(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Places in the plane by t-SNE, (M, D) → (M, 2)."""
    from sklearn.manifold import TSNE  # half a second, and most often there is nothing to embed

    perplexity = min(30.0, (len(values) - 1) / 3)
    with threadpool_limits(1):  # several threads would add up in another order each time
        return TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(values.astype(np.float64))


def silhouette(representation: Representation) -> float:
    """How far apart the categories lie in the representations, -1 to 1; below 0, samples are nearer to others' than to
    their own. NaN where there is one category alone, or samples that cannot be embedded.
    """
    from sklearn.metrics import silhouette_score

    categories = len(set(representation.categories))
    if not can_be_embedded(representation.values) or not 1 < categories < len(representation.values):
        return math.nan
    return float(silhouette_score(representation.values, representation.categories))


def tell_unseparated(representations: Sequence[Representation]) -> str:
    """What stands in place of the t-SNE where no silhouette is above 0; else empty."""
    scores = {own.method: silhouette(own) for own in reversed(representations)}
    if not scores or any(score > 0 for score in scores.values()):
        return ""
    return (
        "No t-SNE of the representations is shown: a picture of clusters would mislead where no silhouette is above 0 "
        f"({_not_apart(scores)})."
    )


def _not_apart(scores: Mapping[str, float]) -> str:
    """The methods whose silhouette is not above 0, with it."""
    left = {method_name(method): score for method, score in scores.items() if not score > 0}
    return ", ".join(f"{m} ({'none' if math.isnan(s) else f'{s:.2f}'.replace('-', '−')})" for m, s in left.items())
