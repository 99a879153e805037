"""What a report opens with, word by word, of planted scores, intervals and tests."""

import pandas as pd
import pytest

from benchmark.evidence.scores import COLUMNS
from benchmark.evidence.stored import Evidence
from benchmark.evidence.tuning import Tuning
from benchmark.report.opening import banners, findings
from tests.report.test_tables import make_scores

NAN = float("nan")
AVERAGE = "on average over the conditions that lack whole modalities (Avg.)"
TESTED = "Tests are paired and corrected by Holm; brackets hold 95 % intervals."


def compared(method, difference, p, *, task="mosi", source="simulated", half=2.0, detectable=6.0, **others):
    """A test of a method against corrkd, its interval `half` to each side."""
    row = {
        "purpose": "reference", "task": task, "source": source, "metric": "f1", "method": method, "condition": "Avg.",
        "against": "corrkd", "difference": difference, "low": difference - half, "high": difference + half, "p": p,
        "p_holm": p, "family": 3, "detectable": detectable,
    }  # fmt: skip
    return row | others


def interval(method, mean, *, task="mosi", source="simulated", condition="Avg.", half=3.0, best=NAN, **others):
    row = {
        "task": task, "source": source, "metric": "f1", "method": method, "condition": condition, "kind": "derived",
        "available": "", "ratio": NAN, "mean": mean, "std": 1.0, "seeds": 3, "low": mean - half, "high": mean + half,
        "n": 400, "groups": 29, "unit": "video", "best": best, "collapsed": NAN,
    }  # fmt: skip
    return row | others


def collapse(method, condition, count, *, ratio=0.0, available="a", kind="inter", **others):
    return interval(method, 50.0, condition=condition, kind=kind, available=available, ratio=ratio, collapsed=count, **others)  # fmt: skip


def evidence_of(tests=(), intervals=(), pairs=()):
    known = [interval(row["method"], 60.0, task=row["task"], source=row["source"]) for row in tests]
    return Evidence(pd.DataFrame([*intervals, *known]), pd.DataFrame(list(tests)), pd.DataFrame(list(pairs)))


def told(scores, evidence, **options):
    """The sentences by what they are about."""
    found = findings(scores, evidence, **{"against": "corrkd", "methods": set(scores["method"]), **options})
    assert len({said.kind for said in found}) == len(found) <= 6
    return {said.kind: said.text for said in found}


def several(*tasks, methods=("corrkd", "mult", "misa")):
    return pd.concat([make_scores(methods, task=task, source=source) for task, source in tasks])


ONE = make_scores(["corrkd", "mult", "misa", "constant", "random"])


def test_what_was_run():
    found = told(ONE, evidence_of([compared("mult", -5.0, 0.01)]))["run"]
    assert found == (
        "3 methods and 2 floors (constant, random) were trained with 3 seeds each on mosi (simulated, 686 test samples of "
        "29 videos) and tested on samples with everything there and in 16 other conditions."
    )
    rows = told(ONE, evidence_of(), methods=["corrkd", "mult"])["run"]  # misa is a variant
    assert rows.startswith("3 rows and 2 floors (constant, random) were trained")
    uneven = ONE[(ONE["method"] != "misa") | (ONE["seed"] == 0)]
    assert "trained with 1–3 seeds each on mosi (simulated, 686 test samples) and" in told(uneven, evidence_of())["run"]
    alone = evidence_of(intervals=[interval("mult", 50.0, unit="sample", groups=686)])
    assert "on mosi (simulated, 686 test samples) and" in told(ONE, alone)["run"]
    lone = make_scores(["mult"], seeds=1, settings=[("lav", 0.0), ("a", 0.0)], source="file")
    assert told(lone, evidence_of())["run"] == (
        "1 method was trained with 1 seed on mosi (from file, 686 test samples) and tested on samples with "
        "everything there and in 1 other condition."
    )
    whole = told(make_scores(["constant"], settings=[("lav", 0.0)]), evidence_of())["run"]
    assert whole.startswith("1 floor (constant) was") and whole.endswith("tested on samples with everything there.")
    gone = told(make_scores(["mult"], settings=[("a", 0.0), ("v", 0.0)]), evidence_of())["run"]
    assert gone.endswith("and tested in 2 conditions.")


