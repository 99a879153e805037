"""How long ``--plan`` and ``--report-only`` take, and how much memory, on a store of many cells.

    python -m tests.speed.scale --cells 10000 --write scale.md

Cells are made, not trained: the real store's functions write them, for the keys of a real grid (fourteen rows, the
three simulated tasks with their own test splits, 17 settings, and as many seeds as it takes), with logits of made-up
skill. Weights are left out; neither command reads them.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import methods
from benchmark.data import find_tasks, load_task
from benchmark.data.dataset import Dataset, Split
from benchmark.protocol.thresholds import Validation
from benchmark.running.environment import environment, git_commit, timestamp
from benchmark.running.evaluation import represented
from benchmark.running.grid import Cell, Grid, build
from benchmark.running.grid_file import load_grid
from benchmark.running.store import (
    DONE,
    Predictions,
    Representations,
    Store,
    setting_name,
    write_predictions,
    write_record,
    write_representations,
)

GRID = """
description: five methods, four of them both ways, and five ablations
methods: [constant, corrkd, corrkd-mrm, misa, misa+mrm, mult, mult+mrm, tfr_net, tfr_net-mrm]
variants:
  w/o SCD: {method: corrkd, set: {scd_weight: 0.0}}
  w/o CPD: {method: corrkd, set: {cpd_weight: 0.0}}
  RCD as KL: {method: corrkd, set: {response_loss: kl}}
  only MRM: {method: corrkd, set: {scd_weight: 0.0, cpd_weight: 0.0, rcd_weight: 0.0}}
  only teacher: {method: corrkd, set: {student: false}}
tasks: [mosi, mosei, iemocap]
seeds: SEEDS
ratios: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
subsets: [l, a, v, la, lv, av, lav]
against: corrkd
"""
ROWS, TASKS = 14, 3
REPRESENTED_SAMPLES, WIDTH = 200, 120


def write_grid(folder: Path, cells: int) -> Path:
    """The grid file with as many seeds as give at least that many cells."""
    path = folder / "many.yaml"
    path.write_text(GRID.replace("SEEDS", str(math.ceil(cells / (ROWS * TASKS)))), encoding="utf-8")
    return path


def read_grid(path: Path) -> Grid:
    """What ``--grid PATH`` runs."""
    name, config = load_grid(str(path))
    entries = methods.catalogue()
    labels = [*config.methods, *config.variants]
    tasks, _ = find_tasks(config.tasks, None, asked=False)
    return build(name, config, methods.rows(labels, entries, config.variants), entries, tasks, {})


def generate(grid: Grid, store: Store) -> None:
    """Store every cell of a grid as done that is not stored yet."""
    versions, commit, stored = environment(), git_commit(), set(store.stored_keys())
    for cell in grid.cells:
        if cell.key in stored:
            continue
        rng = np.random.default_rng(int(cell.key, 16))
        dataset = load_task(cell.task)
        test, valid = dataset.splits["test"], dataset.splits["valid"]
        settings = tuple((setting, grid.draw) for setting in grid.settings)
        history = _history(cell, rng)
        with store.attempt(cell.key) as side:
            logits, known = (_logits(cell, grid, dataset, split, rng) for split in (test, valid))
            validation = Validation.of(valid.labels, known)
            write_predictions(side, Predictions(test.ids, test.labels, settings, logits, validation))
            if cell.row.name != "constant":
                rows = np.sort(rng.permutation(len(test))[:REPRESENTED_SAMPLES])
                values = rng.standard_normal((len(rows), WIDTH)).astype(np.float32)
                values[:, 0] += 4 * dataset.target.category_indices(test.labels)[rows]
                name = setting_name(represented("lav"), grid.draw)
                write_representations(side, Representations(test.ids[rows], test.labels[rows], name, values))
            lines = [json.dumps(epoch) + "\n" for epoch in history]
            (side / "history.jsonl").write_text("".join(lines), encoding="utf-8")
            write_record(side, _record(cell, grid, dataset, len(history), versions, commit))


def _record(
    cell: Cell, grid: Grid, dataset: Dataset, epochs: int, versions: dict[str, str], commit: str | None
) -> dict[str, Any]:
    return {
        **cell.definition,
        "key": cell.key,
        "label": cell.row.label,
        "variant": dict(cell.row.variant),
        "position": cell.row.position,
        "state": DONE,
        "started": timestamp(time.time() - 30),
        "finished": timestamp(time.time()),
        "seconds": 30.0,
        "training_seconds": 28.0,
        "environment": versions,
        "git_commit": commit,
        "settings": [setting_name(setting, grid.draw) for setting in grid.settings],
        "epochs": epochs,
        "parameters": 365302,
        "device": "cpu",
        "data": {
            "source": dataset.source,
            "origin": dataset.origin,
            "warnings": list(dataset.warnings),
            **dataset.target.record(),
            "modalities": dataset.task.modalities,
            "metrics": dataset.task.scored,
            "samples": {name: len(split) for name, split in dataset.splits.items()},
        },
    }


def _logits(cell: Cell, grid: Grid, dataset: Dataset, split: Split, rng: np.random.Generator) -> np.ndarray:
    """Right more often the more is there to see; some samples are hard for all methods. Shape (S, N, K)."""
    categories = len(dataset.target.categories)
    if cell.row.name == "constant":
        return np.tile(np.arange(categories, dtype=np.float32), (len(grid.settings), len(split), 1))
    truth = dataset.target.category_indices(split.labels)
    worth = {"l": 1.6, "a": 0.5, "v": 0.6}
    seen = np.array([sum(worth[m] for m in s.available) * (1 - s.ratio) for s in grid.settings])  # (S,)
    hard = np.random.default_rng(len(split)).normal(0.0, 0.6, len(split))  # (N,)
    right = seen[:, None] * (0.7 + 0.05 * (hash_number(cell.row.label) % 7) + rng.normal(0, 0.05)) + hard  # (S, N)
    noise = rng.normal(0.0, 1.0, (1, len(split), categories)) + rng.normal(
        0.0, 0.5, (len(seen), len(split), categories)
    )
    return (noise + right[:, :, None] * np.eye(categories)[truth]).astype(np.float32)


def hash_number(text: str) -> int:
    """The same in every process, unlike ``hash``."""
    return sum(map(ord, text))


def _history(cell: Cell, rng: np.random.Generator) -> list[dict[str, Any]]:
    history = []
    for stage in methods.load(cell.entry).stages if cell.row.name != "constant" else ():
        for epoch in range(1, int(rng.integers(8, 21))):
            train, valid = np.exp(-0.15 * epoch) + rng.normal(0, 0.02, 2) + (0.1, 0.2 + 0.01 * epoch)
            record = {
                "train_loss": float(train),
                "valid_loss": float(valid),
                "valid_score": 60.0 + epoch,
                "seconds": 1.0,
            }
            history.append({"stage": stage.name, "epoch": epoch, **record})
    return history


# A process counts the memory of whoever started it as its own peak, so one that is small stands between.
_START = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[2:], stderr=subprocess.STDOUT)
_, status, usage = os.wait4(child.pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump({"status": status, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss}, file)
"""


