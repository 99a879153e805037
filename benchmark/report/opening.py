"""What a report opens with: what was run and what it found, in a few sentences made of the scores and the evidence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.evidence.comparisons import ALPHA
from benchmark.evidence.groups import counted
from benchmark.evidence.scores import SETTING
from benchmark.evidence.statistics import AREA, AVERAGE, FLOORS, holm
from benchmark.evidence.stored import REFERENCE, Evidence
from benchmark.evidence.tuning import Tuning, against_reference, outcomes
from benchmark.protocol.metrics import metric
from benchmark.report.manifest import tell_cells
from benchmark.report.naming import method_name, method_names, task_name
from benchmark.report.tables import COMPLETE, number_range, order_methods, sentence
from benchmark.report.verdicts import ALIKE, BETTER, OPEN, WORSE, margin_words, verdict
from benchmark.running.grid_file import MARGIN

SIMULATED, FILES, UNFINISHED, NOTHING, FAILED = "simulated", "files", "unfinished", "nothing", "failed"
"""What a reader has to know before any number."""

RUN, DIFFERENCES, LIKENESS, COLLAPSE, TUNED = "run", "differences", "likeness", "collapse", "tuned"
"""What was run, and what it found."""

_MOST = 3  # methods that a sentence names with their numbers
_MOST_NAMES = 8  # that it names without
_SUMS = {
    AVERAGE: f"on average over the conditions that lack whole modalities ({AVERAGE})",
    AREA: f"on average over the ratios of missing frames ({AREA})",
    COMPLETE: "with everything there",
}
"""What a method is judged by: the first of these that there is."""


@dataclass(frozen=True)
class Sentence:
    """One or two sentences on one thing.

    Parameters
    ----------
    kind : str
        What they are about.
    text : str
    lead : str
        What stands before it in bold; possibly empty.
    """

    kind: str
    text: str
    lead: str = ""


def banners(
    scores: pd.DataFrame, cells: Mapping[str, int], failures: Sequence[Mapping[str, str]] = ()
) -> list[Sentence]:
    """What a reader has to know before any number: whether data are simulated, and what is missing.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores, possibly empty.
    cells : mapping of str to int
        Their number by state.
    failures : sequence of mapping
        `method`, `task`, `seed` and `error` of each failed cell.
    """
    found = []
    by_source = {name: _tasks_from(scores, name) for name in ("simulated", "file")}
    if simulated := by_source["simulated"]:
        others = f" Those of {_listed(_tasks(by_source['file']))} come from data files." if by_source["file"] else ""
        stand_in = "a simulated stand-in for the data set" if len(simulated) == 1 else "simulated stand-ins"
        real = "the scores on the real one" if len(simulated) == 1 else "the scores on the real data sets"
        text = f"The scores of {_listed(_tasks(simulated))} come from {stand_in}; they tell nothing about {real}."
        found.append(Sentence(SIMULATED, text + others, "Simulated data."))
    elif by_source["file"]:
        found.append(Sentence(FILES, "All scores come from data files.", "Data from files."))
    if cells.get("not computed"):
        text = "What is not computed is missing from the tables; the command below goes on from here."
        found.append(Sentence(UNFINISHED, text, f"{tell_cells(cells)}."))
    if scores.empty:
        text = "Nothing has been trained to its end, so there is no table and no figure."
        found.append(Sentence(NOTHING, text, "No scores."))
    if failures:
        named = [f"{_failed(f)} (seed {f.get('seed', '')})" for f in failures]
        text = f"{_listed(named, most=_MOST)}. What failed is missing from the tables."
        found.append(Sentence(FAILED, text, f"{counted(len(failures), 'cell')} failed:"))
    return found


def findings(
    scores: pd.DataFrame,
    evidence: Evidence,
    *,
    against: str | None = None,
    order: Sequence[str] | None = None,
    margin: float = MARGIN,
    tunings: Sequence[Tuning] = (),
    methods: Collection[str] = (),
) -> list[Sentence]:
    """What was run, what differs from the reference and what cannot be told from it, what collapsed, what tuning did.

    Parameters
    ----------
    scores : DataFrame
        Tidy scores, possibly empty.
    evidence : Evidence
    against : str, optional
        The reference.
    order : sequence of str, optional
        See :func:`benchmark.report.tables.order_methods`.
    margin : float
        Within how many points of the reference a method counts as alike.
    tunings : sequence of Tuning
        The trials of methods that were tuned; their tuned rows are not held against a reference with its defaults.
    methods : collection of str
        The rows that are methods as they are; where there are others, rows are counted and not methods.

    Returns
    -------
    list of Sentence
        Two to five; none without scores.
    """
    if scores.empty:
        return []
    order = order_methods(scores["method"].unique(), order)
    tuned = {own.tuned for own in tunings if own.tuned in order}
    counting = [row for row in order if row not in FLOORS and row not in tuned]
    places = _Places(scores, "method" if set(counting) <= set(methods) else "row")
    found = [_run(scores, evidence, order, tuned, places)]
    tests = evidence.comparisons
    if not tests.empty:
        tests = tests[(tests["purpose"] == REFERENCE) & (tests["against"] == against)]
    tests, called = _judged(tests), method_name(against)
    if evidence.intervals.empty:
        found.append(Sentence(DIFFERENCES, "There are no intervals and no tests with these scores."))
    elif tests.empty:
        absent = against is not None and against not in order
        missing = f"There is no test against {called}: there are no scores of it. " if absent else ""
        found.append(Sentence(DIFFERENCES, missing + _best(evidence.intervals, order, places)))
    elif tests["p_holm"].isna().all():
        few = f"There is no test against {called}: that takes three seeds of each method."
        found.append(Sentence(DIFFERENCES, f"{few} {_best(evidence.intervals, order, places)}"))
    else:
        compared = [_Compared.of(row, margin) for row in _records(tests)]
        found.append(_differences(tests, compared, str(against), places))
        found += _likeness(tests, compared, str(against), order, places, margin)
    found += _collapse(evidence.intervals, order, places)
    if tuned:
        found.append(_tuned(tunings, evidence, against, places))
    return found


class _Places:
    """How rows are called, and a task: not at all where there is one, and with its source where it comes from two."""

    def __init__(self, scores: pd.DataFrame, noun: str) -> None:
        self.noun = noun
        pairs = scores[["task", "source"]].drop_duplicates()
        self.pairs = [(str(task), str(source)) for task, source in pairs.itertuples(index=False)]
        tasks = [task for task, _ in self.pairs]
        self.twice = {task for task in tasks if tasks.count(task) > 1}

    @property
    def several(self) -> bool:
        return len(self.pairs) > 1

    def tested(self, tests: pd.DataFrame) -> tuple[int, list[str]]:
        """On how many tasks there were tests, and the names of the others."""
        there = set(tests[["task", "source"]].drop_duplicates().itertuples(index=False, name=None))
        return len(there), [self.named(*pair) for pair in self.pairs if pair not in there]

    def named(self, task: str, source: str) -> str:
        told = "simulated" if source == "simulated" else "from file"
        return f"{task_name(task)} ({told})" if task in self.twice else task_name(task)

    def on(self, row: Mapping[str, Any]) -> str:
        return f" on {self.named(row['task'], row['source'])}" if self.several else ""


@dataclass(frozen=True)
class _Compared:
    """A method held against the reference, and how far it is from it: of a metric that is no per cent in hundredths."""

    row: Mapping[str, Any]
    sign: str
    points: float

    @classmethod
    def of(cls, row: Mapping[str, Any], margin: float) -> _Compared:
        of = metric(row["metric"])
        return cls(row, verdict(row, of, margin), abs(row["difference"]) * (1.0 if of.percent else 100.0))

    @property
    def method(self) -> str:
        return str(self.row["method"])

    def told(self, places: _Places) -> str:
        """``mult on mosi by 3.2 points [1.0, 5.4]``."""
        turn = 1.0 if self.row["difference"] > 0 else -1.0
        ends = sorted(turn * self.row[end] for end in ("low", "high"))
        amount = _amount(abs(self.row["difference"]), ends, self.row["metric"])
        return f"{method_name(self.method)}{places.on(self.row)} by {amount}"


def _run(
    scores: pd.DataFrame, evidence: Evidence, order: Sequence[str], tuned: Collection[str], places: _Places
) -> Sentence:
    methods = [m for m in order if m not in FLOORS and m not in tuned]
    floors = [m for m in order if m in FLOORS]
    who = [counted(len(methods), places.noun)] if methods else []
    who += [f"{counted(len(floors), 'floor')} ({', '.join(method_names(floors))})"] if floors else []
    seeds = number_range(scores.groupby(["task", "source", "method"], observed=True)["seed"].nunique())
    where = [_data(scores, evidence.intervals, *pair) for pair in places.pairs]
    what = f"{len(where)} tasks: {_listed(where, most=_MOST_NAMES)};" if places.several else where[0]
    setting = ["kind", "available", "ratio", *([SETTING] if SETTING in scores else [])]
    settings = scores[["task", "source", *setting]].drop_duplicates()
    complete = (settings["kind"] == "intra") & (settings["ratio"] == 0.0)
    others = settings[~complete].groupby(["task", "source"], observed=True).size()
    tested = ["samples with everything there"] if complete.any() else []
    if len(others):
        more = "other condition" if tested else "condition"
        count = number_range(others)
        tested.append(f"in {count} {more}{'' if count == '1' else 's'}")
    train = "trained, with the defaults and tuned," if tuned else "trained"
    if 0 < len(tuned) < len(methods):
        train = f"trained with the defaults, {len(tuned)} of them also tuned,"
    verb = "was" if len(methods) + len(floors) == 1 else "were"
    trained = f"{seeds} {'seed' if seeds == '1' else 'seeds'}{' each' if verb == 'were' else ''}"
    text = (
        f"{' and '.join(who)} {verb} {train} with {trained} on {what} "
        f"{'they were' if places.several and verb == 'were' else 'and'} tested "
        f"{'on ' if complete.any() else ''}{' and '.join(tested)}."
    )
    return Sentence(RUN, text)


def _data(scores: pd.DataFrame, intervals: pd.DataFrame, task: str, source: str) -> str:
    own = scores[(scores["task"] == task) & (scores["source"] == source)]
    samples = f"{own['n'].max()} test samples"
    if not intervals.empty and "unit" in intervals:
        drawn = intervals[(intervals["task"] == task) & (intervals["source"] == source)]
        drawn = drawn[drawn["unit"].notna() & (drawn["unit"] != "sample")]
        if not drawn.empty:
            samples += f" of {counted(int(drawn['groups'].iloc[0]), str(drawn['unit'].iloc[0]))}"
    return f"{task_name(task)} ({'simulated' if source == 'simulated' else 'from file'}, {samples})"


def _judged(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the primary outcome of each task and source."""
    if frame.empty:
        return frame
    kept = []
    for _, own in frame.groupby(["task", "source"], sort=False, observed=True):
        own = own[own["metric"] == own["metric"].iloc[0]]
        there = set(own["condition"])
        kept.append(own[own["condition"] == next((name for name in _SUMS if name in there), None)])
    return pd.concat(kept, ignore_index=True)


