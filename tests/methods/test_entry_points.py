"""Methods that an installed package brings: listed without importing anything of it, used like any other."""

import importlib
import json
import re
import subprocess
import sys

import pytest

import run_benchmark
from benchmark import methods
from benchmark.methods import loading, registry
from benchmark.methods.registry import GROUP
from benchmark.methods.sources import local_files

pytestmark = pytest.mark.usefixtures("unpictured")

METHOD = '''
import torch
from benchmark import Method, register

from ._bits import SCALE


@register("packed", paper="theirs, 2026", trains_on="complete")
class Packed(Method):
    """One number for each category."""

    def __init__(self, task):
        super().__init__(task)
        self.bias = torch.nn.Parameter(torch.zeros(task.num_categories))

    def predict(self, batch):
        return SCALE * self.bias.expand(len(batch), -1)

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)
'''
GRID = "description: one setting\nmethods: [packed]\ntasks: [mosi]\nseeds: 1\nsubsets: [lav]\ntraining: {epochs: 1}\n"
GRID += "simulator: {train: 40, valid: 8, test: 16}\n"
FAILS = "raise RuntimeError('it is imported')\n"


def install(site, points, package="my_package", files=None):
    """A package as pip leaves it: its files, and what it says of itself."""
    files = {"__init__.py": "", "method.py": METHOD, "_bits.py": "SCALE = 1.0\n"} if files is None else files
    info = site / f"{package}-1.2.dist-info"
    for folder in (site / package, info):
        folder.mkdir(parents=True)
    for name, text in files.items():
        (site / package / name).write_text(text)
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    named = [*(f"{package}/{name}" for name in files), *(f"{info.name}/{path.name}" for path in info.iterdir())]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in [*named, f"{info.name}/RECORD"]))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages on Python's search path; what is imported from it is forgotten again."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield folder
    for name, cls in list(registry._classes.items()):
        if cls.__module__.startswith("my_package"):
            del registry._classes[name]
            loading._loaded.pop(name, None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def main(capsys, *arguments):
    status = run_benchmark.main([str(argument) for argument in arguments])
    return status, capsys.readouterr().out


def test_a_package_is_listed_with_its_version_and_not_imported(capsys, site):
    install(site, {"mine": "my_package.method"}, files={"__init__.py": FAILS, "method.py": METHOD, "_bits.py": FAILS})
    status, printed = main(capsys, "--list")
    assert status == 0 and "warning" not in printed
    assert re.search(r"^  packed +theirs, 2026; trains on complete samples \(from my_package 1\.2\)$", printed, re.M)
    assert printed.count("(from ") == 1, "those that came with the benchmark are from no package"
    assert not [name for name in sys.modules if name.partition(".")[0] == "my_package"]


def test_listing_a_package_does_not_wait_for_torch(site):
    install(site, {"mine": "my_package.method"}, files={"__init__.py": FAILS, "method.py": METHOD, "_bits.py": FAILS})
    code = "import sys, benchmark.cli; assert benchmark.cli.main(['--list']) == 0; assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=registry.ROOT)
    assert done.returncode == 0, done.stderr
    assert "(from my_package 1.2)" in done.stdout


@pytest.mark.parametrize(
    ("value", "files"),
    [
        ("my_package.method", None),
        ("my_package.method:Packed", None),
        ("my_package", {"__init__.py": METHOD, "_bits.py": "SCALE = 1.0\n"}),
    ],
)
def test_a_packages_method_runs(capsys, tmp_path, site, value, files):
    install(site, {"mine": value}, files=files)
    (tmp_path / "tiny.yaml").write_text(GRID)
    arguments = ("--grid", tmp_path / "tiny.yaml", "--out", tmp_path / "out", "--jobs", 1)
    assert main(capsys, *arguments)[0] == 0
    (cell,) = tmp_path.glob("out/cells/*/cell.json")
    assert json.loads(cell.read_text())["label"] == "packed"
    assert "theirs, 2026" in (tmp_path / "out" / "report.html").read_text()
    assert re.search(r"packed +1 done", main(capsys, *arguments, "--plan")[1])
    (site / "my_package" / "_bits.py").write_text("SCALE = 1.0  # why\n")
    assert re.search(r"packed +1 done", main(capsys, *arguments, "--plan")[1])
    entry = methods.catalogue()["packed"]
    assert {path.name for path in local_files(entry)} >= {"_bits.py", entry.path.name}
    (site / "my_package" / "_bits.py").write_text("SCALE = 2.0\n")
    digest = methods.source_digest(entry)
    assert digest != json.loads(cell.read_text())["source"], "another process computes it anew"


BROKEN = {
    "no such module": (
        {"other": "my_package.absent"},
        r"entry point 'other' of my_package 1\.2 names the module 'my_package\.absent', of which there is no file",
    ),
    "no such package": (
        {"other": "no_such_package.method"},
        r"entry point 'other' of my_package 1\.2 names the module 'no_such_package\.method', of which there is no file",
    ),
    "nothing registered": (
        {"other": "my_package._bits"},
        r"entry point 'other' of my_package 1\.2 names .*_bits\.py, which registers no method with @register",
    ),
    "no Python": (
        {"other": "my_package.broken"},
        r"entry point 'other' of my_package 1\.2: method file .*broken\.py is no valid Python: .*; its methods are left",
    ),
    "a wrong name": (
        {"other": "my_package.named"},
        r"entry point 'other' of my_package 1\.2: method name 'Bad Name' .* must be a lower-case identifier .*left out",
    ),
    "no name of a module": (
        {"other": "my-package"},
        r"entry point 'other' of my_package 1\.2 names the module 'my-package',",
    ),
    "no value": (
        {"other": ""},
        r"entry point 'other' of my_package 1\.2 names the module '', of which there is no file",
    ),
    "a taken name": (
        {"other": "my_package.taken"},
        r"the method 'mult' of my_package 1\.2 is left out: that name is taken",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_entry_point_costs_a_line_and_nothing_else(capsys, tmp_path, site, fault):
    points, said = BROKEN[fault]
    files = {
        "__init__.py": "",
        "method.py": METHOD,
        "_bits.py": "SCALE = 1.0\n",
        "broken.py": "def broken(:\n",
        "named.py": METHOD.replace('"packed"', '"Bad Name"'),
        "taken.py": METHOD.replace('"packed"', '"mult"'),
    }
    install(site, {"mine": "my_package.method", **points}, files=files)
    (tmp_path / "tiny.yaml").write_text(GRID)
    for arguments in (["--list"], ["--grid", tmp_path / "tiny.yaml", "--plan", "--out", tmp_path / "out"]):
        status, printed = main(capsys, *arguments)
        warnings = [line for line in printed.splitlines() if line.startswith("warning: ")]
        assert status == 0 and len(warnings) == 1 and re.match(f"warning: {said}", warnings[0]), printed
        assert re.search(r"^  packed ", printed, re.M)
    assert methods.catalogue()["mult"].package == ""


def test_two_entry_points_may_name_one_module(capsys, site):
    second = METHOD.replace("Packed", "Other").replace('"packed"', '"other"')
    files = {"__init__.py": "", "method.py": METHOD + second, "_bits.py": "SCALE = 1.0\n"}
    install(site, {"mine": "my_package.method:Packed", "other": "my_package.method:Other"}, files=files)
    status, printed = main(capsys, "--list")
    assert status == 0 and "warning" not in printed and printed.count("(from my_package 1.2)") == 2


def test_two_packages_with_a_method_of_one_name(capsys, site):
    install(site, {"mine": "my_package.method"})
    install(site, {"mine": "my_package_too.method"}, package="my_package_too")
    status, printed = main(capsys, "--list")
    assert status == 0 and printed.count("packed") == 2
    assert "warning: the method 'packed' of my_package_too 1.2 is left out: that name is taken" in printed


def test_a_package_that_is_installed_twice_over_is_no_fault(capsys, tmp_path, monkeypatch, site):
    """As where a folder stands on the search path twice, or a package in the user's folder hides the system's."""
    install(site, {"mine": "my_package.method"})
    other = tmp_path / "other" / "site-packages"
    install(other, {"mine": "my_package.method"})
    monkeypatch.syspath_prepend(other)
    monkeypatch.syspath_prepend(site)
    status, printed = main(capsys, "--list")
    assert status == 0 and "warning" not in printed and printed.count("packed") == 1


def test_a_package_whose_entry_points_cannot_be_read_costs_a_line(capsys, site):
    install(site, {})
    (site / "my_package-1.2.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\n[\n")
    status, printed = main(capsys, "--list")
    assert status == 0 and "warning: the entry points of installed packages cannot be read: " in printed
