import dataclasses
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmark.protocol.missing import Setting
from benchmark.report.content import file_prefix
from benchmark.report.diagnostics import representation_plots, training_curves
from benchmark.report.figures import draw, method_looks, pattern_curves, small_multiples, to_files
from benchmark.report.heatmaps import condition_heatmap, confusion_matrices
from benchmark.report.tables import build_tables
from tests.report.pictures import FEW, MAKERS, assert_legible, drawn_texts, key_of, lines_of
from tests.report.test_tables import make_scores
from tests.report_frames import (
    CROSSED,
    FIVE,
    FOURTEEN,
    PLAIN,
    RATIOS,
    make_confusions,
    make_histories,
    make_representations,
    make_statistics,
)

HOSTILE = ["$\\frac{1}^~%#", "_u_", "{0}%s", "<b>a&b</b>", "x\\y$", "constant"]
UNTRAINED_ARE_LEFT_OUT = {"training", "tsne", "threshold", "pareto"}
ONE_OF_EACH = [name for name in MAKERS if name == "confusion-4" or "-" not in name]


@pytest.mark.parametrize(("x", "message"), [(0.35, "again"), (0.9, "outside of it")])
def test_text_on_other_text_or_outside_is_found(x, message):
    figure = Figure(figsize=(3, 1))
    figure.text(0.3, 0.5, "a text")
    figure.text(0.7, 0.5, "another")
    assert assert_legible(figure) == ["a text", "another"]
    figure.text(x, 0.55, message)
    with pytest.raises(AssertionError, match=message):
        assert_legible(figure)


@pytest.mark.parametrize("methods", [FEW, FIVE, FOURTEEN], ids=len)
@pytest.mark.parametrize("name", MAKERS)
def test_all_text_is_legible_and_says_simulated(name, methods):
    picture = MAKERS[name](methods)
    assert picture.figure.get_size_inches()[0] in (3.3, 6.9)
    assert picture.figure.get_suptitle().endswith("simulated data")
    assert picture.caption.startswith(f"{picture.figure.get_suptitle()}.") and "simulated data" in picture.alt
    texts = assert_legible(picture.figure)
    for method in methods:
        shown = any(text == method or text.startswith(f"{method} (") for text in texts)
        assert shown == (method != "constant" or name not in UNTRAINED_ARE_LEFT_OUT), method
        assert not shown or method in picture.alt


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_same_input_gives_the_same_bytes(name):
    first, second = MAKERS[name](FEW), MAKERS[name](FEW)
    sent = pickle.loads(pickle.dumps(second.figure))  # as to a process that draws it
    assert to_files(first.figure) == to_files(sent)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_hostile_names_are_shown_as_they_are(name):
    texts = drawn_texts(MAKERS[name](HOSTILE).figure)
    assert not any(formula for _, _, formula in texts)
    for method in HOSTILE[:-1]:
        assert any(text == method or text.startswith(f"{method} (") for text, _, _ in texts), method


def test_nothing_is_said_to_be_simulated_that_is_not():
    pictures = [
        small_multiples(make_statistics(source="file"), method_looks(FIVE)),
        condition_heatmap(make_statistics(source="file")),
        training_curves(make_histories(source="file"), method_looks(FIVE)),
        confusion_matrices(make_confusions(source="file")),
        representation_plots(make_representations(FIVE[:1], source="file")),
    ]
    for picture in pictures:
        assert picture.figure.get_suptitle().endswith("data from file") and "simulated" not in picture.caption
    both = pd.concat([make_statistics(tasks=["mosi", "mosei"]), make_statistics(source="file")])
    picture = small_multiples(both, method_looks(FIVE), FIVE)
    assert picture.figure.get_suptitle() == "mosi, mosei: simulated data. mosi: data from file"
    assert_legible(picture.figure)


def test_file_names_are_safe_and_can_be_told_apart():
    statistics = make_statistics().assign(task="my/task $1")
    stem = condition_heatmap(statistics).stem
    assert re.fullmatch(r"my_task_1-[0-9a-f]{8}_heatmap", stem) and stem == f"{file_prefix('my/task $1')}_heatmap"
    names = ["mosi", "my/task $1", "my task_1", "my_task_1", "MOSI", "mosi-file", "../../mosi", "", "é", "漢" * 90]
    stems = [file_prefix(name) for name in names]
    assert len({stem.lower() for stem in stems}) == len(names) and stems[0] == "mosi" and stems[3] == "my_task_1"
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", stem) for stem in stems)
    assert condition_heatmap(statistics, prefix="mosi-file").stem == "mosi-file_heatmap"


