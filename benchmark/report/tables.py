"""Tables in the paper's shape, as Markdown, LaTeX and CSV.

A :class:`benchmark.report.content.Table` holds numbers and their ranks; the functions below only print it, as the HTML
page does.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import pandas as pd

from benchmark.evidence.scores import SAID_KINDS, SETTING, TASK
from benchmark.evidence.statistics import (
    AVERAGE,
    FLOORS,
    INCOMPLETE,
    RUN,
    average_draws,
    average_inter,
    over_seeds,
    whole_frames,
)
from benchmark.names import visible, without_formulas
from benchmark.protocol.metrics import category_of, metric
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES, PATTERNS, Setting, format_ratio
from benchmark.report.content import Block, Cell, Table, file_prefix, lead
from benchmark.report.naming import method_name

KINDS = {
    "inter": "Whole modalities missing",
    "intra": "Frames missing within each modality",
    "random": "Each sample with its own modalities",
    "imbalanced": "Frames missing at a ratio for each modality",
    "noise": "Noise added to features",
}
ACROSS = {
    "inter": "only the modalities in braces are available",
    "intra": "a ratio p of the frames is missing in each modality",
    "random": "in {l?,a?,v?} each sample has its own subset of the modalities, each as likely, the same for every "
    "method; with p, a ratio p of the frames is missing in these too",
    "imbalanced": "each modality has its own ratio of missing frames; a column is the mean over all settings in "
    "which the ratios differ and that modality has that ratio",
    "noise": "Gaussian noise is added to the features of all modalities, or of the one that is named, of so many "
    "standard deviations of the training split",
}
"""What is told of the columns of each kind."""
COMPLETE = "{l,a,v}"


def across(kind: str, absent: Collection[str] = ()) -> str:
    """What is told of the columns of a kind, for data that lack some modalities."""
    return ACROSS[kind].replace("{l?,a?,v?}", "{" + ",".join(f"{m}?" for m in MODALITIES if m not in absent) + "}")


BEST, BEST_TESTED = "best in bold, second underlined", "in bold what no test tells from the best (Holm, 0.05)"
FEWER = "†"
"""Marks the scores of a row with fewer seeds than others: chance alone ranks it higher or lower."""


def order_methods(methods: Iterable[str], preferred: Sequence[str] | None = None) -> list[str]:
    """The preferred ones first and in their order, then the others by name, and the floors last."""
    rank = {name: i for i, name in reversed(list(enumerate(preferred or ())))}
    return sorted(set(methods), key=lambda m: (m in FLOORS, rank.get(m, len(rank)), m))


def titled(metrics: Sequence[str], target: str) -> dict[str, str]:
    """Metrics, each once, with their titles."""
    return {name: metric(name, target).title for name in dict.fromkeys(metrics)}


def compared_metrics(metrics: Sequence[str]) -> list[str]:
    """Those that figures, intervals and tests are printed of: the first, and with a mean of categories those of each.

    All others are in the csv files, and have tables where they are asked for.
    """
    first, *others = dict.fromkeys(metrics)
    return [first, *(name for name in others if first == "f1" and category_of(name) is not None)]


def build_tables(
    scores: pd.DataFrame,
    *,
    selection: str = "",
    method_order: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
) -> list[Table]:
    """Make all tables that the scores can fill.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores.
    selection : str
        How checkpoints were selected, for the captions.
    method_order : sequence of str, optional
        See :func:`order_methods`.
    metrics : sequence of str
        Make a table of each of these, where a task has one of them, instead of one of all that there are.

    Returns
    -------
    list of Table
        A kind of table needs a condition of its own, next to the complete one which belongs to both kinds; if
        the complete one is all there is, it makes an intra table.
    """
    if scores.empty:
        return []
    tables = []
    values = average_draws(scores)
    sources = values.groupby("task")["source"].nunique().to_dict()
    for (task, source), part in values.groupby(["task", "source"], sort=False):
        methods = order_methods(part["method"].unique(), method_order)
        names = list(part["metric"].unique())
        target = str(part["target"].iloc[0])
        wanted = [[name] for name in dict.fromkeys(metrics) if name in names] or [names]
        prefix = file_prefix(str(task)) + (f"-{file_prefix(str(source))}" if sources[task] > 1 else "")
        part = part.assign(
            method=pd.Categorical(part["method"], categories=methods, ordered=True),
            metric=pd.Categorical(part["metric"], categories=names, ordered=True),
        )
        fewer = fewer_seeds(part.groupby("method", observed=True)["seed"].nunique())
        by_kind = {kind: _in_conditions(part, kind) for kind in KINDS}
        own = [kind for kind in KINDS if by_kind[kind]["condition"].nunique() > 1]
        alone = [kind for kind in ("intra", *KINDS) if not by_kind[kind].empty]  # none for bursts alone
        for kind in own or alone[:1]:
            values = by_kind[kind]
            columns = list(values["condition"].cat.categories)
            by = ["metric", "method", "condition"]
            draws = _draws(scores[(scores["task"] == task) & (scores["source"] == source) & (scores["kind"] == kind)])
            summary = over_seeds(values, by).sort_values(by, ignore_index=True).astype(dict.fromkeys(by, str))
            for shown in wanted:
                titles = titled(shown, target)
                blocks = [
                    Block(title, _rows(summary[summary["metric"] == name], methods, columns, fewer, name))
                    for name, title in titles.items()
                ]
                asked = shown[0] if shown[0] in metrics and len(shown) == 1 else ""
                tables.append(
                    Table(
                        stem=f"{prefix}_{kind}_{asked}".removesuffix("_"),
                        title=KINDS[kind] + (f": {titles[asked]}" if asked else ""),
                        task=str(task),
                        source=str(source),
                        kind=kind,
                        lead=lead(str(task), str(source)),
                        caption=_caption(values, summary, titles, kind, selection, target, draws) + tell_fewer(fewer),
                        methods=methods,
                        columns=columns,
                        summary=summary,
                        blocks=blocks,
                        metrics=titles,
                        prefix=prefix,
                        target=target,
                    )
                )
    return tables


def _in_conditions(values: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind of table; the categories of the new column `condition` are the table's columns.

    Settings that lack both modalities and frames are in neither of the first two. Of imbalanced ratios, a column is the
    mean over all settings in which one modality has one ratio.
    """
    if kind == "intra":
        values = values[values["kind"] == "intra"].sort_values("ratio", kind="stable")
        names = values["ratio"].map({ratio: f"p={format_ratio(ratio)}" for ratio in values["ratio"].unique()})
        columns = list(names.unique())
    elif kind == "imbalanced":
        values, names, columns = _by_modality(values[values["kind"] == kind])
    elif kind != "inter":
        complete = (values["kind"] == "intra") & (values["ratio"] == 0.0)
        values = values[(complete | (values["kind"] == kind)) & (SETTING in values)]
        texts = values[SETTING] if SETTING in values else values["kind"]  # of no rows
        names = texts.map({text: Setting.parse(text).condition for text in texts.unique()})
        columns = list(names.unique())
    else:
        values = values[whole_frames(values)]
        values = pd.concat([values, average_inter(values).assign(available=AVERAGE)], ignore_index=True)
        subsets = {s: Setting(s).condition for s in INCOMPLETE} | {AVERAGE: AVERAGE, "lav": COMPLETE}
        names = values["available"].map(subsets)
        found = set(names.unique())
        columns = [name for name in subsets.values() if name in found]
    return values.assign(condition=pd.Categorical(names, categories=columns, ordered=True))


