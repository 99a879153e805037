"""From stored folders to all that a report says, and to the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
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
from benchmark.evidence.trials import budgets_of, read_tunings
from benchmark.evidence.tuning import Tuning
from benchmark.files.atomic import json_text, replace_file
from benchmark.files.manifest import read_manifest
from benchmark.methods.registry import Entry
from benchmark.methods.search import tuned_over
from benchmark.names import without_formulas
from benchmark.report.content import Picture, Table
from benchmark.report.diagnostics import embed
from benchmark.report.findings import tell_recomputed
from benchmark.report.manifest import build_manifest, provenance
from benchmark.report.naming import Names, printed_as
from benchmark.report.paper import FOLDER, paper_files
from benchmark.report.paper_columns import Printed
from benchmark.report.write import sections, write_report
from benchmark.running.choice import check_against, check_highlight
from benchmark.running.grid_file import MARGIN
from benchmark.running.paper import PaperTable, Tables, as_tables, told
from benchmark.running.store import Store, lacking
from benchmark.running.tuned import TRIALS


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
    tables : mapping of name to PaperTable
        Tables for a paper.
    asked : sequence of str
        Those of them that this report was asked for, and not an earlier one or the grid.
    remarks : sequence of str
        What could not be read of the others, one line each.
    names : Names
        The rows and tasks as papers print them.
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
    tables: Mapping[str, PaperTable] = field(default_factory=dict)
    asked: Sequence[str] = ()
    remarks: Sequence[str] = ()
    names: Names = field(default_factory=Names)

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
        return self._parts(pictures=True)

    @cached_property
    def without_pictures(self) -> dict[str, dict[str, Table | Picture]]:
        """The same without pictures, but for those of which ``tables`` has a csv file: all that is written there."""
        return self._parts(pictures=False)

    def _parts(self, *, pictures: bool) -> dict[str, dict[str, Table | Picture]]:
        found: dict[str, dict[str, Table | Picture]] = {"tables": {}, "figures": {}}
        with printed_as(self.names):
            made = sections(self.scores, **self.report, places=lambda shown: embed(shown.values), pictures=pictures)
            for section in made:
                for part in section.parts:
                    found["tables" if isinstance(part, Table) else "figures"][part.stem] = part
        return found

    @cached_property
    def paper(self) -> tuple[dict[str, str], list[str]]:
        """The files of tables for a paper, and what is to be said of them: see :func:`paper_files`."""
        printed = Printed(
            methods=self.names.methods,
            tasks={task["name"]: task.get("display", "") for task in self.manifest.get("tasks", [])},
            against=self.against,
            selection=self.manifest.get("selection") or "",
        )
        files, lines = paper_files(self.tables, self.scores, self.evidence, printed, asked=self.asked)
        return files, [*self.remarks, *lines]


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
    tables: Tables | None = None,
    earlier: Tables | None = None,
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
    tables, earlier : mapping of name to PaperTable or mapping
        Tables for a paper: those asked for, and those of the grid or of an earlier report.

    Raises
    ------
    BenchmarkError
        If a folder holds nothing, or two contradict each other.
    """
    stores = [Store(folder) for folder in folders]
    empty = [store.out for store in stores if not store.stored_keys()]
    if empty and len(stores) > 1:
        raise BenchmarkError(f"no cells are stored in {empty[0]}; only folders with cells can be put together")
    if empty and Store(empty[0] / TRIALS).stored_keys() and not (empty[0] / "scores.csv").is_file():
        raise BenchmarkError(f"only trials are stored in {empty[0]}; the command that made them, given again, goes on")
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
    asked = as_tables(tables, "tables")
    shown, remarks = _readable(earlier or {})
    shown |= asked
    named = list(filter(None, against))
    reference = next((label for label in named if label in texts), named[0] if named else None)
    names = {row.label: methods.display_name(row, entries) for row in rows}
    open_cells = [cell for cell in lacking(stores, planned) if only is None or cell["method"] in only]
    alike = next((points for points in margin if points is not None), MARGIN)
    if empty:
        stored = {entry["label"]: entry["description"] for entry in manifest.get("methods", [])}
        texts = {label: text for label, text in stored.items() if only is None or label in only} or texts
        names |= {own["label"]: own["display"] for own in manifest.get("methods", []) if own.get("display")}
    else:
        evidence = weigh(collection.models, rows={row.label: row for row in rows}, against=reference)
        manifest = build_manifest(
            collection,
            command=command,
            grid=grid,
            methods=texts,
            against=reference,
            margin=alike,
            names=names,
            metrics=metrics,
            tables=told(shown),
            highlight=highlight,
            lacking=open_cells,
        )
        found = read_tunings(*folders)
        tunings = [own.record for own in found if {own.method, own.tuned} <= set(texts)]
        manifest |= {"tuning": tunings} if tunings else {}
        manifest |= {"tuned_by": budgets} if (budgets := budgets_of(folders, only)) else {}
    again = list(filter(None, map(tell_recomputed, folders)))
    manifest = {name: value for name, value in manifest.items() if name != "recomputed"}
    manifest |= {"recomputed": " ".join(again)} if again else {}
    cards = {row.label: _card(entries[row.name]) for row in rows if row.label in entries}
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
        tables=shown,
        asked=list(asked),
        remarks=remarks,
        names=Names.of(names, {task["name"]: task.get("display", "") for task in manifest.get("tasks", [])}),
    )


def _card(entry: Entry) -> dict[str, Any]:
    """A card that says beside the reasons what each entry of the search space may be."""
    own = methods.card(entry)
    try:
        return own | ({"search_space": tuned_over(entry)} if own.get("search_space") else {})
    except BenchmarkError:  # its file is another one by now; what was computed is shown all the same
        return own


def write(content: Content, out: Path, say: Callable[[str], None]) -> None:
    """Write scores, statistics, manifest, tables, figures and the page, and say where they are."""
    paper, lines = content.paper
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
    elif content.asked and read_manifest(manifest := out / "manifest.json"):  # for the next report, and for --verify
        stored = json.loads(manifest.read_text(encoding="utf-8"))
        replace_file(manifest, json_text({**stored, "tables": told(content.tables)}).encode())
    with printed_as(content.names):
        write_report(content.scores, out, **content.report, paper=paper)
    written = {"report": out / "report.html", "tables": out / "tables", "figures": out / "figures"}
    say("; ".join(f"{what}: {path}" for what, path in written.items() if path.exists()))
    if paper:
        say(f"tables for a paper: {out / 'tables' / FOLDER}")
    for line in [*lines, *_faults(content.collection)]:
        say(line)


def _readable(tables: Tables) -> tuple[dict[str, PaperTable], list[str]]:
    """Those of an earlier report that can be used, and why others cannot: a manifest may be anybody's."""
    found: dict[str, PaperTable] = {}
    lines = []
    for name, table in tables.items():
        try:
            found |= as_tables({name: table}, "tables of an earlier report")
        except BenchmarkError as error:
            lines.append(f"not written: {error}")
    return found, lines


def _faults(collection: Collection) -> Iterator[str]:
    for failure in collection.failures:
        yield f"FAILED {failure['method']} on {failure['task']}, seed {failure['seed']}: {failure['error']}"
    for damage in collection.damaged:
        yield f"not shown: {damage}"
