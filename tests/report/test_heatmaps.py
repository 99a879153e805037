import numpy as np
import pandas as pd
import pytest
from seaborn.utils import relative_luminance

from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.heatmaps import condition_heatmap, confusion_matrices, crossed_heatmap, short_number
from tests.report_frames import CROSSED, FIVE, RATIOS, make_confusions, make_statistics


def test_heat_map_has_every_condition_and_the_best_in_bold():
    statistics = make_statistics(settings=CROSSED)
    f1 = (statistics["metric"] == "f1") & (statistics["condition"] == "{l}")
    statistics.loc[f1 & (statistics["method"] == "misa"), "mean"] = 90.04
    statistics.loc[f1 & (statistics["method"] == "mult"), "mean"] = 90.01  # printed alike
    axes = condition_heatmap(statistics, FIVE).figure.axes[0]
    methods = [label.get_text() for label in axes.get_yticklabels()]
    conditions = [label.get_text() for label in axes.get_xticklabels()]
    assert methods == FIVE
    assert conditions == [
        "{l}", "{a}", "{v}", "{l,a}", "{l,v}", "{a,v}", "Avg.", "{l,a,v}", *[f"p={ratio}" for ratio in RATIOS[1:]],
    ]  # fmt: skip
    means = statistics[statistics["metric"] == "f1"].pivot(index="method", columns="condition", values="mean")
    means = means.loc[methods, conditions].round(1)
    printed, bold = means.copy(), means.astype(bool)
    for text in axes.texts:
        row, column = int(text.get_position()[1]), int(text.get_position()[0])
        printed.iloc[row, column] = float(text.get_text())
        bold.iloc[row, column] = text.get_fontweight() == "bold"
    pd.testing.assert_frame_equal(printed, means)
    pd.testing.assert_frame_equal(bold, means == means.max())
    assert list(bold.index[bold["{l}"]]) == ["mult", "misa"]


def test_heat_map_leaves_absent_cells_empty_and_wants_two_conditions():
    statistics = make_statistics()
    statistics = statistics[(statistics["method"] != "mult") | (statistics["condition"] != "{a}")]
    axes = condition_heatmap(statistics, FIVE).figure.axes[0]
    assert {tuple(map(int, text.get_position())) for text in axes.texts} == {
        (column, row) for column in range(18) for row in range(5)
    } - {(1, 1)}
    assert condition_heatmap(make_statistics(settings=[Setting()])[lambda rows: rows["kind"] != "derived"]) is None


def test_crossed_panels_are_the_scattered_frames_in_one_scale():
    statistics = make_statistics(settings=CROSSED, metrics=["f1"])
    *panels, _ = [axes for axes in crossed_heatmap(statistics, FIVE).figure.axes if axes.axison]
    limits = set()
    for method, axes in zip(FIVE, panels, strict=True):
        assert axes.get_title() == method
        (mesh,) = axes.collections
        limits.add(mesh.get_clim())
        rows = statistics[(statistics["method"] == method) & statistics["kind"].isin(["inter", "intra"])]
        expected = rows.pivot(index="available", columns="ratio", values="mean").loc[list(SUBSETS), RATIOS]
        np.testing.assert_allclose(mesh.get_array(), expected)
    assert len(limits) == 1
    assert "(across; scattered)" in crossed_heatmap(statistics, FIVE).caption
    assert crossed_heatmap(make_statistics()) is None
    assert crossed_heatmap(statistics[~statistics["kind"].isin(["inter"])]) is None


def test_each_pattern_has_crossed_panels_of_its_own():
    bursts = [Setting(s, p, "burst" if 0 < p < 1 else "scattered") for s in SUBSETS for p in (0.0, 0.5, 1.0)]
    statistics = make_statistics(settings=[*bursts, Setting("l", 0.5), Setting("lav", 0.5)], metrics=["f1"])
    picture = crossed_heatmap(statistics, FIVE, pattern="burst")
    assert picture.stem == "mosi_mixed_burst" and "(across; burst)" in picture.caption
    ends = statistics["ratio"].isin([0.0, 1.0])
    rows = statistics[(statistics["method"] == FIVE[0]) & (statistics["kind"].str.endswith("-burst") | ends)]
    expected = rows[rows["kind"] != "derived"].pivot(index="available", columns="ratio", values="mean")
    (mesh,) = picture.figure.axes[0].collections
    np.testing.assert_allclose(mesh.get_array(), expected.loc[list(SUBSETS), [0.0, 0.5, 1.0]])
    assert crossed_heatmap(statistics, FIVE, pattern="early_end") is None


