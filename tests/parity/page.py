"""What the comparisons with official code came to, as text: a page of its own and a table in the page on methods."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from benchmark import methods
from tests.parity.fixtures import FOLDER, NAMES, Difference, Fixture, compare
from tests.parity.methods import OURS

ROOT = Path(__file__).resolve().parents[2]
PAGE, METHODS = ROOT / "docs" / "fidelity.md", ROOT / "docs" / "methods.md"
BEFORE_AFTER = Path(__file__).with_name("before_after.csv")
MARKS = "<!-- official code -->", "<!-- end of official code -->"

PREFACE = """# Official code

Written by `python -m tests.parity`; not to be edited. Tests hold these methods to numbers that the official code of each
gave on a processor, in double precision, for the same weights, inputs and masks: samples of one length, padded ones, half
of the frames missing, language alone, and, of MulT and TFR-Net, modalities of unequal length. Small changes planted in the
methods, such as a dropped scale, another normalisation or a wrong mask, fail them.

What is the same for all and not the official code's: features are given, so nothing trains BERT along; tasks of polarity
have cross-entropy, tasks of intensity the mean absolute error; training is by the shared protocol, with its epochs, its
choice of the checkpoint, gradients clipped to a norm where the official code clips at all, and no schedule of the learning
rate. Dropout draws its coins in another way, with the same mean and spread. Not compared: starts of the weights,
optimisers, the masks of dropout.
"""
LIMITS = """
The largest difference is the limit that tests hold all numbers but gradients to, in double precision. It is 1e-6 where the
official code takes its softmax in single precision (MulT, TFR-Net) or its table of positions (DMD), or where its numbers
are stored so. In single precision all methods lie within 1e-5, CubeMLP within 3e-4.
"""
CHANGES = """## Before and after

The methods once differed from the official code in more places. Weighted F1 of both versions on **simulated MOSI**, mean ±
standard deviation over seeds, and the paired difference with its 95 % interval over seeds (t distribution); the epoch kept
is the one of least validation loss in both, which was the rule then. Nothing was tuned: a change was made because the
official code has it, and taken back where it cost, as padding that is attended to in MulT, whose default hides it. Rows "on
the file" are of [one file of real CMU-MOSI features](../results/reference/README.md).
"""


def said(name: str, about: dict[str, Any]) -> str:
    """In one line, how a method stands to official code."""
    start = about.get("said", "equal to the official code")
    return start + (", but for " + "; ".join(about["but_for"]) if about["but_for"] else "")


def lines() -> dict[str, str]:
    """That line of every method."""
    others = yaml.safe_load((FOLDER / "others.yaml").read_text(encoding="utf-8"))
    found = {}
    for name, entry in methods.catalogue().items():
        if name in NAMES:
            found[name] = said(name, Fixture(name).about)
        elif name in others:
            found[name] = said(name, others[name])
        else:
            exists = methods.card(entry)["official_code"] != "none"
            found[name] = "not compared with its official code" if exists else "there is no official code"
    return found


def table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    columns = head.count("|") - 1
    return "\n".join([head, "|" + "---|" * columns, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def bound(found: list[Difference]) -> str:
    """The power of ten that no difference exceeds, which is the limit that is tested."""
    return f"{max(each.limit for each in found):.0e}".replace("e-0", "e-")


def row(name: str) -> list[str]:
    """A method's line of the page's table."""
    fixture = Fixture(name)
    about, held_to = fixture.about, fixture.about["held_to"]
    found = compare(name, OURS[name], variants={**held_to, "official": "all"})
    held = [each for each in found if held_to[each.variant] == "all" or each.quantity in held_to[each.variant]]
    other: dict[str, float] = {}
    for each in found:
        if each not in held:
            other[each.quantity] = max(each.largest, other.get(each.quantity, 0.0))
    repository = about["repository"]
    return [
        f"`{name}`",
        f"[{repository.removeprefix('https://github.com/')}]({repository}) at `{about['commit'][:10]}`",
        f"{about['compared']}; {len(held)} arrays in {len(fixture.cases)} cases",
        bound([each for each in held if "gradient" not in each.quantity]),
        "; ".join(f"{quantity.removeprefix('terms: ')} {largest:.1g}" for quantity, largest in other.items()) or "–",
    ]


def changes() -> str:
    """The table of both versions, from the stored scores."""
    scores = pd.read_csv(BEFORE_AFTER)
    rows = []
    for name, of_method in scores.groupby("method", sort=False):
        cells = []
        for column in ("avg", "complete"):
            both = of_method.pivot(index="seed", columns="version", values=column).dropna()
            difference = both["after"] - both["before"]
            low, high = stats.t.interval(0.95, len(difference) - 1, difference.mean(), stats.sem(difference))
            cells += [f"{both[v].mean():.1f} ± {np.std(both[v], ddof=1):.1f}" for v in ("before", "after")]
            cells.append(f"{difference.mean():+.1f} ({low:+.1f} to {high:+.1f})")
        rows.append([f"`{name}`", str(len(difference)), *cells])
    head = "| | seeds | Avg. before | Avg. after | difference | complete before | complete after | difference |"
    return CHANGES + "\n" + table(head, rows)


def page() -> str:
    """All of ``docs/fidelity.md``."""
    head = "| | official code | compared | largest difference | what differs, by how much |"
    parts = [PREFACE, table(head, map(row, NAMES)), LIMITS, "## What differs by choice, and why"]
    without = []
    for name, line in lines().items():
        card = methods.card(methods.catalogue()[name])
        if card["official_code"] == "none":
            without.append(f"`{name}`")
            continue
        about = Fixture(name).about if name in NAMES else {}
        parts.append(f"**`{name}`**: {line}." + (f" {about['left_out']}" if "left_out" in about else ""))
        parts.append("\n".join(f"- {text}" for text in card["deviations"]))
    parts += [f"There is no official code of {', '.join(without)}.", changes()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def in_methods(text: str) -> str:
    """The page on methods with the table of today between its marks."""
    rows = table("| | official code |", ([f"`{name}`", line] for name, line in lines().items()))
    start, end = MARKS
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n\n{rows}\n{end}", text, flags=re.S)
