"""The notebook of the documentation runs as it is shown, and a class of a notebook is a method like any other."""

import json
import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from benchmark.methods import ROOT

PAGE = ROOT / "docs" / "notebook.ipynb"
NEVER = 10**7  # seconds: a busy machine is no fault
SETUP = """
import benchmark, torch
from benchmark.report.drawing import Drawing

def undrawn(self, name, figure):
    self._drawn[name] = {"png": bytes(24), "pdf": b""}

Drawing.draw = undrawn  # which takes longest

def quiet(line):
    pass

GRID = {
    "methods": ["constant"], "tasks": ["mosi"], "seeds": 2, "subsets": ["lav"], "training": {"epochs": 1},
    "simulator": {"train": 40, "valid": 8, "test": 16},
}

def run(jobs, out="out"):
    results = benchmark.run(GRID, methods=[Mine], out=out, jobs=jobs, say=quiet)
    print(results.failures, sorted(results.scores["value"].round(3)))

def state(out="out"):
    print(*benchmark.plan(GRID, methods=[Mine], out=out, say=quiet).cells["state"])
"""
NUMBER = "ANSWER = 0"
HELPER = '''
def says(batch, categories):
    """What is said of every sample."""
    return torch.nn.functional.one_hot(torch.full((len(batch),), ANSWER), categories)
'''
CLASS = '''
@benchmark.register("mine", paper="mine, 2026", trains_on="complete")
class Mine(benchmark.Method):
    """Says the same of every sample."""

    def __init__(self, task):
        super().__init__(task)
        self.bias = torch.nn.Parameter(torch.zeros(task.num_categories))

    def predict(self, batch):
        return self.bias * 0 + says(batch, self.task.num_categories)  # (N, K)

    def loss(self, batch):
        return torch.nn.functional.cross_entropy(self.predict(batch), batch.labels)
'''


def executed(notebook, folder):
    """Run a notebook in a kernel of its own, which does not end before it is done."""
    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=NEVER,
        iopub_timeout=NEVER,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path_factory):
    """A kernel of this Python, of this tree, and of nobody's settings."""
    folder = tmp_path_factory.mktemp("jupyter")
    (folder / "kernels" / "python3").mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)


def answers(folder, *cells):
    """The outputs of some cells, which run one after the other; of each the text, and the kinds of all outputs."""
    notebook = executed(new_notebook(cells=[new_code_cell(cell) for cell in (SETUP, *cells)]), folder)
    found = []
    for cell in notebook.cells[1:]:
        text = "".join(output.get("text", "") for output in cell.outputs)
        found.append((text.strip(), {output.get("name", output.output_type) for output in cell.outputs}))
    return found


DRAWN = """
from benchmark.report.drawing import Drawing

def draw(self, name, figure, really=Drawing.draw):
    if name == "mosi_intra":
        really(self, name, figure)
    else:
        self._drawn[name] = {"png": bytes(24), "pdf": b""}

Drawing.draw = draw
"""
"""Of the figures in the notebook's four reports, that which it shows."""


def kinds(output):
    return sorted(output.get("data", [output.get("name")]))


def test_the_notebook_of_the_documentation_runs_as_it_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # without workers, each of which would import torch
    startup = Path(os.environ["IPYTHONDIR"], "profile_default", "startup")
    startup.mkdir(parents=True)
    (startup / "drawn.py").write_text(DRAWN)
    shown = nbformat.read(PAGE, as_version=4)
    now = executed(nbformat.read(PAGE, as_version=4), tmp_path)
    for before, after in zip(shown.cells, now.cells, strict=True):
        if before.cell_type == "code":
            assert after.execution_count == before.execution_count, before.source
            assert all(output.get("name") != "stderr" for output in after.outputs), after.outputs
            assert [*map(kinds, after.outputs)] == [*map(kinds, before.outputs)], before.source
            assert not [output for output in after.outputs if output.output_type == "error"]
    for name, others in (("notebook", {"corrkd", "linear", "constant"}), ("ablation", {"narrow", "w/o dropout"})):
        methods = set(pd.read_csv(tmp_path / "results" / name / "scores.csv")["method"])
        assert {"early_fusion", *others} <= methods
        assert "early_fusion" in (tmp_path / "results" / name / "report.html").read_text()


