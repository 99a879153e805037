"""As a new user has it: a wheel, installed in an environment of its own, used from an empty folder."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pandas as pd
import pytest

import benchmark
from benchmark.methods import FOLDERS, ROOT, catalogue
from benchmark.running.grid_file import grid_names

PACKAGES = ("benchmark", *FOLDERS)
PLUGIN = """
import torch
from benchmark import Method, register
from helper import SCALE


@register("mine", paper="mine, 2026", trains_on="complete")
class Mine(Method):
    def __init__(self, task):
        super().__init__(task)
        self.bias = torch.nn.Parameter(torch.zeros(task.num_categories))

    def predict(self, batch):
        return SCALE * self.bias.expand(len(batch), -1)

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)
"""


def done(*command, **options):
    """What a command prints; it must end well."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}
    options = {"capture_output": True, "text": True, "env": environment | {"OMP_NUM_THREADS": "1"}} | options
    ended = subprocess.run([str(part) for part in command], **options)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that the tree stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-cache-dir")
    done(*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, folder / "source")
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment with the wheel in it, which sees what else is installed here, but not this tree."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    scripts, packages = (Path(sysconfig.get_path(name, "venv", paths)) for name in ("scripts", "purelib"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder, "install", "--no-cache-dir")
    done(*pip, "--no-deps", "--no-index", wheel)
    # A folder that is only named is no site: the links to this tree that lie there are not followed.
    (packages / "installed_here.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return scripts, packages


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return tmp_path_factory.mktemp("empty")


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        metadata = archive.read(f"corrkd_benchmark-{benchmark.__version__}.dist-info/METADATA").decode()
    there = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there <= held, sorted(there - held)
    for name in grid_names():
        assert f"benchmark/grids/{name}.yaml" in held
    assert {"benchmark/report/page.html.j2", "baselines/cards/mult.yaml", "corrkd/cards/corrkd.yaml"} <= held
    assert any(re.fullmatch(r"benchmark/report/\w+\.js", name) for name in held), "the page's script"
    tops = {name.partition("/")[0] for name in held}
    assert tops == {*PACKAGES, f"corrkd_benchmark-{benchmark.__version__}.dist-info"}, "no tests, no results"
    assert f"\nVersion: {benchmark.__version__}\n" in metadata and "\nLicense-File: LICENSE\n" in metadata


def test_what_is_imported_is_required(wheel):
    """By name, or as an extra; so that nothing is there by chance."""
    imported = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                for node in ast.walk(ast.parse(archive.read(name))):
                    if isinstance(node, ast.Import):
                        imported |= {alias.name.partition(".")[0] for alias in node.names}
                    elif isinstance(node, ast.ImportFrom) and not node.level:
                        imported.add(str(node.module).partition(".")[0])
        metadata = archive.read(f"corrkd_benchmark-{benchmark.__version__}.dist-info/METADATA").decode()
    required = {name.lower() for name in re.findall(r"^Requires-Dist: ([\w-]+)", metadata, flags=re.M)}
    owners = packages_distributions()
    brought = {"mpl_toolkits", "markupsafe", "pydantic_core"}  # by matplotlib, jinja2 and pydantic, always
    for top in sorted(imported - {*PACKAGES, *sys.stdlib_module_names, *brought}):
        assert {name.lower().replace("_", "-") for name in owners[top]} & required, top


def test_the_wheel_is_what_is_imported(environment, empty):
    scripts, packages = environment
    code = (
        "import benchmark, baselines.mult, corrkd; print(benchmark.__file__, baselines.__path__[0], corrkd.__path__[0])"
    )
    found = done(scripts / "python", "-c", code, cwd=empty).split()
    assert [Path(path).resolve().is_relative_to(packages.resolve()) for path in found] == [True] * 3, found


def test_version_and_list(environment, empty):
    scripts, _ = environment
    assert done(scripts / "corrkd-bench", "--version", cwd=empty) == f"corrkd-benchmark {benchmark.__version__}\n"
    listed = done(scripts / "corrkd-bench", "--list", cwd=empty)
    assert "warning" not in listed and "(from " not in listed
    for name in (*catalogue(), *grid_names(), "mosi", "mosei", "iemocap"):
        assert re.search(rf"^  {name} ", listed, flags=re.M), name
    assert done(scripts / "corrkd-bench", "--help", cwd=empty).startswith("usage: corrkd-bench ")


def test_a_run_from_an_empty_folder(environment, tmp_path, monkeypatch):
    """Then from Python, and from this tree, to which its cells are known: a key is of the code, wherever it is installed.

    All in one test, for workers that share out several would build and run the same again.
    """
    scripts, _ = environment
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "helper.py").write_text("SCALE = 1.0\n")
    asked = ("--grid", "smoke", "--methods", "constant", "random", "mine", "--plugin", "mine.py", "--jobs", "1")
    printed = done(scripts / "corrkd-bench", *asked, cwd=tmp_path)
    assert "[3/3] done " in printed and f"report: {Path('results') / 'smoke' / 'report.html'}" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "mine.py", "results"]
    out = tmp_path / "results" / "smoke"
    page = (out / "report.html").read_text()
    assert all(name in page for name in ("constant", "random", "mine, 2026")) and "<script" in page
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["command"] == " ".join(("corrkd-bench", *asked))
    assert not manifest["git_commit"], "it is in no repository"
    assert set(pd.read_csv(out / "scores.csv")["method"]) == {"constant", "random", "mine"}
    assert "majority of training labels" in (out / "tables" / "mosi_methods.md").read_text(), "the cards are read"

    code = (
        "import benchmark\n"
        "asked = dict(methods=['constant', 'mine'], plugins=['mine.py'])\n"
        "print(*benchmark.plan('smoke', **asked, say=lambda line: None).cells['state'])\n"
        "results = benchmark.report('results/smoke', plugins=['mine.py'], out='again', say=lambda line: None)\n"
        "print(type(results.load('mine', 'mosi')).__name__, *sorted(results.scores['method'].unique()))\n"
    )
    assert done(scripts / "python", "-c", code, cwd=tmp_path) == "done done\nMine constant mine random\n"

    monkeypatch.chdir(tmp_path)
    methods = ["constant", "random", "mine"]
    planned = benchmark.plan("smoke", methods=methods, plugins=["mine.py"], say=lambda line: None)
    assert list(planned.cells["state"]) == ["done"] * 3
