"""What a method is built and trained with."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from string import digits
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from benchmark.data.task import Task, known_tasks
from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.files.validation import validated
from benchmark.protocol.method import Method
from benchmark.protocol.training_config import TrainingConfig


def hyperparameters(
    cls: type[Method], name: str, task: Task, overrides: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], TrainingConfig]:
    """What a method is built and trained with.

    Later ones win: the constructor's and the harness's defaults, the class's `training_defaults` and its `per_task` of
    the data set, then of the task, then `overrides` in order.

    Returns
    -------
    dict
        All keyword arguments of the constructor.
    TrainingConfig

    Raises
    ------
    BenchmarkError
        For a key that is neither, or a value of the wrong type or out of its bounds.
    """
    parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]
    constructor = {p.name: p.default for p in parameters}
    for key, value in constructor.items():
        _check_plain(value, f"the default {name}.{key}={value!r}")
    hints = type_hints(cls, name)
    training: dict[str, Any] = {}
    for origin in (*_said_by_class(cls, name, task), *overrides):
        for key, value in origin.items():
            if key in constructor:
                constructor[key] = typed(hints[key], value, f"{name}.{key}")
            elif key in TrainingConfig.model_fields:
                both = isinstance(value, dict) and isinstance(training.get(key), dict)
                training[key] = {**training[key], **value} if both else value
            else:
                known = [*constructor, *TrainingConfig.model_fields]
                raise BenchmarkError(unknown(f"hyper-parameter of {name}", key, known))
    return constructor, validated(TrainingConfig, training, f"training of {name}")


def _said_by_class(cls: type[Method], name: str, task: Task) -> list[Mapping[str, Any]]:
    """Its `training_defaults`, and its `per_task` of a task; raises BenchmarkError where these are none."""
    per_task = cls.per_task
    if not isinstance(per_task, Mapping) or not all(isinstance(values, Mapping) for values in per_task.values()):
        raise BenchmarkError(
            f"per_task of {name} must name tasks and their hyper-parameters: {{'mosei': {{'heads': 8}}}}"
        )
    if not isinstance(cls.training_defaults, Mapping):
        raise BenchmarkError(f"training_defaults of {name} must name hyper-parameters: {{'learning_rate': 1e-3}}")
    for each in per_task:
        if each not in (task.name, task.data_set) and _misspelt(str(each)):
            raise BenchmarkError(unknown(f"task in per_task of {name}", each, known_tasks()))
    of_task = [per_task[each] for each in dict.fromkeys((task.data_set, task.name)) if each in per_task]
    return [cls.training_defaults, *of_task]


def _misspelt(name: str) -> bool:
    """Whether a name is likely meant for a task that comes with the benchmark; other names are people's own tasks."""
    known = {*known_tasks(), *(task.data_set for task in known_tasks().values())}
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.85)
    # Names that differ in a number at their end alone, as iemocap4 and iemocap6, are of different tasks.
    return name not in known and any(name.rstrip(digits) != each.rstrip(digits) for each in near)


def _check_plain(value: Any, what: str) -> None:
    """Refuse what cannot stand in a cell's definition, which is JSON."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(
            f"{one_line(what)} is no plain value; use finite numbers, texts, true or false, None, or lists of them"
        ) from error


def type_hints(cls: type[Method], name: str) -> dict[str, Any]:
    """The types of a constructor's arguments, with the bounds of Annotated ones; BenchmarkError for one not found."""
    try:
        return get_type_hints(cls.__init__, include_extras=True)
    except NameError as error:
        raise BenchmarkError(f"a type in the constructor of {name} cannot be read: {error}; import it there") from error


def typed(hint: Any, value: Any, where: str) -> Any:
    """A value as its type and bounds allow it: `yes` is no number, 2.0 no whole one; a list does for a tuple."""
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False, strict=True))
    except PydanticSchemaGenerationError as error:
        raise BenchmarkError(
            f"{where} cannot be set: {one_line(str(hint))} is no type of a plain value; give it one in the constructor"
        ) from error
    _check_plain(value, f"{where}={value!r}")
    try:
        if isinstance(value, list | dict):
            return adapter.validate_json(json.dumps(value))
        return adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise BenchmarkError(f"{where}={value!r}: {message[:1].lower() + message[1:]}") from error
