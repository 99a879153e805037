import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.comparisons import weigh
from benchmark.evidence.scores import COLUMNS
from benchmark.evidence.statistics import average_inter
from benchmark.evidence.stored import Evidence
from benchmark.methods.labels import TUNED
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.comparisons import (
    augmentation_table,
    interval_table,
    overall_table,
    with_evidence,
    with_failures,
)
from benchmark.report.heatmaps import condition_heatmap, crossed_heatmap
from benchmark.report.methods import methods_table, published_table
from benchmark.report.tables import build_tables, to_csv, to_latex, to_markdown
from tests.evidence.test_comparisons import ROWS, intensity_model, model
from tests.report.test_tables import make_scores

SKILLS = {"mult": 0.55, "mult+mrm": 0.7, "corrkd": 0.9, "corrkd-mrm": 0.9}
SETTINGS = tuple((s, 0) for s in [*map(Setting, SUBSETS), *(Setting("lav", r) for r in (0.5, 1.0))])


@pytest.fixture(scope="module")
def evidence():
    models = [model(m, seed, SETTINGS, skill) for m, skill in SKILLS.items() for seed in range(5)]
    return weigh(models, rows=ROWS, against="corrkd")


@pytest.fixture(scope="module")
def scores(evidence):
    return scores_of(evidence)


