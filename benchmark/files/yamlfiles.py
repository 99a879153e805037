"""Reading YAML files that a person wrote: plain data, each key once, and the line in which each key stands."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

from benchmark.errors import BenchmarkError, one_line

Place = tuple[str | int, ...]
"""The keys and positions that lead to a value, from the outside in."""

_LARGEST = 2**18  # bytes of a file
_VALUES = 20_000  # and what it may hold, where what an alias (*name) stands for counts each time
_CHARACTERS = 2**20
_DEPTH = 20
_DIGITS = 40
_TAG = "tag:yaml.org,2002:"
_SCALARS = ("null", "bool", "int", "float", "str")


def read_yaml(path: Path, what: str) -> tuple[dict[str, Any], dict[Place, int]]:
    """A file that holds keys.

    Parameters
    ----------
    path : Path
    what : str
        What the file is, for messages, such as ``grid file``.

    Returns
    -------
    dict
        Of None, bool, int, float, str, lists and dicts whose keys are text.
    dict of place to int
        The line, from 1 on, of each key and item; of the whole under ``()``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BenchmarkError
        If it cannot be read, is no YAML, or holds anything else; names the line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BenchmarkError(f"cannot read {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"cannot read {what} {path}: it is no UTF-8 text; save it as such") from error
    if len(content) > _LARGEST:
        raise BenchmarkError(f"{what} {path} is larger than {_LARGEST // 1024} KiB; shorten it")
    return copy.deepcopy(_content(text, f"{what} {path}"))  # whoever asked may change it


@lru_cache(maxsize=256)
def _content(text: str, where: str) -> tuple[dict[str, Any], dict[Place, int]]:
    """What a text says; kept, since PyYAML takes long and a run asks for each card several times."""
    return _Reader(text, where).read()


def read_value(text: str, what: str) -> Any:
    """A value that stands by itself, as on the command line; as strict as :func:`read_yaml`, but it need hold no keys.

    Raises
    ------
    BenchmarkError
        If `text` is no YAML, or holds anything but plain values.
    """
    return _Reader(text, what).value()


def line_of(place: Place, lines: Mapping[Place, int]) -> int | None:
    """The line of a place, or of what it stands in; parts that the file does not have are passed over."""
    found: Place = ()
    for part in place:
        if (*found, part) in lines:
            found = (*found, part)
    return lines.get(found)


class _Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as the number that a person means by it, which YAML 1.1 takes for a text."""


_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), [*"-+.0123456789"])


class _Reader:
    def __init__(self, text: str, where: str) -> None:
        self._text, self._where = text, where
        self._values = self._characters = 0
        self._lines: dict[Place, int] = {}

    def read(self) -> tuple[dict[str, Any], dict[Place, int]]:
        content = self.value()
        if not isinstance(content, dict):
            raise BenchmarkError(f"{self._where} must hold keys and their values, 'key: value', a line each")
        return content, self._lines

    def value(self) -> Any:
        self._loader: Any = None
        try:
            self._loader = _Loader(self._text)
            node = self._loader.get_single_node()
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            self._fail(mark.line + 1 if mark is not None else None, getattr(error, "problem", None) or str(error))
        except RecursionError:
            self._fail(self._loader.line + 1, "it is nested too deeply")
        except (ValueError, OverflowError) as error:  # of numbers in escapes and directives
            self._fail(self._loader.line + 1, str(error))
        return self._build(node, ()) if node is not None else None

    def _fail(self, line: int | None, problem: str) -> NoReturn:
        where = f"{self._where}, line {line}" if line is not None else self._where
        raise BenchmarkError(f"{where} is no YAML: {one_line(problem)}; mend it")

    def _refuse(self, node: yaml.Node, problem: str) -> NoReturn:
        raise BenchmarkError(f"{self._where}, line {node.start_mark.line + 1}: {problem}")

    def _build(self, node: yaml.Node, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        self._values += 1
        if len(place) > _DEPTH:
            self._refuse(node, f"values nested more than {_DEPTH} deep; write them flat")
        if self._values > _VALUES or self._characters > _CHARACTERS:
            self._refuse(node, "too many values, with those that aliases (*name) stand for; write fewer")
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._build(item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in [_TAG + name for name in _SCALARS]:
            return self._scalar(node)
        tag = one_line(node.tag.removeprefix(_TAG), 60)
        self._refuse(
            node, f"the type {tag!r} is no YAML for a plain value; leave the tag out, or put the value in quotes"
        )

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_TAG}str":
                self._refuse(key_node, "a key that is no text; put it in quotes")
            key = self._scalar(key_node)
            name = repr(one_line(".".join(map(str, (*place, key)))))
            if key in content:
                self._refuse(
                    key_node, f"key {name} stands there already, in line {self._lines[*place, key]}; remove one"
                )
            self._lines[*place, key] = key_node.start_mark.line + 1
            content[key] = self._build(value, (*place, key))
        return content

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        self._characters += len(node.value)
        if node.tag == f"{_TAG}str":
            return str(node.value)
        if len(node.value) > _DIGITS:
            self._refuse(node, f"a value of {len(node.value)} characters that is no text; put it in quotes")
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError, OverflowError):
            self._refuse(node, f"{one_line(node.value)!r} is no {node.tag.removeprefix(_TAG)}; leave its tag out")
