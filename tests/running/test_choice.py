"""What a run leaves word of in its folder, so that a later report knows it."""

import json
from pathlib import Path

import pytest

import benchmark
from benchmark.errors import BenchmarkError

pytestmark = pytest.mark.usefixtures("undrawn")

GRID = {
    "description": "two floors",
    "methods": ["constant", "linear"],
    "tasks": ["mosi"],
    "seeds": 2,
    **{"ratios": [0.0, 0.5], "subsets": ["l", "lav"], "training": {"epochs": 1}},
    **{"simulator": {"train": 40, "valid": 8, "test": 16}, "against": "linear"},
}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def quiet(line): ...


def run(grid, **arguments):
    return benchmark.run(grid, jobs=1, say=quiet, **arguments)


def report(*folders, **arguments):
    return benchmark.report(*folders, say=quiet, **arguments)


def manifest(results):
    return json.loads((results.out / "manifest.json").read_text())


def test_a_grids_margin_is_told_and_stays_with_what_is_stored():
    grid = {**GRID, "seeds": 3, "ratios": [], "subsets": ["l", "a", "v", "la", "lv", "av", "lav"], "margin": 0.4}
    results = run(grid)

    def told():
        return (results.out / "tables" / "mosi_intervals.md").read_text()

    assert manifest(results)["margin"] == 0.4 and "lies within ±0.4 points)" in told()
    report(results.out)
    assert manifest(results)["margin"] == 0.4 and "lies within ±0.4 points)" in told()
    report(results.out, grid={**grid, "margin": 2})
    assert "lies within ±2 points)" in told()


def test_what_is_to_stand_out_is_told_and_stays_with_what_is_stored():
    results = run({**GRID, "highlight": ["linear", "not a row here"], "against": "constant"})

    def told():
        return (results.out / "report.html").read_text().count("n colour: Linear, as was asked for")

    assert manifest(results)["highlight"] == ["linear", "not a row here"] and told()
    before = told()
    report(results.out)
    assert told() == before
    report(results.out, highlight="constant")
    assert not told() and manifest(results)["highlight"] == ["constant"]
    refused = "row in --highlight 'lineer'; did you mean linear"
    with pytest.raises(BenchmarkError, match=refused):
        report(results.out, highlight=["lineer"])
    with pytest.raises(BenchmarkError, match=refused):
        run(GRID, highlight=["lineer"], out="nothing")
    assert not Path("nothing").exists()


def test_a_run_that_was_stopped_has_a_report_that_counts_what_is_missing(monkeypatch):
    from benchmark.report import compose
    from benchmark.running import passes, runner

    def stopped(grid, store, todo, **options):
        run_all(grid, store, todo[:1], **options)
        raise KeyboardInterrupt

    def counted(results):
        return results._content.report["provenance"]["cells"]

    run_all = runner.run_grid
    monkeypatch.setattr(passes, "run_grid", stopped)
    grid = {**GRID, "tasks": ["mosi", "iemocap"], "margin": 0.7, "name": "half"}
    with pytest.raises(KeyboardInterrupt):
        run(grid, out="out", command="the command")
    results = report("out")
    page = (results.out / "report.html").read_text()
    assert "<strong>1 of 8 cells done; 7 not computed.</strong>" in page
    assert page.count('<p class="caption">1 of 4 cells done; 3 not computed.</p>') == 1, (
        "under the one task with scores"
    )
    said = manifest(results)
    assert (said["grid"], said["command"], said["against"], said["margin"]) == ("half", "the command", "linear", 0.7)
    assert len(said["not_computed"]) == 7

    monkeypatch.setattr(passes, "run_grid", run_all)
    monkeypatch.setattr(compose, "write", lambda *given: None)
    assert counted(report("out")) == {"done": 1, "failed": 0, "not computed": 7}, "a report does not forget it"
    assert counted(report("out", methods=["constant"]))["not computed"] == 3
    assert counted(run(grid, methods=["constant"], out="out")) == {"done": 4, "failed": 0}, "all that was asked for"
    assert counted(report("out", grid=grid)) == {"done": 4, "failed": 0, "not computed": 4}
