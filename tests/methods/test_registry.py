import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import Method, methods, register
from benchmark.errors import BenchmarkError
from benchmark.methods import following
from benchmark.methods.labels import Variant
from benchmark.methods.sources import local_files
from benchmark.running.grid_file import load_grid

PLUGIN = '''
from benchmark import Method, register
{extra}
@register({arguments})
class Mine(Method):
    """Mine."""
    def __init__(self, task, {parameters}):
        super().__init__(task)
    def loss(self, batch): ...
    def predict(self, batch): ...
'''


def plugin(
    tmp_path, name="mine.py", arguments='"mine", paper="x", trains_on="complete"', parameters="*, d: int = 3", extra=""
):
    path = tmp_path / name
    path.write_text(PLUGIN.format(arguments=arguments, parameters=parameters, extra=extra))
    return path.resolve()


def test_the_first_methods_are_there_with_their_papers():
    entries = methods.catalogue()
    assert {"constant", "corrkd", "misa", "mult", "tfr_net"} <= set(entries)
    assert entries["corrkd"].trains_on == entries["tfr_net"].trains_on == "missing"
    assert entries["mult"].trains_on == entries["misa"].trains_on == "complete"
    assert all(entry.paper for entry in entries.values())


def test_listing_does_not_import_torch():
    code = (
        "import sys, run_benchmark; assert run_benchmark.main(['--list']) == 0;"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "corrkd" in done.stdout and "quick" in done.stdout and "iemocap" in done.stdout
    assert "methods (each but constant, linear and random also with the suffix +mrm" in done.stdout


def test_every_registered_method_loads_under_its_catalogue_entry():
    for entry in methods.catalogue().values():
        cls = methods.load(entry)
        assert issubclass(cls, Method)
        assert methods.load(entry) is cls


def test_a_plugin_is_found_and_loaded(tmp_path):
    path = plugin(tmp_path)
    entry = methods.catalogue([path])["mine"]
    assert entry.path == path
    assert methods.load(entry).__name__ == "Mine"


def test_two_plugins_of_the_same_file_name_do_not_mix(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first = plugin(tmp_path / "a", arguments='"first", paper="x", trains_on="complete"')
    second = plugin(tmp_path / "b", arguments='"second", paper="x", trains_on="complete"')
    entries = methods.catalogue([first, second])
    assert methods.load(entries["first"]) is not methods.load(entries["second"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arguments": '"mult", paper="x", trains_on="complete"'}, "'mult' stands in both"),
        ({"arguments": '"Bad Name", paper="x", trains_on="complete"'}, "lower-case identifier"),
        ({"arguments": '"mine", paper="x", trains_on="both"'}, "complete, missing"),
        ({"arguments": '"mine", paper="x"'}, "@register"),
        ({"arguments": '"mi" + "ne"[0], paper="x", trains_on="complete"'}, "literal"),
        ({"arguments": '3, paper="x", trains_on="complete"'}, "@register"),
        ({"arguments": f'"{"m" * 41}", paper="x", trains_on="complete"'}, "has 41 characters; 40 are the most"),
        ({"arguments": '"class", paper="x", trains_on="complete"'}, "has a meaning in Python"),
        ({"arguments": '"con", paper="x", trains_on="complete"'}, "has a meaning in Python, on Windows"),
        (
            {"arguments": '"training", paper="x", trains_on="complete"'},
            "has a meaning in Python, on Windows or in --set",
        ),
        ({"arguments": '"mine", paper="a\\nb", trains_on="complete"'}, "paper must be a citation in one line"),
        ({"arguments": '"mine", paper=3, trains_on="complete"'}, "@register"),
        ({"arguments": '"mine", paper={[]: 1}, trains_on="complete"'}, "literal"),
        ({"extra": "def broken(:"}, "no valid Python"),
        ({"extra": "\0"}, "no valid Python"),
    ],
)
def test_the_catalogue_refuses(tmp_path, change, message):
    with pytest.raises(BenchmarkError, match=message) as caught:
        methods.catalogue([plugin(tmp_path, **change)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": "d: int = 3"}, "'d' of Mine must be keyword-only"),
        ({"parameters": "*, d=3"}, "'d' of Mine must have a type"),
        ({"parameters": "*, d: int"}, "'d' of Mine must have a default"),
        ({"extra": "import no_such_module"}, "importing .* failed"),
    ],
)
def test_loading_refuses(tmp_path, change, message):
    entry = methods.catalogue([plugin(tmp_path, **change)])["mine"]
    with pytest.raises(BenchmarkError, match=message) as caught:
        methods.load(entry)
    assert ("importing" in str(caught.value)) == ("importing" in message), "one line, not another around it"


def test_a_plugin_that_fails_to_import_fails_again(tmp_path):
    entry = methods.catalogue([plugin(tmp_path, extra="raise RuntimeError('half way')")])["mine"]
    for _ in range(2):
        with pytest.raises(BenchmarkError, match=r"importing .* failed: RuntimeError"):
            methods.load(entry)


def test_a_plugin_may_lie_in_any_folder_and_be_named_twice(tmp_path):
    (tmp_path / "baselines").mkdir()
    path = plugin(tmp_path / "baselines")
    assert methods.load(methods.catalogue([path, path])["mine"]).__module__.startswith("plugin_mine_")
    assert methods.load(methods.catalogue()["mult"]).__module__ == "baselines.mult"


def test_a_plugin_is_a_python_file(tmp_path):
    entry = methods.catalogue([plugin(tmp_path, name="mine.txt")])["mine"]
    with pytest.raises(BenchmarkError, match=r"mine\.txt cannot be imported; it must be a \.py file"):
        methods.load(entry)
    path = plugin(tmp_path)
    path.write_bytes(path.read_bytes() + b"# \xff")
    with pytest.raises(BenchmarkError, match="cannot read method file"):
        methods.catalogue([path])


def test_other_decorators_register_nothing(tmp_path):
    extra = "import functools\n@functools.cache\ndef f(): ...\n@functools.lru_cache(maxsize=1)\ndef g(): ...\n"
    assert "mine" in methods.catalogue([plugin(tmp_path, extra=extra)])


def test_a_plugin_that_registers_nothing_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(BenchmarkError, match="registers no method"):
        methods.catalogue([path])
    absent = (tmp_path / "absent.py").resolve()
    said = f"^cannot read method file {re.escape(str(absent))}: No such file or directory; give the path of a .py file$"
    with pytest.raises(BenchmarkError, match=said):
        methods.catalogue([absent])


@pytest.mark.parametrize("lacking", ["loss", "predict"])
def test_register_refuses_a_class_without_the_contract(lacking):
    body = {"__init__": lambda self, task: None, "loss": lambda self, batch: None, "predict": lambda self, batch: None}
    del body[lacking]
    with pytest.raises(BenchmarkError, match=f"lacks {lacking}"):
        register("half", paper="x", trains_on="complete")(type("Half", (Method,), body))
    with pytest.raises(BenchmarkError, match="subclass"):
        register("half", paper="x", trains_on="complete")(type("Half", (), {}))


@pytest.mark.parametrize("init", [lambda self: None, lambda self, data: None, lambda self, data, task: None])
def test_register_refuses_a_method_that_does_not_take_the_task_first(init):
    body = {"__init__": init, "loss": lambda self, batch: None, "predict": lambda self, batch: None}
    with pytest.raises(BenchmarkError, match=r"Half\.__init__ must take task first"):
        register("half", paper="x", trains_on="complete")(type("Half", (Method,), body))


def test_a_class_may_be_registered_again(tmp_path):
    cls = methods.load(methods.catalogue()["constant"])
    assert register("constant", paper="x", trains_on="complete")(cls) is cls


def test_register_refuses_a_taken_name():
    methods.load(methods.catalogue()["constant"])
    body = {"__init__": lambda self, task: None, "loss": lambda self, batch: None, "predict": lambda self, batch: None}
    with pytest.raises(BenchmarkError, match="taken"):
        register("constant", paper="x", trains_on="complete")(type("Other", (Method,), body))


def test_rows():
    entries = methods.catalogue()
    rows = methods.rows(["mult", "mult+mrm", "corrkd-mrm", "mult"], entries)
    assert [(r.label, r.name, r.trains_on) for r in rows] == [
        ("mult", "mult", "complete"),
        ("mult+mrm", "mult", "missing"),
        ("corrkd-mrm", "corrkd", "complete"),
    ]


def test_variants_are_rows_of_their_method():
    entries = methods.catalogue()
    _, config = load_grid("ablation")
    rows = methods.rows(["corrkd", *config.variants], entries, config.variants)
    assert [row.label for row in rows] == [
        "corrkd", "w/o SCD", "w/o CPD", "w/o RCD", "RCD as KL", "only MRM", "only teacher",
    ]  # fmt: skip
    assert {row.name for row in rows} == {"corrkd"}
    assert rows[1].variant == (("scd_weight", 0.0),)
    assert methods.by_year(reversed(rows), entries) == rows
    assert methods.describe(rows[1], entries).endswith("trained on incomplete samples; corrkd with scd_weight=0.0")
    with pytest.raises(BenchmarkError, match=r"unknown method 'w/o SDC'; did you mean w/o SCD"):
        methods.rows(["w/o SDC"], entries, config.variants)
    few = Variant(method="few", set={})
    with pytest.raises(
        BenchmarkError, match=r"^variant 'few': unknown method 'few'; (?!.*few).*there are: cmad, constant"
    ):
        methods.rows(["few"], entries, {"few": few})
    with pytest.raises(BenchmarkError, match="variant 'mult' has the name of a method"):
        methods.rows([], entries, {"mult": config.variants["w/o SCD"]})


def test_both_ways_leaves_out_what_training_does_not_change():
    labels = methods.both_ways(methods.catalogue())
    assert {"corrkd", "corrkd-mrm", "mult", "mult+mrm", "constant"} <= set(labels)
    assert "constant+mrm" not in labels and "mult-mrm" not in labels


def test_what_training_does_not_change_has_no_suffix():
    entries = methods.catalogue()
    for label in ("linear+mrm", "constant+mrm", "linear-mrm"):
        with pytest.raises(BenchmarkError, match=rf"^'{re.escape(label)}': .* is the same .*; ask for '{label[:-4]}'$"):
            methods.rows([label], entries)
        assert methods.label_row(label, entries).label == label, "a row that is stored is shown"
    labels = methods.expand(["all+mrm"], entries)
    assert {"linear", "constant", "corrkd", "mult+mrm"} <= set(labels) and len(labels) == len(entries)
    assert methods.rows(labels, entries)


@pytest.mark.parametrize("annotation", ["", ": ClassVar[bool]"])
def test_the_catalogue_reads_what_training_changes(tmp_path, annotation):
    same = f"augmentable{annotation} = False"
    path = plugin(tmp_path, extra="from typing import ClassVar\n")
    path.write_text(path.read_text().replace('"""Mine."""', f'"""Mine."""\n    {same}'))
    entry = methods.catalogue([path])["mine"]
    assert not entry.augmentable and not methods.load(entry).augmentable


def test_what_the_catalogue_cannot_read_is_refused(tmp_path):
    path = plugin(tmp_path, extra="class Same(Method):\n    augmentable = False\n")
    path.write_text(path.read_text().replace("class Mine(Method)", "class Mine(Same)"))
    with pytest.raises(BenchmarkError, match="write 'augmentable = False' in the body of Mine itself"):
        methods.load(methods.catalogue([path])["mine"])


def test_rows_stand_in_the_order_of_their_years(tmp_path):
    entries = methods.catalogue([plugin(tmp_path)])
    labels = ["mine", "corrkd", "mult+mrm", "tfr_net", "mult", "misa"]

    def by_year(labels, entries):
        return [row.label for row in methods.by_year([methods.label_row(x, entries) for x in labels], entries)]

    assert by_year(labels, entries) == ["mult", "mult+mrm", "misa", "tfr_net", "corrkd", "mine"]
    assert by_year(["gone", "mult"], entries) == ["mult", "gone"]
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "mine.yaml").write_text("year: 2018\n")
    assert by_year(labels, entries)[0] == "mine"
    (tmp_path / "cards" / "mine.yaml").write_text("[")
    with pytest.raises(BenchmarkError, match=r"card .*mine\.yaml, line 1 is no YAML"):
        methods.card(entries["mine"])


def test_an_unknown_method_names_its_neighbours():
    with pytest.raises(
        BenchmarkError, match=r"unknown method 'mutl'; did you mean mult.*there are: cmad, constant, corrkd"
    ):
        methods.rows(["mutl"], methods.catalogue())
    with pytest.raises(BenchmarkError, match="trains on missing samples already"):
        methods.rows(["corrkd+mrm"], methods.catalogue())


def test_source_digest_sees_code_and_nothing_else(tmp_path):
    def digest(text):
        path = tmp_path / "m.py"
        path.write_text(text)
        return methods.source_digest(methods.Entry("m", "x", "complete", path))

    base = 'def f(x):\n    """Doc."""\n    return x + 1  # why\n'
    assert digest(base) == digest('# head\n\ndef f(x):\n    """Other\n    doc."""\n\n    return x + 1\n')
    assert digest(base) != digest(base.replace("+ 1", "+ 2"))
    assert digest('x = "# 1"\n') != digest('x = "# 2"\n')


def test_source_digest_follows_imports():
    entry = methods.catalogue()["corrkd"]
    seen = {path.relative_to(methods.ROOT).as_posix() for path in local_files(entry)}
    assert {"corrkd/method.py", "corrkd/losses.py", "corrkd/networks.py"} <= seen
    assert {"benchmark/parts/transformer.py", "benchmark/parts/attention.py", "benchmark/parts/losses.py"} <= seen
    assert not seen & {"benchmark/parts/recurrent.py", "benchmark/running/training.py", "benchmark/protocol/method.py"}


def test_a_process_that_outlives_a_run_takes_the_plugin_that_is_asked_for(tmp_path):
    """As a worker of a cluster does, when two runs have a plug-in of one name."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    first, second = (methods.catalogue([plugin(tmp_path / folder)])["mine"] for folder in ("a", "b"))
    for entry in (first, second, first):
        assert Path(inspect.getfile(methods.load(entry))) == entry.path


def test_source_digest_changes_with_shared_losses(tmp_path, monkeypatch):
    (tmp_path / "benchmark" / "parts").mkdir(parents=True)
    method, losses = tmp_path / "mine.py", tmp_path / "benchmark" / "parts" / "losses.py"
    monkeypatch.setattr(following, "ROOT", tmp_path)

    def digest(statement, text):
        method.write_text(statement)
        losses.write_text(text)
        return methods.source_digest(methods.Entry("mine", "x", "complete", method))

    for statement in (
        "from benchmark.parts.losses import term\n",
        "from benchmark.parts import losses\n",
        "import benchmark.parts.losses\n",
        "import importlib\nlosses = importlib.import_module('benchmark.parts.losses')\n",
    ):
        assert digest(statement, "term = 1\n") != digest(statement, "term = 2\n")
        assert digest(statement, "term = 1\n") == digest(statement, "term = 1  # why\n")
    assert digest("x = 1\n", "term = 1\n") == digest("x = 1\n", "term = 2\n")


def test_groups_come_from_the_cards_and_stand_for_their_methods():
    entries = methods.catalogue()
    groups = methods.groups(entries)
    assert groups["all"] == list(entries)
    assert set(groups["paper"]) == {
        "corrkd", "self_mm", "cubemlp", "dmd", "mctn", "transm", "smil", "gcnet",
    }  # fmt: skip
    assert set(groups["recent"]) == {"lnln", "hrlf"}
    assert methods.expand(["recent", "mult", "hrlf"], entries) == [*groups["recent"], "mult"]
    assert methods.expand(["recent-mrm"], entries) == [f"{name}-mrm" for name in groups["recent"]]
    assert methods.expand(["recent+mrm"], entries) == groups["recent"]  # they train on incomplete samples already
    assert methods.expand(["mine+mrm", "mult+mrm"], entries, {"mine+mrm"}) == ["mine+mrm", "mult+mrm"]
    with pytest.raises(BenchmarkError, match=r"unknown method 'papr'; did you mean paper\?.* all, .*mine, .*recent"):
        methods.expand(["papr+mrm"], entries, {"mine"})


def test_a_method_wins_over_a_group_of_its_name(monkeypatch):
    entries = methods.catalogue()
    monkeypatch.setattr(
        "benchmark.methods.labels.groups", lambda entries: {"mult": ["misa"], "mine": ["misa", "corrkd"]}
    )
    assert methods.expand(["mult", "mine", "other"], entries, {"other"}) == ["mult", "misa", "corrkd", "other"]
    assert methods.expand(["mine+mrm"], entries) == ["misa+mrm", "corrkd"]
