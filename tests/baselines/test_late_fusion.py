"""What is late fusion's own: equal weights over what is present, models that know only their modality, a constant."""

from dataclasses import replace

import pytest
import torch

from baselines.late_fusion import LateFusion
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task

TASKS = ["mosi", "iemocap", "mosi_intensity"]


def small_fusion(name):
    torch.manual_seed(0)
    return LateFusion(small_task(name), hidden=6).eval()


def averaged(model, outputs):
    """What `predict` gives, as probabilities or intensities."""
    return outputs if model.task.kind == "intensity" else outputs.softmax(-1)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("available", ["l", "av", "lav"])
def test_it_answers_with_the_mean_of_what_the_present_models_say(name, available):
    model = small_fusion(name)
    batch = random_batch(model.task, 5, seed=0, available=available)
    said = [averaged(model, model.models[m](batch.features[m], batch.present[m])) for m in available]
    assert torch.allclose(averaged(model, model.predict(batch)), sum(said) / len(said), atol=1e-6)


def test_an_absent_modality_has_no_effect_at_all():
    model = small_fusion("mosi")
    batch = random_batch(model.task, 5, seed=0, available="lv")
    before = model.predict(batch)
    for parameter in model.models["a"].parameters():
        parameter.data.normal_()
    noise = {**batch.features, "a": torch.randn_like(batch.features["a"])}
    assert torch.equal(model.predict(replace(batch, features=noise)), before)
    for parameter in model.models["v"].parameters():
        parameter.data.normal_()
    assert not torch.equal(model.predict(batch), before)


@pytest.mark.parametrize("name", TASKS)
def test_with_nothing_present_it_answers_with_the_training_splits_constant(name):
    model = small_fusion(name)
    train = random_batch(model.task, 40, seed=0)
    model.start_stage(model.stages[0], [train])
    found = averaged(model, model.predict(random_batch(model.task, 3, seed=1, available="")))
    if name == "mosi_intensity":
        expected = train.intensity.median()[None]
    else:
        counts = torch.tensor([int((train.labels == k).sum()) + 1 for k in range(model.task.num_categories)])
        expected = counts / counts.sum()
    assert torch.allclose(found, expected.expand(3, -1), atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_each_models_loss_is_over_the_samples_that_have_its_modality(name):
    model = small_fusion(name)
    lengths = {"l": [3, 2, 4], "a": [0, 2, 0], "v": [0, 0, 0]}
    batch = random_batch(model.task, 3, seed=0, lengths=lengths)
    terms = model.terms(batch)
    outputs = model.models["a"](batch.features["a"], batch.present["a"])[1:2]
    alone = replace(
        batch, labels=batch.labels[1:2], intensity=None if batch.intensity is None else batch.intensity[1:2]
    )
    assert torch.allclose(terms["a"], model.task_loss(outputs, alone))
    assert terms["v"] == 0.0
    terms["l"].backward()
    assert all(p.grad is None or not p.grad.any() for m in MODALITIES if m != "l" for p in model.models[m].parameters())
