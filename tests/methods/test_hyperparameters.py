"""Hyper-parameters that no network can have are refused before anything runs."""

import inspect
from typing import Annotated, get_args, get_type_hints

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from benchmark import Count, Method, NonNegative, Positive, Rate, Whole, methods
from benchmark.errors import BenchmarkError
from benchmark.methods.hyperparameters import hyperparameters

ENTRIES = methods.catalogue()


class Mine(Method):
    def __init__(
        self, task, *, layers: Count = 1, past: Whole = 0, dropout: Rate = 0.0, weight: NonNegative = 0.0,
        rate: Positive = 1.0, heads: Annotated[int, Field(ge=1, le=4)] = 1, kernels: tuple[int, ...] = (1,),
        plain: int = 1, deep: bool = False,
    ):  # fmt: skip
        super().__init__(task)


def given(**values):
    return hyperparameters(Mine, "mine", "mosi", [values])[0]


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


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_number_of_a_method_has_bounds_and_its_default_lies_in_them(name):
    cls = methods.load(ENTRIES[name])
    hints = get_type_hints(cls.__init__, include_extras=True)
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[2:]:
        if isinstance(parameter.default, bool | str):
            continue
        assert any(isinstance(extra, FieldInfo) for extra in get_args(hints[parameter.name])[1:]), parameter.name
        hyperparameters(cls, name, "mosi", [{parameter.name: parameter.default}])
        with pytest.raises(BenchmarkError):
            hyperparameters(cls, name, "mosi", [{parameter.name: -1}])
