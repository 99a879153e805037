"""What stands in a file as numbers, labels, ids and keys, made arrays and texts of one form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, one_line

LONGEST_ID = 200  # characters; all ids are held at the width of the longest


def as_text(value: Any) -> str:
    """Text that can be written: without halves of characters, and without the zeros behind it that NumPy drops."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode("utf-8").rstrip("\0")


def by_text(content: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """A dictionary with its keys as text."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        text = as_text(key)
        if text in found:
            raise BenchmarkError(f"{where} holds {one_line(repr(text))} twice, as text and as another type; leave one")
        found[text] = value
    return found


def as_numbers(value: Any, where: str) -> NDArray[np.generic]:
    """An array of numbers or truth values; raises BenchmarkError."""
    try:
        array = np.asarray(_scalars_in_lists(value))
        if array.dtype == object:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(
            f"{where}: no array of numbers (rows of different length, or text); write an array of numbers"
        ) from error
    if array.dtype.kind not in "biuf":
        first = f" ({one_line(repr(as_text(array.ravel()[0])), 30)})" if array.dtype.kind in "SU" and array.size else ""
        raise BenchmarkError(f"{where}: holds {array.dtype} where numbers are expected{first}; write numbers")
    return array


def _scalars_in_lists(value: Any) -> Any:
    """Numbers in lists, or an array that is not of objects; no text, which NumPy would widen to the longest."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if isinstance(value, np.ndarray | list | tuple):
        items = [_scalars_in_lists(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
        if any(isinstance(item, np.ndarray) and item.dtype.kind in "SU" for item in items):
            raise TypeError("text")
        return items
    if value is None or isinstance(value, bool | int | float | np.number | np.bool_):
        return value
    raise TypeError(type(value).__name__)


def as_labels(value: Any, where: str) -> NDArray[np.generic]:
    """Numbers, or one text a sample; raises BenchmarkError."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO" and value.ndim > 1 and value.size == len(value):
        value = value.reshape(-1)
    items = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(items, list | tuple) and items and all(isinstance(item, str | bytes) for item in items):
        texts = [as_text(item) for item in items]
        if max(map(len, texts)) > LONGEST_ID:
            raise BenchmarkError(f"{where}: a label has more than {LONGEST_ID} characters; shorten it")
        return np.array(texts)
    labels = as_numbers(value, where)
    if labels.ndim == 0:
        raise BenchmarkError(f"{where}: one number where one a sample is expected; write them all")
    return labels


def as_ids(value: Any, where: str) -> list[str] | None:
    """MulT's ids are arrays of (video, start, end), MMSA's are ``video$_$clip``; raises BenchmarkError."""
    if value is None:
        return None
    rows = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(rows, list | tuple):
        raise BenchmarkError(f"{where}: a {type(rows).__name__} where one id a sample is expected; write a list of ids")
    ids = []
    for number, row in enumerate(rows):
        try:
            ids.append("$_$".join(as_text(part) for part in _parts(row)))
        except TypeError as error:
            raise BenchmarkError(f"{where}: row {number} holds a {error} where text is expected; mend it") from error
        if len(ids[-1]) > LONGEST_ID:
            raise BenchmarkError(f"{where}: row {number} has more than {LONGEST_ID} characters; shorten it")
    return ids


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray | list | tuple):
        for item in np.atleast_1d(value).tolist() if isinstance(value, np.ndarray) else value:
            yield from _parts(item)
    elif isinstance(value, str | bytes | bool | int | float | np.generic):
        yield value
    else:
        raise TypeError(type(value).__name__)
