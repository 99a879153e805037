"""Which epoch's model a stage keeps: the named rules, one for all methods of a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.protocol.training_config import TrainingConfig

RULES = {
    "loss": "lowest cross-entropy, of an intensity lowest mean absolute error, on the validation split",
    "score": "best primary metric on the validation split",
    "last": "the last epoch, without early stopping",
}
"""In words, for captions."""


def to_minimise(epoch: Mapping[str, Any], rule: str, *, lower_is_better: bool) -> float:
    """The number of which the kept epoch has the least; of equal ones the earlier epoch counts.

    Parameters
    ----------
    epoch : mapping
        A record of :func:`benchmark.running.training.train`.
    rule : {"loss", "score", "last"}
    lower_is_better : bool
        Of the task's primary metric.

    Returns
    -------
    float
        Infinite for a score that is undefined.
    """
    if rule == "last":
        return -float(epoch["epoch"])
    value = epoch["valid_loss"] if rule == "loss" else epoch["valid_score"]
    if value is None or math.isnan(value):  # null in a stored history
        return math.inf
    return float(-value if rule == "score" and not lower_is_better else value)


def kept(epochs: Sequence[Mapping[str, Any]], rule: str, min_epochs: int, *, lower_is_better: bool) -> int:
    """The place of the epoch that a stage keeps among its epochs, which are in order and at least one."""
    places = [place for place, epoch in enumerate(epochs) if epoch["epoch"] >= min_epochs]
    return min(
        places or [len(epochs) - 1],
        key=lambda place: to_minimise(epochs[place], rule, lower_is_better=lower_is_better),
    )


def rule_of(training: Mapping[str, Any]) -> tuple[str, int]:
    """The rule and the first epoch that may be kept, of a stored cell's training; those of before said neither."""
    default = TrainingConfig()
    return training.get("selection", default.selection), training.get("min_epochs", default.min_epochs)


def tell(rules: Mapping[str, tuple[str, int]]) -> str:
    """In words, for captions, how the models of some rows were selected.

    Parameters
    ----------
    rules : mapping of row to (str, int)
        From :func:`rule_of`.

    Returns
    -------
    str
        One rule where all rows have the same; else each with its rows, those of most rows first.
    """
    rows: dict[tuple[str, int], list[str]] = {}
    for row, rule in rules.items():
        rows.setdefault(rule, []).append(row)
    usual, *others = sorted(rows, key=lambda rule: -len(rows[rule])) or [rule_of({})]
    return "; ".join([_told(*usual), *(f"of {', '.join(rows[rule])}: {_told(*rule)}" for rule in others)])


def _told(rule: str, min_epochs: int) -> str:
    since = f", not before epoch {min_epochs}" if min_epochs > 1 else ""
    return f"{rule} ({RULES[rule]}{since})"
