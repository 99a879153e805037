"""Intervals and paired tests of all methods in all conditions, from their models' predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, islice

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmark.evidence.collapse import collapsed
from benchmark.evidence.collect import Model
from benchmark.evidence.resampling import (
    Array,
    Condition,
    Estimate,
    Pool,
    Sampled,
    conditions,
    estimate,
    in_conditions,
    sample_draws,
)
from benchmark.evidence.statistics import AREA, AVERAGE, DROP, FLOORS, holm
from benchmark.evidence.stored import AUGMENTATION, IDEA, REFERENCE, TUNED, Evidence
from benchmark.methods.labels import Row
from benchmark.protocol.metrics import metric
from benchmark.protocol.missing import Setting
from benchmark.protocol.scoring import Scorer
from benchmark.running import processes
from benchmark.running.tuned import plain_label, tuned_label

ALPHA = 0.05
PAIRS = "pairs"
"""What the comparisons of all pairs of methods are for."""

_PARTS = 4
"""Into how many parts the seeds of a task are divided where there are many models."""

Methods = tuple[str, ...]
"""One method, or two whose difference is meant."""

Settings = list[tuple[Setting, int]]


@dataclass(frozen=True)
class _Sample:
    """Scores on the draws of a test split: axes of `sampled` are conditions and metrics."""

    conditions: list[Condition]
    sampled: Sampled

    def only(self, names: Sequence[str]) -> Sampled:
        """The sampled scores of some conditions."""
        place = {condition.name: i for i, condition in enumerate(self.conditions)}
        rows = [place[name] for name in names]
        return self.sampled.part(rows)


@dataclass(frozen=True)
class _Plan:
    """A comparison to be made: of two methods seed by seed, or a weighted sum of independent ones."""

    method: str
    against: str
    weights: Mapping[str, float] | None


class _Group:
    """The models of one task and source, and what the draws of their test split tell of them."""

    def __init__(self, models: Sequence[Model]) -> None:
        first = models[0]
        self.metrics, self.modalities = list(first.metrics), first.modalities
        self.groups = first.groups
        self.n = Scorer(target=first.target, labels=first.labels, metrics=self.metrics).n
        self.by_method: dict[str, dict[int, Model]] = {}
        for model in models:
            self.by_method.setdefault(model.method, {})[model.seed] = model
        self.shared = {method: self._shared(method) for method in self.by_method}
        self.labels = [method for method, settings in self.shared.items() if settings]
        self.samples: dict[Methods, _Sample] = {}

    def kept(self) -> dict[str, str]:
        """Tuned rows of the default's own models, since that was chosen: by label, the label of the default."""
        found = {label: plain_label(label) for label in self.labels}
        return {label: plain for label, plain in found.items() if label != plain and self._alike(label, plain)}

    def _alike(self, label: str, other: str) -> bool:
        own, others = self.by_method[label], self.by_method.get(other, {})
        return own.keys() == others.keys() and all(
            model.settings == others[seed].settings and np.array_equal(model.outputs, others[seed].outputs)
            for seed, model in own.items()
        )

    def _shared(self, *methods: str) -> Settings:
        """The settings that all models of some methods were tested in."""
        tested = dict.fromkeys(model.settings for method in methods for model in self.by_method[method].values())
        first, *others = tested
        common = set(first).intersection(*others)
        return [setting for setting in first if setting in common]

    def work(self, pairs: Iterable[tuple[str, str]], parts: int) -> list[tuple[list[Model], dict[Methods, Settings]]]:
        """What :func:`_pools` is to be given: for each method, and the differences of some pairs of methods."""
        wanted: list[Methods] = [*((method,) for method in self.labels), *dict.fromkeys(pairs)]
        settings = {methods: self._shared(*methods) for methods in wanted}
        seeds = list(dict.fromkeys(seed for m in self.labels for seed in self.by_method[m]))
        return [
            ([self.by_method[m][seed] for seed in part for m in self.labels if seed in self.by_method[m]], settings)
            for part in (seeds[i::parts] for i in range(min(parts, len(seeds))))
        ]

    def gather(self, found: Iterable[Mapping[Methods, Pool]]) -> None:
        """Take in what came of the work."""
        gathered: dict[Methods, Pool] = {}
        for pools in found:
            for methods, pool in pools.items():
                gathered.setdefault(methods, Pool(self.groups)).merge(pool)
        self.samples = {
            methods: _Sample(conditions(self._shared(*methods), self.modalities), pool.sampled())
            for methods, pool in gathered.items()
        }

    def compare(self, method: str, against: str, *, by_seed: bool) -> _Plan:
        """The difference of two methods; `by_seed` where one seed gives both the same start and batches."""
        same_seeds = self.by_method[method].keys() == self.by_method[against].keys()
        paired = by_seed and same_seeds and bool(self._shared(method, against))
        return _Plan(method, against, None if paired else {method: 1.0, against: -1.0})

    def curve(self, method: str) -> frozenset[Setting]:
        """What the area under a method's degradation curve is over; areas of others cannot be compared with it."""
        return frozenset(setting for setting, _ in self._shared(method) if setting.kind == "intra")

    def made(self, plan: _Plan, *, primary: bool = False) -> _Compared:
        """A comparison, in the conditions that all its methods have; after :meth:`gather`.

        Parameters
        ----------
        plan : _Plan
        primary : bool
            Only the primary metric, and `Avg.`; where there is none, `AUDC`.
        """
        if plan.weights is None:
            sample = self.samples[plan.method, plan.against]
            names, terms = [c.name for c in sample.conditions], [(1.0, sample.sampled)]
        else:
            known = [{c.name for c in self.samples[(label,)].conditions} for label in plan.weights]
            names = [c.name for c in self.samples[(plan.method,)].conditions if all(c.name in own for own in known)]
            if len({self.curve(label) for label in plan.weights}) > 1:
                names = [name for name in names if name != AREA]
            terms = [(weight, self.samples[(label,)].only(names)) for label, weight in plan.weights.items()]
        if primary:
            kept = next(([name] for name in (AVERAGE, AREA) if name in names), [])
            rows = [names.index(name) for name in kept]
            names, terms = kept, [(weight, sampled.part(rows, [0])) for weight, sampled in terms]
        return _Compared(plan.method, plan.against, names, estimate(*terms))


