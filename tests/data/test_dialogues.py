"""Dialogues in a tuple: DialogueRNN's file of IEMOCAP, MELD's, and others whose places a task file tells."""

import hashlib

import numpy as np
import pytest

from benchmark.data.dialogues import describe
from benchmark.data.inspection import inspect_file
from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import MODALITIES
from tests.data_files import DIMS, dialogue_content, dump, read

IDS, LABELS, TEXT, AUDIO, VISION, TRAIN, TEST = 0, 2, 3, 4, 5, 7, 8
TASK = {
    "name": "mine", "target": {"kind": "category", "names": list("abcdef")},
    "keys": {"ids": IDS, "labels": LABELS, "language": TEXT, "audio": AUDIO, "vision": VISION, "train": TRAIN, "test": TEST},
}  # fmt: skip


def with_keys(**keys):
    merged = TASK["keys"] | keys
    return TASK | {"keys": {name: place for name, place in merged.items() if place is not None}}


def replaced(place, value, content=None):
    content = list(content or dialogue_content())
    content[place] = value
    return tuple(content)


def by_hash(names):
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", [tuple, list])
def test_each_utterance_is_a_sample_of_one_frame(tmp_path, kind, protocol):
    content = dialogue_content()
    dataset = read(dump(tmp_path / "IEMOCAP_features_raw.pkl", kind(content), protocol), "iemocap6")
    assert dataset.origin == "IEMOCAP_features_raw.pkl, dialogues"
    assert dataset.feature_dims == dict(zip(MODALITIES, DIMS.values(), strict=True))
    assert set(dataset.max_frames.values()) == {1}
    held_out = set(by_hash(content[TRAIN])[::10])
    dialogues = {"train": content[TRAIN] - held_out, "valid": held_out, "test": content[TEST]}
    train = np.concatenate([content[AUDIO][name] for name in sorted(dialogues["train"])])
    for name, split in dataset.splits.items():
        expected = {f"{d}$_${i}": (d, row) for d in dialogues[name] for row, i in enumerate(content[IDS][d])}
        assert set(split.ids) == expected.keys() and len(split) == len(expected)
        for place, sample_id in enumerate(split.ids):
            dialogue, row = expected[sample_id]
            assert split.labels[place] == content[LABELS][dialogue][row]
            scaled = (content[AUDIO][dialogue][row] - train.mean(0)) / train.std(0)
            assert np.allclose(split.features["a"][place, 0], scaled, atol=1e-4)
    (warning,) = dataset.warnings
    assert "valid is made of 2 of the 18 training dialogues, every tenth by a hash of its name" in warning
    assert f"warning: {warning}" in inspect_file(tmp_path / "IEMOCAP_features_raw.pkl").text


def test_the_order_is_that_of_the_file(tmp_path):
    """Not that of a set in memory, which differs from process to process."""
    names = [f"Ses{k:02d}" for k in (5, 3, 17, 0, 11)]
    content = replaced(TEST, names)
    ids = read(dump(tmp_path / "x.pkl", content), TASK).splits["test"].ids
    assert list(dict.fromkeys(i.split("$_$")[0] for i in ids)) == names


def test_a_validation_split_of_the_file_is_used(tmp_path):
    names = sorted(dialogue_content()[TRAIN])
    content = (*replaced(TRAIN, names[4:]), names[:4])
    dataset = read(dump(tmp_path / "x.pkl", content), with_keys(valid=9))
    assert dataset.warnings == ()
    assert {i.split("$_$")[0] for i in dataset.splits["valid"].ids} == set(names[:4])


@pytest.mark.parametrize(
    "names", [[f"Ses{k:02d}" for k in range(18)], np.array([f"Ses{k:02d}" for k in range(18)]), [f"Ses{k:02d}".encode() for k in range(18)]]
)  # fmt: skip
def test_names_of_dialogues_in_other_forms(tmp_path, names):
    expected = read(dump(tmp_path / "x.pkl", replaced(TRAIN, sorted(dialogue_content()[TRAIN]))), TASK)
    dataset = read(dump(tmp_path / "y.pkl", replaced(TRAIN, names)), TASK)
    assert dataset.splits["train"].ids.tolist() == expected.splits["train"].ids.tolist()
    assert dataset.splits["valid"].ids.tolist() == expected.splits["valid"].ids.tolist()


