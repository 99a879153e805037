"""Two runs are given the same folder."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults import Trial
from tests.faults.runs import Ended, differs, launch, run, stamps, wait, write_grid
from tests.waiting import wait_for

CELLS = 8


def trials(work: Path, scale: float) -> Iterator[Trial]:
    """Two runs at once; one of two that is killed; one of two that is stopped for a while.

    With a `scale` below 1 without the second: `tests/running/test_store.py` has a killed process's locks taken over.
    """
    times = max(1, round(3 * scale))
    jobs = 2 if scale >= 1.0 else 1
    grid = write_grid(work)
    log, hold = work / "log", work / "hold"
    options = ["--grid", grid, "--plugin", work / "faulty.py", "--methods", "faulty", "--seeds", CELLS]
    options += ["--set", f"faulty.log={log}", f"faulty.hold={hold}", "faulty.seconds=0.05"]
    assert run(*options, "--out", work / "calm", "--jobs", 1, pictures=False).status == 0
    for kind in (_at_once, _one_is_killed, _one_is_stopped) if scale >= 1.0 else (_at_once, _one_is_stopped):
        fault = said = ""
        for attempt in range(times):
            out = work / f"{kind.__name__}{attempt}"
            log.write_text("", encoding="utf-8")
            hold.touch()
            ends, found = kind([*options, "--out", out], out, log, hold, jobs)
            fault = fault or found or next((e.unclear for e in ends if e.unclear), "")
            fault = fault or next((f"a run ended with {e.status}" for e in ends if e.status), "")
            fault = fault or differs(out, work / "calm")
            said = next((line for e in ends for line in e.out.splitlines() if line.startswith("waiting for")), said)
        yield Trial(kind.__doc__ or "", times, fault, said)


def _trained(log: Path) -> Counter[str]:
    """How often each cell was begun."""
    return Counter(line.split()[0] for line in log.read_text(encoding="utf-8").splitlines())


def _wait_for_training(log: Path, cells: int) -> None:
    wait_for(lambda: len(_trained(log)) >= cells, "no cell is begun")


def _at_once(options: list[object], out: Path, log: Path, hold: Path, jobs: int) -> tuple[list[Ended], str]:
    """Two runs on one folder at once: each cell computed once"""
    both = [launch(*options, "--jobs", jobs, pictures=False) for _ in range(2)]
    _wait_for_training(log, 2 * jobs)
    hold.unlink()
    ends = [wait(process) for process in both]
    begun = _trained(log)
    pids = {line.split()[1] for line in log.read_text(encoding="utf-8").splitlines()}
    if len(begun) != CELLS or set(begun.values()) != {1}:
        return ends, f"cells were begun {sorted(begun.values())} times"
    return ends, "" if len(pids) >= 2 * jobs else "one run did it all"


def _one_is_killed(options: list[object], out: Path, log: Path, hold: Path, jobs: int) -> tuple[list[Ended], str]:
    """One of two runs is killed in mid-cell: the other takes its locks over"""
    first = launch(*options, "--jobs", jobs, pictures=False)
    _wait_for_training(log, jobs)
    second = launch(*options, "--jobs", 1, pictures=False)
    _wait_for_training(log, jobs + 1)
    os.killpg(first.pid, signal.SIGKILL)
    hold.unlink()
    wait(first)
    ended = wait(second)
    again = [count for count in _trained(log).values() if count > 1]
    return [ended], "" if len(again) <= jobs and set(again) <= {2} else f"cells were begun {again} times"


def _one_is_stopped(options: list[object], out: Path, log: Path, hold: Path, jobs: int) -> tuple[list[Ended], str]:
    """One of two runs stands still (SIGSTOP): its locks are not taken over"""
    first = launch(*options, "--jobs", 1, pictures=False)
    _wait_for_training(log, 1)
    os.killpg(first.pid, signal.SIGSTOP)
    hold.unlink()
    held = _trained(log)
    second = launch(*options, "--jobs", 1, pictures=False)
    wait_for(lambda: second.poll() is not None or len(stamps(out)) == CELLS - 1, "the others are not computed")
    time.sleep(4.0)
    found = "" if second.poll() is None else "the other run ended without the cell that was held"
    os.killpg(first.pid, signal.SIGCONT)
    ends = [wait(first), wait(second)]
    taken = [cell for cell in held if _trained(log)[cell] != 1]
    return ends, found or ("a cell was taken from a run that stood still" if taken else "")
