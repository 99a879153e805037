import numpy as np
import pytest

from benchmark.data import formats
from benchmark.data.inspection import inspect_file
from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import MODALITIES
from tests.data_files import DIMS, SIZES, dump, mmsa_content, mult_content, read

KEYS = dict(zip(MODALITIES, ("text", "audio", "vision"), strict=True))


def restored(dataset, content, name, m, row):
    """A sample's real frames in the file, standardised by hand."""
    train = content["train"][KEYS[m]]
    lengths = dataset.splits["train"].lengths[m]
    real = np.concatenate([_frames(train[i], lengths[i]) for i in range(len(train))]).astype(np.float64)
    sample = _frames(content[name][KEYS[m]][row], dataset.splits[name].lengths[m][row])
    return (sample - real.mean(0)) / real.std(0)


def _frames(x, length):
    """The real frames, which stand together in the file: in front or behind."""
    filled = np.flatnonzero((x != 0).any(1))
    return x[filled[0] : filled[0] + length] if len(filled) else x[:0]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("make", "task", "layout"),
    [
        (lambda: mult_content(), "mosi", "MulT, word-aligned"),
        (lambda: mult_content(aligned=False), "mosei", "MulT, unaligned"),
        (lambda: mult_content("iemocap"), "iemocap", "MulT, word-aligned"),
        (lambda: mult_content("iemocap", aligned=False), "iemocap", "MulT, unaligned"),
        (lambda: mmsa_content(aligned=True), "mosi", "MMSA, word-aligned"),
        (lambda: mmsa_content(aligned=False), "mosei_intensity", "MMSA, unaligned"),
    ],
)
def test_each_layout_is_read(tmp_path, make, task, layout, protocol):
    content = make()
    dataset = read(dump(tmp_path / "x.pkl", content, protocol), task)
    assert dataset.source == "file" and dataset.name == task and dataset.warnings == ()
    assert dataset.origin == f"x.pkl, {layout}"
    assert dataset.feature_dims == {m: DIMS[KEYS[m]] for m in MODALITIES}
    for name, n in SIZES.items():
        split = dataset.splits[name]
        assert len(split) == n == len(set(split.ids))
        for m in MODALITIES:
            assert split.features[m].dtype == np.float32
            assert not split.features[m][~split.frames(m)].any()
            for row in range(n):
                found = split.features[m][row, : split.lengths[m][row]]
                assert np.allclose(found, restored(dataset, content, name, m, row), atol=1e-4)
        labels = content[name]["labels" if "labels" in content[name] else "regression_labels"]
        if task == "iemocap":
            assert split.labels.dtype == np.int64 and split.labels.tolist() == (np.arange(n) % 4).tolist()
        else:
            assert np.array_equal(split.labels, labels.reshape(n))


def test_lengths_come_from_the_file(tmp_path):
    content = mult_content()
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    for name in SIZES:
        for m in MODALITIES:
            assert np.array_equal(dataset.splits[name].lengths[m], content[name]["lengths_"])
    content = mmsa_content()
    dataset = read(dump(tmp_path / "y.pkl", content), "mosi")
    for name in SIZES:
        assert dataset.splits[name].lengths["a"].tolist() == content[name]["audio_lengths"]
        assert np.array_equal(dataset.splits[name].lengths["l"], content[name]["text_bert"][:, 1].sum(1))


def arrays_in_an_array(*shape):
    array = np.empty(shape, dtype=object)
    for place in np.ndindex(shape):
        array[place] = np.ones(2)
    return array


def ones(*shape):
    return np.ones(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("told", "is_mask"),
    [
        (lambda n, t: ones(n, 3, t), True),
        (lambda n, t: ones(n, 3, t).astype(bool), True),
        (lambda n, t: ones(n), False),
        (lambda n, t: ones(n, 2, t), False),
        (lambda n, t: ones(n, 1, t), False),
        (lambda n, t: ones(n, 3, t + 1), False),
        (lambda n, t: ones(n, 3, t, 1), False),
        (lambda n, t: 2 * ones(n, 3, t), False),
        (lambda n, t: np.full((n, 3, t), "1"), False),
        (lambda n, t: [[1]] * n, False),
        (lambda n, t: arrays_in_an_array(n, 3, t), False),
    ],
)
def test_the_attention_mask_of_bert_tells_languages_lengths_where_it_is_one(tmp_path, told, is_mask):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["text_bert"] = told(n, content[name]["text"].shape[1])
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    for name in SIZES:
        x = content[name]["text"]
        expected = [x.shape[1]] * len(x) if is_mask else (x != 0).any(2).sum(1).tolist()
        assert dataset.splits[name].lengths["l"].tolist() == expected


