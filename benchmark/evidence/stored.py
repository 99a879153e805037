"""``intervals.csv``, ``comparisons.csv`` and ``pairs.csv``: what is in them, writing and reading."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError
from benchmark.evidence.scores import AVAILABLE, SAID_KINDS, SETTING_KINDS, SOURCE, check_names, conditions_of
from benchmark.evidence.statistics import AREA, AVERAGE, DERIVED, DROP
from benchmark.files.atomic import replace_file
from benchmark.files.csvfiles import number, read_csv, text, whole
from benchmark.names import without_formulas
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import PATTERNS, SUBSETS, Setting

REFERENCE, TUNED, AUGMENTATION, IDEA = "reference", "tuned", "augmentation", "idea"
"""What a comparison is for: a row against the reference, both with their defaults; both tuned; a method's training on
incomplete samples against that on whole ones; a method against the mean of all, each trained on incomplete samples.
"""

_NAMES = {"task": text(), "source": SOURCE, "metric": text(), "method": text(), "condition": text()}
_INTERVALS = _NAMES | {
    "kind": text({*SETTING_KINDS, DERIVED}),
    "available": text(AVAILABLE, empty=True),  # empty, as is the ratio, for sums of several settings
    "ratio": number(0, 1, empty=True),
    "mean": number(empty=True),  # f1 where every label is 0, and the ends where too few are not
    "std": number(empty=True),
    "seeds": whole(),
    "low": number(empty=True),
    "high": number(empty=True),
    "n": whole(),
    "groups": whole(),
    "unit": text(),
    "best": number(0, 1, empty=True),
    "collapsed": number(0, empty=True),
}
_COMPARISONS = _NAMES | {
    "purpose": text({REFERENCE, TUNED, AUGMENTATION, IDEA}),
    "against": text(),
    "difference": number(empty=True),
    "low": number(empty=True),
    "high": number(empty=True),
    "p": number(0, 1, empty=True),  # no test with one seed
    "p_holm": number(0, 1, empty=True),
    "family": number(0),
    "detectable": number(0, empty=True),
}
_PAIRS = {name: _COMPARISONS[name] for name in (*_NAMES, "against", "difference", "low", "high", "p", "detectable")}
_NEAR = 1e-6  # of rounding
_FORMER = {"groups": None, "unit": None, "best": None, "collapsed": None, "detectable": None}
"""What files of earlier versions do not say."""


@dataclass(frozen=True)
class Evidence:
    """What the stored predictions tell of the methods.

    Parameters
    ----------
    intervals : DataFrame
        ``task, source, metric, method, condition, kind, available, ratio, mean, std, seeds, low, high, n,
        groups, unit, best, collapsed``: mean and standard deviation over seeds, the ends of the mean's 95 % interval
        over seeds and test samples, and the numbers of test samples and of the groups, each a `unit`, that they belong
        to; `best`
        is 1 for what cannot be told from the best of its condition, and empty where there was no test; `collapsed` is
        the number of seeds that give all test samples the same answer there, and empty for sums of several settings.
    comparisons : DataFrame
        ``purpose, task, source, metric, method, condition, against, difference, low, high, p, p_holm, family,
        detectable``: `p` is two-sided; `p_holm` is corrected for the `family` comparisons of one purpose, metric and
        condition; `detectable` is the least difference that the test, uncorrected, would find with a chance of 80 %.
    pairs : DataFrame
        ``task, source, metric, method, condition, against, difference, low, high, p, detectable``: each pair of methods
        once, its primary metric in `Avg.`, or where there is none, in `AUDC`; not corrected.
    """

    intervals: pd.DataFrame = field(default_factory=pd.DataFrame)
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: pd.DataFrame = field(default_factory=pd.DataFrame)

    def references(self) -> list[str]:
        """The rows that others were tested against as the reference."""
        found = self.comparisons
        return [] if found.empty else list(found.loc[found["purpose"] == REFERENCE, "against"].unique())

    def of_rows(self, labels: Collection[str]) -> Evidence:
        """Only what is of some rows, held against these; corrected for as many comparisons as before."""

        def own(frame: pd.DataFrame) -> pd.DataFrame:
            if frame.empty:
                return frame
            kept = frame["method"].isin(list(labels))
            if "against" in frame:
                against_mean = frame["purpose"] == IDEA if "purpose" in frame else False
                kept &= frame["against"].isin(list(labels)) | against_mean
            return frame[kept].reset_index(drop=True)

        return Evidence(*map(own, (self.intervals, self.comparisons, self.pairs)))


def write_evidence(evidence: Evidence, out: Path) -> None:
    """Write ``intervals.csv``, ``comparisons.csv`` and ``pairs.csv``."""
    frames = {"intervals": evidence.intervals, "comparisons": evidence.comparisons, "pairs": evidence.pairs}
    for name, frame in frames.items():
        replace_file(out / f"{name}.csv", without_formulas(frame).to_csv(index=False).encode())


def read_evidence(out: Path, scores: pd.DataFrame) -> Evidence:
    """The files as written; empty where there are none.

    Parameters
    ----------
    out : Path
        Their folder.
    scores : DataFrame
        The tidy scores that they belong to.

    Raises
    ------
    BenchmarkError
        If a line is not as a report writes it, a row stands twice, or one is not among the scores.
    """
    frames = {}
    for name, fields in {"intervals.csv": _INTERVALS, "comparisons.csv": _COMPARISONS, "pairs.csv": _PAIRS}.items():
        path = out / name
        try:
            frame = read_csv(path, fields, may_be_empty=True, optional=_FORMER)
            frame = frame.astype({name: int for name in ("family",) if name in frame})  # it may stand as 4.0
        except FileNotFoundError:
            frame = pd.DataFrame()
        if not frame.empty:
            check_names(frame, path)
            _refuse_others(frame, scores, path)
        frames[name] = frame
    intervals = frames["intervals.csv"]
    if not intervals.empty:
        _refuse_other_conditions(intervals, conditions_of(scores), out / "intervals.csv")
        _refuse_impossible(intervals, out / "intervals.csv")
    return Evidence(intervals, frames["comparisons.csv"], frames["pairs.csv"])


def _refuse_others(frame: pd.DataFrame, scores: pd.DataFrame, path: Path) -> None:
    """Refuse what stands twice, or belongs to no scores."""
    where = ["task", "source", "metric", "method"]
    known = set(scores[where].drop_duplicates().itertuples(index=False, name=None))
    for row in frame[where].drop_duplicates().itertuples(index=False, name=None):
        if row not in known:
            raise BenchmarkError(
                f"{path}: {row[2]} of {row[3]!r} on {row[0]} ({row[1]}) is not in scores.csv; copy both files from one "
                "run, or leave this one out"
            )
    identity = [name for name in (*where, "condition", "purpose", "against") if name in frame]
    twice = frame[frame.duplicated(identity)]
    if not twice.empty:
        first = twice.iloc[0]
        raise BenchmarkError(f"{path}: {first['metric']} of {first['method']!r} in {first['condition']!r} stands twice")


def _refuse_impossible(intervals: pd.DataFrame, path: Path) -> None:
    """Refuse a mean outside of its interval, and what its metric cannot be."""
    for (name, condition), own in intervals.groupby(["metric", "condition"], sort=False):
        least, most = (-np.inf, np.inf) if condition == DROP else metric(str(name)).bounds
        ends = own[["low", "mean", "high"]].to_numpy(dtype=float)  # (rows, 3); NaN compares as False
        wrong = (np.diff(ends) < -_NEAR).any(1) | ((ends < least - _NEAR) | (ends > most + _NEAR)).any(1)
        if wrong.any():
            method, (low, mean, high) = own["method"].iloc[wrong.argmax()], ends[wrong.argmax()]
            raise BenchmarkError(
                f"{path}: {name} of {method!r} in {condition!r} cannot be {mean:g} [{low:g}, {high:g}]; the file must "
                "be as a report writes it"
            )


def _refuse_other_conditions(intervals: pd.DataFrame, named: Mapping[str, Setting], path: Path) -> None:
    """Refuse a condition that is not what its setting is called."""
    columns = ["condition", "kind", "available", "ratio"]
    for condition, kind, available, ratio in intervals[columns].drop_duplicates().itertuples(index=False, name=None):
        if kind == DERIVED:
            fits = not available and np.isnan(ratio) and condition in (AVERAGE, DROP, AREA)
        elif kind in SAID_KINDS:  # what the columns do not say, the scores do
            own = named.get(condition)
            fits = own is not None and (own.kind, own.available) == (kind, available) and abs(own.share - ratio) < 1e-6
        elif available in SUBSETS and not np.isnan(ratio):
            setting = Setting(available, ratio, kind.partition("-")[2] or PATTERNS[0])
            fits = (setting.condition, setting.kind) == (condition, kind)
        else:
            fits = False
        if not fits:
            raise BenchmarkError(
                f"{path}: {condition!r} is not what {kind} {available!r} at {ratio:g} is called; the file must be as a "
                "report writes it"
            )
