"""Pooling, also of samples without a frame."""

import torch

from benchmark.parts.pooling import last_frame, masked_mean
from tests.batches import lengths_mask


def test_masked_mean_and_last_frame():
    x = torch.randn(3, 5, 2)
    mask = lengths_mask([5, 2, 0], 5)
    assert torch.allclose(
        masked_mean(x, mask), torch.stack([x[0].mean(0), x[1, :2].mean(0), torch.zeros(2)]), atol=1e-6
    )
    assert torch.equal(last_frame(x, mask), torch.stack([x[0, 4], x[1, 1], torch.zeros(2)]))
