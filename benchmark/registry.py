"""The registry: which methods there are, and the one decorator that adds another.

A method is there because its file lies in ``corrkd/`` or ``baselines/`` (or is given as a plug-in). The catalogue is
read from the files' text, so listing methods imports nothing; a method's file is imported when it is used.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import io
import keyword
import re
import sys
import tokenize
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark.errors import BenchmarkError
from benchmark.names import visible

if TYPE_CHECKING:
    from benchmark.config import Variant
    from benchmark.method import Method

FOLDERS = ("corrkd", "baselines")
SHARED = ("benchmark.layers", "benchmark.losses")  # what methods are built from; part of their source
ROOT = Path(__file__).resolve().parent.parent
TRAINS_ON = ("complete", "missing")
_SUFFIXES = {"+mrm": "missing", "-mrm": "complete"}
LONGEST_NAME = 40
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DEVICE = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")  # no file on Windows can have such a name, so no card
_TAKEN = ("all", "training")  # these stand for all methods, with --methods and with --set

C = TypeVar("C", bound="type[Method]")
_classes: dict[str, type[Method]] = {}


@dataclass(frozen=True)
class Entry:
    """What the catalogue knows of a method without importing it; `augmentable` as in :class:`benchmark.Method`."""

    name: str
    paper: str
    trains_on: str
    path: Path
    augmentable: bool = True


@dataclass(frozen=True)
class Row:
    """A method as it stands in a table: ``mult``, or ``mult+mrm`` for MulT trained on incomplete samples.

    Parameters
    ----------
    label : str
        What is printed.
    name : str
        The registered method.
    trains_on : {"complete", "missing"}
    variant : tuple of (key, value)
        The hyper-parameters that set it apart from other rows of its method.
    position : int
        Among the variants of a grid, from 1 on; 0 for what is no variant. For the order in tables.
    """

    label: str
    name: str
    trains_on: str
    variant: tuple[tuple[str, Any], ...] = ()
    position: int = 0


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
        if known is not None and _origin(known) != _origin(cls):
            raise BenchmarkError(
                f"method name {name!r} is taken by {_origin(known)}; choose another for {_origin(cls)}"
            )
        _classes[name] = cls
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
    from benchmark.method import Method

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


def catalogue(plugins: Iterable[Path] = ()) -> dict[str, Entry]:
    """All methods by name, sorted, read from the text of the files in `FOLDERS` and of the plug-ins.

    Raises
    ------
    BenchmarkError
        If a plug-in is no readable Python file or registers nothing, or a name stands twice.
    """
    entries: dict[str, Entry] = {}
    files = [(path, False) for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]
    files += [(Path(path).resolve(), True) for path in plugins]
    for path, is_plugin in files:
        found = _scan(path)
        if is_plugin and not found:
            raise BenchmarkError(f"plug-in {path.name} registers no method; decorate a class with @register(...)")
        for entry in found:
            if entry.name in entries and entries[entry.name].path != path:
                raise BenchmarkError(
                    f"method name {entry.name!r} stands in both {entries[entry.name].path.name} and {path.name}; "
                    "rename one"
                )
            entries[entry.name] = entry
    return dict(sorted(entries.items()))


def _scan(path: Path) -> list[Entry]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except OSError as error:
        raise BenchmarkError(
            f"cannot read method file {path}: {error.strerror}; give the path of a .py file"
        ) from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"cannot read method file {path}: it is no UTF-8 text; save it as such") from error
    except (SyntaxError, ValueError) as error:
        raise BenchmarkError(f"method file {path} is no valid Python: {error}") from error
    entries = []
    for node in tree.body:
        for decorator in getattr(node, "decorator_list", []):
            if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func).split(".")[-1] != "register":
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
            entries.append(Entry(path=path, augmentable=_says_augmentable(node), **arguments))
    return entries


def _says_augmentable(node: ast.AST) -> bool:
    body = map(ast.unparse, getattr(node, "body", []))
    return not any(re.fullmatch(r"augmentable(: .+)? = False", statement) for statement in body)


def groups(entries: Mapping[str, Entry]) -> dict[str, list[str]]:
    """Names for several methods at once: ``all``, and what the cards' ``groups`` say, such as ``paper``."""
    found = {"all": list(entries)}
    for entry in entries.values():
        for group in card(entry).get("groups", []):
            found.setdefault(group, []).append(entry.name)
    return found


