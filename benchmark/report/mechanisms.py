"""Did the mechanisms act? What each method is built on, in the models that were kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.report.content import Block, Cell, Table
from benchmark.report.tables import number_range

LEAST_SHARE = 0.01
"""Of the gradient, from which on a term of the loss counts as acting."""

LEAST_GAIN = 0.05
"""By what part an error must lie below that of doing nothing."""


def told(cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a cell tells of its mechanisms, one row each.

    Parameters
    ----------
    cell : dict
        As the manifest lists it: :func:`benchmark.files.manifest.cell_summary`.

    Yields
    ------
    dict
        ``method, seed, stage, what, name, value, idle, acts``: what is ``kept epoch`` (of ``epochs``, the first `idle`
        of which count as idle), ``share of the gradient`` (in the sum of all terms' norms, which are ``norm`` and,
        clipped, ``clipped``), ``error``, or ``could not be asked``, for the reason that is the name; `acts` is then
        None, and where doing nothing makes no error: of whole samples alone, nothing is to be rebuilt.
    """
    found = cell.get("mechanisms") or {}
    stages = found.get("stages", [])
    about = {"method": cell["method"], "seed": cell.get("seed")}
    for stage in stages:
        where = about | {"stage": stage["stage"]}
        kept = {"what": "kept epoch", "name": "", "value": stage["kept"], "epochs": stage["epochs"]}
        yield where | kept | {"idle": stage["idle"], "acts": stage["kept"] > stage["idle"]}
        norms = stage.get("gradient", {})
        total = sum(norms.values())
        for name, norm in norms.items():
            share = norm / total if total else 0.0
            part = {"what": "share of the gradient", "name": name, "value": share, "idle": LEAST_SHARE}
            yield where | part | {"norm": norm, "clipped": norm * stage["clipped"], "acts": share >= LEAST_SHARE}
    last = stages[-1]["stage"] if stages else ""
    for name, effect in found.get("effects", {}).items():
        value, idle = effect["value"], effect["idle"]
        yield about | {
            "stage": last,
            "what": "error",
            "name": name,
            "value": value,
            "idle": idle,
            "acts": value < (1 - LEAST_GAIN) * idle if value or idle else None,
        }
    if fault := found.get("fault"):
        nothing = {"value": math.nan, "idle": math.nan, "acts": None}
        yield about | {"stage": last, "what": "could not be asked", "name": fault} | nothing


def mechanism_table(table: Table, cells: Sequence[Mapping[str, Any]]) -> Table | None:
    """Whether each method's mechanism acted in the models that were kept, and which did not.

    Parameters
    ----------
    table : Table
        Any table of the task.
    cells : sequence of dict
        As the manifest lists them.

    Returns
    -------
    Table or None
        None where no cell tells anything, as cells of earlier versions do not.
    """
    found = pd.DataFrame([row for cell in _of(table, cells) for row in told(cell)])
    if found.empty:
        return None
    rows = []
    for method in table.methods:
        own = found[found["method"] == method]
        several = own["stage"].nunique() > 1
        for (what, name, stage), same in own.groupby(["what", "name", "stage"], sort=False):
            title = f"{what}: {name}" if name else str(what)
            rows.append(
                (method, [Cell(f"{title} ({stage})" if several else title), *_numbers(what, same), _acts(same)])
            )
    return replace(
        table,
        stem=f"{table.prefix}_mechanisms",
        title="Did the mechanism act?",
        kind="mechanisms",
        caption="Of the models that were kept, means over seeds. Kept epoch: the first and the last of all seeds, of "
        "how many; through those if idle, what is to act takes no part yet, or has hardly begun to. Share of the "
        "gradient: of a term of the loss, in the sum of the norms of all terms' gradients in the parameters that the "
        f"prediction rests on, with its norm before / after clipping; idle below {LEAST_SHARE:.0%}. Error: as the "
        "method tells of itself on validation samples, beside that of doing nothing; idle where it is not "
        f"{LEAST_GAIN:.0%} lower.",
        methods=[method for method in table.methods if method in set(found["method"])],
        columns=["What", "Found", "If idle", "Acts"],
        summary=found.assign(task=table.task, source=table.source),
        blocks=[Block("", rows)],
        words=("What", "Acts"),
    )


def _of(table: Table, cells: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [cell for cell in cells if (cell["task"], cell["source"]) == (table.task, table.source)]


def _numbers(what: Any, same: pd.DataFrame) -> tuple[Cell, Cell]:
    if what == "kept epoch":
        return Cell(number_range(same["value"]), f"of {number_range(same['epochs'])}"), Cell(number_range(same["idle"]))
    value, idle = same["value"].mean(), same["idle"].mean()
    if what == "could not be asked":
        return Cell(""), Cell("")
    if what == "error":
        return Cell(f"{value:.3g}"), Cell(f"{idle:.3g}")
    norms = f"{same['norm'].mean():.2g} / {same['clipped'].mean():.2g}"
    return Cell(f"{value:.1%}".replace("%", " %"), norms), Cell(f"< {idle:.0%}".replace("%", " %"))


def _acts(same: pd.DataFrame) -> Cell:
    if same["acts"].isna().all():
        return Cell("nothing to do" if same["what"].iloc[0] == "error" else "")
    idle = int((same["acts"] == False).sum())  # noqa: E712 - None is neither
    if not idle:
        return Cell("yes")
    word = "too early" if same["what"].iloc[0] == "kept epoch" else "idle"
    return Cell(word.upper() if idle == len(same) else f"{word} in {idle} of {len(same)}")


def with_mechanisms(methods: Table | None, cells: Sequence[Mapping[str, Any]]) -> Table | None:
    """The table of methods, with a column that says whether each one's mechanism acted: all of it, in every seed.

    Where something did not, it is named; :func:`mechanism_table` has the numbers.
    """
    found = pd.DataFrame([row for cell in _of(methods, cells) for row in told(cell)]) if methods else pd.DataFrame()
    if methods is None or found.empty:
        return methods
    said = {}
    for method, own in found.groupby("method", observed=True):
        idle = own[own["acts"] == False]  # noqa: E712 - None is neither
        first, others = (idle[idle["what"] == "kept epoch"]["stage"], idle[idle["what"] != "kept epoch"]["name"])
        parts = {"idle": others, "kept too early": first}
        lines = [f"{word}: {', '.join(dict.fromkeys(names))}" for word, names in parts.items() if len(names)]
        said[method] = "; ".join(lines) or "acts"
    return replace(
        methods,
        caption=f"{methods.caption} Mechanism: what of it was idle in the model that was kept, of one seed or more.",
        columns=[*methods.columns, "Mechanism"],
        summary=methods.summary.assign(mechanism=methods.summary["method"].map(said)),
        blocks=[
            replace(block, rows=[(m, [*row, Cell(said.get(m, "–"))]) for m, row in block.rows])
            for block in methods.blocks
        ],
        words=(*methods.words, "Mechanism"),
    )
