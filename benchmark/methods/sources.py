"""What identifies the code of a method: its own text, and that of every local file that it imports.

A method's cells stay done as long as its digest is the same, so whatever could change what the method computes must be
in it. Files are followed by reading them, not by running them: absolute and relative imports, at the top or in a
function, ``import_module("name")``, and the names of folders and Python files in the text, as given to ``sys.path``,
``runpy`` or ``open``. Python's own library and installed packages are not followed; :func:`outside_packages` tells
their versions.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import linecache
import re
import symtable
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import lru_cache, partial
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.methods.registry import FOLDERS, ROOT, Entry, import_roots, is_installed

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
    if not paths and entry.cls is not None:
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
        Those that may name a file or a folder.
    by_text : bool
        Whether it imports modules whose names it computes, so that any of the texts may be one.
    climbs : int
        To how many folders above its own it may lead, as ``Path(__file__).parent.parent`` does to one.
    """

    code: str
    absolute: tuple[str, ...]
    relative: tuple[tuple[int, str], ...]
    texts: tuple[str, ...]
    by_text: bool
    climbs: int


def _read(path: Path) -> _File:
    return _parse(path.read_bytes())  # by content: two writes may have one time and one size


@lru_cache(maxsize=512)
def _parse(content: bytes) -> _File:
    # What Python itself would read: any declared encoding, and a byte-order mark or none.
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    text = io.TextIOWrapper(io.BytesIO(content), encoding).read()
    tree = ast.parse(text)
    absolute: list[str] = []
    relative: list[tuple[int, str]] = []
    docstrings = {id(node.body[0].value) for node in _with_docstring(tree)}  # type: ignore[attr-defined]
    texts: list[str] = []
    by_text = False
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
        elif isinstance(node, ast.Call) and _called(node) in _IMPORT_CALLS:
            name = _text_in([*node.args, *(keyword.value for keyword in node.keywords)][:1])
            by_text |= name is None
            dots = len(name or "") - len((name or "").lstrip("."))
            if name and dots:
                relative.append((dots, name.lstrip(".")))
            elif name:
                absolute.append(name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            texts.append(node.value)
    named = tuple(dict.fromkeys(filter(_may_be_path, texts)))
    return _File(_code_only(text, tree), tuple(absolute), tuple(relative), named, by_text, _climbs(tree))


_IMPORT_CALLS = ("import_module", "__import__", "run_module", "find_spec")


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).split(".")[-1]


def _text_in(arguments: Sequence[ast.expr]) -> str | None:
    """The first argument, where it is a text."""
    first = arguments[0] if arguments else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _may_be_path(text: str) -> bool:
    return 0 < len(text.strip("/ ")) <= 255 and text.isprintable()


def _climbs(tree: ast.Module) -> int:
    """How far above its own folder a file's code may lead, by ``.parent``, ``.parents[1]``, ``dirname`` and ``..``."""
    upwards = list(ast.walk(tree))[::-1]  # what a node is made of comes before it
    if not any(isinstance(node, ast.Name) and node.id == "__file__" for node in upwards):
        return 0
    names: dict[str, int] = {}
    climbs: dict[int, int] = {}
    for _ in range(3):  # as for HERE = …, ROOT = HERE.parent, LIB = ROOT / "lib"
        for node in upwards:
            below = [climbs[id(child)] for child in ast.iter_child_nodes(node)]
            adds = isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.BinOp | ast.JoinedStr)
            height = sum(below) if adds else max(below, default=0)
            match node:
                case ast.Name(id=name):
                    height = names.get(name, 0)
                case ast.Constant(value=str(text)):
                    height = text.replace("\\", "/").split("/").count("..")
                case ast.Attribute(attr="parent"):
                    height += 1
                case ast.Subscript(value=ast.Attribute(attr="parents"), slice=ast.Constant(value=int(index))):
                    height += index + 1
                case ast.Call():
                    height += _called(node) == "dirname"
                case ast.Assign(targets=[ast.Name(id=name)]):
                    names[name] = height
            climbs[id(node)] = height
    return max(climbs[id(tree)] - 1, 0)


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
        folders = _folders(path, file)
        waiting += [*_imported_files(path, file, entry, folders), *_named_files(file, folders)]
    return found


