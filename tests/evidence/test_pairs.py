"""Each pair of methods."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import combine_pvalues

from benchmark.evidence.pairs import matrix_of_pairs
from tests.report_frames import make_pairs

METHODS = ["a", "b", "c"]


def blocks_of(values, tasks=("mosi",)):
    names = ["task", "source", "available", "ratio"]
    where = pd.MultiIndex.from_product([tasks, ["simulated"], range(len(values) // len(tasks)), [0.0]], names=names)
    return pd.DataFrame(values, index=where, columns=METHODS)


def test_a_pair_has_its_difference_its_wins_and_its_test_from_both_sides():
    values = [[3.0, 2.0, 1.0], [2.0, 2.0 + 1e-9, 1.0], [1.0, 2.0, 2.5], [9.0, 8.0, 7.0]]
    found = matrix_of_pairs(blocks_of(values), make_pairs(METHODS)).set_index(["method", "against"])
    assert len(found) == 6 and set(found["blocks"]) == {4} and set(found["condition"]) == {"Avg."}
    assert found.loc[("a", "b"), ["wins", "ties", "losses"]].tolist() == [2, 1, 1], "what differs by nothing is a tie"
    assert found.loc[("b", "a"), ["wins", "ties", "losses"]].tolist() == [1, 1, 2]
    assert (found.loc[("a", "c"), "difference"], found.loc[("c", "a"), "difference"]) == (8.0, -8.0)
    assert found.loc[("a", "c"), "p"] == found.loc[("c", "a"), "p"] == pytest.approx(0.003)


def test_what_is_said_of_a_pair_does_not_depend_on_the_others():
    values = np.random.default_rng(0).normal(size=(8, 3))
    pairs = make_pairs(METHODS)
    whole = matrix_of_pairs(blocks_of(values), pairs).set_index(["method", "against"])
    few = matrix_of_pairs(blocks_of(values)[["a", "c"]], pairs.query("method == 'a' and against == 'c'"))
    pd.testing.assert_series_equal(few.set_index(["method", "against"]).loc[("a", "c")], whole.loc[("a", "c")])


def test_several_tasks_are_combined_with_their_signs():
    tasks = ("mosi", "meld")
    pairs = [make_pairs(METHODS).assign(p=0.03), make_pairs(METHODS, "meld").assign(p=0.02)]
    values = np.zeros((6, 3))
    found = matrix_of_pairs(blocks_of(values, tasks), pd.concat(pairs)).set_index(["method", "against"])
    one_sided = combine_pvalues([0.015, 0.01], method="stouffer").pvalue
    assert found.loc[("a", "b"), "p"] == pytest.approx(2 * one_sided) and set(found["tasks"]) == {2}
    pairs[1]["difference"] *= -1
    found = matrix_of_pairs(blocks_of(values, tasks), pd.concat(pairs)).set_index(["method", "against"])
    assert found.loc[("a", "b"), "p"] > 0.5 and found.loc[("a", "b"), "difference"] == 0.0
    pairs[1]["p"] = np.nan
    assert matrix_of_pairs(blocks_of(values, tasks), pd.concat(pairs))["p"].isna().all()


def test_less_error_is_better_and_only_per_cents_are_averaged():
    errors = make_pairs(METHODS, "meld", metric="mae")
    alone = matrix_of_pairs(blocks_of(np.zeros((2, 3)), ["meld"]), errors).set_index(["method", "against"])
    assert alone.loc[("a", "b"), "difference"] == -4.0
    both = pd.concat([make_pairs(METHODS), errors])
    mixed = matrix_of_pairs(blocks_of(np.zeros((2, 3)), ["mosi", "meld"]), both).set_index(["method", "against"])
    assert mixed.loc[("a", "b"), "difference"] == 4.0 and mixed.loc[("a", "b"), "p"] > 0.9


def test_where_a_pair_was_not_compared_there_is_no_matrix():
    blocks = blocks_of(np.zeros((2, 3)))
    assert matrix_of_pairs(blocks, make_pairs(METHODS).iloc[1:]).empty
    assert matrix_of_pairs(blocks, make_pairs(METHODS, "meld")).empty
    assert matrix_of_pairs(blocks, pd.DataFrame()).empty
