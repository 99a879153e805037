import json

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.evidence.scores import read_scores
from benchmark.protocol.missing import Setting
from benchmark.running.store import DONE, FAILED, Predictions, Store, write_predictions, write_record

OTHER = {"hyperparameters": {"layers": 3}}
SETTINGS = ((Setting("lav"), 0), (Setting("l"), 0))
LABELS = np.array([-1.0, 0.5, 1.0], dtype=np.float32)


def write(folder, key, *, settings=SETTINGS, right=True, ids="abc", labels=LABELS, epochs=1, finished="2", **changed):
    """A cell of `mult` on simulated MOSI, seed 0, whose predictions are all right or all wrong."""
    record = {
        "state": DONE,
        "key": key,
        "label": "mult",
        "method": "mult",
        "hyperparameters": {"layers": 2},
        "seed": 0,
        "task": {"name": "mosi", "fingerprint": "f0"},
        "data": {"source": "simulated", "kind": "sentiment", "categories": ["negative", "non-negative"]},
        "training": {"trains_on": "complete"},
        "settings": [str(setting) for setting, _ in settings],
        "finished": finished,
    } | changed
    store = Store(folder)
    truth = (labels >= 0).astype(int)
    logits = np.eye(2, dtype=np.float32)[truth if right else 1 - truth]
    epoch = {"stage": "s", "epoch": 1, "train_loss": 0.5, "valid_loss": 0.6, "valid_f1": 70.0}
    with store.attempt(key) as side:
        if record["state"] == DONE:
            write_predictions(
                side, Predictions(np.array(list(ids)), labels, settings, np.stack([logits] * len(settings)))
            )
            (side / "history.jsonl").write_text(f"{json.dumps(epoch)}\n" * epochs)
        write_record(side, record)
    return store


def test_all_that_is_stored_is_scored(tmp_path):
    write(tmp_path, "k1", seed=1)
    write(tmp_path, "k2", seed=0, right=False)
    write(tmp_path, "k3", seed=0, label="misa", labels=LABELS.astype(np.float64))
    found = collect(Store(tmp_path))
    f1 = found.scores[found.scores["metric"] == "f1"]
    assert list(zip(f1["method"], f1["seed"], f1["available"], f1["value"], f1["key"], strict=True)) == [
        ("misa", 0, "lav", 100.0, "k3"), ("misa", 0, "l", 100.0, "k3"),
        ("mult", 0, "lav", 0.0, "k2"), ("mult", 0, "l", 0.0, "k2"),
        ("mult", 1, "lav", 100.0, "k1"), ("mult", 1, "l", 100.0, "k1"),
    ]  # fmt: skip
    assert len(found.histories) == 3 and not found.failures and not found.damaged and not found.superseded
    kept = {model.labels.dtype.name: id(model.labels) for model in found.models}
    assert len({id(model.labels) for model in found.models}) == len(kept) == 2, "equal labels are kept once"


def test_each_task_has_its_own_labels(tmp_path):
    other = np.array([1.0, 1.0, -1.0], dtype=np.float32)
    write(tmp_path, "k1")
    write(tmp_path, "k2", task={"name": "mosei", "fingerprint": "f1"}, labels=other)
    found = collect(Store(tmp_path))
    assert [model.labels.tolist() for model in found.models] == [LABELS.tolist(), other.tolist()]
    assert set(found.scores.loc[found.scores["metric"] == "f1", "value"]) == {100.0}


def test_where_nothing_is_stored_nothing_is_found(tmp_path):
    found = collect(Store(tmp_path))
    assert found.scores.empty and "value" in found.scores and found.histories.empty and found.models == []
    write(tmp_path, "k1", epochs=0)
    assert collect(Store(tmp_path)).histories.empty, "a method that is not trained"


def keys(found):
    return [record["key"] for record in found.records]


