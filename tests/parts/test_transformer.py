"""Transformers side by side against torch's own modules."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.parts.transformer import Transformer, positions_of_frames, sinusoidal_positions
from tests.batches import lengths_mask


def test_positions_are_distinct_and_bounded_for_odd_widths():
    for d in (1, 5, 30):
        p = sinusoidal_positions(50, d)
        assert p.shape == (50, d) and p.abs().max() <= 1
    assert torch.cdist(sinusoidal_positions(50, 30), sinusoidal_positions(50, 30)).add(torch.eye(50) * 9).min() > 0.1


def reference(transformer, s, x, mask, memory=None, memory_mask=None, offset=None):
    """Stream s of a Transformer, written with nn.MultiheadAttention and F.layer_norm."""
    scale, h = x.shape[-1] ** 0.5, x
    h = h * scale + sinusoidal_positions(h.shape[1], h.shape[2])
    keys = None if memory is None else memory * scale + sinusoidal_positions(memory.shape[1], memory.shape[2])
    hidden = ~(mask if memory is None else memory_mask)
    for layer in transformer.layers:
        d = h.shape[-1]
        attention = nn.MultiheadAttention(d, layer.heads, batch_first=True)
        with torch.no_grad():
            kv = layer.key_value
            attention.in_proj_weight.copy_(torch.cat([layer.query.weight[s].T, kv.weight[s].T]))
            attention.in_proj_bias.copy_(torch.cat([layer.query.bias[s, 0], kv.bias[s, 0]]))
            attention.out_proj.weight.copy_(layer.output.weight[s].T)
            attention.out_proj.bias.copy_(layer.output.bias[s, 0])

        def norm(z, part):
            return F.layer_norm(z, z.shape[-1:], part.weight[s, 0], part.bias[s, 0])

        queries = norm(h, layer.norm_attention)
        source = queries if keys is None else norm(keys, layer.norm_attention)
        future = None if offset is None else torch.ones(h.shape[1], source.shape[1], dtype=torch.bool).triu(1 + offset)
        h = h + attention(queries, source, source, key_padding_mask=hidden, attn_mask=future, need_weights=False)[0]
        z = norm(h, layer.norm_feedforward)
        z = (z @ layer.expand.weight[s] + layer.expand.bias[s, 0]).relu()
        h = h + z @ layer.contract.weight[s] + layer.contract.bias[s, 0]
    return F.layer_norm(h, h.shape[-1:], transformer.norm.weight[s, 0], transformer.norm.bias[s, 0])


def perturbed(transformer):
    with torch.no_grad():
        for p in transformer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return transformer.eval()


@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
@pytest.mark.parametrize("lengths", [(6, 6, 6), (6, 4, 1)])
@pytest.mark.parametrize("offset", [None, 0, 2])
def test_self_attention_equals_torch(lengths, offset, attention_dropout):
    torch.manual_seed(0)
    transformer = perturbed(Transformer(3, 8, heads=2, layers=2, attention_dropout=attention_dropout))
    x = [torch.randn(4, t, 8) for t in lengths]
    masks = [lengths_mask([t, max(1, t - 1), 1, t], t) for t in lengths]
    offsets = None if offset is None else [offset] * 3
    results = transformer(x, masks, causal_offset=offsets)
    for s in range(3):
        expected = reference(transformer, s, x[s], masks[s], offset=offset)
        assert torch.allclose(results[s][masks[s]], expected[masks[s]], atol=1e-5)


@pytest.mark.parametrize("lengths", [(6, 6), (6, 3)])
def test_cross_attention_equals_torch(lengths):
    torch.manual_seed(0)
    transformer = perturbed(Transformer(2, 8, heads=4, layers=3, feedforward=5))
    x = [torch.randn(3, t, 8) for t in lengths]
    masks = [lengths_mask([t, 2, 1], t) for t in lengths]
    offset = abs(lengths[0] - lengths[1])
    results = transformer(x, masks, x[::-1], masks[::-1], causal_offset=[offset, offset])
    for s in range(2):
        expected = reference(transformer, s, x[s], masks[s], x[1 - s], masks[1 - s], offset=offset)
        assert torch.allclose(results[s], expected, atol=1e-5)


def test_training_mode_without_dropout_equals_evaluation():
    transformer = perturbed(Transformer(2, 8, heads=2, layers=1))
    x, masks = [torch.randn(3, 5, 8)] * 2, [lengths_mask([5, 2, 1], 5)] * 2
    expected = transformer(x, masks)
    for a, b in zip(transformer.train()(x, masks), expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_nothing_to_attend_to_is_finite_with_finite_gradients():
    transformer = Transformer(1, 8, heads=2, layers=2)
    x = torch.zeros(2, 4, 8, requires_grad=True)
    (result,) = transformer([x], [torch.zeros(2, 4, dtype=torch.bool)])
    result.sum().backward()
    assert torch.isfinite(result).all() and torch.isfinite(x.grad).all()


def test_width_must_be_a_multiple_of_heads():
    with pytest.raises(ValueError, match="multiple"):
        Transformer(1, 10, heads=3, layers=1)


@pytest.mark.parametrize("d", [1, 5, 8])
def test_positions_of_frames_spare_those_that_begin_with_zero(d):
    x = torch.ones(2, 6, d)
    x[0, 2, 0] = 0.0
    positions = positions_of_frames(x)
    assert not positions[0, 2].any() and positions[1].any(-1).all()
    assert torch.equal(positions[0, 3:], positions[1, 3:])  # a frame that is missing keeps its place
    half, t = max(1, d // 2), 3  # the fourth frame; counted from 1
    rates = [10000.0 ** (-i / max(1, half - 1)) for i in range(half)]
    expected = [math.sin((t + 1) * r) for r in rates] + [math.cos((t + 1) * r) for r in rates]
    assert positions[1, t].tolist() == pytest.approx([*expected, 0.0][:d], abs=1e-5)


def test_attention_starts_as_one_matrix():
    """As torch's own does: Glorot for (d, 3 d), be it queries, keys or values."""
    torch.manual_seed(0)
    layer = Transformer(2, 32, heads=2, layers=1).layers[0]
    reference = nn.MultiheadAttention(32, 2).in_proj_weight.abs().max().item()
    for linear in (layer.query, layer.key_value):
        assert linear.weight.abs().max().item() == pytest.approx(reference, rel=0.01)
    assert layer.output.weight.abs().max().item() == pytest.approx((6 / 64) ** 0.5, rel=0.01)


def test_each_stream_drops_at_its_own_rate():
    torch.manual_seed(0)
    transformer = Transformer(3, 8, heads=2, layers=1, attention_dropout=[0.5, 0.0, 0.5]).train()
    x, masks = [torch.randn(4, 6, 8)] * 3, [torch.ones(4, 6, dtype=torch.bool)] * 3
    same = [torch.equal(a, b) for a, b in zip(transformer(x, masks), transformer(x, masks), strict=True)]
    assert same == [False, True, False]


def test_keys_and_values_drop_other_numbers():
    """Where both were dropped alike, a memory of one frame would give no more kinds of values than of keys."""
    torch.manual_seed(0)
    transformer = Transformer(1, 64, heads=2, layers=1, embedding_dropout=0.5).train()
    seen = []
    layer = transformer.layers[0]
    forward = layer.forward
    layer.forward = lambda x, memory, *rest: (seen.extend(memory), forward(x, memory, *rest))[1]
    x, masks = [torch.randn(2, 5, 64)], [torch.ones(2, 5, dtype=torch.bool)]
    transformer(x, masks, x, masks)
    assert not torch.allclose(*seen)
    transformer.eval()(x, masks, x, masks)
    assert seen[2] is seen[3]
