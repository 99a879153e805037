"""The HTML page: one file with everything in it, which asks nothing of any network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment

from benchmark.report.tables import Table

_HEADINGS = {"inter": "Whole modalities missing", "intra": "Frames missing within each modality"}
_PLACED = {"command", "grid", "selection", "tasks", "cells", "methods"}  # not under provenance, but above


def render_page(
    scores: pd.DataFrame,
    tables: Sequence[Table],
    images: Mapping[str, bytes],
    *,
    provenance: Mapping[str, Any],
    failures: Sequence[Mapping[str, str]] = (),
) -> str:
    """Put a report on a page.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores, possibly empty.
    tables : sequence of Table
    images : mapping of str to bytes
        PNG files by the stem of the table they belong to.
    provenance : mapping
        See :func:`benchmark.report.write_report`.
    failures : sequence of mapping
        `method`, `task`, `seed` and `error` of each failed cell.

    Returns
    -------
    str
        HTML in which every text from outside is escaped.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text("utf-8"))
    sections: dict[tuple[str, str], dict[str, Any]] = {}
    for table in tables:
        title = f"{table.task} ({'simulated' if table.source == 'simulated' else 'from file'})"
        section = sections.setdefault((table.task, table.source), {"title": title, "parts": []})
        section["parts"].append((table, _figure(table, images.get(table.stem))))
    return template.render(
        grid=provenance.get("grid"),
        command=provenance.get("command"),
        tasks=provenance.get("tasks"),
        cards=provenance.get("methods"),
        summary=_summary(scores, tables, provenance),
        simulated=list(dict.fromkeys(t.task for t in tables if t.source == "simulated")),
        failures=failures,
        sections=list(sections.values()),
        headings=_HEADINGS,
        provenance={key: value for key, value in provenance.items() if key not in _PLACED},
        columns=lambda rows: list(dict.fromkeys(key for row in rows for key in row)),
    )


def _summary(scores: pd.DataFrame, tables: Sequence[Table], provenance: Mapping[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    if not scores.empty:
        seeds = scores.groupby(["task", "method"], observed=True)["seed"].nunique()
        methods = list(dict.fromkeys(method for table in tables for method in table.methods))
        summary["Methods"] = f"{len(methods)}: {', '.join(methods)}"
        summary["Tasks"] = ", ".join(
            f"{task} ({source})"
            for task, source in scores[["task", "source"]].drop_duplicates().itertuples(index=False)
        )
        fewest, most = seeds.min(), seeds.max()
        summary["Seeds"] = f"{most}" if fewest == most else f"{fewest}–{most}, not the same for all methods"
    if cells := provenance.get("cells"):
        summary["Cells"] = ", ".join(f"{count} {state}" for state, count in cells.items())
    if selection := provenance.get("selection"):
        summary["Checkpoint selection"] = selection
    return summary


def _figure(table: Table, png: bytes | None) -> dict[str, Any] | None:
    if png is None:
        return None
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # from its header
    what = {
        "inter": "Dots with error bars: weighted F1 by available modalities",
        "intra": "Curves: weighted F1 against the ratio of missing frames",
    }[table.kind]
    return {
        "png": b64encode(png).decode("ascii"),
        "width": width // 3,
        "height": height // 3,
        "wide": width > 1200,
        "alt": f"{what}, for {', '.join(table.methods)}. {table.lead} The numbers are in the table above.",
    }
