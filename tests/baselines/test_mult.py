"""What is MulT's own: six directed cross-modal Transformers, causal attention, the last real frame."""

import pytest
import torch
from torch import nn

from baselines.mult import MulT
from benchmark.parts.transformer import PAIRS
from benchmark.protocol.method import TaskSpec
from tests.batches import random_batch

TASK = TaskSpec("mosi", 2, {"l": 6, "a": 5, "v": 4}, {"l": 7, "a": 7, "v": 7})


@pytest.fixture
def method():
    torch.manual_seed(0)
    return MulT(TASK, d=8, heads=2, layers=2).eval()


def test_six_directions_and_three_memories(method):
    assert sorted(PAIRS) == sorted((a, b) for a in "lav" for b in "lav" if a != b)
    assert method.crossmodal.norm.weight.shape == (6, 1, 8)
    assert method.selfattention.norm.weight.shape == (3, 1, 16)
    assert isinstance(method.head, nn.Linear) and method.head.in_features == 48


@pytest.mark.parametrize("pair", range(6))
def test_each_direction_carries_its_source_to_its_target(method, pair):
    """With all cross-modal streams but one silenced, only that stream's two modalities matter."""
    target, source = PAIRS[pair]
    streams = []
    original = method.crossmodal.forward

    def only_one(*args, **kwargs):
        results = original(*args, **kwargs)
        streams.append(len(results))
        return [h if s == pair else torch.zeros_like(h) for s, h in enumerate(results)]

    method.crossmodal.forward = only_one
    batch = random_batch(TASK, 5, seed=0)
    before = method.predict(batch)
    for modality in "lav":
        changed = random_batch(TASK, 5, seed=0)
        changed.features[modality] = changed.features[modality] * 2.0
        same = torch.allclose(method.predict(changed), before, atol=1e-6)
        assert same == (modality not in (target, source)), modality
    assert set(streams) == {6}


def test_attention_is_causal(method):
    """What a frame becomes does not depend on later frames of its own or of another modality."""
    batch = random_batch(TASK, 3, seed=1)
    seen = []
    method.selfattention.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    method.predict(batch)
    for m in "lav":
        batch.features[m] = batch.features[m].clone()
        batch.features[m][:, 3:] += 1.0
    method.predict(batch)
    for before, after in zip(*seen, strict=True):
        assert torch.allclose(before[:, :3], after[:, :3], atol=1e-5)
        assert not torch.allclose(before[:, 3:], after[:, 3:], atol=1e-3)


def test_modalities_of_other_lengths(method):
    task = TaskSpec("mosi", 2, TASK.feature_dims, {"l": 7, "a": 1, "v": 4})
    torch.manual_seed(0)
    method = MulT(task, d=8, heads=2, layers=2).eval()
    assert torch.isfinite(method.predict(random_batch(task, 5, seed=2))).all()
