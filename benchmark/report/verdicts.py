"""What tests found, as tables say it: arrows, what is in bold, and the sentences of captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.evidence.comparisons import ALPHA
from benchmark.evidence.groups import counted
from benchmark.evidence.resampling import LEAST_SEEDS
from benchmark.evidence.statistics import AVERAGE, FLOORS
from benchmark.evidence.stored import REFERENCE, TUNED, Evidence
from benchmark.protocol.metrics import Metric, metric
from benchmark.report.content import REFERENCE_SIGN, Block, Cell, Table
from benchmark.report.naming import method_name, method_names
from benchmark.report.tables import FEWER, number_range
from benchmark.running.tuned import tuned_label

BETTER, WORSE = "▲", "▼"
ALIKE, OPEN = "≈", "?"
COLLAPSED = "‡"


def with_best(
    rows: list[tuple[str, list[Cell]]], name: str, columns: list[str], best: pd.Series
) -> list[tuple[str, list[Cell]]]:
    """In bold what cannot be told from the best of its column, unless that is everything."""
    found = {m: [best.get((name, m, column), float("nan")) for column in columns] for m, _ in rows}
    tells = [any(own[c] == 0 for own in found.values()) for c in range(len(columns))]
    return [
        (
            m,
            [
                replace(cell, rank=int(tells[c] and found[m][c] == 1 and FEWER not in cell.mark))
                for c, cell in enumerate(cells)
            ],
        )
        for m, cells in rows
    ]


def marked(cells: list[Cell], method: str, name: str, columns: list[str], told: pd.Series) -> list[Cell]:
    """With an arrow where a method is better or worse than the reference."""
    turned = -1.0 if metric(name).lower_is_better else 1.0
    shown = []
    for cell, column in zip(cells, columns, strict=True):
        difference = turned * told.get((name, method, column), 0.0)
        arrow = BETTER if difference > 0 else WORSE if difference < 0 else ""
        shown.append(replace(cell, mark=cell.mark + arrow))
    return shown


def with_collapsed(
    rows: list[tuple[str, list[Cell]]],
    name: str,
    columns: list[str],
    counts: Mapping[tuple[str, str, str], tuple[float, int]],
) -> list[tuple[str, list[Cell]]]:
    """With a sign where a method gives all samples the same category: bare with every seed, in brackets with some.

    Parameters
    ----------
    rows : list of (method, cells)
    name : str
        The metric.
    columns : list of str
        Conditions.
    counts : mapping of (metric, method, condition) to (float, int)
        With how many seeds that is so, and of how many.
    """
    shown = []
    for m, cells in rows:
        marks = []
        for column in columns:
            some, every = counts.get((name, m, column), (0.0, 0))
            marks.append("" if m in FLOORS or not some > 0 else COLLAPSED if some >= every else f"({COLLAPSED})")
        shown.append((m, [replace(cell, mark=cell.mark + mark) for cell, mark in zip(cells, marks, strict=True)]))
    return shown


def tell_collapsed(blocks: Sequence[Block]) -> tuple[str, ...]:
    """What is said below a table of these signs."""
    marks = {cell.mark for block in blocks for _, cells in block.rows for cell in cells}
    some = any(f"({COLLAPSED})" in mark for mark in marks)
    every = any(COLLAPSED in mark.replace(f"({COLLAPSED})", "") for mark in marks)
    if not (some or every):
        return ()
    said = "all test samples get the same category there"
    if not every:
        return (f"({COLLAPSED}) collapsed: with some of the seeds, {said}.",)
    more = f"; ({COLLAPSED}) with some of the seeds" if some else ""
    return (f"{COLLAPSED} collapsed: {said}, with every seed{more}.",)


def tell_never(never: Mapping[str, Sequence[str]], order: Sequence[str]) -> tuple[str, ...]:
    """What is said below a table of categories that methods never predict: ``Never predicts sad: hrlf, misa.``"""
    told = [f"Never predicts {category}: {_in_order(own, order)}." for category, own in never.items()]
    return (f"{' '.join(told)} (In no condition and with no seed.)",) if told else ()


def _in_order(methods: Sequence[str], order: Sequence[str]) -> str:
    return ", ".join(method_names(sorted(methods, key=order.index)))


def absent(table: Table, against: str | None) -> str:
    """What a caption says where the reference is no row; empty where it is one."""
    if against is None or against in table.methods:
        return ""
    return f" No test against {method_name(against)}: there are no scores of it."


def untested(against: str) -> str:
    """What a caption says where there were too few seeds for a test."""
    return f"No test against {method_name(against)} ({REFERENCE_SIGN}): that takes three seeds of each method."


def arrow_tests(tests: pd.DataFrame, against: str | None) -> pd.DataFrame:
    """The comparisons that give the arrows: with the reference, and of tuned rows with the reference tuned."""
    if tests.empty or against is None:
        return tests.iloc[:0]
    tuned = (tests["purpose"] == TUNED) & (tests["against"] == tuned_label(against))
    return tests[(tests["purpose"] == REFERENCE) & (tests["against"] == against) | tuned]


def tell_test(
    tests: pd.DataFrame, against: str, drawn: str, *, shown: bool = True, names: Mapping[str, str] = {}
) -> str:
    """What a caption says of the tests that gave the arrows; `shown`: the reference is a row, with its sign.

    Rows are called as `names` says, and others as everywhere.
    """
    if tests["p"].isna().all():
        return untested(names.get(against, against))

    tuned = tests["purpose"] == TUNED
    families = [
        (against, f" ({REFERENCE_SIGN})" if shown else "", tests[~tuned]),
        (tuned_label(against), "", tests[tuned]),
    ]
    told: list[str] = []
    for label, sign, own in families:
        if own.empty:
            continue
        family, name = int(own["family"].max()), names.get(label, method_name(label))
        corrected = f"Holm for {family} {'comparison' if family == 1 else 'comparisons'} a column"
        if told:
            told.append(f"Tuned rows are held against {name} ({corrected}).")
        else:
            told.append(
                f"{BETTER} {WORSE} better, worse than {name}{sign} in a paired two-sided test over seeds and {drawn} "
                f"(alpha = {ALPHA}, {corrected})."
            )
    return " ".join(told)


def drawn_words(intervals: pd.DataFrame) -> str:
    """What the test split was drawn by: ``31 videos``; or samples, where ids tell no groups. Of several tasks, all."""
    alone = "test samples (ids tell no groups, so each counts for itself)"
    if "unit" not in intervals or intervals.empty:
        return alone
    drawn = intervals[["groups", "unit"]].dropna().drop_duplicates().itertuples(index=False, name=None)
    words = [alone if unit == "sample" else counted(int(count), str(unit)) for count, unit in drawn]
    return " and ".join(dict.fromkeys(words)) or alone


def interval_words(intervals: pd.DataFrame, noun: str = "interval") -> str:
    """What an interval is over; one without a part from the seeds is called so."""
    drawn = drawn_words(intervals)
    enough = intervals["seeds"] >= LEAST_SEEDS
    if enough.all():
        return f"95 % {noun} over seeds and {drawn}"
    if not enough.any():
        return f"95 % {noun} over {drawn} alone, for there are fewer than three seeds"
    return f"95 % {noun} over seeds and {drawn}, or over these alone where there are fewer than three seeds"


def verdict(test: Mapping[Any, Any], of: Metric, margin: float) -> str:
    """Better, worse, alike, or nothing can be said; nothing where there was no test.

    Parameters
    ----------
    test : mapping
        `difference`, the ends of its interval `low` and `high`, and `p_holm`.
    of : Metric
    margin : float
        Points, of metrics that are no per cents hundredths, within which the whole interval of what is alike lies.
    """
    if pd.isna(test["p_holm"]):
        return ""
    if test["p_holm"] < ALPHA:
        return BETTER if (test["difference"] > 0) != of.lower_is_better else WORSE
    margin = margin if of.percent else margin / 100
    return ALIKE if -margin <= test["low"] and test["high"] <= margin else OPEN


def margin_words(margin: float, titles: Mapping[str, str]) -> str:
    """Within what the whole interval of a likeness lies: ``±0.5 points``, ``±1 point, of MAE ±0.01``."""
    others = [title for name, title in titles.items() if not metric(name).percent]
    points = f"±{margin:g} {'point' if margin == 1 else 'points'}"
    if not others:
        return points
    hundredths = f"±{margin / 100:g}"
    return hundredths if len(others) == len(titles) else f"{points}, of {' and '.join(others)} {hundredths}"


def sensitivity(evidence: Evidence, task: str, source: str, against: str) -> str:
    """What can be told apart at all, in a sentence; empty where nothing was tested."""
    tests = evidence.comparisons
    if tests.empty or "detectable" not in tests:
        return ""
    here = (tests["task"] == task) & (tests["source"] == source) & (tests["condition"] == AVERAGE)
    tests = tests[here & (tests["purpose"] == REFERENCE) & (tests["against"] == against)]
    tests = tests[tests["metric"] == tests["metric"].iloc[0]] if len(tests) else tests
    least = tests[~tests["method"].isin(FLOORS)]["detectable"].dropna()  # nobody asks by how much guessing differs
    if least.empty:
        return ""
    intervals = evidence.intervals
    own = intervals[(intervals["task"] == task) & (intervals["source"] == source)]
    name = str(tests["metric"].iloc[0])
    digits = metric(name).decimals - 1
    ends = [f"{least.min():.{digits}f}", f"{least.max():.{digits}f}"]
    span = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}, by method,"
    return (
        f"With {drawn_words(own)} and {number_range(own['seeds'])} seeds, differences of {AVERAGE} of "
        f"{metric(name).title} from {method_name(against)} below {span} cannot be seen: a test would find them in "
        "fewer than four of five tries."
    )
