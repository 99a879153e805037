"""Task files: what they may hold, and what is said of one that cannot be used."""

import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.data.simulator import simulate
from benchmark.data.source import TaskSource, find_file, find_tasks, identify, simulated_size
from benchmark.data.task import FOLDER, Task, find_task, known_tasks, read_task
from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import MODALITIES, Setting, incomplete_subsets, settings_for

GOOD = "name: mine\ntarget: {kind: polarity}\n"


def task_file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_the_tasks_of_before_ask_what_they_asked():
    tasks = known_tasks()
    assert list(tasks)[:3] == ["mosi", "mosei", "iemocap"]
    for name in ("mosi", "mosei"):
        target = tasks[name].as_target
        assert (target.kind, target.below, target.span) == ("polarity", 0.0, (-3.0, 3.0))
        assert target.categories == ("negative", "non-negative")
        assert tasks[name].scored == ["f1", "f1_nonneg", "accuracy"]
    assert tasks["iemocap"].as_target.categories == ("happy", "sad", "angry", "neutral")
    assert tasks["iemocap"].scored == ["f1", "f1_happy", "f1_sad", "f1_angry", "f1_neutral", "accuracy"]


def test_every_task_that_comes_along_is_named_cited_licensed_and_can_be_simulated():
    tasks = known_tasks()
    assert {"mosi_intensity", "mosei_intensity", "sims", "simsv2", "iemocap6", "meld", "ur_funny", "mustard"} <= set(
        tasks
    )
    assert len(tasks) == len(list(FOLDER.glob("*.yaml")))
    for name, task in tasks.items():
        assert name == task.name and task.display and task.description and task.citation and task.licence
        dataset = simulate(task, (16, 8, 8))
        labels = np.concatenate([split.labels for split in dataset.splits.values()])
        assert len(np.unique(task.as_target.category_indices(labels))) > 1
        assert simulated_size(task).widths == tuple(dataset.feature_dims[m] for m in MODALITIES)
    assert len(tasks["meld"].target.names) == 7 and len(tasks["iemocap6"].target.names) == 6
    assert tasks["sims"].target.range == [-1.0, 1.0]
    assert tasks["mosi_intensity"].data_set == "mosi" and tasks["mosi_intensity"].scored[0] == "mae"


def test_two_tasks_of_one_data_set_are_simulated_alike():
    first, second = (simulate(known_tasks()[name], (16, 8, 8)) for name in ("mosi", "mosi_intensity"))
    assert first.fingerprint != second.fingerprint, "their cells are not the same"
    assert np.array_equal(first.splits["test"].labels, second.splits["test"].labels)
    assert np.array_equal(first.splits["test"].features["l"], second.splits["test"].features["l"])


def test_a_task_of_two_lines_has_all_else_by_default(tmp_path):
    task = read_task(task_file(tmp_path, GOOD))
    assert task.scored == ["f1", "f1_nonneg", "accuracy"] and task.title == "mine" and task.data_set == "mine"
    assert task.file_names == ["mine.npz", "mine.h5", "mine.hdf5", "mine.pkl"]
    assert len(simulate(task).splits["train"]) == 800


