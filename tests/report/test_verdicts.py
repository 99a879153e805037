"""What tests found, as tables say it."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.comparisons import weigh
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.comparisons import interval_table, with_evidence
from benchmark.report.curves import draw, small_multiples
from benchmark.report.figures import method_looks
from benchmark.report.tables import build_tables, titled, to_csv, to_latex, to_markdown
from benchmark.report.verdicts import drawn_words, margin_words, sensitivity, tell_never, verdict
from tests.evidence.test_comparisons import ROWS, model
from tests.report.test_comparisons import cells, scores_of
from tests.report.test_tables import make_scores

SETTINGS = tuple((s, 0) for s in map(Setting, SUBSETS))


@pytest.mark.parametrize(
    ("difference", "low", "high", "p", "sign"),
    [
        (3.0, 1.0, 5.0, 0.01, "▲"),
        (-3.0, -5.0, -1.0, 0.01, "▼"),
        (0.1, -0.9, 1.0, 0.7, "≈"),
        (0.1, -0.9, 1.1, 0.7, "?"),
        (0.1, -8.0, 9.0, 0.7, "?"),
        (3.0, 1.0, 5.0, np.nan, ""),
    ],
)
def test_a_comparison_is_better_worse_alike_or_open(difference, low, high, p, sign):
    found = {"difference": difference, "low": low, "high": high, "p_holm": p}
    assert verdict(found, metric("f1"), 1.0) == sign
    turned = {"▲": "▼", "▼": "▲"}.get(sign, "?" if sign == "≈" else sign)  # a point of MAE is a hundredth
    assert verdict(found, metric("mae"), 1.0) == turned


def test_two_hundredths_of_an_error_are_no_likeness():
    small = {"difference": 0.001, "low": -0.009, "high": 0.01, "p_holm": 0.8}
    mae = metric("mae")
    assert verdict(small, mae, 1.0) == "≈" and verdict(small | {"high": 0.011}, mae, 1.0) == "?"
    assert verdict(small, mae, 0.5) == "?" and verdict(small | {"high": 0.011}, mae, 2.0) == "≈"


@pytest.mark.parametrize(
    ("margin", "names", "said"),
    [
        (1.0, ["f1"], "±1 point"),
        (0.5, ["f1", "accuracy"], "±0.5 points"),
        (2.0, ["mae", "corr"], "±0.02"),
        (0.5, ["mae", "f1"], "±0.5 points, of MAE ±0.005"),
    ],
)
def test_the_margin_is_told_in_the_units_of_what_is_printed(margin, names, said):
    assert margin_words(margin, titled(names, "intensity")) == said


def test_a_narrower_margin_leaves_more_open():
    found = evidence_of({"mult": 0.9, "corrkd": 0.9})
    tests = found.comparisons.assign(difference=0.1, low=-0.6, high=0.8, p=0.7, p_holm=0.7)
    first = build_tables(scores_of(found))[0]
    tables = [interval_table(first, replace(found, comparisons=tests), "corrkd", margin=m) for m in (1.0, 0.7)]
    assert [cells(table)["mult"]["Avg. less corrkd"].mark for table in tables] == ["≈", "?"]
    assert "lies within ±1 point)" in tables[0].caption and "lies within ±0.7 points)" in tables[1].caption


def evidence_of(skills, seeds=5):
    models = [model(m, seed, SETTINGS, skill) for m, skill in skills.items() for seed in range(seeds)]
    return weigh(models, rows=ROWS, against="corrkd")


def test_bold_is_what_cannot_be_told_from_the_best():
    found = evidence_of({"mult": 0.5, "corrkd": 0.9, "corrkd-mrm": 0.9})
    table = with_evidence(build_tables(scores_of(found))[0], found, "corrkd")
    ranks = {m: row["{l,a,v}"].rank for m, row in cells(table).items()}
    assert ranks == {"mult": 0, "corrkd": 1, "corrkd-mrm": 1}
    assert "in bold what no test tells from the best" in table.caption and "underlined" not in table.caption


def test_where_nothing_can_be_told_apart_nothing_is_bold():
    found = evidence_of({"mult": 0.9, "corrkd": 0.9})
    found = replace(found, intervals=found.intervals.assign(best=1.0))
    table = with_evidence(build_tables(scores_of(found))[0], found, "corrkd")
    assert {cell.rank for row in cells(table).values() for cell in row.values()} == {0}


def test_without_tests_the_best_number_is_bold_as_ever():
    found = evidence_of({"mult": 0.5, "corrkd": 0.9}, seeds=2)
    assert found.intervals["best"].isna().all()
    table = with_evidence(build_tables(scores_of(found))[0], found, "corrkd")
    assert cells(table)["corrkd"]["{l,a,v}"].rank == 1 and "best in bold, second underlined" in table.caption


def test_a_floor_that_loses_nothing_is_not_the_best_for_it():
    rows = {m: replace(ROWS["mult"], label=m, name=m) for m in ("constant", "corrkd", "mult")}
    models = []
    for seed in range(5):
        models += [model(m, seed, SETTINGS, skill) for m, skill in (("corrkd", 0.9), ("mult", 0.6))]
        whole = model("mult", seed, SETTINGS, 0.6)
        models.append(replace(whole, method="constant", predicted=0 * whole.predicted, outputs=0 * whole.outputs))
    drop = weigh(models, rows=rows, against="corrkd").intervals.query("metric == 'f1' and condition == 'drop'")
    assert drop.set_index("method")["mean"]["constant"] == 0.0
    assert np.isnan(drop.set_index("method")["best"]["constant"])


def constant_in(whole, *subsets):
    alike = whole.predicted.copy()
    alike[[whole.settings.index((Setting(s), 0)) for s in subsets]] = 1
    return replace(whole, predicted=alike, outputs=alike)


def test_what_is_collapsed_bears_a_sign_that_is_explained_below():
    models = [constant_in(model("mult", seed, SETTINGS, 0.7), "a", *"v"[seed:]) for seed in range(3)]
    rows = ROWS | {"constant": replace(ROWS["mult"], label="constant", name="constant")}
    floor = [replace(constant_in(m, *SUBSETS), method="constant") for m in models]
    found = weigh([*models, *floor], rows=rows, against=None)
    table = with_evidence(build_tables(scores_of(found))[0], found, None)
    marks = {m: {c: cell.mark for c, cell in row.items() if cell.mark} for m, row in cells(table).items()}
    assert marks == {"mult": {"{a}": "‡", "{v}": "(‡)"}, "constant": {}}
    said = "‡ collapsed: all test samples get the same category there, with every seed; (‡) with some of the seeds."
    assert table.notes == (said,)
    assert to_markdown(table).endswith(f"|\n\n{said}\n") and r"\footnotesize $\ddagger$ collapsed" in to_latex(table)
    csv = pd.read_csv(io.StringIO(to_csv(table))).query("metric == 'f1' and method == 'mult'").set_index("condition")
    assert csv["collapsed"][["{l}", "{a}", "{v}"]].tolist() == [0, 3, 1]


def test_what_is_never_predicted_is_told_by_category():
    never = {"sad": ["misa", "hrlf"], "happy": ["mult"]}
    (said,) = tell_never(never, ["mult", "hrlf", "misa"])
    assert said == "Never predicts sad: hrlf, misa. Never predicts happy: mult. (In no condition and with no seed.)"
    assert tell_never({}, []) == ()


def test_what_could_be_seen_is_told_in_a_sentence():
    found = evidence_of({"mult": 0.5, "corrkd": 0.9, "corrkd-mrm": 0.85})
    tests = found.comparisons.query("metric == 'f1' and condition == 'Avg.' and purpose == 'reference'")
    low, high = tests["detectable"].min(), tests["detectable"].max()
    guessing = tests.head(1).assign(method="constant", detectable=2 * high)  # of which it tells nothing
    found = replace(found, comparisons=pd.concat([found.comparisons, guessing]))
    said = sensitivity(found, "mosi", "simulated", "corrkd")
    assert said.startswith("With 40 videos and 5 seeds, differences of Avg. of F1 from corrkd below ")
    assert f"{low:.1f} to {high:.1f}, by method, cannot be seen" in said
    assert sensitivity(found, "mosi", "file", "corrkd") == sensitivity(found, "mosi", "simulated", "mult") == ""
    assert sensitivity(evidence_of({"mult": 0.5, "corrkd": 0.9}, seeds=2), "mosi", "simulated", "corrkd") == ""


def test_what_was_drawn_is_told():
    assert drawn_words(pd.DataFrame({"groups": [31], "unit": ["video"]})) == "31 videos"
    alone = "test samples (ids tell no groups, so each counts for itself)"
    assert drawn_words(pd.DataFrame({"groups": [80], "unit": ["sample"]})) == alone
    assert drawn_words(pd.DataFrame({"seeds": [1]})) == alone, "as earlier versions did"
    several = pd.DataFrame({"groups": [31, 12, 31], "unit": ["video", "dialogue", "video"]})
    assert drawn_words(several) == "31 videos and 12 dialogues"


def test_an_interval_without_a_part_from_the_seeds_is_called_so_wherever_it_appears():
    for seeds, said in (
        (1, "40 videos alone, for there are fewer than three seeds"),
        (3, "seeds and 40 videos"),
    ):
        found = evidence_of({"mult": 0.5, "corrkd": 0.9}, seeds=seeds)
        table = with_evidence(build_tables(make_scores(["mult", "corrkd"], seeds=seeds))[0], found, "corrkd")
        looks = method_looks(table.methods)
        curves = found.intervals.assign(kind="intra", ratio=[0.0, 0.5] * (len(found.intervals) // 2))
        captions = [
            interval_table(table, found, "corrkd").caption,
            draw(table, looks).caption,
            small_multiples(curves, looks).caption,
        ]
        assert all(f" over {said}" in caption for caption in captions), captions
