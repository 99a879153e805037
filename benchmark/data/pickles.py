"""Reading pickles that somebody else wrote, without running anything they hold.

A pickle may name any function and have it called. This unpickler knows the handful of names that NumPy arrays are made
of, each behind a guard of its own, and refuses every other.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from benchmark.errors import BenchmarkError

_KINDS = "biufSU"  # booleans, numbers, byte strings and text; no objects, no records
_INFLATION = 64  # arrays may take this many times the file's size: text is stored narrower than NumPy holds it


class _Refused(Exception):
    """Something that does not belong into a data file."""


class _Shell:
    """Stands for the array that a pickle is about to fill; made by NumPy's ``_reconstruct``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.array: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("an array of unknown form")
        _, shape, dtype, is_fortran, content = state
        dtype = _checked_dtype(dtype)
        size = _checked_size(shape, dtype.itemsize if dtype.kind != "O" else 8, self._limit)
        order: Literal["C", "F"] = "F" if is_fortran else "C"
        if dtype.kind == "O":
            if not isinstance(content, list) or len(content) != size:
                raise _Refused("an array of objects of unknown form")
            array = np.empty(size, dtype=object)
            array[:] = content
            self.array = array.reshape(shape, order=order)
            return
        if isinstance(content, str):  # Python 2 wrote bytes as a string
            content = content.encode("latin1")
        if not isinstance(content, bytes) or len(content) != size * dtype.itemsize:
            raise _Refused("an array whose content does not fit its shape")
        self.array = np.frombuffer(content, dtype=dtype).reshape(shape, order=order).copy()


class _Dtype:
    """Stands for a dtype that a pickle builds."""

    def __init__(self, name: Any, *_: Any) -> None:
        try:
            self.dtype = np.dtype(name.decode("ascii") if isinstance(name, bytes) else str(name))
        except (TypeError, ValueError, SyntaxError) as error:
            raise _Refused(f"an array of type {str(name)[:40]!r}") from error

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise _Refused("an array type of unknown form")
        byteorder = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if byteorder == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, _Dtype):
        dtype = dtype.dtype
    if not isinstance(dtype, np.dtype) or (dtype.kind not in _KINDS and dtype.kind != "O"):
        raise _Refused(f"an array of type {str(dtype)[:40]!r}")
    return dtype


def _checked_size(shape: Any, itemsize: int, limit: int) -> int:
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("an array of unknown shape")
    size = math.prod(shape)
    if size * itemsize > limit:
        raise _Refused(f"an array of shape {shape}, which is larger than the file can hold")
    return size


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, limit: int) -> None:
        super().__init__(file, encoding="latin1")
        self._limit = limit
        core = ("numpy.core", "numpy._core")
        self._allowed: dict[tuple[str, str], Callable[..., Any]] = {
            # Bound methods, because a pickle can set attributes of the classes and functions it names.
            ("numpy", "ndarray"): self._ndarray,
            ("numpy", "dtype"): self._dtype,
            ("_codecs", "encode"): self._encode,
            ("__builtin__", "bytes"): self._no_bytes,
            ("collections", "OrderedDict"): dict,
            **{(f"{c}.multiarray", "_reconstruct"): self._reconstruct for c in core},
            **{(f"{c}.multiarray", "scalar"): self._scalar for c in core},
            **{(f"{c}.numeric", "_frombuffer"): self._from_buffer for c in core},
        }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise _Refused(f"the name {module}.{name}"[:100]) from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused("a reference to something outside the file")

    def _ndarray(self, *_: Any) -> NoReturn:
        raise _Refused("an array made in an unusual way")  # only named, as an argument of _reconstruct

    def _dtype(self, *arguments: Any) -> _Dtype:
        return _Dtype(*arguments)

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
            raise _Refused("a byte string of unknown form")
        return text.encode(encoding)

    def _no_bytes(self, *arguments: Any) -> bytes:
        if arguments:
            raise _Refused("a byte string of unknown form")
        return b""  # how the oldest protocols write it

    def _reconstruct(self, *_: Any) -> _Shell:
        return _Shell(self._limit)

    def _scalar(self, dtype: Any, content: Any = b"") -> Any:
        dtype = _checked_dtype(dtype)
        content = content.encode("latin1") if isinstance(content, str) else content
        if dtype.kind == "O" or not isinstance(content, bytes) or len(content) != dtype.itemsize:
            raise _Refused("a number of unknown form")
        return np.frombuffer(content, dtype=dtype)[0].item()

    def _from_buffer(self, content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> Any:
        dtype = _checked_dtype(dtype)
        size = _checked_size(shape, dtype.itemsize, self._limit)
        if dtype.kind == "O" or not isinstance(content, bytes | bytearray) or order not in ("C", "F", "A"):
            raise _Refused("an array of unknown form")
        if len(content) != size * dtype.itemsize:
            raise _Refused("an array whose content does not fit its shape")
        return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def load_pickle(path: Path) -> Any:
    """Read a pickle of plain containers, text, numbers and NumPy arrays.

    Python 2's pickles are read too; their byte strings come as text (Latin-1).

    Parameters
    ----------
    path : Path

    Returns
    -------
    object
        Built of dict, list, tuple, str, bytes, bool, int, float, None and NumPy arrays only.

    Raises
    ------
    BenchmarkError
        If the file cannot be read, is no pickle or damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            limit = max(2**16, _INFLATION * path.stat().st_size)
            content = _Unpickler(file, limit).load()
            return _plain(content, set())
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from error
    except _Refused as error:
        raise BenchmarkError(
            f"{path} is refused: it holds {error}; a data file may hold NumPy arrays, plain containers, text and "
            "numbers only, so convert it first"
        ) from error
    except MemoryError as error:
        raise BenchmarkError(f"{path} does not fit into memory") from error
    except RecursionError as error:
        raise BenchmarkError(f"{path} is refused: its containers are nested too deeply") from error
    except Exception as error:  # a damaged pickle can fail in any way
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        raise BenchmarkError(f"{path} is no pickle, or damaged ({reason}); fetch it again") from error


def _plain(value: Any, above: set[int]) -> Any:
    """`value` with arrays in the place of their shells; refuses what is not plain, and what holds itself."""
    if isinstance(value, _Shell):
        if value.array is None:
            raise _Refused("an array without content")
        if value.array.dtype.kind != "O":
            return value.array
        flat = [_plain(item, above) for item in value.array.ravel().tolist()]
        array = np.empty(len(flat), dtype=object)
        array[:] = flat
        return array.reshape(value.array.shape)
    if value is None or isinstance(value, str | bytes | bool | int | float | np.ndarray):
        return value
    if id(value) in above:
        raise _Refused("a container that holds itself")
    above = above | {id(value)}
    if type(value) is dict:
        return {_plain(k, above): _plain(v, above) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item, above) for item in value)
    raise _Refused(f"a {type(value).__name__.lstrip('_')}")
