"""What a method's code changes for the whole process is put back, at its import and after each of its cells."""

import sys
from pathlib import Path

import pytest
import torch

from benchmark.methods.surroundings import kept_surroundings
from tests.faults.people import GRID, written
from tests.faults.runs import logits, run

CHANGES = {
    "the default type": "torch.set_default_dtype(torch.float64)",
    "gradients": "torch.set_grad_enabled(False)",
    "threads": "torch.set_num_threads(3)",
    "the default device": "torch.set_default_device('meta')",
    "the precision of products": "torch.set_float32_matmul_precision('medium')",
    "determinism": "torch.use_deterministic_algorithms(True)",
    "the working folder": "import os; os.chdir('/')",
    "standard output": "import sys; sys.stdout = sys.stderr",
}


def surroundings():
    return (
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_device(),
        torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(), Path.cwd(), sys.stdout,
    )  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_is_put_back(change):
    before = surroundings()
    with pytest.raises(ZeroDivisionError), kept_surroundings():
        exec(change, {"torch": torch})
        assert surroundings() != before
        raise ZeroDivisionError
    assert surroundings() == before


@pytest.mark.parametrize("place", ["head", "loss"])
def test_neither_the_numbers_nor_the_places_of_others_depend_on_it(tmp_path, monkeypatch, place):
    change = "; ".join(each for name, each in CHANGES.items() if name not in ("gradients", "the default device"))
    if place == "loss":
        change = f"(exec({change!r}, {{'torch': torch}}), F.cross_entropy(logits, batch.labels))[1]"
    (tmp_path / "small.yaml").write_text(GRID)
    (tmp_path / "mine.py").write_text(written(**{place: change}))
    monkeypatch.chdir(tmp_path)
    before = surroundings()[:-1]
    assert run("--grid", "small.yaml", "--out", "calm", "--jobs", 1, "--methods", "linear", pictures=False).status == 0
    arguments = ("--plugin", "mine.py", "--methods", "mine", "linear", "--out", "out", "--jobs", 1)
    ended = run("--grid", "small.yaml", *arguments, pictures=False)
    assert ended.status == 0 and surroundings()[:-1] == before, ended.err
    (calm,) = logits(tmp_path / "calm").values()
    assert (logits(tmp_path / "out")["linear", 0] == calm).all()
