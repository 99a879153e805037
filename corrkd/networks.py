"""The network that CorrKD's teacher and student share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, TaskSpec
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import last_frame, masked_mean
from benchmark.parts.transformer import Transformer

Pooling = Literal["real", "padded", "last"]
Head = Literal["hidden", "linear"]


class CorrKDNetwork(nn.Module):
    """Convolution, positions and a Transformer encoder per modality; pooling over time; fully connected head.

    Parameters
    ----------
    task : TaskSpec
    d, heads, layers, dropout, scaled_inputs, pooling, head
        See :class:`corrkd.method.CorrKD`.
    """

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: int,
        heads: int,
        layers: int,
        dropout: float,
        scaled_inputs: bool,
        pooling: Pooling,
        head: Head,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.max_frames = task.max_frames
        self.convolutions = nn.ModuleDict({m: TemporalConv(task.feature_dims[m], d, kernel=3) for m in MODALITIES})
        self.encoders = Transformer(
            len(MODALITIES), d, heads=heads, layers=layers, dropout=dropout, scaled=scaled_inputs
        )
        joint = len(MODALITIES) * d
        # The paper has fully connected layers, softmax behind them; how many, and how wide, is ours.
        hidden = [nn.Linear(joint, joint), nn.ReLU(), Dropout(dropout)] if head == "hidden" else []
        self.head = nn.Sequential(*hidden, nn.Linear(joint, task.num_categories))

    def forward(self, features: Mapping[str, Tensor], frames: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Parameters
        ----------
        features : mapping of modality to Tensor, shape (N, T_m, d_m)
            Complete for the teacher; with zero vectors at missing frames for the student.
        frames : mapping of modality to bool Tensor, shape (N, T_m)
            Real frames, missing or not: only padding is hidden from attention and left out of the average.

        Returns
        -------
        joint : Tensor, shape (N, 3 d)
            H, the joint representation.
        logits : Tensor, shape (N, K)
        """
        if self.pooling == "padded":
            features = {m: self._padded(features[m], m) for m in MODALITIES}
            frames = {m: torch.ones_like(features[m][:, :, 0], dtype=torch.bool) for m in MODALITIES}  # nothing hidden
        masks = [frames[m] for m in MODALITIES]
        encoded = self.encoders([self.convolutions[m](features[m]) for m in MODALITIES], masks)  # 3 x (N, T_m, d)
        pool = last_frame if self.pooling == "last" else masked_mean
        # H: of each modality's own frames, of which there may be unequal numbers, one vector; side by side.
        joint = torch.cat([pool(x, mask) for x, mask in zip(encoded, masks, strict=True)], dim=1)  # (N, 3 d)
        return joint, self.head(joint)

    def _padded(self, x: Tensor, modality: str) -> Tensor:
        # To the task's longest sample and not the batch's, so that a sample's neighbours change nothing; what may stand
        # behind that is padding too, and a negative length cuts it off: (N, T_m, d_m) → (N, max_frames, d_m).
        return F.pad(x, (0, 0, 0, self.max_frames[modality] - x.shape[1]))

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """`forward` on what a batch lets a method see."""
        return self(batch.features, batch.frames)