def scores_of(evidence):
    """Tidy scores whose means are the evidence's: what a table is made of."""
    target = "intensity" if "mae" in set(evidence.intervals["metric"]) else "polarity"
    rows = []
    for row in evidence.intervals.itertuples():
        if row.kind == "derived":
            continue
        for seed, shift in enumerate((-1.0, 0.0, 1.0)):
            rows.append(
                (row.task, row.source, row.method, seed, row.kind, row.available, row.ratio, 0, row.metric,
                 row.mean + (shift if target == "polarity" else shift / 100), row.n, "k", target, "lav")
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def cells(table, block=0):
    return {m: dict(zip(table.columns, row, strict=True)) for m, row in table.blocks[block].rows}


def test_a_reference_with_a_hostile_name_stays_text_in_the_head_of_a_table(evidence):
    hostile = "a|b<img src=x>"
    renamed = [f.replace({"method": {"corrkd": hostile}, "against": {"corrkd": hostile}}) for f in
               (evidence.intervals, evidence.comparisons, evidence.pairs)]  # fmt: skip
    own = Evidence(*renamed)
    table = interval_table(build_tables(scores_of(own))[0], own, hostile)
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert "<img" not in lines[0] and len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_tuned_rows_are_marked_by_how_they_stand_to_the_reference_tuned():
    skills = {"mult": 0.9, "corrkd": 0.55, "mult tuned": 0.55, "corrkd tuned": 0.9}
    rows = {m: replace(ROWS[m.split()[0]], label=m, variant=(TUNED,) if " " in m else ()) for m in skills}
    models = [
        replace(model(m.split()[0], seed, SETTINGS, skill), method=m)
        for m, skill in skills.items()
        for seed in range(5)
    ]
    found = weigh(models, rows=rows, against="corrkd")
    inter, _ = (with_evidence(t, found, "corrkd") for t in build_tables(scores_of(found)))
    told = "than corrkd (◆) in a paired two-sided test over seeds and 40 videos (alpha = 0.05, Holm for 1 comparison a"
    assert told in inter.caption
    assert "column). Tuned rows are held against corrkd tuned (Holm for 1 comparison a column)." in inter.caption
    assert [cells(inter)[m]["Avg."].mark for m in skills] == ["▲", "", "▼", ""]
    alone = found.of_rows(["corrkd", "mult tuned", "corrkd tuned"])
    inter, _ = (with_evidence(t, alone, "corrkd") for t in build_tables(scores_of(alone)))
    assert "worse than corrkd tuned in a paired two-sided test" in inter.caption and "◆)" not in inter.caption
    inter, _ = (with_evidence(t, found, "corrkd") for t in build_tables(scores_of(found)))
    table = interval_table(inter, found, "corrkd")
    assert [cells(table)[m]["Avg. less corrkd"].mark for m in skills] == ["▲", "", "▼", ""]
    assert "against corrkd (◆), of tuned rows against corrkd tuned, corrected by Holm" in table.caption


def test_a_table_marks_what_differs_from_the_reference_and_says_by_which_test(scores, evidence):
    inter, intra = (with_evidence(t, evidence, "corrkd") for t in build_tables(scores))
    tests = evidence.comparisons.query("purpose == 'reference' and metric == 'f1'").set_index(["method", "condition"])
    for table in (inter, intra):
        for method, row in cells(table).items():
            for column, cell in row.items():
                condition = "{l,a,v}" if column == "p=0.0" else column
                expected = ""
                if (method, condition) in tests.index and tests.loc[(method, condition), "p_holm"] < 0.05:
                    expected = "▲" if tests.loc[(method, condition), "difference"] > 0 else "▼"
                assert cell.mark == expected, (method, column)
    assert cells(inter)["mult"]["Avg."].mark == "▼" and cells(inter)["corrkd"]["Avg."].mark == ""
    assert cells(inter)["corrkd-mrm"]["Avg."].mark == ""
    assert "▲ ▼ better, worse than corrkd (◆) in a paired two-sided test over seeds and 40 videos" in inter.caption
    assert "alpha = 0.05, Holm for 3 comparisons a column" in inter.caption
    assert "\n| F1 | corrkd ◆ |" in to_markdown(inter) and r"corrkd $\blacklozenge$ &" in to_latex(inter)
    assert "◆" not in to_markdown(build_tables(scores)[0])
    assert re.search(r"\| mult \| .*\d▼ ± 1\.00", to_markdown(inter))
    assert r"$\blacktriangledown$ $\pm$" in to_latex(inter)
    low = pd.read_csv(io.StringIO(to_csv(inter))).query("metric == 'f1'")
    assert (low["low"] < low["mean"]).all() and (low["mean"] < low["high"]).all()


def test_a_table_without_evidence_is_as_it_was(scores):
    table = build_tables(scores)[0]
    assert with_evidence(table, Evidence(), "corrkd") is table


def test_against_a_method_that_was_not_compared_nothing_is_marked(scores, evidence):
    table = with_evidence(build_tables(scores)[0], evidence, "mult")
    assert not any(cell.mark for row in cells(table).values() for cell in row.values())
    assert "worse than" not in table.caption and "low" in table.summary


def test_a_reference_that_is_no_row_is_told(scores, evidence):
    few = scores.query("method != 'corrkd'")
    found = replace(evidence, comparisons=evidence.comparisons.query("purpose != 'reference'"))
    base = build_tables(few)[0]
    for build in (with_evidence, interval_table):
        assert build(base, found, "corrkd").caption.endswith(" No test against corrkd: there are no scores of it.")
        assert "No test" not in build(base, found, None).caption


def test_one_seed_is_not_tested_and_the_caption_says_so():
    models = [model(m, 0, SETTINGS, skill) for m, skill in SKILLS.items()]
    evidence = weigh(models, rows=ROWS, against="corrkd")
    scores = make_scores(list(SKILLS), seeds=1)
    base = build_tables(scores)[0]
    table = with_evidence(base, evidence, "corrkd")
    for caption in (table.caption, interval_table(base, evidence, "corrkd").caption):
        assert caption.endswith(" No test against corrkd (◆): that takes three seeds of each method.")
    assert not any(cell.mark for row in cells(table).values() for cell in row.values())


def test_intervals_and_the_test_of_the_average(scores, evidence):
    base = build_tables(scores)[0]
    table = interval_table(base, evidence, "corrkd")
    assert table.stem == "mosi_intervals"
    assert table.columns == ["{l,a,v}", "Avg.", "drop", "AUDC", "Avg. less corrkd", "p", "detectable"]
    found = evidence.intervals.query("metric == 'f1'").set_index(["method", "condition"])
    for method, row in cells(table).items():
        for name in ("{l,a,v}", "Avg.", "drop", "AUDC"):
            expected = found.loc[(method, name)]
            assert row[name].value == f"{expected['mean']:z.2f}"
            assert row[name].spread == f"[{expected['low']:z.1f}, {expected['high']:z.1f}]"
            assert row[name].rank == (expected["best"] if 0 in set(found["best"].xs(name, level=1)) else 0)
    drops = {m: float(row["drop"].value) for m, row in cells(table).items()}
    small, large = (pick(drops, key=drops.get) for pick in (min, max))
    bold = found["best"].xs("drop", level=1)
    assert bold[small] >= bold[large], "a small drop is a good one"
    assert cells(table)["mult"]["p"].value == "<0.001" and cells(table)["corrkd"]["p"].value == ""
    assert cells(table)["mult"]["Avg. less corrkd"].value.startswith("-")
    assert cells(table)["mult"]["Avg. less corrkd"].mark == "▼" and float(cells(table)["mult"]["detectable"].value) > 0
    assert interval_table(base, Evidence(), "corrkd") is None


@pytest.fixture(scope="module")
def errors():
    """Evidence on an intensity, of the mean absolute errors 0.1 to 0.4."""
    own = {"mult": 0.4, "mult+mrm": 0.3, "corrkd": 0.1, "corrkd-mrm": 0.2}
    models = [intensity_model(m, seed, error, SETTINGS) for m, error in own.items() for seed in range(3)]
    return weigh(models, rows=ROWS, against="corrkd")


def test_where_less_is_better_the_least_error_and_the_least_rise_are_best(errors):
    scores = scores_of(errors)
    base = build_tables(scores)[0]
    table = interval_table(base, errors, "corrkd")
    assert table.stem == "t_intervals" and list(table.metrics) == ["mae"]
    rows = cells(table)
    ranks = {m: [row[column].rank for column in ("{l,a,v}", "Avg.", "drop", "AUDC")] for m, row in rows.items()}
    assert ranks == {"corrkd": [1] * 4, "corrkd-mrm": [0] * 4, "mult+mrm": [0] * 4, "mult": [0] * 4}
    assert rows["corrkd"]["{l,a,v}"].value == "0.100" and rows["mult"]["drop"].value == "-0.600"
    assert re.fullmatch(r"\[0\.\d\d, 0\.\d\d\]", rows["corrkd"]["Avg."].spread)
    assert rows["mult"]["Avg. less corrkd"].value == "+0.750" and rows["mult"]["p"].value == "<0.001"
    assert table.caption.startswith("MAE: mean absolute error of the intensity, less is better; mean [95 % interval ")
    marked = cells(with_evidence(base, errors, "corrkd"))
    assert marked["mult"]["Avg."].mark == "▼" and marked["corrkd"]["Avg."].mark == ""
    gains = augmentation_table(base, errors)
    assert cells(gains)["mult"]["Avg. augmentation"].value == "-0.250" and "less is better" in gains.caption
    overall = overall_table(scores, None)
    assert [cell.value for cell in dict(overall.blocks[0].rows)["corrkd"]] == ["1.00", "100.0"]
    assert "primary metric over seeds (MAE)" in overall.caption and set(overall.summary["metric"]) == {"mae"}


def test_intervals_of_metrics_that_are_asked_for(errors):
    table = interval_table(build_tables(scores_of(errors))[0], errors, "corrkd", ["corr", "acc2"])
    assert [block.title for block in table.blocks] == ["Corr", "Acc-2"] and set(table.summary["metric"]) == {
        "corr",
        "acc2",
    }
    corr = cells(table)
    assert {row["AUDC"].value for row in corr.values()} == {""}, "where nothing is there, all answers are alike"
    assert corr["corrkd"]["Avg."].rank == 1 and corr["corrkd"]["drop"].rank == 1
    assert "There is no Corr where a method answers alike for all samples." in table.caption
    assert re.fullmatch(r"\d\d\.\d\d", cells(table, 1)["mult"]["Avg."].value)


def test_ranks_are_over_tasks_whichever_way_is_better():
    best = {"mosi": {"a": 80.0, "b": 70.0}, "mosi_intensity": {"a": 0.8, "b": 0.9}}
    frames = [make_scores(["a", "b"], task=task, seeds=1) for task in best]
    scores = pd.concat([f.assign(value=f["method"].map(best[f["task"].iloc[0]])) for f in frames])
    table = overall_table(scores, None)
    assert {m: [cell.value for cell in row] for m, row in table.blocks[0].rows} == {
        "a": ["1.00", "100.0"],
        "b": ["2.00", "0.0"],
    }
    assert "(F1, MAE)" in table.caption


def test_a_method_without_an_interval_has_an_empty_place(scores, evidence):
    """As where it was not tested in what the others were."""
    base = build_tables(scores)[0]
    lacks = evidence.intervals.eval("method == 'mult' and condition == 'AUDC'")
    found = cells(interval_table(base, replace(evidence, intervals=evidence.intervals[~lacks]), "corrkd"))
    assert (found["mult"]["AUDC"].value, found["mult"]["AUDC"].rank) == ("", 0) and found["mult"]["Avg."].value
    assert {row["AUDC"].rank for row in found.values()} == {0, 1}


def test_where_no_f1_can_be_computed_no_number_is_printed(scores, evidence, recwarn):
    """As where every label is 0."""
    gone = dict.fromkeys(["mean", "std", "low", "high", "best"], np.nan)
    without = Evidence(
        evidence.intervals.assign(**gone),
        evidence.comparisons.assign(
            **dict.fromkeys(["difference", "low", "high", "p", "p_holm", "detectable"], np.nan)
        ),
    )
    base = build_tables(scores.assign(value=np.nan))[0]
    card = {"published": [{"task": "mosi", "condition": "l", "metric": "f1", "value": 1, "status": "", "source": ""}]}
    real = make_scores(["corrkd"], source="file").assign(value=np.nan)
    for table in (
        with_evidence(base, without, "corrkd"),
        interval_table(base, without, "corrkd"),
        augmentation_table(base, without),
        published_table(real, build_tables(real)[0], {"corrkd": card}),
    ):
        assert {cell.value for _, row in table.blocks[0].rows for cell in row} == {""}, table.stem
        assert "nan" not in to_markdown(table)
    assert condition_heatmap(without.intervals) is None and crossed_heatmap(without.intervals) is None
    assert not recwarn


def test_augmentation_shows_both_ways_and_their_difference(scores, evidence):
    table = augmentation_table(build_tables(scores)[0], evidence)
    row = cells(table)["mult"]
    means = evidence.intervals.query("metric == 'f1' and condition == 'Avg.'").set_index("method")["mean"]
    assert (
        row["Avg. whole"].value == f"{means['mult']:.2f}" and row["Avg. incomplete"].value == f"{means['mult+mrm']:.2f}"
    )
    assert row["Avg. augmentation"].value == f"{means['mult+mrm'] - means['mult']:+.2f}"
    assert row["Avg. augmentation"].mark == "*"
    assert cells(table)["corrkd"]["Avg. whole"].value == f"{means['corrkd-mrm']:.2f}"
    assert cells(table)["corrkd"]["Avg. idea"].value == f"{(means['corrkd'] - means['mult+mrm']) / 2:+.2f}"
    assert "mean of 2 methods trained on incomplete samples" in table.caption
    plain = Evidence(evidence.intervals, evidence.comparisons.query("purpose == 'reference'"))
    assert augmentation_table(build_tables(scores)[0], plain) is None


def test_without_complete_and_average_there_is_no_table_of_augmentation():
    settings = ((Setting("lav", 0.5), 0),)
    models = [model(m, seed, settings, skill) for m, skill in SKILLS.items() for seed in range(2)]
    evidence = weigh(models, rows=ROWS, against="corrkd")
    base = build_tables(make_scores(list(SKILLS), settings=[("lav", 0.5)]))[0]
    assert augmentation_table(base, evidence) is None and interval_table(base, evidence, "corrkd") is None


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (3, "95 % interval over seeds and 40 videos]"),
        (2, "95 % interval over 40 videos alone, for there are fewer than three seeds]"),
        (1, "95 % interval over 40 videos alone, for there are fewer than three seeds]"),
    ],
)
def test_captions_say_what_an_interval_is_over(seeds, words):
    models = [model(m, seed, SETTINGS, skill) for m, skill in SKILLS.items() for seed in range(seeds)]
    evidence = weigh(models, rows=ROWS, against=None)
    base = build_tables(make_scores(list(SKILLS), seeds=seeds))[0]
    assert words in interval_table(base, evidence, None).caption
    assert words in augmentation_table(base, evidence).caption


