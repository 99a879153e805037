"""What a person sees while cells run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from benchmark.files.manifest import read_manifest, simulated_samples
from benchmark.methods.registry import ROOT
from benchmark.running.cell import Outcome
from benchmark.running.grid import Cell, Grid
from benchmark.running.store import DONE, FAILED, Store

REFERENCE = ROOT / "results" / "reference"


class _Mean:
    """Of numbers that come one at a time."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, number: float) -> None:
        self.total += number
        self.count += 1

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass(frozen=True)
class _Past:
    """A cell that was run elsewhere: its seconds, on how many training samples, for how many epochs."""

    seconds: float
    samples: int
    epochs: int


class Estimates:
    """Seconds to expect of a cell: the mean of its like in this folder, else of the reference results.

    Its like has the same data. Of simulated data the reference counts too, in proportion to the training samples and,
    where fewer are asked for, the epochs. A data file is like none other: nothing is said until some cells are done.

    Parameters
    ----------
    store : Store
    reference : Path
        Folder of earlier runs, each with a ``manifest.json``.
    """

    def __init__(self, store: Store, reference: Path = REFERENCE) -> None:
        self._seconds: dict[tuple[str, str], _Mean] = {}  # by row and fingerprint of the data
        self._reference: dict[tuple[str, str], list[_Past]] = {}  # by row and task
        for path in sorted(reference.glob("*/manifest.json")):
            manifest = read_manifest(path)
            samples = simulated_samples(manifest)
            for cell in manifest.get("cells", []):
                if cell["source"] in ("", "simulated"):
                    past = _Past(cell["seconds"], samples.get(cell["task"], 0), cell["epochs"])
                    self._reference.setdefault((cell["method"], cell["task"]), []).append(past)
        for key in store.stored_keys():
            record = store.readable(key)
            if record is not None and record["state"] == DONE:
                self._note(record["label"], record["task"]["fingerprint"], record["seconds"])

    def _note(self, label: str, fingerprint: str, seconds: float) -> None:
        self._seconds.setdefault((label, fingerprint), _Mean()).add(seconds)

    def add(self, cell: Cell, seconds: float) -> None:
        """Learn from a cell that is done."""
        self._note(cell.row.label, cell.definition["task"]["fingerprint"], seconds)

    def of(self, cell: Cell) -> float | None:
        """Seconds to expect, or None where nothing like it was ever run."""
        labels = (cell.row.label, cell.row.name)
        for label in labels:
            own = self._seconds.get((label, cell.definition["task"]["fingerprint"]))
            if own is not None:
                return own.value
        if cell.task.path is not None:
            return None
        for label in labels:
            if past := self._reference.get((label, cell.task.name)):
                return sum(self._scaled(each, cell) for each in past) / len(past)
        return None

    def _scaled(self, past: _Past, cell: Cell) -> float:
        samples = cell.task.sizes[0] if cell.task.sizes else past.samples
        seconds = past.seconds * (samples / past.samples if past.samples else 1.0)
        return seconds * min(1.0, cell.training.epochs / past.epochs if past.epochs else 1.0)

    def total(self, cells: list[Cell], jobs: int) -> str:
        """For people: the time for some cells, and how many of them it leaves out."""
        known = [seconds for seconds in map(self.of, cells) if seconds is not None]
        unknown = len(cells) - len(known)
        if not known:
            return "time unknown until the first cells are done" if cells else "nothing to do"
        text = f"about {duration(sum(known) / jobs)}"
        return text + (f" and {unknown} cells of unknown length" if unknown else "")


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _console() -> Console:
    """Where a person looks; in a notebook lines of plain text, since one display a line would be no display at all."""
    usual = Console()
    return Console(force_jupyter=False, force_terminal=False) if usual.is_jupyter else usual


class Display:
    """Follows a run: cells done, running (with epoch and validation score), failed, and the time left."""

    def __init__(self, grid: Grid, store: Store, todo: list[Cell], jobs: int, console: Console | None = None) -> None:
        self.console = console or _console()
        self.store, self.jobs = store, jobs
        self.estimates = Estimates(store)
        self.left = {cell.key: cell for cell in todo}
        self.done = len(grid.cells) - len(todo)
        self.total = len(grid.cells)
        self.failed = 0
        self.started = time.time()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
        )
        self._bar_task = self._bar.add_task(grid.name, total=self.total, completed=self.done, note="")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the display while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self._render, console=self.console, refresh_per_second=2, transient=True):
            yield

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """Take note of a cell that is done or failed."""
        self.left.pop(cell.key, None)
        if outcome.state == FAILED:
            self.failed += 1
            text = f"FAILED {cell.title}: {outcome.error}"
        else:
            self.done += 1
            self.estimates.add(cell, outcome.seconds)
            score = "" if outcome.valid_f1 != outcome.valid_f1 else f", validation F1 {outcome.valid_f1:.1f}"
            text = f"done {cell.title}: {duration(outcome.seconds)}{score}"
        line = f"[{self.done + self.failed}/{self.total}] {text}; {self._time_left()}"
        self.console.print(Text(line), soft_wrap=True)

    def waits(self, cells: int) -> None:
        """Say that all cells left are computed by other runs."""
        what = "1 cell" if cells == 1 else f"{cells} cells"
        self.console.print(Text(f"waiting for {what} that another run on this folder computes"), soft_wrap=True)

    def _time_left(self) -> str:
        if not self.left:
            return f"{duration(time.time() - self.started)} in all"
        text = self.estimates.total(list(self.left.values()), self.jobs)
        return text if text.startswith("time unknown") else f"{text} left"

    def _render(self) -> RenderableType:
        table = Table("running", "stage", "epoch", "validation F1", box=None, pad_edge=False)
        for key, record in self.store.running():
            cell = self.left.get(key)
            if cell is None:
                continue
            if record:
                score = "–" if record["valid_f1"] is None else f"{record['valid_f1']:.1f}"
                table.add_row(cell.title, record["stage"], str(record["epoch"]), score)
            else:
                table.add_row(cell.title, "", "", "")
        note = f"{self.failed} failed, {self._time_left()}" if self.failed else self._time_left()
        self._bar.update(self._bar_task, completed=self.done + self.failed, note=note)
        return Group(table, self._bar)
