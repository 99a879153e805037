"""Writing a data file of one's own: what is written is read again, and what does not fit is told."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch

import benchmark
from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import MODALITIES
from tests.data_files import neutral_content, read

D = {"language": 5, "audio": 4, "vision": 3}
each_suffix = pytest.mark.parametrize("suffix", [".npz", ".h5", ".HDF5"])


def ragged(n, d, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((int(t), d)) + 3 for t in rng.integers(1, 7, n)]


def splits(**changes):
    """Three splits in lists of arrays of different length; `changes` are put into each, or made by a function of N."""
    made = {}
    for name, n in (("train", 12), ("valid", 6), ("test", 8)):
        made[name] = {key: ragged(n, d, n) for key, d in D.items()}
        made[name] |= {"labels": np.linspace(-3, 3, n), "ids": [f"{name}{row}" for row in range(n)]}
        for key, make in changes.items():
            made[name][key] = make(n)
            if made[name][key] is None:
                del made[name][key]
    return made


@each_suffix
def test_lists_of_arrays_are_padded_and_come_back(tmp_path, suffix):
    made = splits()
    made["train"]["audio"][3] = np.zeros((0, 4))
    made["train"]["audio"][4] = None
    made["test"]["vision"][0] = np.zeros((0, 0))
    path = benchmark.save_dataset(tmp_path / "new" / f"mine{suffix}", **made)
    assert path == tmp_path / "new" / f"mine{suffix}" and [p.name for p in path.parent.iterdir()] == [path.name]
    dataset = read(path)
    assert dataset.warnings == () and dataset.feature_dims == dict(zip(MODALITIES, D.values(), strict=True))
    for name, split in dataset.splits.items():
        assert split.ids.tolist() == made[name]["ids"] and np.allclose(split.labels, made[name]["labels"])
        for m, key in zip(MODALITIES, D, strict=True):
            lengths = [0 if x is None else len(x) for x in made[name][key]]
            assert split.lengths[m].tolist() == lengths
    assert (
        dataset.splits["train"].lengths["a"][[3, 4]].tolist() == [0, 0] == [0, dataset.splits["test"].lengths["v"][0]]
    )
    train = np.concatenate(made["train"]["language"])
    expected = (made["test"]["language"][2] - train.mean(0)) / train.std(0)
    found = dataset.splits["test"].features["l"][2, : len(expected)]
    assert np.allclose(found, expected, atol=1e-4)


@each_suffix
def test_padded_arrays_come_back_with_their_lengths(tmp_path, suffix):
    content = neutral_content()
    path = benchmark.save_dataset(tmp_path / f"x{suffix}", **content)
    dataset = read(path)
    for name, split in content.items():
        for m, key in zip(MODALITIES, D, strict=True):
            assert np.array_equal(dataset.splits[name].lengths[m], split[f"{key}_lengths"])


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"vision": lambda n: None}, {"modalities": "la"}),
        ({"language": lambda n: None}, {"modalities": "av"}),
        ({"audio": lambda n: np.ones((n, 4)) * np.arange(1, n + 1)[:, None]}, {}),
        ({"audio": lambda n: [np.arange(1.0, 5)] * n}, {}),
        ({"audio": lambda n: torch.ones(n, 7, 4) * torch.arange(1, n + 1)[:, None, None]}, {}),
        ({"audio": lambda n: [torch.ones(2 + row % 3, 4) * (row + 1) for row in range(n)]}, {}),
        ({"audio": lambda n: np.ones((n, 7, 4), dtype=np.int64) * np.arange(1, n + 1)[:, None, None]}, {}),
        ({"audio": lambda n: pd.DataFrame(np.ones((n, 4)) * np.arange(1, n + 1)[:, None])}, {}),
        ({"labels": lambda n: pd.Series(np.linspace(-1, 1, n))}, {}),
        ({"labels": lambda n: [np.float32(x) for x in np.linspace(-1, 1, n)]}, {}),
        ({"labels": lambda n: torch.linspace(-1, 1, n)}, {"target": {"kind": "intensity"}}),
        ({"labels": lambda n: ["yes", "no"] * (n // 2)}, {"target": {"kind": "category", "names": ["yes", "no"]}}),
        ({"labels": lambda n: pd.Series(["yes", "no"] * (n // 2))}, {"target": {"kind": "category", "names": ["yes", "no"]}}),
        ({"labels": lambda n: np.eye(2)[np.arange(n) % 2]}, {"target": {"kind": "category", "names": ["yes", "no"]}}),
        ({"ids": lambda n: range(n)}, {}),
        ({"ids": lambda n: [("video", row) for row in range(n)]}, {}),
        ({"ids": lambda n: pd.Series([f"a{row}" for row in range(n)])}, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_what_people_have_is_taken(tmp_path, suffix, changes, task):
    made = splits(**changes)
    if "ids" in changes:
        made = {name: split | {"ids": [(name, i) for i in split["ids"]]} for name, split in made.items()}
    path = benchmark.save_dataset(tmp_path / f"x{suffix}", **made)
    dataset = read(path, {"name": "mine", "target": {"kind": "polarity"}} | task)
    assert dataset.warnings == ()
    assert set(dataset.feature_dims.values()) - {1} and all(len(split) for split in dataset.splits.values())


def test_without_ids_rows_are_numbered_and_that_is_told(tmp_path):
    path = benchmark.save_dataset(tmp_path / "x.npz", **splits(ids=lambda n: None))
    assert sum("has no ids" in warning for warning in read(path).warnings) == 3


@each_suffix
def test_the_same_data_give_the_same_bytes_and_others_do_not_replace_them(tmp_path, suffix):
    path = benchmark.save_dataset(tmp_path / f"x{suffix}", **splits())
    before = path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()
    benchmark.save_dataset(str(path), **splits())
    assert (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) == before
    other = splits(labels=lambda n: np.linspace(-1, 1, n))
    with pytest.raises(BenchmarkError, match=r"is there and holds other data; give another name, or overwrite=True$"):
        benchmark.save_dataset(path, **other)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before[1]
    benchmark.save_dataset(path, **other, overwrite=True)
    assert read(path).splits["test"].labels.max() == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path, monkeypatch):
    def write_array(file, array, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array", write_array)
    with pytest.raises(BenchmarkError, match=r"^cannot write .*x\.npz: No space left on device$"):
        benchmark.save_dataset(tmp_path / "x.npz", **splits())
    assert list(tmp_path.iterdir()) == []


def one(key, make):
    return {key: make}


def repeated(n):
    return ["a"] * n


REFUSED = {
    "a misspelt key": (one("langauge", lambda n: 1), "train: unknown key 'langauge'; did you mean language"),
    "another key": (one("speaker", lambda n: 1), "train: unknown key 'speaker'; .*there are: audio, audio_lengths, ids"),
    "no labels": (one("labels", lambda n: None), "train lacks labels; give one a sample"),
    "fewer labels": (one("labels", lambda n: np.ones(n - 1)), "train has differing sample counts: 12 language, .*11 labels"),
    "fewer ids": (one("ids", lambda n: ["a", "b"]), "2 ids; give the same samples everywhere"),
    "an id twice": (one("ids", repeated), "train, ids: 'a' stands there twice; give each sample its own"),
    "ids of no list": (one("ids", lambda n: "abc"), "train, ids: a str where one id a sample is expected"),
    "words as features": (one("audio", lambda n: ["word"] * n), "train, audio: no array of numbers .*or text"),
    "an array of words": (one("audio", lambda n: np.array([["word"]] * n)), "train, audio: holds <U4 where numbers are expected .'word'."),
    "rows of different length": (one("audio", lambda n: [[[1.0]], [[1.0], [2.0]]] * (n // 2)), "train, audio: no array of numbers"),
    "one number a sample": (one("audio", lambda n: np.ones(n)), r"train, audio: shape \(12,\) where .samples, frames, features."),
    "four axes": (one("audio", lambda n: np.ones((n, 2, 2, 2))), r"shape \(12, 2, 2, 2\)"),
    "no frame anywhere": (one("audio", lambda n: np.ones((n, 0, 2))), r"shape \(12, 0, 2\)"),
    "differing widths": (one("audio", lambda n: [np.ones((2, 3 + row % 2)) for row in range(n)]), "train, audio: differing numbers of features: 3 in row 0, 4 in row 1"),
    "complex numbers": (one("audio", lambda n: np.ones((n, 2), dtype=complex)), "holds complex128 where numbers are expected"),
    "labels of two kinds": (one("labels", lambda n: ["a", *range(n - 1)]), "train, labels: no array of numbers"),
    "a label of NaN": (one("labels", lambda n: [np.nan, *range(n - 1)]), "train, labels: row 0 is NaN or infinite; leave such samples out"),
    "lengths beyond": (one("audio_lengths", lambda n: np.full(n, 9)), "train, audio: a list of arrays tells the lengths itself"),
    "nothing": ({key: (lambda n: []) for key in (*D, "labels", "ids")}, "shape .0,. where"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, case):
    changes, said = REFUSED[case]
    with pytest.raises(BenchmarkError, match=said) as caught:
        benchmark.save_dataset(tmp_path / "x.npz", **splits(**changes))
    assert str(caught.value).isprintable() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lengths", "said"),
    [([8] * 12, "audio_lengths: give whole numbers from 0 to 7"), ([-1] * 12, "from 0 to 7"), ([1.5] * 12, "whole")],
)
def test_lengths_must_fit_the_array(tmp_path, lengths, said):
    made = splits(audio=lambda n: np.ones((n, 7, 4)))
    made["train"]["audio_lengths"] = lengths
    with pytest.raises(BenchmarkError, match=f"train, {said}|train, audio.*{said}"):
        benchmark.save_dataset(tmp_path / "x.npz", **made)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["valid"].pop("vision"), "vision differ by split: 3 numbers in train, none in valid, 3 numbers in test"),
        (lambda s: s["test"].update(audio=np.ones((8, 2))), "audio differ by split: 4 numbers in train, .*2 numbers in test"),
        (lambda s: s["test"].update(labels=["a"] * 8), "labels differ by split: numbers in train, numbers in valid, texts"),
        (lambda s: s.update(test=[1, 2]), "test is a list; give a dict with language, labels and so on"),
        (lambda s: s["train"].pop("vision") and s["train"].pop("audio"), "train has fewer than two of language, audio, vi"),
    ],
)  # fmt: skip
def test_splits_must_fit_each_other(tmp_path, change, said):
    made = splits()
    change(made)
    with pytest.raises(BenchmarkError, match=said):
        benchmark.save_dataset(tmp_path / "x.npz", **made)


@pytest.mark.parametrize("name", ["x", "x.pkl", "x.npy", ".npz"])
def test_the_name_tells_the_form(tmp_path, name):
    with pytest.raises(BenchmarkError, match=r"must end in \.npz or \.h5; give it another one"):
        benchmark.save_dataset(tmp_path / name, **splits())


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(BenchmarkError, match=r"x\.npz is there and holds other data"):
        benchmark.save_dataset(tmp_path / "x.npz", **splits())
    with pytest.raises(BenchmarkError, match=r"cannot write .*x\.npz: Is a directory"):
        benchmark.save_dataset(tmp_path / "x.npz", **splits(), overwrite=True)
