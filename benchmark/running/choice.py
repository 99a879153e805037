"""Which part of a grid is asked for: its rows, its tasks and what is set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import methods as known_methods
from benchmark.data.source import Identity, TaskSource, find_tasks
from benchmark.data.task import Task, find_task
from benchmark.errors import BenchmarkError, one_line, storing, unknown
from benchmark.files.atomic import json_text, replace_file
from benchmark.files.manifest import read_manifest
from benchmark.files.validation import validated
from benchmark.methods.registry import Entry, name_of
from benchmark.protocol.metrics import metric_names
from benchmark.protocol.target import Target
from benchmark.running.grid_file import GridConfig, load_grid
from benchmark.running.tuned import tuned_label

if TYPE_CHECKING:
    from benchmark.methods.labels import Row
    from benchmark.protocol.method import Method
    from benchmark.running.cluster import Cluster
    from benchmark.running.grid import Cell, Grid

Overrides = Mapping[str, Mapping[str, Any]]
TaskName = str | Path | Task | Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """What is asked for of a grid.

    Parameters
    ----------
    name : str
        The grid's.
    config : GridConfig
    rows : list of Row
    tasks : list of TaskSource
    entries : dict of name to Entry
        All methods that are known.
    overrides : mapping of method to mapping
        Hyper-parameters that win over the grid's.
    remarks : list of str
        What a person should know of it, one line each.
    """

    name: str
    config: GridConfig
    rows: list[Row]
    tasks: list[TaskSource]
    entries: dict[str, Entry]
    overrides: Overrides
    remarks: list[str]

    def check(
        self,
        against: str | None,
        metrics: Sequence[str] = (),
        part: tuple[int, int] | None = None,
        highlight: Sequence[str] = (),
    ) -> None:
        """Refuse a name that is no row, a metric that no task has, or a time to divide between shards."""
        if part is not None and self.config.tune is not None and self.config.tune.hours is not None:
            raise BenchmarkError(
                "--tune-hours cannot be divided between shards, which do not know of each other's time; leave --shard "
                "or --tune-hours out"
            )
        check_against(against, self.labels)
        check_highlight(highlight, self.labels)
        targets = [source.task.as_target for source in self.tasks]
        said_in = "--metrics" if metrics else f"'metrics' of grid {self.name}"
        check_metrics(metrics or self.config.metrics, targets, said_in)

    @property
    def labels(self) -> list[str]:
        """The rows' labels, and those of the tuned ones."""
        plain = [row.label for row in self.rows]
        return plain if self.config.tune is None else [*plain, *map(tuned_label, plain)]

    def build(self, on_data: Callable[[Identity], None] = lambda identity: None) -> Grid:
        """Its cells; see :func:`benchmark.running.grid.build`."""
        from benchmark.running.grid import build  # torch is imported from here on

        return build(self.name, self.config, self.rows, self.entries, self.tasks, self.overrides, on_data)


def choose(
    grid: str | Path | Mapping[str, Any],
    *,
    methods: Sequence[str | type[Method]] | None = None,
    tasks: Sequence[TaskName] | None = None,
    seeds: int | None = None,
    overrides: Overrides | None = None,
    plugins: Iterable[Path] = (),
    data: Path | None = None,
    portable: bool | None = None,
    tune: int | Mapping[str, Any] | None = None,
) -> Choice:
    """Read a grid and bend it.

    Parameters
    ----------
    grid : str, Path or mapping
        A grid's name, the path of a YAML file, or the content of one.
    methods : sequence of str or type, optional
        Labels of rows, groups, or decorated classes; by default as the grid says, and what the plug-ins bring.
    tasks : sequence, optional
        Names, paths of task files, or :class:`Task`.
    seeds : int, optional
    overrides : mapping of method to mapping, optional
    plugins : iterable of Path
        Besides those of the grid.
    data : Path, optional
        Folder with data files; by default all tasks are simulated.
    portable : bool, optional
        By default as the grid says.
    tune : int or mapping, optional
        ``configurations``, ``hours`` or both; what is not told is as the grid says.

    Raises
    ------
    BenchmarkError
        If a name is unknown, or a file cannot be used; says where the name stands.
    """
    methods, tasks = (None if given is None else several(given) for given in (methods, tasks))
    _check_overrides(overrides)
    name, config = load_grid(grid)
    place = name if isinstance(grid, Mapping) else str(grid)
    if seeds is not None:
        given = {name: getattr(config, name) for name in GridConfig.model_fields}
        config = validated(GridConfig, {**given, "seeds": seeds}, "--seeds")
    if tune is not None:
        config = _tuned(config, tune)
    if portable is not None:
        config = config.model_copy(update={"portable": portable})
    files = dict.fromkeys(path.resolve() for path in (*map(Path, config.plugins), *plugins))
    classes = [method for method in methods or () if not isinstance(method, str)]
    remarks: list[str] = []
    entries = known_methods.catalogue(files, classes, on_fault=lambda fault: remarks.append(f"warning: {fault}"))
    if methods is not None:
        labels, said_in = (
            [method if isinstance(method, str) else str(name_of(method)) for method in methods],
            "--methods",
        )
    else:
        labels, said_in = _labels(config, entries, files), f"methods and variants of grid {place}"
    if not labels:
        raise BenchmarkError(f"grid {name} has no methods and no variants; name one there, or with --methods")
    with naming(said_in):
        rows = known_methods.rows(known_methods.expand(labels, entries, config.variants), entries, config.variants)
    if methods is not None:  # what the grid sets for rows that this leaves out
        left_out = set(entries) - {row.name for row in rows}
        config = config.model_copy(update={"set": {m: v for m, v in config.set.items() if m not in left_out}})
    if config.against:  # it need not be among the rows, but it must be a name
        with naming(f"'against' of grid {place}"):
            known_methods.rows([config.against], entries, config.variants)
    simulator = config.simulator
    with naming("--tasks"):
        asked_for = None if tasks is None else [find_task(task) for task in tasks]
    wanted = asked_for or config.tasks
    if data is None and simulator is not None and simulator.size == "real":
        wanted = [task.at_real_size() for task in wanted]
    sizes = None if simulator is None else simulator.sizes
    found, said = find_tasks(wanted, data, asked=tasks is not None, sizes=sizes)
    return Choice(name, config, rows, found, entries, overrides or {}, remarks + said)


