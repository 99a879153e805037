"""How one cell is computed, and how a run deals with workers that die, other runs and signals: a case for each guard."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace

import joblib
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from benchmark.data import find_tasks
from benchmark.errors import BenchmarkError, StorageError
from benchmark.methods import ROOT, catalogue
from benchmark.methods import rows as method_rows
from benchmark.protocol.missing import Setting
from benchmark.running import cell as cell_module
from benchmark.running import runner
from benchmark.running.cell import (
    BUSY,
    DAMAGED,
    CellTimeout,
    Outcome,
    Work,
    git_commit,
    record_failure,
    run_cell,
    state_of,
)
from benchmark.running.grid import build
from benchmark.running.grid_file import load_grid
from benchmark.running.runner import Stopped, run_grid
from benchmark.running.store import DONE, FAILED, Store
from tests.faults.runs import write_grid


def small_grid(folder, *methods, seeds=1, **faulty):
    """A grid of a few methods, and what the method `faulty` does in training."""
    name, config = load_grid(str(write_grid(folder, seeds)))
    entries = catalogue([folder / "faulty.py"])
    tasks, _ = find_tasks(config.tasks, None, asked=False, sizes=(48, 16, 24))
    config = config.model_copy(update={"seeds": seeds, "set": {m: v for m, v in config.set.items() if m in methods}})
    return build(name, config, method_rows(methods, entries, {}), entries, tasks, {"faulty": faulty} if faulty else {})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


def work_in(store, grid, **changes):
    return replace(Work(grid.settings, grid.draw, store.out, "cpu", fresh=False, timeout=None), **changes)


def run(grid, store, jobs=1, **options):
    """Run all cells of a grid; how each ended, and how many failed."""
    outcomes = []
    options = {"on_outcome": lambda cell, outcome: outcomes.append((cell.row.label, outcome)), "fresh": False} | options
    failed = run_grid(grid, store, grid.cells, jobs=jobs, device="cpu", **options)
    return outcomes, failed


@pytest.fixture
def constant(tmp_path):
    grid = small_grid(tmp_path, "constant")
    return grid, grid.cells[0]


@pytest.fixture
def done(constant, store):
    """A grid, its cell, which is done, and the record of it."""
    grid, cell = constant
    assert run_cell(cell, "", work_in(store, grid)).state == DONE
    return grid, cell, store.read(cell.key)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that a run makes instead of waiting."""
    found = []
    monkeypatch.setattr(runner, "time", type("Clock", (), {"time": time.time, "sleep": found.append}))
    return found


@pytest.fixture
def no_workers(monkeypatch):
    """Counts how often the workers are ended, and ends none: there are none."""
    ended = []
    monkeypatch.setattr(runner, "_end_workers", lambda: ended.append(1))
    return ended


def answers(monkeypatch, *rounds):
    """Have the workers give these outcomes, one list for each time that they are asked; an exception is raised."""
    left = list(rounds)
    asked = []

    def outcomes(cells, *_):
        asked.append(list(cells))
        for state in left.pop(0):
            if isinstance(state, Exception):
                raise state
            cell, *cells = cells
            yield cell, Outcome(cell.key, state)

    monkeypatch.setattr(runner, "_outcomes", outcomes)
    return asked


# one cell


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


@pytest.mark.parametrize("text", ["{}\nagain = 1\n", "{}\nhalf written ="])
def test_code_that_was_changed_before_a_worker_imports_it_computes_nothing(tmp_path, store, text):
    grid, plugin = small_grid(tmp_path, "constant", "faulty"), tmp_path / "faulty.py"
    (cell,) = [cell for cell in grid.cells if cell.row.label == "faulty"]
    assert run(grid, store, jobs=2)[1] == 0
    stamp, content = store.stamp(cell.key), plugin.read_text()
    get_reusable_executor().shutdown(wait=True)
    plugin.write_text(text.format(content))
    outcomes, failed = run(grid, store, jobs=2, fresh=True)
    assert failed == 1 and store.stamp(cell.key) == stamp, "what is done stays even so"
    error = dict(outcomes)["faulty"].error
    assert re.search(r"BenchmarkError: the code of faulty \(\S+/faulty\.py .* changed .* give the same command", error)
    shutil.rmtree(store.path(cell.key))
    assert run(grid, store, jobs=2)[1] == 1 and store.read(cell.key)["state"] == FAILED


