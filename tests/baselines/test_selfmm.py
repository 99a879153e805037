"""What is Self-MM's own: class centres and relative distances, and labels that move but stay in range."""

import math
from dataclasses import replace

import pytest
import torch

from baselines.selfmm import FUSION, LabelMemory, SelfMM, onto_simplex, relative_distances
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, select, small_task

TASKS = ("mosi", "iemocap", "mosi_intensity")


def trained(task_name, epochs, halves=True):
    """A model after some epochs of two batches each (or one), and the batch it has seen."""
    task = small_task(task_name)
    batch = random_batch(task, 24, seed=3)
    torch.manual_seed(0)
    model = SelfMM(task, hidden_l=16, hidden_v=16, encoded_l=16, post_fusion=16, post_l=16, post_v=16)
    model.start_stage(model.stages[0], [batch])
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    parts = [select(batch, list(range(start, 24, 2))) for start in (0, 1)] if halves else [batch]
    for _ in range(epochs):
        for part in parts:
            optimiser.zero_grad()
            model.loss(part).backward()
            optimiser.step()
    return model, batch


@pytest.mark.parametrize("task_name", TASKS)
def test_generated_labels_move_and_stay_in_range(task_name):
    started, batch = trained(task_name, 1)
    model, _ = trained(task_name, 12)
    truth = started.multimodal_labels(batch)
    assert torch.equal(model.memory.labels[FUSION], truth)
    for m in MODALITIES:
        assert torch.equal(started.memory.labels[m], truth)  # the first epoch moves none
        labels = model.memory.labels[m]
        assert ((labels - truth).abs().sum(1) > 1e-3).float().mean() > 0.5
        if task_name == "iemocap":
            assert labels.min() >= 0.0 and torch.allclose(labels.sum(1), torch.ones(24), atol=1e-5)
        else:
            assert labels.abs().max() <= 3.0
    labels = model.memory.labels
    assert not any(torch.allclose(labels[m], labels[n], atol=1e-3) for m, n in ("la", "lv", "av"))


def test_the_bound_is_half_of_the_span_and_intensities_are_counted_from_its_middle():
    task = replace(small_task("mosi_intensity"), span=(1.0, 5.0))
    model, batch = SelfMM(task), random_batch(small_task("mosi_intensity"), 24, seed=3)
    assert model.bound == 2.0 and SelfMM(task, bound=1.5).bound == 1.5 and SelfMM(small_task()).bound == 3.0
    batch = replace(batch, intensity=batch.intensity * 2 / 3 + 3)  # from -3 … 3 to 1 … 5
    model.start_stage(model.stages[0], [batch])
    assert torch.allclose(model.memory.labels["l"][:, 0] + 3, batch.intensity)
    model.memory.labels["l"] += 0.5  # a label counts only once it has moved
    terms = model.eval().terms(batch)
    answers = model.heads["l"](model.encode(batch)["l"])[1]
    errors = (answers[:, 0] + 3 - batch.intensity - 0.5).abs()
    assert terms["unimodal l"].item() == pytest.approx(math.tanh(0.5) * errors.mean().item(), rel=1e-5)
    assert terms["task"].item() == pytest.approx((model.predict(batch)[:, 0] - batch.intensity).abs().mean().item())
    # Both sides of the middle have samples, so centres are found and labels move.
    model.terms(batch)
    assert not torch.allclose(model.memory.labels["l"][:, 0] + 3, batch.intensity)


def test_two_categories_without_intensities_are_told_by_probabilities():
    task = replace(small_task("iemocap"), num_categories=2)
    batch = random_batch(task, 12, seed=3)
    model = SelfMM(task)
    model.start_stage(model.stages[0], [batch])
    for _ in range(3):
        model.loss(batch).backward()
    assert model.heads["l"](model.encode(batch)["l"])[1].shape == (12, 2)
    assert torch.allclose(model.memory.labels["l"].sum(1), torch.ones(12))


def memory(labels, features, bound=3.0):
    """A memory in which every sample was seen once; the same features for all heads but those in `features`."""
    kept = LabelMemory([f"s{i}" for i in range(len(labels))], labels, dict.fromkeys((FUSION, *MODALITIES), 2), bound)
    kept.update(torch.arange(len(labels)), features)
    return kept


