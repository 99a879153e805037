"""Ranges and choices say what they hold, and refuse what holds nothing."""

import numpy as np
import pytest

from benchmark import BenchmarkError, Choice, Range


def drawn(values, count=2000):
    return np.asarray(values.distribution.rvs(count, random_state=np.random.RandomState(0)))


def test_a_range_of_whole_numbers_holds_both_ends():
    assert set(drawn(Range(1, 4)).tolist()) == {1, 2, 3, 4}


def test_a_range_is_uniform_or_log_uniform():
    even, log = drawn(Range(2.0, 4.0)), drawn(Range(1e-4, 1e-2, log=True))
    assert even.min() >= 2 and even.max() <= 4 and np.median(even) == pytest.approx(3, abs=0.1)
    assert log.min() >= 1e-4 and log.max() <= 1e-2 and np.median(log) == pytest.approx(1e-3, rel=0.2)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Range(4, 1), r"Range\(low=4, high=1, log=False\): the lower end comes first"),
        (lambda: Range(1.0, 1.0), "below the upper one"),
        (lambda: Range(0.0, 1.0, log=True), "needs a lower end above 0"),
        (lambda: Range(16, 64, log=True), r"list whole numbers: Choice\(16, 32, 64\)"),
        (lambda: Range("1", 2), "finite numbers, as in"),
        (lambda: Range(0.0, float("inf")), "finite numbers, as in"),
        (lambda: Range(False, True), "finite numbers, as in"),
        (lambda: Choice(1), "two values or more"),
        (lambda: Choice(1, 2, 1), "all different"),
        (lambda: Choice([1, 2], 3), r"not Choice\(\[16, 32\]\)"),
        (lambda: Choice(float("nan"), 1.0), "finite numbers"),
    ],
)
def test_what_holds_nothing_is_refused_in_one_line(build, says):
    with pytest.raises(BenchmarkError, match=says) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_they_say_what_they_hold():
    assert str(Range(1, 4)) == "1 to 4, whole numbers"
    assert str(Range(1e-4, 1e-2, log=True)) == "0.0001 to 0.01, logarithmic"
    assert str(Range(0.0, 0.5)) == "0 to 0.5, uniform"
    assert str(Choice(None, 0.5, 1.0)) == "one of none, 0.5, 1.0"
