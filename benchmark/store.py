"""Cells on disk.

A cell is written into a side folder and renamed when it is whole, so a killed run leaves no half cell. Nothing that is
done is ever deleted: a cell computed anew moves the old one to ``replaced/``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.missing import Setting

DONE, FAILED = "done", "failed"
WEEK = 7 * 24 * 3600.0


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
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.generic]
    settings: tuple[tuple[Setting, int], ...]
    logits: NDArray[np.float32]


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
    owner : str, optional
        In whose name cells are written here, where a process id would tell nothing: by workers on other machines.
        Starts with ``@``, as no host does. None: this process.
    """

    def __init__(self, out: Path, owner: str | None = None) -> None:
        self.out = out
        self.owner = owner
        self.cells = out / "cells"

    def path(self, key: str) -> Path:
        """The folder of a cell."""
        return self.cells / key

    def stored_keys(self) -> list[str]:
        """The keys of all cells, done or failed."""
        if not self.cells.is_dir():
            return []
        return sorted(
            entry.name for entry in os.scandir(self.cells) if entry.is_dir() and not entry.name.startswith(".")
        )

    def read(self, key: str) -> dict[str, Any] | None:
        """``cell.json`` of a cell, or None where there is no such cell.

        Raises
        ------
        BenchmarkError
            If the file is damaged.
        """
        path = f"{self.cells}/{key}/cell.json"
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - of thousands of cells, paths would take half the time
                record = json.loads(file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise BenchmarkError(
                f"{path} is damaged ({error}); move its folder away to compute the cell again"
            ) from error
        if not isinstance(record, dict):
            raise BenchmarkError(f"{path} is damaged; move its folder away to compute the cell again")
        return record

    def predictions(self, key: str) -> Predictions:
        """The stored predictions of a done cell.

        Raises
        ------
        BenchmarkError
            If they are damaged.
        """
        path = self.path(key) / "predictions.npz"
        try:
            with np.load(path, allow_pickle=False) as archive:
                return Predictions(
                    ids=archive["ids"],
                    labels=archive["labels"],
                    settings=_parse_settings(tuple(map(str, archive["settings"]))),
                    logits=archive["logits"],
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BenchmarkError(
                f"{path} is damaged ({error}); move its folder away to compute the cell again"
            ) from error

    def representations(self, key: str) -> Representations | None:
        """The stored representations of a done cell; None for a method that has none.

        Raises
        ------
        BenchmarkError
            If they are damaged.
        """
        path = self.path(key) / "representations.npz"
        try:
            with np.load(path, allow_pickle=False) as archive:
                return Representations(archive["ids"], archive["labels"], str(archive["setting"]), archive["values"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BenchmarkError(
                f"{path} is damaged ({error}); move its folder away to compute the cell again"
            ) from error

    def history(self, key: str) -> list[dict[str, Any]]:
        """The records of a cell's epochs; empty for a method that has none."""
        return _lines(self.path(key) / "history.jsonl")

    def stamp(self, key: str) -> str:
        """Tells a stored cell from one that takes its place; empty where there is none."""
        try:
            status = (self.path(key) / "cell.json").stat()
        except FileNotFoundError:
            return ""
        return f"{status.st_ino}-{status.st_mtime_ns}"

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
        side = self.cells / f".{key}.{self.owner or _this_process()}.{uuid.uuid4().hex[:8]}"
        side.mkdir(parents=True)
        try:
            yield side
            if self.stamp(key) != before and (self.read(key) or {}).get("state") == DONE:
                return
            for file in side.iterdir():
                _flush(file)
            self.set_aside(key)
            side.rename(self.path(key))
            _flush(self.cells)
        finally:
            shutil.rmtree(side, ignore_errors=True)

    def set_aside(self, key: str) -> None:
        """Make room for a cell: a done one moves to ``replaced/``, a failed one is dropped."""
        old = self.path(key)
        if not old.exists():
            return
        record = self.read(key)
        if record is not None and record.get("state") == FAILED:
            shutil.rmtree(old)
            return
        replaced = self.out / "replaced"
        replaced.mkdir(exist_ok=True)
        old.rename(replaced / f"{key}.{time.strftime('%Y%m%dT%H%M%S')}.{uuid.uuid4().hex[:4]}")

    def running(self) -> list[tuple[str, dict[str, Any]]]:
        """The cells that are being written now: key and the last epoch's record (empty before the first)."""
        found = []
        for side in self._sides():
            lines = _lines(side / "history.jsonl")
            found.append((side.name.split(".")[1], lines[-1] if lines else {}))
        return found

    def remove_leftovers(self) -> list[str]:
        """Delete side folders of this machine's dead processes; returns their keys.

        Whether another machine's process lives cannot be told from here: its folders go when nothing was written into
        them for a week.
        """
        keys = []
        for side in self._sides():
            _, key, *host, pid, _ = side.name.split(".")
            here = ".".join(host) == socket.gethostname()
            if not _alive(int(pid)) if here else time.time() - _last_written(side) > WEEK:
                shutil.rmtree(side, ignore_errors=True)
                keys.append(key)
        return keys

    def remove_attempts(self, key: str) -> None:
        """Delete what this owner's attempts at a cell that has ended have left, wherever their workers were lost."""
        for side in self._sides():
            if side.name.startswith(f".{key}.{self.owner or _this_process()}."):
                shutil.rmtree(side, ignore_errors=True)

    def _sides(self) -> list[Path]:
        if not self.cells.is_dir():
            return []
        return sorted(Path(e.path) for e in os.scandir(self.cells) if e.name.startswith(".") and e.name.count(".") >= 4)


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write ``predictions.npz`` into a cell's side folder."""
    np.savez_compressed(
        folder / "predictions.npz",
        ids=predictions.ids,
        labels=predictions.labels,
        settings=np.array([setting_name(*s) for s in predictions.settings]),
        logits=predictions.logits,
    )


def write_representations(folder: Path, representations: Representations) -> None:
    """Write ``representations.npz`` into a cell's side folder."""
    np.savez_compressed(folder / "representations.npz", **asdict(representations))


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Readable JSON with a stable order of keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1]]  # what stands behind the last newline is half written


def _this_process() -> str:
    return f"{socket.gethostname()}.{os.getpid()}"


def _last_written(side: Path) -> float:
    try:
        return max(path.stat().st_mtime for path in (side, *side.iterdir()))
    except FileNotFoundError:  # it has just ended
        return time.time()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a process that has ended stays in the table until its parent asks for it
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:  # no Linux
        return True
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
