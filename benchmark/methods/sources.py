"""What identifies the code of a method: its own text, and that of every local file that it imports.

A method's cells stay done as long as its digest is the same, so whatever could change what the method computes must be
in it. Files are followed by reading them, not by running them: absolute and relative imports, at the top or in a
function, ``import_module("name")``, and the names of Python files in the text, as given to ``runpy`` or ``open``.
Python's own library and installed packages are not followed; :func:`outside_packages` tells their versions.
"""

from __future__ import annotations

import ast
import hashlib
import io
import linecache
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.methods.registry import FOLDERS, ROOT, Entry

_ALWAYS = ("torch", "numpy", "scipy", "sklearn", "pandas", "joblib", "safetensors")  # their versions stand in each cell
# Of the benchmark itself only what methods are built from counts; what surrounds them is in the protocol's version.
_PARTS = ("benchmark.parts", "benchmark.layers", "benchmark.losses")


def source_digest(entry: Entry) -> str:
    """Identifies the code of a method: SHA-256 over its file and every local file it imports, of 16 digits.

    Comments, docstrings and blank lines do not count, so that mending a sentence does not throw trained cells away.
    Of a class of a notebook it is the class's text, and that of the functions, classes and values there that it uses.

    Raises
    ------
    OSError, SyntaxError, ValueError
        If a file cannot be read, as while it is being written.
    BenchmarkError
        If the text of a class of this Python is not known, as of one typed at Python's plain prompt.
    """
    if entry.digest:
        return entry.digest
    if entry.cls is not None and entry.cls.__module__ == "__main__":
        texts = list(_texts_of_class(entry.cls).items())
    else:
        texts = [(_name(path, entry), content) for path, content in _closure(entry).items()]
    joined = "\n".join(f"{name}\n{text}" for name, text in sorted(texts))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def local_files(entry: Entry) -> list[Path]:
    """The files whose content is in a method's digest; none for a class of a notebook."""
    return [] if entry.cls is not None and entry.cls.__module__ == "__main__" else sorted(_closure(entry))


def outside_packages(entry: Entry) -> dict[str, str]:
    """Installed packages that a method's files import, with their versions, by name; without Python's own library.

    What they compute cannot be followed, so it is recorded beside the cells and not part of their keys. Empty where the
    files cannot be read, because they are being written.
    """
    try:
        paths = [path for path in local_files(entry) if path.suffix == ".py"]
        tops = {name.partition(".")[0] for path in paths for name in _read(path).absolute}
    except (OSError, SyntaxError, ValueError):
        return {}
    if not paths and entry.cls is not None and not entry.digest:
        tops = {module.partition(".")[0] for module in _modules_of_class(entry.cls)}
    tops -= {"benchmark", *FOLDERS, *_ALWAYS, *sys.stdlib_module_names}
    owners = _owners() if tops else {}
    return {name: version(name) for top in sorted(tops) for name in owners.get(top, ())}


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    """Which installed packages bring a module; looking takes a tenth of a second."""
    return packages_distributions()


@dataclass(frozen=True)
class _File:
    """What a Python file says: its code without comments, the modules it imports, and the texts that may name files.

    Parameters
    ----------
    code : str
    absolute : tuple of str
        Modules, and what is imported from them, which may be modules too: ``a.b`` and ``a.b.c`` for
        ``from a.b import c``.
    relative : tuple of (int, str)
        The same of relative imports: the number of dots, and the name behind them, possibly empty.
    texts : tuple of str
    """

    code: str
    absolute: tuple[str, ...]
    relative: tuple[tuple[int, str], ...]
    texts: tuple[str, ...]


def _read(path: Path) -> _File:
    status = path.stat()
    return _parse(path, status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=512)
