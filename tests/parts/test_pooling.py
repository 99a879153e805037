"""Pooling, also of samples without a frame."""

import torch

from benchmark.parts.pooling import last_frame, masked_mean, padded
from tests.batches import lengths_mask


def test_masked_mean_and_last_frame():
    x = torch.randn(3, 5, 2)
    mask = lengths_mask([5, 2, 0], 5)
    assert torch.allclose(
        masked_mean(x, mask), torch.stack([x[0].mean(0), x[1, :2].mean(0), torch.zeros(2)]), atol=1e-6
    )
    assert torch.equal(last_frame(x, mask), torch.stack([x[0, 4], x[1, 1], torch.zeros(2)]))


def test_padded_is_as_long_as_the_tasks_longest_sample():
    x = {"l": torch.ones(2, 3, 4), "a": torch.ones(2, 9, 1)}
    padded_x, everywhere = padded(x, {"l": 5, "a": 7})
    assert padded_x["l"].shape == (2, 5, 4) and padded_x["a"].shape == (2, 7, 1)
    assert torch.equal(padded_x["l"][:, :3], x["l"]) and not padded_x["l"][:, 3:].any()
    assert everywhere["l"].shape == (2, 5) and everywhere["l"].all()
