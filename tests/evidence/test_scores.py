import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.evidence.scores import read_scores
from benchmark.running.store import Store
from tests.stored_cells import write_cell


def test_stored_scores_are_read_and_their_names_checked(tmp_path):
    write_cell(tmp_path, "k1")
    path = tmp_path / "scores.csv"
    with pytest.raises(BenchmarkError, match=r"nothing is stored in .*; run the grid first"):
        read_scores(path)
    scores = collect(Store(tmp_path)).scores
    scores.to_csv(path, index=False)
    assert read_scores(path)["value"].tolist() == scores["value"].tolist()
    write_cell(tmp_path, "k1", labels=np.zeros(3, np.float32), finished="3")
    neutral = collect(Store(tmp_path)).scores
    assert neutral.groupby("metric")["value"].count().to_dict() == {"accuracy": 2, "f1": 0, "f1_nonneg": 2}
    neutral.to_csv(path, index=False)
    np.testing.assert_array_equal(read_scores(path)["value"], neutral["value"], "there may be no f1")
    scores.assign(method="a\u202eb").to_csv(path, index=False)
    with pytest.raises(BenchmarkError, match="holds characters that cannot be seen"):
        read_scores(path)
