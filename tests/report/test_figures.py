import dataclasses
import io
import os
import pickle
import re
import signal
from threading import get_ident

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from scikit_posthocs import posthoc_nemenyi_friedman
from sklearn.metrics import silhouette_score

from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.content import file_prefix, lead
from benchmark.report.diagnostics import embed, representation_plots, training_curves
from benchmark.report.drawing import Drawing
from benchmark.report.figures import draw, method_looks, pattern_curves, small_multiples, styled, to_files
from benchmark.report.heatmaps import condition_heatmap, confusion_matrices, crossed_heatmap
from benchmark.report.ranks import critical_difference
from benchmark.report.tables import build_tables
from tests.report.test_tables import make_scores
from tests.report_frames import (
    CROSSED,
    FIVE,
    FOURTEEN,
    PLAIN,
    RATIOS,
    make_blocks,
    make_confusions,
    make_histories,
    make_representations,
    make_statistics,
)

FEW = ["corrkd", "mult", "constant"]
HOSTILE = ["$\\frac{1}^~%#", "_u_", "{0}%s", "<b>a&b</b>", "x\\y$", "constant"]

MAKERS = {
    "overview": lambda methods: small_multiples(
        make_statistics(methods, ("mosi", "mosei", "iemocap")), method_looks(methods), methods
    ),
    "overview-emotions": lambda methods: small_multiples(
        make_statistics(methods, ("iemocap",), seeds=1, intervals=False), method_looks(methods), methods
    ),
    "inter": lambda methods: draw(build_tables(make_scores(methods, seeds=2), method_order=methods)[0], method_looks(methods)),
    "intra": lambda methods: draw(build_tables(make_scores(methods, seeds=2), method_order=methods)[1], method_looks(methods)),
    "heatmap": lambda methods: condition_heatmap(make_statistics(methods), methods),
    "mixed": lambda methods: crossed_heatmap(make_statistics(methods, settings=CROSSED, metrics=["f1"]), methods),
    "patterns": lambda methods: pattern_curves(
        make_statistics(methods, settings=CROSSED, metrics=["f1"]), method_looks(methods), methods
    ),
    "training": lambda methods: training_curves(make_histories(methods), method_looks(methods), methods),
    "confusion-2": lambda methods: confusion_matrices(make_confusions(methods, 2), methods),
    "confusion-4": lambda methods: confusion_matrices(make_confusions(methods, 4), methods),
    "tsne": lambda methods: representation_plots(make_representations(methods, 6, samples=30), methods),
    "ranks": lambda methods: critical_difference(make_blocks(methods), about=lead("mosi", "simulated")),
}  # fmt: skip
UNTRAINED_ARE_LEFT_OUT = {"training", "tsne"}
ONE_OF_EACH = [name for name in MAKERS if name not in ("overview-emotions", "confusion-2")]


def drawn_texts(figure):
    """All that is written in a figure: its text, its box in pixels, and whether it is read as a formula."""
    drawn = {}
    draw_text = Text.draw

    def record(self, renderer, *args, **options):
        if self.get_visible() and self.get_text().strip():
            drawn[id(self)] = (self.get_text(), self.get_window_extent(renderer).extents, self.get_parse_math())
        draw_text(self, renderer, *args, **options)

    with pytest.MonkeyPatch.context() as patch, styled():
        patch.setattr(Text, "draw", record)
        figure.savefig(io.BytesIO(), format="png", dpi=300)
    return list(drawn.values())


