"""Every epoch of a model, chosen by one half of the validation videos and judged by the other; the test split is unread.

A model is trained once for all epochs, with the rule ``last``. What a rule would have kept of it, and where it would
have stopped, is told by the epochs' records, since validation changes nothing in training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats

from benchmark.data import load_task
from benchmark.data.dataset import Dataset, Split
from benchmark.evidence.groups import groups_of
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import Setting
from benchmark.protocol.scoring import Scorer
from benchmark.running.cell import build_method
from benchmark.running.evaluation import predict_settings
from benchmark.running.grid import Cell
from benchmark.running.selection import Keeper, kept
from benchmark.running.store import setting_name
from benchmark.running.training import train
from benchmark.running.tuning import score_of

_ROOT = Path(__file__).resolve().parents[2]
PAGE = _ROOT / "docs" / "selection.md"
STORED = _ROOT / "results" / "reference" / "selection"
"""The epochs that the page is written from."""
MARKS = "<!-- study -->", "<!-- end of study -->"
LATE = 5
"""The least epoch of the rules that wait."""
RULES = {
    "loss": ("loss", 1),
    "score": ("score", 1),
    "last": ("last", 1),
    f"loss from {LATE}": ("loss", LATE),
    f"score from {LATE}": ("score", LATE),
}
CHOSEN = f"score from {LATE}"
"""The default; the others are compared with it."""
_RESAMPLES = 10_000
COLUMNS = (
    "method", "seed", "stage", "epoch", "valid_loss", "valid_score", "judged", "patience", "idle", "lower_is_better",
)  # fmt: skip
CPU = torch.device("cpu")


def halves(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """The data set twice, with one half of the validation videos each; the test split is empty."""
    valid = dataset.splits["valid"]
    groups = groups_of(valid.ids, dataset.task.group, dataset.task.unit)
    order = np.random.default_rng(0).permutation(groups.count)
    sizes = np.bincount(groups.index)[order]
    first = order[np.cumsum(sizes) - sizes / 2 <= len(valid) / 2]
    choosing = np.isin(groups.index, first)
    parts = (choosing, ~choosing)
    nothing = _of_rows(dataset.splits["test"], np.zeros(len(dataset.splits["test"]), bool))
    chosen, judged = (
        replace(dataset, splits={**dataset.splits, "valid": _of_rows(valid, rows), "test": nothing}) for rows in parts
    )
    return chosen, judged


def _of_rows(split: Split, rows: NDArray[np.bool_]) -> Split:
    return Split(
        split.ids[rows],
        {m: values[rows] for m, values in split.features.items()},
        {m: lengths[rows] for m, lengths in split.lengths.items()},
        split.labels[rows],
    )


def watch(cell: Cell, settings: Sequence[Setting], draw: int) -> pd.DataFrame:
    """Train a cell's method for all its epochs, and judge each.

    Returns
    -------
    DataFrame
        An epoch a row: ``method, seed, stage, epoch, valid_loss, valid_score`` as the rules see them on the first half,
        ``judged``, the primary metric on the second over `settings` in equal parts, and what it takes to apply a rule:
        ``patience``, ``idle`` of the stage, ``lower_is_better``.
    """
    choosing, judging = halves(load_task(cell.task))
    own, primary = cell.settings(settings), choosing.task.scored[0]
    names = [setting_name(setting, draw) for setting in own]
    scorer = Scorer(target=judging.target, labels=judging.splits["valid"].labels, metrics=[primary])
    method = build_method(cell, choosing, CPU)
    idle = {stage.name: stage.idle for stage in method.stages}
    rows: list[dict[str, Any]] = []

    def on_epoch(record: dict[str, Any]) -> None:
        outputs = predict_settings(method, judging, own, draw=draw, device=CPU, split_name="valid")
        scores = scorer.scores(outputs)[0, :, 0] * scorer.scales[0]
        seen = {name: record[name] for name in ("stage", "epoch", "valid_loss", "valid_score")}
        rows.append(
            {
                "method": cell.row.label, "seed": cell.seed, **seen, "judged": score_of(names, scores)[0],
                "patience": cell.training.patience, "idle": idle[record["stage"]],
                "lower_is_better": metric(primary).lower_is_better,
            }
        )  # fmt: skip

    config = cell.training.model_copy(update={"selection": "last", "min_epochs": 1})
    train(
        method, choosing, trains_on=cell.row.trains_on, config=config, seed=cell.seed, device=CPU, on_epoch=on_epoch
    )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))  # none of a method that has no epochs


def read(folder: Path) -> pd.DataFrame:
    """All epochs that are stored."""
    found = [pd.read_csv(path) for path in sorted(folder.glob("*.csv"))]
    return pd.concat([own for own in found if len(own)], ignore_index=True)


def choices(epochs: pd.DataFrame) -> pd.DataFrame:
    """What each rule keeps of each model's last stage.

    Returns
    -------
    DataFrame
        ``method, seed, rule, epoch, idle, judged, lower_is_better``.
    """
    rows = []
    for (method, seed), own in epochs.groupby(["method", "seed"], sort=False):
        last = own[own["stage"] == own["stage"].iloc[-1]].set_index("epoch", drop=False)
        about = last.iloc[0]
        for name, (rule, least) in RULES.items():
            keeper = Keeper(rule, least, bool(about["lower_is_better"]), int(about["patience"]))
            epoch = kept(last.to_dict("records"), keeper)
            rows.append((method, seed, name, epoch, about["idle"], last.loc[epoch, "judged"], about["lower_is_better"]))
    return pd.DataFrame(rows, columns=["method", "seed", "rule", "epoch", "idle", "judged", "lower_is_better"])


def differences(found: pd.DataFrame) -> pd.DataFrame:
    """Each rule less the chosen one, over methods, with 95 % intervals; methods of one seed have no part in deviations.

    Returns
    -------
    DataFrame
        A rule a row: ``deviation``, that of the root mean variance over seeds, with ``deviation_low`` and
        ``deviation_high`` by bootstrap over methods; ``score``, that of the mean over methods, with ``score_low`` and
        ``score_high`` by Student's t; ``better`` and ``worse``, of how many methods the mean score is.
    """
    by = found.groupby(["method", "rule"], sort=False)["judged"]
    mean, variance = by.mean().unstack(), by.var().unstack().dropna()  # (methods, rules)
    drawn = np.random.default_rng(0).integers(len(variance), size=(_RESAMPLES, len(variance)))
    sign = -1 if found["lower_is_better"].iloc[0] else 1
    rows = {}
    for rule in RULES:
        if rule == CHOSEN:
            continue
        pair = variance[[rule, CHOSEN]].to_numpy()
        spread = -np.diff(np.sqrt(pair.mean(0)))[0]
        low, high = np.quantile(-np.diff(np.sqrt(pair[drawn].mean(1))), [0.025, 0.975])
        less = (mean[rule] - mean[CHOSEN]).to_numpy()
        half = stats.t.ppf(0.975, len(less) - 1) * stats.sem(less) if len(less) > 1 else np.nan
        rows[rule] = {
            "deviation": spread, "deviation_low": low, "deviation_high": high, "score": less.mean(),
            "score_low": less.mean() - half, "score_high": less.mean() + half,
            "better": int((sign * less > 0).sum()), "worse": int((sign * less < 0).sum()),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def tables(epochs: pd.DataFrame) -> str:
    """Three tables in Markdown: the rules over all methods, each less the chosen one, and method by method."""
    found = choices(epochs)
    lower = bool(epochs["lower_is_better"].iloc[0])
    by = found.groupby(["method", "rule"], sort=False)
    mean, spread = by["judged"].mean().unstack(), by["judged"].std().unstack()  # (methods, rules)
    middle = by["epoch"].median().unstack()
    early = (found["epoch"] <= found["idle"]) & (found["idle"] > 1)
    best = mean.eq(mean.min(axis=1) if lower else mean.max(axis=1), axis=0)
    steady = spread.eq(spread.min(axis=1), axis=0)
    whole = [
        [
            rule,
            _number(np.sqrt((spread[rule] ** 2).mean()), 2),
            _number(spread[rule].median(), 2),
            str(int(steady[rule].sum())),
            f"{mean[rule].mean():.2f}",
            str(int(best[rule].sum())),
            f"{found.loc[found['rule'] == rule, 'epoch'].median():g}",
            str(int(early[found["rule"] == rule].sum())),
        ]
        for rule in RULES
    ]
    head = ["rule", "deviation over seeds", "its median", "steadiest of", "score", "best of", "epoch", "too early"]
    each = [
        [
            method,
            *(
                f"{mean[rule][method]:.1f} ± {_number(spread[rule][method], 1)} ({middle[rule][method]:g})"
                for rule in RULES
            ),
        ]
        for method in mean.index
    ]
    models = found.groupby("method")["seed"].nunique()
    about = f"Trained models: {', '.join(f'{count} of {method}' for method, count in models.items())}."
    beside = [
        [
            rule,
            f"{_signed(own.deviation)} ({_signed(own.deviation_low)} to {_signed(own.deviation_high)})",
            f"{_signed(own.score)} ({_signed(own.score_low)} to {_signed(own.score_high)})",
            f"{own.better:g}",
            f"{own.worse:g}",
        ]
        for rule, own in differences(found).iterrows()
    ]
    less = [f"less {CHOSEN}", "deviation over seeds", "score", "better of", "worse of"]
    return "\n\n".join([about, _markdown(head, whole), _markdown(less, beside), _markdown(["method", *RULES], each)])


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}"


def _number(value: float, decimals: int) -> str:
    """A deviation; of one seed there is none."""
    return "–" if np.isnan(value) else f"{value:.{decimals}f}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    ruled = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ruled, *rows])


def in_page(text: str, epochs: pd.DataFrame) -> str:
    """The page with these tables between its marks."""
    start, end = MARKS
    return re.sub(f"{start}.*?{end}", lambda _: f"{start}\n\n{tables(epochs)}\n\n{end}", text, flags=re.S)
