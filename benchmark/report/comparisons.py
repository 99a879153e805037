"""Tables of what the stored predictions tell beyond means.

Intervals and tests, ranks, and what augmentation gives.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.evidence.comparisons import ALPHA
from benchmark.evidence.statistics import (
    AREA,
    AVERAGE,
    DROP,
    average_draws,
    counted_tasks,
    rank_blocks,
    ranks,
)
from benchmark.evidence.stored import AUGMENTATION, IDEA, TUNED, Evidence
from benchmark.protocol.metrics import metric
from benchmark.report.content import REFERENCE_SIGN, Block, Cell, Table, leads
from benchmark.report.naming import method_name
from benchmark.report.tables import (
    BEST,
    BEST_TESTED,
    COMPLETE,
    FEWER,
    compared_metrics,
    fewer_seeds,
    order_methods,
    sentence,
    tell_blocks,
    tell_fewer,
    tell_metrics,
    tell_undefined,
    titled,
)
from benchmark.report.verdicts import (
    ALIKE,
    BETTER,
    OPEN,
    WORSE,
    absent,
    arrow_tests,
    drawn_words,
    interval_words,
    margin_words,
    marked,
    tell_collapsed,
    tell_test,
    untested,
    verdict,
    with_best,
    with_collapsed,
)
from benchmark.running.grid_file import MARGIN
from benchmark.running.tuned import tuned_label

MARK = "*"
_SUMMED = (COMPLETE, AVERAGE, DROP, AREA)


def with_evidence(table: Table, evidence: Evidence, against: str | None) -> Table:
    """A table of scores with the intervals behind it, and marks where a method differs from the reference.

    Parameters
    ----------
    table : Table
        From :func:`benchmark.report.tables.build_tables`.
    evidence : Evidence
        What it lacks is left out.
    against : str or None
        The reference's label.
    """
    if said := absent(table, against):
        table = replace(table, caption=table.caption + said)
    summary = table.summary
    own = _of(evidence.intervals, table)
    if own.empty:
        return table
    key = ["metric", "method", "condition"]
    summary = summary.assign(condition=summary["condition"].replace("p=0.0", COMPLETE))
    known = [column for column in ("low", "high", "best", "collapsed", "groups", "unit") if column in own]
    summary = summary.merge(own[[*key, *known]], on=key, how="left")
    tests = arrow_tests(_of(evidence.comparisons, table), against)
    if not tests.empty:
        summary = summary.merge(tests[[*key, "difference", "p_holm"]], on=key, how="left")
    columns = [COMPLETE if column == "p=0.0" else column for column in table.columns]
    blocks = table.blocks
    caption = table.caption
    if "best" in summary and summary["best"].notna().any():
        best = summary.set_index(key)["best"]
        blocks = [
            Block(block.title, with_best(block.rows, name, columns, best))
            for name, block in zip(table.metrics, blocks, strict=True)
        ]
        caption = caption.replace(BEST, BEST_TESTED)
    if not tests.empty and against in table.methods:
        told = summary[summary["p_holm"] < ALPHA].set_index(key)["difference"]
        blocks = [
            Block(block.title, [(m, marked(cells, m, name, columns, told)) for m, cells in block.rows])
            for name, block in zip(table.metrics, blocks, strict=True)
        ]
        tested = tests[tests["metric"].isin(list(table.metrics))]
        caption += " " + tell_test(tested, str(against), drawn_words(own))
        table = replace(table, reference=str(against))
    if "collapsed" in own and own["collapsed"].notna().any():
        numbers = own[[*key, "collapsed", "seeds"]].itertuples(index=False)
        counts = {tuple(at): (some, seeds) for *at, some, seeds in numbers}
        blocks = [
            Block(block.title, with_collapsed(block.rows, name, columns, counts))
            for name, block in zip(table.metrics, blocks, strict=True)
        ]
    summary = summary.drop(columns="difference", errors="ignore").assign(condition=table.summary["condition"])
    return replace(table, summary=summary, blocks=blocks, caption=caption, notes=table.notes + tell_collapsed(blocks))


def _of(frame: pd.DataFrame, table: Table, **wanted: str) -> pd.DataFrame:
    """The rows of a table's task and source."""
    for column, value in {"task": table.task, "source": table.source, **wanted}.items():
        if frame.empty:
            break
        frame = frame[frame[column] == value]
    return frame


