"""Names and texts from outside: which may stand in a table, how what cannot be seen is shown, and text in csv files.

The names of methods and variants are checked where they are made; cells, csv files and cards may be anybody's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    import pandas as pd

GRIDS = Path(__file__).resolve().parent / "grids"
"""The folder of the grids that come with the benchmark."""

LONGEST = 60
"""Characters of a name in tables and figures; those of our own methods and variants are shorter."""

# Control characters but for tabs and line breaks, marks that turn the direction of writing, characters without a width
# (but for those that join letters or emoji), halves of surrogate pairs, and code points that are no characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]|\r(?!\n)"
)
_FORMULA = re.compile("'*[=+\\-@＝＋－＠\t\r\n]")  # what begins so is computed by a spreadsheet


def visible(text: str) -> str:
    r"""A text in which characters that cannot be seen are written out: ``\x1b``. Tabs and line breaks stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def check_name(name: Any, what: str, where: str | Path) -> None:
    """Refuse what is no name for a row, a task or a category.

    Raises
    ------
    BenchmarkError
        If it is no text, empty, longer than `LONGEST`, or holds a line break or what cannot be seen.
    """
    if not isinstance(name, str):
        wrong = "is no text"
    elif not name.strip():
        wrong = "is empty"
    elif len(name) > LONGEST:
        wrong = f"has {len(name)} characters, and {LONGEST} are the most"
    elif visible(name) != name or re.search(r"[\t\r\n]", name):
        wrong = "holds characters that cannot be seen"
    else:
        return
    raise BenchmarkError(f"{where}: the {what} {ascii(name)[: LONGEST + 2]} {wrong}; give it another name there")


def check_inside(path: Path, out: Path) -> None:
    """Refuse to write where a name or a link leads out of the output folder; raises BenchmarkError."""
    try:
        inside = path.resolve().is_relative_to(out.resolve())
    except RuntimeError:  # links in a circle, until Python 3.12
        inside = False
    if not inside:
        raise BenchmarkError(f"{path} leads out of {out}, so nothing is written there; move it away")


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame for a csv file: a text that a spreadsheet would take for a formula begins with ``'``; all is visible."""
    return _in_texts(frame, lambda text: _quoted(visible(text)))


def as_written(text: str) -> str:
    """A text from a csv file as it was before :func:`without_formulas`."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def _quoted(text: str) -> str:
    return "'" + text if _FORMULA.match(text) else text


def _in_texts(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    changed: dict[str, Any] = {}
    for column in frame.select_dtypes(exclude="number"):
        new = {text: change(text) for text in frame[column].unique() if isinstance(text, str)}
        if any(old != text for old, text in new.items()):
            changed[str(column)] = frame[column].map(lambda text, new=new: new.get(text, text))
    return frame.assign(**changed)