def _tuned(config: GridConfig, tune: int | Mapping[str, Any]) -> GridConfig:
    """A grid, tuned as is asked for."""
    before = {} if config.tune is None else config.tune.model_dump()
    content = {**before, **tune} if isinstance(tune, Mapping) else tune
    if isinstance(content, dict) and "configurations" not in content:
        raise BenchmarkError(
            "--tune-hours needs a number of configurations, at most which are tried; give --tune K too"
        )
    given = {name: getattr(config, name) for name in GridConfig.model_fields}
    return validated(GridConfig, {**given, "tune": content}, "--tune")


def _labels(config: GridConfig, entries: dict[str, Entry], plugins: Iterable[Path]) -> list[str]:
    """The rows of a grid: what it says, what its plug-ins bring, and its variants."""
    if config.methods == "all":
        labels = list(entries)
    elif config.methods == "both ways":
        labels = known_methods.both_ways(entries)
    else:
        brought = [entry.name for entry in entries.values() if entry.path in plugins]
        labels = [*config.methods, *brought]
    return [*labels, *config.variants]


def several(given: Any) -> list[Any]:
    """A sequence, or the one text, path or class that was given instead of it."""
    return [given] if isinstance(given, str | Path | type | Task | Mapping) else list(given)


def check_how(
    jobs: int | None = None,
    device: str = "auto",
    backend: str = "loky",
    timeout: float | None = None,
    together: Any = 1,
) -> None:
    """Refuse what no run can do; raises BenchmarkError."""
    if jobs is not None and not (isinstance(jobs, int) and jobs >= 1):
        raise BenchmarkError(f"jobs={jobs!r} must be a whole number of at least 1")
    for what, name, known in (("device", device, ("auto", "cpu", "cuda")), ("backend", backend, ("loky", "dask"))):
        if name not in known:
            raise BenchmarkError(unknown(what, str(name), known))
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < float("inf")):
        raise BenchmarkError(f"cell_timeout={timeout!r} must be a number of seconds above 0")
    if together != "auto" and not (isinstance(together, int) and together >= 1):
        raise BenchmarkError(f"together={together!r} must be 'auto' or a whole number of at least 1")
    if together not in (1, "auto") and (timeout is not None or backend != "loky"):
        raise BenchmarkError(
            "cells are trained together in this machine's workers and without a limit of time; leave "
            "--together out, or --cell-timeout and --backend"
        )


def cluster_of(backend: str, scheduler: str | None) -> Cluster | nullcontext[None]:
    """The cluster that is asked for, to be opened, or nothing; raises BenchmarkError."""
    if backend == "dask" and scheduler is None:
        raise BenchmarkError("--backend dask needs the cluster's address; give --scheduler tcp://host:8786")
    if scheduler is None:
        return nullcontext()
    if backend != "dask":
        raise BenchmarkError("--scheduler is for a Dask cluster; give --backend dask too, or leave it out")

    from benchmark.running.cluster import Cluster  # torch is imported from here on

    return Cluster(scheduler)


def _check_overrides(overrides: Any) -> None:
    given = {} if overrides is None else overrides
    if not (isinstance(given, Mapping) and all(isinstance(values, Mapping) for values in given.values())):
        shown = one_line(repr(overrides))
        raise BenchmarkError(f"set={shown} must name methods and their hyper-parameters: {{'mult': {{'layers': 3}}}}")


def check_against(label: str | None, labels: Sequence[str]) -> None:
    """Refuse a reference that is no row; raises BenchmarkError."""
    if label is not None and label not in labels:
        raise BenchmarkError(unknown("row in --against", label, labels))


