"""Runs on a real Dask cluster: the same numbers, lost workers, refusals."""

import gc
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmark
import run_benchmark
from benchmark.errors import BenchmarkError
from benchmark.report.results import Results
from benchmark.running import arithmetic
from benchmark.running.store import Store
from tests.api_calls import keys, quiet
from tests.running.portable import GRID as SMALL
from tests.running.test_tuning import grid as tuned_grid
from tests.running.test_tuning import told
from tests.test_runs import GRID, logits, run
from tests.waiting import HUNG, wait_for

distributed = pytest.importorskip("distributed", reason="needs the package distributed (extra dask)")

import dask  # noqa: E402

from benchmark.running import cluster as on_cluster  # noqa: E402

ROOT = Path(run_benchmark.__file__).resolve().parent

# In training, the first says which process it is in, and all sleep until the flag is there (or they are killed), or have
# an end of their own.
SLOW = """
import contextlib, errno, os, time
from pathlib import Path

import torch
from benchmark import Method, register

@register("slow", paper="none", trains_on="complete")
class Slow(Method):
    def __init__(self, task, *, pid: str = "", flag: str = "", end: str = ""):
        super().__init__(task)
        self.pid, self.flag, self.end = Path(pid), Path(flag), end
        self.bias = torch.nn.Parameter(torch.zeros(task.num_categories))
    def loss(self, batch):
        if self.end == "disk is full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.end == "dies" or self.end == "dies once" and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), 9)
        with contextlib.suppress(FileExistsError), self.pid.open("x") as file:
            file.write(str(os.getpid()))
        for _ in range(12_000):
            if self.flag.exists():
                break
            time.sleep(0.05)
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)
    def predict(self, batch):
        return self.bias.expand(len(batch), -1)
"""


# A worker that is slow to answer is not taken for a lost one.
PATIENT = {"distributed.comm.timeouts.connect": f"{HUNG} s", "distributed.scheduler.worker-ttl": None}


@contextmanager
def local_cluster(**options):
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1, **PATIENT}),
        distributed.LocalCluster(processes=True, threads_per_worker=1, dashboard_address=":0", **options) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def address():
    """Of a scheduler with two worker processes, which no test may kill."""
    with local_cluster(n_workers=2) as made:
        made.wait_for_workers(2, timeout=HUNG)
        yield made.scheduler_address


@pytest.fixture(scope="module")
def doomed():
    """A cluster whose workers tests kill, four in all: on a busy machine they need not come again, so one is to spare."""
    with local_cluster(n_workers=5) as made:
        made.wait_for_workers(5, timeout=HUNG)
        yield made


@pytest.fixture(autouse=True)
def _no_report(monkeypatch):
    """Reports are tested elsewhere, and take longer than the cells here."""
    monkeypatch.setattr(Results, "report", lambda self: self.out)


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(on_cluster, "TIMEOUT", HUNG)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "small.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(SLOW)
    return path


def on(address):
    return ("--backend", "dask", "--scheduler", address)


def leftovers(out):
    found = [path for path in (out / "cells").iterdir() if path.name.startswith(".")]
    return found + [path for path in out.iterdir() if path.name.startswith(".")]


def written(path):
    return path.exists() and path.read_text()


def tasks_of_workers(address):
    """How many tasks each worker has, that under way among them."""
    with distributed.Client(address, timeout=HUNG, set_as_default=False) as client:
        return client.run(lambda dask_worker: len(dask_worker.state.tasks)).values()


IN_A_PROCESS = f"""
import sys
import run_benchmark
from benchmark.running import cluster
cluster.TIMEOUT = {HUNG}
sys.exit(run_benchmark.main(sys.argv[1:]))
"""


