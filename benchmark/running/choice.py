"""Which part of a grid is asked for: its rows, its tasks and what is set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import methods as known_methods
from benchmark.data.source import Identity, TaskSource, find_tasks
from benchmark.errors import BenchmarkError, unknown
from benchmark.files.validation import validated
from benchmark.methods.registry import Entry, name_of
from benchmark.running.grid_file import GridConfig, load_grid

if TYPE_CHECKING:
    from benchmark.methods.labels import Row
    from benchmark.protocol.method import Method
    from benchmark.running.grid import Grid

Overrides = Mapping[str, Mapping[str, Any]]


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

    @property
    def labels(self) -> list[str]:
        """The rows' labels."""
        return [row.label for row in self.rows]

    def build(self, on_data: Callable[[Identity], None] = lambda identity: None) -> Grid:
        """Its cells; see :func:`benchmark.running.grid.build`."""
        from benchmark.running.grid import build  # torch is imported from here on

        return build(self.name, self.config, self.rows, self.entries, self.tasks, self.overrides, on_data)


def choose(
    grid: str | Path | Mapping[str, Any],
    *,
    methods: Sequence[str | type[Method]] | None = None,
    tasks: Sequence[str] | None = None,
    seeds: int | None = None,
    overrides: Overrides | None = None,
    plugins: Iterable[Path] = (),
    data: Path | None = None,
) -> Choice:
    """Read a grid and bend it.

    Parameters
    ----------
    grid : str, Path or mapping
        A grid's name, the path of a YAML file, or the content of one.
    methods : sequence of str or type, optional
        Labels of rows, groups, or decorated classes; by default as the grid says, and what the plug-ins bring.
    tasks : sequence of str, optional
    seeds : int, optional
    overrides : mapping of method to mapping, optional
    plugins : iterable of Path
        Besides those of the grid.
    data : Path, optional
        Folder with data files; by default all tasks are simulated.

    Raises
    ------
    BenchmarkError
        If a name is unknown, or a file cannot be used; says where the name stands.
    """
    name, config = load_grid(grid)
    place = name if isinstance(grid, Mapping) else str(grid)
    if seeds is not None:
        config = validated(GridConfig, {**config.model_dump(), "seeds": seeds}, "--seeds")
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
    found, said = find_tasks(
        tasks or config.tasks,
        data,
        asked=tasks is not None,
        sizes=None if simulator is None else (simulator.train, simulator.valid, simulator.test),
    )
    return Choice(name, config, rows, found, entries, overrides or {}, remarks + said)


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


def check_against(label: str | None, labels: Sequence[str]) -> None:
    """Refuse a reference that is no row; raises BenchmarkError."""
    if label is not None and label not in labels:
        raise BenchmarkError(unknown("row in --against", label, labels))


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Say where the name stands that is wrong."""
    try:
        yield
    except BenchmarkError as error:
        raise BenchmarkError(f"{place}: {error}") from error
