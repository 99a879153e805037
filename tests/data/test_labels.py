import numpy as np
import pytest

from benchmark.data.formats import read_dataset
from benchmark.data.inspection import inspect_file
from benchmark.data.labels import label_faults
from benchmark.errors import BenchmarkError
from tests.data_files import SIZES, dump, mmsa_content, mult_content

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
        read_dataset(path, "mosi")
    text = str(caught.value)
    assert WANTED in text and advice in text and "\n" not in text
    assert "3 faults for which the file is refused" in inspect_file(path), "one a split"


@pytest.mark.parametrize("name", SIZES)
def test_one_category_in_a_single_split_is_enough(tmp_path, name):
    content = mmsa_content()
    content[name]["regression_labels"] = np.abs(content[name]["regression_labels"])
    with pytest.raises(BenchmarkError, match=f"labels of '{name}' are .*, none below 0"):
        read_dataset(dump(tmp_path / "x.pkl", content), "mosei")


@pytest.mark.parametrize(
    "labels", [cycled(-1, 1), cycled(-3, -2, -1, 0, 1, 2, 3), cycled(-3.0001, 3.00009), cycled(-0.2, 0.0, 0.2)]
)
def test_labels_that_it_has_are_read_as_they_are(tmp_path, labels):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["regression_labels"] = labels(n)
    dataset = read_dataset(dump(tmp_path / "x.pkl", content), "mosi")
    assert dataset.warnings == ()
    for name, n in SIZES.items():
        assert np.array_equal(dataset.splits[name].labels, labels(n).astype(np.float32))


def test_labels_that_are_hardly_below_0_are_told(tmp_path):
    content = mmsa_content()
    content["test"]["regression_labels"][[0, 7]] = [-1e-9, 0.0]
    (warning,) = read_dataset(dump(tmp_path / "x.pkl", content), "mosi").warnings
    assert "1 labels of 'test' are not 0 but nearer to it than 0.0001" in warning


@pytest.mark.parametrize("pairs", [True, False])
def test_emotions_of_a_single_category_are_refused(tmp_path, pairs):
    content = mult_content("iemocap")
    for split in content.values():
        split["labels"] = split["labels"] if pairs else split["labels"][:, :, 1].astype(bool)
    content["valid"]["labels"] = content["valid"]["labels"][[1] * 6]
    path = dump(tmp_path / "x.pkl", content)
    with pytest.raises(BenchmarkError, match=r"labels of 'valid' show sad in every sample, .*have samples of other"):
        read_dataset(path, "iemocap")
    assert "1 fault for which the file is refused" in inspect_file(path)


@pytest.mark.parametrize(
    ("name", "effect"),
    [("train", "nothing can learn it"), ("test", "its score is undefined and left out of the mean"), ("valid", "")],
)
def test_an_emotion_that_a_split_lacks_is_told(tmp_path, name, effect):
    content = mult_content("iemocap")
    split = content[name]
    split["labels"] = split["labels"][np.where(np.arange(SIZES[name]) % 4 == 2, 0, np.arange(SIZES[name]))]
    path = dump(tmp_path / "x.pkl", content)
    dataset = read_dataset(path, "iemocap")
    (warning,) = dataset.warnings
    assert f"no sample of '{name}' is angry: {effect}" in warning and f"warning: {warning}" in inspect_file(path)
    assert set(dataset.splits[name].labels) == {0, 1, 3}


@pytest.mark.parametrize(
    ("labels", "kind", "advice"),
    [
        (np.eye(7)[np.arange(6)], "sentiment", "write the sentiment from -3 to 3, no marks of classes"),
        (np.arange(6) % 4, "emotion", "write a mark for each of neutral, happy, sad, angry, in this order"),
        (np.eye(6), "emotion", "write a mark for each of"),
    ],
)
def test_labels_of_another_shape(labels, kind, advice):
    (fault,) = label_faults(labels, "train", kind)
    assert f"labels of shape {labels.shape} where" in fault and advice in fault
