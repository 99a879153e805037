"""Which frames of a sample are real, and which are padding in front of them or behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import RawSplit
from benchmark.protocol.missing import MODALITIES

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Extent:
    """Where the real frames of one modality stand, in each of N samples.

    Parameters
    ----------
    start, stop : ndarray of int64, shape (N,)
        The first real frame, and the one after the last.
    unclear : ndarray of bool, shape (N,)
        The file tells a length, and frames that are not zero stand beyond it, counted from either end.
    told : bool
        Whether the file tells the lengths; otherwise they were found from zeros.
    """

    start: Places
    stop: Places
    unclear: NDArray[np.bool_]
    told: bool


def frame_extents(raw: RawSplit) -> dict[str, Extent]:
    """The real frames of each modality.

    Where the file tells lengths, a sample is padded behind if all that stands behind its length is zero; otherwise it
    is padded in front if all before its last frames is zero. Where neither is so, BERT's attention mask tells the
    place, or the first frames are taken, and the sample is `unclear`. The words' lengths hold for what is aligned to
    them, and so does their side.

    Without lengths, padding is what is all zero before the first and behind the last frame that is not; where frames of
    all modalities belong to the same words (equal numbers of frames), a frame is real if any modality says so.
    """
    num_frames = {m: x.shape[1] for m, x in raw.features.items()}
    there = [m for m in MODALITIES if m not in raw.absent]
    aligned = len({raw.features[m].shape[:2] for m in there}) == 1 and num_frames[there[0]] > 1
    told = dict(raw.lengths)
    if aligned and "l" in told and "l" in there:
        told |= {m: told["l"] for m in MODALITIES if m not in told}
    # NaN is not zero, so it is no padding; unless a length tells that it must be.
    found = {m: _ends((x != 0) & np.isfinite(x) if m in told else x != 0) for m, x in raw.features.items()}
    extents: dict[str, Extent] = {}
    same = [m for m in told if aligned and "l" in told and m in there and np.array_equal(told[m], told["l"])]
    for group in (same, *([m] for m in told if m not in same)):
        if group:
            mask = raw.mask if "l" in group else None
            extents |= _told(group, found, told[group[0]], num_frames[group[0]], mask)
    if aligned and not set(told) - raw.absent:
        own = {m: found[m] for m in there}
        start = np.min([np.where(a == b, num_frames[m], a) for m, (a, b) in own.items()], axis=0)
        stop = np.max([b for _, b in own.values()], axis=0)
        found |= dict.fromkeys(own, (np.minimum(start, stop), stop))
    for m in MODALITIES:
        if m not in told:
            extents[m] = Extent(*found[m], np.zeros(len(found[m][0]), dtype=bool), told=False)
    return extents


def _ends(counts: NDArray[np.bool_]) -> tuple[Places, Places]:
    """The first frame in which a number counts and the one after the last, (N,) each; 0 and 0 where there is none."""
    filled: NDArray[np.bool_] = np.logical_or.reduce(counts, axis=2)  # (N, T)
    start = filled.argmax(1)
    stop = np.where(filled.any(1), filled.shape[1] - filled[:, ::-1].argmax(1), 0)
    return start.astype(np.int64), stop.astype(np.int64)


def _told(
    group: list[str],
    found: dict[str, tuple[Places, Places]],
    lengths: Places,
    num_frames: int,
    mask: NDArray[np.bool_] | None,
) -> dict[str, Extent]:
    """The frames of modalities that have the same lengths, on the same side if there is one that fits all of them."""
    starts = [np.zeros_like(lengths), num_frames - lengths]  # padded behind, padded in front
    if mask is not None:
        starts.insert(0, mask.argmax(1).astype(np.int64))
    fits = {}
    for m in group:
        first, last = found[m]
        fits[m] = np.stack([(first == last) | ((first >= s) & (last <= s + lengths)) for s in starts])  # (sides, N)
    clear = {m: np.logical_or.reduce(sides) for m, sides in fits.items()}
    common = np.logical_and.reduce([fits[m] | ~clear[m] for m in group])  # (sides, N)
    extents = {}
    for m in group:
        side = np.where(common.any(0), common.argmax(0), fits[m].argmax(0))
        side[~clear[m]] = 0
        start = np.stack(starts)[side, np.arange(len(lengths))]
        extents[m] = Extent(start, start + lengths, ~clear[m], told=True)
    return extents


def describe_padding(extent: Extent, num_frames: int) -> str:
    """In words, for instance ``padded in front``; empty where nothing is padded."""
    there = extent.start < extent.stop
    front = int((there & (extent.start > 0)).sum())
    behind = int((there & (extent.stop < num_frames)).sum())
    if front and behind:
        return f"padded in front in {front} samples, behind in {behind}"
    return "padded in front" if front else "padded behind" if behind else ""


def moved_to_front(x: NDArray[np.float32], extent: Extent) -> NDArray[np.float32]:
    """Real frames first, zeros behind, cut to the longest sample: (N, T, d) → (N, longest, d)."""
    longest = max(1, int((extent.stop - extent.start).max()))
    position = extent.start[:, None] + np.arange(longest)[None, :]  # (N, longest)
    moved = np.take_along_axis(x, np.minimum(position, x.shape[1] - 1)[:, :, None], axis=1)
    moved[position >= extent.stop[:, None]] = 0.0
    return moved
