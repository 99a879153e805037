"""Cells that are trained at once are stored as those that are trained alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.running import together
from benchmark.running.choice import check_how
from benchmark.running.stack import NotTogether
from benchmark.running.store import DONE, FAILED, Store
from benchmark.running.together import at_once, grouped, run_together
from tests.running.small_grid import run, small_grid, work_in


@pytest.fixture
def corrkd(tmp_path):
    return small_grid(tmp_path, "corrkd", seeds=3)


def without_one_by_one(monkeypatch):
    def run_cell(cell, *_):
        raise AssertionError(f"{cell.title} was computed by itself")

    monkeypatch.setattr(together, "run_cell", run_cell)


def test_cells_that_differ_in_seeds_go_together_and_at_most_so_many(tmp_path):
    cells = small_grid(tmp_path, "corrkd", "mult", seeds=3).cells
    groups = grouped(cells, 2)
    assert sorted(len(group) for group in groups) == [1, 1, 2, 2]
    assert all(len({cell.row.label for cell in group}) == 1 for group in groups)
    assert [len(group) for group in grouped(cells, 1)] == [1] * 6


def test_stored_as_if_each_had_been_trained_alone(tmp_path, corrkd, monkeypatch):
    stores = Store(tmp_path / "alone"), Store(tmp_path / "together")
    assert run(corrkd, stores[0])[1] == 0
    without_one_by_one(monkeypatch)
    outcomes, failed = run(corrkd, stores[1], together=8)
    assert failed == 0 and len(outcomes) == 3
    for cell in corrkd.cells:
        alone, given = (store.read(cell.key) for store in stores)
        assert given.keys() == alone.keys() and given["state"] == DONE
        logs = [(store.path(cell.key) / "history.jsonl").read_text().splitlines() for store in stores]
        epochs = [[(e["stage"], e["epoch"]) for e in map(json.loads, log)] for log in logs]
        assert epochs[0] and epochs[1]
        stores[1].verify(cell.key)
        assert np.isfinite(stores[1].predictions(cell.key).logits).all()
    assert not list(stores[1].cells.glob(".*.*[0-9a-f]"))  # no side folder is left


def test_done_cells_stay_and_the_rest_goes_on(tmp_path, corrkd, monkeypatch):
    store = Store(tmp_path / "out")
    work = work_in(store, corrkd, together=8)
    before = {cell.key: "" for cell in corrkd.cells}
    run_together(corrkd.cells[:2], before, work)
    stamps = {cell.key: store.stamp(cell.key) for cell in corrkd.cells}
    outcomes = run_together(corrkd.cells, stamps, work)
    assert [outcome.state for outcome in outcomes] == [DONE] * 3
    assert [store.stamp(cell.key) for cell in corrkd.cells[:2]] == [stamps[cell.key] for cell in corrkd.cells[:2]]


def test_what_cannot_go_together_goes_one_by_one(tmp_path, corrkd, monkeypatch):
    def refuse(*_, **__):
        raise NotTogether("not this one")

    monkeypatch.setattr(together, "train_together", refuse)
    store = Store(tmp_path / "out")
    assert run(corrkd, store, together=8)[1] == 0
    assert {store.read(cell.key)["state"] for cell in corrkd.cells} == {DONE}


def test_one_that_fails_is_stored_as_failed_and_the_others_as_done(tmp_path, corrkd, monkeypatch):
    real = together.train_together

    def train_together(members, *given, **named):
        real(members, *given, **named)
        members[1].fault = ValueError("planted")

    monkeypatch.setattr(together, "train_together", train_together)
    without_one_by_one(monkeypatch)
    store = Store(tmp_path / "out")
    _, failed = run(corrkd, store, together=8)
    assert failed == 1
    assert [store.read(cell.key)["state"] for cell in corrkd.cells] == [DONE, FAILED, DONE]
    assert store.read(corrkd.cells[1].key)["error"] == "ValueError: planted"


def test_portable_cells_go_one_by_one(tmp_path, corrkd, monkeypatch):
    monkeypatch.setattr(together, "train_together", lambda *_, **__: pytest.fail("trained together"))
    done = []
    monkeypatch.setattr(together, "run_cell", lambda cell, *_: done.append(cell))
    cells = [replace(cell, definition={**cell.definition, "arithmetic": "portable"}) for cell in corrkd.cells]
    run_together(cells, {cell.key: "" for cell in cells}, work_in(Store(tmp_path / "out"), corrkd, together=8))
    assert done == cells


def test_how_many_are_left_open_depends_on_the_workers():
    assert at_once(5, "cpu", 100, 2) == 5
    assert at_once("auto", "cpu", 5, 2) == 3  # so that both have work
    assert at_once("auto", "cpu", 100, 2) == 8
    assert at_once("auto", "cuda", 100, 2) == 32


@pytest.mark.parametrize(("given", "measured"), [("auto", True), (8, False)])
def test_whether_it_is_faster_is_measured_where_that_is_left_open(tmp_path, corrkd, monkeypatch, given, measured):
    asked = []

    def train_together(*_, if_faster, **__):
        asked.append(if_faster)
        raise NotTogether("planted")

    monkeypatch.setattr(together, "train_together", train_together)
    store = Store(tmp_path / "out")
    assert run(corrkd, store, together=given)[1] == 0
    assert asked == [measured]


@pytest.mark.parametrize("given", [0, "all", 2.5])
def test_a_number_that_is_none_is_refused(given):
    with pytest.raises(BenchmarkError, match="'auto' or a whole number"):
        check_how(together=given)


def test_not_with_a_limit_of_time():
    with pytest.raises(BenchmarkError, match="leave --together out"):
        check_how(together=4, timeout=3.0)
