"""The HTML page: one file with everything in it, which asks nothing of any network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import quote

import pandas as pd

from benchmark.report.content import Picture, Section, Table
from benchmark.report.html import fill
from benchmark.report.naming import method_name, method_names, task_name
from benchmark.report.opening import FAILED, FILES, NOTHING, SIMULATED, UNFINISHED, Sentence, banners
from benchmark.report.paper import FOLDER

# What is read first stands first; a stored manifest is sorted by the alphabet.
_ORDER = (
    *("name", "display", "source", "origin", "samples", "target", "metrics", "modalities"),  # of data
    *("warnings", "fingerprint", "train", "valid", "test"),
    *("started", "finished", "git_commit", "machine", "processor", "cores", "memory_gib", "versions"),
)
MOST_FAILURES = 100
"""Failed cells that the page lists; ``manifest.json`` has them all."""

# Not under provenance, but above.
_PLACED = {"command", "grid", "selection", "tasks", "cells", "methods", "processors", "recomputed"}

PAPER = f"tables/{FOLDER}/"

_LEADS = ("overview", "intra", "inter")
"""How the name of the figure ends that stands at the top; else it is the first of all."""

_TONES = {SIMULATED: "warn", UNFINISHED: "warn", NOTHING: "bad", FAILED: "bad", FILES: ""}


def render_page(
    scores: pd.DataFrame,
    sections: Sequence[Section],
    images: Mapping[str, bytes],
    *,
    provenance: Mapping[str, Any],
    failures: Sequence[Mapping[str, str]] = (),
    cards: Mapping[str, Mapping[str, Any]] = {},
    found: Sequence[Sentence] = (),
    files: Collection[str] = (),
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
        See :func:`benchmark.report.write.write_report`.
    failures : sequence of mapping
        `method`, `task`, `seed` and `error` of each failed cell.
    cards : mapping of str to mapping
        The content of methods' cards, by the method's name in the tables; a method without one has only its line
        of ``provenance["methods"]``. Of a card's keys, all but `published` are shown: published numbers do not
        belong beside those of simulated data.
    found : sequence of Sentence
        What the page opens with.
    files : collection of str
        The files beside the page, such as ``tables/mosi_inter.csv``: of each part, those of its own are linked.

    Returns
    -------
    str
        HTML in which every text from outside is escaped, and whose one script is allowed by its hash.
    """
    methods = provenance.get("methods") or {}
    lead = _lead(sections)
    return fill(
        "page.html.j2",
        "page.js",
        "wide.js",
        grid=provenance.get("grid"),
        command=provenance.get("command"),
        tasks=[_in_order(task) for task in provenance.get("tasks") or ()],
        banners=[
            {"said": said, "tone": _TONES[said.kind], "why": said.kind == FAILED}
            for said in banners(scores, provenance.get("cells") or {}, failures)
        ],
        found=found,
        lead=lead and _shown_picture(lead, images, files, alone=True),
        summary=_summary(scores, sections, provenance),
        failures=failures,
        most_failures=MOST_FAILURES,
        sections=[_section(place, own, images, files, lead) for place, own in enumerate(sections, start=1)],
        paper=[(file.removeprefix(PAPER), quote(file)) for file in sorted(files) if file.startswith(PAPER)],
        methods=[
            {"name": method_name(name), "own": name, "line": methods.get(name, ""), **_card(cards.get(name, {}))}
            for name in dict.fromkeys([*methods, *cards])
        ],
        provenance={_words(key): value for key, value in _in_order(provenance).items() if key not in _PLACED},
        words=_words,
        columns=lambda rows: list(dict.fromkeys(key for row in rows for key in row)),
    )


def _words(key: object) -> str:
    """``git_commit`` → ``Git commit``."""
    text = str(key).replace("_", " ")
    return text[:1].upper() + text[1:]