def test_what_was_run_on_several_tasks_and_one_of_them_from_both_sources():
    scores = several(("mosi", "simulated"), ("mosi", "file"), ("iemocap", "file"))
    tests = [compared("mult", 3.0, 0.01, task="mosi", source=source) for source in ("simulated", "file")]
    found = told(scores, evidence_of(tests))
    assert found["run"] == (
        "3 methods were trained with 3 seeds each on 3 tasks: mosi (simulated, 686 test samples of 29 videos), mosi (from "
        "file, 686 test samples of 29 videos) and iemocap (from file, 686 test samples); they were tested on samples with "
        "everything there and in 16 other conditions."
    )
    assert (
        "(mult on mosi (simulated) by 3.0 points [1.0, 5.0] and mult on mosi (from file) by 3.0" in found["differences"]
    )


def test_what_is_better_and_worse_by_how_much_and_what_nothing_tells():
    scores = make_scores(["corrkd", *"abcdefgh", "constant"])
    tests = [
        compared("a", 3.25, 0.01), compared("b", 0.5, 0.8), compared("c", -2.0, 0.01), compared("d", -7.04, 0.001),
        compared("e", -4.0, 0.04), compared("f", -3.0, 0.049), compared("g", 1.0, 0.05, detectable=8.31),
        compared("h", 0.1, 0.9, half=0.3, detectable=0.9), compared("constant", -30.0, 0.0),
    ]  # fmt: skip
    found = told(scores, evidence_of(tests))
    assert found["differences"] == (
        f"By F1 {AVERAGE}, of 8 other methods 1 is better than corrkd (a by 3.2 points [1.2, 5.2]) and 4 are worse (d by "
        "7.0 points [5.0, 9.0], e by 4.0 points [2.0, 6.0], f by 3.0 points [1.0, 5.0] and 1 more). Guessing is worse than "
        f"corrkd: constant by 30.0 points [28.0, 32.0]. {TESTED}"
    )
    assert found["likeness"] == (
        "No test tells b, g and h from corrkd; the whole interval of h lies within ±1 point. What no test tells apart need "
        "not be alike: a difference below 6.0 to 8.3 points would be missed in more than one of five tries."
    )
    assert "±0.2" not in told(scores, evidence_of(tests), margin=0.2)["likeness"]
    rows = told(scores, evidence_of(tests), methods=[])
    assert "of 8 other rows 1 is better" in rows["differences"]


def test_where_nothing_is_told_apart():
    found = told(ONE, evidence_of([compared("mult", 1.5, 0.3), compared("misa", -1.5, 0.3)]))
    assert (
        found["differences"] == f"By F1 {AVERAGE}, no test finds another method better or worse than corrkd. {TESTED}"
    )
    assert found["likeness"] == (
        "What no test tells apart need not be alike: a difference below 6.0 points would be missed in more than one of "
        "five tries."
    )
    old = [compared("mult", 1.5, 0.3, detectable=NAN), compared("misa", 5.0, 0.01)]  # a file that does not say it
    assert told(ONE, evidence_of(old))["likeness"] == "No test tells mult from corrkd."
    all_told = told(ONE, evidence_of([compared("mult", 5.0, 0.01), compared("misa", 4.0, 0.01)]))
    assert "likeness" not in all_told and "of 2 other methods 2 are better than corrkd (mult" in all_told["differences"]
    assert "and none is worse." in all_told["differences"]


