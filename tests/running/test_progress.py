"""What a person sees while cells run, and how long it is said to take."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmark.running import progress
from benchmark.running.cell import Outcome, run_cell
from benchmark.running.grid_file import load_grid
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


def write_reference(folder, *runs, samples=48, told=None, of=None, **task):
    """Earlier runs, each of one cell of `constant` on simulated MOSI, with its seconds and epochs, and more of them."""
    for number, (seconds, epochs) in enumerate(runs):
        path = folder / f"run{number}" / "manifest.json"
        path.parent.mkdir(parents=True)
        cell = {"method": "constant", "task": "mosi", "source": "simulated", "seconds": seconds, "epochs": epochs}
        cell |= told or {}
        tasks = [{"name": "mosi", "source": "simulated", "samples": {"train": samples}} | task]
        path.write_text(json.dumps({"cells": [cell], "tasks": tasks} | (of or {})))
    return folder


@pytest.fixture
def reference(tmp_path):
    return write_reference(tmp_path / "reference", (100.0, 0), (200.0, 0))


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


def test_what_was_run_elsewhere_counts_by_samples_epochs_frames_and_widths(grid, store, tmp_path):
    estimates = Estimates(store, write_reference(tmp_path / "reference", (100.0, 10), samples=480))
    constant = grid.cells[0]  # of 48 samples
    epochs = constant.training.epochs
    assert estimates.of(constant) == pytest.approx(10.0 * min(1.0, epochs / 10))
    training = constant.definition["training"]
    fewer = replace(constant, definition=constant.definition | {"training": training | {"epochs": 5}})
    assert estimates.of(fewer) == pytest.approx(5.0)
    more = replace(fewer, size=replace(fewer.size, samples=4800))
    assert estimates.of(more) == pytest.approx(500.0)
    frames, widths = fewer.size.frames, fewer.size.widths
    longer = replace(fewer, size=replace(fewer.size, frames=tuple(2 * t for t in frames)))
    assert estimates.of(longer) == pytest.approx(10.0)
    wider = replace(fewer, size=replace(fewer.size, widths=tuple(300 + 2 * d for d in widths)))
    assert estimates.of(wider) == pytest.approx(10.0), "twice (1 + d / 300)"


def test_tests_count_by_their_settings(grid, store, tmp_path):
    constant, linear = grid.cells[:2]
    settings, more = len(grid.settings), replace(grid, settings=grid.settings * 4)
    folder = write_reference(tmp_path / "reference", (100.0, 0), told={"training_seconds": 40.0, "tests": settings})
    estimates = Estimates(store, folder)
    assert estimates.left(constant, grid) == estimates.of(constant) == 100.0
    assert estimates.left(constant, more) == 40.0 + 4 * 60.0 and estimates.total([constant], more, 1) == "about 5 min"
    assert estimates.of(constant, "testing", settings) == 60.0
    assert estimates.of(constant, "testing", 1) == pytest.approx(60.0 / settings)
    assert estimates.left(constant, replace(more, tried=((grid.settings[0], 0),))) == 100.0, "trials are not tested"
    told = {"training_seconds": 40.0}
    untold = Estimates(store, write_reference(tmp_path / "untold", (100.0, 0), told=told, of={"grid": "mine"}))
    assert untold.left(constant, more) == 100.0, "of which nobody knows how often it was tested"
    mixed = Estimates(store, write_reference(tmp_path / "mixed", (100.0, 0), told=told, of={"grid": "mixed"}))
    assert mixed.left(constant, grid) == pytest.approx(40.0 + 60.0 * settings / len(load_grid("mixed")[1].settings))
    run_cell(linear, "", work_in(store, grid))
    record = store.read(linear.key)
    testing = record["seconds"] - record["training_seconds"]
    assert record["tests"] == settings
    assert Estimates(store, folder, fresh=True).left(linear, more) == pytest.approx(record["seconds"] + 3 * testing)


def test_what_is_too_far_from_all_that_is_known_is_not_guessed(grid, store, reference, tmp_path):
    constant, estimates = grid.cells[0], Estimates(store, reference)
    large = replace(constant.size, frames=(500, 500, 500), widths=(768, 74, 35))
    on_file = replace(
        constant,
        size=large,
        task=replace(constant.task, path=tmp_path / "mosi_data.pkl"),
        definition=constant.definition | {"task": {"name": "mosi", "fingerprint": "another"}},
    )
    assert estimates.of(on_file) is None
    assert estimates.total([on_file], grid, 2) == "not known yet, until the first cells are done"
    estimates.add(on_file, 7.0)
    assert estimates.of(on_file) == 7.0, "its like on the same data"
    assert estimates.of(constant) == 150.0, "which is nearer to the reference"


def test_of_several_that_are_known_the_nearest_counts(grid, store, tmp_path):
    folder = write_reference(tmp_path / "reference", (100.0, 0), samples=48)
    longer = {"max_frames": {"l": 60, "a": 60, "v": 60}, "feature_dims": {"l": 300, "a": 74, "v": 35}}
    write_reference(folder / "..", (900.0, 0), samples=48, **longer)
    (folder / ".." / "run0").rename(folder / "run9")
    constant, estimates = grid.cells[0], Estimates(store, folder)
    assert estimates.of(constant) == 100.0
    long = replace(constant, size=replace(constant.size, frames=(60, 60, 60)))
    assert estimates.of(long) == 900.0


def test_a_cell_that_lacks_tests_alone_is_expected_to_take_what_tests_take(grid, store, reference):
    linear, again = (cell for cell in grid.cells if cell.row.label == "linear")
    run_cell(linear, "", work_in(store, grid))
    record = store.read(linear.key)
    testing = record["seconds"] - record["training_seconds"]
    estimates = Estimates(store, reference)
    assert (
        estimates.left(linear, grid) == pytest.approx(testing)
        and estimates.left(again, grid) == record["seconds"] > testing
    )
    assert Estimates(store, reference, fresh=True).left(linear, grid) == record["seconds"]
    estimates.add(linear, testing + 100.0)  # it was tested in further settings
    assert estimates.left(linear, grid) == pytest.approx(testing + 50.0) and estimates.of(again) == record["seconds"]


def test_trials_and_tuned_rows_are_like_the_row_that_they_are_of(grid, store, reference):
    linear = next(cell for cell in grid.cells if cell.row.label == "linear")

    def called(label):
        return replace(linear, row=replace(linear.row, label=label, name="another"))

    estimates = Estimates(store, reference)
    estimates.add(called("linear #3"), 40.0)
    assert [estimates.of(called(label)) for label in ("linear", "linear #1", "linear tuned")] == [40.0] * 3
    assert estimates.of(called("linear#1")) is None and estimates.of(called("untuned")) is None


def test_a_failed_cell_tells_nothing_of_the_time(tmp_path, store):
    grid = small_grid(tmp_path, "faulty", does="raise ArithmeticError")
    assert run_cell(grid.cells[0], "", work_in(store, grid)).state == FAILED
    assert Estimates(store, tmp_path / "nothing").of(grid.cells[0]) is None


def test_the_time_in_all(grid, store, reference):
    estimates = Estimates(store, reference)
    constant = [cell for cell in grid.cells if cell.row.label == "constant"]
    linear = [cell for cell in grid.cells if cell.row.label == "linear"]
    assert estimates.total(constant, grid, 1) == "about 5 min" and estimates.total(constant, grid, 2) == "about 2 min"
    assert estimates.total(grid.cells, grid, 2) == "about 2 min, and 2 cells are not known yet"
    assert (
        estimates.total(linear, grid, 1) == "not known yet, until the first cells are done"
        and estimates.total([], grid, 1) == "nothing to do"
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
        shown.ended(second, Outcome(second.key, DONE, seconds=5.0, valid_score=61.23))
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
    record = {"stage": "training", "epoch": 7, "valid_score": 61.23}
    with store.attempt(begun.key) as side, store.attempt(waiting.key), store.attempt("of-another-grid"), shown.shown():
        (side / "history.jsonl").write_text(json.dumps(record) + "\n")
        shown.ended(grid.cells[2], Outcome(grid.cells[2].key, FAILED, "planted"))
        console = Console(file=io.StringIO(), width=100)
        console.print(shown._render())
    text = console.file.getvalue()
    assert "constant on mosi, seed 0  training  7      F1 61.2" in text and "linear on mosi, seed 0" in text
    assert "of-another-grid" not in text and "1/4" in text and "1 failed, " in text
    assert "FAILED constant on mosi, seed 1: planted" in printed.getvalue()