def _judged_by(rows: pd.DataFrame) -> str:
    """``by F1 on average over …``; of several tasks with other metrics, which is the primary one of each."""
    names = [metric(name).title for name in rows["metric"].unique()]
    by = names[0] if len(names) == 1 else "the primary metric"
    sums = " or ".join(_SUMS[name] for name in rows["condition"].unique())
    return f"by {by} {sums}"


def _differences(tests: pd.DataFrame, compared: Sequence[_Compared], against: str, places: _Places) -> Sentence:
    against = method_name(against)
    methods = [c for c in compared if c.method not in FLOORS]
    floors = [c for c in compared if c.method in FLOORS]
    told = {sign: sorted((c for c in methods if c.sign == sign), key=lambda c: -c.points) for sign in (BETTER, WORSE)}

    def named(sign: str) -> str:
        own = [c.told(places) for c in told[sign]]
        return f" ({_listed(own, most=_MOST)})" if own else ""

    by, better, worse = sentence(_judged_by(tests)), named(BETTER), named(WORSE)
    if not methods:
        text = f"{by}."
    elif places.several:
        tested, lacking = places.tested(tests)
        text = (
            f"{by}, a {places.noun} is better than {against} in {len(told[BETTER]) or 'none'} of "
            f"{counted(len(methods), 'comparison')} on {counted(tested, 'task')}{better}, and worse in "
            f"{len(told[WORSE]) or 'none'}{worse}."
        )
        text += f" There is no test on {_listed(lacking, most=_MOST_NAMES)}." if lacking else ""
    elif told[BETTER] or told[WORSE]:
        others = counted(len(methods), f"other {places.noun}")
        text = (
            f"{by}, of {others} {_number(told[BETTER])} better than {against}{better} and "
            f"{_number(told[WORSE])} worse{worse}."
        )
    else:
        text = f"{by}, no test finds another {places.noun} better or worse than {against}."
    return Sentence(DIFFERENCES, " ".join(filter(None, [text, _tell_floors(floors, against, places), _TESTED])))


