"""What tuning gave, as table, figure and note."""

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.tuning import Tuning, against_reference, by_budget, outcomes
from benchmark.report.tables import build_tables, to_csv, to_latex, to_markdown
from benchmark.report.tuning import tell_changes, tuning_figure, tuning_table
from tests.evidence.test_tuning import INTERVALS, NAN, PAIRS, RISES, STAYS
from tests.report.pictures import assert_legible
from tests.report.test_tables import make_scores

BOTH = [RISES, STAYS]
MANY = [*(f"method_{i}" for i in range(14)), "corrkd"]


def made(names, trials=21):
    rng = np.random.default_rng(0)
    valid = rng.normal(60, 4, (len(names), trials))
    test = valid + rng.normal(0, 2, valid.shape)
    return by_budget(
        Tuning("mosi", "simulated", m, f"{m} tuned", "f1", tuple(v), tuple(t), ({},) * trials)
        for m, v, t in zip(names, valid, test, strict=True)
    )


def test_the_table_says_what_tuning_gave_with_its_interval_and_what_was_chosen():
    table = tuning_table(build_tables(make_scores(["stays", "rises", "mult"]))[0], outcomes(BOTH, INTERVALS, PAIRS))
    assert table.stem == "mosi_tuning" and table.methods == ["rises", "stays"]
    rows = {method: [(cell.value, cell.spread) for cell in cells] for method, cells in table.blocks[0].rows}
    assert rows["rises"] == [
        ("58.00", ""), ("62.00", ""), ("+4.00", "[+2.00, +5.00]"), ("2 → 1", ""), ("66.00", ""), ("+3.00", ""),
        ("-2.00", ""), ("no", ""), ("rate 0.00123, layers 3", ""),
    ]  # fmt: skip
    assert rows["stays"][3:] == [
        ("1 → 2", ""), ("64.00", ""), ("+3.00", ""), ("+5.67", ""), ("no", ""), ("the default", ""),
    ]  # fmt: skip
    unknown = tuning_table(
        build_tables(make_scores(["rises"]))[0],
        outcomes([dataclasses.replace(RISES, test=(58.0, NAN, NAN, NAN))], INTERVALS, PAIRS),
    )
    assert [cell.value for cell in unknown.blocks[0].rows[0][1]][4:8] == ["66.00", "", "", ""]
    assert "3 random configurations" in table.caption and table.columns[:2] == ["Avg., default", "Avg., tuned"]
    csv = pd.read_csv(io.StringIO(to_csv(table)))
    assert csv["gain"].tolist() == [4.0, 0.5] and set(csv["task"]) == {"mosi"}
    assert "+4.00" in to_markdown(table) and "+4.00" in to_latex(table)
    assert tuning_table(build_tables(make_scores(["mult"]))[0], pd.DataFrame()) is None


def test_curves_are_the_expected_scores_and_names_stand_at_their_ends():
    budgets = by_budget(BOTH)
    picture = tuning_figure(budgets, prefix="mosi", against="rises")
    valid, test, rank = picture.figure.axes
    for axes, name in ((valid, "valid"), (test, "test"), (rank, "rank")):
        for line, method in zip(axes.lines, ("rises", "stays"), strict=True):
            np.testing.assert_allclose(line.get_ydata(), budgets.loc[budgets["method"] == method, name])
        assert [text.get_text().strip() for text in axes.texts if text.get_text()] == ["rises", "stays"]
        assert axes.lines[0].get_linewidth() == 2.2 > axes.lines[1].get_linewidth()
    bottom, top = rank.get_ylim()
    assert bottom > top, "the first is above"
    assert picture.numbers["with_replacement"].tolist() == budgets["with_replacement"].tolist()
    assert tuning_figure(budgets[budgets["budget"] == 0], prefix="mosi") is None
    assert tuning_figure(pd.DataFrame(), prefix="mosi") is None


@pytest.mark.parametrize("names", [MANY, MANY[-3:]])
def test_fifteen_methods_can_be_told_apart(names):
    budgets = made(names)
    picture = tuning_figure(budgets, names, prefix="mosi", against="corrkd")
    texts = assert_legible(picture.figure)
    assert all(texts.count(name) == 3 for name in names)
    rank = picture.figure.axes[2]
    last, first = sorted(rank.get_ylim(), reverse=True)
    ticks = [tick for tick in rank.get_yticks() if first <= tick <= last]
    assert ticks[0] == 1 and len(ticks) <= 8 and all(tick == int(tick) for tick in ticks)
    colours = [line.get_color() for line in picture.figure.axes[0].lines]
    grey = max(set(colours), key=colours.count)
    assert len(colours) == len(names) and len(set(colours) - {grey}) == min(4, len(set(colours) - {grey}))
    assert picture.stem == "mosi_tuning_budget" and "corrkd is thick" in picture.caption


def test_methods_that_were_not_tested_have_no_order():
    budgets = made(MANY[-3:]).assign(test=np.nan, rank=np.nan)
    picture = tuning_figure(budgets, prefix="mosi")
    assert len(picture.figure.axes) == 1 and "no order" in picture.caption
    assert_legible(picture.figure)


def test_the_note_says_which_comparisons_change_their_sign():
    note = tell_changes(against_reference(BOTH, PAIRS, "stays"), "stays")
    assert "1 of 1 comparison with stays changes its sign: rises (-3.00 → +2.50); of rises, tests tell both" in note
    unsure = tell_changes(against_reference(BOTH, PAIRS.assign(p=np.nan), "stays"), "stays")
    assert "of none of these, tests tell both differences from 0" in unsure
    alike = PAIRS.assign(difference=[-4.0, 0.5, 0.1, -3.0, 2.5])
    assert "none of 1 comparison with rises changes" in tell_changes(against_reference(BOTH, alike, "rises"), "rises")
    assert tell_changes(against_reference(BOTH, PAIRS, "mult"), "mult") == ""
