"""Inputs that could be read, but not as what they are."""

import numpy as np
import pytest

from benchmark.data.formats import read_dataset
from benchmark.errors import BenchmarkError
from tests.data_files import SIZES, dump, mmsa_content, mult_content

KEYS = ("text", "audio", "vision")
RNG = np.random.default_rng(0)


def refusal(tmp_path, content, task="mosi"):
    with pytest.raises(BenchmarkError) as caught:
        read_dataset(dump(tmp_path / "x.pkl", content), task)
    assert str(caught.value).isprintable()
    return str(caught.value)


def warnings_of(tmp_path, content, task="mosi"):
    return read_dataset(dump(tmp_path / "x.pkl", content), task).warnings


def with_text(make):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["text"] = make(n)
        del content[name]["text_bert"]
    return content


# --- Token ids --------------------------------------------------------------------------------------------------------


def ids(*shape):
    return RNG.integers(100, 30_000, shape)


def padded(n, with_=0):
    return np.where(np.arange(6) < RNG.integers(2, 6, (n, 1)), ids(n, 6), with_)


def bert(n, dtype=np.float32, order=(0, 1, 2)):
    tokens = padded(n)
    return np.stack([tokens, tokens != 0, 0 * tokens], axis=1)[:, list(order)].astype(dtype)


TOKENS = {
    "(N, T) of int64": (lambda n: ids(n, 6), "(12, 6)"),
    "(N, T) of int32": (lambda n: ids(n, 6).astype(np.int32), "(12, 6)"),
    "(N, T) of float32": (lambda n: ids(n, 6).astype(np.float32), "(12, 6)"),
    "(N, T) in lists": (lambda n: ids(n, 6).tolist(), "(12, 6)"),
    "(N, T) of a small vocabulary": (lambda n: RNG.integers(0, 12, (n, 6)), "(12, 6)"),
    "padded with zeros": (padded, "(12, 6)"),
    "padded with -1": (lambda n: padded(n, -1), "(12, 6)"),
    "padded with -100, float": (lambda n: padded(n, -100).astype(np.float64), "(12, 6)"),
    "padded with NaN": (lambda n: padded(n, np.nan), "(12, 6)"),
    "text_bert": (bert, "(12, 3, 6)"),
    "text_bert of int64": (lambda n: bert(n, np.int64), "(12, 3, 6)"),
    "text_bert, segments before the mask": (lambda n: bert(n, order=(0, 2, 1)), "(12, 3, 6)"),
    "text_bert of a small vocabulary": (lambda n: np.minimum(bert(n), 9), "(12, 3, 6)"),
    "ids and mask": (lambda n: bert(n)[:, :2], "(12, 2, 6)"),
    "stacked behind": (lambda n: bert(n).transpose(0, 2, 1).copy(), "(12, 6, 3)"),
    "(N, T, 1)": (lambda n: ids(n, 6, 1), "(12, 6, 1)"),
    "(N, T, 1) of float32": (lambda n: ids(n, 6, 1).astype(np.float32), "(12, 6, 1)"),
    "(N, 1, T)": (lambda n: ids(n, 1, 6), "(12, 1, 6)"),
}


@pytest.mark.parametrize("case", TOKENS)
def test_token_ids_are_no_features(tmp_path, case):
    make, shape = TOKENS[case]
    text = refusal(tmp_path, with_text(make))
    assert f"split 'train', text: whole numbers of shape {shape} are token ids, not features; write what a" in text


FEATURES = {
    "one-hot": lambda n: np.eye(40, dtype=np.int64)[RNG.integers(0, 40, (n, 6))],
    "one-hot in three frames": lambda n: np.eye(40, dtype=np.int64)[RNG.integers(0, 40, (n, 3))],
    "three frames, the last one empty": lambda n: np.eye(9)[RNG.integers(0, 9, (n, 3))] * np.array([[[1], [1], [0]]]),
    "counts in one frame": lambda n: RNG.integers(0, 9, (n, 1, 50)),
    "counts in frames": lambda n: RNG.integers(0, 9, (n, 6, 50)),
    "counts without frames": lambda n: RNG.integers(0, 9, (n, 50)).astype(np.float32),
    "marks without frames": lambda n: RNG.integers(0, 2, (n, 50)),
    "bytes": lambda n: RNG.integers(0, 256, (n, 6, 50)).astype(np.uint8),
    "quantised": lambda n: RNG.integers(-128, 128, (n, 1, 50)).astype(np.int8),
    "a language model's": lambda n: RNG.standard_normal((n, 50)),
    "three frames of numbers": lambda n: 100 * RNG.standard_normal((n, 3, 50)),
    "one number a frame": lambda n: 100 * RNG.standard_normal((n, 6, 1)),
}


@pytest.mark.parametrize("case", FEATURES)
def test_features_that_are_whole_numbers_are_features(tmp_path, case):
    assert warnings_of(tmp_path, with_text(FEATURES[case])) == ()


