"""Network parts that several methods share, and the only place where code is written for speed.

The methods here use tiny networks (heads of four to six numbers, sequences of fifty frames), so time goes into the
number of operations and into memory that is written and read again, not into arithmetic. Hence:

- :class:`Transformer` runs several Transformers of one shape side by side in batched matrix products. The scale and
  shift of a normalisation are folded into the weights of the product behind it.
- :func:`attend` lays heads out with time innermost, since products with a result four numbers wide are several times
  slower than those with one four numbers high, and keeps none of its T x T' weights for the backward pass.
- :func:`feed_forward` keeps nothing of what lies between its two layers either: both compute it again, block by block,
  in less time than memory takes to hold it.
- :func:`dropout` takes its coins from a stretch of a fixed pool that starts at a random place: the one random number
  it draws decides all.
- :func:`run_grus` steps through both directions of several GRUs at once.

All parts are safe for samples without a single real frame: a Transformer attends to the first position, whatever the
padding behind it, and pooled or gathered results of such a sample are zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.method import Batch
from benchmark.missing import MODALITIES

PAIRS = tuple((target, source) for target in MODALITIES for source in MODALITIES if source != target)
"""The six directions of cross-modal attention: from which modality (second) to which (first)."""

_MASKED = -1e9  # added to a score; finite: a row in which all is masked gives a uniform softmax instead of NaN
_PLACES = 2**18  # where a dropout mask may start in the pool
_RANGE = (1e-20, 1e20)  # sums of exponentials that leave room for their parts
_BLOCK = 2**17  # attention weights, or hidden units' values, worked on at a time: half a MiB stays in the cache
_BLOCK_OF_A_GPU = 2**26  # there each block costs a dozen calls, and 256 MiB are little


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the frames where `mask` is True; zero where there are none.

    Parameters
    ----------
    x : Tensor, shape (..., T, d)
    mask : bool Tensor, shape (..., T)

    Returns
    -------
    Tensor, shape (..., d)
    """
    weights = mask.to(x.dtype)
    total = (weights.unsqueeze(-2) @ x).squeeze(-2)  # (..., d)
    return total / weights.sum(-1, keepdim=True).clamp(min=1.0)


def filled(frames: Tensor) -> Tensor:
    """Real frames (N, T), where a sample without one counts as one (zero) frame; for packing and attention."""
    first = torch.arange(frames.shape[1], device=frames.device) == 0
    return frames | (first & ~frames.any(1, keepdim=True))


def last_frame(x: Tensor, mask: Tensor) -> Tensor:
    """The last real frame of each sample; zero where there is none.

    Parameters
    ----------
    x : Tensor, shape (N, T, d)
    mask : bool Tensor, shape (N, T)
        Real frames, which come first.

    Returns
    -------
    Tensor, shape (N, d)
    """
    lengths = mask.sum(1)  # (N,)
    index = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, x.shape[-1])  # (N, 1, d)
    return x.gather(1, index).squeeze(1) * (lengths > 0).to(x.dtype)[:, None]


def encode_distinct(encoder: Callable[[Tensor, Tensor], Tensor], batch: Batch, modality: str) -> Tensor:
    """A modality's encoding, computed once for what stands in the batch several times.

    A batch that is tested holds each sample in many settings, and in several of them the same frames of a modality are
    there. For encoders that take longer than the search for such rows.

    Parameters
    ----------
    encoder : callable
        Features (N, T_m, d_m) and real frames (N, T_m) → (N, ...), row by row.
    batch : Batch
    modality : str

    Returns
    -------
    Tensor, shape (N, ...)
    """
    features, frames = batch.features[modality], batch.frames[modality]
    if len(set(batch.ids)) == len(batch):
        return encoder(features, frames)
    first: dict[tuple[str, bytes], int] = {}
    rows = zip(batch.ids, batch.present[modality].cpu().numpy(), strict=True)
    same = [first.setdefault((sample_id, present.tobytes()), row) for row, (sample_id, present) in enumerate(rows)]
    places = {row: place for place, row in enumerate(first.values())}
    distinct = on_device(list(places), features.device)
    encoded = encoder(features[distinct], frames[distinct])
    return encoded[on_device([places[row] for row in same], features.device)]


