"""MISA: Modality-Invariant and -Specific Representations for Multimodal Sentiment Analysis.

Paper: Hazarika, Zimmermann and Poria, ACM Multimedia 2020. Deviations from the official code are listed in
``cards/misa.yaml``.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, Rate, TaskSpec, register
from benchmark.parts.losses import central_moment_discrepancy
from benchmark.parts.recurrent import orthogonal_recurrence_
from benchmark.parts.sharing import encode_distinct

_EPSILON = 1e-6  # a batch of one sample is all zero once centred


def orthogonality(x: Tensor, y: Tensor) -> Tensor:
    """How much two representations of the same samples overlap: the paper's soft orthogonality constraint.

    Both are centred over the batch and their rows scaled to length one; the result is the mean square of the D x D
    entries of ``x^T y``. No gradient goes through the lengths, as in the official code.

    Parameters
    ----------
    x, y : Tensor, shape (N, D)

    Returns
    -------
    Tensor, scalar
        0 for N = 1.
    """
    return (_unit_rows(x).T @ _unit_rows(y)).square().mean()  # (D, N) @ (N, D) → (D, D)


def _unit_rows(x: Tensor) -> Tensor:
    x = x - x.mean(0)  # (N, D)
    return x / (x.detach().norm(dim=1, keepdim=True) + _EPSILON)


class UtteranceEncoder(nn.Module):
    """Two stacked bidirectional LSTMs with layer normalisation between; the last states of both are the utterance.

    Parameters
    ----------
    d_in : int
    hidden : int
        Width of each direction.
    """

    def __init__(self, d_in: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.LSTM(d_in, hidden, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(2 * hidden)
        self.second = nn.LSTM(2 * hidden, hidden, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """(N, T, d_in) and real frames (N, T) → (N, 4 hidden).

        Padding is never run over. A sample without a single real frame counts as one zero frame.
        """
        lengths = frames.sum(1).clamp(min=1).cpu()  # packing knows no empty sample
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, (first, _) = self.first(packed)  # first: (2, N, hidden)
        # Layer normalisation acts frame by frame, so it takes the packed frames, (all frames, 2 hidden), as they lie.
        normed = PackedSequence(
            self.norm(packed.data), packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
        _, (second, _) = self.second(normed)  # second: (2, N, hidden)
        return torch.cat([*first, *second], dim=1)  # 4 x (N, hidden), both layers in both directions


class Parts(NamedTuple):
    """Each modality's utterance in the common size, and what it is taken apart into: 3 x (N, hidden) each."""

    utterance: list[Tensor]
    shared: list[Tensor]
    private: list[Tensor]