def test_the_notebook_is_short_and_holds_its_outputs():
    text = PAGE.read_text(encoding="utf-8")
    shown = nbformat.read(PAGE, as_version=4)
    assert len(text) < 300_000 and not re.search(r"/(home|root|tmp|work|Users|site-packages)/", text)
    assert shown.cells[0].source.startswith("# ") and "simulated data" in shown.cells[0].source
    for one, next_one in pairwise(shown.cells):
        assert {one.cell_type, next_one.cell_type} == {"markdown", "code"}
    for cell in shown.cells:
        if cell.cell_type == "markdown":
            assert len(cell.source.split("\n\n")[-1]) < 250
        else:
            defines = cell.source.rstrip().endswith("batch.labels)")  # the cell of the class shows nothing
            assert cell.execution_count and bool(cell.outputs) != defines, cell.source
    pictures = [
        output.data
        for cell in shown.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1 and "image/svg+xml" not in text
    code = "\n".join(cell.source for cell in shown.cells)
    for said in ("@register(", "benchmark.parts", ".scores", ".table(", ".plot(", ".load(", "variants", ".report()"):
        assert said in code, said


def test_workers_compute_the_class_of_a_notebook_as_it_is_now(tmp_path):
    other = NUMBER.replace("0", "1")
    cells = (NUMBER, HELPER, CLASS, "run(2)", "state()", "run(1, 'alone')", other, "run(2)", "run(1, 'alone')")
    *_, first, done, alone, _, second, second_alone = (text for text, _ in answers(tmp_path, *cells))
    # the lines of progress come first, then what `run` prints
    first, alone, second, second_alone = (text.splitlines()[-1] for text in (first, alone, second, second_alone))
    assert done == "done done" and first.startswith("[] [")
    assert first == alone and second == second_alone and first != second
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 4


def test_a_cells_key_is_of_the_class_and_what_it_uses(tmp_path):
    changes = {
        "the same again": (CLASS, "done done"),
        "a comment": (CLASS.replace("# (N, K)", "# logits, (N, K)"), "done done"),
        "a docstring": (CLASS.replace("Says the same", "Tells the same"), "done done"),
        "the class": (CLASS.replace("self.bias * 0", "self.bias * 2"), "to do to do"),
        "a default": (CLASS.replace("(self, task)", "(self, task, *, d: int = 3)"), "to do to do"),
        "the class as it was": (CLASS, "done done"),
        "a comment of a function": (HELPER.replace("\n    return", "\n    # why\n    return"), "done done"),
        "a function": (HELPER.replace("categories)\n", "categories) * 3\n"), "to do to do"),
        "the function as it was": (HELPER, "done done"),
        "a number": ("ANSWER = 1", "to do to do"),
        "the number as it was": ("ANSWER = 0  # negative", "done done"),
        "a name that it has itself": ("bias = task = batch = 5", "done done"),
    }
    cells = [cell for change, _ in changes.values() for cell in (change, "state()")]
    found = [text for text, _ in answers(tmp_path, NUMBER, HELPER, CLASS, "run(1)", *cells)][4:]
    assert dict(zip(changes, found[1::2], strict=True)) == {what: said for what, (_, said) in changes.items()}


def test_progress_is_plain_lines_in_a_notebook(tmp_path):
    """Whatever makes rich think that there is a terminal; and without widgets, which a warning would ask for."""
    cells = []
    for name in ("NOTHING", "FORCE_COLOR", "TTY_COMPATIBLE"):
        cells.append(f"import os; os.environ['{name}'] = '1'\nbenchmark.run(GRID, out='{name}', jobs=1).failed")
    for text, outputs in answers(tmp_path, *cells):
        assert outputs == {"stdout", "execute_result"}, "no display for each line, and nothing on stderr"
        lines = text.splitlines()
        assert lines[0].startswith("task mosi: simulated data") and lines[3].startswith("report: ")
        assert lines[1].startswith("[1/2] done constant on mosi, seed 0: ") and lines[2].startswith(
            "[2/2] done constant"
        )
        assert len(lines) == 4 and "\x1b" not in text
