"""F1 with the best thresholds of the validation split."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from benchmark.protocol.scoring import scores
from benchmark.protocol.target import Target
from benchmark.protocol.thresholds import Validation, best_thresholds, f1_by_thresholds, weighted_f1_of

RNG = np.random.default_rng(3)
POLARITY, INTENSITY = Target("polarity"), Target("intensity")
CATEGORY = Target("category", ("happy", "sad", "angry"))


def weighted(truth, predicted):
    return f1_score(truth, predicted, average="weighted", zero_division=0.0)


def test_the_weighted_f1_is_scikit_learns():
    truth, predicted = RNG.random(60) < 0.3, RNG.random((5, 60)) < 0.5
    predicted[3:] = [[False], [True]]
    expected = [weighted(truth, row) for row in predicted]
    np.testing.assert_allclose(weighted_f1_of(predicted, truth), expected)


@pytest.mark.parametrize("size", [2, 7, 40])
def test_no_threshold_is_better(size):
    positive = np.arange(size) % 3 == 0
    values = np.round(RNG.normal(0.7, 1.0, (20, size)) + positive, 1)  # with ties
    for row, found in zip(values, best_thresholds(values, positive), strict=True):
        every = [-np.inf, *np.unique(row), np.inf]
        best = max(weighted(positive, row > cut) for cut in every)
        assert weighted(positive, row > found) == pytest.approx(best)


def test_of_equally_good_ones_the_nearest_to_zero_is_taken_in_the_middle_of_its_neighbours():
    truth = np.array([False, False, True, True])
    assert best_thresholds(np.array([[-3.0, -1.0, 2.0, 4.0], [1.0, 2.0, 3.0, 4.0]]), truth).tolist() == [0.0, 2.5]
    assert best_thresholds(np.array([[-4.0, -3.0, -2.0, -1.0]]), truth).tolist() == [-2.5]
    alike = best_thresholds(np.full((2, 4), [[1.0], [-1.0]]), truth)  # as where nothing is there: one answer for all
    assert alike.tolist() == [0.0, 0.0]


def polarity(shift=0.0, noise=1.0, n=400, seed=0):
    """Labels, and logits of one setting that tell them apart but for noise, all shifted."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([-2.0, -0.4, 0.0, 1.2], n)
    margin = labels + noise * rng.normal(size=n) + shift
    return labels, np.stack([0 * margin, margin], axis=-1)[None]  # (1, N, 2)


def of_polarity(shift, **options):
    labels, logits = polarity(shift, **options)
    valid = Validation.of(*polarity(shift, seed=1, **options))
    return labels, logits, f1_by_thresholds(target=POLARITY, labels=labels, outputs=logits, validation=valid)[:, 0]


def test_a_shift_costs_f1_and_a_threshold_of_the_validation_split_gives_it_back():
    labels, logits, (plain, best) = of_polarity(0.0)
    assert plain == pytest.approx(scores(target=POLARITY, y_true=labels, y_pred=logits[0], metrics=["f1"])["f1"])
    assert abs(best - plain) < 4
    _, _, (shifted, moved) = of_polarity(2.0)
    assert shifted < plain - 15 and moved == pytest.approx(best, abs=0.5)
    _, _, (_, lost) = of_polarity(2.0, noise=3.0)
    assert lost < best - 5, "what noise takes no threshold gives back"


def test_categories_have_thresholds_of_their_own():
    truth, seen = RNG.integers(0, 3, 300), RNG.integers(0, 3, 200)
    shift = np.array([0.0, 1.5, -0.5])
    outputs, valid = (2.0 * np.eye(3)[own] + RNG.normal(size=(len(own), 3)) + shift for own in (truth, seen))
    found = f1_by_thresholds(
        target=CATEGORY, labels=truth, outputs=outputs[None], validation=Validation.of(seen, valid[None])
    )
    expected = []
    for k in range(3):
        odds, known = (own[:, k] - np.log(np.exp(np.delete(own, k, 1)).sum(1)) for own in (outputs, valid))
        cut = best_thresholds(known[None], seen == k)[0]
        expected.append(weighted(truth == k, odds > cut))
    plain = scores(target=CATEGORY, y_true=truth, y_pred=outputs, metrics=["f1"])["f1"]
    assert found[:, 0] == pytest.approx([plain, 100 * np.mean(expected)], abs=0.5) and found[1, 0] > plain + 2


def test_what_the_validation_split_does_not_show_stays_as_predicted_and_what_the_test_split_lacks_is_left_out():
    truth = np.array([0, 1, 0, 1, 2, 2])
    outputs = np.eye(3)[[0, 1, 1, 1, 2, 0]][None]
    one = Validation.of(np.zeros(4, dtype=int), np.zeros((1, 4, 3)))
    found = f1_by_thresholds(target=CATEGORY, labels=truth, outputs=outputs, validation=one)
    assert found[0, 0] == pytest.approx(found[1, 0])
    without = truth[:4]
    seen = Validation.of(truth, outputs)
    moved = f1_by_thresholds(target=CATEGORY, labels=without, outputs=outputs[:, :4], validation=seen)
    parts = [weighted(without == k, outputs[0, :4].argmax(1) == k) for k in (0, 1)]
    assert moved[0, 0] == pytest.approx(100 * np.mean(parts)) and np.isfinite(moved[1, 0])


def test_an_intensity_has_one_threshold_and_labels_of_zero_do_not_count():
    labels = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    outputs = (labels + 1.2)[None, :, None]
    found = f1_by_thresholds(
        target=INTENSITY, labels=labels, outputs=outputs, validation=Validation.of(labels, outputs)
    )
    assert found[0, 0] < 80 and found[1, 0] == 100.0
    nothing = f1_by_thresholds(
        target=Target("intensity", span=(0.0, 4.0)),
        labels=labels,
        outputs=outputs,
        validation=Validation.of(labels, outputs),
    )
    assert nothing is None, "without signs there is no F1"


def test_outputs_are_kept_in_half_precision_and_stay_finite():
    kept = Validation.of(np.zeros(2), np.array([[[1e9, -1e9], [0.1, 0.2]]]))
    assert kept.logits.dtype == np.float16 and np.isfinite(kept.logits).all()