def test_a_reference_that_guessing_may_equal():
    tests = [compared("mult", 1.5, 0.3), compared("constant", -20.0, 0.001), compared("random", -2.0, 0.2)]
    assert "No test finds corrkd better than guessing by random." in told(ONE, evidence_of(tests))["differences"]
    only_floors = told(ONE, evidence_of(tests[1:2]))["differences"]
    assert only_floors.startswith(
        f"By F1 {AVERAGE}. Guessing is worse than corrkd: constant by 20.0 points [18.0, 22.0]."
    )


def test_several_tasks_are_counted_together():
    tasks = ("mosi", "iemocap")
    scores = several(*((task, "simulated") for task in tasks), methods=("corrkd", "mult", "misa", "constant"))
    tests = [
        compared("mult", 3.0, 0.01), compared("misa", 0.5, 0.8, half=0.2), compared("constant", -9.0, 0.01),
        compared("mult", -8.0, 0.01, task="iemocap"), compared("misa", 2.0, 0.8, task="iemocap"),
        compared("constant", -0.5, 0.9, task="iemocap"),
    ]  # fmt: skip
    found = told(scores, evidence_of(tests))
    assert found["differences"] == (
        f"By F1 {AVERAGE}, a method is better than corrkd in 1 of 4 comparisons on 2 tasks (mult on mosi by 3.0 points "
        "[1.0, 5.0]), and worse in 1 (mult on iemocap by 8.0 points [6.0, 10.0]). No test finds corrkd better than guessing "
        f"by constant on iemocap. {TESTED}"
    )
    assert found["likeness"].startswith(
        "In 2 of 4 comparisons no test tells the method from corrkd; in 1 of these the whole interval lies within ±1 point."
    )
    beaten = [row | {"p_holm": 0.01, "difference": -9.0} for row in tests]
    found = told(scores, evidence_of(beaten))["differences"]
    assert "corrkd in none of 4 comparisons on 2 tasks, and worse in 4 (mult on mosi by" in found
    assert "Guessing is worse than corrkd on every task." in found


def test_tasks_without_a_test_are_not_counted_among_those_with_one():
    scores = several(("mosi", "simulated"), ("iemocap", "simulated"), methods=("corrkd", "mult", "misa", "constant"))
    found = told(scores, evidence_of([compared("mult", 3.0, 0.01), compared("constant", -9.0, 0.01)]))["differences"]
    assert "in 1 of 1 comparison on 1 task (mult on mosi by" in found and "There is no test on iemocap." in found
    assert "Guessing is worse than corrkd on these." in found


def test_the_best_is_not_said_to_be_told_from_what_was_not_tested():
    rows = [interval("mult", 70.0, best=1), interval("misa", 60.0, best=0), interval("corrkd", 50.0)]
    found = told(ONE, evidence_of(intervals=rows), against=None)["differences"]
    assert "(a test tells it from all others that were tested)" in found


def test_of_an_error_less_is_better_and_it_has_no_points():
    mae = {"metric": "mae", "half": 0.05, "task": "mosi_intensity", "detectable": 0.123}
    scores = make_scores(["corrkd", "mult", "misa", "dmd"], task="mosi_intensity")
    tests = [compared("mult", 0.2, 0.01, **mae), compared("misa", -0.1, 0.01, **mae), compared("dmd", 0.1, 0.9, **mae)]
    found = told(scores, evidence_of(tests))
    assert found["differences"] == (
        f"By MAE {AVERAGE}, of 3 other methods 1 is better than corrkd (misa by 0.10 [0.05, 0.15]) and 1 is worse (mult by "
        f"0.20 [0.15, 0.25]). {TESTED}"
    )
    assert found["likeness"].endswith("a difference below 0.12 would be missed in more than one of five tries.")


def test_tasks_with_other_metrics_are_ordered_by_points_of_which_an_errors_are_hundredths():
    mae = {"metric": "mae", "half": 0.05, "task": "mosi_intensity"}
    scores = several(("mosi", "simulated"), ("mosi_intensity", "simulated"))
    tests = [compared("mult", -5.0, 0.01), compared("mult", 0.2, 0.01, **mae), compared("misa", -5.0, 0.9)]
    assert told(scores, evidence_of(tests))["likeness"] == "In 1 of 3 comparisons no test tells the method from corrkd."
    found = told(scores, evidence_of(tests))["differences"]
    assert found.startswith(f"By the primary metric {AVERAGE}, ") and (
        "worse in 2 (mult on mosi_intensity by 0.20 [0.15, 0.25] and mult on mosi by 5.0 points [3.0, 7.0])." in found
    )