def test_ranks_and_wins_by_hand():
    scores = make_scores(["a", "b", "constant"], seeds=2)
    order = {"a": 50.0, "b": 60.0, "constant": 50.0}
    scores["value"] = scores["method"].map(order)
    scores.loc[(scores["available"] == "l") & (scores["method"] == "a"), "value"] = 70.0
    table = overall_table(scores, None)
    blocks = 15  # six subsets, and p = 0.1 to 0.9
    assert cells(table)["b"]["rank"].value == f"{(14 * 1 + 2) / blocks:.2f}"
    assert cells(table)["a"]["rank"].value == f"{(14 * 2.5 + 1) / blocks:.2f}"
    assert cells(table)["a"]["wins"].value == f"{100 * (14 * 0.5 + 2) / (2 * blocks):.1f}"
    assert cells(table)["b"]["rank"].rank == 1 and table.lead == "mosi: simulated data."
    csv = pd.read_csv(io.StringIO(to_csv(table))).set_index("method")
    assert csv["wins"]["a"] == pytest.approx(100 * (14 * 0.5 + 2) / (2 * blocks)) and csv["source"]["a"] == "simulated"
    assert overall_table(make_scores(["a"]), None) is None


def test_ranks_name_only_the_data_that_count():
    one = [("l", 0.0), ("lav", 0.0)]
    scores = pd.concat(
        [make_scores(["a", "b"], source="file", settings=one), make_scores(["a", "b", "c"], settings=one)]
    )
    table = overall_table(scores, None)
    assert (table.lead, table.task, table.source) == ("mosi: simulated data.", "mosi", "simulated")
    assert "Over 1 pair of task and condition" in table.caption
    assert "only those in which every method stands count" in table.caption


