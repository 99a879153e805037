"""Intervals and tests: right numbers, and the error rates that they promise."""

import numpy as np
import pytest

from benchmark.evidence.groups import Groups
from benchmark.evidence.resampling import combine, conditions, estimate, in_conditions, sample_draws
from benchmark.protocol.metrics import metric_names
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.protocol.scoring import Scorer, scores
from benchmark.protocol.target import Target

EMOTIONS = ("happy", "sad", "angry", "neutral")
CATEGORY, POLARITY = Target("category", EMOTIONS), Target("polarity")
USUAL = ["f1", *(f"f1_{name}" for name in EMOTIONS), "accuracy"]


def resampled(outputs, labels, target, metrics, weights):
    """Scores on each draw as printed, shape (B, S, metrics)."""
    scorer = Scorer(target=target, labels=labels, metrics=metrics, weights=weights)
    return (scorer.scores(outputs) * scorer.scales[:, None, None]).transpose(2, 1, 0).astype(np.float64)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", ["polarity", "category", "intensity"])
def test_scores_on_a_draw_are_those_of_the_samples_drawn(kind):
    """In single precision, on the split as it is and with each sample repeated as often as it was drawn."""
    rng = np.random.default_rng(0)
    n, target = 60, {"polarity": POLARITY, "category": CATEGORY, "intensity": Target("intensity")}[kind]
    labels = rng.integers(4, size=n)
    if kind != "category":
        labels = rng.choice([-1.4, -0.2, 0.0, 0.0, 2.0], size=n).astype(np.float32)
    outputs = rng.standard_normal((3, n, target.num_outputs)).astype(np.float32)
    outputs[2] = [1.0] + [0.0] * (target.num_outputs - 1)  # a constant predictor
    weights = sample_draws(Groups.alone(n), 5)
    names = metric_names(target)
    found = resampled(outputs, labels, target, names, weights)
    assert found.shape == (6, 3, len(names)) and (weights[0] == 1).all() and (weights.sum(1) == n).all()
    for b, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(n), counts)
        for s in range(3):
            expected = scores(target=target, y_true=labels[rows], y_pred=outputs[s][rows])
            for m, name in enumerate(names):
                assert found[b, s, m] == pytest.approx(expected[name], abs=1e-4, nan_ok=True), name


def test_an_emotion_that_no_sample_shows_has_no_score_and_is_not_in_the_mean():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([[0, 1, 1, 1], [0, 0, 2, 1]])
    found = resampled(predicted, labels, CATEGORY, USUAL, np.ones((1, 4), np.float32))
    assert np.isnan(found[0, :, 3:5]).all() and np.isfinite(found[0, :, [0, 1, 2, 5]]).all()
    assert found[0, :, 0] == pytest.approx(found[0, :, 1:3].mean(1))


@pytest.mark.filterwarnings("error")
def test_a_draw_without_an_emotion_leaves_it_out_of_its_mean_only():
    """One sample of 20 is sad: about a third of the draws lack it."""
    rng = np.random.default_rng(5)
    labels = np.array([1] + [0, 2, 3] * 6 + [0])
    logits = rng.standard_normal((2, 20, 4)).astype(np.float32)
    weights = sample_draws(Groups.alone(20), 60)
    found = resampled(logits.argmax(-1), labels, CATEGORY, USUAL, weights)
    lacking = weights[:, 0] == 0
    assert 10 < lacking.sum() < 35
    assert np.array_equal(np.isnan(found[:, 0, 2]), lacking) and np.isfinite(found[:, :, [0, 1, 3, 4, 5]]).all()
    assert found[lacking, :, 0] == pytest.approx(found[lacking][:, :, [1, 3, 4]].mean(2), abs=1e-4)
    assert found[~lacking, :, 0] == pytest.approx(found[~lacking, :, 1:5].mean(2), abs=1e-4)
    for b in np.flatnonzero(lacking)[:3]:
        rows = np.repeat(np.arange(20), weights[b].astype(int))
        expected = scores(target=CATEGORY, y_true=labels[rows], y_pred=logits[0][rows], metrics=USUAL)
        for place, name in enumerate(USUAL):
            assert found[b, 0, place] == pytest.approx(expected[name], abs=1e-4, nan_ok=True)
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


