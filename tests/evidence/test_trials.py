"""Stored trials, with scores worked out by hand, and the report that is made of them."""

import json
import shutil

import numpy as np
import pytest

from benchmark import methods
from benchmark.errors import BenchmarkError
from benchmark.evidence.trials import read_tunings, score_on_test
from benchmark.protocol.missing import Setting, incomplete_subsets
from benchmark.report.compose import gather, write
from benchmark.running.store import FAILED, Store
from tests.report.test_manifest import record
from tests.stored_cells import LABELS, write_cell

TESTED = tuple((setting, 0) for setting in (Setting(), Setting("l"), Setting(ratio=0.5), Setting(ratio=0.9)))
RIGHT = np.eye(2, dtype=np.float32)[(LABELS >= 0).astype(int)]
DATA = {
    "source": "simulated", "kind": "sentiment", "categories": ["negative", "non-negative"], "origin": "simulator",
    "samples": {"test": 3},
}  # fmt: skip
SIX = ((Setting(), 0), *((Setting(subset), 0) for subset in incomplete_subsets()))


def write_trials(out, chosen=1):
    """The default is right in the complete setting and one of two that lack frames, the others always or never."""
    some = np.stack([RIGHT, 1 - RIGHT, RIGHT, 1 - RIGHT])
    write_cell(out / "trials", "a0", settings=TESTED, outputs=some)
    write_cell(out / "trials", "a1", settings=TESTED)
    write_cell(out / "trials", "a2", state=FAILED, error="x")
    write_cell(out / "trials", "a3", settings=TESTED, right=False)
    trials = [
        {"number": 3, "key": "a3", "score": 65.0, "values": {"layers": 1}, "state": "done"},
        {"number": 0, "key": "a0", "score": 60.0, "values": {}, "state": "done"},
        {"number": 1, "key": "a1", "score": 70.0, "values": {"layers": 3}, "state": "done"},
        {"number": 2, "key": "a2", "score": None, "values": {"layers": 4}, "state": "failed"},
        {"number": 4, "key": "a4", "score": 1.0, "values": {"layers": 5}, "state": "done"},
    ]
    for trial in trials:
        trial |= {"seconds": 1.0, "error": "", "parts": {}, "opened_before": trial["key"] in ("a0", "a1")}
    mult = {"task": "mosi", "source": "simulated", "method": "mult", "tuned": "mult tuned", "metric": "f1"}
    mult |= {"lower_is_better": False, "values": {}}
    mult["cells"] = {"default": ["b0", "b1", "b2"], "tuned": ["c0", "c1", "c2"]}
    failed = mult | {"method": "misa", "tuned": "misa tuned", "chosen": None, "trials": [], "cells": {"tuned": []}}
    pairs = [mult | {"chosen": chosen, "trials": trials}, failed]
    about = {"grid": "g", "seed": 10_000, "draws": [0, 1, 2], "rule": "chosen by lot"}
    (out / "tuning.json").write_text(json.dumps({**about, "pairs": pairs}))


def test_a_trials_score_is_that_of_its_settings_in_equal_parts(tmp_path):
    write_trials(tmp_path)
    store = Store(tmp_path / "trials")
    assert score_on_test(store, "a0") == pytest.approx((100 + 0 + 50) / 3)
    assert score_on_test(store, "a1") == pytest.approx(100.0) and score_on_test(store, "a3") == 0.0
    assert np.isnan(score_on_test(store, "a2")) and np.isnan(score_on_test(store, "a4")), (
        "one that failed, one that is not there"
    )
    (tuning,) = read_tunings(tmp_path)
    np.testing.assert_allclose(tuning.valid, [60, 70, np.nan, 65, 1])
    np.testing.assert_allclose(tuning.test, [50, 100, np.nan, 0, np.nan])
    assert tuning.chosen == 1 and tuning.values[1] == {"layers": 3} and tuning.optimism == pytest.approx(-30 - 15)
    assert read_tunings(tmp_path / "trials") == []
    (tmp_path / "shard").mkdir()
    shutil.copy(tmp_path / "tuning.json", tmp_path / "shard")  # without the trials
    (alone,), (both,) = read_tunings(tmp_path / "shard"), read_tunings(tmp_path / "shard", tmp_path)
    assert np.isnan(alone.test).all() and both.test[1] == pytest.approx(100.0)


