"""Arrays out of files that somebody else wrote: plain types only, and an account of the memory that they may take."""

from __future__ import annotations

import math
import warnings
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import one_line

KINDS = "biufSU"  # booleans, numbers, byte strings and text; no objects, no records
ALWAYS = 2**20  # bytes that any file may take,
INFLATION = 32  # and that many times its size
LEAST = 8  # bytes that an item of a compressed file counts for
_AXES = 32
_HEADER = 10_000  # characters
_PIECE = 2**24  # bytes that are read at once


class Refused(Exception):
    """Something that does not belong into a data file."""


class Budget:
    """The bytes that a file may still take in memory.

    Parameters
    ----------
    size : int
        Of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.left = ALWAYS + INFLATION * size

    def spend(self, number: int, what: str = "what its size does not account for") -> None:
        """Pay for some bytes; raises Refused where there are not so many left."""
        if number > self.left:
            raise Refused(f"{what}, more than {INFLATION} times the file")
        self.left -= number


def checked_size(shape: Any, itemsize: int, budget: Budget) -> int:
    """The number of items, paid for; an empty array's other axes count too, for what is made along them."""
    if not isinstance(shape, tuple) or len(shape) > _AXES:
        raise Refused("an array of unknown shape")
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise Refused("an array of unknown shape")
    budget.spend(itemsize * math.prod(max(n, 1) for n in shape), f"an array of shape {one_line(str(shape), 60)}")
    return math.prod(shape)


def filled(
    content: Any, dtype: np.dtype[Any], shape: Any, order: Literal["C", "F"], budget: Budget
) -> NDArray[np.generic]:
    """An array of these bytes."""
    size = checked_size(shape, dtype.itemsize, budget)
    if dtype.kind not in KINDS or not isinstance(content, bytes | bytearray):
        raise Refused("an array of unknown form")
    if len(content) != size * dtype.itemsize:
        raise Refused("an array whose content does not fit its shape")
    array = np.frombuffer(content, dtype=dtype)
    _check_characters(array)
    return array.reshape(shape, order=order).copy()


def read_npy(file: IO[bytes], budget: Budget) -> NDArray[np.generic]:
    """An array in NumPy's ``.npy``, as it comes.

    Raises
    ------
    Refused
        If it is of objects or records, damaged, does not fit its shape, or would take more than the budget has left.
    """
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how Python 2 wrote numbers, and of what is no Python
            version = np.lib.format.read_magic(file)
            shape, is_fortran, dtype = read_header[version](file, max_header_size=_HEADER)
    except OSError:
        raise
    except Exception as error:  # of all kinds, MemoryError too: it is read as Python
        raise Refused("an array whose description is damaged; fetch or write it again") from error
    if dtype.kind not in KINDS or dtype.hasobject or dtype.shape:
        kind = "Python objects" if dtype.hasobject else f"type {one_line(str(dtype), 40)}"
        raise Refused(f"an array of {kind}; write numbers, or text as numpy.array(texts, dtype=str)")
    # A compressed file may hold many small numbers, and each is computed with as a wide one.
    array: NDArray[np.generic] = np.empty(checked_size(shape, max(LEAST, dtype.itemsize), budget), dtype=dtype)
    if array.nbytes:
        place, content = 0, array.view(np.uint8).data
        while place < len(content):
            count = file.readinto(content[place : place + _PIECE])  # type: ignore[attr-defined]
            if not count:
                raise Refused("an array whose content does not fit its shape")
            place += count
    _check_characters(array)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _check_characters(array: NDArray[Any]) -> None:
    if array.dtype.kind == "U" and array.dtype.itemsize:
        numbers = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if (numbers > 0x10FFFF).any():
            raise Refused("text of what are no characters")
