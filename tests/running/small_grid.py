"""A small grid of a few methods, among them one that does what it is told, and running its cells."""

from dataclasses import replace

from benchmark.data import find_tasks
from benchmark.methods import catalogue
from benchmark.methods import rows as method_rows
from benchmark.running.cell import Work
from benchmark.running.grid import build
from benchmark.running.grid_file import load_grid
from benchmark.running.runner import run_grid
from tests.faults.runs import write_grid


def small_grid(folder, *methods, seeds=1, **faulty):
    """A grid of a few methods, and what the method `faulty` does in training."""
    name, config = load_grid(str(write_grid(folder, seeds)))
    entries = catalogue([folder / "faulty.py"])
    tasks, _ = find_tasks(config.tasks, None, asked=False, sizes=(48, 16, 24))
    config = config.model_copy(update={"seeds": seeds, "set": {m: v for m, v in config.set.items() if m in methods}})
    return build(name, config, method_rows(methods, entries, {}), entries, tasks, {"faulty": faulty} if faulty else {})


def work_in(store, grid, **changes):
    return replace(Work(grid.settings, grid.draw, store.out, "cpu", fresh=False, timeout=None), **changes)


def run(grid, store, jobs=1, **options):
    """Run all cells of a grid; how each ended, and how many failed."""
    outcomes = []
    options = {"on_outcome": lambda cell, outcome: outcomes.append((cell.row.label, outcome)), "fresh": False} | options
    failed = run_grid(grid, store, grid.cells, jobs=jobs, device="cpu", **options)
    return outcomes, failed
