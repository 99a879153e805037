"""The network that CorrKD's teacher and student share, and the critic of its response loss."""

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
CriticForm = Literal["shallow", "deep", "separable"]
Marginals = Literal["all", "shuffled"]


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


class Critic(nn.Module):
    """The learned critic F(x, y) of the mutual-information estimate; its form is ours.

    Parameters
    ----------
    width : int
        Size of x and of y.
    hidden : int
    form : {"shallow", "deep", "separable"}
        One hidden layer on [x, y]; two; or the product of what a network of its own with one hidden layer makes of x
        and of y (Poole et al., ICML 2019).
    marginals : {"all", "shuffled"}
        Which pairs stand for independent ones: all (x_i, y_j) with i != j, or for each x_i the y of the next sample,
        as training batches are in random order.
    """

    def __init__(self, width: int, hidden: int, *, form: CriticForm = "shallow", marginals: Marginals = "all") -> None:
        super().__init__()
        self.form, self.marginals = form, marginals
        self.x = nn.Linear(width, hidden)
        # One bias is enough for W [x, y] + b = W_x x + b + W_y y.
        self.y = nn.Linear(width, hidden, bias=form == "separable")
        if form == "separable":
            self.of_x, self.of_y = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        else:
            self.second = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU()) if form == "deep" else nn.Identity()
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
        marginal : Tensor, shape (N (N-1),) or (N,)
            Scores of the pairs that stand for independent ones; none of a batch of one sample.
        """
        scores, n = self._scores(x, y), len(x)  # (N, N): score of x_i with y_j in row i
        if n < 2:
            return scores.diagonal(), scores.new_empty(0)
        if self.marginals == "shuffled":
            return scores.diagonal(), scores.roll(-1, 1).diagonal()  # (x_i, y_i+1), and the last with the first
        # Behind each entry of the diagonal, but the last, come the n entries up to the next.
        # So rows of n + 1 end on the diagonal: (N * N - 1,) → (N-1, N+1) → (N-1, N).
        return scores.diagonal(), scores.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten()

    def _scores(self, x: Tensor, y: Tensor) -> Tensor:
        first_x, first_y = self.x(x), self.y(y)  # (N, hidden) each
        if self.form == "separable":
            return self.of_x(first_x.relu()) @ self.of_y(first_y.relu()).T  # (N, hidden) @ (hidden, N)
        # (N, 1, hidden) + (1, N, hidden): x and y are each multiplied N times, not N^2 times.
        hidden = (first_x[:, None] + first_y[None, :]).relu()  # (N, N, hidden): first layer on [x_i, y_j]
        return self.score(self.second(hidden)).squeeze(-1)  # (N, N)
