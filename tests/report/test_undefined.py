"""An emotion that no test sample shows has no score, and everything made of scores lives with that."""

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.collect import Model, confusions
from benchmark.evidence.comparisons import weigh
from benchmark.evidence.groups import Groups
from benchmark.evidence.scores import COLUMNS, read_scores
from benchmark.evidence.statistics import average_draws, data_set_blocks
from benchmark.evidence.stored import read_evidence, write_evidence
from benchmark.methods.labels import Row
from benchmark.protocol.metrics import usual_metrics
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.protocol.scoring import Scorer
from benchmark.protocol.target import Target
from benchmark.report.comparisons import augmentation_table, interval_table, overall_table, with_evidence
from benchmark.report.curves import draw, small_multiples
from benchmark.report.figures import method_looks, to_files
from benchmark.report.heatmaps import condition_heatmap, confusion_matrices
from benchmark.report.ranks import critical_difference
from benchmark.report.tables import build_tables, to_latex, to_markdown

SETTINGS = tuple((s, 0) for s in [*map(Setting, SUBSETS), Setting("lav", 0.5), Setting("lav", 1.0)])
ROWS = {
    "corrkd": Row("corrkd", "corrkd", "missing"),
    "mult": Row("mult", "mult", "complete"),
    "mult+mrm": Row("mult+mrm", "mult", "missing"),
}
EMOTIONS = ("happy", "sad", "angry", "neutral")
TARGET = Target("category", EMOTIONS)
METRICS = tuple(usual_metrics(TARGET))
SAD = EMOTIONS.index("sad")
SENTENCE = "sad is not among the test samples: its score is undefined and left out of the mean."

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    labels = rng.choice([k for k in range(4) if k != SAD], size=60)
    found = []
    for method in ROWS:
        for seed in range(4):
            right = rng.random((len(SETTINGS), 60)) < 0.6
            predicted = np.where(right, labels, rng.integers(4, size=right.shape)).astype(np.int8)
            found.append(
                Model(
                    "iemocap",
                    "file",
                    TARGET,
                    METRICS,
                    "lav",
                    method,
                    seed,
                    SETTINGS,
                    labels,
                    Groups.alone(60),
                    predicted,
                    predicted,
                )
            )
    return found


@pytest.fixture(scope="module")
def scores(models):
    rows = []
    for model in models:
        scorer = Scorer(target=TARGET, labels=model.labels, metrics=METRICS)
        values = (scorer.scores(model.predicted)[:, :, 0] * scorer.scales[:, None]).T
        for (setting, which), own in zip(SETTINGS, values, strict=True):
            for metric, value, number in zip(METRICS, own, scorer.n, strict=True):
                where = ("iemocap", "file", model.method, model.seed, setting.kind, setting.available, setting.ratio)
                key = f"{model.method}{model.seed}"
                rows.append((*where, which, metric, value, number, key, "category", "lav"))
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture(scope="module")
def evidence(models):
    return weigh(models, rows=ROWS, against="corrkd")


def test_tables_hold_a_dash_and_say_why(scores, evidence):
    tables = [with_evidence(table, evidence, "corrkd") for table in build_tables(scores)]
    assert {table.kind for table in tables} == {"inter", "intra"}
    more = [interval_table(tables[0], evidence, "corrkd"), augmentation_table(tables[0], evidence)]
    for table in [*tables, *more]:
        blocks = {block.title: [cell.value for _, cells in block.rows for cell in cells] for block in table.blocks}
        assert set(blocks["F1 sad"]) == {""} and all(
            any(blocks[f"F1 {name}"]) for name in ("happy", "angry", "neutral")
        )
        assert any(blocks["mean F1"])
        lines = [line for line in to_markdown(table).splitlines() if line.startswith("| F1 sad |")]
        assert lines and all(set(line.split("|")[3:-1]) == {" – "} for line in lines)
        assert "nan" not in to_markdown(table) + to_latex(table)
    for table in (*tables, more[0]):
        assert table.caption.count(SENTENCE) == 1


def test_what_every_emotion_has_is_not_told(scores):
    known = scores.assign(value=scores["value"].fillna(50.0))
    assert all("undefined" not in table.caption for table in build_tables(known))


def test_its_interval_is_empty_and_the_mean_has_one(scores, evidence):
    own = evidence.intervals.set_index(["metric", "condition", "method"])
    assert own.loc["f1_sad", ["mean", "low", "high"]].isna().all(axis=None)
    mean = own.loc[("f1", "{l,a,v}", "mult")]
    assert mean["low"] < mean["mean"] < mean["high"]
    complete = scores[(scores["available"] == "lav") & (scores["ratio"] == 0.0) & (scores["method"] == "mult")]
    each = complete[complete["metric"].isin(["f1_happy", "f1_angry", "f1_neutral"])]["value"]
    assert mean["mean"] == pytest.approx(each.mean(), abs=1e-4)
    tests = evidence.comparisons[evidence.comparisons["metric"] == "f1_sad"]
    assert len(tests) and tests[["difference", "p", "p_holm"]].isna().all(axis=None) and set(tests["family"]) == {0}


def test_files_hold_an_empty_place(tmp_path, scores, evidence):
    scores.to_csv(tmp_path / "scores.csv", index=False)
    write_evidence(evidence, tmp_path)
    read = read_scores(tmp_path / "scores.csv")
    assert (
        read[read["metric"] == "f1_sad"]["value"].isna().all() and ",f1_sad,," in (tmp_path / "scores.csv").read_text()
    )
    again = read_evidence(tmp_path, read)
    assert len(again.intervals) == len(evidence.intervals) and len(again.comparisons) == len(evidence.comparisons)


def test_figures_and_ranks_are_made(models, scores, evidence):
    looks = method_looks(list(ROWS))
    tables = [with_evidence(table, evidence, "corrkd") for table in build_tables(scores)]
    pictures = [draw(table, looks) for table in tables]
    pictures += [
        small_multiples(evidence.intervals, looks),
        condition_heatmap(evidence.intervals),
        confusion_matrices(confusions(models)),
    ]
    for picture in pictures:
        assert to_files(picture.figure)["png"]
    for picture in pictures[: len(tables)]:
        (empty,) = [axes for axes in picture.figure.axes if axes.get_title() == "F1 sad"]
        assert not len(empty.get_yticks()), "an axis of no numbers would bear made-up ones"
    assert overall_table(scores, None).columns == ["rank", "wins"]
    blocks = data_set_blocks(average_draws(scores))
    assert len(blocks) == 1 and blocks.notna().all(axis=None)
    assert critical_difference(pd.concat([blocks] * 10), about="x") is not None
