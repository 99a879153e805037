"""The feed-forward part of a Transformer layer, which keeps nothing between its two layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.parts.blocks import rows_a_block
from benchmark.parts.dropout import dropout_mask
from benchmark.parts.stacking import folded


class _FeedForward(torch.autograd.Function):
    """Two linear layers of S streams with ReLU and dropout between: (S, M, d) → (S, M, d_out).

    Rows go through in blocks; what lies between the layers stays in the cache and is computed again backwards.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, expand: Tensor, shift: Tensor, contract: Tensor, out: Tensor, p: float) -> Tensor:
        streams, _, width = expand.shape
        ctx.rows = rows_a_block(x.shape[1], streams * width, x.device)  # of M; a row has hidden units in all streams
        result = x.new_empty(streams, x.shape[1], contract.shape[2])  # (S, M, d_out)
        scratch = x.new_empty(streams, ctx.rows, width)  # all blocks write over it, so that it stays in the cache
        ctx.masks = []
        for part, y in zip(torch.split(x, ctx.rows, 1), torch.split(result, ctx.rows, 1), strict=True):
            hidden = scratch[:, : part.shape[1]]  # (S, rows, width); the last block is shorter
            ctx.masks.append(dropout_mask(hidden.shape, p, x) if p > 0 else None)  # a view of the pool: free to keep
            # y = hidden contract + out: (S, rows, width) @ (S, width, d_out) → (S, rows, d_out)
            torch.baddbmm(out, _hidden(part, expand, shift, ctx.masks[-1], hidden), contract, out=y)
        ctx.save_for_backward(x, expand, shift, contract)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # z = x expand + shift, hidden = mask * relu(z), y = hidden contract + out; g stands for dL/dy.
        x, expand, shift, contract = ctx.saved_tensors
        by_x, by_expand, by_shift, by_contract = map(torch.zeros_like, (x, expand, shift, contract))
        scratch = x.new_empty(2, len(x), ctx.rows, expand.shape[2])  # (2, S, rows, width)
        parts = (torch.split(tensor, ctx.rows, 1) for tensor in (x, gradient, by_x))
        for part, g, by_part, mask in zip(*parts, ctx.masks, strict=True):
            hidden, by_hidden = scratch[:, :, : part.shape[1]]  # (S, rows, width) each
            _hidden(part, expand, shift, mask, hidden)  # the same numbers as forwards, made again
            # dL/dcontract = hidden^T g, added up over blocks: (S, width, rows) @ (S, rows, d_out) → (S, width, d_out)
            torch.baddbmm(by_contract, hidden.transpose(1, 2), g, out=by_contract)
            torch.bmm(g, contract.transpose(1, 2), out=by_hidden)  # dL/dhidden = g contract^T: (S, rows, width)
            # dL/dz = mask * dL/dhidden where z > 0, else 0. As hidden is 0 there and where dropout threw a unit out, it
            # stands in for z, which need not be kept.
            torch.ops.aten.threshold_backward(by_hidden, hidden, 0, grad_input=by_hidden)
            if mask is not None:
                by_hidden.mul_(mask)  # what is left to do is the factor 1 / (1 - p)
            # dL/dexpand = x^T dL/dz: (S, d, rows) @ (S, rows, width) → (S, d, width)
            torch.baddbmm(by_expand, part.transpose(1, 2), by_hidden, out=by_expand)
            by_shift += by_hidden.sum(1, keepdim=True)  # z has the shift in every row: (S, 1, width)
            torch.bmm(by_hidden, expand.transpose(1, 2), out=by_part)  # dL/dx = dL/dz expand^T: (S, rows, d)
        # dL/dout = sum of g over all rows, (S, 1, d_out), needs nothing of the blocks.
        return by_x, by_expand, by_shift, by_contract, gradient.sum(1, keepdim=True), None


def _hidden(x: Tensor, expand: Tensor, shift: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
    torch.baddbmm(shift, x, expand, out=out).relu_()  # (S, rows, d) @ (S, d, width) + (S, 1, width)
    return out if mask is None else out.mul_(mask)


@folded(0, 0, 0, 0, 0)
def feed_forward(x: Tensor, expand: Tensor, shift: Tensor, contract: Tensor, out: Tensor, *, p: float = 0.0) -> Tensor:
    """Linear layer, ReLU, dropout and linear layer of S streams: (S, M, d) → (S, M, d_out). First derivatives only.

    Parameters
    ----------
    x : Tensor, shape (S, M, d)
    expand : Tensor, shape (S, d, width)
    shift : Tensor, shape (S, 1, width)
        Of the first layer.
    contract : Tensor, shape (S, width, d_out)
    out : Tensor, shape (S, 1, d_out)
        Shift of the second layer.
    p : float
        Of the dropout.
    """
    return cast(Callable[..., Tensor], _FeedForward.apply)(x, expand, shift, contract, out, p)
