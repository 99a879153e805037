"""Convolution over time."""

import torch

from benchmark.parts.convolution import TemporalConv


def test_temporal_conv_does_not_feel_padding():
    conv = TemporalConv(4, 3, kernel=3)
    x = torch.randn(2, 6, 4)
    x[1, 4:] = 0
    assert torch.allclose(conv(x)[1, :4], conv(x[1:, :4])[0], atol=1e-6)