def test_dialogues_may_be_numbered_as_those_of_meld(tmp_path):
    def numbered(value):
        if isinstance(value, dict):
            return {int(name[3:]): own for name, own in value.items()}
        return [int(name[3:]) for name in sorted(value)]

    content = tuple(numbered(value) for value in dialogue_content(emotions=7))
    dataset = read(dump(tmp_path / "MELD_features_raw1.pkl", (*content, {})), "meld")
    assert dataset.splits["test"].ids[0] == "18$_$Ses18_F000"
    text = inspect_file(tmp_path / "MELD_features_raw1.pkl").text
    assert "\nfits: meld\n" in text and "layout dialogues" in text


def test_utterances_without_ids_are_numbered(tmp_path):
    dataset = read(dump(tmp_path / "x.pkl", dialogue_content()), with_keys(ids=None))
    sizes = {name: len(own) for name, own in dialogue_content()[LABELS].items()}
    expected = {f"{name}$_${row}" for name in dialogue_content()[TEST] for row in range(sizes[name])}
    assert set(dataset.splits["test"].ids.tolist()) == expected


def test_features_may_be_one_array_a_dialogue_and_labels_text(tmp_path):
    content = dialogue_content()
    content = replaced(TEXT, {name: np.stack(own) for name, own in content[TEXT].items()}, content)
    content = replaced(LABELS, {name: ["abcdef"[k] for k in own] for name, own in content[LABELS].items()}, content)
    expected = read(dump(tmp_path / "x.pkl", dialogue_content()), TASK)
    dataset = read(dump(tmp_path / "y.pkl", content), TASK)
    for name in ("valid", "test"):
        order = np.argsort(dataset.splits[name].ids), np.argsort(expected.splits[name].ids)
        assert np.array_equal(dataset.splits[name].labels[order[0]], expected.splits[name].labels[order[1]])


def test_two_modalities(tmp_path):
    """DialogueRNN's own file of MELD has no vision."""
    content = dialogue_content()
    task = with_keys(vision=None) | {"modalities": "la"}
    dataset = read(dump(tmp_path / "x.pkl", replaced(VISION, content[6], content)), task)
    assert dataset.feature_dims == {"l": 5, "a": 4, "v": 1} and not dataset.splits["test"].lengths["v"].any()


def test_a_vector_of_zeros_is_no_frame(tmp_path):
    content = dialogue_content()
    content[AUDIO]["Ses18"][0] = np.zeros(4)
    split = read(dump(tmp_path / "x.pkl", content), TASK).splits["test"]
    (place,) = np.flatnonzero(split.ids == "Ses18$_$Ses18_F000")
    assert split.lengths["a"][place] == 0 and split.lengths["a"].sum() == len(split) - 1


# --- What is refused --------------------------------------------------------------------------------------------------


def test_places_must_be_told_and_what_each_holds_is_shown(tmp_path):
    path = dump(tmp_path / "x.pkl", dialogue_content())
    with pytest.raises(BenchmarkError) as caught:
        read(path, "mosi")
    told = str(caught.value)
    assert (
        "holds a tuple, and the task does not say in which place language, audio, vision, labels, train and test"
        in told
    )
    assert (
        "set keys: in a task file, such as 'labels: 2'; it holds 0: a dict of 24 lists of texts, 1: a dict of" in told
    )
    assert "2: a dict of 24 lists of numbers, 3: a dict of 24 lists of vectors of 5 numbers" in told
    assert told.endswith("7: a list of 18 texts, 8: a list of 6 texts") and told.isprintable()
    with pytest.raises(BenchmarkError, match=r"in which place ids stands; set keys:"):
        read(path, with_keys(ids="id"))


def without(place, name):
    content = dialogue_content()
    del content[place][name]
    return content


def changed(place, name, change):
    content = dialogue_content()
    content[place][name] = change(content[place][name])
    return content