def check_highlight(names: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse a method that is no row; raises BenchmarkError."""
    for name in names:
        if name not in labels:
            raise BenchmarkError(unknown("row in --highlight", name, labels))


def check_metrics(names: Sequence[str], targets: Iterable[Target], where: str = "--metrics") -> None:
    """Refuse a metric that none of some targets has, saying where it was asked for; raises BenchmarkError."""
    known = list(dict.fromkeys(name for target in targets for name in metric_names(target)))
    for name in names:
        if name not in known:
            raise BenchmarkError(unknown(f"metric in {where}", name, known))


def labels_among(
    methods: Sequence[str | type[Method]], entries: dict[str, Entry], folders: Sequence[Path]
) -> list[str]:
    """Names and groups → labels of rows; what is stored may hold rows of methods that are not known here."""
    stored = _stored_labels(folders)
    labels = [method if isinstance(method, str) else str(name_of(method)) for method in methods]
    with naming("--methods"):
        return known_methods.expand(labels, entries, stored)


def labels_to_show(choice: Choice, folders: Sequence[Path]) -> list[str]:
    """The labels of a grid's rows, and those of tuned ones that are stored: a floor has none."""
    plain, stored = {row.label for row in choice.rows}, _stored_labels(folders)
    return [label for label in choice.labels if label in plain or label in stored]


def _stored_labels(folders: Sequence[Path]) -> set[str]:
    from benchmark.running.store import Store

    return {str(record["label"]) for f in folders for k in Store(f).stored_keys() if (record := Store(f).readable(k))}


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Say where the name stands that is wrong."""
    try:
        yield
    except BenchmarkError as error:
        raise BenchmarkError(f"{place}: {error}") from error


def parse_shard(shard: str | tuple[int, int] | None) -> tuple[int, int] | None:
    """``"2/8"`` → ``(2, 8)``; raises BenchmarkError for what is no part of a whole."""
    if shard is None:
        return None
    try:
        number, count = map(int, shard.split("/") if isinstance(shard, str) else shard)
    except (ValueError, TypeError):
        number, count = 0, 0
    if not 1 <= number <= count:
        raise BenchmarkError(f"shard {shard!r} must be of the form I/N with 1 <= I <= N, such as 2/8")
    return number, count


def is_of_shard(cell: Cell, part: tuple[int, int] | None) -> bool:
    """Whether a cell belongs to a shard: by its key, so that no list of cells is needed."""
    return part is None or int(cell.key, 16) % part[1] == part[0] - 1


def leave_word(folder: Path, choice: Choice, command: str, against: str | None, cells: Sequence[Cell]) -> None:
    """Leave in a run's folder what a report says of it if it never ends: its grid, its cells, how to get it again."""
    from benchmark.running.store import Store, lacking

    said = {
        "grid": choice.name,
        "command": command,
        "against": against or choice.config.against,
        "margin": choice.config.margin,
        "not_computed": lacking([Store(folder)], map(planned, cells)),
    }
    with storing(folder):
        replace_file(folder / "manifest.json", json_text({**read_manifest(folder / "manifest.json"), **said}).encode())


def planned(cell: Cell) -> dict[str, Any]:
    """What a report must know of a cell that may never be computed."""
    source = "simulated" if cell.task.path is None else "file"
    return {"task": cell.task.name, "source": source, "method": cell.row.label, "seed": cell.seed, "key": cell.key}


def with_other_shards(folder: Path, command: str) -> str:
    """A shard's command behind those of the shards that were computed in its folder before."""
    before = str(read_manifest(folder / "manifest.json").get("command", ""))
    return "\n".join(dict.fromkeys([*filter(None, before.split("\n")), command]))


def without_empty_shards(folders: Sequence[Path]) -> list[Path]:
    """Without the folders of shards that no cell fell to, as long as there are others."""
    from benchmark.running.store import Store

    manifests = {folder: read_manifest(folder / "manifest.json") for folder in folders}
    left = [f for f, said in manifests.items() if not said or said["cells"] or Store(f).stored_keys()]
    return left or list(folders)


def spelled_call(function: str, *arguments: Any, **named: Any) -> str:
    """A call of :mod:`benchmark.api` as one would write it, without what is left at its default."""
    defaults: dict[str, Any] = {
        "device": "auto",
        "backend": "loky",
        "plugins": (),
        "metrics": (),
        "highlight": (),
        "fresh": False,
        "together": 1,
    }
    given = {k: v for k, v in named.items() if v is not None and v != defaults.get(k)}
    texts = [*map(_shown, arguments), *(f"{name}={_shown(value)}" for name, value in given.items())]
    return f"benchmark.{function}({', '.join(texts)})"


def _shown(value: Any) -> str:
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Task):
        return f"<task {value.name}>"
    if isinstance(value, list | tuple) and not isinstance(value, str):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)