def test_code_that_is_changed_after_it_was_imported_changes_nothing(tmp_path, store):
    grid = small_grid(tmp_path, "constant", "faulty", seeds=2)
    states = []

    def change(cell, outcome):
        states.append(outcome.state)
        (tmp_path / "faulty.py").write_text("another = 1")

    assert run(grid, store, on_outcome=change)[1] == 0 and states == [DONE] * 4


def test_a_full_disk_is_no_fault_of_the_cell(tmp_path, store):
    grid = small_grid(tmp_path, "faulty", does="raise OSError(28, 'No space left on device')")
    with pytest.raises(StorageError, match="make room there"):
        run_cell(grid.cells[0], "", work_in(store, grid))
    assert store.stored_keys() == []


def test_new_settings_keep_all_that_a_cell_has(done, store):
    grid, cell, record = done
    old = {path.name: path.read_bytes() for path in store.path(cell.key).iterdir()}
    wider = work_in(store, grid, settings=[*grid.settings, Setting("lav", 0.9)])
    assert run_cell(cell, store.stamp(cell.key), wider).state == DONE
    new = {path.name: path.read_bytes() for path in store.path(cell.key).iterdir()}
    assert {name for name in old if new[name] != old[name]} == {
        "cell.json",
        "predictions.npz",
    } and old.keys() == new.keys()
    assert store.read(cell.key)["settings"] == [*record["settings"], "lav@0.9#0"]


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


def test_each_epoch_is_written_down_at_once(tmp_path, store):
    sizes = tmp_path / "sizes"
    look = "import pathlib; n = [p.stat().st_size for p in pathlib.Path({!r}).glob('cells/.*/history.jsonl')]; "
    write = "open({!r}, 'a').write(f'{{n}}\\n')"
    grid = small_grid(tmp_path, "faulty", does=(look + write).format(str(store.out), str(sizes)))
    assert run_cell(grid.cells[0], "", work_in(store, grid)).state == DONE
    seen = [json.loads(line)[0] for line in sizes.read_text().splitlines()]
    assert seen[0] == 0 and len(set(seen)) == 4, "one size more with each of the four epochs"


# time limits


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


def test_adding_settings_takes_no_longer_than_a_cell_may(done, store, monkeypatch):
    predict = cell_module.predict_settings

    def slow(*arguments, **options):
        time.sleep(0.3)
        return predict(*arguments, **options)

    outcome = extended(monkeypatch, done, store, slow, timeout=0.2)
    assert (outcome.state, outcome.error[:46]) == (FAILED, "benchmark.running.cell.CellTimeout: it took lo")
    assert store.read(done[1].key) == done[2]


def test_a_cell_whose_time_is_up_is_told_so(constant, store, monkeypatch):
    _, cell = constant
    with cell_module._limit(cell, store, None, 0.0, "") as check:
        check()
    with cell_module._limit(cell, store, 1000.0, 0.0, "") as check:
        check()
        now = time.monotonic()
        monkeypatch.setattr(cell_module.time, "monotonic", lambda: now + 1001)
        with pytest.raises(CellTimeout, match=r"it took longer than --cell-timeout 1000 s"):
            check()


LIMITED = """
import re, sys, time
from pathlib import Path
from benchmark.running import cell as cell_module
from benchmark.running.store import Store
from tests.running.test_cell import small_grid

work, inside, after = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
(cell,) = small_grid(work, "constant").cells
with cell_module._limit(cell, Store(work / "out"), 0.5, time.time(), "") as check:
    exec(inside)
exec(after)
print("alive")
"""


def limited(folder, inside="pass", after="pass"):
    """What a process does whose cell may take half a second; it is ended after half a second or a second more."""
    command = [sys.executable, "-c", LIMITED, str(folder), inside, after]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


def test_a_cell_that_sleeps_is_ended_from_a_thread_and_recorded(tmp_path, store):
    assert limited(tmp_path, inside="time.sleep(50)").returncode == 1
    (key,) = store.stored_keys()
    error = "CellTimeout: it took longer than --cell-timeout 0.5 s, and did not end by itself"
    assert store.read(key)["state"] == FAILED and store.read(key)["error"] == error


