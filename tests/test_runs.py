"""Real runs of a small grid from the command line: results, resuming, failures, reports on several folders."""

import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import run_benchmark
from benchmark.protocol.missing import Setting
from benchmark.running.store import Store, write_record
from tests.data_files import dump, mult_content
from tests.faults.runs import PLUGIN
from tests.waiting import HUNG

METHODS = ["constant", "corrkd", "mult"]
GRID = """
description: small
methods: [METHODS]
tasks: [mosi]
seeds: 2
ratios: [0.0, 0.5]
subsets: [l, lav]
training: {epochs: 2}
set: {mult: {layers: 1}, corrkd: {layers: 1}}
simulator: {train: 48, valid: 16, test: 24}
""".replace("METHODS", ", ".join(METHODS))

unpictured = pytest.mark.usefixtures("unpictured")

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
        "target",
        "modalities",
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


@unpictured
def test_workers_give_the_same_numbers_as_this_process(grid, whole, tmp_path):
    assert run("--grid", grid, "--out", tmp_path, "--jobs", 2) == 0
    expected, found = logits(whole), logits(tmp_path)
    assert expected.keys() == found.keys()
    for cell, value in expected.items():
        assert np.array_equal(found[cell], value), cell


@unpictured
def test_a_data_file_is_what_is_run_on(grid, tmp_path, capsys):
    folder, out = tmp_path / "data", tmp_path / "out"
    arguments = ("--grid", grid, "--data", folder, "--out", out, "--jobs", 1, "--seeds", 1, "--methods", "constant")
    dump(folder / "mosi_data.pkl", mult_content())
    assert run(*arguments) == 0
    assert "task mosi: file data (mosi_data.pkl, MulT, word-aligned)" in capsys.readouterr().out
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["source"]) == {"file"} and set(scores["n"]) == {8}
    (record,) = map(Store(out).read, Store(out).stored_keys())
    assert record["data"]["source"] == "file" and record["task"]["fingerprint"].startswith("file-")
    dump(folder / "mosi_data.pkl", mult_content(seed=1))
    assert run(*arguments) == 0 and len(Store(out).stored_keys()) == 2, "other data are another cell"


@unpictured
def test_the_same_command_again_computes_nothing(grid, whole, capsys):
    before = finished(whole)
    assert run("--grid", grid, "--out", whole) == 0
    assert finished(whole) == before
    assert "done" not in capsys.readouterr().out


@unpictured
def test_fresh_computes_again_and_keeps_the_old(grid, tmp_path):
    arguments = ("--grid", grid, "--out", tmp_path, "--jobs", 1, "--methods", "constant", "--seeds", 1)
    assert run(*arguments) == 0
    before = finished(tmp_path)
    assert run(*arguments, "--fresh") == 0
    after = finished(tmp_path)
    assert before.keys() == after.keys() and before != after
    assert len(list((tmp_path / "replaced").iterdir())) == 1


@unpictured
def test_new_settings_are_added_without_training(grid, tmp_path, monkeypatch):
    arguments = ("--out", tmp_path, "--jobs", 1, "--methods", "corrkd", "--seeds", 1)
    assert run("--grid", grid, *arguments) == 0
    (before,) = logits(tmp_path).values()
    wider = tmp_path / "wider.yaml"
    wider.write_text(GRID.replace("[0.0, 0.5]", "[0.0, 0.5, 0.9]"))
    monkeypatch.setattr("benchmark.running.cell.train", lambda *a, **k: pytest.fail("trained again"))
    assert run("--grid", wider, *arguments) == 0
    (after,) = logits(tmp_path).values()
    (key,) = Store(tmp_path).stored_keys()
    stored = Store(tmp_path).predictions(key)
    assert [s for s, _ in stored.settings] == [Setting(), Setting("lav", 0.5), Setting("l"), Setting("lav", 0.9)]
    assert np.array_equal(after[:3], before) and not np.array_equal(after[3], after[0])


@unpictured
def test_a_failing_method_leaves_the_others_whole_and_is_retried(grid, tmp_path, capsys):
    plugin, flag, out = tmp_path / "failing.py", tmp_path / "flag", tmp_path / "out"
    plugin.write_text(FAILING)
    arguments = ("--grid", grid, "--out", out, "--jobs", 2, "--seeds", 1, "--methods", "constant", "random", "failing")
    arguments += ("--plugin", plugin, "--set", f"failing.flag={flag}")
    assert run(*arguments) == 1
    printed = capsys.readouterr().out
    assert "FAILED failing on mosi, seed 0: ArithmeticError: planted" in printed
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["method"]) == {"constant", "random"}
    assert "planted" in (out / "report.html").read_text()
    record = next(r for r in map(Store(out).read, Store(out).stored_keys()) if r["state"] == "failed")
    assert "in loss" in record["traceback"]
    before = {k: v for k, v in finished(out).items() if k != record["key"]}
    flag.touch()
    assert run(*arguments) == 0
    assert "planted" not in (out / "report.html").read_text()
    assert set(pd.read_csv(out / "scores.csv")["method"]) == {"constant", "failing", "random"}
    after = finished(out)
    assert all(after[key] == time for key, time in before.items())


