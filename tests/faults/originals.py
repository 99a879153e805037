"""Files in order, of every kind; they are damaged afterwards."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from torch import nn

from benchmark.names import GRIDS
from benchmark.protocol.missing import Setting
from benchmark.running.store import Predictions, write_predictions, write_record
from tests.data_files import dialogue_content, mmsa_content, mult_content, neutral_content, write_hdf5, write_npz

CONTENTS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "MulT aligned": (lambda: mult_content(), "mosi"),
    "MulT unaligned": (lambda: mult_content(aligned=False), "mosi"),
    "MulT aligned, emotions": (lambda: mult_content("iemocap"), "iemocap"),
    "MulT unaligned, emotions": (lambda: mult_content("iemocap", aligned=False), "iemocap"),
    "MMSA aligned": (lambda: mmsa_content(aligned=True), "mosi"),
    "MMSA unaligned": (lambda: mmsa_content(), "mosi"),
}
PROTOCOLS = (2, 3, 4, 5)


def data_files() -> list[bytes]:
    """A small pickle of each layout in each protocol."""
    contents = [*(make() for make, _ in CONTENTS.values()), dialogue_content()]
    return [pickle.dumps(content, protocol) for content in contents for protocol in PROTOCOLS]


def npz_files(folder: Path) -> list[bytes]:
    """The neutral layout as ``.npz``, plain and compressed."""
    every = (np.savez, np.savez_compressed)
    return [write_npz(folder / "good.npz", neutral_content(), save).read_bytes() for save in every]


def hdf5_files(folder: Path) -> list[bytes]:
    """The neutral layout as HDF5, plain and compressed."""
    options: list[dict[str, Any]] = [{}, {"compression": "gzip", "shuffle": True, "fletcher32": True}]
    return [write_hdf5(folder / "good.h5", neutral_content(), **own).read_bytes() for own in options]


def grid_files() -> list[bytes]:
    """The grid files that come with the benchmark."""
    return [path.read_bytes() for path in sorted(GRIDS.glob("*.yaml"))]


def cards() -> list[bytes]:
    """The beginnings of the cards that come with it, up to a key."""
    every = [path.read_bytes() for path in sorted(GRIDS.parent.parent.glob("*/cards/*.yaml"))]
    return [found[0] for card in every if (found := re.match(rb".{1,3000}\n(?=\w)", card, flags=re.DOTALL))]


def stored_manifest() -> bytes:
    """A small ``manifest.json``."""
    manifest = {
        "command": "python run_benchmark.py", "grid": "quick", "selection": "loss", "against": None,
        "methods": [{"label": "mult", "description": "MulT"}], "versions": [{"torch": "2"}], "machine": {"cores": 2},
        "git_commit": "0", "tasks": [{"name": "mosi", "samples": {"test": 3}}], "started": "", "finished": "",
        "superseded": 0, "failed": 0, "cells": [{"method": "mult", "task": "mosi", "seconds": 1.5, "seed": 0}],
    }  # fmt: skip
    return json.dumps(manifest, indent=1).encode()


def stored_scores() -> bytes:
    """A small ``scores.csv``."""
    scores = "task,source,method,seed,kind,available,ratio,draw,metric,value,n,key\n" + "".join(
        f"mosi,simulated,mult,{seed},intra,lav,0.{seed},0,f1,25.1457{seed},383,21e057e0e53f\n" for seed in range(5)
    )
    return scores.encode()


def evidence_files() -> tuple[str, str, str]:
    """Two methods' scores at two ratios, with intervals and comparisons, as csv."""
    where, ratios = "mosi,simulated,f1", {"{l,a,v}": 0.0, "p=0.5": 0.5}
    scores = "task,source,metric,method,seed,kind,available,ratio,draw,value,n,key\n" + "".join(
        f"{where},{method},{seed},intra,lav,{ratio},0,6{seed}.5,383,key\n"
        for method in ("corrkd", "mult") for seed in range(2) for ratio in ratios.values()
    )  # fmt: skip
    intervals = "task,source,metric,method,condition,kind,available,ratio,mean,std,seeds,low,high,n\n" + "".join(
        f'{where},{method},"{name}",{setting},61.0,1.5,2,50.5,70.5,383\n'
        for method in ("corrkd", "mult")
        for name, setting in [(n, f"intra,lav,{ratio}") for n, ratio in ratios.items()] + [("AUDC", "derived,,")]
    )
    comparisons = (
        "task,source,metric,method,condition,purpose,against,difference,low,high,p,p_holm,family\n" + "".join(
            f'{where},mult,"{name}",reference,corrkd,-1.5,-7.25,4.5,0.04,0.04,1\n' for name in (*ratios, "AUDC")
        )
    )  # fmt: skip
    return scores, intervals, comparisons


def write_cell(folder: Path) -> None:
    """A stored cell."""
    rng = np.random.default_rng(3)
    settings = tuple((Setting("lav", ratio), 0) for ratio in (0.0, 0.5, 1.0))
    ids = np.array([f"video$_${row}" for row in range(12)])
    write_predictions(folder, Predictions(ids, np.linspace(-3, 3, 12), settings, rng.random((3, 12, 2), np.float32)))
    (folder / "history.jsonl").write_text('{"epoch": 1, "valid_loss": 0.5}\n', encoding="utf-8")
    save_file(nn.Linear(8, 4).state_dict(), folder / "model.safetensors")
    write_record(folder, {"key": "key", "state": "done", "number": 1, "text": "words"})
