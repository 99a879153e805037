"""How one cell is computed, told and recorded, and ended when its time is up: a case for each guard."""

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.data import load_task
from benchmark.errors import StorageError
from benchmark.methods import ROOT
from benchmark.protocol.missing import Setting
from benchmark.running import cell as cell_module
from benchmark.running import environment as environment_module
from benchmark.running.cell import BUSY, DAMAGED, CellTimeout, record_failure, run_cell, state_of
from benchmark.running.environment import git_commit
from benchmark.running.evaluation import predict_settings
from benchmark.running.grid import definition_of
from benchmark.running.store import DONE, FAILED, write_predictions, write_record
from tests.running.small_grid import small_grid, work_in
from tests.waiting import HUNG


def test_a_cell_runs_on_one_thread(constant, store):
    grid, cell = constant
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_cell(cell, "", work_in(store, grid))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_cell_that_another_run_computes_is_busy(constant, store):
    grid, cell = constant
    with store.claim(cell.key) as mine:
        assert mine and run_cell(cell, "", work_in(store, grid)).state == BUSY
        assert record_failure(store, cell, "killed", 0.0, "").state == BUSY
    assert store.stored_keys() == [] and run_cell(cell, "", work_in(store, grid)).state == DONE


def test_a_cell_that_another_run_has_finished_is_taken_as_it_is(done, store, monkeypatch):
    grid, cell, record = done
    monkeypatch.setattr(cell_module, "load_task", lambda task: pytest.fail("computed again"))
    for fresh in (False, True):
        outcome = run_cell(cell, "", work_in(store, grid, fresh=fresh))
        assert (outcome.state, outcome.seconds) == (DONE, record["seconds"]) and store.read(cell.key) == record


def test_what_a_prediction_costs_stands_in_the_record_and_not_in_the_definition(done, store):
    _, cell, record = done
    assert (record["account"]["operations"], record["account"]["device"]) == (0, "cpu")
    assert record["account"]["seconds"] > 0 and record["account"]["memory"] > 0
    assert "account" not in cell.definition and "account" not in definition_of(record)


def test_a_fresh_cell_is_computed_anew(done, store):
    grid, cell, record = done
    assert run_cell(cell, store.stamp(cell.key), work_in(store, grid, fresh=True)).state == DONE
    assert store.read(cell.key)["finished"] > record["finished"] and len(list(store.out.glob("replaced/*"))) == 1


def test_a_cell_that_failed_is_tried_again_unless_it_failed_since(tmp_path, store):
    grid = small_grid(tmp_path, "faulty", does="raise ArithmeticError('planted')")
    (cell,) = grid.cells
    first = run_cell(cell, "", work_in(store, grid))
    assert (first.state, first.error) == (FAILED, "ArithmeticError: planted")
    stamp = store.stamp(cell.key)
    again = run_cell(cell, "", work_in(store, grid))  # another run has tried it since this one began
    assert (again.state, again.error) == (FAILED, "ArithmeticError: planted") and store.stamp(cell.key) == stamp
    anew = run_cell(cell, stamp, work_in(store, grid))
    assert (anew.state, anew.error) == (FAILED, "ArithmeticError: planted") and store.stamp(cell.key) != stamp


def test_a_damaged_cell_is_told_and_computed_anew(done, store):
    grid, cell, _ = done
    for name in ("predictions.npz", "cell.json"):
        path = store.path(cell.key) / name
        content = path.read_bytes()
        path.write_bytes(content[:-9] + b"x" + content[-8:])
        if name == "cell.json":
            assert state_of(store, cell, grid) == DAMAGED
        assert run_cell(cell, store.stamp(cell.key), work_in(store, grid)).state == DONE
        store.verify(cell.key)
    assert state_of(store, cell, grid) == DONE and len(list(store.out.glob("replaced/*"))) == 2


def test_a_cell_on_other_data_than_at_the_start_fails_and_says_so(constant, store):
    grid, cell = constant
    other = cell.definition | {"task": cell.definition["task"] | {"fingerprint": "0"}}
    outcome = run_cell(replace(cell, definition=other), "", work_in(store, grid))
    assert outcome.state == FAILED and "the simulator gives other data here (" in outcome.error


