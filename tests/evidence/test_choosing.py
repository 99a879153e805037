import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.choosing import choose
from benchmark.protocol.missing import Setting
from benchmark.running.store import FAILED, Store
from tests.stored_cells import OTHER, SETTINGS, write_cell


def keys(found):
    return [record["key"] for _, record in found.cells]


@pytest.mark.parametrize(("a", "b"), [("3", "4"), ("4", "3")])
def test_the_latest_cell_counts(tmp_path, a, b):
    write_cell(tmp_path, "k1", finished=a)
    write_cell(tmp_path, "k2", finished=b, **OTHER)
    found = choose(Store(tmp_path))
    assert keys(found) == ["k2" if b > a else "k1"] and found.superseded == {"mult on mosi": 1}


@pytest.mark.parametrize(
    "other",
    [
        OTHER,
        {"method": "misa"},
        {"source": "other"},
        {"training": {"trains_on": "complete", "epochs": 9}},
        {"task": {"name": "mosi", "fingerprint": "f9"}},
    ],
)
def test_all_seeds_of_a_row_are_of_one_definition_the_grids_or_the_latest(tmp_path, other):
    for seed in range(3):
        write_cell(tmp_path, f"k{seed}", seed=seed, finished="2")
    write_cell(tmp_path, "new", finished="3", right=False, **other)
    write_cell(tmp_path, "misa", label="misa", finished="1", **({"task": other["task"]} if "task" in other else {}))
    found = choose(Store(tmp_path))
    assert keys(found) == ["misa", "new"] and found.superseded == {"mult on mosi": 3}
    found = choose(Store(tmp_path), keys={"k0", "k1"})
    assert [key for key in keys(found) if key != "misa"] == ["k0", "k1", "k2"], "further seeds of the grid's definition"
    assert found.superseded["mult on mosi"] == 1
    assert keys(choose(Store(tmp_path), keys={"elsewhere"})) == ["misa", "new"], "a grid without cells changes nothing"


def test_no_other_definition_takes_the_place_of_what_the_grid_failed_at(tmp_path):
    write_cell(tmp_path, "k0", finished="2")
    write_cell(tmp_path, "k1", label="misa")
    write_cell(tmp_path, "k2", finished="1", state=FAILED, error="x", **OTHER)
    found = choose(Store(tmp_path), keys={"k2"})
    assert keys(found) == ["k1"] and [record["label"] for record in found.failed] == ["mult"]
    found = choose(Store(tmp_path))
    assert keys(found) == ["k1", "k0"] and not found.failed


def test_failures_of_the_definition_that_is_shown_are_told_and_those_of_older_ones_are_not(tmp_path):
    write_cell(tmp_path, "k0", finished="3")
    write_cell(tmp_path, "k1", seed=1, finished="2", state=FAILED, error="same", data=None)
    write_cell(tmp_path, "k2", seed=2, finished="2", state=FAILED, error="older", data=None, **OTHER)
    write_cell(tmp_path, "k3", seed=3, finished="4", state=FAILED, error="newer", data=None, **OTHER)
    assert [record["error"] for record in choose(Store(tmp_path)).failed] == ["same", "newer"]
    assert [record["error"] for record in choose(Store(tmp_path), keys={"k0"}).failed] == ["same"]


@pytest.mark.parametrize(("a", "b"), [("3", "4"), ("4", "3")])
def test_of_a_task_only_the_data_of_its_latest_cell_count(tmp_path, a, b):
    old, new = {"name": "mosi", "fingerprint": "old"}, {"name": "mosi", "fingerprint": "new"}
    for key, finished, task in (("k1", a, old if a < b else new), ("k2", b, new if a < b else old)):
        write_cell(tmp_path, key, finished=finished, task=task, seed=int(finished))
    write_cell(tmp_path, "k3", finished="1", task={"name": "mosei", "fingerprint": "old"})
    found = choose(Store(tmp_path))
    assert {(r["task"]["name"], r["seed"]) for _, r in found.cells} == {("mosi", 4), ("mosei", 0)}
    assert found.superseded == {"mult on mosi": 1}


@pytest.mark.parametrize(("finished", "told"), [("1", []), ("3", ["k2"])])
def test_a_failure_is_told_unless_the_cell_was_done_since(tmp_path, finished, told):
    write_cell(tmp_path, "k1", finished="2")
    write_cell(tmp_path, "k2", finished=finished, state=FAILED, error="it broke", **OTHER)
    assert [record["key"] for record in choose(Store(tmp_path)).failed] == told


