"""Tables and figures of noise, of a ratio for each modality, and of samples with their own modalities."""

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.scores import COLUMNS, SETTING, conditions_of
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.figures import method_looks
from benchmark.report.robustness import robustness_table
from benchmark.report.settings import imbalance_heatmap, noise_curves, random_curves, setting_picture, single_frames
from benchmark.report.tables import build_tables, to_latex, to_markdown
from benchmark.running.grid_file import load_grid

METHODS = ["corrkd", "mult", "constant"]


def made(grid, *, seeds=2):
    """Tidy scores in the settings of a grid, and intervals around their means."""
    rng, rows = np.random.default_rng(0), []
    for method in METHODS:
        for seed in range(seeds):
            for s in load_grid(grid)[1].settings:
                for name in ("f1", "accuracy"):
                    rows.append(
                        ("mosi", "simulated", method, seed, s.kind, s.available, s.share, 0, name, rng.uniform(30, 90),
                         400, "k", "polarity", "lav", str(s), s.condition)
                    )  # fmt: skip
    names = "task source method seed kind available ratio draw metric value n key target modalities setting condition"
    scores = pd.DataFrame(rows, columns=names.split())
    by = ["task", "source", "method", "metric", "condition", "kind", "available", "ratio"]
    groups = scores.groupby(by, sort=False)["value"]
    intervals = groups.agg(mean="mean", std="std", seeds="count").reset_index()
    intervals = intervals.assign(low=intervals["mean"] - 1, high=intervals["mean"] + 1, n=400)
    return scores.drop(columns="condition"), intervals


def by_kind(scores):
    return {table.kind: table for table in build_tables(scores, method_order=METHODS)}


@pytest.mark.parametrize(
    ("grid", "kind", "columns", "said"),
    [
        (
            "noise",
            "noise",
            17,
            "Gaussian noise is added to the features of all modalities, or of the one that is named",
        ),
        (
            "imbalanced",
            "imbalanced",
            9,
            "a column is the mean over all settings in which the ratios differ and that mod",
        ),
        ("random", "random", 7, "in {l?,a?,v?} each sample has its own subset of the modalities, each as likely"),
    ],
)
def test_a_table_for_each_kind_that_the_usual_ones_do_not_show(grid, kind, columns, said):
    scores, intervals = made(grid)
    tables = by_kind(scores)
    table = tables[kind]
    assert len(table.columns) == columns and said in table.caption and table.stem == f"mosi_{kind}"
    assert tables["inter"].columns == [*(Setting(s).condition for s in SUBSETS[:-1]), "Avg.", "{l,a,v}"]
    assert ("intra" in tables) == (grid != "noise"), "where frames are missing alike in all modalities"
    assert not {"noise", "imbalanced", "random"} - {kind} & set(tables)
    text = to_markdown(table) + to_latex(table)
    assert "nan" not in text
    rows = scores[(scores["method"] == "mult") & (scores["metric"] == "f1")]
    if kind == "imbalanced":
        own = rows[(rows["kind"] == kind) & rows["setting"].str.contains("@0.1/0.5/|@0.9/0.5/|@0.5/0.5/")]
        assert own["setting"].nunique() == 8, "nine combinations, of which one is 0.5 everywhere"
        mean = own["value"].mean()
        condition = "a=0.5"
    else:
        condition = table.columns[-1]
        mean = intervals[(intervals["method"] == "mult") & (intervals["condition"] == condition)]["mean"].iloc[0]
    printed = dict(table.blocks[0].rows)["mult"][table.columns.index(condition)].value
    assert float(printed) == pytest.approx(mean, abs=0.006)


def test_usual_tables_are_the_same_beside_settings_of_other_kinds():
    scores, _ = made("noise")
    alone = scores[scores["kind"] != "noise"].drop(columns="setting")
    assert to_markdown(by_kind(scores)["inter"]) == to_markdown(by_kind(alone)["inter"])


def lines(axes):
    return {line.get_color(): line.get_xydata() for line in axes.lines}


