"""Cells on disk.

A cell is written into a side folder, flushed to the disk and renamed when it is whole, so a killed run leaves no half
cell. Who works on a cell holds its lock, so several runs, also on machines that share the folder, divide the cells
between them. ``cell.json`` holds checksums: what is damaged is told, and never read. Nothing that is done is ever
deleted: a cell computed anew moves the old one to ``replaced/``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.files.atomic import flush, json_line, json_text, plain
from benchmark.files.locks import keeps_locks, locked
from benchmark.protocol.missing import Setting
from benchmark.protocol.thresholds import Validation

DONE, FAILED = "done", "failed"
_WEEK = 7 * 24 * 3600.0
_LOCK = ".lock"


class Damaged(BenchmarkError):
    """A stored cell is not what was written."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        self.fault = f"{path} is damaged: {reason.partition(chr(10))[0]}"
        super().__init__(
            f"{self.fault}; the command that made it, given again, moves the cell to replaced/ and computes it anew"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Damaged, (self.path, self.reason)


@dataclass(frozen=True)
class Predictions:
    """The logits of one trained model on the test split.

    Parameters
    ----------
    ids : ndarray of str, shape (N,)
    labels : ndarray, shape (N,)
        As in the data.
    settings : tuple of S (Setting, draw)
    logits : float32 ndarray, shape (S, N, K)
    validation : Validation, optional
        What the model says of the validation split in the same settings; None in cells of before version 0.2.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.generic]
    settings: tuple[tuple[Setting, int], ...]
    logits: NDArray[np.float32]
    validation: Validation | None = None

    def with_more(self, more: Predictions) -> Predictions:
        """These, and those of the same model in further settings."""
        known = self.validation
        if known is not None and more.validation is not None:
            known = Validation(known.labels, np.concatenate([known.logits, more.validation.logits]))
        logits = np.concatenate([self.logits, more.logits])
        return Predictions(self.ids, self.labels, self.settings + more.settings, logits, known)


@dataclass(frozen=True)
class Representations:
    """Joint representations of M test samples.

    Parameters
    ----------
    ids : ndarray of str, shape (M,)
    labels : ndarray, shape (M,)
        As in the data.
    setting : str
        As from :func:`setting_name`.
    values : ndarray of float32, shape (M, D)
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.generic]
    setting: str
    values: NDArray[np.float32]


def setting_name(setting: Setting, draw: int) -> str:
    """``lav@0.3#0``."""
    return f"{setting}#{draw}"


@lru_cache(maxsize=64)
def _parse_settings(names: tuple[str, ...]) -> tuple[tuple[Setting, int], ...]:
    """The inverse of :func:`setting_name`; the cells of a grid share one result."""
    parts = (name.rsplit("#", 1) for name in names)
    return tuple((Setting.parse(setting), int(draw)) for setting, draw in parts)


