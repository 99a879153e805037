"""Transformers: several of one shape side by side, and MulT's six directions of cross-modal attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from benchmark.parts.attention import attend
from benchmark.parts.dropout import Dropout
from benchmark.parts.feedforward import feed_forward
from benchmark.parts.pooling import filled
from benchmark.parts.sharing import on_device
from benchmark.parts.streams import StreamLinear, StreamNorm, normalise
from benchmark.protocol.missing import MODALITIES

PAIRS = tuple((target, source) for target in MODALITIES for source in MODALITIES if source != target)
"""The six directions of cross-modal attention: from which modality (second) to which (first)."""


def sinusoidal_positions(num_frames: int, d: int, device: torch.device | None = None) -> Tensor:
    """Position encoding of Vaswani et al. (NeurIPS 2017), shape (T, d), for any d."""
    position = torch.arange(num_frames, device=device, dtype=torch.float32)[:, None]  # (T, 1)
    half = (d + 1) // 2  # pairs of sine and cosine; of the last pair an odd d keeps the sine
    # 10000^(-i / half) for pair i, (half,)
    rate = torch.exp(torch.arange(half, device=device, dtype=torch.float32) * (-math.log(10000.0) / half))
    angles = position * rate  # (T, half)
    # Sine and cosine of a rate side by side: (T, half, 2) → (T, 2 half) → (T, d)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(num_frames, 2 * half)[:, :d]


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
        # All streams' projections are one product, with the normalisation's scale and shift folded into it.
        if memory is None:
            qkv = self.norm_attention.then([self.query, self.key_value], normalise(x), group)  # (S, N * T, 3 d)
            q, kv = torch.split(qkv, [d, 2 * d], -1)  # (S, N * T, d), (S, N * T, 2 d)
        else:
            q = self.norm_attention.then([self.query], normalise(x), group)  # (S, N * T, d)
            kv = self.norm_attention.then([self.key_value], memory, group)  # (S, N * T', 2 d)
        # Attention has no parameters, so streams are to it but more samples: (S, N * T, d) → (S * N, T, d).
        samples = streams * num_samples
        p = self.attention_dropout if self.training else 0.0
        attended = attend(q.reshape(samples, -1, d), kv.reshape(samples, -1, 2 * d), mask, heads=self.heads, p=p)
        x = x + self.dropout(self.output(attended.reshape(x.shape), group))  # (S * N, T, d) → (S, N * T, d)
        expand = self.norm_feedforward.before([self.expand], group)  # (S, d, width), (S, 1, width), scale and shift in
        contract = (self.contract.weight[group], self.contract.bias[group])  # (S, width, d), (S, 1, d)
        p = self.relu_dropout if self.training else 0.0
        return x + self.dropout(feed_forward(normalise(x), *expand, *contract, p=p))


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
    scaled : bool
        Whether inputs are multiplied by sqrt(d) before positions are added, as Vaswani et al. do.
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
        scaled: bool = True,
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
        self.scale = math.sqrt(d) if scaled else 1.0

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
        source_mask = mask if memory is None or memory_mask is None else memory_mask  # of what is attended to
        # Only streams of equal shapes fit into one product. With modalities of equal length that is all of them.
        groups: dict[tuple[int, ...], list[int]] = {}
        for s in range(len(x)):
            offset = -1 if causal_offset is None else causal_offset[s]
            groups.setdefault((x[s].shape[1], source_mask[s].shape[1], offset), []).append(s)
        results: list[Tensor] = [x[0]] * len(x)  # places, filled group by group
        for (num_queries, num_keys, offset), members in groups.items():
            # A slice of the parameters is a view; indices, for some streams only, copy them in every layer.
            everyone = len(members) == len(x)
            group: Tensor | slice = slice(None) if everyone else on_device(members, x[0].device)
            open_to = torch.stack([filled(source_mask[s]) for s in members]).to(x[0].dtype)  # (S, N, T')
            open_to = open_to.flatten(0, 1)[:, None, None, :]  # (S * N, 1, 1, T')
            # With real frames first and an offset of at least 0, position 0 stays open to every query.
            if causal_offset is not None:
                open_to = open_to * open_to.new_ones(num_queries, num_keys).tril(offset)  # (S * N, 1, T, T')
            h = self._embed([x[s] for s in members])  # (S, N * T, d)
            source = None
            if memory is not None:  # normalised once, since all layers read the same
                source = normalise(self._embed([memory[s] for s in members]))  # (S, N * T', d)
            num_samples = x[members[0]].shape[0]
            for layer in self.layers:
                h = layer(h, source, open_to, num_samples, group)
            h = self.norm(h, group)  # nothing before it has normalised the layers' sum
            for row, s in enumerate(members):
                results[s] = h[row].view(x[s].shape)  # (N * T, d) → (N, T, d)
        return results

    def _embed(self, x: Sequence[Tensor]) -> Tensor:
        stacked = torch.stack(list(x))  # (S, N, T, d)
        positions = sinusoidal_positions(stacked.shape[2], stacked.shape[3], stacked.device)
        # (S, N, T, d) + (T, d) → (S, N * T, d)
        return self.embedding_dropout(stacked * self.scale + positions).flatten(1, 2)


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
    # The two pairs of a target follow each other in `PAIRS`: 2 x (N, T_m, d) → (N, T_m, 2 d).
    return {m: torch.cat(crossed[2 * i : 2 * i + 2], dim=-1) for i, m in enumerate(MODALITIES)}
