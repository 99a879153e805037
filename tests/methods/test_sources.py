"""What counts in the digest of a method's code: every local file that it leads to, and nothing that changes nothing."""

import linecache
import shutil
import sys
from importlib.metadata import version
from types import ModuleType

import pytest

from benchmark import Method, methods
from benchmark.errors import BenchmarkError
from benchmark.methods import registry
from benchmark.methods.registry import Entry
from benchmark.methods.sources import local_files, outside_packages, source_digest

HERE = "from pathlib import Path\nhere = Path(__file__).resolve().parent\n"
FOUND = "import importlib.util as util\nspec = util.spec_from_file_location('named', {})\n"
ON_PATH = "import sys\nsys.path.insert(0, str({}))\nimport helper\n"
WAYS = {  # what a plug-in says, and the file that this leads to
    "import": ("import helper\n", "helper.py"),
    "import as": ("import helper as other\n", "helper.py"),
    "from import": ("from helper import SCALE\n", "helper.py"),
    "from import all": ("from helper import *\n", "helper.py"),
    "in a function": ("def late():\n    import helper\n    return helper.SCALE\n", "helper.py"),
    "in a try": ("try:\n    import helper\nexcept ImportError:\n    helper = None\n", "helper.py"),
    "import_module": ("import importlib\nimportlib.import_module('helper')\n", "helper.py"),
    "import_module by keyword": ("from importlib import import_module\nimport_module(name='helper')\n", "helper.py"),
    "import_module of a name from a list": (
        "import importlib\nfor name in ['helper']:\n    importlib.import_module(name)\n",
        "helper.py",
    ),
    "__import__": ("helper = __import__('helper')\n", "helper.py"),
    "run_module": ("import runpy\nrunpy.run_module('helper')\n", "helper.py"),
    "a module of a package": ("import package.sub\n", "package/sub.py"),
    "a module from a package": ("from package import sub\n", "package/sub.py"),
    "the package of a module": ("import package.sub\n", "package/__init__.py"),
    "what a package hands on": ("from package import SCALE\n", "package/inner.py"),
    "a folder that is no package": ("from lib import losses\n", "lib/losses.py"),
    "a helper of a helper": ("import first\n", "helper.py"),
    "a relative import in a package": ("import package\n", "package/inner.py"),
    "exec": ("exec(open('helper.py').read())\n", "helper.py"),
    "exec beside the file": (f"{HERE}exec((here / 'helper.py').read_text())\n", "helper.py"),
    "exec by a sum": ("import os\nexec(open(os.path.dirname(__file__) + '/helper.py').read())\n", "helper.py"),
    "exec by an f-string": (f"{HERE}exec(open(f'{{here}}/lib/losses.py').read())\n", "lib/losses.py"),
    "runpy": ("import runpy\nrunpy.run_path('helper.py')\n", "helper.py"),
    "a file in a folder": (HERE + FOUND.format("here / 'lib' / 'losses.py'"), "lib/losses.py"),
    "a file in a folder, joined": (
        "import os\n" + FOUND.format("os.path.join(os.path.dirname(__file__), 'lib', 'losses.py')"),
        "lib/losses.py",
    ),
    "a file in a folder of a folder": (
        f"{HERE}deep = here / 'lib' / 'deep'\n" + FOUND.format("deep / 'losses.py'"),
        "lib/deep/losses.py",
    ),
    "a folder on the path": (HERE + ON_PATH.format("here / 'lib'"), "lib/helper.py"),
    "a deeper folder on the path": (HERE + ON_PATH.format("here / 'lib' / 'deep'"), "lib/deep/helper.py"),
    "the folder above": (HERE + ON_PATH.format("here.parent"), "../helper.py"),
    "the folder two above": (HERE + ON_PATH.format("here.parents[1]"), "../../helper.py"),
    "the folder above, by dirname": (
        "import os\n" + ON_PATH.format("os.path.dirname(os.path.dirname(os.path.abspath(__file__)))"),
        "../helper.py",
    ),
    "the folder above, by dots": (
        "import os\n" + ON_PATH.format("os.path.join(os.path.dirname(__file__), '..')"),
        "../helper.py",
    ),
    "a folder beside its own": (HERE + ON_PATH.format("here.parent / 'lib'"), "../lib/helper.py"),
}


