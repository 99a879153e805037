"""Dropout from the pool of coins."""

import pytest
import torch

from benchmark.parts.dropout import Dropout, dropout, dropout_mask


def test_dropout_drops_the_share_asked_for_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(1000, 1000)
    y = dropout(x, 0.25, True)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.005)
    assert y.mean().item() == pytest.approx(1.0, abs=0.005)
    assert len(y.unique()) == 2
    columns = (y == 0).float().mean(0)  # no position is special
    assert columns.min() > 0.18 and columns.max() < 0.32


def test_dropout_is_off_in_evaluation_and_repeats_with_the_seed():
    x = torch.randn(37, 3)
    layer = Dropout(0.5)
    assert layer.eval()(x) is x
    layer.train()
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(first, layer(x))
    with pytest.raises(ValueError, match="outside"):
        Dropout(1.0)


def test_dropout_masks_are_independent_of_each_other_and_within():
    torch.manual_seed(0)
    x = torch.ones(60_000)
    masks = torch.stack([dropout_mask(x.shape, 0.3, x) == 0 for _ in range(200)]).float() - 0.3  # (200, numbers)
    between = (masks @ masks.T) / (x.numel() * 0.21)
    assert between.fill_diagonal_(0).abs().max() < 0.04  # 20,000 pairs of masks; one standard error is 0.004
    along = (masks[:, 1:] * masks[:, :-1]).mean() / 0.21
    assert along.abs() < 0.002
    one_number = masks.mean(1)  # each mask drops its share
    assert one_number.abs().max() < 0.01 and masks.mean(0).abs().max() < 0.2
    longer = dropout_mask((600_000,), 0.3, x)
    assert longer.shape == (600_000,) and (longer == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
