"""Who computes the cells of a run, and how it deals with workers that die, other runs and signals: a case for each guard."""

import os
import re
import shutil
import signal
import threading
import time
import warnings

import joblib
import pytest
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from benchmark.errors import BenchmarkError
from benchmark.running import runner
from benchmark.running.cell import BUSY, Outcome
from benchmark.running.runner import Stopped
from benchmark.running.store import DONE, FAILED, Store
from tests.running.small_grid import run, small_grid
from tests.waiting import HUNG, wait_for


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


@pytest.mark.parametrize(("timeout", "here"), [(None, True), (HUNG, False)])
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


def test_cells_that_other_runs_compute_are_waited_for_and_told_once(tmp_path, store, monkeypatch, pauses, no_workers):
    grid = small_grid(tmp_path, "constant", "linear")
    asked = answers(monkeypatch, [DONE, BUSY], [BUSY], [BUSY], [DONE])
    told = []
    outcomes, failed = run(grid, store, on_wait=told.append)
    assert [outcome.state for _, outcome in outcomes] == [DONE, DONE] and failed == 0
    assert told == [1] and pauses == [2.0, 2.0] and list(map(len, asked)) == [2, 1, 1, 1]


def test_workers_that_die_before_they_begin_end_the_run(constant, store, monkeypatch, no_workers):
    asked = answers(monkeypatch, *[[TerminatedWorkerError()]] * 3)
    with pytest.raises(BenchmarkError, match=r"the workers die before they begin a cell; try --jobs 1"):
        run(constant[0], store)
    assert no_workers and len(asked) == 3


def test_a_worker_that_is_killed_before_it_begins_costs_nothing(tmp_path, store, monkeypatch, no_workers):
    grid = small_grid(tmp_path, "constant", "linear")
    killed = [TerminatedWorkerError()]
    answers(monkeypatch, killed, killed, [DONE, TerminatedWorkerError()], killed, killed, [DONE])
    assert run(grid, store)[1] == 0


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


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def work_for_ever(log):
    log.write_text(str(os.getpid()))
    time.sleep(HUNG)


def test_workers_are_ended_at_once(tmp_path):
    log = tmp_path / "log"
    get_reusable_executor().submit(work_for_ever, log)
    wait_for(lambda: log.exists() and log.read_text())
    process = int(log.read_text())
    assert process != os.getpid() and is_there(process)
    runner._end_workers()
    assert not is_there(process)


@pytest.mark.filterwarnings("ignore:. tasks which were still being processed by the workers have been cancelled")
def test_no_worker_outlives_a_run_that_is_stopped(tmp_path, store):
    log = tmp_path / "log"
    grid = small_grid(tmp_path, "constant", "faulty", log=str(log), seconds=HUNG)

    def stop(cell, outcome):
        wait_for(lambda: log.exists() and log.read_text(), "the other cell is not begun")
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


def test_what_loky_says_of_a_worker_that_it_replaces_is_not_shown(constant, store, monkeypatch):
    grid, cell = constant

    class Parallel:
        def __init__(self, **options):
            pass

        def __call__(self, calls):
            for text in ("A worker stopped while some jobs were given to the executor.", "another matter"):
                warnings.warn(text, UserWarning, stacklevel=1)
            yield [Outcome(cell.key, DONE)]

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
