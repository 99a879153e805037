"""Intervals and tests: right numbers, and the error rates that they promise."""

import numpy as np
import pytest

from benchmark.evidence.resampling import combine, conditions, estimate, resampled_scores, sample_draws
from benchmark.protocol.metrics import metric_names, scores
from benchmark.protocol.missing import SUBSETS, Setting

EMOTIONS = ("happy", "sad", "angry", "neutral")


@pytest.mark.parametrize("kind", ["sentiment", "emotion"])
def test_scores_on_a_draw_are_those_of_the_samples_drawn(kind):
    """Against scikit-learn, on the split as it is and with each sample repeated as often as it was drawn."""
    rng = np.random.default_rng(0)
    n, k = 60, 2 if kind == "sentiment" else 4
    if kind == "sentiment":
        labels = rng.choice([-1.4, -0.2, 0.0, 0.0, 2.0], size=n).astype(np.float32)
        truth, polar, categories = (labels >= 0).astype(int), labels != 0, ("negative", "non-negative")
    else:
        labels = truth = rng.integers(k, size=n)
        polar, categories = None, EMOTIONS
    logits = rng.standard_normal((3, n, k)).astype(np.float32)
    logits[2] = [1.0] + [0.0] * (k - 1)  # a constant predictor
    weights = sample_draws(n, 5)
    found = resampled_scores(logits.argmax(-1), truth=truth, polar=polar, weights=weights, num_categories=k)
    names = metric_names(kind, categories)
    assert found.shape == (6, 3, len(names)) and (weights[0] == 1).all() and (weights.sum(1) == n).all()
    for b, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(n), counts)
        for s in range(3):
            expected = scores(labels=labels[rows], logits=logits[s][rows], kind=kind, categories=categories)
            assert {e.metric for e in expected} == set(names)
            for score in expected:
                assert found[b, s, names.index(score.metric)] == pytest.approx(score.value, abs=1e-4)


def test_an_emotion_that_no_sample_shows_has_no_score_and_is_not_in_the_mean():
    truth, predicted = np.array([0, 0, 1, 1]), np.array([[0, 1, 1, 1], [0, 0, 2, 1]])
    found = resampled_scores(predicted, truth=truth, polar=None, weights=np.ones((1, 4), np.float32), num_categories=4)
    assert np.isnan(found[0, :, 3:5]).all() and np.isfinite(found[0, :, [0, 1, 2, 5]]).all()
    assert found[0, :, 0] == pytest.approx(found[0, :, 1:3].mean(1))


@pytest.mark.filterwarnings("error")
def test_a_draw_without_an_emotion_leaves_it_out_of_its_mean_only():
    """One sample of 20 is sad: about a third of the draws lack it."""
    rng = np.random.default_rng(5)
    labels = np.array([1] + [0, 2, 3] * 6 + [0])
    logits = rng.standard_normal((2, 20, 4)).astype(np.float32)
    weights = sample_draws(20, 60)
    found = resampled_scores(logits.argmax(-1), truth=labels, polar=None, weights=weights, num_categories=4)
    lacking = weights[:, 0] == 0
    assert 10 < lacking.sum() < 35
    assert np.array_equal(np.isnan(found[:, 0, 2]), lacking) and np.isfinite(found[:, :, [0, 1, 3, 4, 5]]).all()
    assert found[lacking, :, 0] == pytest.approx(found[lacking][:, :, [1, 3, 4]].mean(2), abs=1e-4)
    assert found[~lacking, :, 0] == pytest.approx(found[~lacking, :, 1:5].mean(2), abs=1e-4)
    for b in np.flatnonzero(lacking)[:3]:
        rows = np.repeat(np.arange(20), weights[b].astype(int))
        for score in scores(labels=labels[rows], logits=logits[0][rows], kind="emotion", categories=EMOTIONS):
            place = metric_names("emotion", EMOTIONS).index(score.metric)
            assert found[b, 0, place] == pytest.approx(score.value, abs=1e-4, nan_ok=True)
    result = estimate((1.0, combine((seed, found[:, 0] + seed) for seed in range(2))))
    assert np.isnan(result.low[2]) and np.isnan(result.p[2]), "its interval would rest on some of the draws alone"
    assert np.isfinite(result.value).all() and np.isfinite(result.low[[0, 1, 3, 4, 5]]).all()


