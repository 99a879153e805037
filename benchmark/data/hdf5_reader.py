"""Reads an HDF5 file in a process of its own: what libhdf5 does on a damaged one must not end a run.

It may crash, or never come to an end. :mod:`benchmark.data.neutral` starts this file as a script, which imports nothing
of the benchmark::

    python -P hdf5_reader.py FILE BYTES SECONDS '["train", …]' '[["language", "text"], …]'

with the most that it may read, the processor's time that it may take, the groups, and the names in them: of each list,
the first that is there. To standard output go lines of JSON: ``holds`` has the groups and what is in each; ``array``
has a group and a name, and the array follows in NumPy's ``.npy``; ``refused`` and ``damaged`` say why there is no more;
``end`` is the last.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from typing import Any

import numpy as np

_FREE = 2**30  # bytes of memory beside what is read
_LEAST = 8  # bytes that an item counts for, as in benchmark.data.guarded, which counts again what comes


class _Refused(Exception):
    """Something that does not belong into a data file."""


def main(path: str, most: int, seconds: int, groups: list[str], names: list[list[str]]) -> None:
    """Write to standard output what the file holds, and the arrays that are asked for."""
    _limit(most, seconds)
    try:
        import h5py
    except ImportError:
        return _say(refused="needs h5py to be read: pip install h5py; or write it as .npz")
    try:
        with h5py.File(path, "r", locking=False) as file:
            # What is no UTF-8 comes as bytes; it is nobody's name here.
            members = {group: _members(file, group, h5py) for group in file if isinstance(group, str)}
            _say(holds=members)
            left = most
            for group in sorted(set(groups) & set(members)):
                there = members[group] or ()
                first = [next((name for name in usual if name in there), None) for usual in names]
                for name in sorted({name for name in first if name is not None}):
                    array = _array(file[group], name, left, h5py)
                    left -= _cost(array.shape, array.dtype.itemsize)
                    _say(array=[group, name])
                    _write(array)
        _say(end=True)
    except _Refused as error:
        _say(refused=f"is refused: it holds {error}")
    except MemoryError:
        _say(refused="does not fit into memory; use a machine that has more")
    except Exception as error:  # a damaged file can fail in any way
        _say(damaged=f"{type(error).__name__}: {error}")


def _limit(most: int, seconds: int) -> None:
    """Give up a file that takes more memory or time than it can need, where the system can be told so."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource
        from pathlib import Path

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        bound = taken + 3 * most + _FREE
        resource.setrlimit(resource.RLIMIT_AS, (bound if hard < 0 else min(bound, hard), hard))


def _members(file: Any, group: str, h5py: Any) -> list[str] | None:
    """What is in a group; None for what is no group, and for what stands in another place or file."""
    if not isinstance(file.get(group, getlink=True), h5py.HardLink) or file.get(group, getclass=True) is not h5py.Group:
        return None
    return [name for name in file[group] if isinstance(name, str)]


def _array(group: Any, name: str, left: int, h5py: Any) -> np.ndarray[Any, Any]:
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise _Refused(f"a link as {name!r}; copy into it what the link leads to")
    data = group[name]
    if not isinstance(data, h5py.Dataset) or data.shape is None:
        raise _Refused(f"no array as {name!r}; write one")
    if data.external or data.is_virtual:
        raise _Refused(f"an array {name!r} whose numbers stand in another file; copy them into it")
    if _cost(data.shape, data.dtype.itemsize) > left:
        raise _Refused(f"an array {name!r} of shape {data.shape}, far larger than the file; write it uncompressed")
    if h5py.check_string_dtype(data.dtype) is not None:
        texts = np.ravel(data.asstr(errors="replace")[()]).tolist()
        longest = max(map(len, texts), default=0)
        if _cost(data.shape, 4 * longest) > left:
            raise _Refused(f"texts of up to {longest} characters as {name!r}; shorten them")
        return np.array(texts, dtype=np.str_).reshape(data.shape)
    if data.dtype.kind not in "biuf" or data.dtype.shape:
        raise _Refused(f"an array {name!r} of type {data.dtype}; write numbers or text")
    return np.asarray(data[()], order="C")


def _cost(shape: tuple[int, ...], itemsize: int) -> int:
    return max(_LEAST, itemsize) * math.prod(max(n, 1) for n in shape)


def _say(**line: Any) -> None:
    sys.stdout.buffer.write(json.dumps(line).encode() + b"\n")
    sys.stdout.buffer.flush()


def _write(array: np.ndarray[Any, Any]) -> None:
    """As ``.npy``; NumPy's own function wants a file in which it can seek."""
    out = sys.stdout.buffer
    np.lib.format.write_array_header_2_0(out, np.lib.format.header_data_from_array_1_0(array))
    if array.nbytes:
        out.write(array.reshape(-1).view(np.uint8).data)
    out.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]), json.loads(sys.argv[5]))
