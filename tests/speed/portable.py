"""What portable arithmetic costs: ``python -m tests.speed.portable`` prints a table, an epoch of each method in both.

Native and portable run side by side, each in a process on one thread, twice; the faster time of each counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmark.methods import catalogue
from benchmark.running.arithmetic import ENVIRONMENT, NATIVE, PORTABLE


def epoch(name: str, arithmetic: str) -> float:
    """Seconds of the processor that training for one epoch on simulated MOSI takes, with its validation."""
    import torch

    from benchmark.data import load_task
    from benchmark.running.arithmetic import computing
    from benchmark.running.cell import build_method
    from benchmark.running.choice import choose
    from benchmark.running.training import train

    torch.set_num_threads(1)
    grid = {
        "methods": [name],
        "tasks": ["mosi"],
        "seeds": 1,
        "training": {"epochs": 1},
        "portable": arithmetic == PORTABLE,
    }
    (cell,) = choose(grid).build().cells
    data, device = load_task(cell.task), torch.device("cpu")
    with computing(arithmetic):
        method = build_method(cell, data, device)
        started = time.process_time()
        train(method, data, trains_on=cell.row.trains_on, config=cell.training, seed=0, device=device)
        return time.process_time() - started


def side_by_side(name: str) -> dict[str, float]:
    """The faster of two epochs in each arithmetic."""
    times: dict[str, list[float]] = {NATIVE: [], PORTABLE: []}
    for order in ((NATIVE, PORTABLE), (PORTABLE, NATIVE)):
        started = {
            arithmetic: subprocess.Popen(
                [sys.executable, "-m", "tests.speed.portable", name, arithmetic],
                env={**os.environ, "OMP_NUM_THREADS": "1", **(ENVIRONMENT if arithmetic == PORTABLE else {})},
                stdout=subprocess.PIPE,
                text=True,
            )
            for arithmetic in order
        }
        for arithmetic, process in started.items():
            out, _ = process.communicate()
            times[arithmetic].append(float(out.split()[-1]))
    return {arithmetic: min(found) for arithmetic, found in times.items()}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(epoch(*sys.argv[1:]))
        sys.exit()
    print("| method | native, s | portable, s | ratio |\n| --- | ---: | ---: | ---: |")
    for entry in catalogue().values():
        if entry.name in ("constant", "random", "linear"):
            continue  # which have no epochs
        found = side_by_side(entry.name)
        ratio = found[PORTABLE] / found[NATIVE]
        print(f"| {entry.name} | {found[NATIVE]:.2f} | {found[PORTABLE]:.2f} | {ratio:.2f} |", flush=True)
