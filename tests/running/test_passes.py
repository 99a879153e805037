"""Tuned runs that are given again: with other methods, other budgets, anew, after a stop, on other machinery."""

import json
import shutil
from unittest.mock import patch

import pytest

import benchmark
from benchmark import BenchmarkError
from benchmark.running import passes
from benchmark.running.choice import choose
from benchmark.running.passes import Means
from benchmark.running.store import DONE, FAILED, Store, write_record
from benchmark.running.tuning import Tuning
from tests.api_calls import GRID, keys, quiet
from tests.running.test_tuning import PLUGIN, _no_pages, grid, only_pair, run, told  # noqa: F401 - a fixture

# In the training that is the given one, by a file that counts them, a signal.
STOPS = """
import pathlib, signal
if not hasattr(self, "begun"):
    self.begun, file = True, pathlib.Path({file!r})
    file.write_text(file.read_text() + "x" if file.exists() else "x")
    if len(file.read_text()) == {training}:
        signal.raise_signal(signal.SIGINT)
"""
NO_SPACE = "    search_space = {"


def stored(folder):
    """When each trial and each cell was computed."""
    stores = (Store(folder), Store(folder / "trials"))
    return {key: store.read(key)["finished"] for store in stores for key in store.stored_keys()}


def read(folder):
    return json.loads((folder / "tuning.json").read_text())


def opened_before(folder):
    return [[trial["opened_before"] for trial in pair["trials"]] for pair in read(folder)["pairs"]]


def two(tmp_path, **changes):
    """A grid of two methods that are tuned."""
    content = grid(tmp_path, seeds=1, **{"methods": ["constant", "planted", "second"], **changes})
    text = PLUGIN.replace("FAILS", "-1").replace('"planted"', '"second"').replace("class Planted", "class Second")
    (tmp_path / "second.py").write_text(text)
    return {**content, "plugins": [*content["plugins"], str(tmp_path / "second.py")]}


def test_the_same_command_again_computes_nothing_and_makes_no_choice_anew(tmp_path):
    content, lines = grid(tmp_path, seeds=1), []
    first = run(tmp_path, "out", 2, grid=content)
    before, text = stored(first.out), (first.out / "tuning.json").read_text()
    again = run(tmp_path, "out", 2, grid=content, say=lines.append)
    assert stored(again.out) == before and (again.out / "tuning.json").read_text() == text
    assert opened_before(again.out) == [[False] * 3] and not any("split was opened" in line for line in lines)
    told_of = json.loads((again.out / "manifest.json").read_text())["tuned_by"]
    assert [(own["configurations"], own["seed"], own["draws"]) for own in told_of] == [(2, 10_000, [0, 1, 2])]
    (line,) = again._content.report["provenance"]["tuning"]
    assert line.startswith("The default and 2 random configurations of planted, each trained once, with seed 10000; ")


def test_fewer_methods_leave_what_was_chosen_for_the_others(tmp_path):
    content = two(tmp_path)
    whole = run(tmp_path, "out", 2, grid=content)
    pairs, shown = read(whole.out)["pairs"], whole.scores["method"].unique().tolist()
    fewer = run(tmp_path, "out", 2, grid=content, methods=["second"])
    assert [pair["method"] for pair in read(fewer.out)["pairs"]] == ["second", "planted"]
    assert sorted(read(fewer.out)["pairs"], key=lambda pair: pair["method"]) == pairs
    assert sorted(fewer.scores["method"].unique()) == sorted(shown) and len(fewer.tuning) == 6
    before = stored(fewer.out)
    again = run(tmp_path, "out", 2, grid=content)
    assert read(again.out)["pairs"] == pairs and stored(again.out) == before
    one_more = run(tmp_path, "out", 3, grid=content, methods=["second"])  # of another budget
    assert [len(pair["trials"]) for pair in read(one_more.out)["pairs"]] == [4, 3]
    budgets = json.loads((one_more.out / "manifest.json").read_text())["tuned_by"]
    assert {own["configurations"]: [pair["method"] for pair in own["pairs"]] for own in budgets} == {
        3: ["second"],
        2: ["planted"],
    }


def test_a_smaller_budget_behind_a_larger_one_says_that_the_test_was_open(tmp_path):
    content, lines = grid(tmp_path, methods=["planted"], seeds=1), []
    run(tmp_path, "out", 3, grid=content)
    smaller = run(tmp_path, "out", 1, grid=content, say=lines.append)
    assert told(smaller.out)[0] == 1 and opened_before(smaller.out) == [[True, True]]
    assert any("the test split was opened for some of these trials before this choice" in line for line in lines)
    assert any("2 of 2 of planted on mosi" in line for line in smaller._content.report["provenance"]["tuning"])
    assert len(keys(smaller.out / "trials")) == 4, "trials of the larger one are still there"
    larger = run(tmp_path, "out", 3, grid=content)
    once = run(tmp_path, "once", 3, grid=content)
    assert told(larger.out) == told(once.out)


