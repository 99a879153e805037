"""What is CorrKD's own: a frozen teacher that sees everything, asked once; a student that is taught by three losses."""

import inspect
import json
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.parts.transformer import sinusoidal_positions
from benchmark.protocol.missing import MODALITIES, MRM
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.choice import choose
from benchmark.running.grid_file import load_grid
from benchmark.running.training import train
from corrkd.losses import category_prototype, jensen_shannon_information, sample_contrastive, split_response
from corrkd.method import STUDENT, TEACHER, CorrKD
from corrkd.networks import Head, Pooling

CPU = torch.device("cpu")


@pytest.fixture
def tensors(small_iemocap):
    return SplitTensors(small_iemocap, "train", CPU)


def student_stage(dataset, tensors, **hyperparameters):
    torch.manual_seed(0)
    method = CorrKD(task_spec(dataset), **hyperparameters)
    with torch.no_grad():
        method.start_stage(STUDENT, list(tensors.in_order(20)))
    return method


def incomplete(tensors, n=32):
    kept = MRM().draw(np.random.default_rng(3), n, {m: x.shape[1] for m, x in tensors.features.items()})
    return tensors.batch(np.arange(n), kept, training=True)


def test_the_teacher_is_trained_on_complete_samples_then_frozen(small_iemocap, monkeypatch):
    seen = {"teacher": [], "student": []}
    teachers = {"teacher": [], "student": []}
    original = CorrKD.loss

    def loss(self, batch):
        complete = all(torch.equal(batch.present[m], batch.frames[m]) for m in MODALITIES)
        seen[self.stage.name].append(complete)
        teachers[self.stage.name].append(torch.cat([p.detach().flatten() for p in self.teacher.parameters()]))
        return original(self, batch)

    monkeypatch.setattr(CorrKD, "loss", loss)
    torch.manual_seed(0)
    method = CorrKD(task_spec(small_iemocap), heads=8, layers=1)
    config = TrainingConfig(epochs=2, batch_size=16)
    train(method, small_iemocap, trains_on="missing", config=config, seed=0, device=CPU)
    assert seen["teacher"] and all(seen["teacher"])
    assert seen["student"] and not any(seen["student"])
    assert not torch.equal(teachers["teacher"][0], teachers["teacher"][-1])
    assert all(torch.equal(teachers["student"][0], later) for later in teachers["student"])


def test_the_teacher_is_asked_once_and_on_complete_samples(small_iemocap, tensors, monkeypatch):
    method = student_stage(small_iemocap, tensors, heads=8)
    monkeypatch.setattr(method.teacher, "forward", lambda *_: pytest.fail("the teacher was asked again"))
    method.train().loss(incomplete(tensors))
    monkeypatch.undo()
    shuffled = tensors.batch(np.array([9, 2, 31]), training=True)
    joint, logits = method.teacher_outputs.of(shuffled)
    with torch.no_grad():
        expected = method.teacher.eval().encode(shuffled)
    assert torch.allclose(joint, expected[0], atol=1e-5) and torch.allclose(logits, expected[1], atol=1e-5)


@pytest.mark.parametrize(("name", "num_categories"), [("iemocap", 4), ("mosi_intensity", 7)])
def test_the_students_loss_is_the_sum_of_its_parts(name, num_categories):
    """Of an intensity over the categories that its bins are."""
    dataset = simulate(known_tasks()[name], (64, 32, 48))
    tensors = SplitTensors(dataset, "train", CPU)
    weights = {"scd_weight": 0.5, "cpd_weight": 3.0, "rcd_weight": 7.0}
    method = student_stage(dataset, tensors, heads=8, boundary=1.4, **weights).eval()
    batch = incomplete(tensors)
    student_joint, student_logits = method.student.encode(batch)
    teacher_joint, teacher_logits = method.teacher(batch.complete, batch.frames)
    assert student_logits.shape == (32, num_categories)
    parts = []
    student_parts, teacher_parts = (split_response(x, batch.labels) for x in (student_logits, teacher_logits))
    for critic, s, t in zip(
        (method.target_critic, method.non_target_critic), student_parts, teacher_parts, strict=True
    ):
        parts.append(jensen_shannon_information(*critic(t, s)))
    expected = (
        F.cross_entropy(student_logits, batch.labels)
        + 0.5 * sample_contrastive(student_joint, teacher_joint, 1.4, normalised=True)
        + 3.0 * category_prototype(student_joint, teacher_joint, batch.labels, num_categories)
        - 7.0 * (parts[0] + parts[1])
    )
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_without_weights_nothing_is_distilled(small_iemocap, tensors):
    method = student_stage(small_iemocap, tensors, heads=8, scd_weight=0.0, cpd_weight=0.0, rcd_weight=0.0).eval()
    batch = incomplete(tensors)
    expected = F.cross_entropy(method.predict(batch), batch.labels)
    assert method.loss(batch).item() == pytest.approx(expected.item())