_TESTED = "Tests are paired and corrected by Holm; brackets hold 95 % intervals."


def _tell_floors(floors: Sequence[_Compared], against: str, places: _Places) -> str:
    """Whether the reference is better than guessing."""
    if not floors:
        return ""
    if rest := [f"{method_name(c.method)}{places.on(c.row)}" for c in floors if c.sign != WORSE]:
        return f"No test finds {against} better than guessing by {_listed(rest, most=_MOST_NAMES)}."
    if places.several:
        where = {(c.row["task"], c.row["source"]) for c in floors}
        return f"Guessing is worse than {against} on {'every task' if len(where) == len(places.pairs) else 'these'}."
    beaten = sorted(floors, key=lambda c: c.points)
    return f"Guessing is worse than {against}: {_listed([c.told(places) for c in beaten])}."


def _likeness(
    tests: pd.DataFrame,
    compared: Sequence[_Compared],
    against: str,
    order: Sequence[str],
    places: _Places,
    margin: float,
) -> list[Sentence]:
    """What no test tells from the reference, and whether that is for a likeness."""
    against = method_name(against)
    methods = [c for c in compared if c.method not in FLOORS]
    untold = [c for c in methods if c.sign in (OPEN, ALIKE)]
    if not untold:
        return []
    within = margin_words(margin, {name: metric(name).title for name in tests["metric"].unique()})
    alike = [c for c in untold if c.sign == ALIKE]
    told = []
    if places.several:
        told.append(f"In {len(untold)} of {len(methods)} comparisons no test tells the {places.noun} from {against}")
        told += [f"in {len(alike)} of these the whole interval lies within {within}"] if alike else []
    else:
        if len(untold) < len(methods):
            told.append(f"No test tells {_listed(_names(untold, order), most=_MOST_NAMES)} from {against}")
        if alike:
            told.append(f"the whole interval of {_listed(_names(alike, order), most=_MOST_NAMES)} lies within {within}")
    text = f"{sentence('; '.join(told))}. " if told else ""
    least = pd.Series([c.row.get("detectable") for c in untold if c.sign == OPEN], dtype=float).dropna()
    if not least.empty and tests["metric"].nunique() == 1:
        name = str(tests["metric"].iloc[0])
        ends = dict.fromkeys(_figure(end, name) for end in (least.min(), least.max()))
        unit = " points" if metric(name).percent else ""
        text += (
            f"What no test tells apart need not be alike: a difference below {' to '.join(ends)}{unit} would be "
            "missed in more than one of five tries."
        )
    return [Sentence(LIKENESS, text.strip())] if text else []


