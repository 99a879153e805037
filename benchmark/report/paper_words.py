"""What is said above and below tables for a paper: a short caption, and the long one in a note."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from benchmark.evidence.statistics import AREA, AVERAGE, DROP
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import MODALITY_NAMES
from benchmark.report.content import Block
from benchmark.report.paper_columns import Group, Printed, kinds_of
from benchmark.report.tables import (
    COMPLETE,
    across,
    number_range,
    sentence,
    tell_fewer,
    tell_metrics,
    tell_undefined,
    titled,
)
from benchmark.report.verdicts import drawn_words, interval_words, tell_collapsed, tell_test
from benchmark.running.paper import PaperTable

_WHERE = {
    "inter": "with whole modalities missing",
    "intra": "with frames missing",
    "random": "with other modalities missing in each sample",
    "imbalanced": "with another ratio of missing frames in each modality",
    "noise": "with noise on the features",
}
_DERIVED = {
    AVERAGE: f"{AVERAGE} = mean of the conditions that lack a modality, without {COMPLETE}.",
    DROP: f"{DROP} = {COMPLETE} less {AVERAGE}",
    AREA: f"{AREA} = area under the degradation curve, divided by the range of p.",
}


def caption_of(groups: Sequence[Group], labels: Collection[str]) -> str:
    """Which metrics, tasks and conditions, in a line: ``F1 on CMU-MOSI with whole modalities missing.``"""
    targets = {group.task.target for group in groups}
    kind = min(targets) if len(targets) == 1 else ""  # F1 is a mean F1 where there are categories alone
    metrics = dict.fromkeys(metric(group.metric, kind).title for group in groups)
    tasks = dict.fromkeys(group.task.title for group in groups)
    kinds = kinds_of(groups)
    if len(labels) == 1:
        where = f": {'mean of the conditions that lack a modality' if AVERAGE in labels else min(labels)}"
    else:
        where = f" {_WHERE[kinds[0]] if len(kinds) == 1 else 'with data missing'}" if kinds else ""
    return f"{sentence(_listed(metrics))} on {_listed(tasks)}{where}."


def _listed(words: Iterable[str]) -> str:
    *firsts, last = words
    return f"{', '.join(firsts)} and {last}" if firsts else last


def note_of(
    table: PaperTable,
    groups: Sequence[Group],
    blocks: Sequence[Block],
    methods: Collection[str],
    tests: pd.DataFrame,
    printed: Printed,
    best: str,
) -> str:
    """What the numbers of these rows, the bold ones and the marks are, in whole sentences."""
    tasks = {id(group.task): group.task for group in groups}
    parts = []
    for target in dict.fromkeys(task.target for task in tasks.values()):
        own = [group for group in groups if group.task.target == target]
        names = list(dict.fromkeys(group.metric for group in own))
        ns = {m: _listed(dict.fromkeys(g.task.counts[m] for g in own if g.metric == m)) for m in names}
        said = tell_metrics(names, target, ns)
        if len(own) < len(groups):
            tasks_ = _listed(dict.fromkeys(group.task.title for group in own))
            said = f"On {tasks_}, {said[0].lower() + said[1:] if said[1].islower() else said}"
        parts.append(f"{said}.")
    for kind in kinds_of(groups):  # once more where some tasks lack a modality and name what is left otherwise
        parts += dict.fromkeys(f"{sentence(across(kind, g.task.absent))}." for g in groups if kind in g.task.kinds)
    for task in tasks.values():
        if task.absent:
            parts.append(f"The data of {task.title} have no {MODALITY_NAMES[task.absent[0]]}, in {COMPLETE} neither.")
    conditions = dict.fromkeys(c for group in groups for c in group.conditions)
    parts += [words for name, words in _DERIVED.items() if name in conditions]
    if len(conditions) == 1 and not conditions.keys() & _DERIVED.keys():
        parts.append(f"All columns are of {next(iter(conditions))}.")
    numbers = pd.concat([group.numbers for group in groups])
    numbers = numbers[numbers["method"].isin(list(methods))]
    seeds = number_range(numbers.loc[numbers["seeds"] > 0, "seeds"])
    over = f"over {seeds} {'seed' if seeds == '1' else 'seeds'}"
    intervals = pd.concat([task.intervals for task in tasks.values()])
    spread = {"mean": f"means {over}", "deviation": f"mean ± standard deviation {over}"}.get(table.show)
    if table.show == "deviation" and (numbers["seeds"] == 1).any():
        spread = f"means {over}" if seeds == "1" else f"{spread}, none where there is one seed"
    if spread is None:
        spread = f"means {over} [{interval_words(intervals)}]" if not intervals.empty else f"means {over}"
    parts.append(f"Cells are {spread}; {best}.")
    for target in dict.fromkeys(task.target for task in tasks.values()):
        of = [group for group in groups if group.task.target == target]
        parts += tell_undefined(
            pd.concat([g.task.numbers for g in of]), titled([g.metric for g in of if g.metric == "corr"], target)
        )
    if not tests.empty and printed.against in printed.methods:
        shown = printed.against in methods
        drawn = drawn_words(intervals)
        parts.append(tell_test(tests, str(printed.against), drawn, shown=shown, names=printed.methods))
    parts += tell_collapsed(blocks)
    fewer = {printed.methods[m]: told for task in tasks.values() for m, told in task.fewer.items() if m in methods}
    parts.append(tell_fewer(fewer).strip())
    if printed.selection:
        parts.append(f"Checkpoint selection: {printed.selection.strip().rstrip('.')}.")
    return " ".join(filter(None, parts))