@pytest.mark.parametrize("intervals", [True, False])
def test_overview_draws_the_numbers_of_the_frame(intervals):
    statistics = make_statistics(tasks=["mosi", "iemocap"], intervals=intervals)
    looks = method_looks(FIVE)
    shuffled = statistics.sample(frac=1, random_state=0)
    shuffled = shuffled.sort_values("metric", key=lambda names: names != "f1", kind="stable")  # the primary one first
    picture = small_multiples(shuffled, looks, FIVE)
    panels = picture.figure.axes
    assert [axes.get_title() for axes in panels[:2]] == ["F1 (%)", "accuracy (%)"] and len(panels) == 4
    for axes in panels:
        metric = {"F1 (%)": "f1", "accuracy (%)": "accuracy"}
        column = axes.get_subplotspec().colspan.start
        task = panels[0 if axes in panels[:2] else 2].get_ylabel()
        rows = statistics[
            (statistics["task"] == task)
            & (statistics["metric"] == metric[panels[column].get_title()])
            & (statistics["kind"] == "intra")
        ]
        lines = lines_of(axes)
        for method, band in zip(FIVE, axes.collections, strict=True):
            expected = rows[rows["method"] == method].sort_values("ratio")
            assert len(expected) == 11
            np.testing.assert_allclose(lines[key_of(looks[method])], expected[["ratio", "mean"]])
            low, high = expected["mean"] - expected["std"], expected["mean"] + expected["std"]
            if intervals:
                low, high = expected["low"], expected["high"]
            corners = band.get_paths()[0].vertices
            for ratio, lowest, highest in zip(RATIOS, low, high, strict=True):
                at = corners[np.isclose(corners[:, 0], ratio), 1]
                assert (at.min(), at.max()) == pytest.approx((lowest, highest))
    assert ("95 % intervals" in picture.caption) == intervals
    assert ("standard deviation" in picture.caption) != intervals
    assert "n = 656" in picture.caption and "5 seeds" in picture.caption


def test_overview_of_one_task_shows_all_its_metrics_and_wants_two_ratios():
    looks = method_looks(FIVE)
    picture = small_multiples(make_statistics(tasks=["iemocap"]), looks)
    assert [axes.get_title() for axes in picture.figure.axes] == [
        "F1 (%)", "accuracy (%)", "F1 happy (%)", "F1 sad (%)", "F1 angry (%)", "F1 neutral (%)",
    ]  # fmt: skip
    assert small_multiples(make_statistics(settings=PLAIN[:7]), looks) is None
    assert small_multiples(make_statistics().iloc[:0], looks) is None


def test_overview_of_tasks_with_other_primary_metrics_shows_each_by_its_own():
    looks = method_looks(FIVE)
    statistics = make_statistics(tasks=["mosi", "iemocap", "mosi_intensity"])
    picture = small_multiples(statistics, looks, FIVE)
    labels = {"mosi": "F1 (%)", "iemocap": "F1 (%)", "mosi_intensity": "MAE (less is better)"}
    assert [axes.get_ylabel() for axes in picture.figure.axes] == [f"{t},\n{label}" for t, label in labels.items()]
    assert picture.title == "All tasks" and "shared" not in picture.caption
    own = statistics.query("task == 'mosi_intensity' and metric == 'mae' and kind == 'intra' and method == 'mult'")
    drawn = lines_of(picture.figure.axes[2])[key_of(looks["mult"])]
    np.testing.assert_allclose(drawn, own.sort_values("ratio")[["ratio", "mean"]])
    picture = small_multiples(make_statistics(tasks=["mosi_intensity"]), looks, FIVE)
    assert [axes.get_title() for axes in picture.figure.axes] == [
        "MAE (less is better)", "Corr", "Acc-7 (%)", "Acc-5 (%)",
    ]  # fmt: skip
    nothing_alike = make_statistics(tasks=["mosi", "mosi_intensity"]).query("metric in ('accuracy', 'corr')")
    assert len(small_multiples(nothing_alike, looks).figure.axes) == 2


