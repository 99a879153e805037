"""Tasks as files: a data set, what is asked of it, and by which metrics, in a YAML of some fifteen lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.files.validation import Strict, validated
from benchmark.files.yamlfiles import read_yaml
from benchmark.names import LONGEST, visible
from benchmark.protocol.metrics import RESERVED, metric_names, usual_metrics
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.target import CATEGORY, INTENSITY, POLARITY, Target

FOLDER = Path(__file__).parent / "tasks"
SPLITS = ("train", "valid", "test")
_FIRST = ("mosi", "mosei", "iemocap")  # the tasks of CorrKD's paper, in its order; then the others by name
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
Value = int | float | str
Key = int | str


class TargetConfig(Strict):
    """What is asked for.

    Parameters
    ----------
    kind : {"polarity", "category", "intensity"}
    below : float
        Polarity: labels below it are negative, those equal to it neutral.
    range : [least, largest]
        Polarity and intensity: what a label may be.
    names : list of str
        Category: in the order of the tables.
    values : list
        Category: how each is written in the file, a number or a text, or a list of several; by default its place in
        `names`, or its name.
    columns : list of str
        Category: the order of the columns where the file has a mark for each; by default that of `names`.
    cuts : dict of metric to list of float
        Intensity: where the classes of acc5 or acc3 end, if they do not come of rounding.
    """

    kind: Literal["polarity", "category", "intensity"]
    below: float = 0.0
    range: list[float] = Field(default=[-3.0, 3.0], min_length=2, max_length=2)
    names: list[str] = []
    values: list[Value | list[Value]] = []
    columns: list[str] = []
    cuts: dict[Literal["acc7", "acc5", "acc3"], list[float]] = {}

    @model_validator(mode="after")
    def _fits(self) -> TargetConfig:
        allowed = {
            POLARITY: {"below", "range"},
            CATEGORY: {"names", "values", "columns"},
            INTENSITY: {"range", "cuts"},
        }[self.kind]
        if vain := sorted(self.model_fields_set - allowed - {"kind"}):
            raise ValueError(f"a target of kind {self.kind} makes no use of {' and '.join(vain)}; leave it out")
        if self.range[0] >= self.range[1]:
            raise ValueError("range: write the least label first, then the largest")
        if self.kind == POLARITY and not self.range[0] < self.below <= self.range[1]:
            raise ValueError(f"below: {self.below:g} must lie within range, {self.range[0]:g} to {self.range[1]:g}")
        if any(list(cuts) != sorted(set(cuts)) for cuts in self.cuts.values()):
            raise ValueError("cuts: write numbers that rise")
        if self.kind == CATEGORY:
            self._check_categories()
        return self

    def _check_categories(self) -> None:
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            raise ValueError("names: write two categories at least, each once")
        for name in self.names:
            if not name.strip() or len(name) > LONGEST or visible(name) != name or "\n" in name or "\t" in name:
                raise ValueError(f"names: {one_line(ascii(name), 60)} is no name of 1 to {LONGEST} visible characters")
            if name in RESERVED:
                raise ValueError(f"names: {name!r} is taken, since f1_{name} is another metric; choose another name")
        if self.values and len(self.values) != len(self.names):
            raise ValueError(f"values: write one for each of the {len(self.names)} names")
        written = [one for value in self.values for one in (value if isinstance(value, list) else [value])]
        if len(set(map(str, written))) < len(written):
            raise ValueError("values: each may stand for one category only")
        if self.columns and sorted(self.columns) != sorted(self.names):
            raise ValueError("columns: write each of the names once, in the order of the file")


class Keys(Strict):
    """Where things stand in the file: keys of a split's dict, or places in a tuple; by default the usual ones.

    Parameters
    ----------
    language, audio, vision : str or int
    language_lengths, audio_lengths, vision_lengths : str or int
    labels, ids : str or int
    train, valid, test : str or int
        Of the splits.
    """

    language: Key | None = None
    audio: Key | None = None
    vision: Key | None = None
    language_lengths: Key | None = None
    audio_lengths: Key | None = None
    vision_lengths: Key | None = None
    labels: Key | None = None
    ids: Key | None = None
    train: Key | None = None
    valid: Key | None = None
    test: Key | None = None


class Known(Strict):
    """By what a file of this data set can be told from those of others.

    Parameters
    ----------
    samples : [train, valid, test]
        How many there are in the files that go round.
    words : int
        The most words of a sample in these files.
    grid : float
        Labels are multiples of it.
    ids : str
        A regular expression that every id fits.
    """

    samples: list[int] = Field(default=[], max_length=3)
    words: int | None = Field(default=None, ge=3, le=10_000)
    grid: float | None = Field(default=None, gt=0)
    ids: str | None = None


class Simulated(Strict):
    """The stand-in.

    Parameters
    ----------
    seed : int, optional
        By default made of the task's name.
    samples : [train, valid, test]
        Fewer than there are really, so that grids fit the time of two cores.
    words : [mean, most]
        Words of an utterance.
    features : [language, audio, vision]
        Numbers a frame.
    shares : dict of split to list of float
        The label distribution: negative, zero, positive; or the categories. By default a tenth is zero, and categories
        are even.
    strengths : [language, audio, vision]
        How strongly affect shows in each modality.
    """

    seed: int | None = Field(default=None, ge=0, lt=2**31)
    samples: list[int] = Field(default=[800, 200, 400], min_length=3, max_length=3)
    words: list[int] = Field(default=[11, 20], min_length=2, max_length=2)
    features: list[int] = Field(default=[300, 74, 35], min_length=3, max_length=3)
    shares: dict[Literal["train", "valid", "test"], list[float]] = {}
    strengths: list[float] = Field(default=[3.2, 0.55, 0.6], min_length=3, max_length=3)

    @model_validator(mode="after")
    def _possible(self) -> Simulated:
        if min(self.samples) < 8 or max(self.samples) > 1_000_000:
            raise ValueError("samples: write 8 to 1000000 for each split")
        if not 3 <= self.words[0] <= self.words[1] <= 10_000:
            raise ValueError("words: write the mean, 3 or more, then the most, which may not be less")
        if min(self.features) < 1 or max(self.features) > 100_000:
            raise ValueError("features: write 1 to 100000 for each modality")
        for name, shares in self.shares.items():
            if min(shares, default=0.0) < 0 or sum(shares) <= 0:
                raise ValueError(f"shares.{name}: write shares of 0 or more that do not all vanish")
        return self


class Task(Strict):
    """A data set, what is asked of it, and by which metrics it is scored.

    Parameters
    ----------
    name : str
        On the command line and in csv files: small letters, digits and ``_``.
    display : str
        The paper's name, for people.
    description : str
        One line, shown by ``--list``.
    dataset : str
        The data set, where several tasks are of one: a folder may bear its name, and a method's settings for it hold.
        By default the task's name.
    files : list of str
        Names to look for, the best first. By default ``<dataset>.npz``, ``.h5``, ``.hdf5`` and ``.pkl``.
    target : TargetConfig
    modalities : str
        Those that the data have, in this order: ``lav``, ``la``, ``lv`` or ``av``. The third is absent everywhere.
    group : str, optional
        A regular expression with one group, which finds in an id what the sample belongs to: a video, a dialogue.
    unit : str
        What a group is, for captions: ``video``.
    metrics : list of str
        That tables print; by default the usual ones of the target's kind.
    primary : str
        The metric by which methods are ranked and compared; by default the first.
    keys : Keys
    known : Known
    simulator : Simulated
    citation, licence : str

    Raises
    ------
    pydantic.ValidationError
        If one does not fit; from a file it is a BenchmarkError with the key and its line.
    """

    name: str
    target: TargetConfig
    display: str = ""
    description: str = ""
    dataset: str = ""
    files: list[str] = []
    modalities: Literal["lav", "la", "lv", "av"] = "lav"
    group: str | None = None
    unit: str = Field(default="", pattern=r"^([a-z]+( [a-z]+)*)?$", max_length=30)
    metrics: list[str] = []
    primary: str = ""
    keys: Keys = Keys()
    known: Known = Known()
    simulator: Simulated = Simulated()
    citation: str = ""
    licence: str = ""

    @field_validator("name", "dataset")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value and not _NAME.fullmatch(value):
            raise ValueError("write a small letter, then up to 39 small letters, digits or _")
        return value

    @field_validator("display", "description", "citation", "licence")
    @classmethod
    def _seen(cls, value: str) -> str:
        return visible(" ".join(value.split()))

    @field_validator("files")
    @classmethod
    def _files(cls, value: list[str]) -> list[str]:
        for name in value:
            if not name or Path(name).name != name:
                raise ValueError(f"{one_line(name)!r} is no file name; folders are searched by themselves")
        return value

    @field_validator("group")
    @classmethod
    def _group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from error
        if groups < 1:
            raise ValueError("put what tells the group into parentheses, such as '^(.*)_[0-9]+$'")
        return value

    @model_validator(mode="after")
    def _scored(self) -> Task:
        if not self.name:
            raise ValueError("name: write one")
        there = metric_names(self.as_target)
        for key, name in [*(("metrics", name) for name in self.metrics), ("primary", self.primary)]:
            if name and name not in there:
                raise ValueError(f"{key}: {unknown(f'metric of {self.target.kind}', name, there)}")
        wanted = {CATEGORY: len(self.target.names)}.get(self.target.kind, 3)
        for split, shares in self.simulator.shares.items():
            if len(shares) != wanted:
                what = "one for each category" if wanted != 3 or self.target.names else "negative, zero, positive"
                raise ValueError(f"simulator.shares.{split}: write {wanted} shares: {what}")
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @cached_property
    def as_target(self) -> Target:
        """What is asked for, as the harness needs it."""
        target = self.target
        if target.kind == CATEGORY:
            return Target(CATEGORY, categories=tuple(target.names))
        span = (float(target.range[0]), float(target.range[1]))
        if target.kind == POLARITY:
            return Target(POLARITY, below=target.below, span=span)
        cuts = tuple((name, tuple(cuts)) for name, cuts in sorted(target.cuts.items()))
        return Target(INTENSITY, span=span, cuts=cuts)

    @property
    def scored(self) -> list[str]:
        """The metrics that tables print, the primary one first."""
        names = list(dict.fromkeys(self.metrics)) or usual_metrics(self.as_target)
        first = self.primary or names[0]
        return [first, *(name for name in names if name != first)]

    @property
    def data_set(self) -> str:
        """The name of the data set."""
        return self.dataset or self.name

    @property
    def title(self) -> str:
        """For people: the paper's name."""
        return self.display or self.name

    @property
    def file_names(self) -> list[str]:
        """Names to look for."""
        return self.files or [f"{self.data_set}{suffix}" for suffix in (".npz", ".h5", ".hdf5", ".pkl")]

    @property
    def absent(self) -> tuple[str, ...]:
        """The modalities that no sample has."""
        return tuple(m for m in MODALITIES if m not in self.modalities)

    def at_real_size(self) -> Task:
        """The same with a stand-in of as many samples and words as the real set has.

        Raises
        ------
        BenchmarkError
            If the task does not say how many those are.
        """
        if len(self.known.samples) != len(SPLITS):
            raise BenchmarkError(
                f"task {self.name!r} does not say how large the real set is; write 'known: samples' in it"
            )
        mean, most = self.simulator.words
        words = [mean, max(mean, self.known.words or most)]
        changed = self.simulator.model_copy(update={"samples": list(self.known.samples), "words": words})
        return self.model_copy(update={"simulator": changed})

    def reading(self) -> dict[str, Any]:
        """What decides which numbers and labels are read from a file, and so part of a cell's definition."""
        target = self.target.model_dump(mode="json", exclude_defaults=True)  # a new key changes no old fingerprint
        said = {"target": target, "modalities": self.modalities}
        keys = self.keys.model_dump(mode="json", exclude_none=True)
        return {**said, **({"keys": keys} if keys else {})}


