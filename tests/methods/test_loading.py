"""Importing plug-ins: each gets its own neighbours, as they are now, and what goes wrong is told in one line."""

import json
import os
import shutil
import sys
from importlib.metadata import version

import pandas as pd
import pytest
import yaml

import run_benchmark
from benchmark import methods
from benchmark.errors import BenchmarkError
from benchmark.methods import registry
from benchmark.methods.loading import digest_as_loaded, load
from benchmark.methods.sources import source_digest
from benchmark.running.store import Store

pytestmark = pytest.mark.usefixtures("unpictured")

PLUGIN = '''
import torch
from benchmark import Method, register
{imports}

@register("{name}", paper="none", trains_on="complete")
class Mine(Method):
    """Says the same of every sample."""

    def __init__(self, task):
        super().__init__(task)
        self.bias = torch.nn.Parameter(torch.zeros(task.num_categories))

    def answer(self):
        {late}
        return {answer}

    def predict(self, batch):
        said = torch.full((len(batch),), self.answer(), device=self.bias.device)
        return self.bias * 0 + torch.nn.functional.one_hot(said, self.task.num_categories)

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)
'''
GRID = {
    "description": "one setting",
    "tasks": ["mosi"],
    "seeds": 1,
    "subsets": ["lav"],
    "training": {"epochs": 1},
    "simulator": {"train": 40, "valid": 8, "test": 16},
}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def plugin(folder, name="mine", imports="", late="", answer="0"):
    text = PLUGIN.format(name=name, imports=imports, late=late, answer=answer)
    return write(folder / f"{name}.py", text).resolve()


def entry(path, name="mine"):
    return methods.catalogue([path])[name]


def answer(path, name="mine"):
    """What a plug-in's method says, loaded as for a cell."""
    found = entry(path, name)
    return load(found, source_digest(found)).answer(None)


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command line on plug-ins; its status, what it says, and the scores by method."""
    grid = write(tmp_path / "grid" / "tiny.yaml", yaml.safe_dump(GRID | {"methods": []}))

    def call(*plugins, jobs=1, more=()):
        out = tmp_path / "out"
        options = ["--grid", grid, "--plugin", *plugins, "--out", out, "--jobs", jobs, *more]
        status = run_benchmark.main([str(option) for option in options])
        said = capsys.readouterr()
        scores = pd.read_csv(out / "scores.csv") if status == 0 else pd.DataFrame(columns=["metric", "method"])
        of_methods = scores[scores["metric"] == "f1"].groupby("method")
        return status, said.out + said.err, {method: list(part["value"]) for method, part in of_methods}

    call.out = tmp_path / "out"
    return call


# imported at the top, and in a function: then the helper is one that the top has imported, or that lies on the path
IMPORTS = {
    "the top": {"imports": "import helper", "answer": "helper.ANSWER"},
    "a name": {"imports": "from helper import ANSWER", "answer": "ANSWER"},
    "a function": {"imports": "import helper", "late": "import helper as again", "answer": "again.ANSWER"},
    "a package": {"imports": "from package.helper import ANSWER", "answer": "ANSWER"},
    "a folder": {"imports": "from lib import helper", "answer": "helper.ANSWER"},
    "a folder on the path": {
        "imports": "import os, sys\nLIB = os.path.join(os.path.dirname(__file__), 'lib')\n"
        "if LIB not in sys.path:\n    sys.path.insert(0, LIB)\nimport helper",
        "answer": "helper.ANSWER",
    },
    "a function, from a folder on the path": {
        "imports": "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))",
        "late": "import helper",
        "answer": "helper.ANSWER",
    },
}


def neighbours(folder, value):
    for place in ("helper.py", "package/helper.py", "lib/helper.py"):
        write(folder / place, f"ANSWER = {value}\n")
    write(folder / "package" / "__init__.py", "")


@pytest.mark.parametrize("way", IMPORTS)
def test_two_plugins_with_a_neighbour_of_the_same_name_each_get_their_own(tmp_path, way):
    paths = {}
    for value, name in enumerate(("first", "second", "third")):
        neighbours(tmp_path / name, value)
        paths[name] = plugin(tmp_path / name, name, **IMPORTS[way])
    entries = methods.catalogue(paths.values())
    digests = {name: source_digest(entries[name]) for name in paths}
    assert len(set(digests.values())) == 3
    for name in paths:
        load(entries[name])  # all first, as a run does, and then each before its cells
    for name, value in {"first": 0, "second": 1, "third": 2}.items():
        assert load(entries[name], digests[name]).answer(None) == value
    assert load(entries["first"], digests["first"]).answer(None) == 0


def test_what_a_run_computes_of_two_such_plugins(tmp_path, run):
    late = {"imports": "import helper", "late": "import helper as again", "answer": "again.ANSWER"}
    for value, name in enumerate(("first", "second")):
        neighbours(tmp_path / name, value)
        plugin(tmp_path / name, name, **late)
    plugin(tmp_path, "zero", answer="0"), plugin(tmp_path, "one", answer="1")
    paths = [tmp_path / "first" / "first.py", tmp_path / "second" / "second.py"]
    status, _, scores = run(*paths, tmp_path / "zero.py", tmp_path / "one.py")
    assert status == 0 and scores["zero"] != scores["one"]
    assert scores["first"] == scores["zero"] and scores["second"] == scores["one"]


def test_a_neighbour_does_not_take_the_place_of_what_is_installed(tmp_path):
    write(tmp_path / "torch.py", "ANSWER = 3\n")
    before = sys.modules["torch"]
    plugin(tmp_path)
    assert answer(tmp_path / "mine.py") == 0 and sys.modules["torch"] is before


@pytest.mark.parametrize("way", [way for way in IMPORTS if way != "a function, from a folder on the path"])
def test_an_edited_neighbour_is_imported_anew(tmp_path, monkeypatch, way):
    """Also one of the same size, written in the same second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = plugin(tmp_path, **IMPORTS[way])
    second = 1_700_000_000
    for value in range(3):
        neighbours(tmp_path, value)
        for file in tmp_path.rglob("helper.py"):
            os.utime(file, ns=(second * 10**9 + value, second * 10**9 + value))
        assert answer(path) == value
    assert not list(tmp_path.rglob("*.pyc")) and not sys.dont_write_bytecode