def test_published_numbers_stand_beside_ours_on_real_data_only():
    card = {
        "published": [
            {"task": "mosi", "condition": c, "metric": "weighted_f1", "value": v, "status": "reported", "source": "Paper, Table 1"}
            for c, v in (("l", 81.2), ("avg", 74.69), ("lav", 83.94))
        ]
    }  # fmt: skip
    card["published"].append(card["published"][1] | {"row": "w/o SCD", "value": 72.46})
    real = make_scores(["corrkd", "mine"], source="file")
    table = published_table(real, build_tables(real)[0], {"corrkd": card, "mine": {}})
    assert table.methods == ["corrkd"] and "Paper, Table 1" in table.caption
    ours = real.query("method == 'corrkd' and metric == 'f1' and available == 'l'")["value"].mean()
    cell = cells(table)["corrkd"]["{l}"]
    assert cell.value == f"{ours:.2f}" and cell.spread == f"(81.20, {ours - 81.2:+.2f})"
    six = real.query("method == 'corrkd' and metric == 'f1' and available != 'lav'").groupby("seed")["value"].mean()
    assert cells(table)["corrkd"]["Avg."].value == f"{np.mean(six):.2f}"
    assert cells(table)["corrkd"]["{a}"].value == ""
    ablation = make_scores(["corrkd", "w/o SCD"], source="file")
    both = published_table(ablation, build_tables(ablation)[0], {"corrkd": card})
    assert both.methods == ["corrkd", "w/o SCD"] and cells(both)["w/o SCD"]["Avg."].spread.startswith("(72.46, ")
    simulated = make_scores(["corrkd"])
    assert published_table(simulated, build_tables(simulated)[0], {"corrkd": card}) is None
    assert published_table(real, build_tables(real)[0], {}) is None


