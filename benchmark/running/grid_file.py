"""What a person may configure, validated; every error names the offending key, and its line where it has one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from benchmark.data.task import Task, find_task
from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.files.validation import Strict, describe, validated
from benchmark.files.yamlfiles import read_value, read_yaml
from benchmark.methods.labels import Variant
from benchmark.names import GRIDS
from benchmark.protocol.missing import PATTERNS, RANDOM, SUBSETS, Numbers, Setting
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.paper import PaperTable, check_table_name

MARGIN = 1.0
"""Points within which two methods count as alike, where a grid says nothing else."""
EVERY_METHOD = "training"  # as a method's name in --set: all of them
_GRID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+\-. ]{0,59}")
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+\-=./()]{0,39}")


class SimulatorConfig(Strict):
    """Sizes of simulated splits, where a grid wants other ones than the task's: three numbers, or ``size: real``."""

    size: Literal["real"] | None = None
    train: int | None = Field(default=None, ge=8, le=1_000_000)
    valid: int | None = Field(default=None, ge=8, le=1_000_000)
    test: int | None = Field(default=None, ge=8, le=1_000_000)

    @model_validator(mode="after")
    def _one_way(self) -> SimulatorConfig:
        given = [number for number in (self.train, self.valid, self.test) if number is not None]
        if len(given) != (0 if self.size else 3):
            raise ValueError("write train, valid and test, or size: real and none of them")
        return self

    @property
    def sizes(self) -> tuple[int, int, int] | None:
        """Of the splits; None for those of the real sets."""
        if self.train is None or self.valid is None or self.test is None:
            return None
        return self.train, self.valid, self.test


class Tune(Strict):
    """How much every method is tuned: see :mod:`benchmark.running.tuning`.

    Parameters
    ----------
    configurations : int
        Random ones, besides the default; with `hours`, at most so many.
    hours : float, optional
        A time that is divided equally between the methods and tasks.
    """

    configurations: int = Field(ge=1, le=10_000)
    hours: float | None = Field(default=None, gt=0, le=100_000)