def test_an_edited_plugin_is_imported_anew(tmp_path):
    for value in range(3):
        assert answer(plugin(tmp_path, answer=str(value))) == value


@pytest.mark.parametrize("edited", ["plugin", "neighbour"])
def test_two_runs_in_one_process_use_what_is_written_now(tmp_path, run, edited):
    path = plugin(tmp_path, imports="import helper", answer="helper.ANSWER + 0")
    helper = write(tmp_path / "helper.py", "ANSWER = 0\n")
    found = {}
    for value in (0, 1):
        if edited == "plugin":
            plugin(tmp_path, imports="import helper", answer=f"helper.ANSWER + {value}")
        else:
            helper.write_text(f"ANSWER = {value}\n")
        status, said, scores = run(path)
        assert status == 0 and "[1/1] done mine on mosi, seed 0" in said, "it is not taken for done"
        found[value] = scores["mine"]
    assert len(found[1]) == 1, "the report shows the cell of today"
    assert found[0] != found[1]
    assert len(Store(run.out).stored_keys()) == 2
    helper.write_text(f"ANSWER = {1 if edited == 'neighbour' else 0}  # why\n")
    status, said, scores = run(path)
    assert "done mine" not in said and scores["mine"] == found[1], "a comment changes nothing"


def test_workers_use_what_is_written_now(tmp_path, run):
    path = plugin(tmp_path, imports="import helper", answer="helper.ANSWER")
    found = []
    for value in (0, 1):
        write(tmp_path / "helper.py", f"ANSWER = {value}\n")
        status, said, scores = run(path, jobs=2, more=("--seeds", 2))
        assert status == 0 and "[2/2] done mine" in said
        found.append(scores["mine"])
    assert len(found[0]) == 2 and found[0] != found[1]


def test_code_that_changes_while_a_run_goes_on_is_refused(tmp_path):
    path = plugin(tmp_path, imports="import helper", answer="helper.ANSWER")
    write(tmp_path / "helper.py", "ANSWER = 0\n")
    found = entry(path)
    cls, digest = load(found), digest_as_loaded(found)
    write(tmp_path / "helper.py", "ANSWER = 1\n")
    assert load(found, digest) is cls, "a process that has imported it before goes on with that"
    assert load(found) is not cls
    with pytest.raises(
        BenchmarkError, match=r"^the code of mine .* was changed after this run had begun; give the same"
    ):
        load(found, digest)


def test_the_search_path_is_as_before(tmp_path):
    """So that the digest of a plug-in depends on nothing that was imported before."""
    neighbours(tmp_path, 0)
    path, other = plugin(tmp_path, **IMPORTS["a folder on the path"]), plugin(tmp_path / "other", "other")
    roots = registry.import_roots()
    first = source_digest(entry(path))
    assert answer(path) == 0
    assert registry.import_roots() == roots and str(tmp_path) not in sys.path
    assert source_digest(entry(path)) == first
    assert load(entry(other, "other")) and str(tmp_path / "lib") not in sys.path


