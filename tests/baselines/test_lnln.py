"""What is LNLN's own: the completeness of language and what it decides, its proxy and the game around it."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.lnln import LNLN, Corrected, Encoder
from benchmark.protocol.missing import MODALITIES
from tests.batches import as_test, random_batch, small_task

SMALL = {"d": 16, "heads": 2, "head_width": 8, "layers": 1, "fusion_layers": 1, "tokens": 3}


def small_lnln(**options):
    torch.manual_seed(0)
    return LNLN(small_task(), **{**SMALL, **options})


def of_all_ratios(n, seed):
    """Samples of which a rising share of language frames is present, from none to all."""
    batch = random_batch(small_task(), n, seed=seed, lengths={m: [8] * n for m in MODALITIES})
    present = torch.arange(8)[None, :] < torch.linspace(0, 8, n).round()[:, None]
    features = {**batch.features, "l": batch.complete["l"] * present[:, :, None]}
    return replace(batch, features=features, present={**batch.present, "l": present})


def estimate(model, batch):
    with torch.no_grad():
        return model.correct(model.compress(batch.features)).completeness


def test_completeness_estimate_learns_the_share_of_present_language_frames():
    """Trained with all its losses on ever new samples, it follows what is missing from samples it has not seen."""
    model, unseen = small_lnln(), of_all_ratios(32, seed=0)
    before = model.completeness_loss(estimate(model, unseen), unseen)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(240):
        optimiser.zero_grad()
        model.loss(of_all_ratios(16, seed=1 + step)).backward()
        optimiser.step()
    found, share = estimate(model, unseen), unseen.present["l"].sum(1) / 8
    assert model.completeness_loss(found, unseen) < 0.4 * before
    assert torch.corrcoef(torch.stack([found, share]))[0, 1] > 0.9


def test_true_completeness_counts_real_language_frames_alone():
    lengths = {"l": [4, 8, 0], "a": [8, 8, 8], "v": [8, 8, 8]}
    batch = random_batch(small_task(), 3, seed=1, lengths=lengths)
    batch.present["l"][0, 1:] = False
    batch.present["l"][1, :2] = False
    expected = torch.tensor([0.25, 0.75, 0.0])
    assert LNLN.completeness_loss(None, expected, batch).item() == 0.0
    wrong = expected + torch.tensor([0.3, 0.0, 0.0])
    assert LNLN.completeness_loss(None, wrong, batch).item() == pytest.approx(0.03)


def test_dominant_modality_is_language_where_complete_and_proxy_where_not():
    model, batch = small_lnln().eval(), random_batch(small_task(), 4, seed=1, kept=0.5)
    compressed = model.compress(batch.features)
    corrected = model.correct(compressed)
    w = corrected.completeness[:, None, None]
    assert torch.allclose(corrected.dominant, w * compressed["l"] + (1 - w) * corrected.proxy)
    for bias, expected in ((30.0, compressed["l"]), (-30.0, corrected.proxy)):
        with torch.no_grad():
            model.completeness[2].bias.fill_(bias)
        assert torch.allclose(model.correct(compressed).dominant, expected, atol=1e-5)
    other = model.correct({**compressed, "l": -compressed["l"]})
    assert torch.equal(other.proxy, corrected.proxy)  # it is made of audio and vision
    for m in ("a", "v"):
        assert not torch.allclose(model.correct({**compressed, m: -compressed[m]}).proxy, corrected.proxy, atol=1e-3)


def test_gradient_is_reversed_for_the_proxy_alone():
    model = small_lnln()
    language, proxy, complete = (torch.randn(4, 3, 16, requires_grad=True) for _ in range(3))
    w = torch.tensor([0.1, 0.4, 0.7, 1.0], requires_grad=True)
    share = w[:, None, None]
    dominant = share * language + (1 - share) * proxy
    judged = torch.cat([model.discriminator(dominant), model.discriminator(complete)]).flatten(0, 1)
    plain = F.cross_entropy(judged, torch.tensor([1] * 12 + [0] * 12))
    loss = model.adversarial_loss(language, Corrected(dominant, proxy, w), complete)
    assert torch.allclose(loss, plain)
    judges = list(model.discriminator.parameters())
    found, *of_judges = torch.autograd.grad(loss, [proxy, *judges], retain_graph=True)
    expected, *expected_of_judges = torch.autograd.grad(plain, [proxy, *judges])
    assert torch.allclose(found, -expected) and expected.any()
    assert all(torch.allclose(f, e) for f, e in zip(of_judges, expected_of_judges, strict=True))
    assert torch.autograd.grad(loss, [language, w], allow_unused=True) == (None, None)


def test_the_generator_learns_to_deceive_but_serves_the_task():
    """The game turns the generator's gradient round; the cross-entropy does not."""
    batch = random_batch(small_task(), 6, seed=1, kept=0.3)
    parts = {"completeness_weight": 0.0, "reconstruction_weight": 0.0}

    def moved(adversarial_weight):
        model = small_lnln(**parts, adversarial_weight=adversarial_weight)
        generator = list(model.generator.parameters())
        return model, torch.autograd.grad(model.loss(batch), generator)

    model, task_gradient = moved(0.0)
    logits = model.predict(batch)
    expected = torch.autograd.grad(F.cross_entropy(logits, batch.labels), list(model.generator.parameters()))
    assert all(torch.allclose(f, e, atol=1e-6) for f, e in zip(task_gradient, expected, strict=True))
    model, with_game = moved(1.0)
    compressed = model.compress(batch.features)
    complete = model.compress(batch.complete)["l"].detach()
    judged = model.discriminator(torch.cat([model.correct(compressed).dominant, complete])).flatten(0, 1)
    plain = F.cross_entropy(judged, torch.tensor([1] * (len(judged) // 2) + [0] * (len(judged) // 2)))
    game = torch.autograd.grad(plain, list(model.generator.parameters()))
    for together, task, g in zip(with_game, task_gradient, game, strict=True):
        assert torch.allclose(together - task, -g, atol=1e-5)


def test_the_official_way_turns_round_all_that_comes_back_to_the_generator():
    """The gradient of the task's loss as that of the game."""
    model, batch = small_lnln(proxy_plays_alone=False), random_batch(small_task(), 6, seed=1, kept=0.3)
    compressed, complete = model.compress(batch.features), model.compress(batch.complete)
    corrected = model.correct(compressed)
    draft = model.draft.expand(6, -1, -1)
    proxy = model.generator(torch.cat([draft, compressed["a"], compressed["v"]], dim=1))  # not turned round
    share = corrected.completeness[:, None, None]
    dominant = share * compressed["l"] + (1 - share) * proxy
    assert torch.allclose(dominant, corrected.dominant, atol=1e-6)
    generator, judges = list(model.generator.parameters()), list(model.discriminator.parameters())

    def losses(dominant):
        fused = model.fusion(dominant, {m: compressed[m] for m in ("a", "v")})
        return F.cross_entropy(model.head(fused), batch.labels), model.adversarial_loss(
            compressed["l"], corrected._replace(dominant=dominant), complete["l"]
        )

    for plain, loss in zip(losses(dominant), losses(corrected.dominant), strict=True):
        expected = torch.autograd.grad(plain, generator, retain_graph=True)
        found = torch.autograd.grad(loss, generator, retain_graph=True)
        assert all(torch.allclose(f, -e, atol=1e-6) for f, e in zip(found, expected, strict=True))
        assert any(e.any() for e in expected)
    for f, e in zip(
        *(torch.autograd.grad(losses(d)[1], judges, retain_graph=True) for d in (dominant, corrected.dominant)),
        strict=True,
    ):
        assert torch.allclose(f, e, atol=1e-6)


def test_loss_is_the_weighted_sum_and_predicting_needs_no_complete_features():
    batch = random_batch(small_task(), 5, seed=1, kept=0.5)
    model = small_lnln().eval()
    compressed, complete = (model.compress(x) for x in (batch.features, batch.complete))
    corrected = model.correct(compressed)
    rebuilt = sum((model.reconstructors[m](compressed[m]) - complete[m]).square().mean() for m in MODALITIES) / 3
    expected = (
        F.cross_entropy(model.predict(as_test(batch)), batch.labels)
        + 0.9 * model.completeness_loss(corrected.completeness, batch)
        + 0.8 * model.adversarial_loss(compressed["l"], corrected, complete["l"])
        + 0.1 * rebuilt
    )
    assert torch.allclose(model.loss(batch), expected, atol=1e-5)
    with pytest.raises(ValueError, match="training batches"):
        model.loss(replace(batch, complete=None))


def test_tokens_compress_all_positions():
    torch.manual_seed(0)
    encoder = Encoder(6, 8, heads=2, width=4, layers=1, tokens=3).eval()
    x = torch.randn(2, 6, 8)
    compressed = encoder(x)
    assert compressed.shape == (2, 3, 8)
    for t in range(6):
        changed = x.clone()
        changed[:, t] *= -1
        assert not torch.allclose(encoder(changed), compressed, atol=1e-3)
    assert not torch.allclose(encoder(x.flip(1)), compressed, atol=1e-3)  # positions tell the order


def test_fusion_is_deeper_on_mosei():
    assert LNLN.per_task == {"mosei": {"fusion_layers": 4}}
    assert len(small_lnln(fusion_layers=4).fusion.layers) == 4
