"""The registry: which methods there are, and the one decorator that adds another.

A method is there because its file lies in ``corrkd/`` or ``baselines/``, is given as a plug-in, or is named by an
installed package's entry point. The catalogue is read from the files' text, so listing methods imports nothing; a
method's file is imported when it is used (:mod:`benchmark.methods.loading`). A class that was decorated in this Python,
such as one in a notebook's cell, is there because it is known already.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import keyword
import re
import sys
import sysconfig
import tokenize
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark.errors import BenchmarkError, one_line
from benchmark.names import visible

if TYPE_CHECKING:
    from benchmark.protocol.method import Method

FOLDERS = ("corrkd", "baselines")
ROOT = Path(__file__).resolve().parents[2]
TRAINS_ON = ("complete", "missing")
LONGEST_NAME = 40
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DEVICE = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")  # no file on Windows can have such a name, so no card
_TAKEN = ("all", "training")  # these stand for all methods, with --methods and with --set
C = TypeVar("C", bound="type[Method]")
GROUP = "corrkd_benchmark.methods"
"""The group of the entry points by which installed packages bring methods."""

PLUGIN_PREFIX = "plugin_"  # of the modules that plug-ins become
plugin_paths: set[str] = set()
"""What plug-ins have put on Python's search path, where other methods' files are not looked for."""

_classes: dict[str, type[Method]] = {}
_said: dict[str, tuple[str, str]] = {}  # what a class was registered with: paper, trains_on


@dataclass(frozen=True)
class Entry:
    """What the catalogue knows of a method without importing it.

    Parameters
    ----------
    name, paper, trains_on : str
        As it was registered.
    path : Path
        Its file. For a class of a notebook, which has none, a name that says so.
    augmentable : bool
        As in :class:`benchmark.Method`.
    module : str
        What to import; empty for a plug-in, which is imported by its path.
    package : str
        Name and version of the installed package that brings it; empty for all others.
    roots : tuple of Path
        Further folders in which Python looks for what a plug-in imports.
    cls : type, optional
        The class itself, where it was decorated in this Python.
    digest : str
        Its source digest, where only the Python that decorated it can tell.
    """

    name: str
    paper: str
    trains_on: str
    path: Path
    augmentable: bool = True
    module: str = ""
    package: str = ""
    roots: tuple[Path, ...] = ()
    cls: type[Method] | None = None
    digest: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it came with the benchmark."""
        return self.path.parent.parent == ROOT and self.path.parent.name in FOLDERS and self.cls is None


def register(name: str, *, paper: str, trains_on: str) -> Callable[[C], C]:
    """Class decorator that adds a method.

    Parameters
    ----------
    name : str
        Lower-case identifier of at most `LONGEST_NAME` characters, the name in tables and on the command line. A
        literal, like the other arguments: the catalogue reads them from the file's text.
    paper : str
        Short citation, one line.
    trains_on : {"complete", "missing"}
        Whether the method trains on whole samples or under Modality Random Missing.

    Raises
    ------
    BenchmarkError
        If the name is taken, reserved or no identifier, or the class lacks the contract of :class:`benchmark.Method`.
    """

    def add(cls: C) -> C:
        _check_name(name, paper, trains_on, f"class {cls.__qualname__}")
        _check_contract(name, cls)
        known = _classes.get(name)
        # A neighbour of a plug-in, which that has built on, holds its name as long as it is imported.
        if known is not None and known.__module__ in sys.modules and _origin(known) != _origin(cls):
            raise BenchmarkError(
                f"method name {name!r} is taken by {_origin(known)}; choose another for {_origin(cls)}"
            )
        _classes[name], _said[name] = cls, (paper, trains_on)
        return cls

    return add


def _origin(cls: type) -> str:
    module = sys.modules.get(cls.__module__)
    return f"{cls.__qualname__} in {getattr(module, '__file__', None) or cls.__module__}"


def _check_name(name: str, paper: str, trains_on: str, where: str) -> None:
    called = f"method name {ascii(name)[: LONGEST_NAME + 2]} ({where})"
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise BenchmarkError(
            f"{called} must be a lower-case identifier such as 'my_method' (letters a to z, digits and _)"
        )
    if len(name) > LONGEST_NAME:
        raise BenchmarkError(f"{called} has {len(name)} characters; {LONGEST_NAME} are the most")
    if keyword.iskeyword(name) or _DEVICE.fullmatch(name) or name in _TAKEN:
        raise BenchmarkError(f"{called} has a meaning in Python, on Windows or in --set; choose another")
    if not (isinstance(paper, str) and visible(paper) == paper and len(paper.splitlines()) < 2):
        raise BenchmarkError(f"method {name!r} ({where}): paper must be a citation in one line of text")
    if trains_on not in TRAINS_ON:
        raise BenchmarkError(f"method {name!r}: trains_on={trains_on!r}; use one of {', '.join(TRAINS_ON)}")


