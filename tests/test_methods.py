"""What every registered method must do; parametrised over the registry, so a new method is tested by being there."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark import registry
from benchmark.config import TrainingConfig
from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.simulator import simulate
from benchmark.evaluation import predict_settings
from benchmark.grid import hyperparameters
from benchmark.missing import MODALITIES, MRM, SUBSETS, Setting
from benchmark.training import train

CPU = torch.device("cpu")
ENTRIES = registry.catalogue()
SETTINGS = [Setting(s, r) for s in SUBSETS for r in (0.0, 0.5, 1.0)]
methods = pytest.mark.parametrize("name", sorted(ENTRIES))


def build(name, dataset, seed=0):
    constructor, _ = hyperparameters(registry.load(ENTRIES[name]), name, dataset.name, [])
    torch.manual_seed(seed)
    return registry.load(ENTRIES[name])(task_spec(dataset), **constructor)


def trained(name, dataset, *, seed=0, trains_on=None, **config):
    method = build(name, dataset, seed)
    defaults = registry.load(ENTRIES[name]).training_defaults
    config = TrainingConfig(**defaults | {"epochs": 1} | config)
    history = train(
        method, dataset, trains_on=trains_on or ENTRIES[name].trains_on, config=config, seed=seed, device=CPU
    )
    return method, history


@methods
@pytest.mark.parametrize("fixture", ["small_mosi", "small_iemocap"])
def test_every_setting_gives_finite_logits(name, fixture, request):
    dataset = request.getfixturevalue(fixture)
    method, history = trained(name, dataset)
    assert all(np.isfinite(record["train_loss"]) for record in history)
    logits = predict_settings(method, dataset, SETTINGS, draw=0, device=CPU)
    assert logits.shape == (len(SETTINGS), 48, len(dataset.categories))
    assert np.isfinite(logits).all()


@methods
def test_a_sample_without_a_single_frame_is_handled(name, small_mosi):
    method = build(name, small_mosi).eval()
    batch = SplitTensors(small_mosi, "test", CPU).batch(np.arange(4), training=False)
    for m in MODALITIES:
        batch.frames[m][1] = False
        batch.present[m][1] = False
        batch.features[m][1] = 0
    assert torch.isfinite(method.predict(batch)).all()


@methods
def test_training_is_deterministic(name, small_mosi):
    first, second = (trained(name, small_mosi)[0].state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@methods
def test_logits_do_not_depend_on_the_batch(name, small_mosi):
    """Batch size 1 against 32, another order, and a longer neighbour."""
    method, _ = trained(name, small_mosi)
    tensors = SplitTensors(small_mosi, "test", CPU)
    rows = np.arange(32)
    kept = MRM().draw(np.random.default_rng(0), 48, {m: t.shape[1] for m, t in tensors.features.items()})

    def predict(some):
        with torch.no_grad():
            return method.predict(tensors.batch(some, {m: kept[m][some] for m in MODALITIES}, training=False))

    together = predict(rows)
    alone = torch.cat([predict(rows[i : i + 1]) for i in rows])
    backwards = predict(rows[::-1].copy()).flip(0)
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.allclose(together, backwards, atol=1e-4)


@methods
def test_missing_frames_and_inputs(name, small_mosi):
    """What a batch does not show changes nothing, and a method leaves the batch as it was."""
    method, _ = trained(name, small_mosi)
    dataset = copy.deepcopy(small_mosi)
    before = predict_settings(method, dataset, [Setting("la")], draw=0, device=CPU)
    dataset.splits["test"].features["v"][:] = 9.0  # vision is not available in the first setting
    assert np.array_equal(predict_settings(method, dataset, [Setting("la")], draw=0, device=CPU), before)
    batch = SplitTensors(small_mosi, "test", CPU).batch(np.arange(8), training=False)
    untouched = copy.deepcopy(batch)
    with torch.no_grad():
        method.predict(batch)
    for part in ("features", "present", "frames"):
        for m in MODALITIES:
            assert torch.equal(getattr(batch, part)[m], getattr(untouched, part)[m])


@methods
@pytest.mark.parametrize("frame_probability", [0.0, 1.0])
def test_losses_are_finite_and_reach_every_parameter(name, small_mosi, frame_probability):
    if name == "constant":
        pytest.skip("has no parameters")
    method = build(name, small_mosi)
    tensors = SplitTensors(small_mosi, "train", CPU)
    mrm = MRM(frame_probability=frame_probability)
    reached = set()
    for stage in method.stages:
        with torch.no_grad():
            method.start_stage(stage, [tensors.batch(np.arange(64), training=True)])
        method.train()
        kept = mrm.draw(np.random.default_rng(1), 64, {m: t.shape[1] for m, t in tensors.features.items()})
        for rows in (np.arange(64), np.arange(1)):  # an epoch may end with a batch of one
            method.zero_grad()
            loss = method.loss(tensors.batch(rows, {m: kept[m][rows] for m in MODALITIES}, training=True))
            assert loss.ndim == 0 and torch.isfinite(loss)
            loss.backward()
            for key, parameter in method.named_parameters():
                if parameter.grad is not None:
                    assert torch.isfinite(parameter.grad).all(), key
                    if parameter.grad.any():
                        reached.add(key)
    assert reached == {key for key, _ in method.named_parameters()}


@methods
def test_it_overfits_32_samples(name):
    if name == "constant":
        pytest.skip("cannot")
    dataset = simulate("iemocap", {"train": 32, "valid": 8, "test": 8})
    method = build(name, dataset)
    tensors = SplitTensors(dataset, "train", CPU)
    everything = tensors.batch(np.arange(32), training=True)
    for stage in method.stages:
        method.eval()
        with torch.no_grad():
            method.start_stage(stage, [everything])
        optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=2e-3)
        for _ in range(250):
            method.train()
            optimiser.zero_grad()
            method.loss(everything).backward()
            optimiser.step()
            method.eval()
            with torch.no_grad():
                logits = method.predict(everything)
            if F.cross_entropy(logits, everything.labels) < 0.05:
                break
        assert (logits.argmax(1) == everything.labels).all(), stage.name
