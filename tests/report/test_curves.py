"""Curves and dots: their numbers, their bars, the names at their ends."""

import dataclasses

import numpy as np
import pytest

from benchmark.evidence.statistics import average_draws
from benchmark.protocol.missing import Setting
from benchmark.report.curves import draw, family_curves, pattern_curves, small_multiples, spread
from benchmark.report.figures import GREY, look_of, method_looks
from benchmark.report.highlight import stand_out
from benchmark.report.tables import build_tables
from tests.report.pictures import assert_legible, key_of, lines_of
from tests.report.test_tables import make_scores
from tests.report_frames import CROSSED, FIVE, PLAIN, RATIOS, make_statistics

MANY = [*(f"method_{i}" for i in range(17)), "corrkd", "mult", "misa", "constant", "random"]


def bars_of(collection):
    return np.array([segment[:, 1] for segment in collection.get_segments()])


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
        for method, bars in zip(FIVE, [*axes.collections, None], strict=True):  # a floor has none
            expected = rows[rows["method"] == method].sort_values("ratio")
            assert len(expected) == 11
            np.testing.assert_allclose(lines[key_of(looks[method])], expected[["ratio", "mean"]])
            low, high = expected["mean"] - expected["std"], expected["mean"] + expected["std"]
            if intervals:
                low, high = expected["low"], expected["high"]
            if bars is not None:
                np.testing.assert_allclose(bars_of(bars), np.stack([low, high], axis=1))
    assert ("95 % intervals" in picture.caption) == intervals
    assert ("standard deviation" in picture.caption) != intervals
    assert "n = 656" in picture.caption and "5 seeds" in picture.caption


def test_overview_of_one_task_shows_all_its_metrics_and_wants_two_ratios():
    looks = method_looks(FIVE)
    picture = small_multiples(make_statistics(tasks=["iemocap"]), looks)
    assert [axes.get_title() for axes in picture.figure.axes] == [
        "F1 (%)", "accuracy (%)", "F1 happy (%)", "F1 sad (%)", "F1 angry (%)", "F1 neutral (%)",
    ]  # fmt: skip
    assert not any(axes.get_ylabel() for axes in picture.figure.axes)  # the title names the task
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
def test_bars_of_tables_are_their_intervals(kind, intervals):
    (table,) = [table for table in build_tables(make_scores(seeds=3)) if table.kind == kind]
    summary = table.summary.assign(low=np.nan, high=np.nan)
    known = {"none": [], "some": ["corrkd"], "all": table.methods}[intervals]
    at = summary["method"].isin(known)
    summary.loc[at, "low"], summary.loc[at, "high"] = summary["mean"] - 1, summary["mean"] + 3
    picture = draw(dataclasses.replace(table, summary=summary), method_looks(table.methods))
    (axes,) = picture.figure.axes
    drawn_of = [m for m in table.methods if kind == "inter" or m != "constant"]  # along curves a floor has no bars
    for method, drawn in zip(drawn_of, axes.collections, strict=True):
        rows = (
            summary[(summary["method"] == method) & (summary["metric"] == "f1")]
            .set_index("condition")
            .loc[table.columns]
        )
        low, high = rows["mean"] - rows["std"], rows["mean"] + rows["std"]
        if method in known:
            low, high = rows["mean"] - 1, rows["mean"] + 3
        np.testing.assert_allclose(bars_of(drawn), np.stack([low, high], axis=1))
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
        assert set(inter.methods) <= set(assert_legible(picture.figure))
    (legend,) = figures[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == inter.methods
    assert "--" in {handle.get_linestyle() for handle in legend.get_lines()} and not figures[1].figure.legends
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


def many(task="mosi"):
    """Statistics and looks of 22 methods, of which `corrkd` is the reference."""
    scores = make_scores(MANY, seeds=2, task=task)
    return make_statistics(MANY, (task,)), stand_out(average_draws(scores), MANY, against="corrkd"), scores


def test_of_22_methods_few_are_in_colour_with_bars_and_a_name_and_all_others_grey():
    statistics, looks, scores = many()
    inter, intra = build_tables(scores, method_order=MANY)
    for picture in (draw(intra, looks), small_multiples(statistics, looks, MANY)):
        for axes in picture.figure.axes:
            lines = {line.get_gid(): line for line in axes.lines}
            assert set(lines) == set(MANY) and len(axes.collections) == 3, "bars of three"
            assert {m for m, line in lines.items() if line.get_color() == GREY} == looks.grey and len(looks.grey) == 17
            widths = {m: line.get_linewidth() for m, line in lines.items()}
            assert max(widths, key=widths.get) == "corrkd" and widths["corrkd"] > 1.5 * sorted(widths.values())[-2]
        texts = assert_legible(picture.figure)
        named = {"corrkd", "constant", "random", "17 others", *looks.coloured(MANY)}
        assert named <= set(texts) and not looks.grey & set(texts) and looks.said in picture.caption
    dots = draw(inter, looks)
    (legend,) = dots.figure.legends
    assert {text.get_text() for text in legend.get_texts()} == named
    assert_legible(dots.figure)


def test_names_stand_at_the_ends_in_their_order():
    statistics = make_statistics(metrics=["f1"])
    axes = small_multiples(statistics, method_looks(FIVE), FIVE).figure.axes[0]
    ends = {line.get_gid(): line.get_ydata()[-1] for line in axes.lines}
    places = {text.get_text().strip(): text.get_position()[1] for text in axes.texts if text.get_text()}
    assert sorted(places, key=places.get) == sorted(ends, key=ends.get) and set(places) == set(FIVE)


def test_names_are_moved_no_further_than_they_must_be():
    assert spread([5.0, 1.0, 9.0], 0.0, 14.0, 1.0) == [5.0, 1.0, 9.0]
    assert spread([5.0, 5.0], 0.0, 14.0, 1.0) == [4.5, 5.5]
    assert spread([0.0, 0.0], 0.0, 14.0, 1.0) == [0.5, 1.5]
    crowded = spread([7.0] * 28, 0.0, 14.0, 1.0)
    np.testing.assert_allclose(np.diff(crowded), 0.5)
    assert crowded[0] == pytest.approx(0.25) and crowded[-1] == pytest.approx(13.75)


def test_each_grey_method_has_a_panel_by_its_family():
    statistics, looks, _ = many()
    families = {f"method_{i}": "late" if i % 2 else "early" for i in range(15)}
    picture = family_curves(statistics, looks, families, MANY, reference="corrkd")
    panels = {axes.get_title(): axes for axes in picture.figure.axes if axes.axison}
    assert set(panels) == looks.grey and picture.stem == "mosi_families"
    shown = [axes.texts[0].get_text() for axes in panels.values()]
    assert shown == sorted(shown, key=["early", "late", ""].index) and len(set(shown)) == 3
    own = statistics[(statistics["metric"] == "f1") & (statistics["kind"] == "intra")]
    for method, axes in panels.items():
        (line,) = [line for line in axes.lines if line.get_color() == look_of(method)["color"]]
        expected = own[own["method"] == method].sort_values("ratio")
        np.testing.assert_allclose(line.get_xydata(), expected[["ratio", "mean"]])
        assert len(axes.collections) == 1, "one band, over no other"
    assert_legible(picture.figure)
    assert family_curves(statistics, method_looks(MANY), families) is None, "where none is grey"
    assert family_curves(make_statistics(MANY, settings=PLAIN[:7]), looks, families) is None
