"""DiCMoR: Distribution-Consistent Modal Recovering for Incomplete Multimodal Learning.

Paper: Wang, Cui and Li, ICCV 2023. Deviations from the official code are listed in ``cards/dicmor.yaml``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, Rate, TaskSpec, register
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.dropout import Dropout
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.pooling import last_frame, padded
from benchmark.parts.transformer import PAIRS, Transformer, attend_across, positions_of_frames

LEAST_SCALE = 0.5
"""Of a coupling: what the way back divides by. With a scale near 0 the frames of one unusual sample overflow."""


class Coupling(nn.Module):
    """Affine coupling: one half of the numbers scales and shifts the other, ``b' = (b + t(a)) s(a)``.

    Parameters
    ----------
    d : int
        Even.
    hidden : int
    swapped : bool
        Whether the second half acts on the first.
    """

    def __init__(self, d: int, hidden: int, *, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped
        self.net = nn.Sequential(
            nn.Linear(d // 2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, d)
        )
        last = self.net[-1]  # a scale near sigmoid(2) of what is above the least, and t = 0, as in Glow
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01), nn.init.zeros_(last.bias)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.chunk(2, -1)
        return (second, first) if self.swapped else (first, second)

    def _joined(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if self.swapped else [a, b], dim=-1)

    def _scale_and_shift(self, a: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.net(a).chunk(2, -1)
        return LEAST_SCALE + (1 - LEAST_SCALE) * torch.sigmoid(scale + 2.0), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., d) → (..., d) and the logarithm of the Jacobian's determinant, (...)."""
        a, b = self._halves(x)
        scale, shift = self._scale_and_shift(a)
        return self._joined(a, (b + shift) * scale), scale.log().sum(-1)

    def reverse(self, z: Tensor) -> Tensor:
        """The x that `forward` turns into z."""
        a, b = self._halves(z)
        scale, shift = self._scale_and_shift(a)
        return self._joined(a, b / scale - shift)


class Flow(nn.Module):
    """Couplings one after the other, taking turns between the halves: frames ↔ latent numbers."""

    def __init__(self, d: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Coupling(d, hidden, swapped=i % 2 == 1) for i in range(steps))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., d) → (..., d) and the log-determinant, (...)."""
        logdet = x.new_zeros(x.shape[:-1])
        for step in self.steps:
            x, own = step(x)
            logdet = logdet + own
        return x, logdet

    def reverse(self, z: Tensor) -> Tensor:
        """(..., d) → (..., d)."""
        for step in list(self.steps)[::-1]:
            assert isinstance(step, Coupling)
            z = step.reverse(z)
        return z


class Refiner(nn.Module):
    """Residual blocks with channel attention on recovered frames, (N, T, d) → (N, T, d), twice as wide inside."""

    def __init__(self, d: int, blocks: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.blocks = nn.ModuleList(
            nn.Sequential(TemporalConv(2 * d, 2 * d, kernel=3), nn.ReLU(), nn.Linear(2 * d, 2 * d))
            for _ in range(blocks)
        )
        self.attention = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * d, max(1, d // 8)), nn.ReLU(), nn.Linear(max(1, d // 8), 2 * d), nn.Sigmoid())
            for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, d) → (N, T, d); T is the task's, so that the means of channels depend on no batch."""
        h = self.widen(x)
        for block, attention in zip(self.blocks, self.attention, strict=True):
            change = block(h)  # (N, T, 2 d)
            h = h + change * attention(change.mean(1, keepdim=True))  # (N, 1, 2 d)
        return self.narrow(h)


