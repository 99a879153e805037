"""The page "From nothing to a table" does what it says: its code runs, its task file is read, its report is true."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.formats import read_dataset
from benchmark.data.inspection import inspect_file
from benchmark.data.source import find_tasks
from benchmark.data.task import Keys, find_task, read_task
from benchmark.protocol.metrics import usual_metrics
from tests.data_files import dialogue_content, dump, neutral_content, write_npz

PAGE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")


def fenced(language):
    """The fenced blocks of a language, or of none."""
    return [text for name, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.M | re.S) if name == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What is there after the first two steps."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names: dict = {}
        for code in fenced("python"):
            if "benchmark.run(" not in code:  # which trains
                exec(compile(code, "docs/own-data.md", "exec"), names)
    ((name, text),) = re.findall(r"`(\w+\.yaml)`:\n\n```yaml\n(.*?)^```$", PAGE, flags=re.M | re.S)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_steps_give_data_that_are_read(folder):
    task = read_task(folder / "stars.yaml")
    (source,), remarks = find_tasks([task], folder, asked=True)
    assert source.path == folder / "stars.npz" and remarks == []
    dataset = read_dataset(source.path, task)
    assert dataset.warnings == () and dataset.origin == "stars.npz, neutral"
    assert [len(dataset.splits[name]) for name in ("train", "valid", "test")] == [200, 60, 80]
    assert dataset.feature_dims == {"l": 300, "a": 40, "v": 20}
    train = dataset.splits["train"]
    assert train.lengths["v"][7] == 0 and (np.delete(train.lengths["v"], 7) >= 3).all()
    assert np.array_equal(train.lengths["a"], 2 * train.lengths["l"]) and train.lengths["a"].max() <= 38
    assert set(np.unique(train.labels)) == set(np.arange(2, 11) / 2)
    groups = [re.match(task.group, sample_id)[1] for sample_id in train.ids]
    assert len(set(groups)) == 50 and groups[0] == groups[3] != groups[4]


def test_the_file_by_hand_is_read_too(folder):
    dataset = read_dataset(folder / "by_hand.npz", read_task(folder / "stars.yaml"))
    assert dataset.splits["valid"].labels.tolist() == [1, 2, 4, 5] * 5
    assert all("ids stand in both" in w or "are those of" in w for w in dataset.warnings)


def test_the_report_is_as_it_is_shown(folder):
    (shown,) = [block for block in fenced("") if "fits: " in block]
    report = inspect_file(folder / "stars.npz", [read_task(folder / "stars.yaml")]).text.splitlines()
    assert len(shown.splitlines()) >= 3 and set(shown.splitlines()) <= set(report)


def test_the_targets_and_keys_that_are_shown_are_taken(tmp_path):
    targets = re.findall(r"\| `(\{kind: .*\})` \|$", PAGE, flags=re.M)
    assert len(targets) == 4
    for number, target in enumerate(targets):
        path = tmp_path / f"t{number}.yaml"
        path.write_text(f"name: mine\ntarget: {target}\n", encoding="utf-8")
        assert usual_metrics(read_task(path).as_target)
    keys = [text for text in fenced("yaml") if text.startswith("keys: ")]
    assert len(keys) == 2
    for text in keys:
        (tmp_path / "k.yaml").write_text(f"name: mine\ntarget: {{kind: polarity}}\n{text}", encoding="utf-8")
        assert read_task(tmp_path / "k.yaml").keys != Keys()


def test_the_ways_for_other_data_work(tmp_path):
    content = neutral_content()
    renamed = {"language": "bert", "language_lengths": "bert_lengths", "labels": "emotion"}
    content = {name: {renamed.get(key, key): x for key, x in split.items()} for name, split in content.items()}
    content["heldout"] = content.pop("test")
    path = write_npz(tmp_path / "x.npz", content)
    named, places = (find_task(task) for task in _tasks_with_keys(tmp_path))
    assert read_dataset(path, named).warnings == ()
    dialogues = dump(tmp_path / "y.pkl", dialogue_content())
    assert read_dataset(dialogues, places).origin == "y.pkl, dialogues"


def _tasks_with_keys(folder):
    for text, target in zip(
        (text for text in fenced("yaml") if text.startswith("keys: ")),
        ("{kind: polarity}", "{kind: category, names: [a, b, c, d, e, f]}"),
        strict=True,
    ):
        path = folder / f"{len(text)}.yaml"
        path.write_text(f"name: mine\ntarget: {target}\n{text}", encoding="utf-8")
        yield path
