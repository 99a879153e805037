"""What is HRLF's own: its factors and translations, three scales, a game with discriminators, two stages."""

import copy

import pytest
import torch
import torch.nn.functional as F

from baselines.hrlf import HRLF, STUDENT, TEACHER, Factors
from benchmark.parts.losses import jensen_shannon_information
from benchmark.parts.transformer import sinusoidal_positions
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task

SMALL = {"d": 6, "heads": 2, "layers": 1, "dropout": 0.0, "hidden": 8}


def small_hrlf(**options):
    torch.manual_seed(0)
    return HRLF(small_task(), **{**SMALL, **options})


def in_student_stage(model, batches):
    with torch.no_grad():
        model.start_stage(STUDENT, batches)
    return model.train()


def steps(model, batch, n=5):
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(n):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()


def test_factorisation_loss_follows_the_equations():
    network = small_hrlf().student
    factors = network.factorise(random_batch(small_task(), 5, seed=1))
    within = across = semantic = 0.0
    for a in MODALITIES:
        for b in MODALITIES:
            z = network.decoder(torch.cat([factors.sentiment[a], factors.specific[b]], dim=1))
            error = (z - factors.z[b]).square().mean().item()
            within, across = (within + error / 3, across) if a == b else (within, across + error / 6)
            semantic += (network.sentiment[b](z) - factors.sentiment[b]).square().mean().item() / 9
    assert network.factorisation_loss(factors).item() == pytest.approx(within + across + semantic, rel=1e-5)


def test_a_translation_reads_as_the_modality_in_whose_manner_it_is_written():
    """After training on the factorisation alone, so do its features and its sentiment."""
    network = small_hrlf().student
    batch = random_batch(small_task(), 8, seed=1)
    with torch.no_grad():
        z = network.factorise(batch).z
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)

    def factors():
        sentiment = {m: network.sentiment[m](z[m]) for m in MODALITIES}
        return network.factorise(batch)._replace(
            z=z, sentiment=sentiment, specific={m: network.specific[m](z[m]) for m in MODALITIES}
        )

    before = network.factorisation_loss(factors()).item()
    for _ in range(200):
        optimiser.zero_grad()
        network.factorisation_loss(factors()).backward()
        optimiser.step()
    found = factors()
    assert network.factorisation_loss(found).item() < 0.2 * before
    for target in MODALITIES:
        for source in MODALITIES:
            translated = network.translate(found.sentiment[source], found.specific[target])
            nearest = min(MODALITIES, key=lambda m: F.mse_loss(translated, z[m]).item())
            assert nearest == target
            again = network.sentiment[target](translated)
            assert F.mse_loss(again, found.sentiment[target]) < 0.5 * found.sentiment[target].var()


def test_three_scales_join_layers_of_the_same_width():
    model = small_hrlf()
    outputs = model.student(random_batch(small_task(), 4, seed=1))
    d = SMALL["d"]
    assert [layer.out_features for layer in model.student.refinement] == [3 * d, 2 * d, d, 2 * d, 3 * d]
    assert [scale.shape[1] for scale in outputs.scales] == [6 * d, 4 * d, d]
    assert torch.equal(outputs.scales[0][:, 3 * d :], outputs.joint)
    x = outputs.scales[0][:, : 3 * d]
    for layer, expected in zip(
        model.student.refinement[1:],
        (outputs.scales[1][:, : 2 * d], outputs.scales[2], outputs.scales[1][:, 2 * d :], outputs.joint),
        strict=True,
    ):
        x = layer(x).relu()
        assert torch.allclose(x, expected, atol=1e-6)


def test_the_student_starts_from_the_teacher_and_leaves_it_untouched():
    complete = random_batch(small_task(), 6, seed=1)
    model = small_hrlf()
    model.start_stage(TEACHER, [complete])
    student = copy.deepcopy(model.student.state_dict())
    steps(model.train(), complete)
    assert all(torch.equal(student[k], v) for k, v in model.student.state_dict().items())
    in_student_stage(model, [complete])
    teacher = copy.deepcopy(model.teacher.state_dict())
    assert all(torch.equal(teacher[k], v) for k, v in model.student.state_dict().items())
    steps(model, random_batch(small_task(), 6, seed=1, kept=0.5))
    assert all(torch.equal(teacher[k], v) for k, v in model.teacher.state_dict().items())
    assert not model.teacher.training
    assert any(not torch.equal(teacher[k], v) for k, v in model.student.state_dict().items())


