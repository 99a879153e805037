"""What is EBMC's own: complements of weak modalities, energies and their gap, trust sample by sample."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.ebmc import BALANCE, EBMC, ENHANCE, Views, among, gap
from tests.batches import random_batch, small_task


def small_ebmc(stage=BALANCE, batches=(), task="mosi", **options):
    torch.manual_seed(0)
    model = EBMC(small_task(task), **{"d": 8, "layers": 1, "heads": 2, "dropout": 0.0, **options})
    with torch.no_grad():
        model.start_stage(stage, batches)
    return model.eval()


def views_of(own, there):
    return Views(there, own, own, own * there[..., None], own)


def test_energies_by_hand():
    model = small_ebmc(norm_weight=2.0, loss_weight=3.0, doubt_weight=5.0)
    own = torch.tensor([[[1.0, 1.0], [2.0, 0.0], [9.0, 9.0]], [[3.0, 1.0], [9.0, 9.0], [9.0, 9.0]]])
    there = torch.tensor([[True, True, False], [True, False, False]])
    losses, doubts = torch.tensor([0.1, 0.2, 0.0]), torch.tensor([[0.5, 0.6, 7.0], [0.7, 7.0, 7.0]])
    found = model.energies(views_of(own, there), losses, doubts)
    expected = [2 * (1 + 5) / 2 + 3 * 0.1 + 5 * 0.6, 2 * 2 + 3 * 0.2 + 5 * 0.6, 0.0]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_gap_is_of_pairs_that_count_and_is_zero_in_balance():
    energies = torch.tensor([1.0, 3.0, 4.5])
    assert gap(energies, torch.tensor([True] * 3)).item() == pytest.approx(2**2 + 3.5**2 + 1.5**2)
    assert gap(energies, torch.tensor([True, False, True])).item() == pytest.approx(3.5**2)
    assert gap(torch.full((3,), 2.0), torch.tensor([True] * 3)).item() == 0.0


def test_coordination_adds_the_squared_gradients_of_the_norms():
    there = torch.ones(4, 3, dtype=torch.bool)
    own = torch.randn(4, 3, 8, requires_grad=True)
    alone = torch.autograd.grad((1.5 * own.square().mean(-1)).sum(), own)[0]  # of each sample's energy
    losses, doubts = torch.rand(3), torch.rand(4, 3)
    without, with_it = (
        small_ebmc(norm_weight=1.5, gradient_weight=g).coordination(views_of(own, there), losses, doubts)
        for g in (0.0, 0.7)
    )
    assert (with_it - without).item() == pytest.approx(0.7 * alone.square().sum(-1).mean(0).sum().item(), rel=1e-3)


def test_training_on_the_gap_balances_the_energies():
    batch = random_batch(small_task(), 16, seed=1)
    model = small_ebmc(batches=[batch]).train()
    with torch.no_grad():
        model.specific[0].weight.mul_(6.0)  # language is dominant
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)

    def spread():
        views = model.view(batch)
        losses = model.losses_of(model.unimodal(views.own), views.there, batch)
        return gap(model.energies(views, losses, torch.zeros(16, 3)), torch.tensor([True] * 3))

    before = spread().item()
    for _ in range(30):
        optimiser.zero_grad()
        model.terms(batch)["EMC"].backward()
        optimiser.step()
    assert spread().item() < 0.2 * before


def test_what_others_say_complements_a_modality_and_stands_in_where_it_is_missing():
    model = small_ebmc()
    batch = random_batch(small_task(), 3, seed=1, available="lv")
    views = model.view(batch)
    assert views.there.tolist() == [[True, False, True]] * 3
    assert not views.own[:, 1].any() and torch.equal(views.own, views.common + views.specific)
    others = {0: views.common[:, 2], 1: (views.common[:, 0] + views.common[:, 2]) / 2, 2: views.common[:, 0]}
    for i, other in others.items():
        assert torch.allclose(views.enhanced[:, i], views.own[:, i] + model.complements[i](other), atol=1e-6)


def test_disentanglement_by_hand():
    model, there = small_ebmc(), torch.tensor([[True, True, False]])
    common = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    specific = torch.tensor([[[0.0, 2.0], [3.0, 3.0], [0.0, 0.0]]])
    found = model.disentanglement(Views(there, common, specific, common, common))
    assert found.item() == pytest.approx(1.0 + (0.0 + 0.5) / 2)


def test_trust_is_shared_by_the_modalities_that_are_there():
    there = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    found = among(torch.tensor([[0.0, math.log(3.0), 9.0]] * 3), there)
    assert found[:2].tolist() == [pytest.approx([0.25, 0.75, 0.0]), [0.0, 0.0, 1.0]]
    assert found[2].sum().item() == pytest.approx(1.0)
    model, batch = small_ebmc(), random_batch(small_task(), 4, seed=1, available="a")
    assert model.trust_of(model.view(batch)).tolist() == [[0.0, 1.0, 0.0]] * 4


def test_distillation_trusts_the_teacher_where_it_is_sure():
    model = small_ebmc(temperature=0.5)
    teacher = torch.tensor([[[4.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])
    there = torch.tensor([[True, True, False]])
    sure, unsure = (float(-(p * p.log()).sum()) for p in (teacher[0, 0].softmax(-1), teacher[0, 1].softmax(-1)))
    share = 1 / (1 + math.exp((sure - unsure) / 0.5))
    assert share > 0.5
    response = share * teacher[0, 0].softmax(-1) + (1 - share) * teacher[0, 1].softmax(-1)
    same = model.distillation(torch.tensor([[share, 1 - share, 0.0]]), response.log()[None], teacher, there)
    assert same.item() == pytest.approx(0.0, abs=1e-6)
    equal = model.distillation(torch.tensor([[0.5, 0.5, 0.0]]), torch.zeros(1, 2), teacher, there)
    expected = sum(w * math.log(w / 0.5) for w in (share, 1 - share))
    expected += sum(float(p) * math.log(float(p) / 0.5) for p in response)
    assert equal.item() == pytest.approx(expected, rel=1e-4)


def test_the_teacher_is_what_the_first_stage_said_of_complete_samples():
    whole = random_batch(small_task(), 6, seed=1)
    model = small_ebmc(ENHANCE)
    said = model.unimodal(model.view(whole).own)
    with torch.no_grad():
        model.start_stage(BALANCE, [whole])
        for p in model.parameters():
            p.add_(0.1)
    (teacher,) = model.teacher.of(replace(whole, ids=whole.ids[::-1]))
    assert torch.allclose(teacher, said.flip(0)) and not teacher.requires_grad


def test_terms_are_weighted_and_unimodal_losses_leave_out_what_is_missing():
    batch = random_batch(small_task(), 6, seed=1)
    for m, rows in (("l", [0, 1]), ("a", [2])):
        batch.present[m][rows], batch.features[m][rows] = False, 0.0
    model = small_ebmc(ENHANCE, msd_weight=0.3, cce_weight=0.7)
    views, terms = model.view(batch), model.terms(batch)
    own = model.unimodal(views.own)
    kept = ([2, 3, 4, 5], [0, 1, 3, 4, 5], list(range(6)))
    expected = sum(F.cross_entropy(own[rows, i], batch.labels[rows]) for i, rows in enumerate(kept))
    assert torch.allclose(terms["unimodal"], expected)
    assert torch.allclose(terms["MSD"], 0.3 * model.disentanglement(views))
    enhanced = model.unimodal(views.enhanced)
    complemented = sum(F.cross_entropy(enhanced[:, i], batch.labels) for i in range(3)) / 3
    assert torch.allclose(terms["CCE"], 0.7 * complemented)


def test_doubt_of_an_intensity_is_the_distance_to_the_mean():
    model = small_ebmc(task="mosi_intensity")
    found = model.doubts(torch.tensor([[[1.0], [2.0], [6.0]]]))
    assert found.tolist() == [[4.0, 1.0, 9.0]]


def test_mechanism_compares_with_equal_trust():
    batch = random_batch(small_task(), 6, seed=1)
    model = small_ebmc(batches=[batch])
    ((value, idle),) = model.mechanism(batch).values()
    assert torch.allclose(value, F.cross_entropy(model.predict(batch), batch.labels))
    with torch.no_grad():
        model.trust.weight.zero_()
    assert torch.allclose(idle, F.cross_entropy(model.predict(batch), batch.labels))
    assert not torch.allclose(value, idle)
