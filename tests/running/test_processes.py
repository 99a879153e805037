import os
import signal

import numpy as np
import pandas as pd
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.evidence.comparisons import weigh
from benchmark.running import processes
from benchmark.running.processes import MANY, divided
from benchmark.running.store import Store
from tests.evidence import test_comparisons as test_evidence
from tests.stored_cells import LABELS, write_cell


def _where(number):
    return number, os.getpid()


def _raise(number):
    raise BenchmarkError(f"{number} is wrong")


def _die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("cells", "elsewhere"), [(MANY, True), (MANY - 1, False)])
def test_only_work_on_many_cells_is_divided_and_comes_back_in_order(cells, elsewhere):
    numbers, places = zip(*divided(_where, ((i,) for i in range(20)), cells=cells), strict=True)
    assert list(numbers) == list(range(20)) and (os.getpid() in places) == (not elsewhere)


def test_errors_come_through_and_a_killed_process_is_told_in_one_line():
    with pytest.raises(BenchmarkError, match=r"^3 is wrong$"):
        list(divided(_raise, [(3,)], cells=MANY))
    with pytest.raises(BenchmarkError, match=r"was killed, perhaps for want of memory; .* --report-only goes on"):
        list(divided(_die, [(3,)], cells=MANY))
    assert [number for number, _ in divided(_where, [(1,)], cells=MANY)] == [1], "new processes take their place"


def test_many_cells_are_read_as_few_are(tmp_path, monkeypatch):
    for seed in range(3):
        write_cell(tmp_path, f"k{seed}", seed=seed, right=seed != 1)
        write_cell(tmp_path, f"m{seed}", seed=seed, label="misa", labels=LABELS[::-1].copy())
    (Store(tmp_path).path("k2") / "predictions.npz").write_bytes(b"")
    few = collect(Store(tmp_path))
    monkeypatch.setattr(processes, "MANY", 1)
    many = collect(Store(tmp_path))
    pd.testing.assert_frame_equal(few.scores, many.scores)
    pd.testing.assert_frame_equal(few.histories, many.histories)
    assert few.records == many.records and few.failures == many.failures and len(many.failures) == 1
    for one, other in zip(few.models, many.models, strict=True):
        assert (one.method, one.seed, one.settings) == (other.method, other.seed, other.settings)
        np.testing.assert_array_equal(one.predicted, other.predicted)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert many.models[0].labels is many.models[1].labels, "equal labels are kept once"


def test_many_models_are_weighed_as_few_are(monkeypatch):
    """In parts, whose sums are added up in another order."""
    skill = {0: 0.5, 3: 0.6, 4: 0.7, 7: 0.8, 8: 0.9}
    models = [test_evidence.model(m, seed, skill=s) for m in test_evidence.ROWS for seed, s in skill.items()]
    models = [m for m in models if (m.method, m.seed) != ("mult", 0)]
    few = weigh(models, rows=test_evidence.ROWS, against="corrkd")
    monkeypatch.setattr(processes, "MANY", 1)
    many = weigh(models, rows=test_evidence.ROWS, against="corrkd")
    pd.testing.assert_frame_equal(few.intervals, many.intervals, rtol=1e-9)
    pd.testing.assert_frame_equal(few.comparisons, many.comparisons, rtol=1e-9, atol=1e-12)
    assert not few.intervals.equals(many.intervals), "they were not divided"


def test_so_do_semaphores_that_give_out(monkeypatch):
    """As where /dev/shm has room for one, and a pool needs ten."""
    given = []

    class Context:
        def Semaphore(self, value):
            if len(given) == 3:
                raise OSError(28, "No space left on device")
            given.append(value)

    monkeypatch.delenv("JOBLIB_MULTIPROCESSING", raising=False)
    monkeypatch.setattr(processes.multiprocessing, "get_context", Context)
    assert "not full: No space left on device" in processes.lack_of_processes()
