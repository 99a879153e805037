"""The table of two summaries over settings: how evenly modalities are used, and the worst case."""

from __future__ import annotations

import pandas as pd

from benchmark.evidence.robustness import modality_costs, worst_cases
from benchmark.evidence.statistics import average_draws, over_seeds
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import MODALITIES
from benchmark.report.content import Block, Cell, Table
from benchmark.report.tables import number_range, titled

EVENNESS, WORST, WHERE = "evenness", "worst", "in"
TELL_COSTS = (
    "Without m: the points that the absence of modality m alone costs. Evenness: the entropy of the shares of these "
    "costs, below 0 counted as 0, over its largest value; 1 where each absence costs the same, 0 where only one does, "
    "none where none costs anything (the benchmark's own index)."
)
TELL_WORST = (
    "Worst: the {} mean of all conditions tested in which something, but not everything, is missing or there is noise, "
    "and which that is."
)


def robustness_table(scores: pd.DataFrame, table: Table) -> Table | None:
    """What each modality's absence costs each method, how evenly, and the condition in which it does worst.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.
    table : Table
        One of the task and source, for its rows and its names.

    Returns
    -------
    Table or None
        None where there are neither costs nor a condition to be the worst.
    """
    part = scores[(scores["task"] == table.task) & (scores["source"] == table.source)]
    values = average_draws(part)
    costs, worst = modality_costs(values), worst_cases(values)
    if costs.empty and worst.empty:
        return None
    name = str(values["metric"].iloc[0])
    said, title = metric(name), titled([name], table.target)[name]
    own = [m for m in MODALITIES if costs.empty or costs[f"cost_{m}"].notna().any()]
    measured = {f"cost_{m}": f"without {m}" for m in own} | {"evenness": EVENNESS}
    long = pd.concat(
        [costs.rename(columns={column: "value"}).assign(what=shown) for column, shown in measured.items()]
    )  # a row a model and column
    shares = long["what"] == EVENNESS  # where nothing costs anything, nothing is shared
    by = ["method", "what"]
    summary = pd.concat([over_seeds(long[~shares], by), over_seeds(long[shares], by, of_defined=True)])
    digits = dict.fromkeys(measured.values(), said.decimals) | {EVENNESS: 2}
    found = {
        (method, what): _cell(mean, std, digits[what])
        for method, what, mean, std, seeds in summary.itertuples(index=False, name=None)
        if seeds
    }
    numbers = ["method", "condition", "mean", "std"]
    for method, condition, mean, std in worst[numbers].itertuples(index=False, name=None):
        found |= {(method, WORST): _cell(mean, std, said.decimals), (method, WHERE): Cell(condition)}
    columns = [*(measured.values() if not costs.empty else ()), *((WORST, WHERE) if not worst.empty else ())]
    rows = [(m, [found.get((m, column), Cell("")) for column in columns]) for m in table.methods]
    seeds = pd.concat([summary["seeds"], worst["seeds"]])
    count = number_range(seeds[seeds > 0])
    caption = (
        f"Over settings, by {title}; mean ± standard deviation over {count} {'seed' if count == '1' else 'seeds'}."
    )
    if not costs.empty:
        caption += " " + TELL_COSTS
    if not worst.empty:
        caption += " " + TELL_WORST.format("highest" if said.lower_is_better else "lowest")
        caption += " A score that is undefined counts as the worst." * bool(worst["mean"].isna().any())
    csv = pd.concat(
        [summary.rename(columns={"what": "condition"}), worst.assign(condition=WORST, where=worst["condition"])]
    )
    return Table(
        stem=f"{table.prefix}_robustness",
        title="Evenness over modalities, and worst case",
        task=table.task,
        source=table.source,
        kind="robustness",
        lead=table.lead,
        caption=caption,
        methods=table.methods,
        columns=columns,
        summary=csv.assign(metric=name)[["method", "metric", "condition", "mean", "std", "seeds", "where"]],
        blocks=[Block(title, rows)],
        words=(WHERE,),
        prefix=table.prefix,
        target=table.target,
    )


def _cell(mean: float, std: float, digits: int) -> Cell:
    return Cell("" if pd.isna(mean) else f"{mean:.{digits}f}", "" if pd.isna(std) else f"± {std:.{digits}f}")
