"""The neutral layout: one ``.npz`` or HDF5 file a task, with arrays ``train/language``, ``train/labels`` and so on.

It is told by its first bytes, whatever its name, and read without pickle. :func:`benchmark.data.saving.save_dataset`
writes it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from benchmark.data.guarded import Budget, Refused, read_npy
from benchmark.errors import BenchmarkError, one_line

_READER = Path(__file__).with_name("hdf5_reader.py")
_SECONDS = 20  # of the processor for an HDF5 file, and one more for
_A_SECOND = 2**21  # so many bytes of it
_LONGEST_LINE = 2**20  # bytes of one line of the process that reads HDF5
_SHOW = "docs/own-data.md shows how to write one"


def load_neutral(path: Path, splits: Collection[str], names: Collection[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Read arrays of the neutral layout.

    Parameters
    ----------
    path : Path
        Of an ``.npz`` or an HDF5 file.
    splits : collection of str
        Names that a split may have.
    names : collection of sequence of str
        Of the arrays that are wanted: of each sequence, the first that is there.

    Returns
    -------
    dict of str to dict of str to ndarray, or None
        By split and name; None stands for an array that is not wanted, which is not read.

    Raises
    ------
    BenchmarkError
        If the file is damaged, holds objects or records, would take more than a MiB and 32 times its size in memory, or
        is of another layout.
    """
    try:
        budget = Budget(path.stat().st_size)
        with path.open("rb") as file:
            load = _load_npz if file.read(2) == b"PK" else _load_hdf5
        content = load(path, splits, names, budget)
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror or one_line(str(error))}") from error
    except Refused as error:
        raise BenchmarkError(f"{path} is refused: it holds {error}") from error
    except MemoryError as error:
        raise BenchmarkError(f"{path} does not fit into memory; use a machine that has more") from error
    for name in splits:
        if content.get(name, {}) is None:
            raise BenchmarkError(
                f"{path} holds {name!r}, but not as a group of arrays ({name}/language, {name}/labels, …); {_SHOW}"
            )
    return {name: split or {} for name, split in content.items()}


def _load_npz(
    path: Path, splits: Collection[str], names: Collection[Sequence[str]], budget: Budget
) -> dict[str, dict[str, Any] | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            content: dict[str, dict[str, Any] | None] = {}
            members = {}
            for member in archive.infolist():
                split, slash, name = member.filename.removesuffix(".npy").partition("/")
                if slash:
                    content[split] = own = content.get(split) or {}
                    own[name] = None
                content.setdefault(split, None)
                if (split, name) in members:
                    raise Refused(f"{one_line(f'{split}/{name}')!r} twice; leave one")
                members[split, name] = member
            for split in splits:
                there = content.get(split) or {}
                wanted = [next((name for name in usual if name in there), "") for usual in names]
                for name in filter(None, dict.fromkeys(wanted)):
                    there[name] = _member(archive, members[split, name], budget)
    except (BenchmarkError, Refused, OSError, MemoryError):
        raise
    except Exception as error:  # a damaged archive can fail in any way
        reason = one_line(str(error)) or type(error).__name__
        raise BenchmarkError(f"{path} is NumPy's .npz, but damaged ({reason}); fetch or write it again") from error
    return content


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget) -> Any:
    name = one_line(member.filename)
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused(f"{name!r}, packed in an unusual way; write it with numpy.savez")
    if member.file_size > budget.left:
        raise Refused(f"{name!r} of {member.file_size} bytes, far more than the file has; write it with numpy.savez")
    with archive.open(member) as file:
        try:
            array = read_npy(file, budget)
        except Refused as error:
            raise Refused(f"as {name!r} {error}") from error
        if file.read(1):
            raise Refused(f"as {name!r} an array whose content does not fit its shape")
        return array


def _load_hdf5(
    path: Path, splits: Collection[str], names: Collection[Sequence[str]], budget: Budget
) -> dict[str, dict[str, Any] | None]:
    """In a process of its own, since libhdf5 crashes or hangs on some damaged files."""
    wanted = [json.dumps(list(splits)), json.dumps([list(usual) for usual in names])]
    seconds = _SECONDS + path.stat().st_size // _A_SECOND
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", str(_READER), str(path), str(budget.left), str(seconds), *wanted],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        told = f"cannot start a process to read {path}: {error.strerror}"
        raise BenchmarkError(f"{told}; write it as .npz with benchmark.save_dataset") from error
    with process:
        try:
            return _received(process.stdout, path, budget)
        finally:
            process.kill()


def _received(pipe: Any, path: Path, budget: Budget) -> dict[str, dict[str, Any] | None]:
    """What :mod:`benchmark.data.hdf5_reader` sends."""
    content: dict[str, dict[str, Any] | None] = {}
    damaged = f"{path} is HDF5, but damaged"
    broken = f"{damaged}, so that reading it breaks off; fetch or write it again"
    try:
        while line := pipe.readline(_LONGEST_LINE):
            said = json.loads(line)
            if "holds" in said:
                content = {g: None if own is None else dict.fromkeys(own) for g, own in said["holds"].items()}
            elif "array" in said:
                split, name = said["array"]
                (content[split] or {})[name] = read_npy(pipe, budget)
            elif "refused" in said:
                raise BenchmarkError(f"{path} {one_line(said['refused'], 300)}")
            elif "damaged" in said:
                raise BenchmarkError(f"{damaged} ({one_line(said['damaged'])}); fetch or write it again")
            else:
                return content
    except (ValueError, Refused) as error:  # it ended amidst a line or an array
        raise BenchmarkError(broken) from error
    raise BenchmarkError(broken)
