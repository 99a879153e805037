"""The benchmark: one harness for sentiment models that must work when modalities are missing.

Names are handed on lazily, so that ``--help`` and ``--list`` do not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.errors import BenchmarkError
    from benchmark.method import Batch, Method, Stage, TaskSpec
    from benchmark.missing import MODALITIES, MRM, Setting, frame_mask
    from benchmark.registry import register

__version__ = "0.1.0"

_HOME = {
    "Batch": "method",
    "BenchmarkError": "errors",
    "MODALITIES": "missing",
    "MRM": "missing",
    "Method": "method",
    "Setting": "missing",
    "Stage": "method",
    "TaskSpec": "method",
    "frame_mask": "missing",
    "register": "registry",
}

__all__ = [
    "MODALITIES",
    "MRM",
    "Batch",
    "BenchmarkError",
    "Method",
    "Setting",
    "Stage",
    "TaskSpec",
    "frame_mask",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(import_module(f"benchmark.{_HOME[name]}"), name)
