"""Everything a report consists of, written to a folder."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.evidence.collapse import never_predicted
from benchmark.evidence.collect import Collection, Representation, confusions
from benchmark.evidence.comparisons import ALPHA
from benchmark.evidence.scores import conditions_of
from benchmark.evidence.statistics import (
    AVERAGE,
    LEAST_BLOCKS,
    average_draws,
    average_inter,
    counted_tasks,
    data_set_blocks,
    of_primary,
    rank_blocks,
    seed_level_test,
)
from benchmark.evidence.stored import Evidence
from benchmark.evidence.thresholds import split_losses, unknown_methods
from benchmark.evidence.tuning import Tuning, against_reference, by_budget, outcomes
from benchmark.files.atomic import replace_file
from benchmark.names import check_inside, without_formulas
from benchmark.protocol.missing import PATTERNS
from benchmark.report.accounts import accounts_table, pareto_figure
from benchmark.report.comparisons import (
    augmentation_table,
    interval_table,
    overall_table,
    with_evidence,
    with_failures,
)
from benchmark.report.content import Picture, Section, Table, leads
from benchmark.report.curves import family_curves, pattern_curves, small_multiples
from benchmark.report.diagnostics import (
    embed,
    representation_plots,
    silhouette,
    tell_unseparated,
    training_curves,
)
from benchmark.report.drawing import MOST_PROCESSES, Drawing
from benchmark.report.figures import method_looks
from benchmark.report.heatmaps import condition_heatmap, confusion_matrices, crossed_heatmap
from benchmark.report.highlight import stand_out
from benchmark.report.manifest import counted_cells, tell_cells
from benchmark.report.matrix import comparison_matrix
from benchmark.report.mechanisms import mechanism_table, with_mechanisms
from benchmark.report.methods import methods_table, published_table
from benchmark.report.naming import method_name, task_name
from benchmark.report.opening import findings
from benchmark.report.page import PAPER, render_page
from benchmark.report.ranks import critical_difference
from benchmark.report.readings import reading_parts
from benchmark.report.robustness import robustness_table
from benchmark.report.settings import setting_picture, single_frames
from benchmark.report.tables import build_tables, order_methods, to_csv, to_latex, to_markdown
from benchmark.report.thresholds import tell_unknown, threshold_figure, threshold_table
from benchmark.report.tuning import tell_changes, tuning_figure, tuning_table
from benchmark.report.verdicts import sensitivity, tell_never
from benchmark.running.grid_file import MARGIN
from benchmark.running.processes import cores, lack_of_processes

_SUFFIXES = {"md": to_markdown, "tex": to_latex, "csv": to_csv}


def write_report(
    scores: pd.DataFrame,
    out: Path,
    *,
    provenance: dict[str, Any],
    failures: Sequence[Mapping[str, str]] = (),
    method_order: Sequence[str] | None = None,
    evidence: Evidence | None = None,
    against: str | None = None,
    collection: Collection | None = None,
    cards: Mapping[str, Mapping[str, Any]] = {},
    costs: Sequence[Mapping[str, Any]] = (),
    metrics: Sequence[str] = (),
    margin: float = MARGIN,
    lacking: Sequence[Mapping[str, Any]] = (),
    readings: Sequence[Mapping[str, Any]] = (),
    tunings: Sequence[Tuning] = (),
    highlight: Sequence[str] = (),
    paper: Mapping[str, str] = {},
) -> list[Path]:
    """Write tables, figures and the HTML page.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores, columns as in ``scores.csv``; possibly empty.
    out : Path
        The folder; what else is in it stays.
    provenance : dict
        Where it came from. `command`, `grid`, `selection` (how checkpoints were selected, a text), `tasks`
        (list of dict), `cells` (number by state) and `methods` (one line of text by name) have their place on
        the page, all other keys are listed at its end. None is required.
    failures : sequence of mapping
        `method`, `task`, `seed` and `error` of each failed cell.
    method_order : sequence of str, optional
        The order of rows, by default alphabetical; `constant` comes last.
    evidence : Evidence, optional
        Intervals and tests.
    against : str, optional
        The method that the others are tested against.
    collection : Collection, optional
        The stored cells. Without them there are no training curves, confusion matrices and plots of representations.
    cards : mapping of label to card
        For the page, the table of methods and the published numbers.
    costs : sequence of mapping
        Parameters and times of the cells, as the manifest lists them. Without them there is no table of methods.
    metrics : sequence of str
        Print a table of each of these, instead of one of all that a task lists.
    margin : float
        Within how many points of the reference a method counts as alike.
    lacking : sequence of mapping
        `task, source, method, seed` of planned cells that are not computed.
    readings : sequence of mapping
        What the rows of a method with many of them are set to: :func:`benchmark.evidence.readings.readings_of`.
    tunings : sequence of Tuning
        The trials of methods that were tuned.
    highlight : sequence of str
        Methods that stand out in figures; by default as :func:`benchmark.report.highlight.stand_out` says.
    paper : mapping of str to str
        The files of tables for a paper, by their names: :func:`benchmark.report.paper.paper_files`.

    Returns
    -------
    list of Path
        The files written, each of which appeared whole.

    Raises
    ------
    ValueError
        If `scores` holds two numbers for the same thing.
    BenchmarkError
        If a folder under `out` is a link that leads out of it.
    """
    evidence, collection = evidence or Evidence(), collection or Collection(scores)
    made: list[Section] = []
    contents = {f"{PAPER}{name}": text.encode() for name, text in paper.items()}
    several = not scores.empty and len(scores[["task", "source"]].drop_duplicates()) > 1
    processes = min(cores(), MOST_PROCESSES) if several and not lack_of_processes() else 1
    with _only_new_garbage(), Drawing(processes) as drawing:
        places = {id(r): drawing.compute(embed, r.values) for r in collection.representations if silhouette(r) > 0}
        for section in sections(
            scores,
            provenance=provenance,
            failures=failures,
            method_order=method_order,
            evidence=evidence,
            against=against,
            collection=collection,
            cards=cards,
            costs=costs,
            metrics=metrics,
            margin=margin,
            lacking=lacking,
            readings=readings,
            tunings=tunings,
            highlight=highlight,
            places=lambda representation: places[id(representation)](),
        ):
            made.append(section)
            for part in section.parts:
                contents |= {f"tables/{name}": text.encode() for name, text in table_files(part).items()}
                if isinstance(part, Picture):
                    drawing.draw(part.stem, part.figure)
            gc.collect()
        drawn = drawing.files()
    contents |= {f"figures/{stem}.{suffix}": file for stem, files in drawn.items() for suffix, file in files.items()}
    images = {stem: files["png"] for stem, files in drawn.items()}
    page = render_page(
        scores,
        made,
        images,
        provenance=provenance,
        failures=failures,
        cards=cards,
        found=findings(
            scores, evidence, against=against, order=method_order, margin=margin, tunings=tunings, methods=cards
        ),
        files=contents,
    )
    contents["report.html"] = page.encode()
    for name in contents:
        check_inside((out / name).parent, out)  # a file that is a link gives way to the new one
    for name, content in contents.items():
        replace_file(out / name, content)
    return [out / name for name in contents]


def table_files(part: Table | Picture) -> dict[str, str]:
    """What a part of the report puts into ``tables``, by the files' names."""
    if isinstance(part, Table):
        return {f"{part.stem}.{suffix}": text(part) for suffix, text in _SUFFIXES.items()}
    return {} if part.numbers is None else {f"{part.stem}.csv": without_formulas(part.numbers).to_csv(index=False)}