def test_kl_in_rcds_place_compares_the_whole_responses(small_iemocap, tensors):
    only = {"scd_weight": 0.0, "cpd_weight": 0.0, "rcd_weight": 2.0}
    method = student_stage(small_iemocap, tensors, heads=8, response_loss="kl", **only).eval()
    assert not [name for name, _ in method.named_parameters() if "critic" in name]
    batch = incomplete(tensors)
    student, teacher = method.predict(batch).softmax(1), method.teacher(batch.complete, batch.frames)[1].softmax(1)
    divergence = sum((t * (t / s).log()).sum() for s, t in zip(student, teacher, strict=True)) / len(batch)
    expected = F.cross_entropy(method.predict(batch), batch.labels) + 2.0 * divergence
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_without_a_student_the_teacher_is_trained_on_complete_samples_and_predicts(small_iemocap):
    torch.manual_seed(0)
    method = CorrKD(task_spec(small_iemocap), heads=8, layers=1, student=False)
    config = TrainingConfig(epochs=1, batch_size=16)
    history = train(method, small_iemocap, trains_on="missing", config=config, seed=0, device=CPU)
    assert {record["stage"] for record in history} == {"teacher"}
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"teacher"}
    batch = SplitTensors(small_iemocap, "test", CPU).batch(np.arange(6), training=False)
    assert torch.equal(method.predict(batch), method.teacher(batch.features, batch.frames)[1])
    assert torch.equal(method.represent(batch), method.teacher(batch.features, batch.frames)[0])


def test_the_student_alone_predicts(small_iemocap, tensors):
    method = student_stage(small_iemocap, tensors, heads=8).eval()
    batch = incomplete(tensors)
    before = method.predict(batch)
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(1.0)
    assert torch.equal(method.predict(batch), before)


def test_stages_choose_what_is_trained(small_iemocap, tensors):
    method = CorrKD(task_spec(small_iemocap), heads=8)
    for stage, trained in ((TEACHER, {"teacher"}), (STUDENT, {"student", "target_critic", "non_target_critic"})):
        with torch.no_grad():
            method.start_stage(stage, list(tensors.in_order(64)))
        method.train()
        assert {name.split(".")[0] for name, p in method.named_parameters() if p.requires_grad} == trained
        assert method.teacher.training == (stage == TEACHER)


def test_the_joint_representation_is_the_average_over_real_frames(small_iemocap, tensors):
    """Padding further changes nothing; a modality without a frame gives zeros in its third."""
    network = CorrKD(task_spec(small_iemocap), heads=8).student.eval()
    batch = tensors.batch(np.arange(6), training=True)
    joint, logits = network.encode(batch)
    assert joint.shape == (6, 120) and logits.shape == (6, 4)
    padded = {m: F.pad(x, (0, 0, 0, 5)) for m, x in batch.features.items()}
    frames = {m: F.pad(x, (0, 5)) for m, x in batch.frames.items()}
    assert torch.allclose(network(padded, frames)[0], joint, atol=1e-5)
    frames["a"][2] = False
    assert not network(padded, frames)[0][2, 40:80].any()


