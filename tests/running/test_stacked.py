"""Models that train at once are those that train alone: compared in float64, where rounding does not add up."""

import importlib
import inspect
import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.methods.loading import load
from benchmark.methods.registry import catalogue
from benchmark.parts import Dropout, masked_mean
from benchmark.protocol.method import Method
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running import recorded, stackable, stacked, training
from benchmark.running.recorded import Recorded, Ways
from benchmark.running.stack import NotTogether
from benchmark.running.stacked import Member, train_together
from benchmark.running.training import TrainingError, train
from tests.smaller import SMALLER

CPU = torch.device("cpu")
METHODS = {name: load(entry) for name, entry in catalogue().items() if entry.augmentable}
TOGETHER = {
    "cmad",
    "dicmor",
    "late_fusion",
    "moddrop",
    "momke",
    "mplmm",
    "p_rmf",
    "corrkd",
    "dmd",
    "hrlf",
    "lnln",
    "mult",
    "tfr_net",
    "transm",
}  # what is found of their structure


@pytest.fixture(scope="module")
def tiny():
    return simulate(known_tasks()["mosi"], (9, 4, 4))


class Doubled(SplitTensors):
    """A split in float64."""

    def __init__(self, *given):
        super().__init__(*given)
        self.features = {m: x.double() for m, x in self.features.items()}


@pytest.fixture(autouse=True)
def _in_float64(monkeypatch):
    monkeypatch.setattr(stacked, "SplitTensors", Doubled)
    monkeypatch.setattr(training, "SplitTensors", Doubled)
    # Noise in a stack is another, as dropout's coins are. Two names of one function of torch are more than its compiler takes.
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.zeros_like(x))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def member(cls, dataset, seed, **config):
    torch.manual_seed(seed)
    off = {name: 0.0 for name in inspect.signature(cls).parameters if "drop" in name}
    sizes = next((SMALLER.get(name, {}) for name, known in METHODS.items() if known is cls), {})
    method = cls(task_spec(dataset), **sizes, **off)
    return Member(method, TrainingConfig(**{"epochs": 3, "batch_size": 4} | config), seed, torch.get_rng_state())


def alone(cls, dataset, seed, **config):
    one = member(cls, dataset, seed, **config)
    history = train(one.method, dataset, trains_on="missing", config=one.config, seed=seed, device=CPU)
    return one.method, history


def outputs(method, dataset):
    (batch,) = Doubled(dataset, "test", CPU).batches(np.arange(4), None, 4, training=False)
    return method.predict(batch).detach()


def assert_equal(given, expected, dataset):
    # Not weight by weight: a key's shift, say, changes nothing, so that its gradient is rounding, and Adam follows it.
    method, history = expected
    assert given.fault is None
    for epoch, other in zip(given.history, history, strict=True):
        for name in ("epoch", "train_loss", "valid_loss", "valid_score"):
            assert epoch[name] == pytest.approx(other[name], abs=1e-8), name
        assert epoch.get("terms") == pytest.approx(other.get("terms"), abs=1e-8)
    assert torch.allclose(outputs(given.method, dataset), outputs(method, dataset), atol=1e-6)


class Small(Method):
    """A linear method with dropout and a buffer that counts."""

    def __init__(self, task, *, dropout: float = 0.0):
        super().__init__(task)
        self.linear = nn.Linear(sum(task.feature_dims.values()), task.num_categories)
        self.idle = nn.Linear(2, 2)  # has no gradient
        self.dropout = Dropout(dropout)
        self.register_buffer("seen", torch.zeros(()))
        self.bad = nn.Parameter(torch.zeros(()), requires_grad=False)

    def predict(self, batch):
        x = torch.cat([masked_mean(batch.features[m], batch.frames[m]) for m in MODALITIES], 1)
        return self.linear(self.dropout(x))

    def loss(self, batch):
        self.seen += 1
        return self.task_loss(self.predict(batch), batch) + self.bad


