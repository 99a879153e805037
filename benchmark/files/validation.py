"""Content of files against pydantic models; every error names the offending key, and its line where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.files.yamlfiles import Place, line_of

M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """No unknown keys, no NaN, no `yes` for a number, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


def validated(model: type[M], content: dict[str, Any], where: str, lines: Mapping[Place, int] | None = None) -> M:
    """`content` as `model`, or a BenchmarkError that names the first offending key, and its line if `lines` has it."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        line = line_of(_place(error), lines or {})
        where = where if line is None else f"{where}, line {line}"
        raise BenchmarkError(f"{where}: {describe(error, model)}") from error


def _first(error: ValidationError) -> ErrorDetails:
    """The problem to tell: an unknown key, since one that is missing may be that one misspelt; else the first."""
    problems = error.errors()
    return next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])


def _place(error: ValidationError) -> Place:
    """Where that problem is, also in what a validator has validated in turn."""
    first = _first(error)
    inner = getattr(first.get("ctx", {}).get("error"), "__cause__", None)
    return first["loc"] + (_place(inner) if isinstance(inner, ValidationError) else ())


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """A validation error in one line: an unknown key, or the first problem."""
    first = _first(error)
    key = one_line(".".join(str(part) for part in first["loc"]))
    if first["type"] == "extra_forbidden":
        *place, leaf = first["loc"]
        return unknown("key", one_line(str(leaf)), _fields(model, tuple(place)), shown=key)
    message = one_line(first["msg"].removeprefix("Value error, "), 400)
    given = "" if first["type"] == "missing" else f" (given: {one_line(repr(first['input']), 60)})"
    return f"key {key!r}: {message[:1].lower() + message[1:]}{given}"


def _fields(model: Any, place: Place) -> list[str]:
    """The keys there are at a place: of a model, a model or nothing, or the models in a list or dictionary."""
    for part in place:
        model = model.model_fields[part].annotation if hasattr(model, "model_fields") else get_args(model)[-1]
        if isinstance(model, UnionType):
            model = get_args(model)[0]
    return list(model.model_fields)
