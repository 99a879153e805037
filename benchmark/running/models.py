"""Trained models, read back from the cells that hold them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from benchmark.errors import BenchmarkError, unknown
from benchmark.methods.loading import digest_as_loaded, load
from benchmark.methods.registry import Entry
from benchmark.methods.weights import unpack_weights
from benchmark.protocol.method import Method, TaskSpec
from benchmark.protocol.target import Target
from benchmark.running.store import DONE, Store


def load_model(cell: Path, entries: Mapping[str, Entry]) -> Method:
    """The trained model of a cell, given by its folder, in evaluation mode on the CPU.

    Raises
    ------
    BenchmarkError
        If the cell is not done, or its method is not among `entries`.
    """
    place = cell.resolve()
    store, key = Store(place.parent.parent), place.name
    record = store.read(key) if place.parent.name == "cells" else None
    if record is None or record["state"] != DONE:
        raise BenchmarkError(f"{cell} is no folder of a done cell; name one, such as results/quick/cells/<key>")
    if record["method"] not in entries:
        raise BenchmarkError(unknown("method", record["method"], entries) + "; name its file as a plug-in")
    data, entry = record["data"], entries[record["method"]]
    if "feature_dims" not in data:
        raise BenchmarkError(f"{cell} was made by an earlier version, which did not store the sizes; compute it again")
    target = Target.of_record(data)
    spec = TaskSpec(
        record["task"]["name"],
        len(target.categories),
        data["feature_dims"],
        data["max_frames"],
        kind=target.kind,
        span=target.span,
        bins=target.bins,
    )
    cls = load(entry)
    if digest_as_loaded(entry) != record["source"]:
        warnings.warn(f"the code of {entry.name} has changed since {key} was trained", stacklevel=3)
    weights = store.weights(key)
    try:
        model = cls(spec, **record["hyperparameters"])
        unpack_weights(model, weights)
    except (RuntimeError, TypeError) as error:  # other weights, other hyper-parameters
        raise BenchmarkError(
            f"the weights of {cell} do not fit {entry.name} as it is now; compute the cell again"
        ) from error
    return model.eval()