@pytest.mark.parametrize("name", sorted(TOGETHER))
def test_a_method_in_a_stack_is_what_it_is_alone(tiny, name):
    ways = [{"seed": 0, "learning_rate": 1e-3, "epochs": 1}, {"seed": 3, "learning_rate": 4e-3, "epochs": 1}]
    ways[1] |= {"weight_decay": 1e-2, "clip_norm": None}
    members = [member(METHODS[name], tiny, **way) for way in ways]
    train_together(members, tiny, trains_on="missing", device=CPU)
    for given, way in zip(members, ways, strict=True):
        assert_equal(given, alone(METHODS[name], tiny, **way), tiny)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - TOGETHER))
def test_a_method_whose_structure_does_not_allow_it_says_so(tiny, name, monkeypatch):
    monkeypatch.setattr(stacked, "SplitTensors", SplitTensors)
    torch.set_default_dtype(torch.float32)
    with pytest.raises(NotTogether):
        train_together([member(METHODS[name], tiny, seed) for seed in range(2)], tiny, trains_on="missing", device=CPU)


def test_members_stop_at_epochs_of_their_own(tiny):
    same = {"epochs": 30, "learning_rate": 0.1}
    ways = [same | {"seed": seed, "patience": 1 + seed, "clip_norm": 0.1 + seed} for seed in range(4)]
    members = [member(Small, tiny, **way) for way in ways]
    train_together(members, tiny, trains_on="missing", device=CPU)
    assert len({len(given.history) for given in members}) > 2
    for given, way in zip(members, ways, strict=True):
        assert_equal(given, alone(Small, tiny, **way), tiny)


def test_nan_in_one_member_fails_it_alone(tiny):
    members = [member(Small, tiny, seed) for seed in range(3)]
    members[1].method.bad.fill_(math.nan)
    train_together(members, tiny, trains_on="missing", device=CPU)
    assert isinstance(members[1].fault, TrainingError)
    assert str(members[1].fault).startswith(
        "the training loss became nan in batch 1 of 2, in stage 'training', epoch 1"
    )
    for seed in (0, 2):
        assert_equal(members[seed], alone(Small, tiny, seed), tiny)


def test_what_a_member_is_called_back_with_ends_it_alone(tiny):
    def fail(_):
        raise OSError("no room")

    members = [member(Small, tiny, seed) for seed in range(3)]
    members[0].on_epoch, members[2].on_stage = fail, fail
    train_together(members, tiny, trains_on="missing", device=CPU)
    assert [type(given.fault) for given in members] == [OSError, type(None), OSError]
    assert_equal(members[1], alone(Small, tiny, 1), tiny)


def test_each_member_throws_its_own_coins(tiny):
    masks = torch.func.vmap(Dropout(0.5), randomness="different")(torch.ones(3, 40, 10))
    assert not masks[0].equal(masks[1]) and not masks[1].equal(masks[2])
    assert abs(float((masks == 0).double().mean()) - 0.5) < 0.1


class OnTheCpu(Ways):
    """Recorded steps, each of which is computed again where a GPU would replay it."""

    def on(self, device):
        return self

    def stepping(self, step):
        return Recorded(step, lambda work: self.recordings.append(work) or work)


@pytest.mark.parametrize("name", ["corrkd", "late_fusion", "small"])
def test_recorded_steps_are_the_ordinary_ones(tiny, name, monkeypatch):
    monkeypatch.setattr(OnTheCpu, "recordings", [], raising=False)
    cls = METHODS.get(name, Small)
    ways = [{"seed": seed, "epochs": 2 + seed} for seed in range(2)]  # a stack of other size is recorded anew
    members = [member(cls, tiny, **way) for way in ways]
    train_together(members, tiny, trains_on="missing", device=CPU, ways=OnTheCpu())
    assert len(OnTheCpu.recordings) >= 2
    for given, way in zip(members, ways, strict=True):
        assert_equal(given, alone(cls, tiny, **way), tiny)


def test_recorded_steps_throw_the_devices_coins(tiny, monkeypatch):
    class Dropping(Small):
        def __init__(self, task):
            super().__init__(task, dropout=0.5)

        def loss(self, batch):
            places.append(pool._stretch)
            return super().loss(batch)

    pool, places = importlib.import_module("benchmark.parts.dropout"), []
    monkeypatch.setattr(OnTheCpu, "recordings", [], raising=False)
    monkeypatch.setattr(Recorded, "_watched", lambda self, fields: self.step(fields))  # a CPU's are drawn by the CPU
    members = [member(Dropping, tiny, seed, epochs=2) for seed in range(2)]
    train_together(members, tiny, trains_on="missing", device=CPU, ways=OnTheCpu())
    assert len(OnTheCpu.recordings) == 2
    assert [place is pool._stretch for place in places] == [True] * 4 + [False] * 4  # when it is tried; in four steps


