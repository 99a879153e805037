"""What each method is and costs, and its published numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.evidence.statistics import AVERAGE, average_draws, average_inter, of_primary, over_seeds, whole_frames
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.content import Block, Cell, Table
from benchmark.report.tables import COMPLETE, tell_metrics, titled


def published_of(card: Mapping[str, Any], task: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The numbers of a card that were published of a task, each behind the metric as it is called here."""
    for row in card.get("published", []):
        if row["task"] == task:
            yield {"weighted_f1": "f1"}.get(row["metric"], row["metric"]), row


def published_table(scores: pd.DataFrame, table: Table, cards: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Our numbers beside the published ones, with the difference; only for data read from a file.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.
    table : Table
        Any table of the task.
    cards : mapping of label to card
        A published number is of the card's method, or of the variant that its key `row` names.

    Returns
    -------
    Table or None
        None on simulated data, where a comparison would mean nothing, and where no method has published numbers.
    """
    if table.source != "file":
        return None
    published = {
        (row.get("row", name), metric_name, row["condition"]): row
        for name, card in cards.items()
        for metric_name, row in published_of(card, table.task)
        if row.get("row", name) in table.methods
    }
    if not published:
        return None
    part = scores[(scores["task"] == table.task) & (scores["source"] == "file")]
    values = average_draws(part)
    values = pd.concat([values[whole_frames(values)], average_inter(values).assign(available="avg")])
    ours = over_seeds(values, ["method", "metric", "available"]).set_index(["method", "metric", "available"])["mean"]
    conditions = {s: Setting(s).condition for s in SUBSETS[:-1]} | {"avg": AVERAGE, "lav": COMPLETE}
    methods = [m for m in table.methods if any(label == m for label, _, _ in published)]
    metrics = [m for m in part["metric"].unique() if any(x == m for _, x, _ in published)]
    if not metrics:
        return None

    def cell(method: str, name: str, condition: str) -> Cell:
        row, own = published.get((method, name, condition)), ours.get((method, name, condition))
        if row is None or pd.isna(own):
            return Cell("")
        digits = metric(name).decimals
        return Cell(f"{own:.{digits}f}", f"({row['value']:.{digits}f}, {own - row['value']:+.{digits}f})")

    found = [
        {
            "metric": name,
            "method": method,
            "condition": conditions[condition],
            "ours": ours.get((method, name, condition)),
            "published": row["value"],
            "status": row["status"],
            "citation": row["source"],
        }
        for (method, name, condition), row in published.items()
    ]
    sources = sorted({str(row["source"]) for row in published.values()})
    return replace(
        table,
        stem=f"{table.prefix}_published",
        title="Beside the published numbers",
        kind="published",
        caption=(
            f"{tell_metrics(metrics, table.target)}: ours (published, ours less published). Published: "
            f"{'; '.join(sources)}; as reported there, without spread. Features, splits and labels of the file "
            "need not be those behind them."
        ),
        methods=methods,
        columns=list(conditions.values()),
        summary=pd.DataFrame(found),
        blocks=[
            Block(title, [(m, [cell(m, name, c) for c in conditions]) for m in methods])
            for name, title in titled(metrics, table.target).items()
        ],
        metrics=titled(metrics, table.target),
        notes=(),
        reference="",
    )


def missing_averages(scores: pd.DataFrame, table: Table) -> tuple[str, pd.Series]:
    """The primary metric of a table's task, and each method's `Avg.` in it: mean over seeds, by method."""
    part = of_primary(scores[(scores["task"] == table.task) & (scores["source"] == table.source)])
    average = average_inter(average_draws(part)).groupby("method", observed=True)["value"].mean()
    return str(part["metric"].iloc[0]), average


def methods_table(
    scores: pd.DataFrame,
    table: Table,
    cells: Sequence[Mapping[str, Any]],
    cards: Mapping[str, Mapping[str, Any]],
) -> Table | None:
    """What each method is and costs: year, idea, parameters, seconds an epoch, mean score where a modality is missing.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.
    table : Table
        Any table of the task.
    cells : sequence of dict
        As the manifest lists them: :func:`benchmark.report.manifest.cell_summary`.
    cards : mapping of label to card

    Returns
    -------
    Table or None
        None without cells.
    """
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        if (cell["task"], cell["source"]) == (table.task, table.source):
            by_method.setdefault(cell["method"], []).append(cell)
    methods = [method for method in table.methods if method in by_method]
    if not methods:
        return None
    name, average = missing_averages(scores, table)
    found = []
    for method in methods:
        own = by_method[method]
        epochs = sum(cell["epochs"] for cell in own)
        found.append(
            {
                "method": method,
                "year": cards.get(method, {}).get("year"),
                "idea": cards.get(method, {}).get("idea"),
                "parameters": max(cell["parameters"] for cell in own),
                "seconds_an_epoch": sum(cell["training_seconds"] for cell in own) / epochs if epochs else None,
                "average": average.get(method),
            }
        )
    columns = ["Year", "Idea", "Parameters", "s/epoch", AVERAGE]

    def row(entry: Mapping[str, Any]) -> tuple[str, list[Cell]]:
        seconds, score = entry["seconds_an_epoch"], entry["average"]
        texts = (
            str(entry["year"] or "–"),
            str(entry["idea"] or "–"),
            f"{entry['parameters']:,}",
            "–" if seconds is None else f"{seconds:.2f}",
            "–" if score is None or pd.isna(score) else f"{score:.{metric(name).decimals}f}",
        )
        return str(entry["method"]), [Cell(text) for text in texts]

    return replace(
        table,
        stem=f"{table.prefix}_methods",
        title="Methods",
        kind="methods",
        caption="Parameters: all, frozen ones too. s/epoch: seconds of an epoch in one thread, validation included, as "
        "they were when the cells were computed; other work on the machine makes them more. "
        f"{AVERAGE} = {metric(name, table.target).title}, averaged over the conditions in which a modality is missing.",
        methods=methods,
        columns=columns,
        summary=pd.DataFrame(found).astype({"year": "Int64"}),
        blocks=[Block("", [row(entry) for entry in found])],
        words=("Idea",),
        notes=(),
        reference="",
    )
