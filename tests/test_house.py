"""The house keeps its own rules: small files with names that say what is inside, tests where their subject is, one way."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import HUNG

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmark", "baselines", "corrkd")
FILES = sorted(path for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob("*.py"))
TESTS = [path.relative_to(ROOT / "tests") for path in FILES if path.name.startswith("test_")]

SAY_NOTHING = {"util", "utils", "helper", "helpers", "misc", "common", "tools"}

OF_SEVERAL_MODULES = {
    "data/test_agreement.py": "reading a file and --inspect judge it alike",
    "data/test_own_data.py": "the page on data of one's own",
    "faults/test_faults.py": "a short selection of all faults",
    "baselines/test_intensity.py": "every method on a task of intensity",
    "baselines/test_mechanisms.py": "what every method tells of its mechanism",
    "methods/test_entry_points.py": "what a package brings goes through finding, loading and digests",
    "parts/test_cuda.py": "every method on a GPU",
    "parts/test_plain.py": "MulT and CorrKD beside plain ones",
    "parts/test_pretend.py": "every method on a made-up device",
    "parts/test_unaligned.py": "every method on modalities of unequal length",
    "report/test_layout.py": "the page as a browser lays it out, on a screen and on paper",
    "report/test_undefined.py": "a score that is not there, from the metric to the page",
    "test_house.py": "all of it",
    "test_notebook.py": "the notebook of the documentation",
    "test_own_task.py": "a task of one's own, from its file to the tables",
    "test_readme.py": "the documents",
    "test_runs.py": "real runs from the command line",
    "test_shards.py": "parts of a grid, from planning to their report together",
    "test_wheel.py": "the package as it is installed",
}
"""Tests that have no one subject, and what they are of."""


def short(path):
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_long():
    lines = {short(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert len(lines) > 150
    assert {name: number for name, number in lines.items() if number > 500} == {}


def test_every_name_says_what_is_inside():
    names = {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert {"benchmark", "waiting"} <= names and not names & SAY_NOTHING


def test_tests_are_where_their_subject_is():
    """The subject of ``tests/x/test_y.py`` is ``benchmark/x/y.py``, or ``x/y.py``, or a tool of the tests' own."""
    places = [ROOT / "benchmark", ROOT, ROOT / "tests"]
    without = {
        test.as_posix()
        for test in TESTS
        if not any((place / test.with_name(test.name.removeprefix("test_"))).is_file() for place in places)
    }
    assert without - OF_SEVERAL_MODULES.keys() == set(), "name it after its module, or say what it is of"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package):
    modules = [path for path in FILES if path.is_relative_to(ROOT / package)]
    assert modules
    silent = [short(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_an_import_the_wrong_way_is_found(tmp_path):
    """In a copy of the tree: even one within a function, which is carried out late or never."""
    pytest.importorskip("importlinter", reason="needs import-linter (extra dev)")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]

    def lint():
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HUNG, check=False)

    kept = lint()
    assert kept.returncode == 0, kept.stdout
    with (tmp_path / "benchmark" / "protocol" / "missing.py").open("a", encoding="utf-8") as module:
        module.write("\n\ndef planted() -> None:\n    from benchmark.report import tables\n")
    broken = lint()
    assert broken.returncode != 0
    assert "The wings of the house: imports run from later ones to earlier ones BROKEN" in broken.stdout
    assert "benchmark.protocol.missing -> benchmark.report.tables" in broken.stdout


def test_importing_the_benchmark_imports_no_torch():
    code = "import sys, benchmark; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=HUNG, check=False).returncode == 0