def test_without_an_average_the_area_counts_and_else_what_is_complete():
    other = [compared("mult", 9.0, 0.01, metric="accuracy", condition="Avg.")]  # the first metric is the primary one
    everywhere = [compared("mult", d, 0.01, condition=c) for c, d in (("{l,a,v}", 1.0), ("AUDC", 2.5), ("Avg.", 4.0))]
    said = ["with everything there", "on average over the ratios of missing frames (AUDC)", AVERAGE]
    for count, (words, points) in enumerate(zip(said, ("1.0", "2.5", "4.0"), strict=True), start=1):
        found = told(ONE, evidence_of(everywhere[:count] + other))["differences"]
        assert found.startswith(f"By F1 {words}, of 1 other method 1 is better than corrkd (mult by {points} points")


BEST = [interval("mult", 61.0, best=1), interval("corrkd", 60.0, best=1), interval("misa", 50.0, best=0)]


@pytest.mark.parametrize(
    ("against", "before"),
    [(None, ""), ("corrkd", ""), ("hrlf", "There is no test against hrlf: there are no scores of it. ")],
)
def test_without_a_reference_the_best_is_named(against, before):
    found = told(ONE, evidence_of(intervals=BEST), against=against)["differences"]
    assert found == (
        f"{before}Best by F1 {AVERAGE}: mult with 61.0 points [58.0, 64.0] (no test tells corrkd from it). Brackets hold "
        "95 % intervals."
    )


@pytest.mark.parametrize("shown", [BEST[:1], [interval("misa", 50.0, best=0), interval("tfr_net", 40.0, best=0)]])
def test_nothing_is_said_of_tests_with_rows_that_are_not_shown(shown):
    rows = [row["method"] for row in shown]
    found = told(make_scores(rows), evidence_of(intervals=shown), against=None)
    assert "test tells" not in found["differences"] and found["differences"].startswith("Best by F1")
    one = found["run"].startswith("1 method was trained with 3 seeds on mosi")
    assert one if len(rows) == 1 else " were trained with 3 seeds each on " in found["run"]


def test_the_best_of_each_task_and_where_nothing_is_tested_or_defined():
    scores = several(("mosi", "simulated"), ("mosi_intensity", "simulated"))
    mae = {"metric": "mae", "task": "mosi_intensity", "half": 0.1}
    own = [*BEST[::2], interval("mult", 1.5, **mae), interval("misa", 1.25, **mae)]
    found = told(scores, evidence_of(intervals=own), against=None)["differences"]
    assert found == (
        f"Best by the primary metric {AVERAGE}: mult on mosi with 61.0 points [58.0, 64.0] (a test tells it from all "
        "others); misa on mosi_intensity with 1.25 [1.15, 1.35]. Brackets hold 95 % intervals."
    )
    undefined = evidence_of(intervals=[interval("mult", NAN), interval("corrkd", NAN)])
    assert told(ONE, undefined, against=None)["differences"].startswith("No score is defined")


def test_too_few_seeds_for_a_test():
    tests = [compared("mult", 3.0, NAN), compared("misa", -3.0, NAN)]
    found = told(ONE, Evidence(pd.DataFrame(BEST).assign(best=NAN), pd.DataFrame(tests)))
    assert found["differences"] == (
        f"There is no test against corrkd: that takes three seeds of each method. Best by F1 {AVERAGE}: mult with 61.0 points "
        "[58.0, 64.0]. Brackets hold 95 % intervals."
    )
    assert "likeness" not in found
    assert told(ONE, Evidence())["differences"] == "There are no intervals and no tests with these scores."


