"""What a person may configure, validated; every error names the offending key, and its line where it has one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from benchmark.data.source import TASKS
from benchmark.errors import BenchmarkError, one_line
from benchmark.missing import MRM, PATTERNS, SUBSETS, Setting
from benchmark.registry import unknown
from benchmark.yamlfiles import Place, line_of, read_yaml

M = TypeVar("M", bound=BaseModel)
GRIDS = Path(__file__).resolve().parent / "grids"
_GRID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+\-. ]{0,59}")
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+\-=./()]{0,39}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MRMConfig(_Strict):
    """The distributions of Modality Random Missing; see :class:`benchmark.missing.MRM`."""

    frame_probability: float = Field(default=MRM.frame_probability, ge=0, le=1)
    modality_probability: float = Field(default=MRM.modality_probability, ge=0, le=1)
    max_ratio: float = Field(default=MRM.max_ratio, ge=0, le=1)


class TrainingConfig(_Strict):
    """The training protocol, one for all methods but for what a method's paper says otherwise.

    The checkpoint kept, and the epoch to stop at, are chosen by the cross-entropy on the validation split, under
    the same kind of missingness as the method trains on; `validation_draws` masks of each validation sample are
    drawn once for methods that train on incomplete samples.
    """

    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=6, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    validation_draws: int = Field(default=3, ge=1)
    mrm: MRMConfig = MRMConfig()


class SimulatorConfig(_Strict):
    """Sizes of simulated splits, where a grid wants other ones than the simulator's."""

    train: int = Field(ge=8, le=1_000_000)
    valid: int = Field(ge=8, le=1_000_000)
    test: int = Field(ge=8, le=1_000_000)


class Variant(_Strict):
    """A row of a table that is a configuration of a method, as in an ablation.

    Parameters
    ----------
    method : str
        With ``+mrm`` or ``-mrm`` behind where wanted.
    set : dict
        Hyper-parameters that differ; they win over ``--set``.
    """

    method: str
    set: dict[str, Any]


