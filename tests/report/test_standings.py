"""What a folder brings to a leaderboard, and why one brings nothing."""

import json

import pytest

import benchmark
from benchmark.errors import BenchmarkError
from benchmark.report.standings import BEFORE, Where, is_former, read_standings, worst_of
from tests.report.folders import by_means, write_folder
from tests.running.portable import GRID

MEANS = {"mult": 60.0, "corrkd": 62.0}


def test_scores_are_means_over_seeds_and_intervals_those_of_the_file(tmp_path):
    folder = write_folder(tmp_path / "run", by_means(MEANS), widths=2.0)
    found = read_standings(folder)
    assert list(found) == [Where("mosi", "simulated", "f0", "f1", "0.2")] and not is_former(*found)
    (rows,) = found.values()
    row = next(row for row in rows if row.method == "mult")
    assert row.seeds == 2 and row.run.grid == "quick" and row.run.commit == "0123456789abcdef"
    assert row.scores["{l,a,v}"].mean == pytest.approx(60.0)
    average = row.scores["Avg."]  # three subsets of one modality, three of two
    assert [average.mean, average.low, average.high] == pytest.approx([52.5, 50.5, 54.5])


def test_rows_bear_the_names_of_papers_though_their_manifest_does_not_tell_them(tmp_path):
    folder = write_folder(tmp_path / "run", by_means(dict.fromkeys(["tfr_net", "mult+mrm", "w/o SCD", "mine"], 60.0)))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert not any("display" in row for row in manifest.get("methods", []))
    (rows,) = read_standings(folder).values()
    shown = {row.method: row.name for row in rows}
    assert shown == {"tfr_net": "TFR-Net", "mult+mrm": "MulT+MRM", "w/o SCD": "w/o SCD", "mine": "mine"}
    manifest["methods"] = [{"label": "tfr_net", "display": "TFR", "description": ""}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (rows,) = read_standings(folder).values()
    assert {row.method: row.name for row in rows} == shown | {"tfr_net": "TFR"}


def test_without_intervals_scores_are_shown_all_the_same(tmp_path):
    folder = write_folder(tmp_path / "run", by_means(MEANS))
    (folder / "intervals.csv").unlink()
    ((row, *_),) = read_standings(folder).values()
    assert row.scores["Avg."].mean > 0 and row.scores["Avg."].low != row.scores["Avg."].low  # NaN


def test_the_worst_case_is_among_what_all_rows_were_tested_in(tmp_path):
    here, hard = write_folder(tmp_path / "a", by_means(MEANS)), [("lav", 0.0), ("l", 0.9)]
    ((mult, corrkd),) = read_standings(here).values()
    assert worst_of([mult, corrkd]) == {0: ("{l} p=0.5", pytest.approx(45.0)), 1: ("{l} p=0.5", pytest.approx(47.0))}
    other = write_folder(tmp_path / "b", by_means({"misa": 50.0}, settings=hard))
    ((misa,),) = read_standings(other).values()
    assert worst_of([misa]) == {0: ("{l} p=0.9", pytest.approx(31.0))}
    assert worst_of([mult, misa]) == {0: ("{l}", pytest.approx(50.0)), 1: ("{l}", pytest.approx(40.0))}
    intra = by_means({"misa": 50.0})
    ((bare,),) = read_standings(write_folder(tmp_path / "c", intra[intra["kind"] == "intra"])).values()
    assert worst_of([bare]) == {} and 1 not in worst_of([mult, bare])


def configurations(tmp_path, means, changed, **options):
    cells = [
        {"method": method, "task": "mosi", "source": "simulated", "seconds": 1.0, "changed": values}
        for method, values in changed.items()
    ]
    (rows,) = read_standings(write_folder(tmp_path / "run", by_means(means), cells=cells, **options)).values()
    return {row.method: row.configuration for row in rows}


def test_a_row_says_what_sets_it_apart(tmp_path):
    names = ["mult", "mult tuned", "misa tuned", "tfr_net tuned", "w/o SCD", "w/o CPD", "linear", "misa"]
    means = dict.fromkeys(names, 60.0)
    tuning = {"task": "mosi", "source": "simulated", "metric": "f1", "test": [50.0, None, 40.0]}
    trials = [{}, {"learning_rate": 0.003, "mrm": {"max_ratio": 0.5}}, {"layers": 9}]
    chosen = {"learning_rate": 0.003, "mrm": {"max_ratio": 0.5}}
    variant = "Li et al., CVPR 2024; trained on incomplete samples; corrkd with "
    found = configurations(
        tmp_path,
        means,
        {
            "mult tuned": chosen | {"epochs": 5},
            "misa tuned": {"epochs": 5, "width": 7},
            "tfr_net tuned": {"layers": 9},
            "w/o SCD": {"scd_weight": 0.0, "epochs": 5},
            "linear": {"c": 3},
        },
        described={
            "mult": "Tsai et al., ACL 2019; trained on whole samples",
            "w/o SCD": variant + "scd_weight=0.0",
            "w/o CPD": variant + "cpd_weight=0.0",  # of a version whose cells do not say it
        },
        tuning=[
            tuning | {"method": "mult", "tuned": "mult tuned", "valid": [50.0, 60.0, 40.0], "values": trials},
            tuning | {"method": "misa", "tuned": "misa tuned", "valid": [50.0, 50.0, 40.0], "values": trials},
        ],
    )
    assert found == {
        "mult": "default",
        "mult tuned": "tuned: learning_rate=0.003, mrm.max_ratio=0.5, with epochs=5",
        "misa tuned": "tuned: the default was chosen, with epochs=5, width=7",
        "tfr_net tuned": "tuned, with layers=9",
        "w/o SCD": "corrkd with scd_weight=0.0, epochs=5",
        "w/o CPD": "corrkd with cpd_weight=0.0",
        "linear": "with c=3",
        "misa": "default",
    }


@pytest.mark.usefixtures("unpictured")
def test_what_a_grid_or_a_command_sets_is_told_of_each_row(tmp_path):
    grid = {
        **GRID,
        "portable": False,
        "methods": ["linear", "constant"],
        "simulator": {"train": 24, "valid": 12, "test": 12},
    }
    grid |= {"set": {"linear": {"max_iter": 2000}}, "training": {"epochs": 9}}
    benchmark.run(grid, set={"linear": {"regularisation": 0.5}}, out=tmp_path, jobs=1, say=lambda line: None)
    (rows,) = read_standings(tmp_path).values()
    assert {row.method: row.configuration for row in rows} == {
        "linear": "with epochs=9, max_iter=2000, regularisation=0.5",
        "constant": "with epochs=9",
    }


def test_a_folder_of_an_earlier_version_stands_for_itself(tmp_path):
    (where,) = read_standings(write_folder(tmp_path / "run", by_means(MEANS), benchmark=""))
    assert where.version == BEFORE and is_former(where)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: [path.unlink() for path in run.iterdir()], "is empty"),
        (lambda run: (run / "scores.csv").rename(run / "other.csv"), "is no output folder of a run"),
        (lambda run: (run / "manifest.json").unlink(), "manifest.json is missing or cannot be used"),
        (lambda run: (run / "manifest.json").write_text('{"cells": 3}'), "manifest.json is missing or cannot be used"),
        (lambda run: (run / "scores.csv").write_text("task\nmosi\n"), "lacks the column 'source'"),
        (lambda run: (run / "scores.csv").write_text((run / "scores.csv").read_text() + "mosi\n"), "line 34: 1 fields"),
        (lambda run: (run / "intervals.csv").write_text("task\n1\n"), "intervals.csv lacks the column"),
        (lambda run: rewritten(run, tasks=[]), "does not say which data its scores of mosi"),
        (lambda run: rewritten(run, tasks=[{"name": "mosi", "source": "simulated", "fingerprint": f} for f in "ab"]), "names several data"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_told_in_one_line(tmp_path, change, told):
    folder = write_folder(tmp_path / "run", by_means(MEANS))
    change(folder)
    with pytest.raises(BenchmarkError, match=told) as caught:
        read_standings(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def rewritten(run, **changed):
    file = run / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def test_no_folder_and_cells_without_a_report_are_told(tmp_path):
    with pytest.raises(BenchmarkError, match="none is no folder; name the output folder of a run"):
        read_standings(tmp_path / "none")
    (tmp_path / "cells" / "abc").mkdir(parents=True)
    with pytest.raises(BenchmarkError, match="has no report yet; --report-only"):
        read_standings(tmp_path)
