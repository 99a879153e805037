"""What is found out of models before they train at once: whether they can, and whether it is faster."""

import copy

import pytest
import torch

from benchmark.data.batches import SplitTensors
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.running import stackable
from benchmark.running.stackable import gain, try_out
from benchmark.running.training import Course
from tests.running.test_stacked import Small, member

CPU = torch.device("cpu")


@pytest.fixture
def tiny():
    return simulate(known_tasks()["mosi"], (9, 4, 4))


def courses(tiny, cls, count=2):
    tensors = [SplitTensors(tiny, name, CPU) for name in ("train", "valid")]
    members = [member(cls, tiny, seed) for seed in range(count)]
    return [Course(one.method, tiny, *tensors, 0, "missing", one.config, one.seed) for one in members]


def test_outputs_are_tried_too(tiny):
    class Looks(Small):
        def predict(self, batch):
            outputs = super().predict(batch)
            return outputs if self.training else outputs + 0 * outputs.sum().item()

    for cls, together in ((Small, True), (Looks, False)):
        first, second = courses(tiny, cls)
        assert try_out(first.method, second) is together


def test_trying_leaves_weights_and_random_numbers_alone(tiny):
    first, second = courses(tiny, Small)
    before, state = copy.deepcopy(second.method.state_dict()), torch.get_rng_state()
    try_out(first.method, second)
    gain([first, second])
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(x, before[name]) for name, x in second.method.state_dict().items())
    assert second.epoch == 0 and next(second.batches()).ids == next(courses(tiny, Small)[1].batches()).ids


def test_a_gain_is_the_time_of_all_one_after_another_by_that_of_all_at_once(tiny, monkeypatch):
    clock = iter([0.0, 9.0, 9.0, 99.0, 0.0, 2.0, 2.0, 7.0, 10.0, 13.0, 13.0, 17.0])  # the first of each does not count
    monkeypatch.setattr(stackable.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(stackable.Stack, "epoch", lambda self, batches: next(batches))  # which looks at the clock, too
    monkeypatch.setattr(stackable, "train_epoch", lambda *given: None)
    assert gain(courses(tiny, Small, 3)) == pytest.approx(3 * 2.0 / 4.0)