def entry(path, **said):
    return Entry("mine", "x", "complete", path.resolve(), **said)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def project(folder):
    """A folder with all that a plug-in may import, two folders below `folder`."""
    own = folder / "above" / "own"
    for name in {file for _, file in WAYS.values()}:
        write(own / name, "SCALE = 1\n")
    write(own / "first.py", "import helper\n")
    write(own / "package" / "__init__.py", "from .inner import SCALE\n")
    return own


@pytest.mark.parametrize("way", WAYS)
def test_a_file_counts_in_whatever_way_it_is_imported(tmp_path, way):
    text, name = WAYS[way]
    own = project(tmp_path)
    if name.startswith(".."):
        (own / "helper.py").unlink()  # else Python would take that
    plugin, file = write(own / "mine.py", text), own / name
    if way.startswith("a folder on") or "deeper" in way or "beside its own" in way:
        (own / "helper.py").unlink(missing_ok=True)
    first, content = source_digest(entry(plugin)), file.read_text()
    assert file.resolve() in local_files(entry(plugin))
    file.write_text(content + "\n# why\n")
    assert source_digest(entry(plugin)) == first, "a comment changes nothing"
    file.write_text(content + "OTHER = 2\n")
    assert source_digest(entry(plugin)) != first, "a line of code does"


@pytest.mark.parametrize("way", WAYS)
def test_files_that_are_not_imported_do_not_count(tmp_path, way):
    text, _ = WAYS[way]
    own = project(tmp_path)
    plugin = write(own / "mine.py", text)
    first = source_digest(entry(plugin))
    write(own / "unrelated.py", "SCALE = 1\n")
    write(own / "lib" / "unrelated.py", "SCALE = 1\n")
    write(own.parent / "unrelated.py", "SCALE = 1\n")
    assert source_digest(entry(plugin)) == first


def test_the_digest_is_the_same_wherever_the_plugin_lies(tmp_path):
    own = project(tmp_path / "here")
    plugin = write(
        own / "mine.py", f"{HERE}import helper, package.sub\nexec((here / 'lib' / 'losses.py').read_text())\n"
    )
    shutil.copytree(tmp_path / "here", tmp_path / "there" / "deeper")
    moved = tmp_path / "there" / "deeper" / "above" / "own" / "mine.py"
    assert source_digest(entry(plugin)) == source_digest(entry(moved))


@pytest.mark.parametrize(
    "text",
    [
        "from ._bits import SCALE\n",
        "from . import _bits\n",
        "from my_package._bits import SCALE\n",
        "import my_package._bits\n",
    ],
)
@pytest.mark.parametrize("installed", [True, False])
def test_the_modules_of_a_methods_own_package_count(tmp_path, text, installed):
    folder = tmp_path / "site-packages" if installed else tmp_path
    method = write(folder / "my_package" / "method.py", text)
    bits = write(folder / "my_package" / "_bits.py", "SCALE = 1\n")
    write(folder / "my_package" / "__init__.py", "")
    write(folder / "other_package.py", "SCALE = 1\n")
    said = entry(method, module="my_package.method", package="my_package 1.2")
    first = source_digest(said)
    assert bits.resolve() in local_files(said)
    bits.write_text("SCALE = 1  # why\n")
    assert source_digest(said) == first
    bits.write_text("SCALE = 2\n")
    assert source_digest(said) != first


def test_other_installed_packages_are_not_followed(tmp_path):
    """Neither where they usually lie, nor where ``pip install --target`` puts them."""
    target = tmp_path / "target"
    write(target / "big" / "__init__.py", "SCALE = 1\n")
    write(target / "big-1.0.dist-info" / "METADATA", "")
    plugin = write(tmp_path / "own" / "mine.py", "import big, torch, yaml\n")
    sys.path.append(str(target))
    try:
        roots = registry.import_roots()
    finally:
        sys.path.remove(str(target))
    assert target not in roots
    assert local_files(entry(plugin, roots=roots)) == [plugin.resolve()]


def test_packages_outside_are_told_with_their_versions(tmp_path):
    write(tmp_path / "helper.py", "import json, rich.console\n")
    plugin = write(
        tmp_path / "mine.py", "import numpy, torch\nimport yaml\nimport helper\nfrom benchmark import Method\n"
    )
    assert {name.lower(): said for name, said in outside_packages(entry(plugin)).items()} == {
        "pyyaml": version("pyyaml"),
        "rich": version("rich"),
    }


