"""Figures → files, and what figures take long to compute, in processes of their own while the next ones are made."""

from __future__ import annotations

import pickle
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self, TypeVar

from joblib.externals.loky import ProcessPoolExecutor
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from benchmark.report.figures import to_files
from benchmark.running.processes import cores, told_if_killed

MOST_PROCESSES = 4
T = TypeVar("T")

_WHAT = "draws figures"
_IDLE = 300
"""Seconds after which a process without work ends, so that none outlives a report that was killed."""


class Drawing:
    """Draws and computes figures; a context, at whose end its processes are gone.

    Parameters
    ----------
    processes : int
        1: in this process, and what is computed in threads of it. Each further one takes some 200 MiB.

    Raises
    ------
    BenchmarkError
        From both methods, if a process was killed.
    """

    def __init__(self, processes: int) -> None:
        self._drawn: dict[str, dict[str, bytes]] = {}
        self._drawing: dict[str, Future[dict[str, bytes]]] = {}
        self._pool = ProcessPoolExecutor(processes, timeout=_IDLE, initializer=_prepare) if processes > 1 else None
        self._threads = ThreadPoolExecutor(cores())
        self._limits = ExitStack()

    def __enter__(self) -> Self:
        # Outside the threads: one that limits itself restores what it found while others are at work.
        self._limits.enter_context(threadpool_limits(1))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._limits:
            self._threads.shutdown(cancel_futures=kind is not None)
            if self._pool is not None:
                self._pool.shutdown(kill_workers=kind is not None)

    def compute(self, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """Have a function called, which may take seconds and is at the top level of a module; gives its result."""
        with told_if_killed(_WHAT):
            future = (self._pool or self._threads).submit(function, *arguments)

        def result() -> T:
            with told_if_killed(_WHAT):
                return future.result()

        return result

    def draw(self, name: str, figure: Figure) -> None:
        """Draw a figure, which is not to be used afterwards."""
        if self._pool is None:
            self._drawn[name] = _draw(figure)
        else:
            with told_if_killed(_WHAT):
                self._drawing[name] = self._pool.submit(_draw_pickled, pickle.dumps(figure))

    def files(self) -> dict[str, dict[str, bytes]]:
        """What all figures gave, by name and suffix; waits for it."""
        with told_if_killed(_WHAT):
            return self._drawn | {name: future.result() for name, future in self._drawing.items()}


def _prepare() -> None:
    """Leave Ctrl-C to the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_pickled(content: bytes) -> dict[str, bytes]:
    figure: Figure = pickle.loads(content)
    return _draw(figure)


def _draw(figure: Figure) -> dict[str, bytes]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # where the font lacks a character, a box stands for it
        files = to_files(figure)
    figure.clear()  # its texts, in circles, hold on to what it was drawn on: up to hundreds of MiB
    return files
