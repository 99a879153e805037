"""CMAD: Correlation-aware and Modalities-Aware Distillation.

Paper: Zhuang et al., ICCV 2025. The networks and losses of the official code are not public; what is known, and what
we chose, is listed in ``cards/cmad.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import (
    MODALITIES,
    Batch,
    Choice,
    Count,
    Method,
    NonNegative,
    Positive,
    Range,
    Rate,
    Stage,
    TaskSpec,
    register,
)
from benchmark.parts.pooling import masked_mean
from benchmark.parts.sharing import Remembered
from benchmark.parts.transformer import Transformer

TEACHER = Stage("teacher", trains_on="complete")
STUDENT = Stage("student")
COMBINATIONS = 2 ** len(MODALITIES)


class CMADNetwork(nn.Module):
    """A Perceiver for each modality, whose latents a Transformer fuses.

    Parameters
    ----------
    task : TaskSpec
    d, latents, heads, depth, layers, dropout
        See :class:`CMAD`.
    """

    def __init__(
        self, task: TaskSpec, *, d: int, latents: int, heads: int, depth: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d) for m in MODALITIES})
        self.latents = nn.Parameter(torch.randn(len(MODALITIES), latents, d) * 0.02)
        self.perceivers = Transformer(len(MODALITIES), d, heads=heads, layers=depth, dropout=dropout)
        self.fusion = Transformer(1, d, heads=heads, layers=layers, dropout=dropout)
        self.head = nn.Linear(d, task.num_outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The joint representation (N, d), and logits or intensities (N, num_outputs)."""
        n, count = len(batch), self.latents.shape[1]
        present = [batch.present[m] for m in MODALITIES]
        frames = [self.projections[m](batch.features[m]) for m in MODALITIES]  # 3 x (N, T_m, d)
        asking = [latent.expand(n, -1, -1) for latent in self.latents]  # 3 x (N, latents, d)
        everyone = torch.ones(n, count, dtype=torch.bool, device=batch.device)
        read = self.perceivers(asking, [everyone] * len(MODALITIES), frames, present)
        # The latents of a modality that is missing are hidden: (N, 3 latents)
        there = availability(batch).repeat_interleave(count, dim=1)
        (fused,) = self.fusion([torch.cat(read, dim=1)], [there])  # (N, 3 latents, d)
        joint = masked_mean(fused, there)
        return joint, self.head(joint)


def availability(batch: Batch) -> Tensor:
    """Which modalities have a present frame: bool, (N, 3)."""
    return torch.stack([batch.present[m].any(1) for m in MODALITIES], dim=1)


def members(there: Tensor) -> Tensor:
    """One-hot combination of modalities of each sample: bool (N, 3) → (N, 8), whose bits are `MODALITIES` in order."""
    places = torch.arange(len(MODALITIES), device=there.device)
    bits = (there * 2**places).sum(1)  # (N,)
    return (bits[:, None] == torch.arange(COMBINATIONS, device=there.device)).float()


def divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each row's softmax from the one that is wanted: logits (N, K) each → (N,)."""
    target = wanted.log_softmax(-1)
    return (target.exp() * (target - found.log_softmax(-1))).sum(-1)