def test_a_cluster_gives_the_same_numbers_as_this_process(address, grid, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where the workers are not
    part = ("--seeds", 1, "--methods", "constant", "corrkd")
    assert run("--grid", grid, "--out", "here", "--jobs", 1, *part) == 0
    capsys.readouterr()
    assert run("--grid", grid, "--out", "there", *part, *on(address)) == 0
    printed = capsys.readouterr().out
    assert all(f"[{n}/2] done" in printed for n in (1, 2))
    expected, found = logits(tmp_path / "here"), logits(tmp_path / "there")
    assert expected.keys() == found.keys() and len(found) == 2
    for cell, value in expected.items():
        assert np.array_equal(found[cell], value), cell
    assert not leftovers(tmp_path / "there")
    wider = tmp_path / "wider.yaml"  # and what is there is only tested in new settings
    wider.write_text(GRID.replace("[0.0, 0.5]", "[0.0, 0.5, 0.9]"))
    before = {path: path.read_bytes() for path in tmp_path.glob("there/cells/*/model.safetensors")}
    assert run("--grid", wider, "--out", "there", *part, *on(address)) == 0
    assert all(len(value) == 4 for value in logits(tmp_path / "there").values())
    assert before == {path: path.read_bytes() for path in tmp_path.glob("there/cells/*/model.safetensors")}


def test_trials_are_chosen_on_a_cluster_as_here(address, tmp_path):
    content = tuned_grid(tmp_path, methods=["planted"], seeds=1)
    here = benchmark.run(content, tune=2, out=tmp_path / "here", jobs=1, say=quiet)
    there = benchmark.run(content, tune=2, out=tmp_path / "there", backend="dask", scheduler=address, say=quiet)
    assert told(there.out) == told(here.out) and keys(there.out) == keys(here.out)
    for key in keys(here.out / "trials"):
        one, other = (Store(results.out / "trials").read(key) for results in (here, there))
        assert one["outputs"] == other["outputs"] and one["settings"], "the test split was opened behind the choice"
    assert not leftovers(there.out) and not leftovers(there.out / "trials")


@pytest.mark.skipif(bool(arithmetic.machine_fault()), reason=arithmetic.machine_fault() or "it can")
def test_portable_cells_have_the_same_bits_on_a_cluster(address, tmp_path):
    found = []
    for where, how in (("here", {"jobs": 1}), ("there", {"backend": "dask", "scheduler": address})):
        out = tmp_path / where
        benchmark.run(SMALL, methods=["linear", "random"], out=out, say=lambda line: None, **how)
        records = [Store(out).read(key) for key in Store(out).stored_keys()]
        assert {record["processor"]["arithmetic"] for record in records} == {"portable"}
        assert {record["processor"]["instructions"] for record in records} == {"AVX2"}
        found.append({record["key"]: record["outputs"] for record in records})
    assert found[0] == found[1] and len(found[0]) == 2


def test_ctrl_c_cancels_what_is_queued_and_leaves_what_runs_alone(address, grid, plugin, tmp_path):
    pid, flag, out = tmp_path / "pid", tmp_path / "flag", tmp_path / "out"
    arguments = ["--grid", grid, "--out", out, "--methods", "slow", "--seeds", 5, "--plugin", plugin]
    arguments += ["--set", f"slow.pid={pid}", f"slow.flag={flag}", *on(address)]
    command = [sys.executable, "-c", IN_A_PROCESS, *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    wait_for(pid.exists)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HUNG)
    assert process.returncode == 130
    assert "the same command goes on from there" in errors and "Traceback" not in errors
    store = Store(out)
    assert len(store.remove_leftovers()) == 0 and len(store.running()) >= 1, "a worker computes still"
    wait_for(lambda: max(tasks_of_workers(address)) <= 1, "cells wait at the workers still")
    flag.touch()
    wait_for(lambda: max(tasks_of_workers(address)) == 0 and not leftovers(out))
    assert 1 <= len(store.stored_keys()) <= 2, "what was under way at two workers"
    assert run(*arguments) == 0 and len(store.stored_keys()) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"environment": d.environment | {"torch": "1.0"}}, r"has torch \S+, and this command 1\.0"),
        (lambda d: {"environment": d.environment | {"python": "3.9"}}, r"has python \S+, and this command 3\.9"),
        (
            lambda d: {"sources": d.sources | {str(ROOT / "benchmark/running/grid.py"): "0"}},
            "has loaded another .*grid.py",
        ),
        (lambda d: {"sources": d.sources | {"/absent/mine.py": "0"}}, "cannot read /absent/mine.py; plug-ins"),
        (lambda d: {"root": Path("/elsewhere")}, "runs the code in .*, and this command that in /elsewhere"),
        (lambda d: {"mark": Path("/elsewhere/.seen")}, "does not see the files in /elsewhere; .*--out"),
        (lambda d: {"data": (Path("/elsewhere/mosi.pkl"),)}, "cannot read /elsewhere/mosi.pkl; .*--data"),
        pytest.param(
            lambda d: {"device": "cuda"},
            "has no GPU that torch can use; leave --device cuda out",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_worker_that_differs_is_named_at_the_start(address, grid, tmp_path, capsys, monkeypatch, change, message):
    check = on_cluster.Cluster._check
    monkeypatch.setattr(on_cluster.Cluster, "_check", lambda self, d: check(self, replace(d, **change(d))))
    assert run("--grid", grid, "--out", tmp_path / "out", "--methods", "constant", *on(address)) == 2
    error = capsys.readouterr().err
    assert re.match(rf"error: worker tcp://\S+ {message}", error) and error.count("\n") == 1, error
    assert "2 of 2 workers cannot be used" in error


def test_workers_of_several_threads_are_refused_whenever_they_come(capsys, grid, tmp_path, monkeypatch):
    made = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://", dashboard_address=":0"
    )
    arguments = ("--grid", grid, "--out", tmp_path, "--methods", "constant", *on(made.scheduler_address))
    with made:
        assert run(*arguments) == 2
        assert "has 2 threads; start workers with --nthreads 1" in capsys.readouterr().err
        monkeypatch.setattr(on_cluster.Cluster, "_check", lambda *_: None)  # when it was made there was none of them
        assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(r"error: worker \S+ has 2 threads; .* what is done is stored, .*\n", captured.err), captured.err
    assert "FAILED" not in captured.out and not Store(tmp_path).stored_keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "dask"], "--backend dask needs the cluster's address; give --scheduler"),
        (["--scheduler", "tcp://host:8786"], "--scheduler is for a Dask cluster; give --backend dask"),
        (["--scheduler", "tcp://host:8786", "--backend", "loky"], "--scheduler is for a Dask cluster"),
        (["--backend", "dsk"], "--backend.*invalid choice"),
        ([*on("tcp://127.0.0.1:9")], "no Dask scheduler answers at tcp://127.0.0.1:9"),
        ([*on("tls://127.0.0.1:9")], "no Dask scheduler answers at tls://127.0.0.1:9: TLS expects"),
        ([*on("foo")], "--scheduler 'foo' is no address; give one such as tcp://host:8786"),
        ([*on("127.0.0.1:8786")], "--scheduler '127.0.0.1:8786' is no address"),
        ([*on("tcp://127.0.0.1")], "--scheduler 'tcp://127.0.0.1' is no address"),
        ([*on("tcp//nowhere:x")], "--scheduler 'tcp//nowhere:x' is no address"),
    ],
)
def test_an_unusable_cluster_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(on_cluster, "TIMEOUT", 0.5)
    unseen = []
    monkeypatch.setattr(sys, "unraisablehook", unseen.append)
    assert run("--grid", "smoke", "--out", tmp_path / "out", *arguments) == 2
    gc.collect()
    assert not unseen, "what an object says when it is thrown away"
    captured = capsys.readouterr()
    assert re.match("error: .*" + message, captured.err) and captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.out and not (tmp_path / "out").exists()


