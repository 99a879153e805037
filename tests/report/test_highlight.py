"""Which methods stand out."""

import pandas as pd
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.statistics import average_draws
from benchmark.report.figures import look_of
from benchmark.report.highlight import stand_out
from benchmark.running.choice import check_highlight
from tests.report.test_tables import make_scores

METHODS = [*"abcdefgh", "constant"]


def values(task="mosi", order=METHODS, settings=None):
    """Scores in which the methods stand in this order, the best first."""
    scores = make_scores(METHODS, seeds=2, task=task, **({} if settings is None else {"settings": settings}))
    least = scores["metric"].isin(["mae"])
    better = scores["method"].map(order.index) * 1.0
    return average_draws(scores.assign(value=(50 - better).where(~least, 1 + better)))


def coloured(looks):
    return looks.coloured(METHODS)


def test_the_reference_and_the_two_best_others_are_in_colour_and_the_caption_says_so():
    looks = stand_out(values(order=[*"hgfedcba", "constant"]), METHODS, against="a")
    assert coloured(looks) == ["a", "g", "h"] and looks.grey == set("bcdef")
    assert looks.said == " Thick: a, the reference; in colour: h and g, the best others by Avg.; grey: the other 5."
    assert looks["a"]["linewidth"] > 2 and looks["h"] == look_of("h") and looks["b"]["marker"] == ""
    assert looks["b"]["color"] == looks["f"]["color"] != looks["constant"]["color"]
    alone = stand_out(values(), METHODS)
    assert coloured(alone) == ["a", "b"] and "Thick" not in alone.said and "the best by Avg." in alone.said
    assert coloured(stand_out(values(), METHODS, against="a")) == ["a", "b", "c"], "the reference is not counted"
    assert coloured(stand_out(values(), METHODS, against="not there")) == ["a", "b"]


def test_of_a_metric_where_less_is_better_the_lowest_are_the_best():
    scores = values("mosi_intensity", order=[*"hgfedcba", "constant"])
    assert scores["metric"].iloc[0] == "mae"
    assert coloured(stand_out(scores, METHODS)) == ["g", "h"]


def test_several_tasks_are_put_together_by_their_ranks():
    both = pd.concat([values("mosi", [*"abcdefgh", "constant"]), values("iemocap", [*"hbcdefga", "constant"])])
    looks = stand_out(both, METHODS)
    assert coloured(looks) == ["b", "c"] and "by the mean of their ranks by task in Avg." in looks.said


def test_without_an_average_the_mean_of_all_settings_counts():
    looks = stand_out(values(settings=[("lav", 0.0), ("lav", 0.5)]), METHODS)
    assert coloured(looks) == ["a", "b"] and "by the mean of all settings" in looks.said


def test_few_methods_are_all_in_colour():
    few = METHODS[:6]
    looks = stand_out(values(), few, against="a")
    assert not looks.grey and looks.coloured(few) == few and looks.said == " Thick: a, the reference."
    assert stand_out(values(), few).said == ""


def test_what_is_asked_for_is_in_colour_and_nothing_else():
    looks = stand_out(values(), METHODS, against="h", highlight=["f", "d"])
    assert coloured(looks) == ["d", "f", "h"]
    assert "in colour: d, f, as was asked for; grey: the other 5." in looks.said
    assert stand_out(values(), METHODS[:4], highlight=["d"]).grey == set("abc")


def test_an_unknown_method_is_refused_in_one_line():
    check_highlight(["mult"], ["mult", "misa"])
    with pytest.raises(BenchmarkError, match=r"row in --highlight 'mlut'.*mult") as refused:
        check_highlight(["misa", "mlut"], ["mult", "misa"])
    assert "\n" not in str(refused.value)
