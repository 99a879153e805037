"""Cells that die, hang, ask for too much memory or become NaN: they fail, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tests.faults import Trial
from tests.faults.runs import differs, launch, run, wait, write_grid

LIMIT = 30
"""Seconds that a cell may take where the limit is needed; the others take a hundredth of it."""

# What the method does in training; whether the time limit is needed; what must be said.
DEEDS: dict[str, tuple[str, bool, str]] = {
    "a worker that the system kills": ("os.kill(os.getpid(), 9)", False, "the worker process was killed"),
    "a worker that ends by itself": ("os._exit(3)", False, "the worker process was killed"),
    "a crash in native code": ("import ctypes; ctypes.string_at(0)", False, "the worker process was killed"),
    "more memory than there is": ("torch.empty(2**50)", False, "memory"),
    "recursion without end": ("f = lambda: f(); f()", False, "RecursionError"),
    "a cell that is slow": ("time.sleep(4)", True, f"CellTimeout: it took longer than --cell-timeout {LIMIT} s"),
    "a cell that sleeps for ever": ("time.sleep(10**6)", True, "did not end by itself"),
    "a cell that loops for ever": ("while True: pass", True, "did not end by itself"),
    "a loop in native code that holds the interpreter": (
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')", True, f"CellTimeout: it took longer than --cell-timeout {LIMIT} s",
    ),
    "an exit from within": ("raise SystemExit(0)", False, "SystemExit"),
    "a loss that becomes NaN": (
        "return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels) * float('nan')",
        False, "the training loss became nan in batch 1 of 2, in stage 'training', epoch 1",
    ),
    "an error of three lines in a strange alphabet": ("raise ValueError('one\\ntwo\\n\\u202ethree')", False, "three"),
}  # fmt: skip


def trials(work: Path, scale: float) -> Iterator[Trial]:
    """Each deed once (a few of them where `scale` is small), beside methods that do nothing wrong."""
    grid = write_grid(work, seeds=1)
    others = ["constant", "late_fusion"]
    assert run("--grid", grid, "--methods", *others, "--out", work / "calm", "--jobs", 1, pictures=False).status == 0
    deeds = list(DEEDS) if scale >= 0.5 else ["an exit from within"]  # `tests/test_runs.py` kills a worker
    for number, deed in enumerate(deeds):
        code, limited, expected = DEEDS[deed]
        plugin = work / f"faulty{number}" / "faulty.py"
        plugin.parent.mkdir()
        plugin.write_text((work / "faulty.py").read_text(encoding="utf-8").replace("exec(self.does)", code))
        out = work / f"out{number}"
        options = ["--grid", grid, "--methods", "faulty", *others, "--plugin", plugin, "--out", out, "--jobs", 2]
        ended = wait(launch(*options, *(["--cell-timeout", LIMIT] if limited else []), pictures=False))
        lines = [line for line in ended.out.splitlines() if line.startswith("FAILED faulty on mosi, seed 0: ")]
        fault = ended.unclear or differs(out, work / "calm", others)
        if ended.status != 1:
            fault = fault or f"it ended with {ended.status}"
        if len(lines) != 1 or expected not in lines[0]:
            fault = fault or f"not said: {expected}"
        if "faulty" in set(pd.read_csv(out / "scores.csv")["method"]):
            fault = fault or "a failed cell has scores"
        yield Trial(deed, 1, fault, lines[0] if lines else "")