def test_what_collapses_while_something_is_there():
    gone = collapse("mult", "p=1.0", 3, ratio=1.0, available="lav", kind="intra")  # nobody can tell samples apart there
    floor = collapse("constant", "{a}", 3)
    fine = [collapse("mult", "{a}", 0), collapse("mult", "{v}", 0, available="v")]
    other = collapse("mult", "{a}", 3, metric="accuracy")  # each metric says it again
    said = told(ONE, evidence_of(intervals=[gone, floor, *fine, other]))["collapse"]
    assert said == "While anything is there, no model collapses to the constant predictor."
    down = [collapse("misa", "{a}", 1), collapse("misa", "{v}", 2, available="v")]
    every = [collapse("corrkd", "{a}", 3), collapse("corrkd", "{v}", 3, available="v")]
    said = told(ONE, evidence_of(intervals=[gone, floor, *fine, *down, *every]))["collapse"]
    assert said == (
        "Collapsed to the constant predictor, though something is there to tell samples apart: corrkd in 2 of 2 conditions "
        "(with every seed) and misa in 2 of 2 conditions (with 1–2 of 3 seeds)."
    )
    assert "collapse" not in told(ONE, evidence_of(intervals=BEST)), "files of earlier versions do not say it"


def tuning(method, *valid):
    return Tuning("mosi", "simulated", method, f"{method} tuned", "f1", valid, valid, ({},) * len(valid))


def test_tuned_rows_are_held_against_the_reference_tuned():
    names = ["corrkd", "mult", "misa"]
    scores = make_scores([*names, *(f"{name} tuned" for name in names), "constant"])
    tunings = [tuning("corrkd", 60.0, 61.0, 59.0), tuning("mult", 50.0, 52.0, 64.0), tuning("misa", 50.0, 51.0)]
    tests = [
        compared("mult", -5.0, 0.01), compared("misa", 0.5, 0.8),
        compared("mult tuned", 9.0, 0.01, purpose="tuned", against="corrkd tuned"),
        compared("constant", -20.0, 0.01),
    ]  # fmt: skip
    pairs = [
        compared("mult", -5.0, 0.01), compared("misa", -1.0, 0.5),
        compared("mult tuned", 2.0, 0.01, against="corrkd tuned"),
        compared("misa tuned", -2.0, 0.01, against="corrkd tuned"),
    ]  # fmt: skip
    found = told(scores, evidence_of(tests, pairs=pairs), tunings=tunings, methods=[*names, "constant"])
    assert found["run"].startswith(
        "3 methods and 1 floor (constant) were trained, with the defaults and tuned, with 3 seeds each on mosi"
    )
    fewer = scores[scores["method"] != "misa tuned"]
    run = told(fewer, evidence_of(tests, pairs=pairs), tunings=tunings[:2], methods=[*names, "constant"])["run"]
    assert "were trained with the defaults, 2 of them also tuned, with 3 seeds each" in run
    assert "of 2 other methods none is better than corrkd and 1 is worse (mult by 5.0" in found["differences"]
    assert found["tuned"] == (
        "Each tuned row is the configuration with the best validation score, of the default and 1–2 random ones. With "
        "both tuned, 1 of 2 "
        "comparisons with corrkd changes sign."
    )
    unturned = [row | {"difference": -1.0} for row in pairs]
    found = told(scores, evidence_of(tests, pairs=unturned), tunings=tunings)
    assert found["tuned"].endswith("With both tuned, none of 2 comparisons with corrkd changes sign.")
    assert told(scores, evidence_of(tests), tunings=tunings)["tuned"].endswith("random ones.")
    assert "tuned" not in told(ONE, evidence_of(tests[:2]), tunings=tunings)


