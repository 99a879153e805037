"""Are the trials of a tuned folder, and what was chosen of them, what they say they are? A part of ``--verify``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, one_line
from benchmark.evidence.readings import flat
from benchmark.methods.loading import load
from benchmark.methods.registry import Entry
from benchmark.methods.search import configurations
from benchmark.protocol.metrics import metric, usual_metrics
from benchmark.protocol.target import Target
from benchmark.report.findings import UNKNOWN, WRONG, Finding
from benchmark.running.grid import definition_of, key_of
from benchmark.running.store import DONE, FAILED, Damaged, Store
from benchmark.running.trial import stored_trial
from benchmark.running.tuned import FILE, TRIALS, read_tuning
from benchmark.running.tuning import SEED, score_on_validation

_NEAR = 1e-9  # another processor may add up in another order
_FREE = ("seed",)  # what a trial and the row that is made of it may differ in


def was_tuned(folder: Path) -> bool:
    """Whether there is anything to look at."""
    return (folder / FILE).exists()


def lacking_trials(folder: Path) -> list[str]:
    """The trials that are told of and are not here, so that what is made of them cannot be told again."""
    if not was_tuned(folder):
        return []
    store, pairs = Store(folder / TRIALS), read_tuning(folder)["pairs"]
    return [_title(pair, trial) for pair in pairs for trial in pair["trials"] if not store.stamp(trial["key"])]


def check_trials(folder: Path, entries: Mapping[str, Entry]) -> Iterator[Finding | str]:
    """Trials by their checksums and keys; what is told of them, by these; choices by scores.

    Parameters
    ----------
    folder : Path
        Where :func:`was_tuned` says so.
    entries : dict of name to Entry
        The methods that are known. Of one whose code is as it was then, configurations are drawn again.

    Yields
    ------
    Finding or str
        The last is a text that says what was looked at.
    """
    try:
        pairs = read_tuning(folder)["pairs"]
    except BenchmarkError as error:
        yield _found(WRONG, str(error))
        yield "cannot be read"
        return
    if lacking := lacking_trials(folder):
        more = f" and {len(lacking) - 1} more are not here" if lacking[1:] else " is not here"
        yield _found(UNKNOWN, f"{lacking[0]}{more}")
    trials, rows = Store(folder / TRIALS), Store(folder)
    checked = 0
    for pair in pairs:
        for trial in pair["trials"]:
            if trials.stamp(trial["key"]):
                checked += 1
                yield from _trial(trials, pair, trial)
        yield from _numbers(pair)
        yield from _configurations(trials, pair, entries)
        yield from _choice(pair)
        yield from _rows(trials, rows, pair)
    yield f"{checked} trials, and what was chosen {len(pairs)} times"


def _trial(store: Store, pair: Mapping[str, Any], trial: Mapping[str, Any]) -> Iterator[Finding]:
    title, key = _title(pair, trial), trial["key"]
    try:
        store.verify(key)
        record, found = store.read(key), stored_trial(store, key)
    except Damaged as damage:
        yield _found(WRONG, damage.fault)
        return
    assert record is not None
    if key_of(definition_of(record)) != key:
        yield _found(WRONG, f"{title}: it is not the one that its definition says")
    for what, told, stored in _of_cell(pair, trial, record):
        if told != stored:
            yield _found(WRONG, f"{title}: its {what} is {stored}, and {FILE} says {told}")
    wanted = pair.get("tried") or (found.names if found else ())  # earlier versions did not tell them
    lacks = record["state"] == DONE and (found is None or not set(wanted) <= set(found.names))
    state = FAILED if lacks else record["state"]
    if state != trial["state"]:
        what = "it lacks predictions for the validation split" if lacks else f"it is {state}"
        yield _found(WRONG, f"{title}: {what}, and {FILE} says {trial['state']}")
    elif found is not None and state == DONE:
        score, _ = score_on_validation(found, Target.of_record(record["data"]), pair["metric"], wanted)
        if not _alike(score, trial["score"]):
            yield _found(WRONG, f"{title}: its score is {trial['score']}, and its predictions give {score}")


def _of_cell(
    pair: Mapping[str, Any], trial: Mapping[str, Any], record: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """What is told of a trial's cell beside what the cell tells itself: a name, and both."""
    yield "method", pair.get("name") or record["method"], record["method"]
    yield "task", pair["task"], record["task"]["name"]
    yield "seed", SEED, record["seed"]
    stored = flat(record["training"]) | flat(record["hyperparameters"])
    for name, value in flat(trial["values"]).items():
        yield name, value, stored.get(name)
    if "data" in record:
        target = Target.of_record(record["data"])
        primary = metric((record["data"].get("metrics") or usual_metrics(target))[0], target.kind)
        yield "metric", pair["metric"], primary.name
        yield "lower is better", pair["lower_is_better"], primary.lower_is_better