def assert_legible(figure):
    """No text lies on another or outside of the figure; boxes may touch by a pixel at 300 to the inch."""
    texts = drawn_texts(figure)
    names = [text for text, _, _ in texts]
    left, bottom, right, top = np.array([box for _, box, _ in texts]).T
    width, height = figure.get_size_inches() * 300
    outside = (left < -1) | (bottom < -1) | (right > width + 1) | (top > height + 1)
    assert not outside.any(), [name for name, out in zip(names, outside, strict=True) if out]
    across = np.minimum.outer(right, right) - np.maximum.outer(left, left)
    down = np.minimum.outer(top, top) - np.maximum.outer(bottom, bottom)
    overlapping = np.argwhere(np.triu((across > 1) & (down > 1), k=1))
    assert not len(overlapping), [(names[i], names[j]) for i, j in overlapping]
    return names


@pytest.mark.parametrize(("x", "message"), [(0.35, "again"), (0.9, "outside of it")])
def test_text_on_other_text_or_outside_is_found(x, message):
    figure = Figure(figsize=(3, 1))
    figure.text(0.3, 0.5, "a text")
    figure.text(0.7, 0.5, "another")
    assert assert_legible(figure) == ["a text", "another"]
    figure.text(x, 0.55, message)
    with pytest.raises(AssertionError, match=message):
        assert_legible(figure)


def lines_of(axes):
    return {line.get_color() + str(line.get_marker()): line.get_xydata() for line in axes.lines}


def key_of(look):
    return look["color"] + str(look["marker"])


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


def test_drawn_in_processes_figures_are_the_same():
    drawn, names = [], ("intra", "training")
    for processes in (1, 2):
        with Drawing(processes) as drawing:
            for name in names:
                figure = MAKERS[name](FEW).figure
                drawing.draw(name, figure)
                assert processes > 1 or not figure.axes, "it holds on to its memory"
            drawn.append(drawing.files())
    assert drawn[0] == drawn[1] and set(drawn[0]) == set(names)
    assert drawn[0]["intra"]["png"][1:4] == b"PNG" and drawn[0]["intra"]["pdf"].startswith(b"%PDF")


def test_a_killed_process_is_told_in_one_line():
    with Drawing(2) as drawing, pytest.raises(BenchmarkError, match="was killed, perhaps for want of memory"):
        drawing.draw("x", _Deadly())
        try:
            drawing.files()
        finally:
            with pytest.raises(BenchmarkError, match="was killed"):
                drawing.draw("y", Figure())


@pytest.mark.parametrize("processes", [1, 2])
def test_what_takes_long_is_computed_elsewhere_and_is_the_same(processes):
    one, two = make_representations(FIVE[:2], 4)
    with Drawing(processes) as drawing:
        places = [drawing.compute(embed, r.values) for r in (one, two)]
        process, thread = drawing.compute(os.getpid), drawing.compute(get_ident)
        for r, own in zip((one, two), places, strict=True):
            np.testing.assert_array_equal(own(), embed(r.values))
        assert (process() == os.getpid()) == (processes == 1) and thread() != get_ident()
        known = representation_plots([one], places=lambda r: places[0]())
        assert to_files(known.figure) == to_files(representation_plots([one]).figure)
        failing = drawing.compute(embed, one.values[:0])
        with pytest.raises(ValueError):
            failing()
        if processes > 1:
            deadly = drawing.compute(os.kill, process(), 9)
            with pytest.raises(BenchmarkError, match="was killed, perhaps for want of memory"):
                [deadly(), drawing.compute(embed, one.values)()]


