"""A named grid, as the command line bends it → the list of cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from benchmark.data.source import Identity, Size, TaskSource, identify
from benchmark.errors import BenchmarkError, unknown
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.methods.labels import Row
from benchmark.methods.loading import digest_as_loaded, load
from benchmark.methods.registry import Entry
from benchmark.protocol.missing import MODALITY_NAMES, SUBSETS, Setting, settings_for
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.arithmetic import NATIVE, PORTABLE
from benchmark.running.grid_file import EVERY_METHOD, GridConfig
from benchmark.running.store import setting_name
from benchmark.running.training import PROTOCOL_VERSION

_DEFINING = ("method", "hyperparameters", "source", "task", "seed", "training", "arithmetic")


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
    size : Size, optional
        Of the data, for estimates of the time.
    changed : dict
        The hyper-parameters that are not the method's defaults, those of training among them.
    """

    row: Row
    entry: Entry
    task: TaskSource
    seed: int
    definition: dict[str, Any]
    size: Size | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Hash of the canonical JSON of `definition`: the cell's name on disk."""
        return key_of(self.definition)

    @property
    def title(self) -> str:
        """For people: ``mult on mosi, seed 0``."""
        return f"{self.row.label} on {self.task.name}, seed {self.seed}"

    def settings(self, settings: Sequence[Setting]) -> list[Setting]:
        """Those of some settings that mean something for the cell's task."""
        return settings_for(settings, self.task.task.modalities)

    @property
    def arithmetic(self) -> str:
        """``native`` or ``portable``."""
        return str(self.definition.get("arithmetic", NATIVE))

    @property
    def training(self) -> TrainingConfig:
        """The training protocol of the cell."""
        content = {
            k: v for k, v in self.definition["training"].items() if k not in ("version", "trains_on", "modalities")
        }
        return TrainingConfig.model_validate(content)


def key_of(definition: Mapping[str, Any]) -> str:
    """The name on disk of the cell of a definition."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


def definition_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The definition of a stored cell, from its record."""
    return {name: record[name] for name in _DEFINING if name in record}


@dataclass(frozen=True)
class Grid:
    """All cells, and the settings in which each is tested."""

    name: str
    cells: list[Cell]
    settings: list[Setting]
    draw: int
    tried: tuple[tuple[Setting, int], ...] = ()
    """Settings and draws in which trials predict the validation split; see `benchmark.running.tuning`."""
    draws: int = 1
    """In how many draws, from `draw` on, cells are tested; see `in_draws`."""
    trains: bool = True
    """False: what is stored is tested, and what would have to be trained for it fails."""

    @property
    def in_draws(self) -> list[Grid]:
        """The grid in each of its draws: behind the first one only settings that chance has a part in."""
        chance = [setting for setting in self.settings if setting.by_chance]
        further = range(self.draw + 1, self.draw + self.draws) if chance else ()
        return [replace(self, draws=1), *(replace(self, settings=chance, draw=own, draws=1) for own in further)]

    @cached_property
    def setting_names(self) -> dict[str, frozenset[str]]:
        """The settings as stored cells name them, by the modalities that a task has."""
        found = {cell.task.task.modalities for cell in self.cells}
        return {
            own: frozenset(setting_name(setting, self.draw) for setting in settings_for(self.settings, own))
            for own in found
        }


def build(
    name: str,
    config: GridConfig,
    rows: Sequence[Row],
    entries: Mapping[str, Entry],
    tasks: Sequence[TaskSource],
    overrides: Mapping[str, Mapping[str, Any]],
    on_data: Callable[[Identity], None] = lambda identity: None,
    *,
    seeds: Sequence[int] | None = None,
    twins: bool = False,
) -> Grid:
    """The cells of a grid, task by task, seed by seed, so that a worker loads a task once.

    `on_data` is called with what each task's data are. `seeds` are other ones than the grid's. With `twins`, two rows
    may be the same method with the same hyper-parameters.

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
    digests = {method: digest_as_loaded(entries[method]) for method in there}
    for method, digest in digests.items():
        if not digest:
            path = entries[method].path
            raise BenchmarkError(f"the code of {method} ({path}) could not be read; give the command again")
    # A class of this Python alone is handed to workers with its digest, since they do not see its text.
    sources = {
        method: replace(entries[method], digest=digests[method]) if entries[method].cls else entries[method]
        for method in there
    }
    cells = []
    for task in tasks:
        identity = identify(task)
        on_data(identity)
        if not settings_for(config.settings, task.task.modalities):
            names = " and ".join(MODALITY_NAMES[m] for m in task.task.modalities)
            raise BenchmarkError(
                f"grid {name} has no setting in which {task.name} can be tested, whose data have only {names}; add "
                "ratio 0.0 to its ratios"
            )
        resolved = {
            row.label: hyperparameters(
                there[row.name],
                row.name,
                task.task,
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
        usual = {name: _as_one(*hyperparameters(cls, name, task.task, [])) for name, cls in there.items()}
        changed = {row.label: _others(_as_one(*resolved[row.label]), usual[row.name]) for row in rows}
        for seed in range(config.seeds) if seeds is None else seeds:
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
                        **_of_modalities(task.task.modalities),
                    },
                    **({"arithmetic": PORTABLE} if config.portable else {}),
                }
                cells.append(Cell(row, sources[row.name], task, seed, definition, identity.size, changed[row.label]))
    first: dict[str, Cell] = {}
    for cell in cells:
        if (same := first.setdefault(cell.key, cell)) is not cell and not twins:
            raise BenchmarkError(
                f"rows {same.row.label!r} and {cell.row.label!r} are the same method with the same hyper-parameters; "
                "leave one out"
            )
    return Grid(name, cells, config.settings, config.draw, draws=config.draws)


def _of_modalities(modalities: str) -> dict[str, str]:
    """What training on incomplete samples draws subsets of, where the data lack a modality."""
    return {} if modalities == SUBSETS[-1] else {"modalities": modalities}


def _as_one(constructor: Mapping[str, Any], training: TrainingConfig) -> dict[str, Any]:
    return training.model_dump(mode="json") | dict(constructor)


def _others(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some values, and of mappings among them, that are not the usual ones."""
    return {
        name: _others(value, usual[name]) if isinstance(value, dict) and isinstance(usual.get(name), dict) else value
        for name, value in values.items()
        if name not in usual or value != usual[name]
    }