@unpictured
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_stopped(grid, whole, tmp_path, signum):
    plugin = tmp_path / "faulty.py"
    plugin.write_text(PLUGIN)
    command = [sys.executable, "run_benchmark.py", "--grid", str(grid), "--out", str(tmp_path), "--jobs", "2"]
    # The last cells take for ever, so that it is stopped in mid-run.
    command += ["--methods", *METHODS, "faulty", "--plugin", str(plugin), "--set", f"faulty.seconds={HUNG}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(run_benchmark.__file__).parent
    )
    for line in process.stdout:
        if line.startswith("[1/"):
            break
    process.send_signal(signum)
    _, errors = process.communicate(timeout=HUNG)  # until the workers, which hold the pipes too, are gone
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


@unpictured
def test_a_killed_worker_costs_its_cell_only(grid, tmp_path, capsys):
    plugin = tmp_path / "dying.py"
    plugin.write_text(
        FAILING.replace("failing", "dying").replace('raise ArithmeticError("planted")', "os.kill(os.getpid(), 9)")
    )
    out = tmp_path / "out"
    arguments = ("--grid", grid, "--out", out, "--seeds", 1, "--methods", "constant", "random")
    assert run(*arguments, "dying", "--jobs", 2, "--plugin", plugin) == 1
    assert "FAILED dying on mosi, seed 0: the worker process was killed" in capsys.readouterr().out
    assert set(pd.read_csv(out / "scores.csv")["method"]) == {"constant", "random"}
    assert run(*arguments, "--jobs", 1) == 0


@unpictured
def test_a_cell_that_takes_longer_than_is_allowed_fails(grid, tmp_path, capsys):
    arguments = ("--grid", grid, "--out", tmp_path, "--seeds", 1, "--methods", "constant", "--cell-timeout", 1e-6)
    assert run(*arguments) == 1
    told = capsys.readouterr().out
    assert re.search(
        r"FAILED constant on mosi, seed 0: .*CellTimeout: it took longer than --cell-timeout 1e-06 s", told
    ), told


def test_the_model_stored_is_the_one_that_predicted(grid, whole):
    """Loading model.safetensors into a new network gives the stored logits."""
    from safetensors.torch import load_file

    from benchmark import methods
    from benchmark.data import TaskSource, find_task, load_task
    from benchmark.data.batches import task_spec
    from benchmark.running.evaluation import predict_settings

    store, dataset = Store(whole), load_task(TaskSource(find_task("mosi"), sizes=(48, 16, 24)))
    for record in map(store.read, store.stored_keys()):
        cls = methods.load(methods.catalogue()[record["method"]])
        method = cls(task_spec(dataset), **record["hyperparameters"])
        method.load_state_dict(load_file(store.path(record["key"]) / "model.safetensors"))
        stored = store.predictions(record["key"])
        again = predict_settings(method, dataset, [s for s, _ in stored.settings], draw=0, device=torch.device("cpu"))
        assert np.array_equal(again, stored.logits), record["label"]


def f1_by_loops(pairs):
    """Weighted F1 x 100 of pairs of truth and prediction, each whether it is negative, from its definition."""
    total = 0.0
    for negative in (True, False):
        hits = sum(t == p == negative for t, p in pairs)
        true, said = sum(t == negative for t, _ in pairs), sum(p == negative for _, p in pairs)
        total += true * (2 * hits / (true + said) if true + said else 0.0)
    return 100 * total / len(pairs)


METRICS = {
    "F1": lambda rows: f1_by_loops([(y < 0, p == 0) for y, p in rows if y != 0]),
    "F1, 0 as non-negative": lambda rows: f1_by_loops([(y < 0, p == 0) for y, p in rows]),
    "accuracy": lambda rows: 100 * sum((y < 0) == (p == 0) for y, p in rows) / len(rows),
}


def recomputed(out):
    """Means and deviations by metric, method and setting, from what is on disk, by nothing of the benchmark's code."""
    values = {}
    for folder in sorted(path for path in (out / "cells").iterdir() if not path.name.startswith(".")):
        label = json.loads((folder / "cell.json").read_text())["label"]
        with np.load(folder / "predictions.npz", allow_pickle=False) as archive:
            for setting, logits in zip(archive["settings"], archive["logits"], strict=True):
                predicted = [max(range(2), key=lambda k, row=row: row[k]) for row in logits.tolist()]
                rows = list(zip(archive["labels"].tolist(), predicted, strict=True))
                for title, metric in METRICS.items():
                    values.setdefault((title, label, str(setting)), []).append(metric(rows))
    return {key: f"{statistics.mean(v):.2f} ± {statistics.stdev(v):.2f}" for key, v in values.items()}