def test_conditions_are_sums_of_settings():
    settings = [(Setting("lav", r), d) for r in (0.0, 0.5, 1.0) for d in (0, 1)] + [
        (Setting(s), 0) for s in SUBSETS[:-1]
    ]
    values = np.arange(len(settings), dtype=float) ** 2
    found = {c.name: float(values @ c.weights) for c in conditions(settings)}
    complete, half, none = (values[i : i + 2].mean() for i in (0, 2, 4))
    average = values[6:].mean()
    assert found["{l,a,v}"] == complete and found["p=0.5"] == half
    assert found["Avg."] == pytest.approx(average) and found["drop"] == pytest.approx(complete - average)
    assert found["AUDC"] == pytest.approx(np.trapezoid([complete, half, none], [0.0, 0.5, 1.0]))


def test_conditions_that_lack_a_setting_are_left_out():
    names = [c.name for c in conditions([(Setting(s), 0) for s in SUBSETS if s != "av"])]
    assert not {"Avg.", "drop", "AUDC"} & set(names)
    burst = [c for c in conditions([(Setting("lav", 0.5, "burst"), 0), (Setting(), 0)]) if c.kind == "derived"]
    assert not burst, "a curve is of one pattern of missing frames"


def simulated(rng, weights, *, seeds, difference=0.0, seed_effect=0.0, method_effect=0.0, chance=True):
    """Two methods whose models answer the same samples; a sample's, a model's and a method's effects on being right."""
    n = weights.shape[1]
    truth = (rng.random(n) < 0.45).astype(int)
    easy = rng.normal(1.0, 1.5, n)
    methods = []
    for shift in (0.0, difference):
        own = easy + shift + rng.normal(0.0, method_effect, n)
        models = []
        for seed in range(seeds):
            right = own + rng.normal(0.0, seed_effect)
            right = rng.random(n) < 1 / (1 + np.exp(-right)) if chance else right > 0
            predicted = np.where(right, truth, 1 - truth)[None]
            found = resampled_scores(predicted, truth=truth, polar=np.ones(n, bool), weights=weights, num_categories=2)
            models.append((seed, found[:, 0, 0]))
        methods.append(combine(models))
    return methods


@pytest.mark.parametrize(
    "effects",
    [
        {"method_effect": 1.5, "chance": False},  # the methods differ from sample to sample, their seeds do not
        {"seed_effect": 0.3, "method_effect": 1.0},  # everything varies
        {"seed_effect": 1.5, "method_effect": 0.5},  # the seeds matter most
    ],
)
def test_the_test_rejects_a_true_null_as_often_as_it_says(effects):
    rng, weights = np.random.default_rng(1), sample_draws(200, 200)
    rejected = 0
    for _ in range(1000):
        one, other = simulated(rng, weights, seeds=5, **effects)
        rejected += estimate((1.0, one), (-1.0, other)).p < 0.05
    assert 30 <= rejected <= 70


def test_the_test_finds_a_planted_difference():
    rng, weights = np.random.default_rng(2), sample_draws(400, 200)
    found = 0
    for _ in range(50):
        one, other = simulated(rng, weights, seeds=5, difference=0.8, seed_effect=0.2, method_effect=0.5)
        result = estimate((1.0, other), (-1.0, one))
        found += result.p < 0.05 and result.value > 0 and result.low > 0
    assert found >= 45


def test_intervals_cover_the_expected_score():
    """The mean over fresh samples and fresh seeds, for models that are right with a chance of their own."""
    rng, n, draws = np.random.default_rng(3), 300, 400
    weights, truth = sample_draws(n, 200), np.zeros(n, int)
    covered = 0
    for _ in range(draws):
        chances = np.clip(rng.normal(0.7, 0.05, size=5), 0, 1)  # a seed's accuracy
        models = []
        for seed, chance in enumerate(chances):
            predicted = np.where(rng.random(n) < chance, 0, 1)[None]
            found = resampled_scores(predicted, truth=truth, polar=None, weights=weights, num_categories=2)
            models.append((seed, found[:, 0, -1]))
        result = estimate((1.0, combine(models)))
        covered += result.low <= 70.0 <= result.high
    assert 0.92 <= covered / draws <= 0.985


def test_one_seed_gives_no_p_value_and_equal_methods_no_difference():
    rng, weights = np.random.default_rng(4), sample_draws(100, 50)
    one, other = simulated(rng, weights, seeds=1)
    result = estimate((1.0, one), (-1.0, other))
    assert np.isnan(result.p) and result.low < result.value < result.high
    several, _ = simulated(rng, weights, seeds=3)
    same = estimate((1.0, several), (-1.0, several))
    assert same.value == 0.0 and same.p == 1.0