def test_none_is_recorded_without_a_gpu(tiny, monkeypatch):
    monkeypatch.setattr(recorded, "Recorded", None)
    monkeypatch.setattr(recorded, "compiled", None)
    monkeypatch.setattr(torch, "autocast", None)
    members = [member(Small, tiny, seed) for seed in range(2)]
    ways = Ways(graphs=True, bf16=True, compiled=True)
    train_together(members, tiny, trains_on="missing", device=CPU, ways=ways)
    assert_equal(members[1], alone(Small, tiny, 1), tiny)


@pytest.mark.parametrize("name", ["late_fusion", "small"])
def test_compiled_steps_are_the_ordinary_ones(tiny, name):
    class Compiled(OnTheCpu):
        def stepping(self, step):
            return step

        def deriving(self, derive):
            return recorded.compiled(derive, backend="eager")

    cls = METHODS.get(name, Small)
    members = [member(cls, tiny, seed, epochs=2) for seed in range(2)]
    train_together(members, tiny, trains_on="missing", device=CPU, ways=Compiled())
    assert_equal(members[1], alone(cls, tiny, 1, epochs=2), tiny)


def test_members_are_validated_in_one_pass(tiny, monkeypatch):
    expected = [alone(Small, tiny, seed) for seed in range(3)]
    monkeypatch.setattr(training.Course, "_outputs", lambda self: pytest.fail("validated by itself"))
    members = [member(Small, tiny, seed) for seed in range(3)]
    train_together(members, tiny, trains_on="missing", device=CPU)
    for given, one in zip(members, expected, strict=True):
        assert_equal(given, one, tiny)


def test_members_that_cannot_be_are_validated_one_by_one(tiny):
    class Looks(Small):
        def predict(self, batch):
            outputs = super().predict(batch)
            return outputs if self.training else outputs + 0 * outputs.sum().item()

    members = [member(Looks, tiny, seed) for seed in range(2)]
    train_together(members, tiny, trains_on="missing", device=CPU)
    assert_equal(members[1], alone(Looks, tiny, 1), tiny)


@pytest.mark.parametrize(("gained", "told"), [(0.8, "1.25"), (1.02, "0.98"), (1.2, None)])
def test_only_where_it_is_faster_if_that_is_asked_for(tiny, monkeypatch, gained, told):
    monkeypatch.setattr(stacked, "gain", lambda courses: gained)
    members = [member(Small, tiny, seed) for seed in range(2)]
    if told:
        with pytest.raises(NotTogether, match=rf"takes {told} times as long as .*; it is worth it from 0.95 on"):
            train_together(members, tiny, trains_on="missing", device=CPU, if_faster=True)
    else:
        train_together(members, tiny, trains_on="missing", device=CPU, if_faster=True)
        assert_equal(members[1], alone(Small, tiny, 1), tiny)


def test_a_lack_of_memory_is_told_as_one(tiny):
    class Large(Small):
        def loss(self, batch):
            if len(batch) > stackable._TRIED // 2 and batch.places is not None:
                raise torch.OutOfMemoryError("planted")
            return super().loss(batch)

    members = [member(Large, tiny, seed) for seed in range(2)]
    with pytest.raises(torch.OutOfMemoryError):
        train_together(members, tiny, trains_on="missing", device=CPU)


def test_loss_weights_that_differ_between_members_are_seen(tiny):
    class Weighted(Small):
        weight = 1.0

        def loss(self, batch):
            return self.weight * super().loss(batch)

    members = [member(Weighted, tiny, seed) for seed in range(2)]
    members[1].method.weight = 2.0
    with pytest.raises(NotTogether, match="loss is another one in a stack"):
        train_together(members, tiny, trains_on="missing", device=CPU)


def test_batches_of_other_sizes_are_refused(tiny):
    members = [member(Small, tiny, 0, batch_size=size) for size in (4, 8)]
    with pytest.raises(NotTogether, match="differ in size"):
        train_together(members, tiny, trains_on="missing", device=CPU)
