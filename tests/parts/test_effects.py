"""Errors beside that of the mean, against plain loops."""

import pytest
import torch

from benchmark.parts.effects import beside_the_mean, error_of_the_mean


def test_the_mean_is_that_of_what_counts():
    found, target = torch.randn(3, 4, 2), torch.randn(3, 4, 2) + 1
    counts = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    wanted = [(found[i, t], target[i, t]) for i in range(3) for t in range(4) if counts[i, t]]
    mean = sum(y for _, y in wanted) / len(wanted)
    value, idle = beside_the_mean(found, target, counts)
    assert value.item() == pytest.approx(sum((x - y).abs().sum().item() for x, y in wanted) / 14)
    assert idle.item() == pytest.approx(sum((mean - y).abs().sum().item() for _, y in wanted) / 14)
    assert beside_the_mean(target, target, counts)[0] == 0
    squares = sum((mean - y).square().sum().item() for _, y in wanted) / 14
    assert error_of_the_mean(target, counts, squared=True).item() == pytest.approx(squares)


def test_where_nothing_counts_both_are_zero():
    nothing = torch.zeros(3, dtype=torch.bool)
    assert beside_the_mean(torch.ones(3, 2), torch.zeros(3, 2), nothing) == (0, 0)