def _names(compared: Iterable[_Compared], order: Sequence[str]) -> list[str]:
    return method_names(sorted((c.method for c in compared), key=order.index))


def _best(intervals: pd.DataFrame, order: Sequence[str], places: _Places) -> str:
    """The best of each task, and what cannot be told from it; where nothing was tested against a reference."""
    rows = _judged(intervals)
    told = []
    for _, own in rows.groupby(["task", "source"], sort=False, observed=True):
        name = str(own["metric"].iloc[0])
        own = own.dropna(subset=["mean"])
        if own.empty:
            continue
        lower = metric(name).lower_is_better
        first = _records(own.sort_values("mean", ascending=lower, kind="stable").head(1))[0]
        amount = _amount(first["mean"], [first["low"], first["high"]], name)
        text = f"{method_name(first['method'])}{places.on(first)} with {amount}"
        if "best" in own and first["best"] == 1 and len(own) > 1:  # where it is 0, the best row is not shown
            others = own[(own["best"] == 1) & (own["method"] != first["method"])]["method"]
            names = method_names(sorted(others, key=order.index))
            untested = own.loc[own["best"].isna(), "method"]
            apart = f"a test tells it from all others{' that were tested' if len(untested) else ''}"
            text += f" ({f'no test tells {_listed(names, most=_MOST)} from it' if names else apart})"
        told.append(text)
    if not told:
        return "No score is defined in the conditions that methods are judged by."
    return f"Best {_judged_by(rows)}: {'; '.join(told)}. Brackets hold 95 % intervals."


def _collapse(intervals: pd.DataFrame, order: Sequence[str], places: _Places) -> list[Sentence]:
    """Methods that give all test samples the same answer, though something is there to tell them apart."""
    if intervals.empty or "collapsed" not in intervals:
        return []
    rows = intervals[~intervals["method"].isin(FLOORS) & (intervals["ratio"] < 1.0) & intervals["collapsed"].notna()]
    if rows.empty:
        return []
    primary = rows.groupby(["task", "source"], observed=True)["metric"].transform("first")
    rows = rows[rows["metric"] == primary]
    found = []
    for (task, source, method), own in rows.groupby(["task", "source", "method"], sort=False, observed=True):
        down = own[own["collapsed"] > 0]
        if not down.empty:
            share = own["collapsed"].sum() / own["seeds"].sum()
            counts, seeds = number_range(down["collapsed"]), int(down["seeds"].max())
            every = (down["collapsed"] == down["seeds"]).all()
            by = "every seed" if every else f"{counts} of {counted(seeds, 'seed')}"
            on = places.on({"task": task, "source": source})
            conditions = counted(len(own), "condition")
            found.append((share, f"{method_name(method)}{on} in {len(down)} of {conditions} (with {by})"))
    if not found:
        return [Sentence(COLLAPSE, "While anything is there, no model collapses to the constant predictor.")]
    found.sort(key=lambda pair: -pair[0])
    listed = _listed([text for _, text in found], most=_MOST)
    text = f"Collapsed to the constant predictor, though something is there to tell samples apart: {listed}."
    return [Sentence(COLLAPSE, text)]