def test_intensities_follow_the_papers_equation():
    y = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
    torch.manual_seed(0)
    features = {h: torch.randn(4, 2) for h in (FUSION, *MODALITIES)}
    kept = memory(y, features)
    now = {h: torch.randn(2, 2) for h in features}
    kept.update(torch.tensor([2, 0]), now)
    for m in MODALITIES:
        for i, row in enumerate((2, 0)):
            alpha = {}
            for h in (m, FUSION):
                positive, negative = (features[h][rows].mean(0) for rows in ([0, 1], [2, 3]))
                d_p, d_n = (float((now[h][i] - c).norm()) for c in (positive, negative))
                alpha[h] = (d_n - d_p) / d_p
            y_m = float(y[row])
            generated = y_m + (alpha[m] - alpha[FUSION]) / 2 * (y_m + alpha[FUSION]) / alpha[FUSION]
            generated = min(3.0, max(-3.0, generated))
            # Second visit: a third of the old label, two thirds of the generated one.
            assert kept.labels[m][row].item() == pytest.approx(y_m / 3 + 2 * generated / 3, abs=1e-4)
        assert torch.equal(kept.labels[m][[1, 3]], y[[1, 3]])


def test_emotions_shift_towards_the_nearer_centres():
    y = torch.eye(3)[[0, 0, 1, 1, 2, 2]]
    spots = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]).repeat_interleave(2, 0)
    kept = memory(y, dict.fromkeys((FUSION, *MODALITIES), spots))
    # Sample 0 looks like its own category to the fusion and to audio, like category 1 in language.
    own, other = torch.tensor([[0.5, 0.5]]), torch.tensor([[3.5, 0.5]])
    kept.update(torch.tensor([0]), {FUSION: own, "l": other, "a": own, "v": own})
    language, audio = kept.labels["l"][0], kept.labels["a"][0]
    assert torch.allclose(audio, y[0], atol=1e-6)
    assert language[0] < 0.9 and language[1] > language[2]
    assert language.sum().item() == pytest.approx(1.0, abs=1e-6) and language.min() >= 0


def test_a_visit_weighs_by_how_far_the_label_has_moved():
    y = torch.tensor([[1.0], [-1.0]])
    kept = LabelMemory(["a", "b"], y, dict.fromkeys((FUSION, *MODALITIES), 2), 3.0)
    rows = kept.rows(["b", "a"])
    assert rows.tolist() == [1, 0] and not kept.weights(rows, "l").any()
    kept.labels["l"][0] += 0.5
    assert torch.allclose(kept.weights(rows, "l"), torch.tensor([0.0, 0.5]).tanh())


def test_labels_stay_while_a_category_has_no_sample():
    y = torch.tensor([[1.0], [2.0]])
    kept = memory(y, {h: torch.randn(2, 2) for h in (FUSION, *MODALITIES)})
    kept.update(torch.arange(2), {h: torch.randn(2, 2) for h in (FUSION, *MODALITIES)})
    assert all(torch.equal(kept.labels[m], y) for m in MODALITIES)


def test_labels_belong_to_the_sample_whatever_its_batch():
    one, batch = trained("mosi", 4)
    assert one.memory.seen.tolist() == [4.0] * 24
    other = replace(batch, ids=[f"unknown{i}" for i in range(24)])
    with pytest.raises(KeyError):
        one.loss(other)
    torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="start of the training stage"):
        SelfMM(small_task()).loss(batch)


def test_the_unimodal_heads_learn_the_generated_labels():
    """They cannot be left out of the loss: their answers come close to labels that are not those of the data."""
    model, batch = trained("mosi", 150, halves=False)
    model.eval()
    encoded = model.encode(batch)
    labels = model.memory.labels["l"]
    moved = (labels - model.multimodal_labels(batch)).abs().squeeze(1) > 0.2
    assert moved.any()
    answers = model.heads["l"](encoded["l"])[1].detach()
    spread = (labels - labels.median()).abs().mean()
    assert (answers - labels).abs()[moved].mean() < 0.5 * spread


def test_relative_distances_with_two_centres_are_the_papers():
    x, centres = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0], [0.0, 0.0]])  # negative, positive
    assert relative_distances(x, centres)[0].tolist() == pytest.approx([(1 - 3) / 3, (3 - 1) / 1])


def test_onto_simplex_is_the_nearest_point():
    torch.manual_seed(0)
    x = torch.randn(50, 4) * 2
    p = onto_simplex(x)
    assert p.min() >= 0 and torch.allclose(p.sum(1), torch.ones(50), atol=1e-5)
    others = torch.distributions.Dirichlet(torch.full((4,), 0.5)).sample((2000,))
    distance = (x - p).norm(dim=1)
    assert (torch.cdist(x, others).amin(1) >= distance - 1e-5).all()
    inside = others[:20]
    assert torch.allclose(onto_simplex(inside), inside, atol=1e-6)
