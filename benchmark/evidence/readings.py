"""Readings: what rows of one method are set to, where there are enough of them to be laid side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LEAST = 8
"""How many rows of one method a comparison of its readings takes; an ablation has fewer."""


def readings_of(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The options in which the rows of a method differ, with the value of each in each row.

    Parameters
    ----------
    records : iterable of mapping
        ``cell.json`` of cells.

    Returns
    -------
    list of dict
        `task`, `source`, `method`, `label` and `options`: by name, in its order, with a dot where a value is part of
        another, as in ``mrm.max_ratio``. Nothing of methods with fewer than `LEAST` rows.
    """
    rows: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        where = record["task"]["name"], record["data"]["source"], record["method"]
        rows.setdefault(where, {}).setdefault(record["label"], record)
    found = []
    for (task, source, method), own in rows.items():
        if len(own) < LEAST:
            continue
        values = {label: flat({**r["hyperparameters"], **r["training"]}) for label, r in own.items()}
        options = [
            option
            for option in sorted({option for each in values.values() for option in each})
            if len({repr(each.get(option)) for each in values.values()}) > 1
        ]
        found += [
            {
                "task": task,
                "source": source,
                "method": method,
                "label": label,
                "options": {option: each.get(option) for option in options},
            }
            for label, each in values.items()
        ]
    return found


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """What mappings within mappings hold, by names with a dot: ``mrm.max_ratio``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        parts = {f"{name}.{part}": inner for part, inner in flat(value).items()} if isinstance(value, Mapping) else {}
        found |= parts or {name: value}
    return found
