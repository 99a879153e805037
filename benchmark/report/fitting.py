"""Tables for a paper in LaTeX, as large as fits into the columns of a two-column page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from benchmark.report.content import Cell, Table
from benchmark.report.tables import escape_latex, latex_number, print_cell

WIDTHS = {"one": 229.0, "two": 469.0}
"""Points of text in one and in two columns of LaTeX's ``article`` with ``twocolumn``, at 10 points on letter paper."""
_HEIGHT = 500.0  # of a float, with its caption and note
_LINE = 12.0
_SIZES = (("", 1.0, 6.0), ("", 1.0, 4.0), (r"\small", 0.9, 4.0), (r"\footnotesize", 0.8, 3.0))
"""From the largest on: the command, its size by that of the text, and half the space between two columns in points."""
_BOLD = 1.15  # cmbx10's digits by cmr10's
_SIGNS = {"▲": 6.3, "▼": 6.3, "◆": 3.5, "±": 7.8, "†": 4.5, "‡": 4.5, "≈": 7.8, "–": 5.0}
_PLAIN = {  # symbols of amssymb, in what LaTeX itself has
    r"$\blacktriangle$": r"$^{\bigtriangleup}$",
    r"$\blacktriangledown$": r"$^{\bigtriangledown}$",
    r"$\blacklozenge$": r"$^{\diamond}$",
}


@dataclass(frozen=True)
class Layout:
    """A table and how it stands on the page.

    Parameters
    ----------
    table : Table
        Of one block; its lead is the caption, and its caption the note.
    heads : list of (str, list of str)
        Groups of columns: what stands above them, possibly nothing, and the columns' names.
    width : {"one", "two"}
        Columns of text that it may take.
    cites : mapping of row to str
        Keys of a bibliography.
    """

    table: Table
    heads: Sequence[tuple[str, Sequence[str]]]
    width: str
    cites: Mapping[str, str]

    @property
    def rows(self) -> list[tuple[str, list[Cell]]]:
        """Names as printed, with the reference's sign, and cells."""
        return [(self.table.row_name(name), cells) for name, cells in self.table.blocks[0].rows]

    @property
    def marks(self) -> list[str]:
        """The widest of each column."""
        columns = zip(*(cells for _, cells in self.rows), strict=True)
        return [max((cell.mark for cell in column), key=_width) for column in columns]

    @property
    def size(self) -> tuple[str, float, float]:
        """The largest at which it fits, or the smallest; see `_SIZES`."""
        return next((size for size in _SIZES if _fits(self, size)), _SIZES[-1])


def fit(layout: Layout) -> bool:
    """Whether a table fits at 80 % of the text's size or more; an estimate, from the widths of Computer Modern."""
    return _fits(layout, layout.size)


def _fits(layout: Layout, size: tuple[str, float, float]) -> bool:
    _, scale, gap = size
    return _needs(layout, scale, gap) <= WIDTHS[layout.width] and _height(layout, scale) <= _HEIGHT


def misfit(layout: Layout, others: Sequence[tuple[Layout, str]]) -> str:
    """What is wrong where a table does not fit, and what to leave out; empty where it does.

    Parameters
    ----------
    layout : Layout
    others : sequence of (Layout, str)
        The same table with less or in another form, and what to do for that.
    """
    if fit(layout):
        return ""
    _, scale, gap = layout.size
    share = _needs(layout, scale, gap) / WIDTHS[layout.width]
    if share <= 1.0:
        spare = (_height(layout, scale) - _HEIGHT) / (_LINE * scale)
        return f"is too high for a page at 80 % of the text's size (an estimate); leave out {ceil(spare)} rows"
    of = "a column of text" if layout.width == "one" else "two columns of text"
    does = [words for other, words in others if fit(other)]
    widths, count = _widths(layout), len(layout.table.columns)
    most = next((n for n in range(count, 0, -1) if _sum(widths[: n + 1], scale, gap) <= WIDTHS[layout.width]), 0)
    if most:
        does.append(f"leave out {count - most} of its {count} columns")
    return f"takes {share:.0%} of {of} at 80 % of the text's size (an estimate), and is written so; " + (
        " or ".join(does) or "leave out columns, and what stands behind the means"
    )


