import numpy as np
import pandas as pd
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.evidence.scores import COLUMNS, SETTING, conditions_of, read_scores
from benchmark.protocol.missing import Setting
from benchmark.protocol.scoring import scores
from benchmark.protocol.target import Target
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


def row(metric, value, **more):
    where = {"task": "t", "source": "file", "method": "m", "seed": 0, "kind": "intra", "available": "lav", "ratio": 0}
    rest = {"draw": 0, "metric": metric, "value": value, "n": 9, "key": "k", "target": "intensity", "modalities": "la"}
    return where | rest | more


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    """It does not say what a task is: all were of three modalities, and of polarity or, with a score each, of categories."""
    metrics = {"mosi": ["f1", "f1_nonneg"], "iemocap": ["f1", "f1_sad"], "mosei": ["f1_nonneg", "f1"]}
    rows = [row(name, 50.0, task=task) for task, names in metrics.items() for name in names]
    pd.DataFrame(rows)[COLUMNS[:12]].to_csv(tmp_path / "scores.csv", index=False)
    scores = read_scores(tmp_path / "scores.csv")
    assert list(scores.columns) == COLUMNS and set(scores["modalities"]) == {"lav"}
    assert scores["target"].tolist() == ["polarity"] * 2 + ["category"] * 2 + ["polarity"] * 2


SAID = [Setting(), Setting("lav", (0.1, 0.5, 0.9)), Setting(noise={"a": 2}), Setting("lav?", 0.3)]


def test_a_column_tells_the_settings_that_others_do_not(tmp_path):
    path = tmp_path / "scores.csv"
    rows = [row("f1", 50.0, kind=s.kind, available=s.available, ratio=s.share, setting=str(s)) for s in SAID]
    pd.DataFrame(rows).to_csv(path, index=False)
    scores = read_scores(path)
    assert list(scores.columns) == [*COLUMNS, SETTING] and scores[SETTING].tolist() == [str(s) for s in SAID]
    assert list(conditions_of(scores).values()) == SAID[1:] and "noise a=2.0" in conditions_of(scores)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"setting": "lav@0.2/0.5/0.9"}, "the setting 'lav@0.2/0.5/0.9' is not imbalanced 'lav' at 0.5"),
        ({"setting": "lav@0.5"}, "the setting 'lav@0.5' is not imbalanced 'lav' at 0.5"),
        ({"kind": "noise"}, "the setting 'lav@0.1/0.5/0.9' is not noise 'lav' at 0.5"),
        ({"setting": "lav@x"}, "'lav@x' is no setting"),
        ({"setting": "lav@0.1/0.5/1.5"}, r"ratio=1.5 is outside \[0, 1\]"),
        ({"setting": None}, "line 2: setting: '' is unknown"),
        ({"setting": "lav@.1/.5/.9"}, "the setting 'lav@.1/.5/.9' is not imbalanced 'lav' at 0.5"),
    ],
)
def test_a_setting_that_is_not_what_its_line_says_is_refused(tmp_path, changed, said):
    path, s = tmp_path / "scores.csv", SAID[1]
    fine = row("f1", 50.0, kind=s.kind, available=s.available, ratio=s.share, setting=str(s))
    pd.DataFrame([fine | changed]).to_csv(path, index=False)
    with pytest.raises(BenchmarkError, match=rf"scores\.csv.*{said}"):
        read_scores(path)
    pd.DataFrame([fine]).drop(columns="setting").to_csv(path, index=False)
    with pytest.raises(
        BenchmarkError, match="lacks the column 'setting', without which imbalanced settings cannot be told"
    ):
        read_scores(path)


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        ("f1", 100.5, "100.5 is not in 0 to 100"),
        ("corr", -1.25, "-1.25 is not in -1 to 1"),
        ("mae", -0.1, "-0.1 is not in 0 to inf"),
    ],
)
def test_a_value_that_its_metric_cannot_have_is_refused_with_its_line(tmp_path, metric, value, said):
    path = tmp_path / "scores.csv"
    fine = [row("f1", 100.0), row("corr", -1.0), row("mae", 250.0), row("corr", np.nan, method="n")]
    pd.DataFrame(fine).to_csv(path, index=False)
    assert read_scores(path)["value"].tolist()[:3] == [100.0, -1.0, 250.0]
    pd.DataFrame([*fine, row(metric, value, method="n")]).to_csv(path, index=False)
    with pytest.raises(
        BenchmarkError, match=rf"scores\.csv, line 6: value: {said}; the file must be as a report writes it$"
    ):
        read_scores(path)


def test_a_perfect_correlation_is_within_its_bounds():
    """Rounding would make it a little more than 1, in a file that could then not be read again."""
    rng = np.random.default_rng(0)
    for n in rng.integers(5, 60, 500):
        labels = rng.choice(np.arange(-3, 3.1, 0.2), n).astype(np.float32)
        outputs = (labels * rng.uniform(0.1, 2) + rng.normal())[:, None]
        assert scores(target=Target("intensity"), y_true=labels, y_pred=outputs, metrics=["corr"])["corr"] <= 1.0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metric": "mea"}, "the metric 'mea' is unknown"),
        ({"target": "polarity"}, r"target and modalities of 't' \(file\) are not the same in all lines"),
        ({"modalities": "lav"}, r"target and modalities of 't' \(file\) are not the same in all lines"),
        ({"modalities": "l"}, "line 3: modalities: 'l' is unknown"),
        ({"target": "sign"}, "line 3: target: 'sign' is unknown"),
    ],
)
def test_a_line_that_no_report_writes_is_refused(tmp_path, changed, said):
    path = tmp_path / "scores.csv"
    pd.DataFrame([row("f1", 50.0), row("mae", 0.5) | changed]).to_csv(path, index=False)
    with pytest.raises(BenchmarkError, match=rf"scores\.csv.*{said}"):
        read_scores(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "inter"}, "the setting 'lav@0.5' is not inter 'lav' at 0.5"),
        ({"kind": "intra-scattered"}, "the setting 'lav@0.5' is not intra-scattered 'lav' at 0.5"),
        ({"kind": "random", "available": "l?"}, "line 2: available: 'l\\?' is unknown"),
    ],
)
def test_without_that_column_too_a_setting_is_what_its_line_says(tmp_path, changed, said):
    path = tmp_path / "scores.csv"
    pd.DataFrame([row("f1", 50.0, ratio=0.5) | changed]).to_csv(path, index=False)
    with pytest.raises(BenchmarkError, match=rf"scores\.csv.*{said}"):
        read_scores(path)
