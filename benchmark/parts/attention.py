"""Multi-head attention that keeps none of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.parts.blocks import rows_a_block, split_rows
from benchmark.parts.dropout import dropout_mask

_MASKED = -1e9  # added to a score; finite: a row in which all is masked gives a uniform softmax instead of NaN
_RANGE = (1e-20, 1e20)  # sums of exponentials that leave room for their parts


class _Attend(torch.autograd.Function):
    """See :func:`attend`. Heads are (B * heads, d_head, T), time innermost; they go through in blocks.

    No weights are kept: the backward pass computes a block's T x T' weights again, in less time than it takes to
    write all of them to memory and read them back. A weight is the exponential of a score, and what a query attends
    to is divided by their sum. With the gradient g divided likewise, a score's gradient is ``e (g v - g attended)``.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, kv: Tensor, mask: Tensor, heads: int, p: float) -> Tensor:
        samples = rows_a_block(len(mask), heads * q.shape[2] * kv.shape[3], q.device)
        scratch = q.new_empty(1 + (p > 0), samples * heads, q.shape[2], kv.shape[3])
        sums, attended = q.new_empty(len(q), q.shape[2]), torch.empty_like(q)
        ctx.softmax, ctx.coins = [], []
        blocks = zip(*split_rows((q, *kv, sums, attended), samples * heads), torch.split(mask, samples), strict=True)
        for q_, k_, v_, sums_, attended_, mask_ in blocks:
            w = scratch[0, : len(q_)]  # (rows, T, T')
            softmax = w.device.type != "cpu"  # on a GPU always, since to look at the sums is to wait for it
            _weigh(q_, k_, mask_, w, softmax)
            if not softmax:
                least, most = torch.aminmax(torch.sum(w, -1, out=sums_))
                softmax = not (least > _RANGE[0] and most < _RANGE[1])
                if softmax:
                    _weigh(q_, k_, mask_, w, softmax)
            if softmax:
                sums_.fill_(1.0)
            ctx.softmax.append(softmax)
            if p > 0:
                ctx.coins.append(dropout_mask(w.shape, p, w))
                w = torch.mul(w, ctx.coins[-1], out=scratch[1, : len(w)])
            torch.bmm(v_, w.transpose(1, 2), out=attended_)
        attended.div_(sums[:, None])
        ctx.save_for_backward(q, kv, mask, sums, attended)
        ctx.samples, ctx.heads = samples, heads
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, kv, mask, sums, attended = ctx.saved_tensors
        rows = ctx.samples * ctx.heads
        gradient = gradient / sums[:, None]
        common = (gradient * attended).sum(1)[:, :, None]  # (B * heads, T, 1)
        by_q, by_kv = torch.empty_like(q), torch.empty_like(kv)
        scratch = q.new_empty(2, rows, q.shape[2], kv.shape[3])
        blocks = zip(
            *split_rows((q, *kv, gradient, common, by_q, *by_kv), rows), torch.split(mask, ctx.samples), strict=True
        )
        for i, (q_, k_, v_, g, common_, by_q_, by_k_, by_v_, mask_) in enumerate(blocks):
            w, s = scratch[:, : len(q_)]
            _weigh(q_, k_, mask_, w, ctx.softmax[i])
            torch.bmm(g, torch.mul(w, ctx.coins[i], out=s) if ctx.coins else w, out=by_v_)
            torch.bmm(g.transpose(1, 2), v_, out=s)
            if ctx.coins:
                s.mul_(ctx.coins[i])
            s.sub_(common_).mul_(w)
            torch.bmm(k_, s.transpose(1, 2), out=by_q_)
            torch.bmm(q_, s, out=by_k_)
        return by_q, by_kv, None, None, None


def _weigh(q: Tensor, k: Tensor, mask: Tensor, out: Tensor, softmax: bool) -> None:
    """Attention weights of some samples' heads, (rows, T, T'), written to `out`.

    Exponentials of the scores, several times as fast as a softmax, which looks for the largest first. Where they would
    leave a float's range, as where there is nothing to attend to, it is a softmax after all.
    """
    torch.bmm(q.transpose(1, 2), k, out=out)
    of_samples = out.view(len(mask), -1, *out.shape[1:])
    if softmax:
        of_samples.add_((1.0 - mask) * _MASKED)
        torch.softmax(out, -1, out=out)
    else:
        out.exp_()
        of_samples.mul_(mask)


def attend(q: Tensor, kv: Tensor, mask: Tensor, *, heads: int, p: float = 0.0) -> Tensor:
    """Multi-head scaled dot-product attention (Vaswani et al., NeurIPS 2017), fast for heads of few numbers.

    First derivatives only.

    Parameters
    ----------
    q : Tensor, shape (B, T, d)
        Queries; the heads' parts lie side by side.
    kv : Tensor, shape (B, T', 2 d)
        Keys, then values.
    mask : Tensor, shape (B, 1, 1 or T, T')
        1 where a query may attend to a key, else 0. Without a single 1 the result is the mean of the values.
    heads : int
    p : float
        Dropout on the attention's weights.

    Returns
    -------
    Tensor, shape (B, T, d)
    """
    samples, _, d = q.shape
    size = d // heads
    q = (q * size**-0.5).view(samples, -1, heads, size).permute(0, 2, 3, 1).flatten(0, 1)  # (B * heads, d_head, T)
    kv = kv.view(samples, -1, 2, heads, size).permute(2, 0, 3, 4, 1).flatten(1, 2)  # (2, B * heads, d_head, T')
    run = cast(Callable[..., Tensor], _Attend.apply)
    attended = run(q.contiguous(), kv.contiguous(), mask, heads, p)
    return attended.view(samples, d, -1).transpose(1, 2)
