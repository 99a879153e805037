"""What is P-RMF's own: distributions of tokens, a proxy weighted by certainty, and what it is told."""

import math

import pytest
import torch
import torch.nn.functional as F

from baselines.p_rmf import PRMF, Injection, Latent, divergence, trust
from tests.batches import random_batch, small_task


def small_prmf(task="mosi", **options):
    torch.manual_seed(0)
    return PRMF(small_task(task), **{"d": 8, "heads": 2, "tokens": 3, "dropout": 0.0, **options}).eval()


def shaken(module):
    """The module with biases and scales away from where they start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


def test_divergence_by_hand():
    wide = Latent(torch.tensor([1.0]), torch.tensor([4.0]).log())
    standard = Latent(torch.zeros(1), torch.zeros(1))
    assert divergence(wide, standard).item() == pytest.approx(0.5 * (4 + 1 - 1 - math.log(4)))
    assert divergence(standard, wide).item() == pytest.approx(0.5 * ((1 + 1) / 4 - 1 + math.log(4)))
    both = Latent(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0]).log())
    nothing = Latent(torch.zeros(2), torch.zeros(2))
    assert divergence(both, nothing).item() == pytest.approx(0.25 * (4 - math.log(4)))


def test_trust_is_a_softmax_of_certainty():
    deviations = torch.tensor([1.0, 2.0, 0.5])
    raised = [math.exp(1.0), math.exp(0.5), math.exp(2.0)]
    found = trust(2 * deviations.log().view(3, 1, 1, 1)).flatten()
    assert found.tolist() == pytest.approx([x / sum(raised) for x in raised])
    assert trust(torch.tensor([-10.0, 10.0, -9.0])).tolist() == pytest.approx([1.0, 0.0, 0.0])  # e^148 is no float


def test_the_proxy_is_the_weighted_mean_of_means():
    model = small_prmf()
    model.injection.forward = lambda proxy, tokens, weights: proxy
    means = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1, 1).expand(3, 2, 3, 8)
    weights = torch.tensor([0.5, 0.3, 0.2]).view(3, 1, 1, 1).expand(3, 2, 3, 8)
    found = model.fuse(torch.zeros(3, 2, 3, 8), Latent(means, torch.zeros_like(means)), weights)
    assert torch.allclose(found, torch.full((2, 8), 0.5 + 3.0 + 20.0))


def test_injection_step_by_step():
    torch.manual_seed(0)
    injection, (n, k, d) = shaken(Injection(4, dropout=0.0)), (2, 3, 4)
    proxy, tokens, weights = torch.randn(n, k, d), torch.randn(3, n, k, d), torch.rand(3, n, k, d)
    found = injection(proxy, tokens, weights)

    def norm(layer, i, x):
        return F.layer_norm(x, (d,)) * layer.weight[i, 0] + layer.bias[i, 0]

    def linear(layer, i, x):
        return x @ layer.weight[i] + layer.bias[i, 0]

    for sample in range(n):
        x = proxy[sample].clone()
        for i in range(3):
            q = linear(injection.query, i, norm(injection.norm_proxy, i, proxy[sample]))
            keys, values = linear(injection.key_value, i, norm(injection.norm_tokens, i, tokens[i, sample])).chunk(2, 1)
            asked = (q @ keys.T / math.sqrt(d)).softmax(1) @ values
            x += weights[i, sample] * linear(injection.output, i, asked)
        x = x + injection.mix[1](injection.mix[0](x))
        assert torch.allclose(found[sample], x, atol=1e-5)


def test_one_layer_asks_several_times():
    model, batch = small_prmf(injections=3), random_batch(small_task(), 4, seed=1)
    tokens = model.extract(batch.features, batch.present)
    latent = model.encode(tokens)
    weights = trust(latent.log_variance)
    proxy = (weights * latent.mean).sum(0)
    for _ in range(3):
        proxy = model.injection(proxy, tokens, weights)
    assert torch.allclose(model.represent(batch), proxy.mean(1), atol=1e-6)
    assert torch.allclose(model.predict(batch), model.head(proxy.mean(1)), atol=1e-6)


def test_terms_by_hand(monkeypatch):
    model = small_prmf(reconstruction_weight=0.3, variational_weight=0.6)
    batch = random_batch(small_task(), 5, seed=1, kept=0.5)
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    terms = model.terms(batch)
    goals, tokens = model.extract(batch.complete, batch.frames), model.extract(batch.features, batch.present)
    mean, log_variance = model.encode(tokens)
    deviation = (log_variance / 2).exp()
    everything = torch.ones(5, 3, dtype=torch.bool)
    rebuilt = torch.stack(model.reconstructors(list(tokens), [everything] * 3))
    assert torch.allclose(terms["task"], F.cross_entropy(model.predict(batch), batch.labels))
    assert torch.allclose(terms["reconstruction"], 0.3 * (rebuilt - goals).square().mean())
    decoded = model.decoders(mean + deviation)  # draws are one deviation away
    assert torch.allclose(terms["decoding"], 0.6 / 3 * sum((decoded - goals)[i].square().mean() for i in range(3)))
    normal = torch.distributions.Normal
    of = dict(zip("lav", map(normal, mean, deviation), strict=True))

    def apart(p, q):
        return torch.distributions.kl_divergence(p, q).mean()

    assert torch.allclose(terms["prior"], 0.6 / 3 * sum(apart(p, normal(0.0, 1.0)) for p in of.values()))
    pairs = apart(of["v"], of["l"]) + apart(of["a"], of["l"]) + apart(of["a"], of["v"])
    assert torch.allclose(terms["agreement"], 0.6 / 3 * pairs)
    assert len(terms) == 5 and set(terms) == {"task", "reconstruction", "decoding", "prior", "agreement"}


def test_draws_are_for_the_decoders_alone():
    model, batch = small_prmf(), random_batch(small_task(), 5, seed=1)
    once, again = model.terms(batch), model.terms(batch)
    assert [name for name in once if not torch.equal(once[name], again[name])] == ["decoding"]


def test_goals_have_no_gradient():
    model, batch = small_prmf(), random_batch(small_task(), 4, seed=1)
    for m in "lav":
        batch.complete[m] = batch.complete[m].clone().requires_grad_()
    sum(model.terms(batch).values()).backward()
    assert all(batch.complete[m].grad is None for m in "lav")
    assert model.projections["a"].weight.grad.any()


@pytest.mark.parametrize(("reverse", "sign"), [(False, 1.0), (True, -1.0)])
def test_only_the_official_way_turns_the_gradient_round(reverse, sign):
    model = small_prmf(reverse_proxy=reverse)
    model.injection.forward = lambda proxy, tokens, weights: proxy + tokens.sum(0)
    mean, tokens = (torch.randn(3, 2, 3, 8, requires_grad=True) for _ in range(2))
    weights = torch.full_like(mean, 0.25)
    model.fuse(tokens, Latent(mean, torch.zeros_like(mean)), weights).sum().backward()
    assert torch.allclose(mean.grad, torch.full_like(mean, sign * 0.25 / 3))  # means over three tokens
    assert torch.allclose(tokens.grad, torch.full_like(mean, model.injections / 3))


def test_a_modality_of_which_nothing_is_present_is_the_same_in_every_sample():
    model = small_prmf()
    batch = random_batch(small_task(), 4, seed=1, available="lv")
    tokens = model.extract(batch.features, batch.present)
    latent = model.encode(tokens)
    for x in (tokens, *latent):
        assert torch.allclose(x[1], x[1, :1].expand_as(x[1]), atol=1e-6)
        assert not torch.allclose(x[0], x[0, :1].expand_as(x[0]), atol=1e-2)
    assert not torch.allclose(tokens[1, 0, 0], tokens[1, 0, 1], atol=1e-2)  # the tokens are told apart


def test_missing_frames_are_not_even_seen_as_zeros():
    model, batch = small_prmf(), random_batch(small_task(), 4, seed=1, lengths={m: [8] * 4 for m in "lav"})
    ended = {m: x * (torch.arange(8) < 3)[None, :, None] for m, x in batch.features.items()}
    seen = {m: x.any(-1) for m, x in ended.items()}
    short = model.extract({m: x[:, :3] for m, x in ended.items()}, {m: x[:, :3] for m, x in seen.items()})
    assert torch.allclose(model.extract(ended, seen), short, atol=1e-6)


def test_distributions_are_held_within_bounds():
    model = small_prmf()
    with torch.no_grad():
        model.encoders.last.bias += torch.tensor([50.0] * 8 + [-50.0] * 8)
    mean, log_variance = model.encode(torch.randn(3, 2, 3, 8))
    assert (mean == 10.0).all() and (log_variance == -10.0).all()


def test_the_mechanism_compares_with_equal_trust():
    model, batch = shaken(small_prmf()), random_batch(small_task(), 6, seed=1, kept=0.6)
    told = model.mechanism(batch)
    tokens = model.extract(batch.features, batch.present)
    equal = torch.full((3, 6, 3, 8), 1 / 3)
    idle = F.cross_entropy(model.head(model.fuse(tokens, model.encode(tokens), equal)), batch.labels)
    value = F.cross_entropy(model.predict(batch), batch.labels)
    assert [x.item() for x in told["loss with trust"]] == pytest.approx([value.item(), idle.item()])
    assert value.item() != pytest.approx(idle.item(), rel=1e-4)
    lacking = (batch.frames["v"] & ~batch.present["v"]).any(1)
    goals = model.extract(batch.complete, batch.frames)[2][lacking]
    rebuilt = model.reconstructors(list(tokens), [torch.ones(6, 3, dtype=torch.bool)] * 3)[2][lacking]
    error, of_mean = told["reconstructed v"]
    assert 0 < lacking.sum() < 6
    assert error.item() == pytest.approx((rebuilt - goals).abs().mean().item(), rel=1e-4)
    assert of_mean.item() == pytest.approx((goals - goals.mean(0)).abs().mean().item(), rel=1e-4)
