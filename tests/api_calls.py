"""A small grid, calls of the API that say nothing, and what they leave behind."""

import json
from pathlib import Path

import benchmark
from benchmark.running.store import Store

SIZES = {"train": 40, "valid": 8, "test": 16}
GRID = {
    "description": "two floors",
    "methods": ["constant", "linear"],
    "tasks": ["mosi"],
    "seeds": 2,
    **{"ratios": [0.0, 0.5], "subsets": ["l", "lav"], "training": {"epochs": 1}, "simulator": SIZES},
    "against": "linear",
}
TINY = {"methods": ["constant"], "tasks": ["mosi"], "seeds": 1, "simulator": SIZES}


def quiet(line): ...


def keys(out):
    return set(Store(Path(out)).stored_keys())


def manifest(results):
    return json.loads((results.out / "manifest.json").read_text())


def in_order(scores):
    return scores.sort_values(["method", "seed", "kind", "available", "ratio", "metric"], ignore_index=True)


def run(grid=GRID, **arguments):
    return benchmark.run(grid, **{"jobs": 1, "say": quiet, **arguments})


def report(*folders, **arguments):
    return benchmark.report(*folders, say=quiet, **arguments)
