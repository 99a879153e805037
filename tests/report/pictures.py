"""A picture of each kind, and whether all text in it can be read."""

import numpy as np
import pytest
from matplotlib.text import Text

from benchmark.report.accounts import accounts_table, pareto_figure
from benchmark.report.content import lead
from benchmark.report.curves import draw, pattern_curves, small_multiples
from benchmark.report.diagnostics import representation_plots, training_curves
from benchmark.report.figures import method_looks, styled
from benchmark.report.heatmaps import condition_heatmap, confusion_matrices, crossed_heatmap
from benchmark.report.matrix import comparison_matrix
from benchmark.report.ranks import critical_difference
from benchmark.report.tables import build_tables
from benchmark.report.thresholds import threshold_figure
from tests.report.test_tables import make_scores
from tests.report_frames import (
    CROSSED,
    make_accounts,
    make_blocks,
    make_confusions,
    make_histories,
    make_losses,
    make_pairs,
    make_representations,
    make_statistics,
)

FEW = ["corrkd", "mult", "constant"]

MAKERS = {
    "overview": lambda methods: small_multiples(
        make_statistics(methods, ("mosi", "mosei", "iemocap")), method_looks(methods), methods
    ),
    "overview-emotions": lambda methods: small_multiples(
        make_statistics(methods, ("iemocap",), seeds=1, intervals=False), method_looks(methods), methods
    ),
    "overview-intensity": lambda methods: small_multiples(
        make_statistics(methods, ("mosi_intensity",)), method_looks(methods), methods
    ),
    "overview-primary": lambda methods: small_multiples(
        make_statistics(methods, ("mosi", "iemocap", "mosi_intensity")), method_looks(methods), methods
    ),
    "inter": lambda methods: draw(build_tables(make_scores(methods, seeds=2), method_order=methods)[0], method_looks(methods)),
    "intra": lambda methods: draw(build_tables(make_scores(methods, seeds=2), method_order=methods)[1], method_looks(methods)),
    "heatmap": lambda methods: condition_heatmap(make_statistics(methods), methods),
    "mixed": lambda methods: crossed_heatmap(make_statistics(methods, settings=CROSSED, metrics=["f1"]), methods),
    "heatmap-mae": lambda methods: condition_heatmap(make_statistics(methods, metrics=["mae"]), methods),
    "mixed-mae": lambda methods: crossed_heatmap(make_statistics(methods, settings=CROSSED, metrics=["mae"]), methods),
    "patterns": lambda methods: pattern_curves(
        make_statistics(methods, settings=CROSSED, metrics=["f1"]), method_looks(methods), methods
    ),
    "training": lambda methods: training_curves(make_histories(methods), method_looks(methods), methods),
    "confusion-2": lambda methods: confusion_matrices(make_confusions(methods, 2), methods),
    "confusion-4": lambda methods: confusion_matrices(make_confusions(methods, 4), methods),
    "tsne": lambda methods: representation_plots(make_representations(methods, 6, samples=30), methods),
    "matrix": lambda methods: comparison_matrix(
        make_blocks(methods), make_pairs(methods), about=lead("mosi", "simulated")
    ),
    "threshold": lambda methods: threshold_figure(
        make_losses([m for m in methods if m != "constant"]), methods, prefix="mosi"
    ),
    "pareto": lambda methods: pareto_figure(
        accounts_table(make_scores(methods), build_tables(make_scores(methods))[0], make_accounts(methods)),
        method_looks(methods),
    ),
    "ranks": lambda methods: critical_difference(make_blocks(methods), about=lead("mosi", "simulated")),
}  # fmt: skip


def drawn_texts(figure):
    """All that is written in a figure: its text, its box in pixels, and whether it is read as a formula."""
    drawn = {}
    draw_text = Text.draw

    def record(self, renderer, *args, **options):
        if self.get_visible() and self.get_text().strip():
            drawn[id(self)] = (self.get_text().strip(), self.get_window_extent(renderer).extents, self.get_parse_math())
        draw_text(self, renderer, *args, **options)

    with pytest.MonkeyPatch.context() as patch, styled():
        patch.setattr(Text, "draw", record)
        figure.set_dpi(300)
        figure.draw_without_rendering()  # lays all out as saving does, and paints nothing
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


def lines_of(axes):
    return {line.get_color() + str(line.get_marker()): line.get_xydata() for line in axes.lines}


def key_of(look):
    return look["color"] + str(look["marker"])
