"""A full disk, a folder that cannot be written to, and cells that are damaged or foreign.

What needs a file system of its own runs in a namespace (``unshare``) as ``python -m tests.faults.storage WORK SCALE``.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmark.running import runner
from benchmark.running.store import Store
from tests.faults import Trial
from tests.faults.runs import ROOT, Ended, differs, launch, lost, run, stamps, wait, write_grid
from tests.waiting import wait_for

KIB = 1024
_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def has_namespaces() -> bool:
    """Whether a file system of its own can be had here."""
    command = [*_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def trials(work: Path, scale: float) -> Iterator[Trial]:
    """Damaged and foreign cells; permission lost; and, where there are namespaces, full and read-only disks."""
    grid = write_grid(work, seeds=1)
    assert run("--grid", grid, "--out", work / "calm", "--jobs", 1, pictures=False).status == 0
    yield from _damaged(work, grid, scale)
    yield from _foreign(work, grid)
    yield from _permission_lost(work, grid, max(1, round(3 * scale)))
    if not has_namespaces():
        yield Trial("full and read-only disks: not tried, no namespaces here", 0, "", "")
        return
    command = [*_NAMESPACE, sys.executable, "-m", "tests.faults.storage", str(work), str(scale)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    for line in done.stdout.splitlines():
        yield Trial(**json.loads(line))


def _flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def _cut(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(len(content)))])


def _zero(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(bytes(path.stat().st_size))  # as some file systems leave it after a power cut


def _remove(path: Path, rng: np.random.Generator) -> None:
    path.unlink()


def _append(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


DAMAGE: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "a bit flipped": _flip,
    "cut short": _cut,
    "zeroes in the place of its content": _zero,
    "removed": _remove,
    "a byte too many": _append,
}


def _damaged(work: Path, grid: Path, scale: float) -> Iterator[Trial]:
    """Damage one file of one cell after another; the same command must mend it and touch nothing else."""
    out, rng = work / "damaged", np.random.default_rng(0)
    shutil.copytree(work / "calm", out)
    store = Store(out)
    files = sorted(p.relative_to(store.cells) for p in store.cells.glob("*/*") if p.stat().st_size)
    for name, damage in DAMAGE.items():
        fault = said = ""
        chosen = files if scale >= 1.0 else [files[i] for i in rng.permutation(len(files))[: max(1, round(4 * scale))]]
        for file in chosen:
            before, replaced = stamps(out), len(list(out.glob("replaced/*")))
            key = file.parent.name
            damage(store.cells / file, rng)
            if name == "removed" and file.name == "cell.json":
                before.pop(key)
            told = run("--report-only", out, pictures=False)
            ended = run("--grid", grid, "--out", out, "--jobs", 1, pictures=False)
            before.pop(key, None)
            kept = len(list(out.glob("replaced/*"))) - replaced
            line = next((text for text in ended.out.splitlines() if text.startswith("warning: ")), "")
            if key not in line or str(file.name) not in line:
                # without its record, a folder is no cell; it is kept all the same
                fault = fault or ("" if name == "removed" and file.name == "cell.json" else f"{file.name}: not told")
            unread = file.name == "model.safetensors" or (name == "removed" and file.name == "cell.json")
            if told.status != (0 if unread else 1):  # a report reads no weights
                fault = fault or f"{file.name}: a report on it ended with {told.status}"
            fault = fault or told.unclear or ended.unclear or ("" if kept == 1 else f"{file.name}: not kept")
            fault = fault or lost(out, before) or differs(out, work / "calm")
            said = line or said
        yield Trial(f"a file of a stored cell: {name}", len(chosen), fault, said.replace(str(work), "…"))


def _foreign(work: Path, grid: Path) -> Iterator[Trial]:
    out = work / "foreign"
    shutil.copytree(work / "calm", out)
    cells = out / "cells"
    first = next(cells.iterdir())
    (cells / "notes.txt").write_text("mine")
    (cells / "folder").mkdir()
    (cells / "loop").symlink_to(cells / "loop")
    (cells / "out").symlink_to(out)
    (cells / ".hidden").write_text("")
    (cells / ".a.b.c.d").mkdir()
    shutil.copytree(first, cells / "copy")
    (cells / "other").mkdir()
    (cells / "other" / "cell.json").write_text('{"state": "done", "key": "other"}')
    (cells / "large").mkdir()
    (cells / "large" / "cell.json").write_bytes(b"[" * 2**22)
    before = stamps(out)
    ended = run("--grid", grid, "--out", out, "--jobs", 1, pictures=False)
    there = [
        name for name in ("notes.txt", "folder", "loop", "out", "copy", "other") if not os.path.lexists(cells / name)
    ]
    fault = ended.unclear or (f"{there[0]} is gone" if there else "")
    now = stamps(out)
    fault = fault or ("" if all(now.get(key) == stamp for key, stamp in before.items()) else "a cell was touched")
    lines = [line for line in ended.out.splitlines() if line.startswith("not shown: ")]
    if ended.status != 0 and len(lines) != 3:
        fault = fault or f"{len(lines)} lines on 3 foreign cells"
    if (out / "scores.csv").read_bytes() != (work / "calm" / "scores.csv").read_bytes():
        fault = fault or "the scores differ"
    yield Trial("foreign files, folders, links and cells in cells/", 9, fault, lines[0].replace(str(work), "…"))


def _without_override() -> None:
    """In a child: give up root's right to write where permissions do not let it."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def _permission_lost(work: Path, grid: Path, times: int) -> Iterator[Trial]:
    fault = said = ""
    hold = work / "hold"  # as long as it is there, the last cell does not end
    options = ["--grid", grid, "--plugin", work / "faulty.py", "--set", f"faulty.hold={hold}", "--jobs", 2]
    for attempt in range(times):
        out = work / f"permission{attempt}"
        hold.touch()
        process = launch(*options, "--out", out, pictures=False, preexec_fn=_without_override)
        wait_for(lambda out=out: (out / "cells").is_dir() and stamps(out), "no cell is done")
        (out / "cells").chmod(0o555)
        hold.unlink()
        ended = wait(process)
        before = stamps(out)
        (out / "cells").chmod(0o755)
        fault = fault or _refused(ended) or lost(out, before)
        said = (ended.err.strip().splitlines() or [""])[-1]
        again = run(*options, "--jobs", 1, "--out", out, pictures=False)
        fault = (
            fault or lost(out, before) or again.unclear or differs(out, work / "calm", ["constant", "mult", "corrkd"])
        )
        fault = fault or ("" if again.status == 0 else f"afterwards it ended with {again.status}")
    yield Trial("permission to write to cells/ lost in mid-run", times, fault, said.replace(str(work), "…"))


