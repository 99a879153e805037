"""A small real grid, run as a process or in this one, and what must hold of its folder afterwards."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import run_benchmark
from benchmark.report import compose
from benchmark.running.store import DONE, Store
from tests.waiting import HUNG

ROOT = Path(run_benchmark.__file__).parent
GRID = """
description: small
methods: [constant, corrkd, late_fusion, mult]
tasks: [mosi]
seeds: {seeds}
ratios: [0.0, 0.5]
subsets: [l, lav]
training: {{epochs: 4}}
set: {{mult: {{layers: 1}}, corrkd: {{layers: 1}}}}
simulator: {{train: 48, valid: 16, test: 24}}
"""
PLUGIN = '''
import os
import time

import torch
from benchmark import Method, register


@register("faulty", paper="none", trains_on="complete")
class Faulty(Method):
    """Writes down that it is trained, waits while there is a file `hold`, and then does what it is told."""

    def __init__(self, task, *, log: str = "", hold: str = "", seconds: float = 0.0, does: str = ""):
        super().__init__(task)
        self.bias = torch.nn.Parameter(torch.rand(task.num_categories))
        self.log, self.hold, self.seconds, self.does = log, hold, seconds, does

    def start_stage(self, stage, training_set):
        if self.log:
            with open(self.log, "a") as log:
                log.write(f"{float(self.bias[0]):.9f} {os.getpid()}\\n")

    def loss(self, batch):
        while self.hold and os.path.exists(self.hold):
            time.sleep(0.02)
        time.sleep(self.seconds)
        exec(self.does)
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)

    def predict(self, batch):
        return self.bias.expand(len(batch), -1)
'''


def write_grid(folder: Path, seeds: int = 2, change: Sequence[tuple[str, str]] = ()) -> Path:
    """The grid file, with some texts in it changed, and the plug-in `faulty` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = GRID.format(seeds=seeds)
    for old, new in change:
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    (folder / "faulty.py").write_text(PLUGIN, encoding="utf-8")
    return path


@dataclass(frozen=True)
class Ended:
    """A command's exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def unclear(self) -> str:
        """What is wrong with how it ended: a traceback, or an error of more or less than one line."""
        if "Traceback" in self.err + self.out:
            return "a traceback was shown"
        if self.status == 2 and not (self.err.startswith("error: ") and self.err.count("\n") == 1):
            return f"status 2 with {self.err.count(chr(10))} lines"
        return "" if self.status in (0, 1, 2) else f"status {self.status}"


def main(arguments: Sequence[str], *, pictures: bool) -> int:
    """A command; without `pictures` its report stops at scores, statistics and manifest."""
    with contextlib.nullcontext() if pictures else patch.object(compose, "write_report"):
        return run_benchmark.main(arguments)


def run(*arguments: object, pictures: bool = True) -> Ended:
    """A command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments], pictures=pictures)
    return Ended(status, out.getvalue(), err.getvalue())


def launch(*arguments: object, pictures: bool = True, **options: object) -> subprocess.Popen[str]:
    """A command as a process of its own, at the head of a group of its own."""
    program = ["run_benchmark.py"] if pictures else ["-m", "tests.faults.plain"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def wait(process: subprocess.Popen[str]) -> Ended:
    """Wait for a launched command to end."""
    out, err = process.communicate(timeout=HUNG)
    return Ended(process.returncode, out, err)


def stamps(out: Path) -> dict[str, str]:
    """The done cells, and what tells each from one that was computed again."""
    store = Store(out)
    return {key: store.stamp(key) for key in store.stored_keys() if (store.readable(key) or {}).get("state") == DONE}


def logits(out: Path) -> dict[tuple[str, int], NDArray[np.float32]]:
    """By label and seed."""
    store = Store(out)
    records = [record for record in map(store.read, store.stored_keys()) if record is not None]
    return {(r["label"], r["seed"]): store.predictions(r["key"]).logits for r in records if r["state"] == DONE}


def lost(out: Path, before: dict[str, str]) -> str:
    """What is wrong with a folder that had these done cells before a fault; empty where nothing is."""
    store, now = Store(out), stamps(out)
    faults = store.damaged(store.stored_keys())
    if faults:
        return next(iter(faults.values()))
    gone = [key for key, stamp in before.items() if now.get(key) != stamp]
    return f"{len(gone)} done cells are gone or were computed again" if gone else ""


def differs(out: Path, calm: Path, rows: Sequence[str] | None = None) -> str:
    """How a finished folder differs from that of an undisturbed run: numbers, stray files; empty where it does not."""
    expected, found = logits(calm), logits(out)
    if rows is not None:
        expected = {name: value for name, value in expected.items() if name[0] in rows}
    for name, value in expected.items():
        if name not in found or not np.array_equal(found[name], value):
            return f"{name[0]}, seed {name[1]} differs from the undisturbed run"
    if rows is None and (out / "scores.csv").read_bytes() != (calm / "scores.csv").read_bytes():
        return "scores.csv differs from that of the undisturbed run"
    stray = [path.name for folder in (out, out / "cells") for path in folder.iterdir() if path.name.startswith(".")]
    return f"{stray[0]} was left behind" if stray else ""
