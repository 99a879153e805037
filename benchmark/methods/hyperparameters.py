"""What a method is built and trained with."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from benchmark.errors import BenchmarkError, unknown
from benchmark.files.validation import validated
from benchmark.protocol.method import Method
from benchmark.protocol.training_config import TrainingConfig


def hyperparameters(
    cls: type[Method], name: str, task: str, overrides: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], TrainingConfig]:
    """What a method is built and trained with.

    Later ones win: the constructor's and the harness's defaults, the class's `training_defaults` and `per_task`, then
    `overrides` in order.

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
    hints = get_type_hints(cls.__init__, include_extras=True)  # with the bounds of Annotated types
    training: dict[str, Any] = {}
    for origin in (cls.training_defaults, cls.per_task.get(task, {}), *overrides):
        for key, value in origin.items():
            if key in constructor:
                constructor[key] = _typed(hints[key], value, f"{name}.{key}")
            elif key in TrainingConfig.model_fields:
                both = isinstance(value, dict) and isinstance(training.get(key), dict)
                training[key] = {**training[key], **value} if both else value
            else:
                known = [*constructor, *TrainingConfig.model_fields]
                raise BenchmarkError(unknown(f"hyper-parameter of {name}", key, known))
    return constructor, validated(TrainingConfig, training, f"training of {name}")


def _typed(hint: Any, value: Any, where: str) -> Any:
    """A value as its type and bounds allow it: `yes` is no number, 2.0 no whole one; a list does for a tuple."""
    adapter = TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False, strict=True))
    try:
        if isinstance(value, list | dict):
            return adapter.validate_json(json.dumps(value))
        return adapter.validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise BenchmarkError(f"{where}={value!r}: {message[:1].lower() + message[1:]}") from error
