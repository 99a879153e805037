"""Network parts that several methods share, and the only place where code is written for speed.

The methods here use tiny networks (heads of four to six numbers), so time goes into the number of operations, not
into arithmetic. Hence :class:`Transformer` runs several Transformers of one shape side by side in batched matrix
products, and :class:`Dropout` spends one random byte a number.

All parts are safe for samples without a single real frame: attention over nothing returns the mean of the values,
never NaN, and pooled or gathered results of such a sample are zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.missing import MODALITIES

PAIRS = tuple((target, source) for target in MODALITIES for source in MODALITIES if source != target)
"""The six directions of cross-modal attention: from which modality (second) to which (first)."""

_MASKED = -1e9  # finite: a row in which all is masked gives a uniform softmax instead of NaN


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


def sinusoidal_positions(num_frames: int, d: int, device: torch.device | None = None) -> Tensor:
    """Position encoding of Vaswani et al. (NeurIPS 2017), shape (T, d), for any d."""
    position = torch.arange(num_frames, device=device, dtype=torch.float32)[:, None]
    half = (d + 1) // 2
    rate = torch.exp(torch.arange(half, device=device, dtype=torch.float32) * (-math.log(10000.0) / half))
    angles = position * rate  # (T, half)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(num_frames, 2 * half)[:, :d]


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout that spends one random byte a number, so p is rounded to a 256th (and the scale with it)."""
    threshold = round(p * 256)
    if not training or threshold == 0:
        return x
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
    words.random_(-(2**63), None)
    kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
    return x * (kept * (256.0 / (256 - threshold)))


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


class StreamLinear(nn.Module):
    """S independent linear layers as one batched product: (S, M, d_in) → (S, M, d_out)."""

    def __init__(self, streams: int, d_in: int, d_out: int) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / (d_in + d_out))  # Glorot and Bengio, AISTATS 2010
        self.weight = nn.Parameter(torch.empty(streams, d_in, d_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(streams, 1, d_out))

    def forward(self, x: Tensor, group: Sequence[int] | slice) -> Tensor:
        """Apply the layers of the streams in `group`, one for each row of `x`."""
        return torch.baddbmm(self.bias[group], x, self.weight[group])


class StreamNorm(nn.Module):
    """S independent layer normalisations: (S, M, d) → (S, M, d)."""

    def __init__(self, streams: int, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams, 1, d))
        self.bias = nn.Parameter(torch.zeros(streams, 1, d))

    def forward(self, x: Tensor, group: Sequence[int] | slice) -> Tensor:
        """Normalise with the streams in `group`."""
        return torch.addcmul(self.bias[group], F.layer_norm(x, x.shape[-1:]), self.weight[group])


class TransformerLayer(nn.Module):
    """Pre-norm attention and feed-forward layer of S streams; queries attend to `memory` where it is given."""

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
        self.relu_dropout = Dropout(relu_dropout)

    def _split_heads(self, x: Tensor, num_samples: int) -> Tensor:
        s, m, width = x.shape
        x = x.view(s * num_samples, m // num_samples, self.heads, width // self.heads)
        return x.transpose(1, 2)  # (S * N, heads, T, d_head)

    def forward(
        self, x: Tensor, memory: Tensor | None, bias: Tensor, num_samples: int, group: Sequence[int] | slice
    ) -> Tensor:
        """One layer.

        Parameters
        ----------
        x : Tensor, shape (S, N * T, d)
        memory : Tensor, shape (S, N * T', d), or None for self-attention
        bias : Tensor, shape (S * N, 1, 1 or T, T')
            Added to the attention scores.
        num_samples : int
            N.
        group : indices of the streams
        """
        d = x.shape[-1]
        queries = self.norm_attention(x, group)
        source = queries if memory is None else self.norm_attention(memory, group)
        q = self._split_heads(self.query(queries, group), num_samples)  # (S * N, heads, T, d_head)
        keys, values = self.key_value(source, group).split(d, dim=-1)
        k = self._split_heads(keys.contiguous(), num_samples)  # (S * N, heads, T', d_head)
        v = self._split_heads(values.contiguous(), num_samples)
        if self.training and self.attention_dropout > 0:
            scores = q * (q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias  # (S * N, heads, T, T')
            attended = dropout(scores.softmax(-1), self.attention_dropout, True) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        attended = attended.transpose(1, 2).reshape(x.shape)
        x = x + self.dropout(self.output(attended, group))
        hidden = self.relu_dropout(self.expand(self.norm_feedforward(x, group), group).relu())
        return x + self.dropout(self.contract(hidden, group))


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
            True where a position may be attended to (self-attention).
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
            group: list[int] | slice = slice(None) if len(members) == len(x) else members
            bias = torch.where(torch.stack([source_mask[s] for s in members]), 0.0, _MASKED)  # (S, N, T')
            bias = bias.flatten(0, 1)[:, None, None, :]  # (S * N, 1, 1, T')
            if causal_offset is not None:
                future = torch.ones(num_queries, num_keys, dtype=torch.bool, device=bias.device).triu(1 + offset)
                bias = bias.masked_fill(future, _MASKED)  # (S * N, 1, T, T')
            h = self._embed([x[s] for s in members])  # (S, N * T, d)
            keys = None if memory is None else self._embed([memory[s] for s in members])
            num_samples = x[members[0]].shape[0]
            for layer in self.layers:
                h = layer(h, keys, bias, num_samples, group)
            h = self.norm(h, group)
            for row, s in enumerate(members):
                results[s] = h[row].view(x[s].shape)
        return results

    def _embed(self, x: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(x))  # (S, N, T, d)
        positions = sinusoidal_positions(stacked.shape[2], stacked.shape[3], stacked.device)
        return self.embedding_dropout(stacked * math.sqrt(stacked.shape[3]) + positions).flatten(1, 2)


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
