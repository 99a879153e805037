"""The benchmark from Python: runs, plans, reports and models give what the command line gives."""

import inspect
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure

import benchmark
import run_benchmark
from benchmark import BenchmarkError, Method
from benchmark.data import find_task, find_tasks
from benchmark.data.source import load_task
from benchmark.methods import ROOT
from benchmark.running.evaluation import predict_settings
from benchmark.running.store import Store
from tests.api_calls import GRID, SIZES, TINY, in_order, keys, manifest, quiet, report, run

pytestmark = pytest.mark.usefixtures("unpictured")


@benchmark.register("of_this_test", paper="none, 2026", trains_on="complete")
class OfThisTest(Method):
    def __init__(self, task, *, d: int = 1, fails: bool = False):
        super().__init__(task)
        self.fails = fails
        self.bias = torch.nn.Parameter(torch.zeros(task.num_categories))

    def predict(self, batch):
        return self.bias.expand(len(batch), -1)

    def loss(self, batch):
        if self.fails:
            raise ArithmeticError("planted")
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)


PLUGIN = f"import torch\nimport benchmark\nfrom benchmark import Method\n\n{inspect.getsource(OfThisTest)}"
PLUGIN = PLUGIN.replace("of_this_test", "mine").replace("OfThisTest", "Mine")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One run of the grid; not to be changed."""
    return run(out=tmp_path_factory.mktemp("whole") / "out")


@pytest.fixture
def copied(whole, tmp_path):
    """The same, in a folder of the test's own."""
    return report(Path(shutil.copytree(whole.out, tmp_path / "copied")))


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def key_of(results, method, seed=0):
    (key,) = results.scores.query("method == @method and seed == @seed")["key"].unique()
    return key


# ---- what there is


def test_all_public_names_are_there():
    assert set(benchmark.__all__) <= set(dir(benchmark))
    assert {"run", "plan", "report", "load_model", "read_scores", "register", "Method", "Batch"} <= set(
        benchmark.__all__
    )
    for name in benchmark.__all__:
        assert getattr(benchmark, name) is not None, name
    with pytest.raises(AttributeError, match="module 'benchmark' has no attribute 'rum'"):
        _ = benchmark.rum


def test_importing_the_benchmark_imports_no_torch():
    heavy = {"torch", "pandas", "matplotlib", "sklearn", "numpy", "scipy"}
    code = f"import sys, benchmark; dir(benchmark); sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "benchmark" in imported and not imported & heavy


@pytest.mark.parametrize("first", ["", "import benchmark.report.tables"])
def test_report_is_the_function_whatever_was_imported(first):
    code = f"{first}\nimport benchmark\nassert benchmark.report.__name__ == 'report', benchmark.report\n"
    code += "from benchmark import report\nfrom benchmark.report.tables import to_latex\n"
    code += "import inspect, benchmark.api\nassert report is benchmark.report is benchmark.api.report\n"
    code += "assert 'folders' in inspect.signature(report).parameters\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        run_benchmark.main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"corrkd-benchmark {benchmark.__version__}\n"


# ---- a run, and what comes back


def test_scores(whole):
    scores = whole.scores
    columns = "task source method seed kind available ratio draw metric value n key"
    assert list(scores.columns)[:12] == columns.split() and len(scores.groupby(["method", "seed"])) == 4
    assert set(scores["key"]) == keys(whole.out)
    pd.testing.assert_frame_equal(benchmark.read_scores(whole.out), scores, check_dtype=False)
    assert whole.failed == 0 and whole.failures == []


def test_a_grid_is_the_same_by_its_keys_its_path_and_its_name(tmp_path):
    path = write(tmp_path / "tiny.yaml", yaml.safe_dump({"description": "one cell", **TINY}))
    results = [run(given) for given in (TINY, path, str(path), {**TINY, "name": "mine"})]
    assert [r.out for r in results] == [Path("results") / name for name in ("grid", "tiny", "tiny", "mine")]
    assert all(r.scores.equals(results[0].scores) and (r.out / "report.html").is_file() for r in results)
    by_name = run("smoke", methods=["constant"])
    assert by_name.out == Path("results/smoke") and set(by_name.scores["method"]) == {"constant"}