def test_the_primary_metric_stands_first(tmp_path):
    text = "name: mine\ntarget: {kind: intensity}\nmetrics: [mae, acc2, corr]\nprimary: corr\n"
    assert read_task(task_file(tmp_path, text)).scored == ["corr", "mae", "acc2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "metrix: [f1]\n", "line 3: unknown key 'metrix'; did you mean metrics"),
        (GOOD + "target2: 3\n", "line 3: unknown key 'target2'; did you mean target"),
        ("target: {kind: polarity}\n", "key 'name': field required"),
        ("name: mine\n", "key 'target': field required"),
        (GOOD.replace("mine", "My task"), "line 1: key 'name': write a small letter"),
        (GOOD.replace("polarity", "sentiment"), "line 2: key 'target.kind'"),
        (GOOD.replace("polarity", "polarity, bellow: 0"), "line 2: unknown key 'target.bellow'; did you mean below"),
        (GOOD.replace("polarity", "polarity, range: [1, 5]"), "line 2: .*below: 0 must lie within range, 1 to 5"),
        (GOOD.replace("polarity", "polarity, range: [3, -3]"), "line 2: .*least label first"),
        (GOOD.replace("polarity", "polarity, range: [-3]"), "line 2: key 'target.range'"),
        (GOOD.replace("polarity", "polarity, range: [.nan, 3]"), "line 2: key 'target.range.0'"),
        (GOOD.replace("polarity", "polarity, names: [a, b]"), "line 2: .*polarity makes no use of names"),
        (GOOD.replace("polarity", "intensity, below: 1"), "line 2: .*intensity makes no use of below"),
        (GOOD.replace("polarity", "intensity, cuts: {acc5: [0.1, -0.1]}"), "line 2: .*numbers that rise"),
        (GOOD.replace("polarity", "category"), "line 2: .*two categories at least"),
        (GOOD.replace("polarity", "category, names: [a]"), "line 2: .*two categories at least"),
        (GOOD.replace("polarity", "category, names: [a, a]"), "line 2: .*each once"),
        (GOOD.replace("polarity", "category, names: [a, weighted]"), "line 2: .*'weighted' is taken"),
        (GOOD.replace("polarity", 'category, names: [a, "b\\u200b"]'), "line 2: .*visible characters"),
        (GOOD.replace("polarity", "category, names: [a, b], values: [0]"), "line 2: .*one for each of the 2 names"),
        (GOOD.replace("polarity", "category, names: [a, b], values: [[0, 1], 1]"), "line 2: .*one category only"),
        (GOOD.replace("polarity", "category, names: [a, b], columns: [a, c]"), "line 2: .*each of the names once"),
        (GOOD + "metrics: [f1, mae]\n", "metrics: unknown metric of polarity 'mae'; .*there are: accuracy, auroc"),
        (GOOD + "metrics: [acurracy]\n", "did you mean accuracy"),
        (GOOD + "primary: mae\n", "primary: unknown metric of polarity 'mae'"),
        (GOOD + "group: '^(.*'\n", "line 3: key 'group': this is no regular expression"),
        (GOOD + "group: '^.*_'\n", "line 3: key 'group': put what tells the group into parentheses"),
        (GOOD + "files: [a/b.npz]\n", "line 3: key 'files': 'a/b.npz' is no file name"),
        (GOOD + "modalities: val\n", "line 3: key 'modalities'"),
        (GOOD + "modalities: l\n", "line 3: key 'modalities'"),
        (GOOD + "keys: {languag: x}\n", "line 3: unknown key 'keys.languag'; did you mean language"),
        (GOOD + "simulator: {samples: [1, 8, 8]}\n", "line 3: .*samples: write 8 to 1000000"),
        (GOOD + "simulator: {words: [2, 20]}\n", "line 3: .*words: write the mean, 3 or more"),
        (GOOD + "simulator: {shares: {train: [1, 2]}}\n", "simulator.shares.train: write 3 shares: negative, zero"),
        (GOOD + "simulator: {shares: {train: [0, 0, 0]}}\n", "line 3: .*shares.train: write shares of 0 or more"),
        (GOOD + "simulator: {shares: {tran: [1, 1, 1]}}\n", "line 3: key 'simulator.shares.tran"),
        ("- 1\n", "must hold keys"),
    ],
)
def test_a_bad_task_file_is_refused_with_its_key_and_line(tmp_path, text, message):
    with pytest.raises(BenchmarkError, match=message) as caught:
        read_task(task_file(tmp_path, text))
    assert "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_task_may_be_an_object_a_mapping_a_path_or_a_name(tmp_path):
    path = task_file(tmp_path, GOOD)
    task = Task(name="mine", target={"kind": "polarity"})
    assert find_task(task) == find_task({"name": "mine", "target": {"kind": "polarity"}}) == find_task(path) == task
    assert find_task("mosi") is known_tasks()["mosi"] and hash(find_task(path)) == hash(task)
    assert pickle.loads(pickle.dumps(task)) == task, "workers get it"
    with pytest.raises(ValidationError):
        Task(name="mine", target={"kind": "polarity"}, metrics=["mae"])
    with pytest.raises(BenchmarkError, match=r"unknown task 'MOSI'; did you mean mosi\?"):
        find_task("MOSI")
    with pytest.raises(BenchmarkError, match=r"cannot read task file .*none.yaml: No such file"):
        find_task("none.yaml")


