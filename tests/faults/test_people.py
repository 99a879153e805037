"""Situations that people meet: every input of every kind."""

import pytest

from tests.faults.people import KINDS

INPUTS = [pytest.param(met, id=f"{kind}: {met.name}") for kind, inputs in KINDS.items() for met in inputs]


@pytest.mark.parametrize("met", INPUTS)
def test_it_is_told_or_done(met, tmp_path):
    fault, _ = met.fault(tmp_path)
    assert not fault


def test_there_are_many_of_each_kind():
    assert len(KINDS) >= 10 and len(INPUTS) >= 60
