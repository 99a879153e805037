"""The pages say what the comparisons come to today."""

import pytest

from benchmark import methods
from tests.parity.page import METHODS, PAGE, in_methods, lines, page, said


def test_the_page_is_of_today():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.parity"


def test_so_is_the_table_in_the_page_on_methods():
    text = METHODS.read_text(encoding="utf-8")
    assert text == in_methods(text), "run python -m tests.parity"
    assert in_methods(text.replace("`mult` | equal", "`mult` | unlike")) == text
    assert all(f"| `{name}` | {line} |" in text for name, line in lines().items())


def test_every_method_is_said_something_of():
    found = lines()
    assert found.keys() == methods.catalogue().keys()
    assert found["constant"] == "there is no official code"
    assert found["misa"].startswith("equal to the official code, but for ")


@pytest.mark.parametrize(
    ("choices", "line"), [([], "equal to the official code"), (["a", "b"], "equal to the official code, but for a; b")]
)
def test_what_is_said(choices, line):
    assert said("mine", {"but_for": choices}) == line
