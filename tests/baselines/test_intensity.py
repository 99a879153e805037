"""Every method on tasks of every kind: what it answers, and that of an intensity it learns the absolute error."""

import math
from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from baselines.constant import Constant
from baselines.dmd import DMD, margin_loss
from baselines.linear import Linear
from baselines.smil import SMIL
from benchmark import MODALITIES, methods
from benchmark.data.task import known_tasks
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.protocol.answers import outputs_of, terms_of
from benchmark.protocol.missing import SUBSETS
from tests.baselines.test_linear import plain_means
from tests.batches import as_test, random_batch, select, small_task

ENTRIES = methods.catalogue()
FLOORS = ("constant", "linear", "random")
WITH_BINS = ("corrkd", "hrlf")
every_method = pytest.mark.parametrize("name", sorted(ENTRIES))
trained_by_gradient = pytest.mark.parametrize("name", sorted(set(ENTRIES) - set(FLOORS)))


def build(name, task):
    cls = methods.load(ENTRIES[name])
    torch.manual_seed(0)
    return cls(task, **hyperparameters(cls, name, known_tasks()[task.name], [])[0])


def stages(method, batches):
    """The method, in each of its stages in turn."""
    for stage in method.stages:
        method.eval()
        with torch.no_grad():
            method.start_stage(stage, batches)
        yield stage


@every_method
@pytest.mark.parametrize(("task_name", "width"), [("mosi", 2), ("iemocap", 4), ("mosi_intensity", 1)])
@torch.no_grad()
def test_an_answer_has_a_number_for_each_category_or_one_intensity(name, task_name, width):
    task = small_task(task_name)
    assert task.num_outputs == width
    method = build(name, task).eval()
    batch = random_batch(task, 5, seed=1, kept=0.5, training=False)
    if width == 1 and name in WITH_BINS:
        logits = method.predict(batch)
        assert logits.shape == (5, 7)
        expected = [sum(p * v for p, v in zip(row, range(-3, 4), strict=True)) for row in logits.softmax(1).tolist()]
        assert outputs_of(method, batch)[:, 0].tolist() == pytest.approx(expected, abs=1e-5)
        return
    assert method.predict(batch).shape == outputs_of(method, batch).shape == (5, width)


@every_method
@pytest.mark.parametrize("task_name", ["mosi", "iemocap", "mosi_intensity"])
def test_the_tasks_part_of_the_loss_is_that_of_what_is_predicted(name, task_name):
    task = small_task(task_name)
    method, batch = build(name, task), random_batch(task, 7, seed=2, kept=0.5)
    found = 0
    for _ in stages(method, [random_batch(task, 7, seed=2)]):
        terms = {"loss": method.loss(batch)} if name in FLOORS else terms_of(method, batch)  # a floor has no gradient
        term = terms.get("task", terms.get("loss"))
        if term is None:  # of several answers, see below
            continue
        outputs = method.predict(as_test(batch)).tolist()
        if task_name == "mosi_intensity" and name not in WITH_BINS:
            errors = [abs(row[0] - y) for row, y in zip(outputs, batch.intensity.tolist(), strict=True)]
        else:
            errors = [
                math.log(sum(math.exp(x) for x in row)) - row[k]
                for row, k in zip(outputs, batch.labels.tolist(), strict=True)
            ]
        assert term.item() == pytest.approx(sum(errors) / 7, rel=1e-4)
        found += 1
    assert found or name in ("dmd", "late_fusion")  # whose tests say what their several answers are


