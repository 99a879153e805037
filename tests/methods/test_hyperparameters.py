"""Hyper-parameters that no network can have are refused before anything runs."""

import inspect
from typing import Annotated, get_args, get_type_hints

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from benchmark import Count, Method, NonNegative, Positive, Rate, Whole, methods
from benchmark.data.task import find_task, known_tasks
from benchmark.errors import BenchmarkError
from benchmark.methods.hyperparameters import hyperparameters

ENTRIES = methods.catalogue()
MOSI = known_tasks()["mosi"]


class Mine(Method):
    def __init__(
        self, task, *, layers: Count = 1, past: Whole = 0, dropout: Rate = 0.0, weight: NonNegative = 0.0,
        rate: Positive = 1.0, heads: Annotated[int, Field(ge=1, le=4)] = 1, kernels: tuple[int, ...] = (1,),
        plain: int = 1, deep: bool = False,
    ):  # fmt: skip
        super().__init__(task)


def given(**values):
    return hyperparameters(Mine, "mine", MOSI, [values])[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layers", -1), ("layers", 0), ("layers", 2.0), ("layers", 2.5), ("layers", True), ("layers", "2"), ("layers", None),
        ("layers", [2]), ("past", -1), ("dropout", -1), ("dropout", -0.1), ("dropout", 1.0), ("dropout", 1.5),
        ("dropout", True), ("dropout", "0.1"), ("dropout", float("nan")), ("weight", -1e-9), ("weight", float("inf")),
        ("rate", 0), ("rate", -1), ("heads", 5), ("plain", True), ("plain", "yes"), ("deep", 1), ("kernels", [1, True]),
    ],
)  # fmt: skip
def test_what_no_network_can_have_is_refused_in_one_line(key, value):
    with pytest.raises(BenchmarkError, match=rf"^mine\.{key}=") as raised:
        given(**{key: value})
    assert "\n" not in str(raised.value)


def test_what_it_can_have_is_taken():
    found = given(layers=3, past=0, dropout=0, weight=2, rate=1e-9, heads=4, kernels=[1, 3], plain=-5, deep=True)
    assert found["kernels"] == (1, 3) and found["dropout"] == 0.0 and found["plain"] == -5


@pytest.mark.parametrize("key", ["epochs", "batch_size", "patience"])
@pytest.mark.parametrize("value", [0, -1, True, 2.0, "5"])
def test_so_are_the_trainings(key, value):
    with pytest.raises(BenchmarkError, match=rf"training of mine: key '{key}'"):
        given(**{key: value})


@pytest.mark.parametrize("where", ["training_defaults", "per_task"])
def test_no_class_decides_which_epoch_is_kept(where, monkeypatch):
    values = {"selection": "score"}
    monkeypatch.setattr(Mine, where, {"mosi": values} if where == "per_task" else values)
    with pytest.raises(BenchmarkError, match="mine sets selection, which is the same for all methods"):
        given()


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_number_of_a_method_has_bounds_and_its_default_lies_in_them(name):
    cls = methods.load(ENTRIES[name])
    hints = get_type_hints(cls.__init__, include_extras=True)
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[2:]:
        if isinstance(parameter.default, bool | str):
            continue
        hint = hints[parameter.name]
        number = get_args(hint)[0] if type(None) in get_args(hint) else hint  # `Positive | None` may be left out
        assert any(isinstance(extra, FieldInfo) for extra in get_args(number)[1:]), parameter.name
        hyperparameters(cls, name, MOSI, [{parameter.name: parameter.default}])
        with pytest.raises(BenchmarkError):
            hyperparameters(cls, name, MOSI, [{parameter.name: -1}])


def task_like(name, **parts):
    return find_task({"name": name, "target": {"kind": "intensity"}, **parts})


def of_tasks(task, **per_task):
    cls = type("Mine", (Mine,), {"per_task": per_task, "training_defaults": {"epochs": 9}})
    constructor, training = hyperparameters(cls, "mine", task, [])
    return constructor["layers"], constructor["heads"], training.epochs


def test_the_values_of_a_task_win_over_those_of_its_data_set():
    said = {"mosi": {"layers": 2, "heads": 2, "epochs": 3}, "mosi_intensity": {"layers": 4}, "mosei": {"heads": 3}}
    assert of_tasks(MOSI, **said) == (2, 2, 3)
    assert of_tasks(known_tasks()["mosi_intensity"], **said) == (4, 2, 3)
    assert of_tasks(known_tasks()["mosei_intensity"], **said) == (1, 3, 9)
    assert of_tasks(known_tasks()["iemocap"], **said) == (1, 1, 9)
    assert of_tasks(task_like("mine", dataset="mosi"), **said) == (2, 2, 3)


def test_peoples_own_tasks_may_have_values():
    for name in ("mine", "iemocap4", "mosi2", "mosi_bert", "emotions"):
        assert of_tasks(task_like(name), **{name: {"layers": 3}}) == (3, 1, 9)
        assert of_tasks(MOSI, **{name: {"layers": 3}}) == (1, 1, 9)
    near = task_like("iemocup")  # one's own, so no misspelling while it runs
    assert of_tasks(near, iemocup={"layers": 3}) == (3, 1, 9)


@pytest.mark.parametrize(
    ("key", "meant"),
    [("MOSI", "mosi"), ("Mosei", "mosei"), ("mose", "mosei"), ("iemocapp", "iemocap"), ("mosi_intensty", "mosi_intensity"), ("iemocup", "iemocap")],
)  # fmt: skip
def test_misspelt_tasks_are_refused(key, meant):
    with pytest.raises(BenchmarkError, match=f"unknown task in per_task of mine '{key}'; did you mean .*{meant}"):
        of_tasks(MOSI, **{key: {"layers": 3}})


@pytest.mark.parametrize("per_task", [{"hidden": 9}, {"mosi": None}, [1], None])
def test_what_names_no_tasks_is_refused(per_task):
    cls = type("Mine", (Mine,), {"per_task": per_task})
    with pytest.raises(BenchmarkError, match=r"^per_task of mine must name tasks and their hyper-parameters"):
        hyperparameters(cls, "mine", MOSI, [])
