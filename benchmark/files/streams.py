"""Standard output and error that do not end a run: closed, full, or of an encoding that lacks a character."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class ReaderGone(Exception):
    """Whoever read standard output has gone, as ``head`` does when it has enough."""


class Lenient:
    """A text stream that takes what the one behind it takes, and goes on where that one cannot.

    Characters that the encoding lacks are written as ``\\u2026``; of a stream that fails, as on a full disk, the first
    fault is kept and the rest is dropped.

    Parameters
    ----------
    stream : text stream
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or drop; raises ReaderGone where nobody reads any more."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """As of any stream; raises ReaderGone where nobody reads any more."""
        self._try(self._stream.flush)

    def _try(self, call: Any, *arguments: Any) -> None:
        if self.fault is not None:
            return
        try:
            call(*arguments)
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            self.fault = error
        except ValueError:
            if not self._stream.closed:  # as by a plug-in
                raise
            self.fault = OSError(errno.EBADF, "closed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lenient_streams() -> Iterator[Lenient]:
    """Put lenient streams in the place of standard output and error while the block runs; gives that of output."""
    _open_closed()
    before = sys.stdout, sys.stderr
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - a closed stream is None
    out = Lenient(before[0] or nowhere)
    sys.stdout, sys.stderr = out, Lenient(before[1] or nowhere)
    try:
        yield out
        out.flush()
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            _let_go(stream)
        nowhere.close()


def _open_closed() -> None:
    """Have standard streams that were closed lead nowhere, here and in workers.

    Otherwise the next file that is opened takes their number, and what is printed goes into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one


def _let_go(stream: TextIO | None) -> None:
    """Have what a stream still holds go nowhere if it cannot be written: Python's end would fail on it."""
    if stream is None or getattr(stream, "closed", False):
        return
    try:
        stream.flush()
    except OSError:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), stream.fileno())