def test_a_cluster_without_workers_and_a_missing_package(capsys, tmp_path, monkeypatch):
    with local_cluster(n_workers=0) as empty:
        assert run("--grid", "smoke", "--out", tmp_path / "out", *on(empty.scheduler_address)) == 2
    assert re.fullmatch(r"error: the Dask cluster at \S+ has no workers; .*\n", capsys.readouterr().err)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run("--grid", "smoke", "--out", tmp_path / "out", *on("tcp://host:8786")) == 2
    assert re.fullmatch(r"error: --backend dask needs a package more: pip install .*\n", capsys.readouterr().err)


def test_the_connection_is_closed_also_where_the_cluster_is_refused(address, monkeypatch):
    opened = []

    class Client(distributed.Client):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            opened.append(self)

    monkeypatch.setattr(distributed, "Client", Client)
    with on_cluster.Cluster(address) as cluster:
        assert cluster.workers > 0 and opened[0].status == "running"
    assert opened[0].status == "closed"
    monkeypatch.setattr(on_cluster.Cluster, "workers", 0)
    with pytest.raises(BenchmarkError, match="has no workers; start some"):
        on_cluster.Cluster(address)
    assert opened[1].status == "closed"


def test_a_worker_killed_in_mid_cell_costs_an_attempt(doomed, grid, plugin, tmp_path, capsys):
    pid, flag, out = tmp_path / "pid", tmp_path / "flag", tmp_path / "out"
    killed = []

    def kill():
        wait_for(lambda: written(pid))
        killed.extend(Store(out).running())  # it is in mid-cell
        os.kill(int(pid.read_text()), signal.SIGKILL)
        flag.touch()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    arguments = ("--grid", grid, "--out", out, "--methods", "constant", "slow", "--plugin", plugin)
    assert run(*arguments, "--set", f"slow.pid={pid}", f"slow.flag={flag}", *on(doomed.scheduler_address)) == 0
    killer.join()
    assert killed and "FAILED" not in capsys.readouterr().out
    store = Store(out)
    assert [store.read(key)["state"] for key in store.stored_keys()] == ["done"] * 4
    assert not leftovers(out) and not (out / "replaced").exists()


