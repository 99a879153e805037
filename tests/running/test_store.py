import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.files import locks
from benchmark.files.atomic import flush, replace_file
from benchmark.files.locks import keeps_locks, locked
from benchmark.protocol.missing import Setting
from benchmark.protocol.thresholds import Validation
from benchmark.running.store import DONE, FAILED, Damaged, Predictions, Store, write_predictions, write_record


def write(store, key, **record):
    with store.attempt(key) as side:
        write_record(side, {"state": DONE, "key": key} | record)


def test_a_cell_is_there_whole_or_not_at_all(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.attempt("k1") as side:
        write_record(side, {"state": DONE, "key": "k1"})
        raise RuntimeError("crash")
    assert store.read("k1") is None and store.stored_keys() == [] and not list(store.cells.iterdir())
    write(store, "k1")
    assert store.read("k1")["state"] == DONE and store.stored_keys() == ["k1"]


def test_a_folder_without_cells_has_none(tmp_path):
    store = Store(tmp_path / "new")
    assert store.stored_keys() == [] and store.running() == [] and store.remove_leftovers() == []


def test_links_that_lead_nowhere_are_no_cells(tmp_path):
    store = Store(tmp_path)
    write(store, "k1")
    for name, target in (("loop", "loop"), ("gone", "nothing")):
        (store.cells / name).symlink_to(target)
    assert store.stored_keys() == ["k1"]


def test_what_a_cell_lacks_is_told(tmp_path):
    store = Store(tmp_path)
    write(store, "k1")
    assert store.representations("k1") is None and store.history("k1") == []
    for read, what in ((store.predictions, "it has no predictions"), (store.weights, "it has no weights")):
        with pytest.raises(Damaged, match=what):
            read("k1")
    with store.attempt("k2") as side:
        (side / "predictions.npz").write_bytes(b"no archive, but what its checksum says")
        write_record(side, {"state": DONE, "key": "k2"})
    with pytest.raises(Damaged, match=r"predictions\.npz is damaged: it holds no arrays"):
        store.predictions("k2")
    (store.cells / "k3" / "cell.json").mkdir(parents=True)
    with pytest.raises(BenchmarkError, match=r"cannot read .*cell\.json: Is a directory; make it readable"):
        store.read("k3")
    path = store.path("k2") / "predictions.npz"
    path.unlink()
    path.mkdir()
    with pytest.raises(BenchmarkError, match=r"cannot read .*predictions\.npz: Is a directory; make it readable"):
        store.predictions("k2")


def test_a_done_cell_is_set_aside_never_lost(tmp_path):
    store = Store(tmp_path)
    write(store, "k1", number=1)
    write(store, "k1", number=2)
    write(store, "k1", number=3)
    assert store.read("k1")["number"] == 3
    kept = {json.loads(p.read_text())["number"] for p in tmp_path.glob("replaced/k1.*/cell.json")}
    assert kept == {1, 2}


def test_a_failed_cell_gives_way(tmp_path):
    store = Store(tmp_path)
    write(store, "k1", state=FAILED)
    write(store, "k1")
    assert store.read("k1")["state"] == DONE and not (tmp_path / "replaced").exists()


def test_predictions_come_back_as_they_were(tmp_path):
    store = Store(tmp_path)
    written = Predictions(
        ids=np.array(["a", "ü$_$1"]),
        labels=np.array([-1.5, 0.2], dtype=np.float32),
        settings=((Setting("lav", 0.3), 0), (Setting("la"), 4)),
        logits=np.random.default_rng(0).standard_normal((2, 2, 3)).astype(np.float32),
    )
    with store.attempt("k1") as side:
        write_predictions(side, written)
        write_record(side, {"state": DONE, "key": "k1"})
    read = store.predictions("k1")
    assert read.settings == written.settings and read.logits.dtype == np.float32
    for name in ("ids", "labels", "logits"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
    with np.load(store.path("k1") / "predictions.npz") as archive:
        assert archive["settings"].tolist() == ["lav@0.3#0", "la@0.0#4"]
    assert read.validation is None, "as in cells of earlier versions"
    valid = Validation.of(np.array([0.5, -1.0, 2.0]), np.random.default_rng(1).standard_normal((2, 3, 3)))
    with store.attempt("k2") as side:
        write_predictions(side, replace(written, validation=valid))
        write_record(side, {"state": DONE, "key": "k2"})
    again = store.predictions("k2").validation
    assert again.logits.dtype == np.float16 and np.array_equal(again.logits, valid.logits)
    assert np.array_equal(again.labels, valid.labels)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1]", b"\xff\xfe", b"{}", b'{"checksum": 3}', b"[" * 100_000, b'{"a": NaN}']
)
def test_a_damaged_record_is_named_and_never_read(tmp_path, damage):
    store = Store(tmp_path)
    write(store, "k1")
    (store.path("k1") / "cell.json").write_bytes(damage)
    with pytest.raises(Damaged, match=r"cell\.json is damaged: .*moves the cell to replaced/") as caught:
        store.read("k1")
    assert "\n" not in str(caught.value) and store.readable("k1") is None
    assert list(store.damaged(["k1", "absent"])) == ["k1"]


def test_every_byte_of_a_record_counts(tmp_path):
    store = Store(tmp_path)
    write(store, "k1", number=12, text="words")
    path = store.path("k1") / "cell.json"
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        same = json.loads(content)
        try:
            assert store.read("k1") == same, "only what means the same may pass, such as another blank"
        except Damaged:
            continue
    path.write_bytes(content)
    assert store.read("k1")["number"] == 12


def test_a_cell_in_the_folder_of_another_is_damaged(tmp_path):
    store = Store(tmp_path)
    write(store, "k1")
    store.path("k1").rename(store.path("k2"))
    with pytest.raises(Damaged, match="it belongs to cell 'k1'"):
        store.read("k2")
    (store.cells / "k3").write_text("a file where a folder should be")
    with pytest.raises(Damaged):
        store.read("k3")
    write(store, "k3")
    assert store.read("k3")["state"] == DONE and len(list((tmp_path / "replaced").iterdir())) == 1


@pytest.mark.parametrize("name", ["predictions.npz", "representations.npz", "history.jsonl", "model.safetensors"])
@pytest.mark.parametrize("damage", [None, b"", b"PK\x03\x04", "flip"])
def test_damaged_files_are_named_and_never_read(tmp_path, name, damage):
    store = Store(tmp_path)
    with store.attempt("k1") as side:
        for file in ("predictions.npz", "representations.npz", "history.jsonl", "model.safetensors"):
            (side / file).write_bytes(b"some content")
        write_record(side, {"state": DONE, "key": "k1"})
    assert store.damaged(["k1"]) == {} and Store(tmp_path).weights("k1") == b"some content"
    path = store.path("k1") / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(b"some contenu" if damage == "flip" else damage)
    read = {
        "predictions.npz": store.predictions,
        "representations.npz": store.representations,
        "history.jsonl": store.history,
        "model.safetensors": store.weights,
    }[name]
    with pytest.raises(Damaged, match=f"{name} is damaged: it is ") as caught:
        read("k1")
    assert "\n" not in str(caught.value)
    assert store.damaged(["k1"]) == {"k1": caught.value.fault}
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "a worker's reaches the driver"


def test_a_cell_that_another_run_replaces_is_read_as_it_is_now(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    for text in (b"old", b"new"):
        with other.attempt("k1") as side:
            (side / "model.safetensors").write_bytes(text)
            write_record(side, {"state": DONE, "key": "k1"})
        assert store.weights("k1") == text


def test_all_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    """Files, then the folder with their names, then the rename, then the folder it stands in."""
    done, fsync, rename = [], os.fsync, Path.rename

    def noted_fsync(descriptor):
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def noted_rename(path, target):
        done.append(f"rename to {Path(target).name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    store = Store(tmp_path)
    with store.attempt("k1") as side:
        (side / "model.safetensors").write_bytes(b"weights")
        write_record(side, {"state": DONE, "key": "k1"})
    assert set(done[:2]) == {"model.safetensors", "cell.json"}
    assert done[2:] == [side.name, "rename to k1", "cells"]
    done.clear()
    monkeypatch.setattr(Path, "replace", noted_rename)
    replace_file(tmp_path / "tables" / "scores.csv", b"1")
    assert len(done) == 2 and done[0].startswith(".scores.csv.") and done[1] == "rename to scores.csv"


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path, monkeypatch):
    replace_file(tmp_path / "scores.csv", b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(tmp_path / "scores.csv", b"new")
    assert (tmp_path / "scores.csv").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_processes_of_one_number_on_two_machines_do_not_meet(tmp_path):
    other = tmp_path / f".locks-{os.getpid()}"
    (tmp_path / f".scores.csv.{os.getpid()}").write_bytes(b"its own")
    keeps_locks.cache_clear()
    with locked(other) as mine:
        assert mine and keeps_locks(tmp_path)
    replace_file(tmp_path / "scores.csv", b"new")
    assert (tmp_path / f".scores.csv.{os.getpid()}").read_bytes() == b"its own"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".scores.csv.{os.getpid()}", "scores.csv"]


def test_running_cells_show_their_last_whole_epoch(tmp_path):
    store = Store(tmp_path)
    with store.attempt("k1") as side:
        assert store.running() == [("k1", {})]
        (side / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
        assert store.running() == [("k1", {"epoch": 2})]
        assert store.stored_keys() == []


def test_a_cell_that_ends_while_its_age_is_asked_is_young(tmp_path, monkeypatch):
    """Where no locks are kept, its folder can be gone by then; it is not taken for an old one."""
    store = Store(tmp_path)
    monkeypatch.setattr("benchmark.running.store.keeps_locks", lambda folder: False)
    monkeypatch.setattr(store, "_begun", lambda: [store.cells / ".k1.12345678"])
    assert store.remove_leftovers() == [] and not store.cells.exists()


HOLDER = """
import sys, time
from pathlib import Path
from benchmark.running.store import Store
store = Store(Path(sys.argv[1]))
with store.claim("k1") as mine, store.attempt("k1"):
    print(mine, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that works on cell k1."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.wait()


ENDS = """
import os, sys
from pathlib import Path
from benchmark.running.store import Store, write_record
store, set_aside = Store(Path(sys.argv[1])), Store.set_aside

def end(self, key):
    set_aside(self, key)
    os._exit(1)

Store.set_aside = end
with store.claim("k1"), store.attempt("k1") as side:
    (side / "model.safetensors").write_bytes(b"new")
    write_record(side, {"state": "done", "key": "k1", "number": 2})
"""


def end_before_the_rename(folder):
    command = [sys.executable, "-c", ENDS, str(folder)]
    assert subprocess.run(command, check=False).returncode == 1


def test_a_whole_cell_whose_process_ends_before_the_rename_is_not_lost(tmp_path):
    store = Store(tmp_path)
    write(store, "k1", number=1)
    end_before_the_rename(tmp_path)
    assert store.read("k1") is None and len(list(store.cells.iterdir())) == 2, "a lock and a side folder"
    with store.claim("k1") as mine:
        assert mine and store.read("k1")["number"] == 2 and store.weights("k1") == b"new"
    assert [path.name for path in store.cells.iterdir()] == ["k1"] and len(list(tmp_path.glob("replaced/k1.*"))) == 1
    end_before_the_rename(tmp_path)
    assert store.remove_leftovers() == ["k1"] and store.read("k1")["number"] == 2


def test_what_is_not_whole_or_not_needed_any_more_does_not_take_the_place_of_a_cell(tmp_path):
    store = Store(tmp_path)
    end_before_the_rename(tmp_path)
    (side,) = store.cells.glob(".k1.*[!k]")
    (side / "model.safetensors").write_bytes(b"cut")
    assert store.remove_leftovers() == ["k1"] and not list(store.cells.iterdir())
    end_before_the_rename(tmp_path)
    (side,) = store.cells.glob(".k1.*[!k]")
    side.rename(tmp_path / "kept")
    write(store, "k1", number=3)
    (tmp_path / "kept").rename(side)
    assert claimed(store, "k1") and store.read("k1")["number"] == 3
    assert [path.name for path in store.cells.iterdir()] == ["k1"]


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def claimed(store, key):
    with store.claim(key) as mine:
        return mine


def test_a_live_lock_is_never_taken_over_a_dead_one_is(tmp_path, holder):
    store = Store(tmp_path)
    assert not claimed(store, "k1") and claimed(store, "k2")
    assert store.remove_leftovers() == [] and [key for key, _ in store.running()] == ["k1"]
    for path in store.cells.iterdir():  # however long it has stood still
        os.utime(path, (0, 0))
    holder.send_signal(signal.SIGSTOP)
    assert not claimed(store, "k1") and store.remove_leftovers() == [] and len(store.running()) == 1
    holder.kill()
    holder.wait()
    assert len(list(store.cells.iterdir())) == 2, "a lock and a side folder"
    assert store.remove_leftovers() == ["k1"] and not list(store.cells.iterdir())


def test_a_dead_lock_can_be_claimed_at_once(tmp_path, holder):
    store = Store(tmp_path)
    holder.kill()
    holder.wait()
    with store.claim("k1") as mine:
        assert mine and not claimed(Store(tmp_path), "k1"), "not twice, not even in this process"
    assert claimed(store, "k1") and store.remove_leftovers() == [] and not list(store.cells.iterdir())


def test_what_a_dead_process_has_left_goes_however_young_it_is(tmp_path, holder):
    holder.kill()
    holder.wait()
    store = Store(tmp_path)
    assert store.remove_leftovers() == ["k1"] and not list(store.cells.iterdir())


def test_locks_leave_no_file_open(tmp_path):
    before = open_files()
    with locked(tmp_path / "lock") as mine:
        assert mine
        with locked(tmp_path / "lock") as again:
            assert not again
        assert open_files() == before + 1
    flush(tmp_path)
    assert keeps_locks(tmp_path) and open_files() == before and not list(tmp_path.iterdir())


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path, monkeypatch):
    path, lock, tries = tmp_path / "lock", locks._lock, []
    before = open_files()

    def after_another_let_go(descriptor):
        tries.append(descriptor)
        if len(tries) == 1:
            path.unlink()
        return lock(descriptor)

    monkeypatch.setattr(locks, "_lock", after_another_let_go)
    with locked(path) as mine:
        assert mine and path.exists() and len(tries) == 2
        assert not taken(path), "by whoever comes later"
    assert open_files() == before


def taken(path):
    with locked(path) as mine:
        return mine


def test_what_is_no_matter_of_locks_is_told(tmp_path, monkeypatch):
    def broken(descriptor, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", broken)
    keeps_locks.cache_clear()
    for take in (keeps_locks, lambda folder: taken(folder / "lock")):
        with pytest.raises(OSError, match="Input/output"):
            take(tmp_path)
    assert not list(tmp_path.glob(".locks-*"))
    keeps_locks.cache_clear()


def test_of_many_that_claim_a_cell_one_gets_it(tmp_path):
    """Locks are removed by whoever lets go, while others are about to take them."""
    store, inside, entered = Store(tmp_path), [], []

    def work():
        for _ in range(200):
            with store.claim("k1") as mine:
                if mine:
                    inside.append(1)
                    entered.append(len(inside))
                    inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered and set(entered) == {1} and not list(store.cells.iterdir())


def test_where_there_are_no_locks_attempts_stay_until_nothing_was_written_for_a_week(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def none(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    keeps_locks.cache_clear()
    with store.attempt("k1") as side:
        assert not keeps_locks(store.cells) and claimed(store, "k1") and claimed(store, "k1")
        (side / "history.jsonl").write_text("")
        for path in (side, side / "history.jsonl"):
            os.utime(path, (time.time() - 6 * 24 * 3600,) * 2)
        assert store.remove_leftovers() == [] and [key for key, _ in store.running()] == ["k1"]
        os.utime(side, (time.time() - 8 * 24 * 3600,) * 2)
        assert store.remove_leftovers() == [] and side.is_dir(), "its last epoch is younger"
        os.utime(side / "history.jsonl", (time.time() - 8 * 24 * 3600,) * 2)
        assert store.remove_leftovers() == ["k1"] and not side.exists()
        side.mkdir()
    keeps_locks.cache_clear()


@pytest.mark.parametrize("state", [DONE, FAILED])
def test_what_another_attempt_has_finished_in_the_meantime_stands(tmp_path, state):
    store, other = Store(tmp_path), Store(tmp_path)
    write(store, "k1", number=0)
    before = store.stamp("k1")
    with store.attempt("k1") as side:
        write_record(side, {"state": DONE, "key": "k1", "number": 1})
        write(other, "k1", number=2)
    assert store.read("k1")["number"] == 2
    with store.attempt("k1", before) as side:
        write_record(side, {"state": state, "key": "k1", "number": 3})
    assert store.read("k1")["number"] == 2 and store.stamp("k1") != before
    assert [json.loads(p.read_text())["number"] for p in tmp_path.glob("replaced/*/cell.json")] == [0]
    write(store, "k1", state=state, number=4)  # begun since
    assert store.read("k1")["number"] == 4
    write(other, "k2", state=FAILED)
    with store.attempt("k2", before="") as side:
        write_record(side, {"state": DONE, "key": "k2"})
    assert store.read("k2")["state"] == DONE, "a failure gives way"
