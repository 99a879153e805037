"""Which methods differ over all tasks and conditions: the critical-difference diagram."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from scipy.stats import friedmanchisquare, studentized_range

from benchmark.evidence.statistics import LEAST_BLOCKS
from benchmark.evidence.statistics import ranks as mean_ranks
from benchmark.report.content import Picture
from benchmark.report.figures import ONE_COLUMN, TWO_COLUMNS, new_figure, styled, text_width
from benchmark.report.naming import method_name, method_names

LEAST_METHODS = 3


def critical_difference(
    blocks: pd.DataFrame, *, about: str, block: str = "data set", alpha: float = 0.05
) -> Picture | None:
    """Mean ranks of the methods, and which of them the Friedman and Nemenyi tests do not tell apart.

    Parameters
    ----------
    blocks : DataFrame, shape (blocks, methods)
        Scores, the higher the better; a block that lacks a score is left out.
    about : str
        Which data it is, from :func:`benchmark.report.content.lead`.
    block : str
        What makes a block, for the caption.
    alpha : float
        Level of both tests.

    Returns
    -------
    Picture or None
        None for fewer than ten whole blocks or three methods. Where the Friedman test finds no difference at all, one
        bar joins all methods.

    References
    ----------
    Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006.
    """
    blocks = blocks.dropna()
    count, methods = len(blocks), [str(method) for method in blocks.columns]
    if count < LEAST_BLOCKS or len(methods) < LEAST_METHODS:
        return None
    from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman  # most runs have too few blocks

    # Numbers in place of names: the diagram's order of drawing then depends on nothing else.
    scores = blocks.round(6).set_axis(range(len(methods)), axis=1)
    ranks = mean_ranks(scores)["rank"]
    varied = bool((scores.nunique(axis=1) > 1).any())  # else the statistic is 0 / 0
    friedman = float(friedmanchisquare(*scores.to_numpy().T).pvalue) if varied else 1.0
    if friedman < alpha:
        pairs = posthoc_nemenyi_friedman(scores)
    else:
        pairs = pd.DataFrame(1.0, index=scores.columns, columns=scores.columns)
    k = len(methods)
    difference = float(studentized_range.ppf(1 - alpha, k, np.inf)) * (k * (k + 1) / (12 * count)) ** 0.5
    labels = [f"{name} ({rank:.2f})" for name, rank in zip(method_names(methods), ranks, strict=True)]
    narrow = k <= 6 and max(text_width(label, 7) for label in labels) < 0.95
    width, margin = ONE_COLUMN if narrow else TWO_COLUMNS, 0.02 * float(np.ptp(ranks))
    with styled():
        figure = new_figure(width, 1.0, about)
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.spines["top"].set_visible(True)
        drawn = critical_difference_diagram(
            ranks, pairs, alpha=alpha, ax=axes,
            text_h_margin=margin, label_fmt_left="{label}", label_fmt_right="{label}",
            label_props={"size": 7}, elbow_props={"color": "#777777", "linewidth": 0.6},
            marker_props={"color": "#222222", "s": 8},
            crossbar_props={"color": "#0072B2", "linewidth": 2.2, "solid_capstyle": "butt"},
        )  # fmt: skip
        for text in drawn["labels"]:
            text.set(text=labels[int(text.get_text())], color="#222222")
            text.set_x(text.get_position()[0] + (margin / 2 if text.get_ha() == "left" else -margin / 2))
        axes.set_ylim(top=0.8)
        if friedman < alpha:
            axes.set_ylim(top=2.8)
            ends = np.array([0.0, difference]) + ranks.min()
            axes.plot(ends, [2.2, 2.2], "|-", color="#222222", markersize=5, markeredgewidth=0.8)
            text = f"CD = {difference:.2f}"
            axes.annotate(text, (ends[1], 2.2), (4, 0), textcoords="offset points", size=7, va="center")
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], min_n_ticks=3))
        axes.set_xlabel("mean rank (1 is best)")
        low, high = axes.get_ylim()
        figure.set_size_inches(width, 0.15 * (high - low) + 0.45)
    test = f"Friedman test over {count} blocks (each a {block}): p {_print_p(friedman)}"
    if friedman < alpha:
        test += f"; Nemenyi test at α = {alpha:g}, critical difference (CD) {difference:.2f}"
    else:
        test += f", not below α = {alpha:g}, so that no pair was tested"
    what = "Mean rank of each method"
    caption = f"{about} {what}. {test}. Methods joined by a bar are not told apart."
    listed = ", ".join(f"{method_name(methods[i])} {ranks[i]:.2f}" for i in np.argsort(ranks, kind="stable"))
    return Picture("ranks", "Ranks over all tasks", caption, f"{what}: {listed}. {about}", figure)


def _print_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
