"""Names beside points, none on another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from benchmark.report.figures import text_width

SIZE = 6.0  # points
_HEIGHT = 1.25 * SIZE / 72  # inches, of a line
_MARK = 0.045  # inches from a point's middle that are its own
_DISTANCES = (0.02, 0.08, 0.16, 0.25, 0.35, 0.46, 0.58, 0.72)  # inches between a point and its label
_ANGLES = np.deg2rad([0, 180, 90, 270, 45, 315, 135, 225, 22.5, 337.5, 157.5, 202.5, 67.5, 292.5, 112.5, 247.5])
_TOUCH = 0.03  # of a line at either end may touch what it joins
_LED = 0.1  # inches, from which on a line leads to the label


def place_labels(
    axes: Axes,
    x: pd.Series,
    y: pd.Series,
    names: Sequence[str],
    avoid: Sequence[tuple[float, float, float, float]] = (),
) -> None:
    """Write a name beside each point, as near as there is room; one that stands apart is led to by a thin line.

    Parameters
    ----------
    axes : Axes
        Laid out, with its limits and scales.
    x, y : Series of N float
        In data coordinates.
    names : sequence of N str
    avoid : sequence of (x, y, x, y)
        Lines on which no label is to lie where there is room elsewhere, from point to point.
    """
    dpi = axes.figure.dpi
    points = axes.transData.transform(np.column_stack([x, y])) / dpi  # (N, 2), inches
    frame = np.array(axes.get_window_extent().extents) / dpi  # left, bottom, right, top
    sizes = [(text_width(name, SIZE) + 0.03, _HEIGHT) for name in names]
    marks = np.hstack([points - _MARK, points + _MARK])  # (N, 4)
    taken = np.empty((0, 4))
    ends = np.array(list(avoid), dtype=float).reshape(-1, 2)
    lines = (axes.transData.transform(ends) / dpi).reshape(-1, 4)  # from point to point, those of other labels too
    # Those with the most neighbours choose first, for they have the least choice.
    near = np.sum(np.all(np.abs(points[:, None] - points[None]) < (0.5, 0.25), axis=2), axis=1)
    for i in sorted(range(len(names)), key=lambda i: (-near[i], i)):
        boxes, anchors, distances = _candidates(points[i], *sizes[i])
        leads = np.hstack([np.repeat(points[i][None], len(anchors), 0), anchors])
        others = np.delete(marks, i, 0)
        cost = (
            distances
            + 100 * _outside(boxes, frame)
            + 50 * _overlaps(boxes, taken)
            + 20 * _overlaps(boxes, others)
            + 5 * np.sum(_crossings(leads, taken), axis=1)
            + 5 * np.sum(_crossings(lines, boxes), axis=0)
            + 2 * np.sum(_crossings(leads, others), axis=1)
        )
        best = int(np.argmin(cost))
        taken, lines = np.vstack([taken, boxes[best]]), np.vstack([lines, leads[best]])
        middle = boxes[best].reshape(2, 2).mean(0)
        led = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
        note = axes.annotate(
            names[i],
            (float(x.iloc[i]), float(y.iloc[i])),
            xytext=tuple((middle - points[i]) * 72),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=SIZE,
            color="#222222",
            arrowprops=led if distances[best] > _LED else None,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )
        note.set_in_layout(False)


def _candidates(
    point: NDArray[np.float64], width: float, height: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Where a label may stand, (C, 4); the spot of it next to the point, (C, 2); and how far off that is, (C,)."""
    directions = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    half = np.array([width, height]) / 2
    # A box at a distance has its middle so much further off: (distances, angles, 2) → (C, 2)
    off = (np.array(_DISTANCES)[:, None, None] + _MARK + half) * directions
    middles = point + off.reshape(-1, 2)
    boxes = np.hstack([middles - half, middles + half])
    distances = np.repeat(_DISTANCES, len(_ANGLES)) + 1e-3 * np.tile(np.arange(len(_ANGLES)), len(_DISTANCES))
    return boxes, np.clip(point, boxes[:, :2], boxes[:, 2:]), distances


def _outside(boxes: NDArray[np.float64], frame: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.any(boxes[:, :2] < frame[:2] + 0.02, axis=1) | np.any(boxes[:, 2:] > frame[2:] - 0.02, axis=1)


def _overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.int64]:
    """With how many others each box overlaps."""
    apart = (boxes[:, None, :2] >= others[None, :, 2:]) | (boxes[:, None, 2:] <= others[None, :, :2])  # (C, O, 2)
    return np.sum(~np.any(apart, axis=2), axis=1)


def _crossings(lines: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a line, from point to point, runs through a box, (L, B)."""
    start, way = lines[:, None, :2], lines[:, None, 2:] - lines[:, None, :2]
    way = np.where(way == 0, 1e-12, way)
    ends = np.stack([(boxes[None, :, :2] - start) / way, (boxes[None, :, 2:] - start) / way])  # in shares of the line
    first, last = ends.min(0).max(2), ends.max(0).min(2)  # where it is within both the box's width and its height
    return np.maximum(first, _TOUCH) < np.minimum(last, 1 - _TOUCH)
