"""Figures → files, in processes of their own where there are many, while the next ones are made."""

from __future__ import annotations

import pickle
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Self

from joblib.externals.loky import ProcessPoolExecutor
from matplotlib.figure import Figure

from benchmark.errors import BenchmarkError
from benchmark.report.figures import to_files

MOST_PROCESSES = 4
_IDLE = 300
"""Seconds after which a process without work ends, so that none outlives a report that was killed."""


class Drawing:
    """Draws figures; a context, at whose end its processes are gone.

    Parameters
    ----------
    processes : int
        1: in this process. Each further one takes some 200 MiB.

    Raises
    ------
    BenchmarkError
        From both methods, if a process was killed.
    """

    def __init__(self, processes: int) -> None:
        self._drawn: dict[str, dict[str, bytes]] = {}
        self._drawing: dict[str, Future[dict[str, bytes]]] = {}
        self._pool = ProcessPoolExecutor(processes, timeout=_IDLE, initializer=_prepare) if processes > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(kill_workers=kind is not None)

    def draw(self, name: str, figure: Figure) -> None:
        """Draw a figure, which is not to be used afterwards."""
        if self._pool is None:
            self._drawn[name] = _draw(figure)
        else:
            with _told():
                self._drawing[name] = self._pool.submit(_draw_pickled, pickle.dumps(figure))

    def files(self) -> dict[str, dict[str, bytes]]:
        """What all figures gave, by name and suffix; waits for it."""
        with _told():
            return self._drawn | {name: future.result() for name, future in self._drawing.items()}


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise BenchmarkError(
            "a process that draws figures was killed, perhaps for want of memory; what was computed is stored, and "
            "--report-only draws the figures again"
        ) from error


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