def _parse(path: Path, *stamp: int) -> _File:
    # What Python itself would read: any declared encoding, and a byte-order mark or none.
    with tokenize.open(path) as file:
        text = file.read()
    tree = ast.parse(text)
    absolute: list[str] = []
    relative: list[tuple[int, str]] = []
    docstrings = {id(node.body[0].value) for node in _with_docstring(tree)}  # type: ignore[attr-defined]
    texts: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            absolute += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*")]
            if node.level:
                relative += [(node.level, name) for name in names]
            else:
                absolute += names
        elif isinstance(node, ast.Call) and _is_import_call(node):
            name = node.args[0].value  # type: ignore[attr-defined]
            dots = len(name) - len(name.lstrip("."))
            if dots:
                relative.append((dots, name.lstrip(".")))
            else:
                absolute.append(name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            texts.append(node.value)
    return _File(_code_only(text, tree), tuple(absolute), tuple(relative), tuple(dict.fromkeys(texts)))


def _is_import_call(node: ast.Call) -> bool:
    """``import_module("name")`` or ``__import__("name")``."""
    called = ast.unparse(node.func).split(".")[-1]
    named = bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    return called in ("import_module", "__import__") and named


def _closure(entry: Entry) -> dict[Path, str]:
    """A method's file and all that it leads to: the code of Python files, and a digest of compiled ones."""
    found: dict[Path, str] = {}
    waiting = [entry.path.resolve()]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        if path.suffix != ".py":
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
            continue
        file = _read(path)
        found[path] = file.code
        waiting += [*_imported_files(path, file, entry), *_named_files(path, file)]
    return found


def _imported_files(path: Path, file: _File, entry: Entry) -> Iterator[Path]:
    """The local files that an import in `path` may run: those of the modules named, and of the packages they are in."""
    for level, name in file.relative:
        folder = path.parents[level - 1]
        yield from _module_files(folder, name)
        if not name and (folder / "__init__.py").is_file():
            yield (folder / "__init__.py").resolve()
    for name in file.absolute:
        top = name.partition(".")[0]
        if top == "benchmark":
            if any(name == part or name.startswith(f"{part}.") for part in _PARTS):
                yield from _own_files(name)
        elif top in FOLDERS:
            yield from _own_files(name)
        else:
            for root in _search_roots(path, file, entry, top):
                files = list(_module_files(root, name))
                if files:  # as Python, which takes the first
                    yield from files
                    break


def _own_files(name: str) -> Iterator[Path]:
    """The file of a module of the benchmark. A package's ``__init__`` counts where it is named itself: it hands on."""
    place = ROOT.joinpath(*name.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            yield path


def _module_files(root: Path, name: str) -> Iterator[Path]:
    place = root
    for part in filter(None, name.split(".")):
        place = place / part
        compiled = (place.with_name(place.name + suffix) for suffix in EXTENSION_SUFFIXES)
        for path in (place.with_suffix(".py"), place / "__init__.py", *compiled):
            if path.is_file():
                yield path.resolve()


def _search_roots(path: Path, file: _File, entry: Entry, top: str) -> Iterator[Path]:
    """Where Python may look for a module named `top`: beside the plug-in, in folders it names, on the search path."""
    if entry.module and not entry.is_own:  # the package's own modules, though it is installed
        own, *rest = entry.module.split(".")
        if top == own and not entry.module.startswith("__main__"):
            yield entry.path.parents[len(rest) + (entry.path.name == "__init__.py")]
    else:
        yield entry.path.parent
    yield path.parent
    for text in file.texts:
        folder = _beside(path, text)
        if folder is not None and folder.is_dir():
            yield folder
    yield from entry.roots


def _named_files(path: Path, file: _File) -> Iterator[Path]:
    """Python files that the text of `path` names, relative to it or in full, as for ``exec`` or ``runpy``."""
    for text in file.texts:
        named = _beside(path, text) if text.endswith(".py") else None
        if named is not None and named.is_file():
            yield named


def _beside(path: Path, text: str) -> Path | None:
    if not text.strip() or len(text) > 255 or "\n" in text or "\0" in text:
        return None
    try:
        place = (path.parent / text).resolve()
        return place if place.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _name(path: Path, entry: Entry) -> str:
    """A file's name in the digest: the same wherever the project and the plug-in lie."""
    for root in (ROOT, entry.path.parent):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def _with_docstring(tree: ast.Module) -> Iterator[ast.AST]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            yield node


def _code_only(text: str, tree: ast.Module) -> str:
    """The text without comments, docstrings and blank lines."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in _with_docstring(tree):
        docstring = node.body[0]  # type: ignore[attr-defined]
        for row in range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1):
            lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _texts_of_class(cls: type) -> dict[str, str]:
    """The text of a class of a notebook or a script, and of what it uses of it, by name."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = [(cls.__name__, cls)]
    space = vars(sys.modules["__main__"])
    while waiting:
        name, value = waiting.pop()
        if name in found:
            continue
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            text = _text_of(value)
            tree = _parsed(text)
            found[name] = text if tree is None else _code_only(text, tree)
            used = _names_in(text)
            bases = [base.__name__ for base in getattr(value, "__mro__", ())[1:] if base.__module__ == "__main__"]
            waiting += [(used_name, space[used_name]) for used_name in sorted({*used, *bases}) if used_name in space]
        elif isinstance(value, str | int | float | complex | bool | bytes | tuple | list | dict | set | frozenset):
            found[name] = repr(value)  # a number or text that the class reads from the notebook
    return found


def _parsed(text: str) -> ast.Module | None:
    """None for a line cut out of a statement, as that of a lambda may be."""
    try:
        return ast.parse(text)
    except SyntaxError:
        return None


def _modules_of_class(cls: type) -> set[str]:
    space = vars(sys.modules["__main__"])
    return {space[name].__name__ for name in _names_in(_text_of(cls)) if isinstance(space.get(name), ModuleType)}


def _names_in(text: str) -> set[str]:
    tree = _parsed(text)
    if tree is None:
        return set(re.findall(r"[^\W\d]\w*", text))
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _text_of(value: type | FunctionType) -> str:
    """The text of a class or function, also of one in a notebook, whose cells have files in name only."""
    for code in _codes(value):
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


def _codes(value: type | FunctionType) -> Iterator[CodeType]:
    if isinstance(value, FunctionType):
        yield value.__code__
        return
    for member in vars(value).values():
        function = getattr(member, "__func__", member)
        if isinstance(function, FunctionType) and function.__module__ == value.__module__:
            yield function.__code__
