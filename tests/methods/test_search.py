"""What methods are tuned over, and that configuration i is the same everywhere."""

import inspect

import pytest

from benchmark import BenchmarkError, Choice, Method, Range, methods
from benchmark.data.task import known_tasks
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.methods.search import HARNESS, MISSINGNESS, configurations, search_space
from benchmark.protocol.method import TaskSpec

ENTRIES = methods.catalogue()
TASKS = {
    "mosi": TaskSpec("mosi", 2, {"l": 6, "a": 5, "v": 4}, {"l": 5, "a": 7, "v": 4}, kind="polarity"),
    "mosei": TaskSpec("mosei", 2, {"l": 6, "a": 5, "v": 4}, {"l": 5, "a": 7, "v": 4}, kind="polarity"),
    "iemocap": TaskSpec("iemocap", 4, {"l": 6, "a": 5, "v": 4}, {"l": 5, "a": 7, "v": 4}),
}


class Tuned(Method):
    search_space = {"width": Choice(16, 32), "dropout": Range(0.0, 0.5), "learning_rate": Range(1e-4, 1e-2, log=True)}

    def __init__(self, task, *, width: int = 16, dropout: float = 0.1, layers: int = 2):
        super().__init__(task)


class Untuned(Tuned):
    search_space = None


class Constant(Tuned):
    search_space = {}


class NotAugmentable(Tuned):
    augmentable = False


PINNED = [
    {
        "width": 16,
        "dropout": 0.02081,
        "learning_rate": 0.0001541,
        "batch_size": 128,
        "weight_decay": 0.0001,
        "clip_norm": 0.5,
        "mrm": {"frame_probability": 0.6232, "modality_probability": 0.2305},
    },
    {
        "width": 16,
        "dropout": 0.451,
        "learning_rate": 0.001939,
        "batch_size": 64,
        "weight_decay": 0.001,
        "clip_norm": None,
        "mrm": {"frame_probability": 0.6405, "modality_probability": 0.577},
    },
]


def test_the_harness_adds_what_a_method_does_not_name():
    space, own = search_space(Tuned, "tuned", "complete")
    assert own and space.keys() == Tuned.search_space.keys() | HARNESS.keys()
    assert space["learning_rate"] == Tuned.search_space["learning_rate"]
    assert search_space(Tuned, "tuned", "missing")[0].keys() == space.keys() | MISSINGNESS.keys()


def test_without_a_space_the_training_settings_alone_are_tuned_and_without_training_nothing():
    assert search_space(Untuned, "untuned", "complete") == (HARNESS, False)
    assert search_space(Constant, "constant", "missing") == ({}, True)
    assert search_space(NotAugmentable, "own", "complete") == (Tuned.search_space, True)
    assert configurations(Constant, "constant", "mosi", "missing", 5) == []


def test_configurations_are_these_on_every_machine():
    assert configurations(Tuned, "tuned", "mosi", "missing", 2) == PINNED


def test_more_configurations_begin_with_the_same_ones():
    ten = configurations(Tuned, "tuned", "mosi", "missing", 10)
    assert configurations(Tuned, "tuned", "mosi", "missing", 5) == ten[:5]
    assert len({str(each) for each in ten}) == 10
    lists = type("Lists", (Tuned,), {"search_space": {"width": Choice(16, 32, 64)}, "augmentable": False})
    three = configurations(lists, "lists", "mosi", "complete", 3)
    assert configurations(lists, "lists", "mosi", "complete", 2) == three[:2]


def test_configurations_differ_between_methods_and_between_tasks():
    first = configurations(Tuned, "tuned", "mosi", "missing", 3)
    assert configurations(Tuned, "other", "mosi", "missing", 3) != first
    assert configurations(Tuned, "tuned", "mosei", "missing", 3) != first


def test_numbers_are_short_and_within_their_range():
    narrow = type("Narrow", (Tuned,), {"search_space": {"dropout": Range(0.0999999, 0.1000001)}})
    for each in configurations(narrow, "narrow", "mosi", "missing", 20):
        assert 0.0999999 <= each["dropout"] <= 0.1000001
        assert len(str(each["mrm"]["frame_probability"])) <= 6


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (5, "search_space of bad must name what to tune"),
        ({"widht": Choice(16, 32)}, "unknown hyper-parameter in search_space of bad 'widht'; did you mean width"),
        ({"selection": Choice("loss", "score")}, "unknown hyper-parameter .* .selection."),
        ({"mrm": Choice(1, 2)}, "unknown hyper-parameter .* there are: .*mrm.frame_probability"),
        ({"width": [16, 32]}, r"search_space of bad: width is \[16, 32\]; write Range"),
        ({"width": Range(8.0, 32.0)}, "search_space of bad: width=8.0: input should be a valid integer"),
        ({"batch_size": Choice(0, 32)}, "search_space of bad: .*batch_size"),
        ({"mrm.max_ratio": Range(0.5, 2.0)}, "search_space of bad: .*mrm.max_ratio"),
        ({"layers": Range(3, 5)}, "the default layers=2 is not within 3 to 5"),
        ({"learning_rate": Range(1e-5, 1e-4, log=True)}, "the default learning_rate=0.001 is not within"),
    ],
)
def test_an_unusable_space_is_refused_where_the_method_is_registered(space, says):
    bad = type("Bad", (Tuned,), {"search_space": space, "predict": lambda self, b: b, "loss": lambda self, b: b})
    with pytest.raises(BenchmarkError, match=says) as caught:
        methods.register("bad", paper="none", trains_on="complete")(bad)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_configuration_of_every_method_can_be_built(name, task):
    entry = ENTRIES[name]
    cls = methods.load(entry)
    for changes in configurations(cls, name, task, entry.trains_on, 5):
        constructor, training = hyperparameters(cls, name, known_tasks()[task], [changes])
        assert training.learning_rate > 0
        cls(TASKS[task], **constructor)


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_method_has_a_space_and_its_card_a_reason_for_each_entry(name):
    cls, reasons = methods.load(ENTRIES[name]), methods.card(ENTRIES[name])["search_space"]
    assert cls.search_space is not None and list(cls.search_space) == list(reasons) and all(reasons.values())
    assert len(cls.search_space) in ({"constant": [0], "random": [0], "linear": [1]}.get(name, range(3, 9)))


def defaults_of(cls, key):
    values = inspect.signature(cls.__init__).parameters
    values = {name: parameter.default for name, parameter in values.items()} | cls.training_defaults
    return [values[key], *(of_task[key] for of_task in cls.per_task.values() if key in of_task)]


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_ranges_lie_about_the_defaults_as_far_for_every_method(name):
    """So that no method gets a wider or a luckier space than the others."""
    cls = methods.load(ENTRIES[name])
    for key, values in cls.search_space.items():
        defaults = defaults_of(cls, key)
        if key in ("learning_rate", "inner_learning_rate"):
            low, high = min(defaults) / 10, min(max(defaults) * 10, 1e-2)
            assert values.log and (values.low, values.high) == pytest.approx((low, high))
        elif key.endswith("_weight") or key.startswith("reconstruction_") or key == "head_penalty":
            assert values.log and values.low == pytest.approx(defaults[0] / 4)
            assert values.high == pytest.approx(defaults[0] * 4)
        elif "dropout" in key:
            assert values == Range(0.0, 0.7 if max(defaults) >= 0.5 else 0.5)
        elif isinstance(values, Choice) and isinstance(values.values[0], int):
            assert set(defaults) <= set(values.values)
            assert min(values.values) >= min(defaults) / 4 and max(values.values) <= 5 * max(defaults)