class Store:
    """The cells under an output folder.

    Parameters
    ----------
    out : Path
        Created on first write.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.cells = out / "cells"
        self._sums: dict[str, dict[str, str]] = {}  # of the files of the cells read, by key

    def path(self, key: str) -> Path:
        """The folder of a cell."""
        return self.cells / key

    def stored_keys(self) -> list[str]:
        """The keys of all cells, done or failed."""
        if not self.cells.is_dir():
            return []
        return sorted(e.name for e in os.scandir(self.cells) if not e.name.startswith(".") and _is_folder(e))

    def read(self, key: str) -> dict[str, Any] | None:
        """``cell.json`` of a cell, or None where there is no such cell.

        Raises
        ------
        Damaged
            If the file is not as it was written.
        BenchmarkError
            If it cannot be read.
        """
        record = self._read(f"{self.cells}/{key}/cell.json", key)
        if record is not None:
            self.recall(record)
        return record

    def _read(self, path: str, key: str) -> dict[str, Any] | None:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - of thousands of cells, paths would take half the time
                record = json.loads(file.read())
        except FileNotFoundError:
            return None
        except (NotADirectoryError, ValueError, RecursionError) as error:
            raise Damaged(path, str(error)) from error
        except OSError as error:
            raise BenchmarkError(f"cannot read {path}: {error.strerror}; make it readable") from error
        if not isinstance(record, dict) or record.get("checksum") != _checksum(record):
            raise Damaged(path, "it is not what its checksum says")
        if record.get("key") != key:
            raise Damaged(path, f"it belongs to cell {record.get('key')!r}")
        return record

    def recall(self, record: Mapping[str, Any]) -> None:
        """Know a cell by what :meth:`read` gave elsewhere, such as in another process."""
        self._sums[record["key"]] = record["files"]

    def verify(self, key: str) -> None:
        """Compare all files of a cell with their checksums.

        Raises
        ------
        Damaged
            If one is not as it was written; names it.
        """
        if self.read(key) is not None:
            for name in self._sums[key]:
                self._content(key, name)

    def damaged(self, keys: Iterable[str]) -> dict[str, str]:
        """Which of some cells are not as they were written, and what is wrong with each."""
        faults = {}
        for key in keys:
            try:
                self.verify(key)
            except Damaged as damage:
                faults[key] = damage.fault
        return faults

    def _content(self, key: str, name: str) -> bytes | None:
        """A file of a cell; None where the cell has no such file."""
        if key not in self._sums and self.read(key) is None:
            return None
        path = self.path(key) / name
        for last in (False, True):
            expected = self._sums[key].get(name)
            if expected is None:
                return None
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                content = None
            except OSError as error:
                raise BenchmarkError(f"cannot read {path}: {error.strerror}; make it readable") from error
            if content is not None and hashlib.sha256(content).hexdigest() == expected:
                return content
            if not last:  # another run may have put a new cell in its place
                self.read(key)
        raise Damaged(str(path), "it is missing" if content is None else "it is not what its checksum says")

    def arrays(self, key: str, name: str) -> dict[str, NDArray[Any]] | None:
        """The arrays of a file of a cell; None where it has no such file. Raises Damaged."""
        content = self._content(key, name)
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return dict(archive)
        except Exception as error:  # written so, since its checksum is right
            raise Damaged(str(self.path(key) / name), f"it holds no arrays ({error})") from error

    def predictions(self, key: str) -> Predictions:
        """The stored predictions of a done cell.

        Raises
        ------
        Damaged
            If they are not as they were written.
        """
        arrays = self.arrays(key, "predictions.npz")
        if arrays is None:
            raise Damaged(str(self.path(key)), "it has no predictions")
        settings = _parse_settings(tuple(map(str, arrays["settings"])))
        validation = None
        if "valid_logits" in arrays:
            validation = Validation(arrays["valid_labels"], arrays["valid_logits"])
        return Predictions(arrays["ids"], arrays["labels"], settings, arrays["logits"], validation)

    def representations(self, key: str) -> Representations | None:
        """The stored representations of a done cell; None for a method that has none.

        Raises
        ------
        Damaged
            If they are not as they were written.
        """
        arrays = self.arrays(key, "representations.npz")
        if arrays is None:
            return None
        return Representations(arrays["ids"], arrays["labels"], str(arrays["setting"]), arrays["values"])

    def history(self, key: str) -> list[dict[str, Any]]:
        """The records of a cell's epochs; empty for a method that has none."""
        return _lines(self._content(key, "history.jsonl") or b"")

    def weights(self, key: str) -> bytes:
        """The content of ``model.safetensors`` of a done cell.

        Raises
        ------
        Damaged
            If it is not as it was written.
        """
        content = self._content(key, "model.safetensors")
        if content is None:
            raise Damaged(str(self.path(key)), "it has no weights")
        return content

    def stamp(self, key: str) -> str:
        """Tells a stored cell from one that takes its place; empty where there is none."""
        try:
            status = (self.path(key) / "cell.json").stat()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return f"{status.st_ino}-{status.st_mtime_ns}"

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """The right to work on a cell while the block runs; False where another process has it.

        What a process that is gone has left of it is deleted, or renamed where it is whole and the cell is missing.

        Raises
        ------
        OSError
            If nothing can be written here.
        """
        self.cells.mkdir(parents=True, exist_ok=True)
        with locked(self.cells / f".{key}{_LOCK}") as mine:
            if mine and keeps_locks(self.cells):
                self._clear(key, self.cells.glob(f".{key}.*"))
            yield mine

    def _clear(self, key: str, sides: Iterable[Path]) -> None:
        for side in sides:
            if not self.path(key).exists() and self._is_whole(key, side):  # it was about to be renamed
                side.rename(self.path(key))
                flush(self.cells)
            shutil.rmtree(side, ignore_errors=True)  # but for the lock, which is no folder

    def _is_whole(self, key: str, side: Path) -> bool:
        """Whether a side folder holds a done cell, as it was written."""
        try:
            record = self._read(f"{side}/cell.json", key)
            return record is not None and record["state"] == DONE and record["files"] == _sums_of(side)
        except (BenchmarkError, OSError):
            return False

    @contextmanager
    def attempt(self, key: str, before: str | None = None) -> Iterator[Path]:
        """A side folder to write a cell into; it takes the cell's place when the block ends without an error.

        When another attempt has finished the cell in the meantime, it is left as it is and the side folder is dropped.

        Parameters
        ----------
        key : str
        before : str, optional
            The cell's `stamp` when the work on it began. None: it begins now.
        """
        before = self.stamp(key) if before is None else before
        side = self.cells / f".{key}.{uuid.uuid4().hex[:8]}"
        side.mkdir(parents=True)
        try:
            yield side.absolute()  # a method may leave the working directory
            if self.stamp(key) != before and (self.readable(key) or {}).get("state") == DONE:
                return
            for file in side.iterdir():
                flush(file)
            flush(side)
            self.set_aside(key)
            side.rename(self.path(key))
            flush(self.cells)
        finally:
            shutil.rmtree(side, ignore_errors=True)

    def readable(self, key: str) -> dict[str, Any] | None:
        """`read`, with None for a damaged cell too."""
        try:
            return self.read(key)
        except Damaged:
            return None

    def set_aside(self, key: str) -> None:
        """Make room for a cell: a done or damaged one moves to ``replaced/``, a failed one is dropped."""
        old = self.path(key)
        if not old.exists():
            return
        record = self.readable(key)
        if record is not None and record["state"] == FAILED:
            shutil.rmtree(old)
            return
        replaced = self.out / "replaced"
        replaced.mkdir(exist_ok=True)
        old.rename(replaced / f"{key}.{time.strftime('%Y%m%dT%H%M%S')}.{uuid.uuid4().hex[:4]}")

    def running(self) -> list[tuple[str, dict[str, Any]]]:
        """The cells that are being written now: key and the last epoch's record (empty before the first)."""
        found = []
        for side in self._begun():
            if side.suffix == _LOCK:
                continue
            try:
                lines = _lines((side / "history.jsonl").read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                lines = []
            found.append((_key_of(side), lines[-1] if lines else {}))
        return found

    def remove_leftovers(self) -> list[str]:
        """Clear away what processes that are gone have left of cells that they had begun, as `claim`; returns the keys.

        Whether a process is gone, here or on another machine, its lock tells. Where the file system keeps no locks,
        side folders go when nothing was written into them for a week.
        """
        begun: dict[str, list[Path]] = {}
        for path in self._begun():
            begun.setdefault(_key_of(path), []).append(path)
        keys = []
        for key, paths in begun.items():
            if not keeps_locks(self.cells) and time.time() - max(map(_last_written, paths)) < _WEEK:
                continue
            with self.claim(key) as mine:
                if mine:
                    self._clear(key, paths)
                    keys.append(key)
        return keys

    def _begun(self) -> list[Path]:
        """Side folders and locks."""
        if not self.cells.is_dir():
            return []
        return sorted(Path(e.path) for e in os.scandir(self.cells) if e.name.startswith(".") and e.name.count(".") > 1)


def lacking(stores: Sequence[Store], planned: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of some planned cells, each told by its `key`, that no store holds, neither done nor failed."""
    stored = {key for store in stores for key in store.stored_keys()}
    return list({cell["key"]: dict(cell) for cell in planned if cell["key"] not in stored}.values())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _key_of(path: Path) -> str:
    return path.name.split(".")[1]


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write ``cell.json``, the last file of a cell: `record`, and SHA-256 sums of it and of all other files.

    Parameters
    ----------
    folder : Path
    record : mapping
        With ``key`` and ``state``.
    """
    content = plain({**record, "files": _sums_of(folder)})
    text = json_text({**content, "checksum": _checksum(content)})
    (folder / "cell.json").write_text(text, encoding="utf-8")


def _sums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all files of a cell but ``cell.json``, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "cell.json"
    }


def _checksum(record: Mapping[str, Any]) -> str:
    """Of all of a record but its checksum."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def logged(side: Path, check: Callable[[], None] = lambda: None) -> Callable[[dict[str, Any]], None]:
    """What writes each epoch's record into a side folder, and then calls `check`."""
    (side / "history.jsonl").touch()  # empty where nothing is trained

    def on_epoch(record: dict[str, Any]) -> None:
        with (side / "history.jsonl").open("a", encoding="utf-8") as log:
            log.write(json_line(record))
        check()

    return on_epoch


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write ``predictions.npz`` into a cell's side folder."""
    arrays: dict[str, Any] = {}
    if predictions.validation is not None:
        arrays = {"valid_labels": predictions.validation.labels, "valid_logits": predictions.validation.logits}
    np.savez_compressed(
        folder / "predictions.npz",
        ids=predictions.ids,
        labels=predictions.labels,
        settings=np.array([setting_name(*s) for s in predictions.settings]),
        logits=predictions.logits,
        **arrays,
    )


def write_representations(folder: Path, representations: Representations) -> None:
    """Write ``representations.npz`` into a cell's side folder."""
    np.savez_compressed(folder / "representations.npz", **asdict(representations))


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.split(b"\n")[:-1]]  # behind the last newline it is half written


def _last_written(path: Path) -> float:
    try:
        return max(p.stat().st_mtime for p in (path, *path.glob("*")))
    except FileNotFoundError:  # it has just ended
        return time.time()
