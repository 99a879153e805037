"""What sets the rows of a method apart."""

import pytest

from benchmark.evidence.readings import LEAST, readings_of


def record(label, hyperparameters=(), training=(), method="mult", task="mosi", seed=0):
    return {
        "label": label,
        "method": method,
        "task": {"name": task},
        "data": {"source": "simulated"},
        "seed": seed,
        "hyperparameters": {"heads": 5, "layers": 2, "head": "linear"} | dict(hyperparameters),
        "training": {"trains_on": "missing", "clip_norm": 1.0, "mrm": {"max_ratio": 1.0, "frame_probability": 0.5}}
        | dict(training),
    }


def rows(count=LEAST):
    own = [
        record("mult"),
        record("no clipping", training={"clip_norm": None}),
        record("half", training={"mrm": {"max_ratio": 0.5, "frame_probability": 0.5}}),
    ]
    return own + [record(f"layers={i}", {"layers": i + 10}) for i in range(count - len(own))]


def test_each_row_has_a_value_of_every_option_in_which_any_differs():
    found = {reading["label"]: reading for reading in readings_of(rows())}
    assert list(found) == [r["label"] for r in rows()]
    assert found["mult"]["options"] == {"layers": 2, "clip_norm": 1.0, "mrm.max_ratio": 1.0}
    assert found["no clipping"]["options"] == {"layers": 2, "clip_norm": None, "mrm.max_ratio": 1.0}
    assert found["half"]["options"]["mrm.max_ratio"] == 0.5
    assert found["layers=1"]["options"]["layers"] == 11
    assert {(r["task"], r["source"], r["method"]) for r in found.values()} == {("mosi", "simulated", "mult")}


def test_training_the_other_way_is_an_option_too():
    found = readings_of([*rows(), record("mult-mrm", training={"trains_on": "complete"})])
    assert [r["options"]["trains_on"] for r in found] == ["missing"] * LEAST + ["complete"]


@pytest.mark.parametrize(
    "other", [{"method": "misa"}, {"task": "iemocap"}, {"seed": 1}], ids=["method", "task", "seed"]
)
def test_few_rows_are_an_ablation_and_no_readings(other):
    """Nor does it count what is of another method or task, or of the same row."""
    label = "mult" if "seed" in other else "one more"
    assert readings_of([*rows(LEAST - 1), record(label, **other)]) == []
    assert readings_of(rows(LEAST)) != []
