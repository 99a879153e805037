"""Clips of a video are not independent: error rates and power where what is drawn are groups."""

import numpy as np
import pytest

from benchmark.evidence.groups import Groups, counted, groups_of
from benchmark.evidence.resampling import combine, estimate, sample_draws

VIDEO = r"^(.*)\$_\$"


def test_ids_tell_what_belongs_together():
    ids = ["a$_$1", "b$_$1", "a$_$2", "alone", "b$_$9", "other"]
    found = groups_of(ids, VIDEO, "video")
    assert found.index.tolist() == [0, 1, 0, 2, 1, 3] and (found.count, found.unit) == (4, "video")
    assert groups_of(ids, VIDEO).unit == "group"


@pytest.mark.parametrize("pattern", [None, VIDEO, "^(never)$"])
def test_where_ids_tell_nothing_each_sample_is_its_own_group(pattern):
    found = groups_of(["x", "y", "z"], pattern, "video")
    assert found.index.tolist() == [0, 1, 2] and found.unit == "sample" and found.effective == 3.0
    assert Groups.alone(3).index.tolist() == [0, 1, 2]


def test_unequal_groups_count_as_fewer():
    assert Groups(np.repeat(np.arange(10), 7), "video").effective == 10.0
    one_large = Groups(np.repeat(np.arange(10), [91] + [1] * 9), "video")
    assert one_large.effective == pytest.approx(10 / (1 + np.var([91] + [1] * 9) / 100)) and one_large.effective < 1.3


def test_groups_are_counted_in_words():
    assert [counted(31, "video"), counted(1, "dialogue"), counted(5, "diary")] == [
        "31 videos",
        "1 dialogue",
        "5 diaries",
    ]


def test_a_group_is_drawn_as_a_whole():
    groups = Groups(np.array([0, 1, 0, 2, 1, 0]), "video")
    weights = sample_draws(groups, 500)
    assert weights.shape == (501, 6) and (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all(), "three groups are drawn each time"
    assert weights[1:, [0, 1, 3]].mean(0) == pytest.approx(1.0, abs=0.15)


MIXES = {
    "samples": {"seed": 0.0, "method": 1.5, "chance": False},  # methods differ by sample, their seeds do not
    "both": {"seed": 0.3, "method": 1.0, "chance": True},
    "seeds": {"seed": 1.5, "method": 0.5, "chance": True},
}


def nulls(rng, *, correlation, seeds, mix, trials, drawn=None):
    """Two methods that are equally good, as estimates of their accuracy: 31 groups of 10 to 60 samples, each trial anew.

    `correlation` is that of two samples of a group, in how easy they are and in how they suit a method.
    """
    index = np.repeat(np.arange(31), np.random.default_rng(31).integers(10, 61, size=31))
    groups = drawn(len(index)) if drawn else Groups(index, "video")
    weights = sample_draws(groups, 200)
    total = weights.sum(1)
    shares = np.sqrt([correlation, 1.0 - correlation])

    def effects(scale):
        return scale * (shares[0] * rng.normal(size=31)[index] + shares[1] * rng.normal(size=len(index)))

    for _ in range(trials):
        easy = effects(1.5) + 1.0
        methods = []
        for _ in range(2):
            own = easy + effects(mix["method"])
            right = own + mix["seed"] * rng.normal(size=(seeds, 1))  # (R, N)
            right = rng.random(right.shape) < 1 / (1 + np.exp(-right)) if mix["chance"] else right > 0
            scores = 100.0 * (right.astype(np.float32) @ weights.T) / total  # (R, B + 1)
            methods.append(combine(enumerate(scores.astype(np.float64)), groups))
        yield methods


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize(("correlation", "seeds"), [(0.0, 3), (0.2, 3), (0.2, 10), (0.5, 3), (0.5, 5)])
def test_true_nulls_are_rejected_as_often_as_is_said(correlation, seeds, mix):
    rng = np.random.default_rng([int(10 * correlation), seeds, list(MIXES).index(mix)])
    methods = nulls(rng, correlation=correlation, seeds=seeds, mix=MIXES[mix], trials=2000)
    p = np.array([float(estimate((1.0, one), (-1.0, other)).p) for one, other in methods])
    assert 0.03 <= (p < 0.05).mean() <= 0.07
    assert (p < 0.01).mean() <= 0.015


def test_drawn_one_by_one_clips_would_reject_far_too_many():
    rng = np.random.default_rng(0)
    methods = nulls(rng, correlation=0.5, seeds=5, mix=MIXES["samples"], trials=300, drawn=Groups.alone)
    p = np.array([float(estimate((1.0, one), (-1.0, other)).p) for one, other in methods])
    assert (p < 0.05).mean() > 0.2


@pytest.mark.parametrize(("correlation", "seeds", "mix"), [(0.2, 5, "both"), (0.5, 3, "samples"), (0.2, 10, "seeds")])
def test_a_difference_that_is_detectable_is_found_in_four_of_five_tries(correlation, seeds, mix):
    rng = np.random.default_rng(5)
    found = [
        estimate((1.0, one), (-1.0, other))
        for one, other in nulls(rng, correlation=correlation, seeds=seeds, mix=MIXES[mix], trials=800)
    ]
    promised = np.sqrt(np.mean([float(result.detectable) ** 2 for result in found]))
    # A difference added to each: by how much the interval moves, not how wide it is.
    hits = [abs(float(r.value) + promised) > float(r.high - r.value) for r in found]
    assert 0.75 <= np.mean(hits) <= 0.85


def test_below_three_seeds_nothing_is_tested_and_intervals_are_of_the_samples_alone():
    rng = np.random.default_rng(1)
    (two,) = nulls(rng, correlation=0.2, seeds=2, mix=MIXES["seeds"], trials=1)
    result = estimate((1.0, two[0]), (-1.0, two[1]))
    assert np.isnan(result.p) and np.isnan(result.detectable) and result.low < result.value < result.high
    alone = estimate((1.0, two[0]))
    assert alone.high - alone.low < 20, "one degree of freedom would fill the figure"
    (three,) = nulls(rng, correlation=0.2, seeds=3, mix=MIXES["seeds"], trials=1)
    assert np.isfinite(estimate((1.0, three[0]), (-1.0, three[1])).p)


def test_a_single_group_tells_nothing_of_others():
    values = np.random.default_rng(0).normal(70, 1, size=(3, 11))
    result = estimate((1.0, combine(enumerate(values), Groups(np.zeros(20, dtype=np.int64), "video"))))
    assert np.isnan(result.low) and np.isnan(result.p)
