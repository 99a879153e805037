"""The conformance suite's check of a search space: what tuning would draw can be built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.errors import one_line, unknown
from benchmark.methods.cards import card
from benchmark.methods.loading import load
from benchmark.methods.search import configurations
from benchmark.methods.violations import NotApplicable, Violation

if TYPE_CHECKING:
    from benchmark.methods.conformance import Subject

DRAWN = 10  # configurations a task


def check_search_space(subject: Subject, tasks: tuple[str, ...]) -> None:
    """The first configurations can be built, and the card's reasons are of entries of the space."""
    entry, cls = subject.entry, load(subject.entry)
    for key in card(entry).get("search_space", {}):
        if key not in (cls.search_space or {}):
            raise Violation(unknown("entry in search_space of the card", key, cls.search_space or ()))
    if not cls.search_space:
        raise NotApplicable("no search space of its own" if cls.search_space is None else "nothing to tune")
    for task in tasks:
        dataset = subject.dataset(task)
        for changes in configurations(cls, entry.name, task, entry.trains_on, DRAWN):
            try:
                subject.build(dataset, **changes)
            except Exception as error:
                what = one_line(f"{type(error).__name__}: {error}")
                raise Violation(
                    f"the search space holds {changes}, which cannot be built ({what}); choose ranges of which all "
                    f"combinations can, task {task}"
                ) from error
