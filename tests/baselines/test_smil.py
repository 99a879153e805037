"""What is SMIL's own: priors, convex reconstruction, perturbed incomplete samples, and a step within a step."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

from baselines.smil import META_LEARNING, PRETRAINING, SMIL
from benchmark.protocol.missing import MODALITIES
from tests.batches import as_test, random_batch, select, small_task

D, CLUSTERS = 6, 4


def small_smil(task=None, **options):
    """In its second stage, with priors, as 40 training samples give them."""
    task = task or small_task()
    torch.manual_seed(0)
    model = SMIL(task, **{"d": D, "hidden": 5, "clusters": CLUSTERS, "dropout": 0.0, **options}).eval()
    train = random_batch(task, 40, seed=9)
    with torch.no_grad():
        for stage in model.stages:
            model.start_stage(stage, [select(train, list(range(25))), select(train, list(range(25, 40)))])
    return model


def halves(batch):
    return select(batch, list(range(0, len(batch), 2))), select(batch, list(range(1, len(batch), 2)))


def test_priors_are_the_centres_of_the_extracted_training_features():
    model = small_smil()
    train = random_batch(small_task(), 40, seed=9)
    for i, m in enumerate(MODALITIES):
        features = model.extractors[m](train.features[m], train.frames[m]).detach().double().numpy()
        expected = torch.from_numpy(KMeans(n_clusters=CLUSTERS, random_state=0).fit(features).cluster_centers_)
        found, expected = (
            torch.stack(sorted(x.double(), key=lambda row: row[0].item())) for x in (model.priors[i], expected)
        )
        assert torch.allclose(found, expected, atol=1e-4)


def test_few_training_samples_repeat_their_centres():
    centres = small_smil().find_centres(torch.tensor([[0.0] * D, [1.0] * D]))
    assert sorted(centres[:, 0].tolist()) == [0.0, 0.0, 1.0, 1.0]


def test_what_is_missing_is_rebuilt_as_a_convex_combination_of_its_priors():
    model = small_smil()
    model.priors.copy_(torch.zeros_like(model.priors))
    model.priors[:, :, :CLUSTERS] = torch.eye(CLUSTERS)  # so that what is rebuilt shows its weights
    batch = random_batch(small_task(), 30, seed=1, available="lv")
    available, there = model.extract(batch.features, batch.present)
    assert there.tolist() == [[True, False, True]] * 30 and not available[:, 1].any()
    weights = model.rebuild(available, there)[:, 1, :CLUSTERS]
    assert (weights > 0).all() and torch.allclose(weights.sum(1), torch.ones(30))
    assert weights.std(0).max() > 1e-3  # they depend on the sample
    incomplete = model.respond(available, there, noisy=False).joint.unflatten(1, (3, D))
    shift = model.perturbations[0](available.flatten(1), False).unflatten(1, (3, D))
    assert torch.allclose((incomplete - shift)[:, 1, :CLUSTERS], weights, atol=1e-6)
    assert torch.allclose((incomplete - shift)[:, [0, 2]], available[:, [0, 2]], atol=1e-6)


def test_complete_samples_are_neither_rebuilt_nor_perturbed():
    batch = random_batch(small_task(), 6, seed=1)
    model = small_smil()
    available, there = model.extract(batch.features, batch.present)
    response = model.respond(available, there, noisy=True)
    assert torch.equal(response.joint, available.flatten(1))
    assert torch.equal(response.hidden, model.head.first(response.joint).relu())


def test_perturbations_are_positive_and_drawn_in_the_meta_train_half_alone():
    model = small_smil()
    batch = random_batch(small_task(), 6, seed=1, available="l")
    given = model.extract(batch.features, batch.present)
    fixed = model.respond(*given, noisy=False)
    joint = torch.where(given[1][:, :, None], given[0], model.rebuild(*given)).flatten(1)
    assert (fixed.joint > joint).all()
    assert torch.equal(model.respond(*given, noisy=False).outputs, fixed.outputs)
    assert not torch.allclose(model.respond(*given, noisy=True).outputs, fixed.outputs)
    assert torch.equal(model.predict(as_test(batch)), fixed.outputs)


def quiet(model):
    """Draws without deviation, so that a loss can be computed twice."""
    for perturbation in model.perturbations:
        torch.nn.init.zeros_(perturbation.log_variance.weight)
        torch.nn.init.constant_(perturbation.log_variance.bias, -200.0)
    return model


def test_inner_steps_descend_on_the_meta_train_half():
    model = quiet(small_smil(inner_learning_rate=0.1, inner_steps=2))
    batch = random_batch(small_task(), 8, seed=1, kept=0.5, available="lv")
    given = model.extract(batch.features, batch.present)
    _, adapted = model.adapt(*given, batch)
    expected = {name: p.detach().clone().requires_grad_() for name, p in model.head.named_parameters()}
    for _ in range(2):
        loss = F.cross_entropy(model.respond(*given, noisy=False, head=expected).outputs, batch.labels)
        gradients = torch.autograd.grad(loss, list(expected.values()))
        expected = {
            name: (p - 0.1 * g).detach().requires_grad_()
            for (name, p), g in zip(expected.items(), gradients, strict=True)
        }
    assert adapted.keys() == expected.keys()
    assert all(torch.allclose(adapted[name], expected[name], atol=1e-6) for name in expected)


def test_loss_follows_its_description():
    model = quiet(small_smil(inner_learning_rate=0.5, joint_weight=0.3, hidden_weight=0.7))
    batch = random_batch(small_task(), 8, seed=1, kept=0.5, available="la")
    train, test = halves(batch)
    train_loss, head = model.adapt(*model.extract(train.features, train.present), train)
    incomplete = model.respond(*model.extract(test.features, test.present), noisy=False, head=head)
    clean = model.respond(*model.extract(test.complete, test.frames), noisy=False, head=head)
    expected = train_loss + F.cross_entropy(incomplete.outputs, test.labels)
    expected = expected + 0.3 * (incomplete.joint - clean.joint).square().mean()
    expected = expected + 0.7 * (incomplete.hidden - clean.hidden).square().mean()
    assert torch.allclose(model.loss(batch), expected, atol=1e-6)
    with pytest.raises(ValueError, match="training batches"):
        model.loss(replace(batch, complete=None))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_loss_after_the_step_teaches_what_rebuilds_through_the_step(rate):
    """The meta-test half lacks nothing, so it can reach the reconstruction through theta* only: second derivatives."""
    model = quiet(small_smil(inner_learning_rate=rate)).double()
    batch = random_batch(small_task(), 8, seed=1, available="la")
    train, test = halves(batch)
    given = [x.double() if x.is_floating_point() else x for x in model.extract(
        {m: x.double() for m, x in train.features.items()}, train.present
    )]  # fmt: skip
    whole = model.extract({m: x.double() for m, x in test.complete.items()}, test.frames)

    def outer():
        _, head = model.adapt(*given, train)
        return F.cross_entropy(model.respond(*whole, noisy=False, head=head).outputs, test.labels)

    weight = model.reconstruction.weight
    (gradient,) = torch.autograd.grad(outer(), weight, allow_unused=rate == 0.0, materialize_grads=rate == 0.0)
    if rate == 0.0:
        assert not gradient.any()
        return
    row, column = divmod(int(gradient.abs().argmax()), weight.shape[1])
    assert gradient[row, column] != 0
    values = []
    for step in (1e-4, -1e-4):
        with torch.no_grad():
            weight[row, column] += step
        values.append(outer().item())
        with torch.no_grad():
            weight[row, column] -= step
    assert gradient[row, column].item() == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-4)


def test_extractors_and_classifier_learn_in_both_stages_and_the_rest_in_the_second():
    model = small_smil()
    batch = random_batch(small_task(), 8, seed=1, available="la")
    assert model.stages == (PRETRAINING, META_LEARNING) and PRETRAINING.trains_on == "complete"
    learned = {}
    for stage in model.stages:
        with torch.no_grad():
            model.start_stage(stage, [random_batch(small_task(), 40, seed=9)])
        model.zero_grad()
        model.loss(batch).backward()
        learned[stage] = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {
        PRETRAINING: {"extractors", "head"},
        META_LEARNING: {"extractors", "head", "reconstruction", "perturbations"},
    }


def test_a_batch_of_one_sample_is_both_halves():
    model = quiet(small_smil())
    batch = random_batch(small_task(), 1, seed=1, available="l")
    twice = replace(
        batch,
        labels=batch.labels.repeat(2),
        intensity=batch.intensity.repeat(2),
        **{part: {m: x.repeat(2, *[1] * (x.ndim - 1)) for m, x in getattr(batch, part).items()}
           for part in ("features", "present", "frames", "complete")},
    )  # fmt: skip
    assert torch.allclose(model.loss(batch), model.loss(replace(twice, ids=["a", "b"])))