def test_the_students_loss_takes_the_teachers_outputs_by_sample_and_computes_them_once():
    complete = random_batch(small_task(), 6, seed=1)
    model = in_student_stage(small_hrlf(), [complete])
    with torch.no_grad():
        teacher = model.teacher(complete)
        torch.nn.init.normal_(model.student.head.weight)
    incomplete = random_batch(small_task(), 6, seed=1, kept=0.5)
    order = [4, 0, 5, 2, 1, 3]
    shuffled = copy.copy(incomplete)
    shuffled.ids, shuffled.labels = [incomplete.ids[i] for i in order], incomplete.labels[order]
    for part in ("features", "present", "frames", "complete"):
        setattr(shuffled, part, {m: x[order] for m, x in getattr(incomplete, part).items()})
    model.teacher.forward = None  # must not be called again
    assert torch.allclose(model.loss(incomplete), model.loss(shuffled), atol=1e-5)
    own = model.student(incomplete)
    information = sum(
        jensen_shannon_information(*critic(t, s))
        for critic, t, s in zip(model.critics, teacher.scales, own.scales, strict=True)
    )
    game = sum(
        -torch.log(torch.sigmoid(judge(t))).mean() - torch.log(1 - torch.sigmoid(judge(s))).mean()
        for judge, t, s in zip(model.discriminators, teacher.scales, own.scales, strict=True)
    )
    p, q = teacher.logits.softmax(1), own.logits.softmax(1)
    expected = F.cross_entropy(own.logits, incomplete.labels) + model.student.factorisation_loss(own.factors)
    expected = expected - information + game + (p * (p / q).log()).sum(1).mean()
    assert torch.allclose(model.loss(incomplete), expected, atol=1e-4)


def test_discriminators_learn_to_tell_and_the_student_to_deceive():
    model = small_hrlf()
    teacher, student = [[torch.randn(5, w, requires_grad=True) for w in (36, 24, 6)] for _ in range(2)]
    plain = sum(F.softplus(judge(s)).mean() for judge, s in zip(model.discriminators, student, strict=True))
    judges = list(model.discriminators.parameters())
    expected = torch.autograd.grad(plain, student, retain_graph=True)
    found = torch.autograd.grad(model.adversarial_loss(teacher, student), student, retain_graph=True)
    assert all(torch.allclose(f, -e) and e.any() for f, e in zip(found, expected, strict=True))
    before = model.adversarial_loss(teacher, student)
    with torch.no_grad():
        for p, g in zip(judges, torch.autograd.grad(before, judges), strict=True):
            p -= 0.01 * g
    assert model.adversarial_loss(teacher, student) < before


def test_predicts_with_the_student_unless_the_teacher_is_trained():
    batch = random_batch(small_task(), 4, seed=1, training=False)
    model = small_hrlf().eval()
    assert torch.equal(model.predict(batch), model.student(batch).logits)
    model.stage = TEACHER
    assert torch.equal(model.predict(batch), model.teacher(batch).logits)


def test_positions_are_added_without_a_factor():
    """As in the paper's equation, so that doubled features are not doubled features and positions."""
    encoders = small_hrlf().student.encoders
    x = torch.randn(1, 4, SMALL["d"])
    embedded = encoders._embed([x])[0]
    assert torch.allclose(embedded - sinusoidal_positions(4, SMALL["d"]), x[0], atol=1e-6)


def test_what_must_be_equalled_is_not_moved():
    """Else the encoders come to say the same of every sample, which makes every translation right."""
    network = small_hrlf().student
    z = {m: torch.randn(5, SMALL["d"], requires_grad=True) for m in MODALITIES}
    sentiment = {m: torch.randn(5, SMALL["d"], requires_grad=True) for m in MODALITIES}
    specific = {m: torch.randn(5, SMALL["d"], requires_grad=True) for m in MODALITIES}
    network.factorisation_loss(Factors(z, sentiment, specific)).backward()
    assert all(x.grad is None for x in z.values())
    assert all(x.grad.any() for part in (sentiment, specific) for x in part.values())  # as parts of translations
    fixed = {m: x.detach() for m, x in sentiment.items()}
    expected = torch.autograd.grad(
        sum(
            F.mse_loss(translated, z[a].detach()) / (3 if a == b else 6)
            + F.mse_loss(network.sentiment[a](translated), fixed[a]) / 9
            for a in MODALITIES
            for b in MODALITIES
            for translated in [network.translate(sentiment[b], specific[a])]
        ),
        list(sentiment.values()),
    )
    assert all(torch.allclose(x.grad, e, atol=1e-6) for x, e in zip(sentiment.values(), expected, strict=True))


def test_the_mechanism_told_is_the_translations_error():
    model, batch = small_hrlf().eval(), random_batch(small_task(), 7, seed=1)
    factors = model.student.factorise(batch)
    value = idle = 0.0
    for a in MODALITIES:
        idle += (factors.z[a].mean(0) - factors.z[a]).abs().mean().item() / 3
        for b in MODALITIES:
            found = model.student.translate(factors.sentiment[b], factors.specific[a])
            value += (found - factors.z[a]).abs().mean().item() / 9
    told = model.mechanism(batch)["translation"]
    assert [x.item() for x in told] == pytest.approx([value, idle], rel=1e-5)
