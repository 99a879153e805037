"""What is MPLMM's own: prompts that act where modalities are missing, on a frozen backbone."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.mplmm import BACKBONE, MPLMM, PROMPTS
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, select, small_task

PATTERNS = ("l", "a", "v", "la", "lv", "av", "lav", "")


def small_mplmm(stage=PROMPTS, **options):
    torch.manual_seed(0)
    model = MPLMM(small_task(), **{"d": 8, "layers": 1, "heads": 2, "prompt_length": 3, **options})
    model.start_stage(stage, [])
    return model.eval()


def shifted(part):
    with torch.no_grad():
        for p in part.parameters():
            p.add_(torch.randn_like(p))


def batch_of(pattern, n=3, seed=1):
    return random_batch(small_task(), n, seed=seed, available=pattern)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_generative_prompts_stand_in_for_missing_modalities_alone(pattern):
    model, batch = small_mplmm(), batch_of(pattern)
    before, _ = model.complete(batch)
    outputs = model.predict(batch)
    shifted(model.generators)
    after, seen = model.complete(batch)
    for m in MODALITIES:
        assert torch.equal(before[m], after[m]) == (m in pattern)
        assert m in pattern or seen[m].all()
    assert torch.equal(model.predict(batch), outputs) == (pattern == "lav")


def test_a_modality_that_is_there_is_projected_and_told_of_as_there():
    model, batch = small_mplmm(), batch_of("la")
    filled, seen = model.complete(batch)
    t = batch.frames["l"].shape[1]
    assert torch.equal(filled["l"][:, :t], model.projections["l"](batch.features["l"]) + model.signals["l"][0, :t])
    assert torch.equal(seen["l"][:, :t], batch.frames["l"]) and not seen["l"][:, t:].any()
    x = {m: F.pad(f, (0, 0, 0, 8 - f.shape[1])) for m, f in batch.features.items()}
    there = {m: torch.full((3,), m in "la") for m in MODALITIES}
    assert torch.equal(filled["v"], model.generators["v"](x, there) + model.signals["v"][1])


def test_what_is_generated_is_a_mix_along_time_of_the_prompt_and_what_is_there():
    generator = small_mplmm().generators["l"]
    x = {m: torch.randn(4, 8, d) for m, d in (("l", 12), ("a", 5), ("v", 7))}
    there = {"l": torch.zeros(4).bool(), "a": torch.tensor([1, 0, 1, 0]).bool(), "v": torch.tensor([0, 1, 1, 0]).bool()}
    found = generator(x, there)
    for i, sources in enumerate(("a", "v", "av", "av")):
        parts = [generator.prompt, *(F.gelu(generator.translate[m](x[m][i])) for m in sources)]
        mix = generator.mix[sources]
        expected = F.gelu(mix.weight @ torch.cat(parts) + mix.bias[:, None])
        assert torch.allclose(found[i], expected, atol=1e-6)


def test_type_prompts_differ_by_pattern_and_not_by_sample():
    model = small_mplmm()
    prompts = {p: model.type_prompts(batch_of(p)) for p in PATTERNS}
    for i, pattern in enumerate(PATTERNS):
        assert torch.allclose(prompts[pattern], model.type_prompts(batch_of(pattern, seed=2)))
        assert torch.allclose(prompts[pattern][0], prompts[pattern][1])
        for other in PATTERNS[:i]:
            assert not torch.allclose(prompts[pattern], prompts[other], atol=1e-3)
    states = {"l": 0, "a": 1, "v": 0}  # of "lv"
    matrix = sum(model.signals[m][s].T @ model.maps[m] for m, s in states.items())
    for i in range(3):
        assert torch.allclose(prompts["lv"][0, i], model.types[i] @ matrix, atol=1e-6)


def test_patterns_of_samples_do_not_mix():
    model = small_mplmm()
    parts = [batch_of(p, n=1, seed=3) for p in ("l", "av", "")]
    mixed = random_batch(small_task(), 3, seed=4)
    for i, pattern in enumerate(("l", "av", "")):
        for m in MODALITIES:
            if m not in pattern:
                mixed.present[m][i], mixed.features[m][i] = False, 0.0
    together = model.predict(mixed)
    alone = torch.cat([model.predict(select(mixed, [i])) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(model.predict(parts[0]), model.predict(parts[1]), atol=1e-4)


def test_the_backbone_is_trained_without_prompts_and_then_frozen():
    batch = batch_of("lav", n=6)
    lacking = replace(batch, **{k: {**getattr(batch, k)} for k in ("present", "features")})
    for i, m in enumerate(MODALITIES):
        for rows in ([i], [i, 3 + i]):
            lacking.present[m] = lacking.present[m].clone().index_fill_(0, torch.tensor(rows), False)
            lacking.features[m] = lacking.features[m] * lacking.present[m][..., None]
    moved = []
    for stage in (BACKBONE, PROMPTS):
        model = small_mplmm(stage)
        model.loss(lacking).backward()
        moved.append({n.partition(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.any()})
    backbone = {"crossmodal", "selfattention", "residual"}
    assert moved == [
        {*backbone, "projections", "head"},
        {"projections", "head", "generators", "signals", "maps", "types"},
    ]
    model = small_mplmm(BACKBONE)
    before = model.predict(batch)
    shifted(model.generators), shifted(model.signals)
    assert torch.equal(model.predict(batch), before)


def test_mechanism_compares_with_zeros_in_place_of_what_is_generated():
    model, batch = small_mplmm(), batch_of("l")
    ((value, idle),) = model.mechanism(batch).values()
    assert torch.allclose(value, model.loss(batch))
    with torch.no_grad():
        for generator in model.generators.values():
            for mix in generator.mix.values():
                mix.weight.zero_(), mix.bias.zero_()  # gelu(0) = 0
    assert torch.allclose(idle, model.loss(batch)) and not torch.allclose(value, idle)
    same = model.mechanism(batch_of("lav"))["loss with generated modalities"]
    assert torch.equal(*same)