def expand(labels: Iterable[str], entries: Mapping[str, Entry], variants: Collection[str] = ()) -> list[str]:
    """Names of groups → the methods in them; methods and variants stay. A method wins over a group of its name.

    With a suffix (``recent+mrm``), a group stands for its methods trained that way, as registered or not; those that
    training does not change stand for themselves.

    Raises
    ------
    BenchmarkError
        For a name that is none of these, with the nearest ones and all there are.
    """
    members = groups(entries)
    found = []
    for label in labels:
        name, suffix = _parts(label)
        if name in entries or label in variants:
            found.append(label)
            continue
        if name not in members:
            raise BenchmarkError(unknown("method", name, {*entries, *variants, *members}))
        wanted = _SUFFIXES.get(suffix)
        for member in members[name]:
            as_registered = wanted in (None, entries[member].trains_on) or not entries[member].augmentable
            found.append(member if as_registered else member + suffix)
    return list(dict.fromkeys(found))


def rows(labels: Iterable[str], entries: dict[str, Entry], variants: Mapping[str, Variant] | None = None) -> list[Row]:
    """Labels such as ``mult`` or ``mult+mrm``, or names of a grid's variants → rows.

    Raises
    ------
    BenchmarkError
        For an unknown name (with the nearest ones and all there are), a suffix that changes nothing, or a variant with
        a method's name.
    """
    variants = variants or {}
    for name in variants:
        if _parts(name)[0] in entries:
            raise BenchmarkError(f"variant {name!r} has the name of a method; choose another")
    known = {*entries, *variants}
    found = []
    for label in dict.fromkeys(labels):
        if label in variants:
            try:
                row = _row(variants[label].method, entries, entries)
            except BenchmarkError as error:
                raise BenchmarkError(f"variant {label!r}: {error}") from error
            position = list(variants).index(label) + 1
            row = replace(row, label=label, variant=tuple(variants[label].set.items()), position=position)
        else:
            row = _row(label, entries, known)
        found.append(row)
    return found


def both_ways(entries: dict[str, Entry]) -> list[str]:
    """The labels of all methods, trained as registered and the other way, where that makes a difference."""
    labels = []
    for entry in entries.values():
        labels.append(entry.name)
        if entry.augmentable:
            labels.append(entry.name + ("+mrm" if entry.trains_on == "complete" else "-mrm"))
    return labels


def _parts(label: str) -> tuple[str, str]:
    return (label[:-4], label[-4:]) if label.endswith(("+mrm", "-mrm")) else (label, "")


def stored_row(record: Mapping[str, Any]) -> Row:
    """The row that a stored cell belongs to, from its ``cell.json``."""
    variant = tuple(record.get("variant", {}).items())
    trains_on = record["training"]["trains_on"]
    return Row(record["label"], record["method"], trains_on, variant, record.get("position", 0))


def label_row(label: str, entries: dict[str, Entry]) -> Row:
    """The row of a label of which nothing else is known; what it trains on is empty if the method is not there."""
    name, suffix = _parts(label)
    return Row(label, name, _SUFFIXES.get(suffix, entries[name].trains_on) if name in entries else "")


def describe(row: Row, entries: dict[str, Entry]) -> str:
    """A row in one line: its paper, what it trains on, and what sets it apart from its method."""
    if row.name not in entries:
        return "not among the methods here"
    with_ = f"; {row.name} with " + ", ".join(f"{key}={value}" for key, value in row.variant) if row.variant else ""
    samples = {"complete": "whole", "missing": "incomplete"}[row.trains_on]
    return f"{entries[row.name].paper}; trained on {samples} samples{with_}"


def by_year(found: Iterable[Row], entries: dict[str, Entry]) -> list[Row]:
    """Rows in the order of a paper's table: by the year in the method's card; without a card, at the end."""

    def year(row: Row) -> int:
        known = card(entries[row.name]).get("year") if row.name in entries else None
        return known if isinstance(known, int) else 9999

    return sorted(found, key=lambda row: (year(row), row.name, row.position, row.label))


