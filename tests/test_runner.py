"""Real runs of a small grid: results, resuming, failures."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import run_benchmark
from benchmark.missing import Setting
from benchmark.store import Store

GRID = """
description: small
methods: [constant, corrkd, mult]
tasks: [mosi]
seeds: 2
ratios: [0.0, 0.5]
subsets: [l, lav]
training: {epochs: 2}
set: {mult: {layers: 1}, corrkd: {layers: 1}}
simulator: {train: 48, valid: 16, test: 24}
"""

FAILING = '''
import os

import torch
from benchmark import Method, register

@register("failing", paper="none", trains_on="complete")
class Failing(Method):
    """Fails in training, unless told otherwise by a file."""
    def __init__(self, task, *, flag: str = ""):
        super().__init__(task)
        self.flag, self.bias = flag, torch.nn.Parameter(torch.zeros(task.num_categories))
    def loss(self, batch):
        if not os.path.exists(self.flag):
            raise ArithmeticError("planted")
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)
    def predict(self, batch):
        return self.bias.expand(len(batch), -1)
'''


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "small.yaml"
    path.write_text(GRID)
    return path


def run(*arguments):
    return run_benchmark.main([str(a) for a in arguments])


def logits(out):
    store = Store(out)
    return {(r["label"], r["seed"]): store.predictions(r["key"]).logits for r in map(store.read, store.stored_keys())}


def finished(out):
    store = Store(out)
    return {key: store.read(key)["finished"] for key in store.stored_keys()}


@pytest.fixture(scope="module")
def whole(grid, tmp_path_factory):
    """One undisturbed run in this process."""
    out = tmp_path_factory.mktemp("whole")
    assert run("--grid", grid, "--out", out, "--jobs", 1) == 0
    return out


def test_a_run_leaves_everything(whole):
    scores = pd.read_csv(whole / "scores.csv")
    assert list(scores.columns) == [
        "task",
        "source",
        "method",
        "seed",
        "kind",
        "available",
        "ratio",
        "draw",
        "metric",
        "value",
        "n",
        "key",
    ]
    assert set(scores["method"]) == {"constant", "corrkd", "mult"} and set(scores["seed"]) == {0, 1}
    assert set(zip(scores["available"], scores["ratio"], strict=True)) == {("lav", 0.0), ("lav", 0.5), ("l", 0.0)}
    assert (scores["source"] == "simulated").all() and len(scores) == 3 * 2 * 3 * 3
    for name in (
        "tables/mosi_inter.md",
        "tables/mosi_intra.tex",
        "figures/mosi_intra.pdf",
        "report.html",
        "manifest.json",
    ):
        assert (whole / name).stat().st_size > 100
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["tasks"][0]["source"] == "simulated" and len(manifest["cells"]) == 6
    assert manifest["command"].startswith("python run_benchmark.py --grid")


def test_a_cell_holds_what_the_contract_says(whole):
    store = Store(whole)
    for key in store.stored_keys():
        folder = store.path(key)
        files = {"cell.json", "predictions.npz", "history.jsonl", "model.safetensors"}
        if store.read(key)["label"] != "constant":
            files.add("representations.npz")
            with np.load(folder / "representations.npz", allow_pickle=False) as archive:
                assert str(archive["setting"]) == "l@0.5#0" and archive["ids"].shape == archive["labels"].shape == (24,)
                assert len(archive["values"]) == 24 and np.isfinite(archive["values"]).all()
        assert {p.name for p in folder.iterdir()} == files
        record = store.read(key)
        assert record["state"] == "done" and record["key"] == key
        assert record["environment"]["torch"] == torch.__version__.split("+")[0] or record["environment"]["torch"]
        with np.load(folder / "predictions.npz") as archive:
            assert archive["logits"].shape == (3, 24, 2) and archive["logits"].dtype == np.float32
            assert archive["settings"].tolist() == ["lav@0.0#0", "lav@0.5#0", "l@0.0#0"]
            assert archive["ids"].shape == archive["labels"].shape == (24,)


def test_seeds_differ_and_only_in_what_is_learned(whole):
    found = logits(whole)
    assert not np.array_equal(found["mult", 0], found["mult", 1])
    assert np.array_equal(found["constant", 0], found["constant", 1])


def test_workers_give_the_same_numbers_as_this_process(grid, whole, tmp_path):
    assert run("--grid", grid, "--out", tmp_path, "--jobs", 2) == 0
    expected, found = logits(whole), logits(tmp_path)
    assert expected.keys() == found.keys()
    for cell, value in expected.items():
        assert np.array_equal(found[cell], value), cell


def test_the_same_command_again_computes_nothing(grid, whole, capsys):
    before = finished(whole)
    assert run("--grid", grid, "--out", whole) == 0
    assert finished(whole) == before
    assert "done" not in capsys.readouterr().out


def test_fresh_computes_again_and_keeps_the_old(grid, tmp_path):
    arguments = ("--grid", grid, "--out", tmp_path, "--jobs", 1, "--methods", "constant", "--seeds", 1)
    assert run(*arguments) == 0
    before = finished(tmp_path)
    assert run(*arguments, "--fresh") == 0
    after = finished(tmp_path)
    assert before.keys() == after.keys() and before != after
    assert len(list((tmp_path / "replaced").iterdir())) == 1


def test_new_settings_are_added_without_training(grid, tmp_path, monkeypatch):
    arguments = ("--out", tmp_path, "--jobs", 1, "--methods", "corrkd", "--seeds", 1)
    assert run("--grid", grid, *arguments) == 0
    (before,) = logits(tmp_path).values()
    wider = tmp_path / "wider.yaml"
    wider.write_text(GRID.replace("[0.0, 0.5]", "[0.0, 0.5, 0.9]"))
    monkeypatch.setattr("benchmark.runner.train", lambda *a, **k: pytest.fail("trained again"))
    assert run("--grid", wider, *arguments) == 0
    (after,) = logits(tmp_path).values()
    (key,) = Store(tmp_path).stored_keys()
    stored = Store(tmp_path).predictions(key)
    assert [s for s, _ in stored.settings] == [Setting(), Setting("lav", 0.5), Setting("l"), Setting("lav", 0.9)]
    assert np.array_equal(after[:3], before) and not np.array_equal(after[3], after[0])


def test_a_failing_method_leaves_the_others_whole_and_is_retried(grid, tmp_path, capsys):
    plugin, flag, out = tmp_path / "failing.py", tmp_path / "flag", tmp_path / "out"
    plugin.write_text(FAILING)
    arguments = (
        "--grid",
        grid,
        "--out",
        out,
        "--jobs",
        2,
        "--seeds",
        1,
        "--plugin",
        plugin,
        "--set",
        f"failing.flag={flag}",
    )
    assert run(*arguments) == 1
    printed = capsys.readouterr().out
    assert "FAILED failing on mosi, seed 0: ArithmeticError: planted" in printed
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["method"]) == {"constant", "corrkd", "mult"}
    assert "planted" in (out / "report.html").read_text()
    record = next(r for r in map(Store(out).read, Store(out).stored_keys()) if r["state"] == "failed")
    assert "in loss" in record["traceback"]
    before = {k: v for k, v in finished(out).items() if k != record["key"]}
    flag.touch()
    assert run(*arguments) == 0
    assert "planted" not in (out / "report.html").read_text()
    assert set(pd.read_csv(out / "scores.csv")["method"]) == {"constant", "corrkd", "failing", "mult"}
    after = finished(out)
    assert all(after[key] == time for key, time in before.items())


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_stopped(grid, whole, tmp_path, signum):
    command = [sys.executable, "run_benchmark.py", "--grid", str(grid), "--out", str(tmp_path), "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(run_benchmark.__file__).parent
    )
    for line in process.stdout:
        if line.startswith("[1/"):
            break
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)  # until the workers, which hold the pipes too, are gone
    if signum != signal.SIGKILL:
        assert process.returncode == 128 + signum
        assert "the same command goes on from there" in errors and "Traceback" not in errors
        assert not [p for p in (tmp_path / "cells").iterdir() if p.name.startswith(".")]
    before = finished(tmp_path)
    assert len(before) >= 1
    assert run("--grid", grid, "--out", tmp_path, "--jobs", 1) == 0
    after = finished(tmp_path)
    assert len(after) == 6 and all(after[key] == value for key, value in before.items())
    expected, found = logits(whole), logits(tmp_path)
    for cell, value in expected.items():
        assert np.array_equal(found[cell], value), cell
    assert not [p for p in (tmp_path / "cells").iterdir() if p.name.startswith(".")]


def test_a_killed_worker_costs_its_cell_only(grid, tmp_path, capsys):
    plugin = tmp_path / "dying.py"
    plugin.write_text(
        FAILING.replace("failing", "dying").replace('raise ArithmeticError("planted")', "os.kill(os.getpid(), 9)")
    )
    out = tmp_path / "out"
    assert run("--grid", grid, "--out", out, "--jobs", 2, "--seeds", 1, "--plugin", plugin) == 1
    assert "FAILED dying on mosi, seed 0: the worker process was killed" in capsys.readouterr().out
    assert set(pd.read_csv(out / "scores.csv")["method"]) == {"constant", "corrkd", "mult"}
    assert run("--grid", grid, "--out", out, "--jobs", 1, "--seeds", 1) == 0


def test_the_model_stored_is_the_one_that_predicted(grid, whole):
    """Loading model.safetensors into a new network gives the stored logits."""
    from safetensors.torch import load_file

    from benchmark import registry
    from benchmark.data import TaskSource, load_task
    from benchmark.data.batches import task_spec
    from benchmark.evaluation import predict_settings

    store, dataset = Store(whole), load_task(TaskSource("mosi", sizes=(48, 16, 24)))
    for record in map(store.read, store.stored_keys()):
        cls = registry.load(registry.catalogue()[record["method"]])
        method = cls(task_spec(dataset), **record["hyperparameters"])
        method.load_state_dict(load_file(store.path(record["key"]) / "model.safetensors"))
        stored = store.predictions(record["key"])
        again = predict_settings(method, dataset, [s for s, _ in stored.settings], draw=0, device=torch.device("cpu"))
        assert np.array_equal(again, stored.logits), record["label"]
