import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.data.batches import SplitTensors, task_spec
from benchmark.protocol.method import Method, Stage
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.training import TrainingError, train

CPU = torch.device("cpu")


class Recorder(Method):
    """A linear method that writes down what it is shown."""

    def __init__(self, task):
        super().__init__(task)
        self.linear = nn.Linear(sum(task.feature_dims.values()), task.num_categories)
        self.trained, self.predicted, self.stages_seen = [], [], []

    def start_stage(self, stage, training_set):
        self.stages_seen.append(stage.name)
        batches = list(training_set)
        self.ids = [i for batch in batches for i in batch.ids]
        assert not torch.is_grad_enabled()

    def predict(self, batch):
        if not self.training:
            self.predicted.append(batch)
        return self.linear(torch.cat([batch.features[m].mean(1) for m in MODALITIES], 1))

    def loss(self, batch):
        self.trained.append(batch)
        return F.cross_entropy(self.predict(batch), batch.labels)


def run(dataset, trains_on="complete", cls=Recorder, seed=0, **config):
    torch.manual_seed(seed)
    method = cls(task_spec(dataset))
    settings = TrainingConfig(**{"epochs": 3, "batch_size": 10, "learning_rate": 1e-2} | config)
    history = train(method, dataset, trains_on=trains_on, config=settings, seed=seed, device=CPU)
    return method, history


def test_an_epoch_shows_every_training_sample_once_in_a_new_order(small_mosi):
    method, _ = run(small_mosi, epochs=2, patience=9)
    ids = [i for batch in method.trained for i in batch.ids]
    train_ids = small_mosi.splits["train"].ids.tolist()
    first, second = ids[: len(train_ids)], ids[len(train_ids) :]
    assert sorted(first) == sorted(second) == sorted(train_ids)
    assert first != second and method.ids == train_ids


def test_complete_training_hides_nothing(small_mosi):
    method, _ = run(small_mosi)
    for batch in method.trained:
        for m in MODALITIES:
            assert torch.equal(batch.present[m], batch.frames[m])
            assert torch.equal(batch.features[m], batch.complete[m])


def test_missing_training_zeroes_frames_and_draws_anew_each_epoch(small_mosi):
    method, _ = run(small_mosi, "missing", epochs=2, patience=9)
    kept: dict[str, list] = {}
    for batch in method.trained:
        for m in MODALITIES:
            assert not batch.features[m][~batch.present[m]].any()
            assert not (batch.present[m] & ~batch.frames[m]).any()
            assert torch.equal(batch.features[m][batch.present[m]], batch.complete[m][batch.present[m]])
        for row, sample in enumerate(batch.ids):
            kept.setdefault(sample, []).append(tuple(int(batch.present[m][row].sum()) for m in MODALITIES))
    assert np.mean([first != second for first, second in kept.values()]) > 0.5


def test_masks_in_training_come_from_the_seed_not_from_the_batch_size(small_mosi):
    def masks(**config):
        method, _ = run(small_mosi, "missing", epochs=1, **config)
        return {
            i: [int(b.present[m][row].sum()) for m in MODALITIES] for b in method.trained for row, i in enumerate(b.ids)
        }

    assert masks(batch_size=10) == masks(batch_size=64)
    assert masks(batch_size=10) != masks(batch_size=10, seed=1)


@pytest.mark.parametrize(("trains_on", "draws"), [("complete", 1), ("missing", 3)])
def test_validation_has_the_kind_of_missingness_of_training_and_shows_no_labels(small_mosi, trains_on, draws):
    method, history = run(small_mosi, trains_on)
    size = len(small_mosi.splits["valid"])
    shown = [i for batch in method.predicted for i in batch.ids]
    assert len(shown) == size * draws * len(history)
    assert set(shown) == set(small_mosi.splits["valid"].ids)
    whole = all(torch.equal(b.present[m], b.frames[m]) for b in method.predicted for m in MODALITIES)
    assert whole == (trains_on == "complete")
    for batch in method.predicted:
        assert batch.complete is None and (batch.labels == -1).all() and batch.intensity.isnan().all()
    per_epoch = len(method.predicted) // len(history)
    for early, late in zip(method.predicted[:per_epoch], method.predicted[-per_epoch:], strict=True):
        assert torch.equal(early.features["l"], late.features["l"])  # the same masks in every epoch


def test_the_test_split_is_never_touched(small_mosi):
    guarded = replace(small_mosi, splits=_Guard(small_mosi.splits))
    method = Recorder(task_spec(small_mosi))
    train(method, guarded, trains_on="missing", config=TrainingConfig(epochs=1), seed=0, device=CPU)
    assert method.trained


