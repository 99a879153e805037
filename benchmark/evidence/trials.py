"""Stored trials of a tuned grid → their scores on validation and on test."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.evidence.tuning import Tuning
from benchmark.files.atomic import json_line
from benchmark.files.manifest import read_manifest
from benchmark.protocol.metrics import usual_metrics
from benchmark.protocol.scoring import Scorer
from benchmark.protocol.target import Target
from benchmark.running.store import DONE, FAILED, Damaged, Store, setting_name
from benchmark.running.tuned import FILE, TRIALS, place_of, tuning_told
from benchmark.running.tuning import score_of

_AGAIN = "give the command that made it again"


def read_tunings(*folders: Path) -> list[Tuning]:
    """The trials of each method on each task, the default first; none where nothing was tuned.

    Parameters
    ----------
    *folders : Path
        Of runs: ``tuning.json`` and ``trials/cells``, and where trials are not here any more, what ``manifest.json``
        says of their tests. A method all of whose trials failed is left out. Where several
        folders made the same choice, as shards do, each adds the trials that it has tested; of different choices that
        with more trials on test is shown.

    Raises
    ------
    BenchmarkError
        If a file is not as a run writes it.
    """
    found: dict[tuple[str, str, str], Tuning] = {}
    for own in (tuning for out in folders for tuning in _read(out)):
        place = own.task, own.source, own.method
        known = found.setdefault(place, own)
        if known.is_of(own):
            found[place] = known.with_tests(own)
        elif sum(map(math.isfinite, own.test)) > sum(map(math.isfinite, known.test)):
            found[place] = own
    return list(found.values())


def budgets_of(folders: Iterable[Path], rows: Container[str] | None = None) -> list[dict[str, Any]]:
    """By which rule, with which seed and how many configurations methods were tuned, for the manifest.

    Parameters
    ----------
    folders : iterable of Path
        Of runs.
    rows : container of str, optional
        Only what is of these; by default all, also those of which every trial has failed.

    Returns
    -------
    list of dict
        ``grid, configurations, hours, seed, draws, rule, pairs``, one for each budget of a folder; of a pair ``method,
        tuned, task, source``, and how many of its trials were ``tried``, have ``failed``, and were ``opened_before``:
        the test split had been opened for them before the choice was made. Each pair stands once.

    Raises
    ------
    BenchmarkError
        If a file is not as a run writes it.
    """
    found: dict[str, dict[str, Any]] = {}
    told = set()
    for content in filter(None, map(tuning_told, folders)):
        for pair in content.pairs:
            place = place_of(pair.model_dump())
            if place in told or (rows is not None and pair.method not in rows):
                continue
            told.add(place)
            about = content.model_dump(exclude={"pairs", "opened"}) | pair.model_dump(
                include={"configurations", "hours"}
            )
            budget = found.setdefault(json_line(about), {**about, "pairs": []})
            counts = {
                "tried": len(pair.trials),
                "failed": sum(trial.state == FAILED for trial in pair.trials),
                "opened_before": sum(trial.opened_before for trial in pair.trials),
            }
            budget["pairs"].append(pair.model_dump(include={"method", "tuned", "task", "source"}) | counts)
    return list(found.values())


def _read(out: Path) -> list[Tuning]:
    path, content = out / FILE, tuning_told(out)
    if content is None:
        return []
    store = Store(out / TRIALS)
    told = {(own.task, own.source, own.method): own for own in _told(out)}
    found = []
    for pair in content.pairs:
        if pair.chosen is None:
            continue
        trials = sorted(pair.trials, key=lambda trial: trial.number)
        if not trials or trials[0].number != 0:
            raise BenchmarkError(f"{path} cannot be used: {pair.method} has no trial of its defaults; {_AGAIN}")
        tuning = Tuning(
            **pair.model_dump(include={"task", "source", "method", "tuned", "metric"}),
            valid=tuple(math.nan if trial.score is None else trial.score for trial in trials),
            test=tuple(score_on_test(store, trial.key, pair.tried) for trial in trials),
            values=tuple(trial.values for trial in trials),
            opened=sum(trial.opened_before for trial in trials),
        )
        if (best := trials[tuning.chosen].number) != pair.chosen:
            raise BenchmarkError(
                f"{path} cannot be used: of {pair.method} on {pair.task} it chooses trial {pair.chosen}, but trial "
                f"{best} has the best validation score; {_AGAIN}"
            )
        known = told.get((tuning.task, tuning.source, tuning.method))
        found.append(tuning if known is None else tuning.with_tests(known))
    return found


def _told(out: Path) -> list[Tuning]:
    """What the manifest of an earlier report keeps of trials, which need not be here any more."""
    return [Tuning.of_record(record) for record in read_manifest(out / "manifest.json").get("tuning", ())]


def score_on_test(store: Store, key: str, tried: Sequence[str] = ()) -> float:
    """A trial's primary metric on test, over its settings in equal parts; NaN where it failed or is not tested.

    Parameters
    ----------
    store : Store
        Of trials.
    key : str
    tried : sequence of str
        The settings and draws of its validation score, by name: settings that are none of these do not count. Without
        any, all that it was tested in count.
    """
    try:
        record = store.read(key)
        if record is None or record["state"] != DONE or not record["settings"]:
            return math.nan
        predictions = store.predictions(key)
    except Damaged:
        return math.nan
    data: Mapping[str, Any] = record["data"]
    target = Target.of_record(data)
    primary = (data.get("metrics") or usual_metrics(target))[0]
    scorer = Scorer(target=target, labels=predictions.labels, metrics=[primary])
    wanted = {name.rpartition("#")[0] for name in tried}
    counted = [i for i, (setting, _) in enumerate(predictions.settings) if not wanted or str(setting) in wanted]
    if wanted - {str(predictions.settings[i][0]) for i in counted}:
        return math.nan
    scores = scorer.scores(predictions.logits[counted])[0, :, 0] * scorer.scales[0]  # (S,)
    return score_of([setting_name(*predictions.settings[i]) for i in counted], scores)[0]
