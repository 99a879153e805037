"""Reading ``manifest.json``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


def cell_summary(record: dict[str, Any]) -> dict[str, Any]:
    """What the manifest keeps of a done cell."""
    return {
        "method": record["label"],
        "task": record["task"]["name"],
        "source": record["data"]["source"],
        "seed": record["seed"],
        "key": record["key"],
        "seconds": record["seconds"],
        "training_seconds": record["training_seconds"],
        **({"tests": told} if isinstance(told := record.get("tests"), int) and told > 0 else {}),
        "epochs": record["epochs"],
        "parameters": record["parameters"],
        **({"changed": changed} if isinstance(changed := record.get("changed"), dict) and changed else {}),
        **({"outputs": outputs_digest(record["outputs"])} if "outputs" in record else {}),
        "mechanisms": _as_told(_Mechanisms, record.get("mechanisms", {})),
        **({"account": told} if (told := _as_told(_Account, record.get("account"))) else {}),
    }


def _as_told(what: type[BaseModel], found: Any) -> dict[str, Any]:
    """What a cell tells of something; nothing where it is not as cells tell it."""
    try:
        return what.model_validate(found).model_dump()
    except ValueError:
        return {}


class _Stage(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    stage: str
    kept: int
    epochs: int
    idle: int = 1
    gradient: dict[str, float] = {}
    clipped: float = 1.0


class _Effect(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    value: float
    idle: float


class _Mechanisms(BaseModel):
    """What :class:`benchmark.running.mechanisms.Mechanisms` found."""

    model_config = ConfigDict(strict=True)
    stages: list[_Stage] = []
    effects: dict[str, _Effect] = {}
    fault: str = ""


class _Account(BaseModel):
    """What :func:`benchmark.running.accounts.account_of` gives."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    device: str = ""
    samples: int = Field(0, ge=0)
    threads: int = Field(1, ge=1)
    repeats: int = Field(0, ge=0)
    seconds: float | None = Field(None, ge=0)
    operations: float | None = Field(None, ge=0)
    uncounted: list[str] = []
    memory: int | None = Field(None, ge=0, lt=2**53)
    fault: str = ""


def outputs_digest(by_setting: dict[str, str]) -> str:
    """One digest of all outputs of a cell, from those by setting."""
    return hashlib.sha256(json.dumps(by_setting, sort_keys=True).encode()).hexdigest()[:16]


class _Cell(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    method: str
    task: str
    source: str = ""
    seed: int = 0
    seconds: float
    training_seconds: float = 0.0
    tests: int = Field(0, ge=0, lt=2**53)
    epochs: int = Field(0, ge=0, lt=2**53)
    parameters: int = Field(0, ge=0, lt=2**53)
    key: str = ""
    changed: dict[str, Any] = {}
    outputs: str = ""
    mechanisms: _Mechanisms = _Mechanisms()
    account: _Account | None = None


class _Planned(BaseModel):
    model_config = ConfigDict(strict=True)
    task: str
    source: str
    method: str
    seed: int
    key: str = Field(pattern="^[0-9a-f]+$")


class _Failure(BaseModel):
    model_config = ConfigDict(strict=True)
    method: str
    task: str
    seed: int | str


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)
    label: str
    description: str
    display: str = ""


class _Reading(BaseModel):
    model_config = ConfigDict(strict=True)
    task: str
    source: str
    method: str
    label: str
    options: dict[str, Any]


class _Tuning(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    task: str
    source: str
    method: str
    tuned: str
    metric: str
    valid: list[float | None] = Field(min_length=1)
    test: list[float | None]
    values: list[dict[str, Any]]
    opened: int = 0

    @model_validator(mode="after")
    def _of_one_length(self) -> _Tuning:
        if not len(self.valid) == len(self.test) == len(self.values):
            raise ValueError("a score or a configuration of a trial is missing")
        return self


class _TunedPair(BaseModel):
    model_config = ConfigDict(strict=True)
    method: str
    tuned: str
    task: str
    source: str
    tried: int
    failed: int
    opened_before: int


class _Budget(BaseModel):
    """What :func:`benchmark.evidence.trials.budgets_of` tells."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    configurations: int | None = None
    hours: float | None = None
    seed: int | None = None
    rule: str = ""
    draws: list[int] = []
    pairs: list[_TunedPair]


class _Manifest(BaseModel):
    """What is relied on where a stored manifest is read; see :func:`build_manifest`."""

    model_config = ConfigDict(strict=True)
    command: str = ""
    grid: str = ""
    selection: str = ""
    benchmark: str | None = None
    against: str | None = None
    margin: float | None = Field(None, gt=0, le=50)
    metrics: list[str] = []
    tables: dict[str, dict[str, Any]] = {}
    highlight: list[str] = []
    methods: list[_Row] = []
    versions: list[dict[str, Any]] = []
    machine: dict[str, Any] = {}
    tasks: list[dict[str, Any]] = []
    readings: list[_Reading] = []
    tuning: list[_Tuning] = []
    tuned_by: list[_Budget] = []
    cells: list[_Cell] = []
    failures: list[_Failure] = []
    not_computed: list[_Planned] = []


def read_manifest(path: Path) -> dict[str, Any]:
    """A stored manifest; empty where none can be read, or it is not as :func:`build_manifest` makes it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = _Manifest.model_validate(content).cells
    except (OSError, ValueError, RecursionError):
        return {}
    return {**content, "cells": [cell.model_dump() for cell in cells]}
