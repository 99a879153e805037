"""What a method is tuned over, and which configurations are tried.

A method's own `search_space`, and the harness's for what it does not name. Configuration i of a method on a task is the
same on every machine, for every number of configurations, whatever else runs.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.files.validation import validated
from benchmark.methods.cards import card
from benchmark.methods.hyperparameters import SHARED, type_hints, typed
from benchmark.methods.loading import load
from benchmark.methods.registry import Entry
from benchmark.protocol.method import Method
from benchmark.protocol.search import Choice, Range
from benchmark.protocol.training_config import MRMConfig, TrainingConfig

HARNESS: dict[str, Range | Choice] = {
    "learning_rate": Range(1e-4, 1e-2, log=True),
    "batch_size": Choice(16, 32, 64, 128),
    "weight_decay": Choice(0.0, 1e-5, 1e-4, 1e-3),
    "clip_norm": Choice(None, 0.5, 1.0, 5.0),
}
"""The training settings that every method is tuned over, where its own space does not name them."""

MISSINGNESS: dict[str, Range | Choice] = {
    "mrm.frame_probability": Range(0.2, 0.8),
    "mrm.modality_probability": Range(0.2, 0.8),
}
"""Beside them for a method that trains on incomplete samples: what Modality Random Missing draws."""

_MRM = tuple(f"mrm.{field}" for field in MRMConfig.model_fields)


def search_space(cls: type[Method], name: str, trains_on: str) -> tuple[dict[str, Range | Choice], bool]:
    """What a method is tuned over.

    Parameters
    ----------
    cls : type
    name : str
        The method's, for messages.
    trains_on : {"complete", "missing"}

    Returns
    -------
    dict of str to Range or Choice
        By hyper-parameter or training setting; of MRM's as ``mrm.frame_probability``. Empty where a class says so
        with an empty `search_space`: there is nothing to tune. To the space of a class that is not `augmentable`,
        whose training is its own, the harness adds nothing.
    bool
        Whether the class has a space of its own; else it is tuned over the training settings alone.

    Raises
    ------
    BenchmarkError
        If the class's own is none.
    """
    own = cls.search_space
    if own is None:
        own_space: dict[str, Range | Choice] = {}
    else:
        check_space(cls, name)
        own_space = dict(own)
        if not own or not cls.augmentable:
            return own_space, True
    harness = HARNESS | (MISSINGNESS if trains_on == "missing" else {})
    return own_space | {key: values for key, values in harness.items() if key not in own_space}, own is not None


def tuned_over(entry: Entry) -> dict[str, str]:
    """For people: what a method is tuned over, each entry's range with its reason from the card.

    Raises
    ------
    BenchmarkError
        If the method cannot be imported, or its own space is none.
    """
    cls = load(entry)
    space, _ = search_space(cls, entry.name, entry.trains_on)
    reasons = card(entry).get("search_space", {})
    told = {key: reasons.get(key, "") if key in (cls.search_space or {}) else "of the harness" for key in space}
    return {key: f"{values} ({why})" if (why := told[key]) else str(values) for key, values in space.items()}


def configurations(cls: type[Method], name: str, task_name: str, trains_on: str, count: int) -> list[dict[str, Any]]:
    """Random configurations of a method on a task, as ``set:`` and ``variants:`` of a grid take them.

    Each is drawn by scikit-learn's ParameterSampler, seeded by the names of method and task and by its place alone.

    Parameters
    ----------
    cls : type
    name, task_name : str
    trains_on : {"complete", "missing"}
    count : int
        How many; of a method with nothing to tune there are none.

    Returns
    -------
    list of dict
        Such as ``{"learning_rate": 0.003, "mrm": {"frame_probability": 0.4}}``; floats have four significant digits.

    Raises
    ------
    BenchmarkError
        If the class's search space is none.
    """
    from sklearn.model_selection import ParameterSampler

    space, _ = search_space(cls, name, trains_on)
    if not space:
        return []
    distributions = {key: values.distribution for key, values in space.items()}
    drawn = []
    for index in range(count):
        # One at a time: a single sampler over lists alone would draw others for another count.
        sample = next(iter(ParameterSampler(distributions, 1, random_state=_seed(name, task_name, index))))
        drawn.append(_nested({key: _plain(sample[key], space[key]) for key in space}))
    return drawn


def _seed(name: str, task_name: str, index: int) -> int:
    digest = hashlib.sha256(f"{name}/{task_name}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _plain(value: Any, values: Range | Choice) -> Any:
    """A drawn number as Python's own, with few digits, within its range."""
    if isinstance(values, Choice):
        return value
    if values.whole:
        return int(value)
    return min(max(float(f"{value:.4g}"), float(values.low)), float(values.high))


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        outer, _, inner = key.partition(".")
        if inner:
            nested.setdefault(outer, {})[inner] = value
        else:
            nested[key] = value
    return nested


def check_space(cls: type[Method], name: str) -> None:
    """Refuse a class's `search_space` that cannot be tuned over.

    Raises
    ------
    BenchmarkError
        For what is no mapping of names to :class:`Range` or :class:`Choice`, an unknown name, a value of the wrong type
        or out of bounds, or a default outside of its range.
    """
    space, where = cls.search_space, f"search_space of {name}"
    if space is None:
        return
    if not isinstance(space, Mapping):
        raise BenchmarkError(f'{where} must name what to tune: {{"learning_rate": Range(1e-4, 1e-2, log=True)}}')
    constructor = [p.name for p in list(inspect.signature(cls.__init__).parameters.values())[2:]]
    hints = type_hints(cls, name) if space else {}
    known = {*constructor, *TrainingConfig.model_fields, *_MRM} - {"mrm", *SHARED}
    for key, values in space.items():
        if key not in known:
            raise BenchmarkError(unknown(f"hyper-parameter in {where}", key, known))
        if not isinstance(values, Range | Choice):
            raise BenchmarkError(
                f"{where}: {key} is {one_line(repr(values))}; write Range(low, high) or Choice(one, another)"
            )
        for value in values.extremes:
            if key in constructor:
                typed(hints[key], value, f"{where}: {key}")
            else:
                validated(TrainingConfig, _nested({key: value}), where)
        for default in _defaults(cls, key):
            if isinstance(values, Range) and default is not None and default not in values:
                raise BenchmarkError(f"{where}: the default {key}={default!r} is not within {values}; widen the range")


def _defaults(cls: type[Method], key: str) -> Iterator[Any]:
    """What a hyper-parameter is where nobody sets it: by the constructor or the training, and by task."""
    parameter = inspect.signature(cls.__init__).parameters.get(key)
    if parameter is not None:
        yield parameter.default
    elif key in cls.training_defaults:
        yield cls.training_defaults[key]
    elif key in TrainingConfig.model_fields:
        yield TrainingConfig.model_fields[key].default
    yield from (values[key] for values in cls.per_task.values() if key in values)
