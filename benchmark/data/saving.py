"""Writing a data file of one's own, in the neutral layout that :mod:`benchmark.data.neutral` reads."""

from __future__ import annotations

import filecmp
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.values import as_ids, as_labels, as_numbers
from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.files.atomic import flush
from benchmark.protocol.missing import MODALITY_NAMES

_MODALITIES = tuple(MODALITY_NAMES.values())
_KEYS = (*_MODALITIES, *(f"{name}_lengths" for name in _MODALITIES), "labels", "ids")
_HDF5 = (".h5", ".hdf5")
_LEAST = 2  # modalities
_NOTHING = np.zeros((0, 0))  # of a sample that lacks a modality


def save_dataset(
    path: str | Path,
    *,
    train: Mapping[str, Any],
    valid: Mapping[str, Any],
    test: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write a data file that the benchmark reads.

    Parameters
    ----------
    path : str or Path
        It ends in ``.npz`` or ``.h5``.
    train, valid, test : mapping
        Each holds

        - two or all of ``language``, ``audio`` and ``vision``: an array (N, T, d), an array (N, d) of one vector a
          sample, or a list of N arrays (T_i, d), which are padded, and whose lengths are written; where a sample lacks
          the modality, T_i is 0, or None stands in the place of the array;
        - ``labels``: N numbers, N texts, or N rows of marks;
        - ``ids``: N texts, each once, which masks depend on; may be left out;
        - ``language_lengths`` and so on: how many of the T frames are real, where the array does not tell it by zeros.
    overwrite : bool
        Whether another file may be replaced that is there. One that holds the same is left as it is.

    Returns
    -------
    Path
        That was written.

    Raises
    ------
    BenchmarkError
        If something does not fit, or the file is there and differs: one line that says what is wrong.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in (".npz", *_HDF5):
        raise BenchmarkError(f"{path}: the name of a data file must end in .npz or .h5; give it another one")
    splits = {name: _checked(split, name) for name, split in (("train", train), ("valid", valid), ("test", test))}
    _check_alike(splits)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            (_write_hdf5 if path.suffix.lower() in _HDF5 else _write_npz)(unfinished, splits)
            flush(unfinished)
            same = path.is_file() and filecmp.cmp(path, unfinished, shallow=False)
            if path.exists() and not overwrite and not same:
                raise BenchmarkError(f"{path} is there and holds other data; give another name, or overwrite=True")
            if not same:
                unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise BenchmarkError(f"cannot write {path}: {error.strerror or one_line(str(error))}") from error
    return path


def _checked(split: Mapping[str, Any], name: str) -> dict[str, NDArray[np.generic]]:
    """A split as it is written."""
    if not isinstance(split, Mapping):
        raise BenchmarkError(f"{name} is a {type(split).__name__}; give a dict with language, labels and so on")
    for key in split:
        if key not in _KEYS:
            raise BenchmarkError(f"{name}: {unknown('key', one_line(str(key)), _KEYS)}")
    if len([key for key in _MODALITIES if key in split]) < _LEAST:
        raise BenchmarkError(f"{name} has fewer than two of {', '.join(_MODALITIES)}; give two or all")
    if "labels" not in split:
        raise BenchmarkError(f"{name} lacks labels; give one a sample")
    found: dict[str, NDArray[np.generic]] = {}
    for key in _MODALITIES:
        if key in split:
            found |= _features(split[key], split.get(f"{key}_lengths"), key, name)
    labels = found["labels"] = as_labels(_plain(split["labels"]), f"{name}, labels")
    if (
        labels.dtype.kind == "f"
        and labels.size
        and not (finite := np.isfinite(labels).reshape(len(labels), -1).all(1)).all()
    ):
        raise BenchmarkError(f"{name}, labels: row {int(finite.argmin())} is NaN or infinite; leave such samples out")
    if split.get("ids") is not None:
        ids = as_ids(_plain(split["ids"]), f"{name}, ids") or []
        twice = next((i for i in ids if ids.count(i) > 1), None) if len(set(ids)) < len(ids) else None
        if twice is not None:
            raise BenchmarkError(f"{name}, ids: {one_line(repr(twice))} stands there twice; give each sample its own")
        found["ids"] = np.array(ids, dtype=np.str_)
    counts = {key: len(array) for key, array in found.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counts.items())
        raise BenchmarkError(f"{name} has differing sample counts: {told}; give the same samples everywhere")
    if counts["labels"] == 0:
        raise BenchmarkError(f"{name} is empty; give samples")
    return found


def _features(value: Any, lengths: Any, key: str, name: str) -> dict[str, NDArray[np.generic]]:
    """Features of a modality, and their lengths if they are told."""
    where = f"{name}, {key}"
    value = _plain(value)
    rows = [_NOTHING if row is None else _plain(row) for row in value] if isinstance(value, list | tuple) else []
    if rows and all(isinstance(row, np.ndarray) and row.ndim == 2 for row in rows):
        if lengths is not None:
            raise BenchmarkError(f"{where}: a list of arrays tells the lengths itself; leave {key}_lengths out")
        return _padded(rows, key, where)
    x = as_numbers(rows or value, where)
    if x.ndim not in (2, 3) or 0 in x.shape[1:]:
        raise BenchmarkError(
            f"{where}: shape {x.shape} where (samples, frames, features) or (samples, features) is expected; reshape "
            "it, or give a list of arrays (frames, features)"
        )
    found = {key: _narrow(x)}
    if lengths is not None:
        told = as_numbers(_plain(lengths), f"{where}_lengths").reshape(-1)
        most = x.shape[1] if x.ndim == 3 else 1
        if told.dtype.kind not in "iu" or not np.isin(told, np.arange(most + 1)).all():
            raise BenchmarkError(f"{where}_lengths: give whole numbers from 0 to {most}")
        found[f"{key}_lengths"] = told.astype(np.int64)
    return found


def _padded(rows: list[NDArray[np.generic]], key: str, where: str) -> dict[str, NDArray[np.generic]]:
    """Arrays (T_i, d) → (N, T, d) with zeros behind, and T_i."""
    arrays = [as_numbers(row, f"{where}, row {place}") for place, row in enumerate(rows)]
    lengths = np.array([len(x) for x in arrays], dtype=np.int64)
    there = {place: x for place, x in enumerate(arrays) if len(x)}
    widths = {x.shape[1]: place for place, x in reversed(there.items())}
    if len(widths) > 1:
        told = ", ".join(f"{width} in row {place}" for width, place in sorted(widths.items()))
        raise BenchmarkError(f"{where}: differing numbers of features: {told}; give all samples the same")
    shape = (len(arrays), max(1, int(lengths.max())), max(1, *widths, 0))
    padded = np.zeros(shape, dtype=np.result_type(*there.values()) if there else np.float32)
    for place, x in there.items():
        padded[place, : len(x)] = x
    return {key: _narrow(padded), f"{key}_lengths": lengths}


def _narrow(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """Floating-point numbers as the benchmark computes with them; others as they are."""
    with np.errstate(over="ignore"):  # which reading the file tells
        return np.ascontiguousarray(x.astype(np.float32) if x.dtype.kind == "f" else x)


def _plain(value: Any) -> Any:
    """A list, tuple or array; what can become an array, such as a tensor or a column of a table, does."""
    if isinstance(value, np.ndarray | list | tuple) or not hasattr(value, "__array__"):
        return value
    return np.asarray(value)


def _check_alike(splits: Mapping[str, Mapping[str, NDArray[np.generic]]]) -> None:
    """All splits must have the same modalities, equally wide, and labels of one kind."""
    for key in (*_MODALITIES, "labels"):
        kinds = {name: _kind(split.get(key)) for name, split in splits.items()}
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{kind} in {name}" for name, kind in kinds.items())
            raise BenchmarkError(f"{key} differ by split: {told}; give all splits the same")


def _kind(array: NDArray[np.generic] | None) -> str:
    if array is None:
        return "none"
    kind = "texts" if array.dtype.kind == "U" else "numbers"
    return f"{array.shape[-1]} {kind}" if array.ndim > 1 else kind


def _write_npz(path: Path, splits: Mapping[str, Mapping[str, NDArray[np.generic]]]) -> None:
    """As numpy.savez, but to any name; the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, split in splits.items():
            for key, array in split.items():
                with archive.open(zipfile.ZipInfo(f"{name}/{key}.npy"), "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def _write_hdf5(path: Path, splits: Mapping[str, Mapping[str, NDArray[np.generic]]]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, split in splits.items():
            for key, array in split.items():
                is_text = array.dtype.kind == "U"
                data = array.astype(object) if is_text else array
                file.create_dataset(f"{name}/{key}", data=data, dtype=h5py.string_dtype() if is_text else None)
