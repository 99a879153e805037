import dataclasses

import numpy as np
import pytest
from seaborn.utils import relative_luminance
from sklearn.metrics import silhouette_score

from benchmark.report.diagnostics import (
    representation_plots,
    silhouette,
    tell_unseparated,
    training_curves,
)
from benchmark.report.figures import method_looks
from tests.report.pictures import assert_legible
from tests.report_frames import FIVE, make_histories, make_representations


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
    assert representation_plots([one]) is None, "one category alone lies apart from nothing"


def test_no_cluster_is_drawn_where_no_silhouette_is_above_0():
    apart, other = make_representations(FIVE[:2], 2)
    mixed = dataclasses.replace(other, categories=np.random.default_rng(0).permutation(other.categories))
    assert silhouette(mixed) < 0 < silhouette(apart)
    both = representation_plots([apart, mixed], FIVE)
    assert [axes.get_title() for axes in both.figure.axes] == ["corrkd"]
    score = f"{silhouette(mixed):.2f}".replace("-", "−")
    assert f"Not shown, for want of a silhouette above 0: mult ({score})." in both.caption
    assert representation_plots([mixed], FIVE) is None
    assert tell_unseparated([apart, mixed]) == tell_unseparated([]) == ""
    assert "No t-SNE of the representations is shown: a picture of clusters would mislead" in tell_unseparated([mixed])
    assert tell_unseparated([mixed]).endswith(f"(mult ({score})).")


def test_categories_are_in_the_order_of_the_task_and_none_is_left_out():
    bins = tuple(f"{value:+d}" if value else "0" for value in range(-6, 7))  # more than there are markers
    (one,) = make_representations(["mult"], 1)
    at = np.arange(len(one.values)) % 13
    values = one.values + 20 * at[:, None].astype(np.float32)  # each category lies apart
    shown = dataclasses.replace(one, names=bins, categories=np.array(bins)[at], values=values)
    figure = representation_plots([shown]).figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(bins)
    drawn = figure.axes[0].lines
    assert len(drawn) == 13 and sum(len(line.get_xdata()) for line in drawn) == len(one.values)
    light = [relative_luminance(line.get_color()) for line in drawn]
    assert light == sorted(light), "from dark to light"