def test_two_methods_of_one_file_are_imported_once(tmp_path):
    path = plugin(tmp_path, imports="import helper", answer="helper.ANSWER")
    write(tmp_path / "helper.py", "ANSWER = 0\n")
    text = path.read_text()
    path.write_text(text + text.replace('"mine"', '"ours"').replace("class Mine", "class Ours"))
    entries = methods.catalogue([path])
    mine, ours = load(entries["mine"]), load(entries["ours"])
    assert sys.modules[mine.__module__] is sys.modules[ours.__module__] and mine is load(entries["mine"])
    assert mine.answer(None) == ours.answer(None) == 0
    write(tmp_path / "helper.py", "ANSWER = 1\n")
    assert [load(entries[name]).answer(None) for name in ("mine", "ours")] == [1, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "import sys; sys.exit(3)",
            r"ended Python while it was imported \(sys.exit\(3\)\); put what is to run as a script",
        ),
        ("import sys; sys.exit('usage:\\n  mine.py FILE')", r"ended Python while it was imported \(sys.exit\('usage:"),
        ("raise SystemExit", r"ended Python while it was imported"),
        ("import no_such_module", r"failed: ModuleNotFoundError\("),
        ("from helper import no_such_name", r"failed: ImportError\("),
        (
            "from .helper import ANSWER",
            r"failed: ImportError\(.*; a plug-in is no package: write 'from helper import x'",
        ),
        ("class E(Exception):\n    __repr__ = lambda self: 'two\\nlines'\nraise E", r"failed: two lines"),
        ("1 / 0", r"failed: ZeroDivisionError\("),
    ],
)
def test_what_goes_wrong_at_import_is_one_line(tmp_path, run, line, said):
    write(tmp_path / "helper.py", "ANSWER = 0\n")
    path = plugin(tmp_path, imports=line)
    status, printed, _ = run(path)
    *_, error = printed.splitlines()
    assert status == 2 and error.startswith("error: method 'mine': ") and "Traceback" not in printed
    with pytest.raises(BenchmarkError, match=said) as caught:
        load(entry(path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in sys.path
    assert answer(plugin(tmp_path, imports="import helper", answer="helper.ANSWER")) == 0, "mended, it is used"


def test_a_byte_order_mark_does_no_harm(tmp_path, run):
    path = plugin(tmp_path, imports="import helper", answer="helper.ANSWER")
    (tmp_path / "helper.py").write_bytes(b"\xef\xbb\xbfANSWER = 1\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert run(path)[0] == 0 and answer(path) == 1


def test_packages_that_a_plugin_uses_stand_in_its_cells(tmp_path, run):
    write(tmp_path / "helper.py", "import rich\nANSWER = 0\n")
    path = plugin(tmp_path, imports="import yaml, json, numpy\nimport helper", answer="helper.ANSWER")
    assert run(path)[0] == 0
    (cell,) = run.out.glob("cells/*/cell.json")
    packages = json.loads(cell.read_text())["packages"]
    assert {name.lower(): said for name, said in packages.items()} == {
        "pyyaml": version("pyyaml"),
        "rich": version("rich"),
    }


def test_a_plugin_that_lies_elsewhere_is_done_already(tmp_path, run):
    path = plugin(tmp_path / "here", imports="import helper", answer="helper.ANSWER")
    write(tmp_path / "here" / "helper.py", "ANSWER = 1\n")
    assert "done mine" in run(path)[1]
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    status, said, _ = run(tmp_path / "there" / "mine.py")
    assert status == 0 and "done mine" not in said


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_a_plugin_that_builds_on_another_is_used_along_with_it(tmp_path, run, order):
    paths = {"first": plugin(tmp_path, "first")}
    text = "from benchmark import register\nfrom first import Mine\n"
    text += '@register("second", paper="none", trains_on="complete")\nclass Second(Mine):\n    pass\n'
    paths["second"] = write(tmp_path / "second.py", text).resolve()
    status, said, scores = run(*(paths[name] for name in order))
    assert status == 0 and set(scores) == {"first", "second"}, said
    plugin(tmp_path, "first", answer="1")
    status, said, changed = run(*(paths[name] for name in order))
    assert status == 0 and changed["second"] == changed["first"] != scores["first"], said