@register("dicmor", paper="Wang et al., ICCV 2023", trains_on="missing")
class DiCMoR(Method):
    """Flows carry a modality that is there into the distribution of one that is missing.

    A normalising flow f_m for each modality maps its frames to latent ones, which follow the same normal distribution
    in all modalities, one for each category. A missing modality m is recovered as ``refine(f_m^-1(f_s(x_s)))`` from
    a modality s that is there, or from two, and MulT's Transformers fuse the three.
    ``loss = task + recovery_weight (L_likelihood + L_recovery)``

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of the modalities; even, and a multiple of `heads`.
    layers, heads, kernel : int
        Of MulT's Transformers, and of the convolutions before them.
    flow_steps, flow_hidden : int
    refiner_blocks : int
    recovery_weight : float
    attention_dropout, embedding_dropout, text_dropout, output_dropout : float
    """

    training_defaults = {"learning_rate": 1e-3, "batch_size": 32, "clip_norm": 0.6}
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(16, 32, 64),
        "d": Choice(16, 32, 64),
        "layers": Range(2, 6),
        "flow_steps": Choice(4, 8, 16),
        "recovery_weight": Range(0.025, 0.4, log=True),
        "attention_dropout": Range(0.0, 0.5),
        "output_dropout": Range(0.0, 0.7),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 32,
        layers: Count = 4,
        heads: Count = 8,
        kernel: Count = 5,
        flow_steps: Count = 8,
        flow_hidden: Count = 64,
        refiner_blocks: Count = 2,
        recovery_weight: NonNegative = 0.1,
        attention_dropout: Rate = 0.2,
        embedding_dropout: Rate = 0.2,
        text_dropout: Rate = 0.5,
        output_dropout: Rate = 0.5,
    ) -> None:
        super().__init__(task)
        if d % 2:
            raise ValueError(f"width d={d} is odd; couplings need two halves")
        self.recovery_weight = recovery_weight
        self.convolutions = nn.ModuleDict(
            {m: TemporalConv(task.feature_dims[m], d, kernel=kernel, bias=False) for m in MODALITIES}
        )
        self.flows = nn.ModuleDict({m: Flow(d, flow_hidden, flow_steps) for m in MODALITIES})
        self.means = nn.Parameter(torch.zeros(task.num_categories, d))
        self.log_deviations = nn.Parameter(torch.zeros(task.num_categories, d))
        self.merge = nn.ModuleDict({m: nn.Linear(2 * d, d) for m in MODALITIES})
        self.refiners = nn.ModuleDict({m: Refiner(d, refiner_blocks) for m in MODALITIES})
        shared: dict[str, Any] = {
            "heads": heads,
            "layers": layers,
            "attention_dropout": attention_dropout,
            "embedding_dropout": embedding_dropout,
            "positions": positions_of_frames,
        }
        self.crossmodal = Transformer(len(PAIRS), d, **shared)
        self.selfattention = Transformer(len(MODALITIES), 2 * d, **shared)
        joint = 2 * d * len(MODALITIES)  # 6 d
        self.residual = nn.Sequential(
            nn.Linear(joint, joint), nn.ReLU(), Dropout(output_dropout), nn.Linear(joint, joint)
        )
        self.head = nn.Linear(joint, task.num_outputs)
        self.text_dropout = Dropout(text_dropout)

    def project(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every modality to (N, max_frames[m], d)."""
        x, _ = padded(features, self.task.max_frames)
        x["l"] = self.text_dropout(x["l"])
        return {m: self.convolutions[m](x[m]) for m in MODALITIES}

    def carry(self, latent: Tensor, source: str, target: str) -> Tensor:
        """Latent frames or masks of one modality at the places of another's: (N, T_source, …) → (N, T_target, …)."""
        t_source, t_target = self.task.max_frames[source], self.task.max_frames[target]
        # Of equal lengths each frame at its own place, of others at the same part of the time.
        return latent[:, torch.arange(t_target, device=latent.device) * t_source // t_target]

    def recover(self, x: Mapping[str, Tensor], there: Mapping[str, Tensor], target: str) -> Tensor:
        """What stands in for a missing modality: projected (N, T_m, d), which are there (N,) → (N, T_target, d).

        A sample without any source is recovered from the latent zeros.
        """
        sources = [m for m in MODALITIES if m != target]
        flow, found = self.flows[target], []
        assert isinstance(flow, Flow)
        for source in sources:
            latent, _ = self.flows[source](x[source] * there[source][:, None, None])
            latent = self.carry(latent, source, target) * there[source][:, None, None]
            found.append(flow.reverse(latent).detach())  # flows learn by their likelihood alone
        first, second = (there[source][:, None, None] for source in sources)  # (N, 1, 1)
        merged = self.merge[target](torch.cat(found, dim=-1))  # (N, T, 2 d) → (N, T, d)
        return self.refiners[target](
            torch.where(first & ~second, found[0], torch.where(second & ~first, found[1], merged))
        )

    def complete(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Every modality (N, max_frames[m], d), recovered where missing; what to attend to; and what was recovered."""
        x = self.project(batch.features)
        frames, _ = padded({m: batch.frames[m][..., None] for m in MODALITIES}, self.task.max_frames)
        there = {m: batch.present[m].any(1) for m in MODALITIES}
        filled, seen, recovered = {}, {}, {}
        for m in MODALITIES:
            recovered[m] = self.recover({s: v.detach() for s, v in x.items()}, there, m)
            filled[m] = torch.where(there[m][:, None, None], x[m], recovered[m])
            # A recovered modality has frames where those that it comes from have some: (N, T_m)
            carried = torch.stack([self.carry(frames[s][..., 0], s, m) for s in MODALITIES if s != m]).any(0)
            seen[m] = torch.where(there[m][:, None], frames[m][..., 0], carried)
        return filled, seen, recovered

    def likelihood_loss(self, complete: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Bits a number of complete frames under flows and their category's normal distribution, at least 0; summed."""
        losses = []
        for m in MODALITIES:
            real = batch.frames[m].sum().clamp(min=1)
            z, logdet = self.flows[m](complete[m][:, : batch.frames[m].shape[1]])
            mean, log_deviation = self.means[batch.labels][:, None], self.log_deviations[batch.labels][:, None]
            density = -0.5 * math.log(2 * math.pi) - log_deviation - 0.5 * ((z - mean) / log_deviation.exp()).square()
            log_p = ((density.sum(-1) + logdet) * batch.frames[m]).sum()  # (N, T) → ()
            losses.append((-log_p / (math.log(2) * real * z.shape[-1])).clamp(min=0.0))
        return torch.stack(losses).sum()

    def recovery_loss(self, recovered: Mapping[str, Tensor], complete: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Squared error at the real frames of modalities that went missing; their mean over numbers."""
        total = count = batch.features["l"].new_zeros(())
        for m in MODALITIES:
            t = batch.frames[m].shape[1]
            lost = batch.frames[m] & ~batch.present[m].any(1, keepdim=True)  # (N, T)
            total = total + ((recovered[m] - complete[m])[:, :t].square() * lost[..., None]).sum()
            count = count + lost.sum() * complete[m].shape[-1]
        return total / count.clamp(min=1)

    def fuse(self, filled: dict[str, Tensor], seen: dict[str, Tensor]) -> Tensor:
        """MulT's Transformers on the three modalities: (N, 6 d)."""
        crossed = attend_across(self.crossmodal, filled, seen, self.task.max_frames)  # (N, T_m, 2 d)
        masks = [seen[m] for m in MODALITIES]
        fused = self.selfattention([crossed[m] for m in MODALITIES], masks, causal_offset=[0] * len(MODALITIES))
        joint = torch.cat([last_frame(h, mask) for h, mask in zip(fused, masks, strict=True)], dim=1)
        return joint + self.residual(joint)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss, the flows' likelihood of the complete frames, and the error of what was recovered."""
        assert batch.complete is not None
        filled, seen, recovered = self.complete(batch)
        complete = {m: x.detach() for m, x in self.project(batch.complete).items()}
        return {
            "task": self.task_loss(self.head(self.fuse(filled, seen)), batch),
            "likelihood": self.recovery_weight * self.likelihood_loss(complete, batch),
            "recovery": self.recovery_weight * self.recovery_loss(recovered, complete, batch),
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of the recovered modalities, beside those of the mean of what had to be recovered."""
        assert batch.complete is not None
        recovered, complete = self.complete(batch)[2], self.project(batch.complete)
        told = {}
        for m in MODALITIES:
            t = batch.frames[m].shape[1]
            lost = batch.frames[m] & ~batch.present[m].any(1, keepdim=True)  # (N, T)
            told[f"recovered {m}"] = beside_the_mean(recovered[m][:, :t], complete[m][:, :t], lost)
        return told

    def represent(self, batch: Batch) -> Tensor:
        """What the head sees, (N, 6 d)."""
        filled, seen, _ = self.complete(batch)
        return self.fuse(filled, seen)

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
