"""Attention against the formula, its derivatives, and what it keeps."""

import pytest
import torch

from benchmark.parts import attention, blocks
from benchmark.parts.attention import attend
from benchmark.parts.feedforward import feed_forward


def dense_attention(q, kv, mask, heads):
    samples, t, d = q.shape
    q, k, v = (z.view(samples, -1, heads, d // heads).transpose(1, 2) for z in (q, *kv.chunk(2, -1)))
    weights = (q @ k.transpose(2, 3) / (d // heads) ** 0.5 + (1 - mask) * -1e9).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(samples, t, d)


@pytest.mark.parametrize("block", [1, 60, 10**6])  # weights worked on at a time: one sample, some, all
def test_attention_and_its_derivatives_equal_the_formula(monkeypatch, block):
    monkeypatch.setattr(blocks, "_BLOCK", block)
    torch.manual_seed(0)
    q = torch.randn(5, 4, 6, dtype=torch.double, requires_grad=True)
    kv = torch.randn(5, 3, 12, dtype=torch.double, requires_grad=True)
    mask = (torch.rand(5, 1, 4, 3) < 0.7).double()
    fast, plain = attend(q, kv, mask, heads=2), dense_attention(q, kv, mask, 2)
    assert torch.allclose(fast, plain)
    with torch.no_grad():
        assert torch.allclose(attend(q, kv, mask, heads=2), plain)
    weight = torch.randn_like(plain)
    for got, expected in zip(
        torch.autograd.grad(fast, (q, kv), weight), torch.autograd.grad(plain, (q, kv), weight), strict=True
    ):
        assert torch.allclose(got, expected)


def test_what_a_gpu_runs_equals_the_formula_too():
    torch.manual_seed(0)
    q, kv = torch.randn(5, 4, 6, requires_grad=True), torch.randn(5, 3, 12, requires_grad=True)
    mask = (torch.rand(5, 1, 4, 3) < 0.7).float()
    mask[1, :, 2] = 0  # a query with nothing to attend to
    fast, plain = attention.dense_attention(q, kv, mask, heads=2), dense_attention(q, kv, mask, 2)
    assert torch.allclose(fast, plain, atol=1e-6)
    assert torch.allclose(fast[1, 2], kv[1, :, 6:].mean(0), atol=1e-6)
    weight = (
        torch.randn_like(plain) * mask.amax(-1)[:, 0, :, None]
    )  # of queries with a key; those without learn nothing
    got, expected = (torch.autograd.grad(result, (q, kv), weight) for result in (fast, plain))
    assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(got, expected, strict=True))
    assert not torch.allclose(attention.dense_attention(q, kv, mask, heads=2, p=0.5), plain)


@pytest.mark.parametrize("block", [1, 10**6])  # weights worked on at a time: those of one sample, or all
def test_scores_out_of_a_floats_range_and_queries_without_a_key_give_what_a_softmax_gives(monkeypatch, block):
    monkeypatch.setattr(blocks, "_BLOCK", block)
    torch.manual_seed(0)
    q, kv = torch.randn(4, 5, 6), torch.randn(4, 5, 12)
    mask = torch.ones(4, 1, 5, 5)
    mask[1, :, 2] = 0  # a query with nothing to attend to
    q[2] *= 1000  # scores of hundreds: their exponentials are infinite or zero
    q, kv = q.requires_grad_(), kv.requires_grad_()
    fast, plain = attend(q, kv, mask, heads=2), dense_attention(q, kv, mask, 2)
    assert torch.allclose(fast, plain, atol=1e-5) and torch.allclose(fast[1, 2], kv[1, :, 6:].mean(0), atol=1e-6)
    weight = torch.randn_like(plain)
    got, expected = (torch.autograd.grad(result, (q, kv), weight) for result in (fast, plain))
    assert all(torch.allclose(x, y, rtol=1e-4, atol=1e-4) for x, y in zip(got, expected, strict=True))


def test_attention_needs_no_softmax_for_scores_as_they_are(monkeypatch):
    monkeypatch.delattr(torch, "softmax")
    assert attend(torch.randn(4, 5, 6), torch.randn(4, 5, 12), torch.ones(4, 1, 1, 5), heads=2).isfinite().all()


def test_neither_weights_nor_hidden_units_are_kept_for_the_backward_pass():
    kept = []

    def keep(x):
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        q, kv = torch.randn(4, 50, 6, requires_grad=True), torch.randn(4, 50, 12, requires_grad=True)
        attend(q, kv, torch.ones(4, 1, 1, 50), heads=2, p=0.1)
        x = torch.randn(2, 500, 3, requires_grad=True)
        feed_forward(
            x, torch.randn(2, 3, 40), torch.randn(2, 1, 40), torch.randn(2, 40, 3), torch.randn(2, 1, 3), p=0.1
        )
    assert kept and max(kept) == 2 * 500 * 3  # weights: 4 x 2 x 50 x 50, hidden units: 2 x 500 x 40


@pytest.mark.parametrize("block", [1, 10**6])
def test_attention_drops_weights_and_differentiates_what_it_dropped(monkeypatch, block):
    monkeypatch.setattr(blocks, "_BLOCK", block)
    torch.manual_seed(0)
    q = torch.randn(3, 4, 6, dtype=torch.double, requires_grad=True)
    kv = torch.randn(3, 5, 12, dtype=torch.double, requires_grad=True)
    mask = torch.ones(3, 1, 1, 5, dtype=torch.double)

    def dropped(q, kv):
        torch.manual_seed(1)
        return attend(q, kv, mask, heads=2, p=0.5)

    assert torch.autograd.gradcheck(dropped, (q, kv))
    assert not torch.allclose(dropped(q, kv), attend(q, kv, mask, heads=2))
    mean = torch.stack([attend(q.detach(), kv.detach(), mask, heads=2, p=0.5) for _ in range(4000)]).mean(0)
    assert torch.allclose(mean, attend(q, kv, mask, heads=2), atol=0.1)
