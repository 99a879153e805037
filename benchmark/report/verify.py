"""Are these stored numbers true? ``--verify`` and :func:`benchmark.verify`."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from benchmark._version import __version__
from benchmark.data import load_task
from benchmark.data.source import TaskSource, identify
from benchmark.data.task import Task, find_task, known_tasks
from benchmark.errors import BenchmarkError, one_line
from benchmark.evidence.scores import SAID_KINDS
from benchmark.evidence.statistics import AVERAGE, average_draws, average_inter, over_seeds
from benchmark.evidence.stored import write_evidence
from benchmark.files.atomic import json_text, replace_file
from benchmark.files.manifest import read_manifest
from benchmark.methods.loading import digest_as_loaded
from benchmark.methods.registry import Entry, catalogue
from benchmark.names import without_formulas
from benchmark.protocol.missing import Setting
from benchmark.report.compose import Content, gather
from benchmark.report.findings import DIFFERS, FILE, UNKNOWN, WRONG, Finding, Verdict
from benchmark.report.marks import digests_of, vouched_for
from benchmark.report.naming import printed_as
from benchmark.report.paper import FOLDER
from benchmark.report.verify_files import compare_csv, first_other, same_text
from benchmark.report.verify_origin import check_origin
from benchmark.report.verify_trials import check_trials, lacking_trials, was_tuned
from benchmark.report.write import table_files
from benchmark.running.again import Repeat, cell_of, repeat, sources_of
from benchmark.running.arithmetic import NATIVE, processor
from benchmark.running.cell import Outcome
from benchmark.running.choice import TaskName, check_how, choose, several
from benchmark.running.environment import git_commit, timestamp
from benchmark.running.evaluation import digests, output_digest
from benchmark.running.grid import Cell, definition_of, key_of
from benchmark.running.grid_file import grid_names
from benchmark.running.processes import worker_count
from benchmark.running.store import DONE, Damaged, Predictions, Store, setting_name


def verify(
    folder: str | Path,
    *,
    data: str | Path | None = None,
    tasks: Sequence[TaskName] = (),
    plugins: Iterable[str | Path] = (),
    recompute: int | None = None,
    jobs: int | None = None,
    say: Callable[[str], None] = print,
) -> Verdict:
    """Look whether the numbers stored in an output folder are true; what is found goes to its ``verify.json`` too.

    Nothing else in the folder is written to; where it cannot be written to at all, that is said in a line.

    Parameters
    ----------
    folder : path
        With cells, or with scores and tables alone.
    data : path, optional
        Folder with data files, for what was computed on files.
    tasks : sequence, optional
        Task files of your own, or :class:`benchmark.Task`.
    plugins : iterable of path
        Python files with further methods.
    recompute : int, optional
        Compute so many cells again and compare their outputs bit by bit; 0: all.
    jobs : int, optional
        Worker processes, for that; by default as many as this process may use cores.
    say : callable
        Called with each line for a person.

    Returns
    -------
    Verdict
        Its text says all; `sound` is False where something is wrong.

    Raises
    ------
    BenchmarkError
        If there is no such folder, nothing is stored in it, or an argument cannot be used.
    """
    check_how(jobs)
    if recompute is not None and not (isinstance(recompute, int) and recompute >= 0):
        raise BenchmarkError(f"recompute={recompute!r} must be a number of cells, or 0 for all")
    folder = Path(folder)
    if not folder.is_dir():
        raise BenchmarkError(f"there is no folder {folder}; name the output folder of a run")
    entries = catalogue(map(Path, several(plugins)), on_fault=lambda fault: say(f"warning: {fault}"))
    known = {**known_tasks(), **{task.name: task for task in map(find_task, several(tasks))}}
    looked_at = digests_of(folder)  # before it is read: what changes meanwhile is not what was found right
    work = _Verification(folder, entries, known, None if data is None else Path(data))
    if not work.keys and not (folder / "scores.csv").is_file():
        raise BenchmarkError(f"nothing is stored in {folder}: neither cells nor scores.csv")
    checks: dict[str, Callable[[], Iterator[Finding | str]]] = {
        "cells": work.cells,
        "code": work.code,
        "data and masks": work.masks,
        "scores": work.scores,
        "tables": work.tables,
        "origin": work.origin,
        "completeness": work.completeness,
    }
    if was_tuned(folder):
        checks["trials"] = lambda: check_trials(folder, entries)
    if recompute is not None:
        workers = worker_count(jobs, timeout=None, portable=True, say=say)

        def on_outcome(cell: Cell, outcome: Outcome) -> None:
            say(f"{outcome.state} {cell.title}: {outcome.seconds:.0f} s")

        checks["recomputed"] = lambda: work.recomputed(recompute, workers, on_outcome)
    earlier = vouched_for(folder)
    verdict = Verdict(
        folder,
        checked=dict(earlier.checked),
        findings=[own for own in earlier.findings if own.check != "recomputed" or recompute is None],
        processor=processor(NATIVE),
        date=timestamp(time.time()),
        git_commit=git_commit() or "",
    )
    for name in checks.keys() & earlier.checked.keys() - {"recomputed"}:
        del checks[name]
    for name, check in checks.items():
        for found in check():
            if isinstance(found, str):
                verdict.checked[name] = found
            else:
                verdict.findings.append(replace(found, check=name))
    verdict.files = earlier.still(looked_at, work.rebuilt)
    try:
        replace_file(folder / FILE, json_text(verdict.record()).encode())
    except OSError as error:
        say(f"warning: {FILE} cannot be written to {folder} ({error.strerror}); what was found holds all the same")
    return verdict


def _found(state: str, what: str) -> Finding:
    return Finding("", state, one_line(what, 300))


class _Verification:
    """The checks on one folder. Each yields what it finds, and one text that says what it looked at."""

    def __init__(self, folder: Path, entries: dict[str, Entry], tasks: dict[str, Task], data: Path | None) -> None:
        self.folder, self.entries, self.tasks, self.data = folder, entries, tasks, data
        self.store = Store(folder)
        self.keys = self.store.stored_keys()
        self.manifest = read_manifest(folder / "manifest.json")
        self.records = {key: record for key in self.keys if (record := self.store.readable(key)) is not None}
        self.done = {key: record for key, record in self.records.items() if record["state"] == DONE}
        self._content: Content | str | None = None
        self.rebuilt: set[str] = set()  # files of tables that were compared with new ones

    def cells(self) -> Iterator[Finding | str]:
        """Checksums; keys, which are hashes of definitions; and outputs against their digests."""
        if not self.keys:
            yield _found(UNKNOWN, "no cells are stored here, so scores cannot be compared with outputs")
            yield "none are here"
            return
        for key in self.keys:
            try:
                self.store.verify(key)
            except Damaged as damage:
                yield _found(WRONG, damage.fault)
                continue
            record = self.records.get(key)
            if record is None:
                yield _found(WRONG, f"cell {key} has no cell.json; move its folder away")
                continue
            if key_of(definition_of(record)) != key:
                yield _found(WRONG, f"cell {key} is not the one that its definition says")
            if record["state"] == DONE:
                yield from self._outputs(key, record)
        yield f"checksums, keys and outputs of {len(self.keys)}"

    def _outputs(self, key: str, record: Mapping[str, Any]) -> Iterator[Finding]:
        stored = self.store.predictions(key)
        if [str(s) for s, _ in stored.settings] != [name.rpartition("#")[0] for name in record["settings"]]:
            yield _found(WRONG, f"{_title(record)} ({key}): its predictions are of other settings than it says")
        if "outputs" in record and record["outputs"] != _of_outputs(stored):
            yield _found(WRONG, f"{_title(record)} ({key}): its outputs are not those that were computed")

    def code(self) -> Iterator[Finding | str]:
        """The source digests of methods, and the versions that computed."""
        others: dict[str, int] = {}
        for record in self.done.values():
            entry = self.entries.get(record["method"])
            if entry is None:
                yield _found(UNKNOWN, f"method {record['method']} is not here; name its file with --plugin")
            elif digest_as_loaded(entry) != record["source"]:
                others[record["method"]] = others.get(record["method"], 0) + 1
        for name, count in others.items():
            yield _found(DIFFERS, f"the code of {name} is another one than that of {count} cells")
        made_by = {str(record["benchmark"]) for record in self.done.values()} or {str(self.manifest.get("benchmark"))}
        for version in sorted(made_by - {__version__}):
            said = "an earlier version" if version == "None" else f"version {version}"
            yield _found(DIFFERS, f"made by {said}; this is {__version__}")
        yield f"of {len({record['method'] for record in self.done.values()})} methods" if self.done else "version"

    def masks(self) -> Iterator[Finding | str]:
        """Data by their fingerprints, samples by their ids, masks by their digests."""
        if not self.done:
            yield _found(UNKNOWN, "no cells are here, so neither samples nor masks can be compared")
            yield "none are here"
            return
        found: dict[str, TaskSource] = {}
        for source in sources_of(self.done.values(), self.tasks, self.data):
            found[identify(source).fingerprint] = source
        by_data: dict[tuple[str, str], list[str]] = {}
        for key, record in self.done.items():
            by_data.setdefault((record["task"]["name"], record["task"]["fingerprint"]), []).append(key)
        compared = 0
        for (name, fingerprint), keys in by_data.items():
            if fingerprint not in found:
                file = self.done[keys[0]]["data"]["source"] == "file"
                hint = "name their folder with --data" if file else "the simulator is another one now"
                yield _found(UNKNOWN if file else DIFFERS, f"data {fingerprint} of task {name} are not here: {hint}")
                continue
            test = load_task(found[fingerprint]).splits["test"]
            known: dict[tuple[str, ...], dict[str, str]] = {}
            for key in keys:
                record = self.done[key]
                try:
                    stored = self.store.predictions(key)
                except Damaged:
                    continue  # which the first check has told
                if not np.array_equal(stored.ids, test.ids) or not np.array_equal(stored.labels, test.labels):
                    yield _found(WRONG, f"{_title(record)} ({key}): its samples are not those of the test split")
                    continue
                if "masks" not in record:
                    yield _found(UNKNOWN, f"{_title(record)} ({key}): no digests of its masks are stored")
                    continue
                names = tuple(record["settings"])
                if names not in known:
                    known[names] = {}
                    for draw in dict.fromkeys(draw for _, draw in stored.settings):
                        own = [setting for setting, other in stored.settings if other == draw]
                        known[names] |= digests(test, own, draw, stored.logits[: len(own)])["masks"]
                other = [name for name, digest in known[names].items() if record["masks"].get(name) != digest]
                if other:
                    yield _found(
                        WRONG, f"{_title(record)} ({key}): masks of {', '.join(other)} are not those of its ids"
                    )
                compared += 1
        yield f"of {compared} cells"

    def scores(self) -> Iterator[Finding | str]:
        """``scores.csv`` against the outputs; intervals and comparisons against what follows from them."""
        content = self._gathered()
        if isinstance(content, str):
            yield _found(WRONG, content)
            yield "cannot be read"
            return
        if not content.from_cells:
            yield _found(UNKNOWN, "without cells, it is only known that each is one that its metric can have")
            yield from _means(content)
            yield f"{len(content.scores)} lines of scores.csv, and the means of intervals.csv"
            return
        with tempfile.TemporaryDirectory() as temporary:
            again = Path(temporary)
            write_evidence(content.evidence, again)
            without_formulas(content.scores).to_csv(again / "scores.csv", index=False)
            names = sorted(path.name for path in again.iterdir())
            for name in names:
                if not (self.folder / name).is_file():
                    yield _found(UNKNOWN, f"{name} is not written yet; --report-only writes it")
                else:
                    yield from (_found(WRONG, what) for what in compare_csv(self.folder / name, again / name))
        yield f"{len(content.scores)} scores, from the outputs; {' and '.join(names)}"

    def tables(self) -> Iterator[Finding | str]:
        """The files of tables against what the scores give."""
        content = self._gathered()
        if isinstance(content, str):
            yield "scores cannot be read"
            return
        others, trials_lack = [], bool(lacking_trials(self.folder))
        there = {path.relative_to(self.folder / "tables").as_posix() for path in (self.folder / "tables").rglob("*.*")}
        parts = [part for kind in content.without_pictures.values() for part in kind.values()]
        with printed_as(content.names):
            files = {name: text for part in parts for name, text in table_files(part).items()}
        files |= {f"{FOLDER}/{name}": text for name, text in content.paper[0].items()}
        for name, text in files.items():
            if name not in there:
                yield _found(UNKNOWN, f"tables/{name} is not here; --report-only writes it")
                continue
            there.remove(name)
            if "_tuning" in name and trials_lack:
                yield _found(UNKNOWN, f"tables/{name}: it is made of trials that are not here")
                continue
            self.rebuilt.add(f"tables/{name}")
            stored = (self.folder / "tables" / name).read_text(encoding="utf-8", errors="replace")
            if not same_text(stored, text):
                others.append(f"tables/{name}: {first_other(stored, text)}")
        made_by = {str(record["benchmark"]) for record in self.done.values()}
        same_version = self.manifest.get("benchmark") == __version__ or made_by == {__version__}
        for what in others:
            yield _found(WRONG if same_version else DIFFERS, what)
        if there:
            yield _found(
                UNKNOWN, f"tables/{', '.join(sorted(there))}: none of this report, such as --metrics and --table give"
            )
        yield f"{len(self.rebuilt)} files"

    def origin(self) -> Iterator[Finding | str]:
        """``manifest.json`` against what the cells say of themselves."""
        content = self._gathered()
        if isinstance(content, str):
            yield "scores cannot be read"
            return
        yield from check_origin(self.folder, content)

    def completeness(self) -> Iterator[Finding | str]:
        """Seeds and settings: every method has those that another one has; nothing failed or is left to compute."""
        content = self._gathered()
        if isinstance(content, str):
            yield "scores cannot be read"
            return
        scores = content.scores
        for (task, source), own in scores.groupby(["task", "source"], sort=False):
            where = f"{task} ({source})"
            seeds = set(own["seed"])
            for method, of_method in own.groupby("method", sort=False):
                if lacking := sorted(seeds - set(of_method["seed"])):
                    yield _found(WRONG, f"{method} on {where} lacks seed {', '.join(map(str, lacking))}")
            of_cells = own.groupby(["method", "seed"], sort=False).size()
            fewer = cast("dict[tuple[str, int], int]", of_cells[of_cells < of_cells.max()].to_dict())
            for (method, seed), count in fewer.items():
                yield _found(WRONG, f"{method} on {where}, seed {seed}: {count} scores, others have {of_cells.max()}")
        failures = content.collection.failures if content.from_cells else self.manifest.get("failures", [])
        for failure in failures:
            yield _found(WRONG, f"{failure['method']} on {failure['task']}, seed {failure['seed']} failed")
        for cell in self.manifest.get("not_computed", []):
            yield _found(WRONG, f"{cell['method']} on {cell['task']}, seed {cell['seed']} is not computed")
        yield f"{len(scores[['task', 'source', 'method', 'seed']].drop_duplicates())} cells in scores.csv"

    def recomputed(self, count: int, jobs: int, on_outcome: Callable[[Cell, Outcome], None]) -> Iterator[Finding | str]:
        """Cells trained again, and their outputs bit by bit."""
        cells, tested, lacking = self._again()
        yield from (_found(UNKNOWN, what) for what in lacking)
        chosen = sorted(cells, key=lambda cell: cell.key)  # keys are hashes: as good as drawn by lot
        chosen = chosen[:count] if count else chosen
        stored = {cell.key: self.store.predictions(cell.key) for cell in chosen if cell.key in self.done}
        listed = {cell["key"]: cell["outputs"] for cell in self.manifest.get("cells", [])}
        for arithmetic in dict.fromkeys(cell.arithmetic for cell in chosen):
            own = [cell for cell in chosen if cell.arithmetic == arithmetic]
            for result in repeat(own, stored, listed, tested, jobs=jobs, on_outcome=on_outcome):
                yield from _told(result)
        yield f"{len(chosen)} of {len(cells)} cells that can be, on {processor(NATIVE)['model']}"

    def _again(self) -> tuple[list[Cell], list[tuple[Setting, int]], list[str]]:
        """The cells that can be computed again, in which settings and draws, and why others cannot be."""
        if self.done:
            sources, cells, lacking = sources_of(self.done.values(), self.tasks, self.data), [], dict[str, None]()
            for record in self.done.values():
                try:
                    cells.append(cell_of(record, self.entries, sources))
                except BenchmarkError as error:
                    lacking[f"{record['label']}: {error}"] = None
            tested = [place for cell in cells for place in self.store.predictions(cell.key).settings]
            return cells, list(dict.fromkeys(tested)), list(lacking)
        grid, listed = self.manifest.get("grid"), {cell["key"]: cell for cell in self.manifest.get("cells", [])}
        if grid not in grid_names():
            return [], [], [f"grid {grid!r} is none that comes with the benchmark, and no cells are here"]
        built = choose(
            grid,
            methods=[row["label"] for row in self.manifest.get("methods", [])],
            tasks=list(dict.fromkeys(task["name"] for task in self.manifest.get("tasks", []))),
            seeds=max((cell["seed"] for cell in listed.values()), default=0) + 1,
            data=self.data,
        ).build()
        cells = [cell for cell in built.cells if listed.get(cell.key, {}).get("outputs")]
        others = len(listed) - len(cells)
        said = [f"{others} of {len(listed)} cells are of other code or data, or no digests of their outputs are stored"]
        tested = [(setting, own.draw) for own in built.in_draws for setting in own.settings]
        return cells, tested, said if others else []

    def _gathered(self) -> Content | str:
        """All that follows from what is stored, or why nothing can."""
        if self._content is None:
            manifest = self.manifest
            labels = [row["label"] for row in manifest.get("methods", [])]
            try:
                self._content = gather(
                    [self.folder],
                    self.entries,
                    grid=str(manifest.get("grid") or self.folder.name),
                    command=str(manifest.get("command", "")),
                    against=[manifest.get("against")],
                    margin=[manifest.get("margin")],
                    metrics=manifest.get("metrics", ()),
                    earlier=manifest.get("tables"),
                    highlight=manifest.get("highlight", ()),
                    keys={cell["key"] for cell in manifest.get("cells", [])},
                    planned=manifest.get("not_computed", ()),
                    only=labels or None,
                )
            except BenchmarkError as error:
                self._content = str(error)
        return self._content


def _means(content: Content) -> Iterator[Finding]:
    """Means, deviations and seeds of ``intervals.csv`` against ``scores.csv``; their ends come from outputs alone."""
    intervals = content.evidence.intervals
    if intervals.empty:
        return
    where, at = ["task", "source", "metric", "method"], ["kind", "available", "ratio"]
    values = average_draws(content.scores)
    averages = average_inter(values).assign(condition=AVERAGE)
    plain = over_seeds(values[~values["kind"].isin(SAID_KINDS)], [*where, *at])
    summed = over_seeds(averages, [*where, "condition"])
    rounded = intervals.assign(ratio=intervals["ratio"].astype(float).round(6))
    both = [rounded.merge(plain, on=[*where, *at]), rounded.merge(summed, on=[*where, "condition"])]
    for row in pd.concat(both).to_dict("records"):
        for name in ("mean", "std", "seeds"):
            told, found = row[f"{name}_x"], row[f"{name}_y"]
            if not (math.isclose(told, found, rel_tol=1e-6, abs_tol=1e-4) or (math.isnan(told) and math.isnan(found))):
                what = f"{row['metric']} of {row['method']} on {row['task']} in {row['condition']}"
                yield _found(WRONG, f"intervals.csv, {what}: {name} is {told:g}, and scores.csv gives {found:g}")


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['label']} on {record['task']['name']}, seed {record['seed']}"


def _of_outputs(stored: Predictions) -> dict[str, str]:
    """Digests of stored outputs by setting."""
    names = [setting_name(setting, draw) for setting, draw in stored.settings]
    return {name: output_digest(own) for name, own in zip(names, stored.logits, strict=True)}


def _told(result: Repeat) -> Iterator[Finding]:
    """What came of computing a cell again."""
    title = f"{result.cell.title} ({result.cell.key})"
    if result.error:
        yield _found(WRONG, f"{title} failed: {result.error}")
    elif not result.same:
        much = "" if result.largest is None else f" by up to {result.largest:.3g}"
        changed = "" if result.changed is None else f"; {result.changed:.1%} of its predictions are others"
        promised = "" if result.portable else "; native arithmetic promises no more"
        yield _found(WRONG if result.portable else DIFFERS, f"{title}: outputs differ{much}{changed}{promised}")
