"""What is CMAD's own: features distilled by correlations, and weights on combinations that lag."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.cmad import CMAD, STUDENT, TEACHER, availability, correlation_distillation, members
from tests.batches import random_batch, small_task


def small_cmad(stage=STUDENT, batches=(), task="mosi", **options):
    torch.manual_seed(0)
    model = CMAD(small_task(task), **{"d": 8, "latents": 2, "heads": 2, "dropout": 0.0, **options})
    with torch.no_grad():
        model.start_stage(stage, batches)
    return model.eval()


def incomplete():
    batch = random_batch(small_task(), 6, seed=1)
    for m, rows in (("l", [0, 1]), ("a", [2])):
        batch.present[m][rows], batch.features[m][rows] = False, 0.0
    return batch


def test_correlation_distillation_by_hand():
    student = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    teacher = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    near = 1 / (1 + math.exp(-2.0))  # softmax of cosines 1 and 0 over a tau of 0.5
    apart = (2 * near - 1) * math.log(near / (1 - near))  # of the second; the first has the right correlations
    found = correlation_distillation(student, teacher, tau=0.5)
    assert found.item() == pytest.approx(apart * (4.0 + 1.0) / 2 / 2, rel=1e-5)


def test_combinations_are_told_apart():
    found = members(availability(incomplete())).argmax(1)
    assert found.tolist() == [0b110, 0b110, 0b101, 0b111, 0b111, 0b111]


def test_lags_follow_the_positive_part_of_each_combination():
    model = small_cmad(momentum=0.75)
    model.follow(F.one_hot(torch.tensor([7, 7, 2]), 8).float(), torch.tensor([1.0, 4.0, -3.0]))
    expected = [1.0] * 8
    expected[7], expected[2] = 0.75 + 0.25 * 2.5, 0.75
    assert model.lags.tolist() == pytest.approx(expected)
    mean = sum(expected) / 8
    assert model.importance().tolist() == pytest.approx([lag / mean for lag in expected])
    model.lags.zero_()
    assert model.importance().tolist() == [1.0] * 8


def test_terms_weigh_samples_by_their_combination():
    whole = random_batch(small_task(), 6, seed=1)
    batch = replace(incomplete(), ids=whole.ids)
    model = small_cmad(batches=[whole], delta=0.3, gamma=0.7)
    model.lags.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 6.0, 0.0]))
    terms = model.terms(batch)
    weights = torch.tensor([6.0, 6.0, 2.0, 0.0, 0.0, 0.0])
    joint, outputs = model.student(batch)
    teacher_joint, teacher = model.teacher(whole)
    losses = F.cross_entropy(outputs, batch.labels, reduction="none")
    assert torch.allclose(terms["task"], (weights * losses).mean())
    assert torch.allclose(terms["CAFD"], 0.3 * correlation_distillation(joint, teacher_joint, model.tau))
    soft, own = ((x / 2).softmax(1) for x in (teacher, outputs))
    divergences = 4 * (soft * (soft / own).log()).sum(1)
    assert torch.allclose(terms["responses"], 0.7 * (weights * divergences).mean(), atol=1e-6)
    assert model.lags[6] == 6.0  # not in training
    model.train().terms(batch)
    lag = (losses - F.cross_entropy(teacher, batch.labels, reduction="none"))[:2].mean().clamp(min=0)
    assert torch.allclose(model.lags[6], 0.99 * 6.0 + 0.01 * lag.detach())


def test_missing_modalities_are_hidden_from_the_fusion():
    model, batch = small_cmad(), random_batch(small_task(), 3, seed=1, available="lv")
    before = model.predict(batch)
    with torch.no_grad():
        model.student.latents[1] += 5.0
    assert torch.allclose(model.predict(batch), before)
    with torch.no_grad():
        model.student.latents[0] += torch.randn(2, 8)
    assert not torch.allclose(model.predict(batch), before)


def test_the_teacher_is_trained_alone_and_then_stays_as_it_is():
    batch = random_batch(small_task(), 4, seed=1)
    model = small_cmad(TEACHER)
    assert list(model.terms(batch)) == ["task"] and torch.equal(model.predict(batch), model.teacher(batch)[1])
    model.start_stage(STUDENT, [batch])
    sum(model.train().terms(batch).values()).backward()
    assert not model.teacher.training and all(p.grad is None for p in model.teacher.parameters())
    assert any(p.grad is not None for p in model.student.parameters())
