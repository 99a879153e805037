"""What is DMD's own: decoupled parts, triplets with a margin, graphs with learned edges in both spaces."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.dmd import DMD, GraphDistillation, margin_loss
from benchmark.parts.transformer import PAIRS
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task

SMALL = {"d": 12, "heads": 2, "layers": 1}
FAVOURED = {("a", "l"), ("v", "l")}


def small_dmd(**options):
    torch.manual_seed(0)
    return DMD(small_task(), **{**SMALL, **options})


def overlap(model, batch):
    """Mean absolute cosine of the shared and private vectors of real frames."""
    with torch.no_grad():
        parts = model.eval().decouple(batch)
    values = [
        F.cosine_similarity(parts.shared[m][batch.frames[m]], parts.private[m][batch.frames[m]], dim=-1).abs()
        for m in MODALITIES
    ]
    return torch.cat(values).mean().item()


def test_shared_and_private_parts_become_more_orthogonal():
    batch = random_batch(small_task(), 16, seed=1)
    after = {}
    for weight in (0.0, 5.0):
        model = small_dmd(constraint_weight=weight, decoupling_weight=1.0)
        with torch.no_grad():  # begin where both parts are nearly the same
            for m in MODALITIES:
                model.private[m].weight.copy_(model.shared.weight + 0.3 * model.private[m].weight)
        before = overlap(model, batch)
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(60):
            optimiser.zero_grad()
            model.train().loss(batch).backward()
            optimiser.step()
        after[weight] = overlap(model, batch)
    assert before > 0.8
    assert after[5.0] < 0.6 * before
    assert after[5.0] < 0.7 * after[0.0]


def test_margin_loss_equals_the_loop():
    torch.manual_seed(0)
    shared, labels = torch.randn(3, 5, 4, dtype=torch.float64), torch.tensor([0, 1, 1, 2, 0])
    items = list(itertools.product(range(3), range(5)))
    terms = []
    for (mi, i), (mj, j), (mk, k) in itertools.product(items, repeat=3):
        if mi != mj and labels[i] == labels[j] and mi == mk and labels[i] != labels[k]:
            near, far = (torch.cosine_similarity(shared[mi, i], x, dim=0) for x in (shared[mj, j], shared[mk, k]))
            terms.append(max(0.0, 0.15 - near.item() + far.item()))
    assert margin_loss(shared, labels, 0.15).item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_margin_loss_without_triplets_is_zero():
    assert margin_loss(torch.randn(3, 4, 6), torch.ones(4, dtype=torch.int64), 0.15).item() == 0.0
    assert margin_loss(torch.randn(3, 1, 6), torch.zeros(1, dtype=torch.int64), 0.15).item() == 0.0


def test_graph_distillation_equals_the_loop():
    torch.manual_seed(0)
    graph = GraphDistillation(2, 5, 4, FAVOURED)
    logits, seen = torch.randn(3, 6, 2), torch.randn(3, 6, 5)
    edges = graph.edges(logits, seen)
    assert edges.shape == (6, 6) and torch.allclose(edges.sum(0), torch.ones(6))
    favoured = math.exp(4) / (2 * math.exp(4) + 4)
    indices = [(MODALITIES.index(target), MODALITIES.index(source)) for target, source in PAIRS]
    expected, means, alike = 0.0, [0.0] * 6, [0.0] * 6
    for n in range(6):
        vertices = [
            torch.cat([graph.read_logits(logits[i, n]), graph.read_representation(seen[i, n])]) for i in range(3)
        ]
        raw = [graph.read_edge(torch.cat([vertices[i], vertices[j]])).item() / 8 for i, j in indices]
        for e, (i, j) in enumerate(indices):
            edge = math.exp(raw[e]) / sum(math.exp(r) for r in raw)
            assert edges[e, n].item() == pytest.approx(edge, rel=1e-5)
            prior = favoured if PAIRS[e] in FAVOURED else favoured / math.exp(4)
            expected += (edge + prior) * (logits[i, n] - logits[j, n]).abs().sum().item() / 6
            alike[e] += max(0.0, torch.cosine_similarity(seen[i, n], seen[j, n], dim=0).item()) / 6
            means[e] += edge / 6
    for e, pair in enumerate(PAIRS):
        prior = favoured if pair in FAVOURED else favoured / math.exp(4)
        expected += 10 * (means[e] - prior) ** 2 + 10 * (means[e] + prior) * alike[e]
    assert graph(logits, seen, 10.0).item() == pytest.approx(expected, rel=1e-5)


def test_edges_are_learned_and_knowledge_flows_along_them():
    """Edges in the favoured directions grow; language is asked by the others, and hardly asks itself."""
    torch.manual_seed(0)
    graph = GraphDistillation(2, 5, 4, FAVOURED)
    logits, seen = torch.randn(3, 16, 2, requires_grad=True), torch.randn(3, 16, 5)
    before = graph.edges(logits, seen).mean(1)
    optimiser = torch.optim.Adam(graph.parameters(), lr=3e-2)
    for _ in range(200):
        optimiser.zero_grad()
        graph(logits, seen, 0.0).backward()
        optimiser.step()
    after = graph.edges(logits, seen).mean(1)
    assert all((after[e] > 1.5 * before[e]) == (pair in FAVOURED) for e, pair in enumerate(PAIRS))
    with torch.no_grad():
        graph.read_logits.weight.zero_()  # so that logits count in the distances alone
    (gradient,) = torch.autograd.grad(graph(logits, seen, 0.0), logits)
    learns = gradient.abs().mean((1, 2))
    assert learns[0] < 0.2 * learns[1] and learns[0] < 0.2 * learns[2]
    step = logits - 0.5 * gradient
    for m in (1, 2):
        assert (step[m] - logits[0]).abs().mean() < (logits[m] - logits[0]).abs().mean()


def test_one_shared_encoder_and_three_private_ones():
    model, batch = small_dmd().eval(), random_batch(small_task(), 4, seed=1)
    before = model.decouple(batch)
    with torch.no_grad():
        model.shared.weight.neg_()
        model.private["a"].weight.neg_()
    after = model.decouple(batch)
    assert all(torch.equal(after.shared[m], -before.shared[m]) for m in MODALITIES)
    assert [torch.equal(after.private[m], before.private[m]) for m in MODALITIES] == [True, False, True]


def test_private_parts_meet_across_modalities_and_shared_ones_do_not():
    model, batch = small_dmd().eval(), random_batch(small_task(), 4, seed=1)
    parts = model.decouple(batch)
    shared, private, _ = model.fuse(parts)
    other = parts._replace(private={**parts.private, "v": -parts.private["v"]})
    shared_after, private_after, _ = model.fuse(other)
    assert torch.equal(shared, shared_after)
    assert all(not torch.allclose(private[m], private_after[m], atol=1e-4) for m in MODALITIES)
    other = parts._replace(shared={**parts.shared, "v": -parts.shared["v"]})
    shared_after, private_after, _ = model.fuse(other)
    assert all(torch.equal(private[m], private_after[m]) for m in MODALITIES)
    changed = (shared != shared_after).view(4, 3, SMALL["d"]).any(-1)
    assert changed.tolist() == [[False, False, True]] * 4


def test_decoupling_loss_follows_the_equations_on_real_frames():
    model, batch = small_dmd().eval(), random_batch(small_task(), 5, seed=1)
    parts = model.decouple(batch)
    expected, cosines = 0.0, 0.0
    for m in MODALITIES:
        rows = [(i, t) for i in range(5) for t in range(parts.x[m].shape[1]) if batch.frames[m][i, t]]
        for i, t in rows:
            x, shared, private = (part[i, t] for part in (parts.x[m], parts.shared[m], parts.private[m]))
            rebuilt = model.decoders[m](torch.cat([private, shared]))
            cycle = (model.private[m](rebuilt) - private).square().mean()
            expected += ((rebuilt - x).square().mean() + cycle) / len(rows)
            cosines += torch.cosine_similarity(shared, private, dim=0).clamp(min=0) / len(rows)
    pooled = torch.stack(
        [(parts.shared[m] * batch.frames[m][:, :, None]).sum(1) / batch.frames[m].sum(1)[:, None] for m in MODALITIES]
    )
    expected = expected + 0.1 * (cosines + margin_loss(pooled, batch.labels, 0.15))
    assert model.decoupling_loss(parts, batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_eight_heads_are_trained():
    """Without the other losses, the loss is the sum of eight cross-entropies, equal where all classifiers are blank."""
    model = small_dmd(distillation_weight=0.0, decoupling_weight=0.0)
    batch = random_batch(small_task(), 4, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" in name:
                parameter.zero_()
    assert model.loss(batch).item() == pytest.approx(8 * math.log(2), rel=1e-5)
    assert model.loss(replace(batch, labels=1 - batch.labels)).item() == pytest.approx(8 * math.log(2), rel=1e-5)
