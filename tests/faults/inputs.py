"""Damaged and hostile files: each is read as a valid one or refused in one line, and none runs code.

A row of the table is one way to damage one kind of file. What was read is checked, too: a data set that comes out of a
damaged file has finite features, unique ids, lengths within its frames. All damage is drawn from fixed seeds.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.data_files import mult_content
from tests.faults import Trial, damage, hostile, originals, readers
from tests.faults.memory import memory_trial
from tests.faults.watch import Row, warmed


def trials(work: Path, scale: float = 1.0) -> Iterator[Trial]:
    """Each kind of damage; at scale 1 more than 10,000 inputs in all.

    Parameters
    ----------
    work : Path
        An existing folder to write into; what got through is kept there.
    scale : float
        How many inputs, as a share.
    """
    yield from pickle_trials(work, scale)
    yield from neutral_trials(work, scale)
    yield memory_trial(work, scale)
    yield from text_trials(work, scale)
    yield from stored_trials(work, scale)


def _times(number: int, scale: float) -> range:
    return range(max(3, round(number * scale)))


def pickle_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Data files of every layout in protocols 2 to 5, and pickles made by hand."""
    files = originals.data_files()
    whole = Row("data files in order, of every layout and protocol", work, ".pkl", readers.read_data)
    for content in files:
        warmed(whole, content).put(content)
    assert not whole._said, whole._said
    yield whole.trial()

    def another(content: bytes, rng: np.random.Generator) -> bytes:
        return damage.spliced(content, files[int(rng.integers(len(files)))], rng)

    kinds: list[tuple[str, int, Callable[[bytes, np.random.Generator], bytes]]] = [
        ("one to five bytes changed", 1200, damage.flipped),
        ("cut off somewhere", 600, damage.truncated),
        ("up to eight bytes put in", 800, damage.inserted),
        ("up to eight bytes taken out", 800, damage.removed),
        ("begun as one file and ended as another", 600, another),
    ]
    for seed, (fault, number, change) in enumerate(kinds):
        row, rng = Row(f"data files, {fault}", work, ".pkl", readers.read_data), np.random.default_rng(seed)
        for i in _times(number, scale):
            row.put(change(files[i % len(files)], rng))
        yield row.trial()
    row = Row("data files, instructions replaced or exchanged", work, ".pkl", readers.read_data)
    rng = np.random.default_rng(10)
    starts = [damage.instruction_starts(content) for content in files]
    for i in _times(1000, scale):
        row.put(damage.swapped(files[i % len(files)], starts[i % len(files)], rng))
    yield row.trial()
    row = Row("data files with other values, shapes, types and keys", work, ".pkl", readers.read_data)
    damage.drawn(damage.damaged_contents(), len(_times(2000, scale)), row.put)
    yield row.trial()
    row = Row("tuples of dialogues with other values, places and names", work, ".pkl", readers.read_data)
    damage.drawn(damage.damaged_dialogues(), len(_times(1000, scale)), row.put)
    yield row.trial()
    row, rng = Row("pickles of instructions in any order", work, ".pkl", readers.read_pickle), np.random.default_rng(11)
    with hostile.extensions(os.system):
        for _ in _times(1500, scale):
            row.put(damage.program(rng))
        yield row.trial()
        row = Row("pickles that name or call what runs code", work, ".pkl", readers.read_refused)
        every = list(hostile.dangerous_pickles())
        for content in every[:: max(1, round(4 / scale))]:
            row.put(content)
        yield row.trial()
        row = Row("every known way round an unpickler", work, ".pkl", readers.read_refused)
        for content, _ in hostile.WAYS.values():
            row.put(content)
        yield row.trial()
    row = Row("archives under the name of a data file", work, ".pkl", readers.read_archive)
    for content in archives():
        row.put(content)
    yield row.trial()