def test_pictures_may_be_bytes(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["vision"] = RNG.integers(1, 256, (n, 7, 64)).astype(np.uint8)
        del content[name]["vision_lengths"]
    assert warnings_of(tmp_path, content) == ()


def test_a_file_with_token_ids_alone_says_so(tmp_path):
    content = mmsa_content()
    for split in content.values():
        del split["text"]
    assert "lacks 'text'" in refusal(tmp_path, content) and "'text_bert' holds token ids" in refusal(tmp_path, content)


# --- BERT's mask ------------------------------------------------------------------------------------------------------


def test_a_mask_with_a_hole_is_refused_where_it_is_needed(tmp_path):
    content = mmsa_content()
    content["valid"]["text_bert"][2:4, 1] = [1, 0, 1, 1, 0, 0]
    text = refusal(tmp_path, content)
    assert (
        "split 'valid', text_bert: the attention mask is more than one run of ones in 2 samples, the first in row 2"
        in text
    )
    for split in content.values():
        split["text_lengths"] = (split["text"] != 0).any(2).sum(1)
    assert warnings_of(tmp_path, content) == ()


def test_rows_in_another_order_are_no_empty_language(tmp_path):
    """Tokenisers give ids, segments, mask; taken for a mask, the segments say that there is no word at all."""
    content = mmsa_content()
    for split in content.values():
        split["text_bert"] = split["text_bert"][:, [0, 2, 1]]
    assert "has not a single one, so that language would be empty" in refusal(tmp_path, content)
    for split in content.values():
        split["text_bert"] = split["text_bert"][:, [2, 0, 1]]
    assert all("its second row is no attention mask" in text for text in warnings_of(tmp_path, content))


# --- Axes -------------------------------------------------------------------------------------------------------------


def turned(content, keys=KEYS):
    for split in content.values():
        split |= {key: split[key].transpose(0, 2, 1).copy() for key in keys}
    return content


@pytest.mark.parametrize(
    ("content", "task", "told"),
    [
        (turned(mult_content()), "mosi", "language, audio, vision"),
        (turned(mult_content(aligned=False)), "mosi", "language, audio, vision"),
        (turned(mult_content("iemocap")), "iemocap", "language, audio, vision"),
        (turned(mmsa_content()), "mosi", "language, audio, vision"),
        (turned(mmsa_content(aligned=True), ["audio"]), "mosi", "audio"),
    ],
)
def test_axes_that_are_exchanged_are_seen_from_where_the_padding_stands(tmp_path, content, task, told):
    text = refusal(tmp_path, content, task)
    assert f"features of {told} look like (samples, features, frames)" in text and "exchange the last two axes" in text


def test_zeros_among_the_numbers_hide_nothing_where_two_modalities_agree(tmp_path):
    content = mult_content()
    for split in content.values():
        for key in KEYS:
            split[key][:, :, 0] *= RNG.random((len(split[key]), 6)) < 0.7  # a feature that is often zero
    assert "look like (samples, features, frames)" in refusal(tmp_path, turned(content))


@pytest.mark.parametrize("t", [1, 6])
def test_features_with_zeros_are_not_taken_for_exchanged_ones(tmp_path, t):
    content = mult_content()
    for name, n in SIZES.items():
        for key in KEYS:
            content[name][key] = np.maximum(RNG.standard_normal((n, t, 12)), 0) + np.eye(12)[0]
    assert warnings_of(tmp_path, content) == ()


# --- What is told -----------------------------------------------------------------------------------------------------


def test_a_modality_of_zeros_is_told(tmp_path):
    content = mult_content(aligned=False)
    for name in ("train", "test"):
        content[name]["vision"][:] = 0.0
    (warning,) = warnings_of(tmp_path, content)
    assert "vision of 'train', 'test' is nothing but zeros, so that it says nothing" in warning


@pytest.mark.parametrize("side", ["front", "behind"])
def test_padding_that_is_not_zero_is_told(tmp_path, side):
    """Log-energies are padded with their floor, pictures with the colour of nothing."""
    content = mult_content(aligned=False)
    for split in content.values():
        x = np.where(split["audio"] == 0, -11.5, split["audio"])
        split["audio"] = x if side == "front" else x[:, ::-1].copy()
    found = warnings_of(tmp_path, content)
    assert len(found) == 3
    assert (
        "12 samples of 'train' begin or end with the same frame of audio several times, which is not zero" in found[0]
    )
    assert "write zeros there or tell audio_lengths" in found[0]


def test_padding_of_nan_is_told(tmp_path):
    content = mult_content(aligned=False)
    x = content["test"]["audio"]
    content["test"]["audio"] = np.where(x == 0, np.nan, x)
    short = int((x[:, 0] == 0).all(1).sum())
    (warning,) = warnings_of(tmp_path, content)
    assert f"in {short} the first or last frame is all NaN: if this is padding, write zeros there" in warning


@pytest.mark.parametrize("with_ids", [True, False])
def test_samples_that_stand_in_two_splits_under_other_ids_are_told(tmp_path, with_ids):
    content = mmsa_content()
    content["test"] = {key: x[:8] for key, x in content["train"].items()}
    content["test"]["id"] = [f"new{row}" for row in range(8)]
    if not with_ids:
        for split in content.values():
            del split["id"]
    found = [text for text in warnings_of(tmp_path, content) if "no ids" not in text]
    assert found == ["x.pkl: 8 samples of 'test' are those of 'train' under other ids, number by number"]


def test_a_waveform_is_no_frame(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["audio"] = RNG.standard_normal((n, 16_000)).astype(np.float32)
        del content[name]["audio_lengths"]
    found = warnings_of(tmp_path, content)
    assert len(found) == 3 and "audio of 'train' has 16000 numbers a sample in one frame" in found[0]


def test_of_two_validation_splits_the_one_that_is_read_is_told(tmp_path):
    content = mmsa_content()
    content |= {"val": content["test"], "dev": content["test"]}
    assert warnings_of(tmp_path, content) == ("x.pkl: it holds 'valid' and 'dev' and 'val'; only 'valid' is read",)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    content = mmsa_content()
    assert "holds 'train' twice" in refusal(tmp_path, {**content, b"train": content["test"]})
    content["train"][b"audio"] = content["train"]["audio"]
    assert "split 'train' holds 'audio' twice" in refusal(tmp_path, content)
