"""Methods and tasks bear their papers' names where people read, and their identifiers in files of numbers."""

import re

import pandas as pd
import pytest

import benchmark
from benchmark.files.manifest import read_manifest
from benchmark.report.naming import Names, method_name, method_names, printed_as, task_name
from benchmark.report.results import Results
from tests.report.folders import by_means, write_folder

GRID = {
    "description": "names", "tasks": ["mosi"], "seeds": 1, "ratios": [0.0, 1.0],
    "simulator": {"train": 24, "valid": 12, "test": 12},
}  # fmt: skip


def test_what_has_no_name_is_called_by_its_identifier():
    assert (method_name("tfr_net"), task_name("mosi")) == ("tfr_net", "mosi")
    with printed_as(Names({"tfr_net": "TFR-Net"}, {"mosi": "CMU-MOSI"})):
        assert method_names(["tfr_net", "mine"]) == ["TFR-Net", "mine"] and task_name("mosi") == "CMU-MOSI"
    assert method_name("tfr_net") == "tfr_net", "names hold in their block alone"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"mosi": "CMU-MOSI", "mosei": ""}, ["CMU-MOSI", "mosei"]),
        ({"mosi": "CMU-MOSI", "mosi_intensity": "CMU-MOSI"}, ["CMU-MOSI (mosi)", "CMU-MOSI (mosi_intensity)"]),
        ({"mult": "MulT", "MulT": "MulT"}, ["MulT (mult)", "MulT"]),  # a row of one's own that is called so
        ({"mult": "other", "other": "MulT"}, ["other (mult)", "MulT"]),
    ],
)
def test_no_two_are_called_alike(given, shown):
    names = Names.of({}, given)
    assert [names.tasks[own] for own in given] == shown


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names") / "out"
    benchmark.run(GRID, methods=["late_fusion", "constant"], out=folder, jobs=1, say=lambda line: None)
    return folder


def test_tables_and_page_bear_names_and_csv_files_identifiers(out):
    table = (out / "tables" / "mosi_intra.md").read_text()
    assert table.startswith("**CMU-MOSI: simulated data.**") and "| Late fusion |" in table
    assert "Late fusion &" in (out / "tables" / "mosi_intra.tex").read_text()
    assert set(pd.read_csv(out / "tables" / "mosi_intra.csv")["method"]) == {"late_fusion", "constant"}
    assert set(pd.read_csv(out / "tables" / "mosi_intra.csv")["task"]) == {"mosi"}
    page = re.sub(r"<(style|script).*?</\1>", "", (out / "report.html").read_text(), flags=re.DOTALL)
    results = page[page.index('id="summary"') : page.index('id="methods"')]
    told = re.sub(r'<code id="command">.*?</code>|href="[^"]*"|download="[^"]*"|src="[^"]*"', "", results)
    assert "Late fusion" in told and "late_fusion" not in told
    cards = page[page.index('id="methods"') :]
    assert re.search(r"<h3[^>]*>Late fusion</h3> <code>late_fusion</code>", cards), "the name to type stands by it"


def test_from_python_rows_have_their_identifiers_and_figures_names(out):
    results = benchmark.report(out, say=lambda line: None)
    assert "late_fusion" in results.table("mosi", kind="intra").index.get_level_values("method")
    assert isinstance(results, Results)
    texts = [text.get_text().strip() for axes in results.plot("mosi").axes for text in axes.texts]
    assert "Late fusion" in texts and results.plot("mosi").get_suptitle() == "CMU-MOSI"


def test_without_cells_names_are_those_of_the_manifest(out, tmp_path):
    """A folder of somebody whose method is not here."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("scores.csv", "intervals.csv", "comparisons.csv", "pairs.csv"):
        text = (out / name).read_text() if (out / name).is_file() else ""
        (folder / name).write_text(text.replace("late_fusion", "theirs"))
    (folder / "manifest.json").write_text((out / "manifest.json").read_text().replace("late_fusion", "theirs"))
    benchmark.report(folder, say=lambda line: None)
    assert "| Late fusion |" in (folder / "tables" / "mosi_intra.md").read_text()
    rows = {row["label"]: row.get("display") for row in read_manifest(folder / "manifest.json")["methods"]}
    assert rows == {"theirs": "Late fusion", "constant": "Constant"}


def test_a_leaderboard_bears_names(tmp_path):
    folder = write_folder(tmp_path / "run", by_means({"tfr_net": 60.0}), described={"tfr_net": "a line"})
    manifest = folder / "manifest.json"
    named = manifest.read_text().replace('"label": "tfr_net"', '"label": "tfr_net", "display": "TFR-Net"')
    manifest.write_text(named)
    assert '"display": "TFR-Net"' in named
    benchmark.leaderboard(folder, out=tmp_path / "board.html", say=lambda line: None)
    page = (tmp_path / "board.html").read_text()
    assert "<bdi>TFR-Net</bdi>" in page and "<bdi>tfr_net</bdi>" not in page
