"""Tables for a paper in LaTeX, as large as fits into the columns of a two-column page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import NamedTuple

from benchmark.report.content import Cell, Table
from benchmark.report.tables import MINUS, escape_latex, latex_number, print_cell

WIDTHS = {"one": 229.0, "two": 469.0}
"""Points of text in one and in two columns of LaTeX's ``article`` with ``twocolumn``, at 10 points on letter paper."""
_HEIGHT = 500.0  # of a float, with its caption and note
_LINE = 12.0


class Size(NamedTuple):
    """A size of type, by that of the text at 10 points.

    Small type is wider than large type made smaller: its letters have a width of their own, and so have raised signs.
    """

    command: str
    height: float
    letters: float
    raised: float
    gap: float
    """Half the space between two columns in points."""


SIZES = (
    Size("", 1.0, 1.0, 1.0, 6.0),
    Size("", 1.0, 1.0, 1.0, 4.0),
    Size(r"\small", 0.9, 0.925, 0.93, 4.0),
    Size(r"\footnotesize", 0.8, 0.85, 0.93, 3.0),
    Size(r"\footnotesize", 0.8, 0.85, 0.93, 2.0),
)
"""From the largest on, as LaTeX has them in Computer Modern."""
_BOLD = 1.15  # digits by those that are not
_RAISED = {"▲": 7.6, "▼": 7.6, "◆": 4.6}
_INLINE = {"−": 7.8, "±": 7.8, "≈": 7.8, "†": 4.4, "‡": 4.4, "–": 5.0, "\u2009": 1.67}
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
        return [max((cell.mark for cell in column), key=latex_width) for column in columns]

    @property
    def size(self) -> Size:
        """The largest at which it fits, or the smallest."""
        return next((size for size in SIZES if _fits(self, size)), SIZES[-1])


def fit(layout: Layout) -> bool:
    """Whether a table fits at 80 % of the text's size or more; an estimate, from the widths of Computer Modern."""
    return _fits(layout, layout.size)


def _fits(layout: Layout, size: Size) -> bool:
    return _sum(_widths(layout, size), size) <= WIDTHS[layout.width] and _height(layout, size) <= _HEIGHT


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
    size = layout.size
    widths, count = _widths(layout, size), len(layout.table.columns)
    share = _sum(widths, size) / WIDTHS[layout.width]
    if share <= 1.0:
        spare = (_height(layout, size) - _HEIGHT) / (_LINE * size.height)
        return f"is too high for a page at 80 % of the text's size (an estimate); leave out {ceil(spare)} rows"
    of = "a column of text" if layout.width == "one" else "two columns of text"
    does = [words for other, words in others if fit(other)]
    most = next((n for n in range(count, 0, -1) if _sum(widths[: n + 1], size) <= WIDTHS[layout.width]), 0)
    if most:
        does.append(f"leave out {count - most} of its {count} columns")
    return f"takes {ceil(100 * share)}% of {of} at 80 % of the text's size (an estimate), and is written so; " + (
        " or ".join(does) or "leave out columns, and what stands behind the means"
    )


def latex_width(text: str, size: Size = SIZES[0]) -> float:
    """Points of a text in Computer Modern, as :func:`benchmark.report.tables.latex_number` has it set."""
    text = MINUS.sub("−", text)
    raised = sum(_RAISED.get(character, 0.0) for character in text)
    inline = sum(_INLINE.get(character, 0.0) for character in text)
    letters = re.sub(r"[^ -~]", "n", "".join(c for c in text if c not in _RAISED and c not in _INLINE))
    return (inline + _letters(letters)) * size.letters + raised * size.raised


@lru_cache(maxsize=4096)
def _letters(text: str) -> float:
    import matplotlib  # a third of a second, and most commands print no such table
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(fname=str(Path(matplotlib.get_data_path(), "fonts", "ttf", "cmr10.ttf")), size=10)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) if text else 0.0


