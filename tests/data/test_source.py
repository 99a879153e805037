"""Where a task's file is looked for; and what tells its data without reading or generating more than needed."""

import pytest

from benchmark.data.source import TaskSource, find_file, find_tasks, identify, load_task
from benchmark.data.task import find_task, known_tasks
from benchmark.errors import BenchmarkError
from tests.data_files import dump, mmsa_content

MOSI, MOSEI, IEMOCAP = (find_task(name) for name in ("mosi", "mosei", "iemocap"))


def test_files_are_found_under_their_usual_names(tmp_path):
    def find(name, **options):
        path = find_file(tmp_path, find_task(name), **options)
        return None if path is None else path.relative_to(tmp_path).as_posix()

    assert find("mosi") is None
    dump(tmp_path / "unaligned_50.pkl", 0)
    assert find("mosi") is None, "the name does not tell the task"
    assert find("mosi", only_task=True) == "unaligned_50.pkl"
    for name in ("MOSI/Processed/unaligned_50.pkl", "mosi_data_noalign.pkl", "MOSI/aligned_50.pkl", "mosi_data.pkl"):
        dump(tmp_path / name, 0)
        assert find("mosi") == name == find("mosi_intensity"), "word-aligned before unaligned, MulT's before MMSA's"
    assert find("mosei") is None and find("iemocap") is None
    dump(tmp_path / "mosei_senti_data.pkl", 0)
    dump(tmp_path / "iemocap" / "iemocap_data_noalign.pkl", 0)
    assert find("mosei") == "mosei_senti_data.pkl" and find("iemocap") == "iemocap/iemocap_data_noalign.pkl"
    dump(tmp_path / "mosei" / "aligned_50.pkl", 0)
    assert find_file(tmp_path / "mosei", MOSEI) == tmp_path / "mosei" / "aligned_50.pkl"
    dump(tmp_path / "mosei" / "Processed" / "unaligned_50.pkl", 0)
    assert find_file(tmp_path / "mosei" / "Processed", MOSEI).name == "unaligned_50.pkl", "the folder above tells"


def test_every_task_has_names_in_the_neutral_layout(tmp_path):
    for task in known_tasks().values():
        for suffix in (".npz", ".h5"):
            path = tmp_path / suffix[1:] / f"{task.data_set}{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.touch()
            assert find_file(path.parent, task) == path


def test_a_task_of_ones_own_is_found_by_the_name_of_its_data_set(tmp_path):
    task = find_task({"name": "mine_binary", "dataset": "mine", "target": {"kind": "polarity"}})
    assert task.file_names == ["mine.npz", "mine.h5", "mine.hdf5", "mine.pkl"]
    for name in reversed(task.file_names):
        (tmp_path / name).touch()
        assert find_file(tmp_path, task) == tmp_path / name


def test_a_file_is_taken_where_one_data_set_is_asked_for(tmp_path):
    path = dump(tmp_path / "some.pkl", 0)
    assert find_file(path, MOSI, only_task=True) == path and find_file(path, MOSI) is None
    pair = [MOSI, find_task("mosi_intensity")]
    assert find_tasks(pair, path, asked=True)[0] == [TaskSource(task, path) for task in pair]
    with pytest.raises(BenchmarkError, match=r"no data file of task 'mosi' in .*put it there under one of these names"):
        find_tasks([MOSI, MOSEI], path, asked=True)


def test_a_data_folder_that_is_none(tmp_path):
    with pytest.raises(BenchmarkError, match=r"cannot read the data folder .*absent: No such file"):
        find_file(tmp_path / "absent", MOSI)


def test_two_tasks_of_one_name_are_refused(tmp_path):
    own = [find_task({"name": "mine", "target": {"kind": kind}}) for kind in ("polarity", "intensity")]
    with pytest.raises(BenchmarkError, match="two different tasks have the name 'mine'"):
        find_tasks(own, None, asked=True)


def test_what_a_task_is_can_be_told_without_generating_it(monkeypatch):
    source = TaskSource(IEMOCAP, sizes=(16, 8, 8))
    dataset = load_task(source)
    monkeypatch.setattr("benchmark.data.simulator.simulate", lambda *a: pytest.fail("generated"))
    identity = identify(source)
    for name in ("name", "source", "origin", "fingerprint", "warnings"):
        assert getattr(identity, name) == getattr(dataset, name)
    assert identify(TaskSource(IEMOCAP)).fingerprint != identity.fingerprint


def test_a_file_that_changes_is_read_again(tmp_path):
    source = TaskSource(MOSI, dump(tmp_path / "x.pkl", mmsa_content()))
    first = load_task(source)
    assert load_task(source) is first
    dump(source.path, mmsa_content(seed=1))
    assert load_task(source).fingerprint != first.fingerprint
