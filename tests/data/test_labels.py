import numpy as np
import pytest

from benchmark.data.inspection import inspect_file
from benchmark.data.labels import label_faults
from benchmark.data.task import find_task
from benchmark.errors import BenchmarkError
from tests.data_files import SIZES, dump, mmsa_content, mult_content, read

WANTED = "a sentiment of -3 to 3 is expected"


def cycled(*values):
    return lambda n: np.resize(np.array(values), n)


REFUSED = {
    "0 and 1": (cycled(0, 1), "labels of 'train' are 0 and 1, none below 0", "the lower to -1 and the higher to 1"),
    "0 and 1 as numbers": (cycled(0.0, 1.0), "are 0 and 1, none below 0", "the lower to -1"),
    "1 and 2": (cycled(1, 2), "are 1 and 2, none below 0", "the lower to -1 and the higher to 1"),
    "three classes": (cycled(0, 1, 2), "are 0, 1 and 2, none below 0", "by 1 less if these are 3 classes"),
    "three from 1": (cycled(1, 2, 3), "are 1, 2 and 3, none below 0", "by 2 less if these are 3 classes"),
    "seven classes": (cycled(*range(7)), r"are 0 to 6 \(7 distinct\), 4 of them beyond -3 to 3, the first in row 4", "by 3 less"),
    "seven from 1": (cycled(*range(1, 8)), "beyond -3 to 3, the first in row 3", "by 4 less if these are 7 classes"),
    "true and false": (cycled(True, False), "are true or false", "false to -1 and true to 1"),
    "true and false, listed": (lambda n: [i % 2 == 0 for i in range(n)], "are true or false", "false to -1"),
    "shares": (lambda n: np.linspace(0, 1, n), r"are 0 to 1 \(12 distinct\), none below 0", "negative ones below 0"),
    "none above": (cycled(-1, 0), "are -1 and 0, none above 0", "positive ones above"),
    "all negative": (cycled(-2, -1), "are -2 and -1, all below 0", "positive ones above"),
    "all zero": (cycled(0.0), "are all 0, none below 0", "have both in every split"),
    "wider": (lambda n: np.linspace(-5, 5, n), "beyond -3 to 3, the first in row 0", "rescale them"),
    "a mark for what is missing": (cycled(-999, -1, 1), "4 of them beyond -3 to 3", "remove these samples"),
    "wrapped around": (cycled(253, 1, 0, 255), "beyond -3 to 3", "rescale them"),
    "just beyond": (cycled(-3, 3.001), "6 of them beyond -3 to 3, the first in row 1", "rescale them"),
}  # fmt: skip


@pytest.mark.parametrize("shape", ["MMSA", "MulT"])
@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_a_sentiment_task_does_not_have_are_refused(tmp_path, case, shape):
    make, found, advice = REFUSED[case]
    content, key = (mmsa_content(), "regression_labels") if shape == "MMSA" else (mult_content(), "labels")
    for name, n in SIZES.items():
        labels = make(n)
        content[name][key] = labels if shape == "MMSA" else np.array(labels).reshape(n, 1, 1)
    path = dump(tmp_path / "x.pkl", content)
    with pytest.raises(BenchmarkError, match=found) as caught:
        read(path, "mosi")
    text = str(caught.value)
    assert WANTED in text and advice in text and "\n" not in text
    report = inspect_file(path.rename(tmp_path / "mosi_data.pkl")).text
    assert "3 faults for which the file is refused as mosi" in report, "one a split"


@pytest.mark.parametrize("name", SIZES)
def test_one_category_in_a_single_split_is_enough(tmp_path, name):
    content = mmsa_content()
    content[name]["regression_labels"] = np.abs(content[name]["regression_labels"])
    with pytest.raises(BenchmarkError, match=f"labels of '{name}' are .*, none below 0"):
        read(dump(tmp_path / "x.pkl", content), "mosei")


@pytest.mark.parametrize(
    "labels", [cycled(-1, 1), cycled(-3, -2, -1, 0, 1, 2, 3), cycled(-3.0001, 3.00009), cycled(-0.2, 0.0, 0.2)]
)
def test_labels_that_it_has_are_read_as_they_are(tmp_path, labels):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["regression_labels"] = labels(n)
    dataset = read(dump(tmp_path / "x.pkl", content), "mosi")
    assert dataset.warnings == ()
    for name, n in SIZES.items():
        assert np.array_equal(dataset.splits[name].labels, labels(n).astype(np.float32))


