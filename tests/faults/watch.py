"""Reading a file under watch: what it does that no reading has to do, how long it takes, and how it is refused."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmark.data import hdf5_reader
from benchmark.errors import BenchmarkError
from tests.faults import Trial

SECONDS = 5.0
"""Of the processor, which no input of this size may take."""


class TooLong(BaseException):
    """Raised by the clock; no reader catches it."""


# What may not happen while a file is read. An audit hook cannot be removed, so there is one, and it is switched.
_events: list[str] | None = None
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.remove", "os.rename", "os.mkdir",
              "os.putenv", "subprocess.Popen", "socket.", "ctypes.", "pickle.find_class", "shutil.", "pty.spawn")  # fmt: skip
HDF5_READER = str(Path(hdf5_reader.__file__))
CANARY = "canary_of_the_inputs"
"""A module that nothing but a hostile file imports."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is None:
        return
    if event == "subprocess.Popen" and list(arguments[1][1:3]) == ["-P", HDF5_READER]:
        return  # HDF5 is read in a process of its own
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    writes = writes and arguments[0] != os.devnull
    evaluates = event == "exec" and arguments[0].co_filename == "<string>"
    if writes or evaluates or event.startswith(_FORBIDDEN) or (event == "import" and CANARY in str(arguments[0])):
        _events.append(f"{event} {arguments[0]!r:.60}")


_hooked = False


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """What is done in the block that no reading of a file has to do."""
    global _events, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    _events = found = []
    try:
        yield found
    finally:
        _events = None


@contextlib.contextmanager
def clock(seconds: float) -> Iterator[None]:
    """Ends the block when it takes longer."""

    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(read: Callable[[Path], None], path: Path) -> tuple[str, str]:
    """Read a file: what was said, where it was refused, and what was wrong about that (empty: nothing)."""
    with watched() as events, warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning is a line that nobody asked for
        warnings.simplefilter("ignore", ResourceWarning)  # of NumPy's, about an archive that it refuses
        try:
            with clock(SECONDS):
                read(path)
        except BenchmarkError as error:
            said, wrong = str(error), ""
            if not said.isprintable() or len(said) > 1000 or path.name not in said:
                wrong = "refused, but not in one line that names the file"
        except TooLong:
            said, wrong = "", f"took more than {SECONDS:g} seconds"
        except Exception as error:
            said, wrong = "", f"{type(error).__name__}: {error}"
        else:
            said, wrong = "", ""
    if events:
        wrong = f"did {events[0]}"
    return said, wrong


class Row:
    """Counts the inputs of one kind, and keeps those that got through."""

    def __init__(self, fault: str, work: Path, suffix: str, read: Callable[[Path], None]) -> None:
        self.fault, self.read = fault, read
        self.path = work / f"input{suffix}"
        self.times, self.lost = 0, ""
        self._said: dict[str, int] = {}

    def put(self, content: bytes) -> None:
        self.times += 1
        self.path.write_bytes(content)
        said, wrong = outcome(self.read, self.path)
        if wrong and not self.lost:
            kept = self.path.with_name(re.sub(r"\W+", "_", self.fault)[:40] + f"_{self.times}{self.path.suffix}")
            kept.write_bytes(content)
            self.lost = f"{wrong[:200]} ({kept.name})"
        if said:
            self._said.setdefault(said, self.times)

    @property
    def said(self) -> set[str]:
        """All lines that were said."""
        return set(self._said)

    def trial(self) -> Trial:
        """The line shown is one of middling length: neither the barest nor the longest."""
        lines = sorted(self._said, key=lambda line: (len(line), line))
        said = lines[len(lines) // 2].replace(str(self.path), self.path.name) if lines else ""
        return Trial(self.fault, self.times, self.lost, said)


def warmed(row: Row, content: bytes) -> Row:
    """`row` after one file that is in order and one that is not: modules imported late are no deeds of a file's."""
    for text in (content, b"\x80\x04nothing: ["):
        row.path.write_bytes(text)
        with contextlib.suppress(BenchmarkError):
            row.read(row.path)
    return row