REFUSED = {
    "beyond": (dialogue_content(), with_keys(test=9), "has 9 places, counted from 0, so not test: 9; correct the places under keys:"),
    "below": (dialogue_content(), with_keys(test=-1), "so not test: -1"),
    "nothing": ((), TASK, "has 0 places"),
    "text for vectors": (dialogue_content(), with_keys(vision=6), r"place 6 \(vision\), split 'train' holds a text for an utterance where a vector of numbers"),
    "names for a dict": (dialogue_content(), with_keys(vision=7), r"place 7 \(vision\) holds a list of 18 texts where a dict by dialogue is expected"),
    "a dict for names": (dialogue_content(), with_keys(test=1), r"place 1 \(test\) holds a dict of 24 lists of texts where names of dialogues are"),
    "labels for features": (dialogue_content(), with_keys(audio=2), r"place 2 \(audio\), split 'train' holds a number for an utterance"),
    "features for labels": (dialogue_content(), with_keys(labels=4), "labels of shape .* where .samples, 6."),
    "features for ids": (dialogue_content(), with_keys(ids=4), None),
    "an unknown dialogue": (replaced(TEST, ["Ses99"]), TASK, r"place 8 \(test\) names dialogue 'Ses99', of which there are no labels"),
    "no features of a dialogue": (without(AUDIO, "Ses03"), TASK, r"place 4 \(audio\) lacks dialogue 'Ses03'"),
    "fewer labels": (changed(LABELS, "Ses03", lambda own: own[1:]), TASK, r"dialogue 'Ses03' has differing numbers of utterances: .*4 in place 2 \(labels\), 5 in place 0"),
    "narrower vectors": (changed(TEXT, "Ses03", lambda own: [x[1:] for x in own]), TASK, r"place 3 \(language\), split .*: no array of numbers"),
    "one number a dialogue": (changed(LABELS, "Ses03", lambda own: 3), TASK, "holds a number for dialogue 'Ses03' where one item an utterance is expected"),
    "several frames": (replaced(TEXT, {name: [np.ones((3, 5)) for _ in own] for name, own in dialogue_content()[TEXT].items()}), TASK, "holds an array of 3 x 5 numbers for an utterance where a vector"),
    "no test dialogue": (replaced(TEST, []), TASK, "split 'test' is empty"),
    "one training dialogue": (replaced(TRAIN, ["Ses03"]), TASK, "split 'train' is empty"),
    "a dialogue without utterances": (tuple({**v, "Ses03": []} if isinstance(v, dict) else v for v in dialogue_content()), TASK, None),
    "a name twice": (replaced(LABELS, {**dialogue_content()[LABELS], b"Ses03": []}), TASK, "holds 'Ses03' twice"),
    "no text as id": (changed(IDS, "Ses03", lambda own: [{} for _ in own]), TASK, "row 0 holds a dict where text is expected"),
    "a long name": (replaced(TEST, ["a" * 300]), TASK, "more than 200 characters"),
    "a number for names": (replaced(TEST, 3), TASK, r"place 8 \(test\) holds a number where names"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_place_must_hold(tmp_path, case):
    content, task, said = REFUSED[case]
    path = dump(tmp_path / "x.pkl", content)
    if said is None:
        read(path, task)
        return
    with pytest.raises(BenchmarkError, match=said) as caught:
        read(path, task)
    told = str(caught.value)
    assert told.isprintable() and "x.pkl" in told and len(told) < 1000
    assert ("expected; correct the places" in told) == ("it holds 0: a dict of 24" in told and "counted" not in told)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": ["x"]}, "a dict of 1 lists of texts"),
        ([[1.5]], "a list of 1 lists of numbers"),
        ([{"a": np.ones((2, 3))}], "a list of 1 dicts of arrays of 2 x 3 numbers"),
        (np.array(["a", "b"]), "an array of 2 texts"),
        (np.ones(3), "a vector of 3 numbers"),
        (np.array(3), "a number"),
        (np.array([None]), "an array of 1 objects"),
        ([], "a list of nothing"),
        ([[[[[[1]]]]]], "a list of 1 lists of lists of lists of others"),
        (None, "nothing"),
        (b"x", "a text"),
    ],
)
def test_what_a_place_holds_in_words(value, words):
    assert describe(value) == words
