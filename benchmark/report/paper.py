"""Tables for a paper, as LaTeX, Markdown and CSV: chosen rows, columns and metrics, with a short caption and a note.

What is to be shown is a :class:`benchmark.running.paper.PaperTable`; numbers, ranks and marks are those of the report's
other tables. :mod:`benchmark.report.fitting` sees to it that a table fits on a page.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import pandas as pd

from benchmark.errors import BenchmarkError, unknown
from benchmark.evidence.statistics import AREA, AVERAGE, DROP
from benchmark.evidence.stored import Evidence
from benchmark.names import without_formulas
from benchmark.protocol.metrics import category_of, metric, metric_names, usual_metrics
from benchmark.protocol.missing import format_ratio, settings_for
from benchmark.report.content import Block, Table, file_prefix, leads
from benchmark.report.fitting import Layout, fit, misfit, to_paper_latex
from benchmark.report.paper_columns import (
    CATEGORIES,
    KEY,
    Group,
    Printed,
    Task,
    cells_of,
    condition_of,
    groups_of,
    is_tested,
    tasks_of,
)
from benchmark.report.paper_words import caption_of, note_of
from benchmark.report.tables import (
    BEST,
    BEST_TESTED,
    COMPLETE,
    KINDS,
    sentence,
    to_markdown,
)
from benchmark.running.choice import Choice
from benchmark.running.paper import PaperTable

FOLDER = "paper"
"""Of their files, in that of the other tables."""


def paper_files(
    tables: Mapping[str, PaperTable],
    scores: pd.DataFrame,
    evidence: Evidence,
    printed: Printed,
    *,
    asked: Collection[str] = (),
) -> tuple[dict[str, str], list[str]]:
    """The files of all tables, and what a person is told of them.

    Parameters
    ----------
    tables : mapping of name to PaperTable
    scores : DataFrame
        Tidy scores.
    evidence : Evidence
    printed : Printed
    asked : collection of str
        The tables that a person has just asked for. Of the others, those of the grid or of an earlier report, what is
        not there is left out.

    Returns
    -------
    dict of file name to text
        To lie under ``tables/paper``.
    list of str
        A line for each table that does not fit, was divided, or lacks something.

    Raises
    ------
    BenchmarkError
        If a table that is asked for names what is not there.
    """
    files: dict[str, str] = {}
    lines = [f"table {name} is not written: there are no scores" for name in tables if scores.empty]
    known = [] if scores.empty or not tables else list(tasks_of(scores, evidence, printed))
    for name, table in tables.items() if known else ():
        try:
            shown, without = (table, []) if name in asked else _without_absent(table, known, printed)
            lines += [f"table {name}: {', '.join(without)}: not in this report, and left out"] if without else []
            layouts, said = _layouts(name, shown, known, printed)
        except BenchmarkError as error:
            if name in asked:
                raise
            lines.append(f"table {name} is not written: {error}")
            continue
        lines += said
        for layout, numbers in layouts:
            texts = {
                f"{layout.table.stem}.tex": to_paper_latex(layout),
                f"{layout.table.stem}.md": to_markdown(layout.table),
                f"{layout.table.stem}.csv": without_formulas(numbers).to_csv(index=False, lineterminator="\n"),
            }
            if twice := files.keys() & texts:
                raise BenchmarkError(f"two tables would be tables/{FOLDER}/{min(twice)}; give one of them another name")
            files |= texts
    return files, lines


def check_planned(tables: Mapping[str, PaperTable], choice: Choice, metrics: Sequence[str] = ()) -> None:
    """Refuse a table of what a run will not have, before it computes for hours.

    Parameters
    ----------
    tables : mapping of name to PaperTable
    choice : Choice
        What the run computes.
    metrics : sequence of str
        By which tasks are scored besides those that they list.

    Raises
    ------
    BenchmarkError
        Names what is unknown, and all there is.
    """
    settings = [s for task in choice.tasks for s in settings_for(choice.config.settings, task.task.modalities)]
    planned = {setting.kind.split("-")[0] for setting in settings}  # inter-burst stands under inter
    kinds = [kind for kind in KINDS if kind in planned]
    whole = [AVERAGE, DROP] if "inter" in planned else []
    columns = dict.fromkeys([*kinds, *whole, AREA, COMPLETE, "p=0.0"])
    for setting in settings:
        columns[setting.condition] = None
        if setting.kind == "imbalanced":
            columns |= {f"{m}={format_ratio(setting.ratio_of(m))}": None for m in setting.modalities}
    scored = {}
    for task in (source.task for source in choice.tasks):
        asked = [name for name in metrics or choice.config.metrics if name in metric_names(task.as_target)]
        scored[task.name] = [*(task.metrics or usual_metrics(task.as_target)), *asked]
    for name, table in tables.items():
        _check(name, table, choice.labels, scored, list(columns))


def _check(
    name: str, table: PaperTable, methods: Sequence[str], metrics: Mapping[str, Sequence[str]], columns: Sequence[str]
) -> None:
    """Refuse what is not among the rows, tasks, metrics of the chosen tasks, and columns; raises BenchmarkError."""
    tasks = {task: own for task, own in metrics.items() if not table.tasks or task in table.tasks}
    scored = dict.fromkeys(m for own in tasks.values() for m in own)
    scored |= {CATEGORIES: None} if any(map(category_of, scored)) else {}
    for what, wanted, there in (
        ("method", [*table.methods, *table.cite], methods),
        ("task", table.tasks, metrics),
        ("metric", table.metrics, scored),
        ("column", map(condition_of, table.columns), columns),
    ):
        for one in wanted:
            if one not in there:
                more = "; --metrics has others scored" if what == "metric" else ""
                raise BenchmarkError(unknown(f"{what} of table {name}", one, set(there)) + more)


def _without_absent(table: PaperTable, known: Sequence[Task], printed: Printed) -> tuple[PaperTable, list[str]]:
    """A table without the rows and tasks that are not there, and which these are; raises BenchmarkError."""
    rows = [m for m in table.methods if m not in printed.methods]
    tasks = [t for t in table.tasks if t not in {task.name for task in known}]
    for what, gone, all_ in (("methods", rows, table.methods), ("tasks", tasks, table.tasks)):
        if gone and len(gone) == len(all_):
            raise BenchmarkError(f"none of its {what} is in this report ({', '.join(gone)})")
    left = {
        "methods": [m for m in table.methods if m not in rows],
        "tasks": [t for t in table.tasks if t not in tasks],
        "cite": {m: key for m, key in table.cite.items() if m in printed.methods},
    }
    return table.model_copy(update=left), rows + tasks


def _layouts(
    name: str, table: PaperTable, known: Sequence[Task], printed: Printed
) -> tuple[list[tuple[Layout, pd.DataFrame]], list[str]]:
    """A table, or several where its groups of columns do not fit side by side, and what is to be said of that."""
    columns = [*KINDS, *(column for task in known for column in task.columns), "p=0.0"]
    _check(name, table, list(printed.methods), {task.name: task.metrics for task in known}, columns)
    groups = list(groups_of(table, known))
    if not groups:
        raise BenchmarkError(f"table {name} would be empty: no task has both one of its metrics and one of its columns")
    there = {m for group in groups for m in group.task.numbers["method"]}
    methods = [m for m in table.methods or printed.methods if m in there]
    best = BEST_TESTED if all(is_tested(group, methods) for group in groups) else BEST
    prefixes = {(g.task.name, g.task.source): file_prefix(g.task.name) for g in groups}
    for name_, source in prefixes if len({n for n, _ in prefixes}) < len(prefixes) else ():
        prefixes[name_, source] += f"-{source}"

    several = len(prefixes) > 1, len({group.metric for group in groups}) > 1

    def divided(*, tasks: bool, metrics: bool) -> dict[str, list[Group]]:
        parts: dict[str, list[Group]] = {}
        for group in groups:
            stem = name
            if tasks and several[0]:
                stem += f"-{prefixes[group.task.name, group.task.source]}"
            if metrics and several[1]:
                stem += f"-{file_prefix(group.metric)}"
            parts.setdefault(stem, []).append(group)
        return parts

    for tasks, metrics in ((False, False), (True, False), (True, True)):
        make = {
            stem: partial(_layout, stem, groups=own, methods=methods, printed=printed, best=best)
            for stem, own in divided(tasks=tasks, metrics=metrics).items()
        }
        layouts = [layout(table) for layout in make.values()]
        if all(fit(layout) for layout, _ in layouts):
            break
    said = []
    if len(layouts) > 1:
        said.append(
            f"table {name}: its {len(groups)} groups of columns do not fit side by side, so it is {len(layouts)} "
            f"tables: {', '.join(make)}"
        )
    for stem, layout in make.items():
        if wrong := misfit(layout(table)[0], _others(table, layout)):
            said.append(f"table {stem} {wrong}")
    return layouts, said


def _others(table: PaperTable, layout: Callable[[PaperTable], tuple[Layout, pd.DataFrame]]) -> list[tuple[Layout, str]]:
    """What could be done so that a table fits: as little as is enough, in all ways."""
    ways: dict[str, dict[str, Any]] = {
        "leave out what stands behind the means (show: mean)": {"show": "mean"} if table.show != "mean" else {},
        "leave out the marks (marks: false)": {"marks": False} if table.marks else {},
        "give it two columns (width: two)": {"width": "two"} if table.width == "one" else {},
    }
    ways = {words: changed for words, changed in ways.items() if changed}
    for count in range(1, len(ways) + 1):
        found = []
        for words in combinations(ways, count):
            changed = {key: value for one in words for key, value in ways[one].items()}
            found.append((layout(table.model_copy(update=changed))[0], " and ".join(words)))
        if any(fit(other) for other, _ in found):
            return found
    return []


def _layout(
    stem: str, table: PaperTable, *, groups: Sequence[Group], methods: Sequence[str], printed: Printed, best: str
) -> tuple[Layout, pd.DataFrame]:
    """Groups of columns as one table, and the numbers behind it."""
    parts = [cells_of(table, group, methods, best) for group in groups]
    rows = [(printed.methods[m], [cell for own in parts for cell in own[m]]) for m in methods]
    tasks = {id(group.task): group.task for group in groups}
    several = [len(tasks) > 1, len({group.metric for group in groups}) > 1]
    heads = []
    for group in groups:
        words = (group.task.title, sentence(metric(group.metric, group.task.target).title))
        heads.append((", ".join(word for word, shown in zip(words, several, strict=True) if shown), group.labels))
    labels = {label for group in groups for label in group.labels}
    if len(groups) > 1 and len(labels) == 1:  # which the caption says
        heads = [("", [head]) for head, _ in heads]
    tests = pd.concat([group.tests for group in groups]) if table.marks else pd.DataFrame()
    reference = str(printed.against) if not tests.empty and printed.against in methods else ""
    blocks = [Block("", rows)]
    caption = table.caption or caption_of(groups, labels)
    body = note_of(table, groups, blocks, methods, tests, printed, best) if table.note is None else table.note
    simulated = [(task.title, task.source) for task in tasks.values() if task.source == "simulated"]
    note = f"{leads(simulated)} {body}".strip()
    own = Table(
        stem=stem,
        title=caption,
        task=", ".join(dict.fromkeys(task.name for task in tasks.values())),
        source=", ".join(dict.fromkeys(task.source for task in tasks.values())),
        kind=FOLDER,
        lead=caption,
        caption=note,
        methods=[name for name, _ in rows],
        columns=[f"{head} {label}".strip() for head, own in heads for label in own],
        summary=pd.DataFrame(),
        blocks=blocks,
        reference=printed.methods.get(reference, ""),
    )
    cites = {printed.methods[m]: key for m, key in table.cite.items()}
    return Layout(own, heads, table.width, cites), _behind(groups, methods)


def _behind(groups: Sequence[Group], methods: Sequence[str]) -> pd.DataFrame:
    """The numbers as they go into the csv file, in the order of the table."""
    frames = []
    for group in groups:
        at = pd.MultiIndex.from_product([[group.metric], methods, group.conditions], names=KEY)
        own = group.numbers.set_index(KEY).reindex(at).reset_index().dropna(subset="mean")
        frames.append(own.assign(task=group.task.name, source=group.task.source))
    numbers = pd.concat(frames, ignore_index=True)
    first = ["task", "source", "method", "metric", "condition"]
    return numbers[[*first, *numbers.columns.difference(first, sort=False)]]