@dataclass(frozen=True)
class _Compared:
    """A comparison; axes of `found` are conditions and metrics."""

    method: str
    against: str
    conditions: list[str]
    found: Estimate


def weigh(models: Sequence[Model], *, rows: Mapping[str, Row], against: str | None) -> Evidence:
    """Intervals of all methods, all paired comparisons that they allow, and the primary outcome of each pair.

    Rows of one method (its variants, and itself trained in the other way) are compared seed by seed, since one seed
    gives them the same batches, and the same start where they have the same networks. Models of different methods count
    as independent.

    Parameters
    ----------
    models : sequence of Model
        Those of one task and source on the same test split.
    rows : mapping of label to Row
    against : str or None
        The label of the reference.
    """
    by_task: dict[tuple[str, str], list[Model]] = {}
    for model in models:
        by_task.setdefault((model.task, model.source), []).append(model)
    groups = {where: _Group(own) for where, own in by_task.items()}
    planned = {where: dict(_comparisons(group, rows, against)) for where, group in groups.items()}
    work = {
        where: group.work(
            ((p.method, p.against) for plans in planned[where].values() for p in plans if p.weights is None),
            _PARTS if len(models) >= processes.MANY else 1,
        )
        for where, group in groups.items()
    }
    found = processes.divided(_pools, (part for parts in work.values() for part in parts), cells=len(models))
    intervals, comparisons, pairs = [], [], []
    for (task, source), group in groups.items():
        group.gather(islice(found, len(work[task, source])))
        where = {"task": task, "source": source}
        best = _best(group)
        intervals += [_interval_rows(group, method, best).assign(**where, method=method) for method in group.labels]
        for purpose, plans in planned[task, source].items():
            compared = [group.made(plan, primary=purpose == PAIRS) for plan in plans]
            if purpose == PAIRS:
                pairs.append(_comparison_rows(compared, group.metrics[:1]).assign(**where))
            else:
                comparisons.append(_comparison_rows(compared, group.metrics).assign(**where, purpose=purpose))
    without = {"p_holm", "family"}  # what a pair tells must not depend on which others there are
    found_pairs = _concatenated(pairs)
    return Evidence(
        _concatenated(intervals),
        _concatenated(comparisons),
        found_pairs[[name for name in found_pairs if name not in without]],
    )