def test_a_cell_that_holds_the_interpreter_is_ended_from_outside(tmp_path, store):
    ended = limited(tmp_path, inside="re.match('(a+)+$', 'a' * 60 + 'b')")
    assert ended.returncode == 1 and not ended.stdout and store.stored_keys() == []


def test_a_cell_that_ends_in_time_is_left_alone_afterwards(tmp_path, store):
    ended = limited(tmp_path, after="time.sleep(2)")
    assert ended.returncode == 0 and ended.stdout == "alive\n" and store.stored_keys() == []


# a run, and who computes its cells


@pytest.mark.parametrize(("timeout", "here"), [(None, True), (100.0, False)])
def test_one_job_runs_in_this_process_unless_it_may_have_to_be_ended(tmp_path, store, timeout, here):
    log = tmp_path / "log"
    grid = small_grid(tmp_path, "faulty", log=str(log))
    assert run(grid, store, timeout=timeout)[1] == 0
    process = int(log.read_text().split()[1])
    assert (process == os.getpid()) is here


def test_what_dead_processes_left_is_removed_at_the_start(constant, store):
    left = store.cells / ".0123.aa"
    left.mkdir(parents=True)
    run(constant[0], store)
    assert not left.exists()


def test_a_run_works_in_a_thread_too_where_it_gets_no_signals(constant, store):
    found = []
    thread = threading.Thread(target=lambda: found.append(run(constant[0], store)))
    thread.start()
    thread.join()
    assert found and found[0][1] == 0


def test_cells_that_other_runs_compute_are_waited_for_and_told_once(tmp_path, store, monkeypatch, pauses, no_workers):
    grid = small_grid(tmp_path, "constant", "linear")
    asked = answers(monkeypatch, [DONE, BUSY], [BUSY], [BUSY], [DONE])
    told = []
    outcomes, failed = run(grid, store, on_wait=told.append)
    assert [outcome.state for _, outcome in outcomes] == [DONE, DONE] and failed == 0
    assert told == [1] and pauses == [2.0, 2.0] and list(map(len, asked)) == [2, 1, 1, 1]


def test_workers_that_die_before_they_begin_end_the_run(constant, store, monkeypatch, no_workers):
    answers(monkeypatch, [TerminatedWorkerError()])
    with pytest.raises(BenchmarkError, match=r"the workers die before they begin a cell; try --jobs 1"):
        run(constant[0], store)
    assert no_workers


def test_what_ended_before_a_worker_died_is_kept_and_the_rest_goes_on(tmp_path, store, monkeypatch, no_workers):
    grid = small_grid(tmp_path, "constant", "linear")
    asked = answers(monkeypatch, [DONE, TerminatedWorkerError()], [DONE])
    assert run(grid, store)[1] == 0 and asked == [grid.cells, grid.cells[1:]]
    assert len(no_workers) == 1, "all of them, before it is looked which cells they had begun"


def leave_begun(store, cell, monkeypatch):
    """What a worker leaves that dies with a cell begun; the look for leftovers at the start of a run is too early."""
    (store.cells / f".{cell.key}.aa").mkdir(parents=True)
    remove, looks = Store.remove_leftovers, []

    def later(self):
        looks.append(1)
        return remove(self) if len(looks) > 1 else []

    monkeypatch.setattr(Store, "remove_leftovers", later)


