import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from benchmark.data.dataset import EMOTIONS, SENTIMENT_CATEGORIES
from benchmark.protocol.metrics import count_confusions, metric_names, score_settings, scores, weighted_f1


def loop_weighted_f1(truth, predicted):
    total = 0.0
    for c in set(truth):
        tp = sum(t == c and p == c for t, p in zip(truth, predicted, strict=True))
        fp = sum(t != c and p == c for t, p in zip(truth, predicted, strict=True))
        fn = sum(t == c and p != c for t, p in zip(truth, predicted, strict=True))
        f1 = 2 * tp / (2 * tp + fp + fn) if tp else 0.0
        total += f1 * sum(t == c for t in truth) / len(truth)
    return total


def by_name(labels, predicted, kind, categories):
    logits = np.eye(len(categories), dtype=np.float32)[predicted]
    return {s.metric: s for s in scores(labels=np.array(labels), logits=logits, kind=kind, categories=categories)}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_weighted_f1_equals_the_loop_and_scikit_learn(pairs):
    truth, predicted = (np.array(x) for x in zip(*pairs, strict=True))
    expected = loop_weighted_f1(truth.tolist(), predicted.tolist())
    assert weighted_f1(y_true=truth, y_pred=predicted) == pytest.approx(expected)
    assert expected == pytest.approx(f1_score(truth, predicted, average="weighted", zero_division=0))


def sklearn_scores(labels, predicted, kind, categories):
    """Of one setting, by scikit-learn alone."""

    def f1(truth, guess):
        return 100 * f1_score(truth, guess, average="weighted", zero_division=0) if len(truth) else np.nan

    if kind == "sentiment":
        truth, polar = (labels >= 0).astype(int), labels != 0
        return [f1(truth[polar], predicted[polar]), f1(truth, predicted), 100 * accuracy_score(truth, predicted)]
    each = [f1(labels == k, predicted == k) if k in labels else np.nan for k in range(len(categories))]
    return [np.nanmean(each), *each, 100 * accuracy_score(labels, predicted)]


@st.composite
def predicted_settings(draw):
    """Labels and predictions, often with a category that is not there, or never predicted, or no polar sample."""
    kind = draw(st.sampled_from(["sentiment", "emotion"]))
    k, n, settings = (2 if kind == "sentiment" else 4), draw(st.integers(1, 30)), draw(st.integers(1, 4))
    there = draw(st.lists(st.sampled_from([-3.0, -0.2, 0.0, 0.4, 2.0] if k == 2 else range(4)), min_size=1, max_size=4))
    labels = draw(st.lists(st.sampled_from(there), min_size=n, max_size=n))
    guessed = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k))
    predicted = draw(
        st.lists(st.lists(st.sampled_from(guessed), min_size=n, max_size=n), min_size=settings, max_size=settings)
    )
    return kind, np.array(labels), np.array(predicted, dtype=np.int8)


@given(predicted_settings())
def test_all_settings_at_once_score_what_scikit_learn_scores(case):
    kind, labels, predicted = case
    categories = SENTIMENT_CATEGORIES if kind == "sentiment" else EMOTIONS
    values, n = score_settings(labels=labels, predicted=predicted, kind=kind, categories=categories)
    assert values.shape == (len(predicted), len(metric_names(kind, categories))) and len(n) == values.shape[1]
    expected = [sklearn_scores(labels, row, kind, categories) for row in predicted]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)
    assert n[0] == ((labels != 0).sum() if kind == "sentiment" else len(labels)) and set(n[1:]) == {len(labels)}


@given(predicted_settings())
def test_confusions_are_those_of_scikit_learn(case):
    kind, labels, predicted = case
    truth, k = ((labels >= 0).astype(int), 2) if kind == "sentiment" else (labels, 4)
    found = count_confusions(truth=truth, predicted=predicted, num_categories=k)
    np.testing.assert_array_equal(found, [confusion_matrix(truth, row, labels=range(k)) for row in predicted])


