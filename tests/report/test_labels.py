"""Names beside points: none on another, near where there is room, led to where there is none."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmark.report.labels import place_labels


def labelled(x, y, names=None, avoid=()):
    figure = Figure(figsize=(3.4, 3.0))
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    names = names or [f"method_{i}" for i in range(len(x))]
    axes.plot(x, y, "o", markersize=3.6)
    place_labels(axes, pd.Series(x, dtype=float), pd.Series(y, dtype=float), names, avoid)
    figure.draw_without_rendering()
    boxes = np.array([Text.get_window_extent(text).extents for text in axes.texts])  # without the lines that lead to it
    points = axes.transData.transform(np.column_stack([x, y]))
    order = [names.index(text.get_text()) for text in axes.texts]
    return axes, boxes, points[order]


def overlapping(boxes):
    left, bottom, right, top = boxes.T
    across = np.minimum.outer(right, right) - np.maximum.outer(left, left)
    down = np.minimum.outer(top, top) - np.maximum.outer(bottom, bottom)
    return len(np.argwhere(np.triu((across > 0) & (down > 0), k=1)))


@pytest.mark.parametrize("spread", [0.4, 1.0, 2.5])
def test_of_a_crowd_no_name_lies_on_another_or_on_a_point_or_outside(spread):
    x, y = 5 + spread * np.random.default_rng(0).normal(size=(2, 22)).clip(-1.8, 1.8)
    axes, boxes, points = labelled(x, y)
    assert not overlapping(boxes) and len(axes.texts) == 22
    frame = axes.get_window_extent().extents
    assert (boxes[:, :2] > frame[:2]).all() and (boxes[:, 2:] < frame[2:]).all()
    if spread > 1:  # else there is no place without one
        inside = (points[:, None] > boxes[None, :, :2]) & (points[:, None] < boxes[None, :, 2:])
        assert not inside.all(2).any()
    led = [text.arrow_patch is not None for text in axes.texts]
    assert any(led) == (spread < 2) and not all(led)


def test_a_point_alone_has_its_name_right_of_it_and_one_at_the_edge_left():
    _, boxes, points = labelled([5, 9.7], [3, 7], ["alone", "edge"])
    assert boxes[0, 0] > points[0, 0] and boxes[1, 2] < points[1, 0]
    assert (np.abs(boxes[:, [1, 3]].mean(1) - points[:, 1]) < 2).all(), "level with it"


def test_lines_are_kept_free():
    _, (box,), _ = labelled([5], [5], ["name"])
    axes, (moved,), _ = labelled([5], [5], ["name"], avoid=[(0, 5, 10, 5)])
    level = axes.transData.transform((5, 5))[1]
    assert box[1] < level < box[3] and (moved[1] > level or moved[3] < level)
