"""What a report is made of: tables, pictures, and the sections of the page they stand in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmark.report.naming import method_name, task_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


REFERENCE_SIGN = "◆"


def file_prefix(task: str) -> str:
    """A task's name as file names begin with it: itself where it is plain, else what can stay of it, and a hash."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}(?<!-file)(?<!-simulated)", task):  # the latter tell two sources apart
        return task
    kept = re.sub(r"[^A-Za-z0-9]+", "_", task)[:40].strip("_")
    return f"{kept}-{hashlib.sha256(task.encode(errors='surrogatepass')).hexdigest()[:8]}"


def lead(task: str, source: str) -> str:
    """The sentence that says which data it is, for instance ``CMU-MOSI: simulated data.``"""
    return leads([(task, source)])


def leads(tasks: Iterable[tuple[str, str]]) -> str:
    """The same for several pairs of task and source: one sentence a source."""
    by_source: dict[str, list[str]] = {}
    for task, source in dict.fromkeys(tasks):
        by_source.setdefault(source, []).append(task)
    said = {"simulated": "simulated data"}
    return " ".join(
        f"{', '.join(map(task_name, names))}: {said.get(source, 'data from file')}."
        for source, names in by_source.items()
    )


def title_and_mark(about: str) -> tuple[str, str]:
    """That sentence as a figure bears it: its tasks as a title, and as a mark in a corner which are simulated.

    The mark is ``simulated``, with the tasks behind it where others are real; empty where none is simulated.
    """
    said = re.findall(r"(.+?): (simulated data|data from file)\.(?: |$)", about, flags=re.DOTALL)
    title = ", ".join(dict.fromkeys(task for tasks, _ in said for task in tasks.split(", "))) or about.rstrip(".")
    simulated = [tasks for tasks, what in said if what.startswith("simulated")]
    if len(simulated) in (0, len(said)):
        return title, "simulated" if simulated else ""
    return title, f"simulated: {', '.join(simulated)}"


@dataclass(frozen=True)
class Cell:
    """One number as printed.

    Parameters
    ----------
    value : str
        Empty where there is none.
    spread : str
        What stands behind it, such as ``± 1.20`` or ``[70.1, 75.3]``; possibly empty.
    rank : int
        1 for the best, 2 for the second; 0 where nothing is ranked.
    mark : str
        A sign that the caption explains, such as ``*``; possibly empty.
    """

    value: str
    spread: str = ""
    rank: int = 0
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """The rows of one metric, all methods in order."""

    title: str
    rows: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Table:
    """A table of one task from one source, or of all of them.

    Parameters
    ----------
    stem : str
        File name without suffix, for instance ``mosi_inter``.
    title : str
        Its heading on the page.
    task, source : str
        With commas between them where it is of several.
    kind : str
    lead, caption : str
        What is printed first and strongly, and the rest of the caption.
    methods, columns : list of str
        Row and column names, in order.
    summary : DataFrame
        The numbers behind it, as they go into the CSV file; more than is printed.
    blocks : list of Block
        What is printed; titles count only where there is more than one.
    words : tuple of str
        The columns of words, which are printed to the left; numbers stand to the right.
    metrics : dict of str to str
        The metrics of the blocks, each with its title, the primary one first.
    prefix : str
        What the names of all files of the task and source begin with.
    target : str
        The kind of the task's target.
    notes : tuple of str
        What is printed below it.
    reference : str
        The row that the others are tested against, where the caption says so.
    """

    stem: str
    title: str
    task: str
    source: str
    kind: str
    lead: str
    caption: str
    methods: list[str]
    columns: list[str]
    summary: pd.DataFrame
    blocks: list[Block]
    words: tuple[str, ...] = ()
    metrics: dict[str, str] = field(default_factory=dict)
    prefix: str = ""
    target: str = ""
    notes: tuple[str, ...] = ()
    reference: str = ""

    def row_name(self, method: str) -> str:
        """A row's name as printed: the reference bears a sign."""
        name = method_name(method)
        return f"{name} {REFERENCE_SIGN}" if method == self.reference else name


@dataclass(frozen=True)
class Picture:
    """A figure and what is said of it.

    Parameters
    ----------
    stem : str
        File name without suffix, for instance ``mosi_intra``.
    title : str
        Its heading on the page; empty for one that belongs to the table before it.
    caption : str
        What it shows, of how many samples and seeds; begins with whether the data are simulated.
    alt : str
        For those who cannot see it.
    figure : Figure
    numbers : DataFrame, optional
        What is drawn, for a csv file where no table has it.
    """

    stem: str
    title: str
    caption: str
    alt: str
    figure: Figure
    numbers: pd.DataFrame | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Parameters
    ----------
    title : str
        For instance ``mosi (simulated)``.
    parts : list of Table or Picture
        In the order in which they are shown.
    notes : list of str
        Lines of plain text under the heading.
    """

    title: str
    parts: list[Table | Picture]
    notes: list[str] = field(default_factory=list)
