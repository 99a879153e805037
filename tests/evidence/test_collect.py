import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.running.store import FAILED, Store
from tests.stored_cells import LABELS, write_cell


def test_all_that_is_stored_is_scored(tmp_path):
    write_cell(tmp_path, "k1", seed=1)
    write_cell(tmp_path, "k2", seed=0, right=False)
    write_cell(tmp_path, "k3", seed=0, label="misa", labels=LABELS.astype(np.float64))
    found = collect(Store(tmp_path))
    f1 = found.scores[found.scores["metric"] == "f1"]
    assert list(zip(f1["method"], f1["seed"], f1["available"], f1["value"], f1["key"], strict=True)) == [
        ("misa", 0, "lav", 100.0, "k3"), ("misa", 0, "l", 100.0, "k3"),
        ("mult", 0, "lav", 0.0, "k2"), ("mult", 0, "l", 0.0, "k2"),
        ("mult", 1, "lav", 100.0, "k1"), ("mult", 1, "l", 100.0, "k1"),
    ]  # fmt: skip
    assert set(found.histories["valid_score"]) == {70.0}, "what earlier versions called valid_f1"
    assert len(found.histories) == 3 and not found.failures and not found.damaged and not found.superseded
    kept = {model.labels.dtype.name: id(model.labels) for model in found.models}
    assert len({id(model.labels) for model in found.models}) == len(kept) == 2, "equal labels are kept once"


def test_each_task_has_its_own_labels(tmp_path):
    other = np.array([1.0, 1.0, -1.0], dtype=np.float32)
    write_cell(tmp_path, "k1")
    write_cell(tmp_path, "k2", task={"name": "mosei", "fingerprint": "f1"}, labels=other)
    found = collect(Store(tmp_path))
    assert [model.labels.tolist() for model in found.models] == [LABELS.tolist(), other.tolist()]
    assert set(found.scores.loc[found.scores["metric"] == "f1", "value"]) == {100.0}


def test_where_nothing_is_stored_nothing_is_found(tmp_path):
    found = collect(Store(tmp_path))
    assert found.scores.empty and "value" in found.scores and found.histories.empty and found.models == []
    write_cell(tmp_path, "k1", epochs=0)
    assert collect(Store(tmp_path)).histories.empty, "a method that is not trained"


def test_damaged_cells_are_told_and_not_read(tmp_path):
    store = write_cell(tmp_path, "k1")
    write_cell(tmp_path, "k2", seed=1)
    write_cell(tmp_path, "k3", seed=2)
    (store.path("k1") / "cell.json").write_text("{}")
    (store.path("k2") / "predictions.npz").write_bytes(b"")
    found = collect(Store(tmp_path))
    assert len(found.damaged) == 1 and "k1" in found.damaged[0]
    assert [failure["seed"] for failure in found.failures] == ["1"] and "predictions.npz" in found.failures[0]["error"]
    assert [record["key"] for record in found.records] == ["k3"]


def test_a_failure_is_told_without_characters_that_cannot_be_seen(tmp_path):
    write_cell(tmp_path, "k1")
    write_cell(tmp_path, "k2", seed=1, state=FAILED, error="it \u202ebroke")
    (failure,) = collect(Store(tmp_path)).failures
    assert failure == {"task": "mosi", "method": "mult", "seed": "1", "error": "it \\u202ebroke"}


INTENSITY = {"source": "simulated", "kind": "intensity", "categories": [], "span": [-3, 3], "modalities": "la"}
OUTPUTS = np.array([[-2.0], [1.0], [0.6]], dtype=np.float32)


def listing(*metrics, **data):
    return {"data": {"source": "simulated", "kind": "sentiment", "categories": [], **data, "metrics": list(metrics)}}


def metrics_of(scores):
    return list(scores["metric"].unique())


def test_an_intensity_is_scored_from_its_outputs(tmp_path):
    """Also by a metric which, of other targets, predicted categories would do for."""
    write_cell(tmp_path, "k1", outputs=OUTPUTS, **listing("mae", "f1", **INTENSITY))
    found = collect(Store(tmp_path))
    complete = found.scores[found.scores["available"] == "lav"].set_index("metric")["value"]
    assert complete["mae"] == pytest.approx(np.mean([1.0, 0.5, 0.4])) and complete["f1"] == 100.0
    assert set(found.scores["target"]) == {"intensity"} and set(found.scores["modalities"]) == {"la"}
    write_cell(tmp_path, "k1", outputs=OUTPUTS, finished="3", **listing("f1", **INTENSITY))
    assert collect(Store(tmp_path)).scores["value"].tolist() == [100.0, 100.0]


def test_all_cells_of_a_task_have_the_metrics_of_the_latest(tmp_path):
    write_cell(tmp_path, "k1", seed=0, finished="3", **listing("log_loss", "accuracy"))
    write_cell(tmp_path, "k2", seed=1, finished="2")
    found = collect(Store(tmp_path))
    assert metrics_of(found.scores) == ["log_loss", "accuracy"] and found.scores["value"].notna().all()
    assert {(model.metrics, model.outputs.shape) for model in found.models} == {(("log_loss", "accuracy"), (2, 3, 2))}
    write_cell(tmp_path, "k3", seed=2, finished="4")
    assert metrics_of(collect(Store(tmp_path)).scores) == ["f1", "f1_nonneg", "accuracy"], "the usual ones"


def test_metrics_that_are_asked_for_come_after_those_of_the_task(tmp_path):
    write_cell(tmp_path, "k1")
    write_cell(
        tmp_path,
        "k2",
        task={"name": "mine", "fingerprint": "f1"},
        outputs=OUTPUTS,
        data=INTENSITY | {"metrics": ["mae"]},
    )
    scores = collect(Store(tmp_path), metrics=["auroc", "corr", "f1"]).scores
    assert metrics_of(scores[scores["task"] == "mosi"]) == ["f1", "f1_nonneg", "accuracy", "auroc"]
    assert metrics_of(scores[scores["task"] == "mine"]) == ["mae", "corr", "f1"]


def test_a_metric_that_there_is_not_is_one_line(tmp_path):
    assert collect(Store(tmp_path), metrics=["auroc"]).scores.empty, "where nothing is stored, no metric is wrong"
    write_cell(tmp_path, "k1")
    for asked in ("corr", "auroK"):
        with pytest.raises(
            BenchmarkError, match=rf"^unknown metric in --metrics '{asked}'.* there are: accuracy, auroc, "
        ) as caught:
            collect(Store(tmp_path), metrics=["auroc", asked])
        assert "\n" not in str(caught.value)
    write_cell(tmp_path, "k1", finished="3", **listing("f2"))
    with pytest.raises(BenchmarkError, match=r"^cells of mosi: unknown metric 'f2'.*; update the benchmark$"):
        collect(Store(tmp_path))