def test_what_is_done_is_not_computed_again(tmp_path):
    def finished(results):
        return {key: Store(results.out).read(key)["finished"] for key in keys(results.out)}

    first = finished(run(TINY, seeds=2))
    again = run(TINY)
    assert finished(again) == first and set(again.scores["seed"]) == {0, 1}, "the report is on all that is stored"
    fresh = finished(run(TINY, fresh=True))
    assert [fresh[key] == first[key] for key in first].count(False) == 1
    assert len(list((again.out / "replaced").iterdir())) == 1


def test_tables(whole):
    f1 = whole.scores.query("metric == 'f1'")
    inter = whole.table("mosi", kind="inter")
    assert list(inter.columns) == ["{l}", "{l,a,v}"] and set(inter.index.unique("method")) == {"linear", "constant"}
    assert list(inter.index.unique("metric")) == ["f1", "f1_nonneg", "accuracy"], "as the task lists them"
    expected = f1.query("method == 'linear' and kind == 'inter' and available == 'l'")["value"].mean()
    assert inter.loc[("f1", "linear"), "{l}"] == pytest.approx(expected)
    intra = whole.table("mosi", "intra").loc["f1"]
    assert list(intra.columns) == ["p=0.0", "p=0.5"]
    expected = f1.query("method == 'constant' and kind == 'intra' and ratio == 0.5")["value"].mean()
    assert intra.loc["constant", "p=0.5"] == pytest.approx(expected)
    intervals = whole.table("mosi", "intervals")
    assert re.fullmatch(r"\d+\.\d\d \[\d+\.\d, \d+\.\d\]", intervals.loc["linear", "{l,a,v}"])
    overall = whole.table(kind="overall")
    assert set(overall.index) == {"linear", "constant"} and whole.table("mosi", "overall").equals(overall)


def test_every_table_and_figure_that_is_named_can_be_had(whole):
    kinds = whole.kinds
    assert {"overall", "mosi_inter", "mosi_intra", "mosi_intervals", "mosi_methods"} <= set(kinds["tables"])
    assert {"mosi_intra", "mosi_inter"} <= set(kinds["figures"])
    for stem in kinds["tables"]:
        assert isinstance(whole.table(kind=stem), pd.DataFrame) and (whole.out / "tables" / f"{stem}.csv").is_file()
    for stem in kinds["figures"]:
        assert isinstance(whole.plot(kind=stem), Figure) and (whole.out / "figures" / f"{stem}.png").is_file()
    assert isinstance(whole.plot("mosi", kind="intra"), Figure)


def test_the_report_is_written_again_and_figures_stay_whole(copied, tmp_path, unpictured):
    unpictured.undo()
    before = copied.plot("mosi", "intra")
    for name in ("report.html", "tables/mosi_inter.md"):
        (copied.out / name).unlink()
    assert copied.report() == copied.out / "report.html" and copied.report().is_file()
    assert (copied.out / "tables" / "mosi_inter.md").is_file()
    for number, figure in enumerate((before, copied.plot("mosi", "intra"))):
        figure.savefig(tmp_path / f"{number}.png")
        assert figure.axes[0].lines and (tmp_path / f"{number}.png").stat().st_size > 5_000


@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_that_is_loaded_predicts_what_is_stored(whole, seed):
    model = whole.load("linear", "mosi", seed=seed)
    assert isinstance(model, Method) and not model.training
    (task,), _ = find_tasks([find_task("mosi")], None, asked=False, sizes=tuple(SIZES.values()))
    store = Store(whole.out)
    stored = store.predictions(key_of(whole, "linear", seed))
    settings = [setting for setting, _ in stored.settings]
    logits = predict_settings(model, load_task(task), settings, draw=0, device=torch.device("cpu"))
    np.testing.assert_array_equal(logits, stored.logits)


def test_a_failed_cell_is_told_and_raises_nothing():
    results = run(TINY, methods=["constant", OfThisTest], set={"of_this_test": {"fails": True}})
    assert results.failed == 1 and (results.out / "report.html").is_file()
    (failure,) = results.failures
    assert (failure["method"], failure["task"], failure["error"]) == (
        "of_this_test",
        "mosi",
        "ArithmeticError: planted",
    )
    (failed,) = keys(results.out) - {key_of(results, "constant")}
    with pytest.raises(BenchmarkError, match="is no folder of a done cell; name one"):
        benchmark.load_model(results.out / "cells" / failed)
    with pytest.raises(BenchmarkError, match=r"unknown cell 'of_this_test on mosi, seed 0'"):
        results.load("of_this_test", "mosi")


