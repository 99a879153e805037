"""Locks on files, by which processes on one folder, or on machines that share it, agree on who does what.

The operating system holds a lock for a process and lets go of it when the process ends, however it ends: so a lock
that a dead process has left is none, and that of a live one, even one that stands still, cannot be taken over.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock on a file while the block runs, unless somebody holds it already.

    Parameters
    ----------
    path : Path
        Made for the purpose, and removed by whoever lets go of the lock.

    Yields
    ------
    bool
        False: another process, or another thread of this one, holds it. Where the file system keeps no locks, always
        True.

    Raises
    ------
    OSError
        If the file cannot be made.
    """
    descriptor = _locked_file(path)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked_file(path: Path) -> int | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        if _same(descriptor, path):
            return descriptor
        os.close(descriptor)  # whoever had it removed the file before letting go: a lock on nothing


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (*_NO_LOCKS, errno.EWOULDBLOCK, errno.EACCES):
            raise
        return error.errno in _NO_LOCKS
    return True


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@lru_cache(maxsize=8)
def keeps_locks(folder: Path) -> bool:
    """Whether the file system of a folder that can be written to keeps locks."""
    path = folder / f".locks-{uuid.uuid4().hex}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
    return True
