"""Layers of several networks of one shape, side by side as batched products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StreamLinear(nn.Module):
    """S independent linear layers as one batched product: (S, M, d_in) → (S, M, d_out).

    Parameters
    ----------
    streams, d_in, d_out : int
    fan_out : int, optional
        As how many outputs the weights start, where the layer is a part of a wider one; `d_out` by default.
    """

    def __init__(self, streams: int, d_in: int, d_out: int, *, fan_out: int | None = None) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / (d_in + (fan_out or d_out)))  # Glorot and Bengio, AISTATS 2010
        self.weight = nn.Parameter(torch.empty(streams, d_in, d_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(streams, 1, d_out))

    def forward(self, x: Tensor, group: Tensor | slice) -> Tensor:
        """Apply the layers of the streams in `group`, one for each row of `x`."""
        return torch.baddbmm(self.bias[group], x, self.weight[group])  # (S, M, d_in) @ (S, d_in, d_out)


class StreamNorm(nn.Module):
    """S independent layer normalisations: (S, M, d) → (S, M, d)."""

    def __init__(self, streams: int, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams, 1, d))
        self.bias = nn.Parameter(torch.zeros(streams, 1, d))

    def forward(self, x: Tensor, group: Tensor | slice) -> Tensor:
        """Normalise with the streams in `group`."""
        return torch.addcmul(self.bias[group], normalise(x), self.weight[group])  # (S, 1, d) + (S, M, d) * (S, 1, d)

    def then(self, layers: Sequence[StreamLinear], z: Tensor, group: Tensor | slice) -> Tensor:
        """Scale and shift of this normalisation, then the linear layers side by side, in one product.

        ``(z * scale + shift) W + b = z (scale W) + (shift W + b)``.

        Parameters
        ----------
        layers : sequence of StreamLinear
        z : Tensor, shape (S, M, d)
            Normalised, without scale and shift.
        group : indices of the streams

        Returns
        -------
        Tensor, shape (S, M, sum of d_out)
        """
        weight, bias = self.before(layers, group)
        return torch.baddbmm(bias, z, weight)  # (S, M, d) @ (S, d, sum of d_out)

    def before(self, layers: Sequence[StreamLinear], group: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Weight, (S, d, sum of d_out), and bias, (S, 1, sum of d_out), of that product."""
        weight = torch.cat([layer.weight[group] for layer in layers], -1)  # W: (S, d, sum of d_out)
        bias = torch.cat([layer.bias[group] for layer in layers], -1)  # b: (S, 1, sum of d_out)
        bias = torch.baddbmm(bias, self.bias[group], weight)  # shift W + b: (S, 1, d) @ (S, d, sum of d_out)
        return self.weight[group].transpose(1, 2) * weight, bias  # (S, d, 1) * (S, d, sum of d_out): scale W


def normalise(x: Tensor) -> Tensor:
    """Layer normalisation without scale and shift, which :meth:`StreamNorm.then` folds into what follows."""
    return F.layer_norm(x, x.shape[-1:])
