"""Inputs that could be read, but not as what they are."""

import re

import numpy as np
import pytest

from benchmark.data.formats import read_dataset
from benchmark.data.task import find_task
from benchmark.errors import BenchmarkError
from tests.data_files import SIZES, dump, mmsa_content, mult_content, read

KEYS = ("text", "audio", "vision")
RNG = np.random.default_rng(0)


def refusal(tmp_path, content, task="mosi"):
    with pytest.raises(BenchmarkError) as caught:
        read(dump(tmp_path / "x.pkl", content), task)
    assert str(caught.value).isprintable()
    return str(caught.value)


def warnings_of(tmp_path, content, task="mosi"):
    return read(dump(tmp_path / "x.pkl", content), task).warnings


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
    text = refusal(tmp_path, content)
    assert "lacks 'language' or 'text'" in text and "'text_bert' holds token ids" in text and "keys:" not in text
    for name, n in SIZES.items():
        content[name]["glove"] = RNG.standard_normal((n, 6, 300))
    assert "or name other features of language, 'glove', with keys: {language: …} in a task file" in refusal(
        tmp_path, content
    )
    own = find_task({"name": "mine", "target": {"kind": "polarity"}, "keys": {"language": "glove"}})
    path = dump(tmp_path / "y.pkl", content)
    assert read_dataset(path, own).feature_dims["l"] == 300


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


# --- Files of another data set ----------------------------------------------------------------------------------------


def of_sizes(*sizes, labels=None):
    """A file of so many samples; `labels` are repeated."""
    content = {}
    for name, n in zip(SIZES, sizes, strict=True):
        content[name] = {key: RNG.standard_normal((n, 1, 2)) for key in KEYS}
        content[name] |= {"id": [f"{name}{row}" for row in range(n)]}
        content[name]["labels"] = np.linspace(-3, 3, n) if labels is None else np.resize(np.array(labels), n)
    return content


FIFTHS, THIRDS, WHOLE = [-0.6, 0.0, 1.4, 3.0], [-1 / 3, 0.0, 2 / 3, 5 / 3, -1], [-3, -1, 0, 2]
MOSI, MOSEI = (1284, 229, 686), (16326, 1871, 4659)


@pytest.mark.parametrize(
    ("content", "task", "said"),
    [
        (of_sizes(*MOSI), "mosei", "this looks like CMU-MOSI, not CMU-MOSEI: its splits have 1284, 229, 686 samples; ask for task 'mosi'"),
        (of_sizes(*MOSI), "mosei_intensity", "this looks like CMU-MOSI, not CMU-MOSEI"),
        (of_sizes(*MOSEI), "mosi", "this looks like CMU-MOSEI, not CMU-MOSI: its splits have 16326, 1871, 4659 samples; ask for task 'mosei'"),
        (of_sizes(12, 6, 8, labels=FIFTHS), "mosei", "this looks like CMU-MOSI, not CMU-MOSEI: its labels are multiples of 0.2, and not of 0.333"),
        (of_sizes(12, 6, 8, labels=THIRDS), "mosi", "this looks like CMU-MOSEI, not CMU-MOSI: its labels are multiples of 0.333, and not of 0.2"),
        (of_sizes(414, 138, 138, labels=[0, 1]), "ur_funny", "this looks like MUStARD, not UR-FUNNY: its splits have 414, 138, 138 samples"),
        (of_sizes(10598, 2626, 3290, labels=[0, 1]), "mustard", "this looks like UR-FUNNY, not MUStARD"),
        (of_sizes(2717, 798, 938, labels=[0, 1, 2, 3]), "iemocap6", "this looks like IEMOCAP, not IEMOCAP .6 emotions.: its splits"),
    ],
)  # fmt: skip
def test_a_file_of_another_data_set_is_refused(tmp_path, content, task, said):
    assert re.search(said, refusal(tmp_path, content, task))


@pytest.mark.parametrize(
    ("content", "task"),
    [
        (of_sizes(*MOSI), "mosi"),
        (of_sizes(*MOSI), "mosi_intensity"),
        (of_sizes(*MOSI, labels=THIRDS), "mosi"),  # its number of samples goes before what labels look like
        (of_sizes(12, 6, 8), "mosi"),
        (of_sizes(12, 6, 8), "mosei"),
        (of_sizes(12, 6, 8, labels=FIFTHS), "mosi"),
        (of_sizes(12, 6, 8, labels=THIRDS), "mosei_intensity"),
        (of_sizes(12, 6, 8, labels=WHOLE), "mosi"),
        (of_sizes(12, 6, 8, labels=WHOLE), "mosei"),
        (of_sizes(12, 6, 8, labels=np.array(FIFTHS, dtype=np.float32)), "mosi"),
        (of_sizes(12, 6, 8, labels=[0, 1]), "mustard"),
    ],
)
def test_a_file_that_may_be_the_tasks_is_taken(tmp_path, content, task):
    assert warnings_of(tmp_path, content, task) == ()


