"""Importing a method's file, and remembering what its code was when it was imported."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError
from benchmark.methods.registry import FOLDERS, PLUGIN_PREFIX, Entry, find_registered, forget
from benchmark.methods.sources import local_files, source_digest

if TYPE_CHECKING:
    from benchmark.protocol.method import Method


@dataclass(frozen=True)
class _Loaded:
    """A class, its file, and the digest of its code just before it was imported."""

    cls: type[Method]
    path: Path
    digest: str


_loaded: dict[str, _Loaded] = {}


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
        return known.cls
    if digest is not None and _digest(entry) != digest:
        raise _changed(entry)
    if known is None or known.path != entry.path or _is_stale(entry, known):
        known = _loaded[entry.name] = _load(entry)
    if digest is not None and known.digest != digest:
        raise _changed(entry)
    return known.cls


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
    if entry.cls is not None:
        return _Loaded(entry.cls, entry.path, digest)
    try:
        if entry.module:
            importlib.import_module(entry.module)
        elif not _is_there(entry, digest):
            _forget_plugin(entry)
            _import_plugin(entry.path)
    except BenchmarkError:
        raise
    except SystemExit as error:
        raise BenchmarkError(
            f"method {entry.name!r}: {entry.path} ended Python while it was imported (sys.exit({error.code!r})); put "
            "what is to run as a script under 'if __name__ == \"__main__\":'"
        ) from error
    except Exception as error:
        raise BenchmarkError(f"method {entry.name!r}: importing {entry.path} failed: {error!r}") from error
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
    return _Loaded(cls, entry.path, digest)


def _is_there(entry: Entry, digest: str) -> bool:
    """Whether the plug-in was imported, as it is now, for another method of the same file."""
    cls = find_registered(entry.name)
    return (
        cls is not None
        and cls.__module__ == _module_of(entry.path)
        and any(other.path == entry.path and other.digest == digest for other in _loaded.values())
    )


def _module_of(plugin: Path) -> str:
    return f"{PLUGIN_PREFIX}{plugin.stem}_{hashlib.sha256(str(plugin).encode()).hexdigest()[:8]}"


def _forget_plugin(entry: Entry) -> None:
    """Have a plug-in, and the files that it imports, imported anew, whatever was known under their names."""
    forget(entry.name)
    files = local_files(entry)
    folder = entry.path.parent
    inside = [path.relative_to(folder).with_suffix("") for path in files if path.is_relative_to(folder)]
    names = {".".join(path.parts).removesuffix(".__init__") for path in inside}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or name == "__main__" or name.split(".")[0] in ("benchmark", *FOLDERS):
            continue
        path = Path(file).resolve()
        if path in files or (name in names and any(root in path.parents for root in entry.roots)):
            del sys.modules[name]


def _import_plugin(path: Path) -> None:
    name = _module_of(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchmarkError(f"plug-in {path} cannot be imported; it must be a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    importlib.invalidate_caches()  # a neighbour may have been written a moment ago
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


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
