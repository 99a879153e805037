"""What identifies a class of a notebook, whose cells have no files: its text, and that of what it uses of them."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import symtable
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.methods.following import closure, code_only, name_in_digest
from benchmark.methods.registry import FOLDERS, Entry, import_roots, is_installed


def texts_of_class(cls: type) -> dict[str, str]:
    """The text of a class of a notebook or a script, and of what it uses of it, by name."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = [(cls.__name__, cls)]
    space = vars(sys.modules["__main__"])
    while waiting:
        name, value = waiting.pop()
        value = inspect.unwrap(value) if callable(getattr(value, "__wrapped__", None)) else value  # @torch.no_grad()
        if name in found:
            continue
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            text = _text_of(value)
            if text is None:  # a class without functions of its own, or with such as a dataclass is given
                said = {member: each for member, each in vars(value).items() if member not in _OF_EVERY_CLASS}
                found[name], text = _content(said, name, waiting), ""
            else:
                tree = _parsed(text)
                found[name] = text if tree is None else code_only(text, tree)
            waiting += [(used, space[used]) for used in sorted(_names_in(text)) if used in space]
            waiting += [(base.__name__, base) for base in getattr(value, "__mro__", ())[1:]]
            waiting += _put_in_later(value) if isinstance(value, type) else []
        elif isinstance(value, type | FunctionType | ModuleType):
            found |= _texts_of_module(value)
        else:
            found[name] = _content(value, name, waiting)
    return found


_OF_EVERY_CLASS = ("__dict__", "__weakref__", "__doc__", "__module__")


def _put_in_later(cls: type) -> list[tuple[str, Any]]:
    """Functions that a class got after its body, as by ``Mine.predict = predict``."""
    functions = {name: getattr(member, "__func__", member) for name, member in vars(cls).items()}
    own = f"{cls.__qualname__}."
    return [
        (own + name, function)
        for name, function in functions.items()
        if isinstance(function, FunctionType) and not inspect.unwrap(function).__qualname__.startswith(own)
    ]


def _texts_of_module(value: type | FunctionType | ModuleType) -> dict[str, str]:
    """The texts of the local files that a notebook has something from; nothing for an installed package."""
    module = value.__name__ if isinstance(value, ModuleType) else value.__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    path = Path(file or "").resolve()
    if path.suffix != ".py" or module.partition(".")[0] in ("benchmark", *FOLDERS) or is_installed(path):
        return {}
    entry = Entry("", "", "", path, roots=import_roots())
    return {name_in_digest(path, entry): text for path, text in closure(entry).items()}


def _content(value: Any, name: str, waiting: list[tuple[str, Any]]) -> str:
    """A value that a class reads from the notebook; the functions and classes in it are put to what is `waiting`."""
    if isinstance(value, str | int | float | complex | bytes | None):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = [(repr(key), _content(each, f"{name}[{key!r}]", waiting)) for key, each in value.items()]
        return f"{{{', '.join(f'{key}: {each}' for key, each in pairs)}}}"
    if isinstance(value, tuple | list | set | frozenset):
        each = [_content(each, f"{name}[{place}]", waiting) for place, each in enumerate(value)]
        return f"{type(value).__name__} of {', '.join(each if isinstance(value, tuple | list) else sorted(each))}"
    if isinstance(value, partial):
        return _content((value.func, value.args, value.keywords), name, waiting)
    if isinstance(value, type | FunctionType):
        waiting.append((name, value))
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "tolist"):  # of numpy and torch
        return repr(value.tolist())
    if type(value).__module__ == "__main__" and hasattr(value, "__dict__"):
        waiting.append((type(value).__name__, type(value)))
        return _content(vars(value), name, waiting)
    return type(value).__qualname__


def _parsed(text: str) -> ast.Module | None:
    """None for a line cut out of a statement, as that of a lambda may be."""
    try:
        return ast.parse(text)
    except SyntaxError:
        return None


def modules_of_class(cls: type) -> set[str]:
    """What the functions of a class take from modules, read from the functions, so that a worker can tell it too."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [*_functions(cls)]
    for function in waiting:
        codes = [function.__code__]
        for code in codes:
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        for name in {name for code in codes for name in code.co_names} - seen:
            seen.add(name)
            value = function.__globals__.get(name)
            module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if module == "__main__" and isinstance(value, type | FunctionType):
                waiting += _functions(value)
            elif isinstance(module, str):
                found.add(module)
    return found


def _names_in(text: str) -> set[str]:
    """The names that a text takes from the notebook: those that are not its own, such as of arguments."""
    if _parsed(text) is None:
        return set(re.findall(r"[^\W\d]\w*", text))
    tables = [symtable.symtable(text, "<cell>", "exec")]
    for table in tables:
        tables += table.get_children()
    return {symbol.get_name() for table in tables for symbol in table.get_symbols() if symbol.is_global()}


def _text_of(value: type | FunctionType) -> str | None:
    """The text of a class or function, also of one in a notebook, whose cells have files in name only.

    None where there is none to be known, because the class has no function that somebody wrote.
    """
    codes = [function.__code__ for function in _functions(value)]
    if isinstance(value, type) and (
        not codes or (is_dataclass(value) and {c.co_filename for c in codes} == {"<string>"})
    ):
        return None
    for code in codes:
        text = "".join(linecache.getlines(code.co_filename))
        if not text:
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef)
                and node.name == value.__name__
                and _first_line(node) <= code.co_firstlineno <= (node.end_lineno or node.lineno)
            ):
                return _dedented(text, node)
        if isinstance(value, FunctionType):  # a lambda, or one made by a call: the line it begins in
            return linecache.getline(code.co_filename, code.co_firstlineno).strip() + "\n"
    raise BenchmarkError(
        f"the text of {value.__qualname__} is not known, so its cells could not be told from others'; write it in a "
        "file or in a notebook's cell"
    )


def _dedented(text: str, node: ast.ClassDef | ast.FunctionDef) -> str:
    lines = text.splitlines()[_first_line(node) - 1 : node.end_lineno]
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines) + "\n"


def _first_line(node: ast.ClassDef | ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _functions(value: type | FunctionType) -> Iterator[FunctionType]:
    """A function, or those of a class."""
    for member in vars(value).values() if isinstance(value, type) else (value,):
        function = getattr(member, "__func__", member)
        if isinstance(function, FunctionType) and function.__module__ == value.__module__:
            yield inspect.unwrap(function)
