"""What a task asks for: polarity, a category or an intensity; and how labels of the data become what is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLARITY, CATEGORY, INTENSITY = "polarity", "category", "intensity"
KINDS = (POLARITY, CATEGORY, INTENSITY)
SIGNS = ("negative", "non-negative")
BINS = 7
"""Classes of an intensity, for methods that need categories: those of Acc-7, where labels go from -3 to 3."""

_FORMER = {"sentiment": POLARITY, "emotion": CATEGORY}  # as version 0.1 called them in its cells


@dataclass(frozen=True)
class Target:
    """What a task asks for.

    Parameters
    ----------
    kind : {"polarity", "category", "intensity"}
        A sign, one of K categories, or a number.
    categories : tuple of K str
        In the order of the logits. Polarity: negative, non-negative. Intensity: the bins, for methods that need
        categories, and for plots.
    below : float
        Polarity: what is below is negative; labels equal to it are neutral, and not counted by ``f1``.
    span : (float, float)
        The least and the largest label of a polarity or an intensity.
    cuts : tuple of (metric, tuple of float)
        Intensity: for ``acc5`` or ``acc3``, where the classes end, as MMSA's code has it for CH-SIMS: (a, b]. Without
        cuts and with labels from -3 to 3 these metrics round.
    """

    kind: str
    categories: tuple[str, ...] = ()
    below: float = 0.0
    span: tuple[float, float] = (-3.0, 3.0)
    cuts: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} is unknown; use one of {', '.join(KINDS)}")
        if self.kind == POLARITY:
            object.__setattr__(self, "categories", SIGNS)
        if self.kind == INTENSITY:
            object.__setattr__(self, "categories", tuple(f"{value:+.3g}" if value else "0" for value in self.bins))

    @property
    def bins(self) -> tuple[float, ...]:
        """The values of the bins of an intensity, evenly over its span; empty for other kinds."""
        if self.kind != INTENSITY:
            return ()
        return tuple(round(float(value), 6) + 0.0 for value in np.linspace(*self.span, BINS))

    @property
    def num_outputs(self) -> int:
        """Numbers that a model gives for a sample: K logits, or one intensity."""
        return 1 if self.kind == INTENSITY else len(self.categories)

    def category_indices(self, labels: NDArray[np.generic]) -> NDArray[np.int64]:
        """Labels as in the data → categories trained, shape (N,): 0 negative, 1 non-negative; or the nearest bin."""
        if self.kind == POLARITY:
            return (labels >= self.below).astype(np.int64)  # type: ignore[operator]
        if self.kind == INTENSITY:
            low, high = self.span
            half = BINS // 2
            # Counted from the middle, so that the bins of -3 to 3 are np.round's: 0.5 → 0, 1.5 → 2.
            steps = np.round((labels.astype(np.float64) - (low + high) / 2) * 2 * half / (high - low))
            return np.clip(steps, -half, half).astype(np.int64) + half
        return labels.astype(np.int64)

    def record(self) -> dict[str, Any]:
        """As it stands in ``cell.json``."""
        said: dict[str, Any] = {"kind": self.kind, "categories": list(self.categories)}
        if self.kind == POLARITY:
            said["below"] = self.below
        if self.kind != CATEGORY:
            said["span"] = list(self.span)
        if self.cuts:
            said["cuts"] = {name: list(cuts) for name, cuts in self.cuts}
        return said

    @classmethod
    def of_record(cls, said: Mapping[str, Any]) -> Target:
        """The inverse of :meth:`record`; takes what earlier versions have stored."""
        kind = _FORMER.get(said["kind"], said["kind"])
        return cls(
            kind=kind,
            categories=tuple(said["categories"]),
            below=float(said.get("below", 0.0)),
            span=tuple(map(float, said.get("span", (-3.0, 3.0)))),  # type: ignore[arg-type]
            cuts=tuple((name, tuple(cuts)) for name, cuts in sorted(said.get("cuts", {}).items())),
        )