def _pools(models: Sequence[Model], settings: Mapping[Methods, Settings]) -> dict[Methods, Pool]:
    """Score some seeds of a task on the draws of its test split, seed by seed.

    Parameters
    ----------
    models : sequence of Model
        Those of one seed stand together.
    settings : mapping
        What to score, each method for itself first, and in which settings.
    """
    first = models[0]
    scorer = Scorer(
        target=first.target,
        labels=first.labels,
        metrics=first.metrics,
        weights=sample_draws(first.groups),
    )
    found = {methods: conditions(own, first.modalities) for methods, own in settings.items()}
    pools = {methods: Pool(first.groups) for methods in settings}
    with threadpool_limits(1):
        for seed, of_seed in groupby(models, key=lambda model: model.seed):
            own = {model.method: model for model in of_seed}
            by_setting = {m: scorer.scores(model.outputs) for m, model in own.items()}
            summed: dict[tuple[str, Methods], Array] = {}  # by method, and methods with the same settings
            for methods in settings:
                if methods[0] not in own:
                    continue
                terms = []
                for m in methods:
                    alike = (m,) if settings[(m,)] == settings[methods] else methods
                    if (m, alike) not in summed:
                        places = [own[m].settings.index(s) for s in settings[methods]]
                        summed[m, alike] = in_conditions(by_setting[m][:, places], found[methods], scorer.scales)
                    terms.append(summed[m, alike])
                pools[methods].add(seed, terms[0] if len(terms) == 1 else terms[0] - terms[1])
    return pools