def test_a_cell_that_goes_while_it_is_read_is_left_out(tmp_path, monkeypatch):
    store = write_cell(tmp_path, "k1")
    monkeypatch.setattr(store, "stored_keys", lambda: ["gone", "k1"])
    assert keys(choose(store)) == ["k1"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_of_one_cell_in_two_folders_the_fuller_counts(tmp_path, first):
    full = write_cell(tmp_path / "a", "k1")
    few = write_cell(tmp_path / "b", "k1", settings=SETTINGS[1:])
    stores = (full, few) if first == "a" else (few, full)
    assert [store.out.name for store, _ in choose(*stores).cells] == ["a"]
    write_cell(tmp_path / "c", "k1", state=FAILED, error="x", finished="1")
    for order in ((Store(tmp_path / "c"), *stores), (*stores, Store(tmp_path / "c"))):
        found = choose(*order)
        assert keys(found) == ["k1"] and not found.failed


def test_settings_that_only_the_folder_of_fewer_has_are_told(tmp_path):
    more = write_cell(tmp_path / "more", "k1", settings=[(Setting(), 0), (Setting("l"), 0)])
    other = write_cell(tmp_path / "other", "k1", settings=[(Setting("v"), 0)])
    for stores in ((more, other), (other, more)):
        (told,) = choose(*stores).damaged
        assert told.startswith(f"settings of {other.out} that {more.out}, which has more others")
    assert not choose(more, write_cell(tmp_path / "few", "k1", settings=[(Setting("l"), 0)])).damaged


@pytest.mark.parametrize("changed", [{"right": False}, {"ids": "abd"}])
def test_one_cell_with_two_results_is_refused(tmp_path, changed):
    stores = write_cell(tmp_path / "a", "k1"), write_cell(tmp_path / "b", "k1", **changed)
    with pytest.raises(BenchmarkError, match=r"mult on mosi, seed 0, stands in .* with different scores"):
        choose(*stores)


def test_one_cell_with_two_intensities_is_refused_unless_they_differ_by_rounding(tmp_path):
    data = {"source": "simulated", "kind": "intensity", "categories": []}
    outputs = np.array([[-1.0], [0.5], [1.0]], dtype=np.float32)
    stores = [
        write_cell(tmp_path / name, "k1", outputs=outputs + more, data=data)
        for name, more in (("a", 0), ("b", 1e-5), ("c", 0.1))
    ]
    assert keys(choose(*stores[:2])) == ["k1"]
    with pytest.raises(BenchmarkError, match="with different scores"):
        choose(stores[0], stores[2])


def test_two_cells_of_one_place_in_two_folders_are_refused(tmp_path):
    a = write_cell(tmp_path / "a", "k1", finished="3")
    said = r"a/cells/k1 and in .*made with different hyper-parameters, code or data; move one of the two away"
    for key, changed in {
        "k2": OTHER,
        "k3": OTHER | {"seed": 1},
        "k4": {"task": {"name": "mosi", "fingerprint": "f9"}},
    }.items():
        with pytest.raises(BenchmarkError, match=said):
            choose(a, write_cell(tmp_path / key, key, **changed))
    c = write_cell(tmp_path / "c", "k5", seed=1)
    assert len(choose(a, c).cells) == 2
    write_cell(tmp_path / "c", "k6", seed=2, **OTHER)
    assert keys(choose(a, c)) == ["k1", "k5"], "what is replaced in its own folder is no second definition"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": "a\nb"}, "the row .* holds characters that cannot be seen"),
        ({"method": ""}, "the method '' is empty"),
        ({"task": {"name": "x" * 200, "fingerprint": "f0"}}, "the task .* has 200 characters"),
        ({"task": 3}, "the task 3 is no text"),
        ({"training": None}, "does not say whether the method trains on complete or on missing samples"),
        ({"training": {"trains_on": "both"}}, "does not say whether"),
        ({"data": {"source": "../x", "categories": []}}, r"the source of data '\.\./x' must be 'simulated' or 'file'"),
        ({"data": {"source": "file", "categories": ["a", ""]}}, "the category '' is empty"),
    ],
)
def test_a_cell_whose_names_cannot_be_shown_is_refused(tmp_path, changed, said):
    store = write_cell(tmp_path, "k1", **changed)
    with pytest.raises(BenchmarkError, match=rf"cell\.json.*{said}"):
        choose(store)