@lru_cache(maxsize=4096)
def _width(text: str) -> float:
    """Points of a text in Computer Modern at 10 points."""
    font = FontProperties(fname=str(Path(matplotlib.get_data_path(), "fonts", "ttf", "cmr10.ttf")), size=10)
    signs = sum(_SIGNS.get(character, 0.0) for character in text)
    letters = re.sub(r"[^ -~]", "n", "".join(character for character in text if character not in _SIGNS))
    return signs + (
        float(text_to_path.get_text_width_height_descent(letters, font, ismath=False)[0]) if letters else 0.0
    )


def _widths(layout: Layout) -> list[float]:
    """Of the column of names, then of each column, at 10 points without the space between them."""
    table = layout.table
    names = [table.row_name(name) + (" [00]" if name in layout.cites else "") for name in table.methods]
    widths = [max(map(_width, ["Method", *names]))]
    cells = zip(*(cells for _, cells in layout.rows), strict=True)
    for label, column, mark in zip(
        (label for _, own in layout.heads for label in own), cells, layout.marks, strict=True
    ):
        printed = [
            _width(cell.value or "–") * (_BOLD if cell.rank == 1 else 1.0)
            + _width((cell.mark or mark) + (f" {cell.spread}" if cell.spread else ""))
            for cell in column
        ]
        widths.append(max(_width(label), *printed))
    at = 1
    for head, labels in layout.heads:  # what stands above several columns widens the last one
        widths[at + len(labels) - 1] += max(0.0, _width(head) - sum(widths[at : at + len(labels)]))
        at += len(labels)
    return widths


def _sum(widths: Sequence[float], scale: float, gap: float) -> float:
    return sum(widths) * scale + 2 * gap * (len(widths) - 1)


def _needs(layout: Layout, scale: float, gap: float) -> float:
    return _sum(_widths(layout), scale, gap)


def _height(layout: Layout, scale: float) -> float:
    """Points of the whole float: rows, caption and note."""
    width = WIDTHS[layout.width]
    heads = 1 + any(head for head, _ in layout.heads)
    caption, note = _width(layout.table.lead) / width, 0.8 * _width(layout.table.caption) / width
    return _LINE * (scale * (heads + len(layout.rows)) + ceil(caption) + 0.8 * ceil(note) + 3)


def to_paper_latex(layout: Layout) -> str:
    """A floating table for a document that loads booktabs and nothing else; as large as fits, and never scaled."""
    table, heads = layout.table, layout.heads
    float_ = "table" if layout.width == "one" else "table*"
    command, _, gap = layout.size
    above = []
    if any(head for head, _ in heads):
        at, spans, rules = 2, [], []
        for head, labels in heads:
            spans.append(rf"\multicolumn{{{len(labels)}}}{{c}}{{{escape_latex(head)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + len(labels) - 1}}}")
            at += len(labels)
        above = [" & ".join(["", *spans]).strip() + r" \\", " ".join(rules)]
    hidden = [rf"\phantom{{{escape_latex(mark)}}}" if mark else "" for mark in layout.marks]  # digits below digits
    body = []
    for name, cells in table.blocks[0].rows:
        cite = rf"~\cite{{{layout.cites[name]}}}" if name in layout.cites else ""
        numbers = [
            print_cell(cell, latex_number, r"\textbf{{{}}}".format, r"\underline{{{}}}".format, no_mark)
            for cell, no_mark in zip(cells, hidden, strict=True)
        ]
        body.append(" & ".join([escape_latex(table.row_name(name)) + cite, *numbers]) + r" \\")
    lines = [
        r"% \usepackage{booktabs}",
        rf"\begin{{{float_}}}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.lead)}}}",
        rf"\label{{tab:{table.stem}}}",
        rf"\setlength{{\tabcolsep}}{{{gap:g}pt}}",
        *([command] if command else []),
        rf"\begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
        r"\toprule",
        *above,
        " & ".join(["Method", *(escape_latex(label) for _, labels in heads for label in labels)]) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par\smallskip{{\footnotesize\raggedright {escape_latex(table.caption)}\par}}"] if table.caption else []),
        rf"\end{{{float_}}}",
        "",
    ]
    text = "\n".join(lines)
    for symbol, plain in _PLAIN.items():
        text = text.replace(symbol, plain)
    return text
