"""Importing a method's file, and remembering what its code was when it was imported."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, one_line
from benchmark.methods.registry import (
    FOLDERS,
    PLUGIN_PREFIX,
    Entry,
    find_registered,
    forget,
    is_installed,
    plugin_paths,
)
from benchmark.methods.sources import local_files, source_digest
from benchmark.methods.surroundings import kept_surroundings

if TYPE_CHECKING:
    from benchmark.protocol.method import Method


@dataclass(frozen=True)
class _Brought:
    """What importing a plug-in has brought along: local modules, and folders on Python's search path."""

    modules: dict[str, ModuleType] = field(default_factory=dict)
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Loaded:
    """A class, its file, the digest of its code just before it was imported, and what it has brought along."""

    cls: type[Method]
    path: Path
    digest: str
    brought: _Brought = field(default_factory=_Brought)


_loaded: dict[str, _Loaded] = {}
_in_use: _Loaded | None = None
"""The plug-in whose neighbours can be imported now."""

_modules_then: frozenset[str] = frozenset()
"""The names of all modules when it came in use."""


def load(entry: Entry, digest: str | None = None) -> type[Method]:
    """The class of a method; imports its file on first use, and a plug-in again where its code has changed.

    Parameters
    ----------
    entry : Entry
    digest : str, optional
        What its code must be, as for a cell that is defined by it. Code that was loaded as that serves, whatever has
        been written to the file since.

    Raises
    ------
    BenchmarkError
        If the import fails, the class lacks the contract, its file does not say what it is (`augmentable`), or the code
        is not what it must be.
    """
    known = _loaded.get(entry.name)
    if known is not None and known.path == entry.path and known.digest == digest:
        _bring(known)
        return known.cls
    if digest is not None and _digest(entry) != digest:
        raise _changed(entry)
    if known is None or known.path != entry.path or _is_stale(entry, known):
        known = _loaded[entry.name] = _load(entry)
    if digest is not None and known.digest != digest:
        raise _changed(entry)
    _bring(known)
    return known.cls


def _bring(known: _Loaded | None) -> None:
    """Let the names of neighbours mean those of one plug-in, or of none: two may each have a ``helper.py``."""
    global _in_use, _modules_then
    if known is not None and (known is _in_use or not known.cls.__module__.startswith(PLUGIN_PREFIX)):
        return
    if _in_use is not None:  # its functions may have imported more since
        _in_use.brought.modules.update({n: module for n, module in _local_modules() if n not in _modules_then})
    for other in (*_loaded.values(), *filter(None, [_in_use])):
        for name, module in other.brought.modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
    brought = known.brought if known else _Brought()
    sys.modules.update(brought.modules)
    sys.path[:] = [*brought.paths, *(path for path in sys.path if path not in plugin_paths)]
    _in_use, _modules_then = known, frozenset(sys.modules)


def _changed(entry: Entry) -> BenchmarkError:
    return BenchmarkError(
        f"the code of {entry.name} ({entry.path} or what it imports) was changed after this run had begun; give the "
        "same command again"
    )


def digest_as_loaded(entry: Entry) -> str:
    """The digest of a method's code as it was when :func:`load` imported it; loads it where that was not yet done."""
    load(entry)
    return _loaded[entry.name].digest


def _is_stale(entry: Entry, known: _Loaded) -> bool:
    """Whether a plug-in, or a class of a notebook, is no longer what was loaded.

    What came with the benchmark, or with a package, is imported once in a process, as everything in Python is.
    """
    if entry.cls is not None:
        return known.cls is not entry.cls or known.digest != entry.digest
    return not entry.module and known.digest != _digest(entry)


def _digest(entry: Entry) -> str:
    """The digest of a method's code; empty where it cannot be read, because it is being written."""
    try:
        return source_digest(entry)
    except (OSError, SyntaxError, ValueError):
        return ""


