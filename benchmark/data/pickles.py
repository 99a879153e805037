"""Reading pickles that somebody else wrote, without running anything they hold.

A pickle is a program. It may name any function and have it called, claim memory that its file does not fill, and hold
a few containers that expand without end. The interpreter here knows the instructions of plain data and the handful of
names that NumPy arrays are made of, each behind a guard of its own. It refuses every other, and keeps account of the
memory that it is asked for.
"""

from __future__ import annotations

import pickle
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from benchmark.data.file_kinds import describe
from benchmark.data.guarded import Budget, Refused, checked_size, filled
from benchmark.errors import BenchmarkError, one_line

_DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|[SU]\d{1,9}|O[48]?)")
_DEPTH = 20  # of containers within containers; the files that people pass around have four
_ARGUMENTS = 8  # of a name that is called


class _Name:
    """A name that a pickle may use: it can be called, by the one instruction for that, and nothing else."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make


class _Shell:
    """Stands for the array that a pickle is about to fill; made by NumPy's ``_reconstruct``."""

    __slots__ = ("_budget", "array")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.array: NDArray[Any] | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array of unknown form")
        _, shape, dtype, is_fortran, content = state
        order: Literal["C", "F"] = "F" if is_fortran is True else "C"
        dtype = _checked_dtype(dtype)
        if dtype.kind == "O":
            size = checked_size(shape, 8, self._budget)
            if not isinstance(content, list) or len(content) != size:
                raise Refused("an array of objects of unknown form")
            self.array = _objects(content).reshape(shape, order=order)
            return
        if isinstance(content, str):  # Python 2 wrote bytes as a string
            content = content.encode("latin1")
        self.array = filled(content, dtype, shape, order, self._budget)