def test_labels_that_are_hardly_below_0_are_told(tmp_path):
    content = mmsa_content()
    content["test"]["regression_labels"][[0, 7]] = [-1e-9, 0.0]
    (warning,) = read(dump(tmp_path / "x.pkl", content), "mosi").warnings
    assert "1 labels of 'test' are not 0 but nearer to it than 0.0001" in warning


@pytest.mark.parametrize("pairs", [True, False])
def test_emotions_of_a_single_category_are_refused(tmp_path, pairs):
    content = mult_content("iemocap")
    for split in content.values():
        split["labels"] = split["labels"] if pairs else split["labels"][:, :, 1].astype(bool)
    content["valid"]["labels"] = content["valid"]["labels"][[1] * 6]
    path = dump(tmp_path / "x.pkl", content)
    with pytest.raises(BenchmarkError, match=r"labels of 'valid' show sad in every sample, .*have samples of other"):
        read(path, "iemocap")
    assert "1 fault for which the file is refused" in inspect_file(path).text


@pytest.mark.parametrize(
    ("name", "effect"),
    [("train", "nothing can learn it"), ("test", "its score is undefined and left out of the mean"), ("valid", "")],
)
def test_an_emotion_that_a_split_lacks_is_told(tmp_path, name, effect):
    content = mult_content("iemocap")
    split = content[name]
    split["labels"] = split["labels"][np.where(np.arange(SIZES[name]) % 4 == 2, 0, np.arange(SIZES[name]))]
    path = dump(tmp_path / "x.pkl", content)
    dataset = read(path, "iemocap")
    (warning,) = dataset.warnings
    assert f"no sample of '{name}' is angry: {effect}" in warning and f"warning: {warning}" in inspect_file(path).text
    assert set(dataset.splits[name].labels) == {0, 1, 3}


@pytest.mark.parametrize(
    ("labels", "task", "advice"),
    [
        (np.eye(7)[np.arange(6)], "mosi", "write the sentiment from -3 to 3, no marks of classes"),
        (np.eye(7)[np.arange(6)], "sims", "write the sentiment from -1 to 1, no marks of classes"),
        (np.eye(6), "iemocap", "write a mark for each of neutral, happy, sad, angry, in this order"),
        (np.eye(6)[:, :5], "iemocap6", "write a mark for each of happy, sad, neutral, angry, excited, frustrated, in this order, or one"),
    ],
)  # fmt: skip
def test_labels_of_another_shape(labels, task, advice):
    (fault,) = label_faults(labels, "train", find_task(task))
    assert f"labels of shape {labels.shape} where" in fault and advice in fault


# --- Categories, one label a sample -----------------------------------------------------------------------------------