def lightness(mesh, value):
    return relative_luminance(mesh.cmap(mesh.norm(value)))


@pytest.mark.parametrize(("metric", "digits"), [("mae", 2), ("f1", 1)])
def test_the_best_is_light_and_bold_whichever_way_is_better(metric, digits):
    statistics = make_statistics(settings=CROSSED, metrics=[metric])
    pictures = condition_heatmap(statistics, FIVE), crossed_heatmap(statistics, FIVE)
    for picture in pictures:
        mesh = picture.figure.axes[0].collections[0]
        low, high = mesh.get_clim()
        assert (lightness(mesh, low) > lightness(mesh, high)) == (metric == "mae")
        label = {"mae": "MAE (less is better)", "f1": "F1 (%)"}[metric]
        assert picture.figure.axes[-1].get_ylabel() == label and f". {label} " in picture.caption
    axes = pictures[0].figure.axes[0]
    printed = {(int(t.get_position()[0]), int(t.get_position()[1])): t for t in axes.texts}
    assert all(len(text.get_text().partition(".")[2]) == digits for text in printed.values())
    for column in {column for column, _ in printed}:
        own = {row: text for (where, row), text in printed.items() if where == column}
        best = (min if metric == "mae" else max)(float(text.get_text()) for text in own.values())
        bold = {row for row, text in own.items() if text.get_fontweight() == "bold"}
        assert bold == {row for row, text in own.items() if float(text.get_text()) == best}


@pytest.mark.parametrize(
    ("number", "text"), [(0.716, ".72"), (1.0, "1.0"), (0.0, ".00"), (1.254, "1.25"), (-0.3, "-.30")]
)
def test_numbers_without_room_lose_their_leading_zero(number, text):
    assert short_number(number) == text


def test_rows_of_confusion_matrices_sum_to_one():
    confusions = make_confusions(FIVE, 4)
    confusions.loc[(confusions["method"] == "mult") & (confusions["truth"] == "sad"), "count"] = 0
    figure = confusion_matrices(confusions.sample(frac=1, random_state=0).sort_values("condition"), FIVE).figure
    *panels, _ = figure.axes
    by_place = {(axes.get_subplotspec().rowspan.start, axes.get_subplotspec().colspan.start): axes for axes in panels}
    for column, method in enumerate(FIVE):
        assert by_place[0, column].get_title() == method
        for row, condition in enumerate(sorted(set(confusions["condition"]))):
            assert by_place[row, 0].get_ylabel() == condition
            axes = by_place[row, column]
            predicted = [label.get_text() for label in by_place[2, column].get_xticklabels()]
            truths = [label.get_text() for label in by_place[row, 0].get_yticklabels()]
            shares = axes.collections[0].get_array()
            rows = confusions[(confusions["method"] == method) & (confusions["condition"] == condition)]
            for truth, line in zip(truths, shares, strict=True):
                counts = rows[rows["truth"] == truth].set_index("predicted")["count"].loc[predicted]
                if method == "mult" and truth == "sad":
                    assert line.mask.all()
                else:
                    assert line.sum() == pytest.approx(1)
                    np.testing.assert_allclose(line, counts / counts.sum())
    assert "intensities to the nearest bin" in confusion_matrices(confusions, target="intensity").caption
    assert confusion_matrices(confusions.assign(count=0)) is None


def test_confusion_matrices_of_many_methods_are_drawn_of_a_few_and_counted_of_all():
    confusions = make_confusions(FIVE, 2)
    whole, few = confusion_matrices(confusions, FIVE), confusion_matrices(confusions, FIVE, undrawn={"mult", "gone"})
    titles = {axes.get_title() for axes in few.figure.axes}
    assert "mult" not in titles and set(FIVE) - {"mult"} <= titles
    assert few.caption.endswith(f"The csv file has the counts of all {len(FIVE)} methods.")
    assert len(few.numbers) == len(confusions) and "csv" not in whole.caption and whole.numbers is None
    assert confusion_matrices(confusions.iloc[:0]) is None


def test_more_categories_than_fit_side_by_side_are_drawn():
    names = [f"c{i}" for i in range(40)]
    rows = [("t", "file", m, "{l}", name, name, 1) for m in ("a", "b") for name in names]
    columns = ["task", "source", "method", "condition", "truth", "predicted", "count"]
    *panels, _ = confusion_matrices(pd.DataFrame(rows, columns=columns)).figure.axes
    assert [axes.get_title() for axes in panels] == ["a", "b"]
