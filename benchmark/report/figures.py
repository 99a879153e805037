"""What all figures share: sizes for a two-column paper, style, how each method looks, the bytes of a file.

Figures are made of data frames alone, and the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from math import ceil
from typing import Any

import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from benchmark.evidence.statistics import FLOORS
from benchmark.protocol.metrics import metric
from benchmark.report.content import lead, title_and_mark
from benchmark.report.naming import method_name
from benchmark.report.tables import number_range
from benchmark.report.verdicts import interval_words

ONE_COLUMN, TWO_COLUMNS = 3.3, 6.9  # inches

# Okabe and Ito's palette, with its yellow darkened to stand out from white and two darker ones; the first colour is
# CorrKD's alone, beside which the others are looked at, and theirs is black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8F8A00", "#332288", "#882255")
INSTEAD = "#000000"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
GREY = "#B8B8B8"
"""Of methods that are drawn alike, behind the others."""

FIRST = (
    *("corrkd", "linear", "mult", "misa", "smil", "lnln", "tfr_net", "cubemlp", "self_mm"),
    *("mctn", "transm", "dmd", "gcnet", "hrlf", "late_fusion", "moddrop", "momke", "mplmm"),
    *("dicmor", "cmad", "ebmc", "p_rmf"),
)
"""Names whose place here says how they look, so that no two of them look alike: add to it at its end only."""

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

Look = dict[str, Any]


class Looks(dict[str, Look]):
    """How each method is drawn: colour, marker and line, by its name.

    Parameters
    ----------
    looks : mapping of str to dict
    grey : collection of str
        Those that are all drawn alike, thin, behind the others and without a name.
    said : str
        What a caption says of who is drawn how; possibly empty.
    """

    def __init__(self, looks: Mapping[str, Look], grey: Collection[str] = (), said: str = "") -> None:
        super().__init__(looks)
        self.grey, self.said = frozenset(grey), said

    def coloured(self, methods: Sequence[str]) -> list[str]:
        """Those of the methods that are neither grey nor floors."""
        return [method for method in methods if method not in self.grey and method not in FLOORS]


def look_of(method: str) -> Look:
    """Colour, marker and line of a method by its name alone, so that it has them in every figure of every grid.

    A row trained the other way, such as ``mult+mrm``, has the colour of the method and its marker, hollow.
    """
    if method in FLOORS:
        return {"color": "#777777", "marker": "", "linestyle": ("--", ":")[FLOORS.index(method)]}
    base, turned = method.removesuffix("+mrm").removesuffix("-mrm"), method.endswith(("+mrm", "-mrm"))
    if turned and base:
        own = look_of(base)
        return own | {"markerfacecolor": "white", "markeredgewidth": 0.8, "linestyle": (0, (2.5, 1.2))}
    if method in FIRST:
        place = FIRST.index(method)
        steps = place, place, place // len(COLOURS)
    else:
        number = int(hashlib.sha256(method.encode(errors="surrogatepass")).hexdigest()[:8], 16)
        steps = number, number // len(COLOURS), number // len(COLOURS) // len(MARKERS)
    colours = COLOURS if method == FIRST[0] else (INSTEAD, *COLOURS[1:])
    choices = zip(("color", "marker", "linestyle"), (colours, MARKERS, DASHES), steps, strict=True)
    return {what: of[step % len(of)] for what, of, step in choices}


def method_looks(methods: Sequence[str]) -> Looks:
    """The look of each method, none grey."""
    return Looks({method: look_of(method) for method in [*methods, *FLOORS]})


def styled() -> AbstractContextManager[None]:
    """The style that all figures are made and drawn in."""
    return style.context(["default", STYLE])


def new_figure(width: float, height: float, about: str) -> Figure:
    """An empty figure, sizes in inches, with the tasks at its top and in a corner, small, that they are simulated.

    Parameters
    ----------
    width, height : float
    about : str
        The sentence that says which data it shows, from :func:`benchmark.report.content.leads`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_label(about)
    title, mark = title_and_mark(about)
    size = fitting_size([mark or "x"], 0.3 * width, 6)
    beside = text_width(mark, size) + 0.1 if mark else 0.0
    # Bold takes more room.
    figure.suptitle(title, fontsize=fitting_size([title], 0.85 * (width - 2 * beside), 8), fontweight="bold")
    if mark:
        at = 1 - 0.03 / width, 1 - 0.03 / height
        corner = figure.text(*at, mark, size=size, color="#666666", ha="right", va="top")
        corner.set_in_layout(False)
    return figure


def lay_out(figure: Figure) -> None:
    """Settle where the axes of a figure stand, as drawing it does first, so that other places can follow from these."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)


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
    lines = {"constant": "dashes: {}, the same answer for all", "random": "dots: {}, a weighted coin"}
    told = [lines[floor].format(method_name(floor)) for floor in FLOORS if floor in methods]
    return f" Grey lines are floors ({'; '.join(told)})." if told else ""


def describe_samples(rows: pd.DataFrame) -> str:
    """Number of test samples and of seeds behind rows with the columns `n` and `seeds`."""
    seeds = number_range(rows.loc[rows["seeds"] > 0, "seeds"])
    return f"n = {number_range(rows['n'].dropna())} test samples, {seeds} {'seed' if seeds == '1' else 'seeds'}"


def about_one_task(rows: pd.DataFrame) -> tuple[str, str]:
    """The task of rows of one task and source, and the sentence that says which data they are from."""
    task, source = str(rows["task"].iloc[0]), str(rows["source"].iloc[0])
    return task, lead(task, source)


def to_files(figure: Figure) -> dict[str, bytes]:
    """The figure as PNG and as PDF, by suffix, laid out once and for both.

    The files hold no date or version; which data they show is among what they say of themselves.
    """
    dated = {"png": ["Software"], "pdf": ["CreationDate", "Creator", "Producer"]}
    files = {}
    with styled():
        for suffix, names in dated.items():
            buffer = io.BytesIO()
            metadata = dict.fromkeys(names) | {"Title": str(figure.get_label()).rstrip(".")}
            figure.savefig(buffer, format=suffix, dpi=300, metadata=metadata)
            figure.set_layout_engine("none")  # what the first layout gave stays
            files[suffix] = buffer.getvalue()
    return files
