"""What is TransM's own: its recurrent front end, layers normalised behind, two chains there and back, their fusion."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from baselines.transm import OTHERS, Attention, BidirectionalGRU, Layer, TransM, with_positions
from benchmark.parts.transformer import sinusoidal_positions
from benchmark.protocol.missing import MODALITIES
from tests.batches import lengths_mask, random_batch, select, small_task, without_dropout

D = 6
SMALL = {"d": D, "units": 5, "heads": 2, "encoder_layers": 2, "decoder_layers": 1}
UNEQUAL = {"l": 5, "a": 7, "v": 3}


def small_transm(task=None, **options):
    torch.manual_seed(0)
    return TransM(task or small_task(), **{**SMALL, "feedforward_vision": 9, "feedforward_audio": 8, **options})


def plain_gru(gru, x, direction):
    """The states of one sample, (T, units), written out: h' = z h + (1 - z) tanh(x W + (r h) U)."""
    units = gru.candidate.shape[1]
    state, states = torch.zeros(units), []
    for frame in x if direction == 0 else x.flip(0):
        z, r, n = (frame @ gru.input.weight[direction] + gru.input.bias[direction, 0]).split(units)
        u_z, u_r = gru.gates[direction].split(units, 1)
        z, r = torch.sigmoid(z + state @ u_z), torch.sigmoid(r + state @ u_r)
        state = z * state + (1 - z) * torch.tanh(n + (r * state) @ gru.candidate[direction])
        states.append(state)
    return torch.stack(states if direction == 0 else states[::-1])


def test_the_gru_follows_its_equations_and_passes_over_frames_that_are_not_there():
    torch.manual_seed(0)
    gru = BidirectionalGRU(3, 4, dropout=0.5).eval()
    x = torch.randn(2, 6, 3)
    mask = torch.tensor([[True] * 6, [False, True, True, False, True, False]])
    found = gru(x, mask)
    for i in range(2):
        expected = torch.cat([plain_gru(gru, x[i, mask[i]], direction) for direction in (0, 1)], 1)
        assert torch.allclose(found[i, mask[i]], expected, atol=1e-6)


def test_a_gru_drops_the_same_numbers_in_all_frames():
    torch.manual_seed(0)
    gru = BidirectionalGRU(2, 3, dropout=0.5).train()
    x = torch.randn(64, 5, 2)
    with torch.no_grad():
        for parameter in (gru.gates, gru.candidate):
            parameter.zero_()  # nothing is left of the state's product, so what a frame gives comes of that frame alone
        z, _, n = (x @ gru.input.weight[0]).split(3, -1)
        found = gru(x, torch.ones(64, 5, dtype=torch.bool))[..., :3]
        state, whole = torch.zeros(64, 3), []
        for t in range(5):
            state = torch.sigmoid(z[:, t]) * state + (1 - torch.sigmoid(z[:, t])) * torch.tanh(n[:, t])
            whole.append(state)
    # An input of two numbers keeps both, doubled, or one, or none; with none, every frame of the sample gives zero.
    nothing = (found == 0).all(-1)
    assert nothing.any(0).all() and (nothing.all(1) == nothing.any(1)).all()
    assert not torch.allclose(found, torch.stack(whole, 1))


def test_attention_has_a_relu_behind_each_projection():
    torch.manual_seed(0)
    attention = Attention(4, heads=2)
    x, source, mask = torch.randn(1, 3, 4), torch.randn(1, 5, 4), lengths_mask([4], 5)
    q, k, v = attention.query(x).relu(), attention.key(source).relu(), attention.value(source).relu()
    parts = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = torch.softmax(q[0, :, head] @ k[0, :4, head].T / math.sqrt(2), -1)
        parts.append(weights @ v[0, :4, head])
    assert torch.allclose(attention(x, source, mask)[0], attention.output(torch.cat(parts, 1)).relu(), atol=1e-6)


@pytest.mark.parametrize("decodes", [False, True])
def test_a_layer_normalises_behind_each_part(decodes):
    torch.manual_seed(0)
    layer = Layer(4, heads=2, feedforward=7, dropout=0.5, decodes=decodes).eval()
    x, memory = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    mask, memory_mask = lengths_mask([3, 2], 3), lengths_mask([1, 5], 5)
    h = F.layer_norm(x + layer.attentions[0](x, x, mask), (4,))
    if decodes:
        h = F.layer_norm(h + layer.attentions[1](h, memory, memory_mask), (4,))
    expected = F.layer_norm(h + layer.feedforward(h), (4,))
    assert torch.allclose(layer(x, mask, memory, memory_mask), expected, atol=1e-5)


def test_positions_are_added_without_a_factor():
    x = torch.randn(2, 4, 6)
    assert torch.allclose(with_positions(x) - x, sinusoidal_positions(4, 6).expand(2, 4, 6), atol=1e-6)


