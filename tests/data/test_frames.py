import hashlib
import json

import numpy as np
import pytest

from benchmark.data.frames import frame_extents
from benchmark.data.inspection import inspect_file
from benchmark.data.raw import RawSplit
from benchmark.data.task import find_task
from benchmark.protocol.missing import MODALITIES
from tests.data.test_formats import KEYS, restored
from tests.data_files import dump, mmsa_content, mult_content, read

T = 6


def rows(*filled):
    """One sample a text such as ``00x0``, in which x is a frame that is not zero; (N, T, 2)."""
    return np.array([[[float(c == "x")] * 2 for c in row] for row in filled])


def raw(text, audio=None, vision=None, *, lengths, mask=None):
    features = {"l": text, "a": text if audio is None else audio, "v": text if vision is None else vision}
    lengths = {m: np.array(n) for m, n in lengths.items()}
    mask = None if mask is None else np.array([[c == "1" for c in row] for row in mask])
    return RawSplit(features, lengths, np.zeros(len(text)), None, mask)


def other_length(n=3):
    """Audio of another number of frames, so that nothing is aligned to words."""
    return np.ones((n, T + 1, 2))


@pytest.mark.parametrize(
    ("filled", "length", "start"),
    [
        ("xxx000", 3, 0),  # padded behind
        ("000xxx", 3, 3),  # padded in front
        ("0x0000", 3, 0),  # zeros among the real frames do not matter
        ("0000x0", 3, 3),
        ("00x000", 3, 0),
        ("000000", 3, 0),  # nothing tells; it does not matter
        ("000000", 0, 0),
        ("xxxxxx", T, 0),
        ("00xx00", T, 0),
        ("xx0000", 5, 0),  # a length that is too long for the frames is believed
        ("0000xx", 5, 1),
    ],
)
def test_the_side_of_the_padding_is_that_of_the_zeros(filled, length, start):
    split = raw(rows(filled), other_length(1), other_length(1), lengths={"l": [length]})
    extent = frame_extents(split)["l"]
    assert (extent.start[0], extent.stop[0]) == (start, start + length) and extent.told and not extent.unclear[0]


@pytest.mark.parametrize(
    ("filled", "length"), [("xxxxxx", 3), ("xx0x00", 3), ("x0000x", 3), ("00x000", 0), ("0xxx00", 2)]
)
def test_frames_beyond_the_length_on_both_sides_are_unclear_and_the_first_are_taken(filled, length):
    split = raw(rows(filled), other_length(1), other_length(1), lengths={"l": [length]})
    extent = frame_extents(split)["l"]
    assert (extent.start[0], extent.stop[0]) == (0, length) and extent.unclear[0]


def test_each_sample_has_a_side_of_its_own():
    split = raw(rows("xx0000", "0000xx", "xxxxxx"), other_length(), other_length(), lengths={"l": [2, 2, 6]})
    extent = frame_extents(split)["l"]
    assert extent.start.tolist() == [0, 4, 0] and extent.stop.tolist() == [2, 6, 6]


@pytest.mark.parametrize(
    ("filled", "mask", "start"),
    [
        ("xxxxxx", "111000", 0),  # BERT gives numbers for its padding, too
        ("xxxxxx", "000111", 3),
        ("xxxxxx", "011100", 1),
        ("000xxx", "111000", 3),  # the features were padded in front, whatever was done with the ids
        ("xxx000", "000111", 0),
        ("00xx00", "000111", 3),  # neither side fits
        ("000x00", "000111", 3),  # either side fits; the mask's does
    ],
)
def test_where_zeros_do_not_tell_the_mask_does(filled, mask, start):
    split = raw(rows(filled), other_length(1), other_length(1), lengths={"l": [3]}, mask=[mask])
    extent = frame_extents(split)["l"]
    assert (extent.start[0], extent.stop[0]) == (start, start + 3)


def test_what_is_aligned_to_the_words_stands_where_they_do():
    """A lost face at an end, or a silent word, must not move a modality against the others."""
    text, audio, vision = rows("000xxx", "xxx000"), rows("0000x0", "0x0000"), rows("000000", "000000")
    extents = frame_extents(raw(text, audio, vision, lengths={"l": [3, 3]}))
    assert all(extents[m].start.tolist() == [3, 0] and not extents[m].unclear.any() for m in MODALITIES)
    # Audio alone could be padded on either side; vision tells.
    text, audio, vision = rows("000000"), rows("00xx00"), rows("00xxxx")
    extents = frame_extents(raw(text, audio, vision, lengths={"l": [4], "a": [4], "v": [4]}))
    assert all(extents[m].start.tolist() == [2] for m in MODALITIES)


def test_the_mask_places_berts_words_and_zeros_place_what_is_padded_elsewhere():
    """No row of language is zero, so each modality must be asked for itself."""
    split = raw(rows("xxxxxx"), rows("0000xx"), rows("xx0000"), lengths={"l": [2]}, mask=["110000"])
    extents = frame_extents(split)
    assert [extents[m].start[0] for m in MODALITIES] == [0, 4, 0]
    assert [bool(extents[m].unclear[0]) for m in MODALITIES] == [True, False, False]


