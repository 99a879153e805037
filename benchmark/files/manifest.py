"""Reading ``manifest.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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
        "epochs": record["epochs"],
        "parameters": record["parameters"],
    }


class _Cell(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)
    method: str
    task: str
    source: str = ""
    seconds: float
    training_seconds: float = 0.0
    epochs: int = Field(0, ge=0, lt=2**53)
    parameters: int = Field(0, ge=0, lt=2**53)


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)
    label: str
    description: str


class _Reading(BaseModel):
    model_config = ConfigDict(strict=True)
    task: str
    source: str
    method: str
    label: str
    options: dict[str, Any]


class _Manifest(BaseModel):
    """What is relied on where a stored manifest is read; see :func:`build_manifest`."""

    model_config = ConfigDict(strict=True)
    command: str = ""
    grid: str = ""
    selection: str = ""
    against: str | None = None
    methods: list[_Row] = []
    versions: list[dict[str, Any]] = []
    machine: dict[str, Any] = {}
    tasks: list[dict[str, Any]] = []
    readings: list[_Reading] = []
    cells: list[_Cell] = []


def read_manifest(path: Path) -> dict[str, Any]:
    """A stored manifest; empty where none can be read, or it is not as :func:`build_manifest` makes it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = _Manifest.model_validate(content).cells
    except (OSError, ValueError, RecursionError):
        return {}
    return {**content, "cells": [cell.model_dump() for cell in cells]}
