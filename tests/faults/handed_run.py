"""A run as somebody else could hand it over, cells, manifest, plug-in and card, and the report that is made of it."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import run_benchmark
from benchmark.files import yamlfiles
from benchmark.files.atomic import json_text
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.running.store import Predictions, setting_name, write_predictions, write_record

NAME, TEXT = "qqnameqq", "qqtextqq"


class Dumper(yaml.SafeDumper):
    """Puts in quotes what the reader would take for a number, such as ``1e5``."""

    yaml_implicit_resolvers = yamlfiles._Loader.yaml_implicit_resolvers


PLUGIN = '''
from benchmark import Method, register

@register("mine", paper={paper}, trains_on="complete")
class Mine(Method):
    """Mine."""
'''


def write_run(folder: Path, name: Any, text: str) -> Path:
    """A run of three rows with two seeds and a failed cell; returns its plug-in.

    Parameters
    ----------
    folder : Path
    name : str
        Of the second row, the task, a category, a stage and a variant's hyper-parameter; the first row's citation.
    text : str
        Origin, warning, error, traceback, versions, card, grid and command.
    """
    labels = np.arange(24) % 2
    settings = tuple((setting, 0) for setting in [*map(Setting, SUBSETS), Setting(ratio=0.5)])
    rows = [("mine", "mine", {}, 0), (name, "mine", {"width": name}, 1), ("mult", "mult", {}, 0)]
    for place, (label, method, variant, position) in enumerate(rows):
        for seed in (0, 1, 2) if place == 1 else (0, 1):
            failed = seed == 2
            rng = np.random.default_rng([place, seed])
            key = hashlib.sha256(f"{place} {seed}".encode()).hexdigest()[:24]
            record = {
                "key": key, "label": label, "method": method, "variant": variant, "position": position, "seed": seed,
                "task": {"name": name, "fingerprint": "f"}, "training": {"trains_on": "complete"},
                "state": "failed" if failed else "done", "started": "2026-01-01", "finished": "2026-01-02",
                "seconds": 1.0, "training_seconds": 1.0, "epochs": 2, "parameters": 3, "environment": {"torch": text},
                "git_commit": text, "settings": [setting_name(*setting) for setting in settings],
            }  # fmt: skip
            if failed:
                record |= {"error": text, "traceback": f"Traceback:\n{text}"}
            else:
                record["data"] = {
                    "source": "file", "origin": text, "warnings": [text], "kind": "emotion",
                    "categories": [name, "sad"], "samples": {"test": len(labels)},
                }  # fmt: skip
            cell = folder / "cells" / key
            cell.mkdir(parents=True)
            if not failed:
                logits = rng.normal(size=(len(settings), len(labels), 2)) + 1.5 * np.eye(2)[labels]
                ids = np.array([f"s{i}" for i in range(len(labels))])
                write_predictions(cell, Predictions(ids, labels, settings, logits.astype(np.float32)))
                epochs = [
                    {"stage": stage, "epoch": i, "train_loss": 1.0 / i, "valid_loss": 1.2 / i, "valid_f1": 50.0}
                    for stage in ("first", name)
                    for i in (1, 2, 3)
                ]
                (cell / "history.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
            write_record(cell, record)
    (folder / "manifest.json").write_text(json_text({"grid": text, "command": text}), encoding="utf-8")
    card = {
        "idea": text, "paper": text, "official_code": f"see {text}", "year": 2020, "trains_on": "complete", "groups": [name],
        "hyperparameters": {name: {"value": text, "per_task": {name: text}, "source": text}, "d": {"value": text}},
        "deviations": [text], "choices": [text],
        "published": [{"task": name, "metric": "weighted_f1", "condition": "l", "value": 50.0, "status": "reported",
                       "source": text}],
    }  # fmt: skip
    cards = folder / "cards"
    cards.mkdir()
    (cards / "mine.yaml").write_text(yaml.dump(card, Dumper=Dumper, sort_keys=False), encoding="utf-8")
    plugin = folder / "mine.py"
    plugin.write_text(PLUGIN.format(paper=ascii(name)), encoding="utf-8")
    return plugin


def report(run: Path, out: Path, *arguments: str) -> tuple[int, str]:
    """``--report-only``: the exit status, and what was printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        status = run_benchmark.main(["--report-only", str(run), "--out", str(out), *arguments])
    return status, printed.getvalue()
