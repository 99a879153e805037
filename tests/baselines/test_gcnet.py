"""What is GCNet's own: its graphs, which stay within a sample, and what its completion counts."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.gcnet import GCNet, relations, window_mean, windows
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, select, small_task

W = 4


def small_gcnet(task=None, **options):
    torch.manual_seed(0)
    return GCNet(task or small_task(), **{"num_windows": W, "hidden": 6, **options})


def completion(model, batch):
    with torch.no_grad():
        return model.completion_loss(model.nodes(batch), batch)


def changed(batch, where):
    """Other complete features at the frames in `where`, a dict by modality."""
    complete = {m: torch.where(where[m][:, :, None], x + 1.5, x) for m, x in batch.complete.items()}
    return replace(batch, complete=complete)


def test_completion_counts_the_missing_frames_alone():
    batch = random_batch(small_task(), 8, seed=1, kept=0.5)
    model = small_gcnet().eval()
    before = completion(model, batch)
    assert before > 0
    assert torch.equal(before, completion(model, changed(batch, batch.present)))
    assert torch.equal(before, completion(model, changed(batch, {m: ~f for m, f in batch.frames.items()})))
    for m in MODALITIES:
        for i, t in (batch.frames[m] & ~batch.present[m]).nonzero()[:5].tolist():
            where = {k: torch.zeros_like(f) for k, f in batch.frames.items()}
            where[m][i, t] = True
            assert not torch.equal(before, completion(model, changed(batch, where)))


@torch.no_grad()
def test_completion_follows_the_equation():
    batch = random_batch(small_task(), 5, seed=1, kept=0.5)
    model = small_gcnet().eval()
    nodes = model.nodes(batch)
    total = 0.0
    for s, m in enumerate(MODALITIES):
        for i in range(5):
            length = int(batch.frames[m][i].sum())
            for w in range(W):
                start, stop = w * length // W, -(-(w + 1) * length // W)
                lost = [t for t in range(start, stop) if not batch.present[m][i, t]]
                if lost:
                    target = batch.complete[m][i, lost].mean(0)
                    total += float((model.completers[m](nodes.hidden[i, s * W + w]) - target).square().mean())
    expected = total / (5 * W)
    assert model.completion_loss(nodes, batch).item() == pytest.approx(expected, rel=1e-5)
    loss = F.cross_entropy(model.predict(batch), batch.labels).item()
    assert model.loss(batch).item() == pytest.approx(loss + expected, rel=1e-5)
    heavy = small_gcnet(reconstruction_weight=3.0).eval()
    assert heavy.loss(batch).item() == pytest.approx(loss + 3 * expected, rel=1e-5)


def test_completion_is_zero_when_nothing_is_missing_and_needs_complete_features():
    batch = random_batch(small_task(), 4, seed=1)
    model = small_gcnet().eval()
    assert completion(model, batch) == 0.0
    with pytest.raises(ValueError, match="training batches"):
        model.loss(replace(batch, complete=None))


def test_completion_learns_the_missing_from_the_other_modalities():
    """With audio a copy of what language says, the missing audio can be learned."""
    task = small_task()
    batch = random_batch(task, 16, seed=4, available="lv", lengths={m: [6] * 16 for m in MODALITIES})
    batch.complete["a"] = batch.complete["l"][:, :, : task.feature_dims["a"]].clone()
    model = small_gcnet(hidden=24, dropout=0.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = completion(model, batch)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    assert completion(model, batch) < 0.4 * first


@torch.no_grad()
def test_a_sample_does_not_depend_on_others_even_of_its_own_video():
    batch = random_batch(small_task(), 4, seed=1, kept=0.6, training=False)
    batch = replace(batch, ids=["video$_$0", "video$_$1", "other$_$0", "video$_$2"])
    model = small_gcnet().eval()
    logits = model.predict(batch)
    for i in range(4):
        assert torch.allclose(model.predict(select(batch, [i])), logits[i : i + 1], atol=1e-6)
    features = {m: x.clone() for m, x in batch.features.items()}
    for x in features.values():
        x[1] += 3.0
    other = model.predict(replace(batch, features=features))
    assert torch.equal(other[[0, 2, 3]], logits[[0, 2, 3]])
    present = {m: p[1].any() for m, p in batch.present.items()}
    assert any(present.values()) and not torch.allclose(other[1], logits[1], atol=1e-4)


def test_edges_are_told_apart_by_time_and_by_speaker():
    temporal, speaker = relations(W, past=2, future=1)
    assert temporal.shape == (3, 3 * W, 3 * W) and speaker.shape == (9, 3 * W, 3 * W)
    assert torch.equal(temporal.sum(0), speaker.sum(0))
    for i in range(3 * W):
        for j in range(3 * W):
            later = j % W - i % W
            edge = -2 <= later <= 1
            time = [later < 0, later == 0, later > 0]
            assert temporal[:, i, j].tolist() == [float(edge and kind) for kind in time]
            kinds = [a == i // W and b == j // W for a in range(3) for b in range(3)]
            assert speaker[:, i, j].tolist() == [float(edge and kind) for kind in kinds]


def test_windows_divide_a_samples_own_time():
    frames = torch.arange(8)[None, :] < torch.tensor([8, 6, 2, 0])[:, None]
    covered = windows(frames, W)
    spans = [[row.nonzero().flatten().tolist() for row in sample] for sample in covered]
    assert spans[0] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert spans[1] == [[0, 1], [1, 2], [3, 4], [4, 5]]
    assert spans[2] == [[0], [0], [1], [1]]
    assert spans[3] == [[], [], [], []]
    x = torch.randn(4, 8, 3)
    assert torch.allclose(window_mean(x, covered)[1, 1], x[1, 1:3].mean(0)) and not window_mean(x, covered)[3].any()


@torch.no_grad()
def test_the_relational_convolution_is_a_sum_of_means():
    model = small_gcnet().eval()
    network, graph, x = model.temporal, model.temporal_graph, torch.randn(2, 3 * W, 12)
    captured = []
    network.lstm.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    network(x, graph.expand(2, -1, -1, -1))
    weights = network.relational.weight.unflatten(1, (3, 12))  # (hidden, R, d)
    first = network.root(x)
    for i in range(3 * W):
        for r in range(3):
            senders = graph[r, i].nonzero().flatten().tolist()
            if senders:
                first[:, i] += x[:, senders].mean(1) @ weights[:, r].T
    for i in range(3 * W):
        senders = graph.sum(0)[i].nonzero().flatten().tolist()
        expected = network.own(first[:, i]) + network.neighbours(first[:, senders].sum(1))
        found = captured[0].view(2, 3 * W, -1)[:, i]
        assert torch.allclose(found, torch.cat([x[:, i], expected], dim=1), atol=1e-5)


@torch.no_grad()
def test_a_modality_without_frames_sends_nothing_and_is_not_read():
    task = small_task()
    batch = random_batch(task, 3, seed=2, lengths={"l": [5, 6, 7], "a": [0, 0, 0], "v": [4, 4, 4]}, training=False)
    model = small_gcnet(attention=True).eval()
    logits = model.predict(batch)
    model.projections["a"].bias += 5.0  # what the nodes without frames hold
    assert torch.allclose(model.predict(batch), logits, atol=1e-6)


def test_attention_is_an_option_that_is_trained():
    batch = random_batch(small_task(), 6, seed=2, kept=0.5)
    plain, attending = small_gcnet(), small_gcnet(attention=True)
    assert plain.temporal.match is None
    attending.loss(batch).backward()
    assert attending.temporal.match.weight.grad.any() and attending.speaker.match.weight.grad.any()