class _Dtype:
    """Stands for a dtype that a pickle builds."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any = None, *_: Any) -> None:
        if isinstance(name, bytes):
            name = name[:20].decode("latin1")
        if not isinstance(name, str) or not _DTYPE.fullmatch(name):
            raise Refused(f"an array of type {name[:20] if isinstance(name, str) else type(name).__name__!r}")
        try:
            self.dtype = np.dtype(name)
        except TypeError as error:
            raise Refused(f"an array of type {name!r}") from error

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise Refused("an array type of unknown form")
        if state[1] in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, _Dtype):
        raise Refused(f"an array whose type is a {type(dtype).__name__}")
    return dtype.dtype


def _objects(items: list[Any]) -> NDArray[np.object_]:
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):  # one by one, as an item may be a list or an array itself
        array[place] = item
    return array


_INSTRUCTIONS = (
    pickle.PROTO, pickle.FRAME, pickle.STOP,
    pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP,
    pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE,
    pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE,
    pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1, pickle.LONG4,
    pickle.FLOAT, pickle.BINFLOAT,
    pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8,
    pickle.UNICODE, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8,
    pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST, pickle.LIST,
    pickle.EMPTY_DICT, pickle.GLOBAL, pickle.STACK_GLOBAL,
)  # fmt: skip
"""Taken as they are; those that change or call something are written below. Not among them: all other ways to name or
make an object (extension codes, persistent ids, classes and their instances), and buffers outside the file."""


_Interpreter: Any = pickle._Unpickler


class _Dispatch(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> NoReturn:
        known = _Interpreter.dispatch.get(code)
        if known is None:
            raise pickle.UnpicklingError(f"there is no instruction {code:#04x}")
        raise Refused(f"the instruction {known.__name__.removeprefix('load_')}")


class _Unpickler(_Interpreter):  # type: ignore[misc]
    """The standard library's interpreter in Python; the one in C has a memo as long as the file's largest number."""

    dispatch = _Dispatch({code[0]: _Interpreter.dispatch[code[0]] for code in _INSTRUCTIONS})

    def __init__(self, file: Any, size: int) -> None:
        super().__init__(file, encoding="latin1")
        self._file_read = lambda number: file.read(min(number, size))  # no memory for what is not there
        self.budget = Budget(size)
        core = ("numpy.core", "numpy._core")
        self._allowed = {
            ("numpy", "ndarray"): _Name(self._ndarray),
            ("numpy", "dtype"): _Name(_Dtype),
            ("_codecs", "encode"): _Name(self._encode),
            ("__builtin__", "bytes"): _Name(self._no_bytes),
            ("collections", "OrderedDict"): _Name(self._ordered),
            **{(b, s): _Name(self._set) for b in ("builtins", "__builtin__") for s in ("set", "frozenset")},
            **{(f"{c}.multiarray", "_reconstruct"): _Name(self._reconstruct) for c in core},
            **{(f"{c}.multiarray", "scalar"): _Name(self._scalar) for c in core},
            **{(f"{c}.numeric", "_frombuffer"): _Name(self._from_buffer) for c in core},
        }

    def find_class(self, module: str, name: str) -> _Name:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise Refused(f"the name {one_line(f'{module}.{name}', 80)}") from None

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        name = self.stack[-1]
        if not isinstance(name, _Name) or not isinstance(arguments, tuple) or len(arguments) > _ARGUMENTS:
            raise Refused(f"a call of a {_kind(name)}")
        self.stack[-1] = name.make(*arguments)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_build(self) -> None:
        state = self.stack.pop()
        instance = self.stack[-1]
        if not isinstance(instance, _Shell | _Dtype):
            raise Refused(f"a {_kind(instance)} with a state of its own")
        instance.build(state)

    dispatch[pickle.BUILD[0]] = load_build

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    dispatch[pickle.APPENDS[0]] = load_appends

    # A set comes as a list, in the file's order: nothing is hashed, and what is made of it is the same every time.

    def load_empty_set(self) -> None:
        self.append([])

    dispatch[pickle.EMPTY_SET[0]] = load_empty_set
    dispatch[pickle.ADDITEMS[0]] = load_appends

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # which puts another stack under self.append
        self.append(items)

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refused(f"a {_kind(self.stack[-1])} that is used as a list")
        self.stack[-1].extend(items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._update(items)

    dispatch[pickle.DICT[0]] = load_dict

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        self._update(self.pop_mark())

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def _update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise Refused(f"a {_kind(self.stack[-1])} that is used as a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_checked_key(key)] = value

    def load_bytearray8(self) -> None:
        number = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(number)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def _ndarray(self, *_: Any) -> NoReturn:
        raise Refused("an array made in an unusual way")  # only named, as an argument of _reconstruct

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
            raise Refused("a byte string of unknown form")
        self.budget.spend(len(text), "byte strings")
        return text.encode(encoding)

    def _no_bytes(self, *arguments: Any) -> bytes:
        if arguments:
            raise Refused("a byte string of unknown form")
        return b""  # how the oldest protocols write it

    def _ordered(self, items: Any = ()) -> dict[Any, Any]:
        if not isinstance(items, list | tuple):
            raise Refused("a dictionary of unknown form")
        self.budget.spend(64 + 64 * len(items), "dictionaries")
        return {_checked_key(key): value for key, value in items}

    def _set(self, items: Any = ()) -> list[Any]:
        if not isinstance(items, list | tuple):
            raise Refused("a set of unknown form")
        self.budget.spend(64 + 8 * len(items), "sets")
        return list(items)

    def _reconstruct(self, *_: Any) -> _Shell:
        return _Shell(self.budget)

    def _scalar(self, dtype: Any, content: Any = b"") -> Any:
        dtype = _checked_dtype(dtype)
        content = content.encode("latin1") if isinstance(content, str) else content
        return filled(content, dtype, (), "C", self.budget).item()

    def _from_buffer(self, content: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> NDArray[Any]:
        return filled(content, _checked_dtype(dtype), shape, "F" if order == "F" else "C", self.budget)


def _kind(value: Any) -> str:
    return type(value).__name__.removeprefix("_").lower()


def _checked_key(key: Any) -> Any:
    if not isinstance(key, str | bytes | int):  # nothing whose hash is the work of the file's author
        raise Refused(f"a dictionary with a {_kind(key)} for a key")
    return key


def load_pickle(path: Path) -> Any:
    """Read a pickle of plain containers, text, numbers and NumPy arrays.

    Python 2's pickles are read too; their byte strings come as text (Latin-1). A set comes as a list.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object
        Built of dict, list, tuple, str, bytes, bool, int, float, None and NumPy arrays only, at most 20 deep. Read as
        a tree, in which what stands in several places counts several times, it takes at most a MiB and 32 times the
        file's size.

    Raises
    ------
    BenchmarkError
        If the file cannot be read, is no pickle or damaged, or holds anything else.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BenchmarkError(f"cannot read {path}: it is no file; name a data file")
        with path.open("rb") as file:
            unpickler = _Unpickler(file, status.st_size)
            return _plain(unpickler.load(), unpickler.budget)
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from error
    except Refused as error:
        if known := _described(path):
            raise BenchmarkError(f"{path} {known}") from error
        raise BenchmarkError(
            f"{path} is refused: it holds {error}; a data file may hold NumPy arrays, plain containers, text and "
            "numbers only, so convert it first"
        ) from error
    except MemoryError as error:
        raise BenchmarkError(f"{path} does not fit into memory; use a machine that has more") from error
    except BenchmarkError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        if known := _described(path):
            raise BenchmarkError(f"{path} {known}") from error
        reason = one_line(str(error)) or type(error).__name__
        raise BenchmarkError(f"{path} is no pickle, or damaged ({reason}); fetch it again") from error


def _described(path: Path) -> str | None:
    """What a file is instead of a pickle, where that can be told."""
    try:
        return describe(path)
    except OSError:
        return None


def _plain(value: Any, budget: Budget, depth: int = 0) -> Any:
    """`value` with arrays in the place of their shells, paid for as often as it is met; refuses what is not plain."""
    if depth > _DEPTH:
        raise Refused(f"containers nested more than {_DEPTH} deep")
    if value is None or isinstance(value, bool | float):
        budget.spend(8)
        return value
    if isinstance(value, int):
        budget.spend(8)
        if not -(2**63) <= value < 2**64:
            raise Refused("a number of more than 64 bits")
        return value
    if isinstance(value, str | bytes):
        budget.spend(8 + len(value))
        return value
    budget.spend(64)
    if isinstance(value, _Shell):
        if value.array is None:
            raise Refused("an array without content")
        value = value.array
        if value.dtype.kind == "O":
            items = [_plain(item, budget, depth + 1) for item in value.ravel().tolist()]
            return _objects(items).reshape(value.shape)
    if isinstance(value, np.ndarray):
        budget.spend(value.nbytes)
        return value
    if type(value) is dict:
        return {_plain(k, budget, depth + 1): _plain(v, budget, depth + 1) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item, budget, depth + 1) for item in value)
    raise Refused(f"a {_kind(value)}")
