"""A manifest that says something else than the cells, one planted change at a time."""

import json

import pytest

import benchmark
from benchmark.report.findings import UNKNOWN
from tests.report.test_verify import ran, run, silent, wrong  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("unpictured")


def change(run, turn):  # noqa: F811
    path = run / "manifest.json"
    content = json.loads(path.read_text())
    turn(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        (lambda told: told["tasks"][0].update(fingerprint="simulated-v2-0000000000000000"), "tasks"),
        (lambda told: told.update(git_commit="0" * 40), "git_commit"),
        (lambda told: told.update(finished="2030-01-01T00:00:00.000+00:00"), "finished"),
        (lambda told: told["cells"][0].update(seconds=told["cells"][0]["seconds"] + 1), "cells"),
        (lambda told: told.update(failures=[{"method": "mult", "task": "mosi", "seed": "0"}]), "failures"),
    ],
)
def test_what_the_cells_do_not_say_is_found(run, turn, name):  # noqa: F811
    change(run, turn)
    told = wrong(benchmark.verify(run, say=silent))["origin"]
    assert told == f"manifest.json: {name} is not what the cells say; --report-only writes it anew"


def test_a_version_of_its_own_excuses_no_table(run):  # noqa: F811
    change(run, lambda told: told.update(benchmark="9.9.9"))
    table = run / "tables" / "mosi_inter.md"
    table.write_text(table.read_text().replace("| Linear | ", "| Linear | 1", 1))
    assert "tables/mosi_inter.md" in wrong(benchmark.verify(run, say=silent))["tables"]


@pytest.mark.parametrize("content", ["[]", "{", '{"metrics": 5}', '{"failures": [{}]}'])
def test_a_manifest_that_is_none_is_no_traceback(run, content):  # noqa: F811
    (run / "manifest.json").write_text(content)
    assert "is not what the cells say" in wrong(benchmark.verify(run, say=silent))["origin"]


def test_before_a_report_nothing_is_held_against_the_cells(run):  # noqa: F811
    (run / "scores.csv").unlink()
    verdict = benchmark.verify(run, say=silent)
    assert verdict.state("origin") == UNKNOWN and "no report is written yet" in str(verdict)


def test_a_cells_folder_without_a_record_is_told(run):  # noqa: F811
    (run / "cells" / "abc").mkdir()
    assert "cell abc has no cell.json" in wrong(benchmark.verify(run, say=silent))["cells"]
