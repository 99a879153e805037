"""Every method on modalities of unequal length, which the word-aligned simulated tasks do not have."""

import pytest
import torch

from benchmark import methods
from benchmark.data.task import known_tasks
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.protocol.answers import outputs_of
from tests.batches import pad, random_batch, select, small_task
from tests.smaller import SMALLER

ENTRIES = methods.catalogue()
every_method = pytest.mark.parametrize("name", sorted(ENTRIES))


def build(name, task):
    cls = methods.load(ENTRIES[name])
    torch.manual_seed(0)
    return cls(task, **hyperparameters(cls, name, known_tasks()[task.name], [SMALLER.get(name, {})])[0]).eval()


def assert_independent(method, batch):
    logits = method.predict(batch)
    assert torch.allclose(method.predict(pad(batch, 3)), logits, atol=1e-5)
    alone = torch.cat([method.predict(select(batch, [i])) for i in range(len(batch))])
    assert torch.allclose(alone, logits, atol=1e-5)


@every_method
@pytest.mark.parametrize("task_name", ["mosi", "iemocap", "mosi_intensity"])
@pytest.mark.parametrize("kept", [1.0, 0.4])
@torch.no_grad()
def test_logits_depend_neither_on_the_batch_nor_on_padding(name, task_name, kept):
    task = small_task(task_name, {"l": 8, "a": 11, "v": 1})
    method = build(name, task)
    batch = random_batch(task, 12, seed=2, kept=kept, training=False)
    assert outputs_of(method, batch).shape == (12, task.num_outputs)
    assert_independent(method, batch)


@every_method
@torch.no_grad()
def test_nor_do_those_of_samples_that_lack_whole_modalities(name):
    task = small_task("mosi", {"l": 8, "a": 11, "v": 6})
    lengths = {"l": [0, 3, 5, 0, 0, 8], "a": [4, 0, 9, 0, 11, 0], "v": [6, 2, 0, 5, 0, 0]}
    assert_independent(build(name, task), random_batch(task, 6, seed=4, lengths=lengths, training=False))


@every_method
@pytest.mark.parametrize("n", [1, 4])
@torch.no_grad()
def test_samples_without_a_frame_of_language_or_of_anything(name, n):
    task = small_task("mosi", {"l": 8, "a": 11, "v": 6})
    method = build(name, task)
    for lengths in ({"l": [0] * n, "a": [0] * n, "v": [3] * n}, dict.fromkeys("lav", [0] * n)):
        assert torch.isfinite(method.predict(random_batch(task, n, seed=0, lengths=lengths, training=False))).all()
