"""What cells are computed on."""

from __future__ import annotations

import torch

from benchmark.running.arithmetic import NATIVE


def device_fault(name: str) -> str:
    """What this machine lacks for ``--device``; empty where it lacks nothing."""
    if name == "cuda" and not torch.cuda.is_available():
        return "has no GPU that torch can use; leave --device cuda out, or choose a machine that has one"
    return ""


def device_of(name: str, computing: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU where there is one, except for portable cells."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and computing == NATIVE else "cpu"
    return torch.device(name)