@trained_by_gradient
def test_gradients_of_an_intensity_reach_every_parameter(name):
    task = small_task("mosi_intensity")
    method, batch = build(name, task), random_batch(task, 15, seed=3, kept=0.6)
    lacking = random_batch(task, 15, seed=4)
    for row in range(15):  # of each subset of modalities some samples, for what is only there to recover the others
        for m in set(MODALITIES) - set(SUBSETS[row % len(SUBSETS)]):
            lacking.present[m][row], lacking.features[m][row] = False, 0.0
    idle = {key for key, _ in method.named_parameters()}
    for _ in stages(method, [random_batch(task, 15, seed=3)]):
        # Odd numbers of samples: their signs cannot cancel.
        for own, rows in ((batch, range(15)), (batch, range(9)), (batch, range(8, 15)), (lacking, range(15))):
            method.train().zero_grad()
            method.loss(select(own, list(rows))).backward()
            idle -= {key for key, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert not idle


def test_all_eight_heads_of_dmd_have_the_absolute_error():
    task = small_task("mosi_intensity")
    torch.manual_seed(0)
    model = DMD(task, d=12, heads=2, layers=1, distillation_weight=0.0, decoupling_weight=0.0)
    batch = random_batch(task, 4, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" in name:
                parameter.zero_()
    assert model.loss(batch).item() == pytest.approx(8 * batch.intensity.abs().mean().item(), rel=1e-5)


def test_dmds_margin_grows_with_the_steps_between_intensities():
    shared = torch.zeros(3, 3, 2)
    shared[..., 0] = 1.0  # all alike, so that what is left of a triplet is its margin
    labels = torch.tensor([0, 0, 4])  # triplets of 0 and 0 against 4, and of 4 and 4 against 0, all four steps apart
    assert margin_loss(shared, labels, 0.15, ordered=True).item() == pytest.approx(4 * 0.15)
    assert margin_loss(shared, labels, 0.15).item() == pytest.approx(0.15)
    model = DMD(small_task("mosi_intensity"), d=12, heads=2, layers=1, margin=5.0).eval()
    batch = replace(random_batch(model.task, 3, seed=1), labels=labels)
    parts = model.decouple(batch)
    near, far = (model.decoupling_loss(parts, replace(batch, labels=labels // k)).item() for k in (4, 1))
    assert far - near == pytest.approx(0.1 * 3 * 5.0, rel=1e-4)  # three steps more, at a weight of 0.1


def test_both_halves_of_smils_batch_have_the_absolute_error():
    task = small_task("mosi_intensity")
    torch.manual_seed(0)
    model = SMIL(task, d=6, hidden=5, clusters=4, dropout=0.0, inner_learning_rate=1e-9).eval()
    batch = random_batch(task, 9, seed=1, kept=0.5)
    *_, last = stages(model, [batch])
    assert last.name == "meta-learning"
    with torch.no_grad():
        model.head.last.weight.zero_()
        model.head.last.bias.fill_(0.5)
    terms = model.terms(batch)
    errors = (0.5 - batch.intensity).abs()
    assert terms["meta-train"].item() == pytest.approx(errors[0::2].mean().item(), rel=1e-5)
    assert terms["meta-test"].item() == pytest.approx(errors[1::2].mean().item(), rel=1e-5)


def fitted(cls, task, batches, **options):
    model = cls(task, **options).eval()
    with torch.no_grad():
        model.start_stage(model.stages[0], batches)
    return model


def test_the_constant_is_the_median_which_no_constant_beats():
    task = small_task("mosi_intensity")
    train = random_batch(task, 41, seed=0)
    model = fitted(Constant, task, [select(train, list(range(20))), select(train, list(range(20, 41)))])
    assert model.predict(random_batch(task, 3, seed=1)).tolist() == [[sorted(train.intensity.tolist())[20]]] * 3
    loss = model.loss(train)
    assert all(loss <= (train.intensity - y).abs().mean() + 1e-6 for y in torch.linspace(-3, 3, 61))


def test_the_linear_floor_is_scikit_learns_ridge_regression():
    task = small_task("mosi_intensity")
    train, test = random_batch(task, 60, seed=0), random_batch(task, 20, seed=1, training=False)
    parts = [select(train, list(range(40))), select(train, list(range(40, 60)))]
    model = fitted(Linear, task, parts, regularisation=2.0)
    scaler = StandardScaler().fit(plain_means(train))
    ridge = Ridge(alpha=2.0).fit(scaler.transform(plain_means(train)), train.intensity.double().numpy())
    expected = ridge.predict(scaler.transform(plain_means(test)))
    assert model.predict(test)[:, 0].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    one = select(train, [0])  # of one sample nothing but its label can be known
    assert fitted(Linear, task, [one]).predict(test)[:, 0].tolist() == pytest.approx([one.intensity.item()] * 20)
