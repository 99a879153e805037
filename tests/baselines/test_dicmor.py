"""What is DiCMoR's own: flows that can be turned round, their likelihood, and recovery where something is missing."""

import math
from dataclasses import replace

import pytest
import torch

from baselines.dicmor import Coupling, DiCMoR, Flow
from benchmark.protocol.missing import MODALITIES
from tests.batches import as_test, random_batch, small_task


def shaken(module, by=0.3):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(by * torch.randn(p.shape, generator=generator))
    return module


def small_dicmor(num_frames=8):
    torch.manual_seed(0)
    options = {"d": 8, "layers": 1, "heads": 2, "flow_steps": 3, "flow_hidden": 6, "refiner_blocks": 1}
    model = DiCMoR(small_task(num_frames=num_frames), **options).eval()
    shaken(model.flows)
    return model


def test_a_flow_is_turned_round_exactly():
    flow = shaken(Flow(8, 6, 4).double())
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    z, _ = flow(x)
    assert torch.allclose(flow.reverse(z), x, atol=1e-9) and not torch.allclose(z, x, atol=0.1)
    moved = (z - x).abs().amin((0, 1))
    assert moved.min() > 0, "both halves are changed"


def test_log_determinant_is_that_of_the_jacobian():
    flow = shaken(Flow(6, 5, 3).double())
    x = torch.randn(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v)[0], x)
    assert flow(x)[1].item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), rel=1e-9)


def test_a_coupling_starts_near_a_fixed_scale_of_one_of_the_halves():
    x = torch.randn(4)
    s = (1 + 1 / (1 + math.exp(-2))) / 2  # half-way from one half, the least, to one
    first, _ = Coupling(4, 3, swapped=False)(x)
    second, logdet = Coupling(4, 3, swapped=True)(x)
    assert torch.allclose(first, torch.cat([x[:2], s * x[2:]]), atol=0.03)
    assert torch.allclose(second, torch.cat([s * x[:2], x[2:]]), atol=0.03)
    assert logdet.item() == pytest.approx(2 * math.log(s), abs=0.03)


def test_the_way_back_stays_finite_for_an_unusual_sample():
    flow = Flow(4, 8, steps=8)
    with torch.no_grad():
        for step in flow.steps:
            step.net[-1].bias[:2] = -1e4  # a scale as near to its least as it can come
    assert flow.reverse(torch.full((1, 4), 100.0)).isfinite().all()


@pytest.mark.parametrize("pattern", ["l", "a", "v", "la", "lv", "av", "lav", ""])
def test_recovery_acts_only_where_a_modality_is_missing(pattern):
    model = small_dicmor()
    batch = random_batch(small_task(), 3, seed=1, available=pattern, training=False)
    before, _, _ = model.complete(batch)
    outputs = model.predict(batch)
    shaken(model.refiners)
    after, _, _ = model.complete(batch)
    for m in MODALITIES:
        assert torch.equal(before[m], after[m]) == (m in pattern)
    assert torch.equal(model.predict(batch), outputs) == (pattern == "lav")
    assert torch.equal(model.predict(batch), model.predict(batch)), "nothing is drawn at test"


def test_what_is_recovered_goes_through_both_flows():
    model = small_dicmor()
    x = model.project(random_batch(small_task(), 4, seed=1, lengths={m: [8] * 4 for m in MODALITIES}).features)
    none, both = torch.zeros(4, dtype=torch.bool), torch.tensor([True, True, False, False])
    found = model.recover(x, {"l": none, "a": both, "v": torch.tensor([False, True, True, False])}, "l")
    carried = {m: model.flows["l"].reverse(model.flows[m](x[m])[0]) for m in ("a", "v")}
    empty = model.flows["l"].reverse(torch.zeros_like(x["l"]))
    merged = model.merge["l"](torch.cat([carried["a"], carried["v"]], -1))
    expected = [carried["a"], merged, carried["v"], model.merge["l"](torch.cat([empty, empty], -1))]
    for i, each in enumerate(expected):
        assert torch.allclose(found[i], model.refiners["l"](each)[i], atol=1e-5)


def test_frames_are_carried_to_the_same_part_of_the_time():
    model = small_dicmor({"l": 4, "a": 8, "v": 2})
    latent = torch.arange(8.0)[None, :, None]
    assert model.carry(latent, "a", "l").flatten().tolist() == [0, 2, 4, 6]
    assert model.carry(latent[:, :2], "v", "l").flatten().tolist() == [0, 0, 1, 1]


def test_likelihood_by_hand_and_at_real_frames_alone():
    model = small_dicmor()
    batch = random_batch(small_task(), 2, seed=1, lengths={m: [3, 1] for m in MODALITIES})
    with torch.no_grad():
        model.means.copy_(torch.randn(2, 8)), model.log_deviations.fill_(0.2)
        complete = model.project(batch.complete)
        total = 0.0
        for m in MODALITIES:
            log_p = 0.0
            for i, t in ((0, 0), (0, 1), (0, 2), (1, 0)):
                z, logdet = model.flows[m](complete[m][i, t])
                normal = torch.distributions.Normal(model.means[batch.labels[i]], math.exp(0.2))
                log_p += normal.log_prob(z).sum() + logdet
            total += max(0.0, -log_p.item() / (math.log(2) * 4 * 8))
        assert model.likelihood_loss(complete, batch).item() == pytest.approx(total, rel=1e-5)


def test_recovery_is_judged_where_modalities_went_missing_and_teaches_no_flow():
    model = small_dicmor()
    batch = random_batch(small_task(), 2, seed=1, lengths={m: [3, 2] for m in MODALITIES})
    batch.present["a"][1], batch.features["a"][1] = False, 0.0
    _, _, recovered = model.complete(batch)
    complete = {m: x.detach() for m, x in model.project(batch.complete).items()}
    loss = model.recovery_loss(recovered, complete, batch)
    assert torch.allclose(loss, (recovered["a"][1, :2] - complete["a"][1, :2]).square().mean())
    learns = torch.autograd.grad(
        loss, [*model.refiners["a"].parameters(), *model.flows.parameters()], allow_unused=True
    )
    refiner = len([*model.refiners["a"].parameters()])
    assert all(g is not None for g in learns[:refiner]) and all(g is None for g in learns[refiner:])
    whole = random_batch(small_task(), 2, seed=1)
    assert model.recovery_loss(recovered, complete, whole).item() == 0.0


def test_what_is_recovered_has_frames_where_its_sources_have():
    batch = random_batch(small_task(), 1, seed=1, lengths={"l": [0], "a": [3], "v": [5]})
    _, seen, _ = small_dicmor().complete(replace(as_test(batch)))
    assert [int(seen[m].sum()) for m in MODALITIES] == [5, 3, 5]