def test_noise_curves_start_at_what_is_complete_and_show_where_noise_is():
    scores, intervals = made("noise")
    looks = method_looks(METHODS)
    picture = noise_curves(intervals, conditions_of(scores), looks, METHODS)
    panels = [axes for axes in picture.figure.axes if axes.lines]
    assert [axes.get_title() for axes in panels] == ["all modalities", "language alone", "audio alone", "vision alone"]
    own = intervals[(intervals["method"] == "mult") & (intervals["metric"] == "f1")].set_index("condition")["mean"]
    for axes, name in zip(panels, ("noise=", "noise l=", "noise a=", "noise v="), strict=True):
        expected = [(0.0, own["{l,a,v}"]), *((x, own[f"{name}{x}"]) for x in (0.5, 1.0, 2.0, 4.0))]
        np.testing.assert_allclose(lines(axes)[looks["mult"]["color"]], expected)
    assert "against the noise that is added to the features" in picture.caption and picture.stem == "mosi_noise"
    assert "bars are" in picture.caption and "n = 400 test samples, 2 seeds" in picture.caption
    assert noise_curves(intervals, {}, looks, METHODS) is None


def test_random_curves():
    scores, intervals = made("random")
    looks = method_looks(METHODS)
    picture = random_curves(intervals, conditions_of(scores), looks, METHODS)
    own = intervals[(intervals["method"] == "mult") & (intervals["metric"] == "f1")].set_index("condition")["mean"]
    names = {0.0: "{l?,a?,v?}"} | {p: f"{{l?,a?,v?}} p={p}" for p in (0.1, 0.3, 0.5, 0.7, 0.9)}
    expected = [(p, own[name]) for p, name in names.items()]
    np.testing.assert_allclose(lines(picture.figure.axes[0])[looks["mult"]["color"]], expected)
    assert random_curves(intervals, {"{l?,a?,v?}": Setting("lav?")}, looks, METHODS) is None


def test_the_heat_map_of_imbalanced_ratios_has_every_combination_in_its_place():
    scores, intervals = made("imbalanced")
    picture = imbalance_heatmap(intervals, conditions_of(scores), METHODS)
    panels = {axes.get_title(): axes for axes in picture.figure.axes if axes.get_title()}
    assert list(panels) == METHODS
    own = intervals[(intervals["method"] == "mult") & (intervals["metric"] == "f1")].set_index("condition")["mean"]
    shown = {text.get_position(): text.get_text() for text in panels["mult"].texts}
    ratios = (0.1, 0.5, 0.9)
    names = [[Setting(ratio=(p, a, v)).condition for a in ratios for v in ratios] for p in ratios]
    assert names[0][0] == "p=0.1" and len(shown) == 27
    for y, row in enumerate(names):
        for x, name in enumerate(row):
            assert shown[x + 0.5, y + 0.5] == f"{own[name]:.0f}"
    assert imbalance_heatmap(intervals, {}, METHODS) is None


def test_each_table_has_its_picture():
    looks = method_looks(METHODS)
    for grid in ("noise", "imbalanced", "random"):
        scores, intervals = made(grid)
        named = conditions_of(scores)
        for kind, table in by_kind(scores).items():
            assert setting_picture(table, intervals, named, looks, METHODS).stem == f"mosi_{kind}"


def test_the_table_of_evenness_and_worst_cases():
    scores, _ = made("noise")
    table = robustness_table(scores, by_kind(scores)["inter"])
    assert table.columns == ["without l", "without a", "without v", "evenness", "worst", "in"]
    cells = dict(table.blocks[0].rows)
    own = scores[(scores["method"] == "mult") & (scores["metric"] == "f1")]
    values = own.pivot(index="seed", columns="setting", values="value")
    costs = values["lav@0.0"] - values["av@0.0"]
    assert (cells["mult"][0].value, cells["mult"][0].spread) == (f"{costs.mean():.2f}", f"± {costs.std():.2f}")
    worst = values.drop(columns="lav@0.0").mean()
    assert cells["mult"][4].value == f"{worst.min():.2f}"
    assert cells["mult"][5].value == Setting.parse(worst.idxmin()).condition
    assert not cells["constant"][3].value and "the benchmark's own index" in table.caption
    assert "nan" not in to_markdown(table) + to_latex(table)
    complete = scores[scores["setting"] == "lav@0.0"]
    assert robustness_table(complete, by_kind(scores)["inter"]) is None