class GridConfig(_Strict):
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
    tasks : list of str
    seeds : int
        How many; they are 0, 1, ….
    ratios : list of float
        Frame-missing ratios applied to all modalities, one decimal each.
    subsets : list of str
        Available modalities, such as ``la``.
    patterns : list of str
        How frames go missing, ``scattered`` among them; see :class:`benchmark.missing.Setting`.
    crossed : bool
        Test every subset at every ratio, not only ratios on all modalities and subsets without missing frames.
    draw : int
        Which draw of the test masks.
    against : str, optional
        The row that all others are tested against in the report.
    training : dict
        Fields of :class:`TrainingConfig`, for all methods.
    set : dict of method to dict
        Hyper-parameters by method, as with ``--set``.
    simulator : dict, optional
        See :class:`SimulatorConfig`.
    """

    description: str
    methods: list[str] | str = "all"
    variants: dict[str, Variant] = {}
    tasks: list[str]
    seeds: int = Field(ge=1, le=10_000)
    ratios: list[float] = []
    subsets: list[str] = []
    patterns: list[str] = ["scattered"]
    crossed: bool = False
    draw: int = Field(default=0, ge=0, lt=2**31)
    against: str | None = None
    training: dict[str, Any] = {}
    set: dict[str, dict[str, Any]] = {}
    simulator: SimulatorConfig | None = None

    @field_validator("methods")
    @classmethod
    def _methods(cls, value: list[str] | str) -> list[str] | str:
        if isinstance(value, str) and value not in ("all", "both ways"):
            raise ValueError("write 'all', 'both ways' or a list of method names")
        return value

    @field_validator("tasks")
    @classmethod
    def _tasks(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("name at least one task")
        for task in value:
            if task not in TASKS:
                raise ValueError(unknown("task", task, TASKS))
        return value

    @field_validator("ratios")
    @classmethod
    def _ratios(cls, value: list[float]) -> list[float]:
        for ratio in value:
            Setting("lav", ratio)
            if round(ratio, 1) != ratio:
                raise ValueError(f"ratio {ratio!r} has more than one decimal")
        return value

    @field_validator("subsets")
    @classmethod
    def _subsets(cls, value: list[str]) -> list[str]:
        for subset in value:
            Setting(subset)
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
        if not self.ratios and not self.subsets:
            return [Setting()]
        subsets = [subset for subset in SUBSETS if subset in self.subsets]
        patterns = [pattern for pattern in PATTERNS if pattern in self.patterns]
        wanted = [Setting("lav", ratio, pattern) for pattern in patterns for ratio in sorted(self.ratios)]
        wanted += [Setting(subset) for subset in subsets]
        if self.crossed:
            wanted += [
                Setting(subset, ratio, pattern)
                for pattern in patterns
                for subset in subsets
                for ratio in sorted(self.ratios)
            ]
        return list(dict.fromkeys(wanted))


def grid_names() -> list[str]:
    """The grids that come with the benchmark."""
    return sorted(path.stem for path in GRIDS.glob("*.yaml"))


def load_grid(name: str) -> tuple[str, GridConfig]:
    """A grid by name, or by the path of a YAML file.

    Returns
    -------
    str
        Its name: the file's stem.
    GridConfig

    Raises
    ------
    BenchmarkError
        If there is no such grid, or the file is no YAML or has an unknown or unusable key.
    """
    path = GRIDS / f"{name}.yaml"
    if name not in grid_names():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            raise BenchmarkError(unknown("grid", name, grid_names()) + "; or give the path of a .yaml file")
    if not _GRID.fullmatch(path.stem):
        raise BenchmarkError(
            f"grid file {one_line(str(path))}: its name becomes that of the output folder, so it must be of letters, "
            "digits, _, and behind the first also of +, -, . and blanks"
        )
    try:
        content, lines = read_yaml(path, "grid file")
    except FileNotFoundError as error:
        raise BenchmarkError(f"cannot read grid file {path}: {error.strerror}") from error
    return path.stem, validated(GridConfig, content, f"grid file {path.name}", lines)


class Hyperparameter(_Strict):
    """A hyper-parameter in a card: its value, other values by task, and where they come from."""

    value: Any = None
    per_task: dict[str, Any] = {}
    source: str = ""


class Published(_Strict):
    """A number in a card that somebody else reports: not reproduced here."""

    task: str
    condition: str
    metric: str
    value: float
    status: str
    source: str
    row: str | None = None


class CardConfig(_Strict):
    """A method's card. The methods here have all keys (a test sees to it); a plug-in's card may lack any."""

    name: str | None = None
    title: str | None = None
    paper: str | None = None
    year: int | None = None
    official_code: str | None = None
    idea: str | None = None
    groups: list[str] = []
    trains_on: Literal["complete", "missing"] | None = None
    hyperparameters: dict[str, Hyperparameter] = {}
    deviations: list[str] = []
    choices: list[str] = []
    published: list[Published] = []


def validated(model: type[M], content: dict[str, Any], where: str, lines: Mapping[Place, int] | None = None) -> M:
    """`content` as `model`, or a BenchmarkError that names the first offending key, and its line if `lines` has it."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        line = line_of(_place(error), lines or {})
        where = where if line is None else f"{where}, line {line}"
        raise BenchmarkError(f"{where}: {describe(error, model)}") from error


def _first(error: ValidationError) -> ErrorDetails:
    """The problem to tell: an unknown key, since one that is missing may be that one misspelt; else the first."""
    problems = error.errors()
    return next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])


def _place(error: ValidationError) -> Place:
    """Where that problem is, also in what a validator has validated in turn."""
    first = _first(error)
    inner = getattr(first.get("ctx", {}).get("error"), "__cause__", None)
    return first["loc"] + (_place(inner) if isinstance(inner, ValidationError) else ())


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """A validation error in one line: an unknown key, or the first problem."""
    first = _first(error)
    key = one_line(".".join(str(part) for part in first["loc"]))
    if first["type"] == "extra_forbidden":
        *place, leaf = first["loc"]
        return unknown("key", one_line(str(leaf)), _fields(model, tuple(place)), shown=key)
    message = one_line(first["msg"].removeprefix("Value error, "), 400)
    given = "" if first["type"] == "missing" else f" (given: {one_line(repr(first['input']), 60)})"
    return f"key {key!r}: {message[:1].lower() + message[1:]}{given}"


def _fields(model: Any, place: Place) -> list[str]:
    """The keys there are at a place: of a model, a model or nothing, or the models in a list or dictionary."""
    for part in place:
        model = model.model_fields[part].annotation if hasattr(model, "model_fields") else get_args(model)[-1]
        if isinstance(model, UnionType):
            model = get_args(model)[0]
    return list(model.model_fields)
