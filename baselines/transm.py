"""TransModality: An End2End Fusion Method with Transformer for Multimodal Sentiment Analysis.

Paper: Wang, Wan and Wan, The Web Conference (WWW) 2020. There is no official code; what we chose where the paper is
silent is listed in ``cards/transm.yaml``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Count, Method, NonNegative, Rate, TaskSpec, register
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import masked_mean
from benchmark.parts.transformer import Transformer

DIRECTIONS = (("l", "a"), ("a", "l"), ("l", "v"), ("v", "l"))
"""The translations, from which modality to which: two fusion cells, language with audio and with vision, both ways."""

OPPOSITE = (1, 0, 3, 2)
"""Which translation leads back."""


def absolute_error(found: Tensor, target: Tensor, frames: Tensor) -> Tensor:
    """Mean absolute error over the real frames' numbers; (N, T, d) twice and (N, T) → scalar, zero without frames."""
    error = (found - target).abs().sum(-1) * frames  # (N, T)
    return error.sum() / (frames.sum() * target.shape[-1]).clamp(min=1)


@register("transm", paper="Wang et al., WWW 2020", trains_on="complete")
class TransM(Method):
    """Transformers translate between modalities, there and back; what their encoders say of the sources is fused.

    ``loss = task + forward_weight MAE(translated, target) + backward_weight MAE(translated back, source)``

    each averaged over the four translations. Only the encoders are needed to predict.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of the Transformers.
    heads, layers : int
        Of encoders and decoders.
    dropout : float
        Of the Transformers and of the head.
    head_hidden : int
    forward_weight, backward_weight : float
    """

    training_defaults = {"learning_rate": 3e-4, "batch_size": 32}

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 40,
        heads: Count = 5,
        layers: Count = 1,
        dropout: Rate = 0.1,
        head_hidden: Count = 64,
        forward_weight: NonNegative = 1.0,
        backward_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__(task)
        self.forward_weight = forward_weight
        self.backward_weight = backward_weight
        self.d = d  # width of the decoders' queries
        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d) for m in MODALITIES})
        self.encoders = Transformer(
            len(DIRECTIONS), d, heads=heads, layers=layers, dropout=dropout, attention_dropout=dropout
        )
        self.decoders = Transformer(
            len(DIRECTIONS), d, heads=heads, layers=layers, dropout=dropout, attention_dropout=dropout
        )
        self.outputs = nn.ModuleList(nn.Linear(d, task.feature_dims[target]) for _, target in DIRECTIONS)
        self.head = nn.Sequential(
            nn.Linear(len(DIRECTIONS) * d, head_hidden),  # four encoders' averages
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(head_hidden, task.num_outputs),
        )

    def encode(self, sources: list[Tensor], frames: list[Tensor]) -> list[Tensor]:
        """Each translation's source, 4 x (N, T_source, d_source) → 4 x (N, T_source, d)."""
        projected = [self.projections[source](x) for (source, _), x in zip(DIRECTIONS, sources, strict=True)]
        return self.encoders(projected, frames)

    def decode(self, encoded: list[Tensor], source_frames: list[Tensor], target_frames: list[Tensor]) -> list[Tensor]:
        """Encoders' states → each translation, 4 x (N, T_target, d_target).

        All frames of the target at once: their positions alone, which the Transformer adds, are the queries.
        """
        # 4 x (N, T_target, d) of zeros. Were target frames the queries, as in teacher forcing, they could be copied.
        queries = [e.new_zeros(*frames.shape, self.d) for e, frames in zip(encoded, target_frames, strict=True)]
        decoded = self.decoders(queries, target_frames, encoded, source_frames)  # 4 x (N, T_target, d)
        return [output(x) for output, x in zip(self.outputs, decoded, strict=True)]

    def encode_sources(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """The encoders' states of what is given, and its real frames. Missing frames are zero vectors."""
        frames = [batch.frames[source] for source, _ in DIRECTIONS]
        return self.encode([batch.features[source] for source, _ in DIRECTIONS], frames), frames

    def translation_losses(self, batch: Batch, encoded: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean absolute errors of the translations, and of what their opposites make of them: two scalars."""
        if batch.complete is None:
            raise ValueError("the translations need the complete features, which training batches alone have")
        source_frames = [batch.frames[source] for source, _ in DIRECTIONS]
        target_frames = [batch.frames[target] for _, target in DIRECTIONS]
        there = self.decode(encoded, source_frames, target_frames)  # 4 x (N, T_target, d_target)
        # The translation back starts where the opposite one usually does, but from translated features.
        returned = [there[i] for i in OPPOSITE]
        # What l → a gave is a's features, so it is the source of a → l, and the same Transformers serve.
        back = self.decode(self.encode(returned, source_frames), source_frames, target_frames)
        # Translated forth and back, direction i ends at its own target: both are held against complete features.
        errors = [
            torch.stack(
                [
                    absolute_error(found, batch.complete[target], batch.frames[target])
                    for (_, target), found in zip(DIRECTIONS, translated, strict=True)
                ]
            ).mean()
            for translated in (there, back)
        ]
        return errors[0], errors[1]

    def fuse(self, encoded: list[Tensor], frames: list[Tensor]) -> Tensor:
        """The encoders' states, averaged over the real frames and side by side: (N, 4 d)."""
        # 4 x (N, T_source, d) → 4 x (N, d) → (N, 4 d)
        return torch.cat([masked_mean(x, mask) for x, mask in zip(encoded, frames, strict=True)], dim=1)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss and the translations there and back."""
        encoded, frames = self.encode_sources(batch)
        there, back = self.translation_losses(batch, encoded)
        return {
            "task": self.task_loss(self.head(self.fuse(encoded, frames)), batch),
            "translation": self.forward_weight * there,
            "translation back": self.backward_weight * back,
        }

    def represent(self, batch: Batch) -> Tensor:
        """The fused encoder states, (N, 4 d)."""
        return self.fuse(*self.encode_sources(batch))

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
