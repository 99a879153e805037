"""CubeMLP: an MLP-based model for multimodal sentiment analysis.

Paper: Sun, Wang, Liu, Chen and Lin, "CubeMLP: An MLP-based Model for Multimodal Sentiment Analysis and Depression
Estimation", ACM Multimedia 2022. Deviations from the official code are listed in ``cards/cubemlp.yaml``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmark import MODALITIES, Batch, Choice, Count, Method, Range, Rate, TaskSpec, register
from benchmark.parts.pooling import padded
from benchmark.parts.recurrent import orthogonal_recurrence_
from benchmark.parts.sharing import encode_distinct

SEQUENCE, MODALITY, CHANNEL = 1, 2, 3
"""The axes of the cube, (N, L, M, D)."""


class RecurrentEncoder(nn.Module):
    """A two-layer bidirectional GRU; its two directions are added, normalised and rectified.

    Parameters
    ----------
    d_in, d : int
        Widths of a frame before and after.
    num_frames : int
        Of the task's longest sample.
    """

    def __init__(self, d_in: int, d: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.gru = nn.GRU(d_in, d, num_layers=2, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(d, eps=1e-6)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """(N, T, d_in) and real frames (N, T) → (N, num_frames, d). Padding is never run over.

        As in the official code, a real frame that is all zero is a little above it, and what stands at padding is the
        bias of the normalisation.
        """
        x = torch.where(frames[:, :, None] & (x == 0).all(-1, keepdim=True), 1e-6, x)
        lengths = frames.sum(1).clamp(min=1).cpu()  # packing knows no empty sample: one zero frame for it
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=self.num_frames)
        forwards, backwards = states.chunk(2, dim=-1)  # (N, num_frames, 2 d) → (N, num_frames, d) each
        return self.norm(forwards + backwards).relu()


def place(x: Tensor, length: int) -> Tensor:
    """Bring a modality, as long as the task's longest sample, to `length` positions.

    Frame t stands at position t. Where there are more frames than positions, time is divided into `length` equal parts
    instead, and a position is the mean of its part.

    Parameters
    ----------
    x : Tensor, shape (N, T, d)
    length : int

    Returns
    -------
    Tensor, shape (N, length, d)
        Zero behind the last frame.
    """
    num_frames = x.shape[1]
    # Where the frames fit, this is the time itself.
    position = torch.arange(num_frames, device=x.device) * length // max(length, num_frames)  # (T,)
    share = F.one_hot(position, length).to(x.dtype).T  # which frame is at which position: (length, T)
    return (share / share.sum(-1, keepdim=True).clamp(min=1.0)) @ x  # (length, T) @ (N, T, d), as means


class AxisMLP(nn.Module):
    """Mix along one axis of the cube: ``x ← W_r x + dropout(W_2 GELU(W_1 LayerNorm(x)))``.

    Parameters
    ----------
    axis : {SEQUENCE, MODALITY, CHANNEL}
    size_in, size_out : int
        Of that axis, before and after.
    dropout : float
    """

    def __init__(self, axis: int, size_in: int, size_out: int, dropout: float) -> None:
        super().__init__()
        self.axis = axis
        self.residual = nn.Linear(size_in, size_out, bias=False)  # W_r: the axis may change its size, so no identity
        self.mlp = nn.Sequential(
            nn.LayerNorm(size_in, eps=1e-6),
            nn.Linear(size_in, size_out),
            nn.GELU(),
            nn.Linear(size_out, size_out),
            nn.Dropout(dropout),
        )

    def forward(self, cube: Tensor) -> Tensor:
        """(N, L, M, D), with `size_in` at the axis → the same with `size_out` there."""
        # Normalisation and linear layers act on the last axis, so the one to mix goes there and back.
        x = cube.movedim(self.axis, -1)  # (..., size_in)
        return (self.residual(x) + self.mlp(x)).movedim(-1, self.axis)


def mixing_block(sizes_in: tuple[int, int, int], sizes_out: tuple[int, int, int], dropout: float) -> nn.Sequential:
    """One block: mix along sequence, modality and channel in turn, (N, *sizes_in) → (N, *sizes_out)."""
    axes = zip((SEQUENCE, MODALITY, CHANNEL), sizes_in, sizes_out, strict=True)
    return nn.Sequential(*(AxisMLP(axis, size_in, size_out, dropout) for axis, size_in, size_out in axes))


@register("cubemlp", paper="Sun et al., ACM MM 2022", trains_on="complete")
class CubeMLP(Method):
    """The modalities as one cube of sequence, modality and channel, mixed along each of its axes by MLPs.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Channels of the cube.
    length : int
        Most positions of the cube's sequence; a task with fewer frames gets as many as its longest sample has.
    mixed_length, mixed_modalities, mixed_d : int
        Sizes of the cube after the last block.
    dropout : float
        On the encoded modalities.
    mlp_dropout : float
    """

    training_defaults = {"learning_rate": 4e-3, "batch_size": 128, "clip_norm": 1.0}
    search_space = {
        "learning_rate": Range(4e-4, 1e-2, log=True),
        "batch_size": Choice(64, 128, 256),
        "d": Choice(64, 128, 256),
        "mixed_length": Choice(5, 10, 20),
        "mixed_d": Choice(16, 32, 64),
        "dropout": Range(0.0, 0.5),
        "mlp_dropout": Range(0.0, 0.5),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 128,
        length: Count = 50,
        mixed_length: Count = 10,
        mixed_modalities: Count = 3,
        mixed_d: Count = 32,
        dropout: Rate = 0.1,
        mlp_dropout: Rate = 0.1,
    ) -> None:
        super().__init__(task)
        # Weights of the first axis belong to positions, so their number is the task's.
        self.length = min(length, max(task.max_frames.values()))
        self.projection = nn.Linear(task.feature_dims["l"], d, bias=False)  # no bias: a missing frame stays zero
        self.recurrent = nn.ModuleDict(
            {m: RecurrentEncoder(task.feature_dims[m], d, task.max_frames[m]) for m in ("a", "v")}
        )
        orthogonal_recurrence_(self.recurrent)
        self.dropout = nn.Dropout(dropout)
        full = (self.length, len(MODALITIES), d)  # (L, M, D)
        mixed = (mixed_length, mixed_modalities, mixed_d)
        # Two blocks: the first keeps the sizes, the second brings them down.
        self.mix = nn.Sequential(mixing_block(full, full, mlp_dropout), mixing_block(full, mixed, mlp_dropout))
        self.head = nn.Linear(mixed_modalities * mixed_d, task.num_outputs)

    def cube(self, batch: Batch) -> Tensor:
        """The encoded modalities side by side, (N, L, M, D). Missing frames are zero vectors."""
        features, _ = padded(batch.features, self.task.max_frames)  # (N, T_m, d_m), T_m the task's
        encoded = {"l": self.projection(features["l"])}  # (N, T_l, D)
        encoded |= {m: encode_distinct(self.recurrent[m], batch, m) for m in ("a", "v")}  # (N, T_m, D)
        placed = [place(self.dropout(encoded[m]), self.length) for m in MODALITIES]
        return torch.stack(placed, dim=MODALITY)  # M x (N, L, D) → (N, L, M, D)

    def represent(self, batch: Batch) -> Tensor:
        """The mixed cube, averaged over its sequence: (N, mixed_modalities * mixed_d)."""
        return self.mix(self.cube(batch)).mean(SEQUENCE).flatten(1)  # (N, L', M', D') → (N, M', D') → (N, M' * D')

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))

    def loss(self, batch: Batch) -> Tensor:
        """That of the task alone."""
        return self.task_loss(self.predict(batch), batch)
