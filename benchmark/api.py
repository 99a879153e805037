"""The benchmark from Python: runs, plans, reports, verification and leaderboards, as functions that give objects back.

>>> import benchmark
>>> results = benchmark.run("quick", methods=["corrkd", "linear"], seeds=1)
>>> results.table("mosi", "inter")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError, unknown
from benchmark.files.atomic import make_writable
from benchmark.files.locks import keeps_locks
from benchmark.methods.registry import Entry, catalogue
from benchmark.running.arithmetic import PORTABLE, check_portable
from benchmark.running.choice import (
    Choice,
    TaskName,
    check_how,
    choose,
    cluster_of,
    labels_among,
    labels_to_show,
    leave_word,
    parse_shard,
    planned,
    several,
    spelled_call,
    with_other_shards,
    without_empty_shards,
)
from benchmark.running.paper import Tables, as_tables
from benchmark.running.processes import cores, worker_count

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.data.source import Identity
    from benchmark.protocol.method import Method
    from benchmark.report.results import Plan, Results

Say = Callable[[str], None]
MethodNames = Sequence["str | type[Method]"]


def run(
    grid: str | Path | Mapping[str, Any],
    *,
    methods: MethodNames | None = None,
    tasks: Sequence[TaskName] | None = None,
    seeds: int | None = None,
    set: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Iterable[str | Path] = (),
    data: str | Path | None = None,
    out: str | Path | None = None,
    against: str | None = None,
    metrics: Sequence[str] = (),
    tables: Tables | None = None,
    highlight: Sequence[str] = (),
    jobs: int | None = None,
    device: str = "auto",
    backend: str = "loky",
    scheduler: str | None = None,
    cell_timeout: float | None = None,
    together: int | str = 1,
    fresh: bool = False,
    shard: str | tuple[int, int] | None = None,
    portable: bool | None = None,
    tune: int | Mapping[str, Any] | None = None,
    command: str | None = None,
    say: Say = print,
) -> Results:
    """Compute what is not done yet of a grid, and write the report.

    Parameters
    ----------
    grid : str, Path or mapping
        A grid's name, the path of a YAML file, or the keys of one.
    methods : sequence of str or type, optional
        Methods, groups, ``mult+mrm``, or classes decorated with :func:`benchmark.register`, also of a notebook's cell.
        By default as the grid says.
    tasks : sequence of str, optional
    seeds : int, optional
        How many: 0, 1, ….
    set : mapping of method to mapping, optional
        Hyper-parameters, such as ``{"mult": {"layers": 3}, "training": {"epochs": 5}}``.
    plugins : iterable of path
        Python files with further methods.
    data : path, optional
        Folder with data files; by default all tasks are simulated.
    out : path, optional
        By default ``results/<grid>``.
    against : str, optional
        The row that the others are tested against.
    metrics : sequence of str, optional
        Print a table of each of these, where a task has it; by default as the grid says, or one of all it lists.
    tables : mapping of name to mapping, optional
        Tables for a paper, besides those of the grid: :class:`benchmark.running.paper.PaperTable`.
    highlight : sequence of str, optional
        Methods that stand out in figures; by default as the grid says, or the reference and the two best others.
    jobs : int, optional
        Worker processes; by default as many as this process may use cores.
    device : {"auto", "cpu", "cuda"}
    backend : {"loky", "dask"}
    scheduler : str, optional
        Address of the Dask cluster.
    cell_timeout : float, optional
        Seconds after which a cell has failed.
    together : int or "auto"
        How many cells that differ in little train at once; ``auto``: 32 on a GPU, up to 8 on a CPU where it is faster.
    fresh : bool
        Compute done cells again; the old ones move to ``OUT/replaced``.
    shard : str or tuple of int, optional
        ``"2/8"`` or ``(2, 8)``: only the second of eight parts, into which cells are divided by their keys.
    portable : bool, optional
        Compute in arithmetic that gives the same bits on every x86-64 processor; by default as the grid says.
    tune : int or mapping, optional
        Tune every method with so many random configurations, or ``{"configurations": K, "hours": H}``; by default as
        the grid says. See :mod:`benchmark.running.tuning`.
    command : str, optional
        What the report says under "How to get it again"; by default this call.
    say : callable
        Called with each line for a person that is no progress.

    Returns
    -------
    Results

    Raises
    ------
    BenchmarkError
        If an argument or the data cannot be used; nothing is computed then.
    """
    named = {k: v for k, v in locals().items() if k not in ("grid", "command", "say")}
    command = command or spelled_call("run", grid, **named)
    check_how(jobs, device, backend, cell_timeout, together)
    part = parse_shard(shard)
    with cluster_of(backend, scheduler) as cluster:
        choice = _choice(
            grid, methods, tasks, seeds, set, plugins, data, portable, say, tune=tune, absolute=scheduler is not None
        )
        whole = methods is None and tasks is None
        tables = _check(choice, against, part, metrics, highlight, tables, whole=whole)
        portable = choice.config.portable
        folder = Path(out) if out is not None else Path("results") / choice.name
        make_writable(folder)
        if not keeps_locks(folder):
            say(f"warning: the file system of {folder} keeps no locks: do not give that folder to two runs at once")

        from benchmark.report.results import gathered, write_results  # torch is imported from here on
        from benchmark.running.devices import device_fault
        from benchmark.running.passes import Means, open_test, try_all
        from benchmark.running.store import Store
        from benchmark.running.tuning import Tuning

        if not cluster and (lacks := device_fault(device)):
            raise BenchmarkError(f"this machine {lacks}")
        if portable:
            check_portable(device, here=not cluster, say=say)
        tuning = Tuning(choice, folder, _said_source(say)) if choice.config.tune else None
        built, chosen = tuning.plain if tuning else choice.build(_said_source(say)), None
        store = Store(folder)
        workers = cluster.workers if cluster else worker_count(jobs, timeout=cell_timeout, portable=portable, say=say)
        means = Means(workers, device, fresh, cell_timeout, part, cluster, say, together)
        asked_with = command if part is None else with_other_shards(folder, command)
        if tuning:
            leave_word(folder, choice, asked_with, against, built.cells)
            chosen = try_all(tuning, means)
            built = tuning.refits(chosen) if chosen else built
        failed, waits = 0, tuning is not None and chosen is None
        if not waits:
            todo = means.left(built, store)
            if todo or part is not None:
                leave_word(folder, choice, asked_with, against, built.cells)
            failed = means.compute(built, store, todo)
            for further in built.in_draws[1:]:
                failed += means.extend(further, store)
        if tuning and chosen:
            failed += open_test(tuning, chosen, means)
    results = gathered(
        [folder],
        folder,
        choice.entries,
        portable=portable,
        grid=choice.name,
        command=asked_with,
        against=[against or choice.config.against],
        margin=[choice.config.margin],
        metrics=several(metrics) or choice.config.metrics,
        tables=tables,
        earlier=choice.config.tables,
        highlight=several(highlight) or choice.config.highlight,
        keys={cell.key for cell in built.cells},
        planned=[planned(cell) for cell in built.cells],
        failed=failed,
        say=say,
    )
    others = [] if part is None else [cell for cell in built.cells if store.readable(cell.key) is None]
    if others and not waits:  # which was said
        say(
            f"{len(others)} cells of other shards are not here, so no report is written; when all are done, give "
            f"--report-only with {folder} and, where shards have folders of their own, those"
        )
    elif not waits:
        write_results(results)
    return results


def plan(
    grid: str | Path | Mapping[str, Any],
    *,
    methods: MethodNames | None = None,
    tasks: Sequence[TaskName] | None = None,
    seeds: int | None = None,
    set: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Iterable[str | Path] = (),
    data: str | Path | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    device: str = "auto",
    shard: str | tuple[int, int] | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    together: int | str = 1,
    against: str | None = None,
    metrics: Sequence[str] = (),
    tables: Tables | None = None,
    highlight: Sequence[str] = (),
    portable: bool | None = None,
    tune: int | Mapping[str, Any] | None = None,
    say: Say = print,
) -> Plan:
    """Which cells a run with the same arguments would compute, and how long they may take; computes none.

    Returns
    -------
    Plan

    Raises
    ------
    BenchmarkError
        If an argument or the data cannot be used.
    """
    from benchmark.report.results import Plan

    check_how(jobs, device, backend, together=together)
    part = parse_shard(shard)
    choice = _choice(
        grid, methods, tasks, seeds, set, plugins, data, portable, say, tune=tune, absolute=scheduler is not None
    )
    _check(choice, against, part, metrics, highlight, tables, whole=methods is None and tasks is None)
    with cluster_of(backend, scheduler) as cluster:
        workers = cluster.workers if cluster else jobs or cores()
    from benchmark.running.plan import plan_run

    folder = Path(out) if out is not None else Path("results") / choice.name
    found = plan_run(
        choice,
        folder,
        part=part,
        fresh=fresh,
        jobs=workers,
        device=device,
        together=together,
        on_data=_said_source(say),
    )
    return Plan(**found)


def report(
    *folders: str | Path,
    grid: str | Path | Mapping[str, Any] | None = None,
    methods: MethodNames | None = None,
    tasks: Sequence[TaskName] | None = None,
    seeds: int | None = None,
    set: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Iterable[str | Path] = (),
    data: str | Path | None = None,
    out: str | Path | None = None,
    against: str | None = None,
    metrics: Sequence[str] = (),
    tables: Tables | None = None,
    highlight: Sequence[str] = (),
    portable: bool | None = None,
    say: Say = print,
) -> Results:
    """Write tables, figures and the page from what is stored, of several folders together; computes nothing.

    Parameters
    ----------
    *folders : path
        Output folders of earlier runs; by default that of `grid`.
    grid : str, Path or mapping, optional
        Show the rows as it, with `set` and `seeds`, defines them, where several definitions of a row are stored.
    methods : sequence of str or type, optional
        Only these rows.
    out : path, optional
        Where to write; by default the one folder.
    tasks, seeds, set, plugins, data, against, metrics, tables, highlight, portable, say
        As in :func:`run`.

    Returns
    -------
    Results

    Raises
    ------
    BenchmarkError
        If a folder holds nothing, or two contradict each other.
    """
    from benchmark.files.manifest import read_manifest
    from benchmark.report.results import gathered, write_results

    choice = None if grid is None else _choice(grid, methods, tasks, seeds, set, plugins, data, portable, say)
    methods = None if methods is None else several(methods)
    entries = choice.entries if choice else _known(plugins, methods or (), say)
    given = [Path(folder) for folder in folders]
    if not given:
        if choice is None and out is None:
            raise BenchmarkError("no folder is named; give one, or a grid")
        given = [Path(out) if out is not None else Path("results") / str(choice and choice.name)]
    for folder in given:
        if not folder.is_dir():
            raise BenchmarkError(f"nothing is stored in {folder}; run the grid first, or name its folder with --out")
    if len(given) > 1 and out is None:
        raise BenchmarkError("a report on several folders needs a folder of its own; name it with --out")
    target = Path(out) if out is not None else given[0]
    make_writable(target)
    given = without_empty_shards(given)
    cells = choice.build().cells if choice else []
    if (only := methods) is not None:
        only = labels_to_show(choice, given) if choice else labels_among(only, entries, given)
    manifests = [read_manifest(folder / "manifest.json") for folder in given]
    said = [choice.config.against if choice else None, *(manifest.get("against") for manifest in manifests)]
    results = gathered(
        given,
        target,
        entries,
        portable=portable or any(manifest.get("arithmetic") == PORTABLE for manifest in manifests),
        grid=" + ".join(dict.fromkeys(m.get("grid") or f.name for m, f in zip(manifests, given, strict=True))),
        command="\n".join(dict.fromkeys(filter(None, (manifest.get("command") for manifest in manifests)))),
        against=[against] if against is not None else said,
        must_be_there=against is not None,
        margin=[choice.config.margin if choice else None, *(manifest.get("margin") for manifest in manifests)],
        metrics=several(metrics) or (choice.config.metrics if choice else manifests[0].get("metrics", ())),
        tables=as_tables(tables, "tables"),
        earlier=choice.config.tables if choice else {k: v for m in manifests for k, v in m.get("tables", {}).items()},
        highlight=several(highlight) or (choice.config.highlight if choice else manifests[0].get("highlight", ())),
        highlight_must_be_there=bool(highlight),
        keys={cell.key for cell in cells},
        planned=[planned(c) for c in cells] if choice else [c for m in manifests for c in m.get("not_computed", ())],
        only=only,
        say=say,
    )
    write_results(results)
    return results


def read_scores(folder: str | Path) -> pd.DataFrame:
    """The tidy scores of an output folder, from its ``scores.csv``.

    Raises
    ------
    BenchmarkError
        If there is none, or a line of it is not as a report writes it.
    """
    from benchmark.evidence.scores import read_scores as read

    return read(Path(folder) / "scores.csv")


def load_model(cell: str | Path, *, plugins: Iterable[str | Path] = ()) -> Method:
    """A trained model.

    Parameters
    ----------
    cell : path
        Its folder, ``OUT/cells/<key>``.
    plugins : iterable of path
        The file of its method, if that is a plug-in.

    Returns
    -------
    Method
        On the CPU, in evaluation mode.

    Raises
    ------
    BenchmarkError
        If the cell is not done, or its method is not there.
    """
    from benchmark.running.models import load_model as load

    return load(Path(cell), _known(plugins, (), print))


def examine(name: str, *, plugins: Iterable[str | Path] = (), say: Say = print) -> bool:
    """Run the conformance suite on a method, or on ``all``, and say how each check ended; True where none failed.

    Raises
    ------
    BenchmarkError
        If there is no such method, or it cannot be imported.
    """
    entries = _known(plugins, (), say)
    if name != "all" and name not in entries:
        raise BenchmarkError(unknown("method", name, [*entries, "all"]))
    chosen = list(entries.values()) if name == "all" else [entries[name]]
    from benchmark.methods.loading import load

    for entry in chosen:
        load(entry)  # what cannot be imported is told once, and not by each check

    from benchmark.methods import conformance
    from benchmark.running.evaluation import predict_settings
    from benchmark.running.training import train

    fine = True
    for entry in chosen:
        say(entry.name)
        for result in conformance.examine(entry, conformance.Harness(train, predict_settings)):
            fine &= result.state != "failed"
            say(f"  {result.state:<14}  {result.check}" + (f": {result.reason}" if result.reason else ""))
    return fine


def _choice(
    grid: str | Path | Mapping[str, Any],
    methods: MethodNames | None,
    tasks: Sequence[TaskName] | None,
    seeds: int | None,
    overrides: Mapping[str, Mapping[str, Any]] | None,
    plugins: Iterable[str | Path],
    data: str | Path | None,
    portable: bool | None,
    say: Say,
    *,
    tune: int | Mapping[str, Any] | None = None,
    absolute: bool = False,
) -> Choice:
    """What is asked for; remarks on it are said."""
    folder = None if data is None else Path(data)
    choice = choose(
        grid,
        methods=methods,
        tasks=tasks,
        seeds=seeds,
        overrides=overrides,
        plugins=[Path(plugin) for plugin in several(plugins)],
        data=folder.resolve() if folder and absolute else folder,
        portable=portable,
        tune=tune,
    )
    for remark in choice.remarks:
        say(remark)
    return choice


def _known(plugins: Iterable[str | Path], methods: MethodNames, say: Say) -> dict[str, Entry]:
    classes = [method for method in methods if not isinstance(method, str)]
    return catalogue(map(Path, several(plugins)), classes, on_fault=lambda fault: say(f"warning: {fault}"))


def _check(
    choice: Choice,
    against: str | None,
    part: tuple[int, int] | None,
    metrics: Sequence[str],
    highlight: Sequence[str],
    tables: Tables | None,
    *,
    whole: bool,
) -> dict[str, Any]:
    """The tables asked for, checked with all else that names what a run will have; a `whole` grid's own ones too."""
    choice.check(against, several(metrics), part, several(highlight))
    asked = as_tables(tables, "tables")

    from benchmark.report.paper import check_planned  # behind what is refused without it, for it takes a second

    check_planned({**(choice.config.tables if whole else {}), **asked}, choice, several(metrics))
    return asked


def _said_source(say: Say) -> Callable[[Identity], None]:
    def said(identity: Identity) -> None:
        say(f"task {identity.name}: {identity.source} data ({identity.origin})")
        for warning in identity.warnings:
            say(f"warning: {warning}")

    return said