class GridConfig(Strict):
    """A grid file.

    Parameters
    ----------
    description : str
        One line, shown by ``--list``.
    methods : list of str, "all" or "both ways"
        Method names, with ``+mrm`` or ``-mrm`` behind where wanted. "both ways": every method, on whole and on
        incomplete samples.
    variants : dict of name to Variant
        Further rows, under names of their own.
    tasks : list
        Names of tasks, or paths of task files relative to the grid file; from Python also :class:`Task`.
    seeds : int
        How many; they are 0, 1, ….
    ratios : list of float, or of mapping of modality to float or list of float
        Frame-missing ratios, one decimal each: a number for all modalities; or one for each, 0 for those left out, and
        of lists every combination.
    noise : list, as `ratios`
        Standard deviations of noise on samples that are whole.
    random : bool
        Test each sample with its own non-empty subset of the modalities, also at every ratio that all modalities share.
    subsets : list of str
        Available modalities, such as ``la``.
    patterns : list of str
        How frames go missing, ``scattered`` among them; see :class:`benchmark.protocol.missing.Setting`.
    crossed : bool
        Test every subset at every ratio, not only ratios on all modalities and subsets without missing frames.
    draw : int
        Which draw of the test masks.
    draws : int
        How many draws, from that one on: settings that chance has a part in are tested in each of them, and tables are
        of the means over them.
    metrics : list of str
        Print a table of each of these, as with ``--metrics``.
    tables : dict of name to PaperTable
        Tables for a paper, as with ``--table``.
    against : str, optional
        The row that all others are tested against in the report.
    highlight : list of str
        Methods that stand out in figures, as with ``--highlight``.
    margin : float
        Points, of MAE and Corr hundredths, within which the report calls a method and that row alike.
    training : dict
        Fields of :class:`TrainingConfig`, for all methods.
    set : dict of method to dict
        Hyper-parameters by method, as with ``--set``.
    simulator : dict, optional
        See :class:`SimulatorConfig`.
    plugins : list of str
        Python files with further methods, relative to the grid file.
    portable : bool
        Compute in arithmetic that gives the same bits on every x86-64 processor; see `benchmark.running.arithmetic`.
    tune : int or Tune, optional
        Tune every method with so many random configurations.
    """

    description: str
    methods: list[str] | str = "all"
    variants: dict[str, Variant] = {}
    tasks: list[Any]
    seeds: int = Field(ge=1, le=10_000)
    ratios: list[Any] = []
    noise: list[Any] = []
    random: bool = False
    subsets: list[str] = []
    patterns: list[str] = ["scattered"]
    crossed: bool = False
    draw: int = Field(default=0, ge=0, lt=2**31)
    draws: int = Field(default=1, ge=1, le=100)
    metrics: list[str] = []
    tables: dict[str, PaperTable] = {}
    against: str | None = None
    highlight: list[str] = []
    margin: float = Field(default=MARGIN, gt=0, le=50)
    training: dict[str, Any] = {}
    set: dict[str, dict[str, Any]] = {}
    simulator: SimulatorConfig | None = None
    plugins: list[str] = []
    portable: bool = False
    tune: Tune | None = None

    @field_validator("tune", mode="before")
    @classmethod
    def _tune(cls, value: Any) -> Any:
        return {"configurations": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: list[str] | str) -> list[str] | str:
        if isinstance(value, str) and value not in ("all", "both ways"):
            raise ValueError("write 'all', 'both ways' or a list of method names")
        return value

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, value: list[Any]) -> list[Any]:
        if not value:
            raise ValueError("name at least one task")
        for task in value:
            if not isinstance(task, str | Path | Task | dict):
                raise ValueError(f"{one_line(repr(task))} is no task; write its name, or the path of its .yaml file")
        return value

    @field_validator("ratios")
    @classmethod
    def _ratios(cls, value: list[Any]) -> list[Numbers]:
        found = [Setting(ratio=ratio).ratio for ratio in _combined(value)]
        for ratio in found:
            for number in ratio if isinstance(ratio, tuple) else (ratio,):
                if round(number, 1) != number:
                    raise ValueError(f"ratio {number!r} has more than one decimal")
        return found

    @field_validator("noise")
    @classmethod
    def _noise(cls, value: list[Any]) -> list[Numbers]:
        return [Setting(noise=noise).noise for noise in _combined(value)]

    @field_validator("subsets")
    @classmethod
    def _subsets(cls, value: list[str]) -> list[str]:
        for subset in value:
            if Setting(subset).available.endswith(RANDOM):
                raise ValueError(f"{subset!r} is no subset of modalities; random: true gives each sample its own")
        return value

    @field_validator("patterns")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            Setting("lav", 0.5, pattern)
        if "scattered" not in value:
            raise ValueError("add scattered: tables and degradation curves are of it")
        return value

    @field_validator("variants")
    @classmethod
    def _variants(cls, value: dict[str, Variant]) -> dict[str, Variant]:
        for name in value:
            if not _VARIANT.fullmatch(name):
                raise ValueError(f"variant name {name!r} must be of letters, digits, spaces and any of _+-=./()")
        return value

    @field_validator("tables")
    @classmethod
    def _tables(cls, value: dict[str, PaperTable]) -> dict[str, PaperTable]:
        for name in value:
            try:
                check_table_name(name, "tables")
            except BenchmarkError as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("training")
    @classmethod
    def _training(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            TrainingConfig.model_validate(value)
        except ValidationError as error:
            raise ValueError(describe(error, TrainingConfig)) from error
        return value

    @property
    def settings(self) -> list[Setting]:
        """All settings, each once, intra-modality ones first."""
        if not (self.ratios or self.subsets or self.noise or self.random):
            return [Setting()]
        subsets = [subset for subset in SUBSETS if subset in self.subsets]
        patterns = [pattern for pattern in PATTERNS if pattern in self.patterns]
        ratios = sorted(ratio for ratio in self.ratios if not isinstance(ratio, tuple))
        wanted = [Setting("lav", ratio, pattern) for pattern in patterns for ratio in ratios]
        wanted += [Setting(subset) for subset in subsets]
        if self.crossed:
            wanted += [
                Setting(subset, ratio, pattern) for pattern in patterns for subset in subsets for ratio in ratios
            ]
        if self.random:
            own = SUBSETS[-1] + RANDOM
            wanted += [Setting(own), *(Setting(own, ratio, pattern) for pattern in patterns for ratio in ratios)]
        several = sorted(ratio for ratio in self.ratios if isinstance(ratio, tuple))
        wanted += [Setting("lav", ratio, pattern) for pattern in patterns for ratio in several]
        wanted += [Setting(noise=noise) for noise in self.noise]
        return list(dict.fromkeys(wanted))


def _combined(entries: Sequence[Any]) -> list[Any]:
    """Ratios or strengths of noise as a grid gives them; of mappings with lists, every combination."""
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, Mapping):
            lists = [own if isinstance(own, list) else [own] for own in entry.values()]
            if empty := [name for name, own in zip(entry, lists, strict=True) if not own]:
                raise ValueError(f"{empty[0]} has no number; write one, or leave {empty[0]} out")
            found += [dict(zip(entry, combined, strict=True)) for combined in product(*lists)]
        elif isinstance(entry, list):
            raise ValueError(f"{entry!r} is no number; write one for each modality as {{l: 0.1, a: 0.5, v: 0.9}}")
        else:
            found.append(entry)
    return found


