"""A leaderboard: one static page of the rows of several output folders. ``--leaderboard`` and `benchmark.leaderboard`.

Rows stand in one table, and in one order, only where task, source, data fingerprint, metric and version are the same:
what is simulated is never ranked with what is real. A folder that cannot be shown is left out, and a line says why.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from benchmark.errors import BenchmarkError, storing
from benchmark.evidence.statistics import AVERAGE
from benchmark.files.atomic import replace_file
from benchmark.protocol.metrics import Metric
from benchmark.protocol.metrics import metric as find_metric
from benchmark.protocol.missing import Setting
from benchmark.report.findings import FILE
from benchmark.report.html import fill
from benchmark.report.standings import Score, Standing, Where, is_former, read_standings, worst_of

OUT = Path("results") / "leaderboard.html"
COMPLETE = Setting().condition
MARK = "<title>Leaderboard</title>"
"""In each page, by which it is known."""
MOST = 80
"""Characters of a configuration that the page shows; a longer one is folded."""


@dataclass(frozen=True)
class Leaderboard:
    """What a leaderboard shows.

    Parameters
    ----------
    path : Path
        The page.
    rows : DataFrame
        ``task, source, fingerprint, metric, version, method, configuration, score, low, high, complete, worst,
        worst_in, seeds, finished, commit, folder, verified``, in the order of the page; `score` is the mean over seeds
        of the primary metric in `Avg.`.
    left_out : dict of Path to str
        Folders that are not shown, and why.
    """

    path: Path
    rows: pd.DataFrame = field(repr=False)
    left_out: dict[Path, str]


def leaderboard(*folders: str | Path, out: str | Path | None = None, say: Callable[[str], None] = print) -> Leaderboard:
    """Write a leaderboard page from output folders; computes nothing, and changes nothing in them.

    Parameters
    ----------
    *folders : path
        Output folders of runs, such as ``results/quick``; ``scores.csv``, ``intervals.csv`` and ``manifest.json`` in
        them are enough. One that cannot be shown is left out.
    out : path, optional
        The page, a name that ends in ``.html``; by default ``results/leaderboard.html``. Its links to the folders are
        relative, so page and folders can be moved together.
    say : callable
        Called with each line for a person: which folders are left out, and where the page is.

    Returns
    -------
    Leaderboard

    Raises
    ------
    BenchmarkError
        If no folder is named or none can be shown, or the page cannot be written.
    """
    path = OUT if out is None else Path(out)
    if path.suffix != ".html" or path.is_dir():
        raise BenchmarkError(f"a leaderboard is a page, and {path} is none; name a file that ends in .html")
    if not folders:
        raise BenchmarkError("no folder is named; give the output folders of some runs")
    with storing(path.parent):
        if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise BenchmarkError(f"{path} is there and is no leaderboard; name another file with --out")
    given = {os.path.realpath(folder): Path(folder) for folder in folders}  # one that is named twice is shown once
    found: dict[Where, list[Standing]] = {}
    left_out: dict[Path, str] = {}
    for folder in given.values():
        try:
            own = read_standings(folder)
        except (BenchmarkError, OSError) as error:
            left_out[folder] = str(error)
            say(f"left out: {error}")
            continue
        if any(map(is_former, own)):
            say(f"{folder} is of another version ({next(iter(own)).version}); its rows stand in tables of their own")
        for where, standings in own.items():
            found.setdefault(where, []).extend(standings)
    if not found:
        raise BenchmarkError("none of these folders can be shown on a leaderboard; see the lines above")
    boards = [_Board(where, found[where]) for where in sorted(found, key=_order)]
    shown = [standing for standings in found.values() for standing in standings]
    tasks: dict[str, str] = {}
    for board in boards:  # those of this version come first, and their name stands
        tasks.setdefault(board.where.task, board.name)
    names = _names({standing.run.folder for standing in shown} | left_out.keys(), path)
    page = fill(
        "leaderboard.html.j2",
        "leaderboard.js",
        "wide.js",
        boards=[board.shown(path, names) for board in boards],
        tasks=tasks,
        sources=list(dict.fromkeys(board.where.source for board in boards)),
        settings=_settings(shown),
        most=MOST,
        average=AVERAGE,
        complete=COMPLETE,
        left_out=[_without(folder, names[folder], why) for folder, why in left_out.items()],
        total=len(shown),
        verified=sum(standing.run.mark.verified for standing in shown),
    )
    with storing(path.parent):
        replace_file(path, page.encode())
    count = len({standing.run.folder for standing in shown})
    say(f"leaderboard: {path} ({len(shown)} rows of {count} {'folder' if count == 1 else 'folders'})")
    return Leaderboard(path, pd.DataFrame([row for board in boards for row in board.rows()]), left_out)


class _Board:
    """The rows that can be compared, the best first."""

    def __init__(self, where: Where, standings: list[Standing]) -> None:
        self.where = where
        self.name = standings[0].task
        self.metric: Metric = find_metric(where.metric, standings[0].target)
        worst = worst_of(standings)
        pairs = [(own, worst.get(place)) for place, own in enumerate(standings)]
        self.standings = sorted(pairs, key=lambda pair: self._rank(pair[0]))

    def _rank(self, standing: Standing) -> tuple[bool, float, str]:
        score = standing.scores.get(AVERAGE)
        sign = 1.0 if self.metric.lower_is_better else -1.0
        return score is None, 0.0 if score is None else sign * score.mean, standing.method

    def rows(self) -> Iterable[dict[str, Any]]:
        nothing = Score(math.nan)
        for own, worst in self.standings:
            score = own.scores.get(AVERAGE, nothing)
            yield {
                **vars(self.where),
                "method": own.method,
                "configuration": own.configuration,
                "score": score.mean,
                "low": score.low,
                "high": score.high,
                "complete": own.scores.get(COMPLETE, nothing).mean,
                "worst": worst[1] if worst else math.nan,
                "worst_in": worst[0] if worst else "",
                "seeds": own.seeds,
                "finished": own.run.finished,
                "commit": own.run.commit,
                "folder": str(own.run.folder),
                "verified": own.run.mark.verified,
            }

    def shown(self, page: Path, names: dict[Path, str]) -> dict[str, Any]:
        """What the template shows of it; numbers are printed as tables do."""

        def printed(number: float) -> str:
            return f"{number:.{self.metric.decimals}f}"

        def cell(score: Score) -> list[Any]:
            ends = "" if math.isnan(score.low + score.high) else f"{printed(score.low)} to {printed(score.high)}"
            return [score.mean, printed(score.mean), ends]

        rows = []
        for own, worst in self.standings:
            cells = {condition: cell(score) for condition, score in own.scores.items()}
            rows.append(
                {
                    "own": own,
                    "scores": json.dumps(cells),
                    "score": cells.get(AVERAGE),
                    "complete": cells.get(COMPLETE),
                    "worst": worst and (worst[1], printed(worst[1]), worst[0]),
                    "commits": [_short(commit) for commit in own.run.commit.split(", ") if commit],
                    "folder": names[own.run.folder],
                    "manifest": _link(own.run.folder / "manifest.json", page),
                    "verify": _link(own.run.folder / FILE, page) if own.run.mark.there else "",
                }
            )
        return {
            "where": self.where,
            "title": self.name,
            "metric": self.metric,
            "simulated": self.where.source == "simulated",
            "first": "ascending" if self.metric.lower_is_better else "descending",
            "former": is_former(self.where),
            "rows": rows,
        }


def _order(where: Where) -> tuple[Any, ...]:
    return is_former(where), where.task, where.source != "file", where.fingerprint, where.metric, where.version


def _settings(standings: Iterable[Standing]) -> dict[str, list[str]]:
    """All conditions, in groups, for the choice of one; the complete one and `Avg.` first."""
    found = dict.fromkeys(condition for own in standings for condition in own.scores)
    rest = [name for name in found if name not in (AVERAGE, COMPLETE)]
    whole = [name for name in rest if name.startswith("{") and name.endswith("}")]
    groups = {"Whole modalities missing": whole, "Frames missing, noise": [name for name in rest if name not in whole]}
    return {title: names for title, names in groups.items() if names}


def _names(folders: Iterable[Path], page: Path) -> dict[Path, str]:
    """What the page calls folders: by their own names, or where two have the same, by the way to them."""
    own = {folder: Path(os.path.abspath(folder)).name for folder in folders}  # noqa: PTH100
    several = [name for name in own.values() if list(own.values()).count(name) > 1]
    return {folder: _way(folder, page) if name in several else name for folder, name in own.items()}


def _way(path: Path, page: Path) -> str:
    """From the page's folder; links are not followed, as a browser does not."""
    return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(page.parent))).as_posix()  # noqa: PTH100


def _link(path: Path, page: Path) -> str:
    return quote(_way(path, page), errors="surrogateescape")


def _without(folder: Path, name: str, why: str) -> str:
    """A line as a page may show it, which is for everybody: without where the folder lies on this machine."""
    return why.replace(str(folder), name)


def _short(commit: str) -> str:
    """Of a commit, as many digits as people use, and the sign that files differed from it."""
    return commit[:7] + ("+" if commit.endswith("+") else "")
