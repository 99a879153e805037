"""The table that says whether mechanisms acted, and its column in the table of methods."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmark.files.atomic import json_text
from benchmark.files.manifest import cell_summary, read_manifest
from benchmark.report.mechanisms import mechanism_table, told, with_mechanisms
from benchmark.report.results import Results
from benchmark.report.tables import build_tables, to_csv, to_markdown
from tests.report.test_tables import make_scores


def cell(method, seed, *, kept=5, idle=1, gradient=None, effects=None, fault=None, stages=("training",)):
    about = {"kept": kept, "epochs": 9, "idle": idle, "gradient": gradient or {}, "clipped": 0.5}
    found = {
        "stages": [{"stage": stage, **about} for stage in stages],
        "effects": effects or {},
    }
    found |= {"fault": fault} if fault else {}
    return {"method": method, "task": "mosi", "source": "simulated", "seed": seed, "mechanisms": found}


CELLS = [
    cell("mult", 0, kept=1),
    cell("mult", 1, kept=4),
    cell("corrkd", 0, gradient={"task": 1.0, "SCD": 3.0, "CPD": 0.0}, stages=("teacher", "student")),
    cell("corrkd", 1, gradient={"task": 1.0, "SCD": 2.0, "CPD": 1.0}, stages=("teacher", "student")),
    cell("misa", 0, effects={"translation": {"value": 0.96, "idle": 1.0}, "rebuilt": {"value": 0.5, "idle": 1.0}}),
    cell("tfr_net", 0, fault="ValueError: error is nan"),
    cell("self_mm", 0, kept=2, idle=2),
    {"method": "mctn", "task": "mosi", "source": "simulated", "mechanisms": {}},
]


@pytest.fixture
def base():
    return build_tables(make_scores(["mult", "corrkd", "misa", "tfr_net", "self_mm", "mctn"]), selection="")[0]


def rows(table):
    return [(method, *(f"{c.value} {c.spread}".strip() for c in cells)) for method, cells in table.blocks[0].rows]


def test_each_measure_has_a_row_that_says_whether_it_acted(base):
    found = rows(mechanism_table(base, CELLS))
    assert ("mult", "kept epoch", "1–4 of 9", "1", "too early in 1 of 2") in found
    assert ("corrkd", "share of the gradient: SCD (student)", "62.5 % 2.5 / 1.2", "< 1 %", "yes") in found
    assert ("corrkd", "share of the gradient: CPD (teacher)", "12.5 % 0.5 / 0.25", "< 1 %", "idle in 1 of 2") in found
    assert ("misa", "error: translation", "0.96", "1", "IDLE") in found
    assert ("misa", "error: rebuilt", "0.5", "1", "yes") in found
    assert ("self_mm", "kept epoch", "2 of 9", "2", "TOO EARLY") in found
    assert ("tfr_net", "could not be asked: ValueError: error is nan", "", "", "") in found
    assert "mctn" not in {method for method, *_ in found}


def test_where_nothing_is_missing_nothing_is_idle(base):
    """A method that rebuilds features, trained on whole samples alone."""
    cells = [cell("misa", seed, effects={"rebuilt": {"value": 0.0, "idle": 0.0}}) for seed in (0, 1)]
    assert rows(mechanism_table(base, cells))[-1] == ("misa", "error: rebuilt", "0", "0", "nothing to do")
    table = with_mechanisms(replace(base, columns=[], summary=pd.DataFrame({"method": ["misa"]})), cells)
    assert table.summary["mechanism"].tolist() == ["acts"]


def test_the_csv_has_a_row_a_seed(base):
    table = mechanism_table(base, CELLS)
    lines = to_csv(table).splitlines()
    assert lines[0].startswith("task,source,method,seed,stage,what,name,value")
    own = table.summary[(table.summary["method"] == "corrkd") & (table.summary["name"] == "SCD")]
    assert own["norm"].tolist() == [3.0, 3.0, 2.0, 2.0] and own["clipped"].tolist() == [1.5, 1.5, 1.0, 1.0]
    assert to_markdown(table).count("IDLE") == 1


def test_from_python_all_rows_of_a_method_are_there(base, tmp_path):
    results = Results(tmp_path, 0, lambda: None, [], {})
    table = mechanism_table(base, CELLS)
    results.__dict__["_content"] = SimpleNamespace(without_pictures={"tables": {"mosi_mechanisms": table}})
    found = results.table("mosi", "mechanisms")
    assert found.loc["misa", "What"].tolist() == ["kept epoch", "error: translation", "error: rebuilt"]
    assert len(found) == len(rows(table))


def test_without_anything_told_there_is_no_table_and_no_column(base):
    assert mechanism_table(base, [CELLS[-1]]) is None
    assert mechanism_table(base, [{**CELLS[0], "task": "mosei"}]) is None
    methods = replace(base, columns=["Year"], summary=pd.DataFrame({"method": ["mctn"]}))
    assert with_mechanisms(methods, [CELLS[-1]]) is methods and with_mechanisms(None, CELLS) is None


def test_the_table_of_methods_names_what_was_idle(base):
    names = ["mult", "corrkd", "misa", "tfr_net", "self_mm", "mctn"]
    blocks = [replace(base.blocks[0], rows=[(name, []) for name in names])]
    table = with_mechanisms(replace(base, columns=[], summary=pd.DataFrame({"method": names}), blocks=blocks), CELLS)
    assert rows(table) == [
        ("mult", "kept too early: training"),
        ("corrkd", "idle: CPD"),
        ("misa", "idle: translation"),
        ("tfr_net", "acts"),
        ("self_mm", "kept too early: training"),
        ("mctn", "–"),
    ]
    assert table.columns == ["Mechanism"] and table.summary["mechanism"].tolist()[:2] == [
        "kept too early: training",
        "idle: CPD",
    ]


def record(**mechanisms):
    return {
        "label": "mult", "task": {"name": "mosi"}, "data": {"source": "simulated"}, "seed": 3, "key": "ab", "seconds": 1.0,
        "training_seconds": 1.0, "epochs": 4, "parameters": 5, **mechanisms,
    }  # fmt: skip


def test_a_manifest_keeps_what_cells_tell(tmp_path):
    summary = cell_summary(record(mechanisms=CELLS[2]["mechanisms"]))
    (tmp_path / "manifest.json").write_text(json_text({"cells": [summary]}))
    (read,) = read_manifest(tmp_path / "manifest.json")["cells"]
    assert sorted(map(str, told(read))) == sorted(map(str, told(summary))) and read["seed"] == 3


@pytest.mark.parametrize(
    "odd", [None, 3, {"stages": [{"stage": 1}]}, {"effects": {"a": {"value": math.nan, "idle": 1.0}}}]
)
def test_what_is_not_as_cells_tell_it_is_left_out(odd):
    assert cell_summary(record(mechanisms=odd))["mechanisms"] == {}
    assert list(told(cell_summary(record()))) == []
