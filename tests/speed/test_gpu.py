"""The GPU's table, on parts that were not measured."""

import json

import pytest
import torch

from tests.speed import gpu

SPEEDS = [
    {"card": "card", "method": "mult", "samples": 1000, "seeds": 5, "alone": 2.0, "stacked": 4.0, "mib": 100.0},
    {"card": "card", "method": "mult", "samples": 10000, "seeds": 5, "alone": 10.0, "stacked": 20.0, "mib": 900.0},
    {"card": "card", "method": "misa", "samples": 1000, "seeds": 5, "alone": 1.0, "stacked": None},
]


def test_estimate_takes_the_faster_way_and_the_nearest_measurement():
    # mult: 4 s a thousand samples in a stack, then 20 s at ten thousand; misa: 5 times 1 s a thousand samples
    seconds, methods = gpu.estimate(SPEEDS, {"small": 1000, "large": 20000}, 5, 3)
    assert methods == 2 and seconds == pytest.approx(3 * (4 + 40 + 5 + 100))
    assert gpu.estimate(SPEEDS[:1], {"small": 1000}, 6, 1)[0] == pytest.approx(8)  # two stacks of five at most


def test_table_and_plot_of_planted_parts(tmp_path):
    found = {f"speed-{s['method']}-{s['samples']}": s for s in SPEEDS}
    found["agreement-mult"] = {"card": "card", "method": "mult", "difference": 2e-5}
    found["operations-mult"] = {"card": "card", "method": "mult", "operations": 0.8 * gpu.PEAK * 1.284}
    found["speed-smil-1000"] = {"card": "card", "error": "ValueError: planted"}
    text = gpu.table(found)
    assert "| mult | 1000 | 2 | 4 | 5 | 2.5 | 100 | 100.00% | 2.0e-05 |" in text
    assert "| misa | 1000 | 1 | – | 5 | – | – | – | – |" in text
    assert "speed-smil-1000 failed: ValueError: planted" in text
    gpu.plot(found, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_parts_that_are_there_are_not_measured_again_and_late_ones_are_left(tmp_path):
    measured = []

    def part(name):
        def work():
            measured.append(name)
            if name == "bad":
                raise ValueError("planted")
            return {"name": name}

        return work

    wanted = {name: part(name) for name in ("good", "bad")}
    assert gpu.measure(tmp_path, wanted, 100, "card") == []
    assert json.loads((tmp_path / "bad.json").read_text())["error"] == "ValueError: planted"
    gpu.measure(tmp_path, wanted, 100, "card")
    assert measured == ["good", "bad", "bad"]  # what failed is tried again
    assert gpu.measure(tmp_path, {"later": part("later")}, -1, "card") == ["later"] and len(measured) == 3


def test_stacking_is_measured_on_a_cpu_too():
    found = gpu.speed("mult", gpu.simulated(16), torch.device("cpu"), 2, 1)
    assert found["alone"] > 0 and found["stacked"] > 0
