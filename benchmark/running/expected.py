"""The time to expect of cells on a GPU, by what `make gpu` has measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.running.grid import Cell
from benchmark.running.progress import REFERENCE, duration

ALONE = "alone"
"""The way of training that is not of several models at once."""


class GpuTimes:
    """Seconds of an epoch on a GPU, as they were measured.

    Parameters
    ----------
    folder : Path
        With the files ``speed-*.json`` of `tests.speed.gpu`; none may be there.
    """

    def __init__(self, folder: Path = REFERENCE / "gpu") -> None:
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("speed-*.json"))]
        self.speeds: list[dict[str, Any]] = [speed for speed in found if "error" not in speed]

    @property
    def cards(self) -> str:
        """What it was measured on."""
        return " and ".join(sorted({speed["card"] for speed in self.speeds}))

    def epoch(self, method: str, samples: int, together: int) -> float | None:
        """Seconds that an epoch of each stage of a method takes, of one model; None where it was not measured.

        Parameters
        ----------
        method : str
        samples : int
            In the training split. An epoch's time grows with them; of the measurements the largest below counts.
        together : int
            How many models may be trained at once. Those of a smaller stack than was measured share its time.
        """
        own = sorted((s for s in self.speeds if s["method"] == method and s["seconds"]), key=lambda s: s["samples"])
        if not own:
            return None
        nearest = ([s for s in own if s["samples"] <= samples] or own[:1])[-1]
        return seconds_a_model(nearest, together) * samples / nearest["samples"]


def seconds_a_model(speed: Mapping[str, Any], together: int) -> float:
    """Of one measurement, an epoch's seconds by the fastest way, for each of so many models."""
    seconds: Mapping[str, float] = speed["seconds"]
    share = {way: taken if way == ALONE else taken / min(speed["seeds"], together) for way, taken in seconds.items()}
    return min(share[way] for way in share if way == ALONE or together > 1 or ALONE not in share)


def expected(cells: Sequence[Cell], together: int | str, measured: GpuTimes | None = None) -> str:
    """For people: how long some cells may take on a GPU.

    Parameters
    ----------
    cells : sequence of Cell
    together : int or "auto"
        How many cells are trained at once.
    measured : GpuTimes, optional
        By default what is stored among the reference results.
    """
    times = GpuTimes() if measured is None else measured
    if not times.speeds:
        return "not known: nothing was measured on a GPU yet; `make gpu` measures, on a machine that has one"
    of_each = [_most(cell, times, len(cells) if together == "auto" else int(together)) for cell in cells]
    known = [seconds for seconds in of_each if seconds is not None]
    unknown = len(cells) - len(known)
    text = f"at most about {duration(sum(known))} of training, by what was measured on {times.cards}"
    return text + (f"; {unknown} of {len(cells)} cells are of methods or data not measured" if unknown else "")


def _most(cell: Cell, times: GpuTimes, together: int) -> float | None:
    """Seconds of a cell that stops nowhere early."""
    if not cell.entry.augmentable:
        return 0.0  # a floor, which is not trained
    if cell.size is None:
        return None
    epoch = times.epoch(cell.row.name, cell.size.samples, together)
    return None if epoch is None else epoch * cell.training.epochs
