"""A task of one's own, from nothing to a table: as docs/own-data.md tells it, and the kinds of task by real runs."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark.cli import main
from benchmark.data.task import Task
from tests.data_files import dump, mmsa_content

DOC = Path(__file__).parents[1] / "docs" / "own-data.md"
GRID = """
description: two floors
methods: [constant, linear]
tasks: [TASKS]
seeds: 2
ratios: [0.0, 0.5]
subsets: [l, a, v, la, lv, av, lav]
against: constant
simulator: {train: 48, valid: 16, test: 40}
"""


def block(language, number=0):
    return re.findall(rf"```{language}\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)[number]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_grid(folder, *tasks, name="floors"):
    path = folder / f"{name}.yaml"
    path.write_text(GRID.replace("TASKS", ", ".join(tasks)))
    return str(path)


def test_from_nothing_to_a_table(here, capsys):
    exec(compile(block("python"), str(DOC), "exec"), {})
    Path("stars.yaml").write_text(block("yaml"), encoding="utf-8")
    assert main(["--inspect", "stars.npz", "--tasks", "stars.yaml"]) == 0
    assert "fits: stars" in capsys.readouterr().out
    assert main(["--list", "--tasks", "stars.yaml"]) == 0
    assert "Stars: reviews of one to five stars" in capsys.readouterr().out
    assert main(["--grid", write_grid(here, "stars.yaml"), "--data", ".", "--out", "out", "--jobs", "1"]) == 0
    assert "task stars: file data (stars.npz, neutral" in capsys.readouterr().out
    table = (here / "out" / "tables" / "stars_inter.md").read_text()
    assert "| F1 | Linear |" in table and "data from file" in table and "{l,a}" in table
    scores = benchmark.read_scores("out")
    assert set(scores["task"]) == {"stars"} and set(scores["target"]) == {"polarity"}
    n = scores.groupby("metric")["n"].first()
    assert n["f1"] < n["accuracy"] == 80, "three stars are neutral"
    linear = scores[(scores["method"] == "linear") & (scores["available"] == "lav") & (scores["ratio"] == 0)]
    assert linear.set_index("metric")["value"]["f1"].mean() > 70, "language tells the stars"
    shutil.rmtree("out/cells")
    assert main(["--report-only", "out", "--metrics", "accuracy"]) == 0, "from the csv files alone"
    assert (here / "out" / "tables" / "stars_inter_accuracy.md").is_file()
    assert main(["--report-only", "out", "--metrics", "auroc"]) == 2
    assert "others need the cells" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")  # figures are made, of every kind of task
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_every_kind_of_task_in_one_run(here):
    own = Task(name="two", target={"kind": "category", "names": ["dull", "bright"]}, modalities="la", metrics=["auroc"])
    results = benchmark.run(
        {"methods": ["constant", "linear"], "tasks": ["mosi_intensity", "meld", own], "seeds": 2}
        | {"subsets": ["l", "a", "v", "la", "lv", "av", "lav"], "ratios": [0.0, 0.5], "against": "constant"}
        | {"simulator": {"train": 60, "valid": 24, "test": 60}},
        out="out",
        jobs=1,
    )
    assert results.failed == 0
    scores = results.scores
    first = scores.drop_duplicates("task").set_index("task")["metric"].to_dict()
    assert first == {"meld": "f1_weighted", "mosi_intensity": "mae", "two": "auroc"}
    two = scores[scores["task"] == "two"]
    assert set(two["modalities"]) == {"la"} and set(two["available"]) == {"l", "a", "lav"}
    table = results.table("two", "inter")
    assert list(table.columns) == ["{l}", "{a}", "Avg.", "{l,a,v}"]
    assert table["Avg."].to_numpy() == pytest.approx(table[["{l}", "{a}"]].mean(axis=1).to_numpy())
    mae = results.table("mosi_intensity", "inter").loc["mae"]
    assert (mae.loc["linear", "{l,a,v}"] < mae.loc["constant", "{l,a,v}"]) and mae.to_numpy().max() < 3
    assert results.table("mosi_intensity", "inter").loc[("corr", "constant")].isna().all()
    comparisons = pd.read_csv("out/comparisons.csv")
    assert {"mae", "corr", "acc7", "auroc"} <= set(comparisons["metric"]), "tests of every metric"
    text = (here / "out" / "tables" / "mosi_intensity_inter.md").read_text()
    best = next(line for line in text.splitlines() if line.startswith("| MAE | Linear"))
    assert best.count("**") >= 8, "the least error is the best"
    model = results.load("linear", "mosi_intensity", seed=0)
    assert model.task.kind == "intensity" and model.task.num_outputs == 1
    again = benchmark.report("out", metrics=["corr", "auroc"])
    stems = again.kinds["tables"]
    assert "mosi_intensity_inter_corr" in stems and "two_inter_auroc" in stems and "meld_inter_auroc" in stems
    with pytest.raises(benchmark.BenchmarkError, match="unknown metric in --metrics 'aurok'; did you mean auroc"):
        benchmark.report("out", metrics="aurok")
    assert benchmark.plan({"methods": ["constant"], "tasks": [own], "seeds": 1, "subsets": ["l"]}, out="out").settings


@pytest.mark.usefixtures("unpictured")
def test_a_grid_names_the_metrics_of_its_tables(here):
    grid = {"methods": ["constant"], "tasks": ["mosi"], "seeds": 1, "subsets": ["l", "lav"]}
    grid |= {"simulator": {"train": 24, "valid": 16, "test": 24}, "metrics": ["auroc", "f1"]}
    results = benchmark.run(grid, out="out", jobs=1)
    assert [stem for stem in results.kinds["tables"] if "inter" in stem] == ["mosi_inter_auroc", "mosi_inter_f1"]
    again = benchmark.report("out", grid=grid)
    assert "mosi_inter_auroc" in again.kinds["tables"]
    other = benchmark.report("out", grid=grid, metrics=["accuracy"])  # which is asked for wins
    assert [stem for stem in other.kinds["tables"] if "inter" in stem] == ["mosi_inter_accuracy"]
    with pytest.raises(benchmark.BenchmarkError, match="unknown metric in 'metrics' of grid mine 'mae'"):
        benchmark.run(grid | {"name": "mine", "metrics": ["mae"]}, out="out", jobs=1)


@pytest.mark.usefixtures("unpictured")
def test_the_intensity_of_a_file_and_its_polarity_are_two_tasks(here, capsys):
    content = mmsa_content()
    for split in content.values():
        split["regression_labels"] = np.round(split["regression_labels"] * 5) / 5
    dump(here / "MOSI" / "Processed" / "unaligned_50.pkl", content)
    grid = write_grid(here, "mosi", "mosi_intensity")
    assert main(["--grid", grid, "--data", "MOSI", "--out", "out", "--jobs", "1"]) == 0
    scores = benchmark.read_scores("out")
    assert scores.groupby("task")["target"].first().to_dict() == {"mosi": "polarity", "mosi_intensity": "intensity"}
    for split in content.values():
        split["regression_labels"] = np.sign(split["regression_labels"])
    dump(here / "MOSI" / "Processed" / "unaligned_50.pkl", content)
    assert main(["--grid", grid, "--data", "MOSI", "--tasks", "mosi_intensity", "--out", "out2"]) == 2
    assert "are no intensity; choose a task of polarity" in capsys.readouterr().err
