"""GRUs side by side against torch's own."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmark.parts.recurrent import run_grus


@pytest.mark.parametrize("num_layers", [1, 3])
def test_grus_side_by_side_equal_torch(num_layers):
    torch.manual_seed(0)
    nets = [nn.GRU(5, h, num_layers=num_layers, bidirectional=True, batch_first=True).double() for h in (4, 7, 3)]
    x = [torch.randn(6, t, 5, dtype=torch.double, requires_grad=True) for t in (9, 4, 6)]
    lengths = [torch.tensor([t, 1, 2, t, 3, 2]) for t in (9, 4, 6)]
    results = run_grus(nets, x, lengths)
    expected = []
    for net, part, length in zip(nets, x, lengths, strict=True):
        packed = pack_padded_sequence(part, length, batch_first=True, enforce_sorted=False)
        expected.append(pad_packed_sequence(net(packed)[0], batch_first=True, total_length=part.shape[1])[0])
    weights = [torch.randn_like(e) for e in expected]
    numbers = [p for net in nets for p in net.parameters()] + x
    gradients = [
        torch.autograd.grad(sum((a * w).sum() for a, w in zip(some, weights, strict=True)), numbers)
        for some in (results, expected)
    ]
    for got, truth in zip([*results, *gradients[0]], [*expected, *gradients[1]], strict=True):
        assert torch.allclose(got, truth, atol=1e-12)
