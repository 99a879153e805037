"""The network that CorrKD's teacher and student share, and the critic of its response loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, TaskSpec
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import masked_mean
from benchmark.parts.transformer import Transformer


class CorrKDNetwork(nn.Module):
    """Convolution, positions and a Transformer encoder per modality; average over time; fully connected head.

    Parameters
    ----------
    task : TaskSpec
    d, heads, layers, dropout
        See :class:`corrkd.method.CorrKD`.
    """

    def __init__(self, task: TaskSpec, *, d: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict({m: TemporalConv(task.feature_dims[m], d, kernel=3) for m in MODALITIES})
        self.encoders = Transformer(len(MODALITIES), d, heads=heads, layers=layers, dropout=dropout)
        joint = len(MODALITIES) * d
        # The paper has fully connected layers, softmax behind them; how many, and how wide, is ours.
        self.head = nn.Sequential(
            nn.Linear(joint, joint), nn.ReLU(), Dropout(dropout), nn.Linear(joint, task.num_categories)
        )

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
        masks = [frames[m] for m in MODALITIES]
        encoded = self.encoders([self.convolutions[m](features[m]) for m in MODALITIES], masks)  # 3 x (N, T_m, d)
        # H: the average over each modality's own frames, of which there may be unequal numbers, side by side.
        joint = torch.cat([masked_mean(x, mask) for x, mask in zip(encoded, masks, strict=True)], dim=1)  # (N, 3 d)
        return joint, self.head(joint)

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """`forward` on what a batch lets a method see."""
        return self(batch.features, batch.frames)


class Critic(nn.Module):
    """The learned critic F(x, y) of the mutual-information estimate; its form is ours: one hidden layer on [x, y].

    Parameters
    ----------
    width : int
        Size of x and of y.
    hidden : int
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.x = nn.Linear(width, hidden)
        self.y = nn.Linear(width, hidden, bias=False)  # one bias is enough for W [x, y] + b = W_x x + b + W_y y
        self.score = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Score all pairs of a batch.

        Parameters
        ----------
        x, y : Tensor, shape (N, width)
            Row i of both comes from sample i.

        Returns
        -------
        joint : Tensor, shape (N,)
            Scores of the pairs (x_i, y_i).
        marginal : Tensor, shape (N (N-1),)
            Scores of the pairs (x_i, y_j), i != j: all of them, so nothing is drawn.
        """
        # (N, 1, hidden) + (1, N, hidden): x and y are each multiplied N times, not N^2 times.
        hidden = (self.x(x)[:, None] + self.y(y)[None, :]).relu()  # (N, N, hidden): first layer on [x_i, y_j]
        scores = self.score(hidden).squeeze(-1)  # (N, N): score of x_i with y_j in row i
        n = len(x)
        # Behind each entry of the diagonal, but the last, come the n entries up to the next.
        # So rows of n + 1 end on the diagonal: (N * N - 1,) → (N-1, N+1) → (N-1, N).
        marginal = scores.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten() if n > 1 else scores.new_empty(0)
        return scores.diagonal(), marginal
