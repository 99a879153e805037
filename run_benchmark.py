#!/usr/bin/env python3
"""The door: parses arguments and calls the benchmark."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import uuid
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from benchmark.errors import BenchmarkError, storing

if TYPE_CHECKING:
    from benchmark.cluster import Cluster
    from benchmark.config import GridConfig
    from benchmark.data import TaskSource
    from benchmark.data.source import Identity
    from benchmark.grid import Grid
    from benchmark.registry import Entry, Row

EPILOG = """examples:
  python run_benchmark.py --grid quick                     five methods on simulated MOSI, two seeds
  python run_benchmark.py --grid full --plan               how many cells, how long
  python run_benchmark.py --grid quick --tasks mosi --data DIR
                                                           the same on your own copy of MOSI
  python run_benchmark.py --grid quick --plugin mine.py    your method in every table
  python run_benchmark.py --check mine --plugin mine.py    does it conform? (labels, masks, batches, determinism, ...)
  python run_benchmark.py --grid full --backend dask --scheduler tcp://host:8786
                                                           on the workers of a Dask cluster
  python run_benchmark.py --grid quick --report-only       tables and figures again, from what is stored

exit status: 0 all cells done; 1 some failed (the report is written); 2 unusable arguments or data
"""

TAKES: dict[str, tuple[str, ...]] = {  # options that go with what there is to do; with a run, and --plan, all others
    "inspect": (),
    "list": ("plugin",),
    "check": ("plugin",),
    "report_only": ("grid", "plugin", "out", "against"),
}
CHOOSE = ("methods", "tasks", "seeds", "set", "data")  # with --grid, which definitions of its rows a report shows


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchmarkError(f"{message} (--help lists the options)")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As always, but options that would do nothing are an error."""
        options = super().parse_args(args, namespace)
        given = [name for name, value in vars(options).items() if value != self.get_default(name)]
        for action, takes in TAKES.items():
            if action == "report_only" and options.grid:
                takes += CHOOSE
            if action in given and (vain := [name for name in given if name not in (action, *takes)]):
                action, *vain = (f"--{name.replace('_', '-')}" for name in (action, *vain))
                self.error(f"{action} makes no use of {' and '.join(vain)}; leave one or the other out")
        return options