def _check_contract(name: str, cls: type) -> None:
    from benchmark.methods.search import check_space
    from benchmark.protocol.method import Method

    if not (inspect.isclass(cls) and issubclass(cls, Method)):
        raise BenchmarkError(f"method {name!r}: {cls.__qualname__} must subclass benchmark.Method")
    if cls.predict is Method.predict:
        raise BenchmarkError(f"method {name!r}: {cls.__qualname__} lacks predict(self, batch)")
    if cls.loss is Method.loss and cls.terms is Method.terms:
        raise BenchmarkError(f"method {name!r}: {cls.__qualname__} lacks loss(self, batch)")
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    if not parameters or parameters[0].name != "task":
        raise BenchmarkError(f"method {name!r}: {cls.__qualname__}.__init__ must take task first")
    for parameter in parameters[1:]:
        lacks = [
            what
            for what, missing in (
                ("be keyword-only", parameter.kind is not inspect.Parameter.KEYWORD_ONLY),
                ("have a default", parameter.default is inspect.Parameter.empty),
                ("have a type", parameter.annotation is inspect.Parameter.empty),
            )
            if missing
        ]
        if lacks:
            raise BenchmarkError(
                f"method {name!r}: hyper-parameter {parameter.name!r} of {cls.__qualname__} must {' and '.join(lacks)}"
            )
    check_space(cls, name)


def catalogue(
    plugins: Iterable[Path] = (),
    classes: Iterable[type[Method]] = (),
    on_fault: Callable[[str], None] = lambda fault: None,
) -> dict[str, Entry]:
    """All methods by name, sorted.

    Read from the text of the files in `FOLDERS`, of those that entry points name, and of the plug-ins; and what was
    decorated in this Python and has no other place, such as in a notebook.

    Parameters
    ----------
    plugins : iterable of Path
    classes : iterable of type
        Decorated classes that are asked for, wherever they stand; those of a notebook are there unasked.
    on_fault : callable
        Called with a line for each installed package whose methods cannot be used.

    Raises
    ------
    BenchmarkError
        If a plug-in is no readable Python file or registers nothing, a class is not decorated, or a name stands twice.
    """
    entries: dict[str, Entry] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*.py")):
            _add(entries, _scan(path, module=f"{folder}.{path.stem}"))
    found, faults = installed()
    for entry in found:
        if entries.setdefault(entry.name, entry) != entry:  # two entry points may name one module
            faults.append(f"the method {entry.name!r} of {entry.package} is left out: that name is taken")
    for fault in faults:
        on_fault(fault)
    roots = import_roots()
    for path in plugins:
        found = _scan(Path(path).resolve(), roots=roots)
        if not found:
            raise BenchmarkError(
                f"plug-in {Path(path).name} registers no method; decorate a class with @register(...), at the top of "
                "the file and not inside a function"
            )
        _add(entries, found)
    _add(entries, _decorated(tuple(classes), {entry.path for entry in entries.values()}))
    return dict(sorted(entries.items()))


def _add(entries: dict[str, Entry], found: Iterable[Entry]) -> None:
    for entry in found:
        if entry.name in entries and entries[entry.name].path != entry.path:
            raise BenchmarkError(
                f"method name {entry.name!r} stands in both {entries[entry.name].path.name} and {entry.path.name}; "
                "rename one"
            )
        entries[entry.name] = entry


def installed() -> tuple[list[Entry], list[str]]:
    """The methods that installed packages bring, by the entry points of the group `GROUP`; nothing is imported.

    Returns
    -------
    list of Entry
    list of str
        What is wrong with entry points that cannot be used, a line each.
    """
    found: list[Entry] = []
    faults = []
    try:
        points = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    except Exception as error:  # of a file entry_points.txt, of whatever package
        return [], [f"the entry points of installed packages cannot be read: {one_line(repr(error))}"]
    for point in points:
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"
        said = f"entry point {point.name!r} of {package}"
        module = re.split(r"[:\[]", point.value)[0].strip()
        path = _file_of_module(module)
        if path is None:
            faults.append(f"{said} names the module {module!r}, of which there is no file; its methods are left out")
            continue
        try:
            methods = _scan(path, module=module, package=package)
        except BenchmarkError as error:
            faults.append(f"{said}: {error}; its methods are left out")
            continue
        if not methods:
            faults.append(f"{said} names {path}, which registers no method with @register(...)")
        found += methods
    return found, faults


def _file_of_module(module: str) -> Path | None:
    """Where a module lies, found without importing the packages it is in, as ``find_spec`` would."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin).resolve() if spec.origin and spec.has_location else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder).joinpath(*rest)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path.resolve()
    return None


def import_roots() -> tuple[Path, ...]:
    """Folders on Python's search path that hold neither its own library nor installed packages."""
    folders = dict.fromkeys(Path(folder or ".").resolve() for folder in sys.path if folder not in plugin_paths)
    return tuple(
        folder
        for folder in folders
        if folder.is_dir() and not is_installed(folder) and not any(folder.glob("*.dist-info"))
    )


