"""Standard streams that are closed, full, or lack a character: a run goes on, and says so where it can."""

import os
import subprocess
import sys

import pytest

from benchmark.methods import ROOT
from benchmark.running.store import Store

GRID = """description: tiny
methods: [constant]
tasks: [mosi]
seeds: 2
ratios: [0.0]
subsets: [lav]
simulator: {train: 40, valid: 8, test: 16}
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(GRID, encoding="utf-8")
    return path


UNDRAWN = f"{sys.executable} -m tests.faults.plain"
"""The command, without a report of more than tables of scores."""


def shell(command, **environment):
    return subprocess.run(
        ["bash", "-c", command.format(run=f"{sys.executable} {ROOT / 'run_benchmark.py'}", undrawn=UNDRAWN)],
        capture_output=True, text=True, errors="replace", env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirection", "jobs"),
    [("2>&-", 1), (">&-", 1), (">/dev/full", 1), ("<&- >&- 2>&-", 2), (">/dev/full 2>/dev/full", 2)],
)
def test_streams_that_are_closed_or_full_do_not_end_a_run(grid, tmp_path, redirection, jobs):
    out = tmp_path / "out"
    program = "run" if jobs > 1 and redirection[0] == "<" else "undrawn"  # with all of them closed, figures as well
    ended = shell(f"{{{program}}} --grid {grid} --out {out} --jobs {jobs} {redirection}")
    assert (ended.returncode, len(Store(out).stored_keys())) == (0, 2)
    assert (out / "manifest.json").is_file() and "Traceback" not in ended.stderr
    assert (out / "report.html").is_file() == (program == "run")
    if redirection == ">/dev/full":
        assert ended.stderr.count("\n") == 1 and "No space left on device" in ended.stderr, ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_characters_that_the_encoding_lacks_are_written_out(tmp_path, encoding):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from benchmark import Method, register\n"
        "@register('mine', paper='Žižek … 情感, 2026', trains_on='complete')\n"
        "class Mine(Method):\n    def predict(self, batch): ...\n    def loss(self, batch): ...\n",
        encoding="utf-8",
    )
    ended = shell(f"{{run}} --list --plugin {plugin} | cat", PYTHONIOENCODING=encoding)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr
    assert r"\u60c5\u611f, 2026" in ended.stdout


def test_a_reader_that_goes_away_ends_it_silently():
    ended = shell("{run} --list | head -1; exit ${{PIPESTATUS[0]}}")
    assert ended.stdout.startswith("methods") and ended.stderr == ""
    assert ended.returncode in (0, 141), "all was written before the reader went, or not"


def test_a_broken_pipe_elsewhere_is_told_and_no_reader_that_went_away(grid, tmp_path):
    """As of joblib's resource tracker when it was killed."""
    script = tmp_path / "broken.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from benchmark import cli\n"
        "from benchmark.running import runner\n"
        "def broken(*a, **k): raise BrokenPipeError(32, 'Broken pipe')\n"
        "runner._outcomes = broken\n"
        f"sys.exit(cli.main(['--grid', {str(grid)!r}, '--out', {str(tmp_path / 'out')!r}, '--jobs', '2']))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "is gone" in ended.stderr and "--jobs 1" in ended.stderr


def test_without_semaphores_no_cell_can_be_ended(grid, tmp_path):
    ended = shell(f"{{run}} --grid {grid} --out {tmp_path / 'other'} --cell-timeout 1000", JOBLIB_MULTIPROCESSING="0")
    assert ended.returncode == 2 and "--cell-timeout needs them" in ended.stderr


def test_a_stream_that_a_plugin_closes_does_not_end_a_run(grid, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import sys\nfrom benchmark import Method, register\nsys.stdout.close()\n"
        "@register('mine', paper='mine', trains_on='complete')\n"
        "class Mine(Method):\n    def predict(self, batch): ...\n    def loss(self, batch): ...\n"
    )
    ended = shell(f"{{run}} --grid {grid} --plan --plugin {plugin}")
    assert ended.returncode == 0 and ended.stderr.count("\n") == 1 and "some lines are lost" in ended.stderr, (
        ended.stderr
    )