def test_a_full_disk_is_no_fault_of_the_cell(tmp_path, store):
    grid = small_grid(tmp_path, "faulty", does="raise OSError(28, 'No space left on device')")
    with pytest.raises(StorageError, match="make room there"):
        run_cell(grid.cells[0], "", work_in(store, grid))
    assert store.stored_keys() == []


@pytest.mark.parametrize(
    "new", [Setting("lav", 0.9), Setting("lav", (0.1, 0.5, 0.9)), Setting(noise=2), Setting("lav?")]
)
def test_new_settings_keep_all_that_a_cell_has(done, store, new):
    grid, cell, record = done
    old = {path.name: path.read_bytes() for path in store.path(cell.key).iterdir()}
    wider = work_in(store, grid, settings=[*grid.settings, new])
    assert run_cell(cell, store.stamp(cell.key), wider).state == DONE
    extended = {path.name: path.read_bytes() for path in store.path(cell.key).iterdir()}
    assert {name for name in old if extended[name] != old[name]} == {
        "cell.json",
        "predictions.npz",
    } and old.keys() == extended.keys()
    assert store.read(cell.key)["settings"] == [*record["settings"], f"{new}#0"]
    assert store.predictions(cell.key).settings[-1] == (new, 0)


def test_the_validation_split_is_predicted_in_the_same_settings(done, store):
    grid, cell, _ = done
    widened = [*grid.settings, Setting("lav", 0.9)]
    dataset = load_task(cell.task)
    for settings in (grid.settings, widened):
        assert run_cell(cell, store.stamp(cell.key), work_in(store, grid, settings=settings)).state == DONE
        stored = store.predictions(cell.key)
        method = cell_module.build_method(cell, dataset, torch.device("cpu"))
        cell_module.unpack_weights(method, store.weights(cell.key))
        logits = predict_settings(
            method, dataset, settings, draw=grid.draw, device=torch.device("cpu"), split_name="valid"
        )
        np.testing.assert_allclose(stored.validation.logits, logits, rtol=2e-3)
        assert np.array_equal(stored.validation.labels, dataset.splits["valid"].labels)


def test_a_cell_of_an_earlier_version_takes_new_settings_without_validation_outputs(done, store):
    grid, cell, record = done
    old = store.predictions(cell.key)
    with store.attempt(cell.key) as side:
        for file in store.path(cell.key).iterdir():
            shutil.copy2(file, side)
        write_predictions(side, replace(old, validation=None))
        write_record(side, record)
    wider = work_in(store, grid, settings=[*grid.settings, Setting("lav", 0.9)])
    assert run_cell(cell, store.stamp(cell.key), wider).state == DONE
    new = store.predictions(cell.key)
    assert new.validation is None and len(new.logits) == len(old.logits) + 1


def extended(monkeypatch, done, store, does, **changes):
    """What comes of a new setting for a done cell, in the place of whose prediction something else is done."""
    grid, cell, _ = done
    with monkeypatch.context() as patched:
        patched.setattr(cell_module, "predict_settings", does)
        wider = work_in(store, grid, settings=[*grid.settings, Setting("lav", 0.9)], **changes)
        return run_cell(cell, store.stamp(cell.key), wider)


def fails(*_, **__):
    raise ValueError("logits hold NaN")


def test_a_done_cell_stays_where_new_settings_cannot_be_added(done, store, monkeypatch):
    _, cell, record = done
    outcome = extended(monkeypatch, done, store, fails)
    assert (outcome.state, outcome.error) == (FAILED, "ValueError: logits hold NaN")
    outcome = record_failure(store, cell, "its worker was killed", 0.0, store.stamp(cell.key))
    assert (outcome.state, outcome.error) == (FAILED, "its worker was killed")
    assert store.read(cell.key) == record and not list(store.out.glob("replaced/*"))
    store.verify(cell.key)


