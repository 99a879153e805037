"""What each method costs, as a table, and its score against that, as a figure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from benchmark.evidence.statistics import AVERAGE, FLOORS
from benchmark.protocol.metrics import metric
from benchmark.report.content import Block, Cell, Picture, Table
from benchmark.report.figures import GREY, TWO_COLUMNS, Look, axis_label, lay_out, new_figure, styled, tell_floors
from benchmark.report.labels import place_labels
from benchmark.report.methods import missing_averages
from benchmark.report.naming import method_name, method_names
from benchmark.report.tables import number_range

COLUMNS = ["MFLOP", "ms", "MiB", "Parameters", "Training (s)", AVERAGE]
AT_LEAST = "≥"
MOST_NAMED = 30
"""Methods up to which the figure names all."""

_AXES = {"operations": "floating-point operations a sample", "seconds": "inference time a sample"}
_UNITS = {"operations": "", "seconds": "s"}
_GREY = {"color": GREY, "marker": "o", "markersize": 2.6, "zorder": 1.5}


def costs_of(table: Table, cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What the methods of a table cost.

    Parameters
    ----------
    table : Table
        Any table of the task.
    cells : sequence of dict
        As the manifest lists them: :func:`benchmark.files.manifest.cell_summary`.

    Returns
    -------
    DataFrame
        A row a method: ``method, cells, parameters, training_seconds, device, samples, threads, operations, uncounted,
        seconds, least, most, memory, fault``. `operations` and `training_seconds` are means over cells, `seconds` is
        their median between `least` and `most`, the others are their largest; what no cell tells is NaN.
    """
    found = []
    for method in table.methods:
        own = [cell for cell in cells if (cell["task"], cell["source"]) == (table.task, table.source)]
        own = [cell for cell in own if cell["method"] == method]
        told = [account for cell in own if (account := cell.get("account"))]
        known = [account for account in told if account["seconds"] is not None]
        seconds = [account["seconds"] for account in known] or [math.nan]
        if own:
            found.append(
                {
                    "method": method,
                    "cells": len(own),
                    "parameters": max(cell["parameters"] for cell in own),
                    "training_seconds": float(np.mean([cell["training_seconds"] for cell in own])),
                    "device": " and ".join(sorted({account["device"] for account in known})),
                    "samples": max((account["samples"] for account in known), default=0),
                    "threads": max((account["threads"] for account in known), default=0),
                    "operations": float(np.mean([account["operations"] for account in known] or [math.nan])),
                    "uncounted": " ".join(sorted({name for account in known for name in account["uncounted"]})),
                    "seconds": float(np.median(seconds)),
                    "least": min(seconds),
                    "most": max(seconds),
                    "memory": max((float(account["memory"]) for account in known), default=math.nan),
                    "fault": next((account["fault"] for account in told if account["fault"]), ""),
                }
            )
    return pd.DataFrame(found)


