"""What a person sees while cells run, and how long it is said to take."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmark.running import progress
from benchmark.running.cell import Outcome, run_cell
from benchmark.running.progress import Display, Estimates, duration
from benchmark.running.store import DONE, FAILED, Store
from tests.running.small_grid import small_grid, work_in


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89.4, "89 s"), (90, "2 min"), (5369, "89 min"), (5400, "1 h 30 min"), (11_700, "3 h 15 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def grid(tmp_path):
    return small_grid(tmp_path, "constant", "linear", seeds=2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


@pytest.fixture
def reference(tmp_path):
    """Earlier runs: of `constant` two cells of 100 and 200 s."""
    folder = tmp_path / "reference"
    for number, seconds in enumerate((100.0, 200.0)):
        path = folder / f"run{number}" / "manifest.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"cells": [{"method": "constant", "task": "mosi", "seconds": seconds, "seed": 0}]}))
    return folder


def test_a_cell_is_expected_to_take_what_its_like_took_here_or_else_elsewhere(grid, store, reference):
    constant, linear = grid.cells[:2]
    estimates = Estimates(store, reference)
    assert (estimates.of(constant), estimates.of(linear)) == (150.0, None)
    run_cell(constant, "", work_in(store, grid))
    seconds = store.read(constant.key)["seconds"]
    assert Estimates(store, reference).of(constant) == seconds != 150.0
    estimates.add(constant, 10.0)
    estimates.add(constant, 30.0)
    assert estimates.of(constant) == 20.0
    (store.path(constant.key) / "cell.json").write_text("{")
    assert Estimates(store, reference).of(constant) == 150.0, "a damaged cell tells nothing"


def test_the_reference_counts_by_samples_and_epochs_and_never_for_a_data_file(grid, store, tmp_path):
    path = tmp_path / "reference" / "run" / "manifest.json"
    path.parent.mkdir(parents=True)
    cell = {"method": "constant", "task": "mosi", "source": "simulated", "seconds": 100.0, "epochs": 10}
    task = {"name": "mosi", "source": "simulated", "samples": {"train": 480}}
    path.write_text(json.dumps({"cells": [cell], "tasks": [task]}))
    constant = grid.cells[0]  # of 48 samples
    epochs = constant.training.epochs
    estimates = Estimates(store, path.parents[1])
    assert estimates.of(constant) == pytest.approx(10.0 * min(1.0, epochs / 10))
    definition = constant.definition | {"training": constant.definition["training"] | {"epochs": 5}}
    assert estimates.of(replace(constant, definition=definition)) == pytest.approx(5.0)
    on_file = replace(constant, task=replace(constant.task, path=tmp_path / "mosi_data.pkl"))
    assert estimates.of(on_file) is None
    assert estimates.total([on_file], 2) == "time unknown until the first cells are done"
    estimates.add(on_file, 7.0)
    assert estimates.of(on_file) == 7.0, "its like on the same data"


def test_a_failed_cell_tells_nothing_of_the_time(tmp_path, store):
    grid = small_grid(tmp_path, "faulty", does="raise ArithmeticError")
    assert run_cell(grid.cells[0], "", work_in(store, grid)).state == FAILED
    assert Estimates(store, tmp_path / "nothing").of(grid.cells[0]) is None


def test_the_time_in_all(grid, store, reference):
    estimates = Estimates(store, reference)
    constant = [cell for cell in grid.cells if cell.row.label == "constant"]
    linear = [cell for cell in grid.cells if cell.row.label == "linear"]
    assert estimates.total(constant, 1) == "about 5 min" and estimates.total(constant, 2) == "about 2 min"
    assert estimates.total(grid.cells, 2) == "about 2 min and 2 cells of unknown length"
    assert (
        estimates.total(linear, 1) == "time unknown until the first cells are done"
        and estimates.total([], 1) == "nothing to do"
    )


def display(grid, store, terminal=False):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, _environ={"TERM": "xterm"})
    return Display(grid, store, list(grid.cells), 1, console), console.file


def test_a_line_for_each_cell_that_ends(grid, store, monkeypatch):
    clock = iter((1000.0, 1044.0))
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: next(clock)))
    shown, printed = display(grid, store)
    first, second, third, last = grid.cells
    with shown.shown():
        shown.waits(1)
        shown.waits(3)
        shown.ended(first, Outcome(first.key, DONE, seconds=30.0))
        shown.ended(second, Outcome(second.key, DONE, seconds=5.0, valid_f1=61.23))
        shown.ended(third, Outcome(third.key, FAILED, "ArithmeticError: [planted]"))
        shown.ended(last, Outcome(last.key, DONE, seconds=5.0))
    waits, more, *lines = printed.getvalue().splitlines()
    assert waits == "waiting for 1 cell that another run on this folder computes"
    assert more == "waiting for 3 cells that another run on this folder computes"
    assert lines[0].startswith("[1/4] done constant on mosi, seed 0: 30 s; about ")
    assert lines[1] == "[2/4] done linear on mosi, seed 0: 5 s, validation F1 61.2; about 35 s left"
    assert lines[2] == "[3/4] FAILED constant on mosi, seed 1: ArithmeticError: [planted]; about 5 s left"
    assert lines[3] == "[4/4] done linear on mosi, seed 1: 5 s; 44 s in all"


def test_a_terminal_shows_what_runs(grid, store):
    shown, printed = display(grid, store, terminal=True)
    begun, waiting = grid.cells[:2]
    record = {"stage": "training", "epoch": 7, "valid_f1": 61.23}
    with store.attempt(begun.key) as side, store.attempt(waiting.key), store.attempt("of-another-grid"), shown.shown():
        (side / "history.jsonl").write_text(json.dumps(record) + "\n")
        shown.ended(grid.cells[2], Outcome(grid.cells[2].key, FAILED, "planted"))
        console = Console(file=io.StringIO(), width=100)
        console.print(shown._render())
    text = console.file.getvalue()
    assert "constant on mosi, seed 0  training  7      61.2" in text and "linear on mosi, seed 0" in text
    assert "of-another-grid" not in text and "1/4" in text and "1 failed, " in text
    assert "FAILED constant on mosi, seed 1: planted" in printed.getvalue()