def test_published_numbers_have_the_decimals_of_their_metric():
    card = {
        "published": [
            {"task": "mosi_intensity", "condition": "lav", "metric": "mae", "value": 0.87, "status": "", "source": ""}
        ]
    }
    scores = make_scores(["mult"], task="mosi_intensity", source="file").assign(value=0.8812)
    table = published_table(scores, build_tables(scores)[0], {"mult": card})
    cell = cells(table)["mult"]["{l,a,v}"]
    assert (cell.value, cell.spread) == ("0.881", "(0.870, +0.011)")
    assert table.caption.startswith("MAE: mean absolute error of the intensity, less is better: ours (published, ")
    assert published_table(scores[scores["metric"] != "mae"], build_tables(scores)[0], {"mult": card}) is None


def test_what_methods_are_and_cost_comes_from_cards_and_cells():
    scores = make_scores(["mult", "mine"], seeds=2)
    base = build_tables(scores)[0]
    cell = {"task": base.task, "source": base.source, "parameters": 12345}
    costs = [
        cell | {"method": "mult", "epochs": 10, "training_seconds": 30.0},
        cell | {"method": "mult", "epochs": 30, "training_seconds": 70.0},
        cell | {"method": "mine", "epochs": 0, "training_seconds": 0.0},
        cell | {"method": "mult", "epochs": 1, "training_seconds": 9e9, "task": "another"},
        cell | {"method": "mult", "epochs": 1, "training_seconds": 9e9, "source": "file"},
    ]
    table = methods_table(scores, base, costs, {"mult": {"year": 2019, "idea": "Directed attention"}, "mine": {}})
    (name, cells), (other, bare) = sorted(table.blocks[0].rows, reverse=True)
    average = average_inter(scores[(scores["method"] == "mult") & (scores["metric"] == "f1")])["value"].mean()
    expected = ["2019", "Directed attention", "12,345", "2.50", f"{average:.2f}"]
    assert name == "mult" and [cell.value for cell in cells] == expected
    assert other == "mine" and [cell.value for cell in bare[:4]] == ["–", "–", "12,345", "–"], "without a card"
    assert table.stem == "mosi_methods" and "| mult | 2019 | Directed attention |" in to_markdown(table)
    assert "| --- | ---: | --- | ---: |" in to_markdown(table) and r"\begin{tabular}{lrlrrr}" in to_latex(table), (
        "words left"
    )
    assert ",2019," in to_csv(table), "a year is a whole number, also beside a method that has none"
    assert methods_table(scores, base, [], {"mult": {"year": 2019}}) is None


def test_what_failed_is_shown_as_failed_and_never_averaged():
    table = build_tables(make_scores(["mult"], seeds=2))[0]
    failures = [
        {"task": "mosi", "method": "mult", "seed": "2", "error": "x"},
        {"task": "mosi", "method": "misa", "seed": "0", "error": "x"},
        {"task": "mosi", "method": "misa", "seed": "1", "error": "x"},
        {"task": "mosei", "method": "dmd", "seed": "1", "error": "x"},
    ]
    shown = with_failures(table, failures)
    assert shown.caption.endswith("Failed, and not averaged: mult (seed 2), misa (seeds 0, 1).")
    rows = dict(shown.blocks[0].rows)
    assert {cell.value for cell in rows["misa"]} == {"failed"} and rows["mult"] == dict(table.blocks[0].rows)["mult"]
    assert "dmd" not in rows and "| misa | failed |" in to_markdown(shown)
    assert with_failures(table, failures[3:]) is table