def _refused(ended: Ended) -> str:
    if ended.unclear:
        return ended.unclear
    return "" if ended.status == 2 and "cannot write to" in ended.err else f"it ended with {ended.status}: {ended.err}"


def _inside(work: Path, scale: float) -> Iterator[Trial]:
    """In a namespace: disks of different sizes that run full, and disks that become read-only."""
    grid, disk = work / "small.yaml", work / "disk"
    disk.mkdir(exist_ok=True)
    out = disk / "out"
    free = np.linspace(0, 900, max(3, round(12 * scale))).astype(int)
    fault = said = ""
    told = 0
    for kib in free:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
        (disk / "ballast").write_bytes(bytes(4096 * KIB - (int(kib) + 12) * KIB))
        ended = run("--grid", grid, "--out", out, "--jobs", 1)
        before = stamps(out) if out.is_dir() else {}
        if ended.status != 0:
            told += 1
            said = ended.err.strip() or said
            fault = fault or _refused(ended) or (lost(out, before) if out.is_dir() else "")
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        again = run("--grid", grid, "--out", out, "--jobs", 1, pictures=False)
        fault = fault or again.unclear or lost(out, before) or differs(out, work / "calm")
        subprocess.run(["umount", disk], check=True)
    fault = fault or ("" if told >= len(free) / 2 else f"the disk was full {told} times only")
    yield Trial("a disk that runs full, at different moments", len(free), fault, said.replace(str(work), "…"))

    fault = said = ""
    times, some = max(1, round(4 * scale)), ["late_fusion", "mult", "corrkd"]
    for attempt in range(times):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
        options = ["--grid", grid, "--out", out, "--jobs", 1, "--methods", *some, "--seeds", 3]
        with patch.object(runner, "run_cell", _read_only_before(disk, attempt + 1)):
            ended = run(*options)
        before = stamps(out)
        said = ended.err.strip() or said
        fault = fault or _refused(ended) or lost(out, before)
        refused = run("--grid", grid, "--out", out, "--jobs", 1)
        fault = fault or _refused(refused)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        again = run("--grid", grid, "--out", out, "--jobs", 1, pictures=False)
        fault = fault or again.unclear or lost(out, before)
        fault = fault or differs(out, work / "calm", some)
        subprocess.run(["umount", disk], check=True)
    yield Trial("a disk that becomes read-only in mid-run", times, fault, said.replace(str(work), "…"))


def _read_only_before(disk: Path, number: int) -> Callable[..., Any]:
    """Computes cells, and before the one of that number, while no file is open for writing, the disk is read-only."""
    compute, computed = runner.run_cell, []

    def run_cell(*arguments: Any) -> Any:
        if len(computed) == number:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        computed.append(1)
        return compute(*arguments)

    return run_cell


if __name__ == "__main__":
    for trial in _inside(Path(sys.argv[1]), float(sys.argv[2])):
        print(json.dumps(asdict(trial)), flush=True)