def _by_modality(values: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series, list[str]]:
    """Of imbalanced settings: the means, the condition of each, and all conditions in order.

    Means are over the settings of scattered frames that all rows were tested in, so that none has easier ones.
    """
    if values.empty:
        return values, values["kind"], []
    rows = values["method"].nunique()
    tested_by = values.groupby(SETTING, observed=True)["method"].nunique()
    settings = {text: Setting.parse(text) for text in values[SETTING].unique() if tested_by[text] == rows}
    settings = {text: setting for text, setting in settings.items() if setting.pattern == PATTERNS[0]}
    parts = []
    for m in str(values["modalities"].iloc[0]):
        own = {text: f"{m}={format_ratio(s.ratio_of(m))}" for text, s in settings.items() if m in s.modalities}
        found = values.assign(condition=values[SETTING].map(own)).dropna(subset="condition")
        by = [*RUN, *TASK, "condition"]
        groups = found.groupby(by, sort=False, observed=True)
        means = pd.DataFrame({"value": groups["value"].mean(skipna=False), "n": groups["n"].max()}).reset_index()
        parts.append(means.sort_values("condition", kind="stable"))
    means = pd.concat(parts, ignore_index=True)
    return means, means["condition"], list(means["condition"].unique())


def fewer_seeds(seeds: pd.Series) -> dict[str, str]:
    """The rows with fewer seeds than the one with most, each with ``2 of 5``; from the number of seeds by row."""
    return {str(row): f"{count} of {seeds.max()}" for row, count in seeds.items() if count < seeds.max()}


