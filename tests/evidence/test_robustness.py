"""Evenness over modalities and worst cases, with values by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.robustness import evenness, modality_costs, worst_cases
from benchmark.evidence.scores import COLUMNS, SETTING
from benchmark.evidence.statistics import average_draws
from benchmark.protocol.missing import Setting


def tidy(scores, *, method="m", seed=0, metric="f1", modalities="lav"):
    """Tidy scores of one model, from values by setting."""
    rows = [
        ("mosi", "file", method, seed, s.kind, s.available, s.share, 0, metric, value, 9, "k", "polarity", modalities,
         str(s))
        for s, value in scores.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*COLUMNS, SETTING])


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([2.0, 2.0, 2.0], 1.0),
        ([5.0, 0.0, 0.0], 0.0),
        ([5.0, -3.0, 0.0], 0.0),  # below 0 counts as 0
        ([1.0, 1.0, 0.0], math.log(2) / math.log(3)),
        ([3.0, 1.0], -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)),
        ([0.0, 0.0, 0.0], math.nan),
        ([1e-8, 3e-8, 0.0], math.nan),  # rounding
        ([1.0, 1.0, 1e-8], math.log(2) / math.log(3)),
        ([-1.0, -2.0, -0.5], math.nan),
        ([1.0, math.nan, 1.0], math.nan),
        ([1.0], math.nan),
    ],
)
def test_evenness_by_hand(costs, expected):
    assert evenness(costs) == pytest.approx(expected, nan_ok=True)
    assert math.isnan(expected) or math.copysign(1, evenness(costs)) == 1


def test_evenness_does_not_depend_on_order_or_scale():
    rng = np.random.default_rng(0)
    for costs in rng.uniform(0, 9, (20, 3)):
        assert evenness([*costs[::-1]]) == pytest.approx(evenness([*costs])) == pytest.approx(evenness([*(7 * costs)]))
        assert 0 <= evenness([*costs]) <= 1


WHOLE = {Setting(): 80.0, Setting("av"): 50.0, Setting("lv"): 70.0, Setting("la"): 84.0}


def test_costs_by_hand():
    found = modality_costs(average_draws(tidy(WHOLE | {Setting("l"): 10.0, Setting(noise=1.0): 5.0}))).iloc[0]
    assert [found["cost_l"], found["cost_a"], found["cost_v"]] == [30.0, 10.0, -4.0]
    assert found["evenness"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3))


def test_costs_of_an_error_are_what_it_rises_by():
    found = modality_costs(average_draws(tidy({s: v / 100 for s, v in WHOLE.items()}, metric="mae"))).iloc[0]
    assert found[["cost_l", "cost_a", "cost_v"]].tolist() == pytest.approx([-0.3, -0.1, 0.04])
    assert found["evenness"] == 0.0


def test_costs_of_two_modalities_and_where_a_setting_lacks():
    two = {Setting(): 80.0, Setting("l"): 78.0, Setting("a"): 78.0}
    found = modality_costs(average_draws(tidy(two, modalities="la"))).iloc[0]
    assert [found["cost_l"], found["cost_a"]] == [2.0, 2.0] and math.isnan(found["cost_v"]) and found["evenness"] == 1.0
    assert modality_costs(average_draws(tidy({s: v for s, v in WHOLE.items() if s != Setting("lv")}))).empty
    floor = modality_costs(average_draws(tidy(WHOLE, method="random"))).iloc[0]
    assert floor["cost_l"] == 30.0 and math.isnan(floor["evenness"]), "a floor uses no modality"


def test_the_worst_case_is_of_means_over_seeds_and_of_no_setting_that_is_complete_or_empty():
    first = {Setting(): 1.0, Setting("lav", 1.0): 0.0, Setting("l"): 40.0, Setting("lav", (0.1, 0.5, 0.9)): 30.0}
    second = {Setting(): 1.0, Setting("lav", 1.0): 0.0, Setting("l"): 20.0, Setting("lav", (0.1, 0.5, 0.9)): 34.0}
    found = worst_cases(average_draws(pd.concat([tidy(first), tidy(second, seed=1)]))).iloc[0]
    assert (found["condition"], found["mean"], found["seeds"]) == ("{l}", 30.0, 2)
    assert found["std"] == pytest.approx(math.sqrt(200))
    noisy = worst_cases(average_draws(tidy({Setting(noise={"l": 2}): 9.0, Setting("lav?"): 9.5, Setting(): 1.0}))).iloc[
        0
    ]
    assert (noisy["condition"], noisy["mean"]) == ("noise l=2.0", 9.0) and math.isnan(noisy["std"])
    error = worst_cases(average_draws(tidy({Setting("l"): 0.9, Setting("a"): 1.2}, metric="mae"))).iloc[0]
    assert (error["condition"], error["mean"]) == ("{a}", 1.2), "of an error, the highest"
    assert worst_cases(average_draws(tidy({Setting(): 1.0}))).empty
    undefined = {Setting("l"): 0.1, Setting("a"): math.nan}
    found = worst_cases(average_draws(pd.concat([tidy(undefined), tidy({**undefined, Setting("a"): 0.9}, seed=1)])))
    assert found["condition"].tolist() == ["{a}"] and found["mean"].isna().all(), "nobody gains by what is undefined"
