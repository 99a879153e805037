"""What a person may configure, validated; every error names the offending key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from benchmark.errors import BenchmarkError
from benchmark.missing import MRM, PATTERNS, SUBSETS, Setting
from benchmark.registry import unknown

M = TypeVar("M", bound=BaseModel)
GRIDS = Path(__file__).resolve().parent / "grids"
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+\-=./()]{0,39}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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

    train: int = Field(ge=8)
    valid: int = Field(ge=8)
    test: int = Field(ge=8)


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
        How frames go missing; see :class:`benchmark.missing.Setting`.
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
    seeds: int = Field(ge=1)
    ratios: list[float] = []
    subsets: list[str] = []
    patterns: list[str] = ["scattered"]
    crossed: bool = False
    draw: int = 0
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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"cannot read grid file {path}: {_reason(error)}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise BenchmarkError(
            f"grid file {path}{where} is no YAML: {getattr(error, 'problem', None) or error}"
        ) from error
    if not isinstance(content, dict):
        raise BenchmarkError(f"grid file {path} must hold keys such as 'description', 'tasks' and 'seeds'")
    return path.stem, validated(GridConfig, content, f"grid file {path.name}")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is no UTF-8 text"


def validated(model: type[M], content: dict[str, Any], where: str) -> M:
    """`content` as `model`, or a BenchmarkError that names the first offending key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise BenchmarkError(f"{where}: {describe(error, model)}") from error


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem of a validation error in one line."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known: Any = model
        for part in first["loc"][:-1]:
            known = known.model_fields[part].annotation
        return unknown("key", key, known.model_fields)
    message = first["msg"].removeprefix("Value error, ").replace("\n", " ")
    given = "" if first["type"] == "missing" else f" (given: {first['input']!r})"
    return f"key {key!r}: {message[:1].lower() + message[1:]}{given}"