def accounts_table(scores: pd.DataFrame, table: Table, cells: Sequence[Mapping[str, Any]]) -> Table | None:
    """Operations, time and memory of a prediction, parameters, training time, and the mean score beside them.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.
    table : Table
        Any table of the task.
    cells : sequence of dict
        As the manifest lists them.

    Returns
    -------
    Table or None
        None where no cell tells what a prediction costs, as cells of earlier versions do not.
    """
    costs = costs_of(table, cells)
    if costs.empty or costs["seconds"].isna().all():
        return None
    name, averages = missing_averages(scores, table)
    costs = costs.assign(metric=name, average=costs["method"].map(averages).astype(float))
    known, digits = costs[costs["samples"] > 0], metric(name).decimals

    def row(cost: Any) -> tuple[str, list[Cell]]:
        least = f"{AT_LEAST} " if cost.uncounted else ""
        texts = (
            least + _three_digits(cost.operations / 1e6),
            _three_digits(cost.seconds * 1e3),
            _three_digits(cost.memory / 2**20),
            f"{cost.parameters:,}",
            f"{cost.training_seconds:,.1f}",
            "–" if math.isnan(cost.average) else f"{cost.average:.{digits}f}",
        )
        return cost.method, [Cell(text) for text in texts]

    threads, samples = number_range(known["threads"]), number_range(known["samples"])
    faults = costs[costs["fault"] != ""].set_index("method")["fault"]
    return replace(
        table,
        stem=f"{table.prefix}_accounts",
        title="What it costs",
        kind="accounts",
        caption=f"Of predicting one sample with nothing missing, in a batch of {samples}. MFLOP: millions of "
        "floating-point operations in products of matrices, convolutions, attention and recurrent layers; what goes "
        f"element by element is not counted, and {AT_LEAST} stands where more is not (csv). ms: median of repeated "
        f"predictions in {threads} {'thread' if threads == '1' else 'threads'}{_devices(known)}, as long as they took "
        "where the cells were computed; other work on the machine makes them longer. MiB: all tensors that are there "
        "at once, weights and the batch among them. Training: seconds, validation included, mean over seeds. "
        f"{AVERAGE} = {metric(name, table.target).title}, averaged over the conditions in which a modality is missing.",
        methods=list(costs["method"]),
        columns=COLUMNS,
        summary=costs,
        blocks=[Block("", [row(cost) for cost in costs.itertuples()])],
        words=(),
        notes=tuple(f"{method_name(method)} could not be asked: {fault}." for method, fault in faults.items()),
        reference="",
    )


def _three_digits(number: float) -> str:
    """Three digits, of which three at most stand behind the point."""
    if math.isnan(number):
        return "–"
    if 0 < number < 0.001:
        return "< 0.001"
    places = 2 - math.floor(math.log10(number)) if number > 0 else 0
    return f"{number:,.{min(3, max(0, places))}f}"


def _devices(known: pd.DataFrame) -> str:
    """Where times were taken: of several devices, which method's on which."""
    names = {"cpu": "a CPU", "cuda": "a GPU"}
    by_device: dict[str, list[str]] = {}
    for method, device in zip(known["method"], known["device"], strict=True):
        by_device.setdefault(" and ".join(names.get(own, own) for own in device.split(" and ")), []).append(method)
    if len(by_device) == 1:
        return f" on {next(iter(by_device))}"
    told = [f"on {device}: {', '.join(method_names(methods))}" for device, methods in by_device.items()]
    return f" ({'; '.join(told)})"


def front(costs: pd.Series, scores: pd.Series, *, lower_is_better: bool) -> list[Any]:
    """The index of those for whom nobody is better and costs no more, from the cheapest to the dearest.

    Parameters
    ----------
    costs, scores : Series of float
        Of one index.
    lower_is_better : bool
        Of the score.
    """
    gains = -scores if lower_is_better else scores
    ranked = pd.DataFrame({"cost": costs, "gain": gains.astype(float)}).sort_values(
        ["cost", "gain"], ascending=[True, False]
    )
    before = ranked["gain"].cummax().shift(fill_value=-math.inf)
    return list(ranked.index[ranked["gain"] > before])


