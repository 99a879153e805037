"""From stored folders to all that a report says, and to the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import methods
from benchmark.errors import BenchmarkError, unknown
from benchmark.evidence.collect import Collection, collect
from benchmark.evidence.comparisons import weigh
from benchmark.evidence.scores import read_scores
from benchmark.evidence.stored import Evidence, read_evidence, write_evidence
from benchmark.evidence.trials import read_tunings
from benchmark.evidence.tuning import Tuning
from benchmark.files.atomic import json_text, replace_file
from benchmark.files.manifest import read_manifest
from benchmark.methods.registry import Entry
from benchmark.names import without_formulas
from benchmark.report.content import Picture, Table
from benchmark.report.diagnostics import embed
from benchmark.report.findings import tell_recomputed
from benchmark.report.manifest import build_manifest, provenance
from benchmark.report.write import sections, write_report
from benchmark.running.choice import check_against, check_highlight
from benchmark.running.grid_file import MARGIN
from benchmark.running.store import Store, lacking


@dataclass(frozen=True)
class Content:
    """All that a report on some folders says.

    Parameters
    ----------
    collection : Collection
    evidence : Evidence
    manifest : dict
    rows : dict of label to str
        In the order of tables, each in a line of text.
    against : str or None
        The row that the others are tested against.
    cards : dict of label to dict
    from_cells : bool
        Whether it was made of cells; else of the csv files of an earlier report.
    metrics : tuple of str
        Of which tables are asked for; by default one of all that a task lists.
    margin : float
        Within how many points of the reference a method counts as alike.
    highlight : tuple of str
        Which methods were asked to stand out in figures.
    lacking : sequence of mapping
        `task, source, method, seed, key` of planned cells that are not computed.
    """

    collection: Collection
    evidence: Evidence
    manifest: dict[str, Any]
    rows: dict[str, str]
    against: str | None
    cards: dict[str, dict[str, Any]]
    from_cells: bool
    metrics: tuple[str, ...] = ()
    margin: float = MARGIN
    highlight: tuple[str, ...] = ()
    lacking: Sequence[Mapping[str, Any]] = ()

    @property
    def scores(self) -> pd.DataFrame:
        """Tidy, one row a number."""
        return self.collection.scores

    @property
    def report(self) -> dict[str, Any]:
        """The keyword arguments of :func:`benchmark.report.write.write_report`."""
        return {
            "provenance": provenance(self.manifest, self.rows, self.collection.failures, self.lacking),
            "failures": self.collection.failures,
            "method_order": list(self.rows),
            "evidence": self.evidence,
            "against": self.against,
            "collection": self.collection,
            "cards": self.cards,
            "costs": self.manifest.get("cells", []),
            "metrics": self.metrics,
            "margin": self.margin,
            "highlight": self.highlight,
            "lacking": self.lacking,
            "readings": self.manifest.get("readings", []),
            "tunings": [Tuning.of_record(own) for own in self.manifest.get("tuning", [])],
        }

    @cached_property
    def parts(self) -> dict[str, dict[str, Table | Picture]]:
        """Every table and picture, by the stem of its file, under ``tables`` and ``figures``."""
        found: dict[str, dict[str, Table | Picture]] = {"tables": {}, "figures": {}}
        for section in sections(self.scores, **self.report, places=lambda shown: embed(shown.values)):
            for part in section.parts:
                found["tables" if isinstance(part, Table) else "figures"][part.stem] = part
        return found


def gather(
    folders: Sequence[Path],
    entries: dict[str, Entry],
    *,
    grid: str,
    command: str,
    against: Sequence[str | None],
    must_be_there: bool = False,
    keys: Set[str] = frozenset(),
    only: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
    margin: Sequence[float | None] = (),
    highlight: Sequence[str] = (),
    highlight_must_be_there: bool = False,
    planned: Sequence[Mapping[str, Any]] = (),
) -> Content:
    """Read what is stored and weigh it.

    Parameters
    ----------
    folders : sequence of Path
    entries : dict of name to Entry
        All methods that are known.
    grid : str
        Its name, for the report.
    command : str
        What gives the same again.
    against : sequence of str or None
        The reference is the first of them that is a row.
    must_be_there : bool
        Refuse a first one that is none.
    keys : set of str
        Of the cells of a grid, whose definitions count before others.
    only : sequence of str, optional
        The rows to show; by default all that are stored.
    metrics : sequence of str
        Of which tables are asked for.
    margin : sequence of float or None
        Within how many points of the reference a method counts as alike: the first that is told.
    highlight : sequence of str
        Which methods stand out in figures; `highlight_must_be_there` refuses those that are no rows.
    planned : sequence of mapping
        `task, source, method, seed, key` of cells that are to be there when all is computed.

    Raises
    ------
    BenchmarkError
        If a folder holds nothing, or two contradict each other.
    """
    stores = [Store(folder) for folder in folders]
    empty = [store.out for store in stores if not store.stored_keys()]
    if empty and len(stores) > 1:
        raise BenchmarkError(f"no cells are stored in {empty[0]}; only folders with cells can be put together")
    manifest = read_manifest(folders[0] / "manifest.json")
    if empty:  # a folder with scores but without cells, such as the reference results
        collection = Collection(read_scores(folders[0] / "scores.csv"))
        there = list(collection.scores["metric"].unique())
        for name in metrics:
            if name not in there:
                raise BenchmarkError(
                    f"{unknown('metric in --metrics', name, there)}; others need the cells, which are not in {empty[0]}"
                )
        evidence = read_evidence(folders[0], collection.scores)
        rows = [methods.label_row(label, entries) for label in collection.scores["method"].unique()]
    else:
        collection = collect(*stores, keys=keys, metrics=metrics)
        evidence = Evidence()
        rows = list({record["label"]: methods.stored_row(record) for record in collection.records}.values())
    if only is not None:
        if absent := [label for label in only if label not in {row.label for row in rows}]:
            raise BenchmarkError(unknown("row among what is stored", absent[0], [row.label for row in rows]))
        rows = [row for row in rows if row.label in only]
        collection, evidence = collection.of_rows(only), evidence.of_rows(only)
    rows = methods.by_year(rows, entries)
    if must_be_there:
        check_against(against[0], [row.label for row in rows])
        if empty and against[0] not in evidence.references():
            raise BenchmarkError(
                f"no cells are stored in {empty[0]}, so only the tests against "
                f"{' and '.join(evidence.references()) or 'no row'} are there; leave --against out, or run the grid"
            )
    if highlight_must_be_there:
        check_highlight(highlight, [row.label for row in rows])
    texts = {row.label: methods.describe(row, entries) for row in rows}
    named = list(filter(None, against))
    reference = next((label for label in named if label in texts), named[0] if named else None)
    open_cells = [cell for cell in lacking(stores, planned) if only is None or cell["method"] in only]
    alike = next((points for points in margin if points is not None), MARGIN)
    if empty:
        stored = {entry["label"]: entry["description"] for entry in manifest.get("methods", [])}
        texts = {label: text for label, text in stored.items() if only is None or label in only} or texts
    else:
        evidence = weigh(collection.models, rows={row.label: row for row in rows}, against=reference)
        manifest = build_manifest(
            collection,
            command=command,
            grid=grid,
            methods=texts,
            against=reference,
            margin=alike,
            metrics=metrics,
            highlight=highlight,
            lacking=open_cells,
        )
        found = read_tunings(*folders)
        tunings = [own.record for own in found if {own.method, own.tuned} <= set(texts)]
        manifest |= {"tuning": tunings} if tunings else {}
    again = list(filter(None, map(tell_recomputed, folders)))
    manifest = {name: value for name, value in manifest.items() if name != "recomputed"}
    manifest |= {"recomputed": " ".join(again)} if again else {}
    cards = {row.label: methods.card(entries[row.name]) for row in rows if row.label in entries}
    return Content(
        collection,
        evidence,
        manifest,
        texts,
        reference,
        cards,
        from_cells=not empty,
        metrics=tuple(metrics),
        margin=alike,
        highlight=tuple(highlight),
        lacking=open_cells,
    )


def write(content: Content, out: Path, say: Callable[[str], None]) -> None:
    """Write scores, statistics, manifest, tables, figures and the page, and say where they are."""
    if content.from_cells:
        replace_file(out / "scores.csv", without_formulas(content.scores).to_csv(index=False).encode())
        write_evidence(content.evidence, out)
        replace_file(out / "manifest.json", json_text(content.manifest).encode())
        if hidden := content.collection.superseded.total():
            say(
                f"not shown: {hidden} stored {'cell' if hidden == 1 else 'cells'} of "
                f"{', '.join(content.collection.superseded)}, made with other hyper-parameters, code or data than "
                "those shown; the command that made them, with --report-only, shows them where code and data are still "
                "the same"
            )
    write_report(content.scores, out, **content.report)
    written = {"report": out / "report.html", "tables": out / "tables", "figures": out / "figures"}
    say("; ".join(f"{what}: {path}" for what, path in written.items() if path.exists()))
    for line in _faults(content.collection):
        say(line)


def _faults(collection: Collection) -> Iterator[str]:
    for failure in collection.failures:
        yield f"FAILED {failure['method']} on {failure['task']}, seed {failure['seed']}: {failure['error']}"
    for damage in collection.damaged:
        yield f"not shown: {damage}"
