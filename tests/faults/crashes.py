"""A run is killed at random moments, again and again on one folder, and then finishes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import numpy as np

from tests.faults import Trial
from tests.faults.runs import differs, launch, lost, run, stamps, wait, write_grid
from tests.waiting import wait_for


def _group(process: Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def _one_worker(process: Popen[str]) -> None:
    """The one that has computed most; where there is none yet, the run itself."""
    workers = [pid for pid in _children(process.pid) if "popen_loky" in _read(f"/proc/{pid}/cmdline")]
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(max(workers, key=_ticks, default=process.pid), signal.SIGKILL)


def _interrupt(process: Popen[str]) -> None:
    """Once the command has begun to import torch: before that Python itself answers Ctrl-C, with a traceback."""
    wait_for(lambda: process.poll() is not None or "libtorch" in _read(f"/proc/{process.pid}/maps"))
    process.send_signal(signal.SIGINT)


KILLS: dict[str, Callable[[Popen[str]], None]] = {
    "SIGKILL to the run": lambda process: process.send_signal(signal.SIGKILL),
    "SIGTERM to the run": lambda process: process.send_signal(signal.SIGTERM),
    "Ctrl-C (SIGINT)": _interrupt,
    "SIGKILL to the run and all its workers": _group,
    "SIGKILL to a worker": _one_worker,
}


def trials(work: Path, scale: float) -> Iterator[Trial]:
    """Kill a run `20 * scale` times, in each way in turn.

    With a `scale` below 1, only in the ways that `tests/test_runs.py` does not try, once a cell is done, and without
    pictures.
    """
    whole_of_it = scale >= 1.0
    kills = KILLS if whole_of_it else {name: KILLS[name] for name in list(KILLS)[-2:]}
    times = max(len(kills), round(20 * scale))
    grid = write_grid(work, seeds=max(2, round(6 * scale)))
    calm, out = work / "calm", work / "out"
    arguments = ("--grid", grid, "--jobs", 2, "--out")
    started = time.monotonic()
    here = [*arguments[:2], "--jobs", 1, "--out", calm]
    ended = wait(launch(*arguments, calm)) if whole_of_it else run(*here, pictures=False)
    assert ended.status == 0, ended
    whole = time.monotonic() - started
    rng = np.random.default_rng(0)
    faults: dict[str, str] = dict.fromkeys(kills, "")
    said: dict[str, str] = dict.fromkeys(kills, "")
    counts: dict[str, int] = dict.fromkeys(kills, 0)
    before: dict[str, str] = {}
    for attempt in range(times):
        name = list(kills)[attempt % len(kills)]
        process = launch(*arguments, out, pictures=whole_of_it)
        if not whole_of_it:
            wait_for(lambda p=process, old=before: p.poll() is not None or len(stamps(out)) > len(old))
        time.sleep(rng.uniform(0.1, 1.0) * 0.8 * whole)
        if process.poll() is None:
            kills[name](process)
        ended = wait(process)
        counts[name] += 1
        said[name] = next((line for line in ended.err.splitlines() if line.startswith("stopped")), said[name])
        faults[name] = faults[name] or lost(out, before) or _unexpected(name, ended.status, ended.err)
        before = stamps(out)
    ended = run("--grid", grid, "--jobs", 1, "--out", out, pictures=False)
    end = lost(out, before) or differs(out, calm) or ("" if ended.status == 0 else f"it ended with {ended.status}")
    for name, fault in faults.items():
        yield Trial(f"{name}, at a random moment", counts[name], fault, said[name])
    yield Trial("finishing after all of these, against an undisturbed run", 1, end, "")


def _unexpected(name: str, status: int, err: str) -> str:
    """What should not have been said; a run whose worker was killed goes on, so it may end well."""
    if "Traceback" in err:
        return f"a traceback was shown, with at the end: {err.strip().splitlines()[-1]}"
    return f"it ended with {status}" if name == "SIGKILL to a worker" and status not in (0, 1, -signal.SIGKILL) else ""


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has ended
            continue
        if parent == pid:
            found.append(int(folder.name))
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:  # the process has ended
        return ""


def _ticks(pid: int) -> int:
    try:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[11:13]))
    except OSError:
        return 0
