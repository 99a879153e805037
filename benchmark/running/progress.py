"""What a person sees while cells run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from benchmark.data import known_tasks
from benchmark.data.source import Size, simulated_size, size_of
from benchmark.files.manifest import read_manifest
from benchmark.methods.registry import ROOT
from benchmark.protocol.metrics import metric
from benchmark.running.cell import Outcome
from benchmark.running.grid import Cell, Grid
from benchmark.running.grid_file import grid_names, load_grid
from benchmark.running.store import DONE, FAILED, Store
from benchmark.running.tuned import plain_label

REFERENCE = ROOT / "results" / "reference"


_FARTHEST = 8.0
"""By how much more or less a sample may cost than one that is known; beyond that nothing is said."""


@dataclass(frozen=True)
class _Past:
    """A cell that was run: its seconds, on data of which size, for how many epochs (0: not told).

    `testing` are the seconds that it did not train; NaN where one of the two is not known. `tests` says in how many
    settings it was tested in that time (0: not told).
    """

    seconds: float
    size: Size | None
    epochs: int
    testing: float = math.nan
    tests: int = 0

    def taking(self, what: str, tests: int) -> float:
        """What it would have taken with so many tests (0: with its own): its ``seconds``, or its ``testing`` alone."""
        took = float(getattr(self, what))
        if not tests or not self.tests or math.isnan(self.testing):
            return took
        return took + self.testing * (tests / self.tests - 1.0)


class Estimates:
    """Seconds to expect of a cell: the mean of its like in this folder, else of what is nearest, scaled.

    Its like has the same data; a trial and a tuned row are like the row that they are of. Else what its row, or its
    method, took on other data counts, in this folder and in the reference results: in proportion to the training
    samples, to what a sample costs by frames and widths, and, where fewer are asked for, to the epochs. In both, the
    time of the tests is in proportion to the settings. What is too far from all that is known is not guessed.

    Parameters
    ----------
    store : Store
    reference : Path
        Folder of earlier runs, each with a ``manifest.json``.
    trials : Store, optional
        Those of a tuned grid, if they are not what `store` holds.
    fresh : bool
        Done cells are computed anew; else those that are left are only tested in further settings.
    """

    def __init__(
        self, store: Store, reference: Path = REFERENCE, *, trials: Store | None = None, fresh: bool = False
    ) -> None:
        self._own: dict[tuple[str, str], list[_Past]] = {}  # by row and fingerprint of the data
        self._past: dict[str, list[_Past]] = {}  # by row, on any data
        self._done: set[str] = set()
        for path in filter(Path.is_file, sorted(reference.glob("*/manifest.json"))):
            status = path.stat()
            for row, past in _cells_told(path, (status.st_ino, status.st_size, status.st_mtime_ns)):
                self._past.setdefault(row, []).append(past)
        for own in (store,) if trials is None else (store, trials):
            for key in own.stored_keys():
                record = own.readable(key)
                if record is not None and record["state"] == DONE:
                    past = _past(record, size_of(record["data"]))
                    self._note(record["label"], record["task"]["fingerprint"], past)
                    self._done |= set() if fresh else {key}

    def _note(self, label: str, fingerprint: str, past: _Past) -> None:
        label = plain_label(label)
        self._own.setdefault((label, fingerprint), []).append(past)
        self._past.setdefault(label, []).append(past)

    def add(self, cell: Cell, seconds: float) -> None:
        """Learn from a cell that is done."""
        past = _Past(seconds, cell.size, 0)
        if cell.key in self._done:  # it was only tested
            past = replace(past, seconds=math.nan, testing=seconds)
        self._note(cell.row.label, cell.definition["task"]["fingerprint"], past)

    def of(self, cell: Cell, what: str = "seconds", tests: int = 0) -> float | None:
        """Seconds to expect, or None where nothing like it was ever run.

        Parameters
        ----------
        cell : Cell
        what : {"seconds", "testing"}
            Those of all of it, or of its tests alone.
        tests : int
            In how many settings it is tested; 0 for as many as its like.
        """
        labels = (plain_label(cell.row.label), cell.row.name)
        for label in labels:
            own = self._own.get((label, cell.definition["task"]["fingerprint"]), [])
            if own := [each for each in own if not math.isnan(getattr(each, what))]:
                return sum(each.taking(what, tests) for each in own) / len(own)
        for label in labels:
            if (found := self._scaled(self._past.get(label, []), cell, what, tests)) is not None:
                return found
        return None

    def left(self, cell: Cell, grid: Grid) -> float | None:
        """Seconds to expect of a cell that is not done, or of the tests that a done one lacks, in a grid's settings."""
        tests = 0 if grid.tried else len(cell.settings(grid.settings))
        return self.of(cell, "testing" if cell.key in self._done else "seconds", tests)

    def _scaled(self, past: Sequence[_Past], cell: Cell, what: str, tests: int) -> float | None:
        """The mean of those whose samples cost most nearly the same; None where all are too far."""
        known = [each for each in past if each.size is not None and not math.isnan(getattr(each, what))]
        if cell.size is None or not known:
            return None

        def times(each: _Past) -> float:
            assert each.size is not None
            assert cell.size is not None
            return cell.size.effort / each.size.effort

        nearest = min(abs(math.log(times(each))) for each in known)
        if nearest > math.log(_FARTHEST):
            return None
        chosen = [each for each in known if abs(math.log(times(each))) < nearest + 1e-9]
        epochs = cell.training.epochs
        seconds = [
            each.taking(what, tests)
            * times(each)
            * (cell.size.samples / each.size.samples if each.size else 1.0)
            * min(1.0, epochs / each.epochs if each.epochs and what == "seconds" else 1.0)
            for each in chosen
        ]
        return sum(seconds) / len(seconds)

    def total(self, cells: Iterable[Cell], grid: Grid, jobs: int) -> str:
        """For people: the time for some cells of a grid, and how many of them it leaves out."""
        return tell_time([self.left(cell, grid) for cell in cells], jobs)


