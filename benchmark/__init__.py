"""The benchmark: one harness for sentiment models that must work when modalities are missing.

From Python, ``benchmark.run("quick")`` does what ``python run_benchmark.py --grid quick`` does; a method is a class
under ``@benchmark.register``. Names are handed on lazily, so that ``--help`` and ``--list`` do not wait for torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmark._version import __version__

if TYPE_CHECKING:
    from benchmark.api import load_model, plan, read_scores, run
    from benchmark.data.saving import save_dataset
    from benchmark.data.task import Task
    from benchmark.errors import BenchmarkError
    from benchmark.methods.registry import register
    from benchmark.protocol.bounds import Count, NonNegative, Positive, Rate, Whole
    from benchmark.protocol.method import Batch, Method, Stage, TaskSpec
    from benchmark.protocol.missing import MODALITIES, MRM, Setting, frame_mask
    from benchmark.protocol.search import Choice, Range
    from benchmark.report.leaderboard import Leaderboard, leaderboard
    from benchmark.report.results import Plan, Results
    from benchmark.report.verify import verify

_HOME = {
    "Whole": "protocol.bounds",
    "Rate": "protocol.bounds",
    "Positive": "protocol.bounds",
    "NonNegative": "protocol.bounds",
    "Count": "protocol.bounds",
    "Batch": "protocol.method",
    "Choice": "protocol.search",
    "BenchmarkError": "errors",
    "Leaderboard": "report.leaderboard",
    "MODALITIES": "protocol.missing",
    "MRM": "protocol.missing",
    "Method": "protocol.method",
    "Plan": "report.results",
    "Range": "protocol.search",
    "Results": "report.results",
    "Setting": "protocol.missing",
    "Stage": "protocol.method",
    "Task": "data.task",
    "TaskSpec": "protocol.method",
    "frame_mask": "protocol.missing",
    "leaderboard": "report.leaderboard",
    "load_model": "api",
    "plan": "api",
    "read_scores": "api",
    "register": "methods.registry",
    "run": "api",
    "save_dataset": "data.saving",
    "verify": "report.verify",
}

__all__ = [
    "MODALITIES",
    "MRM",
    "Batch",
    "BenchmarkError",
    "Choice",
    "Count",
    "Leaderboard",
    "Method",
    "NonNegative",
    "Plan",
    "Positive",
    "Range",
    "Rate",
    "Results",
    "Setting",
    "Stage",
    "Task",
    "TaskSpec",
    "Whole",
    "__version__",
    "frame_mask",
    "leaderboard",
    "load_model",
    "plan",
    "read_scores",
    "register",
    "report",
    "run",
    "save_dataset",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(import_module(f"benchmark.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


class _Package(ModuleType):
    """The function `report` and the wing of that name: whoever asks the package gets the function.

    Python sets a package's attribute to each module in it that is imported; this one it may not have. The wing's
    modules are imported as ever: ``from benchmark.report.tables import to_latex``.
    """

    @property
    def report(self) -> Any:
        return import_module("benchmark.api").report

    @report.setter
    def report(self, wing: ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package
