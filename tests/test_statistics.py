import numpy as np
import pandas as pd
import pytest

from benchmark.statistics import INCOMPLETE, average_draws, average_inter, over_seeds


def tidy(rows):
    """Scores of one task, method and metric from (seed, available, ratio, draw, value)."""
    frame = pd.DataFrame(rows, columns=["seed", "available", "ratio", "draw", "value"])
    return frame.assign(task="mosi", source="simulated", method="m", metric="f1", n=10)


def test_draws_are_averaged_within_a_seed_before_anything_else():
    # Pooling the four numbers would give a mean of 40 over 4, and another deviation.
    scores = tidy(
        [
            (0, "lav", 0.3, 0, 10.0),
            (0, "lav", 0.3, 1, 20.0),
            (0, "lav", 0.3, 2, 30.0),
            (1, "lav", 0.3, 0, 100.0),
        ]
    )
    result = over_seeds(average_draws(scores), ["method"]).iloc[0]
    assert result["mean"] == pytest.approx(60.0)
    assert result["std"] == pytest.approx(np.std([20.0, 100.0], ddof=1))
    assert result["seeds"] == 2


def test_one_seed_has_no_deviation():
    result = over_seeds(average_draws(tidy([(0, "lav", 0.0, 0, 50.0)])), ["method"]).iloc[0]
    assert result["mean"] == 50.0 and np.isnan(result["std"]) and result["seeds"] == 1


def test_a_missing_number_is_no_seed_and_spoils_its_draws():
    scores = tidy([(0, "l", 0.0, 0, 50.0), (0, "l", 0.0, 1, np.nan), (1, "l", 0.0, 0, 70.0), (1, "l", 0.0, 1, 70.0)])
    result = over_seeds(average_draws(scores), ["method"]).iloc[0]
    assert result["mean"] == 70.0 and result["seeds"] == 1


def test_average_inter_is_over_the_six_incomplete_subsets_only():
    inter = [(0, subset, 0.0, 0, float(i)) for i, subset in enumerate(INCOMPLETE)]
    others = [(0, "lav", 0.0, 0, 1000.0), (0, "lav", 0.5, 0, 1000.0), (0, "l", 0.5, 0, 1000.0)]
    result = average_inter(average_draws(tidy(inter + others)))
    assert list(result["value"]) == [np.mean(range(6))]


@pytest.mark.parametrize("hole", ["row", "nan"])
def test_average_inter_needs_all_six(hole):
    rows = [(seed, subset, 0.0, 0, 50.0) for seed in (0, 1) for subset in INCOMPLETE]
    rows = rows[:-1] if hole == "row" else [*rows[:-1], (1, INCOMPLETE[-1], 0.0, 0, np.nan)]
    assert list(average_inter(average_draws(tidy(rows)))["seed"]) == [0]


def test_two_numbers_for_the_same_thing_are_refused():
    with pytest.raises(ValueError, match="twice"):
        average_draws(tidy([(0, "lav", 0.0, 0, 50.0), (0, "lav", 0.0, 0, 51.0)]))


def test_ratios_that_differ_by_rounding_are_one_condition():
    values = average_draws(tidy([(0, "lav", 0.1 + 0.2, 0, 50.0), (1, "lav", 0.3, 0, 60.0)]))
    assert set(values["ratio"]) == {0.3}
