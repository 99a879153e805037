"""Multi-head attention that keeps none of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.parts.blocks import rows_a_block, split_rows
from benchmark.parts.dropout import dropout_mask
from benchmark.parts.stacking import folded

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
        # A block is so many samples; its rows are all their heads.
        samples = rows_a_block(len(mask), heads * q.shape[2] * kv.shape[3], q.device)
        # All blocks write over the same weights, so that these stay in the cache; the second set is for dropped ones.
        scratch = q.new_empty(1 + (p > 0), samples * heads, q.shape[2], kv.shape[3])  # (1 or 2, rows, T, T')
        sums, attended = q.new_empty(len(q), q.shape[2]), torch.empty_like(q)  # (B * heads, T), (B * heads, d_head, T)
        ctx.softmax, ctx.coins = [], []  # one entry a block
        blocks = zip(*split_rows((q, *kv, sums, attended), samples * heads), torch.split(mask, samples), strict=True)
        for q_, k_, v_, sums_, attended_, mask_ in blocks:
            w = scratch[0, : len(q_)]  # (rows, T, T')
            softmax = w.device.type != "cpu"  # on a GPU always, since to look at the sums is to wait for it
            _weigh(q_, k_, mask_, w, softmax)
            if not softmax:
                least, most = torch.aminmax(torch.sum(w, -1, out=sums_))  # over the keys: (rows, T, T') → (rows, T)
                softmax = not (least > _RANGE[0] and most < _RANGE[1])  # true of NaN and infinity as well
                if softmax:
                    _weigh(q_, k_, mask_, w, softmax)
            if softmax:
                sums_.fill_(1.0)  # the softmax has divided already
            ctx.softmax.append(softmax)
            # Only now, behind the sums: dropout acts on weights that add up to one before it.
            if p > 0:
                ctx.coins.append(dropout_mask(w.shape, p, w))  # (rows, T, T'); a view of the pool: free to keep
                w = torch.mul(w, ctx.coins[-1], out=scratch[1, : len(w)])
            torch.bmm(v_, w.transpose(1, 2), out=attended_)  # (rows, d_head, T') @ (rows, T', T) → (rows, d_head, T)
        attended.div_(sums[:, None])  # d_head divisions a query instead of T'
        ctx.save_for_backward(q, kv, mask, sums, attended)
        ctx.samples, ctx.heads = samples, heads
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, kv, mask, sums, attended = ctx.saved_tensors
        rows = ctx.samples * ctx.heads
        # With weight e_tu of query t and key u (exp of score s_tu, or softmax), its sum E_t over u, and the coin c_tu:
        # attended_t = sum_u c_tu e_tu v_u / E_t. Below, g_t stands for dL/d attended_t divided by E_t.
        gradient = gradient / sums[:, None]  # g: (B * heads, d_head, T)
        # dL/ds_tu = e_tu (c_tu g_t . v_u - g_t . attended_t); the last part, from E_t, is common to a query's scores.
        common = (gradient * attended).sum(1)[:, :, None]  # (B * heads, T, 1)
        by_q, by_kv = torch.empty_like(q), torch.empty_like(kv)
        scratch = q.new_empty(2, rows, q.shape[2], kv.shape[3])
        blocks = zip(
            *split_rows((q, *kv, gradient, common, by_q, *by_kv), rows), torch.split(mask, ctx.samples), strict=True
        )
        for i, (q_, k_, v_, g, common_, by_q_, by_k_, by_v_, mask_) in enumerate(blocks):
            w, s = scratch[:, : len(q_)]  # (rows, T, T') each: the weights e, and what becomes dL/ds
            _weigh(q_, k_, mask_, w, ctx.softmax[i])  # by the same way as forwards, so the sums still fit
            # dL/dv_u = sum_t c_tu e_tu g_t: (rows, d_head, T) @ (rows, T, T') → (rows, d_head, T')
            torch.bmm(g, torch.mul(w, ctx.coins[i], out=s) if ctx.coins else w, out=by_v_)
            torch.bmm(g.transpose(1, 2), v_, out=s)  # g_t . v_u: (rows, T, d_head) @ (rows, d_head, T') → (rows, T, T')
            if ctx.coins:
                s.mul_(ctx.coins[i])  # c_tu g_t . v_u
            s.sub_(common_).mul_(w)  # dL/ds, zero at masked keys, since their e is
            # s_tu = q_t . k_u, so dL/dq_t = sum_u dL/ds_tu k_u, and dL/dk_u = sum_t dL/ds_tu q_t.
            torch.bmm(k_, s.transpose(1, 2), out=by_q_)  # (rows, d_head, T') @ (rows, T', T) → (rows, d_head, T)
            torch.bmm(q_, s, out=by_k_)  # (rows, d_head, T) @ (rows, T, T') → (rows, d_head, T')
        return by_q, by_kv, None, None, None


def _weigh(q: Tensor, k: Tensor, mask: Tensor, out: Tensor, softmax: bool) -> None:
    """Attention weights of some samples' heads, (rows, T, T'), written to `out`.

    Exponentials of the scores, several times as fast as a softmax, which looks for the largest first. Where they would
    leave a float's range, as where there is nothing to attend to, it is a softmax after all.
    """
    torch.bmm(q.transpose(1, 2), k, out=out)  # scores: (rows, T, d_head) @ (rows, d_head, T') → (rows, T, T')
    of_samples = out.view(len(mask), -1, *out.shape[1:])  # (samples, heads, T, T'), for a mask (samples, 1, 1 or T, T')
    if softmax:
        of_samples.add_((1.0 - mask) * _MASKED)
        torch.softmax(out, -1, out=out)
    else:
        out.exp_()
        of_samples.mul_(mask)  # 0 at masked keys, or NaN where exp was infinite, which the sums bring to light


@folded(0, 0, 0)
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
    if q.device.type == "cuda":
        return dense_attention(q, kv, mask, heads=heads, p=p)
    samples, _, d = q.shape
    size = d // heads
    # (B, T, d) → (B, T, heads, d_head) → (B, heads, d_head, T). Scaling T x d queries spares scaling T x T' scores.
    q = (q * size**-0.5).view(samples, -1, heads, size).permute(0, 2, 3, 1).flatten(0, 1)  # (B * heads, d_head, T)
    # (B, T', 2 d) → (B, T', 2, heads, d_head) → (2, B, heads, d_head, T')
    kv = kv.view(samples, -1, 2, heads, size).permute(2, 0, 3, 4, 1).flatten(1, 2)  # (2, B * heads, d_head, T')
    run = cast(Callable[..., Tensor], _Attend.apply)
    attended = run(q.contiguous(), kv.contiguous(), mask, heads, p)
    return attended.view(samples, d, -1).transpose(1, 2)  # (B * heads, d_head, T) → (B, d, T) → (B, T, d)


def dense_attention(q: Tensor, kv: Tensor, mask: Tensor, *, heads: int, p: float = 0.0) -> Tensor:
    """:func:`attend` by torch's own attention: what a GPU runs, where few large kernels cost least.

    Its coins come from the device's generator, so that nothing waits for the CPU.
    """
    samples, _, d = q.shape
    # (B, T, d) → (B, T, heads, d_head) → (B, heads, T, d_head)
    q = q.view(samples, -1, heads, d // heads).transpose(1, 2)
    # (B, T', 2 d) → (B, T', 2, heads, d_head) → (2, B, heads, T', d_head)
    k, v = kv.view(samples, -1, 2, heads, d // heads).permute(2, 0, 3, 1, 4)
    # A query that may attend to nothing has scores of zero, which give the values' mean, and no gradient. Beside scores
    # of -1e9 the kernels' sums of exponentials would be too coarse, and the values' gradient wrong.
    some = mask.amax(-1, keepdim=True)  # (B, 1, 1 or T, 1): 1 where there is a key
    q, closed = q * some, (1.0 - mask) * some * _MASKED  # the second is added to the scores: (B, 1, 1 or T, T')
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=closed, dropout_p=p)  # (B, heads, T, d_head)
    return attended.transpose(1, 2).flatten(2)  # (B, heads, T, d_head) → (B, T, heads, d_head) → (B, T, d)