@register("misa", paper="Hazarika et al., ACM MM 2020", trains_on="complete")
class MISA(Method):
    """Each modality is taken apart into a shared and a private vector; a Transformer layer fuses the six.

    ``loss = task + orthogonality_weight L_diff + similarity_weight L_sim + reconstruction_weight L_recon``

    Parameters
    ----------
    task : TaskSpec
    hidden : int
        Size of the shared and private vectors.
    rnn_hidden : int
        Largest width of an LSTM direction; a modality with fewer features gets as many as it has features.
    heads, feedforward : int
        Of the Transformer layer.
    dropout : float
        Of the fusion head.
    transformer_dropout : float
    orthogonality_weight, similarity_weight, reconstruction_weight : float
    moments : int
        Of the central moment discrepancy.
    """

    training_defaults = {"learning_rate": 1e-4, "batch_size": 64, "clip_norm": 1.0}
    search_space = {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Choice(32, 64, 128),
        "hidden": Choice(64, 128, 256),
        "dropout": Range(0.0, 0.7),
        "orthogonality_weight": Range(0.075, 1.2, log=True),
        "similarity_weight": Range(0.25, 4.0, log=True),
        "reconstruction_weight": Range(0.25, 4.0, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        hidden: Count = 128,
        rnn_hidden: Count = 300,
        heads: Count = 2,
        feedforward: Count = 2048,
        dropout: Rate = 0.5,
        transformer_dropout: Rate = 0.1,
        orthogonality_weight: NonNegative = 0.3,
        similarity_weight: NonNegative = 1.0,
        reconstruction_weight: NonNegative = 1.0,
        moments: Count = 5,
    ) -> None:
        super().__init__(task)
        self.weights = (orthogonality_weight, similarity_weight, reconstruction_weight)
        self.moments = moments
        widths = {m: min(task.feature_dims[m], rnn_hidden) for m in MODALITIES}
        self.encoders = nn.ModuleDict({m: UtteranceEncoder(task.feature_dims[m], widths[m]) for m in MODALITIES})
        orthogonal_recurrence_(self.encoders)
        self.projections = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(4 * widths[m], hidden), nn.ReLU(), nn.LayerNorm(hidden)) for m in MODALITIES}
        )
        self.private = nn.ModuleDict({m: nn.Sequential(nn.Linear(hidden, hidden), nn.Sigmoid()) for m in MODALITIES})
        self.shared = nn.Sequential(nn.Linear(hidden, hidden), nn.Sigmoid())  # one for all modalities
        self.decoders = nn.ModuleDict({m: nn.Linear(hidden, hidden) for m in MODALITIES})
        self.transformer = nn.TransformerEncoderLayer(
            hidden, heads, feedforward, dropout=transformer_dropout, batch_first=True
        )
        self.head = nn.Sequential(
            nn.Linear(6 * hidden, 3 * hidden),
            nn.Dropout(dropout),
            nn.ReLU(),
            nn.Linear(3 * hidden, task.num_outputs),
        )

    def split(self, batch: Batch) -> Parts:
        """Encode each modality and take it apart. Missing frames are zero vectors to it."""
        # (N, 4 width_m) → (N, hidden): only in a common size can one encoder serve all modalities.
        utterance = [self.projections[m](encode_distinct(self.encoders[m], batch, m)) for m in MODALITIES]
        shared = [self.shared(u) for u in utterance]
        private = [self.private[m](u) for m, u in zip(MODALITIES, utterance, strict=True)]
        return Parts(utterance, shared, private)

    def fuse(self, parts: Parts) -> Tensor:
        """What the head sees, (N, 6 hidden). The six vectors are no sequence, so they get no positions."""
        six = torch.stack([*parts.private, *parts.shared], dim=1)  # (N, 6, hidden)
        return self.transformer(six).flatten(1)  # (N, 6, hidden) → (N, 6 hidden)

    def orthogonality_loss(self, parts: Parts) -> Tensor:
        """L_diff: private against shared of each modality, and private against private of each pair; summed."""
        terms = [orthogonality(p, s) for p, s in zip(parts.private, parts.shared, strict=True)]  # three of them
        terms += [orthogonality(p, q) for p, q in combinations(parts.private, 2)]  # and three more
        return torch.stack(terms).sum()

    def similarity_loss(self, parts: Parts) -> Tensor:
        """L_sim: mean over the pairs of shared vectors; they come from a sigmoid, so they lie in (0, 1)."""
        terms = [central_moment_discrepancy(s, t, self.moments) for s, t in combinations(parts.shared, 2)]
        return torch.stack(terms).mean()

    def reconstruction_loss(self, parts: Parts) -> Tensor:
        """L_recon: shared and private together must give the utterance back; mean over the modalities."""
        terms = [
            F.mse_loss(self.decoders[m](s + p), u)
            for m, u, s, p in zip(MODALITIES, parts.utterance, parts.shared, parts.private, strict=True)
        ]
        return torch.stack(terms).mean()

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss and the three weighted terms."""
        parts = self.split(batch)
        orthogonality_weight, similarity_weight, reconstruction_weight = self.weights
        return {
            "task": self.task_loss(self.head(self.fuse(parts)), batch),
            "orthogonality": orthogonality_weight * self.orthogonality_loss(parts),
            "similarity": similarity_weight * self.similarity_loss(parts),
            "reconstruction": reconstruction_weight * self.reconstruction_loss(parts),
        }

    def represent(self, batch: Batch) -> Tensor:
        """The six vectors after the Transformer layer, (N, 6 hidden)."""
        return self.fuse(self.split(batch))

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