def on_device(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Whole numbers as a tensor on a device, which is not waited for."""
    return torch.tensor(numbers, dtype=torch.int64).to(device, non_blocking=True)


class Remembered:
    """What a frozen network says of every training sample, computed once.

    Parameters
    ----------
    network : callable
        A batch → tensors with N rows each.
    training_set : iterable of Batch
        Nothing by default: then there is nothing to ask for.
    """

    def __init__(
        self,
        network: Callable[[Batch], tuple[Tensor, ...]] = lambda batch: (),
        training_set: Iterable[Batch] = (),
    ) -> None:
        batches = list(training_set)
        self.outputs = [torch.cat(parts) for parts in zip(*map(network, batches), strict=True)]
        ids = [sample_id for batch in batches for sample_id in batch.ids]
        self.rows = {sample_id: row for row, sample_id in enumerate(ids)}

    def of(self, batch: Batch) -> list[Tensor]:
        """The tensors' rows of a batch's samples.

        Raises
        ------
        RuntimeError
            If nothing is remembered yet.
        """
        if not self.rows:
            raise RuntimeError("the frozen network's outputs are computed when the stage that needs them starts")
        rows = on_device([self.rows[i] for i in batch.ids], batch.device)
        return [output[rows] for output in self.outputs]


def sinusoidal_positions(num_frames: int, d: int, device: torch.device | None = None) -> Tensor:
    """Position encoding of Vaswani et al. (NeurIPS 2017), shape (T, d), for any d."""
    position = torch.arange(num_frames, device=device, dtype=torch.float32)[:, None]
    half = (d + 1) // 2
    rate = torch.exp(torch.arange(half, device=device, dtype=torch.float32) * (-math.log(10000.0) / half))
    angles = position * rate  # (T, half)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(num_frames, 2 * half)[:, :d]


@lru_cache(maxsize=8)
def _coins(p: float, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coins thrown once and for all: 0 with chance p, else 1 / (1 - p). A longer pool begins like a shorter one."""
    words = torch.empty(count, dtype=torch.int32).random_(generator=torch.Generator().manual_seed(20240616))
    return ((words >= p * 2**31) * (1.0 / (1.0 - p))).to(device, dtype)


def dropout_mask(shape: Sequence[int], p: float, like: Tensor) -> Tensor:
    """What dropout multiplies with: 0 with chance p, else 1 / (1 - p); not to be written to.

    A stretch of a fixed pool of coins that starts at one of 2^18 places, drawn from torch's global generator of the
    CPU. Any one coin, any two of a mask, and masks drawn one after another are independent for all that training
    can tell; nothing is drawn on the device, and nothing waits for it.

    Parameters
    ----------
    shape : sequence of int
    p : float
        In [0, 1).
    like : Tensor
        Its type and device are the mask's.
    """
    count = math.prod(shape)
    pool = _coins(p, _PLACES + 2 ** max(18, (count - 1).bit_length()), like.dtype, like.device)
    start = int(torch.randint(_PLACES, ()))
    return pool[start : start + count].view(tuple(shape))


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout by :func:`dropout_mask`; `x` itself where there is nothing to drop."""
    return x * dropout_mask(x.shape, p, x) if training and p > 0 else x


class Dropout(nn.Module):
    """Module form of :func:`dropout`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout p={p!r} is outside [0, 1)")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return dropout(x, self.p, self.training)


def orthogonal_recurrence_(module: nn.Module) -> None:
    """Start the recurrent weights of all LSTMs and GRUs in a module as orthogonal matrices, in place."""
    for name, parameter in module.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(parameter)


class TemporalConv(nn.Module):
    """1-D convolution over time that keeps the number of frames: (N, T, d_in) → (N, T, d_out).

    Frames beyond either end count as zero vectors, exactly as padding does, so the result for a real frame does not
    depend on how far its batch is padded.
    """

    def __init__(self, d_in: int, d_out: int, *, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(d_in, d_out, kernel, padding="same", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, d_in) → (N, T, d_out)."""
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class _Attend(torch.autograd.Function):
    """See :func:`attend`. Heads are (B * heads, d_head, T), time innermost; they go through in blocks.

    No weights are kept: the backward pass computes a block's T x T' weights again, in less time than it takes to
    write all of them to memory and read them back. A weight is the exponential of a score, and what a query attends
    to is divided by their sum. With the gradient g divided likewise, a score's gradient is ``e (g v - g attended)``.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, kv: Tensor, mask: Tensor, heads: int, p: float) -> Tensor:
        samples = _rows_a_block(len(mask), heads * q.shape[2] * kv.shape[3], q.device)
        scratch = q.new_empty(1 + (p > 0), samples * heads, q.shape[2], kv.shape[3])
        sums, attended = q.new_empty(len(q), q.shape[2]), torch.empty_like(q)
        ctx.softmax, ctx.coins = [], []
        blocks = zip(*_split((q, *kv, sums, attended), samples * heads), torch.split(mask, samples), strict=True)
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
            *_split((q, *kv, gradient, common, by_q, *by_kv), rows), torch.split(mask, ctx.samples), strict=True
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


def _rows_a_block(rows: int, numbers_a_row: int, device: torch.device) -> int:
    numbers = _BLOCK if device.type == "cpu" else _BLOCK_OF_A_GPU
    return max(1, min(rows, numbers // numbers_a_row))


def _split(tensors: Iterable[Tensor], rows: int) -> list[Sequence[Tensor]]:
    return [torch.split(tensor, rows) for tensor in tensors]


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


class _FeedForward(torch.autograd.Function):
    """Two linear layers of S streams with ReLU and dropout between: (S, M, d) → (S, M, d_out).

    Rows go through in blocks; what lies between the layers stays in the cache and is computed again backwards.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, expand: Tensor, shift: Tensor, contract: Tensor, out: Tensor, p: float) -> Tensor:
        streams, _, width = expand.shape
        ctx.rows = _rows_a_block(x.shape[1], streams * width, x.device)
        result = x.new_empty(streams, x.shape[1], contract.shape[2])
        scratch = x.new_empty(streams, ctx.rows, width)
        ctx.masks = []
        for part, y in zip(torch.split(x, ctx.rows, 1), torch.split(result, ctx.rows, 1), strict=True):
            hidden = scratch[:, : part.shape[1]]
            ctx.masks.append(dropout_mask(hidden.shape, p, x) if p > 0 else None)
            torch.baddbmm(out, _hidden(part, expand, shift, ctx.masks[-1], hidden), contract, out=y)
        ctx.save_for_backward(x, expand, shift, contract)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, expand, shift, contract = ctx.saved_tensors
        by_x, by_expand, by_shift, by_contract = map(torch.zeros_like, (x, expand, shift, contract))
        scratch = x.new_empty(2, len(x), ctx.rows, expand.shape[2])
        parts = (torch.split(tensor, ctx.rows, 1) for tensor in (x, gradient, by_x))
        for part, g, by_part, mask in zip(*parts, ctx.masks, strict=True):
            hidden, by_hidden = scratch[:, :, : part.shape[1]]
            _hidden(part, expand, shift, mask, hidden)
            torch.baddbmm(by_contract, hidden.transpose(1, 2), g, out=by_contract)
            torch.bmm(g, contract.transpose(1, 2), out=by_hidden)
            torch.ops.aten.threshold_backward(by_hidden, hidden, 0, grad_input=by_hidden)
            if mask is not None:
                by_hidden.mul_(mask)
            torch.baddbmm(by_expand, part.transpose(1, 2), by_hidden, out=by_expand)
            by_shift += by_hidden.sum(1, keepdim=True)
            torch.bmm(by_hidden, expand.transpose(1, 2), out=by_part)
        return by_x, by_expand, by_shift, by_contract, gradient.sum(1, keepdim=True), None


def _hidden(x: Tensor, expand: Tensor, shift: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
    torch.baddbmm(shift, x, expand, out=out).relu_()
    return out if mask is None else out.mul_(mask)


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


class StreamLinear(nn.Module):
    """S independent linear layers as one batched product: (S, M, d_in) → (S, M, d_out)."""

    def __init__(self, streams: int, d_in: int, d_out: int) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / (d_in + d_out))  # Glorot and Bengio, AISTATS 2010
        self.weight = nn.Parameter(torch.empty(streams, d_in, d_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(streams, 1, d_out))

    def forward(self, x: Tensor, group: Tensor | slice) -> Tensor:
        """Apply the layers of the streams in `group`, one for each row of `x`."""
        return torch.baddbmm(self.bias[group], x, self.weight[group])


class StreamNorm(nn.Module):
    """S independent layer normalisations: (S, M, d) → (S, M, d)."""

    def __init__(self, streams: int, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams, 1, d))
        self.bias = nn.Parameter(torch.zeros(streams, 1, d))

    def forward(self, x: Tensor, group: Tensor | slice) -> Tensor:
        """Normalise with the streams in `group`."""
        return torch.addcmul(self.bias[group], _normalise(x), self.weight[group])

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
        return torch.baddbmm(bias, z, weight)

    def before(self, layers: Sequence[StreamLinear], group: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Weight, (S, d, sum of d_out), and bias, (S, 1, sum of d_out), of that product."""
        weight = torch.cat([layer.weight[group] for layer in layers], -1)
        bias = torch.cat([layer.bias[group] for layer in layers], -1)
        bias = torch.baddbmm(bias, self.bias[group], weight)
        return self.weight[group].transpose(1, 2) * weight, bias


def _normalise(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


class TransformerLayer(nn.Module):
    """Pre-norm attention and feed-forward layer of S streams."""

    def __init__(
        self,
        streams: int,
        d: int,
        *,
        heads: int,
        feedforward: int,
        dropout: float,
        attention_dropout: float,
        relu_dropout: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.norm_attention = StreamNorm(streams, d)
        self.query = StreamLinear(streams, d, d)
        self.key_value = StreamLinear(streams, d, 2 * d)
        self.output = StreamLinear(streams, d, d)
        self.norm_feedforward = StreamNorm(streams, d)
        self.expand = StreamLinear(streams, d, feedforward)
        self.contract = StreamLinear(streams, feedforward, d)
        self.dropout = Dropout(dropout)
        self.relu_dropout = relu_dropout

    def forward(
        self, x: Tensor, memory: Tensor | None, mask: Tensor, num_samples: int, group: Tensor | slice
    ) -> Tensor:
        """One layer.

        Parameters
        ----------
        x : Tensor, shape (S, N * T, d)
        memory : Tensor, shape (S, N * T', d), or None for self-attention
            Normalised already, but for scale and shift.
        mask : Tensor, shape (S * N, 1, 1 or T, T')
            1 where a position may be attended to, else 0.
        num_samples : int
            N.
        group : indices of the streams
        """
        streams, _, d = x.shape
        if memory is None:
            qkv = self.norm_attention.then([self.query, self.key_value], _normalise(x), group)
            q, kv = torch.split(qkv, [d, 2 * d], -1)
        else:
            q = self.norm_attention.then([self.query], _normalise(x), group)
            kv = self.norm_attention.then([self.key_value], memory, group)
        samples = streams * num_samples
        p = self.attention_dropout if self.training else 0.0
        attended = attend(q.reshape(samples, -1, d), kv.reshape(samples, -1, 2 * d), mask, heads=self.heads, p=p)
        x = x + self.dropout(self.output(attended.reshape(x.shape), group))
        expand = self.norm_feedforward.before([self.expand], group)
        contract = (self.contract.weight[group], self.contract.bias[group])
        p = self.relu_dropout if self.training else 0.0
        return x + self.dropout(feed_forward(_normalise(x), *expand, *contract, p=p))


class Transformer(nn.Module):
    """S Transformer encoders of the same shape, side by side, each with its own parameters.

    Pre-norm layers (as in MulT's and fairseq's encoders), inputs scaled by sqrt(d) with sinusoidal positions added,
    one layer normalisation at the end. With `memory`, each stream is a cross-modal Transformer (Tsai et al., ACL
    2019): queries from `x`, keys and values from `memory`, which the layers share.

    Parameters
    ----------
    streams : int
        S.
    d : int
        Width; a multiple of `heads`.
    heads, layers : int
    feedforward : int, optional
        Width of the feed-forward part; 4 d by default.
    dropout, attention_dropout, relu_dropout, embedding_dropout : float
    """

    def __init__(
        self,
        streams: int,
        d: int,
        *,
        heads: int,
        layers: int,
        feedforward: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        relu_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"width d={d} is no multiple of heads={heads}")
        self.layers = nn.ModuleList(
            TransformerLayer(
                streams,
                d,
                heads=heads,
                feedforward=feedforward or 4 * d,
                dropout=dropout,
                attention_dropout=attention_dropout,
                relu_dropout=relu_dropout,
            )
            for _ in range(layers)
        )
        self.norm = StreamNorm(streams, d)
        self.embedding_dropout = Dropout(embedding_dropout)

    def forward(
        self,
        x: Sequence[Tensor],
        mask: Sequence[Tensor],
        memory: Sequence[Tensor] | None = None,
        memory_mask: Sequence[Tensor] | None = None,
        causal_offset: Sequence[int] | None = None,
    ) -> list[Tensor]:
        """Run the streams; those whose inputs have equal shapes run as one.

        Parameters
        ----------
        x : S Tensors, shape (N, T_s, d)
        mask : S bool Tensors, shape (N, T_s)
            True where a position may be attended to (self-attention); the first one where there is none.
        memory : S Tensors, shape (N, T'_s, d), optional
        memory_mask : S bool Tensors, shape (N, T'_s)
            The same for `memory`.
        causal_offset : S ints, optional
            If given, position t of stream s attends to positions up to t + offset only.

        Returns
        -------
        list of S Tensors, shape (N, T_s, d)
        """
        source_mask = mask if memory is None or memory_mask is None else memory_mask
        groups: dict[tuple[int, ...], list[int]] = {}
        for s in range(len(x)):
            offset = -1 if causal_offset is None else causal_offset[s]
            groups.setdefault((x[s].shape[1], source_mask[s].shape[1], offset), []).append(s)
        results: list[Tensor] = [x[0]] * len(x)
        for (num_queries, num_keys, offset), members in groups.items():
            everyone = len(members) == len(x)
            group: Tensor | slice = slice(None) if everyone else on_device(members, x[0].device)
            open_to = torch.stack([filled(source_mask[s]) for s in members]).to(x[0].dtype)  # (S, N, T')
            open_to = open_to.flatten(0, 1)[:, None, None, :]  # (S * N, 1, 1, T')
            if causal_offset is not None:
                open_to = open_to * open_to.new_ones(num_queries, num_keys).tril(offset)  # (S * N, 1, T, T')
            h = self._embed([x[s] for s in members])  # (S, N * T, d)
            source = None
            if memory is not None:  # normalised once, since all layers read the same
                source = _normalise(self._embed([memory[s] for s in members]))
            num_samples = x[members[0]].shape[0]
            for layer in self.layers:
                h = layer(h, source, open_to, num_samples, group)
            h = self.norm(h, group)
            for row, s in enumerate(members):
                results[s] = h[row].view(x[s].shape)
        return results

    def _embed(self, x: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(x))  # (S, N, T, d)
        positions = sinusoidal_positions(stacked.shape[2], stacked.shape[3], stacked.device)
        return self.embedding_dropout(stacked * math.sqrt(stacked.shape[3]) + positions).flatten(1, 2)


class _Scan(torch.autograd.Function):
    """The steps of S GRUs of one width side by side: h' = n + z (h - n) with n = tanh(gates_n + r (h W_n + b_n)).

    Gradients of the recurrent weights are one product over all steps, after them.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        steps, streams, samples, _ = gates.shape
        h = weight.shape[1]
        hidden = gates.new_zeros(steps + 1, streams, samples, h)  # from the zero state on
        rz, n, recurrent = gates.clone(), gates.new_empty(steps, streams, samples, h), torch.empty_like(gates)
        for t in range(steps):
            torch.baddbmm(bias, hidden[t], weight, out=recurrent[t])
            r_z = rz[t, ..., : 2 * h].add_(recurrent[t, ..., : 2 * h]).sigmoid_()
            torch.addcmul(gates[t, ..., 2 * h :], r_z[..., :h], recurrent[t, ..., 2 * h :], out=n[t]).tanh_()
            torch.lerp(n[t], hidden[t], r_z[..., h:], out=hidden[t + 1])
        ctx.save_for_backward(weight, hidden, rz, n, recurrent)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        weight, hidden, rz, n, recurrent = ctx.saved_tensors
        h = weight.shape[1]
        r, z = rz[..., :h], rz[..., h : 2 * h]
        # What does not depend on later steps' gradients is done for all steps at once.
        to_n = (1 - z) * (1 - n * n)
        to_z = (hidden[:-1] - n) * (z * (1 - z))
        to_r = recurrent[..., 2 * h :] * (r * (1 - r))
        by_gates, by_recurrent = torch.empty_like(rz), torch.empty_like(rz)
        backwards = weight.transpose(1, 2)
        carried = torch.zeros_like(gradient[0])
        for t in range(len(gradient) - 1, -1, -1):
            carried += gradient[t]
            by_n = torch.mul(carried, to_n[t], out=by_gates[t, ..., 2 * h :])
            torch.mul(by_n, r[t], out=by_recurrent[t, ..., 2 * h :])
            torch.mul(by_n, to_r[t], out=by_recurrent[t, ..., :h])
            torch.mul(carried, to_z[t], out=by_recurrent[t, ..., h : 2 * h])
            carried = torch.baddbmm(carried * z[t], by_recurrent[t], backwards)
        by_gates[..., : 2 * h] = by_recurrent[..., : 2 * h]
        before, g = (x.transpose(0, 1).flatten(1, 2) for x in (hidden[:-1], by_recurrent))  # (S, T * N, ...)
        return by_gates, before.transpose(1, 2) @ g, g.sum(1, keepdim=True)


def run_grus(networks: Sequence[nn.GRU], x: Sequence[Tensor], lengths: Sequence[Tensor]) -> list[Tensor]:
    """Bidirectional GRUs, one stream each, stepped through side by side: what torch gives for packed input.

    Both directions of all streams are one batched product a step. Streams of unequal width are padded with units that
    stay zero, streams of unequal length with frames that nothing sees. (For an LSTM, torch's own is as fast.)

    Parameters
    ----------
    networks : S nn.GRU
        Bidirectional, with biases, without dropout or a state to begin with; all of as many layers.
    x : S Tensors, shape (N, T_s, d_s)
    lengths : S int64 Tensors, shape (N,)
        How many frames of each sample to run over; at least 1.

    Returns
    -------
    list of S Tensors, shape (N, T_s, 2 H_s)
        Forward states, then backward states, of the last layer; zero behind a sample's length.
    """
    widest = max(network.hidden_size for network in networks)
    longest = max(part.shape[1] for part in x)
    time = torch.arange(longest, device=x[0].device)
    real = [time[: part.shape[1]] < length[:, None] for part, length in zip(x, lengths, strict=True)]  # S x (N, T_s)
    mirrored = [  # for the backward direction: frames of a sample in reverse order, what lies behind stays
        torch.where(mask, length[:, None] - 1 - time[: mask.shape[1]], time[: mask.shape[1]])[:, :, None]
        for mask, length in zip(real, lengths, strict=True)
    ]
    outputs = list(x)
    for layer in range(networks[0].num_layers):
        gates, weights, biases = [], [], []
        for network, part, flipped in zip(networks, outputs, mirrored, strict=True):
            for direction in ("", "_reverse"):
                w_x, w_h, b_x, b_h = (
                    getattr(network, f"{name}_l{layer}{direction}")
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                )
                projected = F.linear(part, w_x, b_x)  # (N, T_s, gates * H_s)
                if direction:
                    projected = projected.gather(1, flipped.expand_as(projected))
                missing = widest - network.hidden_size
                gates.append(_widen(projected, network.hidden_size, missing, longest - part.shape[1]))
                weights.append(F.pad(_widen(w_h.T[None], network.hidden_size, missing, 0)[0], (0, 0, 0, missing)))
                biases.append(_widen(b_h[None, None], network.hidden_size, missing, 0)[0])
        stacked = torch.stack(gates).permute(2, 0, 1, 3).contiguous()  # (T, 2 S, N, gates * H)
        scan = cast(Callable[..., Tensor], _Scan.apply)
        hidden = scan(stacked, torch.stack(weights), torch.stack(biases))  # (T, 2 S, N, H)
        for s, (network, flipped) in enumerate(zip(networks, mirrored, strict=True)):
            forward, backward = hidden[: flipped.shape[1], 2 * s : 2 * s + 2, :, : network.hidden_size].unbind(1)
            backward = backward.transpose(0, 1)  # (N, T_s, H_s)
            both = torch.cat([forward.transpose(0, 1), backward.gather(1, flipped.expand_as(backward))], -1)
            outputs[s] = both * real[s][:, :, None]
    return outputs


def _widen(x: Tensor, width: int, by: int, frames: int) -> Tensor:
    """Zeros for `by` more units in each gate, and for `frames` more frames: (N, T, gates * width) to wider."""
    if by == 0 and frames == 0:
        return x
    n, t, _ = x.shape
    return F.pad(x.reshape(n, t, -1, width), (0, by, 0, 0, 0, frames)).reshape(n, t + frames, -1)


def attend_across(
    crossmodal: Transformer, x: Mapping[str, Tensor], frames: Mapping[str, Tensor], max_frames: Mapping[str, int]
) -> dict[str, Tensor]:
    """MulT's six directed cross-modal Transformers: each modality attends to each of the two others.

    Attention is causal. Between modalities of unequal length the official mask is shifted by their difference; it is
    taken from the task, not from the batch, so that a sample's result does not depend on its neighbours.

    Parameters
    ----------
    crossmodal : Transformer
        Six streams, in the order of `PAIRS`.
    x : mapping of modality to Tensor, shape (N, T_m, d)
    frames : mapping of modality to bool Tensor, shape (N, T_m)
        Which frames may be attended to.
    max_frames : mapping of modality to int
        The task's.

    Returns
    -------
    dict of modality to Tensor, shape (N, T_m, 2 d)
        What it got from the two others, side by side in the order of `PAIRS`.

    References
    ----------
    Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences", ACL 2019.
    """
    crossed = crossmodal(
        [x[target] for target, _ in PAIRS],
        [frames[target] for target, _ in PAIRS],
        [x[source] for _, source in PAIRS],
        [frames[source] for _, source in PAIRS],
        causal_offset=[abs(max_frames[target] - max_frames[source]) for target, source in PAIRS],
    )  # 6 x (N, T_target, d)
    return {m: torch.cat(crossed[2 * i : 2 * i + 2], dim=-1) for i, m in enumerate(MODALITIES)}