def _tuned(tunings: Sequence[Tuning], evidence: Evidence, against: str | None, places: _Places) -> Sentence:
    """How rows were tuned, what that gave each, and whether it changes who is ahead of the reference."""
    tried = number_range(pd.Series([len(own.valid) - 1 for own in tunings]))
    text = (
        f"Each tuned row is the configuration with the best validation score, of the default and {tried} random ones."
    )
    if told := _gains(outcomes(tunings, evidence.intervals, evidence.pairs), places):
        text += f" {told}"
    changes = against_reference(tunings, evidence.pairs, against or "")
    if not changes.empty:
        turned = int(changes["changed"].sum())
        text += (
            f" With both tuned, {turned or 'none'} of {counted(len(changes), 'comparison')} with "
            f"{method_name(against)} {'changes' if turned < 2 else 'change'} sign."
        )
    return Sentence(TUNED, text)


def _gains(found: pd.DataFrame, places: _Places) -> str:
    """What tests tell, by test scores, that tuning did; where none is possible, how often the default was chosen."""
    kept = int((found["chosen"] == 0).sum()) if len(found) else 0  # both rows are the same models
    also, rows = f"; for {kept} the default was chosen" if kept else "", counted(len(found), "row")
    found = found.dropna(subset=["p"]) if len(found) else found
    if found.empty:
        return f"The default was chosen for {kept} of {rows}." if kept else ""
    told = found[holm(found["p"].to_numpy()) < ALPHA]
    by_size = _records(told.loc[told["gain"].abs().sort_values(ascending=False).index])
    named: dict[bool, list[str]] = {True: [], False: []}  # by whether it is better
    for row in by_size:
        sign = -1.0 if metric(row["metric"]).lower_is_better else 1.0
        amount = _amount(abs(row["gain"]), sorted(abs(row[end]) for end in ("low", "high")), row["metric"])
        named[sign * row["gain"] > 0].append(f"{method_name(row['method'])}{places.on(row)} by {amount}")
    if not by_size:
        return f"On test, no test tells any of {counted(len(found), 'tuned row')} from its default (Holm){also}."
    better, worse = (f" ({_listed(names, most=_MOST)})" if names else "" for names in (named[True], named[False]))
    return (
        f"On test, as far as tests tell (Holm), tuning made {len(named[True]) or 'none'} of "
        f"{counted(len(found), 'row')} better{better} and {len(named[False]) or 'none'} worse{worse}{also}."
    )


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in record.items()} for record in rows.to_dict("records")]


def _tasks(names: Iterable[str]) -> list[str]:
    return [task_name(name) for name in names]


def _failed(cell: Mapping[str, str]) -> str:
    return f"{method_name(cell.get('method', ''))} on {task_name(cell.get('task', ''))}"


def _tasks_from(scores: pd.DataFrame, source: str) -> list[str]:
    return [] if scores.empty else list(scores.loc[scores["source"] == source, "task"].unique())


def _number(found: Sequence[object]) -> str:
    """``none is``, ``1 is``, ``2 are``."""
    return f"{len(found) or 'none'} {'is' if len(found) < 2 else 'are'}"


def _figure(value: float, name: str) -> str:
    """A number with a decimal fewer than tables print."""
    return f"{value:z.{metric(name).decimals - 1}f}".replace("-", "−")


def _amount(value: float, ends: Iterable[float], name: str) -> str:
    """``3.2 points [1.0, 5.4]``; of a metric that is no per cent without the unit."""
    told = [_figure(end, name) for end in ends if pd.notna(end)]
    unit = " points" if metric(name).percent else ""
    return f"{_figure(value, name)}{unit}" + (f" [{', '.join(told)}]" if told else "")


def _listed(names: Sequence[str], *, most: int | None = None) -> str:
    """``a, b and c``, or ``a, b, c and 4 more``."""
    shown = list(names if most is None or len(names) <= most else names[:most])
    if len(shown) < len(names):
        shown.append(f"{len(names) - len(shown)} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