def neutral_trials(work: Path, scale: float) -> Iterator[Trial]:
    """The neutral layout, as ``.npz`` and as HDF5."""
    files = originals.npz_files(work)
    row = warmed(
        Row("data files in .npz, bytes changed, put in or taken out, or cut off", work, ".npz", readers.read_data),
        files[0],
    )
    rng = np.random.default_rng(60)
    for i in _times(1500, scale):
        row.put(damage.mixed(files[i % len(files)], rng))
    yield row.trial()
    row = Row("data files in .npz with other values, shapes, types and keys", work, ".npz", readers.read_data)
    damage.drawn(damage.damaged_archives(), len(_times(600, scale)), row.put)
    yield row.trial()
    files = originals.hdf5_files(work)
    row = Row("data files in HDF5, up to five bytes changed, or cut off", work, ".h5", readers.read_damaged_hdf5)
    row = warmed(row, files[0])
    for i in _times(200, scale):
        row.put(damage.rewritten(files[i % len(files)], rng))
    yield row.trial()


def archives() -> list[bytes]:
    """Archives that would write a file, as each of the usual tools makes them."""
    found = []
    for kind in ("w", "w:gz", "w:bz2", "w:xz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=kind) as tar:
            for name in ("../escaped", "/tmp/escaped", "inside"):
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../escaped", "x")
        archive.writestr("data.pkl", pickle.dumps(mult_content()))
    return [*found, buffer.getvalue(), gzip.compress(pickle.dumps(mult_content())), _npz()]


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def text_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Grid files, cards, manifests and tables of scores."""
    first = "name: x\n"
    (work / "cards").mkdir(exist_ok=True)
    kinds = [
        ("grid files", work, ".yaml", readers.read_grid, originals.grid_files(), 700),
        ("cards", work / "cards", ".yaml", readers.read_card, originals.cards(), 500),
        ("manifests", work, ".json", readers.read_stored_manifest, [originals.stored_manifest()], 600),
        ("tables of scores", work, ".csv", readers.read_stored_scores, [originals.stored_scores()], 600),
    ]
    for seed, (what, folder, suffix, read, files, number) in enumerate(kinds):
        rng = np.random.default_rng(20 + seed)
        row = warmed(Row(f"{what}, bytes changed, put in or taken out, or cut off", folder, suffix, read), files[0])
        for i in _times(number // 2, scale):
            row.put(damage.mixed(files[i % len(files)], rng))
        yield row.trial()
        row = Row(f"{what}, words and lines replaced by others", folder, suffix, read)
        for i in _times(number, scale):
            row.put(damage.reworded(files[i % len(files)].decode(errors="replace"), rng))
        yield row.trial()
    yield from evidence_trials(work / "evidence", scale)
    for what, folder, read in (("grid files", work, readers.read_grid), ("cards", work / "cards", readers.read_card)):
        row = Row(f"{what} that would become large or deep", folder, ".yaml", read)
        for content in damage.text_bombs(first)[:: 1 if scale >= 0.1 else 3]:
            row.put(content)
        yield row.trial()


def evidence_trials(folder: Path, scale: float) -> Iterator[Trial]:
    """Intervals and comparisons that belong to stored scores."""
    folder.mkdir(exist_ok=True)
    for name, text in zip(("scores", "intervals", "comparisons"), originals.evidence_files(), strict=True):
        (folder / f"{name}.csv").write_text(text)
    for seed, name in enumerate(("intervals", "comparisons")):
        good, rng = (folder / f"{name}.csv").read_bytes(), np.random.default_rng(40 + seed)
        fault = f"{name}.csv, bytes changed, put in or taken out, words and lines replaced"
        row = Row(fault, folder, "", readers.read_stored_evidence)
        row.path = folder / f"{name}.csv"
        row = warmed(row, good)
        for i in _times(300, scale):
            row.put(damage.mixed(good, rng) if i % 3 == 0 else damage.reworded(good.decode(), rng))
        row.path.write_bytes(good)
        yield row.trial()


def stored_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Every file of a stored cell: its record, predictions, epochs and weights."""
    folder = work / "cells" / "key"
    folder.mkdir(parents=True, exist_ok=True)
    originals.write_cell(folder)
    readers.read_stored(folder / "cell.json")
    for seed, name in enumerate(("cell.json", "predictions.npz", "history.jsonl", "model.safetensors")):
        row = Row(f"{name} of a stored cell, damaged", folder, "", readers.read_stored)
        rng = np.random.default_rng(30 + seed)
        row.path = folder / name
        good = row.path.read_bytes()
        for _ in _times(300, scale):
            row.put(damage.mixed(good, rng))
        row.path.write_bytes(good)
        yield row.trial()
