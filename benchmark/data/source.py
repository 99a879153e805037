"""Where a task's data comes from: a file that was found, or the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.task import Task, known_tasks
from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import MODALITIES

if TYPE_CHECKING:
    from benchmark.data.dataset import Dataset


FRAME_WIDTH = 300.0
"""Features of a frame that take as long to read as the rest of what is done with it."""

_closed: list[bool] = []  # not empty while nobody may read the test split


@dataclass(frozen=True)
class TaskSource:
    """A task and where to get it; small enough to hand to a worker.

    Parameters
    ----------
    task : Task
    path : Path, optional
        The data file. None: simulated.
    sizes : tuple of int, optional
        Number of training, validation and test samples to simulate instead of the task's own.
    """

    task: Task
    path: Path | None = None
    sizes: tuple[int, int, int] | None = None

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name


def find_tasks(
    tasks: Sequence[Task], data: Path | None, *, asked: bool, sizes: tuple[int, int, int] | None = None
) -> tuple[list[TaskSource], list[str]]:
    """Decide for each task whether it is read or simulated.

    Parameters
    ----------
    tasks : sequence of Task
    data : Path, optional
        Folder to search for files, or one file. None: all tasks are simulated.
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
        For one that is not found, or two of one name.
    """
    twice = [name for name, count in Counter(task.name for task in dict.fromkeys(tasks)).items() if count > 1]
    if twice:
        raise BenchmarkError(f"two different tasks have the name {twice[0]!r}; give one of them another name")
    if data is None:
        return [TaskSource(task, sizes=sizes) for task in dict.fromkeys(tasks)], []
    sources, remarks = [], []
    for task in dict.fromkeys(tasks):
        path = find_file(data, task, only_task=asked and len({t.data_set for t in tasks}) == 1)
        if path is not None:
            sources.append(TaskSource(task, path))
        elif asked:
            raise BenchmarkError(
                f"no data file of task {task.name!r} in {data}; put it there under one of these names: "
                f"{', '.join(task.file_names)}; or leave --data out to simulate it"
            )
        else:
            remarks.append(f"task {task.name} left out: no data file of it in {data}")
    if not sources:
        names = ", ".join(task.name for task in tasks)
        raise BenchmarkError(f"no data file of {names} in {data}; docs/data.md has the names searched for")
    return sources, remarks


def find_file(directory: Path, task: Task, *, only_task: bool = False) -> Path | None:
    """Look for a task's file under its names, in `directory` and in its folder of that name, or in its ``Processed``.

    Parameters
    ----------
    directory : Path
        Or a file, which is taken where it is the one data set asked for.
    task : Task
    only_task : bool
        A name that other data sets have too, as MMSA's, does not tell which one it is, so directly in `directory` it
        counts only if this is the one asked for, or if the folder is named after it.

    Returns
    -------
    Path or None
        The first of the task's names that is there.

    Raises
    ------
    BenchmarkError
        If `directory` cannot be read.
    """
    if directory.is_file():
        return directory if only_task else None
    try:
        folders = [path for path in sorted(directory.iterdir()) if path.is_dir() and path.name.lower() == task.data_set]
    except OSError as error:
        raise BenchmarkError(f"cannot read the data folder {directory}: {error.strerror}") from error
    folders += [folder / "Processed" for folder in folders if (folder / "Processed").is_dir()]
    here = directory.resolve()
    own = only_task or task.data_set in (here.name.lower(), here.parent.name.lower())
    if own and (directory / "Processed").is_dir():
        folders.append(directory / "Processed")
    shared = {name for t in known_tasks().values() if t.data_set != task.data_set for name in t.file_names}
    for name in task.file_names:
        for folder in (directory, *folders):
            if (folder is not directory or own or name not in shared) and (folder / name).is_file():
                return folder / name
    return None


@dataclass(frozen=True)
class Size:
    """How large a task's data are, as far as the time to train on them depends on it.

    Parameters
    ----------
    samples : int
        In the training split.
    frames, widths : tuple of int
        T_m and d_m of language, audio and vision.
    """

    samples: int
    frames: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def effort(self) -> float:
        """What a sample costs, in frames: one of few features as most methods' own width has is one frame."""
        return float(sum(t * (1.0 + d / FRAME_WIDTH) for t, d in zip(self.frames, self.widths, strict=True)))


def size_of(data: Mapping[str, Any]) -> Size | None:
    """The size of the data that a cell or a manifest tells of; None where it tells none."""
    samples, frames, widths = (data.get(name) for name in ("samples", "max_frames", "feature_dims"))
    if not isinstance(samples, Mapping) or not isinstance(frames, Mapping) or not isinstance(widths, Mapping):
        return None
    try:
        return Size(samples["train"], tuple(frames[m] for m in MODALITIES), tuple(widths[m] for m in MODALITIES))
    except KeyError:
        return None


def simulated_size(task: Task, samples: int | None = None) -> Size:
    """The size of a stand-in, with its own number of training samples or another one."""
    there = [m in task.modalities for m in MODALITIES]
    frames = tuple(task.simulator.words[1] if own else 1 for own in there)
    widths = tuple(d if own else 1 for d, own in zip(task.simulator.features, there, strict=True))
    return Size(samples or task.simulator.samples[0], frames, widths)


@dataclass(frozen=True)
class Identity:
    """What tells a task's data from others; as in :class:`benchmark.data.dataset.Dataset`."""

    name: str
    source: str
    origin: str
    fingerprint: str
    warnings: tuple[str, ...] = ()
    size: Size | None = None


def identify(source: TaskSource) -> Identity:
    """What a task's data are; files are read for it, simulated data are not generated.

    Raises
    ------
    BenchmarkError
        If the file cannot be used.
    """
    if source.path is None:
        from benchmark.data.simulator import ORIGIN, fingerprint

        size = simulated_size(source.task, source.sizes and source.sizes[0])
        return Identity(source.name, "simulated", ORIGIN, fingerprint(source.task, source.sizes), size=size)
    data = load_task(source)
    frames, widths = (tuple(by[m] for m in MODALITIES) for by in (data.max_frames, data.feature_dims))
    size = Size(len(data.splits["train"]), frames, widths)
    return Identity(data.name, data.source, data.origin, data.fingerprint, data.warnings, size)


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
    dataset = _load(source, status and (status.st_ino, status.st_size, status.st_mtime_ns))
    return dataset.without_test() if _closed else dataset


@contextmanager
def closed_test() -> Iterator[None]:
    """While the block runs, `load_task` gives data whose test split cannot be read, in all threads of this process."""
    _closed.append(True)
    try:
        yield
    finally:
        _closed.pop()


@lru_cache(maxsize=1)
def _load(source: TaskSource, stamp: tuple[int, int, int] | None) -> Dataset:
    if source.path is not None:
        from benchmark.data.formats import read_dataset

        return read_dataset(source.path, source.task)
    from benchmark.data.simulator import simulate

    return simulate(source.task, source.sizes)