def _at_least_one(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; write . for this folder")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="run_benchmark.py",
        description="CorrKD and its baselines under missing modalities: train, test in every setting, report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to do")
    what.add_argument(
        "--grid", metavar="NAME|FILE.yaml", help="run what is not done yet of a grid, then write the report"
    )
    what.add_argument("--plan", action="store_true", help="only say which cells there are and how long they will take")
    what.add_argument(
        "--report-only", nargs="*", type=_folder, metavar="DIR",
        help="only write tables and figures from what is stored, in these folders if some are given; with --grid, of "
        "its rows as that and --set define them",
    )  # fmt: skip
    what.add_argument("--list", action="store_true", help="list methods, tasks and grids")
    what.add_argument("--check", metavar="METHOD|all", help="the conformance suite on a method, yours with --plugin")
    what.add_argument("--inspect", metavar="FILE.pkl", type=Path, help="what a data file holds, and its faults")
    which = parser.add_argument_group("which part of the grid (default: as the grid says)")
    which.add_argument(
        "--methods", nargs="+", metavar="METHOD", help="or a group of them; also with +mrm or -mrm behind: mult+mrm"
    )
    which.add_argument("--tasks", nargs="+", metavar="TASK", help="mosi, mosei, iemocap")
    which.add_argument("--seeds", type=_at_least_one, metavar="N", help="how many: 0, 1, ..., N-1")
    which.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="METHOD.KEY=VALUE",
        help="hyper-parameters, such as mult.layers=3; training.KEY=VALUE is for all methods",
    )  # fmt: skip
    which.add_argument(
        "--plugin", nargs="+", action="extend", default=[], type=Path, metavar="FILE.py", help="further methods"
    )
    where = parser.add_argument_group("where and how")
    where.add_argument("--data", type=_folder, metavar="DIR", help="folder with data files (default: simulated data)")
    where.add_argument("--out", type=_folder, metavar="DIR", help="default: results/<grid>")
    where.add_argument(
        "--against", metavar="METHOD", help="the row that the others are tested against (default: as the grid says)"
    )
    where.add_argument(
        "--jobs", type=_at_least_one, metavar="N",
        help="worker processes (default: the number of cores); not with dask, whose workers are all used",
    )  # fmt: skip
    where.add_argument(
        "--backend", choices=["loky", "dask"], default="loky", help="processes here (the default), or a Dask cluster"
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="of the Dask cluster, such as tcp://host:8786, whose workers were started with --nthreads 1",
    )  # fmt: skip
    where.add_argument(
        "--cell-timeout", type=_seconds, metavar="SECONDS",
        help="a cell that takes longer has failed (default: no limit)",
    )  # fmt: skip
    where.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    where.add_argument("--fresh", action="store_true", help="compute done cells again; old ones go to OUT/replaced")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(_parser().parse_args(arguments), arguments)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print("stopped; what is done is stored, and the same command goes on from there", file=sys.stderr)
        return getattr(stopped, "code", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that closing stdout does not fail again
        return 141


def _main(options: argparse.Namespace, arguments: list[str]) -> int:
    from benchmark import registry

    if options.backend == "dask" and options.scheduler is None:
        raise BenchmarkError("--backend dask needs the cluster's address; give --scheduler tcp://host:8786")
    if options.scheduler is not None and options.backend != "dask":
        raise BenchmarkError("--scheduler is for a Dask cluster; give --backend dask too, or leave it out")
    if options.inspect:
        from benchmark.data.inspection import inspect_file

        print(inspect_file(options.inspect))
        return 0
    entries = registry.catalogue(options.plugin)
    if options.list:
        _list(entries)
        return 0
    if options.check:
        return _check(entries, options.check)
    reports = options.report_only is not None
    if options.grid is None and not (reports and (options.out or options.report_only)):
        raise BenchmarkError("nothing to do; give for instance --grid quick (see --help, and --list for the grids)")
    if reports:
        return _report_only(options, entries)
    with _cluster(options) as cluster:
        return _run(options, arguments, entries, cluster)


def _cluster(options: argparse.Namespace) -> Cluster | nullcontext[None]:
    if options.scheduler is None:
        return nullcontext()

    from benchmark.cluster import Cluster  # torch is imported from here on

    return Cluster(options.scheduler)


def _list(entries: dict[str, Entry]) -> None:
    import yaml

    from benchmark.config import GRIDS, grid_names
    from benchmark.data import TASKS
    from benchmark.registry import groups

    unchanged = " and ".join(entry.name for entry in entries.values() if not entry.augmentable)
    print(f"methods (each but {unchanged} also with the suffix +mrm or -mrm, for training the other way):")
    for entry in entries.values():
        print(f"  {entry.name:<12} {entry.paper}; trains on {entry.trains_on} samples")
    print("groups of methods:")
    for name, members in groups(entries).items():
        print(f"  {name:<12} {'every method' if name == 'all' else ' '.join(members)}")
    print("tasks:")
    for name, description in TASKS.items():
        print(f"  {name:<12} {description}")
    print("grids:")
    for name in grid_names():
        print(f"  {name:<12} {yaml.safe_load((GRIDS / f'{name}.yaml').read_text(encoding='utf-8'))['description']}")


def _check(entries: dict[str, Entry], name: str) -> int:
    """Run the conformance suite; status 1 where a check fails."""
    from benchmark.registry import load, unknown

    if name != "all" and name not in entries:
        raise BenchmarkError(unknown("method", name, [*entries, "all"]))
    chosen = list(entries.values()) if name == "all" else [entries[name]]
    for entry in chosen:
        load(entry)  # what cannot be imported is told once, and not by each check

    from benchmark.conformance import examine

    failed = False
    for entry in chosen:
        print(entry.name)
        for result in examine(entry):
            failed |= result.state == "failed"
            print(f"  {result.state:<14}  {result.check}" + (f": {result.reason}" if result.reason else ""), flush=True)
    return 1 if failed else 0


def _chosen(
    options: argparse.Namespace, entries: dict[str, Entry]
) -> tuple[str, GridConfig, list[Row], list[TaskSource]]:
    """A grid's name and content, and the rows and tasks of it that are asked for."""
    from benchmark import registry
    from benchmark.config import GridConfig, load_grid, validated
    from benchmark.data import find_tasks

    name, config = load_grid(options.grid)
    if options.seeds is not None:
        config = validated(GridConfig, {**config.model_dump(), "seeds": options.seeds}, "--seeds")
    labels, said_in = options.methods, "--methods"
    if labels is None:
        said_in = f"methods and variants of grid {options.grid}"
        if config.methods == "all":
            labels = list(entries)
        elif config.methods == "both ways":
            labels = registry.both_ways(entries)
        else:
            plugins = {path.resolve() for path in options.plugin}
            labels = [*config.methods, *(entry.name for entry in entries.values() if entry.path in plugins)]
        labels = [*labels, *config.variants]
        if not labels:
            raise BenchmarkError(f"grid {name} has no methods and no variants; name one there, or with --methods")
    with _naming(said_in):
        rows = registry.rows(registry.expand(labels, entries, config.variants), entries, config.variants)
    if options.methods is not None:  # what the grid sets for rows that this leaves out
        left_out = set(entries) - {row.name for row in rows}
        config = config.model_copy(update={"set": {m: v for m, v in config.set.items() if m not in left_out}})
    if config.against:  # it need not be among the rows, but it must be a name
        with _naming(f"'against' of grid {options.grid}"):
            registry.rows([config.against], entries, config.variants)
    simulator = config.simulator
    tasks, remarks = find_tasks(
        options.tasks or config.tasks,
        options.data.resolve() if options.data and options.scheduler else options.data,
        asked=options.tasks is not None,
        sizes=None if simulator is None else (simulator.train, simulator.valid, simulator.test),
    )
    for remark in remarks:
        print(remark)
    return name, config, rows, tasks


def _run(options: argparse.Namespace, arguments: list[str], entries: dict[str, Entry], cluster: Cluster | None) -> int:
    from benchmark.locks import keeps_locks

    name, config, rows, tasks = _chosen(options, entries)
    _check_against(options.against, [row.label for row in rows])
    out = options.out or Path("results") / name
    if not options.plan:
        _make_writable(out)
        if not keeps_locks(out):
            print(f"warning: the file system of {out} keeps no locks: do not give that folder to two runs at once")

    from benchmark.grid import build, parse_overrides  # torch is imported from here on
    from benchmark.progress import Display, Estimates
    from benchmark.runner import DAMAGED, device_fault, run_grid, state_of
    from benchmark.store import DONE, Store

    lacks = "" if cluster or options.plan else device_fault(options.device)
    if lacks:
        raise BenchmarkError(f"this machine {lacks}")
    overrides = parse_overrides(options.set)
    grid = build(name, config, rows, entries, tasks, overrides, on_data=_say_source)
    store = Store(out)
    jobs = cluster.workers if cluster else options.jobs or os.cpu_count() or 1
    states = {cell.key: state_of(store, cell, grid) for cell in grid.cells}
    if not options.plan:
        for key, fault in store.damaged(states).items():
            states[key] = DAMAGED
            print(f"warning: {fault}; the cell moves to {out / 'replaced'} and is computed anew")
    todo = [cell for cell in grid.cells if options.fresh or states[cell.key] != DONE]
    if options.plan:
        _plan(grid, states, Estimates(store).total(todo, jobs), jobs)
        return 0
    display = Display(grid, store, todo, jobs)
    with storing(out), display.shown():
        failed = run_grid(
            grid,
            store,
            todo,
            jobs=jobs,
            device=options.device,
            fresh=options.fresh,
            on_outcome=display.ended,
            on_wait=display.waits,
            timeout=options.cell_timeout,
            cluster=cluster,
        )
    command = shlex.join(["python", "run_benchmark.py", *arguments])
    with storing(out):
        _report(
            [out],
            out,
            entries,
            grid=name,
            command=command,
            against=[options.against or config.against],
            keys=set(states),
        )
    return 1 if failed else 0


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Say where the name stands that is wrong."""
    try:
        yield
    except BenchmarkError as error:
        raise BenchmarkError(f"{place}: {error}") from error


def _make_writable(out: Path) -> None:
    from benchmark.names import check_inside

    for name in ("scores.csv", "intervals.csv", "comparisons.csv", "manifest.json", "tables", "figures"):
        check_inside(out / name, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable.{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BenchmarkError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error


def _say_source(identity: Identity) -> None:
    print(f"task {identity.name}: {identity.source} data ({identity.origin})")
    for warning in identity.warnings:
        print(f"warning: {warning}")


def _plan(grid: Grid, states: dict[str, str], time: str, jobs: int) -> None:
    kinds = sorted(set(states.values()))
    cells = "1 cell" if len(grid.cells) == 1 else f"{len(grid.cells)} cells"
    print(f"grid {grid.name}: {cells}, each tested in {len(grid.settings)} settings")
    for label in dict.fromkeys(cell.row.label for cell in grid.cells):
        keys = [cell.key for cell in grid.cells if cell.row.label == label]
        counts = {kind: sum(states[key] == kind for key in keys) for kind in kinds}
        print(f"  {label:<16} " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
    print("in all: " + ", ".join(f"{sum(s == kind for s in states.values())} {kind}" for kind in kinds))
    print(f"time to expect with {jobs} jobs: {time}")


def _check_against(label: str | None, labels: Sequence[str]) -> None:
    from benchmark.registry import unknown

    if label is not None and label not in labels:
        raise BenchmarkError(unknown("row in --against", label, labels))


def _report_only(options: argparse.Namespace, entries: dict[str, Entry]) -> int:
    """A report from stored folders, all of them together."""
    from benchmark.manifest import read_manifest

    name, config, rows, tasks = _chosen(options, entries) if options.grid else ("", None, [], [])
    folders = options.report_only or [options.out or Path("results") / name]
    for folder in folders:
        if not folder.is_dir():
            raise BenchmarkError(f"nothing is stored in {folder}; run the grid first, or name its folder with --out")
    if len(folders) > 1 and options.out is None:
        raise BenchmarkError("a report on several folders needs a folder of its own; name it with --out")
    out = options.out or folders[0]
    _make_writable(out)
    keys = set()
    if config is not None:
        from benchmark.grid import build, parse_overrides  # torch is imported from here on

        keys = {cell.key for cell in build(name, config, rows, entries, tasks, parse_overrides(options.set)).cells}
    manifests = [read_manifest(folder / "manifest.json") for folder in folders]
    said = [config.against if config else None, *(manifest.get("against") for manifest in manifests)]
    asked = options.against is not None
    with storing(out):
        return _report(
            folders,
            out,
            entries,
            grid=" + ".join(dict.fromkeys(m.get("grid") or f.name for m, f in zip(manifests, folders, strict=True))),
            command="\n".join(dict.fromkeys(filter(None, (manifest.get("command") for manifest in manifests)))),
            against=[options.against] if asked else said,
            must_be_there=asked,
            keys=keys,
        )


def _report(
    folders: Sequence[Path],
    out: Path,
    entries: dict[str, Entry],
    *,
    grid: str,
    command: str,
    against: Sequence[str | None],
    must_be_there: bool = False,
    keys: Set[str] = frozenset(),
) -> int:
    """Write scores, statistics, manifest, tables, figures and the page; status 1 where a cell failed or is damaged.

    The reference is the first of `against` that is a row.
    """
    from benchmark import registry
    from benchmark.collect import Collection, collect, read_scores
    from benchmark.evidence import read_evidence, weigh, write_evidence
    from benchmark.manifest import build_manifest, provenance, read_manifest
    from benchmark.names import without_formulas
    from benchmark.report import write_report
    from benchmark.store import Store, json_text, replace_file

    stores = [Store(folder) for folder in folders]
    empty = [store.out for store in stores if not store.stored_keys()]
    if empty and len(stores) > 1:
        raise BenchmarkError(f"no cells are stored in {empty[0]}; only folders with cells can be put together")
    manifest = read_manifest(folders[0] / "manifest.json")
    if empty:  # a folder with scores but without cells, such as the reference results
        collection = Collection(read_scores(folders[0] / "scores.csv"))
        evidence = read_evidence(folders[0], collection.scores)
        rows = [registry.label_row(label, entries) for label in collection.scores["method"].unique()]
    else:
        collection = collect(*stores, keys=keys)
        rows = list({record["label"]: registry.stored_row(record) for record in collection.records}.values())
    rows = registry.by_year(rows, entries)
    if must_be_there:
        _check_against(against[0], [row.label for row in rows])
        if empty and against[0] not in evidence.references():
            raise BenchmarkError(
                f"no cells are stored in {empty[0]}, so only the tests against "
                f"{' and '.join(evidence.references()) or 'no row'} are there; leave --against out, or run the grid"
            )
    methods = {row.label: registry.describe(row, entries) for row in rows}
    named = list(filter(None, against))
    reference = next((label for label in named if label in methods), named[0] if named else None)
    if empty:
        methods = {entry["label"]: entry["description"] for entry in manifest.get("methods", [])} or methods
    else:
        evidence = weigh(collection.models, rows={row.label: row for row in rows}, against=reference)
        manifest = build_manifest(collection, command=command, grid=grid, methods=methods, against=reference)
        replace_file(out / "scores.csv", without_formulas(collection.scores).to_csv(index=False).encode())
        write_evidence(evidence, out)
        replace_file(out / "manifest.json", json_text(manifest).encode())
        if hidden := collection.superseded.total():
            print(
                f"not shown: {hidden} stored {'cell' if hidden == 1 else 'cells'} of "
                f"{', '.join(collection.superseded)}, made with other hyper-parameters, code or data than those shown; "
                "the command that made them, with --report-only, shows them where code and data are still the same"
            )
    write_report(
        collection.scores,
        out,
        provenance=provenance(manifest, methods, collection.failures),
        failures=collection.failures,
        method_order=list(methods),
        evidence=evidence,
        against=reference,
        collection=collection,
        cards={row.label: registry.card(entries[row.name]) for row in rows if row.label in entries},
        costs=manifest.get("cells", []),
    )
    written = {"report": out / "report.html", "tables": out / "tables", "figures": out / "figures"}
    print("; ".join(f"{what}: {path}" for what, path in written.items() if path.exists()))
    for failure in collection.failures:
        print(f"FAILED {failure['method']} on {failure['task']}, seed {failure['seed']}: {failure['error']}")
    for damage in collection.damaged:
        print(f"not shown: {damage}")
    return 1 if collection.failures or collection.damaged else 0


if __name__ == "__main__":
    sys.exit(main())
