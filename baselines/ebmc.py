"""EBMC: Enhance-then-Balance Modality Collaboration.

Paper: He et al., CVPR 2026 (arXiv 2604.12518). Parts of the official code are not public; what is known, and what we
chose, is listed in ``cards/ebmc.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

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
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import masked_mean
from benchmark.parts.sharing import Remembered
from benchmark.parts.transformer import Transformer

ENHANCE = Stage("enhance", trains_on="complete")
BALANCE = Stage("balance")


class Views(NamedTuple):
    """What is made of N samples: which modalities are there, (N, 3), and their vectors, (N, 3, d) each.

    `own` is ``common + specific`` and zero where a modality is missing; `enhanced` adds what the others say of it.
    """

    there: Tensor
    common: Tensor
    specific: Tensor
    own: Tensor
    enhanced: Tensor


def among(scores: Tensor, there: Tensor) -> Tensor:
    """Softmax of scores (N, 3) over the modalities that are there; over all where none is."""
    counts = there | ~there.any(1, keepdim=True)
    return scores.masked_fill(~counts, -torch.inf).softmax(-1)


def gap(energies: Tensor, counts: Tensor) -> Tensor:
    """Squared differences of the energies (3,), summed over pairs of modalities that both count, (3,)."""
    pairs = [(energies[i] - energies[j]).square() * (counts[i] & counts[j]) for i, j in combinations(range(3), 2)]
    return torch.stack(pairs).sum()


@register("ebmc", paper="He et al., CVPR 2026", trains_on="missing")
class EBMC(Method):
    """Enhances weak modalities first, then balances all by their energies and trusts them sample by sample.

    First stage: each modality is taken apart into a common and a specific vector, and complemented by what the others'
    common vectors say of it: ``unimodal task losses + msd_weight MSD + cce_weight CCE``. Second stage, with what the
    first one says of complete samples as its teacher:
    ``task + msd_weight MSD + cce_weight CCE + emc_weight EMC + imtd_weight IMTD``.

    Parameters
    ----------
    task : TaskSpec
    d, layers, heads : int
        Of the modalities' Transformers.
    dropout : float
    norm_weight, loss_weight, doubt_weight : float
        alpha, beta and gamma of the energy ``alpha |z_m|^2 + beta loss_m + gamma uncertainty_m``.
    gradient_weight : float
        delta, of the gradients of the energies' norms.
    temperature : float
        Of the trust in a modality.
    msd_weight, cce_weight, emc_weight, imtd_weight : float
    """

    training_defaults = {"learning_rate": 1e-4, "batch_size": 32, "weight_decay": 1e-5, "clip_norm": 1.0}
    search_space = {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Choice(16, 32, 64),
        "d": Choice(32, 64, 128),
        "layers": Range(2, 6),
        "dropout": Range(0.0, 0.5),
        "cce_weight": Range(0.025, 0.4, log=True),
        "emc_weight": Range(0.025, 0.4, log=True),
        "imtd_weight": Range(0.025, 0.4, log=True),
    }
    stages = (ENHANCE, BALANCE)

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 64,
        layers: Count = 4,
        heads: Count = 4,
        dropout: Rate = 0.1,
        norm_weight: NonNegative = 1.0,
        loss_weight: NonNegative = 1.0,
        doubt_weight: NonNegative = 1.0,
        gradient_weight: NonNegative = 0.01,
        temperature: Positive = 1.0,
        msd_weight: NonNegative = 0.01,
        cce_weight: NonNegative = 0.1,
        emc_weight: NonNegative = 0.1,
        imtd_weight: NonNegative = 0.1,
    ) -> None:
        super().__init__(task)
        self.stage = BALANCE  # what a trained method is in, when only its weights are loaded
        self.energy_weights = (norm_weight, loss_weight, doubt_weight)
        self.gradient_weight, self.temperature = gradient_weight, temperature
        self.weights = (msd_weight, cce_weight, emc_weight, imtd_weight)
        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d) for m in MODALITIES})
        self.encoders = Transformer(len(MODALITIES), d, heads=heads, layers=layers, dropout=dropout)
        self.common = nn.Linear(d, d)  # one for all modalities
        self.specific = nn.ModuleList(nn.Linear(d, d) for _ in MODALITIES)
        self.complements = nn.ModuleList(nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d)) for _ in MODALITIES)
        self.heads = nn.ModuleList(nn.Linear(d, task.num_outputs) for _ in MODALITIES)
        self.trust = nn.Linear(d, 1)
        joint = len(MODALITIES) * d
        self.fusion = nn.Sequential(nn.Linear(joint, joint), nn.ReLU(), Dropout(dropout))
        self.head = nn.Linear(joint, task.num_outputs)
        self.teacher = Remembered()

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Unimodal views first; what they say of complete training samples then is the second stage's teacher."""
        self.stage = stage
        for part in (self.trust, self.fusion, self.head):
            part.requires_grad_(stage == BALANCE)
        if stage == BALANCE:
            self.eval()
            self.teacher = Remembered(lambda batch: (self.unimodal(self.view(batch).own),), training_set)

    def view(self, batch: Batch) -> Views:
        """Encode each modality's present frames, take it apart, and complement it."""
        present = [batch.present[m] for m in MODALITIES]
        encoded = self.encoders([self.projections[m](batch.features[m]) for m in MODALITIES], present)
        x = torch.stack([masked_mean(e, p) for e, p in zip(encoded, present, strict=True)], dim=1)  # (N, 3, d)
        there = torch.stack([p.any(1) for p in present], dim=1)  # (N, 3)
        counts = there[:, :, None].to(x.dtype)  # (N, 3, 1)
        common = self.common(x) * counts
        specific = torch.stack([part(x[:, i]) for i, part in enumerate(self.specific)], dim=1) * counts
        # The mean of the others' common vectors, of those that are there: zeros where there is none.
        others = (common.sum(1, keepdim=True) - common) / (counts.sum(1, keepdim=True) - counts).clamp(min=1)
        complement = torch.stack([part(others[:, i]) for i, part in enumerate(self.complements)], dim=1)
        own = common + specific
        return Views(there, common, specific, own, own + complement)

    def unimodal(self, vectors: Tensor) -> Tensor:
        """What each modality's head says of its vector: (N, 3, d) → (N, 3, num_outputs)."""
        return torch.stack([head(vectors[:, i]) for i, head in enumerate(self.heads)], dim=1)

    def losses_of(self, outputs: Tensor, there: Tensor, batch: Batch) -> Tensor:
        """Each modality's task loss (3,), over the samples that have it: outputs (N, 3, K) and which, (N, 3)."""
        losses = []
        for i in range(len(MODALITIES)):
            rows = there[:, i].nonzero()[:, 0]
            intensity = None if batch.intensity is None else batch.intensity[rows]
            own = replace(batch, labels=batch.labels[rows], intensity=intensity)
            losses.append(self.task_loss(outputs[rows, i], own) if len(rows) else outputs.sum() * 0.0)
        return torch.stack(losses)

    def disentanglement(self, views: Views) -> Tensor:
        """MSD: common vectors of a sample alike, each apart from the specific one; means over what is there."""
        pairs = list(combinations(range(len(MODALITIES)), 2))
        both = torch.stack([views.there[:, i] & views.there[:, j] for i, j in pairs], dim=1)  # (N, 3 pairs)
        apart = torch.stack([(views.common[:, i] - views.common[:, j]).square().mean(-1) for i, j in pairs], dim=1)
        alike = (apart * both).sum() / both.sum().clamp(min=1)
        overlap = F.cosine_similarity(views.common, views.specific, dim=-1).square()  # (N, 3), 0 where missing
        return alike + overlap.sum() / views.there.sum().clamp(min=1)

    def doubts(self, outputs: Tensor) -> Tensor:
        """A teacher's uncertainty of each modality of each sample: (N, 3, K) → (N, 3).

        The entropy of its response; of an intensity, the squared distance to the mean of the three.
        """
        if outputs.shape[-1] == 1:
            return (outputs - outputs.mean(1, keepdim=True)).square()[..., 0]
        return -(outputs.softmax(-1) * outputs.log_softmax(-1)).sum(-1)

    def energies(self, views: Views, losses: Tensor, doubts: Tensor) -> Tensor:
        """E(m) of each modality, (3,): means over the samples that have it; 0 of one that none has."""
        norm_weight, loss_weight, doubt_weight = self.energy_weights
        counts = views.there.sum(0).clamp(min=1)  # (3,)
        norms = views.own.square().mean(-1).sum(0) / counts  # (N, 3, d) → (3,); a missing modality is zero
        return norm_weight * norms + loss_weight * losses + doubt_weight * (doubts * views.there).sum(0) / counts

    def coordination(self, views: Views, losses: Tensor, doubts: Tensor) -> Tensor:
        """EMC: the gap of the energies, and the gradients of their norms, ``2 alpha z / d``, squared."""
        slopes = (2.0 * self.energy_weights[0] / views.own.shape[-1]) * views.own  # (N, 3, d)
        steep = slopes.square().sum(-1).mean(0).sum()
        return gap(self.energies(views, losses, doubts), views.there.any(0)) + self.gradient_weight * steep

    def trust_of(self, views: Views) -> Tensor:
        """How much each modality counts in the fusion: (N, 3), with sum one over those that are there."""
        return among(self.trust(views.enhanced)[..., 0], views.there)

    def fuse(self, views: Views, weights: Tensor) -> Tensor:
        """Joint representation (N, 3 d) of the enhanced vectors, each times its weight and three."""
        joint = (len(MODALITIES) * weights[:, :, None] * views.enhanced).flatten(1)  # (N, 3, d) → (N, 3 d)
        return joint + self.fusion(joint)

    def distillation(self, weights: Tensor, outputs: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
        """IMTD: fusion weights as the teacher trusts, and the answer that it gives with that trust.

        Parameters
        ----------
        weights : Tensor, shape (N, 3)
        outputs : Tensor, shape (N, K)
        teacher : Tensor, shape (N, 3, K)
            Its unimodal answers to the complete samples.
        there : bool Tensor, shape (N, 3)
        """
        wanted = among(-self.doubts(teacher) / self.temperature, there)  # (N, 3)
        trust = F.kl_div(weights.clamp(min=1e-8).log(), wanted, reduction="batchmean")
        if outputs.shape[1] == 1:
            return trust + F.mse_loss(outputs, (wanted[:, :, None] * teacher).sum(1))
        response = (wanted[:, :, None] * teacher.softmax(-1)).sum(1)  # (N, 3, K) → (N, K)
        return trust + F.kl_div(outputs.log_softmax(-1), response, reduction="batchmean")

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Both stages' task losses, MSD and CCE; of the second also EMC and IMTD."""
        views = self.view(batch)
        msd_weight, cce_weight, emc_weight, imtd_weight = self.weights
        losses = self.losses_of(self.unimodal(views.own), views.there, batch)  # (3,)
        # CCE: each modality is to tell the label with what the others add to it, and by them alone where it is missing.
        everyone = torch.ones_like(views.there)
        complemented = self.losses_of(self.unimodal(views.enhanced), everyone, batch).mean()
        shared = {"MSD": msd_weight * self.disentanglement(views), "CCE": cce_weight * complemented}
        if self.stage == ENHANCE:
            return {"unimodal": losses.sum(), **shared}
        (teacher,) = self.teacher.of(batch)  # (N, 3, K), of the complete samples
        weights = self.trust_of(views)
        outputs = self.head(self.fuse(views, weights))
        return {
            "task": self.task_loss(outputs, batch),
            **shared,
            "EMC": emc_weight * self.coordination(views, losses, self.doubts(teacher)),
            "IMTD": imtd_weight * self.distillation(weights, outputs, teacher, views.there),
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The task's loss with the trust in each modality, beside that with equal trust in all that are there."""
        views = self.view(batch)
        equal = among(torch.zeros_like(views.own[..., 0]), views.there)
        value, idle = (
            self.task_loss(self.head(self.fuse(views, weights)), batch) for weights in (self.trust_of(views), equal)
        )
        return {"loss with trust": (value, idle)}

    def represent(self, batch: Batch) -> Tensor:
        """The joint representation, (N, 3 d)."""
        views = self.view(batch)
        return self.fuse(views, self.trust_of(views))

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs); in the first stage the mean of the enhanced views'."""
        if self.stage == ENHANCE:
            return self.unimodal(self.view(batch).enhanced).mean(1)  # (N, 3, K) → (N, K)
        return self.head(self.represent(batch))
