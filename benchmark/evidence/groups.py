"""Which test samples belong together: clips of a video, turns of a dialogue. What is drawn anew is a group."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Groups:
    """The groups of N samples.

    Parameters
    ----------
    index : ndarray of int64, shape (N,)
        The group of each sample.
    unit : str
        What a group is: ``video``; ``sample`` where each is its own.
    """

    index: NDArray[np.int64]
    unit: str

    @classmethod
    def alone(cls, num_samples: int) -> Groups:
        """Of samples that are each a group of its own."""
        return cls(np.arange(num_samples), "sample")

    @property
    def count(self) -> int:
        """G."""
        return int(self.index.max()) + 1 if len(self.index) else 0

    @property
    def effective(self) -> float:
        """The effective number of groups, G / (1 + V), with V the squared coefficient of variation of their sizes.

        A few large groups carry most of what is known, so that inference must count as if there were fewer (Carter,
        Schnepel and Steigerwald, "Asymptotic behavior of a t-test robust to cluster heterogeneity", Review of Economics
        and Statistics, 2017, with samples of a group fully dependent).
        """
        sizes = np.bincount(self.index)
        return float(len(sizes) / (1.0 + sizes.var() / sizes.mean() ** 2)) if len(sizes) else 0.0


def groups_of(ids: Sequence[str] | NDArray[np.str_], pattern: str | None, unit: str = "") -> Groups:
    """What samples belong to, told by their ids.

    Parameters
    ----------
    ids : sequence of str, length N
    pattern : str, optional
        A task's `group`: its first group in parentheses is what an id belongs to. An id that does not fit is alone.
    unit : str
        A task's `unit`.

    Returns
    -------
    Groups
        Each sample alone where there is no pattern, or no two ids share what it finds.
    """
    found: dict[tuple[str, str], int] = {}
    search = re.compile(pattern).search if pattern is not None else None
    places = []
    for sample_id in map(str, ids):
        match = search(sample_id) if search is not None else None
        name = ("alone", sample_id) if match is None or match[1] is None else ("group", match[1])
        places.append(found.setdefault(name, len(found)))
    together = len(found) < len(places)
    return Groups(np.array(places, dtype=np.int64), (unit or "group") if together else "sample")


def counted(count: int, unit: str) -> str:
    """``31 videos``, ``1 dialogue``."""
    return f"{count} {unit}" if count == 1 else f"{count} {unit[:-1]}ies" if unit.endswith("y") else f"{count} {unit}s"