def tell_fewer(fewer: Mapping[str, str]) -> str:
    """What a caption says of these rows; empty where there are none."""
    told = ", ".join(f"{method_name(row)} {count}" for row, count in fewer.items())
    return f" {FEWER} of fewer seeds than the other rows, and so not ranked: {told}." if fewer else ""


def _rows(
    summary: pd.DataFrame, methods: list[str], columns: list[str], fewer: Collection[str], metric_name: str
) -> list[tuple[str, list[Cell]]]:
    said = metric(metric_name)

    def printed(name: str) -> pd.DataFrame:
        numbers = summary.pivot(index="method", columns="condition", values=name)
        numbers = numbers.reindex(index=methods, columns=columns)
        return numbers.map(lambda x: "" if pd.isna(x) else f"{x:.{said.decimals}f}")

    mean, std = printed("mean"), printed("std")
    # Ranks are those of the printed numbers: what looks tied is tied.
    ranked = mean.apply(pd.to_numeric)
    ranked.loc[[method for method in methods if method in fewer]] = float("nan")
    rank = ranked.rank(method="dense", ascending=said.lower_is_better).fillna(0).astype(int)
    spread = std.map(lambda text: f"± {text}" if text else "")
    return [
        (
            method,
            [
                Cell(value, around, place, FEWER if value and method in fewer else "")
                for value, around, place in zip(mean.loc[method], spread.loc[method], rank.loc[method], strict=True)
            ],
        )
        for method in methods
    ]


