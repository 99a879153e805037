"""``make faults``: cause all faults, and write what came of them to a table."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import joblib

from benchmark.manifest import machine
from benchmark.store import replace_file
from tests.faults import Trial

# Those that take longest first, since two run side by side.
MODULES = {
    "crashes": "Crashes",
    "inputs": "Inputs",
    "storage": "Storage",
    "page": "Names",
    "cells": "Cells that die, hang or become NaN",
    "together": "Two runs on one folder",
}
PREFACE = """# Faults caused on purpose

Written by `make faults`; not to be edited. Each row is a kind of fault, how often it was caused, what was lost or went
through that should not have (nothing, where all is well), and a line that was said then. A short selection runs with
`make test`.
"""


def attempt(name: str, scale: float) -> tuple[list[Trial], float]:
    """All trials of a module, in a folder of its own, and the seconds they took; an error in them is a row too."""
    started, found = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as folder:
        try:
            for trial in import_module(f"tests.faults.{name}").trials(Path(folder), scale):
                found.append(trial)
                print(f"{name}: {trial.fault}, {trial.times} times: {trial.lost or 'nothing lost'}", flush=True)
        except Exception:
            traceback.print_exc()
            found.append(Trial("the trials themselves", 1, "they ended with an error", ""))
    return found, time.monotonic() - started


def table(found: dict[str, list[Trial]], seconds: float) -> str:
    """The README."""
    everything = [trial for trials in found.values() for trial in trials]
    fuzzed = sum(trial.times for trial in found.get("inputs", []))
    others = sum(trial.times for trial in everything) - fuzzed
    known = machine()
    lines = [
        PREFACE,
        f"{others} faults and {fuzzed:,} fuzzed inputs in {seconds / 60:.0f} minutes on {known['cores']} cores "
        f"({known['processor']}), Python {platform.python_version()}; lost in "
        f"{sum(bool(trial.lost) for trial in everything)} of {len(everything)} kinds.",
    ]
    for name, title in MODULES.items():
        if name in found:
            lines += ["", f"## {title}", "", "| fault | times | lost | said |", "|---|---:|---|---|"]
            lines += [
                f"| {_cell(t.fault)} | {t.times} | {_cell(t.lost) or 'nothing'} | {_code(t.said)} |"
                for t in found[name]
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _code(text: str) -> str:
    return f"<code>{_cell(text[:200])}</code>" if text else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trials; status 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(MODULES), default=list(MODULES))
    parser.add_argument("--scale", type=float, default=1.0, help="how many, against all of them (default: 1)")
    parser.add_argument("--out", type=Path, help="the table (default: it is printed)")
    options = parser.parse_args(argv)
    started = time.monotonic()
    ends = joblib.Parallel(n_jobs=2)(joblib.delayed(attempt)(name, options.scale) for name in options.only)
    found = {name: trials for name, (trials, _) in zip(options.only, ends, strict=True)}
    for name, (_, seconds) in zip(options.only, ends, strict=True):
        print(f"{name}: {seconds:.0f} s")
    text = table(found, time.monotonic() - started)
    if options.out:
        replace_file(options.out, text.encode())
    else:
        print(text)
    return 1 if any(trial.lost for trials in found.values() for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