def test_what_tuning_gave_is_told_by_tests_corrected_for_their_number():
    names = ["corrkd", "mult", "misa"]
    scores = make_scores([*names, *(f"{name} tuned" for name in names)])
    tunings = [tuning(name, 60.0, 61.0) for name in names]

    def given(*gains):
        pairs = [compared(f"{name} tuned", gain, p, against=name) for name, (gain, p) in zip(names, gains, strict=True)]
        return told(scores, evidence_of([], BEST, pairs=pairs), tunings=tunings)["tuned"].split("random ones. ")[1]

    assert given((3.0, 0.01), (-4.0, 0.02), (1.0, 0.9)) == (
        "On test, as far as tests tell (Holm), tuning made 1 of 3 rows better (corrkd by 3.0 points [1.0, 5.0]) and 1 worse "
        "(mult by 4.0 points [2.0, 6.0])."
    )
    assert "made none of 3 rows better and 1 worse (misa by 3.0" in given((1.0, 0.9), (1.0, 0.9), (-3.0, 0.001))
    none = given((3.0, 0.03), (-3.0, 0.03), (3.0, 0.03))
    assert none == "On test, no test tells any of 3 tuned rows from its default (Holm)."
    assert "any of 1 tuned row from" in given((0.0, NAN), (3.0, 0.2), (0.0, NAN)), "too few seeds for a test"
    tunings[1:] = [tuning(name, 60.0, 59.0) for name in names[1:]]
    kept = given((3.0, 0.2), (0.0, 1.0), (0.0, 1.0))
    assert kept == "On test, no test tells any of 1 tuned row from its default (Holm); for 2 the default was chosen."
    assert given((NAN, NAN), (0.0, 1.0), (0.0, 1.0)) == "The default was chosen for 2 of 3 rows.", (
        "too few seeds for a test"
    )
    tunings[0] = tuning(names[0], 60.0, 59.0)
    assert given(*3 * [(0.0, 1.0)]) == "The default was chosen for 3 of 3 rows."


def said(scores, cells=None, failures=()):
    return {banner.kind: f"{banner.lead} {banner.text}" for banner in banners(scores, cells or {}, failures)}


def test_which_data_are_simulated():
    assert said(ONE) == {
        "simulated": "Simulated data. The scores of mosi come from a simulated stand-in for the data set; they tell nothing "
        "about the scores on the real one."
    }
    assert said(several(("mosi", "simulated"), ("iemocap", "simulated")))["simulated"] == (
        "Simulated data. The scores of mosi and iemocap come from simulated stand-ins; they tell nothing about the scores "
        "on the real data sets."
    )
    assert said(make_scores(source="file")) == {"files": "Data from files. All scores come from data files."}
    both = several(("mosi", "simulated"), ("mosei", "file"), ("iemocap", "file"))
    assert said(both)["simulated"].endswith("real one. Those of mosei and iemocap come from data files.")


def test_what_is_missing_is_said_first():
    failures = [{"method": m, "task": "mosi", "seed": "0", "error": "Oops"} for m in ("a", "b", "c", "d", "e")]
    found = said(ONE, {"done": 8, "failed": 5, "not computed": 11}, failures)
    assert list(found) == ["simulated", "unfinished", "failed"]
    assert found["unfinished"].startswith(
        "8 of 24 cells done; 5 failed, 11 not computed. What is not computed is missing"
    )
    assert found["failed"] == (
        "5 cells failed: a on mosi (seed 0), b on mosi (seed 0), c on mosi (seed 0) and 2 more. What failed is missing from "
        "the tables."
    )
    assert said(ONE, {"done": 8, "failed": 1}, failures[:1])["failed"].startswith(
        "1 cell failed: a on mosi (seed 0). What"
    )
    assert list(said(ONE, {"done": 8, "failed": 0})) == ["simulated"]


def test_nothing_finished():
    empty = pd.DataFrame(columns=COLUMNS)
    assert findings(empty, Evidence(), against="corrkd") == []
    found = said(empty, {"done": 0, "failed": 0, "not computed": 3})
    assert list(found) == ["unfinished", "nothing"] and found["nothing"].startswith(
        "No scores. Nothing has been trained"
    )
