"""Dialogues in a tuple, as DialogueRNN's files have them: dicts by dialogue of one vector, label and id an utterance.

Where each stands in the tuple differs between copies; the section ``keys`` of a task's file says it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.task import SPLITS, Keys
from benchmark.data.values import as_ids, as_numbers, by_text
from benchmark.errors import BenchmarkError, one_line
from benchmark.protocol.missing import MODALITY_NAMES

VALID_EVERY = 10  # training dialogues, where the file has no validation split
_SHOWN = 12  # places that are described,
_DEEPEST = 3  # each so deep
_CORRECT = "correct the places under keys: in the task's file"


def split_dialogues(
    content: Sequence[Any], keys: Keys, modalities: str, where: str
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """A tuple of dicts by dialogue → splits of utterances.

    Parameters
    ----------
    content : sequence
        What the file holds.
    keys : Keys
        The places, counted from 0.
    modalities : str
        Those to read.
    where : str
        The file, for messages.

    Returns
    -------
    dict of split name to dict
        With features (N, d), ``labels`` and ``ids`` such as ``dialogue$_$utterance``.
    list of str
        Remarks: of what the validation split is made, if the file has none.

    Raises
    ------
    BenchmarkError
        If the task has no places, or a place does not hold what it must.
    """
    names = [*(MODALITY_NAMES[m] for m in modalities), "labels", *(["ids"] if keys.ids is not None else [])]
    wanted = [*names, "train", "test", *(["valid"] if keys.valid is not None else [])]
    said = {name: getattr(keys, name) for name in wanted}
    unsaid = [name for name, place in said.items() if not isinstance(place, int)]
    if unsaid:
        raise BenchmarkError(
            f"{where} holds a {type(content).__name__}, and the task does not say in which place {_listed(unsaid)} "
            f"{'stand' if len(unsaid) > 1 else 'stands'}; set keys: in a task file, such as 'labels: 2'; it holds "
            f"{_described(content)}"
        )
    advice = f"{_CORRECT}; it holds {_described(content)}"
    beyond = [f"{name}: {place}" for name, place in said.items() if not 0 <= place < len(content)]
    if beyond:
        raise BenchmarkError(f"{where} has {len(content)} places, counted from 0, so not {beyond[0]}; {advice}")
    places = {name: f"place {place} ({name})" for name, place in said.items()}
    at = {name: (content[place], f"{where}, {places[name]}", advice) for name, place in said.items()}
    held = {name: _by_dialogue(*at[name]) for name in names}
    split_of = {name: _dialogues(*at[name], held["labels"]) for name in wanted if name in SPLITS}
    remarks = [] if "valid" in split_of else [_make_valid(split_of)]
    result: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        for name in split_of[split]:
            _check_counts(name, held, places, where)
        own: dict[str, Any] = {
            key: [item for name in split_of[split] for item in held[key][name]] for key in names if key != "ids"
        }
        for m in modalities:
            key = MODALITY_NAMES[m]
            own[key] = _stacked(own[key], f"{where}, {places[key]}, split {split!r}", advice)
        own["ids"] = [i for name in split_of[split] for i in _ids(name, held, f"{where}, {places.get('ids', 'ids')}")]
        result[split] = own
    return result, remarks


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _make_valid(split_of: dict[str, list[str]]) -> str:
    """Move every tenth training dialogue to a validation split, the same in every order of theirs; gives the remark."""
    ranked = sorted(split_of["train"], key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    chosen = set(ranked[::VALID_EVERY])
    split_of["valid"] = [name for name in split_of["train"] if name in chosen]
    split_of["train"] = [name for name in split_of["train"] if name not in chosen]
    return (
        f"valid is made of {len(chosen)} of the {len(ranked)} training dialogues, every tenth by a hash of its name, "
        "since the task names no place of a validation split; they are not trained on"
    )


def _by_dialogue(value: Any, where: str, advice: str) -> dict[str, list[Any]]:
    if not isinstance(value, dict):
        raise BenchmarkError(f"{where} holds {describe(value)} where a dict by dialogue is expected; {advice}")
    found = {}
    for name, own in by_text(value, where).items():
        if not isinstance(own, list | tuple | np.ndarray) or (isinstance(own, np.ndarray) and own.ndim == 0):
            raise BenchmarkError(
                f"{where} holds {describe(own)} for dialogue {one_line(repr(name), 40)} where one item an utterance is "
                f"expected; {advice}"
            )
        found[name] = list(own)
    return found


def _dialogues(value: Any, where: str, advice: str, known: Mapping[str, Any]) -> list[str]:
    """The names of a split's dialogues."""
    if isinstance(value, dict) or not isinstance(value, list | tuple | np.ndarray):
        raise BenchmarkError(f"{where} holds {describe(value)} where names of dialogues are expected; {advice}")
    names = as_ids(value, where) or []
    for name in names:
        if name not in known:
            raise BenchmarkError(
                f"{where} names dialogue {one_line(repr(name), 40)}, of which there are no labels; {_CORRECT}"
            )
    return list(dict.fromkeys(names))