class _Guard(dict):
    def __getitem__(self, name):
        assert name != "test", "training looked at the test split"
        return super().__getitem__(name)


def test_the_best_checkpoint_is_kept_and_training_stops_early(small_mosi):
    """A learning rate that soon goes wrong: the weights kept must be those of the best epoch."""
    torch.manual_seed(0)
    method = Recorder(task_spec(small_mosi))
    states = []
    config = TrainingConfig(
        epochs=40, patience=3, learning_rate=0.3, batch_size=16, selection="loss", min_epochs=1
    )  # fmt: skip
    history = train(
        method, small_mosi, trains_on="complete", config=config, seed=0, device=CPU,
        on_epoch=lambda record: states.append({k: v.clone() for k, v in method.state_dict().items()}),
    )  # fmt: skip
    best = min(range(len(history)), key=lambda e: history[e]["valid_loss"])
    assert len(history) == best + 1 + 3 < 40
    for name, value in method.state_dict().items():
        assert torch.equal(value, states[best][name])
    assert not torch.equal(states[best]["linear.weight"], states[-1]["linear.weight"])


@pytest.mark.parametrize("rule", ["loss", "score", "last"])
@pytest.mark.parametrize("least", [1, 4])
def test_the_rule_decides_what_is_kept_and_when_to_stop(small_mosi, rule, least):
    torch.manual_seed(0)
    method, states, ended = Recorder(task_spec(small_mosi)), [], []
    config = TrainingConfig(epochs=12, patience=2, learning_rate=0.3, batch_size=16, selection=rule, min_epochs=least)
    history = train(
        method, small_mosi, trains_on="complete", config=config, seed=0, device=CPU, on_stage=ended.append,
        on_epoch=lambda record: states.append({k: v.clone() for k, v in method.state_dict().items()}),
    )  # fmt: skip
    allowed = range(least - 1, len(history))
    best = {
        "loss": min(allowed, key=lambda e: history[e]["valid_loss"]),
        "score": max(allowed, key=lambda e: history[e]["valid_score"]),
        "last": 11,
    }[rule]
    assert len(history) == min(12, best + 1 + 2) and ended[0].kept == best + 1
    assert all(torch.equal(value, states[best][name]) for name, value in method.state_dict().items())


def test_each_stage_has_its_own_missingness_and_checkpoint(small_mosi):
    class TwoStages(Recorder):
        stages = (Stage("first", trains_on="complete"), Stage("second"))

    method, history = run(small_mosi, "missing", TwoStages, epochs=2, patience=9)
    assert method.stages_seen == ["first", "second"]
    assert [(r["stage"], r["epoch"]) for r in history] == [("first", 1), ("first", 2), ("second", 1), ("second", 2)]
    half = len(method.trained) // 2
    for batches, whole in ((method.trained[:half], True), (method.trained[half:], False)):
        assert all(torch.equal(b.present[m], b.frames[m]) for b in batches for m in MODALITIES) == whole


def test_frozen_parameters_stay_and_nothing_to_train_runs_no_epoch(small_mosi):
    class Frozen(Recorder):
        def start_stage(self, stage, training_set):
            self.linear.requires_grad_(False)

    _, history = run(small_mosi, cls=Frozen)
    assert history == []


def test_a_loss_that_is_no_number_stops_the_training_and_says_where(small_mosi):
    class Broken(Recorder):
        def loss(self, batch):
            return super().loss(batch) * (float("nan") if len(self.trained) > 8 else 1.0)

    with pytest.raises(TrainingError, match=r"training loss became nan in batch 2 of 7, in stage 'training', epoch 2"):
        run(small_mosi, cls=Broken)