def card(entry: Entry) -> dict[str, Any]:
    """A method's card, ``cards/<name>.yaml`` beside its file; empty where there is none.

    Raises
    ------
    BenchmarkError
        If it is no YAML mapping, or a key is unknown or unusable.
    """
    from benchmark.config import CardConfig, validated
    from benchmark.yamlfiles import read_yaml

    path = entry.path.parent / "cards" / f"{entry.name}.yaml"
    try:
        content, lines = read_yaml(path, "card")
    except FileNotFoundError:
        return {}
    validated(CardConfig, content, f"card {path}", lines)
    return content


def _row(label: str, entries: dict[str, Entry], known: Iterable[str]) -> Row:
    name, suffix = _parts(label)
    if name not in entries:
        raise BenchmarkError(unknown("method", name, known))
    usual = entries[name].trains_on
    if suffix and not entries[name].augmentable:
        raise BenchmarkError(f"{label!r}: {name} is the same however it is trained; ask for {name!r}")
    trains_on = _SUFFIXES.get(suffix, usual)
    if suffix and trains_on == usual:
        raise BenchmarkError(f"{label!r}: {name} trains on {usual} samples already; ask for {name!r}")
    return Row(label, name, trains_on)


def unknown(kind: str, name: str, known: Iterable[str], shown: str | None = None) -> str:
    """The message for an unknown name, or what is `shown` for it: the nearest ones, then all there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown {kind} {(shown or name)!r}; {hint}there are: {', '.join(names)}"


def load(entry: Entry) -> type[Method]:
    """The class of a method; imports its file on first use.

    Raises
    ------
    BenchmarkError
        If the import fails, the class lacks the contract, or its file does not say what it is (`augmentable`).
    """
    if entry.name not in _classes or _file_of(_classes[entry.name]) != entry.path:
        _forget(entry.name)
        try:
            _import(entry.path)
        except BenchmarkError:
            raise
        except Exception as error:
            raise BenchmarkError(f"method {entry.name!r}: importing {entry.path} failed: {error!r}") from error
    cls = _classes[entry.name]
    if bool(cls.augmentable) != entry.augmentable:
        raise BenchmarkError(
            f"method {entry.name!r}: write 'augmentable = {bool(cls.augmentable)}' in the body of {cls.__qualname__} "
            "itself: the catalogue reads it there"
        )
    return cls


def _forget(name: str) -> None:
    """A worker that outlives a run may hold another plug-in of that name."""
    known = _classes.get(name)
    if known is not None and known.__module__.startswith("plugin_"):
        del _classes[name]
        sys.modules.pop(known.__module__, None)


def _file_of(cls: type) -> Path:
    return Path(inspect.getfile(cls)).resolve()


def _import(path: Path) -> None:
    if path.parent.parent == ROOT and path.parent.name in FOLDERS:
        importlib.import_module(f"{path.parent.name}.{path.stem}")
        return
    name = f"plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchmarkError(f"plug-in {path} cannot be imported; it must be a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def source_digest(entry: Entry) -> str:
    """Identifies the code of a method: SHA-256 over its file and the project's files it imports.

    Counted are the method's own file and, transitively, what it imports from the method folders and from
    ``benchmark.layers`` and ``benchmark.losses``. Comments, docstrings and blank lines do not count, so that mending a
    sentence does not throw trained cells away.
    """
    seen: dict[str, str] = {}
    _collect_sources(entry.path, seen)
    joined = "\n".join(f"{name}\n{text}" for name, text in sorted(seen.items()))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def _collect_sources(path: Path, seen: dict[str, str]) -> None:
    inside = path.is_relative_to(ROOT)
    key = path.relative_to(ROOT).as_posix() if inside else path.name
    if key in seen:
        return
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    seen[key] = _code_only(text, tree)
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    for module in sorted(modules):
        if module in SHARED or module.split(".")[0] in FOLDERS:
            file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
            if file.is_file():
                _collect_sources(file, seen)


def _code_only(text: str, tree: ast.Module) -> str:
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            for row in range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1):
                lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
