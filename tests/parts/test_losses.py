"""The shared loss terms against plain loops written from the equations, and their gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

import corrkd.losses
from benchmark.parts.losses import central_moment_discrepancy, jensen_shannon_information, reverse_gradient


def two_samples(n=6, d=4):
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(n, d, dtype=torch.float64, generator=generator) for _ in range(2)]


def centred(x):
    means = [sum(column) / len(x) for column in zip(*x, strict=True)]
    return [[value - mean for value, mean in zip(row, means, strict=True)] for row in x]


def plain_cmd(x, y, moments):
    n, d = len(x), len(x[0])
    total = 0.0
    for k in range(1, moments + 1):
        difference = 0.0
        for j in range(d):
            if k == 1:
                a, b = (sum(row[j] for row in z) / n for z in (x, y))
            else:
                a, b = (sum(row[j] ** k for row in centred(z)) / n for z in (x, y))
            difference += (a - b) ** 2
        total += math.sqrt(difference)
    return total


@pytest.mark.parametrize("moments", [1, 2, 5])
def test_cmd_follows_the_equation(moments):
    x, y = two_samples()
    expected = plain_cmd(x.tolist(), y.tolist(), moments)
    assert central_moment_discrepancy(x, y, moments).item() == pytest.approx(expected, rel=1e-9)


def test_cmd_gradient():
    x, y = (z.requires_grad_() for z in two_samples(n=4, d=3))
    assert gradcheck(lambda a, b: central_moment_discrepancy(a, b, 5), (x, y))


def test_cmd_does_not_depend_on_the_order_and_is_zero_for_equal_sets():
    x, y = two_samples()
    shuffled = x[torch.randperm(len(x))]
    assert central_moment_discrepancy(x, shuffled, 5).item() == pytest.approx(0.0, abs=1e-12)
    assert central_moment_discrepancy(x, y, 5).item() == pytest.approx(central_moment_discrepancy(y, x, 5).item())


def test_information_equals_the_loop():
    joint, marginal = torch.randn(5, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    expected = -sum(math.log1p(math.exp(-x)) for x in joint.tolist()) / 5
    expected -= sum(math.log1p(math.exp(x)) for x in marginal.tolist()) / 20
    assert jensen_shannon_information(joint, marginal).item() == pytest.approx(expected, rel=1e-10)


def test_information_prefers_a_critic_that_tells_pairs_apart():
    good = jensen_shannon_information(torch.full((4,), 3.0), torch.full((12,), -3.0))
    blind = jensen_shannon_information(torch.zeros(4), torch.zeros(12))
    bad = jensen_shannon_information(torch.full((4,), -3.0), torch.full((12,), 3.0))
    assert 0 > good > blind > bad
    assert blind.item() == pytest.approx(-2 * math.log(2.0))


def test_information_of_one_pair_is_finite():
    assert torch.isfinite(jensen_shannon_information(torch.zeros(1), torch.zeros(0)))


def test_corrkd_hands_on_the_same_estimate():
    assert corrkd.losses.jensen_shannon_information is jensen_shannon_information
    assert "jensen_shannon_information" in corrkd.losses.__all__


def test_information_gradient():
    joint, marginal = (torch.randn(n, dtype=torch.float64, requires_grad=True) for n in (4, 12))
    assert gradcheck(jensen_shannon_information, (joint, marginal))


def test_reversed_gradient_is_minus_the_gradient_and_the_value_stays():
    x = torch.randn(3, 4, requires_grad=True)
    assert torch.equal(reverse_gradient(x), x)
    (plain,) = torch.autograd.grad(x.square().sum(), x)
    (reversed_,) = torch.autograd.grad(reverse_gradient(x).square().sum(), x)
    assert torch.equal(reversed_, -plain) and plain.any()
