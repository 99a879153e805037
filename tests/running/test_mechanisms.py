"""What is found of mechanisms: gradients of terms, effects, kept epochs; and that finding it changes nothing."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.data.batches import task_spec
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.parts.dropout import Dropout
from benchmark.protocol.method import Method, Stage
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.mechanisms import BATCHES, Mechanisms, effects, gradients
from benchmark.running.training import Ended, train
from tests.batches import random_batch, small_task


class Weighted(Method):
    """Two terms of one weight each, w and v: their gradients are 3 and 4 in each number of a vector of four.

    The second also trains a critic, which nothing is predicted with.
    """

    def __init__(self, task):
        super().__init__(task)
        self.w, self.v = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
        self.critic = nn.Parameter(torch.zeros(()))
        self.calls = 0

    def predict(self, batch):
        return (self.w.sum() + self.v.sum()) * torch.ones(len(batch), 2)

    def terms(self, batch):
        self.calls += 1
        idea = 4 * self.v.sum() + 24 * self.critic
        return {"task": 3 * self.w.sum(), "idea": idea, "off": (0 * self.w).sum().detach()}

    def mechanism(self, batch):
        assert not self.training
        return {"error": (torch.tensor(float(len(batch))), torch.tensor(2.0))}


class Learner(Method):
    """Learns from the mean of a modality, with dropout and a state of its own that a look at its terms changes."""

    stages = (Stage("first", trains_on="complete"), Stage("second", trains_on="missing"))

    def __init__(self, task):
        super().__init__(task)
        self.head = nn.Linear(task.feature_dims["l"], task.num_outputs)
        self.dropout = Dropout(0.5)
        self.register_buffer("looks", torch.zeros(()))
        self.asked = []

    def predict(self, batch):
        return self.head(self.dropout(batch.features["l"].mean(1))) + self.looks * 1e-3

    def terms(self, batch):
        if self.training:
            self.looks += 1
            self.asked.append(batch.ids)
        return {"task": self.task_loss(self.predict(batch), batch), "weight": 0.1 * self.head.weight.square().sum()}

    def mechanism(self, batch):
        assert batch.complete is not None and (batch.labels >= 0).all() and not torch.is_grad_enabled()
        assert not self.training
        missing = sum(int((batch.frames[m] & ~batch.present[m]).sum()) for m in "lav")
        return {"missing frames": (torch.tensor(float(missing)), torch.rand(()))}


def test_gradients_are_those_of_each_term_before_and_after_clipping():
    method, batches = Weighted(small_task()), [random_batch(small_task(), 3, seed=i) for i in range(2)]
    found = gradients(method, batches, clip_norm=1.0)
    assert found["gradient"] == pytest.approx({"task": 6.0, "idea": 8.0, "off": 0.0})
    assert found["clipped"] == pytest.approx(1 / 26)  # the sum of both is 10 long, and with the critic's 24 it is 26
    assert gradients(method, batches, clip_norm=30.0)["clipped"] == 1.0
    assert gradients(method, batches, clip_norm=None)["clipped"] == 1.0
    assert method.calls == 6 and method.w.grad is None


def test_a_loss_of_one_term_has_no_shares():
    method = Weighted(small_task())
    method.terms = lambda batch: {"task": method.w.sum()}
    assert gradients(method, [random_batch(small_task(), 3, seed=0)], 1.0) == {}


def test_effects_are_means_over_samples():
    batches = [random_batch(small_task(), n, seed=n) for n in (2, 6)]
    found = effects(Weighted(small_task()), batches)
    assert found == {"error": {"value": (2 * 2 + 6 * 6) / 8, "idle": 2.0}}


def trained(watched, method=None):
    dataset = simulate(known_tasks()["mosi"], (40, 16, 16))
    torch.manual_seed(0)
    method = (method or Learner)(task_spec(dataset))
    mechanisms = Mechanisms(method, 1.0)
    config = TrainingConfig(epochs=3, patience=3, batch_size=8, validation_draws=1, min_epochs=1)
    on_stage = {"on_stage": mechanisms.on_stage} if watched else {}
    history = train(method, dataset, trains_on="missing", config=config, seed=3, device=torch.device("cpu"), **on_stage)
    for epoch in history:
        epoch.pop("seconds")
    return method, history, mechanisms, torch.rand(())


def test_looking_changes_neither_what_is_trained_nor_random_numbers():
    plain, plain_history, _, plain_number = trained(False)
    watched, history, mechanisms, number = trained(True)
    assert history == plain_history and number == plain_number
    for name, value in watched.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name
    assert watched.looks > 0 and mechanisms.seconds > 0


def test_stages_tell_the_epoch_that_was_kept_and_the_last_one_its_effects():
    _, history, mechanisms, _ = trained(True)
    found = mechanisms.found
    assert [stage["stage"] for stage in found["stages"]] == ["first", "second"]
    for stage in found["stages"]:
        scores = [epoch["valid_score"] for epoch in history if epoch["stage"] == stage["stage"]]
        assert stage["kept"] == 1 + int(np.argmax(scores)) and stage["epochs"] == len(scores)
        assert stage["gradient"].keys() == {"task", "weight"} and 0 < stage["clipped"] <= 1
    assert found["effects"]["missing frames"]["value"] > 0  # the last stage trains on incomplete samples
    assert "fault" not in found


def test_the_batches_are_those_of_the_epoch_that_was_kept():
    dataset = simulate(known_tasks()["mosi"], (40, 16, 16))
    method = Learner(task_spec(dataset))
    seen = []

    def on_stage(ended):
        epochs = [method.asked[i : i + 5] for i in range(0, len(method.asked), 5)]  # of 40 samples in batches of 8
        seen.append(ended.kept)
        assert [batch.ids for batch in ended.training] == epochs[ended.kept - 1]
        method.asked.clear()

    config = TrainingConfig(epochs=4, batch_size=8, learning_rate=0.05, validation_draws=1, min_epochs=1)
    device = torch.device("cpu")
    train(method, dataset, trains_on="missing", config=config, seed=3, device=device, on_stage=on_stage)
    assert len(seen) == 2 and max(seen) > 1, "an epoch behind the first was kept"


def test_gradients_are_of_few_batches():
    method = Weighted(small_task())
    batches = iter([random_batch(small_task(), 3, seed=i) for i in range(BATCHES + 2)])
    mechanisms = Mechanisms(method, 1.0)
    mechanisms.on_stage(Ended(method.stages[0], 2, 5, batches, iter([random_batch(small_task(), 3, seed=0)])))
    assert len(list(batches)) == 2 and method.calls == 0  # a copy was asked
    assert mechanisms.found["effects"] == {"error": {"value": 3.0, "idle": 2.0}}


class Mute(Learner):
    def mechanism(self, batch):
        raise ZeroDivisionError("nothing was missing")


class Undefined(Learner):
    def mechanism(self, batch):
        assert not self.training
        return {"error": (torch.tensor(math.nan), torch.tensor(1.0))}


@pytest.mark.parametrize(
    ("kind", "fault"), [(Mute, "ZeroDivisionError: nothing was missing"), (Undefined, "ValueError: error is nan")]
)
def test_a_method_that_cannot_be_asked_is_trained_all_the_same(kind, fault):
    plain, *_ = trained(False)
    method, _, mechanisms, _ = trained(True, kind)
    assert torch.equal(method.head.weight, plain.head.weight)
    assert mechanisms.found["fault"] == fault and mechanisms.found["effects"] == {}
    assert len(mechanisms.found["stages"]) == 2 and "gradient" in mechanisms.found["stages"][1]


def test_a_copy_is_what_is_looked_at():
    method = Learner(small_task())
    before = copy.deepcopy(method.state_dict())
    batches = [random_batch(small_task(), 4, seed=1)]
    Mechanisms(method, 1.0).on_stage(Ended(method.stages[0], 1, 1, iter(batches), iter(batches)))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
