"""The time to expect on a GPU, by planted measurements."""

import json
from types import SimpleNamespace

import pytest

from benchmark.data.source import Size
from benchmark.running.expected import GpuTimes, expected

MULT = {"card": "a card", "method": "mult", "seeds": 5}
SPEEDS = [
    MULT | {"samples": 1000, "seconds": {"alone": 2.0, "stacked": 4.0, "graphs": 1.0}},
    MULT | {"samples": 10000, "seconds": {"graphs": 20.0}},
    {"card": "a card", "method": "misa", "seeds": 5, "samples": 1000, "seconds": {"alone": 1.0}},
    {"card": "a card", "error": "ValueError: planted"},
    {"card": "a card", "method": "smil", "seeds": 5, "samples": 1000, "seconds": {}},
]


@pytest.fixture
def times(tmp_path):
    for number, speed in enumerate(SPEEDS):
        (tmp_path / f"speed-{number}.json").write_text(json.dumps(speed))
    (tmp_path / "quick.json").write_text("{}")
    return GpuTimes(tmp_path)


def cell(method, samples, epochs=10, augmentable=True):
    return SimpleNamespace(
        row=SimpleNamespace(name=method),
        entry=SimpleNamespace(augmentable=augmentable),
        size=Size(samples, (1, 1, 1), (1, 1, 1)),
        training=SimpleNamespace(epochs=epochs),
    )


def test_an_epoch_is_by_the_fastest_way_and_the_nearest_measurement(times):
    assert times.epoch("mult", 1000, 1) == 2.0
    assert times.epoch("mult", 2000, 5) == pytest.approx(2 * 1.0 / 5)
    assert times.epoch("mult", 1000, 2) == pytest.approx(1.0 / 2)  # a smaller stack takes as long
    assert times.epoch("mult", 20000, 8) == pytest.approx(2 * 20.0 / 5)
    assert times.epoch("misa", 500, 5) == pytest.approx(0.5)
    assert times.epoch("smil", 1000, 5) is None and times.epoch("dmd", 1000, 5) is None


def test_a_plan_is_the_sum_of_cells_that_stop_nowhere_early(times):
    cells = [cell("mult", 1000), cell("mult", 1000), cell("misa", 1000, 30), cell("linear", 10**6, augmentable=False)]
    said = expected(cells, "auto", times)
    assert said == "at most about 35 s of training, by what was measured on a card"  # 2 * 10 / 4, and 30
    assert expected(cells[:2], 1, times).startswith("at most about 40 s")
    assert expected([*cells, cell("dmd", 10)], 1, times).endswith("; 1 of 5 cells are of methods or data not measured")


def test_without_a_measurement_it_says_so_in_one_line(tmp_path):
    said = expected([cell("mult", 1000)], 1, GpuTimes(tmp_path / "nowhere"))
    assert said.startswith("not known: nothing was measured on a GPU yet") and "\n" not in said
