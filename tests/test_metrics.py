import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from benchmark.data.dataset import EMOTIONS, SENTIMENT_CATEGORIES
from benchmark.metrics import scores, weighted_f1


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
