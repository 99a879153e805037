"""What a report shows of noise, of a ratio for each modality, and of samples with their own modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.evidence.statistics import of_primary
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES, Setting, format_ratio, settings_for
from benchmark.report.content import Picture, Table, file_prefix
from benchmark.report.curves import describe_bars, draw, label_ends, plot_curves
from benchmark.report.figures import (
    ONE_COLUMN,
    RATIO,
    TWO_COLUMNS,
    Looks,
    about_one_task,
    axis_label,
    describe_samples,
    fitting_size,
    new_figure,
    styled,
    tell_floors,
)
from benchmark.report.heatmaps import method_panels
from benchmark.report.naming import method_names
from benchmark.report.tables import order_methods, sentence

NOISE = "noise (standard deviations)"
Named = Mapping[str, Setting]
"""Settings by the names of their conditions, from :func:`benchmark.evidence.scores.conditions_of`."""


def single_frames(table: Table, tasks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What is said below a table of missing frames where a modality has one frame a sample.

    Parameters
    ----------
    table : Table
    tasks : sequence of mapping
        As the manifest lists them. Earlier versions did not say how many frames there are; then nothing is said.
    """
    own = [task for task in tasks if (task.get("name"), task.get("source")) == (table.task, table.source)]
    frames = own[0].get("max_frames") if own else None
    single = [MODALITY_NAMES[m] for m in MODALITIES if (frames or {}).get(m) == 1]
    if not single or table.kind not in ("intra", "imbalanced"):
        return ()
    names = " and ".join(single).capitalize()
    have = "has" if len(single) == 1 else "have"
    lost = "at a ratio p, a share p of the samples lacks the whole modality"
    return (f"{names} {have} one frame a sample here: {lost}.",)


def setting_picture(
    table: Table, intervals: pd.DataFrame, named: Named, looks: Looks, order: Sequence[str] | None
) -> Picture | None:
    """The picture that belongs to a table of settings of any kind; None where it would show nothing."""
    if table.kind == "noise":
        return noise_curves(intervals, named, looks, order, prefix=table.prefix)
    if table.kind == "random":
        return random_curves(intervals, named, looks, order, prefix=table.prefix)
    if table.kind == "imbalanced":
        return imbalance_heatmap(intervals, named, order, prefix=table.prefix)
    return draw(table, looks) if len(table.columns) > 1 else None


def noise_curves(
    intervals: pd.DataFrame,
    named: Named,
    looks: Looks,
    order: Sequence[str] | None = None,
    *,
    prefix: str = "",
) -> Picture | None:
    """The primary score against the strength of noise, for one task and source.

    Parameters
    ----------
    intervals : DataFrame
        Columns `task, source, method, metric, condition, mean, std, seeds, low, high, n`.
    named : mapping of condition to Setting
    looks : Looks
        From :func:`benchmark.report.highlight.stand_out`.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.

    Returns
    -------
    Picture or None
        A panel for noise in all modalities, and one for each that has noise alone. None where there is no noise on
        samples that are otherwise whole.
    """
    noises = {name: s for name, s in named.items() if s.noise and s.available == "lav" and s.ratio == 0.0}
    panels = {"all modalities": {name: s.noise for name, s in noises.items() if isinstance(s.noise, float)}}
    for m in MODALITIES:
        alone = {name: s for name, s in noises.items() if isinstance(s.noise, tuple) and s.noise_of(m) == sum(s.noise)}
        panels[f"{MODALITY_NAMES[m]} alone"] = {name: s.noise_of(m) for name, s in alone.items()}
    what = "the noise that is added to the features, in standard deviations of the training split"
    return _panels(
        intervals, panels, looks, order, label=NOISE, what=what, stem=f"{prefix}_noise", per="which modalities have it"
    )


def random_curves(
    intervals: pd.DataFrame,
    named: Named,
    looks: Looks,
    order: Sequence[str] | None = None,
    *,
    prefix: str = "",
) -> Picture | None:
    """The primary score against the ratio of missing frames where each sample has its own modalities.

    Parameters and what it returns are as in :func:`noise_curves`; None where there are not two ratios.
    """
    own = {name: s.share for name, s in named.items() if s.kind == "random" and s.pattern == "scattered"}
    if len(own) < 2:
        return None
    what = "the ratio p of missing frames in the modalities that each sample has, its own subset of them all"
    return _panels(intervals, {"": own}, looks, order, label=RATIO, what=what, stem=f"{prefix}_random", complete=False)