def interval_table(
    scores: Table, evidence: Evidence, against: str | None, asked: Sequence[str] = (), *, margin: float = MARGIN
) -> Table | None:
    """Complete, `Avg.`, their difference and the area under the curve, each with its interval, and the test of `Avg.`.

    Parameters
    ----------
    scores : Table
        Any table of the task: it says which methods there are, and in which order.
    evidence : Evidence
    against : str or None
    asked : sequence of str
        The metrics to print; by default the primary one, and those of categories that it is a mean of.
    margin : float
        See :func:`benchmark.report.verdicts.verdict`.

    Returns
    -------
    Table or None
        None where there are no intervals.
    """
    own = _of(evidence.intervals, scores)
    columns = [name for name in _SUMMED if not own.empty and name in set(own["condition"])]
    if len(columns) < 2:
        return None
    titles = titled(asked or compared_metrics(list(own["metric"])), scores.target)
    own = own[own["metric"].isin(list(titles)) & own["condition"].isin(columns)]
    tests = arrow_tests(_of(evidence.comparisons, scores), against)
    tests = tests if tests.empty else tests[tests["condition"] == AVERAGE]
    compared = not tests.empty and AVERAGE in columns
    called = method_name(against)
    versus = [f"{AVERAGE} less {called}", "p", "detectable"] if compared else []
    blocks = []
    fewer = fewer_seeds(own.groupby("method", observed=True)["seeds"].max())
    for name, title in titles.items():
        numbers = own[own["metric"] == name].set_index(["method", "condition"])
        digits, lower = metric(name).decimals, metric(name).lower_is_better
        rows = {m: [_cell(numbers, (m, c), digits=digits) for c in columns] for m in scores.methods}
        ranked = with_ranks(rows, ascending=[(c == DROP) != lower for c in columns], fewer=fewer)
        if "best" in own and own["best"].notna().any():
            best = own.set_index(["metric", "method", "condition"])["best"]
            ranked = dict(with_best(list(ranked.items()), name, columns, best))
        if compared:
            found = tests[tests["metric"] == name].set_index("method")
            for m in scores.methods:
                difference = _cell(found, m, "difference", signed=True, digits=digits)
                least = found["detectable"].get(m) if "detectable" in found else None
                seen = "" if least is None or pd.isna(least) else f"{least:.{digits}f}"
                sign = verdict(found.loc[m].to_dict(), metric(name), margin) if m in found.index else ""
                ranked[m] += [replace(difference, mark=sign), Cell(_p(found["p_holm"].get(m))), Cell(seen)]
        blocks.append(Block(title, list(ranked.items())))
    caption = [
        f"{tell_metrics(list(titles), scores.target)}; mean [{interval_words(own)}].",
        f"{DROP} = {COMPLETE} less {AVERAGE}; {AREA} = area under the degradation curve, divided by the range of p.",
        *tell_undefined(own, titles),
    ]
    if compared and tests["p"].isna().all():
        caption += [untested(str(against))]
    elif compared:
        of_tuned = (
            f", of tuned rows against {method_name(tuned_label(str(against)))}"
            if (tests["purpose"] == TUNED).any()
            else ""
        )
        caption += [
            f"p: paired two-sided test of {AVERAGE} against {called} ({REFERENCE_SIGN}){of_tuned}, corrected by "
            f"Holm; {BETTER} better, {WORSE} worse, {ALIKE} alike (the whole interval lies within "
            f"{margin_words(margin, titles)}), {OPEN} nothing can be said. detectable: the least difference that the "
            "test, before Holm's correction, would find with a chance of 80 %. The "
            f"test of {AVERAGE} is the primary outcome; all others are exploratory."
        ]
    return replace(
        scores,
        stem=f"{scores.prefix}_intervals",
        title="Intervals and tests",
        kind="intervals",
        caption=" ".join(caption) + absent(scores, against) + tell_fewer(fewer),
        columns=[*columns, *versus],
        summary=own.drop(columns=["task", "source", "kind", "available", "ratio"]),
        blocks=blocks,
        metrics=titles,
        notes=(),
        reference=str(against) if compared and against in scores.methods else "",
    )


