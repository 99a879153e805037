"""The GPU's table, on parts that were not measured; and all parts in small, on a CPU."""

import json
import time

import pytest
import torch

from benchmark.running.expected import GpuTimes
from tests.speed import gpu
from tests.speed.gpu import Part

CPU = torch.device("cpu")
NOTHING = {"valid_loss": {}, "mib": {}, "why": {}, "notes": {}, "card": "card", "seeds": 5, "batch": 32}
SPEEDS = {
    "speed-mult-1284": NOTHING
    | {"method": "mult", "samples": 1284, "seconds": {"alone": 2.0, "stacked": 4.0, "graphs": 1.0}}
    | {"mib": {"alone": 50.0, "graphs": 100.0}, "valid_loss": {"graphs": 0.5}},
    "speed-mult-16326": NOTHING | {"method": "mult", "samples": 16326, "seconds": {"graphs": 20.0}},
    "speed-misa-1284": NOTHING
    | {"method": "misa", "samples": 1284, "seconds": {"alone": 1.0}, "notes": {"graphs": ["steps are not recorded"]}},
}


@pytest.fixture
def times(tmp_path):
    for name, speed in SPEEDS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(speed))
    return GpuTimes(tmp_path)


def test_estimate_is_of_all_methods_tasks_seeds_and_epochs(times):
    # a model's epoch: mult 0.2 s in a stack at MOSI's size, then 4 s; misa 1 s a 1,284 samples
    seconds, methods = gpu.estimate(times, {"small": 1284, "large": 16326}, 5, 3)
    assert methods == 2 and seconds == pytest.approx(5 * 3 * (0.2 + 4 + 1 + 16326 / 1284))


def test_table_and_plot_of_planted_parts(times, tmp_path):
    found = dict(SPEEDS)
    found["agreement-mult"] = {"card": "card", "method": "mult", "difference": {"alone": 2e-5, "graphs": 3e-5}}
    found["operations-mult"] = {"card": "a CPU", "method": "mult", "operations": 0.2 * gpu.PEAK}
    found["bf16-mult"] = SPEEDS["speed-mult-1284"] | {"seconds": {"bf16": 0.7}, "valid_loss": {"bf16": 0.51}}
    found["compiled-corrkd"] = SPEEDS["speed-mult-1284"] | {"seconds": {}, "why": {"compiled": "no compiler"}}
    found["quick"] = {"card": "card", "seconds": 61.0, "failed": 0}
    found["speed-smil-1284"] = {"card": "card", "error": "ValueError: planted"}
    text = gpu.table(found, times)
    assert text.startswith("Measured on card. ")
    assert "| mult | 1284 | 32 | 2 | 4 | 1 | 5 | 10.0 | 100 | 100.00% | 2.0e-05 | – | 3.0e-05 |" in text
    assert "| misa | 1284 | 32 | 1 | – | – | 5 | – | – | – | – | – | – |" in text
    assert "- bf16, mult: 0.7 s; validation loss 0.5100; with graphs alone 1 s and 0.5000" in text
    assert "- compiled, corrkd: no compiler" in text
    assert "The quick grid, from end to end: 61 s." in text
    assert "- speed-misa-1284: steps are not recorded" in text
    assert "- speed-smil-1284 failed: ValueError: planted" in text
    gpu.plot(times, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_parts_that_are_there_are_not_measured_again_and_late_ones_are_left(tmp_path):
    measured = []

    def part(name, seconds=100):
        def work():
            measured.append(name)
            if name == "bad":
                raise ValueError("planted")
            if name == "long":
                time.sleep(60)
            return {"name": name}

        return Part(work, seconds)

    wanted = {"good": part("good"), "bad": part("bad"), "long": part("long", 0.01)}
    assert gpu.measure(tmp_path, wanted, 100, "card") == []
    assert json.loads((tmp_path / "bad.json").read_text())["error"] == "ValueError: planted"
    assert json.loads((tmp_path / "long.json").read_text())["error"].startswith("TooLong")
    gpu.measure(tmp_path, wanted, 100, "card")
    assert measured == ["good", "bad", "long", "bad", "long"]  # what failed is tried again
    assert gpu.measure(tmp_path, {"later": part("later")}, -1, "card") == ["later"] and len(measured) == 5


def test_what_catches_every_exception_is_broken_off_too():
    with pytest.raises(gpu.TooLong), gpu.within(0.01):
        while True:
            try:
                time.sleep(60)
            except Exception:
                pytest.fail("a part took its end for a fault of its own")


def test_every_part_has_its_share_of_eight_minutes():
    planned = gpu.parts(torch.device("cuda"), gpu.trained_names(), small=False)
    kinds = {name.partition("-")[0] for name in planned}
    assert kinds == {"agreement", "speed", "quick", "bf16", "compiled", "operations"}
    for name in gpu.trained_names():
        assert {f"agreement-{name}", f"speed-{name}-1284", f"operations-{name}"} <= planned.keys()
    assert all(0 < part.seconds <= 100 for part in planned.values())


def test_all_parts_work_in_small_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "real", lambda samples: gpu.mosi_sized(16))
    gpu.main(["--out", str(tmp_path / "gpu"), "--methods", "moddrop"])
    out = tmp_path / "gpu-small-cpu"
    found = gpu.stored(out)
    assert {name for name, part in found.items() if "error" in part} == set()
    speed = found["speed-moddrop-64"]
    assert speed["seconds"]["alone"] > 0 and speed["seconds"]["stacked"] > 0
    assert found["agreement-moddrop"]["difference"]["stacked"] < 1e-4
    assert found["smoke"]["failed"] == 0 and found["operations-moddrop"]["operations"] > 0
    assert "| moddrop | 16 |" in (out / "README.md").read_text()
    assert (out / "speed.png").exists()


def test_what_cannot_be_stacked_says_why():
    found = gpu.speed("smil", lambda: gpu.mosi_sized(8), CPU, ["alone", "stacked"], 2, 1)
    assert found["seconds"].keys() == {"alone"} and found["why"]["stacked"]