def measure(*arguments: str) -> dict[str, Any]:
    """Run the command line in a process of its own: seconds, CPU seconds, peak memory in MiB, and what it printed."""
    command = [sys.executable, str(methods.ROOT / "run_benchmark.py"), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        usage_file = Path(folder, "usage.json")
        started = time.perf_counter()
        starter = [sys.executable, "-I", "-S", "-c", _START, str(usage_file), *command]
        printed = subprocess.run(starter, stdout=subprocess.PIPE, text=True, check=True).stdout
        seconds = time.perf_counter() - started
        usage = json.loads(usage_file.read_text())
    if usage["status"]:
        raise SystemExit(f"{' '.join(command)} ended with status {usage['status']}:\n{printed}")
    peak = usage["peak"] / (1024 if platform.system() != "Darwin" else 2**20)
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage["cpu"], 1),
        "peak_mib": round(peak),
        "printed": printed,
    }


def list_store(store: Store) -> float:
    """Seconds to list the keys."""
    started = time.perf_counter()
    store.stored_keys()
    return round(time.perf_counter() - started, 3)


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="keep the cells here, and use those that are here (default: neither)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the numbers, as .json or else as Markdown")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        result = _measured(folder, options.cells)
    finally:
        if options.out is None:
            shutil.rmtree(folder)
    table = [f"| {name} | {value} |" for name, value in result.items()]
    markdown = "\n".join(["| | |", "| --- | ---: |", *table]) + "\n"
    print(markdown)
    if options.write:
        as_json = options.write.suffix == ".json"
        options.write.write_text(json.dumps(result, indent=2) + "\n" if as_json else markdown, encoding="utf-8")


def _measured(folder: Path, cells: int) -> dict[str, Any]:
    path, store = write_grid(folder, cells), Store(folder)
    grid = read_grid(path)
    missing = set(store.stored_keys()) ^ {cell.key for cell in grid.cells}
    started = time.perf_counter()
    if missing:
        generate(grid, store)
        print(f"{len(grid.cells)} cells made in {time.perf_counter() - started:.0f} s", flush=True)
    files = [file for cell in store.cells.iterdir() for file in cell.iterdir()]
    common = ("--grid", str(path), "--out", str(folder))
    plan = measure(*common, "--plan")
    if f"in all: {len(grid.cells)} done" not in plan["printed"]:
        raise SystemExit(f"the plan does not find the cells:\n{plan['printed']}")
    report = measure(*common, "--report-only")
    written = [file for file in folder.rglob("*") if file.is_file() and store.cells not in file.parents]
    with (folder / "scores.csv").open("rb") as lines:
        rows = sum(1 for _ in lines) - 1
    return {
        "cells": len(grid.cells),
        "rows x tasks x seeds": f"{ROWS} x {TASKS} x {len(grid.cells) // (ROWS * TASKS)}",
        "settings": len(grid.settings),
        "store, MiB without weights": round(sum(file.stat().st_size for file in files) / 2**20),
        "listing, seconds": list_store(store),
        "--plan, seconds": plan["seconds"],
        "--plan, peak MiB": plan["peak_mib"],
        "--report-only, seconds": report["seconds"],
        "--report-only, CPU seconds": report["cpu_seconds"],
        "--report-only, peak MiB": report["peak_mib"],
        "scores.csv, rows": rows,
        "scores.csv, MiB": round((folder / "scores.csv").stat().st_size / 2**20, 1),
        "report.html, MiB": round((folder / "report.html").stat().st_size / 2**20, 1),
        "manifest.json, MiB": round((folder / "manifest.json").stat().st_size / 2**20, 1),
        "files written by the report": len(written),
    }


if __name__ == "__main__":
    main()