@pytest.mark.parametrize("given", [[OfThisTest], OfThisTest])
def test_a_class_of_a_module_is_a_method(given):
    results = run(TINY, methods=given)
    assert set(results.scores["method"]) == {"of_this_test"} and results.failed == 0
    assert type(results.load("of_this_test", "mosi")) is OfThisTest
    assert benchmark.plan(TINY, methods=given, say=quiet).cells["state"].item() == "done"


def test_a_class_that_nobody_asks_for_is_no_method():
    with pytest.raises(BenchmarkError, match="unknown method 'of_this_test'"):
        run(TINY, methods=["of_this_test"])
    with pytest.raises(BenchmarkError, match=r"Method'> is no method that is registered; decorate the class"):
        run(TINY, methods=[Method])


def test_what_is_set_and_what_others_are_tested_against(tmp_path):
    given = {"linear": {"max_iter": 3000}, "training": {"epochs": 2}}
    results = run(TINY, methods=["constant", "linear"], set=given, against="constant")
    linear = Store(results.out).read(key_of(results, "linear"))
    assert linear["hyperparameters"]["max_iter"] == 3000 and linear["training"]["epochs"] == 2
    assert manifest(results)["against"] == "constant"
    assert set(pd.read_csv(results.out / "comparisons.csv")["against"]) == {"constant"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"grid": {**TINY, "margin": 0}}, "grid grid: key 'margin': input should be greater than 0"),
        ({"grid": "quik"}, "unknown grid 'quik'; did you mean quick"),
        ({"grid": {**TINY, "metods": []}}, "grid grid: unknown key 'metods'; did you mean methods"),
        ({"grid": {**TINY, "seeds": "x"}}, "grid grid: key 'seeds': "),
        ({"methods": ["constnt"]}, "--methods: unknown method 'constnt'; did you mean constant"),
        ({"tasks": ["mossi"]}, "unknown task 'mossi'; did you mean mosi"),
        ({"seeds": 0}, "key 'seeds': input should be greater than or equal to 1"),
        ({"set": {"constant": {"d": 1}}}, "unknown hyper-parameter of constant 'd'"),
        ({"set": {"mult": {"layers": 1}}}, "sets mult.layers, but no row is of mult"),
        ({"set": {"constant": 3}}, "must name methods and their hyper-parameters"),
        ({"set": "constant.d=3"}, "must name methods and their hyper-parameters"),
        ({"plugins": ["absent.py"]}, "cannot read method file .*absent.py: No such file"),
        ({"plugins": "absent.py"}, "cannot read method file .*absent.py: No such file"),
        ({"data": "no/such/folder"}, "cannot read the data folder no/such/folder"),
        ({"against": "linear"}, "unknown row in --against 'linear'; there are: constant"),
        ({"tables": {"x": {"columns": ["p=0.35"]}}}, r"unknown column of table x 'p=0.35'; .*there are: AUDC"),
        ({"tables": {"x": {"colums": []}}}, "tables: table 'x': unknown key 'colums'; did you mean columns"),
        ({"grid": {**TINY, "tables": {"x": {"metrics": ["mae"]}}}}, "unknown metric of table x 'mae'; .*there are: "),
        ({"jobs": 0}, "jobs=0 must be a whole number of at least 1"),
        ({"jobs": "2"}, "jobs='2' must be a whole number of at least 1"),
        ({"device": "tpu"}, "unknown device 'tpu'; .*there are: auto, cpu, cuda"),
        ({"backend": "dusk"}, "unknown backend 'dusk'; did you mean dask"),
        ({"backend": "dask"}, "--backend dask needs the cluster's address"),
        ({"cell_timeout": 0}, "cell_timeout=0 must be a number of seconds above 0"),
        ({"cell_timeout": float("nan")}, "cell_timeout=nan must be a number of seconds above 0"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_computed(arguments, said):
    with pytest.raises(BenchmarkError, match=said) as caught:
        run(**{"grid": TINY, **arguments})
    assert "\n" not in str(caught.value) and not list(Path().rglob("cell.json"))


def test_what_is_not_there_is_one_line(whole, tmp_path):
    for call, said in (
        (lambda: whole.table("mosi", "intrr"), "unknown table 'mosi_intrr'; did you mean mosi_intra"),
        (lambda: whole.plot("mosei"), "unknown figure 'mosei_intra'; did you mean mosi_intra"),
        (
            lambda: whole.load("linear", "mosi", seed=2),
            "unknown cell 'linear on mosi, seed 2'; did you mean linear on mosi",
        ),
        (lambda: benchmark.read_scores(tmp_path), "nothing is stored in "),
        (lambda: benchmark.load_model(tmp_path), "is no folder of a done cell; name one, such as results/quick/cells"),
        (lambda: benchmark.load_model("/"), "is no folder of a done cell"),
        (lambda: report(), "no folder is named; give one, or a grid"),
        (lambda: report(tmp_path / "absent"), "nothing is stored in .*absent; run the grid first"),
        (lambda: report(tmp_path), "nothing is stored in "),
        (lambda: report(whole.out, tmp_path), "a report on several folders needs a folder of its own"),
        (lambda: report(whole.out, methods=["mult"], out="o"), "unknown row among what is stored 'mult'; there are: "),
        (lambda: report(whole.out, against="mult", out="o"), "unknown row in --against 'mult'; there are: "),
    ):
        with pytest.raises(BenchmarkError, match=said) as caught:
            call()
        assert "\n" not in str(caught.value)


# ---- models and reports of what is stored


def test_a_model_of_a_plugin(tmp_path):
    path = write(tmp_path / "elsewhere" / "mine.py", PLUGIN)
    results = run(TINY, methods=["mine"], plugins=[path])
    cell = results.out / "cells" / key_of(results, "mine")
    assert type(results.load("mine", "mosi")).__name__ == "Mine"
    for given in ([path], path, str(path)):
        model = benchmark.load_model(cell, plugins=given)
        assert type(model).__name__ == "Mine" and not model.training and model.task.name == "mosi"
    assert model.bias.detach().numpy().any(), "it is trained"
    with pytest.raises(BenchmarkError, match=r"unknown method 'mine'; .*; name its file as a plug-in$"):
        benchmark.load_model(cell)
    write(path, PLUGIN + "# why\n")
    with warnings.catch_warnings(action="error"):
        benchmark.load_model(cell, plugins=[path])
    write(path, PLUGIN.replace("super().__init__(task)", "super().__init__(task)\n        self.other = 1"))
    with pytest.warns(UserWarning, match=f"the code of mine has changed since {cell.name} was trained") as told:
        benchmark.load_model(cell, plugins=[path])
    assert [warning.filename for warning in told] == [__file__]
    for before, after in (("num_categories))", "num_categories + 1))"), ("d: int", "e: int")):
        write(path, PLUGIN.replace(before, after))
        with (
            pytest.warns(UserWarning),
            pytest.raises(BenchmarkError, match=r"the weights of .* do not fit mine as it is"),
        ):
            benchmark.load_model(cell, plugins=[path])


def test_plugins_of_a_grid_file_are_relative_to_it(tmp_path):
    write(tmp_path / "there" / "mine.py", PLUGIN)
    path = write(tmp_path / "there" / "tiny.yaml", yaml.safe_dump({"description": "x", **TINY, "plugins": ["mine.py"]}))
    assert list(benchmark.plan(path, say=quiet).cells["method"]) == ["constant", "mine"]
    with pytest.raises(BenchmarkError, match=r"cannot read method file .*mine\.py: No such file"):
        benchmark.plan({**TINY, "plugins": ["mine.py"]}, say=quiet)
    write(tmp_path / "mine.py", PLUGIN)
    assert list(benchmark.plan({**TINY, "plugins": ["mine.py"]}, say=quiet).cells["method"]) == ["constant", "mine"]


def test_a_report_on_several_folders_and_on_some_rows(whole, tmp_path):
    for method in ("linear", "constant"):  # as if each had been computed in a folder of its own
        for seed in (0, 1):
            cell = Path("cells") / key_of(whole, method, seed)
            shutil.copytree(whole.out / cell, tmp_path / method / cell)
    together = report(tmp_path / "linear", tmp_path / "constant", out=tmp_path / "both", against="linear")
    assert (
        in_order(together.scores).equals(in_order(whole.scores)) and manifest(together)["grid"] == "linear + constant"
    )
    pd.testing.assert_frame_equal(together.table("mosi", "intervals"), whole.table("mosi", "intervals"))
    assert isinstance(together.load("constant", "mosi", seed=1), Method)
    only = report(whole.out, methods=["constant"], out=tmp_path / "some")
    assert set(only.scores["method"]) == {"constant"} and set(only.table("mosi", "inter").index.unique("method")) == {
        "constant"
    }
    assert not (tmp_path / "some" / "cells").exists() and only.kinds["tables"]
    arguments = ["--report-only", str(whole.out), "--methods", "linear", "--out", str(tmp_path / "typed")]
    assert run_benchmark.main(arguments) == 0
    assert set(benchmark.read_scores(tmp_path / "typed")["method"]) == {"linear"}
    table = (tmp_path / "typed" / "tables" / "mosi_inter.md").read_text()
    assert "Linear" in table and "Constant" not in table


# ---- how to get it again


def test_the_manifest_holds_the_call_that_was_made(whole, tmp_path):
    said = manifest(whole)["command"]
    assert said.startswith("benchmark.run({'description': 'two floors', ")
    assert said.endswith(f", out={str(whole.out)!r}, jobs=1)")
    given = {"methods": ["constant", OfThisTest], "seeds": 1, "set": {"training": {"epochs": 1}}, "out": tmp_path / "o"}
    expected = "methods=['constant', OfThisTest], seeds=1, set={'training': {'epochs': 1}}, out="
    results = run(TINY, **given)
    assert manifest(results)["command"] == f"benchmark.run({TINY}, {expected}{str(tmp_path / 'o')!r}, jobs=1)"
    results = run(TINY, **given, command="sbatch mine.sh")
    assert manifest(results)["command"] == "sbatch mine.sh"


@pytest.mark.parametrize(
    ("program", "said"),
    [("/usr/bin/corrkd-bench", "corrkd-bench"), ("/some/where/run_benchmark.py", "python run_benchmark.py")],
)
def test_how_to_get_it_again_is_what_was_typed(tmp_path, monkeypatch, capsys, program, said):
    path = write(tmp_path / "tiny.yaml", yaml.safe_dump({"description": "one cell", **TINY}))
    monkeypatch.setattr(sys, "argv", [program])
    assert run_benchmark.main(["--grid", str(path), "--jobs", "1"]) == 0
    out = tmp_path / "results" / "tiny"
    assert json.loads((out / "manifest.json").read_text())["command"] == f"{said} --grid {path} --jobs 1"
    _, _, page = (out / "report.html").read_text().partition("How to get it again")
    assert f"{said} --grid {path} --jobs 1" in page
    with pytest.raises(SystemExit):
        run_benchmark.main(["--help"])
    assert f"usage: {said.rpartition(' ')[2]} " in capsys.readouterr().out


# ---- plan


def test_a_plan_computes_nothing_and_is_printed_as_on_the_command_line(whole, tmp_path, capsys):
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(GRID))
    plan = benchmark.plan(path, seeds=3, out=whole.out, jobs=1, say=quiet)
    assert isinstance(plan, benchmark.Plan) and list(plan.cells.columns) == [
        "method",
        "task",
        "seed",
        "state",
        "key",
        "seconds",
    ]
    assert list(zip(plan.cells["method"], plan.cells["seed"], plan.cells["state"], strict=True)) == [
        (method, seed, "done" if seed < 2 else "to do") for seed in range(3) for method in ("constant", "linear")
    ]
    assert set(plan.cells.query("state == 'done'")["key"]) == keys(whole.out)
    assert str(plan).startswith("grid two: 6 cells, each tested in 3 settings\n  constant         2 done, 1 to do\n")
    assert "\nin all: 4 done, 2 to do\ntime to expect with 1 job: " in str(plan)
    arguments = ["--grid", path, "--seeds", 3, "--out", whole.out, "--jobs", 1, "--plan"]
    assert run_benchmark.main([str(argument) for argument in arguments]) == 0
    assert capsys.readouterr().out.endswith(f"{plan}\n")
    assert len(keys(whole.out)) == 4 and not (tmp_path / "results").exists()
    assert benchmark.plan(GRID, jobs=1, say=quiet).cells["state"].eq("to do").all()