def test_a_failure_takes_the_place_of_a_cell_that_is_computed_anew_or_damaged(done, store, monkeypatch):
    grid, cell, _ = done
    assert extended(monkeypatch, done, store, fails, fresh=True).state == FAILED
    assert store.read(cell.key)["state"] == FAILED and len(list(store.out.glob("replaced/*"))) == 1
    assert run_cell(cell, store.stamp(cell.key), work_in(store, grid)).state == DONE
    (store.path(cell.key) / "model.safetensors").write_bytes(b"")
    assert extended(monkeypatch, done, store, fails).state == FAILED
    assert store.read(cell.key)["state"] == FAILED and len(list(store.out.glob("replaced/*"))) == 2


def test_a_failure_is_not_recorded_over_what_another_run_has_stored(done, store):
    _, cell, record = done
    outcome = record_failure(store, cell, "killed", 0.0, "")
    assert (outcome.state, outcome.seconds) == (DONE, record["seconds"]) and store.read(cell.key) == record


def test_a_failure_is_recorded_over_an_older_one_and_where_nothing_is(constant, store):
    _, cell = constant
    for number in (1, 2):
        outcome = record_failure(store, cell, f"error {number}", 0.0, store.stamp(cell.key))
        assert (outcome.state, outcome.error) == (FAILED, f"error {number}")
    store.set_aside(cell.key)
    assert record_failure(store, cell, "error 3", 0.0, "gone").error == "error 3" == store.read(cell.key)["error"]


def test_each_epoch_is_written_down_at_once(tmp_path, store):
    sizes = tmp_path / "sizes"
    look = "import pathlib; n = [p.stat().st_size for p in pathlib.Path({!r}).glob('cells/.*/history.jsonl')]; "
    write = "open({!r}, 'a').write(f'{{n}}\\n')"
    grid = small_grid(tmp_path, "faulty", does=(look + write).format(str(store.out), str(sizes)))
    assert run_cell(grid.cells[0], "", work_in(store, grid)).state == DONE
    seen = [json.loads(line)[0] for line in sizes.read_text().splitlines()]
    assert seen[0] == 0 and len(set(seen)) == 5, (
        "one size more with each of the four epochs; then its terms are weighed"
    )


# time limits, and ends


def test_the_time_is_looked_at_after_each_epoch_and_after_the_tests(tmp_path, constant, store):
    def check():
        raise CellTimeout("now")

    log = tmp_path / "log"
    grid = small_grid(tmp_path, "faulty", does=f"open({str(log)!r}, 'a').write('x')")
    with pytest.raises(CellTimeout):
        cell_module._compute(store, grid.cells[0], work_in(store, grid), check)
    assert len(log.read_text()) == 2, "two batches: one epoch of four"
    grid, cell = constant  # which is not trained, only tested
    with pytest.raises(CellTimeout):
        cell_module._compute(store, cell, work_in(store, grid), check)
    assert store.stored_keys() == []


@pytest.fixture
def clock(monkeypatch):
    """The clock that a cell looks at; it stands still until it is put on."""
    hands = SimpleNamespace(time=time.time, monotonic=lambda: hands.now, now=0.0)
    monkeypatch.setattr(cell_module, "time", hands)
    return hands


def test_adding_settings_takes_no_longer_than_a_cell_may(done, store, monkeypatch, clock):
    predict = cell_module.predict_settings

    def slow(*arguments, **options):
        clock.now += 1001
        return predict(*arguments, **options)

    outcome = extended(monkeypatch, done, store, slow, timeout=1000.0)
    assert (outcome.state, outcome.error[:46]) == (FAILED, "benchmark.running.cell.CellTimeout: it took lo")
    assert store.read(done[1].key) == done[2]


def test_a_cell_whose_time_is_up_is_told_so(constant, store, clock):
    _, cell = constant
    with cell_module._limit(cell, store, None, 0.0, "") as check:
        check()
    with cell_module._limit(cell, store, 1000.0, 0.0, "") as check:
        check()
        clock.now += 1001
        with pytest.raises(CellTimeout, match=r"it took longer than --cell-timeout 1000 s"):
            check()


