"""Labels such as ``mult+mrm`` and names of groups → rows of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmark.errors import BenchmarkError, unknown
from benchmark.files.validation import Strict
from benchmark.methods.cards import card
from benchmark.methods.registry import Entry

_SUFFIXES = {"+mrm": "missing", "-mrm": "complete"}


@dataclass(frozen=True)
class Row:
    """A method as it stands in a table: ``mult``, or ``mult+mrm`` for MulT trained on incomplete samples.

    Parameters
    ----------
    label : str
        What is printed.
    name : str
        The registered method.
    trains_on : {"complete", "missing"}
    variant : tuple of (key, value)
        The hyper-parameters that set it apart from other rows of its method.
    position : int
        Among the variants of a grid, from 1 on; 0 for what is no variant. For the order in tables.
    """

    label: str
    name: str
    trains_on: str
    variant: tuple[tuple[str, Any], ...] = ()
    position: int = 0

    @property
    def tuned(self) -> bool:
        """Whether its hyper-parameters were chosen by validation."""
        return TUNED in self.variant


def groups(entries: Mapping[str, Entry]) -> dict[str, list[str]]:
    """Names for several methods at once: ``all``, and what the cards' ``groups`` say, such as ``paper``."""
    found = {"all": list(entries)}
    for entry in entries.values():
        for group in card(entry).get("groups", []):
            found.setdefault(group, []).append(entry.name)
    return found


def expand(labels: Iterable[str], entries: Mapping[str, Entry], variants: Collection[str] = ()) -> list[str]:
    """Names of groups → the methods in them; methods and variants stay. A method wins over a group of its name.

    With a suffix (``recent+mrm``), a group stands for its methods trained that way, as registered or not; those that
    training does not change stand for themselves.

    Raises
    ------
    BenchmarkError
        For a name that is none of these, with the nearest ones and all there are.
    """
    members: dict[str, list[str]] = {}  # read where a name needs them: they take every method's card
    found = []
    for label in labels:
        name, suffix = _parts(label)
        if name in entries or label in variants:
            found.append(label)
            continue
        members = members or groups(entries)
        if name not in members:
            raise BenchmarkError(unknown("method", name, {*entries, *variants, *members}))
        wanted = _SUFFIXES.get(suffix)
        for member in members[name]:
            as_registered = wanted in (None, entries[member].trains_on) or not entries[member].augmentable
            found.append(member if as_registered else member + suffix)
    return list(dict.fromkeys(found))


def rows(labels: Iterable[str], entries: dict[str, Entry], variants: Mapping[str, Variant] | None = None) -> list[Row]:
    """Labels such as ``mult`` or ``mult+mrm``, or names of a grid's variants → rows.

    Raises
    ------
    BenchmarkError
        For an unknown name (with the nearest ones and all there are), a suffix that changes nothing, or a variant with
        a method's name.
    """
    variants = variants or {}
    for name in variants:
        if _parts(name)[0] in entries:
            raise BenchmarkError(f"variant {name!r} has the name of a method; choose another")
    known = {*entries, *variants}
    found = []
    for label in dict.fromkeys(labels):
        if label in variants:
            try:
                row = _row(variants[label].method, entries, entries)
            except BenchmarkError as error:
                raise BenchmarkError(f"variant {label!r}: {error}") from error
            position = list(variants).index(label) + 1
            row = replace(row, label=label, variant=tuple(variants[label].set.items()), position=position)
        else:
            row = _row(label, entries, known)
        found.append(row)
    return found


def both_ways(entries: dict[str, Entry]) -> list[str]:
    """The labels of all methods, trained as registered and the other way, where that makes a difference."""
    labels = []
    for entry in entries.values():
        labels.append(entry.name)
        if entry.augmentable:
            labels.append(entry.name + ("+mrm" if entry.trains_on == "complete" else "-mrm"))
    return labels


def _parts(label: str) -> tuple[str, str]:
    return (label[:-4], label[-4:]) if label.endswith(("+mrm", "-mrm")) else (label, "")


def stored_row(record: Mapping[str, Any]) -> Row:
    """The row that a stored cell belongs to, from its ``cell.json``."""
    variant = tuple(record.get("variant", {}).items())
    trains_on = record["training"]["trains_on"]
    return Row(record["label"], record["method"], trains_on, variant, record.get("position", 0))


def label_row(label: str, entries: dict[str, Entry]) -> Row:
    """The row of a label of which nothing else is known; what it trains on is empty if the method is not there."""
    name, suffix = _parts(label)
    return Row(label, name, _SUFFIXES.get(suffix, entries[name].trains_on) if name in entries else "")


TUNED = ("tuned", "by validation")
"""In the `variant` of a row that is tuned; what was chosen, and of how many, differs by task and budget."""


def describe(row: Row, entries: dict[str, Entry]) -> str:
    """A row in one line: its paper, what it trains on, and what sets it apart from its method."""
    if row.name not in entries:
        return "not among the methods here"
    tuned = f", {' '.join(TUNED)}" if row.tuned else ""
    apart = ", ".join(f"{key}={value}" for key, value in row.variant if (key, value) != TUNED)
    with_ = f"; {row.name} with {apart}" if apart else ""
    samples = {"complete": "whole", "missing": "incomplete"}[row.trains_on]
    return f"{entries[row.name].paper}; trained on {samples} samples{tuned}{with_}"


def display_name(row: Row, entries: Mapping[str, Entry]) -> str:
    """A row as papers print it: ``TFR-Net``, ``MulT+MRM``, ``CorrKD w/o MRM``; its label where no card says more."""
    rest = row.label.removeprefix(row.name)
    shown = card(entries[row.name]).get("display") if row.name in entries else None
    if not shown or rest == row.label or (rest and rest[0] not in "+- "):
        return row.label
    return shown + {"+mrm": "+MRM", "-mrm": " w/o MRM"}.get(rest, rest)


def by_year(found: Iterable[Row], entries: dict[str, Entry]) -> list[Row]:
    """Rows in the order of a paper's table: by the year in the method's card; without a card, at the end."""

    def year(row: Row) -> int:
        known = card(entries[row.name]).get("year") if row.name in entries else None
        return known if isinstance(known, int) else 9999

    return sorted(found, key=lambda row: (year(row), row.name, row.position, row.label))


def _row(label: str, entries: dict[str, Entry], known: Iterable[str]) -> Row:
    name, suffix = _parts(label)
    if name not in entries:
        raise BenchmarkError(unknown("method", name, known))
    usual = entries[name].trains_on
    if suffix and not entries[name].augmentable:
        raise BenchmarkError(f"{label!r}: {name} is the same however it is trained; ask for {name!r}")
    trains_on = _SUFFIXES.get(suffix, usual)
    if suffix and trains_on == usual:
        raise BenchmarkError(f"{label!r}: {name} trains on {usual} samples already; ask for {name!r}")
    return Row(label, name, trains_on)


class Variant(Strict):
    """A row of a table that is a configuration of a method, as in an ablation.

    Parameters
    ----------
    method : str
        With ``+mrm`` or ``-mrm`` behind where wanted.
    set : dict
        Hyper-parameters that differ; they win over ``--set``.
    """

    method: str
    set: dict[str, Any]
