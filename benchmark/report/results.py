"""What a run gives back in Python: scores, tables, figures and models."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from benchmark.errors import BenchmarkError, one_line, storing, unknown
from benchmark.files.atomic import make_writable, replace_file
from benchmark.methods.registry import Entry
from benchmark.protocol.method import Method
from benchmark.report.content import file_prefix
from benchmark.running.arithmetic import apart
from benchmark.running.models import load_model
from benchmark.running.progress import tell_time
from benchmark.running.tuned import read_tuning, trials_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmark.report.compose import Content

Say = Callable[[str], None]


@dataclass
class Results:
    """What is stored of some rows, tasks and seeds, and what a report says of it.

    Parameters
    ----------
    out : Path
        Where the report is, or will be.
    failed : int
        How many cells failed in the run that made it.
    """

    out: Path
    failed: int
    _gather: Callable[[], Content] = field(repr=False)
    _folders: list[Path] = field(repr=False)
    _entries: dict[str, Entry] = field(repr=False)
    _say: Say = field(repr=False, default=print)

    @cached_property
    def _content(self) -> Content:
        return self._gather()

    @property
    def scores(self) -> pd.DataFrame:
        """Tidy, one row a number: the columns of ``scores.csv``."""
        return self._content.scores

    @property
    def failures(self) -> list[dict[str, str]]:
        """``method, task, seed, error`` of each cell that failed or is damaged."""
        damaged = [{"method": "", "task": "", "seed": "", "error": fault} for fault in self._content.collection.damaged]
        return [*self._content.collection.failures, *damaged]

    @property
    def tuning(self) -> pd.DataFrame:
        """The trials of tuned rows, one row each, as :func:`benchmark.running.tuned.trials_frame` says."""
        return trials_frame(map(read_tuning, self._folders))

    @property
    def kinds(self) -> dict[str, list[str]]:
        """What can be asked of :meth:`table` and :meth:`plot`: the stems of tables and figures."""
        return {what: list(parts) for what, parts in self._content.parts.items()}

    def table(self, task: str | None = None, kind: str = "inter") -> pd.DataFrame:
        """A table of the report.

        Parameters
        ----------
        task : str, optional
            Not needed for tables of all tasks, such as ``overall``.
        kind : str
            As its file is called behind the task: ``inter``, ``intra``, ``intervals``, ``methods``, …; where metrics
            were asked for, ``inter_auroc`` and so on.

        Returns
        -------
        DataFrame
            Methods down, conditions or columns across. Means over seeds where columns are settings, such as ``inter``
            or ``noise``; where a table has several metrics, their names in ``scores.csv`` are an outer level, the
            primary one first: ``table("mosi").loc["f1"]``. Texts as printed for the others.

        Raises
        ------
        BenchmarkError
            If there is no such table; names those there are.
        """
        from benchmark.report.tables import KINDS

        table: Any = self._part("tables", task, kind)
        if table.kind in KINDS:
            found = table.summary.pivot(index=["metric", "method"], columns="condition", values="mean")
            printed = list(table.metrics)
            found = found.reindex(
                index=pd.MultiIndex.from_product([printed, table.methods], names=["metric", "method"]),
                columns=pd.Index(table.columns, name="condition"),
            )
            return found.droplevel("metric") if len(printed) == 1 else found
        rows = [
            ((block.title, method), [f"{cell.value}{cell.mark} {cell.spread}".strip() for cell in cells])
            for block in table.blocks
            for method, cells in block.rows
        ]
        index = pd.MultiIndex.from_tuples([where for where, _ in rows], names=["block", "method"])
        found = pd.DataFrame([texts for _, texts in rows], index=index, columns=table.columns)
        return found.droplevel("block") if len(table.blocks) == 1 else found

    def plot(self, task: str | None = None, kind: str = "intra") -> Figure:
        """A figure of the report, which a notebook shows; kinds as the files are called behind the task.

        Raises
        ------
        BenchmarkError
            If there is no such figure; names those there are.
        """
        picture: Any = self._part("figures", task, kind)
        if "matplotlib_inline" in os.environ.get("MPLBACKEND", "") and "IPython" in sys.modules:
            import_module("matplotlib_inline.backend_inline")  # which has notebooks show figures that are not pyplot's
        return picture.figure

    def load(self, method: str, task: str, seed: int = 0) -> Method:
        """A trained model of what is shown; see :func:`load_model`.

        Raises
        ------
        BenchmarkError
            If no such cell is stored.
        """
        for record in self._content.collection.records:
            if (record["label"], record["task"]["name"], record["seed"]) == (method, task, seed):
                cells = (folder / "cells" / record["key"] for folder in self._folders)
                return load_model(next(cell for cell in cells if cell.is_dir()), self._entries)
        known = sorted(
            {f"{r['label']} on {r['task']['name']}, seed {r['seed']}" for r in self._content.collection.records}
        )
        raise BenchmarkError(unknown("cell", f"{method} on {task}, seed {seed}", known))

    def report(self) -> Path:
        """Write tables, figures and the page again; the path of ``report.html``."""
        from benchmark.report.compose import write  # what draws is not loaded for a plan

        make_writable(self.out)
        with storing(self.out):
            write(self._content, self.out, self._say)
        self._content.__dict__.pop("parts", None)  # figures are used up when they are drawn
        return self.out / "report.html"

    def _part(self, what: str, task: str | None, kind: str) -> Any:
        parts = (self._content.without_pictures if what == "tables" else self._content.parts)[what]
        stem = kind if task is None or kind in parts else f"{file_prefix(task)}_{kind}"
        if stem not in parts:
            raise BenchmarkError(unknown(what.removesuffix("s"), stem, parts))
        return parts[stem]


def gathered(
    folders: list[Path],
    out: Path,
    entries: dict[str, Entry],
    *,
    portable: bool,
    failed: int = 0,
    say: Say,
    **shown: Any,
) -> Results:
    """What is stored in some folders, read when it is first asked for; `shown` is what `compose.gather` takes."""
    from benchmark.report.compose import gather

    def content() -> Content:
        with storing(out):
            put = apart if portable else _here
            return cast("Content", put(gather, folders, entries, **shown))

    return Results(out, failed, content, folders, entries, say)


def _here(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return function(*arguments, **named)


def write_results(results: Results) -> None:
    """Write the report of what is stored, and stays so whatever comes of it.

    Raises
    ------
    BenchmarkError
        If it cannot be written; says where all of the fault is, and how to get the report.
    """
    try:
        results.report()
    except BenchmarkError:
        raise  # which says what is wrong itself
    except Exception as error:
        file = results.out / "report-error.txt"
        replace_file(file, traceback.format_exc().encode())
        raise BenchmarkError(
            f"what is computed is stored, but the report in {results.out} could not be written: "
            f"{type(error).__name__}: {one_line(str(error), 200)} (all of it is in {file}); --report-only tries again"
        ) from error


@dataclass(frozen=True)
class Plan:
    """Which cells a run would compute; as text, what ``--plan`` prints.

    Parameters
    ----------
    grid : str
    cells : DataFrame
        ``method, task, seed, state, key, seconds``, one row a cell: the seconds to expect, 0 where nothing is left to
        compute, and NaN where that is not known; of a trial with its later test.
    settings : int
        In how many settings each cell is tested.
    jobs : int
    time : str
        What is left to compute, for people.
    tuning : str
        What is tuned, for people; empty where nothing is.
    """

    grid: str
    cells: pd.DataFrame
    settings: int
    jobs: int
    time: str
    tuning: str = ""

    def __str__(self) -> str:
        kinds = sorted(self.cells["state"].unique())
        count = len(self.cells)
        lines = [
            f"grid {self.grid}: {count} {'cell' if count == 1 else 'cells'}, each tested in {self.settings} settings"
        ]
        if self.tuning:
            lines = [f"grid {self.grid}: {count} cells", self.tuning]
        rows = self.cells["method"].str.replace(r" #\d+$", " (trials)", regex=True)
        width = max(16, *rows.str.len())
        for label, own in self.cells.groupby(rows, sort=False):
            counts = [f"{n} {kind}" for kind in kinds if (n := int((own["state"] == kind).sum()))]
            lines.append(f"  {label:<{width}} {', '.join(counts)}{self._hours(own['seconds'])}")
        lines.append("in all: " + ", ".join(f"{(self.cells['state'] == kind).sum()} {kind}" for kind in kinds))
        jobs = "1 job" if self.jobs == 1 else f"{self.jobs} jobs"
        above = "; of a row, above, with 1 job" if self.tuning else ""
        return "\n".join([*lines, f"time to expect with {jobs}: {self.time}{above}"])

    def _hours(self, seconds: pd.Series) -> str:
        """What a row takes, where that is for somebody to weigh: in a grid that is tuned."""
        left = [None if pd.isna(own) else float(own) for own in seconds if own != 0.0]
        return f": {tell_time(left, 1)}" if self.tuning and left else ""
