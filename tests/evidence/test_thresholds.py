"""How the loss of F1 splits."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.evidence.thresholds import split_losses, unknown_methods
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.protocol.target import Target
from tests.evidence.test_comparisons import intensity_model, model

SETTINGS = tuple((s, d) for s, d in [(Setting(), 0), (Setting(), 1), *((Setting(s), 0) for s in SUBSETS[:-1])])
CURVE = ((Setting(), 0), (Setting(ratio=0.5), 0), (Setting(ratio=0.5, pattern="burst"), 0))


def told(method, seed, plain, moved, settings=SETTINGS):
    return replace(model(method, seed, settings), thresholds=np.array([plain, moved], dtype=float))


def test_the_parts_are_the_loss():
    plain = [80, 84, 60, 50, 50, 70, 70, 70]
    moved = [81, 83, 66, 62, 56, 72, 71, 70]
    found = split_losses([told("mult", 0, plain, moved), told("mult", 1, [80] * 8, [80] * 8)])
    own = found.set_index("condition")
    row = own.loc["{l}"]
    assert (row["loss"], row["information"], row["threshold"]) == ((82 - 60) / 2, (82 - 66) / 2, 3.0)
    assert row["std_threshold"] == pytest.approx(np.std([6, 0], ddof=1)) and row["seeds"] == 2
    assert (row["f1"], row["f1_moved"]) == (70.0, 73.0)
    assert own.loc["{l,a,v}", ["loss", "threshold", "information"]].tolist() == [0.0, 0.0, 0.0]
    assert own["loss"].to_numpy() == pytest.approx((own["threshold"] + own["information"]).to_numpy())
    average = own.loc["Avg."]
    assert average["loss"] == pytest.approx((82 - np.mean(plain[2:])) / 2)
    assert average["information"] == pytest.approx((82 - np.mean(moved[2:])) / 2)


def test_of_frames_only_scattered_ones_and_no_average_where_subsets_are_lacking():
    found = split_losses([told("mult", 0, [80, 70, 60], [80, 75, 70], CURVE)])
    assert found["condition"].tolist() == ["{l,a,v}", "p=0.5"] and found["std_loss"].isna().all()


def test_the_draw_may_be_another_one():
    other = tuple((s, 3) for s, _ in CURVE)
    found = split_losses([told("mult", 0, [80, 70, 60], [80, 75, 70], other)])
    assert found["condition"].tolist() == ["{l,a,v}", "p=0.5"]


def test_floors_and_what_is_not_known_are_left_out():
    known, old = told("mult", 0, [80] * 8, [80] * 8), model("corrkd", 0, SETTINGS)
    floor = replace(known, method="constant")
    assert split_losses([floor, old]).empty
    assert set(split_losses([known, floor, old])["method"]) == {"mult"}
    assert unknown_methods([known, floor, old, replace(known, seed=1, thresholds=None)]) == {
        ("mosi", "simulated"): ["corrkd"]
    }
    without = replace(intensity_model("mult", 0, 0.2), target=Target("intensity", span=(0.0, 4.0)))
    assert unknown_methods([without]) == {}
    assert split_losses([told("mult", 0, [80], [80], ((Setting("l"), 0),))]).empty, "there is nothing to lose from"