def test_the_mask_holds_for_what_is_aligned_to_the_words(tmp_path):
    content = mmsa_content(aligned=True)
    for name, n in SIZES.items():
        content[name]["text_bert"] = ones(n, 3, 6)
    for split in read(dump(tmp_path / "x.pkl", content), "mosi").splits.values():
        assert all(set(split.lengths[m]) == {6} for m in MODALITIES)


def test_languages_own_lengths_go_before_the_mask(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["text_lengths"] = [2] * n
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    assert all(set(split.lengths["l"]) == {2} for split in dataset.splits.values())


def test_single_frames_are_of_no_common_words(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name] = {key: np.ones((n, 1, d), dtype=np.float32) for key, d in DIMS.items()}
        content[name] |= {"regression_labels": np.linspace(-3, 3, n), "id": [f"{name}{row}" for row in range(n)]}
    content["test"]["audio"][0] = 0.0
    lengths = read(dump(tmp_path / "x.pkl", content), "mosi").splits["test"].lengths
    assert (lengths["l"][0], lengths["a"][0], lengths["a"][1]) == (1, 0, 1)


def test_a_zero_frame_within_a_word_aligned_utterance_is_real(tmp_path):
    """A word without a vector, or a lost face: the other modalities tell that the frame is there."""
    content = mult_content()
    content["test"]["lengths_"][0] = 6
    for key in DIMS:
        content["test"][key][0] = 1.0
    content["test"]["text"][0, 0] = 0.0
    content["test"]["vision"][0] = 0.0
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    assert [dataset.splits["test"].lengths[m][0] for m in MODALITIES] == [6, 6, 6]


@pytest.mark.parametrize("flat", [True, False])
def test_modalities_may_have_one_frame(tmp_path, flat):
    content = mmsa_content()
    for split in content.values():
        for key in ("audio", "vision"):
            split[key] = split[key][:, 0] if flat else split[key][:, :1]
            split[f"{key}_lengths"] = [1] * len(split["id"])
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    assert dataset.max_frames["a"] == dataset.max_frames["v"] == 1 < dataset.max_frames["l"]


def test_a_sample_without_frames_and_emotion_labels_without_the_pair(tmp_path):
    content = mult_content("iemocap", aligned=False)
    content["train"]["audio"][3] = 0.0
    for split in content.values():
        split["labels"] = split["labels"][:, :, 1]
    dataset = read(dump(tmp_path / "x.pkl", content), "iemocap")
    assert dataset.splits["train"].lengths["a"][3] == 0
    assert dataset.splits["test"].labels.tolist() == [0, 1, 2, 3] * 2


MULTS_ORDER = {"neutral": 383, "happy": 135, "sad": 193, "angry": 227}  # of the columns, and how many in the test split
TABLES_ORDER = {"happy": 135, "sad": 193, "angry": 227, "neutral": 383}


@pytest.mark.parametrize(("columns", "right"), [(MULTS_ORDER, True), (TABLES_ORDER, False)])
def test_emotions_have_the_names_that_mults_code_gives_their_columns(tmp_path, columns, right):
    content = mult_content("iemocap")
    content["test"] = {key: x[np.arange(938) % 8] for key, x in content["test"].items()}
    content["test"]["id"] = [str(row) for row in range(938)]
    shown = np.repeat(np.eye(4, dtype=np.int64), list(columns.values()), axis=0)
    content["test"]["labels"] = np.stack([1 - shown, shown], axis=2)
    path = dump(tmp_path / "x.pkl", content)
    dataset = read(path, "iemocap")
    found = {name: int((dataset.splits["test"].labels == k).sum()) for k, name in enumerate(dataset.target.categories)}
    read_as = dict(zip(MULTS_ORDER, columns.values(), strict=True))
    assert found == read_as
    text = inspect_file(path).text
    assert ", ".join(f"{count} {name}" for name, count in found.items()) in text
    doubts = [w for w in dataset.warnings if "say that they are happy, sad, angry, neutral" in w]
    assert len(doubts) == (not right) == text.count("bear wrong names")


def test_standardisation_uses_real_training_frames_only(tmp_path):
    content = mult_content()
    for split in ("valid", "test"):
        content[split]["audio"] *= 100
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    train = dataset.splits["train"]
    for m in MODALITIES:
        real = train.features[m][train.frames(m)]
        assert np.allclose(real.mean(0), 0, atol=1e-5) and np.allclose(real.std(0), 1, atol=1e-5)
    assert np.abs(dataset.splits["test"].features["a"]).max() > 50


def test_nan_and_infinity_in_features_become_zero_after_a_warning(tmp_path):
    content = mult_content()
    content["train"]["audio"][2, 5, 1] = np.nan
    content["train"]["audio"][3, 5, :] = -np.inf
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    (warning,) = dataset.warnings
    assert "5 NaN or infinite numbers in audio of 'train', in 2 samples, set to 0" in warning
    assert all(np.isfinite(s.features[m]).all() for s in dataset.splits.values() for m in MODALITIES)
    assert np.array_equal(dataset.splits["train"].lengths["a"], content["train"]["lengths_"])  # it is no padding


def test_ids_that_are_odd_are_mended_with_a_warning(tmp_path):
    content = mmsa_content()
    content["train"]["id"][1] = content["train"]["id"][0]
    content["test"]["id"][0] = content["valid"]["id"][0]
    del content["valid"]["id"]
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    assert dataset.splits["train"].ids[1] == content["train"]["id"][0] + "#2"
    assert dataset.splits["valid"].ids[2] == "valid-2"
    assert (
        len(dataset.warnings) == 2 and "stand there already" in dataset.warnings[0] and "no ids" in dataset.warnings[1]
    )
    content = mmsa_content()
    content["test"]["id"][0] = content["train"]["id"][0]
    (warning,) = read(dump(tmp_path / "y.pkl", content), "mosi").warnings
    assert "1 ids stand in both 'train' and 'test'" in warning


@pytest.mark.parametrize(
    "ids", [lambda n: [f"a{i}".encode() for i in range(n)], lambda n: np.array([[f"a{i}"] for i in range(n)])]
)
def test_ids_in_other_forms(tmp_path, ids):
    content = mult_content()
    for split in content.values():
        split["id"] = ids(len(split["labels"]))
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    assert dataset.splits["valid"].ids.tolist() == [f"a{i}" for i in range(6)]


def broken(change, content=None):
    content = content or mmsa_content()
    change(content)
    return content


def put(split, key, value):
    return lambda content: content[split].__setitem__(key, value)


REFUSED = {
    "no split": (lambda c: c.pop("valid"), "lacks the split 'valid'; it holds test, train"),
    "no array": (lambda c: c["test"].pop("audio"), "split 'test' lacks 'audio'"),
    "no labels": (lambda c: c["test"].pop("regression_labels"), "split 'test' lacks 'regression_labels' or 'labels'"),
    "split of another kind": (lambda c: c.__setitem__("test", [1, 2]), "split 'test' is a list"),
    "sample counts": (
        lambda c: c["train"].__setitem__("audio", c["train"]["audio"][1:]),
        "11 audio.*remove the samples",
    ),
    "counts of lengths": (lambda c: c["train"]["audio_lengths"].pop(), "11 audio lengths"),
    "counts of ids": (lambda c: c["train"]["id"].pop(), "11 ids"),
    "nan label": (lambda c: c["train"]["regression_labels"].__setitem__(4, np.nan), "1 labels are NaN.*row 4.*remove"),
    "long labels": (put("test", "regression_labels", np.zeros((8, 2))), r"labels of shape \(8, 2\)"),
    "length": (lambda c: c["valid"]["audio_lengths"].__setitem__(2, 10), "audio lengths: 1 outside 0 to 9.*row 2"),
    "half a frame": (lambda c: c["valid"]["audio_lengths"].__setitem__(2, 1.5), "no whole number"),
    "four axes": (put("test", "text", np.zeros((8, 2, 2, 2))), r"shape \(8, 2, 2, 2\)"),
    "text": (put("test", "text", np.array(["a"] * 8)), "holds <U1 where numbers"),
    "ragged": (put("test", "text", [[1.0], [1.0, 2.0]]), "no array of numbers"),
    "widths": (put("test", "audio", np.ones((8, 9, 3))), "audio has different numbers of features by split"),
    "nothing": (put("test", "audio", np.ones((8, 0, 4))), "holds nothing"),
    "two layouts": (lambda c: c.__setitem__("test", mult_content()["test"]), "its splits have different layouts"),
    "one label": (put("test", "regression_labels", 3.0), "one number where one a sample is expected"),
    "no label": (lambda c: c["test"].__setitem__("regression_labels", [None, *range(7)]), "1 labels are NaN.*row 0"),
    "labels in words": (
        put("test", "regression_labels", np.array(["1.0"] * 8, dtype=object)),
        r"labels of 'test' are text \('1.0'\); a sentiment of -3 to 3 is expected: write numbers",
    ),
    "labels in words and numbers": (
        put("test", "regression_labels", np.array(["1.0", *range(7)], dtype=object)),
        "regression_labels: no array of numbers",
    ),
    "words in lists": (put("test", "audio", [np.array(["a", "b"])] * 8), r"no array of numbers \(rows .* or text\)"),
    "one id": (put("test", "id", "abcdefgh"), "id: a str where one id a sample is expected; write a list"),
    "id of no text": (lambda c: c["test"]["id"].__setitem__(2, {}), "row 2 holds a dict where text is expected"),
    "long id": (lambda c: c["test"]["id"].__setitem__(2, "x" * 10_001), "row 2 has more than .* characters"),
    "empty split": (
        lambda c: c["test"].update({k: v[:0] for k, v in c["test"].items() if k != "raw_text"}),
        "split 'test' is empty",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, case):
    change, message = REFUSED[case]
    with pytest.raises(BenchmarkError, match=message) as caught:
        read(dump(tmp_path / "x.pkl", broken(change)), "mosi")
    assert "\n" not in str(caught.value) and "x.pkl" in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, None, "text", {"train": {}, "valid": {}, "test": {}}])
