import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import Model, confusions
from benchmark.evidence.comparisons import weigh
from benchmark.evidence.groups import Groups
from benchmark.evidence.resampling import combine, estimate, sample_draws
from benchmark.evidence.stored import AUGMENTATION, IDEA, REFERENCE, TUNED, read_evidence, write_evidence
from benchmark.methods.labels import TUNED as TUNED_BY
from benchmark.methods.labels import Row
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.protocol.scoring import Scorer, scores
from benchmark.protocol.target import Target
from benchmark.running.tuned import tuned_label

SETTINGS = tuple((s, 0) for s in [*map(Setting, SUBSETS), Setting("lav", 0.5), Setting("lav", 1.0)])
ROWS = {
    "mult": Row("mult", "mult", "complete"),
    "mult+mrm": Row("mult+mrm", "mult", "missing"),
    "corrkd": Row("corrkd", "corrkd", "missing"),
    "corrkd-mrm": Row("corrkd-mrm", "corrkd", "complete"),
    "w/o SCD": Row("w/o SCD", "corrkd", "missing", (("scd_weight", 0.0),), 1),
}
TARGET = Target("polarity")
METRICS = ("f1", "f1_nonneg", "accuracy")
GROUPS = Groups(np.arange(80) % 40, "video")
LABELS = np.random.default_rng(9).choice([-1.0, -0.4, 0.0, 1.2], size=80).astype(np.float32)


def model(method, seed, settings=SETTINGS, skill=0.7):
    rng = np.random.default_rng([list(ROWS).index(method), seed])
    truth = (LABELS >= 0).astype(int)
    right = rng.random((len(settings), len(LABELS))) < skill
    predicted = np.where(right, truth, 1 - truth).astype(np.int8)
    return Model(
        "mosi", "simulated", TARGET, METRICS, "lav", method, seed, settings, LABELS, GROUPS, predicted, predicted
    )


def intensity_model(method, seed, error, settings=SETTINGS):
    """One that is wrong by so much where all is there, by more where less is, and answers alike where nothing is."""
    rng = np.random.default_rng([list(ROWS).index(method), seed])
    worse = np.array([(4 - len(s.available)) * (1 + s.ratio) for s, _ in settings])[:, None]  # (S, 1)
    outputs = LABELS + error * worse * rng.choice([-1, 1], (len(settings), len(LABELS)))  # (S, N)
    outputs[[s.ratio == 1.0 or error == 0.0 for s, _ in settings]] = 0.1
    target, predicted = Target("intensity"), np.zeros(outputs.shape, np.int8)
    names = ("mae", "corr", "acc2", "f1")
    return Model(
        "t", "file", target, names, "lav", method, seed, settings, LABELS, GROUPS, predicted, outputs[:, :, None]
    )


def score(model, setting, metric="f1"):
    predicted = model.predicted[model.settings.index((setting, 0))]
    return scores(target=TARGET, y_true=LABELS, y_pred=np.eye(2)[predicted], metrics=[metric])[metric]


@pytest.fixture(scope="module")
def models():
    return [model(method, seed) for method in ROWS for seed in range(3)]


@pytest.fixture(scope="module")
def evidence(models):
    return weigh(models, rows=ROWS, against="corrkd")


def of(frame, **wanted):
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


