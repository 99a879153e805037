"""What is ModDrop's own: whole modalities of single samples are dropped, at the stated rate, in training only."""

import pytest
import torch

from baselines.moddrop import ModDrop
from tests.batches import random_batch, small_task


def small_moddrop(**options):
    torch.manual_seed(0)
    return ModDrop(small_task(), hidden=6, **options)


@pytest.mark.parametrize("drop", [0.2, 0.5])
def test_whole_modalities_are_dropped_at_the_stated_rate_each_on_its_own(drop):
    model = small_moddrop(drop=drop)
    batch = random_batch(model.task, 2000, seed=0)
    whole = model.eval().pool(batch)
    pooled = model.train().pool(batch)
    dropped = (pooled == 0).all(-1)  # (N, 3)
    assert torch.equal(pooled[~dropped], whole[~dropped])  # the others stay as they are
    assert torch.allclose(dropped.float().mean(0), torch.full((3,), drop), atol=0.05)
    assert abs(dropped.all(1).float().mean() - drop**3) < 0.04  # together only by chance


def test_nothing_is_dropped_in_evaluation_but_what_is_absent_is_zero():
    model = small_moddrop(drop=0.9).eval()
    batch = random_batch(model.task, 50, seed=0, available="lv")
    there = (model.pool(batch) != 0).any(-1)  # (N, 3)
    assert there[:, [0, 2]].all() and not there[:, 1].any()
