"""Readers of every kind of file, with a look at what comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load as load_tensors
from torch import nn

from benchmark import methods
from benchmark.data.formats import read_dataset
from benchmark.data.inspection import inspect_file
from benchmark.data.pickles import load_pickle
from benchmark.data.task import known_tasks
from benchmark.errors import BenchmarkError
from benchmark.evidence.scores import read_scores
from benchmark.evidence.stored import read_evidence
from benchmark.files.manifest import read_manifest
from benchmark.protocol.missing import MODALITIES, Setting
from benchmark.report.comparisons import augmentation_table, interval_table, with_evidence
from benchmark.report.manifest import provenance
from benchmark.report.tables import build_tables
from benchmark.running.grid_file import load_grid
from benchmark.running.store import Store


def read_data(path: Path) -> None:
    """Both ways to read a data file must agree on whether it can be used, and as what."""
    try:
        report = inspect_file(path).text
    except BenchmarkError as told:
        try:
            read_dataset(path, known_tasks()["mosi"])
        except BenchmarkError as error:
            assert str(error) == str(told)
            raise
        raise AssertionError("--inspect refuses what can be read") from told
    fits = re.search(r"^fits: (.*)$", report, flags=re.M)
    fitting = fits[1].split(", ") if fits else []
    assert fits or "\nfits no task" in report
    for name in fitting[:1]:
        check_dataset(read_dataset(path, known_tasks()[name]))
    for task in [task for task in known_tasks().values() if task.name not in fitting][:1]:
        try:
            read_dataset(path, task)
        except BenchmarkError:
            if not fitting:
                raise
        else:
            raise AssertionError("--inspect says that it does not fit what it can be read as")


def read_damaged_hdf5(path: Path) -> None:
    """An HDF5 file, for which a process is started each time: read once."""
    check_dataset(read_dataset(path, known_tasks()["mosi"]))


def check_dataset(dataset: Any) -> None:
    """A valid task, as :class:`benchmark.data.dataset.Dataset` describes it."""
    for split in dataset.splits.values():
        ids = split.ids.tolist()
        assert len(ids) == len(set(ids)) == len(split.labels) > 0, "ids are not unique"
        "".join(ids).encode()
        for m in MODALITIES:
            x, lengths = split.features[m], split.lengths[m]
            assert x.dtype == np.float32 and x.ndim == 3 and len(x) == len(lengths) == len(ids) and x.size
            assert np.isfinite(x).all(), "features are not finite"
            assert ((lengths >= 0) & (lengths <= x.shape[1])).all() and not x[~split.frames(m)].any(), "padding"
        assert np.isfinite(split.labels).all()
        if dataset.target.kind == "category":
            assert ((split.labels >= 0) & (split.labels < len(dataset.target.categories))).all()
    assert all(line.isprintable() for line in dataset.warnings), "a warning is not one line"
    assert len({split.features[m].shape[2] for split in dataset.splits.values() for m in "l"}) == 1


def read_pickle(path: Path) -> None:
    """A pickle alone, whatever it holds."""
    check_plain(load_pickle(path))


def check_plain(value: Any) -> None:
    """Nothing but plain values."""
    assert type(value) in (dict, list, tuple, str, bytes, bool, int, float, type(None), np.ndarray), type(value)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, np.ndarray):
        assert value.dtype.kind in "biufSUO"
        value = value.ravel().tolist() if value.dtype == object else []
    for item in value if isinstance(value, list | tuple) else ():
        check_plain(item)


def read_refused(path: Path) -> None:
    """What must not be read at all."""
    load_pickle(path)
    raise AssertionError("it was read")


def read_archive(path: Path) -> None:
    """An archive under a data file's name, which nothing unpacks."""
    before = sorted(path.parent.iterdir())
    try:
        read_data(path)
    finally:
        assert sorted(path.parent.iterdir()) == before


def read_grid(path: Path) -> None:
    """A grid file, and the settings that it asks for."""
    _, grid = load_grid(str(path))
    assert grid.settings and grid.seeds >= 1
    ratios = np.concatenate([np.atleast_1d(ratio) for ratio in grid.ratios] or [[]])  # one, or one a modality
    assert ((ratios >= 0) & (ratios <= 1)).all()


def read_card(path: Path) -> None:
    """A plug-in's card, and what is made of it where methods are listed."""
    entry = methods.Entry(path.stem, "paper", "complete", path.parent.parent / "plugin.py")
    methods.groups({path.stem: entry})
    methods.by_year([methods.Row(path.stem, path.stem, "complete")], {path.stem: entry})


def read_stored_manifest(path: Path) -> None:
    """A manifest, and what the command line takes from it."""
    manifest = read_manifest(path)
    "\n".join(filter(None, [manifest.get("command"), manifest.get("grid"), manifest.get("against")]))
    assert np.isfinite(sum(cell["seconds"] for cell in manifest.get("cells", ())))
    "".join(row["label"] + row["description"] for row in manifest.get("methods", []))
    provenance(manifest, {}, [])


def read_stored_scores(path: Path) -> None:
    """Scores, as tables are made of them."""
    frame = read_scores(path)
    assert np.isfinite(frame["value"].to_numpy(dtype=float)).all()
    for kind, available, ratio in set(zip(frame["kind"], frame["available"], frame["ratio"], strict=True)):
        assert Setting(available, ratio) and kind


def read_stored_evidence(path: Path) -> None:
    """Intervals or comparisons, and the tables that show them."""
    scores = read_scores(path.parent / "scores.csv")
    evidence = read_evidence(path.parent, scores)
    for table in build_tables(scores, selection=""):
        with_evidence(table, evidence, "corrkd")
        interval_table(table, evidence, "corrkd")
        augmentation_table(table, evidence)


def read_stored(path: Path) -> None:
    """A cell of which one file is damaged: only what was written may be read."""
    store = Store(path.parents[2])
    record, predictions = store.read("key"), store.predictions("key")
    assert record is not None and record["number"] == 1 and predictions.logits.shape == (3, 12, 2)
    assert store.history("key") == [{"epoch": 1, "valid_loss": 0.5}]
    nn.Linear(8, 4).load_state_dict(load_tensors(store.weights("key")))