YES_NO = {"name": "mine", "target": {"kind": "category", "names": ["no", "yes"]}}
CODED = {"name": "mine", "target": {"kind": "category", "names": ["no", "yes"], "values": [[0, -1, "n"], [1, "y"]]}}


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (YES_NO, [0, 1, 1]),
        (YES_NO, [0.0, 1.0, 1.0]),
        (YES_NO, [False, True, True]),
        (YES_NO, [[0], [1], [1]]),
        (YES_NO, [[[0]], [[1]], [[1]]]),
        (YES_NO, ["no", "yes", "yes"]),
        (YES_NO, [b"no", b"yes", b"yes"]),
        (YES_NO, np.array([["no"], ["yes"], ["yes"]])),
        (YES_NO, np.array(["no", "yes", "yes"], dtype=object)),
        (YES_NO, [[1, 0], [0, 1], [0, 1]]),
        (YES_NO, [[[0, 1], [1, 0]], [[1, 0], [0, 1]], [[1, 0], [0, 1]]]),
        (CODED, [-1, 1, 1]),
        (CODED, ["n", "y", "y"]),
    ],
)
def test_each_way_to_write_categories_is_read(tmp_path, task, labels):
    content = mult_content()
    for name, n in SIZES.items():
        content[name]["labels"] = [labels[row % 3] for row in range(n)]
        if isinstance(labels, np.ndarray):
            content[name]["labels"] = labels[np.arange(n) % 3]
    dataset = read(dump(tmp_path / "x.pkl", content), task)
    assert dataset.target.categories == ("no", "yes") and dataset.warnings == ()
    for name, n in SIZES.items():
        assert dataset.splits[name].labels.tolist() == [min(row % 3, 1) for row in range(n)]
        assert dataset.splits[name].labels.dtype == np.int64


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        (YES_NO, cycled(0, 1, 2), r"labels of 'train': 4 are no category of the task, the first in row 2 \(2\); expected are no 0 or no; yes 1 or yes"),
        (YES_NO, cycled(0, 0.5), r"row 1 \(0.5\)"),
        (YES_NO, cycled("no", "Yes"), r"6 are no category .* row 1 \('Yes'\)"),
        (YES_NO, cycled("0", "1"), r"row 0 \('0'\)"),
        (CODED, cycled("no", "yes"), r"row 0 \('no'\); expected are no 0 or -1 or n; yes 1 or y"),
        (YES_NO, cycled(1), "labels of 'train' show yes in every sample, .*have samples of other categories"),
        (YES_NO, cycled("a\nb"), r"row 0 \('a.nb'\)"),
        (YES_NO, cycled(0.0, np.nan), "labels are NaN or infinite, the first in row 1"),
    ],
)  # fmt: skip
def test_labels_that_are_no_category_are_refused(tmp_path, task, labels, said):
    content = mult_content()
    for name, n in SIZES.items():
        content[name]["labels"] = labels(n)
    with pytest.raises(BenchmarkError, match=said) as caught:
        read(dump(tmp_path / "x.pkl", content), task)
    assert str(caught.value).isprintable()


def test_mmsas_annotations_are_a_task_by_their_key(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["annotations"] = np.resize(np.array(["Positive", "Negative", "Neutral"]), n)
    task = {
        "name": "mine", "keys": {"labels": "annotations"},
        "target": {"kind": "category", "names": ["negative", "neutral", "positive"], "values": ["Negative", "Neutral", "Positive"]},
    }  # fmt: skip
    dataset = read(dump(tmp_path / "x.pkl", content), task)
    assert dataset.splits["test"].labels.tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    assert dataset.origin == "x.pkl, MMSA, unaligned"


# --- Intensities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        ("mosi_intensity", cycled(0, 1), "are 0 and 1, none below 0, so that a sign says nothing"),
        ("mosi_intensity", cycled(-1, 1), "are -1 and 1: 2 distinct ones are no intensity; choose a task of polarity"),
        ("mosi_intensity", cycled(-1.0), "are all -1: 1 distinct one is no intensity"),
        ("mosi_intensity", cycled(True, False), "are true or false"),
        ("mosi_intensity", cycled("a", "b"), "labels of 'train' are text .'a'.; a sentiment of -3 to 3 is expected"),
        ("sims", lambda n: np.linspace(-3, 3, n), "beyond -1 to 1, the first in row 0; a sentiment of -1 to 1"),
        ("simsv2", cycled(0, 1, 2), "beyond -1 to 1"),
    ],
)
def test_labels_that_are_no_intensity_are_refused(tmp_path, task, labels, said):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["regression_labels"] = labels(n)
    with pytest.raises(BenchmarkError, match=said) as caught:
        read(dump(tmp_path / "x.pkl", content), task)
    assert str(caught.value).isprintable()


def test_an_intensity_may_have_any_range(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["regression_labels"] = np.linspace(0, 10, n)
    task = {"name": "mine", "target": {"kind": "intensity", "range": [0, 10]}}
    dataset = read(dump(tmp_path / "x.pkl", content), task)
    assert dataset.splits["train"].labels.dtype == np.float32 and dataset.splits["test"].labels[-1] == 10


def test_a_polarity_may_have_another_boundary(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["regression_labels"] = np.linspace(1, 5, n)
    task = {"name": "mine", "target": {"kind": "polarity", "below": 3, "range": [1, 5]}}
    dataset = read(dump(tmp_path / "x.pkl", content), task)
    indices = dataset.target.category_indices(dataset.splits["test"].labels)
    assert indices.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    content["test"]["regression_labels"] = np.linspace(3, 5, 8)
    with pytest.raises(
        BenchmarkError, match=r"none below 3, so that every sample is non-negative .*negative ones below 3"
    ):
        read(dump(tmp_path / "x.pkl", content), task)
