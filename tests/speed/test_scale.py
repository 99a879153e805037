"""The measurement on many cells, on few: what it makes are cells, and they are found and reported."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmark.protocol.missing import Setting
from benchmark.running.cell import state_of
from benchmark.running.store import DONE, Store
from tests.speed.scale import generate, measure, read_grid, write_grid

GRID = """
description: two methods on a task
methods: [corrkd, constant]
tasks: [mosi]
seeds: 12
ratios: [0.0, 0.5, 1.0]
subsets: [l, a, v, la, lv, av, lav]
against: corrkd
"""


def test_the_grid_has_as_many_cells_as_asked_for(tmp_path):
    grid = read_grid(write_grid(tmp_path, 50))
    assert len(grid.cells) == 84 and len(grid.settings) == 17
    assert len({cell.row.label for cell in grid.cells}) == 14


def test_made_cells_are_planned_and_reported_as_done(tmp_path):
    path, store = tmp_path / "few.yaml", Store(tmp_path)
    path.write_text(GRID)
    grid = read_grid(path)
    generate(grid, store)
    assert {state_of(store, cell, grid) for cell in grid.cells} == {DONE}
    predictions = store.predictions(grid.cells[0].key)
    assert predictions.settings == tuple((Setting.parse(str(s)), 0) for s in grid.settings)
    arguments = ("--grid", str(path), "--out", str(tmp_path))
    plan = measure(*arguments, "--plan")
    assert "in all: 24 done" in plan["printed"]
    report = measure(*arguments, "--report-only")
    assert report["seconds"] > 0 and report["peak_mib"] > 50
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == 2 * 12 * 9 * 3 and scores.groupby(["task", "method"])["seed"].nunique().eq(12).all()
    f1 = scores[(scores["metric"] == "f1") & (scores["method"] == "corrkd")].groupby("ratio")["value"].mean()
    assert f1[0.0] > f1[0.5] > f1[1.0]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert len(manifest["cells"]) == 24 and "failures" not in manifest
    assert "median of those still in training" in (tmp_path / "report.html").read_text()


def test_what_is_measured_is_not_the_memory_of_whoever_measures():
    held = np.ones(2**26)  # 512 MiB
    listed = measure("--list")
    assert held[-1] == 1.0 and 20 < listed["peak_mib"] < 400
    assert "corrkd" in listed["printed"] and listed["cpu_seconds"] > 0


def test_a_command_that_fails_is_told_with_what_it_printed():
    with pytest.raises(SystemExit, match=r"ended with status .*\n.*no-such-grid"):
        measure("--grid", "no-such-grid", "--plan")