def _panels(
    intervals: pd.DataFrame,
    panels: Mapping[str, Mapping[str, float]],
    looks: Looks,
    order: Sequence[str] | None,
    *,
    label: str,
    what: str,
    stem: str,
    per: str = "",
    complete: bool = True,
) -> Picture | None:
    """Curves over the places of conditions on the x axis, panel by panel; with `complete`, they start at 0 with it."""
    scores = of_primary(intervals)
    start = {Setting().condition: 0.0} if complete else {}
    found = {}
    for title, places in panels.items():
        at = scores["condition"].map({**start, **places}).astype(float)
        rows = scores.assign(place=at).dropna(subset=["place", "mean"])
        if places and not rows.empty:
            found[title] = rows
    if not found:
        return None
    shown = pd.concat(found.values())
    task, about = about_one_task(shown)
    words = axis_label(str(shown["metric"].iloc[0]))
    methods = order_methods(list(shown["method"]), order)
    width = ONE_COLUMN if len(found) == 1 else TWO_COLUMNS
    with styled():
        figure = new_figure(width, 2.2, about)
        grid = figure.subplots(1, len(found), squeeze=False, sharex=True, sharey=True)
        size = fitting_size([label], 0.75 * width / len(found), 7.5)
        for axes, (title, rows) in zip(grid[0], found.items(), strict=True):
            plot_curves(axes, rows, methods, looks, along="place")
            axes.set_title(title)
            axes.set_xlabel(label, fontsize=size)
        grid[0, 0].set_ylabel(words)
        label_ends(figure, grid, methods, looks)
    said = f"Curves: {words} against {what}" + (f", a panel by {per}" if per and len(found) > 1 else "")
    caption = (
        f"{about} {said}; {describe_samples(shown)}; {describe_bars(shown, looks)}.{looks.said}{tell_floors(methods)}"
    )
    alt = f"{said}, for {', '.join(method_names(methods))}. {about} The numbers are in the table above."
    return Picture(stem if not stem.startswith("_") else file_prefix(task) + stem, "", caption, alt, figure)


def imbalance_heatmap(
    intervals: pd.DataFrame, named: Named, order: Sequence[str] | None = None, *, prefix: str = ""
) -> Picture | None:
    """The primary score at each combination of ratios of missing frames, for one task and source.

    Parameters
    ----------
    intervals : DataFrame
        Columns `task, source, method, metric, condition, mean, seeds, n`.
    named : mapping of condition to Setting
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    prefix : str
        What the file's name begins with, by default the task.

    Returns
    -------
    Picture or None
        A panel a method: the ratio in language down, those in audio and vision across, colours alike in all panels.
        None where no ratios differ.
    """
    scores = of_primary(intervals).dropna(subset="mean")
    several = {s: name for name, s in named.items() if s.kind == "imbalanced" and s.available == "lav"}
    several = {s: name for s, name in several.items() if s.pattern == "scattered"}
    if not several or scores.empty:
        return None
    own = {m: sorted({s.ratio_of(m) for s in several}) for m in MODALITIES}
    across = [(a, v) for a in own["a"] for v in own["v"]]
    names = {}
    varied = "".join(m for m in MODALITIES if own[m] != [0.0])  # what data of two modalities lack has ratio 0
    for ratios in ((ratio, *pair) for ratio in own["l"] for pair in across):
        setting = Setting(ratio=ratios)  # where all are the same, the usual one
        if setting.condition not in named and len(varied) == 2:
            (setting,) = settings_for([setting], varied)
        names[ratios] = setting.condition
    shown = scores[scores["condition"].isin(list(names.values()))]
    methods = order_methods(list(shown["method"]), order)
    task, about = about_one_task(shown)
    said, words = metric(str(shown["metric"].iloc[0])), axis_label(str(shown["metric"].iloc[0]))
    ticks = [f"{format_ratio(a)}/{format_ratio(v)}" for a, v in across]
    panels = {}
    for method in methods:
        found = shown[shown["method"] == method].set_index("condition")["mean"]
        numbers = [[found.get(names[ratio, *pair], np.nan) for pair in across] for ratio in own["l"]]
        panels[method] = pd.DataFrame(numbers, index=[format_ratio(ratio) for ratio in own["l"]], columns=ticks)
    figure = method_panels(panels, said, about, across="ratios in audio / vision", down="ratio in language", steep=True)
    what = f"{sentence(words)} by the ratio of frames missing in language (down) and in audio and vision (across)"
    caption = f"{about} {what}; {describe_samples(shown)}. Colours mean the same in all panels."
    alt = f"{what}, a panel a method, for {', '.join(method_names(methods))}. {about}"
    return Picture(f"{prefix or file_prefix(task)}_imbalanced", "", caption, alt, figure)