def tell_time(seconds: Sequence[float | None], jobs: int) -> str:
    """For people: the time for some cells, of which None is not known, and how many of them it leaves out."""
    known = [own for own in seconds if own is not None]
    unknown = len(seconds) - len(known)
    if not known:
        return "not known yet, until the first cells are done" if seconds else "nothing to do"
    text = f"about {duration(sum(known) / jobs)}"
    cells_are = "1 cell is" if unknown == 1 else f"{unknown} cells are"
    return text + (f", and {cells_are} not known yet" if unknown else "")


@lru_cache(maxsize=256)
def _cells_told(path: Path, stamp: tuple[int, ...]) -> tuple[tuple[str, _Past], ...]:
    """The cells of a manifest, each with its row; kept until the file changes, since every run of a process asks."""
    manifest = read_manifest(path)
    grid = manifest.get("grid")
    settings = len(load_grid(grid)[1].settings) if grid in grid_names() else 0  # earlier versions told no more of them
    sizes = {(t.get("name"), t.get("source")): _size_told(t) for t in manifest.get("tasks", [])}
    found = []
    for cell in manifest.get("cells", []):
        size = sizes.get((cell["task"], cell["source"] or "simulated"))
        found.append((cell["method"], _past(cell | {"tests": cell["tests"] or settings}, size)))
    return tuple(found)


def _past(told: Mapping[str, Any], size: Size | None) -> _Past:
    """What a cell's record, or a manifest, tells of a cell."""
    return _Past(told["seconds"], size, told.get("epochs", 0), _testing(told), told.get("tests", 0))


def _testing(told: Mapping[str, Any]) -> float:
    """What a cell took besides its training: all of it where it trains nothing; NaN where it is not told."""
    training = told.get("training_seconds")
    return math.nan if training is None else max(0.0, float(told["seconds"]) - float(training))


def _size_told(task: Mapping[str, Any]) -> Size | None:
    """The size of a task's data in a manifest; earlier versions told only the samples of what they had simulated."""
    found = size_of(task)
    known, samples = known_tasks().get(str(task.get("name"))), task.get("samples")
    if found is None and task.get("source") == "simulated" and known is not None and isinstance(samples, Mapping):
        train = samples.get("train")
        return simulated_size(known, train) if isinstance(train, int) and train > 0 else None
    return found


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _printed(cell: Cell, score: float) -> str:
    """A cell's primary score: ``F1 61.2``, ``MAE 0.93``."""
    task = cell.task.task
    said = metric(task.scored[0], task.target.kind)
    return f"{said.title} {score:.{said.decimals - 1}f}"


def _console() -> Console:
    """Where a person looks; in a notebook lines of plain text, since one display a line would be no display at all."""
    usual = Console()
    return Console(force_jupyter=False, force_terminal=False) if usual.is_jupyter else usual


class Display:
    """Follows a run: cells done, running (with epoch and validation score), failed, and the time left."""

    def __init__(
        self,
        grid: Grid,
        store: Store,
        todo: list[Cell],
        jobs: int,
        console: Console | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        self.console = console or _console()
        self.grid, self.store, self.jobs = grid, store, jobs
        self.estimates = Estimates(store, fresh=fresh)
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
            score = "" if math.isnan(outcome.valid_score) else f", validation {_printed(cell, outcome.valid_score)}"
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
        text = self.estimates.total(self.left.values(), self.grid, self.jobs)
        return f"time left: {text}" if text.startswith("not known") else f"{text} left"

    def _render(self) -> RenderableType:
        table = Table("running", "stage", "epoch", "validation", box=None, pad_edge=False)
        for key, record in self.store.running():
            cell = self.left.get(key)
            if cell is None:
                continue
            if record:
                score = "–" if record["valid_score"] is None else _printed(cell, record["valid_score"])
                table.add_row(cell.title, record["stage"], str(record["epoch"]), score)
            else:
                table.add_row(cell.title, "", "", "")
        note = f"{self.failed} failed, {self._time_left()}" if self.failed else self._time_left()
        self._bar.update(self._bar_task, completed=self.done + self.failed, note=note)
        return Group(table, self._bar)
