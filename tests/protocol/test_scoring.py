"""Every metric against scikit-learn or scipy, and by hand where the field has a convention of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import pearsonr
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
    roc_auc_score,
)

from benchmark.protocol.metrics import metric, metric_names, usual_metrics
from benchmark.protocol.scoring import Scorer, count_confusions, predicted_of, scores, weighted_f1
from benchmark.protocol.target import Target

EMOTIONS = ("happy", "sad", "angry", "neutral")
POLARITY, CATEGORY, INTENSITY = Target("polarity"), Target("category", EMOTIONS), Target("intensity")
SIMS = Target("intensity", span=(-1.0, 1.0), cuts=(("acc3", (-0.1, 0.1)), ("acc5", (-0.7, -0.1, 0.1, 0.7))))


def loop_weighted_f1(truth, predicted):
    total = 0.0
    for c in set(truth):
        tp = sum(t == c and p == c for t, p in zip(truth, predicted, strict=True))
        fp = sum(t != c and p == c for t, p in zip(truth, predicted, strict=True))
        fn = sum(t == c and p != c for t, p in zip(truth, predicted, strict=True))
        f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0.0
        total += f1 * sum(t == c for t in truth) / len(truth)
    return total


def of_categories(labels, predicted, target):
    """Scores of predictions that are sure of themselves."""
    logits = np.eye(len(target.categories), dtype=np.float32)[predicted]
    return scores(target=target, y_true=np.array(labels), y_pred=logits)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_weighted_f1_equals_the_loop_and_scikit_learn(pairs):
    truth, predicted = (np.array(x) for x in zip(*pairs, strict=True))
    expected = loop_weighted_f1(truth.tolist(), predicted.tolist())
    assert weighted_f1(y_true=truth, y_pred=predicted) == pytest.approx(expected)
    assert expected == pytest.approx(f1_score(truth, predicted, average="weighted", zero_division=0))


def f1(truth, guess):
    return f1_score(truth, guess, average="weighted", zero_division=0) if len(truth) else np.nan


def auroc(truth, values):
    return roc_auc_score(truth, values) if 0 < truth.sum() < len(truth) else np.nan


def calibration(truth, probabilities):
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    bins = np.minimum((confidence * 15).astype(int), 14)
    parts = [(bins == b).mean() * abs(right[bins == b].mean() - confidence[bins == b].mean()) for b in np.unique(bins)]
    return sum(parts)


def mean_of(values):
    values = [value for value in values if not np.isnan(value)]
    return np.mean(values) if values else np.nan


def by_scikit_learn(labels, logits, target):
    """All metrics of one setting of a polarity or category task, by scikit-learn alone."""
    truth, predicted, p = target.category_indices(labels), logits.argmax(1), softmax(logits.astype(float), axis=1)
    there = sorted(set(truth.tolist()))
    own = {
        "accuracy": accuracy_score(truth, predicted),
        "log_loss": log_loss(truth, p, labels=range(len(target.categories))),
        "calibration": calibration(truth, p),
    }
    if target.kind == "polarity":
        polar = labels != 0
        return own | {
            "f1": f1(truth[polar], predicted[polar]),
            "f1_nonneg": f1(truth, predicted),
            "auroc": auroc(truth[polar], p[polar, 1]),
            "balanced_accuracy": balanced_accuracy_score(truth[polar], predicted[polar]) if polar.any() else np.nan,
        }
    each = {k: f1(truth == k, predicted == k) if k in there else np.nan for k in range(len(target.categories))}
    areas = [auroc(truth == k, p[:, k]) for k in there]
    return own | {
        "f1": mean_of(each.values()),
        **{f"f1_{name}": each[k] for k, name in enumerate(target.categories)},
        "f1_weighted": f1(truth, predicted),
        "auroc": mean_of(areas),
        "balanced_accuracy": np.mean([(predicted[truth == k] == k).mean() for k in there]),
    }


@st.composite
def classified(draw):
    """Labels and logits of several settings: often with ties, with a category that is not there, or never predicted."""
    target = draw(st.sampled_from([POLARITY, CATEGORY]))
    k, n, settings = len(target.categories), draw(st.integers(1, 30)), draw(st.integers(1, 3))
    known = [-3.0, -0.2, 0.0, 0.4, 2.0] if target.kind == "polarity" else range(4)
    there = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4))
    labels = np.array(draw(st.lists(st.sampled_from(there), min_size=n, max_size=n)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = np.round(rng.normal(size=(settings, n, k)), draw(st.integers(0, 2))).astype(np.float32)
    return target, labels, logits + np.arange(k, dtype=np.float32) * 1e-3  # ties between samples, none within one


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(classified())
def test_all_settings_at_once_score_what_scikit_learn_scores(case):
    target, labels, logits = case
    names = metric_names(target)
    scorer = Scorer(target=target, labels=labels, metrics=names)
    values = scorer.scores(logits)[:, :, 0]
    assert values.shape == (len(names), len(logits)) and len(scorer.n) == len(names)
    for s, own in enumerate(logits):
        expected = by_scikit_learn(labels, own, target)
        assert set(expected) == set(names)
        for name, value in zip(names, values[:, s], strict=True):
            assert value == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


@given(classified(), st.integers(0, 2**32 - 1))
def test_a_sample_that_counts_thrice_is_three_samples(case, seed):
    """Weights, as the bootstrap has them, of every metric."""
    target, labels, logits = case
    counts = np.random.default_rng(seed).integers(0, 4, size=len(labels))
    counts[0] = max(1, counts[0])
    rows = np.repeat(np.arange(len(labels)), counts)
    names = metric_names(target)
    weighted = Scorer(target=target, labels=labels, metrics=names, weights=counts[None].astype(np.float64))
    repeated = Scorer(target=target, labels=labels[rows], metrics=names)
    np.testing.assert_allclose(weighted.scores(logits), repeated.scores(logits[:, rows]), rtol=0, atol=1e-9)


@given(classified())
def test_confusions_are_those_of_scikit_learn(case):
    target, labels, logits = case
    truth, predicted = target.category_indices(labels), logits.argmax(-1)
    k = len(target.categories)
    found = count_confusions(truth=truth, predicted=predicted, num_categories=k)
    np.testing.assert_array_equal(found, [confusion_matrix(truth, row, labels=range(k)) for row in predicted])


def test_arguments_cannot_be_swapped():
    truth = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    predicted = np.zeros(10, dtype=int)
    with pytest.raises(TypeError):
        weighted_f1(truth, predicted)
    with pytest.raises(TypeError):
        scores(POLARITY, truth, predicted)
    # By hand: F1 of class 0 is 2·6/(2·6+4) = 0.75 with weight 0.6; class 1 has 0. Swapped, it would be 0.75.
    assert weighted_f1(y_true=truth, y_pred=predicted) == pytest.approx(0.45)
    assert weighted_f1(y_true=predicted, y_pred=truth) == pytest.approx(0.75)


def test_polarity_by_hand():
    labels = [-3.0, -0.2, 0.0, 0.0, 0.4, 2.0]
    found = of_categories(labels, [0, 1, 0, 1, 1, 0], POLARITY)
    # without label 0: truth 0 0 1 1, predicted 0 1 1 0
    assert found["f1"] == pytest.approx(50.0)
    # all: truth 0 0 1 1 1 1, predicted 0 1 0 1 1 0: class 0 has F1 2/5, class 1 has F1 4/7
    assert found["f1_nonneg"] == pytest.approx(100 * (2 * 0.4 + 4 * 4 / 7) / 6)
    assert found["accuracy"] == pytest.approx(50.0)
    scorer = Scorer(target=POLARITY, labels=np.array(labels), metrics=["f1", "f1_nonneg", "accuracy", "auroc"])
    assert scorer.n == [4, 6, 6, 4]


def test_polarity_about_another_middle():
    """Stars from 1 to 5: below 3 is negative, 3 neutral."""
    target = Target("polarity", below=3.0, span=(1.0, 5.0))
    found = of_categories([1, 2, 3, 4, 5], [0, 0, 0, 1, 1], target)
    assert found["f1"] == 100.0 and found["accuracy"] == pytest.approx(80.0)


def test_categories_are_one_against_the_rest_and_their_mean():
    labels, predicted = [0, 1, 2, 3, 3, 3], [0, 1, 3, 3, 3, 0]
    found = of_categories(labels, predicted, CATEGORY)
    each = []
    for k, emotion in enumerate(EMOTIONS):
        expected = 100 * loop_weighted_f1([x == k for x in labels], [x == k for x in predicted])
        assert found[f"f1_{emotion}"] == pytest.approx(expected)
        each.append(expected)
    assert found["f1"] == pytest.approx(np.mean(each))


@pytest.mark.filterwarnings("error")
def test_the_score_of_a_category_that_no_sample_shows_is_undefined_and_not_in_the_mean():
    labels, predicted = [0, 0, 0, 1, 3, 3], [0, 0, 2, 1, 3, 3]
    found = of_categories(labels, predicted, CATEGORY)
    assert np.isnan(found["f1_angry"]), "one false alarm among six would be 2·5/(6+5), 91 of 100"
    happy = 100 * (2 * 2 / (3 + 2) + 2 * 3 / (3 + 4)) / 2  # of happy and of the rest, each half of the samples
    assert found["f1_happy"] == pytest.approx(happy)
    assert found["f1_sad"] == found["f1_neutral"] == 100.0
    assert found["f1"] == pytest.approx((happy + 100 + 100) / 3)
    assert found["accuracy"] == pytest.approx(100 * 5 / 6)


@pytest.mark.parametrize("target", [POLARITY, CATEGORY])
def test_without_a_sample_every_score_is_undefined(target):
    scorer = Scorer(target=target, labels=np.zeros(0), metrics=usual_metrics(target))
    values = scorer.scores(np.zeros((2, 0), dtype=int))
    assert np.isnan(values).all() and set(scorer.n) == {0}


@pytest.mark.parametrize(
    ("emotion", "count", "expected"), [("happy", 135, 79.0), ("sad", 193, 70.3), ("angry", 227, 65.4)]
)
def test_the_constant_predictor_on_iemocap_scores_what_is_known(emotion, count, expected):
    """MulT's per-emotion metric on IEMOCAP's 938 test utterances, of which `count` show the emotion."""
    counts = {"happy": 135, "sad": 193, "angry": 227, "neutral": 383}
    labels = np.repeat(np.arange(4), list(counts.values()))
    found = of_categories(labels, np.full(938, 3), CATEGORY)
    assert found[f"f1_{emotion}"] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("target", "outputs"), [(POLARITY, [[np.nan, 0]]), (INTENSITY, [[np.inf]])])
def test_scores_refuse_nan(target, outputs):
    with pytest.raises(ValueError, match="NaN"):
        scores(target=target, y_true=np.array([1.0]), y_pred=np.array(outputs))


def test_no_polar_sample_gives_nan_not_a_number_made_up():
    assert np.isnan(of_categories([0.0, 0.0], [0, 1], POLARITY)["f1"])


def test_predicted_categories_alone_give_what_they_can():
    labels, predicted = np.array([0, 1, 2, 3]), np.array([[0, 1, 2, 2]], dtype=np.int8)
    scorer = Scorer(target=CATEGORY, labels=labels, metrics=["f1", "accuracy"])
    whole = Scorer(target=CATEGORY, labels=labels, metrics=["f1", "accuracy"]).scores(np.eye(4)[predicted])
    np.testing.assert_array_equal(scorer.scores(predicted), whole)
    with pytest.raises(ValueError, match="needs logits"):
        Scorer(target=CATEGORY, labels=labels, metrics=["auroc"]).scores(predicted)


# --- Intensity --------------------------------------------------------------------------------------------------------


def by_mmsa(labels, values):
    """MOSI's regression metrics as MMSA's code defines them, by NumPy and scikit-learn."""
    polar = labels != 0
    return {
        "mae": mean_absolute_error(labels, values),
        "corr": pearsonr(labels, values)[0] if np.ptp(labels) > 0 and np.ptp(values) > 0 else np.nan,
        **{
            f"acc{2 * k + 1}": np.mean(np.round(np.clip(values, -k, k)) == np.round(np.clip(labels, -k, k)))
            for k in (3, 2, 1)
        },
        "acc2_nonneg": accuracy_score(labels >= 0, values >= 0),
        "f1_nonneg": f1(labels >= 0, values >= 0),
        "acc2": accuracy_score(labels[polar] > 0, values[polar] > 0) if polar.any() else np.nan,
        "f1": f1(labels[polar] > 0, values[polar] > 0),
        "acc2_pos": accuracy_score(labels > 0, values > 0),
        "f1_pos": f1(labels > 0, values > 0),
    }


@st.composite
def rated(draw):
    n, settings = draw(st.integers(2, 30)), draw(st.integers(1, 3))
    labels = draw(st.lists(st.integers(-15, 15), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Halves and zeros among them, and numbers beyond the largest label.
    values = np.round(rng.normal(scale=2.5, size=(settings, n)) * 2) / 2 + rng.choice([0.0, 0.13], size=(settings, n))
    return np.array(labels) / 5, values


@pytest.mark.filterwarnings("ignore")
@given(rated())
def test_intensity_scores_what_scikit_learn_and_scipy_score(case):
    labels, values = case
    names = metric_names(INTENSITY)
    found = Scorer(target=INTENSITY, labels=labels, metrics=names).scores(values[:, :, None])[:, :, 0]
    for s, own in enumerate(values):
        expected = by_mmsa(labels, own)
        assert set(expected) == set(names)
        for name, value in zip(names, found[:, s], strict=True):
            assert value == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


@given(rated(), st.integers(0, 2**32 - 1))
def test_an_intensity_that_counts_thrice_is_three(case, seed):
    labels, values = case
    counts = np.random.default_rng(seed).integers(0, 4, size=len(labels))
    counts[:2] += 1
    rows, names = np.repeat(np.arange(len(labels)), counts), metric_names(INTENSITY)
    weighted = Scorer(target=INTENSITY, labels=labels, metrics=names, weights=counts[None].astype(np.float64))
    repeated = Scorer(target=INTENSITY, labels=labels[rows], metrics=names)
    np.testing.assert_allclose(weighted.scores(values), repeated.scores(values[:, rows]), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "label", "value", "right"),
    [
        ("acc7", 2.0, 2.5, True),  # half to even, as np.round: 2.5 → 2
        ("acc7", 2.0, 1.5, True),
        ("acc7", 1.0, 1.5, False),
        ("acc7", 0.0, 0.5, True),
        ("acc7", 0.0, -0.5, True),
        ("acc7", 1.0, 0.5, False),
        ("acc7", 3.0, 17.0, True),  # cut to [-3, 3] first
        ("acc7", -3.0, -3.4, True),
        ("acc7", 2.4, 2.2, True),  # labels are rounded too
        ("acc5", 3.0, 2.0, True),  # both cut to 2
        ("acc5", 3.0, 1.4, False),
        ("acc3", 3.0, 0.6, True),
        ("acc3", 3.0, 0.5, False),
    ],
)
def test_classes_of_an_intensity_by_hand(name, label, value, right):
    found = scores(target=INTENSITY, y_true=np.array([label, 0.0]), y_pred=np.array([value, 3.0]), metrics=[name])
    assert found[name] == (50.0 if right else 0.0)


def test_signs_of_an_intensity_by_hand():
    labels, values = np.array([-1.0, 0.0, 0.0, 2.0]), np.array([-0.1, -0.2, 0.0, 0.1])
    found = scores(target=INTENSITY, y_true=labels, y_pred=values)
    assert found["acc2"] == found["f1"] == 100.0, "labels of 0 are left out"
    assert found["acc2_nonneg"] == 75.0, "a 0 predicted is non-negative; -0.2 for a label of 0 is wrong"
    assert found["acc2_pos"] == 100.0, "where 0 counts as negative, both zeros are right"
    assert found["mae"] == pytest.approx((0.9 + 0.2 + 0.0 + 1.9) / 4), "not times 100"


@pytest.mark.parametrize(
    ("label", "value", "right5", "right3"),
    [
        (-1.0, -0.7, True, True),  # classes are (a, b]: -0.7 belongs to the first
        (-1.0, -0.69, False, True),
        (0.0, -0.1, False, False),
        (0.0, 0.1, True, True),
        (0.2, 0.1, False, False),
        (0.6, 0.7, True, True),
        (0.8, 0.7, False, True),
        (0.8, 9.0, True, True),  # cut to 1
    ],
)
def test_classes_of_ch_sims_by_hand(label, value, right5, right3):
    """MMSA's code: cuts at ±0.1 and ±0.7."""
    found = scores(target=SIMS, y_true=np.array([label]), y_pred=np.array([value]))
    assert (found["acc5"], found["acc3"]) == (100.0 * right5, 100.0 * right3)
    assert "acc7" not in found, "these labels have no seven classes"