def test_the_tables_show_what_an_independent_script_finds_in_the_predictions(whole):
    expected = recomputed(whole)
    columns = {"{l}": "l@0.0#0", "{l,a,v}": "lav@0.0#0", "p=0.0": "lav@0.0#0", "p=0.5": "lav@0.5#0"}
    seen = 0
    for name in ("mosi_inter", "mosi_intra"):
        lines = (whole / "tables" / f"{name}.md").read_text().splitlines()
        head, _, *body = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")
        ]
        assert head[:2] == ["Metric", "Method"] and {row[0] for row in body} == set(METRICS)
        for metric, method, *cells in body:
            for column, cell in zip(head[2:], cells, strict=True):
                plain = re.sub(r"</?u>|\\\*|\*\*|\(?‡\)?", "", cell)
                label = {"Constant": "constant", "CorrKD": "corrkd", "MulT": "mult"}[method]
                assert plain == expected[metric, label, columns[column]], (name, metric, method, column)
                seen += 1
    assert seen == 3 * 3 * 4


def reseal(folder, **change):
    """Change a stored cell as if it had been written so."""
    record = json.loads((folder / "cell.json").read_text())
    write_record(folder, {name: value for name, value in record.items() if name != "checksum"} | change)


def split(whole, tmp_path):
    """The cells of one run in two folders, one for each seed."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for key in Store(whole).stored_keys():
        shutil.copytree(whole / "cells" / key, folders[Store(whole).read(key)["seed"]] / "cells" / key)
    return folders


@unpictured
def test_folders_of_several_machines_make_one_report(whole, tmp_path, capsys):
    a, b = split(whole, tmp_path)
    shutil.copytree(whole / "cells" / Store(a).stored_keys()[0], b / "cells" / Store(a).stored_keys()[0])  # in both
    out = tmp_path / "together"
    assert run("--report-only", a, b, "--out", out) == 0
    pd.testing.assert_frame_equal(pd.read_csv(out / "scores.csv"), pd.read_csv(whole / "scores.csv"))
    for name in ("tables/mosi_inter.md", "tables/mosi_intra.csv", "intervals.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes() or "No test" in (whole / name).read_text()
    shutil.copytree(a / "cells", tmp_path / "c" / "cells")
    shutil.copytree(b / "cells", tmp_path / "c" / "cells", dirs_exist_ok=True)  # or the cells are copied
    assert run("--report-only", tmp_path / "c") == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "c" / "scores.csv"), pd.read_csv(whole / "scores.csv"))


def test_a_cell_that_stands_twice_with_other_scores_is_an_error_that_names_both(whole, tmp_path, capsys):
    a, b = split(whole, tmp_path)
    key = next(k for k in Store(a).stored_keys() if Store(a).read(k)["label"] == "corrkd")
    shutil.copytree(a / "cells" / key, b / "cells" / key)
    with np.load(b / "cells" / key / "predictions.npz") as archive:
        content = dict(archive)
    np.savez(b / "cells" / key / "predictions.npz", **content | {"logits": -content["logits"]})
    reseal(b / "cells" / key)
    out = tmp_path / "together"
    assert run("--report-only", a, b, "--out", out) == 2
    error = capsys.readouterr().err
    assert str(a / "cells" / key) in error and str(b / "cells" / key) in error and error.count("\n") == 1
    assert "with different scores" in error and not (out / "scores.csv").exists()


def test_two_definitions_of_one_row_in_two_folders_are_an_error(whole, tmp_path, capsys):
    a, b = split(whole, tmp_path)
    key = Store(a).stored_keys()[0]
    shutil.copytree(a / "cells" / key, b / "cells" / "other")
    reseal(b / "cells" / "other", key="other", source="other", seed=7, finished="9999")
    assert run("--report-only", a, b, "--out", tmp_path / "together") == 2
    error = capsys.readouterr().err
    assert "different hyper-parameters, code or data" in error and str(a / "cells" / key) in error and "other" in error


@unpictured
def test_cells_on_older_data_of_a_task_are_not_mixed_with_newer(whole, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    key = next(k for k in Store(out).stored_keys() if Store(out).read(k)["label"] == "mult")
    task = Store(out).read(key)["task"]
    reseal(out / "cells" / key, task=task | {"fingerprint": "older"}, finished="2000")
    assert run("--report-only", out) == 0
    assert "not shown: 1 stored cell of mult on mosi, made with other" in capsys.readouterr().out
    assert len(pd.read_csv(out / "scores.csv").query("method == 'mult'")["seed"].unique()) == 1


@unpictured
def test_a_grid_shows_its_own_cells_whatever_came_later(tmp_path, grid, capsys):
    out, jobs = tmp_path / "out", ("--jobs", 1)
    first = ("--grid", grid, "--methods", "linear", "constant", "--out", out)
    second = (*first, "--seeds", 1, "--set", "linear.regularisation=5")

    def cells():
        scores = pd.read_csv(out / "scores.csv").query("method == 'linear'")
        return set(scores["key"])

    assert run(*first, *jobs) == 0
    two = cells()
    assert len(two) == 2 and "not shown" not in capsys.readouterr().out
    assert run(*second, *jobs) == 0
    one = cells()
    assert len(one) == 1 and not one & two, "never seeds of two definitions"
    told = capsys.readouterr().out
    assert "not shown: 2 stored cells of linear on mosi, made with other hyper-parameters" in told
    assert "the command that made them, with --report-only, shows them" in told
    assert run(*first, *jobs) == 0 and cells() == two
    assert "not shown: 1 stored cell of linear on mosi" in capsys.readouterr().out
    assert run(*second, "--report-only") == 0 and cells() == one
    assert run(*first, "--report-only") == 0 and cells() == two
    assert run("--report-only", out) == 0 and cells() == one, "without a grid, the latest"


@unpictured
def test_against_marks_the_tables(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert run("--report-only", out, "--against", "corrkd") == 0
    assert "No test against CorrKD (◆): that takes three seeds" in (out / "tables" / "mosi_inter.md").read_text()
    assert set(pd.read_csv(out / "comparisons.csv")["against"]) == {"corrkd"}
    assert run("--report-only", out) == 0, "what was said last time holds"
    assert set(pd.read_csv(out / "comparisons.csv")["against"]) == {"corrkd"}
    assert run("--report-only", out, "--against", "mult") == 0
    assert run("--report-only", out, "--grid", "quick") == 0, "but a grid that is named comes first"
    assert set(pd.read_csv(out / "comparisons.csv")["against"]) == {"corrkd"}
    assert run("--report-only", out, "--against", "mult") == 0
    other = tmp_path / "other.yaml"
    other.write_text(GRID + "against: linear\n")
    assert run("--report-only", out, "--grid", other) == 0, "unless its reference is no row"
    assert set(pd.read_csv(out / "comparisons.csv")["against"]) == {"mult"}


@unpictured
def test_without_cells_only_the_stored_tests_are_there(whole, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--report-only", whole, "--against", "corrkd", "--out", out) == 0
    table = (out / "tables" / "mosi_inter.md").read_bytes()
    assert run("--report-only", out, "--against", "corrkd") == 0
    assert (out / "tables" / "mosi_inter.md").read_bytes() == table and b"against CorrKD" in table
    capsys.readouterr()
    assert run("--report-only", out, "--against", "mult") == 2
    said = "so only the tests against corrkd are there; leave --against out, or run the grid\n"
    assert capsys.readouterr().err == f"error: no cells are stored in {out}, {said}"
    (out / "comparisons.csv").unlink()
    assert run("--report-only", out, "--against", "mult") == 2
    assert "tests against no row are there" in capsys.readouterr().err


def test_patterns_and_crossed_settings_reach_scores_tables_and_figures(tmp_path):
    path = tmp_path / "crossed.yaml"
    text = GRID.replace("[constant, corrkd, mult]", "[constant, mult]").replace("seeds: 2", "seeds: 1")
    text = text.replace("ratios: [0.0, 0.5]", "ratios: [0.0, 0.5, 1.0]").replace(", corrkd: {layers: 1}", "")
    path.write_text(text + "patterns: [scattered, burst, early_end]\ncrossed: true\n")
    out = tmp_path / "out"
    assert run("--grid", path, "--out", out, "--jobs", 1) == 0
    scores = pd.read_csv(out / "scores.csv").query("method == 'mult' and metric == 'f1'")
    half = scores.query("ratio == 0.5").set_index(["available", "kind"])["value"]
    assert set(half.index) == {
        (s, kind + p) for s, kind in (("l", "inter"), ("lav", "intra")) for p in ("", "-burst", "-early_end")
    }
    assert set(scores.query("ratio != 0.5")["kind"]) == {"inter", "intra"}
    table = pd.read_csv(out / "tables" / "mosi_intra.csv").query("method == 'mult' and metric == 'f1'")
    shown = table.set_index("condition")["mean"]
    assert list(shown.index) == ["p=0.0", "p=0.5", "p=1.0"], "only scattered frames are in the paper's table"
    assert shown["p=0.5"] == pytest.approx(half["lav", "intra"])
    assert (out / "figures" / "mosi_mixed.png").is_file() and (out / "figures" / "mosi_patterns.png").is_file()