def _load(entry: Entry) -> _Loaded:
    digest = _digest(entry)
    brought = _Brought()
    if entry.cls is not None:
        return _Loaded(entry.cls, entry.path, digest)
    try:
        if entry.module:
            with kept_surroundings():
                importlib.import_module(entry.module)
        elif (same := _of_same_file(entry, digest)) is not None:
            brought = same.brought
        else:
            _forget_plugin(entry)
            brought = _import_plugin(entry.path)
    except BenchmarkError:
        raise
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        raise BenchmarkError(
            f"method {entry.name!r}: {entry.path} ended Python while it was imported (sys.exit({error.code!r})); put "
            "what is to run as a script under 'if __name__ == \"__main__\":'"
        ) from error
    except BaseException as error:  # such as pytest's skip
        said, advice = one_line(repr(error), 300), ""
        if "relative import" in str(error) and not entry.module:
            advice = "; a plug-in is no package: write 'from helper import x' for a file helper.py beside it"
        top = str(getattr(error, "name", None)).partition(".")[0]
        if top in ("benchmark", *FOLDERS) and isinstance(error, ModuleNotFoundError):
            advice = f"; {top} is the benchmark's own: if yours is meant, give it another name"
        raise BenchmarkError(f"method {entry.name!r}: importing {entry.path} failed: {said}{advice}") from error
    cls = find_registered(entry.name)
    if cls is None:
        raise BenchmarkError(
            f"method {entry.name!r}: importing {entry.path} registers no such method; decorate its class at the top of "
            "the file"
        )
    if bool(cls.augmentable) != entry.augmentable:
        raise BenchmarkError(
            f"method {entry.name!r}: write 'augmentable = {bool(cls.augmentable)}' in the body of {cls.__qualname__} "
            "itself: the catalogue reads it there"
        )
    return _Loaded(cls, entry.path, digest, brought)


def _of_same_file(entry: Entry, digest: str) -> _Loaded | None:
    """What was loaded for another method of the same plug-in, as its file is now."""
    cls = find_registered(entry.name)
    if cls is None or cls.__module__ != _module_of(entry.path):
        return None
    return next((o for o in _loaded.values() if o.path == entry.path and o.digest == digest), None)


def _module_of(plugin: Path) -> str:
    return f"{PLUGIN_PREFIX}{plugin.stem}_{hashlib.sha256(str(plugin).encode()).hexdigest()[:8]}"


def _forget_plugin(entry: Entry) -> None:
    """Have a plug-in, and the files that it imports, imported anew, whatever was known under their names."""
    forget(entry.name)
    _bring(None)
    files = local_files(entry)
    folder = entry.path.parent
    inside = [path.relative_to(folder).with_suffix("").parts for path in files if path.is_relative_to(folder)]
    names = {".".join(parts[:depth]) for parts in inside for depth in range(1, len(parts) + 1)}
    for name, module in _local_modules():
        if name in names or any(Path(place).resolve() in files for place in _places_of(module)):
            del sys.modules[name]


def _local_modules() -> list[tuple[str, ModuleType]]:
    """The modules that are of no installed package, nor of the benchmark: neighbours of plug-ins, a person's own."""
    known = ("__main__", "__mp_main__", "benchmark", *FOLDERS)
    return [
        (name, module)
        for name, module in list(sys.modules.items())
        if not (name.partition(".")[0] in known or name.startswith(PLUGIN_PREFIX))
        and (places := _places_of(module))
        and not any(map(_is_of_package, places))
        and all(map(os.path.exists, places))
    ]


@cache  # asked of each of some thousand modules, again and again
def _is_of_package(place: str) -> bool:
    return is_installed(Path(place)) or is_installed(Path(place).resolve())


def _places_of(module: ModuleType) -> list[str]:
    """A module's file, or the folders of a package that has none."""
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", None) or ())
    return [place for place in places if isinstance(place, str)]


def _import_plugin(path: Path) -> _Brought:
    name = _module_of(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchmarkError(f"plug-in {path} cannot be imported; it must be a .py file")
    module = importlib.util.module_from_spec(spec)
    for folder in FOLDERS:  # before a plug-in's neighbours can take their names
        importlib.import_module(folder)
    before, there = set(sys.modules), [*sys.path]
    sys.modules[name] = module
    importlib.invalidate_caches()  # a neighbour may have been written a moment ago
    try:
        with kept_surroundings(), _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        paths = tuple(dict.fromkeys(folder for folder in sys.path if folder not in (*there, str(path.parent))))
        sys.path = [*paths, *there]  # whatever it was put to
        plugin_paths.update(paths)
    return _Brought({name: module for name, module in _local_modules() if name not in before}, paths)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Have a plug-in's neighbours found while it is imported, as if it were run as a script.

    Nothing is compiled to disk meanwhile: Python would take what it compiled for new for as long as a file's size and
    the second in which it was written stay the same.
    """
    before = sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