def _numbers(pair: Mapping[str, Any]) -> Iterator[Finding]:
    """The default and each configuration once; with a time to divide, as many as were reached."""
    numbers = [trial["number"] for trial in pair["trials"]]
    last = len(numbers) - 1 if pair.get("hours") is not None else pair.get("configurations")
    expected = list(range(len(numbers) if last is None else last + 1))
    if sorted(numbers) != expected:
        where = f"{pair['method']} on {pair['task']}"
        yield _found(WRONG, f"{where}: of trials 0 to {expected[-1] if expected else 0}, {FILE} tells of {numbers}")


def _configurations(store: Store, pair: Mapping[str, Any], entries: Mapping[str, Entry]) -> Iterator[Finding]:
    """The default sets nothing, and the others what is drawn for their numbers; of other code nothing is known."""
    records = filter(None, (store.readable(trial["key"]) for trial in pair["trials"]))
    record, entry = next(records, None), entries.get(pair.get("name", ""))
    if record is None or entry is None:
        return
    try:
        cls = load(entry, record["source"])
    except BenchmarkError:
        return
    last = max(trial["number"] for trial in pair["trials"])
    drawn = [{}, *configurations(cls, entry.name, pair["task"], record["training"]["trains_on"], last)]
    drawn = json.loads(json.dumps(drawn))  # as a file keeps them
    for trial in pair["trials"]:
        if trial["values"] != drawn[trial["number"]]:
            yield _found(WRONG, f"{_title(pair, trial)}: it is not the configuration that is drawn for its number")


def _choice(pair: Mapping[str, Any]) -> Iterator[Finding]:
    """The best score, of equals the first."""
    sign = -1.0 if pair["lower_is_better"] else 1.0
    fine = [trial for trial in pair["trials"] if trial["score"] is not None]
    best = max(fine, key=lambda trial: (sign * trial["score"], -trial["number"]), default=None)
    number = None if best is None else best["number"]
    if number != pair["chosen"]:
        yield _found(
            WRONG,
            f"{pair['method']} on {pair['task']}: trial {pair['chosen']} is chosen, and {number} has the best score",
        )


def _rows(trials: Store, rows: Store, pair: Mapping[str, Any]) -> Iterator[Finding]:
    """The tuned row is the chosen trial, trained with other seeds."""
    chosen = next((trial["key"] for trial in pair["trials"] if trial["number"] == pair["chosen"]), "")
    trial = trials.readable(chosen)
    if trial is None:
        return
    for key in pair["cells"]["tuned"]:
        record = rows.readable(key)
        if record is not None and _free(record) != _free(trial):
            yield _found(WRONG, f"{pair['tuned']} on {pair['task']} ({key}): it is not what was chosen")


def _free(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in definition_of(record).items() if name not in _FREE}


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_NEAR, abs_tol=_NEAR)


def _title(pair: Mapping[str, Any], trial: Mapping[str, Any]) -> str:
    return f"trial {trial['number']} of {pair['method']} on {pair['task']} ({trial['key']})"


def _found(state: str, what: str) -> Finding:
    return Finding("", state, one_line(what, 300))
