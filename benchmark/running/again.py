"""Cells that are stored, computed once more: do the same outputs come?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import methods as known_methods
from benchmark.data.source import TaskSource, find_file, identify
from benchmark.data.task import Task
from benchmark.errors import BenchmarkError
from benchmark.files.manifest import outputs_digest
from benchmark.methods.loading import digest_as_loaded
from benchmark.methods.registry import Entry
from benchmark.protocol.missing import Setting
from benchmark.running.arithmetic import PORTABLE
from benchmark.running.cell import Outcome
from benchmark.running.grid import Cell, Grid, definition_of
from benchmark.running.runner import run_grid
from benchmark.running.store import DONE, Predictions, Store


@dataclass(frozen=True)
class Repeat:
    """A cell computed again, beside the stored one.

    Parameters
    ----------
    cell : Cell
    error : str
        Why it failed; empty where it did not.
    same : bool
        Whether all outputs have the same bits.
    largest : float, optional
        The largest difference of two outputs; None where only digests are stored.
    changed : float, optional
        The share of predicted categories that are others.
    """

    cell: Cell
    error: str = ""
    same: bool = False
    largest: float | None = None
    changed: float | None = None

    @property
    def portable(self) -> bool:
        """Whether the same bits were promised."""
        return self.cell.arithmetic == PORTABLE


def cell_of(record: Mapping[str, Any], entries: Mapping[str, Entry], sources: Iterable[TaskSource]) -> Cell:
    """The cell of a record, to be computed again.

    Raises
    ------
    BenchmarkError
        If its method, its code or its data are not there; says which.
    """
    entry = entries.get(record["method"])
    if entry is None:
        raise BenchmarkError(f"method {record['method']} is not here; name its file with --plugin")
    if digest_as_loaded(entry) != record["source"]:
        commit = str(record.get("git_commit") or "").rstrip("+")
        raise BenchmarkError(
            f"the code of {entry.name} is another one now" + (f"; it was that of commit {commit}" if commit else "")
        )
    wanted = record["task"]["fingerprint"]
    for source in sources:
        if source.name == record["task"]["name"] and identify(source).fingerprint == wanted:
            row = known_methods.stored_row(record)
            return Cell(row, entry, source, record["seed"], definition_of(record), identify(source).size)
    hint = "name their folder with --data" if record["data"]["source"] == "file" else "the simulator is another one now"
    raise BenchmarkError(f"the data of task {record['task']['name']} are not here: {hint}")


def sources_of(records: Iterable[Mapping[str, Any]], tasks: Mapping[str, Task], data: Path | None) -> list[TaskSource]:
    """Where the data of some records can come from: simulated in the sizes they tell of, or a file under `data`."""
    found: dict[TaskSource, None] = {}
    for record in records:
        task = tasks.get(record["task"]["name"])
        if task is None:
            continue
        if record["data"]["source"] == "file":
            path = data and find_file(data, task, only_task=True)
            found |= {TaskSource(task, path): None} if path else {}
            continue
        sizes = tuple(record["data"].get("samples", {}).get(split, 0) for split in ("train", "valid", "test"))
        candidates = [TaskSource(task), TaskSource(task, sizes=sizes)] if all(sizes) else [TaskSource(task)]
        if len(task.known.samples) == len(sizes):
            candidates.append(TaskSource(task.at_real_size()))
        found |= dict.fromkeys(candidates)
    return list(found)


def _silent(cell: Cell, outcome: Outcome) -> None: ...


def repeat(
    cells: Sequence[Cell],
    stored: Mapping[str, Predictions],
    digests: Mapping[str, str],
    tested: Sequence[tuple[Setting, int]],
    *,
    jobs: int,
    device: str = "auto",
    on_outcome: Callable[[Cell, Outcome], None] = _silent,
) -> list[Repeat]:
    """Compute cells again, in a folder of their own that is gone afterwards.

    Parameters
    ----------
    cells : sequence of Cell
        All in one arithmetic.
    stored : mapping of key to Predictions
        Those there are.
    digests : mapping of key to str
        From :func:`benchmark.files.manifest.outputs_digest`; they serve where there are no predictions.
    tested : sequence of (Setting, int)
        In which settings and draws.
    jobs : int
    device : {"auto", "cpu", "cuda"}
    on_outcome : callable
        Called as each ends.
    """
    failures: dict[str, str] = {}

    def note(cell: Cell, outcome: Outcome) -> None:
        if outcome.state != DONE:
            failures[cell.key] = outcome.error
        said(cell, outcome)

    with tempfile.TemporaryDirectory(prefix="corrkd-verify-") as folder:
        store = Store(Path(folder))
        said = on_outcome
        for draw in dict.fromkeys(draw for _, draw in tested):
            grid = Grid("verify", list(cells), [setting for setting, own in tested if own == draw], draw)
            left = [cell for cell in cells if cell.key not in failures]
            run_grid(grid, store, left, jobs=jobs, device=device, fresh=False, on_outcome=note)
            said = _silent  # behind the first draw, nothing is trained any more
        return [
            Repeat(cell, failures[cell.key])
            if cell.key in failures
            else _compared(cell, store, stored.get(cell.key), digests.get(cell.key, ""))
            for cell in cells
        ]


def _compared(cell: Cell, store: Store, before: Predictions | None, digest: str) -> Repeat:
    now = store.predictions(cell.key)
    if before is None:
        record = store.read(cell.key) or {}
        return Repeat(cell, same=outputs_digest(record["outputs"]) == digest)
    places = {setting: i for i, setting in enumerate(now.settings)}
    again = now.logits[[places[setting] for setting in before.settings]]
    if again.shape != before.logits.shape:
        return Repeat(cell, f"it gave outputs of shape {again.shape}, and {before.logits.shape} are stored")
    same = again.tobytes() == before.logits.tobytes()
    largest = float(np.abs(again.astype(np.float64) - before.logits).max(initial=0.0))
    changed = float((again.argmax(-1) != before.logits.argmax(-1)).mean()) if again.shape[-1] > 1 else None
    return Repeat(cell, same=same, largest=largest, changed=changed)
