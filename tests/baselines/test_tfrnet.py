"""What is TFR-Net's own: which frames its reconstruction counts, its attention streams, its gated encoders."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.tfrnet import GatedEncoder, TFRNet
from benchmark.parts.recurrent import run_grus
from benchmark.parts.transformer import PAIRS
from benchmark.protocol.missing import MODALITIES
from tests.batches import as_test, random_batch, small_task

SMALL = {"d": 6, "heads": 2, "layers": 1, "fusion_l": 5, "fusion_a": 4, "fusion_v": 6, "head_hidden": 8}
NO_DROPOUT = {
    "input_dropout": 0.0,
    "attention_dropout": 0.0,
    "attention_dropout_a": 0.0,
    "relu_dropout": 0.0,
    "residual_dropout": 0.0,
    "embedding_dropout": 0.0,
    "fusion_dropout": 0.0,
}


def small_tfrnet(task=None, **options):
    torch.manual_seed(0)
    return TFRNet(task or small_task(), **{**SMALL, **options})


def changed(batch, where):
    """Other complete features at the frames in `where`, a dict by modality."""
    complete = {m: torch.where(where[m][:, :, None], x + 1.5, x) for m, x in batch.complete.items()}
    return replace(batch, complete=complete)


def reconstruction(model, batch):
    with torch.no_grad():
        return model.reconstruction_loss(model.extract(batch), batch)


def test_reconstruction_counts_the_missing_frames_alone():
    batch = random_batch(small_task(), 8, seed=1, kept=0.5)
    model = small_tfrnet().eval()
    before = reconstruction(model, batch)
    assert torch.equal(before, reconstruction(model, changed(batch, batch.present)))
    assert torch.equal(before, reconstruction(model, changed(batch, {m: ~f for m, f in batch.frames.items()})))
    for m in MODALITIES:
        where = {k: batch.frames[k] & ~batch.present[k] & (k == m) for k in MODALITIES}
        assert not torch.equal(before, reconstruction(model, changed(batch, where)))


def test_reconstruction_follows_the_equation():
    batch = random_batch(small_task(), 5, seed=1, kept=0.5)
    model = small_tfrnet().eval()
    extracted = model.extract(batch)
    expected = 0.0
    for m, weight in zip(MODALITIES, (5.0, 2.0, 20.0), strict=True):
        rebuilt = model.generators[m](extracted[m])
        errors = []
        for i in range(len(batch)):
            for t in range(batch.frames[m].shape[1]):
                if batch.frames[m][i, t] and not batch.present[m][i, t]:
                    for r, c in zip(rebuilt[i, t].tolist(), batch.complete[m][i, t].tolist(), strict=True):
                        errors.append(0.5 * (r - c) ** 2 if abs(r - c) < 1 else abs(r - c) - 0.5)
        expected += weight * sum(errors) / len(errors)
    assert model.reconstruction_loss(extracted, batch).item() == pytest.approx(expected, rel=1e-5)
    loss = F.cross_entropy(model.predict(batch), batch.labels).item() + expected
    assert model.loss(batch).item() == pytest.approx(loss, rel=1e-5)


def test_reconstruction_is_zero_when_nothing_is_missing():
    batch = random_batch(small_task(), 4, seed=1)
    model = small_tfrnet().eval()
    assert reconstruction(model, batch) == 0.0
    assert torch.equal(model.loss(batch), F.cross_entropy(model.predict(batch), batch.labels))
    missing_audio = random_batch(small_task(), 4, seed=1, available="lv")
    weightless = small_tfrnet(reconstruction_a=0.0).eval()
    assert reconstruction(model, missing_audio) > 0.0
    assert reconstruction(weightless, missing_audio) == 0.0


def test_logits_come_from_what_is_present():
    batch = random_batch(small_task(), 4, seed=1, kept=0.5)
    model = small_tfrnet().eval()
    everywhere = {m: torch.ones_like(f) for m, f in batch.frames.items()}
    assert torch.equal(model.predict(batch), model.predict(changed(batch, everywhere)))
    assert torch.equal(model.predict(batch), model.predict(as_test(batch)))
    with pytest.raises(ValueError, match="training batches"):
        model.loss(replace(batch, complete=None))


def test_rebuilds_missing_frames_from_the_other_modalities():
    """With audio a copy of what language says, the missing audio can be learned."""
    task = small_task()
    batch = random_batch(task, 16, seed=4, available="lv", lengths={m: [6] * 16 for m in MODALITIES})
    batch.complete["a"] = batch.complete["l"][:, :, : task.feature_dims["a"]].clone()
    model = small_tfrnet(reconstruction_v=0.0, reconstruction_l=0.0, **NO_DROPOUT)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = reconstruction(model, batch)
    for _ in range(100):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    assert reconstruction(model, batch) < 0.5 * first


def test_each_modality_holds_attention_to_itself_and_to_both_others():
    batch = random_batch(small_task(), 3, seed=1)
    model = small_tfrnet().eval()
    before = model.extract(batch)
    d = SMALL["d"]
    for source in MODALITIES:
        other = replace(batch, features={**batch.features, source: batch.features[source] * -0.5})
        after = model.extract(other)
        for target in MODALITIES:
            columns = [target, *(s for t, s in PAIRS if t == target)]
            for i, column in enumerate(columns):
                same = torch.equal(before[target][..., i * d : i * d + d], after[target][..., i * d : i * d + d])
                assert same == (source not in (target, column))


def test_attention_looks_back_only():
    batch = random_batch(small_task(), 2, seed=1, lengths={m: [8, 8] for m in MODALITIES})
    model = small_tfrnet(kernel_a=1, kernel_v=1).eval()
    before = model.extract(batch)
    later = {m: torch.cat([x[:, :5], -x[:, 5:]], dim=1) for m, x in batch.features.items()}
    after = model.extract(replace(batch, features=later))
    for m in MODALITIES:
        assert torch.allclose(before[m][:, :5], after[m][:, :5], atol=1e-6)
        assert not torch.allclose(before[m][:, 5:], after[m][:, 5:], atol=1e-3)


@pytest.mark.parametrize("padding", [False, True])
def test_gated_encoder_runs_over_real_frames_and_pools_what_is_seen(padding):
    torch.manual_seed(0)
    encoder = GatedEncoder(5, 3, layers=2, dropout=0.0)
    x = torch.randn(3, 6, 5)
    frames = torch.arange(6)[None, :] < torch.tensor([2, 6, 0])[:, None]
    (context,) = run_grus([encoder.gru], [x], [frames.sum(1).clamp(min=1)])
    encoded = encoder(x, context, torch.ones_like(frames) if padding else frames)
    for i, length in enumerate((2, 6)):
        context, _ = encoder.gru(x[i : i + 1, :length])
        gate = encoder.gate.conv(context.transpose(1, 2)).transpose(1, 2).sigmoid()
        gated = F.pad(context.tanh() * gate, (0, 0, 0, 6 - length))
        joined = encoder.join(torch.cat([x[i : i + 1], gated], dim=-1)).tanh()
        assert torch.allclose(encoded[i], joined[0, : 6 if padding else length].amax(0), atol=1e-6)
    assert padding or not encoded[2].any()
