"""Reading a file and ``--inspect`` come to the same judgement of it, whatever is wrong with it."""

import numpy as np
import pytest

from benchmark.data.inspection import inspect_file
from benchmark.data.task import find_task, known_tasks
from benchmark.errors import BenchmarkError
from tests.data_files import SIZES, dump, mmsa_content, mult_content, read

KEYS = ("text", "audio", "vision")


def real(x):
    """The number of real frames of each sample, which have no zeros in these files."""
    return (x != 0).any(2).sum(1)


def sided(content, side):
    """The same with all padding in front, or behind; BERT's mask goes with it."""
    for split in content.values():
        for key in KEYS:
            x, lengths = split[key], real(split[key])
            first = (x != 0).any(2).argmax(1)
            start = x.shape[1] - lengths if side == "front" else 0 * lengths
            split[key] = np.stack([np.roll(r, s - f, axis=0) for r, f, s in zip(x, first, start, strict=True)])
        if "text_bert" in split:
            mask = (split["text"] != 0).any(2).astype(np.float32)
            split["text_bert"] = np.stack([mask * 101, mask, 0 * mask], axis=1)
    return content


def told(content):
    """The same with all lengths in the file."""
    for split in content.values():
        split |= {f"{key}_lengths": real(split[key]).tolist() for key in KEYS}
    return content


EVERY_TASK = ("MulT, emotions", "MMSA, unaligned", "MMSA, one category a sample")
"""The layouts of which each file is read as every task."""


def one_category(content):
    for name, n in SIZES.items():
        content[name]["labels"] = np.arange(n) % 2
        del content[name]["regression_labels"]
    return content


LAYOUTS = {
    "MulT, aligned": (lambda: mult_content(), "mosi"),
    "MulT, unaligned": (lambda: mult_content(aligned=False), "mosei"),
    "MulT, aligned, behind, told": (lambda: told(sided(mult_content(), "behind")), "mosi"),
    "MulT, unaligned, front, told": (lambda: told(mult_content(aligned=False)), "mosi"),
    "MulT, emotions": (lambda: mult_content("iemocap"), "iemocap"),
    "MulT, emotions, unaligned, behind": (lambda: sided(mult_content("iemocap", aligned=False), "behind"), "iemocap"),
    "MMSA, aligned": (lambda: mmsa_content(aligned=True), "mosi"),
    "MMSA, aligned, front": (lambda: sided(mmsa_content(aligned=True), "front"), "mosi"),
    "MMSA, unaligned": (lambda: mmsa_content(), "mosei_intensity"),
    "MMSA, unaligned, front, told": (lambda: told(sided(mmsa_content(), "front")), "mosi"),
    "MMSA, one category a sample": (lambda: one_category(mmsa_content()), "ur_funny"),
}


def label_key(split):
    return "regression_labels" if "regression_labels" in split else "labels"


def put(name, key, change):
    """Replace an array of one split, or of all of them."""

    def apply(content):
        for split in content.values() if name == "all" else [content[name]]:
            own = label_key(split) if key == "labels" else key
            split[own] = change(split[own])

    return apply


def at(place, value):
    def change(x):
        x = np.array(x, dtype=np.float64)
        x[place] = value
        return x

    return change


def shorter(content):
    for key in content["test"]:
        content["test"][key] = content["test"][key][:0]


def lengths(value):
    def apply(content):
        content["valid"]["audio_lengths"] = [value] * 6

    return apply


def without_ids(content):
    for split in content.values():
        del split["id"]


def same_test_and_train(content):
    content["test"] = {**content["train"], "id": [f"other{row}" for row in range(12)]}


def holes(content):
    split = content["train"]
    mask = np.resize([1.0, 0.0, 1.0], split["text"].shape[:2])
    split.pop("text_lengths", None)
    split["text_bert"] = np.stack([mask * 101, mask, 0 * mask], axis=1)


def no_mask(content):
    split = content["test"]
    split.pop("text_lengths", None)
    split["text_bert"] = np.full((8, 3, split["text"].shape[1]), 101)


def transposed(content):
    for split in content.values():
        split |= {key: split[key].transpose(0, 2, 1).copy() for key in KEYS}


def waveforms(content):
    for split in content.values():
        split.pop("audio_lengths", None)
        split["audio"] = np.tile(split["audio"].reshape(len(split["audio"]), -1), 700)


def single(labels):
    return labels[[0] * len(labels)]


