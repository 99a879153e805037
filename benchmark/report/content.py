"""What a report is made of: tables, pictures, and the sections of the page they stand in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from benchmark.missing import Setting


def file_prefix(task: str) -> str:
    """A task's name as file names begin with it."""
    return re.sub(r"[^\w.+-]+", "_", task)


def lead(tasks: str, source: str) -> str:
    """The sentence that says which data it is, for instance ``mosi: simulated data.``"""
    return f"{tasks}: {'simulated data' if source == 'simulated' else 'data from file'}."


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
        Empty where it is of all tasks.
    kind : str
    lead, caption : str
        What is printed first and strongly, and the rest of the caption.
    methods, columns : list of str
        Row and column names, in order.
    summary : DataFrame
        The numbers behind it, as they go into the CSV file; more than is printed.
    blocks : list of Block
        What is printed; titles count only where there is more than one.
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
    """

    stem: str
    title: str
    caption: str
    alt: str
    figure: Figure


@dataclass(frozen=True)
class Representation:
    """What a trained model makes of the samples of the test split, before its last layer.

    Parameters
    ----------
    task, source, method : str
    seed : int
    setting : Setting
        What the model got to see.
    categories : ndarray of str, shape (M,)
        Each sample's category in truth.
    values : ndarray of float, shape (M, D)
    """

    task: str
    source: str
    method: str
    seed: int
    setting: Setting
    categories: NDArray[np.str_]
    values: NDArray[np.floating]


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Parameters
    ----------
    title : str
        For instance ``mosi (simulated)``.
    parts : list of Table or Picture
        In the order in which they are shown.
    """

    title: str
    parts: list[Table | Picture]
