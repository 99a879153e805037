"""The feed-forward part against the formula."""

import pytest
import torch

from benchmark.parts import blocks
from benchmark.parts.feedforward import feed_forward


@pytest.mark.parametrize("block", [1, 100, 10**6])  # numbers worked on at a time: one row, some, all
def test_feed_forward_and_its_derivatives_equal_the_formula(monkeypatch, block):
    monkeypatch.setattr(blocks, "_BLOCK", block)
    torch.manual_seed(0)
    shapes = [(2, 17, 3), (2, 3, 8), (2, 1, 8), (2, 8, 4), (2, 1, 4)]
    arguments = [torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    x, expand, shift, contract, out = arguments
    fast, plain = feed_forward(*arguments), (x @ expand + shift).relu() @ contract + out
    assert torch.allclose(fast, plain)
    weight = torch.randn_like(plain)
    got, expected = (torch.autograd.grad(result, arguments, weight) for result in (fast, plain))
    assert all(torch.allclose(x, y) for x, y in zip(got, expected, strict=True))


@pytest.mark.parametrize("block", [1, 10**6])
def test_feed_forward_drops_and_differentiates_what_it_dropped(monkeypatch, block):
    monkeypatch.setattr(blocks, "_BLOCK", block)
    torch.manual_seed(0)
    shapes = [(2, 5, 3), (2, 3, 8), (2, 1, 8), (2, 8, 4), (2, 1, 4)]
    arguments = [torch.randn(*shape, dtype=torch.double, requires_grad=True) for shape in shapes]

    def dropped(*arguments):
        torch.manual_seed(1)
        return feed_forward(*arguments, p=0.5)

    assert torch.autograd.gradcheck(dropped, arguments)
    with torch.no_grad():
        whole = feed_forward(*arguments)
        assert not torch.allclose(dropped(*arguments), whole)
        mean = torch.stack([feed_forward(*arguments, p=0.5) for _ in range(4000)]).mean(0)
    assert torch.allclose(mean, whole, atol=0.5) and (mean - whole).abs().mean() < 0.1