# Of each option, values whose losses must all differ from each other and from the default's.
OTHERS = {
    "d": (80,),
    "heads": (4,),
    "layers": (1, 4),
    "dropout": (0.0, 0.3),
    "scaled_inputs": (True,),
    "pooling": ("padded", "last"),
    "head": ("linear",),
    "student_start": ("teacher",),
    "boundary": (0.0, 1.0, 3.0),
    "scd_distance": ("raw",),
    "scd_reduction": ("sum", "samples", "width"),
    "cpd_prototypes": ("teacher",),
    "cpd_reduction": ("sum",),
    "rcd_responses": ("log_probabilities",),
    "critic": ("deep", "separable"),
    "critic_hidden": (8,),
    "rcd_marginals": ("shuffled",),
    "scd_weight": (0.5,),
    "cpd_weight": (0.5,),
    "rcd_weight": (0.5,),
    "response_loss": ("kl",),
    "student": (False,),
}


def test_every_hyper_parameter_is_tried_below():
    options = inspect.signature(CorrKD.__init__).parameters
    assert set(OTHERS) == set(options) - {"self", "task"}
    for name, values in OTHERS.items():
        assert options[name].default not in values


def training_loss(dataset, tensors, **hyperparameters):
    """Of a student that has taken two steps, dropout on, all from one start."""
    hyperparameters = {"heads": 8, "boundary": 1.2} | hyperparameters
    method = student_stage(dataset, tensors, **hyperparameters) if hyperparameters.get("student", True) else None
    if method is None:
        torch.manual_seed(0)
        method = CorrKD(task_spec(dataset), **hyperparameters)
    torch.manual_seed(1)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        loss = method.train().loss(incomplete(tensors))
        loss.backward()
        optimiser.step()
    return loss.item()


@pytest.mark.parametrize("name", list(OTHERS))
def test_another_value_of_a_hyper_parameter_gives_another_loss(small_iemocap, tensors, name):
    losses = [training_loss(small_iemocap, tensors, **{name: value}) for value in OTHERS[name]]
    losses.append(training_loss(small_iemocap, tensors))
    assert np.isfinite(losses).all()
    for i, loss in enumerate(losses):
        assert all(abs(loss - other) > 1e-6 for other in losses[:i])


def test_between_raw_representations_the_boundary_does_nothing(small_iemocap, tensors):
    """Why the distances are normalised by default: see the card."""
    raw = [training_loss(small_iemocap, tensors, scd_distance="raw", boundary=eta) for eta in (0.0, 1.2, 3.0)]
    assert raw[0] == raw[1] == raw[2]


