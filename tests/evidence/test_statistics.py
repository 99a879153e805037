import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.statistics import (
    INCOMPLETE,
    average_draws,
    average_inter,
    condition_blocks,
    counted_tasks,
    data_set_blocks,
    holm,
    of_primary,
    over_seeds,
    ranks,
    seed_level_test,
)
from benchmark.protocol.missing import Setting


def tidy(rows):
    """Scores of one task, method and metric from (seed, available, ratio, draw, value)."""
    frame = pd.DataFrame(rows, columns=["seed", "available", "ratio", "draw", "value"])
    kinds = [
        Setting(available, ratio).kind for available, ratio in zip(frame["available"], frame["ratio"], strict=True)
    ]
    where = {"task": "mosi", "source": "simulated", "target": "polarity", "modalities": "lav"}
    return frame.assign(**where, method="m", metric="f1", kind=kinds, n=10)


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
    values = average_draws(scores)
    whole = over_seeds(values, ["method"]).iloc[0]
    assert np.isnan(whole["mean"]) and whole["seeds"] == 1, "the mean of the others would be of fewer seeds"
    of_defined = over_seeds(values, ["method"], of_defined=True).iloc[0]
    assert of_defined["mean"] == 70.0 and of_defined["seeds"] == 1


def test_average_inter_is_over_the_six_incomplete_subsets_only():
    inter = [(0, subset, 0.0, 0, float(i)) for i, subset in enumerate(INCOMPLETE)]
    others = [(0, "lav", 0.0, 0, 1000.0), (0, "lav", 0.5, 0, 1000.0), (0, "l", 0.5, 0, 1000.0)]
    result = average_inter(average_draws(tidy(inter + others)))
    assert list(result["value"]) == [np.mean(range(6))]


def test_average_inter_of_two_modalities_is_over_their_two_subsets():
    rows = [(0, "l", 0.0, 0, 10.0), (0, "a", 0.0, 0, 30.0), (0, "lav", 0.0, 0, 90.0), (1, "l", 0.0, 0, 10.0)]
    values = average_draws(tidy(rows).assign(modalities="la"))
    found = average_inter(values)
    assert found["value"].tolist() == [20.0] and found["seed"].tolist() == [0], "the other seed lacks one of the two"
    assert average_inter(values.assign(modalities="lav")).empty
    both = pd.concat([values, average_draws(tidy([(0, s, 0.0, 0, 50.0) for s in INCOMPLETE]).assign(task="three"))])
    assert average_inter(both)[["task", "value"]].to_numpy().tolist() == [["mosi", 20.0], ["three", 50.0]]


@pytest.mark.parametrize("hole", ["row", "nan"])
def test_average_inter_needs_all_six(hole):
    rows = [(seed, subset, 0.0, 0, 50.0) for seed in (0, 1) for subset in INCOMPLETE]
    rows = rows[:-1] if hole == "row" else [*rows[:-1], (1, INCOMPLETE[-1], 0.0, 0, np.nan)]
    found = average_inter(average_draws(tidy(rows))).set_index("seed")["value"]
    assert list(found.dropna().index) == [0]
    assert (1 in found.index) == (hole == "nan"), "of one that was tested in all of them, that there is none"


def test_two_numbers_for_the_same_thing_are_refused():
    with pytest.raises(ValueError, match="twice"):
        average_draws(tidy([(0, "lav", 0.0, 0, 50.0), (0, "lav", 0.0, 0, 51.0)]))


def test_ratios_that_differ_by_rounding_are_one_condition():
    values = average_draws(tidy([(0, "lav", 0.1 + 0.2, 0, 50.0), (1, "lav", 0.3, 0, 60.0)]))
    assert set(values["ratio"]) == {0.3}


def averages(methods, seeds):
    rng = np.random.default_rng(5)
    rows = [(s, m, shift + rng.normal(0, 0.1)) for s in range(seeds) for m, shift in methods.items()]
    return pd.DataFrame(rows, columns=["seed", "method", "value"])


def test_wilcoxon_is_left_out_where_it_could_never_reject_and_says_how_many_seeds_it_takes():
    text = seed_level_test(averages({"a": 5, "b": 1, "c": 9}, 5), "a", alpha=0.05)
    assert "with 5 seeds its least p is 0.0625" in text and "it would take 7 seeds" in text  # 2 * 2^(1-7) < 0.05
    assert "it would take 6 seeds" in seed_level_test(averages({"a": 5, "b": 1}, 2), "a", alpha=0.05)
    text = seed_level_test(averages({"a": 5, "b": 1, "c": 9}, 7), "a", alpha=0.05)
    assert text.endswith("after Holm: b p = 0.0312, c p = 0.0312.")
    assert seed_level_test(averages({"a": 5}, 7), "a", alpha=0.05) == ""
    assert seed_level_test(averages({"a": 5, "b": 1}, 7), "x", alpha=0.05) == ""