def imbalanced(settings, **values):
    """Scores of one metric and seed by method, in settings of their own."""
    rows = [
        ("mosi", "file", method, 0, s.kind, s.available, s.share, 0, "f1", value, 9, "k", "polarity", "lav", str(s))
        for method, own in values.items()
        for s, value in zip(settings, own, strict=True)
        if value is not None
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, SETTING])


def test_a_column_of_imbalanced_ratios_is_the_mean_over_what_all_rows_were_tested_in():
    settings = [
        Setting(ratio=(0.1, 0.5, 0.5)),
        Setting(ratio=(0.1, 0.9, 0.9)),
        Setting(ratio=(0.1, 0.5, 0.5), pattern="burst"),
    ]
    table = by_kind(imbalanced(settings, mult=[60.0, 20.0, 0.0], corrkd=[50.0, None, None]))["imbalanced"]
    assert table.columns == ["l=0.1", "a=0.5", "v=0.5"]
    means = table.summary.set_index(["method", "condition"])["mean"]
    assert means["mult", "l=0.1"] == 60.0 and means["corrkd", "l=0.1"] == 50.0


def test_data_of_two_modalities_have_columns_and_places_of_these():
    settings = [Setting(ratio=(a, b, 0.0)) for a, b in ((0.1, 0.5), (0.5, 0.1))]
    scores = imbalanced([*settings, Setting(ratio=0.5)], mult=[60.0, 50.0, 40.0]).assign(modalities="la")
    table = by_kind(scores)["imbalanced"]
    assert table.columns == ["l=0.1", "l=0.5", "a=0.1", "a=0.5"]
    intervals = scores.rename(columns={"value": "mean"}).assign(seeds=1, low=0.0, high=99.0)
    intervals["condition"] = [Setting.parse(text).condition for text in intervals[SETTING]]
    picture = imbalance_heatmap(intervals, conditions_of(scores))
    shown = {text.get_text() for axes in picture.figure.axes for text in axes.texts}
    assert {"60", "50", "40"} <= shown


def test_own_subsets_are_told_of_the_modalities_that_there_are():
    rows = imbalanced([Setting(), Setting("la?")], mult=[70.0, 60.0]).assign(modalities="la")
    assert "in {l?,a?} each sample has its own subset" in by_kind(rows)["random"].caption


def test_what_is_undefined_is_the_worst_and_its_cost_is_unknown():
    whole = [Setting(), *map(Setting, ("l", "a", "v", "la", "lv", "av"))]
    values = {"mult": [0.7, 0.5, float("nan"), 0.4, 0.6, 0.6, 0.6], "corrkd": [0.7, 0.5, 0.1, 0.4, 0.6, 0.6, 0.6]}
    scores = imbalanced(whole, **values).assign(metric="corr", target="intensity")
    scores.loc[(scores["method"] == "corrkd") & (scores["available"] == "lv"), "value"] = float("nan")
    (table,) = build_tables(scores)
    found = robustness_table(scores, table)
    cells = {m: dict(zip(found.columns, own, strict=True)) for m, own in found.blocks[0].rows}
    assert cells["mult"]["in"].value == "{a}" and cells["mult"]["worst"].value == ""
    assert cells["corrkd"]["without a"].value == "" and cells["corrkd"]["without l"].value == "0.100"
    assert "A score that is undefined counts as the worst." in found.caption


def test_where_a_sample_has_one_frame_of_a_modality_tables_of_missing_frames_say_what_that_means():
    tables = by_kind(made("full")[0]) | by_kind(made("imbalanced")[0])
    task = {"name": "mosi", "source": "simulated", "max_frames": {"l": 30, "a": 1, "v": 1}}
    said = "Audio and vision have one frame a sample here: at a ratio p, a share p of the samples lacks the whole modality."
    for kind in ("intra", "imbalanced"):
        assert single_frames(tables[kind], [task | {"source": "file", "max_frames": {"l": 1}}, task]) == (said,)
    assert single_frames(tables["intra"], [task | {"max_frames": {"a": 1, "v": 9}}])[0].startswith(
        "Audio has one frame"
    )
    assert single_frames(tables["inter"], [task]) == ()
    for frames in (None, {"l": 30, "a": 20, "v": 20}):
        assert single_frames(tables["intra"], [task | {"max_frames": frames}]) == ()
    assert single_frames(tables["intra"], []) == ()
