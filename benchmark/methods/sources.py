"""What identifies the code of a method: its own text, and that of every local file that it imports.

A method's cells stay done as long as its digest is the same, so whatever could change what the method computes must be
in it. Files are followed by reading them, not by running them: absolute and relative imports, at the top or in a
function, ``import_module("name")``, and the names of folders and Python files in the text, as given to ``sys.path``,
``runpy`` or ``open``. Python's own library and installed packages are not followed; :func:`outside_packages` tells
their versions.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

from benchmark.methods.following import closure, name_in_digest, read_neighbour
from benchmark.methods.notebooks import modules_of_class, texts_of_class
from benchmark.methods.registry import FOLDERS, Entry

_ALWAYS = ("torch", "numpy", "scipy", "sklearn", "pandas", "joblib", "safetensors")  # their versions stand in each cell


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
        texts = list(texts_of_class(entry.cls).items())
    else:
        texts = [(name_in_digest(path, entry), content) for path, content in closure(entry).items()]
    joined = "\n".join(f"{name}\n{text}" for name, text in sorted(texts))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def local_files(entry: Entry) -> list[Path]:
    """The files whose content is in a method's digest; none for a class of a notebook."""
    return [] if entry.cls is not None and entry.cls.__module__ == "__main__" else sorted(closure(entry))


def outside_packages(entry: Entry) -> dict[str, str]:
    """Installed packages that a method's files import, with their versions, by name; without Python's own library.

    What they compute cannot be followed, so it is recorded beside the cells and not part of their keys. Empty where the
    files cannot be read, because they are being written.
    """
    try:
        paths = [path for path in local_files(entry) if path.suffix == ".py"]
        tops = {name.partition(".")[0] for path in paths for name in read_neighbour(path).absolute}
    except (OSError, SyntaxError, ValueError):
        return {}
    if not paths and entry.cls is not None:
        tops = {module.partition(".")[0] for module in modules_of_class(entry.cls)}
    tops -= {"benchmark", *FOLDERS, *_ALWAYS, *sys.stdlib_module_names}
    owners = _owners() if tops else {}
    return {name: version(name) for top in sorted(tops) for name in owners.get(top, ())}


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    """Which installed packages bring a module; looking takes a tenth of a second."""
    return packages_distributions()
