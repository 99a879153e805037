"""What the columns of tables for a paper are made of: tasks, their numbers, and groups of columns."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.data.task import known_tasks
from benchmark.evidence.comparisons import ALPHA
from benchmark.evidence.statistics import AREA, AVERAGE, DROP
from benchmark.evidence.stored import Evidence
from benchmark.protocol.metrics import category_of, metric
from benchmark.protocol.missing import MODALITIES, SUBSETS, Setting
from benchmark.report.comparisons import with_ranks
from benchmark.report.content import Cell, Table
from benchmark.report.tables import BEST_TESTED, COMPLETE, KINDS, build_tables, fewer_seeds, number_range
from benchmark.report.verdicts import arrow_tests, marked, with_best, with_collapsed
from benchmark.running.paper import PaperTable

CATEGORIES = "categories"
"""As a metric: F1 of each category."""
KEY = ["metric", "method", "condition"]


@dataclass(frozen=True)
class Printed:
    """What is known besides numbers.

    Parameters
    ----------
    methods : dict of label to str
        The rows in order, each as papers print it.
    tasks : mapping of name to str
        The same for tasks, where it is told.
    against : str or None
        The label of the reference.
    selection : str
        How checkpoints were selected.
    """

    methods: Mapping[str, str]
    tasks: Mapping[str, str]
    against: str | None
    selection: str


@dataclass(frozen=True)
class Task:
    """What there is of a task from a source: columns by kind, and a row of `numbers` for each `KEY`."""

    name: str
    source: str
    title: str
    target: str
    kinds: Mapping[str, list[str]]
    metrics: list[str]
    numbers: pd.DataFrame
    counts: Mapping[str, str]
    fewer: Mapping[str, str]
    intervals: pd.DataFrame
    tests: pd.DataFrame
    absent: list[str]

    @property
    def columns(self) -> list[str]:
        """All that there are, with those that are of no kind."""
        own = [column for columns in self.kinds.values() for column in columns]
        there = set(self.numbers["condition"])
        return [*dict.fromkeys([*own, *(name for name in (COMPLETE, DROP, AREA) if name in there)])]


@dataclass(frozen=True)
class Group:
    """Columns of one task and metric: their printed names and their conditions."""

    task: Task
    metric: str
    labels: list[str]
    conditions: list[str]

    @property
    def numbers(self) -> pd.DataFrame:
        """Those of the task that stand in these columns."""
        own = self.task.numbers
        return own[(own["metric"] == self.metric) & own["condition"].isin(self.conditions)]

    @property
    def tests(self) -> pd.DataFrame:
        """Those against the reference in these columns."""
        own = self.task.tests
        return own if own.empty else own[(own["metric"] == self.metric) & own["condition"].isin(self.conditions)]


def tasks_of(scores: pd.DataFrame, evidence: Evidence, printed: Printed) -> Iterator[Task]:
    """Each task from each source, in the order of the scores."""
    found: dict[tuple[str, str], list[Table]] = {}
    for table in build_tables(scores, method_order=list(printed.methods)):
        found.setdefault((table.task, table.source), []).append(table)
    titles = {name: printed.tasks.get(name) or getattr(known_tasks().get(name), "title", name) for name, _ in found}
    for (name, source), tables in found.items():
        title = titles[name]
        if sum(title == titles[other] for other, _ in found) > 1:  # as of polarity and intensity of one set, or sources
            title = f"{name} ({source})" if sum(name == other for other, _ in found) > 1 else name
        part = scores[(scores["task"] == name) & (scores["source"] == source)]
        intervals, tests = (
            own if own.empty else own[(own["task"] == name) & (own["source"] == source)]
            for own in (evidence.intervals, evidence.comparisons)
        )
        tests = arrow_tests(tests, printed.against)
        yield Task(
            name,
            source,
            title,
            tables[0].target,
            {table.kind: table.columns for table in tables},
            list(part["metric"].unique()),
            _numbers(tables, intervals, tests),
            {str(m): number_range(own.dropna()) for m, own in part.groupby("metric")["n"]},
            fewer_seeds(part.groupby("method")["seed"].nunique()),
            intervals,
            tests,
            [m for m in MODALITIES if m not in str(part["modalities"].iloc[0])],
        )


def _numbers(tables: Sequence[Table], intervals: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    """All numbers of a task: those of its tables, and what is known of sums of settings alone, with the evidence."""
    summaries = [table.summary.replace({"condition": {"p=0.0": COMPLETE}}) for table in tables]
    if not intervals.empty:
        summaries.append(intervals.loc[intervals["condition"].isin([DROP, AREA]), [*KEY, "mean", "std", "seeds"]])
    numbers = pd.concat(summaries, ignore_index=True).drop_duplicates(KEY)
    for frame, columns in ((intervals, ("low", "high", "best", "collapsed")), (tests, ("difference", "p_holm"))):
        own = [column for column in columns if column in frame]
        numbers = numbers.merge(frame[[*KEY, *own]], on=KEY, how="left") if own else numbers
    return numbers.reindex(columns=list(dict.fromkeys([*numbers, "low", "high", "best", "collapsed"])))


def groups_of(table: PaperTable, known: Sequence[Task]) -> Iterator[Group]:
    """By task in the order that is asked for, then by metric."""
    order = list(dict.fromkeys(table.tasks))
    chosen = [task for task in known if not order or task.name in order]
    for task in sorted(chosen, key=lambda task: order.index(task.name)) if order else chosen:
        expanded: list[str] = []
        for name in table.metrics or task.metrics[:1]:
            expanded += [m for m in task.metrics if category_of(m)] if name == CATEGORIES else [name]
        names: dict[str, str] = {}  # by condition
        for column in map(condition_of, table.columns):
            for label in task.kinds.get(column, []) if column in KINDS else [column]:
                condition = COMPLETE if label == "p=0.0" else label
                if condition in set(task.numbers["condition"]):
                    names.setdefault(condition, label)
        for name in dict.fromkeys(expanded) if names else ():
            if name in task.metrics:
                yield Group(task, name, list(names.values()), list(names))


def is_tested(group: Group, methods: Collection[str]) -> bool:
    """Whether bold can be what no test tells from the best: all such rows must be shown."""
    numbers = group.numbers
    by_column = numbers.groupby("condition")["best"].count()
    return bool((by_column > 0).all()) and set(numbers.loc[numbers["best"] == 1, "method"]) <= set(methods)


def cells_of(table: PaperTable, group: Group, methods: Sequence[str], best: str) -> dict[str, list[Cell]]:
    """The numbers of a group, row by row, with ranks and marks."""
    said = metric(group.metric)
    digits = said.decimals if table.decimals is None else table.decimals
    numbers = group.numbers.set_index(["method", "condition"]).to_dict("index")

    def cell(method: str, condition: str) -> Cell:
        row: Mapping[Any, Any] = numbers.get((method, condition), {"mean": math.nan})
        if math.isnan(row["mean"]):
            return Cell("")
        spread = ""
        if table.show == "deviation" and pd.notna(row["std"]):
            spread = f"± {row['std']:.{digits}f}"
        elif table.show == "interval" and pd.notna(row["low"]):
            spread = f"[{row['low']:z.{digits}f}, {row['high']:z.{digits}f}]"
        return Cell(f"{row['mean']:z.{digits}f}", spread)

    names, columns = group.metric, group.conditions
    fewer = [m for m in methods if m in group.task.fewer]
    plain = {m: [cell(m, c) for c in columns] for m in methods}
    rows = with_ranks(plain, [(c == DROP) != said.lower_is_better for c in columns], fewer)
    whole = group.numbers.set_index(KEY)
    if best == BEST_TESTED:
        rows = dict(with_best(list(rows.items()), names, columns, whole["best"]))
    if table.marks:
        if "p_holm" in whole:
            told = whole.loc[whole["p_holm"] < ALPHA, "difference"]
            told = told * [-1.0 if condition == DROP else 1.0 for _, _, condition in told.index]  # less is better
            rows = {m: marked(cells, m, names, columns, told) for m, cells in rows.items()}
        counts = {
            at: (some, int(n)) for at, some, n in zip(whole.index, whole["collapsed"], whole["seeds"], strict=True)
        }
        rows = dict(with_collapsed(list(rows.items()), names, columns, counts))
    return rows


def condition_of(column: str) -> str:
    """``la`` and ``{a,l}`` → ``{l,a}``; all else as it is."""
    letters = column[1:-1].split(",") if column.startswith("{") and column.endswith("}") else list(column)
    subset = next((own for own in SUBSETS if sorted(own) == sorted(letters)), None)
    return column if subset is None else COMPLETE if subset == SUBSETS[-1] else Setting(subset).condition


def kinds_of(groups: Sequence[Group]) -> list[str]:
    """The kinds of tables that the columns are of, but for those that stand in tables of any kind."""
    own = {c for group in groups for c in group.conditions} - {COMPLETE, AVERAGE, DROP, AREA}
    return [kind for kind in KINDS if any(own & {*group.task.kinds.get(kind, [])} for group in groups)]
