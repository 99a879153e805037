"""A store, and a cell that is quickly computed."""

import pytest

from benchmark.running.cell import run_cell
from benchmark.running.store import DONE, Store
from tests.running.small_grid import small_grid, work_in


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


@pytest.fixture
def constant(tmp_path):
    grid = small_grid(tmp_path, "constant")
    return grid, grid.cells[0]


@pytest.fixture
def done(constant, store):
    """A grid, its cell, which is done, and the record of it."""
    grid, cell = constant
    assert run_cell(cell, "", work_in(store, grid)).state == DONE
    return grid, cell, store.read(cell.key)
