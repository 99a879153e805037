"""A method's card: what it is, where its hyper-parameters come from, what was chosen."""

from __future__ import annotations

from typing import Any, Literal

from benchmark.files.validation import Strict, validated
from benchmark.files.yamlfiles import read_yaml
from benchmark.methods.registry import Entry


def card(entry: Entry) -> dict[str, Any]:
    """A method's card, ``cards/<name>.yaml`` beside its file; empty where there is none.

    Raises
    ------
    BenchmarkError
        If it is no YAML mapping, or a key is unknown or unusable.
    """
    path = entry.path.parent / "cards" / f"{entry.name}.yaml"
    try:
        content, lines = read_yaml(path, "card")
    except FileNotFoundError:
        return {}
    validated(CardConfig, content, f"card {path}", lines)
    return content


class Hyperparameter(Strict):
    """A hyper-parameter in a card: its value, other values by task, and where they come from.

    `idle` says when another value changes nothing, where the conformance suite finds that it does not.
    """

    value: Any = None
    per_task: dict[str, Any] = {}
    source: str = ""
    idle: str = ""


class Published(Strict):
    """A number in a card that somebody else reports: not reproduced here."""

    task: str
    condition: str
    metric: str
    value: float
    status: Literal["reported"]
    source: str
    row: str | None = None


class CardConfig(Strict):
    """A method's card. The methods here have all keys (a test sees to it); a plug-in's card may lack any."""

    name: str | None = None
    display: str | None = None  # as papers print it
    title: str | None = None
    paper: str | None = None
    year: int | None = None
    official_code: str | None = None
    idea: str | None = None
    groups: list[str] = []
    trains_on: Literal["complete", "missing"] | None = None
    hyperparameters: dict[str, Hyperparameter] = {}
    deviations: list[str] = []
    choices: list[str] = []
    search_space: dict[str, str] = {}  # why each range
    published: list[Published] = []