LIMITED = """
import faulthandler, re, sys, threading, time
from pathlib import Path
from benchmark.running import cell as cell_module
from benchmark.running.store import Store
from tests.running.small_grid import small_grid

work, before, inside = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
exec(before)
(cell,) = small_grid(work, "constant").cells
with cell_module._limit(cell, Store(work / "out"), 0.5, time.time(), "") as check:
    exec(inside)
print("alive")
"""
FROM_A_THREAD = "faulthandler.dump_traceback_later = lambda *_, **__: None"
FROM_OUTSIDE = "threading.Timer.run = lambda timer: None"
"""Of the two that end a cell only one is there: which of them comes first is a matter of how busy the machine is."""


def limited(folder, ended, inside):
    """What a process does whose cell may take half a second; it is ended after half a second or a second more."""
    command = [sys.executable, "-c", LIMITED, str(folder), ended, inside]
    return subprocess.run(command, capture_output=True, text=True, timeout=HUNG, cwd=ROOT, check=False)


def test_a_cell_that_sleeps_is_ended_from_a_thread_and_recorded(tmp_path, store):
    ended = limited(tmp_path, FROM_A_THREAD, inside=f"time.sleep({HUNG})")
    assert ended.returncode == 1 and not ended.stdout
    (key,) = store.stored_keys()
    error = "CellTimeout: it took longer than --cell-timeout 0.5 s, and did not end by itself"
    assert store.read(key)["state"] == FAILED and store.read(key)["error"] == error


def test_a_cell_that_holds_the_interpreter_is_ended_from_outside(tmp_path, store):
    ended = limited(tmp_path, FROM_OUTSIDE, inside="re.match('(a+)+$', 'a' * 60 + 'b')")
    assert ended.returncode == 1 and not ended.stdout and store.stored_keys() == []


def test_a_cell_that_ends_in_time_is_left_alone_afterwards(constant, store, monkeypatch):
    _, cell = constant
    begun, called_off = [], []
    monkeypatch.setattr(cell_module.faulthandler, "dump_traceback_later", lambda *_, **__: begun.append(1))
    monkeypatch.setattr(cell_module.faulthandler, "cancel_dump_traceback_later", lambda: called_off.append(1))
    with cell_module._limit(cell, store, 1000.0, 0.0, ""):
        (timer,) = (thread for thread in threading.enumerate() if isinstance(thread, threading.Timer))
        assert begun and not called_off
    timer.join(HUNG)
    assert called_off and not timer.is_alive() and store.stored_keys() == []


def test_a_worker_waits_for_its_end_without_work(tmp_path):
    code = "import gc, os, time; from benchmark.running.processes import leave_with; leave_with(os.getppid()); "
    code += "assert gc.get_freeze_count() > 0; "
    code += "start = time.process_time(); time.sleep(2); print(time.process_time() - start)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(ended.stdout) < 0.5


# the commit


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def patience(monkeypatch):
    """Git is waited for, however long it takes."""
    once = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *given, **options: once(*given, **options | {"timeout": HUNG}))


@pytest.mark.usefixtures("patience")
def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(environment_module, "ROOT", tmp_path)
    assert git_commit() is None
    code, other = tmp_path / "benchmark" / "running" / "cell.py", tmp_path / "other"
    code.parent.mkdir(parents=True)
    code.touch()
    other.touch()
    git(tmp_path, "init")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-m", "of another project")
    assert git_commit() is None, "installed within the repository of another project"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "of this one")
    commit = git_commit()
    assert len(commit) == 40
    code.write_text("changed")
    assert git_commit() == commit + "+"


def test_without_a_commit_or_without_git_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(environment_module, "ROOT", tmp_path)
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "runner.py").touch()
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    assert git_commit() is None
    for error in (FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)):

        def fail(*arguments, error=error, **options):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(environment_module.subprocess, "run", fail)
            assert git_commit() is None