def test_ranks_by_hand():
    values = [("a", 50.0, 60.0), ("b", 40.0, 70.0), ("c", 40.0, 50.0)]
    rows = pd.concat(
        tidy([(0, "l", 0.0, 0, first), (0, "a", 0.0, 0, second)]).assign(method=m) for m, first, second in values
    )
    found = ranks(condition_blocks(average_draws(rows)))
    assert found["rank"].to_dict() == {"a": 1.5, "b": 1.75, "c": 2.75} and set(found["blocks"]) == {2}
    assert found["wins"].to_dict() == {"a": 75.0, "b": 62.5, "c": 12.5}


def test_tasks_in_which_a_method_is_missing_do_not_count():
    rows = [
        tidy([(0, "l", 0.0, 0, 50.0)]).assign(method=method, task=task, source=source)
        for task, source, methods in (("z", "file", "ab"), ("y", "simulated", "a"), ("x", "file", "ab"))
        for method in methods
    ]
    scores = pd.concat(rows)
    blocks = condition_blocks(average_draws(scores))
    assert len(blocks) == 2 and counted_tasks(scores, blocks) == [("z", "file"), ("x", "file")]


def test_what_is_undefined_is_ranked_last_and_data_sets_count_the_conditions_that_all_have():
    nan = float("nan")
    a = tidy([(0, "l", 0.0, 0, 80.0), (0, "a", 0.0, 0, nan), (1, "a", 0.0, 0, 90.0)]).assign(method="a")
    b = tidy([(0, "l", 0.0, 0, 70.0), (0, "a", 0.0, 0, 10.0)]).assign(method="b")
    found = ranks(condition_blocks(average_draws(pd.concat([a, b]))))
    assert found["rank"].to_dict() == {"a": 1.5, "b": 1.5}
    easy = tidy([(0, "l", 0.0, 0, 79.0)]).assign(method="c")
    whole = tidy([(0, "l", 0.0, 0, 80.0), (0, "a", 0.0, 0, 40.0)]).assign(method="d")
    assert data_set_blocks(average_draws(pd.concat([easy, whole]))).iloc[0].to_dict() == {"c": 79.0, "d": 80.0}


def test_there_are_no_ranks_of_one_method_or_where_the_methods_have_nothing_in_common():
    one = tidy([(0, "l", 0.0, 0, 50.0), (0, "a", 0.0, 0, 60.0)])
    apart = pd.concat([tidy([(0, s, 0.0, 0, 50.0)]).assign(method=s) for s in ("l", "a")])
    for scores in (one, apart):
        found = ranks(condition_blocks(average_draws(scores)))
        assert list(found.columns) == ["rank", "wins", "blocks"] and found.empty


def test_methods_without_a_common_seed_are_not_tested():
    values = pd.DataFrame({"seed": [0, 1], "method": ["a", "b"], "value": [1.0, 2.0]})
    assert seed_level_test(values, "a", alpha=0.05) == ""


def test_holm_by_hand():
    p = np.array([[0.01], [0.04], [np.nan], [0.03], [0.005]])
    corrected = holm(p)[:, 0]
    assert corrected[[4, 0, 3, 1]] == pytest.approx([0.02, 0.03, 0.06, 0.06]) and np.isnan(corrected[2])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])


def test_the_primary_metric_of_each_task_is_the_first_of_its_scores():
    rows = [("x", "mae"), ("x", "f1"), ("y", "f1"), ("y", "mae"), ("x", "mae")]
    scores = pd.DataFrame(rows, columns=["task", "metric"], index=[7, 7, 8, 9, 9]).assign(source="file")
    assert of_primary(scores)[["task", "metric"]].to_numpy().tolist() == [["x", "mae"], ["y", "f1"], ["x", "mae"]]
    assert of_primary(scores.iloc[:0]).empty


def test_where_less_is_better_the_least_is_first():
    """In ranks over conditions, and in the blocks of a critical-difference diagram."""
    of_error = {"a": 0.5, "b": 1.5, "c": 1.0}
    rows = [
        tidy([(seed, "l", 0.0, 0, value), (seed, "lav", 0.5, 0, value + 0.1)]).assign(method=m, metric="mae")
        for m, value in of_error.items()
        for seed in (0, 1)
    ]
    others = [rows.assign(metric="f1", value=100 * rows["value"]) for rows in rows]
    values = average_draws(pd.concat([rows for pair in zip(rows, others, strict=True) for rows in pair]))
    assert ranks(condition_blocks(values))["rank"].to_dict() == {"a": 1.0, "c": 2.0, "b": 3.0}
    blocks = data_set_blocks(values)
    assert len(blocks) == 1 and (blocks["a"] > blocks["c"]).all() and (blocks["c"] > blocks["b"]).all()
