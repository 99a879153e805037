import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.missing import Setting
from benchmark.store import DONE, FAILED, Predictions, Store, write_json, write_predictions


def write(store, key, **record):
    with store.attempt(key) as side:
        write_json(side / "cell.json", {"state": DONE} | record)


def test_a_cell_is_there_whole_or_not_at_all(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.attempt("k1") as side:
        write_json(side / "cell.json", {"state": DONE})
        raise RuntimeError("crash")
    assert store.read("k1") is None and store.stored_keys() == [] and not list(store.cells.iterdir())
    write(store, "k1")
    assert store.read("k1") == {"state": DONE} and store.stored_keys() == ["k1"]


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
        write_json(side / "cell.json", {"state": DONE})
        write_predictions(side, written)
    read = store.predictions("k1")
    assert read.settings == written.settings and read.logits.dtype == np.float32
    for name in ("ids", "labels", "logits"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
    with np.load(store.path("k1") / "predictions.npz") as archive:
        assert archive["settings"].tolist() == ["lav@0.3#0", "la@0.0#4"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_record_is_named(tmp_path, damage):
    store = Store(tmp_path)
    write(store, "k1")
    (store.path("k1") / "cell.json").write_bytes(damage)
    with pytest.raises(BenchmarkError, match=r"cell\.json is damaged.*move its folder away") as caught:
        store.read("k1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"no zip"])
def test_damaged_predictions_are_named(tmp_path, damage):
    store = Store(tmp_path)
    write(store, "k1")
    (store.path("k1") / "predictions.npz").write_bytes(damage)
    with pytest.raises(BenchmarkError, match="damaged"):
        store.predictions("k1")


def test_running_cells_show_their_last_whole_epoch(tmp_path):
    store = Store(tmp_path)
    with store.attempt("k1") as side:
        assert store.running() == [("k1", {})]
        (side / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
        assert store.running() == [("k1", {"epoch": 2})]
        assert store.stored_keys() == []


def test_leftovers_of_dead_processes_are_removed_those_of_live_ones_stay(tmp_path):
    store = Store(tmp_path)
    code = f"""
import os
from pathlib import Path
from benchmark.store import Store
with Store(Path({str(tmp_path)!r})).attempt("dead"):
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert [p.name.split(".")[1] for p in store.cells.iterdir()] == ["dead"]
    with store.attempt("alive") as side:
        assert str(os.getpid()) in side.name
        assert store.remove_leftovers() == ["dead"]
        assert [key for key, _ in store.running()] == ["alive"]


def test_attempts_of_other_machines_stay_until_nothing_was_written_for_a_week(tmp_path):
    store, remote = Store(tmp_path), Store(tmp_path, owner="@dask.run")
    with remote.attempt("k1") as side:
        (side / "history.jsonl").write_text("")
        for path in (side, side / "history.jsonl"):
            os.utime(path, (time.time() - 6 * 24 * 3600,) * 2)
        assert store.remove_leftovers() == [] and [key for key, _ in store.running()] == ["k1"]
        os.utime(side, (time.time() - 8 * 24 * 3600,) * 2)
        assert store.remove_leftovers() == [] and side.is_dir(), "its last epoch is younger"
        os.utime(side / "history.jsonl", (time.time() - 8 * 24 * 3600,) * 2)
        assert store.remove_leftovers() == ["k1"] and not side.exists()
        side.mkdir()


def test_only_an_owners_attempts_at_a_cell_that_has_ended_are_removed(tmp_path):
    run, other = Store(tmp_path, owner="@dask.run"), Store(tmp_path, owner="@dask.other")
    with run.attempt("k1") as lost, run.attempt("k2") as living, other.attempt("k1") as foreign:
        run.remove_attempts("k1")
        assert not lost.exists() and living.is_dir() and foreign.is_dir()
        for side in (lost, living, foreign):
            side.mkdir(exist_ok=True)


@pytest.mark.parametrize("state", [DONE, FAILED])
def test_what_another_attempt_has_finished_in_the_meantime_stands(tmp_path, state):
    store, other = Store(tmp_path, owner="@dask.run"), Store(tmp_path, owner="@dask.other")
    write(store, "k1", number=0)
    before = store.stamp("k1")
    with store.attempt("k1") as side:
        write_json(side / "cell.json", {"state": DONE, "number": 1})
        write(other, "k1", number=2)
    assert store.read("k1")["number"] == 2
    with store.attempt("k1", before) as side:
        write_json(side / "cell.json", {"state": state, "number": 3})
    assert store.read("k1")["number"] == 2 and store.stamp("k1") != before
    assert [json.loads(p.read_text())["number"] for p in tmp_path.glob("replaced/*/cell.json")] == [0]
    write(store, "k1", state=state, number=4)  # begun since
    assert store.read("k1")["number"] == 4
    write(other, "k2", state=FAILED)
    with store.attempt("k2", before="") as side:
        write_json(side / "cell.json", {"state": DONE})
    assert store.read("k2") == {"state": DONE}, "a failure gives way"
