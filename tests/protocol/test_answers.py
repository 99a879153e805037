"""What a method answers, held to its contract in one line, at every place where it is asked."""

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import run_benchmark
from benchmark import Method
from benchmark.protocol.answers import ContractError, lack_of_frames, outputs_of, representation_of, terms_of
from tests.batches import random_batch, small_task

TASK = small_task("mosi")


def batch_of(n, **options):
    return random_batch(TASK, n, seed=0, **options)


class Mine(Method):
    def __init__(self, task, does=None):
        super().__init__(task)
        self.does, self.layer = does, nn.Linear(1, 1)

    def predict(self, batch):
        return self.does(batch)

    loss = represent = predict


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (lambda b: torch.zeros(len(b), 3), r"logits of shape \(4, 3\); .*\(N, K\) = \(4, 2\).*task.num_categories"),
        (lambda b: torch.zeros(len(b), 1), r"shape \(4, 1\)"),
        (lambda b: torch.zeros(len(b)), r"shape \(4,\)"),
        (lambda b: torch.zeros(len(b) - 1, 2), r"shape \(3, 2\)"),
        (lambda b: torch.zeros(len(b), 2).bfloat16(), r"type bfloat16; .*return logits.float\(\)"),
        (lambda b: torch.zeros(len(b), 2).half(), r"type float16"),
        (lambda b: torch.zeros(len(b), 2).long(), r"type int64"),
        (lambda b: torch.zeros(len(b), 2).numpy(), r"returned an ndarray"),
        (lambda b: (torch.zeros(len(b), 2), None), r"returned a tuple"),
        (lambda b: None, r"returned None"),
    ],
)
def test_logits(does, said):
    with pytest.raises(ContractError, match=said) as raised:
        outputs_of(Mine(TASK, does), batch_of(4, training=False))
    assert "\n" not in str(raised.value) and str(raised.value).startswith("predict returned")


def test_of_an_intensity_one_number_or_logits_of_bins_whose_expectation_counts():
    task = small_task("mosi_intensity")
    batch = random_batch(task, 3, seed=0, training=False)
    assert task.num_outputs == 1 and task.num_categories == 7
    one = torch.tensor([[0.5], [-9.0], [3.0]])
    assert torch.equal(outputs_of(Mine(task, lambda b: one), batch), one), "it is not cut to the labels' range"
    logits = torch.full((3, 7), -1e4)
    logits[0, 6], logits[1, [0, 1]], logits[2] = 0.0, 0.0, 1.0
    expected = torch.tensor([[3.0], [-2.5], [0.0]])
    assert torch.allclose(outputs_of(Mine(task, lambda b: logits), batch), expected, atol=1e-5)
    for wrong in (torch.zeros(3, 2), torch.zeros(3), torch.zeros(3, 1).long()):
        with pytest.raises(
            ContractError, match=r"intensities of shape \(N, 1\) = \(3, 1\), or logits of the task's 7 bins"
        ):
            outputs_of(Mine(task, lambda b, wrong=wrong: wrong), batch)


def test_the_tasks_own_loss_is_cross_entropy_or_the_mean_absolute_error():
    task = small_task("mosi_intensity")
    batch = replace(random_batch(task, 2, seed=0), intensity=torch.tensor([-1.0, 2.0]), labels=torch.tensor([2, 5]))
    method = Mine(task)
    assert method.task_loss(torch.tensor([[0.0], [5.0]]), batch) == 2.0
    logits = torch.randn(2, 7)
    assert torch.equal(method.task_loss(logits, batch), F.cross_entropy(logits, batch.labels))
    other, logits = batch_of(4), torch.randn(4, 2)
    assert torch.equal(Mine(TASK).task_loss(logits, other), F.cross_entropy(logits, other.labels))


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (lambda m: 0.5, r"loss\(batch\) is a float; .*not .item\(\)"),
        (lambda m: m.weight.sum() * torch.ones(3), r"shape \(3,\).*mean or its sum"),
        (lambda m: m.weight.sum()[None], r"shape \(1,\)"),
        (lambda m: m.weight.sum().detach(), r"has no gradient.*detach\(\)"),
        (lambda m: torch.tensor(1), r"type int64"),
        (lambda m: None, r"is None"),
    ],
)
def test_a_loss(does, said):
    method = Mine(TASK)
    method.does = lambda batch: does(method.layer)
    with pytest.raises(ContractError, match=said):
        terms_of(method, batch_of(4))


class Terms(Method):
    def __init__(self, terms):
        super().__init__(TASK)
        self.given = terms

    def predict(self, batch): ...

    def terms(self, batch):
        return self.given


@pytest.mark.parametrize("terms", [{}, None, torch.ones(()), [torch.ones(())]])
def test_terms_are_a_dict(terms):
    with pytest.raises(ContractError, match=r"terms\(batch\) returned .*must return a dict of scalar tensors"):
        terms_of(Terms(terms), batch_of(4))


