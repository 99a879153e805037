"""The HTML page: one file with everything in it, which asks nothing of any network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment

from benchmark.report.content import Section, Table

_PLACED = {"command", "grid", "selection", "tasks", "cells", "methods"}  # not under provenance, but above


def render_page(
    scores: pd.DataFrame,
    sections: Sequence[Section],
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
    sections : sequence of Section
    images : mapping of str to bytes
        PNG files of the sections' pictures, by stem.
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
    return template.render(
        grid=provenance.get("grid"),
        command=provenance.get("command"),
        tasks=provenance.get("tasks"),
        cards=provenance.get("methods"),
        summary=_summary(scores, sections, provenance),
        simulated=_simulated(scores),
        failures=failures,
        sections=sections,
        is_table=lambda part: isinstance(part, Table),
        image=lambda picture: _image(images[picture.stem]),
        provenance={key: value for key, value in provenance.items() if key not in _PLACED},
        columns=lambda rows: list(dict.fromkeys(key for row in rows for key in row)),
    )


def _simulated(scores: pd.DataFrame) -> list[str]:
    return [] if scores.empty else list(scores.loc[scores["source"] == "simulated", "task"].unique())


def _summary(scores: pd.DataFrame, sections: Sequence[Section], provenance: Mapping[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    if not scores.empty:
        seeds = scores.groupby(["task", "method"], observed=True)["seed"].nunique()
        tables = [part for section in sections for part in section.parts if isinstance(part, Table)]
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


def _image(png: bytes) -> dict[str, Any]:
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # from its header
    return {
        "png": b64encode(png).decode("ascii"),
        "width": width // 3,
        "height": height // 3,
        "wide": width > 1200,
    }
