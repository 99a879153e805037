"""What a budget buys, worked out by hand on planted trials."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.tuning import Tuning, against_reference, by_budget, chances, outcomes, tell_values
from benchmark.files.atomic import json_text
from benchmark.files.manifest import read_manifest

NAN = float("nan")
RISES = Tuning(
    "mosi", "simulated", "rises", "rises tuned", "f1", valid=(60.0, 62.0, 50.0, 66.0), test=(58.0, 57.0, 40.0, 63.0),
    values=({}, {"rate": 0.1}, {"rate": 0.2}, {"rate": 0.00123456, "layers": 3}),
)  # fmt: skip
STAYS = Tuning(  # one trial failed, one is as good as the default
    "mosi", "simulated", "stays", "stays tuned", "f1", valid=(64.0, NAN, 64.0, 60.0), test=(61.0, NAN, 70.0, 65.0),
    values=({}, {}, {}, {}),
)  # fmt: skip
OVER = Tuning(
    "mosi_intensity", "file", "over", "over tuned", "mae", valid=(1.0, 0.8, 1.1), test=(1.0, 1.2, 0.9),
    values=({}, {"rate": 0.5}, {}),
)  # fmt: skip


def test_a_budget_gives_the_mean_over_the_subsets_of_configurations():
    found = by_budget([RISES, STAYS]).set_index(["method", "budget"])
    # budget 1: {1} -> 1, {2} -> the default, {3} -> 3; budget 2: {1, 2} -> 1, {1, 3} -> 3, {2, 3} -> 3
    expected = {
        0: (60, 58),
        1: ((62 + 60 + 66) / 3, (57 + 58 + 63) / 3),
        2: ((62 + 132) / 3, (57 + 126) / 3),
        3: (66, 63),
    }
    for budget, scores in expected.items():
        np.testing.assert_allclose(found.loc[("rises", budget), ["valid", "test"]].to_list(), scores)
        assert found.loc[("stays", budget), ["valid", "test"]].tolist() == [64.0, 61.0]
    # Dodge et al., with (60, 62, 66) for a default of 60: weights of n = 2 are 1/9, 3/9, 5/9
    np.testing.assert_allclose(found.loc["rises", "with_replacement"], [60, 188 / 3, 576 / 9, 1748 / 27])
    assert found.loc["stays", "with_replacement"].tolist() == [64.0] * 4
    assert found.loc["rises", "rank"].tolist() == [2, 2, 1, 1], "61 is a tie at a budget of two"
    assert found.loc["stays", "rank"].tolist() == [1, 1, 1, 2]


def test_it_is_the_mean_over_all_orders():
    rng = np.random.default_rng(0)
    valid, test = rng.integers(0, 4, 6).astype(float), rng.normal(size=6)
    tuning = Tuning("t", "s", "m", "m tuned", "f1", tuple(valid), tuple(test), ({},) * 6)
    found = by_budget([tuning]).set_index("budget")
    for budget in range(6):
        tried = [sorted((0, *order[:budget])) for order in permutations(range(1, 6))]
        chosen = [max(own, key=lambda trial: valid[trial]) for own in tried]
        np.testing.assert_allclose(
            found.loc[budget, ["valid", "test"]].to_list(), [valid[chosen].mean(), test[chosen].mean()]
        )
        assert chances(tuning.order, budget).sum() == pytest.approx(1.0)


def test_where_less_is_better_less_is_chosen():
    assert (OVER.chosen, RISES.chosen, STAYS.chosen) == (1, 3, 0)
    found = by_budget([OVER])
    np.testing.assert_allclose(found["valid"], [1.0, 0.9, 0.8])  # {1} -> 0.8, {2} -> the default
    np.testing.assert_allclose(found["test"], [1.0, 1.1, 1.2])
    np.testing.assert_allclose(found["with_replacement"], [1.0, 0.9, 0.85])
    assert OVER.less_test == pytest.approx((0.0, 0.4, -0.2)) and OVER.overtuned
    assert OVER.optimism == pytest.approx(0.4 - 0.2 / 3)
    assert RISES.optimism == 3.0 - (2.0 + 5.0 + 10.0 + 3.0) / 4 and not RISES.overtuned and not STAYS.overtuned
    assert STAYS.optimism == 3.0 - (3.0 - 6.0 - 5.0) / 3, "one that failed does not count"


def test_what_is_not_known_is_not_made_up():
    untested = Tuning("mosi", "simulated", "new", "new tuned", "f1", (60.0, 62.0), (58.0, NAN), ({}, {}))
    found = by_budget([untested, RISES]).set_index(["method", "budget"])
    assert found.loc[("new", 0), "test"] == 58.0 and np.isnan(found.loc[("new", 1), "test"])
    assert found.loc[("rises", 0), "rank"] == 1 and np.isnan(found.loc[("rises", 1), "rank"])
    assert untested.overtuned is None
    failed = Tuning("mosi", "simulated", "bad", "bad tuned", "f1", (NAN, 62.0), (NAN, 60.0), ({}, {}))
    assert by_budget([failed])["valid"].isna().tolist() == [True, False] and failed.chosen == 1
    assert by_budget([]).empty and outcomes([], pd.DataFrame(), pd.DataFrame()).empty


def pair(method, against, difference, p=0.5, task="mosi"):
    source = "file" if task == "mosi_intensity" else "simulated"
    ends = {"low": difference - 1.0, "high": difference + 2.0}
    return {"task": task, "source": source, "method": method, "against": against, "condition": "Avg.", "p": p,
            "difference": difference, **ends}  # fmt: skip


PAIRS = pd.DataFrame(
    [
        pair("rises", "rises tuned", -4.0), pair("stays tuned", "stays", 0.5),
        pair("over tuned", "over", 0.1, task="mosi_intensity"), pair("rises", "stays", -3.0, p=0.01),
        pair("stays tuned", "rises tuned", -2.5, p=0.02),
    ]
)  # fmt: skip
MEANS = {"rises": 58.0, "rises tuned": 62.0, "stays": 61.0, "stays tuned": 61.5}
INTERVALS = pd.DataFrame(
    [{"task": "mosi", "source": "simulated", "metric": "f1", "method": m, "condition": "Avg.", "mean": v} for m, v in MEANS.items()]
    + [{"task": "mosi", "source": "simulated", "metric": "f1", "method": m, "condition": "{l}", "mean": 0.0} for m in MEANS]
    + [{"task": "mosi_intensity", "source": "file", "metric": "mae", "method": "over", "condition": "Avg.", "mean": 1.2}]
)  # fmt: skip


def test_outcomes_are_of_the_rows_that_were_trained_anew():
    found = outcomes([RISES, STAYS, OVER], INTERVALS, PAIRS).set_index("method")
    rises = found.loc["rises"]
    assert (rises["gain"], rises["low"], rises["high"]) == (4.0, 2.0, 5.0), "turned round, with its interval"
    assert (rises["default_mean"], rises["tuned_mean"]) == (58.0, 62.0)
    assert (rises["default_rank"], rises["tuned_rank"]) == (2, 1)
    assert found.loc["stays", ["default_rank", "tuned_rank", "gain"]].tolist() == [1, 2, 0.5]
    assert rises["values"] == "rate 0.00123, layers 3" and found.loc["stays", "values"] == "the default"
    assert found["overtuned"].tolist() == [False, False, True] and found["trials"].tolist() == [3, 3, 2]
    assert outcomes([RISES], INTERVALS, PAIRS[:0]).empty


def test_a_default_that_was_chosen_gains_nothing_and_not_less_than_nothing():
    same = PAIRS[:1].assign(difference=0.0, low=0.0, high=0.0)  # as pairs say it: default less tuned
    found = outcomes([RISES], INTERVALS, same)[["gain", "low", "high"]]
    assert found.to_csv(index=False).splitlines()[1] == "0.0,0.0,0.0"
    kept = outcomes([STAYS, RISES], INTERVALS, PAIRS)
    assert kept["p"].isna().tolist() == [True, False], "of a default that stays there is nothing to test"


def test_a_comparison_that_changes_its_sign_is_found():
    (row,) = against_reference([RISES, STAYS, OVER], PAIRS, "stays").to_dict("records")
    assert (row["method"], row["default"], row["tuned"], row["changed"]) == ("rises", -3.0, 2.5, True)
    assert (row["default_p"], row["tuned_p"]) == (0.01, 0.02)
    alike = PAIRS.assign(difference=[-4.0, 0.5, 0.1, -3.0, 2.5])
    assert against_reference([RISES, STAYS], alike, "rises")[["tuned", "changed"]].values.tolist() == [[2.5, False]]
    assert against_reference([RISES, STAYS], PAIRS, "mult").empty


def test_values_are_told_in_words():
    values = {"rate": 1e-4, "layers": 2, "deep": True, "mrm": {"max_ratio": 0.5}}
    assert tell_values(values) == "rate 0.0001, layers 2, deep True, mrm.max_ratio 0.5"


def test_a_tuning_is_what_it_was_when_read_again(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json_text({"tuning": [STAYS.record, RISES.record]}))
    again = [Tuning.of_record(own) for own in read_manifest(path)["tuning"]]
    assert again[1] == RISES and np.isnan(again[0].valid[1])
    assert (again[0].chosen, again[0].values) == (STAYS.chosen, STAYS.values)
    path.write_text(json_text({"tuning": [RISES.record | {"test": [1.0]}]}))
    assert read_manifest(path) == {}, "one that is not as the benchmark writes it"
