"""The same tuning for every method: trials that see no test, the choice by validation, and the tuned rows."""

import json
import shutil
from unittest.mock import patch

import numpy as np
import pytest

import benchmark
import run_benchmark
from benchmark import BenchmarkError
from benchmark.evidence.trials import read_tunings
from benchmark.protocol.missing import Setting, settings_for
from benchmark.report import compose
from benchmark.running import passes, tuned
from benchmark.running.store import DONE, FAILED, Store
from benchmark.running.trial import drawn, stored_trial, tried_in
from benchmark.running.tuning import SEED, score_of
from tests.api_calls import keys, quiet

PLUGIN = '''
import torch
from benchmark import Choice, Method, Range, register


@register("planted", paper="none", trains_on="complete")
class Planted(Method):
    """Knows nothing by default, and something with another scale."""

    search_space = {"scale": Choice(0.0, 1.0), "shift": Range(0.0, 1.0), "fails": Choice(0, FAILS)}

    def __init__(self, task, *, scale: float = 0.0, shift: float = 0.0, fails: int = 0, does: str = ""):
        super().__init__(task)
        self.head = torch.nn.Linear(task.feature_dims["l"], task.num_outputs)
        self.scale, self.fails, self.does = scale, fails, does

    def loss(self, batch):
        exec(self.does)
        if self.fails == 1:
            raise ValueError("planted")
        found = self.predict(batch)
        if found.shape[1] == 1:
            return (found[:, 0] - batch.intensity).abs().mean()
        return torch.nn.functional.cross_entropy(found, batch.labels)

    def predict(self, batch):
        return self.scale * self.head(batch.features["l"].mean(1)) + torch.arange(self.task.num_outputs) * 1e-3
'''
PEEK = """
from benchmark.data import TaskSource, known_tasks, load_task
load_task(TaskSource(known_tasks()["mosi"], sizes=(48, 32, 48))).splits["test"].labels
"""


@pytest.fixture(autouse=True)
def _no_pages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with patch.object(compose, "write_report"):
        yield