def test_a_task_of_ones_own_takes_what_looks_like_another_unless_it_says_what_it_looks_like(tmp_path):
    content = of_sizes(*MOSI)
    own = {"name": "mine", "display": "Mine", "target": {"kind": "polarity"}}
    assert warnings_of(tmp_path, content, own) == ()
    assert warnings_of(tmp_path, content, own | {"dataset": "mosi", "known": {"samples": [1, 2, 3]}}) == ()
    told = refusal(tmp_path, content, own | {"known": {"samples": [100, 50, 50]}})
    assert "this looks like CMU-MOSI, not Mine" in told and "write a task file of your own if it is other data" in told
    assert warnings_of(tmp_path, content, own | {"known": {"samples": list(MOSI)}}) == ()


# --- Samples and tasks that lack a modality ---------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", ["la", "lv", "av"])
@pytest.mark.parametrize("make", [lambda: mult_content(), lambda: mult_content(aligned=False), lambda: mmsa_content()])
def test_a_task_of_two_modalities_has_no_frame_of_the_third(tmp_path, make, modalities):
    task = {"name": "mine", "target": {"kind": "polarity"}, "modalities": modalities}
    content, expected = make(), read(dump(tmp_path / "x.pkl", make()))
    (gone,) = set("lav") - set(modalities)
    for split in content.values():
        key = KEYS["lav".index(gone)]
        split.pop(key)
        split.pop(f"{key}_lengths", None)
    dataset = read(dump(tmp_path / "y.pkl", content), task)
    assert dataset.warnings == () and dataset.feature_dims[gone] == dataset.max_frames[gone] == 1
    for name, split in dataset.splits.items():
        assert not split.lengths[gone].any() and split.features[gone].shape == (SIZES[name], 1, 1)
        assert not split.features[gone].any() and split.features[gone].dtype == np.float32
        for m in modalities:
            assert np.array_equal(split.features[m], expected.splits[name].features[m])
            assert np.array_equal(split.lengths[m], expected.splits[name].lengths[m])


def test_what_a_task_of_two_modalities_does_not_have_is_not_looked_at(tmp_path):
    """Not even token ids, or another number of samples."""
    content = mmsa_content()
    for split in content.values():
        split["text"] = np.arange(100)
    task = {"name": "mine", "target": {"kind": "polarity"}, "modalities": "av"}
    assert warnings_of(tmp_path, content, task) == ()


@pytest.mark.parametrize("aligned", [True, False])
def test_a_sample_that_lacks_a_modality_has_no_frame_of_it(tmp_path, aligned):
    content = mmsa_content(aligned=aligned)
    for split in content.values():
        lengths = {key: (split[key] != 0).any(2).sum(1) for key in KEYS}
        for place, key in enumerate(KEYS):
            split[key][place], lengths[key][place] = 0.0, 0
            split[f"{key}_lengths"] = lengths[key]
    dataset = read(dump(tmp_path / "x.pkl", content))
    assert dataset.warnings == ()
    for split in dataset.splits.values():
        for place, m in enumerate("lav"):
            assert split.lengths[m][place] == 0 and not split.features[m][place].any()
            assert (np.delete(split.lengths[m], place) > 0).all()


def test_features_of_bert_are_features_of_any_width(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["text"] = RNG.standard_normal((n, 6, 768)).astype(np.float32)
    dataset = read(dump(tmp_path / "x.pkl", content))
    assert dataset.feature_dims["l"] == 768 and dataset.warnings == ()
    for name in SIZES:
        assert np.array_equal(dataset.splits[name].lengths["l"], content[name]["text_bert"][:, 1].sum(1))


def test_beside_token_ids_the_features_are_named(tmp_path):
    content = with_text(lambda n: ids(n, 6))
    for name, n in SIZES.items():
        content[name]["bert"] = RNG.standard_normal((n, 6, 768))
    assert "or name other features of language, 'bert', with keys: {language: …} in a task file" in refusal(
        tmp_path, content
    )
    own = {"name": "mine", "target": {"kind": "polarity"}, "keys": {"language": "bert"}}
    assert read(dump(tmp_path / "y.pkl", content), own).feature_dims["l"] == 768


def test_of_two_names_for_language_the_one_that_is_read_is_told(tmp_path):
    content = mmsa_content()
    for split in content.values():
        split["language"] = split["text"] + 0.0
    found = warnings_of(tmp_path, content)
    assert found == tuple(
        f"x.pkl: split {name!r}, it holds 'language' and 'text'; only 'language' is read" for name in SIZES
    )


def test_a_mask_is_of_the_usual_features_only(tmp_path):
    """Words of another tokeniser stand in other places."""
    content = mmsa_content()
    for split in content.values():
        split["glove"] = np.ones_like(split["text"])
    own = {"name": "mine", "target": {"kind": "polarity"}, "keys": {"language": "glove"}}
    assert set(read(dump(tmp_path / "x.pkl", content), own).splits["train"].lengths["l"]) == {6}
