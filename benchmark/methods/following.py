"""Which local files a method's code leads to, found by reading them and never by running them."""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from benchmark.methods.registry import FOLDERS, ROOT, Entry, source_text

# Of the benchmark itself only what methods are built from counts; what surrounds them is in the protocol's version.
_PARTS = ("benchmark.parts", "benchmark.layers", "benchmark.losses")


@dataclass(frozen=True)
class SourceFile:
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


def read_source(path: Path) -> SourceFile:
    """What a Python file says; raises OSError, SyntaxError or ValueError if it cannot be read."""
    return _parse(path.read_bytes())  # by content: two writes may have one time and one size


@lru_cache(maxsize=512)
def _parse(content: bytes) -> SourceFile:
    text = source_text(content)
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
    return SourceFile(code_only(text, tree), tuple(absolute), tuple(relative), named, by_text, _climbs(tree))


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


def closure(entry: Entry) -> dict[Path, str]:
    """A method's file and all that it leads to: the code of Python files, and a digest of others.

    Others are compiled ones, and neighbours that this Python cannot read, which may never be imported.
    """
    found: dict[Path, str] = {}
    waiting = [entry.path.resolve()]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        file = read_source(path) if path == entry.path.resolve() else read_neighbour(path)
        found[path] = file.code
        folders = _folders(path, file)
        waiting += [*_imported_files(path, file, entry, folders), *_named_files(file, folders)]
    return found


def read_neighbour(path: Path) -> SourceFile:
    """What a Python file says; of another, or one that cannot be read, a digest alone."""
    try:
        if path.suffix == ".py":
            return read_source(path)
    except (SyntaxError, ValueError):
        pass
    return SourceFile(hashlib.sha256(path.read_bytes()).hexdigest(), (), (), (), False, 0)


def _folders(path: Path, file: SourceFile) -> list[Path]:
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


def _named_files(file: SourceFile, folders: Sequence[Path]) -> Iterator[Path]:
    """Python files that the text of a file names, as for ``exec`` or ``runpy``.

    A text may be a pattern, ``parts/*.py``; where it is ``.py`` alone, the name before it is computed and may be any.
    """
    for text in file.texts:
        if not text.endswith(".py"):
            continue
        for folder in folders:
            if "*" in text or text == ".py":
                yield from _modules_in(folder, "*.py" if text == ".py" else text)
            else:
                yield from (place for place in _named(folder, text) if place.is_file())


def _modules_in(folder: Path, pattern: str) -> Iterator[Path]:
    try:
        yield from (place.resolve() for place in folder.glob(pattern.lstrip("/")) if place.is_file())
    except (OSError, RuntimeError, ValueError):
        return


def _imported_files(path: Path, file: SourceFile, entry: Entry, folders: Sequence[Path]) -> Iterator[Path]:
    """The local files that an import in `path` may run: those of the modules named, and of the packages they are in."""
    for level, name in file.relative:
        folder = path.parents[min(level, len(path.parents)) - 1]
        yield from _module_files(folder, name)
        if not name and (folder / "__init__.py").is_file():
            yield (folder / "__init__.py").resolve()
    texts = [text.strip(".") for text in file.texts] if file.by_text else []  # f"parts.{name}" says "parts."
    named = [*filter(re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*").fullmatch, texts)]
    for package in dict.fromkeys(name.replace(".", "/") for name in named):
        for folder in folders:
            yield from _modules_in(folder, f"{package}/*.py")
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


def name_in_digest(path: Path, entry: Entry) -> str:
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


def code_only(text: str, tree: ast.Module) -> str:
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
