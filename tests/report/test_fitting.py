"""How large a table for a paper is set, and what is said where it does not fit."""

import re

import pandas as pd
import pytest

from benchmark.report import fitting
from benchmark.report.content import Block, Cell, Table
from benchmark.report.fitting import SIZES, Layout, fit, latex_width, misfit, to_paper_latex
from tests.report.paper_tex import Tex

CELL = Cell("72.5")


def layout(columns=1, rows=2, width="one", cell=CELL, names=("TFR-Net", "MulT"), cites={}, note="Note."):  # noqa: B006
    labels = [f"p=0.{i}" for i in range(columns)]
    names = [*names, *(f"m{i}" for i in range(len(names), rows))][:rows]
    block = Block("", [(name, [cell] * columns) for name in names])
    table = Table("t", "", "mosi", "file", "paper", "Caption.", note, names, labels, pd.DataFrame(), [block])
    return Layout(table, [("", labels)], width, cites)


def needs(layout):
    """Points that a table takes in the largest size."""
    return fitting._sum(fitting._widths(layout, SIZES[0]), SIZES[0])


def test_widths_are_those_of_latex():
    # Points that LaTeX gives, of \normalsize, \small, \footnotesize.
    texts = {
        "0123456789": (50.0, 46.25, 42.5),
        "early fusion CorrKD MulT": (117.5, 108.67, 99.81),
        "{l,a,v}": (28.61, 26.47, 24.32),
        "▼": (7.61, 7.06, 7.06),
        "◆": (4.6, 4.33, 4.33),
        "1\u2009±\u20091": (21.11, 19.53, 17.94),
        "-1": (12.78, 11.82, 10.86),
    }
    sizes = [size for size in SIZES if size.gap != 6.0][:3]
    for text, points in texts.items():
        assert [latex_width(text, size) for size in sizes] == pytest.approx(points, rel=0.013)


@pytest.mark.parametrize(
    "wider",
    [
        {"cell": Cell("72.5", "± 1.0")}, {"cell": Cell("−1172.5")}, {"cell": Cell("1172.5", rank=1)},
        {"cell": Cell("72.5", mark="▼▼")}, {"names": ("A longer name", "MulT")}, {"cites": {"TFR-Net": "k"}}, {"columns": 4},
    ],
)  # fmt: skip
def test_what_takes_room_is_counted(wider):
    usual = layout(columns=3)
    assert needs(layout(**{"columns": 3} | wider)) > needs(usual) + 4


def test_bold_digits_are_wider():
    usual, bold = (needs(layout(cell=Cell("1172.55", rank=rank))) for rank in (2, 1))
    assert bold == pytest.approx(usual + 0.15 * (6 * 5 + 2.77), abs=0.1)


def test_what_stands_above_columns_takes_room_too():
    own = layout(columns=2)
    wide = Layout(own.table, [("On a task with a long name", ["p=0.0", "p=0.1"])], "one", {})
    assert needs(wide) > needs(own) + 40


@pytest.mark.parametrize(
    ("columns", "size", "gap"),
    [(4, "", "6pt"), (5, "", "4pt"), (6, r"\footnotesize", "3pt"), (7, r"\footnotesize", "2pt")],
)
def test_a_table_is_as_large_as_fits(columns, size, gap):
    own = layout(columns)
    tex = to_paper_latex(own)
    assert len(Tex(tex).head) == columns + 1 and fit(own) and misfit(own, []) == ""
    assert [s for s in (r"\small", r"\footnotesize") if f"\n{s}\n" in tex] == ([size] if size else [])
    assert rf"\setlength{{\tabcolsep}}{{{gap}}}" in tex and "resizebox" not in tex


def test_where_it_does_not_fit_following_what_is_said_helps():
    others = [(layout(11, width="two"), "give it two columns (width: two)"), (layout(11), "do nothing")]
    said = misfit(layout(11), others)
    share, less = re.fullmatch(
        r"takes (\d+)% of a column of text at 80 % of the text's size \(an estimate\), and is written so; give it two "
        r"columns \(width: two\) or leave out (\d) of its 11 columns",
        said,
    ).groups()
    assert int(share) > 100 and "\n\\footnotesize\n" in to_paper_latex(layout(11))
    assert fit(layout(11 - int(less))) and not fit(layout(12 - int(less)))
    assert fit(layout(11, width="two")) and Tex(to_paper_latex(layout(11, width="two"))).float == "table*"


def test_a_table_that_is_too_high_is_told():
    (spare,) = re.fullmatch(r"is too high for a page .*; leave out (\d+) rows", misfit(layout(rows=60), [])).groups()
    assert 0 < int(spare) < 30 and fit(layout(rows=60 - int(spare)))
    assert not fit(layout(rows=40, note="A long note. " * 100)) and fit(layout(rows=40, note=""))
    assert r"\small" in to_paper_latex(layout(rows=40, note="")), "as in one that is too wide"