def _folders(path: Path, file: _File) -> list[Path]:
    """Where the files that `path` names may lie: in its folder, in those it climbs to, and in those that texts name.

    A text may also name a folder in another one that is named, as in ``Path(__file__).parent / "lib" / "losses"``.
    """
    found = dict.fromkeys(path.parents[: file.climbs + 1])
    waiting = list(found)
    while waiting:
        folder = waiting.pop(0)
        texts = (text for text in file.texts if folder == path.parent or ".." not in text.split("/"))
        inside = [place for text in texts for place in _named(folder, text) if place.is_dir()]
        waiting += [place for place in dict.fromkeys(inside) if place not in found]
        found.update(dict.fromkeys(inside))
    return list(found)


def _named(folder: Path, text: str) -> Iterator[Path]:
    """What a text may name: a path in full, or one in a folder, as also in ``f"{folder}/name"``."""
    for named in dict.fromkeys((text, text.lstrip("/"))):
        try:
            place = (folder / named).resolve()
            if place.exists():
                yield place
        except (OSError, RuntimeError, ValueError):
            continue


def _named_files(file: _File, folders: Sequence[Path]) -> Iterator[Path]:
    """Python files that the text of a file names, as for ``exec`` or ``runpy``."""
    for text in file.texts:
        if text.endswith(".py"):
            yield from (place for folder in folders for place in _named(folder, text) if place.is_file())


def _imported_files(path: Path, file: _File, entry: Entry, folders: Sequence[Path]) -> Iterator[Path]:
    """The local files that an import in `path` may run: those of the modules named, and of the packages they are in."""
    for level, name in file.relative:
        folder = path.parents[min(level, len(path.parents)) - 1]
        yield from _module_files(folder, name)
        if not name and (folder / "__init__.py").is_file():
            yield (folder / "__init__.py").resolve()
    named = filter(re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*").fullmatch, file.texts) if file.by_text else ()
    for name in dict.fromkeys((*file.absolute, *named)):
        top = name.partition(".")[0]
        if top == "benchmark":
            if any(name == part or name.startswith(f"{part}.") for part in _PARTS):
                yield from _own_files(name)
        elif top in FOLDERS:
            yield from _own_files(name)
        else:
            # Which folder Python looks into first, the text does not tell, so all count.
            near = [place for root in (*_package_root(entry, top), *folders) for place in _module_files(root, name)]
            yield from near or next(filter(None, (list(_module_files(root, name)) for root in entry.roots)), [])


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


def _package_root(entry: Entry, top: str) -> Iterator[Path]:
    """Where a method's own modules begin: beside a plug-in; for a package's method, though installed, its package."""
    if not entry.module or entry.is_own:
        yield entry.path.parent
    elif top == entry.module.partition(".")[0] != "__main__":
        depth = entry.module.count(".") + (entry.path.name == "__init__.py")
        yield entry.path.parents[depth]


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
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in _with_docstring(tree):
        docstring = node.body[0]  # type: ignore[attr-defined]
        first, last = docstring.lineno - 1, (docstring.end_lineno or docstring.lineno) - 1
        before, after = lines[first].encode(), lines[last].encode()  # columns are counted in bytes
        lines[first : last + 1] = [""] * (last - first) + [
            (before[: docstring.col_offset] + after[docstring.end_col_offset :]).decode()
        ]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _texts_of_class(cls: type) -> dict[str, str]:
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
                found[name] = text if tree is None else _code_only(text, tree)
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
    return {_name(path, entry): text for path, text in _closure(entry).items()}


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


def _modules_of_class(cls: type) -> set[str]:
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