def grid(folder, fails=-1, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "planted.py"
    path.write_text(PLUGIN.replace("FAILS", str(fails)))
    return {
        "methods": ["constant", "planted"],
        "tasks": ["mosi"],
        "seeds": 2,
        "ratios": [0.0, 0.5],
        "subsets": ["l", "lav"],
        "training": {"epochs": 3},
        "set": {"training": {"learning_rate": 0.01}},
        "simulator": {"train": 48, "valid": 32, "test": 48},
        "plugins": [str(path)],
        **changes,
    }


def run(tmp_path, out, tune, **arguments):
    options = {"jobs": 1, "say": quiet, **arguments}
    content = options.pop("grid", None) or grid(tmp_path)
    return benchmark.run(content, out=tmp_path / out, tune=tune, **options)


def told(folder):
    """What is stored of a tuning, without what no two runs share."""
    content = json.loads((folder / "tuning.json").read_text())
    for pair in content["pairs"]:
        for trial in pair["trials"]:
            del trial["seconds"], trial["opened_before"]
    return content["configurations"], content["pairs"]


def only_pair(folder):
    (pair,) = json.loads((folder / "tuning.json").read_text())["pairs"]
    return pair


def test_a_good_value_is_found_shown_beside_the_default_and_tested_last(tmp_path):
    lines = []
    results = run(tmp_path, "out", 6, say=lines.append)
    pair = only_pair(results.out)
    chosen = pair["trials"][pair["chosen"]]
    assert pair["values"] == chosen["values"] and pair["values"]["scale"] == 1.0
    scores = [trial["score"] for trial in pair["trials"]]
    assert chosen["score"] == max(scores) > scores[0] + 10
    assert chosen["score"] == pytest.approx(np.mean([chosen["parts"][part] for part in ("complete", "inter", "intra")]))
    assert results.scores["method"].unique().tolist() == ["constant", "planted", "planted tuned"]
    f1 = results.scores.query("metric == 'f1'").groupby("method")["value"].mean()
    assert f1["planted tuned"] > f1["planted"] + 10
    frame = results.tuning
    assert len(frame) == 7 and frame.loc[frame["chosen"], "number"].tolist() == [pair["chosen"]]
    assert any(f"tuning planted on mosi: 7 tried; chosen: configuration {pair['chosen']}" in line for line in lines)
    trials, (opened,) = Store(results.out / "trials"), json.loads((results.out / "tuning.json").read_text())["opened"]
    assert set(opened["trials"]) == keys(trials.out) and opened["digest"] == tuned.choices_digest([pair])
    for key in keys(trials.out):
        record = trials.read(key)
        assert record["seed"] == SEED and len(record["settings"]) == 3 == len(trials.predictions(key).settings)
    seeds = {Store(results.out).read(key)["seed"] for key in keys(results.out)}
    assert seeds == {0, 1}, "tuned rows are trained with the grid's seeds alone"
    shown = benchmark.report(
        results.out, grid={**grid(tmp_path), "tune": 6}, methods=["constant", "planted"], say=quiet
    )  # a floor has no tuned row
    assert shown.scores["method"].unique().tolist() == ["constant", "planted", "planted tuned"]


def test_draws_are_fixed_and_a_trial_tests_nothing_before_the_choice(tmp_path):
    with patch.object(passes, "open_test"):
        results = run(tmp_path, "out", 1)
    trials = Store(results.out / "trials")
    for key in keys(trials.out):
        assert trials.read(key)["account"] == {}, "which nobody asks of a trial"
        assert trials.read(key)["settings"] == [] and not (trials.path(key) / "predictions.npz").exists()
        names = stored_trial(trials, key).names
        assert sorted(names) == ["l@0.0#0", "lav@0.0#0", "lav@0.5#0", "lav@0.5#1", "lav@0.5#2"]
        assert stored_trial(trials, key).logits.shape[:2] == (5, 32)


def test_a_trial_that_peeks_at_the_test_split_fails_and_is_not_chosen(tmp_path):
    lines = []
    content = grid(tmp_path, methods=["planted"], seeds=1)
    results = run(tmp_path, "out", 2, grid=content, set={"planted": {"does": PEEK}}, say=lines.append)
    pair = only_pair(results.out)
    assert {trial["state"] for trial in pair["trials"]} == {FAILED} and pair["chosen"] is None
    assert all("the test split is closed while a configuration is tried" in trial["error"] for trial in pair["trials"])
    assert results.scores["method"].unique().tolist() == ["planted"], "no tuned row"
    assert any("none could be chosen, so there is no tuned row" in line for line in lines)


def test_a_larger_budget_uses_what_is_there_and_comes_to_the_same(tmp_path):
    first = run(tmp_path, "grown", 2)
    stamps = {key: Store(first.out / "trials").stamp(key) for key in keys(first.out / "trials")}
    weights = {key: Store(first.out / "trials").read(key)["finished"] for key in stamps}
    run(tmp_path, "grown", 5)
    run(tmp_path, "once", 5)
    assert told(tmp_path / "grown") == told(tmp_path / "once") and told(tmp_path / "once")[0] == 5
    trials = Store(tmp_path / "grown" / "trials")
    assert len(keys(trials.out)) == 6 and len(stamps) == 3
    assert weights == {key: trials.read(key)["finished"] for key in stamps}, "what was there is computed once"
    opened = json.loads((tmp_path / "grown" / "tuning.json").read_text())["opened"]
    assert [len(each["trials"]) for each in opened] == [3, 3]
    assert [trial["opened_before"] for trial in only_pair(tmp_path / "grown")["trials"]] == [True] * 3 + [False] * 3
    shown = benchmark.report(tmp_path / "grown", say=quiet).scores
    again = benchmark.report(tmp_path / "once", say=quiet).scores
    assert set(shown["key"]) == set(again["key"]), "what a smaller budget chose is not shown"


def test_shards_together_are_one_run(tmp_path):
    whole = run(tmp_path, "whole", 4)
    lines = []
    for number in (1, 2, 3, 1, 2, 3):
        run(tmp_path, "one", 4, shard=(number, 3), say=lines.append)
    assert any("other shards are not in" in line and "nothing can be chosen yet" in line for line in lines)
    assert told(tmp_path / "one") == told(whole.out) and keys(tmp_path / "one") == keys(whole.out)
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        run(tmp_path, part.name, 4, shard=(number, 3))
        assert not (part / "tuning.json").exists() and not keys(part)
    tried = [keys(part / "trials") for part in parts]
    assert set.union(*tried) == keys(whole.out / "trials") and sum(map(len, tried)) == 5
    for part in parts:
        for other in parts:
            if other is not part and keys(other / "trials"):
                shutil.copytree(other / "trials", part / "trials", dirs_exist_ok=True)
    for number, part in enumerate(parts, 1):
        run(tmp_path, part.name, 4, shard=(number, 3))
        assert told(part) == told(whole.out)
    assert set.union(*map(keys, parts)) == keys(whole.out) and sum(len(keys(part)) for part in parts) == 6
    together = benchmark.report(*[part for part in parts if keys(part)], out=tmp_path / "all", say=quiet)
    assert set(together.scores["method"]) == {"constant", "planted", "planted tuned"}
    assert len(together.tuning) == 5
    (joined,), (expected,) = read_tunings(*parts), read_tunings(whole.out)
    assert joined.test == expected.test and np.isfinite(joined.test).all()


def test_failed_trials_count_as_tried_and_a_chosen_default_is_not_trained_twice(tmp_path):
    content = grid(tmp_path, fails=1, set={"training": {"learning_rate": 0.01}, "planted": {"scale": 1.0}})
    content["plugins"] = [str(tmp_path / "planted.py")]
    text = (tmp_path / "planted.py").read_text().replace("Choice(0.0, 1.0)", "Choice(0.0, -0.0001)")
    (tmp_path / "planted.py").write_text(text)
    results = run(tmp_path, "out", 4, grid=content)
    pair = only_pair(results.out)
    states = [trial["state"] for trial in pair["trials"]]
    assert pair["chosen"] == 0 and FAILED in states and states[0] == DONE
    assert all(trial["score"] is None for trial in pair["trials"] if trial["state"] == FAILED)
    assert pair["cells"]["tuned"] == pair["cells"]["default"]
    assert len(keys(results.out)) == 4, "constant and planted, two seeds each"
    by_method = results.scores.set_index(["method", "seed", "kind", "available", "ratio", "metric"])["value"]
    assert by_method["planted"].equals(by_method["planted tuned"])


def test_of_equals_the_first_is_chosen(tmp_path):
    content = grid(tmp_path, set={"training": {"learning_rate": 0.01}}, methods=["planted"], seeds=1)
    text = (tmp_path / "planted.py").read_text().replace("Choice(0.0, 1.0)", "Choice(0.0, -0.0)")
    (tmp_path / "planted.py").write_text(text.replace("+ torch", "* 0 + torch"))
    pair = only_pair(run(tmp_path, "out", 2, grid=content).out)
    assert len({trial["score"] for trial in pair["trials"]}) == 1 and pair["chosen"] == 0


def test_an_interrupted_tuning_goes_on(tmp_path):
    whole = run(tmp_path, "whole", 2)
    cut = tmp_path / "cut"
    shutil.copytree(whole.out, cut)
    (cut / "tuning.json").unlink()
    gone = only_pair(whole.out)["trials"][1]["key"]
    shutil.rmtree(cut / "trials" / "cells" / gone)
    kept = {key: Store(cut / "trials").read(key)["finished"] for key in keys(cut / "trials")}
    run(tmp_path, "cut", 2)
    assert told(cut) == told(whole.out)
    assert kept == {key: Store(cut / "trials").read(key)["finished"] for key in kept} and gone in keys(cut / "trials")


def test_a_time_is_divided_by_the_seconds_that_trials_took(tmp_path):
    content = grid(tmp_path, methods=["planted"], seeds=1, set={"planted": {"does": "import time; time.sleep(0.02)"}})
    lines = []
    results = run(tmp_path, "out", {"configurations": 50, "hours": 1e-5}, grid=content, say=lines.append)
    trials = only_pair(results.out)["trials"]
    used = np.cumsum([trial["seconds"] for trial in trials])
    assert len(trials) < 50 and used[-1] >= 0.036 and (len(trials) == 1 or used[-2] < 0.036)
    assert any("depends on this machine" in line for line in lines)
    with pytest.raises(BenchmarkError, match="--tune-hours cannot be divided between shards"):
        run(tmp_path, "out", {"configurations": 50, "hours": 1e-5}, grid=content, shard=(1, 2))


def test_a_plan_counts_the_time_that_is_used_up(tmp_path):
    content = grid(tmp_path, methods=["planted"], seeds=1)
    results = run(tmp_path, "out", 3, grid=content)
    hours = sum(trial["seconds"] for trial in only_pair(results.out)["trials"]) / 3600
    asked = {"configurations": 9, "hours": hours * 0.99}
    plan = benchmark.plan(content, out=results.out, tune=asked, jobs=1, say=quiet)
    assert not plan.cells[plan.cells["method"].str.contains("#")]["seconds"].any()
    plan = benchmark.plan(content, out=results.out, tune=asked | {"hours": 1.0}, jobs=1, say=quiet)
    assert (plan.cells["seconds"] > 0).sum() >= 6


def test_each_samples_own_modalities_are_tried_where_there_are_two():
    settings = [Setting(), Setting("lav?"), Setting("l"), Setting(ratio=0.5)]
    for modalities in ("la", "lav"):
        tried = tried_in(drawn(settings), modalities)
        assert list(dict.fromkeys(setting for setting, _ in tried)) == settings_for(settings, modalities)
        assert {draw for setting, draw in tried if setting.by_chance} == {0, 1, 2}


def test_the_score_has_three_equal_parts():
    names = ["lav@0.0#0", "l@0.0#0", "a@0.0#0", "lav@0.5#0", "lav@0.5#1", "lav@0.9:burst#0", "l@0.5#0"]
    score, parts = score_of(names, [90.0, 60.0, 50.0, 40.0, 20.0, 10.0, 40.0])
    assert parts == {"complete": 90.0, "inter": 50.0, "intra": 20.0} and score == pytest.approx(160 / 3)
    assert score_of(["lav@0.0#0"], [70.0]) == (70.0, {"complete": 70.0})


def test_the_plan_tells_trials_and_rows_before_and_after(tmp_path):
    content, out = grid(tmp_path), tmp_path / "out"
    before = benchmark.plan(content, out=out, tune=3, jobs=1, say=quiet)
    counts = before.cells["state"].value_counts().to_dict()
    assert counts == {"to do": 4 + 6} and "planted (trials)" in str(before) and "4 trials" in str(before)
    assert "which trains nothing (not known yet" in str(before)
    assert before.cells.query("method != 'constant'")["seconds"].isna().all()
    with patch.object(passes, "open_test"):
        run(tmp_path, "out", 3)
    trials = Store(out / "trials")
    told = [trials.read(key) for key in keys(out / "trials")]
    untested = benchmark.plan(content, out=out, tune=3, jobs=1, say=quiet)
    own = untested.cells[untested.cells["method"].str.contains("#")]
    rows = [Store(out).read(key) for key in keys(out)]
    besides = [r["seconds"] - r["training_seconds"] for r in told + [r for r in rows if r["method"] == "planted"]]
    assert set(untested.cells["state"]) == {DONE} and own["seconds"].to_numpy() == pytest.approx(np.mean(besides))
    assert untested.cells["seconds"].sum() == pytest.approx(4 * np.mean(besides))
    assert "which trains nothing (about " in str(untested) and "4 done: about " in str(untested)
    run(tmp_path, "out", 3)
    after = benchmark.plan(content, out=out, tune=3, jobs=1, say=quiet)
    assert set(after.cells["state"]) == {DONE} and after.time == "nothing to do" and not after.cells["seconds"].any()
    larger = benchmark.plan(content, out=out, tune=4, jobs=1, say=quiet)
    (new,) = larger.cells.query("state == 'to do' and method == 'planted #4'")["seconds"]
    assert 0 < new < np.inf and larger.cells["seconds"].notna().all(), "trials tell how long a trial takes"
    assert set(after.cells["key"]) == keys(out) | keys(out / "trials")


def test_what_cannot_be_tuned_is_said_in_a_line(tmp_path, capsys):
    with pytest.raises(BenchmarkError, match="none has anything to tune"):
        run(tmp_path, "out", 3, grid=grid(tmp_path, methods=["constant"], set={}, plugins=[]))
    with pytest.raises(BenchmarkError, match=r"--tune: .*configurations"):
        run(tmp_path, "out", 0)
    for arguments, said in (
        (["--tune", "0"], "'0' must be a whole number of at least 1"),
        (["--tune-hours", "1"], "--tune-hours needs a number of configurations"),
        (["--tune", "2", "--tune-hours", "x"], "'x' must be a number of hours above 0"),
    ):
        assert run_benchmark.main(["--grid", "smoke", *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
