"""What is MCTN's own: it predicts from language alone, translates there and back, and on to vision."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.mctn import MCTN, Decoder, Encoder, squared_error
from benchmark.parts.pooling import filled
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task


def small_mctn(task=None, **options):
    torch.manual_seed(0)
    return MCTN(task or small_task(), **{"hidden": 6, **options})


def losses(model, batch):
    return model.translation_losses(batch, *model.encode(batch))


def test_logits_are_the_same_whatever_audio_and_vision_hold():
    task = small_task(num_frames={"l": 8, "a": 11, "v": 5})
    batch = random_batch(task, 5, seed=1, training=False)
    other = random_batch(task, 5, seed=2, training=False)
    model = small_mctn(task).eval()
    mixed = {
        part: {**getattr(other, part), "l": getattr(batch, part)["l"]} for part in ("features", "present", "frames")
    }
    assert torch.equal(model.predict(replace(batch, **mixed)), model.predict(batch))
    changed = {**batch.features, "l": batch.features["l"] * -0.5}
    assert not torch.allclose(model.predict(replace(batch, features=changed)), model.predict(batch))


def test_audio_and_vision_teach_the_encoders():
    """Without the translations, no gradient depends on them; with them, the encoder's do."""
    batch = random_batch(small_task(), 6, seed=1)
    other = replace(batch, complete={m: x * (1.0 if m == "l" else 3.0) for m, x in batch.complete.items()})

    def gradient(batch, **options):
        model = small_mctn(**options)
        model.loss(batch).backward()
        return model.encoder.lstm.weight_ih_l0.grad

    assert not torch.allclose(gradient(batch), gradient(other))
    off = {"translation_weight": 0.0, "cycle_weight": 0.0}
    assert torch.equal(gradient(batch, **off), gradient(other, **off))


def test_loss_is_the_weighted_sum():
    batch = random_batch(small_task(), 6, seed=1, kept=0.5)
    model = small_mctn(translation_weight=0.3, cycle_weight=0.7, head_penalty=0.2)
    audio, language, vision = losses(model, batch)
    expected = F.cross_entropy(model.predict(batch), batch.labels) + 0.3 * (audio + vision) + 0.7 * language
    expected = expected + 0.2 * model.head.weight.square().sum()
    assert torch.allclose(model.loss(batch), expected)
    with pytest.raises(ValueError, match="training batches"):
        model.loss(replace(batch, complete=None))


def test_the_cycle_starts_from_the_translated_audio_and_uses_the_same_networks():
    """Language comes back through audio's columns alone: what else the decoder puts out does not matter."""
    batch = random_batch(small_task(), 6, seed=1)
    model = small_mctn()
    _, language, _ = losses(model, batch)
    d_a, d_l = (small_task().feature_dims[m] for m in "al")
    gradients = torch.autograd.grad(language, [*model.encoder.parameters(), *model.decoder.parameters()])
    assert all(g.any() for g in gradients)
    second = [*model.second_encoder.parameters(), *model.second_decoder.parameters()]
    assert all(g is None for g in torch.autograd.grad(losses(model, batch)[1], second, allow_unused=True))
    frames, first, _ = model.encode(batch)
    audio = model.decoder(first, frames, batch.frames["a"].shape[1])
    audio = torch.cat([audio[..., :d_a], torch.zeros_like(audio[..., d_a:])], dim=-1)
    back = model.decoder(model.encoder(audio, batch.frames["a"]), batch.frames["a"], batch.frames["l"].shape[1])
    expected = squared_error(back[..., :d_l], batch.complete["l"], batch.frames["l"], 8 * 12)
    assert torch.allclose(language, expected)


def test_translations_are_weighed_as_if_padded_and_widened():
    """A squared error is divided by the numbers of the task's longest sample, audio's at the width of language."""
    x, zero, frames = torch.full((2, 3, 5), 2.0), torch.zeros(2, 3, 5), torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    assert squared_error(x, zero, frames, 8 * 12).item() == pytest.approx(3 * 5 * 4 / (2 * 8 * 12))
    batch, model = random_batch(small_task(), 6, seed=1), small_mctn()
    audio, _, vision = losses(model, batch)
    frames, first, second = model.encode(batch)
    for m, found, decoded in (
        ("a", audio, model.decoder(first, frames, 8)),
        ("v", vision, model.second_decoder(second, frames, 8)),
    ):
        target = batch.complete[m]
        width = max(model.task.feature_dims["l"], 5) if m == "a" else 7
        errors = (decoded[:, : target.shape[1], : target.shape[2]] - target).square().sum(-1)[batch.frames[m]]
        assert found.item() == pytest.approx(errors.sum().item() / (6 * 8 * width), rel=1e-5)


def test_lstms_start_orthogonal_and_without_biases():
    model = MCTN(small_task(), hidden=6)
    for name, parameter in model.named_parameters():
        if "weight_hh" in name:
            assert torch.allclose(parameter.T @ parameter, torch.eye(6), atol=1e-5)
        assert "bias" not in name or not parameter.any()


def test_padding_counts_in_no_loss():
    batch = random_batch(small_task(), 6, seed=1)
    model = small_mctn()
    padded = {m: torch.where(batch.frames[m][:, :, None], x, 9.0) for m, x in batch.complete.items()}
    for before, after in zip(losses(model, batch), losses(model, replace(batch, complete=padded)), strict=True):
        assert before > 0 and torch.equal(before, after)
    without = random_batch(small_task(), 2, seed=1, lengths={m: [0, 0] for m in MODALITIES})
    assert losses(model, without) == (0.0, 0.0, 0.0)


def test_encoder_adds_its_two_directions_and_the_decoder_attends_to_real_frames():
    torch.manual_seed(0)
    encoder, decoder = Encoder(5, 3), Decoder(3, 4)
    x = torch.randn(3, 6, 5)
    frames = filled(torch.arange(6)[None, :] < torch.tensor([2, 6, 0])[:, None])
    assert frames.sum(1).tolist() == [2, 6, 1]
    states = encoder(x, frames)
    for i, length in enumerate((2, 6)):
        forwards, backwards = encoder.lstm(x[i : i + 1, :length])[0].chunk(2, dim=-1)
        assert torch.allclose(states[i, :length], (forwards + backwards)[0], atol=1e-6)
    decoded = decoder(states, frames, 7)
    assert decoded.shape == (3, 7, 4)
    assert torch.allclose(decoder(states[:1, :2], frames[:1, :2], 7), decoded[:1], atol=1e-6)


def test_translation_can_be_learned():
    """With audio a copy of what language says, it can be put out from language."""
    task = small_task()
    batch = random_batch(task, 16, seed=4, lengths={m: [4] * 16 for m in MODALITIES})
    batch.complete["a"] = batch.complete["l"].mean(1, keepdim=True)[:, :, : task.feature_dims["a"]].expand(-1, 4, -1)
    model = small_mctn(task, hidden=24)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = losses(model, batch)[0].item()
    for _ in range(60):
        optimiser.zero_grad()
        losses(model, batch)[0].backward()
        optimiser.step()
    assert losses(model, batch)[0] < 0.5 * first