def is_installed(path: Path) -> bool:
    """Whether a file or folder belongs to an installed package or to Python's own library."""
    packages = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
    return packages or not _library().isdisjoint((path, *path.parents))


@lru_cache(maxsize=1)
def _library() -> frozenset[Path]:
    return frozenset(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))


def _decorated(asked: Sequence[type[Method]], known: Collection[Path]) -> list[Entry]:
    """Entries of classes that were decorated in this Python and are of no file that is known."""
    names = {cls: name for name, cls in _classes.items()}
    for cls in asked:
        if cls not in names:
            raise BenchmarkError(
                f"{one_line(repr(cls))} is no method that is registered; decorate the class with @register(...)"
            )
    entries = []
    for cls, name in names.items():
        if cls.__module__.startswith(PLUGIN_PREFIX) or (cls not in asked and cls.__module__ != "__main__"):
            continue
        path = _path_of(cls)
        if path not in known:
            entries.append(
                Entry(
                    name,
                    *_said[name],
                    path,
                    bool(cls.augmentable),
                    module=cls.__module__,
                    cls=cls,
                    roots=import_roots(),
                )
            )
    return entries


def _path_of(cls: type) -> Path:
    """A class's file, or a name that says where a class without one was made."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return Path(file).resolve() if file else Path(f"<{cls.__qualname__} in this Python>")


def _scan(path: Path, *, module: str = "", package: str = "", roots: tuple[Path, ...] = ()) -> list[Entry]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BenchmarkError(
            f"cannot read method file {path}: {error.strerror}; give the path of a .py file"
        ) from error
    return [Entry(path=path, module=module, package=package, roots=roots, **own) for own in _registered(path, content)]


def source_text(content: bytes) -> str:
    """What Python itself would read in a file: any declared encoding, and a byte-order mark or none."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return io.TextIOWrapper(io.BytesIO(content), encoding).read()


@lru_cache(maxsize=512)
def _registered(path: Path, content: bytes) -> tuple[dict[str, Any], ...]:
    """What a file says of each class that it registers; by content, since two writes may have one time and one size."""
    try:
        tree = ast.parse(source_text(content), filename=str(path))
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"cannot read method file {path}: it is no UTF-8 text; save it as such") from error
    except (SyntaxError, ValueError) as error:
        raise BenchmarkError(f"method file {path} is no valid Python: {error}") from error
    found = []
    for node in _at_top(tree.body):
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            if not (isinstance(decorator, ast.Call) and _is_register(decorator)):
                continue
            where = f"{path.name}:{decorator.lineno}"
            arguments: dict[str, Any] = {}
            try:
                for keyword, value in zip(("name",), decorator.args, strict=False):
                    arguments[keyword] = ast.literal_eval(value)
                for kw in decorator.keywords:
                    arguments[str(kw.arg)] = ast.literal_eval(kw.value)
            except (ValueError, TypeError) as error:
                raise BenchmarkError(f"{where}: @register takes literal strings only") from error
            if set(arguments) != {"name", "paper", "trains_on"} or not all(
                isinstance(value, str) for value in arguments.values()
            ):
                raise BenchmarkError(
                    f'{where}: write @register("name", paper="Author, venue", trains_on="complete" or "missing")'
                )
            _check_name(**arguments, where=where)
            found.append({"augmentable": _says_augmentable(node), **arguments})
    return tuple(found)


def _is_register(call: ast.Call) -> bool:
    """Whether a decorator is ours, under whatever name of the module, and not of another registry."""
    module, _, name = ast.unparse(call.func).rpartition(".")
    said = {keyword.arg for keyword in call.keywords}
    return name == "register" and (module in ("", "benchmark") or not said.isdisjoint(("paper", "trains_on")))


def _at_top(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at the top of a file, also in an ``if``, a ``try`` or a ``with``: all that importing it may run."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While | ast.Match):
            for _, value in ast.iter_fields(node):
                for part in value if isinstance(value, list) else ():
                    if isinstance(part, ast.stmt):
                        yield from _at_top([part])
                    elif isinstance(part, ast.ExceptHandler | ast.match_case):
                        yield from _at_top(part.body)


def _says_augmentable(node: ast.AST) -> bool:
    body = map(ast.unparse, getattr(node, "body", []))
    return not any(re.fullmatch(r"augmentable(: .+)? = False", statement) for statement in body)


def find_registered(name: str) -> type[Method] | None:
    """The class that was registered under a name, if there is one."""
    return _classes.get(name)


def forget(name: str) -> None:
    """Let a plug-in's name go, and its module, so that it can be registered anew."""
    known = _classes.get(name)
    if known is not None and known.__module__.startswith(PLUGIN_PREFIX):
        del _classes[name]
        sys.modules.pop(known.__module__, None)


def name_of(cls: type[Method]) -> str | None:
    """The name under which a class is registered; None where it is not."""
    return next((name for name, known in _classes.items() if known is cls), None)