def tell_metrics(names: Sequence[str], target: str, counts: Mapping[str, str] = {}) -> str:
    """What a caption says of metrics, without the full stop: what each is, and which way is better.

    Parameters
    ----------
    names : sequence of str
    target : str
        The kind of the task's target.
    counts : mapping of metric to str
        The numbers of test samples behind them, where these are to be told.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name in names:
        if category_of(name) is not None and "f1" in names:
            continue  # the mean of the categories says what each is
        said = metric(name, target)
        title, comma, qualifier = said.title.partition(", ")
        what, percent, of = said.text.partition(" × 100")  # metrics that differ in these first words share a sentence
        what = what[0].lower() + what[1:] if what[1].islower() else what
        end = percent + of + ", less is better" * said.lower_is_better
        groups.setdefault((comma + qualifier, end), []).append((title, what))
    told = []
    for (qualifier, end), own in groups.items():
        titles, whats = (" and ".join(words) for words in zip(*own, strict=True))
        told.append(whats + end if titles == whats else f"{titles}{qualifier}: {whats}{end}")
    return sentence("; ".join(told)) + (_tell_counts(names, target, counts) if counts else "")


def sentence(text: str) -> str:
    """A text as it begins a sentence."""
    return text[:1].upper() + text[1:]


def _tell_counts(names: Sequence[str], target: str, counts: Mapping[str, str]) -> str:
    """`` (n = 400, of F1 383)``: the usual number of test samples, then those of the metrics that have another."""
    usual = max(counts.values(), key=list(counts.values()).count)
    others: dict[str, list[str]] = {}
    for name in names:
        if counts[name] != usual:
            others.setdefault(counts[name], []).append(metric(name, target).title)
    told = [f"n = {usual}", *(f"of {' and '.join(titles)} {count}" for count, titles in others.items())]
    return f" ({', '.join(told)})"


def _draws(scores: pd.DataFrame) -> str:
    """Of how many draws numbers are means; empty where there is one draw of all that is there by chance."""
    by_chance = scores["kind"].isin(SAID_KINDS) | scores["ratio"].between(0.0, 1.0, inclusive="neither")
    by = ["method", "seed", "available", "ratio", *([SETTING] if SETTING in scores else [])]
    found = scores[by_chance].groupby(by, observed=True)["draw"].nunique()
    return number_range(found) if (found > 1).any() else ""


def _caption(
    values: pd.DataFrame,
    summary: pd.DataFrame,
    titles: dict[str, str],
    kind: str,
    selection: str,
    target: str,
    draws: str,
) -> str:
    counts = {name: number_range(values.loc[values["metric"] == name, "n"].dropna()) for name in titles}
    seeds = summary.loc[summary["metric"].isin(list(titles)) & (summary["seeds"] > 0), "seeds"]
    count = number_range(seeds)
    spread = f"mean ± standard deviation over seeds ({count} {'seed' if count == '1' else 'seeds'}"
    spread += "; no deviation where there is one seed)" if (seeds == 1).any() else ")"
    absent = [m for m in MODALITIES if m not in str(values["modalities"].iloc[0])]
    parts = [f"{tell_metrics(list(titles), target, counts)}; {across(kind, absent)}."]
    parts.append(f"Cells are {spread}; {BEST}.")
    if draws:
        by = "the noise" if kind == "noise" else "what is missing by chance"
        parts.append(f"The score of a seed is the mean over {draws} draws of {by}.")
    if absent:
        parts.append(f"The data have no {MODALITY_NAMES[absent[0]]}, in {COMPLETE} neither.")
    if AVERAGE in set(summary["condition"]):
        parts.append(f"{AVERAGE} = mean of the {'two' if absent else 'six'} missing conditions, without {COMPLETE}.")
    parts += tell_undefined(summary, titles)
    if selection:
        parts.append(f"Checkpoint selection: {selection.strip().rstrip('.')}.")
    return " ".join(parts)


def tell_undefined(summary: pd.DataFrame, titles: Mapping[str, str]) -> list[str]:
    """What a caption says of scores that there cannot be: a sentence on categories, one on Corr, or none.

    Parameters
    ----------
    summary : DataFrame
        Columns `metric` and `mean`.
    titles : mapping of metric to str
        From :func:`titled`.
    """
    told = []
    known = summary.groupby("metric")["mean"].count()
    absent = [name for name in map(category_of, titles) if name is not None and known.get(f"f1_{name}", 0) == 0]
    if absent:
        are, is_left = ("is", "its score is") if len(absent) == 1 else ("are", "their scores are")
        told.append(
            f"{' and '.join(absent)} {are} not among the test samples: {is_left} undefined and left out of the mean."
        )
    if "corr" in titles and summary.loc[summary["metric"] == "corr", "mean"].isna().any():
        told.append("There is no Corr where a method answers alike for all samples.")
    return told


def tell_blocks(blocks: pd.DataFrame) -> str:
    """What ranks, wins and losses are counted over, as a caption says it."""
    count, where = len(blocks), "in which something, but not everything, is missing"
    if "available" in blocks.index.names:
        return f"over {count} {'pair' if count == 1 else 'pairs'} of task and condition {where}"
    return f"over {count} data sets, each with the mean of its conditions {where}"


def number_range(numbers: pd.Series) -> str:
    """``5`` where all are the same, ``2–5`` where they are not, ``0`` where there are none."""
    if numbers.empty:
        return "0"
    low, high = int(numbers.min()), int(numbers.max())
    return str(low) if low == high else f"{low}–{high}"


def to_csv(table: Table) -> str:
    """The numbers behind a table, of every metric; a name cannot become a formula in a spreadsheet."""
    frame = table.summary.assign(task=table.task, source=table.source)
    first = [name for name in ("task", "source", "method", "metric", "condition") if name in frame]
    frame = without_formulas(frame[[*first, *frame.columns.difference(first, sort=False)]])
    return str(frame.to_csv(index=False, lineterminator="\n"))


def to_markdown(table: Table) -> str:
    """A pipe table under its caption, safe to render with HTML allowed."""
    blocks = len(table.blocks) > 1
    head = ["Metric"] * blocks + ["Method", *map(escape_markdown, table.columns)]
    lines = [head, ["---"] * (1 + blocks) + ["---" if name in table.words else "---:" for name in table.columns]]
    for block in table.blocks:
        for method, cells in block.rows:
            numbers = [print_cell(cell, escape_markdown, "**{}**".format, "<u>{}</u>".format) for cell in cells]
            lines.append([escape_markdown(block.title)] * blocks + [escape_markdown(table.row_name(method)), *numbers])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in table.notes)
    return f"**{escape_markdown(table.lead)}** {escape_markdown(table.caption)}\n\n{body}\n{notes}"


def to_latex(table: Table) -> str:
    """A floating table for a document that loads amssymb, booktabs and graphicx; it shrinks where it would not fit."""
    width = 1 + len(table.columns)
    body = []
    for block in table.blocks:
        body.append(r"\midrule")
        if len(table.blocks) > 1:
            body.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape_latex(block.title)}}}}} \\")
        for method, cells in block.rows:
            numbers = [
                print_cell(cell, latex_number, r"\textbf{{{}}}".format, r"\underline{{{}}}".format) for cell in cells
            ]
            body.append(" & ".join([escape_latex(table.row_name(method)), *numbers]) + r" \\")
    return "\n".join(
        [
            r"% \usepackage{amssymb,booktabs,graphicx}",
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{\textbf{{{escape_latex(table.lead)}}} {escape_latex(table.caption)}}}",
            rf"\label{{tab:{re.sub(r'[^A-Za-z0-9-]+', '-', table.stem)}}}",
            r"\medskip",
            r"\sbox0{%",
            rf"\begin{{tabular}}{{l{''.join('l' if name in table.words else 'r' for name in table.columns)}}}",
            r"\toprule",
            " & ".join(["Method", *map(escape_latex, table.columns)]) + r" \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}}%",
            r"\ifdim\wd0>\linewidth\sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi",
            r"\ifdim\dimexpr\ht0+\dp0>0.8\textheight\sbox0{\resizebox*{!}{0.8\textheight}{\usebox0}}\fi",
            r"\usebox0",
            *(rf"\par\smallskip {{\footnotesize {escape_latex(note)}}}" for note in table.notes),
            r"\end{table*}",
            "",
        ]
    )


def print_cell(
    cell: Cell,
    escape: Callable[[str], str],
    best: Callable[[str], str],
    second: Callable[[str], str],
    without_mark: str = "",
) -> str:
    """A cell in a format that has these ways to write a text, the best, the second, and that there is no mark."""
    if not cell.value:
        return "–"
    mark = {1: best, 2: second}.get(cell.rank, str)
    return (
        mark(escape(cell.value))
        + (escape(cell.mark) or without_mark)
        + (f" {escape(cell.spread)}" if cell.spread else "")
    )


def escape_markdown(text: str) -> str:
    """Text as it is, in a cell of a pipe table."""
    text = html.escape(_one_line(text), quote=False)
    return re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # after a line break it would start an optional argument
    "*": "{*}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "◆": r"$\blacklozenge$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "–": "--",
}
_LIGATURES = {"--", "''", "``", ",,", "?`", "!`"}  # pairs that fonts print as another character


MINUS = re.compile(r"(?<![\w.-])-(?=\.?\d)")
"""A hyphen that is a minus sign."""


def escape_latex(text: str) -> str:
    """Text as it is, in LaTeX of any font encoding."""
    text = _one_line(text)
    pairs = zip(text, f"{text[1:]} ", strict=False)
    return "".join(_LATEX.get(c, c) + ("{}" if c + following in _LIGATURES else "") for c, following in pairs)


def latex_number(text: str) -> str:
    """The same for what stands in a cell: a hyphen before a number is a minus sign."""
    return MINUS.sub("$-$", escape_latex(text))


def _one_line(text: str) -> str:
    return " ".join(visible(str(text)).split())