@lru_cache(maxsize=1)
def known_tasks() -> Mapping[str, Task]:
    """The tasks that come with the benchmark, by name."""
    found = {path.stem: read_task(path) for path in sorted(FOLDER.glob("*.yaml"))}
    order = sorted(found, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: found[name] for name in order}


def read_task(path: Path) -> Task:
    """A task from its file.

    Raises
    ------
    BenchmarkError
        If there is no such file, or a key is unknown or unusable: names it, and its line.
    """
    try:
        content, lines = read_yaml(path, "task file")
    except FileNotFoundError as error:
        raise BenchmarkError(f"cannot read task file {path}: {error.strerror}") from error
    return validated(Task, content, f"task file {path.name}", lines)


def find_task(given: str | Path | Task | Mapping[str, Any], folder: Path | None = None) -> Task:
    """A task by its name, by the path of its file, or as an object.

    Parameters
    ----------
    given : str, Path, Task or mapping
        A mapping holds what a file would.
    folder : Path, optional
        Where relative paths start.

    Raises
    ------
    BenchmarkError
        If there is no such task, the file cannot be used, or it takes the name of a task that comes with the benchmark.
    """
    if isinstance(given, Task):
        task = given
    elif isinstance(given, Mapping):
        task = validated(Task, dict(given), f"task {one_line(str(given.get('name', '')))}")
    else:
        if str(given) in known_tasks():
            return known_tasks()[str(given)]
        path = Path(given).expanduser()
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise BenchmarkError(
                unknown("task", str(given), known_tasks()) + "; or give the path of a task's .yaml file"
            )
        task = read_task(path if folder is None else folder / path)
    if (known := known_tasks().get(task.name)) is not None and known != task:
        raise BenchmarkError(
            f"task {task.name!r} has the name of a task that comes with the benchmark; give yours another name"
        )
    return task
