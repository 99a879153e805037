"""The multiple comparison matrix: each pair of methods in one cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from benchmark.evidence.comparisons import ALPHA
from benchmark.evidence.pairs import matrix_of_pairs
from benchmark.evidence.statistics import ranks
from benchmark.protocol.metrics import metric
from benchmark.report.content import Picture
from benchmark.report.figures import TWO_COLUMNS, fitting_size, new_figure, styled, text_width
from benchmark.report.heatmaps import heat_map
from benchmark.report.naming import method_names
from benchmark.report.tables import tell_blocks

COLOURS = "PuOr_r"  # violet and orange are told apart by everybody, and the middle is white
_WIDEST = 0.95  # inches of a cell
_WITH_NUMBERS = 25
"""Methods, at most, whose cells have room for numbers."""


def comparison_matrix(
    blocks: pd.DataFrame, pairs: pd.DataFrame, *, about: str, stem: str = "matrix", rows: str = "methods"
) -> Picture | None:
    """Row against column: difference, wins, ties and losses, and p.

    Parameters
    ----------
    blocks : DataFrame
        As :func:`benchmark.evidence.statistics.rank_blocks` returns it.
    pairs : DataFrame
        As in :class:`benchmark.evidence.stored.Evidence`.
    about : str
        Which data it is, from :func:`benchmark.report.content.lead`.
    stem : str
        The file's name.
    rows : str
        What is compared, for people.

    Returns
    -------
    Picture or None
        Methods by their mean rank over the same blocks. None for fewer than three methods, or where not all pairs were
        compared.
    """
    found = matrix_of_pairs(blocks, pairs) if blocks.shape[1] > 2 and len(blocks) else pd.DataFrame()
    if found.empty:
        return None
    rank = ranks(blocks)["rank"].sort_values(kind="stable")
    methods = [str(method) for method in rank.index]
    called = method_names(methods)
    names = [f"{name} ({rank[method]:.2f})" for method, name in zip(methods, called, strict=True)]
    percent = {metric(str(name)).percent for name in pairs["metric"].unique()}
    found = found.assign(text=[_text(row, 1 if any(percent) else 3) for row in found.itertuples()])
    differences, texts, p = (
        found.pivot(index="method", columns="against", values=name).reindex(index=methods, columns=methods)
        for name in ("difference", "text", "p")
    )
    legible = len(methods) <= _WITH_NUMBERS
    lines = [line for text in found["text"] for line in text.split("\n")]
    left = min(1.6, max(text_width(name, 6.5) for name in names) + 0.15)
    top = min(0.9, max(text_width(name, 6.5) for name in called) + 0.1)
    cell = min(_WIDEST, (TWO_COLUMNS - left - 0.75) / len(methods))
    size = fitting_size(lines, 0.85 * cell, 6.5)  # bold takes more room
    most = float(found["difference"].abs().max()) or 1.0
    with styled():
        figure = new_figure(TWO_COLUMNS, len(methods) * max(0.16, 4.2 * size / 72) + top + 0.35, about)
        axes = figure.subplots()
        told = texts.fillna("") if legible else texts.map(lambda text: "")
        mesh = heat_map(axes, differences, told, size, cmap=COLOURS, vmin=-most, vmax=most)
        significant = (p < ALPHA).to_numpy()
        for text in axes.texts:
            x, y = (int(place) for place in text.get_position())
            text.set_fontweight("bold" if significant[y, x] else "normal")
        axes.set_yticklabels(names, rotation=0, fontsize=fitting_size(names, left - 0.1, 6.5))
        axes.xaxis.tick_top()
        axes.set_xticklabels(called, rotation=90, fontsize=fitting_size(called, top - 0.05, 6.5))
        axes.tick_params(length=0)
        bar = figure.colorbar(mesh, ax=axes, label="row less column", pad=0.01, aspect=3 * len(methods))
        bar.outline.set_linewidth(0.0)
    what = f"Row against column, each pair of {rows}"
    caption = f"{about} {what}: {_caption(found, blocks, pairs, percent)}"
    if not legible:
        caption += (
            f" So many have no room for numbers in their cells: colours are the differences, tables/{stem}.csv has all."
        )
    alt = f"{what}, of {', '.join(called)}. {about} The numbers are in tables/{stem}.csv."
    return Picture(stem, f"Each pair of {rows}", caption, alt, figure, numbers=found.drop(columns="text"))


def _text(row: Any, digits: int) -> str:
    """Three lines; two where there was no test."""
    p = "" if np.isnan(row.p) else "p<.001" if row.p < 0.001 else f"p={row.p:.3f}".replace("=0.", "=.")
    return "\n".join(filter(None, [f"{row.difference:+z.{digits}f}", f"{row.wins}/{row.ties}/{row.losses}", p]))


def _caption(found: pd.DataFrame, blocks: pd.DataFrame, pairs: pd.DataFrame, percent: set[bool]) -> str:
    tasks = int(found["tasks"].max())
    said_of = [metric(str(name)) for name in pairs["metric"].unique()]
    titles = ", ".join(dict.fromkeys(own.title for own in said_of if own.percent or not any(percent)))
    units = "in points" if any(percent) else "turned so that more is better"
    if len(percent) > 1:
        units += "; tasks whose score is no per cent are left out of it"
    said = [
        f"the difference of {found['condition'].iloc[0]} ({titles}{', mean over tasks' * (tasks > 1)}, {units}); how "
        f"often the row wins, ties and loses {tell_blocks(blocks)}; and p."
    ]
    if found["p"].isna().all():
        said = [said[0].replace("; and p.", "."), "Nothing is tested: that takes three seeds of each method."]
    else:
        said.append(
            f"p is of the paired two-sided test of that difference{', combined over tasks (Stouffer)' * (tasks > 1)}, "
            "not corrected, so that what is said of two methods does not depend on which others are there; bold where "
            f"it is below {ALPHA}."
        )
    return " ".join([*said, "By mean rank among these, in brackets. After Ismail-Fawaz et al., 2023."])