def _in_order(mapping: Mapping[str, Any]) -> dict[str, Any]:
    keys = sorted(mapping, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    return {key: _in_order(mapping[key]) if isinstance(mapping[key], Mapping) else mapping[key] for key in keys}


def _summary(scores: pd.DataFrame, sections: Sequence[Section], provenance: Mapping[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    if grid := provenance.get("grid"):
        summary["Grid"] = grid
    if not scores.empty:
        seeds = scores.groupby(["task", "method"], observed=True)["seed"].nunique()
        # Tables list the methods in their order; a table of a statistic may name pairs of them, which are none.
        known = set(scores["method"].unique())
        tables = [part for section in sections for part in section.parts if isinstance(part, Table)]
        ordered = [method for table in tables for method in table.methods if method in known]
        methods = list(dict.fromkeys([*ordered, *scores["method"].unique()]))
        summary[f"Methods ({len(methods)})"] = method_names(methods)
        summary["Tasks"] = [
            f"{task_name(task)} ({'from file' if source == 'file' else source})"
            for task, source in scores[["task", "source"]].drop_duplicates().itertuples(index=False)
        ]
        fewest, most = seeds.min(), seeds.max()
        summary["Seeds"] = f"{most}" if fewest == most else f"{fewest}–{most}, not the same for all methods"
    if cells := provenance.get("cells"):
        summary["Cells"] = ", ".join(f"{count} {state}" for state, count in cells.items())
    if selection := provenance.get("selection"):
        summary["Checkpoint selection"] = selection
    return summary


def _lead(sections: Sequence[Section]) -> Picture | None:
    """The figure that stands at the top: the degradation curves of all tasks, or what there is in their place."""
    pictures = [part for section in sections for part in section.parts if isinstance(part, Picture)]
    by_end = [picture for end in _LEADS for picture in pictures if picture.stem.endswith(end)]
    return next(iter([*by_end, *pictures]), None)


def _section(
    place: int,
    section: Section,
    images: Mapping[str, bytes],
    files: Collection[str],
    lead: Picture | None,
) -> dict[str, Any]:
    """A section as the page shows it: its parts, and those with a heading for the contents."""
    parts = [(f"results-{place}-{n}", part) for n, part in enumerate(section.parts, start=1) if part is not lead]
    groups: list[dict[str, Any]] = []
    for id_, part in parts:
        if isinstance(part, Table):
            groups.append({"id": id_, "table": part, "files": _links(part, files)})
            continue
        if not groups or "table" in groups[-1]:
            groups.append({"pictures": []})
        groups[-1]["pictures"].append({"id": id_, **_shown_picture(part, images, files)})
    for group in groups:
        _put_beside(group.get("pictures", ()))
    return {
        "id": f"results-{place}",
        "title": section.title,
        "notes": section.notes,
        "groups": groups,
        "contents": [(id_, part.title) for id_, part in parts if part.title],
    }


def _put_beside(pictures: Sequence[dict[str, Any]]) -> None:
    """Of small pictures that follow one another two share a line; one that is left has its text beside it."""
    for wide, line in groupby(pictures, lambda own: own["wide"]):
        small = list(line)
        if not wide and len(small) % 2:
            small[-1]["alone"] = True


def _shown_picture(
    picture: Picture,
    images: Mapping[str, bytes],
    files: Collection[str],
    *,
    alone: bool = False,
) -> dict[str, Any]:
    png = images[picture.stem]
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # from its header
    return {
        "part": picture,
        "png": b64encode(png).decode("ascii"),
        "width": width // 3,
        "height": height // 3,
        "wide": width > 1200,
        "alone": alone and width <= 1200,
        "files": _links(picture, files),
    }


def _links(part: Table | Picture, files: Collection[str]) -> list[tuple[str, str]]:
    """Suffix and address of each file of a part that is there."""
    if isinstance(part, Table):
        names = [f"tables/{part.stem}.{suffix}" for suffix in ("csv", "tex", "md")]
    else:
        names = [f"figures/{part.stem}.{suffix}" for suffix in ("pdf", "png")]
        # Without numbers of its own, a csv file of its name is of the table that it belongs to.
        names += [f"tables/{part.stem}.csv"] if part.numbers is not None else []
    return [(name.rpartition(".")[2], quote(name)) for name in names if name in files]


def _card(card: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a card, which may be a user's own and lack anything."""
    code = str(card.get("official_code") or "")
    trains_on = card.get("trains_on")
    samples = {"complete": "whole samples", "missing": "incomplete samples, under Modality Random Missing"}
    facts = {
        "Idea": card.get("idea"),
        "Paper": card.get("paper"),
        "Official code": code,
        "Trains on": samples.get(str(trains_on), trains_on),
    }
    return {
        "facts": {name: fact for name, fact in facts.items() if fact},
        "is_link": code.startswith(("https://", "http://")),
        "hyperparameters": _hyperparameters(card.get("hyperparameters")),
        "search_space": [f"{name}: {why}" for name, why in dict(card.get("search_space") or {}).items()],
        "deviations": _lines(card.get("deviations")),
        "choices": _lines(card.get("choices")),
    }


def _hyperparameters(entries: Any) -> list[dict[str, str]]:
    rows = []
    for name, entry in entries.items() if isinstance(entries, Mapping) else ():
        entry = entry if isinstance(entry, Mapping) else {"value": entry}
        per_task = entry.get("per_task")
        by_task = per_task.items() if isinstance(per_task, Mapping) else ()
        rows.append(
            {
                "name": str(name),
                "value": str(entry.get("value", "–")),
                "by_task": ", ".join(f"{task} {value}" for task, value in by_task),
                "source": str(entry.get("source") or "–"),
            }
        )
    return rows


def _lines(entries: Any) -> list[str]:
    return [str(line) for line in entries] if isinstance(entries, list) else [str(entries)] if entries else []
