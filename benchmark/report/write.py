"""Everything a report consists of, written to a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.report.content import Section, Table
from benchmark.report.figures import draw, method_looks, to_bytes
from benchmark.report.page import render_page
from benchmark.report.tables import build_tables, order_methods, to_csv, to_latex, to_markdown


def write_report(
    scores: pd.DataFrame,
    out: Path,
    *,
    provenance: dict[str, Any],
    failures: Sequence[Mapping[str, str]] = (),
    method_order: Sequence[str] | None = None,
    cards: Mapping[str, Mapping[str, Any]] = {},
) -> list[Path]:
    """Write tables, figures and the HTML page.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores, columns `task, source, method, seed, kind, available, ratio, draw, metric, value, n,
        key`; possibly empty.
    out : Path
        The folder; what else is in it stays.
    provenance : dict
        Where it came from. `command`, `grid`, `selection` (how checkpoints were selected, a text), `tasks`
        (list of dict), `cells` (number by state) and `methods` (one line of text by name) have their place on
        the page, all other keys are listed at its end. None is required.
    failures : sequence of mapping
        `method`, `task`, `seed` and `error` of each failed cell.
    method_order : sequence of str, optional
        The order of rows, by default alphabetical; `constant` comes last.
    cards : mapping of str to mapping
        See :func:`benchmark.report.page.render_page`.

    Returns
    -------
    list of Path
        The files written, each of which appeared whole.

    Raises
    ------
    ValueError
        If `scores` holds two numbers for the same thing.
    """
    tables = build_tables(scores, selection=provenance.get("selection") or "", method_order=method_order)
    looks = method_looks(order_methods([m for table in tables for m in table.methods], method_order))
    sections: dict[tuple[str, str], Section] = {}
    for table in tables:
        title = f"{table.task} ({'simulated' if table.source == 'simulated' else 'from file'})"
        parts = sections.setdefault((table.task, table.source), Section(title, [])).parts
        parts.append(table)
        if len(table.columns) > 1:
            parts.append(draw(table, looks))
    contents: dict[str, bytes] = {}
    images: dict[str, bytes] = {}
    for part in (part for section in sections.values() for part in section.parts):
        if isinstance(part, Table):
            for suffix, text in {"md": to_markdown, "tex": to_latex, "csv": to_csv}.items():
                contents[f"tables/{part.stem}.{suffix}"] = text(part).encode()
        else:
            for suffix in ("png", "pdf"):
                contents[f"figures/{part.stem}.{suffix}"] = to_bytes(part.figure, suffix)
            images[part.stem] = contents[f"figures/{part.stem}.png"]
    page = render_page(scores, list(sections.values()), images, provenance=provenance, failures=failures, cards=cards)
    contents["report.html"] = page.encode()
    return [_write(out / name, content) for name, content in contents.items()]


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