def test_terms_are_named_and_one_that_learns_is_enough():
    learns = torch.ones((), requires_grad=True)
    assert terms_of(Terms({"a": learns, "b": torch.ones(())}), batch_of(4)).keys() == {"a", "b"}
    with pytest.raises(ContractError, match=r"term 'b' of terms\(batch\) is a float"):
        terms_of(Terms({"a": learns, "b": 1.0}), batch_of(4))


def test_a_representation():
    batch = batch_of(4, training=False)
    assert representation_of(Mine(TASK, lambda b: None), batch) is None
    assert representation_of(Mine(TASK, lambda b: torch.zeros(4, 9).bfloat16()), batch).dtype == torch.float32
    for wrong in (torch.zeros(4), torch.zeros(3, 9), torch.zeros(4, 2, 2), torch.zeros(4, 9).long(), 1.0):
        with pytest.raises(ContractError, match=r"represent returned .*\(N, D\) with N = 4, or None"):
            representation_of(Mine(TASK, lambda b, wrong=wrong: wrong), batch)


def test_a_lack_of_frames_is_told_of_the_sample_or_of_any():
    batch = batch_of(3, lengths={"l": [3, 3, 3], "a": [3, 0, 3], "v": [3, 0, 1]}, training=False)
    assert lack_of_frames(batch, 0) == "" and "no present frame of audio and vision" in lack_of_frames(batch, 1)
    assert "a sample of that batch" in lack_of_frames(batch) and "masked_mean" in lack_of_frames(batch)
    whole = batch_of(3, lengths={m: [3] * 3 for m in "lav"}, training=False)
    assert lack_of_frames(whole) == ""


PLUGIN = """
import torch
import torch.nn.functional as F
from torch import nn
from benchmark import Method, register
from benchmark.parts import masked_mean

@register("mine", paper="x", trains_on="{trains_on}")
class Mine(Method):
    def __init__(self, task, *, hidden: int = 4):
        super().__init__(task)
        self.layer = nn.Linear(task.feature_dims["a"], task.num_categories)
        self.norm = nn.BatchNorm1d(task.feature_dims["a"])

    def predict(self, batch):
        {predict}

    def loss(self, batch):
        {loss}
"""
GRID = """description: x
methods: [constant]
tasks: [mosi]
seeds: 1
ratios: [0.0, 1.0]
subsets: [l, av, lav]
training: {epochs: 1}
simulator: {train: 33, valid: 8, test: 8}
"""
POOLED = "masked_mean(batch.features['a'], batch.present['a'])"


def failure(
    capsys, tmp_path, predict, loss="return F.cross_entropy(self.predict(batch), batch.labels)", trains_on="complete"
):
    plugin, grid = tmp_path / "mine.py", tmp_path / "g.yaml"
    plugin.write_text(PLUGIN.format(predict=predict, loss=loss, trains_on=trains_on))
    grid.write_text(GRID)
    arguments = ["--grid", grid, "--methods", "mine", "--plugin", plugin, "--out", tmp_path / "out", "--jobs", "1"]
    status = run_benchmark.main([str(a) for a in arguments])
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("FAILED")]
    return status, lines[-1] if lines else ""


@pytest.mark.parametrize(
    ("predict", "loss", "said"),
    [
        ("return torch.zeros(len(batch), 3)", "return self.layer.weight.sum()", r"predict returned logits of shape"),
        (f"return self.layer({POOLED}).bfloat16()", "return self.layer.weight.sum()", r"return logits\.float\(\)"),
        (f"return self.layer({POOLED})", "return 0.5", r"loss\(batch\) is a float"),
        (
            "a = batch.features['a'].sum(1) / batch.present['a'].sum(1)[:, None]; return self.layer(a)",
            "return F.cross_entropy(self.predict(batch), batch.labels)",
            r"\(\w+ sample .*has no present frame of .*audio.*filled and masked_mean are safe",
        ),
    ],
)
def test_a_cell_fails_with_that_line(capsys, tmp_path, predict, loss, said):
    status, line = failure(capsys, tmp_path, predict, loss, "missing" if "sum(1)" in predict else "complete")
    assert status == 1 and re.search(said, line), line


def test_batch_normalisation_meets_no_batch_of_one(capsys, tmp_path):
    """33 samples in batches of 32: the last one goes with the others."""
    assert failure(capsys, tmp_path, f"return self.layer(self.norm({POOLED}))") == (0, "")


def test_losses_of_torch_pass():
    method = Mine(TASK)
    method.does = lambda batch: F.cross_entropy(method.layer.weight.sum() * torch.ones(len(batch), 2), batch.labels)
    assert terms_of(method, batch_of(4))["loss"].ndim == 0
