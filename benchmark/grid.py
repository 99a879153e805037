"""A named grid, as the command line bends it → the list of cells."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from benchmark.config import GridConfig, TrainingConfig, validated
from benchmark.data.source import Identity, TaskSource, identify
from benchmark.errors import BenchmarkError
from benchmark.method import Method
from benchmark.missing import Setting
from benchmark.registry import Entry, Row, load, source_digest, unknown
from benchmark.store import setting_name
from benchmark.training import PROTOCOL_VERSION
from benchmark.yamlfiles import read_value

EVERY_METHOD = "training"  # as a method's name in --set: all of them


@dataclass(frozen=True)
class Cell:
    """One method trained on one task with one seed.

    Parameters
    ----------
    row : Row
        The method as it stands in tables.
    entry : Entry
        Where the method's code lies.
    task : TaskSource
    seed : int
    definition : dict
        All that decides what comes out; see `key`.
    """

    row: Row
    entry: Entry
    task: TaskSource
    seed: int
    definition: dict[str, Any]

    @cached_property
    def key(self) -> str:
        """Hash of the canonical JSON of `definition`: the cell's name on disk."""
        canonical = json.dumps(self.definition, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:24]

    @property
    def title(self) -> str:
        """For people: ``mult on mosi, seed 0``."""
        return f"{self.row.label} on {self.task.name}, seed {self.seed}"

    @property
    def training(self) -> TrainingConfig:
        """The training protocol of the cell."""
        content = {k: v for k, v in self.definition["training"].items() if k not in ("version", "trains_on")}
        return TrainingConfig.model_validate(content)


@dataclass(frozen=True)
class Grid:
    """All cells, and the settings in which each is tested."""

    name: str
    cells: list[Cell]
    settings: list[Setting]
    draw: int

    @cached_property
    def setting_names(self) -> frozenset[str]:
        """The settings as stored cells name them."""
        return frozenset(setting_name(setting, self.draw) for setting in self.settings)


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


def build(
    name: str,
    config: GridConfig,
    rows: Sequence[Row],
    entries: Mapping[str, Entry],
    tasks: Sequence[TaskSource],
    overrides: Mapping[str, Mapping[str, Any]],
    on_data: Callable[[Identity], None] = lambda identity: None,
) -> Grid:
    """The cells of a grid, task by task, seed by seed, so that a worker loads a task once.

    `on_data` is called with what each task's data are.

    Raises
    ------
    BenchmarkError
        For hyper-parameters that are unknown, of the wrong type or of a method without a row, or data that cannot be
        used.
    """
    there = {row.name: load(entries[row.name]) for row in rows}
    for where, origin in ((f"'set' of grid {name}", config.set), ("--set", overrides)):
        for method, values in origin.items():
            if method != EVERY_METHOD and method not in entries:
                raise BenchmarkError(unknown(f"method in {where}", method, [*entries, EVERY_METHOD]))
            if method != EVERY_METHOD and method not in there:
                raise BenchmarkError(
                    f"{where} sets {', '.join(f'{method}.{key}' for key in values)}, but no row is of {method}; "
                    f"there are: {', '.join(sorted(there))}"
                )
    digests = {name: source_digest(entries[name]) for name in there}
    cells = []
    for task in tasks:
        identity = identify(task)
        on_data(identity)
        resolved = {
            row.label: hyperparameters(
                there[row.name],
                row.name,
                task.name,
                [
                    config.training,
                    config.set.get(EVERY_METHOD, {}),
                    config.set.get(row.name, {}),
                    overrides.get(EVERY_METHOD, {}),
                    overrides.get(row.name, {}),
                    dict(row.variant),
                ],
            )
            for row in rows
        }
        for seed in range(config.seeds):
            for row in rows:
                constructor, training = resolved[row.label]
                definition = {
                    "method": row.name,
                    "hyperparameters": constructor,
                    "source": digests[row.name],
                    "task": {"name": task.name, "fingerprint": identity.fingerprint},
                    "seed": seed,
                    "training": {
                        "version": PROTOCOL_VERSION,
                        "trains_on": row.trains_on,
                        **training.model_dump(mode="json"),
                    },
                }
                cells.append(Cell(row, entries[row.name], task, seed, definition))
    first: dict[str, Cell] = {}
    for cell in cells:
        if (same := first.setdefault(cell.key, cell)) is not cell:
            raise BenchmarkError(
                f"rows {same.row.label!r} and {cell.row.label!r} are the same method with the same hyper-parameters; "
                "leave one out"
            )
    return Grid(name, cells, config.settings, config.draw)


def hyperparameters(
    cls: type[Method], name: str, task: str, overrides: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], TrainingConfig]:
    """What a method is built and trained with.

    Later ones win: the constructor's and the harness's defaults, the class's `training_defaults` and `per_task`, then
    `overrides` in order.

    Returns
    -------
    dict
        All keyword arguments of the constructor.
    TrainingConfig

    Raises
    ------
    BenchmarkError
        For a key that is neither, or a value of the wrong type.
    """
    parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]
    constructor = {p.name: p.default for p in parameters}
    hints = get_type_hints(cls.__init__)
    training: dict[str, Any] = {}
    for origin in (cls.training_defaults, cls.per_task.get(task, {}), *overrides):
        for key, value in origin.items():
            if key in constructor:
                constructor[key] = _typed(hints[key], value, f"{name}.{key}")
            elif key in TrainingConfig.model_fields:
                both = isinstance(value, dict) and isinstance(training.get(key), dict)
                training[key] = {**training[key], **value} if both else value
            else:
                known = [*constructor, *TrainingConfig.model_fields]
                raise BenchmarkError(unknown(f"hyper-parameter of {name}", key, known))
    return constructor, validated(TrainingConfig, training, f"training of {name}")


def _typed(hint: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False)).validate_python(value, strict=None)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise BenchmarkError(f"{where}={value!r}: {message[:1].lower() + message[1:]}") from error