def test_a_constant_has_no_correlation_and_no_warning(recwarn):
    labels = np.linspace(-3, 3, 7)
    found = scores(target=INTENSITY, y_true=labels, y_pred=np.full(7, 0.1, dtype=np.float32))
    assert np.isnan(found["corr"]) and found["mae"] > 0 and not recwarn.list
    assert np.isnan(scores(target=INTENSITY, y_true=np.ones(7), y_pred=labels)["corr"])


def test_bins_are_the_classes_of_acc7():
    assert INTENSITY.bins == (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    assert INTENSITY.categories == ("-3", "-2", "-1", "0", "+1", "+2", "+3")
    values = np.array([-9.0, -2.5, -0.5, 0.5, 1.5, 2.5, 2.51])
    assert (INTENSITY.category_indices(values) - 3 == np.round(np.clip(values, -3, 3))).all()
    assert SIMS.bins == pytest.approx([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1], abs=1e-6)
    assert SIMS.category_indices(np.array([-1.0, -0.2, 0.2, 0.6, 1.0])).tolist() == [0, 2, 4, 5, 6]
    assert predicted_of(values[None, :, None], INTENSITY).tolist() == [[0, 1, 3, 3, 5, 5, 6]]


def test_labels_without_signs_have_no_metrics_of_signs():
    assert metric_names(Target("intensity", span=(1.0, 5.0))) == ["mae", "corr"]


def test_what_is_stored_of_a_target_gives_it_again():
    for target in (POLARITY, CATEGORY, INTENSITY, SIMS, Target("polarity", below=3.0, span=(1.0, 5.0))):
        assert Target.of_record(target.record()) == target
    old = {"kind": "sentiment", "categories": ["negative", "non-negative"]}
    assert Target.of_record(old) == POLARITY
    assert Target.of_record({"kind": "emotion", "categories": list(EMOTIONS)}) == CATEGORY


def test_every_metric_says_what_it_is():
    for target in (POLARITY, CATEGORY, INTENSITY, SIMS):
        for name in metric_names(target):
            said = metric(name, target.kind)
            assert said.title and said.text[0].isupper() and not said.text.endswith(".")
            assert ("× 100" in said.text) == said.percent
        assert set(usual_metrics(target)) <= set(metric_names(target))
    assert [n for n in metric_names(INTENSITY) + metric_names(POLARITY) if metric(n).lower_is_better] == [
        "mae",
        "log_loss",
        "calibration",
    ]
    assert metric("f1", "category").title == "mean F1" and metric("f1_sad", "category").title == "F1 sad"
    with pytest.raises(KeyError):
        metric("acc9")


@pytest.mark.parametrize(("kind", "names"), [("intensity", ["mae", "acc7"]), ("category", ["log_loss", "calibration"])])
def test_sums_have_the_same_bits_in_whatever_order_they_are_made(kind, names):
    """As matrix products make them in another order on another processor."""
    rng = np.random.default_rng(0)
    if kind == "intensity":
        target, labels = Target("intensity", span=(-3.0, 3.0)), rng.uniform(-3, 3, 301).astype(np.float32)
        outputs = rng.normal(0, 2, (2, 301, 1)).astype(np.float32)
    else:
        target, labels = Target("category", categories=("a", "b", "c")), rng.integers(0, 3, 301)
        outputs = rng.normal(0, 2, (2, 301, 3)).astype(np.float32)
    weights = rng.integers(0, 4, (50, 301)).astype(np.float32)
    found = []
    for order in (np.arange(301), rng.permutation(301)):
        scorer = Scorer(target=target, labels=labels[order], metrics=names, weights=weights[:, order])
        found.append(scorer.scores(outputs[:, order]))
    assert found[0].tobytes() == found[1].tobytes()
