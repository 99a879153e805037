"""What methods and tasks are called where people read: as papers print them. Files of numbers keep the identifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Names:
    """The rows and tasks of a report, each as papers print it; what is not among them is called by its identifier.

    Parameters
    ----------
    methods, tasks : mapping of str to str
        From identifier to name.
    """

    methods: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, methods: Mapping[str, str], tasks: Mapping[str, str]) -> Names:
        """The same, where no two are called alike: those that would be have their identifier behind the name."""
        return cls(_told_apart(methods), _told_apart(tasks))


def _told_apart(names: Mapping[str, str]) -> dict[str, str]:
    shown = {own: name or own for own, name in names.items()}
    counts = Counter([*shown.values(), *(own for own in shown if shown[own] != own)])
    return {own: name if counts[name] == 1 or name == own else f"{name} ({own})" for own, name in shown.items()}


_NAMES: ContextVar[Names] = ContextVar("names", default=Names())  # noqa: B039 - it cannot be changed


@contextmanager
def printed_as(names: Names) -> Iterator[None]:
    """In the block, what is printed calls methods and tasks by these names."""
    before = _NAMES.set(names)
    try:
        yield
    finally:
        _NAMES.reset(before)


def method_name(label: object) -> str:
    """A row as it is printed."""
    return _NAMES.get().methods.get(str(label), str(label))


def method_names(labels: Iterable[object]) -> list[str]:
    """Several of them, in their order."""
    return [method_name(label) for label in labels]


def task_name(task: object) -> str:
    """A task as it is printed."""
    return _NAMES.get().tasks.get(str(task), str(task))