def correlation_distillation(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Squared error of each sample's representation, times how far its correlations are off; the mean over samples.

    Correlations are the student's with all teachers of the batch, against the teacher's with them: softmaxes of cosines
    over `tau`; ``mean_i KL(tt_i || st_i) MSE_i``. Both representations are (N, d).
    """
    s, t = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    apart = divergence(t @ t.T / tau, s @ t.T / tau)  # of (N, N) each: (N,)
    return (apart * (student - teacher).square().mean(-1)).mean()


@register("cmad", paper="Zhuang et al., ICCV 2025", trains_on="missing")
class CMAD(Method):
    """A student of incomplete samples learns most where it lags behind a teacher of complete ones.

    ``delta CAFD + w_c (task + gamma response)``, where c is the combination of modalities that a sample has, and w_c
    is how far the student's task loss lies above the teacher's on c, ``(student - teacher)+``, over its mean.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width; a multiple of `heads`.
    latents, depth : int
        Learnt queries of each modality's Perceiver, and its layers.
    heads, layers : int
        Heads of both, and layers of the fusing Transformer.
    dropout : float
    tau, temperature : float
        Of the similarities, and of the responses.
    delta, gamma : float
        Weights of feature and of response distillation.
    momentum : float
        How much of the lags is kept at each step.
    """

    training_defaults = {"learning_rate": 1e-3, "batch_size": 64, "weight_decay": 5e-4}
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(32, 64, 128),
        "d": Choice(32, 64, 96),
        "latents": Range(3, 10),
        "dropout": Range(0.0, 0.5),
        "delta": Range(0.025, 0.4, log=True),
        "gamma": Range(0.25, 4.0, log=True),
    }
    stages = (TEACHER, STUDENT)

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 64,
        latents: Count = 5,
        heads: Count = 8,
        depth: Count = 2,
        layers: Count = 2,
        dropout: Rate = 0.3,
        tau: Positive = 0.2,
        temperature: Positive = 2.0,
        delta: NonNegative = 0.1,
        gamma: NonNegative = 1.0,
        momentum: Rate = 0.99,
    ) -> None:
        super().__init__(task)
        if d % heads:
            raise ValueError(f"width d={d} is no multiple of heads={heads}")
        self.stage = STUDENT  # what a trained method is in, when only its weights are loaded
        self.tau, self.temperature, self.delta, self.gamma, self.momentum = tau, temperature, delta, gamma, momentum
        options: dict[str, Any] = {
            "d": d,
            "latents": latents,
            "heads": heads,
            "depth": depth,
            "layers": layers,
            "dropout": dropout,
        }
        self.teacher, self.student = CMADNetwork(task, **options), CMADNetwork(task, **options)
        self.lags = nn.Buffer(torch.ones(COMBINATIONS))
        self.teacher_outputs = Remembered()

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Train the teacher first; then freeze it and compute its outputs once."""
        self.stage = stage
        self.teacher.requires_grad_(stage == TEACHER)
        self.student.requires_grad_(stage == STUDENT)
        if stage == STUDENT:
            self.teacher.eval()
            self.teacher_outputs = Remembered(self.teacher, training_set)

    def train(self, mode: bool = True) -> CMAD:
        """As in torch, but a frozen teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.train(mode and self.stage == TEACHER)
        return self

    def losses_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Task loss of each sample: (N, num_outputs) → (N,)."""
        if outputs.shape[1] > 1:
            return F.cross_entropy(outputs, batch.labels, reduction="none")
        assert batch.intensity is not None
        return (outputs[:, 0] - batch.intensity).abs()

    def responses(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Distance of each sample's response to the teacher's, (N,): softened KL, a squared error of intensities."""
        if student.shape[1] == 1:
            return (student - teacher).square()[:, 0]
        return self.temperature**2 * divergence(teacher / self.temperature, student / self.temperature)

    def importance(self) -> Tensor:
        """Weight of each combination, (8,): its lag over the mean of all; equal weights where nothing lags."""
        mean = self.lags.mean()
        return torch.where(mean > 0, self.lags / mean.clamp(min=1e-12), torch.ones_like(self.lags))

    def follow(self, combinations: Tensor, lags: Tensor) -> None:
        """Move the lags of the combinations in a batch, (N, 8), towards what its samples lag, (N,), if positive."""
        counts = combinations.sum(0)  # (8,)
        found = ((lags @ combinations) / counts.clamp(min=1)).relu()
        moved = self.momentum * self.lags + (1 - self.momentum) * found
        self.lags.copy_(torch.where(counts > 0, moved, self.lags))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss; of the student, weighted by combination, with features and responses distilled."""
        if self.stage == TEACHER:
            return {"task": self.task_loss(self.teacher(batch)[1], batch)}
        teacher_joint, teacher_outputs = self.teacher_outputs.of(batch)  # (N, d), (N, K)
        joint, outputs = self.student(batch)
        combinations = members(availability(batch)).to(joint.dtype)
        losses = self.losses_of(outputs, batch)  # (N,)
        weights = combinations @ self.importance()  # (N,), as they stood before this batch
        if self.training:
            with torch.no_grad():
                self.follow(combinations, losses - self.losses_of(teacher_outputs, batch))
        return {
            "task": (weights * losses).mean(),
            "CAFD": self.delta * correlation_distillation(joint, teacher_joint, self.tau),
            "responses": self.gamma * (weights * self.responses(outputs, teacher_outputs)).mean(),
        }

    def _predicting(self) -> CMADNetwork:
        """The student; the teacher while it is trained."""
        return self.teacher if self.stage == TEACHER else self.student

    def represent(self, batch: Batch) -> Tensor:
        """The joint representation, (N, d)."""
        joint: Tensor = self._predicting()(batch)[0]
        return joint

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        outputs: Tensor = self._predicting()(batch)[1]
        return outputs