def test_fresh_computes_trials_anew_says_so_and_keeps_the_old_ones(tmp_path):
    content, lines = grid(tmp_path, methods=["planted"], seeds=1), []
    run(tmp_path, "out", 2, grid=content)
    before, choice = stored(tmp_path / "out"), told(tmp_path / "out")
    again = run(tmp_path, "out", 2, grid=content, fresh=True, say=lines.append)
    assert any(
        line.startswith("--fresh: 3 stored trials are computed again") and "trials/replaced" in line for line in lines
    )
    after = stored(again.out)
    assert after.keys() == before.keys() and told(again.out) == choice
    aside = {path.name.split(".")[0] for path in (again.out / "trials" / "replaced").iterdir()}
    assert aside == keys(again.out / "trials")
    tested = [Store(again.out / "trials").read(key)["settings"] for key in keys(again.out / "trials")]
    assert all(len(settings) == 3 for settings in tested), "they are tested again"


@pytest.mark.parametrize(("training", "where"), [(2, "a trial"), (4, "a row")])
def test_a_run_that_is_stopped_goes_on_where_it_was(tmp_path, training, where):
    content = grid(tmp_path, methods=["planted"], seeds=1)
    whole = run(tmp_path, "whole", 2, grid=content, set={"planted": {"does": "pass"}})
    does = STOPS.format(file=str(tmp_path / "begun"), training=training)
    options = {"grid": content, "set": {"planted": {"does": does}}}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "out", 2, **options)
    there = stored(tmp_path / "out")
    assert len(there) == training - 1
    assert (tmp_path / "out" / "tuning.json").exists() == (where == "a row")
    if where == "a trial":
        assert (
            len(benchmark.plan(**options, out=tmp_path / "out", tune=2, say=quiet).cells.query("state == 'done'")) == 1
        )
    with pytest.raises(BenchmarkError, match=r"only trials are stored in .*, given again, goes on"):
        benchmark.report(tmp_path / "out", say=quiet).scores  # noqa: B018
    on = run(tmp_path, "out", 2, **options)
    assert there.items() <= stored(on.out).items()

    def chosen(pair):
        return pair["chosen"], pair["values"], [trial["score"] for trial in pair["trials"]]

    assert chosen(only_pair(on.out)) == chosen(only_pair(whole.out)) and opened_before(on.out) == [[False] * 3]


def test_a_trial_that_fails_in_a_setting_more_counts_as_tried(tmp_path):
    content, flag, lines = grid(tmp_path, methods=["planted"], seeds=1), tmp_path / "flag", []
    text = (tmp_path / "planted.py").read_text()
    fails = f"        if __import__('pathlib').Path({str(flag)!r}).exists() and self.scale == 0.0:\n"
    fails += "            raise ValueError('planted')\n"
    (tmp_path / "planted.py").write_text(
        text.replace("        return self.scale *", fails + "        return self.scale *")
    )
    assert run(tmp_path, "out", 3, grid=content).failed == 0
    flag.touch()
    wider = {**content, "ratios": [0.0, 0.5, 0.9]}
    results = run(tmp_path, "out", 3, grid=wider, say=lines.append)
    (pair,) = read(results.out)["pairs"]
    states = {trial["number"]: (trial["values"].get("scale", 0.0), trial["state"]) for trial in pair["trials"]}
    assert all(state == (FAILED if scale == 0.0 else DONE) for scale, state in states.values()), states
    assert pair["values"]["scale"] == 1.0 and not any("another shard" in line for line in lines)
    assert results.failed == 1, "the default's own row, and no trial"
    assert benchmark.verify(results.out, plugins=content["plugins"], say=quiet).state("trials") == "right"


def test_a_test_of_trials_that_fails_is_counted(tmp_path):
    content = grid(tmp_path, methods=["planted"], seeds=1)
    with patch.object(Means, "extend", lambda self, grid, store: 2):
        assert run(tmp_path, "out", 1, grid=content).failed == 2


