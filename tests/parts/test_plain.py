"""The fast MulT and CorrKD train as the plain ones do, within float tolerance, dropout aside."""

import pytest
import torch

from baselines.mult import MulT
from corrkd.method import STUDENT, TEACHER, CorrKD
from tests.batches import as_test, random_batch, small_task
from tests.plain import PlainCorrKD, PlainMulT, without_dropout

LENGTHS = {"l": [8, 5, 1, 8, 3, 7], "a": [8, 8, 2, 4, 6, 1], "v": [1, 8, 8, 5, 2, 3]}


def mult(task):
    fast = MulT(task, d=10, heads=5, layers=2)
    return fast, PlainMulT(fast)


def corrkd(task):
    fast = CorrKD(task, d=8, heads=2, critic_hidden=6)
    fast.start_stage(TEACHER, [])
    batches = [random_batch(task, 6, seed=seed, kept=0.7, lengths=LENGTHS) for seed in range(3)]
    for number, batch in enumerate(batches):
        batch.ids = [f"{number}-{i}" for i in range(6)]
    whole = [random_batch(task, 6, seed=seed, lengths=LENGTHS) for seed in range(3)]
    for part, batch in zip(whole, batches, strict=True):
        part.ids, part.features = batch.ids, batch.complete
    with torch.no_grad():
        fast.start_stage(STUDENT, whole)
    return fast, PlainCorrKD(fast)


@pytest.mark.parametrize("build", [mult, corrkd])
@pytest.mark.parametrize("frames", [8, {"l": 8, "a": 10, "v": 8}])
@pytest.mark.parametrize("name", ["mosi", "iemocap"])
def test_training_is_the_same(build, frames, name):
    torch.manual_seed(0)
    task = small_task(name, frames)
    fast, plain = build(task)
    without_dropout([fast, plain])
    batches = [random_batch(task, 6, seed=seed, kept=0.7, lengths=LENGTHS) for seed in range(3)]
    for number, batch in enumerate(batches):
        batch.ids = [f"{number}-{i}" for i in range(6)]
    optimisers = [
        torch.optim.SGD([p for p in m.train().parameters() if p.requires_grad], lr=0.02) for m in (fast, plain)
    ]
    for batch in batches:
        losses = []
        for method, optimiser in zip((fast, plain), optimisers, strict=True):
            optimiser.zero_grad()
            losses.append(method.loss(batch))
            losses[-1].backward()
            optimiser.step()
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=2e-5, abs=2e-5)
    seen = as_test(batches[0])
    before = build(task)[0].eval().predict(seen)
    logits, expected = fast.eval().predict(seen), plain.eval().predict(seen)
    assert torch.allclose(logits, expected, atol=2e-4)
    assert (logits - before).abs().max() > 1e-3  # it did learn something


def test_dropout_acts_everywhere_in_the_fast_parts():
    """With dropout on, two passes differ; the plain one says which places there are."""
    torch.manual_seed(0)
    fast, plain = mult(small_task())
    batch = random_batch(small_task(), 4, seed=0)
    for name in ("embedding_dropout", "attention_dropout", "relu_dropout", "dropout"):
        without_dropout([fast, plain])
        for transformer in (fast.crossmodal, fast.selfattention):
            holders = [transformer] if name == "embedding_dropout" else list(transformer.layers)
            for holder in holders:
                if isinstance(getattr(holder, name), float):
                    setattr(holder, name, 0.3)
                else:
                    getattr(holder, name).p = 0.3
        fast.train()
        assert not torch.equal(fast.predict(batch), fast.predict(batch)), name
        fast.eval()
        assert torch.equal(fast.predict(batch), fast.predict(batch)), name
