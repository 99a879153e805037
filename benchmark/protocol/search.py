"""What a hyper-parameter may be when methods are tuned: a range, or one of some values.

>>> search_space = {"learning_rate": Range(1e-4, 1e-2, log=True), "layers": Range(1, 4), "batch_size": Choice(16, 32)}
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from benchmark.errors import BenchmarkError, one_line


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, each as likely as the others.

    Parameters
    ----------
    low, high : int or float
        Both ends belong to it. Two whole numbers give whole numbers.
    log : bool
        Whether the logarithm is uniform, as for a learning rate: 1e-4 to 1e-3 as likely as 1e-3 to 1e-2.

    Raises
    ------
    BenchmarkError
        If the ends are no finite numbers in order, or there is no logarithm to draw.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not all(type(end) in (int, float) and math.isfinite(end) for end in (self.low, self.high)):
            raise BenchmarkError(f"{one_line(repr(self))}: both ends must be finite numbers, as in Range(0.0, 0.5)")
        if not self.low < self.high:
            raise BenchmarkError(f"{self!r}: the lower end comes first, and below the upper one")
        if self.log and self.whole:
            raise BenchmarkError(f"{self!r}: log=True is for floats; list whole numbers: Choice(16, 32, 64)")
        if self.log and self.low <= 0:
            raise BenchmarkError(f"{self!r}: log=True needs a lower end above 0, such as 1e-4")

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def distribution(self) -> Any:
        """As scikit-learn's ParameterSampler takes it: a distribution of scipy."""
        from scipy import stats

        if isinstance(self.low, int) and isinstance(self.high, int):
            return stats.randint(self.low, self.high + 1)
        if self.log:
            return stats.loguniform(self.low, self.high)
        return stats.uniform(self.low, self.high - self.low)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values that a check must let pass, if all are to pass."""
        return (self.low, self.high)

    def __contains__(self, value: object) -> bool:
        return type(value) in (int, float) and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        scale = "whole numbers" if self.whole else "logarithmic" if self.log else "uniform"
        return f"{self.low:g} to {self.high:g}, {scale}"


@dataclass(frozen=True, init=False)
class Choice:
    """One of some values, each as likely as the others.

    Parameters
    ----------
    *values : number, text, bool or None
        At least two, all different.

    Raises
    ------
    BenchmarkError
        If there are fewer, or one stands twice.
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)
        plain = all(value is None or type(value) in (bool, int, float, str) for value in values)
        if not plain or any(type(value) is float and not math.isfinite(value) for value in values):
            raise BenchmarkError(
                f"{one_line(repr(self))}: values must be finite numbers, texts, true or false, or None; "
                "write Choice(16, 32), not Choice([16, 32])"
            )
        if len(values) < 2 or len(set(map(repr, values))) < len(values):
            raise BenchmarkError(f"{one_line(repr(self))}: give two values or more, all different: Choice(16, 32)")

    @property
    def distribution(self) -> list[Any]:
        """As scikit-learn's ParameterSampler takes it: a list."""
        return list(self.values)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values that a check must let pass, if all are to pass."""
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.values))})"

    def __str__(self) -> str:
        return "one of " + ", ".join("none" if value is None else str(value) for value in self.values)
