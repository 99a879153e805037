"""What is TransM's own: translations both ways and back again, and the fusion of what their encoders say."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.transm import DIRECTIONS, OPPOSITE, TransM
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task

D = 6


def small_transm(task=None, **options):
    torch.manual_seed(0)
    return TransM(task or small_task(), **{"d": D, "heads": 2, "layers": 1, "head_hidden": 8, **options})


def plain_error(found, target, frames):
    """The mean over numbers of real frames."""
    pairs = [
        (a, b)
        for i in range(len(found))
        for t in range(found.shape[1])
        if frames[i, t]
        for a, b in zip(found[i, t].tolist(), target[i, t].tolist(), strict=True)
    ]
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def test_language_is_translated_with_both_others_both_ways():
    assert set(DIRECTIONS) == {("l", "a"), ("a", "l"), ("l", "v"), ("v", "l")}
    assert all(DIRECTIONS[o] == DIRECTIONS[i][::-1] for i, o in enumerate(OPPOSITE))


def test_translation_losses_follow_their_description():
    task = small_task(num_frames={"l": 5, "a": 7, "v": 3})
    batch = random_batch(task, 3, seed=1)
    model = small_transm(task).eval()
    encoded, source_frames = model.encode_sources(batch)
    there, back = model.translation_losses(batch, encoded)
    target_frames = [batch.frames[target] for _, target in DIRECTIONS]
    translated = model.decode(encoded, source_frames, target_frames)
    expected = [
        plain_error(x, batch.complete[target], batch.frames[target])
        for (_, target), x in zip(DIRECTIONS, translated, strict=True)
    ]
    assert there.item() == pytest.approx(sum(expected) / 4, rel=1e-5)
    expected = 0.0
    for i, (source, target) in enumerate(DIRECTIONS):
        again = [batch.features[s] for s, _ in DIRECTIONS]
        again[i] = translated[DIRECTIONS.index((target, source))]  # from `target` to `source`, and now back
        back_again = model.decode(model.encode(again, source_frames), source_frames, target_frames)[i]
        expected += plain_error(back_again, batch.complete[target], batch.frames[target]) / 4
    assert back.item() == pytest.approx(expected, rel=1e-4)


def test_loss_is_the_weighted_sum():
    batch = random_batch(small_task(), 6, seed=1, kept=0.5)
    model = small_transm(forward_weight=0.7, backward_weight=0.3).eval()
    there, back = model.translation_losses(batch, model.encode_sources(batch)[0])
    expected = F.cross_entropy(model.predict(batch), batch.labels) + 0.7 * there + 0.3 * back
    assert torch.allclose(model.loss(batch), expected)
    with pytest.raises(ValueError, match="training batches"):
        model.loss(replace(batch, complete=None))


def test_each_encoder_speaks_of_its_source_and_all_are_fused():
    batch = random_batch(small_task(), 3, seed=1)
    model = small_transm().eval()
    before = model.represent(batch)
    assert before.shape == (3, 4 * D)
    for m in MODALITIES:
        after = model.represent(replace(batch, features={**batch.features, m: batch.features[m] * -0.5}))
        for i, (source, _) in enumerate(DIRECTIONS):
            part = slice(i * D, (i + 1) * D)
            assert torch.allclose(before[:, part], after[:, part]) == (source != m)
    (gradient,) = torch.autograd.grad(model.predict(batch).sum(), model.head[0].weight)
    assert gradient.any(0).all()


def test_a_translation_knows_the_target_from_the_source_alone():
    task = small_task()
    batch = random_batch(task, 2, seed=1)
    model = small_transm().eval()
    encoded, source_frames = model.encode_sources(batch)
    changed = [x * 2 if source == "v" else x for (source, _), x in zip(DIRECTIONS, encoded, strict=True)]
    target_frames = [batch.frames[target] for _, target in DIRECTIONS]
    before, after = (model.decode(x, source_frames, target_frames) for x in (encoded, changed))
    assert [torch.equal(x, y) for x, y in zip(before, after, strict=True)] == [True, True, True, False]
    assert [x.shape[2] for x in before] == [task.feature_dims[target] for _, target in DIRECTIONS]


def test_padding_counts_in_no_loss():
    batch = random_batch(small_task(), 6, seed=1)
    model = small_transm().eval()
    padded = {m: torch.where(batch.frames[m][:, :, None], x, 9.0) for m, x in batch.complete.items()}
    encoded, _ = model.encode_sources(batch)
    before, after = (model.translation_losses(b, encoded) for b in (batch, replace(batch, complete=padded)))
    assert before == after and all(x > 0 for x in before)
