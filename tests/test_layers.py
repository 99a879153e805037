"""The fast parts against torch's own modules and plain code."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmark import layers
from benchmark.layers import (
    Dropout,
    Remembered,
    TemporalConv,
    Transformer,
    attend,
    dropout,
    dropout_mask,
    encode_distinct,
    feed_forward,
    last_frame,
    masked_mean,
    run_grus,
    sinusoidal_positions,
)
from tests.batches import random_batch, small_task


def lengths_mask(lengths, t):
    return torch.arange(t)[None, :] < torch.tensor(lengths)[:, None]


def test_masked_mean_and_last_frame():
    x = torch.randn(3, 5, 2)
    mask = lengths_mask([5, 2, 0], 5)
    assert torch.allclose(
        masked_mean(x, mask), torch.stack([x[0].mean(0), x[1, :2].mean(0), torch.zeros(2)]), atol=1e-6
    )
    assert torch.equal(last_frame(x, mask), torch.stack([x[0, 4], x[1, 1], torch.zeros(2)]))


def test_positions_are_distinct_and_bounded_for_odd_widths():
    for d in (1, 5, 30):
        p = sinusoidal_positions(50, d)
        assert p.shape == (50, d) and p.abs().max() <= 1
    assert torch.cdist(sinusoidal_positions(50, 30), sinusoidal_positions(50, 30)).add(torch.eye(50) * 9).min() > 0.1


def test_dropout_drops_the_share_asked_for_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(1000, 1000)
    y = dropout(x, 0.25, True)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.005)
    assert y.mean().item() == pytest.approx(1.0, abs=0.005)
    assert len(y.unique()) == 2
    columns = (y == 0).float().mean(0)  # no position is special
    assert columns.min() > 0.18 and columns.max() < 0.32


def test_dropout_is_off_in_evaluation_and_repeats_with_the_seed():
    x = torch.randn(37, 3)
    layer = Dropout(0.5)
    assert layer.eval()(x) is x
    layer.train()
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(first, layer(x))
    with pytest.raises(ValueError, match="outside"):
        Dropout(1.0)


def test_dropout_masks_are_independent_of_each_other_and_within():
    torch.manual_seed(0)
    x = torch.ones(60_000)
    masks = torch.stack([dropout_mask(x.shape, 0.3, x) == 0 for _ in range(200)]).float() - 0.3  # (200, numbers)
    between = (masks @ masks.T) / (x.numel() * 0.21)
    assert between.fill_diagonal_(0).abs().max() < 0.04  # 20,000 pairs of masks; one standard error is 0.004
    along = (masks[:, 1:] * masks[:, :-1]).mean() / 0.21
    assert along.abs() < 0.002
    one_number = masks.mean(1)  # each mask drops its share
    assert one_number.abs().max() < 0.01 and masks.mean(0).abs().max() < 0.2
    longer = dropout_mask((600_000,), 0.3, x)
    assert longer.shape == (600_000,) and (longer == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)


def dense_attention(q, kv, mask, heads):
    samples, t, d = q.shape
    q, k, v = (z.view(samples, -1, heads, d // heads).transpose(1, 2) for z in (q, *kv.chunk(2, -1)))
    weights = (q @ k.transpose(2, 3) / (d // heads) ** 0.5 + (1 - mask) * -1e9).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(samples, t, d)


@pytest.mark.parametrize("block", [1, 60, 10**6])  # weights worked on at a time: one sample, some, all
def test_attention_and_its_derivatives_equal_the_formula(monkeypatch, block):
    monkeypatch.setattr(layers, "_BLOCK", block)
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


@pytest.mark.parametrize("block", [1, 10**6])  # weights worked on at a time: those of one sample, or all
def test_scores_out_of_a_floats_range_and_queries_without_a_key_give_what_a_softmax_gives(monkeypatch, block):
    monkeypatch.setattr(layers, "_BLOCK", block)
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


@pytest.mark.parametrize("block", [1, 100, 10**6])  # numbers worked on at a time: one row, some, all
def test_feed_forward_and_its_derivatives_equal_the_formula(monkeypatch, block):
    monkeypatch.setattr(layers, "_BLOCK", block)
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
    monkeypatch.setattr(layers, "_BLOCK", block)
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


@pytest.mark.parametrize("block", [1, 10**6])
def test_attention_drops_weights_and_differentiates_what_it_dropped(monkeypatch, block):
    monkeypatch.setattr(layers, "_BLOCK", block)
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


@pytest.mark.parametrize("num_layers", [1, 3])
def test_grus_side_by_side_equal_torch(num_layers):
    torch.manual_seed(0)
    nets = [nn.GRU(5, h, num_layers=num_layers, bidirectional=True, batch_first=True).double() for h in (4, 7, 3)]
    x = [torch.randn(6, t, 5, dtype=torch.double, requires_grad=True) for t in (9, 4, 6)]
    lengths = [torch.tensor([t, 1, 2, t, 3, 2]) for t in (9, 4, 6)]
    results = run_grus(nets, x, lengths)
    expected = []
    for net, part, length in zip(nets, x, lengths, strict=True):
        packed = pack_padded_sequence(part, length, batch_first=True, enforce_sorted=False)
        expected.append(pad_packed_sequence(net(packed)[0], batch_first=True, total_length=part.shape[1])[0])
    weights = [torch.randn_like(e) for e in expected]
    numbers = [p for net in nets for p in net.parameters()] + x
    gradients = [
        torch.autograd.grad(sum((a * w).sum() for a, w in zip(some, weights, strict=True)), numbers)
        for some in (results, expected)
    ]
    for got, truth in zip([*results, *gradients[0]], [*expected, *gradients[1]], strict=True):
        assert torch.allclose(got, truth, atol=1e-12)


def test_temporal_conv_does_not_feel_padding():
    conv = TemporalConv(4, 3, kernel=3)
    x = torch.randn(2, 6, 4)
    x[1, 4:] = 0
    assert torch.allclose(conv(x)[1, :4], conv(x[1:, :4])[0], atol=1e-6)


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


def test_what_stands_in_a_batch_several_times_is_encoded_once():
    """The same sample with the same frames of this modality missing, whatever the others lack."""
    batch = random_batch(small_task(), 6, seed=0, kept=0.5)
    batch.ids[:] = ["a", "b", "a", "a", "b", "c"]
    batch.frames["l"][:] = True
    batch.present["l"][:] = False
    batch.present["l"][:3, 1] = True
    for row, like in ((2, 0), (4, 1)):
        batch.features["l"][row] = batch.features["l"][like]
    batch.present["l"][4] = batch.present["l"][1]
    rows = []

    def encoder(features, frames):
        assert features.shape[:2] == frames.shape
        rows.append(len(features))
        return features.cumsum(1)[:, -1] * 2

    encoded = encode_distinct(encoder, batch, "l")
    assert rows == [4]
    assert torch.equal(encoded, batch.features["l"].cumsum(1)[:, -1] * 2)
    batch.ids[:] = list("abcdef")  # as in training
    assert torch.equal(encode_distinct(encoder, batch, "l"), encoded) and rows == [4, 6]


def test_what_is_remembered_is_found_by_sample():
    batches = [random_batch(small_task(), n, seed=n) for n in (3, 2)]
    batches[0].ids[:], batches[1].ids[:] = list("abc"), list("de")
    asked = []

    def network(batch):
        asked.append(len(batch))
        return batch.labels, batch.features["l"][:, 0]

    remembered = Remembered(network, iter(batches))
    batch = random_batch(small_task(), 3, seed=9)
    batch.ids[:] = ["e", "b", "d"]
    labels, frames = remembered.of(batch)
    assert labels.tolist() == [batches[1].labels[1], batches[0].labels[1], batches[1].labels[0]]
    assert torch.equal(frames[1], batches[0].features["l"][1, 0]) and asked == [3, 2]
    with pytest.raises(RuntimeError, match="when the stage that needs them starts"):
        Remembered().of(batch)