@pytest.mark.parametrize(("a", "b"), [("3", "4"), ("4", "3")])
def test_the_latest_cell_counts(tmp_path, a, b):
    write(tmp_path, "k1", finished=a)
    write(tmp_path, "k2", finished=b, **OTHER)
    found = collect(Store(tmp_path))
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
        write(tmp_path, f"k{seed}", seed=seed, finished="2")
    write(tmp_path, "new", finished="3", right=False, **other)
    write(tmp_path, "misa", label="misa", finished="1", **({"task": other["task"]} if "task" in other else {}))
    found = collect(Store(tmp_path))
    assert keys(found) == ["misa", "new"] and found.superseded == {"mult on mosi": 3}
    found = collect(Store(tmp_path), keys={"k0", "k1"})
    assert [key for key in keys(found) if key != "misa"] == ["k0", "k1", "k2"], "further seeds of the grid's definition"
    assert found.superseded["mult on mosi"] == 1
    assert keys(collect(Store(tmp_path), keys={"elsewhere"})) == ["misa", "new"], "a grid without cells changes nothing"


def test_no_other_definition_takes_the_place_of_what_the_grid_failed_at(tmp_path):
    write(tmp_path, "k0", finished="2")
    write(tmp_path, "k1", label="misa")
    write(tmp_path, "k2", finished="1", state=FAILED, error="x", **OTHER)
    found = collect(Store(tmp_path), keys={"k2"})
    assert keys(found) == ["k1"] and [failure["method"] for failure in found.failures] == ["mult"]
    found = collect(Store(tmp_path))
    assert keys(found) == ["k1", "k0"] and not found.failures


def test_failures_of_the_definition_that_is_shown_are_told_and_those_of_older_ones_are_not(tmp_path):
    write(tmp_path, "k0", finished="3")
    write(tmp_path, "k1", seed=1, finished="2", state=FAILED, error="same", data=None)
    write(tmp_path, "k2", seed=2, finished="2", state=FAILED, error="older", data=None, **OTHER)
    write(tmp_path, "k3", seed=3, finished="4", state=FAILED, error="newer", data=None, **OTHER)
    assert [failure["error"] for failure in collect(Store(tmp_path)).failures] == ["same", "newer"]
    assert [f["error"] for f in collect(Store(tmp_path), keys={"k0"}).failures] == ["same"]


@pytest.mark.parametrize(("a", "b"), [("3", "4"), ("4", "3")])
def test_of_a_task_only_the_data_of_its_latest_cell_count(tmp_path, a, b):
    old, new = {"name": "mosi", "fingerprint": "old"}, {"name": "mosi", "fingerprint": "new"}
    for key, finished, task in (("k1", a, old if a < b else new), ("k2", b, new if a < b else old)):
        write(tmp_path, key, finished=finished, task=task, seed=int(finished))
    write(tmp_path, "k3", finished="1", task={"name": "mosei", "fingerprint": "old"})
    found = collect(Store(tmp_path))
    assert {(r["task"]["name"], r["seed"]) for r in found.records} == {("mosi", 4), ("mosei", 0)}
    assert found.superseded == {"mult on mosi": 1}


@pytest.mark.parametrize(("finished", "shown"), [("1", []), ("3", [("mosi", "mult", "0")])])
def test_a_failure_is_told_unless_the_cell_was_done_since(tmp_path, finished, shown):
    write(tmp_path, "k1", finished="2")
    write(tmp_path, "k2", finished=finished, state=FAILED, error="it \u202ebroke", **OTHER)
    found = collect(Store(tmp_path)).failures
    assert [tuple(failure[name] for name in ("task", "method", "seed")) for failure in found] == shown
    assert all("broke" in failure["error"] and "\u202e" not in failure["error"] for failure in found)