@contextmanager
def _only_new_garbage() -> Iterator[None]:
    """What is there already, such as the records of thousands of cells, is not searched for garbage in the block."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def sections(
    scores: pd.DataFrame,
    *,
    provenance: Mapping[str, Any],
    failures: Sequence[Mapping[str, str]],
    method_order: Sequence[str] | None,
    evidence: Evidence,
    against: str | None,
    collection: Collection,
    cards: Mapping[str, Mapping[str, Any]],
    costs: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] = (),
    margin: float = MARGIN,
    lacking: Sequence[Mapping[str, Any]] = (),
    readings: Sequence[Mapping[str, Any]] = (),
    tunings: Sequence[Tuning] = (),
    highlight: Sequence[str] = (),
    places: Callable[[Representation], NDArray[np.floating]],
    pictures: bool = True,
) -> Iterator[Section]:
    """All tasks together, then each task from each source.

    The arguments are those of :func:`write_report`; `places` gives the t-SNE of a representation. Without `pictures`
    only those are there of which a csv file is written: tables alone take a fraction of the time.
    """
    if scores.empty:
        return

    def drawn(picture: Callable[..., Picture | None], *arguments: Any, **named: Any) -> Picture | None:
        return _if_any(picture, *arguments, **named) if pictures else None

    tables = build_tables(
        scores, selection=provenance.get("selection") or "", method_order=method_order, metrics=metrics
    )
    tables = [table if table.kind == "imbalanced" else with_evidence(table, evidence, against) for table in tables]
    named = conditions_of(scores)
    families = {method: ", ".join(map(str, card.get("groups") or ())) for method, card in cards.items()}
    order = order_methods([m for table in tables for m in table.methods], method_order)
    looks = method_looks(order)
    groups: dict[tuple[str, str], list[Table]] = {}
    for table in tables:
        groups.setdefault((table.task, table.source), []).append(table)
    values = average_draws(scores)
    blocks, sets = rank_blocks(values), data_set_blocks(values)
    about = leads(counted_tasks(scores, blocks))
    chosen = [row for row in blocks.columns if row in {own.tuned for own in tunings}]
    together = (
        overall_table(scores, method_order),
        comparison_matrix(blocks.drop(columns=chosen), evidence.pairs, about=about),
        comparison_matrix(blocks[chosen], evidence.pairs, about=about, stem="matrix_tuned", rows="tuned methods"),
        drawn(
            small_multiples, evidence.intervals, stand_out(values, order, against=against, highlight=highlight), order
        ),
        drawn(
            critical_difference,
            sets,
            about=about,
            block="data set with every method: mean primary score over seeds where something is missing",
        ),
    )
    notes = [] if together[-1] is not None or len(sets) < 2 else [_too_few(len(sets))]
    notes += filter(None, [provenance.get("processors"), provenance.get("recomputed")])
    yield Section("All tasks", [part for part in together if part is not None], notes)
    never = never_predicted(collection.models)
    losses, unknown = split_losses(collection.models), unknown_methods(collection.models)
    confused = confusions(collection.models)
    tuned = outcomes(tunings, evidence.intervals, evidence.pairs)
    budgets = by_budget(tunings)
    changes = against_reference(tunings, evidence.pairs, against or "")
    by_task = counted_cells(costs, failures, lacking) if lacking else {}
    for (task, source), own in groups.items():
        first, prefix = own[0], own[0].prefix
        asked = [name for name in metrics if name in set(first.summary["metric"])]

        def here(frame: pd.DataFrame, where: tuple[str, str] = (task, source)) -> pd.DataFrame:
            return frame if frame.empty else frame[(frame["task"] == where[0]) & (frame["source"] == where[1])]

        seen = stand_out(here(values), first.methods, against=against, highlight=highlight)
        counted = _if_any if seen.grey else drawn  # a csv file has the counts of methods that are not drawn
        parts: list[Table | Picture | None] = []
        absent = never.get((task, source), {})
        for table in own:
            below = tell_never(absent, order) + single_frames(table, provenance.get("tasks") or ())
            noted = replace(with_failures(table, failures), notes=table.notes + below)
            parts += [noted, drawn(setting_picture, table, here(evidence.intervals), named, seen, order)]

        intervals, split = here(evidence.intervals), here(losses)
        accounts = accounts_table(scores, first, costs)
        represented = [r for r in collection.representations if (r.task, r.source) == (task, source)]
        untold = unknown.get((task, source), [])
        parts += [
            robustness_table(scores, first),
            interval_table(first, evidence, against, asked, margin=margin),
            *reading_parts(scores, first, intervals, readings, cards, pictures=pictures),
            tuning_table(first, here(tuned)),
            tuning_figure(here(budgets), order, prefix=prefix, against=against),
            threshold_table(first, split, untold),
            threshold_figure(split, order, prefix=prefix, unknown=untold),
            augmentation_table(first, evidence, asked),
            with_mechanisms(methods_table(scores, first, costs, cards), costs),
            mechanism_table(first, costs),
            accounts,
            drawn(pareto_figure, accounts, looks, seen.coloured(order)),
            published_table(scores, first, cards),
            drawn(condition_heatmap, intervals, order, prefix=prefix),
            *(drawn(crossed_heatmap, intervals, order, prefix=prefix, pattern=pattern) for pattern in PATTERNS),
            drawn(pattern_curves, intervals, seen, order, prefix=prefix),
            drawn(family_curves, intervals, seen, families, order, reference=against, prefix=prefix),
            drawn(representation_plots, represented, order, prefix=prefix, places=places),
            counted(confusion_matrices, here(confused), order, prefix=prefix, target=first.target, undrawn=seen.grey),
            drawn(training_curves, here(collection.histories), looks, order, prefix=prefix),
        ]
        title = f"{task_name(task)} ({'simulated' if source == 'simulated' else 'from file'})"
        notes = [f"{told}." for told in [tell_cells(by_task.get((task, source), {}))] if told and len(by_task) > 1]
        if against is not None:
            notes += [sensitivity(evidence, task, source, against), _over_seeds(scores, task, source, against)]
        notes.append(tell_changes(here(changes), against))
        notes.append(_between_seeds(scores, task, source))
        notes.append(tell_unknown(split, untold))
        notes.append(tell_unseparated(represented))
        yield Section(title, [part for part in parts if part is not None], [note for note in notes if note])


def _if_any(picture: Callable[..., Picture | None], of: Any, *arguments: Any, **named: Any) -> Picture | None:
    return None if isinstance(of, pd.DataFrame) and of.empty else picture(of, *arguments, **named)


def _too_few(blocks: int) -> str:
    return (
        f"Ranks over all tasks are not tested: the blocks of Friedman's test are data sets, and {blocks} of them tell "
        f"nothing; it takes {LEAST_BLOCKS}."
    )


def _between_seeds(scores: pd.DataFrame, task: str, source: str) -> str:
    """How far another seed moves a number: what other reasons for a difference are to be held against."""
    part = of_primary(scores[(scores["task"] == task) & (scores["source"] == source)])
    averages = average_inter(average_draws(part))
    spread = averages.groupby("method")["value"].std().median() if not averages.empty else float("nan")
    if pd.isna(spread):
        return ""
    return (
        f"From seed to seed, {AVERAGE} of a method moves by {spread:.2f} (standard deviation; median of the methods)."
    )


def _over_seeds(scores: pd.DataFrame, task: str, source: str, against: str) -> str:
    part = of_primary(scores[(scores["task"] == task) & (scores["source"] == source)])
    return seed_level_test(average_inter(average_draws(part)), against, alpha=ALPHA, called=method_name)