def test_a_cell_begun_by_a_worker_that_died_is_tried_again_alone(tmp_path, store, monkeypatch, pauses, no_workers):
    grid = small_grid(tmp_path, "constant", "linear")
    asked = answers(monkeypatch, [TerminatedWorkerError()], [DONE], [BUSY], [DONE])
    leave_begun(store, grid.cells[0], monkeypatch)
    outcomes, failed = run(grid, store)
    assert failed == 0 and [label for label, _ in outcomes] == ["linear", "constant"]
    assert asked == [grid.cells, grid.cells[1:], grid.cells[:1], grid.cells[:1]] and pauses == [2.0]


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (None, "the worker process was killed (out of memory?)"),
        (1000.0, "the worker process was killed (out of memory?)"),
        (0.0, "CellTimeout: it took longer than --cell-timeout 0 s, and did not end by itself"),
    ],
)
def test_a_cell_that_kills_its_worker_alone_fails(constant, store, monkeypatch, no_workers, timeout, error):
    grid, cell = constant
    answers(monkeypatch, [TerminatedWorkerError()], [TerminatedWorkerError()])
    leave_begun(store, cell, monkeypatch)
    ((_, outcome),), failed = run(grid, store, timeout=timeout)
    assert (failed, outcome.state, outcome.error) == (1, FAILED, error) and store.read(cell.key)["error"] == error
    assert len(no_workers) == 2


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


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_are_ended_at_once(tmp_path):
    process = get_reusable_executor(max_workers=2).submit(os.getpid).result()
    assert process != os.getpid() and is_there(process)
    runner._end_workers()
    assert not is_there(process)


@pytest.mark.filterwarnings("ignore:. tasks which were still being processed by the workers have been cancelled")
def test_no_worker_outlives_a_run_that_is_stopped(tmp_path, store):
    log = tmp_path / "log"
    grid = small_grid(tmp_path, "constant", "faulty", log=str(log), seconds=20.0)

    def stop(cell, outcome):
        while not log.exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(grid, store, jobs=2, on_outcome=stop)
    assert not is_there(int(log.read_text().split()[1]))
    assert not [path for path in store.cells.iterdir() if path.name.startswith(".")]


def test_workers_without_work_do_not_outlive_it_either(tmp_path, store):
    log = tmp_path / "log"
    grid = small_grid(tmp_path, "constant", "faulty", log=str(log))

    def stop(cells):
        raise KeyboardInterrupt

    with store.claim(grid.cells[0].key), pytest.raises(KeyboardInterrupt):
        run(grid, store, jobs=2, on_wait=stop)
    assert not is_there(int(log.read_text().split()[1]))


def test_a_worker_waits_for_its_end_without_work(tmp_path):
    code = "import os, time; from benchmark.running.cell import _leave_with; _leave_with(os.getppid()); "
    code += "start = time.process_time(); time.sleep(2); print(time.process_time() - start)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(ended.stdout) < 0.5


def test_what_loky_says_of_a_worker_that_it_replaces_is_not_shown(constant, store, monkeypatch):
    grid, cell = constant

    class Parallel:
        def __init__(self, **options):
            pass

        def __call__(self, calls):
            for text in ("A worker stopped while some jobs were given to the executor.", "another matter"):
                warnings.warn(text, UserWarning, stacklevel=1)
            yield Outcome(cell.key, DONE)

    monkeypatch.setattr(joblib, "Parallel", Parallel)
    with pytest.warns(UserWarning) as shown:
        assert run(grid, store, jobs=2)[1] == 0
    assert [str(warning.message) for warning in shown] == ["another matter"]


# signals


def test_a_signal_stops_a_run_once_and_afterwards_means_what_it_meant_before():
    hooks, before = threading.excepthook, signal.getsignal(signal.SIGINT)
    try:
        with runner._signals():
            with pytest.raises(Stopped) as stopped:
                signal.raise_signal(signal.SIGTERM)
            assert stopped.value.code == 128 + signal.SIGTERM
            for again in (signal.SIGTERM, signal.SIGINT):  # while it cleans up
                signal.raise_signal(again)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        threading.excepthook = hooks
        signal.signal(signal.SIGINT, before)


def test_only_the_thread_of_loky_stumbles_in_silence(monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "__excepthook__", shown.append)
    threads = [None, threading.Thread(name="mine"), threading.Thread(name="ExecutorManagerThread-1")]
    arguments = [threading.ExceptHookArgs((ValueError, ValueError("x"), None, thread)) for thread in threads]
    for each in arguments:
        runner._unless_of_loky(each)
    assert shown == arguments[:2]


# the commit


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(cell_module, "ROOT", tmp_path)
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
    monkeypatch.setattr(cell_module, "ROOT", tmp_path)
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "runner.py").touch()
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    assert git_commit() is None
    for error in (FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)):

        def fail(*arguments, error=error, **options):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(cell_module.subprocess, "run", fail)
            assert git_commit() is None
