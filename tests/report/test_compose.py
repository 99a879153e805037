"""From folders to a report, and what a session in Python has of it."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmark import methods
from benchmark.errors import BenchmarkError
from benchmark.evidence.scores import TASK
from benchmark.files.manifest import read_manifest
from benchmark.report import compose
from benchmark.report.compose import gather, write
from benchmark.report.results import Results
from benchmark.report.write import table_files
from tests.report.test_manifest import record
from tests.stored_cells import write_cell

QUICK = Path(__file__).resolve().parents[2] / "results" / "reference" / "quick"


def content(folder, **options):
    return gather([folder], methods.catalogue(), grid="g", command="c", against=["corrkd"], **options)


@pytest.fixture
def old(tmp_path):
    """Scores and statistics as an earlier version wrote them, without the cells."""
    folder = tmp_path / "old"
    folder.mkdir()
    for name in ("intervals.csv", "comparisons.csv", "manifest.json"):
        shutil.copy(QUICK / name, folder)
    pd.read_csv(QUICK / "scores.csv").drop(columns=TASK, errors="ignore").to_csv(folder / "scores.csv", index=False)
    return folder


def test_a_report_on_what_an_earlier_version_wrote_is_made(old, tmp_path):
    found = content(old)
    assert not found.from_cells and set(found.scores["target"]) == {"polarity"}
    said = []
    write(found, tmp_path / "new", said.append)
    table = (tmp_path / "new/tables/mosi_inter.md").read_text(encoding="utf-8")
    assert "| F1 | CorrKD ◆ | " in table and "worse than CorrKD" in table and "less is better" not in table
    assert {path.stem for path in (tmp_path / "new/figures").glob("*.png")} >= {
        "mosi_inter",
        "mosi_intra",
        "mosi_heatmap",
    }
    assert len(said) == 1 and said[0].startswith("report: ")


def test_tables_alone_are_those_of_the_whole_report_and_have_no_picture_made(old, monkeypatch):
    """But those of which a csv file is written: a table from Python, and a check of stored tables, wait for none."""
    found = content(old)
    made, really = [], Figure.__init__

    def noted(self, *arguments, **options):
        made.append(1)
        really(self, *arguments, **options)

    monkeypatch.setattr(Figure, "__init__", noted)
    with_numbers = found.without_pictures
    assert all(picture.numbers is not None for picture in with_numbers["figures"].values())
    assert len(made) == len(with_numbers["figures"]) < len(found.parts["figures"])
    for stem, table in found.parts["tables"].items():
        assert table_files(table) == table_files(with_numbers["tables"][stem])


def test_a_card_says_what_each_entry_of_the_search_space_may_be_and_why(old, tmp_path, monkeypatch):
    found = content(old)
    space = found.cards["corrkd"]["search_space"]
    assert space["d"] == f"one of 40, 80 ({methods.card(methods.catalogue()['corrkd'])['search_space']['d']})"
    assert space["weight_decay"].endswith("(of the harness)")
    write(found, tmp_path / "new", lambda line: None)
    page = " ".join((tmp_path / "new/report.html").read_text(encoding="utf-8").split())
    assert "learning_rate: 0.0002 to 0.01, logarithmic (" in page

    def broken(entry):
        raise BenchmarkError("it cannot be imported")

    monkeypatch.setattr(compose, "tuned_over", broken)
    assert content(old).cards["corrkd"] == methods.card(methods.catalogue()["corrkd"])


@pytest.mark.parametrize("name", sorted(methods.catalogue()))
def test_ranges_hold_no_published_number(name):
    """What is published does not stand on a page of simulated data."""
    card = compose._card(methods.catalogue()[name])
    shown = " ".join(card.get("search_space", {}).values())
    for row in card.get("published", []):
        assert not re.search(rf"(?<![\d.]){re.escape(str(row['value']))}(?!\d)", shown), row


def test_without_cells_only_metrics_that_are_stored_can_be_asked_for(old):
    found = content(old, metrics=["accuracy"])
    assert {"mosi_inter_accuracy", "mosi_intra_accuracy", "mosi_intervals"} <= set(found.parts["tables"])
    assert list(found.parts["tables"]["mosi_intervals"].metrics) == ["accuracy"]
    with pytest.raises(BenchmarkError) as caught:
        content(old, metrics=["accuracy", "auroc"])
    assert str(caught.value) == (
        "unknown metric in --metrics 'auroc'; did you mean accuracy? there are: accuracy, f1, f1_nonneg; others need the "
        f"cells, which are not in {old}"
    )


def test_tables_for_a_paper_are_kept_in_the_manifest_and_written_again(old, tmp_path):
    said = []
    write(content(old, tables={"main": {"columns": ["Avg."], "decimals": 1}}), old, said.append)
    assert f"tables for a paper: {old / 'tables' / 'paper'}" in said
    page = (old / "report.html").read_text(encoding="utf-8")
    for file in ("main.tex", "main.md", "main.csv"):
        assert (old / "tables" / "paper" / file).is_file() and f'<a href="tables/paper/{file}">{file}</a>' in page
    manifest = read_manifest(old / "manifest.json")
    assert manifest["tables"] == {"main": {"columns": ["Avg."], "decimals": 1}} and manifest["grid"] == "quick"
    again = content(old, earlier=manifest["tables"] | {"../x": {}, "y": {"colums": []}}, only=["gcnet", "corrkd"])
    files, lines = again.paper
    assert list(files) == ["main.tex", "main.md", "main.csv"]
    assert [line.split(" &")[0] for line in files["main.tex"].splitlines() if "&" in line][1:] == [
        "GCNet",
        r"CorrKD $^{\diamond}$",
    ]
    assert lines[0].startswith("not written: tables of an earlier report: the table's name '../x' must be of letters")
    assert lines[1].startswith(
        "not written: tables of an earlier report: table 'y': unknown key 'colums'; did you mean"
    )
    elsewhere = content(old, tables={"main": {"columns": ["gone"]}})
    with pytest.raises(BenchmarkError, match=r"^unknown column of table main 'gone'; there are: "):
        write(elsewhere, tmp_path / "elsewhere", said.append)
    assert not (tmp_path / "elsewhere").exists(), "it is told before anything is written"


def test_metrics_are_asked_of_cells(tmp_path):
    data = {"source": "simulated", "kind": "sentiment", "categories": [], "origin": "x", "samples": {"test": 3}}
    for seed in range(2):
        facts = {name: value for name, value in record(1).items() if name not in ("key", "seed", "task", "finished")}
        write_cell(tmp_path, f"k{seed}", **facts | {"seed": seed, "data": data})
    found = content(tmp_path, metrics=["log_loss"])
    assert set(found.parts["tables"]) == {"mosi_inter_log_loss", "mosi_methods", "mosi_robustness"}
    assert set(found.evidence.intervals["metric"]) == {"f1", "f1_nonneg", "accuracy", "log_loss"}
    with pytest.raises(BenchmarkError, match=r"^unknown metric in --metrics 'mae'; .*there are: accuracy, "):
        content(tmp_path, metrics=["mae"])


def test_tables_in_python_have_an_outer_level_where_there_are_several_metrics(old):
    def results(**options):
        return Results(old, 0, lambda: content(old, **options), [old], {})

    table = results().table("mosi", "inter")
    assert table.index.names == ["metric", "method"] and list(table.index.unique(0)) == ["f1", "f1_nonneg", "accuracy"]
    scores = results().scores
    own = scores.query("metric == 'accuracy' and method == 'corrkd' and available == 'la'")
    assert table.loc[("accuracy", "corrkd"), "{l,a}"] == pytest.approx(own["value"].mean())
    alone = results(metrics=["accuracy"]).table("mosi", "inter_accuracy")
    assert alone.index.name == "method" and alone.equals(table.loc["accuracy"])
    assert results().table("mosi", "intervals").index.name == "method"