TEXT = '''"""About it."""

import math


class Narrow: ...


class Mine(Narrow):
    """Mine."""  # all mine

    scale = "# 1"

    def predict(self, x):
        """Doc."""
        return x + 1  # why
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""About it."""\n', ""),
        ('"""Mine."""  # all mine', '"""Mine, and\n    yours."""'),
        ("  # why", ""),
        ('"""Doc."""', '"""Other."""'),
        ("import math\n", "# head\n\n\nimport math\n"),
    ],
)
def test_what_changes_nothing_does_not_count(tmp_path, before, after):
    plugin = write(tmp_path / "mine.py", TEXT)
    first = source_digest(entry(plugin))
    assert before in TEXT
    plugin.write_text(TEXT.replace(before, after))
    assert source_digest(entry(plugin)) == first


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        (TEXT, "x + 1", "x + 2"),
        (TEXT, '"# 1"', '"# 2"'),
        (TEXT, "    scale", "    other"),
        ('class Wide: ...\nclass Mine(Wide): """Mine."""\n', "(Wide)", "(Thin)"),
        ('def predict(x): "Doc."; return x + 1\n', "x + 1", "x + 2"),
        ('def predict(x): "Über."; return x + 1\n', "x + 1", "x + 2"),
        ("x = 1\n\f\ny = 2  # why\nlong_name = 3 + 4\n", "3 + 4", "3 + 5"),
        ("x = 1  # a\x1cb\nlong_name = 3 + 4  # why\n", "3 + 4", "3 + 5"),
    ],
)
def test_what_changes_a_number_counts(tmp_path, text, before, after):
    plugin = write(tmp_path / "mine.py", text)
    first = source_digest(entry(plugin))
    assert text.count(before) == 1
    write(plugin, text.replace(before, after))
    assert source_digest(entry(plugin)) != first


def test_a_byte_order_mark_and_windows_lines_change_nothing(tmp_path):
    plugin = write(tmp_path / "mine.py", TEXT)
    first = source_digest(entry(plugin))
    plugin.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert source_digest(entry(plugin)) == first
    plugin.write_bytes(TEXT.replace("\n", "\r\n").encode())
    assert source_digest(entry(plugin)) == first


@pytest.mark.parametrize(
    "text", ["import mine\n", "import helper\n", "from ......................... import x\n", "x = '/'\n"]
)
def test_files_that_lead_to_themselves_or_nowhere(tmp_path, text):
    write(tmp_path / "helper.py", "import mine\n")
    plugin = write(tmp_path / "mine.py", f"{text}below = ['..', '.', '', ' ', '\\0', '{'x' * 300}']\n")
    assert plugin.resolve() in local_files(entry(plugin))


class Notebook:
    """A ``__main__`` whose cells are known as a notebook's are: by a name, and by what `linecache` holds of it."""

    def __init__(self, monkeypatch):
        self.module = ModuleType("__main__")
        self.cells = 0
        monkeypatch.setitem(sys.modules, "__main__", self.module)
        self.run("from benchmark import Method, register\nimport torch, functools\n")

    def run(self, text):
        self.cells += 1
        name = f"<cell {self.cells} of {id(self)}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), vars(self.module))

    @property
    def digest(self):
        cls = self.module.Mine
        return source_digest(Entry("mine", "x", "complete", registry._path_of(cls), module="__main__", cls=cls))


CLASS = '''
class Mine(Method):
    """Mine."""

    def __init__(self, task): ...

    def predict(self, batch):
        results = helper(batch)
        return results * SCALE  # scaled