def test_arguments_cannot_be_swapped():
    truth = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    predicted = np.zeros(10, dtype=int)
    with pytest.raises(TypeError):
        weighted_f1(truth, predicted)
    # By hand: F1 of class 0 is 2·6/(2·6+4) = 0.75 with weight 0.6; class 1 has 0. Swapped, it would be 0.75.
    assert weighted_f1(y_true=truth, y_pred=predicted) == pytest.approx(0.45)
    assert weighted_f1(y_true=predicted, y_pred=truth) == pytest.approx(0.75)


def test_sentiment_scores_by_hand():
    labels = [-3.0, -0.2, 0.0, 0.0, 0.4, 2.0]
    found = by_name(labels, [0, 1, 0, 1, 1, 0], "sentiment", SENTIMENT_CATEGORIES)
    # without label 0: truth 0 0 1 1, predicted 0 1 1 0
    assert (found["f1"].value, found["f1"].n) == (pytest.approx(50.0), 4)
    # all: truth 0 0 1 1 1 1, predicted 0 1 0 1 1 0: class 0 has F1 2/5, class 1 has F1 4/7
    assert found["f1_nonneg"].value == pytest.approx(100 * (2 * 0.4 + 4 * 4 / 7) / 6)
    assert found["f1_nonneg"].n == found["accuracy"].n == 6
    assert found["accuracy"].value == pytest.approx(50.0)


def test_emotion_scores_are_one_against_the_rest_and_their_mean():
    labels, predicted = [0, 1, 2, 3, 3, 3], [0, 1, 3, 3, 3, 0]
    found = by_name(labels, predicted, "emotion", EMOTIONS)
    each = []
    for k, emotion in enumerate(EMOTIONS):
        expected = 100 * loop_weighted_f1([x == k for x in labels], [x == k for x in predicted])
        assert found[f"f1_{emotion}"].value == pytest.approx(expected)
        each.append(expected)
    assert found["f1"].value == pytest.approx(np.mean(each))


@pytest.mark.filterwarnings("error")
def test_the_score_of_an_emotion_that_no_sample_shows_is_undefined_and_not_in_the_mean():
    labels, predicted = [0, 0, 0, 1, 3, 3], [0, 0, 2, 1, 3, 3]
    found = by_name(labels, predicted, "emotion", EMOTIONS)
    assert np.isnan(found["f1_angry"].value), "one false alarm among six would be 2·5/(6+5), 91 of 100"
    happy = 100 * (2 * 2 / (3 + 2) + 2 * 3 / (3 + 4)) / 2  # of happy and of the rest, each half of the samples
    assert found["f1_happy"].value == pytest.approx(happy)
    assert found["f1_sad"].value == found["f1_neutral"].value == 100.0
    assert found["f1"].value == pytest.approx((happy + 100 + 100) / 3)
    assert found["accuracy"].value == pytest.approx(100 * 5 / 6)
    assert {score.n for score in found.values()} == {6}


def test_without_a_sample_every_score_of_emotions_is_undefined():
    empty = np.zeros((2, 0), dtype=int)
    values, n = score_settings(labels=empty[0], predicted=empty, kind="emotion", categories=EMOTIONS)
    assert values.shape == (2, 6) and np.isnan(values).all() and set(n) == {0}


@pytest.mark.parametrize(
    ("emotion", "count", "expected"), [("happy", 135, 79.0), ("sad", 193, 70.3), ("angry", 227, 65.4)]
)
def test_the_constant_predictor_on_iemocap_scores_what_is_known(emotion, count, expected):
    """MulT's per-emotion metric on IEMOCAP's 938 test utterances, of which `count` show the emotion."""
    counts = {"happy": 135, "sad": 193, "angry": 227, "neutral": 383}
    labels = np.repeat(np.arange(4), list(counts.values()))
    found = by_name(labels, np.full(938, 3), "emotion", EMOTIONS)
    assert found[f"f1_{emotion}"].value == pytest.approx(expected, abs=0.05)


def test_scores_refuse_nan():
    with pytest.raises(ValueError, match="NaN"):
        scores(
            labels=np.array([1.0]), logits=np.array([[np.nan, 0]]), kind="sentiment", categories=SENTIMENT_CATEGORIES
        )


def test_no_polar_sample_gives_nan_not_a_number_made_up():
    found = by_name([0.0, 0.0], [0, 1], "sentiment", SENTIMENT_CATEGORIES)
    assert np.isnan(found["f1"].value) and found["f1"].n == 0