def _cell(numbers: pd.DataFrame, at: Any, value: str = "mean", *, signed: bool = False, digits: int = 2) -> Cell:
    if at not in numbers.index or pd.isna(numbers.loc[at, value]):
        return Cell("")
    row = numbers.loc[at]
    sign = "+" if signed else ""
    spread = "" if pd.isna(row["low"]) else f"[{row['low']:{sign}z.{digits - 1}f}, {row['high']:{sign}z.{digits - 1}f}]"
    return Cell(f"{row[value]:{sign}z.{digits}f}", spread)


def _p(p: float | None) -> str:
    if p is None or pd.isna(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def with_ranks(
    rows: Mapping[str, list[Cell]], ascending: Sequence[bool], fewer: Collection[str] = ()
) -> dict[str, list[Cell]]:
    """Best and second of each column, by the printed numbers, but for rows of fewer seeds, which are marked."""
    result = {method: list(cells) for method, cells in rows.items()}
    for c, up in enumerate(ascending):
        printed = pd.Series({m: float((m not in fewer and cells[c].value) or "nan") for m, cells in rows.items()})
        rank = printed.rank(method="dense", ascending=up).fillna(0).astype(int)
        for m in rows:
            mark = FEWER if m in fewer and result[m][c].value else ""
            result[m][c] = replace(result[m][c], rank=int(rank[m]), mark=mark)
    return result


def overall_table(scores: pd.DataFrame, method_order: Sequence[str] | None) -> Table | None:
    """Average rank and win rate over the blocks of the scores; None where no two methods can be compared.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.
    method_order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    """
    blocks = rank_blocks(average_draws(scores))
    found, tasks = ranks(blocks), counted_tasks(scores, blocks)
    if found.empty:
        return None
    first = scores.drop_duplicates(["task", "source"]).set_index(["task", "source"]).loc[tasks][["metric", "target"]]
    primary = {metric(name, target).title: name for name, target in first.itertuples(index=False, name=None)}
    methods = order_methods(list(found.index), method_order)
    rows = {m: [Cell(f"{found['rank'][m]:.2f}"), Cell(f"{found['wins'][m]:.1f}")] for m in methods}
    cells = scores.drop_duplicates(["task", "source", "method", "seed"])  # counted over the tasks
    fewer = {m: n for m, n in fewer_seeds(cells.groupby("method")["seed"].size()).items() if m in rows}
    return Table(
        stem="overall",
        title="Average ranks and win rates",
        task=", ".join(dict.fromkeys(task for task, _ in tasks)),
        source=", ".join(dict.fromkeys(source for _, source in tasks)),
        kind="overall",
        lead=leads(tasks),
        caption=(
            f"{sentence(tell_blocks(blocks))}; only those in which every method stands count. What is ranked are means "
            f"of each task's primary metric over seeds ({', '.join(primary)}). rank: 1 is best, ties share. wins: per "
            "cent of the comparisons with another method that are won, a tie counting half."
            + " Conditions of a task are not independent: this describes and tests nothing."
            * ("available" in blocks.index.names)
            + tell_fewer(fewer)
        ),
        methods=methods,
        columns=["rank", "wins"],
        summary=found.loc[methods].reset_index().assign(metric=", ".join(dict.fromkeys(primary.values()))),
        blocks=[Block("", list(with_ranks(rows, ascending=[True, False], fewer=fewer).items()))],
    )


def augmentation_table(scores: Table, evidence: Evidence, asked: Sequence[str] = ()) -> Table | None:
    """What training on incomplete samples gives each method, and what its idea gives beyond that.

    Parameters
    ----------
    scores : Table
        Any table of the task.
    evidence : Evidence
    asked : sequence of str
        The metrics to print, as in :func:`interval_table`.

    Returns
    -------
    Table or None
        None where no method was trained both ways, or was so tested neither complete nor in all six missing conditions.
    """
    gains = _of(evidence.comparisons, scores, purpose=AUGMENTATION)
    names = [c for c in (AVERAGE, COMPLETE) if not gains.empty and c in set(gains["condition"])]
    if not names:
        return None
    ideas = _of(evidence.comparisons, scores, purpose=IDEA)
    intervals = _of(evidence.intervals, scores)
    key = ["metric", "method", "condition"]
    means = intervals.set_index(key)
    differences = [frame if frame.empty else frame.set_index(key) for frame in (gains, ideas)]
    blocks = []
    titles = titled(asked or compared_metrics(list(gains["metric"])), scores.target)
    for name, title in titles.items():
        digits = metric(name).decimals
        rows: dict[str, list[Cell]] = {}
        for _, pair in gains[(gains["metric"] == name) & (gains["condition"] == names[0])].iterrows():
            new, old = str(pair["method"]), str(pair["against"])
            cells: list[Cell] = []
            for condition in names:
                cells += [_cell(means, (name, label, condition), digits=digits) for label in (old, new)]
                for frame in differences:
                    cell = _cell(frame, (name, new, condition), "difference", signed=True, digits=digits)
                    significant = cell.value and frame["p_holm"][name, new, condition] < ALPHA
                    cells.append(replace(cell, mark=MARK if significant else ""))
            rows[old.removesuffix("-mrm")] = cells
        ordered = [m for m in scores.methods if m in rows]
        blocks.append(Block(title, [(m, rows[m]) for m in ordered]))
    columns = [f"{name} {what}" for name in names for what in ("whole", "incomplete", "augmentation", "idea")]
    against = "" if ideas.empty else f" idea: against the {ideas['against'].iloc[0]}."
    return replace(
        scores,
        stem=f"{scores.prefix}_augmentation",
        title="What the augmentation gives, and what the idea",
        kind="augmentation",
        caption=(
            f"{tell_metrics(list(titles), scores.target)}; mean [{interval_words(intervals)}] of each method trained "
            "on whole and on incomplete samples (Modality Random Missing). augmentation: incomplete less whole."
            f"{against} {MARK} not zero in a paired two-sided test over seeds and {drawn_words(intervals)} "
            f"(alpha = {ALPHA}, corrected by Holm)."
        ),
        methods=ordered,
        columns=columns,
        summary=pd.concat([gains, ideas], ignore_index=True).drop(columns=["task", "source"]),
        blocks=blocks,
        metrics=titles,
        notes=(),
        reference="",
    )


def with_failures(table: Table, failures: Sequence[Mapping[str, str]]) -> Table:
    """A table that shows what failed: a row for what failed with all seeds, and a sentence on every seed."""
    seeds: dict[str, list[str]] = {}
    for failure in failures:
        if failure["task"] == table.task:
            seeds.setdefault(failure["method"], []).append(failure["seed"])
    if not seeds:
        return table
    lost = [(method, [Cell("failed") for _ in table.columns]) for method in seeds if method not in table.methods]
    told = ", ".join(f"{method_name(m)} (seed{'s' * (len(s) > 1)} {', '.join(s)})" for m, s in seeds.items())
    return replace(
        table,
        caption=f"{table.caption} Failed, and not averaged: {told}.",
        blocks=[Block(block.title, block.rows + lost) for block in table.blocks],
    )
