"""Models that give all samples one category, or never give one."""

from dataclasses import replace

import numpy as np

from benchmark.evidence.collapse import collapsed, never_predicted
from benchmark.evidence.comparisons import weigh
from benchmark.protocol.missing import Setting
from benchmark.protocol.target import Target
from tests.evidence.test_comparisons import LABELS, ROWS, intensity_model, model, of

SETTINGS = ((Setting(), 0), (Setting("l"), 0), (Setting("l"), 1))


def constant_in(whole, *places, category=1):
    predicted = whole.predicted.copy()
    predicted[list(places)] = category
    return replace(whole, predicted=predicted, outputs=predicted)


def test_a_condition_counts_the_seeds_that_give_all_samples_the_same_category():
    models = [model("mult", seed, SETTINGS) for seed in range(3)]
    assert collapsed(models) == {"{l,a,v}": 0, "{l}": 0}
    models[0], models[2] = constant_in(models[0], 0, 1, 2), constant_in(models[2], 1, 2, category=0)
    assert collapsed(models) == {"{l,a,v}": 1, "{l}": 2}
    assert collapsed([constant_in(models[1], 1)]) == {"{l,a,v}": 0, "{l}": 0}, "not with the other draw"


def test_an_intensity_collapses_where_its_outputs_do_and_not_where_they_share_a_bin():
    shrunken = intensity_model("mult", 0, 0.2)
    outputs = 0.1 * shrunken.outputs  # all in one bin
    everywhere = [s.condition for s, _ in shrunken.settings if s.ratio < 1.0]
    own = collapsed([replace(shrunken, outputs=outputs)])
    assert not any(own[condition] for condition in everywhere) and own["p=1.0"] == 1
    flat = collapsed([replace(shrunken, outputs=1e-4 * shrunken.outputs + 0.3)])
    assert all(flat[condition] for condition in everywhere), "nearly the same is the same"


def test_it_stands_beside_the_scores():
    models = [model("mult", seed) for seed in range(3)] + [constant_in(model("corrkd", 0), 1)]
    found = weigh(models, rows=ROWS, against=None).intervals
    own = of(found, method="corrkd", metric="accuracy").set_index("condition")["collapsed"]
    assert own["{a}"] == 1 and own["{l}"] == 0 and np.isnan(own["Avg."])
    assert of(found, method="mult")["collapsed"].fillna(0).eq(0).all()


def test_a_category_that_comes_in_no_condition_and_with_no_seed_is_never_predicted():
    target = Target("category", ("happy", "sad", "angry"))
    plain = replace(model("mult", 0), target=target, labels=(LABELS > 0).astype(int))
    once = plain.predicted.copy()
    once[3, 5] = 2
    other = replace(plain, method="corrkd")
    floor = replace(plain, method="constant", predicted=0 * plain.predicted)
    found = never_predicted(
        [plain, other, replace(other, seed=1, predicted=once), floor, intensity_model("mult", 0, 0.2)]
    )
    assert found == {("mosi", "simulated"): {"angry": ["mult"]}}