def test_damaged_cells_are_told_and_not_read(tmp_path):
    store = write(tmp_path, "k1")
    write(tmp_path, "k2", seed=1)
    write(tmp_path, "k3", seed=2)
    (store.path("k1") / "cell.json").write_text("{}")
    (store.path("k2") / "predictions.npz").write_bytes(b"")
    found = collect(Store(tmp_path))
    assert len(found.damaged) == 1 and "k1" in found.damaged[0]
    assert [failure["seed"] for failure in found.failures] == ["1"] and "predictions.npz" in found.failures[0]["error"]
    assert [record["key"] for record in found.records] == ["k3"]


def test_a_cell_that_goes_while_it_is_read_is_left_out(tmp_path, monkeypatch):
    store = write(tmp_path, "k1")
    monkeypatch.setattr(store, "stored_keys", lambda: ["gone", "k1"])
    assert [record["key"] for record in collect(store).records] == ["k1"]


@pytest.mark.parametrize("first", ["a", "b"])
def test_of_one_cell_in_two_folders_the_fuller_counts(tmp_path, first):
    full = write(tmp_path / "a", "k1")
    few = write(tmp_path / "b", "k1", settings=SETTINGS[1:])
    stores = (full, few) if first == "a" else (few, full)
    found = collect(*stores)
    assert len(found.models) == 1 and found.models[0].settings == SETTINGS
    write(tmp_path / "c", "k1", state=FAILED, error="x", finished="1")
    for order in ((Store(tmp_path / "c"), *stores), (*stores, Store(tmp_path / "c"))):
        found = collect(*order)
        assert len(found.models) == 1 and not found.failures


@pytest.mark.parametrize("changed", [{"right": False}, {"ids": "abd"}])
def test_one_cell_with_two_results_is_refused(tmp_path, changed):
    stores = write(tmp_path / "a", "k1"), write(tmp_path / "b", "k1", **changed)
    with pytest.raises(BenchmarkError, match=r"mult on mosi, seed 0, stands in .* with different scores"):
        collect(*stores)


def test_two_cells_of_one_place_in_two_folders_are_refused(tmp_path):
    a = write(tmp_path / "a", "k1", finished="3")
    said = r"a/cells/k1 and in .*made with different hyper-parameters, code or data; move one of the two away"
    for key, changed in {
        "k2": OTHER,
        "k3": OTHER | {"seed": 1},
        "k4": {"task": {"name": "mosi", "fingerprint": "f9"}},
    }.items():
        with pytest.raises(BenchmarkError, match=said):
            collect(a, write(tmp_path / key, key, **changed))
    c = write(tmp_path / "c", "k5", seed=1)
    assert len(collect(a, c).records) == 2
    write(tmp_path / "c", "k6", seed=2, **OTHER)
    assert keys(collect(a, c)) == ["k1", "k5"], "what is replaced in its own folder is no second definition"


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
    store = write(tmp_path, "k1", **changed)
    with pytest.raises(BenchmarkError, match=rf"cell\.json.*{said}"):
        collect(store)


def test_stored_scores_are_read_and_their_names_checked(tmp_path):
    write(tmp_path, "k1")
    path = tmp_path / "scores.csv"
    with pytest.raises(BenchmarkError, match=r"nothing is stored in .*; run the grid first"):
        read_scores(path)
    scores = collect(Store(tmp_path)).scores
    scores.to_csv(path, index=False)
    assert read_scores(path)["value"].tolist() == scores["value"].tolist()
    write(tmp_path, "k1", labels=np.zeros(3, np.float32), finished="3")
    neutral = collect(Store(tmp_path)).scores
    assert neutral.groupby("metric")["value"].count().to_dict() == {"accuracy": 2, "f1": 0, "f1_nonneg": 2}
    neutral.to_csv(path, index=False)
    np.testing.assert_array_equal(read_scores(path)["value"], neutral["value"], "there may be no f1")
    scores.assign(method="a\u202eb").to_csv(path, index=False)
    with pytest.raises(BenchmarkError, match="holds characters that cannot be seen"):
        read_scores(path)