def test_the_encoder_back_reads_the_decoder_which_reads_the_target_and_the_encoder():
    batch = random_batch(small_task(), 3, seed=1)
    model = small_transm().eval()
    masks, front, chains = model.read(batch)
    chain = model.chains["v"]
    encoded, decoded = with_positions(front["l"]), with_positions(front["v"])
    for layer in chain.encoder:
        encoded = layer(encoded, masks["l"])
    decoded = chain.decoder[0](decoded, masks["v"], encoded, masks["l"])
    back = with_positions(decoded)
    for layer in chain.encoder_back:
        back = layer(back, masks["v"])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(chains["v"], (encoded, decoded, back), strict=True))
    # The decoder back starts from language, as it came from its front end.
    again = chain.decoder_back[0](with_positions(front["l"]), masks["l"], back, masks["v"])
    assert torch.allclose(chain.decode_back(front["l"], back, masks["l"], masks["v"]), again, atol=1e-5)


def test_what_each_part_of_the_fused_vector_depends_on():
    batch = random_batch(small_task(), 3, seed=1)
    model = small_transm().eval()
    before = model.represent(batch)
    assert before.shape == (3, 7 * D)
    # Front ends l, a, v; then of each chain the encoder, of language, and the encoder back, of both.
    expected = ["l", "a", "v", *(part for m in OTHERS for part in ("l", "l" + m))]
    for m in MODALITIES:
        after = model.represent(replace(batch, features={**batch.features, m: batch.features[m] * -0.5}))
        for i, sources in enumerate(expected):
            part = slice(i * D, (i + 1) * D)
            assert torch.allclose(before[:, part], after[:, part]) == (m not in sources), (m, sources)
    (gradient,) = torch.autograd.grad(model.predict(batch).sum(), model.head.weight)
    assert gradient.any(0).all()


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


def test_the_loss_is_the_tasks_and_ten_times_each_of_four_translations():
    batch = random_batch(small_task(num_frames=UNEQUAL), 3, seed=1, kept=0.6)
    model = without_dropout(small_transm(small_task(num_frames=UNEQUAL)))
    terms = model.terms(batch)
    reading = model.read(batch)
    assert torch.allclose(terms["task"], F.cross_entropy(model.predict(batch), batch.labels))
    translations = model.translations(reading)
    assert [m for m, _ in translations["translation"]] == list(OTHERS)
    assert [m for m, _ in translations["translation back"]] == ["l", "l"]
    for name, both in translations.items():
        expected = 10 * sum(plain_error(found, batch.complete[m], batch.frames[m]) for m, found in both)
        assert terms[name].item() == pytest.approx(expected, rel=1e-5)
    states = reading.chains["v"]
    assert torch.allclose(translations["translation"][0][1], model.there["v"](states[1]))
    decoded = model.chains["v"].decode_back(reading.front["l"], states[2], reading.masks["l"], reading.masks["v"])
    assert torch.allclose(translations["translation back"][0][1], model.back["v"](decoded))
    with pytest.raises(ValueError, match="training batches"):
        model.loss(replace(batch, complete=None))


def test_the_mechanism_told_is_the_translations_error():
    batch = random_batch(small_task(), 5, seed=1)
    model = small_transm().eval()
    told = model.mechanism(batch)
    for name, both in model.translations(model.read(batch)).items():
        value = sum(plain_error(found, batch.complete[m], batch.frames[m]) for m, found in both)
        idle = 0.0
        for m, _ in both:
            mean = batch.complete[m][batch.frames[m]].mean(0).expand_as(batch.complete[m])
            idle += plain_error(mean, batch.complete[m], batch.frames[m])
        assert [x.item() for x in told[name]] == pytest.approx([value, idle], rel=1e-4)


def test_a_missing_frame_is_hidden_and_not_a_frame_of_zeros():
    """As the official code hides a frame that is all zero."""
    batch = random_batch(small_task(), 4, seed=1, training=False)
    for m in MODALITIES:
        batch.present[m][:, 1] = False
        batch.features[m][:, 1] = 0.0
    model = small_transm().eval()
    reading = model.read(batch)
    assert all(not mask[:, 1].any() for mask in reading.masks.values())
    expected = model.represent(batch)
    changed = {m: x.clone() for m, x in batch.features.items()}
    for x in changed.values():
        x[:, 1] = 5.0
    assert torch.allclose(model.represent(replace(batch, features=changed)), expected, atol=1e-6)


def test_a_samples_numbers_do_not_depend_on_the_others():
    batch = random_batch(small_task(num_frames=UNEQUAL), 6, seed=2, kept=0.5, training=False)
    model = small_transm(small_task(num_frames=UNEQUAL)).eval()
    together = model.represent(batch)
    for i in range(6):
        assert torch.allclose(model.represent(select(batch, [i]))[0], together[i], atol=1e-5)


def test_padding_counts_in_no_loss():
    batch = random_batch(small_task(), 6, seed=1)
    model = without_dropout(small_transm())
    padded = {m: torch.where(batch.frames[m][:, :, None], x, 9.0) for m, x in batch.complete.items()}
    before, after = model.terms(batch), model.terms(replace(batch, complete=padded))
    assert before == after and all(x > 0 for x in before.values())


def test_the_sizes_are_those_of_the_official_code():
    model = TransM(small_task())
    for m, width in (("v", 200), ("a", 120)):
        chain = model.chains[m]
        assert [len(part) for part in (chain.encoder, chain.decoder, chain.encoder_back, chain.decoder_back)] == [
            10,
            5,
        ] * 2
        assert chain.encoder[0].feedforward[0].out_features == width
    assert model.head.in_features == 700
    assert model.grus["l"].candidate.shape == (2, 300, 300)
