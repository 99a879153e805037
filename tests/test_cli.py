"""The command line: exit status, one line for bad input, and answers that do not wait for torch."""

import gc
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import run_benchmark
from benchmark import cli
from tests.faults import people
from tests.waiting import HUNG

ROOT = Path(run_benchmark.__file__).resolve().parent


def run(capsys, *arguments):
    code = run_benchmark.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def shell(*arguments, **options):
    command = [sys.executable, str(ROOT / "run_benchmark.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=HUNG, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do; give for instance --grid quick"),
        (["--grid"], "--grid.*expected one argument"),
        (["--grid", "quik"], "unknown grid 'quik'; did you mean quick"),
        (["--grid", "absent.yaml"], "cannot read grid file absent.yaml: No such file"),
        (["--grid", "smoke", "--methods", "mutl"], "unknown method 'mutl'; did you mean mult"),
        (["--grid", "smoke", "--methods", "papr"], "--methods: unknown method 'papr'; did you mean paper.* recent"),
        (["--grid", "smoke", "--tasks", "mossi"], "unknown task 'mossi'; did you mean mosi"),
        (["--grid", "smoke", "--seeds", "0"], "--seeds.*'0' must be a whole number of at least 1"),
        (["--grid", "smoke", "--seeds", "two"], "--seeds.*'two' must be a whole number"),
        (
            ["--grid", "smoke", "--methods", "constant", "--seeds", "10001", "--plan"],
            "--seeds: key 'seeds': .*less than or equal to 10000",
        ),
        (["--grid", "smoke", "--jobs", "0"], "--jobs.*at least 1"),
        (["--grid", "smoke", "--set", "mult.layer=3"], "unknown hyper-parameter of mult 'layer'; did you mean layers"),
        (["--grid", "smoke", "--set", "mult"], "write METHOD.KEY=VALUE"),
        (["--grid", "smoke", "--data", "no/such/folder"], "no/such/folder"),
        (["--grid", "smoke", "--plugin", "absent.py"], "cannot read method file .*absent.py"),
        (["--grid", "smoke", "--out", "/proc/nowhere"], "cannot write to /proc/nowhere.*--out"),
        (["--grid", "smoke", "--out", ""], "--out: the name is empty; write . for this folder"),
        (["--grid", "smoke", "--data", ""], "--data: the name is empty"),
        (["--report-only", ""], "--report-only: the name is empty"),
        (["--grid", "smoke", "--table", "x", "decimal=1"], "--table x: unknown key 'decimal'; did you mean decimals"),
        (
            ["--grid", "smoke", "--methods", "constant", "--table", "x", "methods=mutl"],
            "unknown method of table x 'mutl'; .*there are: constant",
        ),
        (["--grid", "smoke", "--device", "tpu"], "--device.*invalid choice"),
        (
            ["--grid", "smoke", "--plan", "--report-only"],
            "--report-only makes no use of --plan; leave one or the other",
        ),
        (["--report-only", ".", "--tasks", "mosi"], "--report-only makes no use of --tasks;"),
        (
            ["--report-only", ".", "--set", "mult.layers=3", "--jobs", "2"],
            "--report-only makes no use of --set and --jobs",
        ),
        (["--check", "linear", "--grid", "smoke"], "--check makes no use of --grid"),
        (["--inspect", "x.pkl", "--data", "."], "--inspect makes no use of --data"),
        (["--verbose"], "--verbose goes with --list"),
        (["--check", "linear", "--verbose"], "--check makes no use of --verbose"),
        (["--list", "--plan"], "--list makes no use of --plan"),
        (["--list", "--grid", "quick"], "--list makes no use of --grid"),
        (["--list", "--check", "all"], "--list makes no use of --check"),
        (["--grid", "smoke", "--frsh"], "unrecognized arguments: --frsh"),
        (["--grid", "smoke", "--report-only", "--out", "no/such/folder"], "nothing is stored in no/such/folder"),
        (["--report-only", ".", "no/such/folder", "--out", "x"], "nothing is stored in no/such/folder"),
        (["--report-only", ".", "..", "--grid", "smoke"], "needs a folder of its own; name it with --out"),
        (["--report-only", ".", "..", "--out", "."], "no cells are stored in ."),
        (["--grid", "smoke", "--against", "corkd"], "unknown row in --against 'corkd'; did you mean corrkd"),
        (["--grid", "smoke", "--plan", "--against", "corkd"], "unknown row in --against 'corkd'"),
        (["--grid", "smoke", "--plan", "--highlight", "corkd"], "unknown row in --highlight 'corkd'"),
        (["--grid", "smoke", "--plan", "--metrics", "f2"], "unknown metric in --metrics 'f2'"),
        (["--grid", "smoke", "--plan", "--table", "x", "methods=mutl"], "unknown method of table x 'mutl'"),
        (["--inspect", "absent.pkl"], "absent.pkl"),
        (["--check", "mutl"], "unknown method 'mutl'; did you mean mult"),
        *[
            (
                ["--grid", "smoke", "--cell-timeout", text],
                f"--cell-timeout: '{text}' must be a number of seconds above 0",
            )
            for text in ("0", "-1", "inf", "nan", "soon")
        ],
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert re.match("error: .*" + message, err), err
    assert err.count("\n") == 1 and "Traceback" not in err + out
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").rglob("cell.json"))


def test_a_grid_file_that_is_no_yaml(capsys, tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("seeds: [1\n")
    code, _, err = run(capsys, "--grid", path)
    assert code == 2 and "line 2 is no YAML" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("methods: [mutl]", "methods and variants of grid .*mine.yaml: unknown method 'mutl'; did you mean mult"),
        ("variants: {few: {method: mutl, set: {}}}", "grid .*mine.yaml: variant 'few': unknown method 'mutl'"),
        ("against: lineer", "'against' of grid .*mine.yaml: unknown method 'lineer'; did you mean linear"),
        ("set: {lineer: {max_iter: 3}}", "unknown method in 'set' of grid mine 'lineer'; did you mean linear"),
    ],
)
def test_a_wrong_name_in_a_grid_file_is_told_with_its_place(capsys, tmp_path, line, said):
    path = tmp_path / "mine.yaml"
    path.write_text(f"description: x\ntasks: [mosi]\nseeds: 1\nsubsets: [lav]\n{line}\n")
    code, _, err = run(capsys, "--grid", path, "--plan")
    assert code == 2 and re.match(f"error: .*{said}", err) and err.count("\n") == 1