def test_with_two_modalities_the_average_is_over_the_two_subsets():
    settings = [(Setting("l"), 0), (Setting("a"), 0), (Setting(), 0)]
    assert "Avg." not in [c.name for c in conditions(settings)], "of three modalities four subsets are lacking"
    found = {c.name: c.weights.tolist() for c in conditions(settings, "la")}
    assert found["Avg."] == [0.5, 0.5, 0.0] and found["drop"] == [-0.5, -0.5, 1.0]


def test_a_setting_without_a_score_spoils_the_conditions_that_it_is_part_of_and_no_other():
    found = conditions([(Setting("l"), 0), (Setting("a"), 0), (Setting(), 0), (Setting("lav", 1.0), 0)], "la")
    scores = np.array([[[0.1, 0.2], [0.3, np.nan], [0.5, 0.6], [np.nan, np.nan]], [[0.2] * 2] * 4])
    values = in_conditions(scores, found, np.array([1.0, 100.0]))  # (2 draws, conditions, 2 metrics)
    by_name = dict(zip([c.name for c in found], values.transpose(1, 2, 0).tolist(), strict=True))
    assert by_name["{l}"] == [[0.1, 0.2], [20.0, 20.0]] and by_name["{l,a,v}"][0] == [0.5, 0.6]
    assert by_name["Avg."][0] == pytest.approx([0.2, np.nan], nan_ok=True)
    assert by_name["drop"][0] == pytest.approx([0.3, np.nan], nan_ok=True)
    assert np.isnan(by_name["p=1.0"][0]).all() and np.isnan(by_name["AUDC"][0]).all()
    assert by_name["AUDC"][1] == pytest.approx([20.0, 20.0])


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
            found = resampled(predicted, 2.0 * truth - 1.0, POLARITY, ["f1"], weights)
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
    rng, weights = np.random.default_rng(1), sample_draws(Groups.alone(200), 200)
    rejected = 0
    for _ in range(1000):
        one, other = simulated(rng, weights, seeds=5, **effects)
        rejected += estimate((1.0, one), (-1.0, other)).p < 0.05
    assert 30 <= rejected <= 70


def test_the_test_finds_a_planted_difference():
    rng, weights = np.random.default_rng(2), sample_draws(Groups.alone(400), 200)
    found = 0
    for _ in range(50):
        one, other = simulated(rng, weights, seeds=5, difference=0.8, seed_effect=0.2, method_effect=0.5)
        result = estimate((1.0, other), (-1.0, one))
        found += result.p < 0.05 and result.value > 0 and result.low > 0
    assert found >= 45


def test_intervals_cover_the_expected_score():
    """The mean over fresh samples and fresh seeds, for models that are right with a chance of their own."""
    rng, n, draws = np.random.default_rng(3), 300, 400
    weights, truth = sample_draws(Groups.alone(n), 200), np.zeros(n, int)
    covered = 0
    for _ in range(draws):
        chances = np.clip(rng.normal(0.7, 0.05, size=5), 0, 1)  # a seed's accuracy
        models = []
        for seed, chance in enumerate(chances):
            predicted = np.where(rng.random(n) < chance, 0, 1)[None]
            found = resampled(predicted, truth, CATEGORY, ["accuracy"], weights)
            models.append((seed, found[:, 0, -1]))
        result = estimate((1.0, combine(models)))
        covered += result.low <= 70.0 <= result.high
    assert 0.92 <= covered / draws <= 0.985


def test_one_seed_gives_no_p_value_and_equal_methods_no_difference():
    rng, weights = np.random.default_rng(4), sample_draws(Groups.alone(100), 50)
    one, other = simulated(rng, weights, seeds=1)
    result = estimate((1.0, one), (-1.0, other))
    assert np.isnan(result.p) and result.low < result.value < result.high
    several, _ = simulated(rng, weights, seeds=3)
    same = estimate((1.0, several), (-1.0, several))
    assert same.value == 0.0 and same.p == 1.0