def predicted(method, batch):
    with torch.no_grad():
        return method.eval().predict(batch)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_a_sample_is_pooled_alike_whatever_its_neighbours(small_iemocap, tensors, pooling):
    """Padding that is averaged is that of the task's longest sample, not of the batch's."""
    method = student_stage(small_iemocap, tensors, heads=8, pooling=pooling)
    rows = np.arange(12)
    lengths = tensors.split.lengths["l"][rows]
    assert len(set(lengths)) > 1  # or there would be no padding to depend on
    together = predicted(method, tensors.batch(rows, training=False))
    alone = torch.cat([predicted(method, tensors.batch(rows[i : i + 1], training=False)) for i in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_what_each_pooling_takes(small_iemocap, tensors):
    batch = tensors.batch(np.arange(6), training=True)
    last = {m: batch.frames[m].sum(1) - 1 for m in MODALITIES}
    for pooling in get_args(Pooling):
        network = student_stage(small_iemocap, tensors, heads=8, pooling=pooling).student.eval()
        seen = []
        handle = network.encoders.register_forward_hook(
            lambda _, inputs, outputs, seen=seen: seen.append((inputs, outputs))
        )
        joint, _ = network.encode(batch)
        handle.remove()
        (_, masks), encoded = seen[0]
        for i, m in enumerate(MODALITIES):
            own = joint[:, 40 * i : 40 * i + 40]
            if pooling == "padded":
                assert encoded[i].shape[1] == small_iemocap.max_frames[m] and masks[i].all()
                expected = encoded[i].mean(1)
            elif pooling == "last":
                expected = torch.stack([encoded[i][n, last[m][n]] for n in range(6)])
            else:
                expected = torch.stack([encoded[i][n, : last[m][n] + 1].mean(0) for n in range(6)])
            assert torch.allclose(own, expected, atol=1e-5)


@pytest.mark.parametrize(("scaled", "factor"), [(False, 1.0), (True, 40**0.5)])
def test_inputs_are_scaled_before_positions_are_added_or_not(small_iemocap, tensors, scaled, factor):
    network = student_stage(small_iemocap, tensors, heads=8, scaled_inputs=scaled).student
    x = [torch.randn(2, 5, 40)]
    assert torch.allclose(
        network.encoders._embed(x).view(2, 5, 40) - sinusoidal_positions(5, 40), factor * x[0], atol=1e-5
    )


@pytest.mark.parametrize("responses", ["probabilities", "log_probabilities"])
def test_the_critics_see_both_networks_responses_alike(small_iemocap, tensors, responses):
    method = student_stage(small_iemocap, tensors, heads=8, rcd_responses=responses).eval()
    batch, seen = incomplete(tensors), []
    for critic in (method.target_critic, method.non_target_critic):
        critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    method.loss(batch)
    for i, logits in enumerate((method.teacher(batch.complete, batch.frames)[1], method.predict(batch))):
        target, others = split_response(logits, batch.labels)
        for part, inputs in zip((target, others), seen, strict=True):
            expected = part.log() if responses == "log_probabilities" else part
            assert torch.allclose(inputs[i], expected, atol=1e-4)


@pytest.mark.parametrize("head", get_args(Head))
def test_the_head_has_a_hidden_layer_or_none(small_iemocap, tensors, head):
    network = student_stage(small_iemocap, tensors, heads=8, head=head).student
    shapes = [tuple(p.shape) for name, p in network.head.named_parameters() if name.endswith("weight")]
    assert shapes == {"hidden": [(120, 120), (4, 120)], "linear": [(4, 120)]}[head]


def test_the_student_starts_at_random_or_where_the_teacher_ended(small_iemocap, tensors):
    for start in ("random", "teacher"):
        method = student_stage(small_iemocap, tensors, heads=8, student_start=start)
        pairs = zip(method.teacher.parameters(), method.student.parameters(), strict=True)
        assert all(torch.equal(t, s) for t, s in pairs) == (start == "teacher")
        assert all(p.requires_grad for p in method.student.parameters())


def readings():
    """What each one-by-one row of the grid sets, and what each mixed one."""
    grid = load_grid("readings")[1]
    mixed = {name: variant.set for name, variant in grid.variants.items() if name.startswith("mixed")}
    alone = {name: variant.set for name, variant in grid.variants.items() if name not in mixed}
    return alone, mixed


def test_the_grid_of_readings_has_every_value_that_an_option_may_have():
    alone, _ = readings()
    assert all(len(own) == 1 for own in alone.values())
    values = {}
    for own in alone.values():
        ((option, value),) = own.items()
        values.setdefault(option, []).append(value)
    hints = get_type_hints(CorrKD.__init__)
    parameters = inspect.signature(CorrKD.__init__).parameters
    for option, hint in hints.items():
        allowed = set(get_args(hint)) if get_origin(hint) is Literal else {False, True} if hint is bool else set()
        if allowed and option not in ("response_loss", "student"):  # rows of the ablation, and no readings
            assert set(values[option]) == allowed - {parameters[option].default}, option
    assert {"layers", "dropout", "clip_norm", "mrm"} <= set(values) and len(values["mrm"]) == 4
    for name, own in alone.items():
        option, _, value = name.partition("=")
        ((key, given),) = own.items()
        assert key == option and (key == "mrm" or value == json.dumps(given).strip('"').replace("null", "none"))


def test_the_mixed_readings_are_drawn_as_the_grid_says():
    alone, mixed = readings()
    values = {}
    for own in alone.values():
        ((option, value),) = own.items()
        values.setdefault(option, [{}]).append({option: value})  # the default's first: nothing is set
    rng = np.random.default_rng(0)
    for name, own in mixed.items():
        drawn = [choices[rng.integers(len(choices))] for choices in values.values()]
        assert own == {option: value for one in drawn for option, value in one.items()}, name
    assert len(mixed) == 24


def test_the_readings_are_cells_of_their_own():
    choice = choose("readings", seeds=1)
    choice.check(None)
    cells = choice.build().cells
    assert len({cell.key for cell in cells}) == len(cells) == 49 + 3
    assert {cell.row.name for cell in cells} == {"corrkd", "linear", "constant", "random"}
    assert cells[0].row.label == choice.config.against == "corrkd"