def test_an_unknown_layout_is_refused(tmp_path, content):
    with pytest.raises(BenchmarkError, match=r"README|lacks|which place"):
        read(dump(tmp_path / "x.pkl", content), "mosi")


@pytest.mark.parametrize(
    ("row", "message"), [([1, 1, 0, 0], "1 samples do not show exactly one category.*row 5"), ([0, 0, 0, 0], "row 5")]
)
def test_emotions_must_be_one_a_sample(tmp_path, row, message):
    content = mult_content("iemocap")
    content["train"]["labels"] = content["train"]["labels"][:, :, 1]
    content["train"]["labels"][5] = row
    with pytest.raises(BenchmarkError, match=message):
        read(dump(tmp_path / "x.pkl", content), "iemocap")


def test_a_sentiment_file_is_no_emotion_task(tmp_path):
    path = dump(tmp_path / "x.pkl", mult_content())
    with pytest.raises(
        BenchmarkError, match=r"labels of 'train': \d+ are no category of the task, the first in row 0 \(-3\)"
    ):
        read(path, "iemocap")


def test_the_fingerprint_is_the_contents(tmp_path):
    first = read(dump(tmp_path / "x.pkl", mult_content()), "mosi").fingerprint
    assert read(dump(tmp_path / "y.pkl", mult_content()), "mosi").fingerprint == first
    assert read(dump(tmp_path / "z.pkl", mult_content(seed=1)), "mosi").fingerprint != first


def test_a_task_may_be_named(tmp_path):
    path = dump(tmp_path / "x.pkl", mult_content())
    assert formats.read_dataset(path, "mosi").fingerprint == read(path, "mosi").fingerprint
