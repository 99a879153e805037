"""MulT: Multimodal Transformer for Unaligned Multimodal Language Sequences.

Paper: Tsai, Bai, Liang, Kolter, Morency and Salakhutdinov, ACL 2019. Deviations from the official code are listed in
``cards/mult.yaml``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, Range, Rate, TaskSpec, register
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import last_frame, padded
from benchmark.parts.transformer import PAIRS, Transformer, attend_across, positions_of_frames


@register("mult", paper="Tsai et al., ACL 2019", trains_on="complete")
class MulT(Method):
    """Six directed cross-modal Transformers, then one self-attention Transformer for each target modality.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of each modality after the temporal convolution.
    layers, heads : int
        Of all nine Transformers.
    kernel : int
        Of the temporal convolutions.
    attention_dropout, attention_dropout_a, attention_dropout_v : float
        Of attention to language and within a modality, of that to audio, and of that to vision.
    relu_dropout, residual_dropout, embedding_dropout, output_dropout : float
    attend_to_padding : bool
        Whether padding, up to the task's longest sample, is attended to and read as in the official code, or hidden.
    """

    training_defaults = {"learning_rate": 1e-3, "batch_size": 24, "clip_norm": 0.8}
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(12, 24, 48),
        "d": Choice(20, 30, 40, 60),
        "layers": Range(2, 6),
        "kernel": Choice(1, 3, 5),
        "attention_dropout": Range(0.0, 0.5),
        "embedding_dropout": Range(0.0, 0.5),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 30,
        layers: Count = 5,
        heads: Count = 5,
        kernel: Count = 1,
        attention_dropout: Rate = 0.1,
        attention_dropout_a: Rate = 0.0,
        attention_dropout_v: Rate = 0.0,
        relu_dropout: Rate = 0.1,
        residual_dropout: Rate = 0.1,
        embedding_dropout: Rate = 0.25,
        output_dropout: Rate = 0.0,
        attend_to_padding: bool = False,
    ) -> None:
        super().__init__(task)
        self.attend_to_padding = attend_to_padding
        self.convolutions = nn.ModuleDict(
            {m: TemporalConv(task.feature_dims[m], d, kernel=kernel, bias=False) for m in MODALITIES}
        )
        shared: dict[str, Any] = {
            "heads": heads,
            "layers": layers,
            "dropout": residual_dropout,
            "relu_dropout": relu_dropout,
            "embedding_dropout": embedding_dropout,
            "positions": positions_of_frames,
        }
        to = {"l": attention_dropout, "a": attention_dropout_a, "v": attention_dropout_v}
        # One stream a pair
        self.crossmodal = Transformer(len(PAIRS), d, attention_dropout=[to[source] for _, source in PAIRS], **shared)
        # Twice as wide: a target has what it got from either of the two others.
        self.selfattention = Transformer(len(MODALITIES), 2 * d, attention_dropout=attention_dropout, **shared)
        self.input_dropout = Dropout(embedding_dropout)
        self.output_dropout = Dropout(output_dropout)
        joint = 2 * d * len(MODALITIES)  # 6 d
        self.residual = nn.Sequential(nn.Linear(joint, joint), nn.ReLU(), self.output_dropout, nn.Linear(joint, joint))
        self.head = nn.Linear(joint, task.num_outputs)

    def represent(self, batch: Batch) -> Tensor:
        """Last frames of the three modalities, (N, 6 d). Missing frames are zero vectors, as in published re-runs."""
        x, seen = dict(batch.features), batch.frames  # (N, T_m, d_m), (N, T_m)
        if self.attend_to_padding:  # then the last position counts as the last frame
            x, seen = padded(x, self.task.max_frames)
        x["l"] = self.input_dropout(x["l"])  # the official code drops language inputs only
        # Temporal convolutions: to one width, so that scalar products between modalities can be taken.
        x = {m: self.convolutions[m](x[m]) for m in MODALITIES}  # (N, T_m, d)
        # Positions and cross-modal Transformers
        crossed = attend_across(self.crossmodal, x, seen, self.task.max_frames)  # (N, T_m, 2 d)
        # Self-attention Transformers, causal as well (offset 0), so that the last frame alone has seen all others
        masks = [seen[m] for m in MODALITIES]
        fused = self.selfattention([crossed[m] for m in MODALITIES], masks, causal_offset=[0] * len(MODALITIES))
        return torch.cat([last_frame(h, mask) for h, mask in zip(fused, masks, strict=True)], dim=1)  # (N, 6 d)

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        joint = self.represent(batch)
        # Prediction: two linear layers with a shortcut around them, then the head
        return self.head(joint + self.residual(joint))

    def loss(self, batch: Batch) -> Tensor:
        """That of the task alone."""
        return self.task_loss(self.predict(batch), batch)
