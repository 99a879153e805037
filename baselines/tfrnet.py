"""TFR-Net: Transformer-based Feature Reconstruction Network for Robust Multimodal Sentiment Analysis.

Paper: Yuan, Li, Xu and Yu, ACM Multimedia 2021. Deviations from the official code are listed in ``cards/tfr_net.yaml``.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, Rate, TaskSpec, register
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.dropout import Dropout
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.pooling import padded
from benchmark.parts.recurrent import run_grus
from benchmark.parts.transformer import PAIRS, Transformer, attend_across, positions_of_frames


class GatedEncoder(nn.Module):
    """A bidirectional GRU whose context is gated frame by frame, joined to its input, and pooled over time.

    The GRUs of the three encoders run side by side, so their contexts are computed outside.

    Parameters
    ----------
    d_in, hidden : int
        Widths of a frame and of the result.
    layers : int
        Of the GRU.
    dropout : float
        On the result.
    """

    def __init__(self, d_in: int, hidden: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(d_in, hidden, num_layers=layers, bidirectional=True, batch_first=True)
        self.gate = TemporalConv(2 * hidden, 1, kernel=3)  # one number a frame, from it and its two neighbours
        self.join = nn.Linear(d_in + 2 * hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, context: Tensor, seen: Tensor) -> Tensor:
        """Gate, join and pool.

        Parameters
        ----------
        x : Tensor, shape (N, T, d_in)
        context : Tensor, shape (N, T, 2 hidden)
            What the GRU gives for `x`; zero at padding.
        seen : bool Tensor, shape (N, T)
            What is pooled.

        Returns
        -------
        Tensor, shape (N, hidden)
            Zero where nothing is.
        """
        context = context.tanh() * self.gate(context).sigmoid()  # (N, T, 2 hidden), zero at padding
        joined = self.join(torch.cat([x, context], dim=-1)).tanh()  # (N, T, d_in + 2 hidden) → (N, T, hidden)
        # The values lie in (-1, 1), so -1 never wins over what is seen.
        pooled = joined.masked_fill(~seen[:, :, None], -1.0).amax(1)  # (N, hidden)
        return self.dropout(pooled * seen.any(1, keepdim=True))  # where nothing is seen, 0 and not the -1 of above


@register("tfr_net", paper="Yuan et al., ACM MM 2021", trains_on="missing")
class TFRNet(Method):
    """Attention within and between incomplete modalities; in training, the missing features are rebuilt from it.

    ``loss = task + sum_m reconstruction_m SmoothL1(rebuilt_m, complete_m)``, the latter at missing frames only.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of each modality after the temporal convolution.
    layers, heads : int
        Of all nine Transformers.
    kernel_l, kernel_a, kernel_v : int
        Of the temporal convolutions.
    input_dropout : float
        On the language features.
    attention_dropout, attention_dropout_a, attention_dropout_v : float
        Of attention to language and within a modality, of that to audio, and of that to vision.
    relu_dropout, residual_dropout, embedding_dropout : float
        Of the Transformers.
    fusion_l, fusion_a, fusion_v : int
        Widths of the modalities' gated encoders.
    fusion_layers : int
        Depth of their GRUs.
    fusion_dropout : float
    head_hidden : int
    head_dropout : float
    reconstruction_l, reconstruction_a, reconstruction_v : float
        Weights of the reconstruction losses.
    attend_to_padding : bool
        Whether padding, up to the task's longest sample, is attended to and read as in the official code, or hidden.
    """

    training_defaults = {"learning_rate": 2e-3, "batch_size": 24, "clip_norm": 0.8, "weight_decay": 1e-3}
    search_space = {
        "learning_rate": Range(2e-4, 1e-2, log=True),
        "batch_size": Choice(12, 24, 48),
        "d": Choice(24, 30, 60),
        "attention_dropout": Range(0.0, 0.5),
        "fusion_dropout": Range(0.0, 0.5),
        "reconstruction_l": Range(1.25, 20.0, log=True),
        "reconstruction_a": Range(0.5, 8.0, log=True),
        "reconstruction_v": Range(5.0, 80.0, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 30,
        layers: Count = 3,
        heads: Count = 6,
        kernel_l: Count = 1,
        kernel_a: Count = 5,
        kernel_v: Count = 3,
        input_dropout: Rate = 0.2,
        attention_dropout: Rate = 0.2,
        attention_dropout_a: Rate = 0.1,
        attention_dropout_v: Rate = 0.0,
        relu_dropout: Rate = 0.2,
        residual_dropout: Rate = 0.2,
        embedding_dropout: Rate = 0.2,
        fusion_l: Count = 36,
        fusion_a: Count = 20,
        fusion_v: Count = 48,
        fusion_layers: Count = 3,
        fusion_dropout: Rate = 0.2,
        head_hidden: Count = 128,
        head_dropout: Rate = 0.0,
        reconstruction_l: NonNegative = 5.0,
        reconstruction_a: NonNegative = 2.0,
        reconstruction_v: NonNegative = 20.0,
        attend_to_padding: bool = True,
    ) -> None:
        super().__init__(task)
        self.attend_to_padding = attend_to_padding
        kernels = {"l": kernel_l, "a": kernel_a, "v": kernel_v}
        widths = {"l": fusion_l, "a": fusion_a, "v": fusion_v}
        self.reconstruction_weights = {"l": reconstruction_l, "a": reconstruction_a, "v": reconstruction_v}
        self.input_dropout = Dropout(input_dropout)
        self.convolutions = nn.ModuleDict(
            {m: TemporalConv(task.feature_dims[m], d, kernel=kernels[m], bias=False) for m in MODALITIES}
        )
        transformer: dict[str, Any] = {
            "heads": heads,
            "layers": layers,
            "dropout": residual_dropout,
            "relu_dropout": relu_dropout,
            "embedding_dropout": embedding_dropout,
            "positions": positions_of_frames,
        }
        to = {"l": attention_dropout, "a": attention_dropout_a, "v": attention_dropout_v}
        # A modality attends to itself, and to each of the two others, as in MulT.
        self.intra = Transformer(len(MODALITIES), d, attention_dropout=attention_dropout, **transformer)
        self.inter = Transformer(len(PAIRS), d, attention_dropout=[to[source] for _, source in PAIRS], **transformer)
        # Each frame's features are rebuilt from what its modality extracted there: (N, T_m, 3 d) → (N, T_m, d_m).
        self.generators = nn.ModuleDict({m: nn.Linear(3 * d, task.feature_dims[m]) for m in MODALITIES})
        self.encoders = nn.ModuleDict(
            {m: GatedEncoder(3 * d, widths[m], layers=fusion_layers, dropout=fusion_dropout) for m in MODALITIES}
        )
        joint = sum(widths.values())  # fusion_l + fusion_a + fusion_v
        self.head = nn.Sequential(
            nn.BatchNorm1d(joint),
            nn.Linear(joint, head_hidden),
            nn.LeakyReLU(),
            Dropout(head_dropout),
            nn.Linear(head_hidden, task.num_outputs),
        )

    def seen(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Features (N, T_m, d_m), and which frames are attended to and pooled, (N, T_m)."""
        if self.attend_to_padding:
            return padded(batch.features, self.task.max_frames)
        return dict(batch.features), batch.frames

    def extract(self, batch: Batch) -> dict[str, Tensor]:
        """Each modality's attention to itself and to the two others, side by side: (N, T_m, 3 d)."""
        x, seen = self.seen(batch)
        x["l"] = self.input_dropout(x["l"])  # the official code drops language inputs only
        x = {m: self.convolutions[m](x[m]) for m in MODALITIES}  # (N, T_m, d)
        intra = self.intra(
            [x[m] for m in MODALITIES], [seen[m] for m in MODALITIES], causal_offset=[0] * len(MODALITIES)
        )  # 3 x (N, T_m, d)
        inter = attend_across(self.inter, x, seen, self.task.max_frames)  # (N, T_m, 2 d)
        return {m: torch.cat([intra[i], inter[m]], dim=-1) for i, m in enumerate(MODALITIES)}  # (N, T_m, d + 2 d)

    def fuse(self, extracted: dict[str, Tensor], batch: Batch) -> Tensor:
        """The gated encoders' results side by side, (N, fusion_l + fusion_a + fusion_v)."""
        contexts = run_grus(
            [encoder.gru for encoder in self.encoders.values() if isinstance(encoder, GatedEncoder)],
            [extracted[m] for m in MODALITIES],
            [batch.frames[m].sum(1).clamp(min=1) for m in MODALITIES],  # not over padding
        )  # 3 x (N, T_m, 2 fusion_m)
        _, seen = self.seen(batch)
        pooled = [self.encoders[m](extracted[m], c, seen[m]) for m, c in zip(MODALITIES, contexts, strict=True)]
        return torch.cat(pooled, dim=1)  # 3 x (N, fusion_m) side by side

    def reconstruction_loss(self, extracted: dict[str, Tensor], batch: Batch) -> Tensor:
        """Weighted SmoothL1 between rebuilt and complete features, by modality a mean over its missing frames.

        Zero for a modality that lacks nothing; padding and frames that are present do not count.
        """
        if batch.complete is None:
            raise ValueError("the reconstruction loss needs the complete features, which training batches alone have")
        total = batch.features["l"].new_zeros(())
        for m in MODALITIES:
            missing = (batch.frames[m] & ~batch.present[m])[:, :, None]  # (N, T, 1), T the batch's
            # (N, T, d_m). Where features are present, to rebuild them would be to copy the input.
            rebuilt = self.generators[m](extracted[m][:, : missing.shape[1]])
            error = F.smooth_l1_loss(rebuilt, batch.complete[m], reduction="none") * missing
            # Numbers in missing frames, so that the mean does not depend on how many those are.
            count = missing.sum() * error.shape[2] + 1e-4  # so that it is 0 where nothing is missing
            total = total + self.reconstruction_weights[m] * error.sum() / count
        return total

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss and reconstruction."""
        extracted = self.extract(batch)
        return {
            "task": self.task_loss(self.head(self.fuse(extracted, batch)), batch),
            "reconstruction": self.reconstruction_loss(extracted, batch),
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of what is rebuilt in missing frames, beside that of the mean."""
        assert batch.complete is not None
        extracted, told = self.extract(batch), {}
        for m in MODALITIES:
            rebuilt = self.generators[m](extracted[m][:, : batch.frames[m].shape[1]])  # (N, T_m, d_m)
            missing = batch.frames[m] & ~batch.present[m]
            told[f"rebuilt {m}"] = beside_the_mean(rebuilt, batch.complete[m], missing)
        return told

    def represent(self, batch: Batch) -> Tensor:
        """What the head sees, (N, fusion_l + fusion_a + fusion_v)."""
        return self.fuse(self.extract(batch), batch)

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
