"""What is MoMKE's own: experts that know one modality each, and routers that weigh all of them."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.momke import EXPERTS, ROUTER, ExpertLayer, MoMKE
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task


def small_momke(stage=ROUTER, **options):
    torch.manual_seed(0)
    model = MoMKE(small_task(), **{"d": 8, "layers": 2, "dropout": 0.0, **options})
    model.start_stage(stage, [])
    return model.eval()


def moved(model, batch):
    """Names of what the loss moves."""
    model.loss(batch).backward()
    names = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    model.zero_grad()
    return names


def test_the_first_stage_trains_each_expert_on_its_own_modality():
    model = small_momke(EXPERTS)
    batch = random_batch(small_task(), 5, seed=1)
    outputs = model.unimodal(batch)
    for m in MODALITIES:
        others = {o: -x if o != m else x for o, x in batch.features.items()}
        assert torch.equal(model.unimodal(replace(batch, features=others))[m], outputs[m])
    expected = {f"expert {m}": F.cross_entropy(outputs[m], batch.labels) for m in MODALITIES}
    found = model.terms(batch)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    expert_l = torch.autograd.grad(found["expert l"], [*model.experts["l"].parameters()])
    assert any(g.any() for g in expert_l)
    others = [*model.experts["a"].parameters(), *model.experts["v"].parameters(), *model.routers.parameters()]
    rest = model.terms(batch)["expert l"]
    for p in others:
        p.requires_grad_(True)
    assert all(g is None for g in torch.autograd.grad(rest, others, allow_unused=True))


def test_the_second_stage_trains_routers_and_experts_but_not_the_experts_heads():
    batch = random_batch(small_task(), 5, seed=1)
    first, second = (moved(small_momke(stage), batch) for stage in (EXPERTS, ROUTER))
    parts = ({name.partition(".")[0] for name in names} for names in (first, second))
    assert list(parts) == [
        {"projections", "experts", "heads"},
        {"projections", "experts", "routers", "fusion", "head"},
    ]


def test_router_weights_sum_to_one_and_mix_what_the_experts_say():
    model, batch = small_momke(), random_batch(small_task(), 4, seed=1, kept=0.6)
    for m in MODALITIES:
        x = model.projections[m](batch.features[m])
        weights = model.route(x, m)
        assert torch.allclose(weights.sum(-1), torch.ones(weights.shape[:2])) and weights.min() > 0
        said = [model.ask(e, x, batch.present[m]) for e in MODALITIES]
        for i in range(4):
            there = batch.present[m][i].nonzero()[:, 0].tolist()
            frames = [sum(weights[i, t, e] * said[e][i, t] for e in range(3)) for t in there]
            expected = torch.stack(frames).mean(0) if frames else torch.zeros(8)
            assert torch.allclose(model.mix(batch, m)[i], expected, atol=1e-6)


def test_all_experts_are_asked_of_every_modality_but_of_none_that_is_absent():
    """An absent modality asks nobody, so its expert is heard through the modalities that are there alone."""
    model = small_momke()
    batch = random_batch(small_task(), 4, seed=1, available="la")
    assert not model.mix(batch, "v").any()
    before = model.mix(batch, "l")
    with torch.no_grad():
        for p in (*model.projections["v"].parameters(), *model.routers["v"].parameters()):
            p.add_(1.0)
    assert torch.equal(model.mix(batch, "l"), before) and not model.mix(batch, "v").any()
    with torch.no_grad():
        model.experts["v"][0].query.weight.zero_(), model.experts["v"][0].key_value.bias.add_(1.0)
    assert not torch.allclose(model.mix(batch, "l"), before, atol=1e-3)


def test_an_expert_layer_is_attention_and_a_network_of_what_was_attended_to():
    torch.manual_seed(0)
    layer = ExpertLayer(4, heads=1, dropout=0.0, attention_dropout=0.0)
    x, present = torch.randn(1, 3, 4), torch.tensor([True, False, True])
    q, (k, v) = layer.query(x[0]), layer.key_value(x[0]).chunk(2, -1)
    attended = (q @ k.T / 2.0).masked_fill(~present, -math.inf).softmax(-1) @ v
    expected = x[0] + attended + layer.feedforward(attended)
    found = layer(x, present.float()[None, None, None])
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_while_experts_are_trained_their_mean_is_predicted():
    model, batch = small_momke(EXPERTS), random_batch(small_task(), 4, seed=1)
    expected = sum(model.unimodal(batch).values()) / 3
    assert torch.allclose(model.predict(batch), expected)
    model.start_stage(ROUTER, [])
    assert torch.equal(model.predict(batch), model.head(model.represent(batch)))


def test_mechanism_is_the_entropy_of_the_routers():
    model, batch = small_momke(), random_batch(small_task(), 4, seed=1)
    with torch.no_grad():
        for m in MODALITIES:
            model.routers[m][-1].weight.zero_()
            model.routers[m][-1].bias.copy_(torch.tensor([0.0, 0.0, math.log(2.0)]))
    told = model.mechanism(batch)
    expected = 0.5 * math.log(4.0) + 0.5 * math.log(2.0)  # of weights 1/4, 1/4, 1/2
    assert set(told) == {f"routing {m}" for m in MODALITIES}
    for value, idle in told.values():
        assert value.item() == pytest.approx(expected) and idle.item() == pytest.approx(math.log(3.0))
