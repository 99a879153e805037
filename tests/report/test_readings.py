"""The table of a method's readings and their specification curve."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from benchmark import methods
from benchmark.evidence.readings import LEAST
from benchmark.files.manifest import read_manifest
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.compose import gather, write
from benchmark.report.content import Picture, Table
from benchmark.report.figures import COLOURS
from benchmark.report.readings import reading_parts
from benchmark.report.tables import build_tables
from tests.report.pictures import assert_legible
from tests.report.test_tables import make_scores
from tests.report_frames import make_statistics
from tests.stored_cells import write_cell

LABELS = ["corrkd", "layers=4", "critic=separable", "mixed 01", "clip_norm=none"]
OPTIONS = {
    "corrkd": {"layers": 2, "critic": "shallow", "clip_norm": 1.0, "scaled_inputs": False},
    "layers=4": {"layers": 4, "critic": "shallow", "clip_norm": 1.0, "scaled_inputs": False},
    "critic=separable": {"layers": 2, "critic": "separable", "clip_norm": 1.0, "scaled_inputs": False},
    "mixed 01": {"layers": 1, "critic": "separable", "clip_norm": None, "scaled_inputs": True},
    "clip_norm=none": {"layers": 2, "critic": "shallow", "clip_norm": None, "scaled_inputs": False},
}
ROWS = ["corrkd", "mixed 01", "critic=separable", "layers=4", "clip_norm=none"]  # as the means below order them
MEANS = dict(zip(ROWS, (50.0, 55.25, 60.0, 61.5, 64.0), strict=True))


def readings(source="simulated", options=OPTIONS):
    return [
        {"task": "mosi", "source": source, "method": "corrkd", "label": label, "options": own}
        for label, own in options.items()
    ]


def parts(*, source="simulated", cards=(), metrics=("f1", "auroc"), labels=LABELS, options=OPTIONS, means=MEANS):
    intervals = make_statistics([*labels, "mult"], metrics=list(metrics), source=source)
    for label, mean in means.items():
        at = (intervals["method"] == label) & (intervals["condition"] == "Avg.") & (intervals["metric"] == metrics[0])
        intervals.loc[at, ["low", "high"]] += mean - intervals.loc[at, ["mean"]].to_numpy()
        intervals.loc[at, "mean"] = mean
    scores = make_scores([*labels, "mult"], source=source)
    table = build_tables(scores)[0]
    return reading_parts(scores, table, intervals, readings(source, options), dict(cards))


def test_the_table_has_the_best_first_and_the_csv_file_what_each_is_set_to():
    table, picture = parts()
    assert isinstance(table, Table) and isinstance(picture, Picture)
    assert table.stem == picture.stem == "mosi_readings" and table.columns == ["Avg. F1", "Avg. AUROC"]
    assert table.methods == ROWS[::-1], "mult is no reading"
    assert re.search(r" Avg. F1 of what is no reading: mult \d\d\.\d\d\.", table.caption)
    (block,) = table.blocks
    assert [cells[0].value for _, cells in block.rows] == [f"{MEANS[label]:.2f}" for label in ROWS[::-1]]
    assert all(cells[1].spread.startswith("[") for _, cells in block.rows)
    assert "Avg. F1 from 50.00 to 64.00" in table.caption
    own = table.summary.set_index("method")
    assert own.loc["mixed 01", ["layers", "critic", "clip_norm", "scaled_inputs"]].tolist() == [
        "1", "separable", "none", "true",
    ]  # fmt: skip
    assert own.loc["corrkd", "f1_mean"] == 50.0 and "from_published" not in own


def drawn(axes):
    """Places and colours of the dots."""
    found = {}
    for dots in axes.collections:
        if isinstance(dots, PathCollection):
            places = dots.get_offsets().tolist()
            colours = np.resize(dots.get_facecolors(), (len(places), 4))  # one colour stands for all
            found |= {tuple(place): to_hex(colour) for place, colour in zip(places, colours, strict=True)}
    return found


def test_the_curve_is_in_the_order_of_the_first_panel_and_the_default_in_another_colour():
    _, picture = parts()
    first, second, matrix = picture.figure.axes
    assert [label.get_text() for label in matrix.get_xticklabels()] == ROWS
    dots = drawn(first)
    assert dict(dots.keys()) == {i: MEANS[label] for i, label in enumerate(ROWS)}
    assert {x for (x, _), colour in dots.items() if colour == COLOURS[1].lower()} == {0}
    assert first.get_ylabel() == "Avg.\nF1 (%)" and second.get_ylabel() == "Avg.\nAUROC (%)"
    bars = first.collections[0].get_segments()
    assert len(bars) == len(ROWS) and all(bar[0][1] < MEANS[ROWS[i]] < bar[1][1] for i, bar in enumerate(bars))


def test_a_dot_says_what_each_reading_is_set_to():
    _, picture = parts()
    matrix = picture.figure.axes[-1]
    ticks = [label.get_text() for label in matrix.get_yticklabels()]
    assert ticks == [
        "layers: 1", "2", "4", "critic: shallow", "separable", "clip_norm: 1", "none", "scaled_inputs: false", "true",
    ]  # fmt: skip
    bold = [label.get_text() for label in matrix.get_yticklabels() if label.get_fontweight() == "bold"]
    assert bold == ["2", "critic: shallow", "clip_norm: 1", "scaled_inputs: false"]
    lines = [("layers", 1), ("layers", 2), ("layers", 4), ("critic", "shallow"), ("critic", "separable")]
    lines += [("clip_norm", 1.0), ("clip_norm", None), ("scaled_inputs", False), ("scaled_inputs", True)]
    expected = {
        (i, y)
        for i, label in enumerate(ROWS)
        for y, (option, value) in enumerate(lines)
        if OPTIONS[label][option] == value
    }
    assert set(drawn(matrix)) == expected


def test_without_the_area_under_the_curve_there_is_one_panel():
    table, picture = parts(metrics=["f1", "accuracy"])
    assert table.columns == ["Avg. F1"] and len(picture.figure.axes) == 2


def card(value, **more):
    return {"task": "mosi", "metric": "weighted_f1", "value": value} | more


def test_published_numbers_stand_beside_real_data_of_their_own_task_alone():
    published = [
        card(10.0, condition="l"),
        card(90.0, condition="lav"),
        card(33.0, condition="avg"),  # a mean of the others counts for nothing
        card(0.0, condition="a", row="w/o SCD"),  # nor what is of another row
        card(0.0, condition="v") | {"task": "iemocap"},
    ]
    cards = {"corrkd": {"published": published}}
    table, _ = parts(source="file", cards=cards)
    assert table.columns[-1] == "from published" and "over 2 conditions" in table.caption
    scores = make_scores([*LABELS, "mult"], source="file")
    for label in LABELS:
        own = scores[(scores["method"] == label) & (scores["metric"] == "f1") & (scores["ratio"] == 0)]
        means = own.groupby("available", observed=True)["value"].mean()
        expected = (abs(means["l"] - 10.0) + abs(means["lav"] - 90.0)) / 2
        assert table.summary.set_index("method")["from_published"][label] == pytest.approx(expected)
    assert parts(cards=cards)[0].columns == ["Avg. F1", "Avg. AUROC"], "on simulated data they would mean nothing"
    foreign = {"corrkd": {"published": [row for row in published if row["task"] != "mosi"]}}
    assert parts(source="file", cards=foreign)[0].columns == ["Avg. F1", "Avg. AUROC"]


def test_where_nothing_can_be_compared_there_is_nothing():
    scores = make_scores([*LABELS, "mult"])
    table = build_tables(scores)[0]
    intervals = make_statistics([*LABELS, "mult"], metrics=["f1"])
    untested = intervals[intervals["condition"] != "Avg."]
    assert reading_parts(scores, table, untested, readings(), {}) == []
    assert reading_parts(scores, table, pd.DataFrame(), readings(), {}) == []
    assert reading_parts(scores, table, intervals, [], {}) == []
    assert reading_parts(scores, replace(table, source="file"), intervals, readings(), {}) == []
    own = intervals[intervals["method"] != "corrkd"]  # the default failed
    assert "Orange" not in reading_parts(scores, table, own, readings(), {})[1].caption


@pytest.mark.parametrize("count", [3, 25, 60])
def test_all_of_it_can_be_read(count):
    labels = ["corrkd", *(f"rcd_responses=log_probabilities {i:02}" for i in range(1, count))]
    options = {label: OPTIONS[LABELS[i % 5]] for i, label in enumerate(labels)}
    options = {
        label: own | {"rcd_responses": "log_probabilities" if i % 3 else "probabilities"}
        for i, (label, own) in enumerate(options.items())
    }
    _, picture = parts(labels=labels, options=options, means={})
    names = assert_legible(picture.figure)
    assert {*labels, "rcd_responses: probabilities"} <= set(names)


def test_a_report_has_them_from_cells_and_again_from_its_csv_files(tmp_path):
    settings = tuple((Setting(subset), 0) for subset in SUBSETS)
    data = {"source": "simulated", "kind": "sentiment", "categories": [], "origin": "x", "samples": {"test": 3}}
    for i in range(LEAST):
        write_cell(
            tmp_path, f"{i:x}", settings=settings, right=i != 2, label=f"layers={i}" if i else "mult", data=data,
            hyperparameters={"layers": i, "heads": 5}, environment={}, git_commit="c", started="1", seconds=1.0,
            training_seconds=1.0, parameters=1, training={"trains_on": "missing"},
        )  # fmt: skip
    found = gather([tmp_path], methods.catalogue(), grid="g", command="c", against=["mult"])
    table = found.parts["tables"]["mosi_readings"]
    assert table.methods[-1] == "layers=2" and set(table.summary["layers"]) == {str(i) for i in range(LEAST)}
    alone = found.without_pictures
    assert alone["tables"].keys() == found.parts["tables"].keys() and "mosi_readings" in found.parts["figures"]
    assert all(picture.numbers is not None for picture in alone["figures"].values())
    written = [picture.stem for picture in found.parts["figures"].values() if picture.numbers is not None]
    assert sorted(alone["figures"]) == sorted(written), "each that has a csv file, and no other"
    assert "mosi_confusion" in found.parts["figures"]
    out = tmp_path / "out"
    out.mkdir()
    write(found, out, lambda line: None)
    assert {r["options"]["layers"] for r in read_manifest(out / "manifest.json")["readings"]} == set(range(LEAST))
    again = gather([out], methods.catalogue(), grid="g", command="c", against=["mult"])
    assert not again.from_cells
    pd.testing.assert_frame_equal(again.parts["tables"]["mosi_readings"].summary, table.summary)
    assert "readings" not in found.report["provenance"], "the page lists what is left of the manifest"