@pytest.mark.parametrize(
    ("number", "where", "said"),
    [
        ("nan", "second", "the second term of the loss became nan in batch 3 of 7, in stage 'training', epoch 1"),
        ("inf", "second", "the second term of the loss became inf in batch 3 of 7, in stage 'training', epoch 1"),
        ("nan", "both", "the first and the second terms of the loss became nan in batch 3 of 7"),
        ("inf", "gradient", "the gradient became (inf|nan) in batch 3 of 7"),
        ("nan", "gradient", "the gradient became nan in batch 3 of 7"),
    ],
)
def test_the_term_that_became_no_number_is_named(small_mosi, number, where, said):
    class Spoilt(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float(number)

    class Broken(Recorder):
        loss = Method.loss

        def terms(self, batch):
            loss = Recorder.loss(self, batch)
            broken = len(self.trained) == 3
            factor = float(number) if broken else 1.0
            return {
                "first": loss * (factor if where == "both" else 1.0),
                "second": (Spoilt.apply(loss) if broken else loss) * (factor if where != "gradient" else 1.0),
            }

    with pytest.raises(TrainingError, match=said):
        run(small_mosi, cls=Broken)


def test_a_logit_that_is_no_number_in_validation_stops_the_training_and_names_the_sample(small_mosi):
    class Broken(Recorder):
        def predict(self, batch):
            logits = super().predict(batch)
            return logits if self.training else logits / (torch.arange(len(batch)) != 3)[:, None]

    sample = re.escape(small_mosi.splits["valid"].ids[3])
    with pytest.raises(TrainingError, match=f"a logit of validation sample {sample} became NaN or infinite, in stage"):
        run(small_mosi, cls=Broken)


def test_logits_too_far_apart_for_a_loss_stop_the_training(small_mosi):
    class Broken(Recorder):
        def predict(self, batch):
            logits = super().predict(batch)
            return logits if self.training else 3e38 * logits.new_tensor([1.0, -1.0]).expand(len(batch), 2)

    with pytest.raises(TrainingError, match="the validation loss became inf, in stage"):
        run(small_mosi, cls=Broken)


def test_the_mean_of_each_term_is_recorded_and_their_sum_is_the_loss(small_mosi):
    class Two(Recorder):
        loss = Method.loss

        def terms(self, batch):
            loss = Recorder.loss(self, batch)
            return {"once": loss, "twice": 2 * loss}

    torch.manual_seed(0)
    _, one = run(small_mosi)
    _, two = run(small_mosi, cls=Two)
    assert "terms" not in one[0]
    assert two[0]["terms"]["twice"] == pytest.approx(2 * two[0]["terms"]["once"])
    assert two[0]["train_loss"] == pytest.approx(sum(two[0]["terms"].values()))


def test_batches_are_cut_to_their_longest_sample(small_mosi):
    tensors = SplitTensors(small_mosi, "train", CPU)
    lengths = small_mosi.splits["train"].lengths["l"]
    rows = np.argsort(lengths)[:5]
    batch = tensors.batch(rows, training=True)
    assert batch.features["l"].shape[1] == lengths[rows].max() < small_mosi.max_frames["l"]
    assert (batch.frames["l"].sum(1).numpy() == lengths[rows]).all()
    assert len(batch) == 5 and batch.intensity.tolist() == small_mosi.splits["train"].labels[rows].tolist()


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(9, [9] * 6 + [10]), (21, [21, 21, 22]), (63, [64]), (64, [64]), (10, [10] * 6 + [4]), (1, [1] * 64), (100, [64])],
)
@pytest.mark.parametrize("trains_on", ["complete", "missing"])
def test_no_training_batch_holds_a_single_sample_unless_all_do(small_mosi, batch_size, sizes, trains_on):
    method, _ = run(small_mosi, trains_on, epochs=1, batch_size=batch_size)
    assert [len(batch) for batch in method.trained] == sizes
    assert sorted(i for batch in method.trained for i in batch.ids) == sorted(small_mosi.splits["train"].ids.tolist())


class Hollow(Recorder):
    """Averages without looking whether there is anything to average."""

    def predict(self, batch):
        pooled = [batch.features[m].sum(1) / batch.present[m].sum(1, keepdim=True) for m in MODALITIES]
        return self.linear(torch.cat(pooled, 1))


def test_nan_where_a_modality_has_no_present_frame_is_told_so(small_mosi):
    with pytest.raises(TrainingError, match=r"no present frame of .*benchmark\.parts\.filled and masked_mean"):
        run(small_mosi, "missing", cls=Hollow)


class Broken(Recorder):
    def loss(self, batch):
        return super().loss(batch) * float("nan")


def test_other_nan_is_not_blamed_on_it(small_mosi):
    with pytest.raises(TrainingError) as raised:
        run(small_mosi, cls=Broken)
    assert "no present frame" not in str(raised.value)


@pytest.mark.parametrize(("clip_norm", "most"), [(0.25, 0.25), (None, None)])
def test_gradients_are_clipped_to_a_norm_or_to_none(small_mosi, monkeypatch, clip_norm, most):
    norms = []
    step = torch.optim.Adam.step

    def recording(self, *args, **named):
        norms.append(float(torch.stack([p.grad.norm() for p in self.param_groups[0]["params"]]).norm()))
        return step(self, *args, **named)

    class Loud(Recorder):
        def loss(self, batch):
            return 100.0 * super().loss(batch)

    monkeypatch.setattr(torch.optim.Adam, "step", recording)
    run(small_mosi, cls=Loud, epochs=1, clip_norm=clip_norm)
    assert max(norms) == pytest.approx(most) if most else min(norms) > 1.0