FAULTS = {
    "nothing": lambda content: None,
    "NaN": put("train", "audio", at((2, -1, 1), np.nan)),
    "infinity": put("valid", "vision", at((0, 0), -np.inf)),
    "beyond float32": put("test", "text", at((0, -1, 0), 1e300)),
    "wide numbers": put("all", "audio", lambda x: x.astype(np.float64) * 1e30),
    "padding of NaN": put("all", "vision", lambda x: np.where(x == 0, np.nan, x)),
    "padding of -1": put("all", "audio", lambda x: np.where(x == 0, -1, x)),
    "fewer samples": put("train", "audio", lambda x: x[1:]),
    "fewer labels": put("valid", "labels", lambda x: x[1:]),
    "fewer ids": put("test", "id", lambda x: x[1:]),
    "no sample": shorter,
    "no frame": put("test", "vision", lambda x: x[:, :0]),
    "widths": put("test", "audio", lambda x: x[:, :, :3]),
    "lengths out of range": lengths(99),
    "lengths below 0": lengths(-1),
    "lengths of 0": lengths(0),
    "lengths too short": lengths(1),
    "lengths of one sample less": lambda content: content["valid"].__setitem__("audio_lengths", [1] * 5),
    "half a frame": lengths(1.5),
    "mask with a hole": holes,
    "mask of another kind": no_mask,
    "no ids": without_ids,
    "doubled ids": put("train", "id", lambda x: [x[1], *x[1:]]),
    "ids in two splits": lambda content: content["test"].__setitem__("id", content["train"]["id"][:8]),
    "ids of no text": put("train", "id", lambda x: [{}, *x[1:]]),
    "samples in two splits": same_test_and_train,
    "two validation splits": lambda content: content.__setitem__("dev", content["test"]),
    "no split": lambda content: content.pop("valid"),
    "no array": lambda content: content["test"].pop("audio"),
    "label of NaN": put("train", "labels", at(4, np.nan)),
    "label of 1e300": put("train", "labels", at(4, 1e300)),
    "labels of 0 and 1": put("train", "labels", lambda x: (x > 0).astype(np.int64)),
    "labels that are true or false": put("train", "labels", lambda x: x > 0),
    "labels of the wrong shape": put("valid", "labels", lambda x: np.zeros((len(x), 7))),
    "labels beyond the scale": put("test", "labels", lambda x: 2 * x),
    "labels nearly beyond the scale": put("test", "labels", lambda x: 1.00001 * x),
    "labels in words": put("test", "labels", lambda x: ["good"] * len(x)),
    "labels hardly below 0": put("test", "labels", at(0, -1e-9)),
    "one category": put("valid", "labels", single),
    "a category less": put("test", "labels", lambda x: x[[0, 1, 4, 5, 0, 1, 4, 5]]),
    "token ids": put("all", "text", lambda x: np.arange(len(x) * 6).reshape(-1, 6) + 1000),
    "token ids with mask": put(
        "all", "text", lambda x: np.stack([np.full((len(x), 6), 101), np.ones((len(x), 6)), np.zeros((len(x), 6))], axis=1)
    ),
    "axes exchanged": transposed,
    "a silent modality": put("all", "vision", lambda x: 0 * x),
    "a silent modality in one split": put("test", "audio", lambda x: 0 * x),
    "all features alike": put("all", "audio", lambda x: 0 * x + 1),
    "text for features": put("test", "text", lambda x: np.array(["word"] * len(x))),
    "whole numbers": put("all", "vision", lambda x: np.round(x * 9).astype(np.uint8)),
    "one frame": put("all", "audio", lambda x: x[:, -1]),
    "waveforms": waveforms,
}  # fmt: skip


def judgements(path, task):
    """What both say: the error or None, and the warnings."""
    try:
        dataset = read(path, task)
    except BenchmarkError as error:
        return str(error), None
    return None, dataset.warnings


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("error")
def test_reading_and_inspecting_agree(tmp_path, layout, fault):
    make, task = LAYOUTS[layout]
    content = make()
    FAULTS[fault](content)
    path = dump(tmp_path / "x.pkl", content)
    error, warnings = judgements(path, task)
    assert error is None or (error.isprintable() and "x.pkl" in error)
    own = find_task(task).model_copy(update={"files": ["x.pkl"]})  # so that it is described as this task
    try:
        lines = inspect_file(path, [own]).text.splitlines()
    except BenchmarkError as told_too:
        assert str(told_too) == error
        return
    if error is None:
        told_there = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
        assert tuple(told_there) == warnings and len(set(warnings)) == len(warnings)
        assert all(warning.isprintable() and warning.startswith("x.pkl: ") for warning in warnings)
    else:
        (place,) = [i for i, line in enumerate(lines) if line.endswith(f"for which the file is refused as {task}:")]
        assert f"{path}: {lines[place + 1].strip()}" == error, "the first fault is the one that is told on reading"
    for name, refusal in refusals(lines).items() if layout in EVERY_TASK else ():
        reading, _ = judgements(path, name)
        assert (reading is None) == (refusal is None), name
        assert reading is None or reading.removeprefix(f"{path}: ").startswith(refusal), name


def refusals(lines):
    """What ``--inspect`` says of every task: why the file does not fit, without what was cut; None where it does."""
    said = {}
    for line in lines:
        if line.startswith("fits: "):
            said |= dict.fromkeys(line.removeprefix("fits: ").split(", "))
        elif line.startswith("does not fit "):
            names, reason = line.removeprefix("does not fit ").split(": ", 1)
            said |= dict.fromkeys(names.split(", "), reason.removesuffix("…"))
    assert said.keys() == known_tasks().keys()
    return said


NO_FAULT = {
    "nothing": 0, "NaN": 1, "infinity": 1, "beyond float32": 1, "no ids": 3, "doubled ids": 1, "ids in two splits": 1,
    "samples in two splits": 1, "two validation splits": 1, "labels hardly below 0": 1, "a silent modality": 1,
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused_and_what_is_only_told(tmp_path, fault):
    """The agreement means something: of MMSA's unaligned file, what cannot be used is refused."""
    content = mmsa_content()
    FAULTS[fault](content)
    error, warnings = judgements(dump(tmp_path / "x.pkl", content), "mosi")
    usable = {
        *NO_FAULT, "wide numbers", "padding of NaN", "padding of -1", "lengths of 0", "lengths too short",
        "mask of another kind", "labels nearly beyond the scale", "a category less", "a silent modality in one split",
        "all features alike", "whole numbers", "waveforms",
    }  # fmt: skip
    assert (error is None) == (fault in usable), error
    if fault in NO_FAULT:
        assert len(warnings) == NO_FAULT[fault], warnings
