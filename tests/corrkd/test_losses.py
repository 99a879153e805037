"""The losses against plain loops written from the equations, and their gradients against finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from corrkd.losses import category_prototype, jensen_shannon_information, sample_contrastive, split_response


def representations(n, d, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2)]


def loop_scd(s, t, eta, divisor=None):
    n, total = len(s), 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                positive = math.dist(s[i].tolist(), t[i].tolist()) ** 2
                total += positive + max(0.0, eta - math.dist(s[i].tolist(), t[j].tolist())) ** 2
    return total / (n * (n - 1) if divisor is None else divisor)


def loop_cosine(x, y):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / (math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y)))


def loop_cpd(s, t, labels, k, prototypes_of=None, divisor=None):
    present = [c for c in range(k) if c in labels.tolist()]
    total = 0.0
    for c in present:
        members = [i for i, label in enumerate(labels.tolist()) if label == c]
        sources = (s, t) if prototypes_of is None else (prototypes_of, prototypes_of)
        prototypes = [[sum(h[i][f].item() for i in members) / len(members) for f in range(h.shape[1])] for h in sources]
        for i in range(len(s)):
            student = loop_cosine(s[i].tolist(), prototypes[0])
            teacher = loop_cosine(t[i].tolist(), prototypes[1])
            total += (student - teacher) ** 2
    return total / (len(s) * len(present) if divisor is None else divisor)


@pytest.mark.parametrize(
    ("n", "d", "eta", "scale"), [(2, 3, 1.2, 0.3), (7, 4, 1.2, 0.5), (5, 6, 4.0, 1.0), (6, 2, 0.0, 1.0)]
)
def test_sample_contrastive_equals_the_loop(n, d, eta, scale):
    s, t = representations(n, d, scale=scale)
    assert sample_contrastive(s, t, eta).item() == pytest.approx(loop_scd(s, t, eta), rel=1e-10)


@pytest.mark.parametrize(("reduction", "divisor"), [("sum", 1), ("samples", 7), ("pairs", 42), ("width", 42 * 4)])
@pytest.mark.parametrize("normalised", [False, True])
def test_the_readings_of_sample_contrastive_equal_the_loop(reduction, divisor, normalised):
    s, t = representations(7, 4)
    lengths = [h.norm(dim=1, keepdim=True) if normalised else 1.0 for h in (s, t)]
    expected = loop_scd(s / lengths[0], t / lengths[1], 1.2, divisor)
    found = sample_contrastive(s, t, 1.2, normalised=normalised, reduction=reduction)
    assert found.item() == pytest.approx(expected, rel=1e-8)


def test_sample_contrastive_by_hand():
    s = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    t = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    # positives: 1 and 9; negatives: D(s0, t1) = 0 → (2 - 0)^2 = 4; D(s1, t0) = sqrt(10) > 2 → 0
    assert sample_contrastive(s, t, 2.0).item() == pytest.approx((1 + 9) / 2 + (4 + 0) / 2)


def test_sample_contrastive_of_one_sample_is_zero_and_differentiable():
    s = torch.ones(1, 4, requires_grad=True)
    loss = sample_contrastive(s, torch.zeros(1, 4), 1.0)
    loss.backward()
    assert loss.item() == 0.0 and torch.isfinite(s.grad).all()


@pytest.mark.parametrize("k", [2, 4, 6])
def test_category_prototype_equals_the_loop(k):
    s, t = representations(9, 5)
    labels = torch.tensor([0, 1, 1, 0, 3, 3, 0, 1, 3]) % k  # for k = 4 and 6 some categories are absent
    assert category_prototype(s, t, labels, k).item() == pytest.approx(loop_cpd(s, t, labels, k), rel=1e-8)


@pytest.mark.parametrize("prototypes", ["own", "teacher"])
@pytest.mark.parametrize(("reduction", "divisor"), [("mean", None), ("sum", 1)])
def test_the_readings_of_category_prototype_equal_the_loop(prototypes, reduction, divisor):
    s, t = representations(9, 5)
    labels = torch.tensor([0, 1, 1, 0, 3, 3, 0, 1, 3])  # category 2 is absent
    expected = loop_cpd(s, t, labels, 4, t if prototypes == "teacher" else None, divisor)
    found = category_prototype(s, t, labels, 4, prototypes=prototypes, reduction=reduction)
    assert found.item() == pytest.approx(expected, rel=1e-8)


def test_category_prototype_ignores_scale_and_is_zero_for_equal_networks():
    s, t = representations(8, 5)
    labels = torch.arange(8) % 2
    assert category_prototype(s, s, labels, 2).item() == pytest.approx(0.0, abs=1e-15)
    assert category_prototype(5 * s, t, labels, 2).item() == pytest.approx(category_prototype(s, t, labels, 2).item())


def test_split_response():
    logits = torch.tensor([[0.0, math.log(2.0), 0.0], [math.log(3.0), 0.0, 0.0]])
    target, others = split_response(logits, torch.tensor([1, 2]))
    assert torch.allclose(target, torch.tensor([[0.5], [0.2]]))
    assert torch.allclose(others, torch.tensor([[0.25, 0.25], [0.6, 0.2]]))
    assert torch.allclose(target[:, 0] + others.sum(1), torch.ones(2))


def test_split_response_in_logarithms():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 2, 2])
    for plain, log in zip(split_response(logits, labels), split_response(logits, labels, log=True), strict=True):
        assert torch.allclose(plain.log(), log, atol=1e-6)


def test_split_response_of_two_categories():
    target, others = split_response(torch.randn(5, 2), torch.tensor([0, 1, 0, 1, 1]))
    assert target.shape == others.shape == (5, 1)
    assert torch.allclose(target + others, torch.ones(5, 1))


def test_gradients():
    s, t = representations(5, 3, scale=0.5)
    labels = torch.tensor([0, 1, 1, 0, 2])
    s.requires_grad_()
    assert gradcheck(lambda x: sample_contrastive(x, t, 1.2), (s,))
    assert gradcheck(lambda x: sample_contrastive(x, t, 1.2, normalised=True, reduction="sum"), (s,))
    assert gradcheck(lambda x: category_prototype(x, t, labels, 4, prototypes="teacher", reduction="sum"), (s,))
    assert gradcheck(lambda x: category_prototype(x, t, labels, 4), (s,))
    assert gradcheck(lambda x: split_response(x, labels), (s,))
    joint = torch.randn(4, dtype=torch.float64, requires_grad=True)
    marginal = torch.randn(12, dtype=torch.float64, requires_grad=True)
    assert gradcheck(jensen_shannon_information, (joint, marginal))


@pytest.mark.parametrize("value", [0.0, 1e-20, 1.0, -1.0, 1e6])
def test_losses_and_gradients_stay_finite_where_vectors_coincide(value):
    s = torch.full((4, 3), value, requires_grad=True)
    t = torch.full((4, 3), value)
    labels = torch.tensor([0, 1, 0, 1])
    target, others = split_response(s, labels)
    loss = sample_contrastive(s, t, 1.2) + category_prototype(s, t, labels, 3)
    loss = (
        loss
        + sample_contrastive(s, t, 1.2, normalised=True)
        + category_prototype(s, t, labels, 3, prototypes="teacher")
    )
    loss = loss - jensen_shannon_information(1e3 * target[:, 0], -1e3 * others.flatten())
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(s.grad).all()