def _widths(layout: Layout, size: Size) -> list[float]:
    """Of the column of names, then of each column, without the space between them."""
    table = layout.table
    names = [table.row_name(name) + (" [00]" if name in layout.cites else "") for name in table.methods]
    widths = [max(latex_width(name, size) for name in ["Method", *names])]
    cells = zip(*(cells for _, cells in layout.rows), strict=True)
    for label, column, mark in zip(
        (label for _, own in layout.heads for label in own), cells, layout.marks, strict=True
    ):
        means = [
            latex_width(cell.value or "–", size) * (_BOLD if cell.rank == 1 else 1.0)
            + latex_width(cell.mark or mark, size)
            for cell in column
        ]
        spreads = [
            latex_width(f" {cell.spread}".replace(" ± ", "\u2009±\u2009"), size) for cell in column if cell.spread
        ]
        widths.append(max(latex_width(label, size), max(means) + max(spreads, default=0.0)))
    at = 1
    for head, labels in layout.heads:  # what stands above several columns widens the last one
        widths[at + len(labels) - 1] += max(0.0, latex_width(head, size) - sum(widths[at : at + len(labels)]))
        at += len(labels)
    return widths


def _sum(widths: Sequence[float], size: Size) -> float:
    return sum(widths) + 2 * size.gap * (len(widths) - 1)


def _height(layout: Layout, size: Size) -> float:
    """Points of the whole float: rows, caption and note."""
    width, small = WIDTHS[layout.width], SIZES[-1]
    heads = 1 + any(head for head, _ in layout.heads)
    caption, note = latex_width(layout.table.lead) / width, latex_width(layout.table.caption, small) / width
    rows = size.height * (heads + len(layout.rows))
    return _LINE * (rows + ceil(caption) + small.height * ceil(note) + 3)


def _spread(spread: str, longest: int) -> str:
    """What stands behind a mean, as wide as the column's longest, so that means stand below one another."""
    if not spread:
        return ""
    filling = rf"\phantom{{{'0' * (longest - len(spread))}}}" if len(spread) < longest else ""
    text = latex_number(spread)
    if text.startswith(r"$\pm$ "):  # spaces of words would take twice as much
        return text.replace(r"$\pm$ ", rf"\,$\pm$\,{filling}")
    return f" {filling}{text}"


def to_paper_latex(layout: Layout) -> str:
    """A floating table for a document that loads booktabs and nothing else; as large as fits, and never scaled."""
    table, heads = layout.table, layout.heads
    float_ = "table" if layout.width == "one" else "table*"
    size, rows = layout.size, layout.rows
    above = []
    if any(head for head, _ in heads):
        at, spans, rules = 2, [], []
        for head, own in heads:
            spans.append(rf"\multicolumn{{{len(own)}}}{{c}}{{{escape_latex(head)}}}")
            rules.append(rf"\cmidrule(lr){{{at}-{at + len(own) - 1}}}")
            at += len(own)
        above = [" & ".join(["", *spans]).strip() + r" \\", " ".join(rules)]
    hidden = [rf"\phantom{{{escape_latex(mark)}}}" if mark else "" for mark in layout.marks]  # digits below digits
    longest = [max(len(cell.spread) for cell in column) for column in zip(*(cells for _, cells in rows), strict=True)]
    body = []
    for (name, cells), label in zip(table.blocks[0].rows, (label for label, _ in rows), strict=True):
        cite = rf"~\cite{{{layout.cites[name]}}}" if name in layout.cites else ""
        numbers = [
            print_cell(
                replace(cell, spread=""), latex_number, r"\textbf{{{}}}".format, r"\underline{{{}}}".format, no_mark
            )
            + _spread(cell.spread, most)
            for cell, no_mark, most in zip(cells, hidden, longest, strict=True)
        ]
        body.append(" & ".join([escape_latex(label) + cite, *numbers]) + r" \\")
    middle = r"\multicolumn{{1}}{{c}}{{{}}}" if any(longest) else "{}"
    labels = [middle.format(escape_latex(label)) for _, own in heads for label in own]
    lines = [
        r"% \usepackage{booktabs}",
        rf"\begin{{{float_}}}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.lead)}}}\smallskip",
        rf"\label{{tab:{table.stem}}}",
        rf"\setlength{{\tabcolsep}}{{{size.gap:g}pt}}",
        *([size.command] if size.command else []),
        rf"\begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
        r"\toprule",
        *above,
        " & ".join(["Method", *labels]) + r" \\",
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