def test_a_cell_that_kills_every_worker_fails_alone(doomed, grid, plugin, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doomed.scheduler, "allowed_failures", 0)  # there is little time
    out = tmp_path / "out"
    arguments = ("--grid", grid, "--out", out, "--seeds", 1, "--methods", "constant", "slow")
    arguments += ("--plugin", plugin, "--set", "slow.end=dies", f"slow.flag={tmp_path / 'died'}")
    assert run(*arguments, *on(doomed.scheduler_address)) == 1
    assert re.search(r"FAILED slow on mosi, seed 0: KilledWorker: every worker .* died", capsys.readouterr().out)
    store = Store(out)
    states = {record["label"]: record["state"] for record in map(store.read, store.stored_keys())}
    assert states == {"constant": "done", "slow": "failed"}
    assert not leftovers(out)


def test_a_cell_whose_workers_were_lost_is_tried_once_more(doomed, grid, plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(doomed.scheduler, "allowed_failures", 0)  # its first worker is its last, for Dask
    out, died = tmp_path / "out", tmp_path / "died"
    arguments = ("--grid", grid, "--out", out, "--seeds", 1, "--methods", "slow", "--plugin", plugin)
    arguments += ("--set", "slow.end=dies once", f"slow.flag={died}")
    assert run(*arguments, *on(doomed.scheduler_address)) == 0
    store = Store(out)
    assert died.exists() and [store.read(key)["state"] for key in store.stored_keys()] == ["done"]
    assert not leftovers(out) and not (out / "replaced").exists()


def test_a_worker_that_cannot_store_a_cell_ends_the_run(address, grid, plugin, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("--grid", grid, "--out", out, "--seeds", 1, "--methods", "slow", "--plugin", plugin)
    assert run(*arguments, "--set", "slow.end=disk is full", *on(address)) == 2
    error = capsys.readouterr().err
    assert re.match(rf"error: cannot write to {out}: No space left on device; make room there; ", error), error
    assert error.count("\n") == 1 and not Store(out).stored_keys(), "a full disk is no fault of the cell's"


def test_a_scheduler_that_goes_away_ends_the_run_and_fails_no_cell(grid, plugin, tmp_path, capsys):
    pid, out = tmp_path / "pid", tmp_path / "out"
    arguments = ("--grid", grid, "--out", out, "--methods", "slow", "--plugin", plugin)
    with local_cluster(n_workers=1) as made:

        def close():
            wait_for(lambda: written(pid))
            made.close()

        closer = threading.Thread(target=close, daemon=True)
        closer.start()
        status = run(
            *arguments, "--set", f"slow.pid={pid}", f"slow.flag={tmp_path / 'never'}", *on(made.scheduler_address)
        )
        assert status == 2
        closer.join()
    assert not Store(out).stored_keys()
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: the Dask scheduler at \S+ is gone; .* the same command goes on from there\n", error), (
        error
    )
