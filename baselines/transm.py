"""TransModality: An End2End Fusion Method with Transformer for Multimodal Sentiment Analysis.

Paper: Wang, Wan and Wan, The Web Conference (WWW) 2020. Sizes and structure are those of the official code (a copy of
the first author's: hyeonJeongByeon/TransModality at d4384fa); how we differ is listed in ``cards/transm.yaml``.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, Rate, TaskSpec, register
from benchmark.parts.attention import attend
from benchmark.parts.dropout import Dropout, dropout_mask
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.pooling import filled, masked_mean
from benchmark.parts.streams import StreamLinear
from benchmark.parts.transformer import sinusoidal_positions

OTHERS = ("v", "a")
"""Each has a chain of its own: language → that modality → language."""


def absolute_error(found: Tensor, target: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute error over the real frames' numbers; (N, T, d) twice and (N, T) → scalar, zero without frames."""
    error = (found - target).abs().sum(-1) * frames  # (N, T)
    return error.sum() / (frames.sum() * target.shape[-1]).clamp(min=1)


def dense(d_in: int, d_out: int) -> nn.Linear:
    """A linear layer that starts as Glorot and Bengio (AISTATS 2010) say, with a bias of zero, as in Keras."""
    layer = nn.Linear(d_in, d_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class BidirectionalGRU(nn.Module):
    """A GRU in both directions, with dropout on the state that it carries: (N, T, d_in) → (N, T, 2 units).

    The reset gate acts on the state before its product, as in Cho et al. (EMNLP 2014), and a sample keeps one dropout
    mask over all frames, as in Gal and Ghahramani (NeurIPS 2016). The state waits where a frame is masked.
    """

    def __init__(self, d_in: int, units: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.input = StreamLinear(2, d_in, 3 * units)  # a stream a direction
        self.gates = nn.Parameter(torch.empty(2, units, 2 * units))
        self.candidate = nn.Parameter(torch.empty(2, units, units))
        for direction in range(2):  # one orthogonal matrix for all that the state is multiplied with
            start = nn.init.orthogonal_(torch.empty(units, 3 * units))
            self.gates.data[direction], self.candidate.data[direction] = start[:, : 2 * units], start[:, 2 * units :]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, T, d_in), and (N, T) True where a frame counts, → (N, T, 2 units)."""
        (n, t, d_in), units = x.shape, self.candidate.shape[1]
        both = torch.stack([x, x.flip(1)])  # (2, N, T, d_in): forwards and backwards
        state = x.new_zeros(2, n, units)
        kept = torch.ones_like(state)
        if self.training and self.dropout > 0:
            both = both * dropout_mask((2, n, 1, d_in), self.dropout, x)
            kept = dropout_mask(state.shape, self.dropout, x)
        # (2, N * T, 3 units) → T x (2, N, 3 units)
        inputs = self.input(both.flatten(1, 2), slice(None)).view(2, n, t, -1).unbind(2)
        counts = torch.stack([mask, mask.flip(1)])[..., None].unbind(2)  # T x (2, N, 1)
        states = []
        for step, now in zip(inputs, counts, strict=True):
            before = state * kept
            to_gates, to_candidate = step.split([2 * units, units], -1)
            update, reset = (to_gates + before @ self.gates).sigmoid().chunk(2, -1)  # (2, N, units) each
            candidate = (to_candidate + (reset * before) @ self.candidate).tanh()
            state = torch.where(now, update * state + (1 - update) * candidate, state)
            states.append(state)
        forwards, backwards = torch.stack(states, 2).unbind(0)  # (N, T, units) each
        return torch.cat([forwards, backwards.flip(1)], -1)


class Attention(nn.Module):
    """Multi-head attention with a ReLU behind each of its four projections."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (dense(d, d) for _ in range(4))

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """(N, T, d) attends to (N, T', d) where (N, T') is True: (N, T, d)."""
        kv = torch.cat([self.key(source), self.value(source)], -1).relu()  # (N, T', 2 d)
        open_to = mask[:, None, None, :].to(x.dtype)  # (N, 1, 1, T')
        return self.output(attend(self.query(x).relu(), kv, open_to, heads=self.heads)).relu()


def with_positions(x: Tensor) -> Tensor:
    """Sines and cosines added, without a factor: (N, T, d) → (N, T, d)."""
    return x + sinusoidal_positions(x.shape[1], x.shape[2], x.device)


class Layer(nn.Module):
    """Self-attention, in a decoder attention to a memory, and a feed-forward part: each added, then normalised."""

    def __init__(self, d: int, *, heads: int, feedforward: int, dropout: float, decodes: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(Attention(d, heads) for _ in range(1 + decodes))
        self.feedforward = nn.Sequential(dense(d, feedforward), nn.ReLU(), dense(feedforward, d))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2 + decodes))
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """(N, T, d) with (N, T), and a decoder's memory (N, T', d) with (N, T') → (N, T, d)."""
        own, *across = self.attentions
        x = self.norms[0](x + self.dropout(own(x, x, mask)))
        for attention in across:
            x = self.norms[1](x + self.dropout(attention(x, memory, memory_mask)))
        return self.norms[-1](x + self.dropout(self.feedforward(x)))