def fronted(content):
    for split in content.values():
        for key in KEYS.values():
            x = split[key]
            split[f"{key}_lengths"] = (x != 0).any(2).sum(1).tolist()
    return content


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("keys", [("text", "audio", "vision"), ("text",), ("vision",)])
def test_padding_in_front_with_lengths_gives_what_zeros_alone_give(tmp_path, aligned, keys):
    content = mult_content(aligned=aligned)
    expected = read(dump(tmp_path / "x.pkl", content), "mosi")
    content = fronted(mult_content(aligned=aligned))
    for split in content.values():
        for key in KEYS.values():
            if key not in keys:
                del split[f"{key}_lengths"]
    dataset = read(dump(tmp_path / "y.pkl", content), "mosi")
    assert dataset.warnings == ()
    for name, split in dataset.splits.items():
        for m in MODALITIES:
            assert np.array_equal(split.features[m], expected.splits[name].features[m])
            assert np.array_equal(split.lengths[m], expected.splits[name].lengths[m])
            row = int(split.lengths[m].argmin())
            found = split.features[m][row, : split.lengths[m][row]]
            assert np.allclose(found, restored(dataset, content, name, m, row), atol=1e-4)


@pytest.mark.parametrize("padding", [np.nan, -np.inf])
@pytest.mark.parametrize("make", [lambda: fronted(mult_content(aligned=False)), lambda: fronted(mmsa_content())])
def test_lengths_tell_that_frames_of_nan_are_padding(tmp_path, make, padding):
    expected = read(dump(tmp_path / "x.pkl", make()), "mosi")
    content = make()
    for split in content.values():
        split["audio"] = np.where(split["audio"] == 0, np.float32(padding), split["audio"])
    dataset = read(dump(tmp_path / "y.pkl", content), "mosi")
    assert len(dataset.warnings) == 3 and all("set to 0" in w and "if this is" not in w for w in dataset.warnings)
    for name, split in dataset.splits.items():
        assert np.array_equal(split.features["a"], expected.splits[name].features["a"])
        assert np.array_equal(split.lengths["a"], expected.splits[name].lengths["a"])


def test_what_is_read_otherwise_than_before_has_a_fingerprint_of_its_own(tmp_path):
    """Cells that were trained on misread frames are not taken for those of the frames as they are."""
    behind, front = mmsa_content(), fronted(mult_content())
    plain = fronted(mmsa_content())
    prints = [read(dump(tmp_path / f"{i}.pkl", c), "mosi") for i, c in enumerate((behind, plain, front))]
    for number, dataset in enumerate(prints):
        sha = hashlib.sha256((tmp_path / f"{number}.pkl").read_bytes()).hexdigest()
        reading = json.dumps(find_task("mosi").reading(), sort_keys=True)
        as_before = "file-" + hashlib.sha256(f"{sha}:2:{reading}".encode()).hexdigest()[:16]
        assert (dataset.fingerprint == as_before) == (number < 2)


def test_frames_beyond_the_lengths_are_counted_in_a_warning_but_not_those_of_berts_padding(tmp_path):
    content = mmsa_content()
    for split in content.values():
        split["text"] = split["text"] + 1.0  # as a language model gives for its padding
    content["train"]["audio_lengths"] = [max(0, n - 1) for n in content["train"]["audio_lengths"]]
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    (warning,) = dataset.warnings
    assert "in 12 samples of 'train', frames of audio beyond audio_lengths are not zero" in warning
    assert "the first ones are kept: correct the lengths or leave them out" in warning
    assert dataset.splits["train"].lengths["a"].tolist() == content["train"]["audio_lengths"]
    for name, split in content.items():
        assert np.array_equal(dataset.splits[name].lengths["l"], split["text_bert"][:, 1].sum(1))
        split["text_lengths"] = split["text_bert"][:, 1].sum(1).astype(int).tolist()
    warnings = read(dump(tmp_path / "y.pkl", content), "mosi").warnings
    assert sum("frames of language beyond text_lengths" in warning for warning in warnings) == 3


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: mult_content(), "found from zeros, padded in front"),
        (lambda: fronted(mult_content(aligned=False)), "told by the file, padded in front"),
        (lambda: fronted(mmsa_content()), "told by the file, padded behind"),
    ],
)
def test_inspecting_tells_the_side(tmp_path, make, told):
    text = inspect_file(dump(tmp_path / "x.pkl", make())).text
    assert text.count(f"({told})") >= 6


def test_inspecting_tells_of_two_sides_and_of_none(tmp_path):
    content = fronted(mmsa_content())
    for split in content.values():
        split["audio"][:4] = split["audio"][:4, ::-1]
        split["vision"][:] = 1.0
        split["vision_lengths"] = [7] * len(split["id"])
    train = inspect_file(dump(tmp_path / "x.pkl", content)).text.split("valid:")[0]
    short = np.array(content["train"]["audio_lengths"]) < 9
    assert f"padded in front in {short[:4].sum()} samples, behind in {short[4:].sum()})" in train
    assert "median 7 (told by the file)" in train
