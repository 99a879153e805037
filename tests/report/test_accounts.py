"""What methods cost, as a table and beside their scores: numbers by hand, and what is not known."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark import methods
from benchmark.evidence.statistics import average_inter
from benchmark.report.accounts import MOST_NAMED, accounts_table, front, pareto_figure
from benchmark.report.compose import gather
from benchmark.report.figures import GREY, method_looks
from benchmark.report.tables import build_tables, to_csv, to_latex
from tests.report.test_tables import make_scores
from tests.report_frames import make_accounts

QUICK = Path(__file__).resolve().parents[2] / "results" / "reference" / "quick"
THREE = ["corrkd", "mult", "constant"]


def table_of(cells, scores=None):
    scores = make_scores(THREE) if scores is None else scores
    return accounts_table(scores, build_tables(scores, method_order=THREE)[0], cells)


def shown(table):
    return {method: [cell.value for cell in row] for method, row in table.blocks[0].rows}


def with_account(cells, method, **changed):
    return [c | {"account": c["account"] | changed} if c["method"] == method else c for c in cells]


def test_costs_are_those_of_the_cells_by_hand():
    scores, cells = make_scores(THREE), make_accounts(THREE, seeds=3)
    elsewhere = [cell | {"task": "mosei", "parameters": 9**9} for cell in cells]
    table = table_of([*cells, *elsewhere], scores)
    average = average_inter(scores[scores["metric"] == "f1"]).groupby("method")["value"].mean()
    # Of three seeds, which take once, four and nine times as long, the median is the second.
    assert shown(table)["mult"] == ["0.200", "0.080", "2.00", "2,000", "20.0", f"{average['mult']:.2f}"]
    assert shown(table)["constant"][:2] == ["0", "0.160"] and table.stem == "mosi_accounts"
    assert "in a batch of 16" in table.caption and "1 thread on a CPU" in table.caption and not table.notes
    csv = table.summary.set_index("method").loc["mult"]
    assert (csv["least"], csv["seconds"], csv["most"]) == pytest.approx((2e-5, 8e-5, 18e-5)) and csv["cells"] == 3
    assert "operations" in to_csv(table)


def test_very_small_and_large_numbers_have_three_digits():
    cells = with_account(make_accounts(THREE), "mult", operations=1.2345e10, seconds=1e-7)
    assert shown(table_of(cells))["mult"][:2] == ["12,345", "< 0.001"]


def test_what_is_not_counted_makes_a_number_the_least_that_it_can_be():
    table = table_of(with_account(make_accounts(THREE), "mult", uncounted=["aten.b", "aten.a"]))
    assert shown(table)["mult"][0] == "≥ 0.200" and shown(table)["corrkd"][0] == "0.100"
    assert r"$\geq$ 0.200" in to_latex(table) and "≥" not in to_latex(table), "which few fonts of LaTeX have"
    assert table.summary.set_index("method").loc["mult", "uncounted"] == "aten.a aten.b"
    texts = [text.get_text() for axes in pareto_figure(table, method_looks(THREE)).figure.axes for text in axes.texts]
    assert texts.count("mult (≥)") == 1 and texts.count("mult") == 1, "of time nothing is left out"


def test_what_is_not_known_is_shown_so():
    cells = make_accounts(THREE)
    before = [cell | {"account": None} if cell["method"] == "mult" else cell for cell in cells]
    assert shown(table_of(before))["mult"][:4] == ["–", "–", "–", "2,000"]
    assert table_of([cell | {"account": None} for cell in cells]) is None
    assert table_of([{k: v for k, v in cell.items() if k != "account"} for cell in cells]) is None
    nothing = {"seconds": None, "operations": None, "memory": None, "fault": "ValueError: x"}
    table = table_of(with_account(cells, "mult", **nothing))
    assert table.notes == ("mult could not be asked: ValueError: x.",) and shown(table)["mult"][0] == "–"
    whole = make_scores(THREE, settings=[("lav", 0.0), ("lav", 0.5)])
    table = table_of(cells, whole)
    assert shown(table)["mult"][-1] == "–" and pareto_figure(table, method_looks(THREE)) is None


def test_times_of_two_devices_are_told_apart():
    table = table_of(with_account(make_accounts(THREE), "mult", device="cuda"))
    assert "(on a CPU: corrkd, constant; on a GPU: mult)" in table.caption


@pytest.mark.parametrize(
    ("costs", "scores", "lower", "best"),
    [
        ([1, 2, 3, 4], [50, 60, 55, 70], False, [0, 1, 3]),
        ([4, 3, 2, 1], [50, 60, 55, 70], False, [3]),
        ([1, 2, 3], [0.9, 0.8, 0.85], True, [0, 1]),
        ([1, 1, 2], [50, 60, 60], False, [1]),  # for one price the better one; who gives no more for more is beaten
    ],
)
def test_the_front_is_of_those_that_none_beats_at_their_cost(costs, scores, lower, best):
    assert front(pd.Series(costs), pd.Series(scores), lower_is_better=lower) == best


def pareto(averages, coloured=(), **floors):
    names = [*averages, *floors]
    table = table_of(make_accounts(THREE))
    told = pd.DataFrame({"method": names, "average": [*averages.values(), *floors.values()], "metric": "f1"})
    told["operations"] = told["seconds"] = 10.0 ** np.arange(len(names))
    told["uncounted"] = ""
    return pareto_figure(replace(table, summary=told), method_looks(names), coloured)


def test_points_and_front_stand_where_the_numbers_say():
    picture = pareto({"a": 50.0, "b": 60.0, "c": 55.0}, constant=10.0, random=52.0)
    for axes in picture.figure.axes:
        line, *points = (own.get_xydata().tolist() for own in axes.lines)
        assert points[:3] == [[[1, 50]], [[10, 60]], [[100, 55]]] and axes.get_xscale() == "log"
        assert line == [[1, 50], [10, 50], [10, 60], [axes.get_xlim()[1], 60]]
        assert [own[0][1] for own in points[3:]] == [52.0], "a floor far below takes no room"
        assert {text.get_text() for text in axes.texts} == {"a", "b", "c"}
    assert "random" in picture.caption and "constant" not in picture.caption
    assert picture.stem == "mosi_pareto" and picture.caption.startswith("mosi: simulated data.")
    assert pareto({"a": 50.0}, constant=10.0) is None


def test_of_many_those_on_the_line_and_those_in_colour_elsewhere_are_named():
    many = {f"m{i:02d}": 50.0 - i for i in range(MOST_NAMED)} | {"last": 60.0}
    picture = pareto(many, coloured=["m07"])
    for axes in picture.figure.axes:
        assert {text.get_text() for text in axes.texts} == {"m00", "last", "m07"}
        assert sum(line.get_color() == GREY for line in axes.lines) == len(many) - 3
    assert picture.caption.endswith(f"In colour: these and m07; grey: the other {len(many) - 3}.")
    few = pareto(dict(list(many.items())[1:]), coloured=["m07"])
    assert len(few.figure.axes[0].texts) == MOST_NAMED and "grey" not in few.caption


def test_who_costs_nothing_has_no_place_on_the_axis_and_is_named():
    table = table_of(with_account(make_accounts(THREE), "mult", operations=0.0))
    assert pareto_figure(table, method_looks(THREE)) is None
    cells = with_account(make_accounts([*THREE, "misa"]), "mult", operations=0.0)
    picture = pareto_figure(table_of(cells, make_scores([*THREE, "misa"])), method_looks([*THREE, "misa"]))
    assert picture.caption.endswith("Not drawn: mult.")


def test_a_report_has_both_where_the_manifest_tells_of_costs(tmp_path):
    shutil.copytree(QUICK, tmp_path / "quick", ignore=shutil.ignore_patterns("figures", "tables"))
    path = tmp_path / "quick" / "manifest.json"
    manifest = json.loads(path.read_text())
    for known in (False, True):
        for cell in manifest["cells"]:
            cell["account"] = make_accounts(["mult"])[0]["account"] if known else None
        path.write_text(json.dumps(manifest))
        content = gather([path.parent], methods.catalogue(), grid="g", command="c", against=["corrkd"])
        assert ("mosi_accounts" in content.parts["tables"], "mosi_pareto" in content.parts["figures"]) == (known, known)