def pareto_figure(accounts: Table | None, looks: Mapping[str, Look], coloured: Collection[str] = ()) -> Picture | None:
    """Score against cost: operations in one panel, time in the other, with a line through those that none beats.

    Of more than `MOST_NAMED` methods only those on a line are in colour and named, and those in colour elsewhere.

    Parameters
    ----------
    accounts : Table or None
        From :func:`accounts_table`.
    looks : mapping of str to dict
        From :func:`benchmark.report.figures.method_looks`.
    coloured : collection of str
        Those that stand out in other figures.

    Returns
    -------
    Picture or None
        None where fewer than two methods have both a cost and a score.
    """
    if accounts is None:
        return None
    rows = accounts.summary.set_index("method")
    shown = rows[~rows.index.isin(FLOORS) & rows["average"].notna() & (rows["seconds"] > 0) & (rows["operations"] > 0)]
    if len(shown) < 2:
        return None
    room = 0.15 * (shown["average"].max() - shown["average"].min())
    floors = rows[rows.index.isin(FLOORS)]["average"]  # far from all others they would take the room of these
    floors = floors[floors.between(shown["average"].min() - room, shown["average"].max() + room)]
    primary = str(accounts.summary["metric"].iloc[0])
    lower, words = metric(primary).lower_is_better, axis_label(primary)
    fronts = {what: front(shown[what], shown["average"], lower_is_better=lower) for what in _AXES}
    named = set(shown.index)
    if len(shown) > MOST_NAMED:
        named &= set(coloured).union(*fronts.values())
    with styled():
        figure = new_figure(TWO_COLUMNS, 2.3 if len(shown) < 8 else 3.2, accounts.lead)
        panels = figure.subplots(1, 2, sharey=True)
        avoid: dict[str, NDArray[np.float64]] = {}
        for axes, (what, title) in zip(panels, _AXES.items(), strict=True):
            _log_axis(axes, shown[what], _UNITS[what])
            steps = _steps(shown.loc[fronts[what]], what, axes)
            axes.plot(*steps.T, color="#BBBBBB", linewidth=1.6, zorder=1)
            avoid[what] = np.hstack([steps[:-1], steps[1:]])  # (lines, x y x y)
            for method, row in shown.iterrows():
                look = looks[str(method)] if method in named else _GREY
                axes.plot(row[what], row["average"], **look | {"linestyle": "none"})
            for floor, score in floors.items():
                axes.axhline(score, **looks[str(floor)] | {"linewidth": 0.9, "zorder": 0})
            axes.set_xlabel(title)
        panels[0].set_ylabel(f"{words}, {AVERAGE}")
        panels[0].margins(y=0.12)
        lay_out(figure)  # where points lie is known of axes that are laid out
        for axes, what in zip(panels, _AXES, strict=True):
            left, right = axes.get_xlim()
            more = f" ({AT_LEAST})" if what == "operations" else ""
            own = shown[shown.index.isin(named)]
            names = [f"{method_name(method)}{more if row['uncounted'] else ''}" for method, row in own.iterrows()]
            lines = [*avoid[what], *((left, score, right, score) for score in floors)]
            place_labels(axes, own[what], own["average"], names, lines)
    without = [m for m in rows.index if m not in shown.index and m not in FLOORS]
    what = f"{words}, averaged over the conditions in which a modality is missing, against cost"
    caption = (
        f"{accounts.lead} {what}: floating-point operations on the left, inference time on the right, on logarithmic "
        "axes. The line passes through the methods that none beats at their cost or less."
    )
    if len(named) < len(shown):
        also = [str(method) for method in shown.index if method in named.difference(*fronts.values())]
        told = " and ".join(["these", *method_names(also)])
        caption += f" In colour: {told}; grey: the other {len(shown) - len(named)}."
    caption += tell_floors(list(floors.index))
    caption += f" Not drawn: {', '.join(method_names(without))}." if without else ""
    listed = ", ".join(method_names(shown.index))
    alt = f"{what}, for {listed}. {accounts.lead} The numbers are in the table above."
    return Picture(f"{accounts.prefix}_pareto", "", caption, alt, figure)


def _steps(best: pd.DataFrame, what: str, axes: Axes) -> NDArray[np.float64]:
    """The corners of a line through the best: level to the next one's cost, there up to it; behind the last, level."""
    level = best[[what, "average"]].to_numpy().repeat(2, 0)  # (2 * best, 2)
    return np.column_stack([np.append(level[1:, 0], axes.get_xlim()[1]), level[:, 1]])


def _log_axis(axes: Axes, costs: pd.Series, unit: str) -> None:
    """A logarithmic axis with room for labels; over less than two decades there are ticks between powers of ten."""
    axes.set_xscale("log")
    low, high = np.log10(costs.min()), np.log10(costs.max())
    room = max(0.15, 0.09 * (high - low))
    axes.set_xlim(10 ** (low - room), 10 ** (high + 1.6 * room))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high - low > 2 else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(EngFormatter(unit))
    axes.xaxis.set_minor_formatter(NullFormatter())