def test_a_task_of_ones_own_cannot_take_a_known_name(tmp_path):
    with pytest.raises(BenchmarkError, match="'mosi' has the name of a task that comes with the benchmark"):
        find_task(task_file(tmp_path, GOOD.replace("mine", "mosi")))
    assert find_task(FOLDER / "mosi.yaml") == known_tasks()["mosi"]
    other = Task(name="mine", target={"kind": "intensity"})
    with pytest.raises(BenchmarkError, match="two different tasks have the name 'mine'"):
        find_tasks([find_task(task_file(tmp_path, GOOD)), other], None, asked=True)


def test_what_is_asked_of_the_data_is_part_of_their_identity(tmp_path):
    def fingerprint(text):
        return identify(TaskSource(read_task(task_file(tmp_path, text)))).fingerprint

    same = fingerprint(GOOD)
    assert fingerprint(GOOD + "metrics: [accuracy]\ncitation: somebody\ngroup: '(.*)'\n") == same
    changed = [
        fingerprint(GOOD.replace("polarity", "polarity, below: 1")),
        fingerprint(GOOD.replace("polarity", "intensity")),
        fingerprint(GOOD + "modalities: la\n"),
        fingerprint(GOOD + "simulator: {seed: 3}\n"),
    ]
    assert len({same, *changed}) == 5


@pytest.mark.parametrize("modalities", ["la", "lv", "av"])
def test_of_a_modality_that_the_data_lack_no_sample_has_a_frame(modalities):
    task = Task(name="mine", target={"kind": "polarity"}, modalities=modalities)
    dataset = simulate(task, (16, 8, 8))
    (absent,) = task.absent
    for split in dataset.splits.values():
        assert not split.lengths[absent].any() and split.features[absent].shape == (len(split), 1, 1)
        assert all(split.lengths[m].all() for m in modalities)


def test_settings_that_mean_nothing_without_a_modality_are_left_out():
    wanted = [Setting(s) for s in ("l", "a", "v", "la", "lv", "av", "lav")] + [Setting("lav", 0.5), Setting("v", 0.5)]
    assert settings_for(wanted, "lav") == wanted
    assert settings_for(wanted, "la") == [Setting("l"), Setting("a"), Setting(), Setting("lav", 0.5)]
    assert incomplete_subsets("la") == ("l", "a") and len(incomplete_subsets()) == 6


@pytest.mark.parametrize(
    ("place", "task", "only", "found"),
    [
        ("mosi_data.pkl", "mosi", False, True),
        ("mosi_data.pkl", "mosi_intensity", False, True),
        ("aligned_50.pkl", "mosi", False, False),  # whose file that is, its name does not tell
        ("aligned_50.pkl", "mosi", True, True),
        ("MOSI/Processed/aligned_50.pkl", "mosi", False, True),
        ("MOSI/Processed/aligned_50.pkl", "mosei", False, False),
        ("mosi/aligned_50.pkl", "mosi_intensity", False, True),
        ("SIMS/Processed/unaligned_39.pkl", "sims", False, True),
        ("unaligned_39.pkl", "sims", False, False),  # or that of simsv2
        ("Processed/unaligned_39.pkl", "sims", True, True),
        ("humor.pkl", "ur_funny", False, True),
        ("meld.npz", "meld", False, True),
    ],
)
def test_where_files_are_looked_for(tmp_path, place, task, only, found):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert find_file(tmp_path, known_tasks()[task], only_task=only) == (path if found else None)


def test_a_folder_named_after_the_data_set_is_looked_into(tmp_path):
    path = tmp_path / "MOSI" / "Processed" / "unaligned_50.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    mosi = known_tasks()["mosi"]
    assert find_file(tmp_path / "MOSI", mosi) == find_file(path.parent, mosi) == path
    assert find_file(path, mosi, only_task=True) == path and find_file(path, mosi) is None
    (task,), _ = find_tasks([mosi], path, asked=True)
    assert task.path == path
