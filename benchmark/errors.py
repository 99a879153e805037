"""The exceptions that a user sees."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_THE_WAY = "move it away"
_ADVICE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EFBIG: "allow larger files there",
    errno.EROFS: "make it writable, or name another folder with --out",
    errno.EACCES: "make it writable, or name another folder with --out",
    errno.EPERM: "make it writable, or name another folder with --out",
    errno.EIO: "look at the disk",
    errno.ESTALE: "see whether the file server is well",
    errno.EMFILE: "allow more open files (ulimit -n)",
    **dict.fromkeys((errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP), _IN_THE_WAY),
}


class BenchmarkError(Exception):
    """Unusable arguments, data or method.

    The message is one line that says what is wrong and how to mend it; the command line prints it without a
    traceback and exits with status 2.
    """


class StorageError(BenchmarkError):
    """The output folder cannot be written to (any more)."""


@contextmanager
def storing(out: Path) -> Iterator[None]:
    """Turn what a full, read-only or failing disk raises while the block runs into one line.

    Raises
    ------
    StorageError
        In the place of an OSError that speaks of the disk under `out`.
    """
    try:
        yield
    except OSError as error:
        fault = storage_fault(error, out)
        if fault is None:
            raise
        raise fault from error


def storage_fault(error: BaseException, out: Path) -> StorageError | None:
    """What to say if an exception speaks of the disk under `out`; None if it does not."""
    if not isinstance(error, OSError) or error.errno not in _ADVICE:
        return None
    if error.filename is not None and not _under(out, str(error.filename)):
        return None
    place = (error.filename2 or error.filename or out) if _ADVICE[error.errno] == _IN_THE_WAY else out
    return StorageError(
        f"cannot write to {place}: {os.strerror(error.errno)}; {_ADVICE[error.errno]}; what is done is stored, and the "
        "same command goes on from there"
    )


def _under(folder: Path, name: str) -> bool:
    return Path(os.path.abspath(name)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100 - links stay as they are


def one_line(text: str, length: int = 100) -> str:
    """What a file holds, as it may stand in a message: printable, on one line, and cut."""
    cut = text if len(text) <= length else text[: length - 1] + "…"
    return "".join(character if character.isprintable() else " " for character in cut)


def unknown(kind: str, name: object, known: Iterable[str], shown: str | None = None) -> str:
    """The message for an unknown name, or what is `shown` for it: the nearest ones, then all there are.

    Of known names joined by commas it says that they are to be written apart.
    """
    names = sorted(known)
    by_case = {each.lower(): each for each in reversed(names)}  # a name that differs in case alone is the nearest
    asked = str(name).lower()
    matches = [asked] if asked in by_case else difflib.get_close_matches(asked, by_case, n=3, cutoff=0.5)
    near = [by_case[each] for each in matches]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    joined = [part.strip() for part in asked.split(",")]
    if len(joined) > 1 and by_case.keys() >= set(joined):
        hint = "these are names joined by commas: write each apart, with blanks (in a file, as a list); "
    return f"unknown {kind} {(shown or name)!r}; {hint}there are: {', '.join(names)}"