class _Deadly(Figure):
    """Kills the process that unpacks it."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)


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
    picture = small_multiples(statistics.sample(frac=1, random_state=0), looks, FIVE)
    panels = picture.figure.axes
    assert {axes.get_title() for axes in panels[:2]} == {"weighted F1", "accuracy"} and len(panels) == 4
    for axes in panels:
        metric = {"weighted F1": "f1", "accuracy": "accuracy"}
        column = axes.get_subplotspec().colspan.start
        task = panels[0 if axes in panels[:2] else 2].get_ylabel().removesuffix(" (%)")
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
        "weighted F1", "accuracy", "happy", "sad", "angry", "neutral",
    ]  # fmt: skip
    assert small_multiples(make_statistics(settings=PLAIN[:7]), looks) is None
    assert small_multiples(make_statistics().iloc[:0], looks) is None


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
    assert condition_heatmap(make_statistics(metrics=["accuracy"])) is None


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
    assert crossed_heatmap(make_statistics()) is None
    assert crossed_heatmap(statistics[~statistics["kind"].isin(["inter"])]) is None


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


def test_stages_follow_one_another_and_the_lowest_validation_loss_is_marked():
    histories = make_histories(["corrkd", "constant"], seeds=3)
    (axes,) = training_curves(histories, method_looks(["corrkd"])).figure.axes
    length = histories[histories["stage"] == "teacher"]["epoch"].max()
    starts = {"teacher": 0, "student": length}
    expected_dots, expected_lines = [], []
    for (_, stage), run in histories.groupby(["seed", "stage"]):
        lowest = run.loc[run["valid_loss"].idxmin()]
        expected_dots.append((starts[stage] + lowest["epoch"], lowest["valid_loss"]))
        for loss in ("train_loss", "valid_loss"):
            expected_lines.append(np.stack([starts[stage] + run["epoch"], run[loss]], axis=1))
    dots = [tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(sorted(dots), sorted(expected_dots))
    *curves, border = sorted(
        (line.get_xydata() for line in axes.lines if line.get_marker() != "o"), key=lambda d: -len(d)
    )
    assert border[:, 0].tolist() == [length + 0.5] * 2
    assert sorted(map(np.ndarray.tolist, curves)) == sorted(map(np.ndarray.tolist, expected_lines))
    assert [text.get_text() for text in axes.texts] == ["teacher", "student"]
    styles = {line.get_linestyle() for line in axes.lines if line.get_marker() != "o" and len(line.get_xdata()) > 2}
    assert len(styles) == 2


def test_training_copes_with_short_stages_and_lost_losses():
    histories = make_histories(["corrkd"], seeds=2)
    short = histories[(histories["stage"] == "student") | (histories["epoch"] == 1)]
    short = short.assign(
        valid_loss=short["valid_loss"].mask(short["stage"] == "teacher"), train_loss=-short["train_loss"]
    )
    assert_legible(training_curves(short, method_looks(["corrkd"])).figure)
    swapped = histories[(histories["stage"] == "teacher") | (histories["epoch"] == 1)]
    assert_legible(training_curves(swapped, method_looks(["corrkd"])).figure)
    assert training_curves(make_histories(["constant"]), method_looks(["constant"])) is None


def test_training_curves_of_many_seeds_are_their_median_and_a_band():
    histories = make_histories(["mult"], seeds=40)
    picture = training_curves(histories, method_looks(["mult"]))
    (axes,) = picture.figure.axes
    few = training_curves(histories[histories["seed"] < 11], method_looks(["mult"])).figure.axes[0]
    assert len(axes.lines) == len(few.lines) == 3 and len(axes.collections) == len(few.collections) == 2
    by_epoch = histories.groupby("epoch")["valid_loss"]
    np.testing.assert_allclose(axes.lines[1].get_xydata()[:, 1], by_epoch.median())
    band = axes.collections[1].get_paths()[0].vertices
    epoch_five = np.unique(band[band[:, 0] == 5.0][:, 1])
    np.testing.assert_allclose(epoch_five[[0, -1]], by_epoch.quantile([0.1, 0.9])[5])
    best = histories.loc[histories.groupby("seed")["valid_loss"].idxmin()]
    np.testing.assert_allclose(axes.lines[2].get_xydata()[0], best[["epoch", "valid_loss"]].median())
    assert "median" in picture.caption and "40 seeds" in picture.caption
    assert_legible(picture.figure)


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
    assert confusion_matrices(confusions.assign(count=0)) is None
    assert confusion_matrices(confusions.iloc[:0]) is None


def test_silhouettes_are_those_of_the_representations():
    representations = make_representations(FIVE, 4)
    other_seed = dataclasses.replace(representations[0], seed=1, values=representations[-1].values)
    axes = representation_plots([*representations, other_seed], FIVE).figure.axes
    assert [a.get_title() for a in axes] == [r.method for r in representations] == FIVE[:-1]
    for panel, r in zip(axes, representations, strict=True):
        score = float(panel.get_xlabel().removeprefix("silhouette ").replace("−", "-"))
        assert score == pytest.approx(silhouette_score(r.values, r.categories), abs=0.005)
        assert sum(len(line.get_xdata()) for line in panel.lines) == len(r.values)
        assert len({(line.get_color()[:3].tobytes(), line.get_marker()) for line in panel.lines}) == 4


def test_representations_that_cannot_be_drawn_are_left_out():
    first, second, third, fourth = make_representations(FIVE, 2)
    broken = [
        dataclasses.replace(first, values=np.full_like(first.values, np.nan)),
        dataclasses.replace(second, values=np.ones_like(second.values)),
        dataclasses.replace(third, values=third.values[:3], categories=third.categories[:3]),
    ]
    assert representation_plots(broken) is None and representation_plots([]) is None
    picture = representation_plots([*broken, fourth])
    assert [axes.get_title() for axes in picture.figure.axes] == ["tfr_net"]
    (one,) = make_representations(["mult"], 1)
    assert representation_plots([one]).figure.axes[0].get_xlabel() == "silhouette –"


def bars_of(figure):
    """The x ranges of the thick bars under a diagram."""
    lines = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.2]
    return sorted((min(line.get_xdata()), max(line.get_xdata())) for line in lines)


@pytest.mark.parametrize("methods", [FIVE, FOURTEEN], ids=len)
def test_bars_join_what_the_nemenyi_test_does_not_tell_apart(methods):
    blocks = make_blocks(methods)
    picture = critical_difference(blocks, about=lead("mosi", "simulated"))
    ranks = blocks.rank(axis=1, ascending=False).mean()
    assert ranks.idxmin() in methods[:2]  # the best ones by construction: a high score is a low rank
    alike = posthoc_nemenyi_friedman(blocks.set_axis(range(len(methods)), axis=1)).to_numpy() > 0.05
    bars = bars_of(picture.figure)
    for i in range(len(methods)):
        for j in range(i):
            low, high = sorted(ranks.iloc[[i, j]])
            assert alike[i, j] == any(a <= low + 1e-9 and high - 1e-9 <= b for a, b in bars)
    labels = {text.get_text() for text in picture.figure.axes[0].texts}
    assert {f"{method} ({ranks[method]:.2f})" for method in methods} <= labels
    for part in ("60 blocks", "Friedman", "Nemenyi", "α = 0.05", "not told apart"):
        assert part in picture.caption


def test_no_pair_is_told_apart_where_friedman_sees_nothing():
    rng = np.random.default_rng(1)
    blocks = pd.DataFrame(rng.normal(size=(12, 4)), columns=list("abcd"))
    picture = critical_difference(blocks, about=lead("mosi", "simulated"))
    ranks = blocks.rank(axis=1, ascending=False).mean()
    np.testing.assert_allclose(bars_of(picture.figure), [(ranks.min(), ranks.max())])
    assert "no pair was tested" in picture.caption and "CD" not in picture.caption
    assert_legible(critical_difference(blocks * 0, about=lead("mosi", "simulated")).figure)


def test_too_few_blocks_or_methods_make_no_diagram():
    blocks = make_blocks(FIVE, 10)
    assert critical_difference(blocks, about="mosi.") is not None
    assert critical_difference(blocks.iloc[:9], about="mosi.") is None
    assert critical_difference(blocks[FIVE[:2]], about="mosi.") is None
    blocks.iloc[3, 2] = np.nan
    assert critical_difference(blocks, about="mosi.") is None
