"""What would fail or wait on a GPU, found without one: see `tests/pretend.py`."""

import json
import subprocess
import sys

import pytest
import torch.utils.backend_registration

from benchmark import methods
from tests.running.test_stacked import TOGETHER
from tests.waiting import HUNG

pytestmark = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch knows no devices written in Python",
)

WAITING = {"cubemlp", "ebmc", "gcnet", "mctn", "misa", "self_mm"}
"""Pack sequences for torch's LSTM or GRU, or pick out real frames, or windows and samples by what they hold."""


def looked_at(*arguments):
    """What `tests/pretend.py` finds of each method, in one process for all."""
    run = [sys.executable, "-m", "tests.pretend", *arguments]
    done = subprocess.run(run, capture_output=True, text=True, timeout=HUNG)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert not [own["error"] for own in found.values() if "error" in own]
    return found


def beyond(found, what, limit):
    return {name: own[what] for name, own in found.items() if not own[what] < limit}


def test_another_device_gives_what_the_cpu_gives():
    names = sorted(methods.catalogue())
    found = looked_at(*names)
    assert sorted(found) == names
    assert beyond(found, "logits", 1e-4) == {} and beyond(found, "gradients", 1e-5) == {}
    waits = {name: own["waits"] for name, own in found.items() if own["waits"]}
    assert waits.keys() == WAITING, waits


def test_a_step_of_a_stack_waits_for_nothing_and_gives_what_the_cpu_gives():
    found = looked_at("--together", *sorted(TOGETHER))
    assert found.keys() == TOGETHER
    assert {name: own["waits"] for name, own in found.items() if own["waits"]} == {}
    assert beyond(found, "difference", 1e-4) == {}