def test_pictures_of_a_table_name_its_primary_metric():
    tables = build_tables(make_scores(task="mosi_intensity"))
    inter, intra = (draw(table, method_looks(table.methods)) for table in tables)
    assert inter.figure.get_supylabel() == intra.figure.axes[0].get_ylabel() == "MAE (less is better)"
    assert len(inter.figure.axes) == len(intra.figure.axes) == 1
    assert ". Dots: MAE (less is better) by modalities; " in inter.caption
    assert ". Curves: MAE (less is better) against the ratio p of missing frames; " in intra.caption
    alone = build_tables(make_scores(task="mosi_intensity"), metrics=["acc7"])[1]
    picture = draw(alone, method_looks(alone.methods))
    assert picture.stem == "mosi_intensity_intra_acc7" and picture.figure.axes[0].get_ylabel() == "Acc-7 (%)"


@pytest.mark.parametrize("kind", ["inter", "intra"])
@pytest.mark.parametrize("intervals", ["none", "some", "all"])
def test_bands_and_bars_of_tables_are_their_intervals(kind, intervals):
    (table,) = [table for table in build_tables(make_scores(seeds=3)) if table.kind == kind]
    summary = table.summary.assign(low=np.nan, high=np.nan)
    known = {"none": [], "some": ["corrkd"], "all": table.methods}[intervals]
    at = summary["method"].isin(known)
    summary.loc[at, "low"], summary.loc[at, "high"] = summary["mean"] - 1, summary["mean"] + 3
    picture = draw(dataclasses.replace(table, summary=summary), method_looks(table.methods))
    (axes,) = picture.figure.axes
    for method, drawn in zip(table.methods, axes.collections, strict=True):
        rows = (
            summary[(summary["method"] == method) & (summary["metric"] == "f1")]
            .set_index("condition")
            .loc[table.columns]
        )
        low, high = rows["mean"] - rows["std"], rows["mean"] + rows["std"]
        if method in known:
            low, high = rows["mean"] - 1, rows["mean"] + 3
        if kind == "inter":
            ends = np.array([segment[:, 1] for segment in drawn.get_segments()])
            np.testing.assert_allclose(ends, np.stack([low, high], axis=1))
        else:
            heights = drawn.get_paths()[0].vertices[:, 1]
            assert (heights.min(), heights.max()) == pytest.approx((low.min(), high.max()))
    assert ("95 % intervals" in picture.caption) == (intervals != "none")
    assert ("standard deviation" in picture.caption) == (intervals != "all")


def test_floors_are_lines_across_each_condition_and_told_apart():
    inter, intra = build_tables(make_scores(("mult", "constant", "random")))
    looks = method_looks(inter.methods)
    figures = draw(inter, looks), draw(intra, looks), small_multiples(make_statistics(inter.methods), looks)
    for picture in figures:
        assert (
            picture.caption.count("Grey lines are floors (dashes: constant, the same answer for all; dots: random") == 1
        )
        styles = {
            line.get_linestyle()
            for line in picture.figure.axes[0].lines
            if line.get_color() == looks["random"]["color"]
        }
        assert styles == {"--", ":"}
        assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == inter.methods
        assert "--" in {handle.get_linestyle() for handle in picture.figure.legends[0].get_lines()}
    random = figures[0].figure.axes[0].lines[2]
    means = inter.summary.query("method == 'random' and metric == 'f1'").set_index("condition")["mean"][inter.columns]
    ends = random.get_xydata().reshape(len(inter.columns), 3, 2)
    np.testing.assert_allclose(ends[:, :2, 0], np.arange(len(inter.columns))[:, None] + [[-0.45, 0.45]])
    np.testing.assert_allclose(ends[:, 0, 1], means)
    assert "floors" not in draw(build_tables(make_scores(("mult", "misa")))[0], method_looks(["mult", "misa"])).caption


def test_patterns_share_their_ends_and_keep_their_middles():
    statistics = make_statistics(settings=CROSSED, metrics=["f1"])
    looks = method_looks(FIVE)
    panels = pattern_curves(statistics, looks, FIVE).figure.axes
    assert [axes.get_title() for axes in panels] == ["scattered", "burst", "early end"]
    for axes, pattern in zip(panels, ["scattered", "burst", "early_end"], strict=True):
        conditions = [Setting(ratio=ratio, pattern=pattern).condition for ratio in RATIOS]
        for method in FIVE:
            rows = statistics[statistics["method"] == method].set_index("condition")
            np.testing.assert_allclose(lines_of(axes)[key_of(looks[method])][:, 1], rows.loc[conditions, "mean"])
    assert pattern_curves(make_statistics(), looks) is None