def _concatenated(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Of empty ones, whose columns have no types, whole numbers would become others."""
    frames = [frame for frame in frames if not frame.empty]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _best(group: _Group) -> dict[tuple[str, str, str], int]:
    """By method, condition and metric: 1 where it cannot be told from the best of all, 0 where it can.

    Where no test is possible, for want of seeds, nothing is said: of a method, or of all. A tuned row with the models
    of its default counts once, and of both the same is said.
    """
    if not group.labels:
        return {}
    kept = group.kept()
    labels = [m for m in group.labels if m not in kept]
    known = [{c.name for c in group.samples[(m,)].conditions} for m in labels]
    names = [c.name for c in group.samples[(labels[0],)].conditions if all(c.name in own for own in known)]
    if len({group.curve(m) for m in labels}) > 1:
        names = [name for name in names if name != AREA]
    sampled = {m: group.samples[(m,)].only(names) for m in labels}
    turned = np.array([-1.0 if metric(name).lower_is_better else 1.0 for name in group.metrics])
    turned = np.where(np.array(names)[:, None] == DROP, -turned, turned)  # (C, M)
    means = np.stack([np.nan_to_num(s.mean * turned, nan=-np.inf) for s in sampled.values()])  # (methods, C, M)
    floors = [m in FLOORS for m in labels]
    if not all(floors):  # what says the same of everything loses nothing, and is not the best for it
        means[np.ix_(floors, [name == DROP for name in names])] = -np.inf
    leader = means.argmax(0)  # (C, M)
    p = np.full(means.shape, np.nan)
    for b in np.unique(leader):
        for i, s in enumerate(sampled.values()):
            if i != b:
                found = estimate((1.0, s), (-1.0, sampled[labels[b]])).p
                p[i] = np.where(leader == b, found, p[i])
    corrected = holm(p)  # NaN: the best itself, or untested
    said = {}
    for i, m in enumerate(labels):
        for c, name in enumerate(names):
            for k, metric_name in enumerate(group.metrics):
                leads, tested = leader[c, k] == i, np.isfinite(corrected[:, c, k])
                if (tested[i] or (leads and tested.any())) and np.isfinite(means[i, c, k]):
                    said[m, name, metric_name] = int(leads or corrected[i, c, k] >= ALPHA)
    both = {m: [m, *(label for label, plain in kept.items() if plain == m)] for m in labels}
    return {(label, name, of): value for (m, name, of), value in said.items() for label in both[m]}


def _interval_rows(group: _Group, method: str, best: Mapping[tuple[str, str, str], int]) -> pd.DataFrame:
    sample = group.samples[(method,)]
    found = estimate((1.0, sample.sampled))
    seeds = sample.sampled.seeds
    std = sample.sampled.values.std(0, ddof=1) if len(seeds) > 1 else np.full_like(found.value, np.nan)
    alike = collapsed(list(group.by_method[method].values()))
    rows = []
    for c, condition in enumerate(sample.conditions):
        for m, name in enumerate(group.metrics):
            bounds = (-np.inf, np.inf) if condition.name == DROP else metric(name).bounds
            low, high = np.clip([found.low[c, m], found.high[c, m]], *bounds)
            rows.append(
                {
                    "metric": name,
                    "condition": condition.name,
                    "kind": condition.kind,
                    "available": condition.available,
                    "ratio": condition.ratio,
                    "mean": found.value[c, m],
                    "std": std[c, m],
                    "seeds": len(seeds),
                    "low": low,
                    "high": high,
                    "n": group.n[m],
                    "groups": group.groups.count,
                    "unit": group.groups.unit,
                    "best": float(best.get((method, condition.name, name), np.nan)),
                    "collapsed": alike.get(condition.name, np.nan),
                }
            )
    return pd.DataFrame(rows)


def _comparisons(group: _Group, rows: Mapping[str, Row], against: str | None) -> Iterator[tuple[str, list[_Plan]]]:
    """Each purpose with its comparisons; pairs last, each the way round in which it stands before, if it does."""
    planned: dict[tuple[str, str], _Plan] = {}
    for purpose, plans in _purposes(group, rows, against):
        planned |= {(plan.method, plan.against): plan for plan in plans}
        yield purpose, plans
    pairs = []
    for new, old in combinations(group.labels, 2):
        alike = new in rows and old in rows and rows[new].name == rows[old].name
        known = planned.get((new, old)) or planned.get((old, new))
        pairs.append(known or group.compare(new, old, by_seed=alike))
    yield PAIRS, pairs


def _purposes(group: _Group, rows: Mapping[str, Row], against: str | None) -> Iterator[tuple[str, list[_Plan]]]:
    if against is not None and against in group.labels:
        one_method = {label for label, row in rows.items() if against in rows and row.name == rows[against].name}
        tuned = {label for label in group.labels if label in rows and rows[label].tuned}
        like, unlike = (tuned, set()) if against in tuned else (set(group.labels) - tuned, tuned)
        families = [(REFERENCE, against, like), (TUNED, tuned_label(against), unlike)]
        for purpose, reference, own in families:  # what is tuned is held against what is tuned
            others = [label for label in group.labels if label in own and label != reference]
            if reference in own:
                yield purpose, [group.compare(m, reference, by_seed=m in one_method) for m in others]
    trained = {way: _plain(group, rows, way) for way in ("complete", "missing")}
    both = [name for name in trained["missing"] if name in trained["complete"]]
    pairs = [(trained["missing"][name], trained["complete"][name]) for name in both]
    yield AUGMENTATION, [group.compare(new, old, by_seed=True) for new, old in pairs]
    labels = list(trained["missing"].values())
    if both and len(labels) > 1:
        against_mean = f"mean of {len(labels)} methods trained on incomplete samples"
        share = dict.fromkeys(labels, -1.0 / len(labels))
        yield IDEA, [_Plan(m, against_mean, share | {m: 1.0 + share[m]}) for m in labels]


def _plain(group: _Group, rows: Mapping[str, Row], trains_on: str) -> dict[str, str]:
    """Label by method, of the rows trained in one way that are no variants."""
    found = [rows[label] for label in group.labels if label in rows]
    return {row.name: row.label for row in found if row.trains_on == trains_on and not row.variant}


def _comparison_rows(comparisons: Sequence[_Compared], metrics: Sequence[str]) -> pd.DataFrame:
    rows = [
        {
            "metric": metric_name,
            "condition": name,
            "method": compared.method,
            "against": compared.against,
            "difference": compared.found.value[c, m],
            "low": compared.found.low[c, m],
            "high": compared.found.high[c, m],
            "p": compared.found.p[c, m],
            "detectable": compared.found.detectable[c, m],
        }
        for compared in comparisons
        for c, name in enumerate(compared.conditions)
        for m, metric_name in enumerate(metrics)
    ]
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame(rows)
    groups = frame.groupby(["metric", "condition"], sort=False)["p"]
    return frame.assign(
        p_holm=groups.transform(lambda p: holm(p.to_numpy())), family=groups.transform("count").astype(int)
    )
