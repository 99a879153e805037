"""A tuned run whose trials and choices are true, and one planted change for each thing that is looked at."""

import json
import shutil

import numpy as np
import pytest

import benchmark
from benchmark.report.findings import RIGHT, UNKNOWN, WRONG
from benchmark.running.store import Store, write_record
from tests.api_calls import keys, quiet
from tests.running.test_tuning import grid


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    benchmark.run(grid(folder, methods=["planted"]), tune=2, out=folder / "out", jobs=1, say=quiet)
    return folder


@pytest.fixture
def run(ran, tmp_path):
    return shutil.copytree(ran / "out", tmp_path / "run")


@pytest.fixture
def verify(ran):
    return lambda run, **how: benchmark.verify(run, plugins=[ran / "planted.py"], say=quiet, **how)


def change(run, turn):
    """Change what is told of the one pair."""
    path = run / "tuning.json"
    content = json.loads(path.read_text())
    turn(content["pairs"][0])
    path.write_text(json.dumps(content))


def wrong(verdict):
    assert not verdict.sound
    return [finding.what for finding in verdict.findings if (finding.check, finding.state) == ("trials", WRONG)]


def test_a_tuned_run_as_it_was_written_is_sound(run, verify):
    verdict = verify(run, recompute=1, jobs=1)
    assert verdict.sound and {verdict.state(check) for check in verdict.checked} == {RIGHT}
    assert verdict.checked["trials"] == "3 trials, and what was chosen 1 times"


def test_a_score_that_the_predictions_do_not_give_is_found(run, verify):
    def turn(pair):
        loser = next(trial for trial in pair["trials"] if trial["number"] not in (0, pair["chosen"]))
        loser["score"] -= 1e-3

    change(run, turn)
    (what,) = wrong(verify(run))
    assert "its score is " in what and "and its predictions give " in what


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (lambda pair: pair["trials"].pop(0 if pair["chosen"] else 1), "of trials 0 to 2, tuning.json tells of"),
        (lambda pair: pair["trials"][1]["values"].update(shift=0.125), "its shift is "),
        (lambda pair: pair["trials"][1]["values"].update(learning_rate=0.125), "its learning_rate is "),
        (lambda pair: pair.update(metric="accuracy"), "its metric is f1, and tuning.json says accuracy"),
        (lambda pair: pair.update(task="mosei"), "its task is mosi, and tuning.json says mosei"),
        (lambda pair: pair.update(name="mult"), "its method is planted, and tuning.json says mult"),
        (lambda pair: pair["trials"][0].pop("key"), "cannot be used"),
    ],
)
def test_what_is_told_of_a_trial_and_its_cell_does_not_say_is_found(run, verify, turn, said):
    change(run, turn)
    assert any(said in what for what in wrong(verify(run)))


def test_configurations_that_were_not_drawn_for_their_numbers_are_found(run, verify):
    def turn(pair):
        one, two = (trial for trial in pair["trials"] if trial["number"])
        one["number"], two["number"] = two["number"], one["number"]
        pair["chosen"] = {1: 2, 2: 1}.get(pair["chosen"], 0)

    change(run, turn)
    first, second = wrong(verify(run))
    assert all("it is not the configuration that is drawn for its number" in what for what in (first, second))


def test_a_choice_that_is_not_the_best_is_found(run, verify):
    change(run, lambda pair: pair.update(chosen=0, values={}))
    assert any("trial 0 is chosen, and " in what for what in wrong(verify(run)))


def test_predictions_that_are_others_are_found_though_their_checksum_is_right(run, verify):
    store = Store(run / "trials")
    key = json.loads((run / "tuning.json").read_text())["pairs"][0]["trials"][1]["key"]
    file, record = store.path(key) / "validation.npz", store.read(key)
    arrays = dict(np.load(file))
    np.savez_compressed(file, **{**arrays, "logits": -arrays["logits"]})
    (store.path(key) / "cell.json").unlink()
    write_record(store.path(key), {n: v for n, v in record.items() if n not in ("files", "checksum")})
    (what,) = wrong(verify(run))
    assert key in what and "and its predictions give " in what


def test_one_changed_byte_of_a_trial_is_found(run, verify):
    key = min(keys(run / "trials"))
    file = run / "trials" / "cells" / key / "validation.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (what,) = wrong(verify(run))
    assert f"{key}/validation.npz is damaged" in what


def test_a_trial_and_a_row_that_are_of_other_values_are_found(run, verify):
    store = Store(run / "trials")
    pair = json.loads((run / "tuning.json").read_text())["pairs"][0]
    key = pair["trials"][pair["chosen"]]["key"]
    record = store.read(key)
    (store.path(key) / "cell.json").unlink()
    changed = {**record, "hyperparameters": record["hyperparameters"] | {"shift": 0.5}}
    write_record(store.path(key), {n: v for n, v in changed.items() if n not in ("files", "checksum")})
    found = wrong(verify(run))
    assert any("it is not the one that its definition says" in what for what in found)
    assert sum("it is not what was chosen" in what for what in found) == 2, "of two seeds"


def test_without_trials_what_is_made_of_them_is_open_and_nothing_is_wrong(run, verify):
    gone = json.loads((run / "tuning.json").read_text())["pairs"][0]["trials"][0]["key"]
    shutil.rmtree(run / "trials" / "cells" / gone)
    told = [finding.what for finding in verify(run).findings]
    assert f"trial 0 of planted on mosi ({gone}) is not here" in told and verify(run).sound
    shutil.rmtree(run / "trials")
    verdict = verify(run)
    assert f"trial 0 of planted on mosi ({gone}) and 2 more are not here" in [f.what for f in verdict.findings]
    assert verdict.sound and verdict.state("trials") == verdict.state("tables") == UNKNOWN
    assert {f.what for f in verdict.findings if f.check == "tables"} == {
        f"tables/mosi_tuning{end}: it is made of trials that are not here"
        for end in (".md", ".tex", ".csv", "_budget.csv")
    }


def test_a_file_of_choices_that_is_none_is_wrong(run, verify):
    (run / "tuning.json").write_text("[]")
    assert "cannot be used" in wrong(verify(run))[0]
