"""Where a task's data comes from: a file that was found, or the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, unknown

if TYPE_CHECKING:
    from benchmark.data.dataset import Dataset

TASKS = {
    "mosi": "CMU-MOSI, negative / non-negative",
    "mosei": "CMU-MOSEI, negative / non-negative",
    "iemocap": "IEMOCAP, happy / sad / angry / neutral",
}


@dataclass(frozen=True)
class TaskSource:
    """A task and where to get it; small enough to hand to a worker.

    Parameters
    ----------
    name : str
        One of `TASKS`.
    path : Path, optional
        The data file. None: simulated.
    sizes : tuple of int, optional
        Number of training, validation and test samples to simulate instead of the simulator's own.
    """

    name: str
    path: Path | None = None
    sizes: tuple[int, int, int] | None = None


def find_tasks(
    names: Sequence[str], data: Path | None, *, asked: bool, sizes: tuple[int, int, int] | None = None
) -> tuple[list[TaskSource], list[str]]:
    """Decide for each task whether it is read or simulated.

    Parameters
    ----------
    names : sequence of str
    data : Path, optional
        Folder to search for files. None: all tasks are simulated.
    asked : bool
        Whether a person named these tasks. Then each must be found; otherwise those not found are left out.
    sizes : tuple of int, optional
        For simulated tasks.

    Returns
    -------
    list of TaskSource
    list of str
        Remarks for the person, one line each.

    Raises
    ------
    BenchmarkError
        For an unknown task, or one that is not found.
    """
    for name in names:
        if name not in TASKS:
            raise BenchmarkError(unknown("task", name, TASKS))
    if data is None:
        return [TaskSource(name, sizes=sizes) for name in dict.fromkeys(names)], []
    from benchmark.data.formats import find_file

    sources, remarks = [], []
    for name in dict.fromkeys(names):
        path = find_file(data, name, only_task=asked and len(names) == 1)
        if path is not None:
            sources.append(TaskSource(name, path))
        elif asked:
            raise BenchmarkError(
                f"no data file of task {name!r} in {data}; put it there under one of its usual names, which are in "
                "docs/data.md, or leave --data out to simulate it"
            )
        else:
            remarks.append(f"task {name} left out: no data file of it in {data}")
    if not sources:
        raise BenchmarkError(f"no data file of {', '.join(names)} in {data}; docs/data.md has the names searched for")
    return sources, remarks


@dataclass(frozen=True)
class Identity:
    """What tells a task's data from others; as in :class:`benchmark.data.dataset.Dataset`."""

    name: str
    source: str
    origin: str
    fingerprint: str
    warnings: tuple[str, ...] = ()


def identify(source: TaskSource) -> Identity:
    """What a task's data are; files are read for it, simulated data are not generated.

    Raises
    ------
    BenchmarkError
        If the file cannot be used.
    """
    if source.path is None:
        from benchmark.data.simulator import ORIGIN, fingerprint

        return Identity(source.name, "simulated", ORIGIN, fingerprint(source.name, _sizes(source)))
    data = load_task(source)
    return Identity(data.name, data.source, data.origin, data.fingerprint, data.warnings)


def _sizes(source: TaskSource) -> dict[str, int] | None:
    return None if source.sizes is None else dict(zip(("train", "valid", "test"), source.sizes, strict=True))


def load_task(source: TaskSource) -> Dataset:
    """Read or simulate; the last one stays in memory, as long as its file stays as it is.

    Raises
    ------
    BenchmarkError
        If the file cannot be used.
    """
    try:
        status = None if source.path is None else source.path.stat()
    except OSError:  # which reading it will tell
        status = None
    return _load(source, status and (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=1)
def _load(source: TaskSource, stamp: tuple[int, int, int] | None) -> Dataset:
    if source.path is not None:
        from benchmark.data.formats import read_dataset

        return read_dataset(source.path, source.name)
    from benchmark.data.simulator import simulate

    return simulate(source.name, _sizes(source))