def _check_counts(
    name: str, held: Mapping[str, Mapping[str, list[Any]]], places: Mapping[str, str], where: str
) -> None:
    counts = {places[key]: len(own[name]) if name in own else None for key, own in held.items()}
    absent = [place for place, count in counts.items() if count is None]
    if absent:
        raise BenchmarkError(f"{where}, {absent[0]} lacks dialogue {one_line(repr(name), 40)}; {_CORRECT}")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} in {place}" for place, count in counts.items())
        raise BenchmarkError(
            f"{where}: dialogue {one_line(repr(name), 40)} has differing numbers of utterances: {told}; leave it "
            "out of the splits, or mend it"
        )


def _stacked(rows: list[Any], where: str, advice: str) -> NDArray[np.generic]:
    """One vector an utterance → (N, d)."""
    for row in rows[:1]:
        numbers = isinstance(row, list | tuple) and all(isinstance(item, int | float) for item in row)
        if not numbers and not (isinstance(row, np.ndarray) and row.ndim == 1 and row.dtype.kind in "biufO"):
            raise BenchmarkError(
                f"{where} holds {describe(row)} for an utterance where a vector of numbers is expected; {advice}"
            )
    return as_numbers(rows, where) if rows else np.zeros((0, 1))


def _ids(name: str, held: Mapping[str, Mapping[str, list[Any]]], where: str) -> list[str]:
    """``dialogue$_$utterance``, numbered where the utterances have no names."""
    own = as_ids(held["ids"][name], where) if "ids" in held else None
    return [f"{name}$_${i}" for i in (range(len(held["labels"][name])) if own is None else own)]


def _described(content: Sequence[Any]) -> str:
    """``0: a dict of 151 lists of text, 1: …``."""
    shown = [f"{place}: {describe(value)}" for place, value in enumerate(content[:_SHOWN])]
    return ", ".join(shown) + (", …" if len(content) > _SHOWN else "") if content else "nothing"


def describe(value: Any) -> str:
    """What a value is, in a few words: ``a dict of 151 lists of vectors of 100 numbers``."""
    words = _words(value, 0)
    return words if words == "nothing" else f"{'an' if words.startswith('array') else 'a'} {words}"


def _words(value: Any, depth: int) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        kind = {"S": "texts", "U": "texts", "O": "objects"}.get(value.dtype.kind, "numbers")
        what = "vector" if value.ndim == 1 and kind == "numbers" else "array"
        return f"{what} of {' x '.join(map(str, value.shape))} {kind}"
    if isinstance(value, dict | list | tuple):
        kind, items = type(value).__name__, list(value.values()) if isinstance(value, dict) else list(value)
        count = f"{len(items)} " if depth == 0 else ""
        of = "nothing" if not items else "others" if depth == _DEEPEST else _plural(_words(items[0], depth + 1))
        return f"{kind} of {count if items else ''}{of}"
    return "nothing" if value is None else "text" if isinstance(value, str | bytes) else "number"


def _plural(words: str) -> str:
    first, blank, rest = words.partition(" ")
    return words if words == "nothing" else f"{first}s{blank}{rest}"
