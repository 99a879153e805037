"""``make faults``: cause all faults, and write what came of them to a table."""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import joblib

from benchmark.files.atomic import replace_file
from benchmark.report.manifest import machine
from tests.faults import Trial, guided

# Those that take longest first, since two run side by side.
MODULES = {
    "crashes": "Crashes",
    "inputs": "Inputs",
    "guided": "Inputs found by following the code",
    "storage": "Storage",
    "page": "Names",
    "cells": "Cells that die, hang or become NaN",
    "together": "Two runs on one folder",
    "people": "Situations that people meet, by kind",
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


def section(title: str, trials: Sequence[Trial], seconds: float) -> str:
    """A module's part of the README."""
    rows = [f"| {_cell(t.fault)} | {t.times} | {_cell(t.lost) or 'nothing'} | {_code(t.said)} |" for t in trials]
    head = [
        f"## {title}",
        "",
        f"In {seconds:.0f} seconds.",
        "",
        "| fault | times | lost | said |",
        "|---|---:|---|---|",
    ]
    return "\n".join([*head, *rows])


def sections(text: str) -> dict[str, str]:
    """The parts of a README by title."""
    found = re.findall(r"^(## (.*)\n(?:(?!## ).*\n?)*)", text, flags=re.M)
    return {title: part.rstrip() for part, title in found}


def table(parts: Mapping[str, str]) -> str:
    """The README of these parts, counted."""
    rows = {title: re.findall(r"^\| .*? \| (\d+) \| (.*?) \|", part, flags=re.M) for title, part in parts.items()}
    counts = {title: sum(int(times) for times, _ in own) for title, own in rows.items()}
    fuzzed = sum(counts.get(MODULES[name], 0) for name in ("inputs", "guided"))
    everything = [lost for own in rows.values() for _, lost in own]
    seconds = sum(int(number) for part in parts.values() for number in re.findall(r"^In (\d+) seconds", part, re.M))
    known = machine()
    summary = (
        f"{sum(counts.values()) - fuzzed} faults and {fuzzed:,} fuzzed inputs, in {seconds / 60:.0f} minutes one after "
        f"another and half of that two at a time; {known['cores']} cores ({known['processor']}), Python "
        f"{platform.python_version()}. Lost in {sum(lost != 'nothing' for lost in everything)} of {len(everything)} kinds."
    )
    ordered = [parts[title] for title in MODULES.values() if title in parts]
    return "\n\n".join([PREFACE + "\n" + summary, *ordered]) + "\n"


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
    parser.add_argument("--out", type=Path, help="the table, of which the other parts stay (default: it is printed)")
    options = parser.parse_args(argv)
    if not guided.is_there():
        print("atheris is not installed (pip install -e '.[fuzz]'): no inputs are found by following the code")
        options.only = [name for name in options.only if name != "guided"]
    ends = joblib.Parallel(n_jobs=2)(joblib.delayed(attempt)(name, options.scale) for name in options.only)
    parts = sections(options.out.read_text(encoding="utf-8")) if options.out and options.out.exists() else {}
    for name, (trials, seconds) in zip(options.only, ends, strict=True):
        parts[MODULES[name]] = section(MODULES[name], trials, seconds)
    if options.out:
        replace_file(options.out, table(parts).encode())
    else:
        print(table(parts))
    return 1 if any(trial.lost for trials, _ in ends for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
