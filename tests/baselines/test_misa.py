"""What is MISA's own: its losses from the equations, its two kinds of spaces, its recurrent encoders."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.misa import MISA, UtteranceEncoder, orthogonality
from benchmark.parts.losses import central_moment_discrepancy
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task

SMALL = {"hidden": 16, "rnn_hidden": 8, "feedforward": 32}


def small_misa(task=None, **options):
    torch.manual_seed(0)
    return MISA(task or small_task(), **{**SMALL, **options})


def centred(x):
    n, d = len(x), len(x[0])
    means = [sum(x[i][j] for i in range(n)) / n for j in range(d)]
    return [[x[i][j] - means[j] for j in range(d)] for i in range(n)]


def plain_orthogonality(x, y, x_lengths=None, y_lengths=None):
    """Loops over numbers; the lengths of the centred rows may be given, as constants."""
    x, y = centred(x), centred(y)
    x_lengths = x_lengths or [math.sqrt(sum(v * v for v in row)) for row in x]
    y_lengths = y_lengths or [math.sqrt(sum(v * v for v in row)) for row in y]
    d = len(x[0])
    total = 0.0
    for j in range(d):
        for k in range(d):
            entry = sum(
                a[j] / (p + 1e-6) * b[k] / (q + 1e-6) for a, b, p, q in zip(x, y, x_lengths, y_lengths, strict=True)
            )
            total += entry * entry / d**2
    return total


def two_samples(n=6, d=4):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(n, d, dtype=torch.float64, generator=generator), torch.rand(
        n, d, dtype=torch.float64, generator=generator
    )


def test_orthogonality_follows_the_equation():
    x, y = two_samples()
    assert orthogonality(x, y).item() == pytest.approx(plain_orthogonality(x.tolist(), y.tolist()), rel=1e-9)


def test_orthogonality_is_zero_for_orthogonal_columns_and_large_for_equal_ones():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    y = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
    assert orthogonality(x, y).item() == pytest.approx(0.0, abs=1e-9)
    assert orthogonality(x, x).item() == pytest.approx(4 / 4, rel=1e-4)  # one entry of 2 among four


def test_gradient_of_orthogonality_treats_the_lengths_as_constants():
    x, y = two_samples(n=4, d=3)
    lengths = [[math.sqrt(sum(v * v for v in row)) for row in centred(z.tolist())] for z in (x, y)]
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(orthogonality(x, y), x)
    step = 1e-6
    for i, j in itertools.product(range(4), range(3)):
        shift = torch.zeros_like(x)
        shift[i, j] = step
        high, low = ((x + s * shift).tolist() for s in (1, -1))
        slope = (plain_orthogonality(high, y.tolist(), *lengths) - plain_orthogonality(low, y.tolist(), *lengths)) / (
            2 * step
        )
        assert gradient[i, j].item() == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("n", [1, 2])
def test_terms_and_gradients_are_finite_where_samples_or_modalities_are_equal(n):
    x = torch.full((n, 3), 0.5, requires_grad=True)
    for term in (central_moment_discrepancy(x, x, 5), orthogonality(x, x)):
        assert term.item() == 0.0
        (gradient,) = torch.autograd.grad(term, x, retain_graph=True)
        assert torch.isfinite(gradient).all()


def test_which_vectors_each_term_compares():
    model = small_misa().eval()
    parts = model.split(random_batch(small_task(), 6, seed=1))
    (pl, pa, pv), (sl, sa, sv) = parts.private, parts.shared
    expected = sum(orthogonality(x, y) for x, y in ((pl, sl), (pa, sa), (pv, sv), (pl, pa), (pl, pv), (pa, pv)))
    assert torch.allclose(model.orthogonality_loss(parts), expected)
    expected = sum(central_moment_discrepancy(x, y, 5) for x, y in ((sl, sa), (sl, sv), (sa, sv))) / 3
    assert torch.allclose(model.similarity_loss(parts), expected)
    rebuilt = [model.decoders[m](s + p) for m, s, p in zip(MODALITIES, parts.shared, parts.private, strict=True)]
    expected = sum((r - u).square().mean() for r, u in zip(rebuilt, parts.utterance, strict=True)) / 3
    assert torch.allclose(model.reconstruction_loss(parts), expected)


def test_loss_is_the_weighted_sum():
    batch = random_batch(small_task(), 6, seed=1)
    model = small_misa(orthogonality_weight=0.7, similarity_weight=1.3, reconstruction_weight=2.1).eval()
    parts = model.split(batch)
    expected = (
        F.cross_entropy(model.predict(batch), batch.labels)
        + 0.7 * model.orthogonality_loss(parts)
        + 1.3 * model.similarity_loss(parts)
        + 2.1 * model.reconstruction_loss(parts)
    )
    assert torch.allclose(model.loss(batch), expected)
    assert MISA(small_task(), **SMALL).weights == (0.3, 1.0, 1.0)


def test_one_shared_encoder_and_three_private_ones():
    model = small_misa().eval()
    utterance = torch.randn(4, 16)
    private = [model.private[m](utterance) for m in MODALITIES]
    assert not torch.allclose(private[0], private[1]) and not torch.allclose(private[1], private[2])
    before = model.split(random_batch(small_task(), 4, seed=0))
    with torch.no_grad():
        model.shared[0].weight.zero_()
    after = model.split(random_batch(small_task(), 4, seed=0))
    assert all(not torch.allclose(x, y) for x, y in zip(before.shared, after.shared, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(before.private, after.private, strict=True))
    assert all(x.min() > 0 and x.max() < 1 for x in (*before.shared, *before.private))


@pytest.mark.parametrize("term", ["similarity_loss", "orthogonality_loss", "reconstruction_loss"])
def test_each_term_can_be_learned(term):
    batch = random_batch(small_task(), 32, seed=0)
    model = small_misa()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        value = getattr(model, term)(model.split(batch))
        values.append(value.item())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert values[-1] < 0.5 * values[0]


def test_encoder_is_two_lstms_run_over_the_real_frames_of_each_sample_alone():
    torch.manual_seed(0)
    encoder = UtteranceEncoder(5, 3)
    x = torch.randn(3, 6, 5)
    frames = torch.arange(6)[None, :] < torch.tensor([2, 6, 4])[:, None]
    encoded = encoder(x * frames[:, :, None], frames)
    for i, length in enumerate((2, 6, 4)):
        states, (first, _) = encoder.first(x[i : i + 1, :length])
        _, (second, _) = encoder.second(nn.functional.layer_norm(states, (6,)))
        expected = torch.cat([first[0, 0], first[1, 0], second[0, 0], second[1, 0]])
        assert torch.allclose(encoded[i], expected, atol=1e-6)


def test_lstm_width_is_the_number_of_features_up_to_the_limit():
    model = small_misa(rnn_hidden=6)
    assert [model.encoders[m].first.hidden_size for m in MODALITIES] == [6, 5, 6]


def test_recurrent_weights_start_orthogonal():
    weights = {name: w for name, w in small_misa().named_parameters() if "weight_hh" in name}
    assert len(weights) == 12  # two layers of two directions for each modality
    for w in weights.values():
        assert torch.allclose(w.T @ w, torch.eye(w.shape[1]), atol=1e-5)