'''


@pytest.fixture
def notebook(monkeypatch):
    notebook = Notebook(monkeypatch)
    notebook.run("SCALE = 2.0\nunused = 1\n")
    notebook.run("def helper(x):\n    return deeper(x) + 1\n")
    notebook.run("def deeper(x):\n    return x\n")
    notebook.run(CLASS)
    return notebook


@pytest.mark.parametrize(
    "cell",
    [
        CLASS.replace("* SCALE", "+ SCALE"),
        CLASS.replace("(Method)", "(Base)").replace("class", "class Base(Method): ...\nclass", 1),
        "SCALE = 3.0\n",
        "def helper(x):\n    return deeper(x) + 2\n",
        "def deeper(x):\n    return -x\n",
        "helper = lambda x: x + 2\n",
        "@functools.lru_cache\ndef deeper(x):\n    return -x\n",
        "def late(self, batch):\n    return batch\nMine.predict = late\n",
    ],
)
def test_what_a_class_uses_of_a_notebook_counts(notebook, cell):
    first = notebook.digest
    notebook.run(cell)
    assert notebook.digest != first


@pytest.mark.parametrize(
    "cell",
    [
        CLASS,
        CLASS.replace("  # scaled", "  # otherwise").replace('"""Mine."""', '"""Ours."""\n'),
        "# what it is multiplied by\nSCALE = 2.0\n",
        'def helper(x):\n    """Help."""\n    return deeper(x) + 1  # why\n',
        "unused = 2\n",
        "results = 5\nbatch = 'the last one'\nx = 3\n",  # names that the functions have for their own
        "class Other(Method): ...\n",
    ],
)
def test_what_a_class_does_not_use_of_a_notebook_does_not(notebook, cell):
    first = notebook.digest
    notebook.run(cell)
    assert notebook.digest == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[1, 2]", "[1, 3]"),
        ("{'a': 1}", "{'a': 2}"),
        ("{'a', 'b', 'c'}", "{'a', 'b', 'd'}"),
        ("torch.tensor([1.0, 2.0])", "torch.tensor([1.0, 2.5])"),
        ("torch.arange(5000.0)", "torch.arange(5000.0).where(torch.arange(5000) != 2500, 0.0)"),
        ("functools.partial(max, 1)", "functools.partial(max, 2)"),
        ("{'loss': first}", "{'loss': second}"),
        ("[first]", "[second]"),
        ("Settings(3)", "Settings(4)"),
        ("None", "1"),
    ],
)
def test_values_of_a_notebook_count_by_their_content(notebook, before, after):
    notebook.run("def first(x):\n    return x\ndef second(x):\n    return -x\n")
    notebook.run("class Settings:\n    def __init__(self, d):\n        self.d = d\n")
    notebook.run(f"SCALE = {before}\n")
    first = notebook.digest
    notebook.run(f"SCALE = {before}\n")
    assert notebook.digest == first, "the same value, though another object"
    notebook.run(f"SCALE = {after}\n")
    assert notebook.digest != first


def test_a_function_that_is_wrapped_counts_by_its_own_text(notebook):
    cell = "@torch.no_grad()\ndef helper(x):\n    return x + {}\n"
    notebook.run(cell.format(1))
    first = notebook.digest
    notebook.run(cell.format(1))
    assert notebook.digest == first
    notebook.run(cell.format(2))
    assert notebook.digest != first


@pytest.mark.parametrize(
    "statement", ["import blocks\nhelper = blocks.block\n", "import blocks\n", "from blocks import block as helper\n"]
)
def test_a_local_file_that_a_notebook_imports_from_counts(notebook, tmp_path, monkeypatch, statement):
    file = write(tmp_path / "blocks.py", "def block(x):\n    return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "blocks", raising=False)
    notebook.run(statement)
    notebook.run(CLASS.replace("helper(batch)", "blocks.block(batch)") if "helper" not in statement else CLASS)
    first = notebook.digest
    file.write_text("def block(x):\n    return x + 1  # why\n")
    assert notebook.digest == first
    file.write_text("def block(x):\n    return x + 2\n")
    assert notebook.digest != first


def test_what_a_notebooks_class_uses_of_packages_is_told(notebook):
    notebook.run("import yaml\nfrom rich.text import Text\n")
    notebook.run("def deeper(x):\n    return yaml.safe_load(x), Text\n")
    cls = notebook.module.Mine
    for digest in ("", "of the Python that has the class's text"):  # the latter in a worker, which has it not
        said = entry(registry._path_of(cls), module="__main__", cls=cls, digest=digest)
        assert {name.lower() for name in outside_packages(said)} == {"pyyaml", "rich"}


def test_a_class_without_a_text_is_refused(notebook):
    exec("class Mine(Method):\n    def predict(self, batch): ...\n", vars(notebook.module))
    with pytest.raises(
        BenchmarkError, match=r"^the text of Mine is not known, .*write it in a file or in a notebook's cell$"
    ):
        _ = notebook.digest


def test_no_file_of_the_harness_counts_in_a_method_that_is_here():
    for said in methods.catalogue().values():
        files = {path.relative_to(registry.ROOT).parts[:2] for path in local_files(said)}
        assert all(parts[0] in registry.FOLDERS or parts == ("benchmark", "parts") for parts in files), said.name
    assert issubclass(methods.load(methods.catalogue()["constant"]), Method)