def test_a_grid_without_a_method(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("description: x\ntasks: [mosi]\nseeds: 1\nsubsets: [lav]\nmethods: []\n")
    code, _, err = run(capsys, "--grid", path, "--out", tmp_path / "out")
    assert code == 2 and "error: grid mine has no methods and no variants; name one" in err and err.count("\n") == 1
    assert run(capsys, "--grid", path, "--plan", "--methods", "constant")[0] == 0


def test_a_grid_against_a_method_that_is_none(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("description: x\ntasks: [mosi]\nseeds: 1\nsubsets: [lav]\nmethods: [constant]\nagainst: corkd\n")
    code, _, err = run(capsys, "--grid", path, "--out", tmp_path / "out")
    assert code == 2 and "unknown method 'corkd'; did you mean corrkd" in err and err.count("\n") == 1


def test_what_a_grid_sets_for_a_row_that_methods_leaves_out_is_passed_over(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "description: x\ntasks: [mosi]\nseeds: 1\nsubsets: [lav]\nmethods: [constant, mult]\nset: {mult: {layers: 2}}\n"
    )
    assert run(capsys, "--grid", path, "--plan", "--methods", "linear")[0] == 0
    code, _, err = run(capsys, "--grid", path, "--plan", "--methods", "linear", "--set", "mult.layers=2")
    assert code == 2 and "--set sets mult.layers, but no row is of mult; there are: linear" in err


def test_a_gpu_that_is_not_there_is_told_before_anything_is_computed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    arguments = ("--grid", "smoke", "--methods", "constant", "--out", tmp_path, "--device", "cuda")
    for more in ((), ("--fresh", "--jobs", 1)):
        code, _, err = run(capsys, *arguments, *more)
        assert code == 2 and err.count("\n") == 1 and not list(tmp_path.rglob("cell.json"))
        assert err.startswith("error: this machine has no GPU that torch can use; leave --device cuda out")
    assert run(capsys, *arguments, "--plan")[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output(capsys, tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = run(capsys, "--grid", "smoke", "--out", tmp_path / "out")
    assert code == 2 and "cannot write" in err


SLOW_TO_IMPORT = {"torch", "pandas", "scipy", "sklearn", "matplotlib", "seaborn"}


@pytest.mark.parametrize(
    ("arguments", "said", "slow"),
    [
        (["--list"], "corrkd", SLOW_TO_IMPORT),
        (["--help"], "--grid", SLOW_TO_IMPORT),
        (
            ["--grid", "quick", "--methods", "corrkd", "mult", "--plan"],
            "tested in 17 settings",
            {"scipy.stats", "sklearn", "matplotlib", "seaborn"},
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_commands_that_compute_nothing_do_not_wait_for_what_takes_long_to_import(arguments, said, slow):
    """How long they take is measured by `make speed`."""
    code = f"import sys, run_benchmark; sys.exit(run_benchmark.main({arguments}))"
    watched = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(watched, capture_output=True, text=True, cwd=ROOT, timeout=HUNG, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert said in done.stdout and "benchmark" in imported and not imported & slow


def test_what_a_command_imports_is_not_searched_for_garbage(monkeypatch):
    """But a process that has torch already is someone else's, and stays as it is."""
    before = gc.get_freeze_count()
    with cli._quick_imports():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
    monkeypatch.delitem(sys.modules, "torch")
    try:
        with pytest.raises(ImportError), cli._quick_imports():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() and gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_list_verbose_says_what_methods_are_tuned_over_and_why(capsys, tmp_path):
    plain = tmp_path / "plain.py"
    plain.write_text(
        "import benchmark\n\n@benchmark.register('plain', paper='none', trains_on='complete')\n"
        "class Plain(benchmark.Method):\n    def predict(self, batch):\n        pass\n    loss = predict\n"
    )
    _, printed, _ = run(capsys, "--list", "--verbose", "--plugin", plain)
    section = {text.split()[0]: text for text in re.split(r"\n  (?=\w)", printed)}
    assert "nothing to tune" in section["constant"]
    assert "d: one of 40, 80 (the paper's and twice it;" in section["corrkd"]
    assert "mrm.frame_probability: 0.2 to 0.8, uniform (of the harness)" in section["corrkd"]
    assert "mrm" not in section["plain"]
    assert (
        "no search space of its own" in section["plain"]
        and "learning_rate: 0.0001 to 0.01, logarithmic" in section["plain"]
    )
    assert "search space" not in run(capsys, "--list")[1]


def test_the_pipe_may_close_early():
    done = subprocess.run(
        f"{sys.executable} run_benchmark.py --list | head -1", shell=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "Traceback" not in done.stderr


def test_plan_runs_nothing_and_report_needs_something(capsys, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = run(capsys, "--grid", "full", "--plan", "--out", out, "--methods", "constant", "mult+mrm")
    assert code == 0 and not out.exists()
    assert "30 cells, each tested in 17 settings" in printed and "mult+mrm" in printed and "15 to do" in printed
    out.mkdir()
    code, _, err = run(capsys, "--report-only", "--out", out)
    assert code == 2 and "run the grid first" in err


@pytest.mark.usefixtures("unpictured")
def test_a_damaged_cell_is_told_before_anything_is_computed(capsys, tmp_path):
    arguments = ("--grid", "smoke", "--methods", "constant", "--out", tmp_path, "--jobs", 1)
    assert run(capsys, *arguments)[0] == 0
    (weights,) = tmp_path.glob("cells/*/model.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    _, printed, _ = run(capsys, *arguments, "--plan")
    assert "warning" not in printed and not (tmp_path / "replaced").exists()
    code, printed, _ = run(capsys, *arguments)
    assert code == 0 and weights.read_bytes() == content
    told = (
        rf"warning: {weights} is damaged: it is not what its checksum says; the cell moves to {tmp_path}/replaced and"
    )
    assert re.search(told, printed) and len(list((tmp_path / "replaced").iterdir())) == 1


def readme_example(tmp_path):
    """The method that the README shows."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?@register\(.*?)```", text, flags=re.S)
    path = tmp_path / "early_fusion.py"
    path.write_text(code)
    return path, code


@pytest.mark.usefixtures("unpictured")
def test_the_readmes_method_appears_in_every_table(capsys, tmp_path):
    path, code = readme_example(tmp_path)
    assert len(code.splitlines()) <= 45
    out = tmp_path / "out"
    arguments = ("--grid", "smoke", "--plugin", path, "--methods", "constant", "early_fusion", "early_fusion-mrm")
    code, _, _ = run(capsys, *arguments, "--out", out, "--jobs", 1)
    assert code == 0
    tables = sorted((out / "tables").iterdir())
    kinds = (
        "inter",
        "intra",
        "intervals",
        "threshold",
        "augmentation",
        "methods",
        "mechanisms",
        "robustness",
        "accounts",
    )
    stems = {*(f"mosi_{kind}" for kind in kinds), "overall"}
    written = {f"{stem}.{suffix}" for stem in stems for suffix in ("md", "tex", "csv")}
    assert {table.name for table in tables} == {*written, "matrix.csv"}
    for table in tables:
        text = table.read_text().replace("\\_", "_").replace("\\allowbreak", "")
        assert "early_fusion" in text and ("early_fusion-mrm" in text or "augmentation" in table.name), table.name
        assert "simulated" in text or table.name in ("matrix.csv", "mosi_threshold.csv"), table.name
    assert "early_fusion" in (out / "report.html").read_text()
    assert set(pd.read_csv(out / "scores.csv")["method"]) == {"constant", "early_fusion", "early_fusion-mrm"}
    # listed and, without --methods, run along with the grid's own methods
    code, printed, _ = run(capsys, "--list", "--plugin", path)
    assert "early_fusion" in printed
    code, printed, _ = run(capsys, "--grid", "smoke", "--plugin", path, "--plan", "--out", out)
    assert re.search(r"early_fusion +1 done", printed) and re.search(r"mult +1 to do", printed)


def test_a_report_without_a_finished_cell_names_no_tables(capsys, tmp_path):
    path, code = readme_example(tmp_path)
    path.write_text(code.replace("return terms", "raise RuntimeError('no')"))
    arguments = (
        "--grid",
        "smoke",
        "--plugin",
        path,
        "--methods",
        "early_fusion",
        "--out",
        tmp_path / "out",
        "--jobs",
        1,
    )
    code, printed, _ = run(capsys, *arguments)
    assert code == 1 and re.search(rf"^report: {tmp_path}/out/report.html$", printed, flags=re.M)


@pytest.mark.usefixtures("unpictured")
def test_tables_come_again_from_scores_alone(capsys, tmp_path):
    path, _ = readme_example(tmp_path)
    out = tmp_path / "out"
    run(capsys, "--grid", "smoke", "--plugin", path, "--methods", "early_fusion", "--out", out, "--jobs", 1)
    # A threshold is found in outputs, which scores do not tell.
    before = {p.name: p.read_bytes() for p in (out / "tables").iterdir() if "threshold" not in p.name}
    again = tmp_path / "again"
    again.mkdir()
    for name in ("scores.csv", "intervals.csv", "comparisons.csv", "manifest.json"):
        (again / name).write_bytes((out / name).read_bytes())
    code, _, _ = run(capsys, "--report-only", again)
    assert code == 0
    assert {p.name: p.read_bytes() for p in (again / "tables").iterdir()} == before
    elsewhere = tmp_path / "elsewhere"
    assert run(capsys, "--report-only", again, "--out", elsewhere)[0] == 0
    assert {p.name: p.read_bytes() for p in (elsewhere / "tables").iterdir()} == before
    (again / "intervals.csv").unlink()
    (again / "tables" / "mosi_inter.md").unlink()
    assert run(capsys, "--report-only", "--out", again)[0] == 0
    assert (again / "tables" / "mosi_inter.md").read_bytes() == before["mosi_inter.md"], "scores are enough"
    (again / "scores.csv").write_text("a,b\n1,2\n")
    code, _, err = run(capsys, "--report-only", "--out", again)
    assert code == 2 and "lacks the column 'task'" in err and err.count("\n") == 1


@pytest.mark.usefixtures("unpictured")
def test_a_report_that_cannot_be_written_is_told_in_one_line_also_when_it_is_tried_again(tmp_path, capsys, monkeypatch):
    def render_page(*arguments, **named):
        raise FileNotFoundError(2, "No such file or directory", "a font")

    monkeypatch.setattr(importlib.import_module("benchmark.report.write"), "render_page", render_page)
    out = tmp_path / "out"
    (tmp_path / "small.yaml").write_text(people.GRID, encoding="utf-8")
    run = ["--grid", str(tmp_path / "small.yaml"), "--methods", "constant", "--jobs", "1", "--out", str(out)]
    for arguments in (run, ["--report-only", str(out)]):
        assert run_benchmark.main(arguments) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "what is computed is stored, but the report" in said and "a font" in said
        assert "Traceback" in (out / "report-error.txt").read_text()
