"""Portable arithmetic: who asks for it, in which process it is, and that it gives the same bits wherever tests run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
import torch

from benchmark.errors import BenchmarkError
from benchmark.running import arithmetic
from benchmark.running.arithmetic import (
    ENVIRONMENT,
    NATIVE,
    PORTABLE,
    PROVEN,
    apart,
    asked_for_by,
    check_portable,
    fault,
)
from benchmark.running.cell import run_cell
from benchmark.running.choice import choose
from benchmark.running.store import DONE, FAILED
from tests.running.portable import GRID, KINDS, digests
from tests.running.small_grid import run, work_in

here = pytest.mark.skipif(bool(arithmetic.machine_fault()), reason=arithmetic.machine_fault() or "it can")
KEPT = dict(line.split() for line in Path(__file__).with_name("portable.txt").read_text().splitlines())
VERSION = torch.__version__.partition("+")[0]


def one_cell(**changed):
    return choose({**GRID, "methods": ["constant"], **changed}).build()


def test_a_grid_asks_for_it_before_anything_is_loaded(tmp_path):
    asks, silent, broken = (tmp_path / f"{name}.yaml" for name in ("asks", "silent", "broken"))
    asks.write_text("portable: true\n")
    silent.write_text("description: none\n")
    broken.write_text("portable: [true\n")
    assert asked_for_by("quick") and asked_for_by(str(asks))
    assert not any(
        map(asked_for_by, ("smoke", str(silent), str(broken), str(tmp_path / "none.yaml"), str(tmp_path), None))
    )


def test_it_is_part_of_what_a_cell_is():
    portable, native = one_cell(), one_cell(portable=False)
    assert (portable.cells[0].arithmetic, native.cells[0].arithmetic) == (PORTABLE, NATIVE)
    assert portable.cells[0].key != native.cells[0].key and "arithmetic" not in native.cells[0].definition
    assert choose(GRID | {"methods": ["constant"]}, portable=False).build().cells[0].key == native.cells[0].key


def test_a_process_that_has_loaded_a_library_is_not_changed(monkeypatch):
    before = dict(os.environ)
    arithmetic.have_this_process()
    assert dict(os.environ) == before
    monkeypatch.setattr(sys, "modules", {})
    monkeypatch.setattr(os, "environ", {})
    arithmetic.have_this_process()
    assert os.environ == ENVIRONMENT


def test_processes_started_in_the_block_are_and_later_ones_are_not(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    with arithmetic.in_new_processes():
        assert os.environ["MKL_CBWR"] == "COMPATIBLE" and os.environ["OPENBLAS_CORETYPE"] == "Haswell"
    assert os.environ["MKL_CBWR"] == "AUTO" and "OPENBLAS_CORETYPE" not in os.environ


@here
def test_a_process_started_for_a_call_computes_portably_and_this_one_does_not():
    assert any(told in fault() for told in ("started without", "was loaded before")) and apart(fault) == ""


@here
def test_what_a_call_raises_comes_back_and_what_it_prints_is_no_answer(capfd):
    with pytest.raises(BenchmarkError, match="no grid"):
        apart(choose, "no grid")
    apart(print, "hello")
    assert "hello" in capfd.readouterr().err
    with pytest.raises(BenchmarkError, match="was killed"):
        apart(os._exit, 9)


def _with_another_digest(name):
    with arithmetic.computing(PORTABLE):
        PROVEN[VERSION] = {**arithmetic.operations(), name: "0"}
    return fault()


@here
@pytest.mark.skipif(VERSION not in PROVEN, reason=f"no digests are known for torch {VERSION}")
def test_an_operation_that_gives_other_bits_is_named():
    assert apart(_with_another_digest, "sqrt").startswith("sqrt give other bits here")


def test_a_processor_that_cannot_is_refused_in_one_line(monkeypatch):
    said = []
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(BenchmarkError, match=r"lacks AVX2 or FMA.*give --no-portable"):
        check_portable("cpu", here=True, say=said.append)
    check_portable("cpu", here=False, say=said.append)  # a cluster's machines are asked themselves
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "aarch64" in arithmetic.machine_fault()
    with pytest.raises(BenchmarkError, match="leave --device cuda out"):
        check_portable("cuda", here=False, say=said.append)
    monkeypatch.setattr(torch, "__version__", "9.9.9+cpu")
    assert said == ([] if VERSION in PROVEN else said)
    check_portable("cpu", here=False, say=said.append)
    assert "this is 9.9.9+cpu" in said[-1]


def test_a_portable_cell_is_not_computed_by_a_native_process(store):
    grid = one_cell()
    outcome = run_cell(grid.cells[0], "", work_in(store, grid))
    assert outcome.state == FAILED and "cannot compute portably" in outcome.error


@here
@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_compute_portably_and_those_of_the_next_run_do_not(store, jobs):
    grid, native = one_cell(), one_cell(portable=False)
    before = dict(os.environ)
    outcomes, failed = run(grid, store, jobs=jobs)
    assert failed == 0 and [outcome.state for _, outcome in outcomes] == [DONE]
    told = store.read(grid.cells[0].key)["processor"]
    assert (told["arithmetic"], told["instructions"], told["threads"]) == (PORTABLE, "AVX2", 1)
    assert dict(os.environ) == before
    _, failed = run(native, store, jobs=2)
    assert failed == 0 and store.read(native.cells[0].key)["processor"]["arithmetic"] == NATIVE
    later = joblib.Parallel(n_jobs=2)(joblib.delayed(os.environ.get)("MKL_CBWR") for _ in range(2))
    assert later == [os.environ.get("MKL_CBWR")] * 2


def test_lstms_are_torchs_own_in_it_and_what_was_is_put_back():
    lstm, x = torch.nn.LSTM(4, 3), torch.ones(2, 1, 4)
    forward, seen = torch.nn.LSTM.forward, []

    def spied(self, *arguments):
        seen.append(torch._C._get_mkldnn_enabled())
        if len(arguments) > 1:
            raise ValueError("planted")
        return forward(self, *arguments)

    torch.nn.LSTM.forward = spied
    try:
        with arithmetic.computing(NATIVE):
            lstm(x)
        with pytest.raises(ValueError, match="planted"), arithmetic.computing(PORTABLE):
            lstm(x)
            lstm(x, None)
        assert seen == [True, False, False] and torch._C._get_mkldnn_enabled() and torch.nn.LSTM.forward is spied
    finally:
        torch.nn.LSTM.forward = forward


@here
@pytest.mark.skipif(VERSION not in PROVEN, reason=f"no digests are known for torch {VERSION}")
def test_each_kind_of_network_gives_the_same_bits_on_whatever_machine_this_is():
    assert apart(digests, list(KINDS)) == KEPT


EMULATOR = shutil.which("qemu-x86_64")


@pytest.mark.skipif(EMULATOR is None, reason="qemu-user is not installed: apt-get install qemu-user")
@pytest.mark.parametrize(
    ("processor", "maker", "some"),
    [("Haswell", "GenuineIntel", ["corrkd", "gcnet"]), ("EPYC-Rome", "AuthenticAMD", ["tfr_net"])],
)
def test_under_an_emulated_processor_they_are_the_same(processor, maker, some):
    """One without AVX-512, of the maker, Intel or AMD, that this machine's is not of.

    What all kinds are made of is held to there as well, by the program that is run.
    """
    if arithmetic.processor(NATIVE)["vendor"] == maker:
        pytest.skip("a processor of this maker computes all kinds in the test above")
    python = str(Path(sys.executable).resolve())  # the program itself, which knows no virtual environment
    done = subprocess.run(
        [EMULATOR, "-cpu", processor, python, "-m", "tests.running.portable", *some],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert dict(line.split() for line in done.stdout.splitlines()) == {name: KEPT[name] for name in some}


@pytest.mark.parametrize(
    ("cpuinfo", "named", "machine", "shown"),
    [
        ("flags : fpu\nmodel name\t: Fast: 9000\nvendor_id : V\n\nmodel name\t: Other\n", "x", "y", "Fast: 9000"),
        ("flags : fpu\n", "x", "y", "x"),
        ("", "", "y", "y"),
    ],
)
def test_the_processor_is_named_where_the_system_tells_it(monkeypatch, tmp_path, cpuinfo, named, machine, shown):
    monkeypatch.setattr(arithmetic, "_text", lambda path: cpuinfo)
    monkeypatch.setattr("platform.processor", lambda: named)
    monkeypatch.setattr("platform.machine", lambda: machine)
    told = arithmetic.processor(NATIVE)
    assert told["model"] == shown and told["vendor"] == ("V" if "vendor" in cpuinfo else "")
    monkeypatch.undo()
    assert arithmetic._text(tmp_path / "none") == ""