class Chain(nn.Module):
    """Two Transformers in a row: from language to another modality, and from there back to language.

    The second encoder reads the states of the first decoder: what it says of the other modality has met language.
    """

    def __init__(self, d: int, *, heads: int, encoders: int, decoders: int, feedforward: int, dropout: float) -> None:
        super().__init__()

        def stack(layers: int, *, decodes: bool) -> nn.ModuleList:
            return nn.ModuleList(
                Layer(d, heads=heads, feedforward=feedforward, dropout=dropout, decodes=decodes) for _ in range(layers)
            )

        self.encoder, self.decoder = stack(encoders, decodes=False), stack(decoders, decodes=True)
        self.encoder_back, self.decoder_back = stack(encoders, decodes=False), stack(decoders, decodes=True)

    def forward(
        self, language: Tensor, other: Tensor, mask: Tensor, other_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run all that predicting needs.

        Parameters
        ----------
        language : Tensor, shape (N, T_l, d)
            Of its front end.
        other : Tensor, shape (N, T, d)
            The same, of the modality to translate to. The decoder reads it, and nothing of it is hidden.
        mask, other_mask : bool Tensor, shape (N, T_l) and (N, T)
            Frames that may be attended to.

        Returns
        -------
        encoded : Tensor, shape (N, T_l, d)
        decoded : Tensor, shape (N, T, d)
        encoded_back : Tensor, shape (N, T, d)
        """
        encoded, decoded = with_positions(language), with_positions(other)
        for layer in self.encoder:
            encoded = layer(encoded, mask)
        for layer in self.decoder:
            decoded = layer(decoded, other_mask, encoded, mask)
        encoded_back = with_positions(decoded)
        for layer in self.encoder_back:
            encoded_back = layer(encoded_back, other_mask)
        return encoded, decoded, encoded_back

    def decode_back(self, language: Tensor, encoded_back: Tensor, mask: Tensor, other_mask: Tensor) -> Tensor:
        """States of the decoder back to language, (N, T_l, d), which nothing but its translation needs."""
        decoded = with_positions(language)
        for layer in self.decoder_back:
            decoded = layer(decoded, mask, encoded_back, other_mask)
        return decoded


class Reading(NamedTuple):
    """Of a batch: which frames are there, what the front ends say, and what each chain makes of that.

    Masks (N, T_m) and front ends' states (N, T_m, d) by modality; of the chain to each other modality what
    :meth:`Chain.forward` gives.
    """

    masks: dict[str, Tensor]
    front: dict[str, Tensor]
    chains: dict[str, tuple[Tensor, Tensor, Tensor]]


@register("transm", paper="Wang et al., WWW 2020", trains_on="complete")
class TransM(Method):
    """Transformers translate language to vision and back, and to audio and back; what they encode is fused.

    ``loss = task + translation_weight (sum of four mean absolute errors)``: of vision and audio translated from
    language, and of language translated back from each.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of the front ends' outputs and of the Transformers.
    units : int
        Of each direction of the front ends' GRUs.
    heads, encoder_layers, decoder_layers : int
        Of each of the four Transformers.
    feedforward_vision, feedforward_audio : int
        Width of the feed-forward parts in either chain.
    dropout : float
        Of the Transformers.
    gru_dropout : float
        On what a GRU reads and on the state that it carries.
    front_dropout : float
        Behind a GRU and behind the dense layer after it.
    translation_weight : float
    """

    training_defaults = {"learning_rate": 1e-3, "batch_size": 32, "clip_norm": None}
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(16, 32, 64),
        "d": Choice(50, 100),
        "units": Choice(75, 150, 300),
        "encoder_layers": Range(2, 10),
        "decoder_layers": Range(1, 5),
        "dropout": Range(0.0, 0.7),
        "translation_weight": Range(2.5, 40.0, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 100,
        units: Count = 300,
        heads: Count = 5,
        encoder_layers: Count = 10,
        decoder_layers: Count = 5,
        feedforward_vision: Count = 200,
        feedforward_audio: Count = 120,
        dropout: Rate = 0.5,
        gru_dropout: Rate = 0.5,
        front_dropout: Rate = 0.3,
        translation_weight: NonNegative = 10.0,
    ) -> None:
        super().__init__(task)
        self.translation_weight = translation_weight
        self.grus = nn.ModuleDict({m: BidirectionalGRU(task.feature_dims[m], units, gru_dropout) for m in MODALITIES})
        self.dense = nn.ModuleDict({m: dense(2 * units, d) for m in MODALITIES})
        self.front_dropout = Dropout(front_dropout)
        widths = {"v": feedforward_vision, "a": feedforward_audio}
        self.chains = nn.ModuleDict(
            {
                m: Chain(
                    d,
                    heads=heads,
                    encoders=encoder_layers,
                    decoders=decoder_layers,
                    feedforward=widths[m],
                    dropout=dropout,
                )
                for m in OTHERS
            }
        )
        self.there = nn.ModuleDict({m: dense(d, task.feature_dims[m]) for m in OTHERS})
        self.back = nn.ModuleDict({m: dense(d, task.feature_dims["l"]) for m in OTHERS})
        self.head = dense(len(MODALITIES) * d + 2 * len(OTHERS) * d, task.num_outputs)

    def read(self, batch: Batch) -> Reading:
        """All that predicting needs. Frames that are missing are hidden, as the official code hides those all zero."""
        masks = {m: filled(batch.present[m]) for m in MODALITIES}  # (N, T_m)
        front = {}
        for m in MODALITIES:
            recurrent = self.front_dropout(self.grus[m](batch.features[m], masks[m]))  # (N, T_m, 2 units)
            front[m] = self.front_dropout(self.dense[m](recurrent).tanh())
        chains = {m: self.chains[m](front["l"], front[m], masks["l"], masks[m]) for m in OTHERS}
        return Reading(masks, front, chains)

    def fuse(self, reading: Reading) -> Tensor:
        """Both encoders of either chain and the three front ends, averaged over frames and side by side: (N, 7 d)."""
        masks, front, chains = reading
        means = [masked_mean(front[m], masks[m]) for m in MODALITIES]
        for m, (encoded, _, encoded_back) in chains.items():
            means += [masked_mean(encoded, masks["l"]), masked_mean(encoded_back, masks[m])]
        return torch.cat(means, dim=1)

    def translations(self, reading: Reading) -> dict[str, list[tuple[str, Tensor]]]:
        """Two there and two back: into which modality, and the features found, (N, T_m, d_m)."""
        masks, front, chains = reading
        found: dict[str, list[tuple[str, Tensor]]] = {"translation": [], "translation back": []}
        for m, (_, decoded, encoded_back) in chains.items():
            chain = cast(Chain, self.chains[m])
            decoded_back = chain.decode_back(front["l"], encoded_back, masks["l"], masks[m])  # (N, T_l, d)
            found["translation"].append((m, self.there[m](decoded)))
            found["translation back"].append(("l", self.back[m](decoded_back)))
        return found

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss, and the translations there and back."""
        if batch.complete is None:
            raise ValueError("the translations need the complete features, which training batches alone have")
        reading = self.read(batch)
        terms = {"task": self.task_loss(self.head(self.fuse(reading)), batch)}
        for name, both in self.translations(reading).items():
            first, second = (absolute_error(found, batch.complete[m], batch.frames[m]) for m, found in both)
            terms[name] = self.translation_weight * (first + second)
        return terms

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of the translations there and back, beside that of the mean."""
        assert batch.complete is not None
        told = {}
        for name, both in self.translations(self.read(batch)).items():
            pairs = [beside_the_mean(found, batch.complete[m], batch.frames[m]) for m, found in both]
            told[name] = (pairs[0][0] + pairs[1][0], pairs[0][1] + pairs[1][1])
        return told

    def represent(self, batch: Batch) -> Tensor:
        """The fused states, (N, 7 d)."""
        return self.fuse(self.read(batch))

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