def test_what_has_failed_is_not_tried_again_once_a_choice_is_stored(tmp_path):
    content, flag = grid(tmp_path, methods=["planted"], seeds=1), tmp_path / "flag"
    flag.touch()
    does = f"if self.scale == 1.0 and __import__('pathlib').Path({str(flag)!r}).exists(): raise ValueError('planted')"
    options = {"grid": content, "set": {"planted": {"does": does}}}
    with patch.object(Tuning, "choices", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        run(tmp_path, "out", 3, **options)
    before = stored(tmp_path / "out")
    first = run(tmp_path, "out", 3, **options)
    (pair,) = read(first.out)["pairs"]
    assert {trial["state"] for trial in pair["trials"] if trial["values"].get("scale") == 1.0} == {FAILED}
    failed = {trial["key"] for trial in pair["trials"] if trial["state"] == FAILED}
    assert all((stored(first.out)[key] != when) == (key in failed) for key, when in before.items()), (
        "none was chosen yet"
    )
    flag.unlink()
    before = stored(first.out)
    again = run(tmp_path, "out", 3, **options)
    assert stored(again.out) == before and read(again.out)["pairs"] == [pair]
    assert keys(run(tmp_path, "out", 3, **options, fresh=True).out / "trials") == keys(first.out / "trials")
    assert only_pair(again.out)["values"]["scale"] == 1.0, "of trials that are all new"


def test_a_trial_is_not_trained_while_the_test_split_is_open(tmp_path):
    content = grid(tmp_path, methods=["planted"], seeds=1)
    with patch.object(passes, "open_test", return_value=0):
        run(tmp_path, "out", 1, grid=content)
    store = Store(tmp_path / "out" / "trials")
    bare, whole = sorted(keys(store.out))
    record = store.read(bare)
    for name in ("cell.json", "model.safetensors"):
        (store.path(bare) / name).unlink()
    write_record(store.path(bare), {name: own for name, own in record.items() if name not in ("files", "checksum")})
    before = stored(tmp_path / "out")
    for together in (1, 2):
        lines = []
        results = run(tmp_path, "out", 1, grid=content, together=together, say=lines.append)
        assert results.failed == 1 and stored(results.out) == before
        assert (store.path(bare) / "validation.npz").exists() and store.read(bare)["settings"] == []
        assert len(store.read(whole)["settings"]) == 3 and store.predictions(whole).validation is None
        assert not (store.path(bare) / "predictions.npz").exists()
    shutil.rmtree(store.path(bare))
    assert run(tmp_path, "out", 1, grid=content).failed == 0 and len(store.read(bare)["settings"]) == 3


def test_what_trials_scored_on_test_outlives_them(tmp_path):
    results = run(tmp_path, "out", 2, grid=grid(tmp_path, methods=["planted"], seeds=1))
    tuning = json.loads((results.out / "manifest.json").read_text())["tuning"]
    shutil.rmtree(results.out / "trials")
    again = benchmark.report(results.out, say=quiet)
    assert json.loads((again.out / "manifest.json").read_text())["tuning"] == tuning and None not in tuning[0]["test"]


def test_two_folders_show_the_tuned_rows_of_both_whichever_comes_first(tmp_path):
    content = two(tmp_path, set={"second": {"scale": 1.0}}, training={"epochs": 1})
    one = run(tmp_path, "one", 1, grid=content, methods=["planted"])
    other = run(tmp_path, "other", 1, grid=content, methods=["second"])
    path = other.out / "tuning.json"
    said = read(other.out)
    (pair,) = said["pairs"]
    pair["trials"][0]["score"] = max(trial["score"] for trial in pair["trials"]) + 1  # then the default is chosen
    pair |= {
        "chosen": 0,
        "values": {},
        "cells": {"default": pair["cells"]["default"], "tuned": pair["cells"]["default"]},
    }
    path.write_text(json.dumps(said))
    for key in pair["cells"]["default"]:  # the default's cells are in both, as where they were copied
        shutil.copytree(Store(other.out).path(key), Store(one.out).path(key), dirs_exist_ok=True)
    for number, folders in enumerate(([one.out, other.out], [other.out, one.out])):
        joined = benchmark.report(*folders, out=tmp_path / f"all{number}", plugins=content["plugins"], say=quiet)
        assert set(joined.scores["method"]) == {"planted", "planted tuned", "second", "second tuned"}
        rows = {model["label"]: model["description"] for model in joined._content.manifest["methods"]}
        assert "tuned by validation" in rows["second tuned"] and "tuned" not in rows["second"]


def test_several_tasks_are_each_tuned_by_their_own_metric(tmp_path):
    content = grid(tmp_path, methods=["planted"], tasks=["mosi", "mosi_intensity", "iemocap"], seeds=1)
    results = run(tmp_path, "out", 3, grid=content)
    pairs = {pair["task"]: pair for pair in read(results.out)["pairs"]}
    assert list(pairs) == content["tasks"]
    for task, pair in pairs.items():
        scores = [trial["score"] for trial in pair["trials"]]
        best = min if pair["lower_is_better"] else max
        assert pair["metric"] == ("mae" if task == "mosi_intensity" else "f1")
        assert pair["lower_is_better"] == (task == "mosi_intensity")
        assert scores[pair["chosen"]] == best(scores) and {trial["state"] for trial in pair["trials"]} == {DONE}
    assert len({json.dumps(pair["trials"][1]["values"]) for pair in pairs.values()}) == 3, "configurations of its own"
    shown = results.scores.groupby("task")["method"].unique()
    assert {task: list(own) for task, own in shown.items()} == {task: ["planted", "planted tuned"] for task in pairs}


def test_two_processes_give_what_one_gives(tmp_path):
    content = grid(tmp_path, methods=["planted"], seeds=1)
    one, both = (run(tmp_path, f"jobs{jobs}", 3, grid=content, jobs=jobs) for jobs in (1, 2))
    assert told(one.out) == told(both.out) and keys(one.out) == keys(both.out)
    for key in keys(one.out / "trials"):
        records = [Store(results.out / "trials").read(key) for results in (one, both)]
        assert records[0]["outputs"] == records[1]["outputs"] and len(records[0]["outputs"]) == 3


def test_trials_of_a_portable_grid_are_portable(tmp_path):
    tuning = Tuning(choose(grid(tmp_path, methods=["planted"], seeds=1), portable=True, tune=1), tmp_path / "out")
    assert [cell.arithmetic for cell in [*tuning.trials.cells, *tuning.plain.cells]] == ["portable"] * 3


def test_settings_of_chance_are_tested_in_every_draw_and_nothing_is_trained_twice(tmp_path):
    noisy = {**GRID, "seeds": 1, "noise": [2.0]}
    single, other = (
        benchmark.run({**noisy, "draw": draw}, out=tmp_path / f"draw{draw}", jobs=1, say=quiet) for draw in (0, 1)
    )
    before = stored(single.out)
    both = benchmark.run({**noisy, "draws": 2}, out=tmp_path / "draw0", jobs=1, say=quiet)
    assert keys(both.out) == keys(other.out) and stored(both.out) == before
    for key in keys(both.out):
        found, second = Store(both.out).read(key), Store(other.out).read(key)
        chance = {"lav@0.5#1", "lav@0.0~2.0#1"}
        assert set(found["settings"]) == {"lav@0.0#0", "lav@0.5#0", "l@0.0#0", "lav@0.0~2.0#0"} | chance
        assert {name: found["outputs"][name] for name in chance} == {name: second["outputs"][name] for name in chance}
        assert {name: found["masks"][name] for name in chance} == {name: second["masks"][name] for name in chance}
    means = [results.table("mosi", "noise").loc["f1", "noise=2.0"] for results in (single, other, both)]
    assert means[2].to_numpy() == pytest.approx((means[0].to_numpy() + means[1].to_numpy()) / 2)
    parts = both._content.parts["tables"]
    assert "the mean over 2 draws of the noise." in parts["mosi_noise"].caption
    assert "draws of" not in parts["mosi_inter"].caption
    plans = [benchmark.plan({**noisy, "draws": draws}, out=both.out, jobs=1, say=quiet) for draws in (2, 3)]
    assert [set(plan.cells["state"]) for plan in plans] == [{DONE}, {"to extend"}]
    said = []
    verdict = benchmark.verify(both.out, recompute=0, jobs=1, say=said.append)
    assert verdict.state("recomputed") == verdict.state("cells") == verdict.state("data and masks") == "right"
    assert len(said) == 2, "each cell is told once"


def test_a_method_without_a_space_of_its_own_is_tuned_over_the_training_settings(tmp_path):
    content = grid(tmp_path, methods=["planted"], seeds=1)
    lines = [line for line in PLUGIN.splitlines() if not line.startswith(NO_SPACE)]
    (tmp_path / "planted.py").write_text("\n".join(lines))
    pair = only_pair(run(tmp_path, "out", 2, grid=content).out)
    harness = {"learning_rate", "batch_size", "weight_decay", "clip_norm"}
    assert [set(trial["values"]) for trial in pair["trials"]] == [set(), harness, harness]


def test_a_method_all_of_whose_trials_fail_is_told_and_the_others_are_tuned(tmp_path):
    content = two(tmp_path, set={"planted": {"does": "raise ValueError('never')"}})
    lines = []
    results = run(tmp_path, "out", 2, grid=content, say=lines.append)
    planted, second = read(results.out)["pairs"]
    assert planted["chosen"] is None and {trial["state"] for trial in planted["trials"]} == {FAILED}
    assert second["chosen"] is not None and results.failed == 1
    assert results.scores["method"].unique().tolist() == ["constant", "second", "second tuned"]
    assert "tuning planted on mosi: 3 tried, 3 failed; none could be chosen, so there is no tuned row" in lines
    assert any("3 of 3 of planted on mosi" in line for line in results._content.report["provenance"]["tuning"])
    again = benchmark.report(results.out, say=quiet)
    assert again.scores["method"].unique().tolist() == ["constant", "second", "second tuned"]