def grid_names() -> list[str]:
    """The grids that come with the benchmark."""
    return sorted(path.stem for path in GRIDS.glob("*.yaml"))


def load_grid(grid: str | Path | Mapping[str, Any]) -> tuple[str, GridConfig]:
    """A grid by name, by the path of a YAML file, or by its content.

    Returns
    -------
    str
        Its name: the file's stem; ``grid`` for one given by its content, unless that has a key ``name``.
    GridConfig
        Its tasks are :class:`Task`; paths of plug-ins are absolute, or as given where the grid is no file.

    Raises
    ------
    BenchmarkError
        If there is no such grid, or the file is no YAML or has an unknown or unusable key.
    """
    if isinstance(grid, Mapping):
        content = dict(grid)
        name = str(content.pop("name", "grid"))
        _check_grid_name(name, "grid")
        config = validated(GridConfig, {"description": name, **content}, f"grid {name}")
        with _in_line(None, f"grid {name}"):
            return name, config.model_copy(update={"tasks": [find_task(task) for task in config.tasks]})
    name = str(grid)
    path = GRIDS / f"{name}.yaml"
    if name not in grid_names():
        path = Path(name)
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise BenchmarkError(unknown("grid", name, grid_names()) + "; or give the path of a .yaml file")
    _check_grid_name(path.stem, f"grid file {one_line(str(path))}")
    try:
        content, lines = read_yaml(path, "grid file")
    except FileNotFoundError as error:
        raise BenchmarkError(f"cannot read grid file {path}: {error.strerror}") from error
    config = validated(GridConfig, content, f"grid file {path.name}", lines)
    folder, said = path.parent.resolve(), map(os.path.expanduser, config.plugins)
    with _in_line(lines.get(("tasks",)), f"grid file {path.name}"):
        tasks = [find_task(task, folder) for task in config.tasks]
    return path.stem, config.model_copy(update={"plugins": [str(folder / plugin) for plugin in said], "tasks": tasks})


@contextmanager
def _in_line(line: int | None, where: str) -> Iterator[None]:
    """Say where in a grid the task stands that is wrong."""
    try:
        yield
    except BenchmarkError as error:
        raise BenchmarkError(f"{where}{'' if line is None else f', line {line}'}: key 'tasks': {error}") from error


def _check_grid_name(name: str, where: str) -> None:
    if not _GRID.fullmatch(name):
        raise BenchmarkError(
            f"{where}: its name becomes that of the output folder, so it must be of letters, digits, _, and behind the "
            "first also of +, -, . and blanks"
        )


def parse_overrides(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``["mult.layers=3"]`` → ``{"mult": {"layers": 3}}``; values as in YAML.

    Raises
    ------
    BenchmarkError
        If one does not have that form, its value is no plain YAML, or it is part of what another sets as a whole.
    """
    overrides: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        method, dot, key = target.strip().partition(".")
        if not (equals and dot and method and key):
            raise BenchmarkError(
                f"--set {assignment!r} cannot be read; write METHOD.KEY=VALUE, such as mult.layers=3, "
                f"or {EVERY_METHOD}.epochs=5 for all methods"
            )
        value = read_value(text, f"--set {assignment!r}")
        node: Any = overrides.setdefault(method, {})
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise BenchmarkError(f"--set {assignment!r}: {parent!r} is set to {node!r} as well; leave one out")
        node[leaf] = value
    return overrides