def test_what_shards_have_tested_is_put_together(tmp_path):
    write_trials(tmp_path)
    (whole,) = read_tunings(tmp_path)
    parts = [tmp_path / "one", tmp_path / "other"]
    for part, gone in zip(parts, ("a0", "a1"), strict=True):
        shutil.copytree(tmp_path / "trials", part / "trials")
        shutil.copy(tmp_path / "tuning.json", part)
        shutil.rmtree(part / "trials" / "cells" / gone)
    together = [read_tunings(*order) for order in (parts, parts[::-1])]
    assert np.isnan(read_tunings(parts[0])[0].test[0]) and np.isnan(read_tunings(parts[1])[0].test[1])
    for (found,) in together:
        np.testing.assert_array_equal(found.test, whole.test)
        assert found.optimism == whole.optimism


def test_settings_that_no_choice_was_made_by_do_not_count(tmp_path):
    write_trials(tmp_path)
    store, names = Store(tmp_path / "trials"), ["lav@0.0#0", "lav@0.5#0", "lav@0.5#1"]
    assert score_on_test(store, "a0", names) == pytest.approx((100 + 100) / 2)
    assert np.isnan(score_on_test(store, "a0", [*names, "a@0.0#0"])), "a setting that it was not tested in"


def test_a_file_that_holds_no_choices_is_refused_in_one_line(tmp_path):
    lacks = '{"pairs": [{"method": "m", "tuned": "t", "task": "x", "cells": {"tuned": []}, "trials": []}]}'
    for content in (lacks, '{"pairs": [{"task": "mosi"}]}', "no JSON", "{}"):
        (tmp_path / "tuning.json").write_text(content)
        with pytest.raises(BenchmarkError, match=r"tuning\.json cannot be used.*; .*command") as raised:
            read_tunings(tmp_path)
        assert "\n" not in str(raised.value)
    write_trials(tmp_path, chosen=3)
    with pytest.raises(BenchmarkError, match="of mult on mosi it chooses trial 3, but trial 1 has the best"):
        read_tunings(tmp_path)
    without = json.loads((tmp_path / "tuning.json").read_text())
    without["pairs"][0]["trials"] = without["pairs"][0]["trials"][2:]
    (tmp_path / "tuning.json").write_text(json.dumps(without))
    with pytest.raises(BenchmarkError, match="mult has no trial of its defaults"):
        read_tunings(tmp_path)


def test_the_report_of_a_tuned_run_says_what_tuning_gave(tmp_path):
    write_trials(tmp_path)
    half = np.stack([RIGHT] * 4 + [1 - RIGHT] * 3)
    facts = {name: record(1)[name] for name in ("environment", "git_commit", "started", "seconds")}
    facts |= {"training_seconds": 3.0, "parameters": 10, "data": DATA}
    changed = {"label": "mult tuned", "hyperparameters": {"layers": 3}, "variant": {"layers": 3}}
    for seed in range(3):
        write_cell(tmp_path, f"b{seed}", seed=seed, settings=SIX, outputs=half, **facts)
        write_cell(tmp_path, f"c{seed}", seed=seed, settings=SIX, **facts, **changed)
    content = gather([tmp_path], methods.catalogue(), grid="g", command="c", against=["mult"])
    write(content, tmp_path, lambda line: None)
    table = (tmp_path / "tables" / "mosi_tuning.md").read_text(encoding="utf-8")
    assert (
        "| MulT | 50.00 | 100.00 | +50.00 " in table and "| 1 → 1 | 70.00 | -30.00 | -45.00 | no | layers 3 |" in table
    )
    assert (tmp_path / "figures" / "mosi_tuning_budget.png").is_file()
    assert "mosi_tuning_budget" in content.parts["figures"]
    opened = "opened before the choice was made, as an earlier budget does"
    assert f"{opened}, for trials of MulT (2 of 5 trials)" in table
    page = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    said = "The default and 4 random configurations of MulT, misa, each trained once, with seed 10000; chosen by lot"
    assert f"{said} (draws 0, 1, 2)." in page and "Trials that failed: 1 of 5 of MulT on mosi." in page
    assert (
        "opened for trials before the choice was made, as an earlier budget does: 2 of 5 of MulT on mosi; choices"
        in page
    )
    for left in ("cells", "trials"):  # what is put into a repository is without them
        (tmp_path / left).rename(tmp_path / f"moved-{left}")
    again = gather([tmp_path], methods.catalogue(), grid="g", command="c", against=["mult"])
    assert again.parts["tables"]["mosi_tuning"].blocks == content.parts["tables"]["mosi_tuning"].blocks
    assert again.report["provenance"]["tuning"] == content.report["provenance"]["tuning"]