def test_intervals_hold_the_means_of_stored_predictions(models, evidence):
    for metric in ("f1", "f1_nonneg", "accuracy"):
        for setting in (Setting(), Setting("la"), Setting("lav", 0.5)):
            values = [score(m, setting, metric) for m in models if m.method == "mult"]
            row = of(evidence.intervals, method="mult", metric=metric, condition=setting.condition).iloc[0]
            assert row["mean"] == pytest.approx(np.mean(values), abs=1e-4)
            assert row["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
            n = np.count_nonzero(LABELS) if metric == "f1" else len(LABELS)
            assert (row["n"], row["seeds"], row["kind"]) == (n, 3, setting.kind)
            assert 0 <= row["low"] < row["mean"] < row["high"] <= 100
    six = [np.mean([score(m, Setting(s)) for s in SUBSETS[:-1]]) for m in models if m.method == "mult"]
    average = of(evidence.intervals, method="mult", metric="f1", condition="Avg.").iloc[0]
    assert average["mean"] == pytest.approx(np.mean(six), abs=1e-4) and average["kind"] == "derived"


def test_what_was_not_tested_is_neither_told_from_the_best_nor_like_it(models):
    fewer = [m for m in models if m.method != "mult" or m.seed == 0]  # too few seeds for a test
    found = of(weigh(fewer, rows=ROWS, against=None).intervals, condition="Avg.", metric="f1").set_index("method")
    assert np.isnan(found["best"]["mult"]) and found["best"].drop("mult").notna().all()
    assert found["best"][found["mean"].drop("mult").idxmax()] == 1
    nothing = of(weigh([m for m in models if m.seed == 0], rows=ROWS, against=None).intervals, metric="f1")
    assert nothing["best"].isna().all()


def test_a_default_that_tuning_chose_again_counts_once_among_those_that_may_be_best():
    skills = {"mult": 0.9, "mult+mrm": 0.81, "corrkd": 0.8, "corrkd-mrm": 0.79}
    models = [model(method, seed, skill=skill) for method, skill in skills.items() for seed in range(5)]
    kept = [replace(m, method=tuned_label(m.method)) for m in models]
    best = [
        weigh(own, rows=ROWS, against=None).intervals.set_index(["method", "condition", "metric"])["best"].dropna()
        for own in (models, [*models, *kept])
    ]
    assert set(best[0]) == {0.0, 1.0}
    assert best[1].loc[list(skills)].sort_index().to_dict() == best[0].sort_index().to_dict()
    assert all(value == best[1][tuned_label(method), *where] for (method, *where), value in best[0].items())
    other = [replace(m, predicted=1 - m.predicted, outputs=1 - m.outputs) for m in kept if m.method == "mult tuned"]
    found = of(weigh([*models, *other], rows=ROWS, against=None).intervals, method="mult tuned", condition="Avg.")
    assert set(found["best"]) == {0.0}, "a tuned row with models of its own is held against the best as any other"


def test_rows_that_are_shown_are_held_against_no_other(evidence):
    shown = evidence.of_rows(["mult", "corrkd"])
    assert set(shown.comparisons.query("purpose == 'reference'")["against"]) == {"corrkd"}
    without = evidence.of_rows(["mult", "w/o SCD"])
    assert without.references() == [] and set(without.pairs["against"]) <= {"mult", "w/o SCD"}
    assert set(without.intervals["method"]) == {"mult", "w/o SCD"}


def test_intervals_of_an_intensity_are_of_its_outputs():
    errors = {"mult": 0.3, "corrkd": 0.2, "w/o SCD": 0.0}
    models = [intensity_model(m, seed, error) for m, error in errors.items() for seed in range(3)]
    found = weigh(models, rows=ROWS, against="corrkd")
    own = of(found.intervals, method="mult").set_index(["metric", "condition"])
    complete = own.loc["mae", "{l,a,v}"]
    assert complete["mean"] == pytest.approx(0.3, abs=1e-6) and complete["n"] == len(LABELS)
    assert own.loc[("f1", "{l,a,v}"), "n"] == np.count_nonzero(LABELS)
    average = (3 * 0.9 + 3 * 0.6) / 6
    assert own.loc[("mae", "Avg."), "mean"] == pytest.approx(average, abs=1e-6)
    assert own.loc[("mae", "drop"), "mean"] == pytest.approx(0.3 - average, abs=1e-6)
    corr = own.loc["corr"]["mean"]
    assert 0 < corr["{l}"] < corr["{l,a}"] < corr["{l,a,v}"] < 1 and corr[["Avg.", "drop", "p=0.5"]].notna().all()
    assert corr[["p=1.0", "AUDC"]].isna().all(), "answers that are all alike have no correlation"
    assert of(found.intervals, method="w/o SCD", metric="corr")["mean"].isna().all()
    tests = of(found.comparisons, purpose=REFERENCE, condition="Avg.").set_index(["metric", "method"])
    assert tests["family"].to_dict() == {(name, method): 1 if name == "corr" else 2 for name, method in tests.index}, (
        "what has no score is not corrected for"
    )
    assert tests.loc[("mae", "mult"), "difference"] == pytest.approx(average - 0.5, abs=1e-6)


def test_every_method_is_compared_with_the_reference_and_corrected_for_their_number(models, evidence):
    found = of(evidence.comparisons, purpose=REFERENCE, metric="f1", condition="{l,a,v}").set_index("method")
    assert set(found.index) == set(ROWS) - {"corrkd"} and set(found["family"]) == {4}
    means = {m: np.mean([score(x, Setting()) for x in models if x.method == m]) for m in ROWS}
    assert found["difference"]["mult"] == pytest.approx(means["mult"] - means["corrkd"], abs=1e-4)
    assert found["p_holm"].min() == pytest.approx(min(1.0, 4 * found["p"].min()))
    assert (found["p_holm"] >= found["p"]).all()


def test_each_pair_is_compared_once_and_as_against_the_reference(models, evidence):
    pairs = evidence.pairs
    assert {frozenset(pair) for pair in zip(pairs["method"], pairs["against"], strict=True)} == {
        frozenset(pair) for pair in combinations(ROWS, 2)
    } and len(pairs) == 10
    assert set(pairs["metric"]) == {"f1"} and set(pairs["condition"]) == {"Avg."} and "p_holm" not in pairs
    own = pairs[pairs["against"] == "corrkd"].set_index("method")
    tests = of(evidence.comparisons, purpose=REFERENCE, metric="f1", condition="Avg.").set_index("method")
    for name in ("difference", "low", "high", "p"):
        assert own[name].to_dict() == pytest.approx(tests[name][own.index].to_dict())
    assert {"mult", "w/o SCD"} <= set(own.index), "seed by seed, and as of two methods"
    others = pairs.set_index(["method", "against"])
    by_seed, apart = others.loc[("corrkd-mrm", "w/o SCD")], others.loc[("mult+mrm", "w/o SCD")]
    assert by_seed["p"] != apart["p"]
    curve = tuple((Setting("lav", ratio), 0) for ratio in (0.0, 0.5, 1.0))
    few = [model(method, seed, curve) for method in ("mult", "corrkd") for seed in range(3)]
    assert set(weigh(few, rows=ROWS, against=None).pairs["condition"]) == {"AUDC"}


def test_a_comparison_of_two_methods_counts_how_few_groups_there_are(models):
    """As an interval of one does: by more than the bootstrap alone, and by Student's t of few degrees of freedom."""
    few = [replace(m, groups=Groups(np.arange(80) % 4, "video")) for m in models]
    scorer = Scorer(target=TARGET, labels=LABELS, metrics=["f1"], weights=sample_draws(few[0].groups))
    pooled = []
    for method in ("mult", "corrkd"):
        own = [m for m in few if m.method == method]
        drawn = [scorer.scores(m.outputs)[0, [SETTINGS.index((Setting(), 0))]].T * 100 for m in own]  # (B + 1, 1)
        pooled.append(combine([(m.seed, values) for m, values in zip(own, drawn, strict=True)], few[0].groups))
    expected = estimate((1.0, pooled[0]), (-1.0, pooled[1]))
    found = of(weigh(few, rows=ROWS, against="corrkd").comparisons, purpose=REFERENCE, metric="f1", method="mult")
    row = found.set_index("condition").loc["{l,a,v}"]
    for name in ("low", "high", "p", "detectable"):
        assert row[name] == pytest.approx(getattr(expected, name)[0], rel=1e-4), name


def test_rows_of_one_method_are_compared_seed_by_seed():
    """What a seed does to both cancels out; between two methods it counts twice."""
    truth = (LABELS >= 0).astype(int)
    models = []
    for seed, skill in enumerate((0.5, 0.6, 0.7, 0.8, 0.88)):
        base = model("corrkd", seed, skill=skill)
        better = base.predicted.copy()
        for row in better:  # four mistakes put right in each setting
            wrong = np.flatnonzero((row != truth) & (LABELS != 0))[:4]
            row[wrong] = truth[wrong]
        models += [
            base,
            replace(base, method="w/o SCD", outputs=better),
            replace(base, method="mult", outputs=better),
        ]
    found = of(weigh(models, rows=ROWS, against="corrkd").comparisons, metric="f1", condition="Avg.").set_index(
        "method"
    )
    assert found["difference"]["w/o SCD"] == pytest.approx(found["difference"]["mult"])
    assert found["p"]["w/o SCD"] < 0.01 < 0.3 < found["p"]["mult"]
    assert found["high"]["w/o SCD"] - found["low"]["w/o SCD"] < 0.3 * (found["high"]["mult"] - found["low"]["mult"])
    fewer = [m for m in models if (m.method, m.seed) != ("w/o SCD", 4)]
    unpaired = of(weigh(fewer, rows=ROWS, against="corrkd").comparisons, metric="f1", condition="Avg.").set_index(
        "method"
    )
    assert unpaired["p"]["w/o SCD"] > 0.3, "with other seeds they are as two methods"


def test_tuned_rows_are_held_against_the_tuned_reference_in_a_family_of_their_own(models, evidence):
    tuned = {
        f"{name} tuned": replace(ROWS[name], label=f"{name} tuned", variant=(TUNED_BY,)) for name in ("mult", "corrkd")
    }
    more = [replace(own, method=f"{own.method} tuned") for own in models if own.method in ("mult", "corrkd")]
    found = weigh([*models, *more], rows=ROWS | tuned, against="corrkd").comparisons
    for purpose in (REFERENCE, AUGMENTATION, IDEA):
        pd.testing.assert_frame_equal(
            of(found, purpose=purpose).reset_index(drop=True),
            of(evidence.comparisons, purpose=purpose).reset_index(drop=True),
        )
    own = of(found, purpose=TUNED)
    assert (
        set(own["method"]) == {"mult tuned"} and set(own["against"]) == {"corrkd tuned"} and set(own["family"]) == {1}
    )
    same = of(evidence.comparisons, purpose=REFERENCE, method="mult")
    np.testing.assert_allclose(own["difference"], same["difference"])
    other = weigh([*models, *more], rows=ROWS | tuned, against="corrkd tuned").comparisons
    assert set(of(other, purpose=REFERENCE)["method"]) == {"mult tuned"} and of(other, purpose=TUNED).empty


def test_augmentation_compares_a_method_with_itself_and_the_idea_with_all(models, evidence):
    gains = of(evidence.comparisons, purpose=AUGMENTATION, metric="f1", condition="Avg.").set_index("method")
    assert gains["against"].to_dict() == {"mult+mrm": "mult", "corrkd": "corrkd-mrm"}
    ideas = of(evidence.comparisons, purpose=IDEA, metric="f1", condition="Avg.").set_index("method")
    assert set(ideas.index) == {"mult+mrm", "corrkd"}, "variants are no methods"
    assert ideas["difference"].sum() == pytest.approx(0.0, abs=1e-6)
    means = of(evidence.intervals, metric="f1", condition="Avg.").set_index("method")["mean"]
    assert ideas["difference"]["corrkd"] == pytest.approx((means["corrkd"] - means["mult+mrm"]) / 2)


def test_the_idea_is_compared_where_methods_were_trained_both_ways(models):
    def purposes(*methods):
        found = weigh([m for m in models if m.method in methods], rows=ROWS, against=None).comparisons
        return set() if found.empty else set(found["purpose"])

    assert purposes("mult", "mult+mrm") == {AUGMENTATION}, "one method has no others to be compared with"
    assert purposes("mult+mrm", "corrkd") == set(), "nothing was trained on whole samples"
    assert purposes("mult", "mult+mrm", "corrkd") == {AUGMENTATION, IDEA}


def test_only_what_all_seeds_have_counts_and_conditions_need_not_be_the_same(models):
    few = [model("mult", seed, SETTINGS[:8]) for seed in range(2)] + [model("mult", 2, SETTINGS[:7])]
    found = weigh([*few, *(m for m in models if m.method == "corrkd")], rows=ROWS, against="corrkd")
    assert "p=0.5" not in set(of(found.intervals, method="mult")["condition"])
    assert "p=0.5" in set(of(found.intervals, method="corrkd")["condition"])
    assert set(of(found.comparisons, method="mult")["condition"]) == {
        *(s.condition for s, _ in SETTINGS[:7]),
        "Avg.",
        "drop",
    }


def test_areas_under_other_curves_are_not_compared(models):
    shorter = [model("mult", seed, SETTINGS[:8]) for seed in range(3)]
    longer = [m for m in models if m.method == "corrkd"]
    found = weigh([*shorter, *longer], rows=ROWS, against="corrkd")
    assert set(of(found.intervals, condition="AUDC")["method"]) == {"mult", "corrkd"}
    assert of(found.intervals, condition="AUDC")["best"].isna().all()
    assert "AUDC" not in set(found.comparisons["condition"]) and "p=0.5" in set(found.comparisons["condition"])
    assert of(found.intervals, condition="p=0.5")["best"].notna().all()


def test_methods_or_seeds_without_a_common_setting_are_left_out(models):
    corrkd = [m for m in models if m.method == "corrkd"]
    apart = [model("mult", 0, SETTINGS[:1]), model("mult", 1, SETTINGS[1:2])]
    found = weigh([*apart, *corrkd], rows=ROWS, against="corrkd")
    assert set(found.intervals["method"]) == {"corrkd"} and found.comparisons.empty
    found = weigh(apart, rows=ROWS, against="corrkd")
    assert found.intervals.empty and found.comparisons.empty
    elsewhere = [model("w/o SCD", seed, ((Setting("av", 0.5), 0),)) for seed in range(3)]
    found = weigh([*elsewhere, *corrkd], rows=ROWS, against="corrkd")
    assert set(found.intervals["method"]) == {"corrkd", "w/o SCD"} and found.comparisons.empty


def test_without_a_reference_nothing_is_compared(models):
    own = [m for m in models if m.method in ("mult", "w/o SCD")]
    assert weigh(own, rows=ROWS, against="corrkd").comparisons.empty
    assert weigh(own, rows=ROWS, against=None).comparisons.empty
    assert weigh([], rows={}, against=None).intervals.empty


def test_both_files_are_read_as_written(evidence, models, tmp_path):
    write_evidence(evidence, tmp_path)
    again = read_evidence(tmp_path, evidence.intervals)
    pd.testing.assert_frame_equal(again.intervals, evidence.intervals, check_dtype=False, check_like=True)
    pd.testing.assert_frame_equal(again.comparisons, evidence.comparisons, check_dtype=False, check_like=True)
    written = pd.read_csv(tmp_path / "comparisons.csv", dtype=str, keep_default_na=False)
    assert set(written["family"]) == {"2", "4"}
    written.assign(family=written["family"] + ".0").to_csv(tmp_path / "comparisons.csv", index=False)
    assert read_evidence(tmp_path, evidence.intervals).comparisons["family"].dtype == int, "as older reports wrote it"
    write_evidence(weigh([m for m in models if m.method != "corrkd-mrm"][:9], rows=ROWS, against="corrkd"), tmp_path)
    assert ".0" not in "".join(pd.read_csv(tmp_path / "comparisons.csv", dtype=str)["family"])
    assert read_evidence(tmp_path / "nowhere", evidence.intervals).intervals.empty
    write_evidence(weigh(models[:1], rows=ROWS, against=None), tmp_path)
    assert read_evidence(tmp_path, evidence.intervals).comparisons.empty


@pytest.mark.parametrize("polar", [0, 1])
def test_what_too_few_samples_leave_open_is_read_again(models, tmp_path, polar):
    labels = np.where(np.arange(len(LABELS)) < polar, 1.0, 0.0).astype(np.float32)
    evidence = weigh([replace(m, labels=labels) for m in models], rows=ROWS, against="corrkd")
    f1 = of(evidence.intervals, metric="f1")
    assert f1["mean"].isna().all() == (polar == 0) and f1["low"].isna().all() and f1["high"].isna().all()
    write_evidence(evidence, tmp_path)
    again = read_evidence(tmp_path, evidence.intervals)
    pd.testing.assert_frame_equal(again.intervals, evidence.intervals, check_dtype=False, check_like=True)
    pd.testing.assert_frame_equal(again.comparisons, evidence.comparisons, check_dtype=False, check_like=True)


@pytest.mark.parametrize(
    ("file", "row", "changed", "said"),
    [
        ("intervals", {"condition": "{l}"}, {"condition": "{x}"}, "'{x}' is not what inter 'l' at 0 is called"),
        ("intervals", {"condition": "{l}"}, {"ratio": ""}, "'{l}' is not what inter 'l' at nan is called"),
        ("intervals", {"condition": "{l}"}, {"available": ""}, "'{l}' is not what inter '' at 0 is called"),
        ("intervals", {"condition": "{l}"}, {"kind": "intra"}, "'{l}' is not what intra 'l' at 0 is called"),
        ("intervals", {"condition": "{l}"}, {"kind": "derived"}, "'{l}' is not what derived 'l' at 0 is called"),
        ("intervals", {"condition": "Avg."}, {"available": "l"}, "'Avg.' is not what derived 'l' at nan is called"),
        ("intervals", {"condition": "Avg."}, {"ratio": "0.5"}, "'Avg.' is not what derived '' at 0.5 is called"),
        ("intervals", {"condition": "Avg."}, {"condition": "mean"}, "'mean' is not what derived '' at nan is called"),
        ("intervals", {"condition": "{l}"}, {"condition": "{a}", "available": "a"}, "in '{a}' stands twice"),
        ("intervals", {"method": "mult"}, {"method": "misa"}, "of 'misa' on mosi (simulated) is not in scores.csv"),
        ("comparisons", {"method": "mult"}, {"method": "misa"}, "of 'misa' on mosi (simulated) is not in scores.csv"),
        ("comparisons", {"condition": "{l}"}, {"condition": "{a}"}, "in '{a}' stands twice"),
        ("comparisons", {"condition": "{l}"}, {"against": "a\u202eb"}, "holds characters that cannot be seen"),
        ("intervals", {"method": "mult"}, {"task": "fun"}, "of 'mult' on fun (simulated) is not in scores.csv"),
    ],
)  # fmt: skip
def test_rows_that_no_report_writes_are_refused(evidence, tmp_path, file, row, changed, said):
    write_evidence(evidence, tmp_path)
    path = tmp_path / f"{file}.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    place = of(frame, **row).index[0]
    frame.loc[place, list(changed)] = list(changed.values())
    frame.to_csv(path, index=False)
    with pytest.raises(BenchmarkError, match=f"{file}\\.csv.*{re.escape(said)}") as caught:
        read_evidence(tmp_path, evidence.intervals)
    assert "\n" not in str(caught.value)


def test_confusions_are_counted_over_seeds(models):
    frame = of(confusions(models), method="mult", condition="{l}")
    assert frame["count"].sum() == 3 * len(LABELS) and len(frame) == 4
    expected = 0
    for m in models:
        if m.method == "mult":
            predicted = m.predicted[SETTINGS.index((Setting("l"), 0))]
            expected += sum(t < 0 and p == 1 for t, p in zip(LABELS, predicted, strict=True))
    assert of(frame, truth="negative", predicted="non-negative")["count"].item() == expected
