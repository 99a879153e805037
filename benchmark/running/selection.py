"""Which epoch's model a stage keeps: the named rules, one for all methods of a grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RULES = {
    "loss": "lowest cross-entropy, of an intensity lowest mean absolute error, on the validation split",
    "score": "best primary metric on the validation split",
    "last": "the last epoch, without early stopping",
}
"""In words, for captions."""


@dataclass
class Keeper:
    """Looks at a stage's epochs in their order, and says which is to be kept and when to stop.

    Parameters
    ----------
    rule : {"loss", "score", "last"}
    min_epochs : int
        The first epoch that may be kept; epochs begin at 1.
    lower_is_better : bool
        Of the task's primary metric.
    patience : float
        Epochs without a better one after which the stage is over.

    Attributes
    ----------
    kept : int
        The best epoch so far; 0 before there is one. Of equal ones it is the earlier.
    """

    rule: str
    min_epochs: int
    lower_is_better: bool
    patience: float = math.inf
    kept: int = field(default=0, init=False)
    _least: float = field(default=math.inf, init=False)
    _since: int = field(default=0, init=False)

    def better(self, epoch: Mapping[str, Any]) -> bool:
        """Take in the record of an epoch of :func:`benchmark.running.training.train`: is it the best so far?"""
        if epoch["epoch"] < self.min_epochs:
            return False
        value = self._to_minimise(epoch)
        if self.kept and value >= self._least:
            self._since += 1
            return False
        self.kept, self._least, self._since = epoch["epoch"], value, 0
        return True

    @property
    def over(self) -> bool:
        """Whether the stage is to stop."""
        return self._since >= self.patience

    def _to_minimise(self, epoch: Mapping[str, Any]) -> float:
        """The number of which the kept epoch has the least; infinite for a score that is undefined."""
        if self.rule == "last":
            return -float(epoch["epoch"])
        value = epoch["valid_loss"] if self.rule == "loss" else epoch["valid_score"]
        if value is None or math.isnan(value):  # null in a stored history
            return math.inf
        return float(-value if self.rule == "score" and not self.lower_is_better else value)


def kept(epochs: Iterable[Mapping[str, Any]], keeper: Keeper) -> int:
    """The epoch that a stage keeps which stops where `keeper` says so."""
    for epoch in epochs:
        keeper.better(epoch)
        if keeper.over:
            break
    return keeper.kept


def rule_of(training: Mapping[str, Any]) -> tuple[str, int]:
    """The rule and the first epoch that may be kept, of a stored cell's training; those of before said neither."""
    return training.get("selection", "loss"), training.get("min_epochs", 1)


def tell(rules: Mapping[str, tuple[str, int]]) -> str:
    """In words, for captions, how the models of some rows were selected.

    Parameters
    ----------
    rules : mapping of row to (str, int)
        From :func:`rule_of`.

    Returns
    -------
    str
        One rule where all rows have the same; else each with its rows, those of most rows first. Empty without rows.
    """
    rows: dict[tuple[str, int], list[str]] = {}
    for row, rule in rules.items():
        rows.setdefault(rule, []).append(row)
    if not rows:
        return ""
    usual, *others = sorted(rows, key=lambda rule: -len(rows[rule]))
    return "; ".join([_told(*usual), *(f"of {', '.join(rows[rule])}: {_told(*rule)}" for rule in others)])


def _told(rule: str, min_epochs: int) -> str:
    since = f", not before epoch {min_epochs}" if min_epochs > 1 else ""
    return f"{rule} ({RULES[rule]}{since})"
