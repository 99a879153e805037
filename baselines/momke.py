"""MoMKE: Mixture of Modality Knowledge Experts.

Paper: Xu et al., "Leveraging Knowledge of Modality Experts for Incomplete Multimodal Learning", ACM Multimedia 2024.
Deviations from the official code are listed in ``cards/momke.yaml``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, Range, Rate, Stage, TaskSpec, register
from benchmark.parts.attention import attend
from benchmark.parts.pooling import masked_mean

EXPERTS = Stage("experts", trains_on="complete")
ROUTER = Stage("router")


class ExpertLayer(nn.Module):
    """``x + a + MLP(a)`` with x's attention to itself a; no normalisation, no positions, as in the official code."""

    def __init__(self, d: int, *, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.query, self.key_value = nn.Linear(d, d), nn.Linear(d, 2 * d)
        self.feedforward = nn.Sequential(
            nn.Linear(d, d), nn.GELU(), nn.Dropout(dropout), nn.Linear(d, d), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, T, d) and which frames may be attended to, (N, 1, 1, T) → (N, T, d)."""
        p = self.attention_dropout if self.training else 0.0
        attended = attend(self.query(x), self.key_value(x), mask, heads=self.heads, p=p)
        return x + attended + self.feedforward(attended)


@register("momke", paper="Xu et al., ACM MM 2024", trains_on="missing")
class MoMKE(Method):
    """An expert for each modality, trained alone; then each modality that is there asks all experts.

    First stage: the expert of modality m reads m alone and has a head of its own; the loss is the sum of their three
    task losses. Second stage: for each frame x of a modality that is present a router gives weights that sum to one,
    ``sum_e softmax(router_m(x))_e expert_e(x)``; the three modalities' means are joined and classified.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of the experts; a multiple of `heads`.
    layers, heads : int
        Of each expert.
    dropout : float
        Of the projected frames, of feed-forward parts, routers and the joint representation.
    attention_dropout : float
    """

    training_defaults = {"learning_rate": 1e-4, "batch_size": 32, "weight_decay": 1e-5, "clip_norm": 1e9}
    search_space = {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Choice(16, 32, 64),
        "d": Choice(32, 64, 128),
        "layers": Range(2, 6),
        "heads": Choice(1, 2, 4),
        "dropout": Range(0.0, 0.7),
        "attention_dropout": Range(0.0, 0.5),
    }
    stages = (EXPERTS, ROUTER)

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 64,
        layers: Count = 4,
        heads: Count = 2,
        dropout: Rate = 0.5,
        attention_dropout: Rate = 0.0,
    ) -> None:
        super().__init__(task)
        if d % heads:
            raise ValueError(f"width d={d} is no multiple of heads={heads}")
        self.stage = ROUTER  # what a trained method is in, when only its weights are loaded
        rates = {"dropout": dropout, "attention_dropout": attention_dropout}
        self.projections = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(task.feature_dims[m], d), nn.Dropout(dropout)) for m in MODALITIES}
        )
        self.experts = nn.ModuleDict(
            {m: nn.ModuleList(ExpertLayer(d, heads=heads, **rates) for _ in range(layers)) for m in MODALITIES}
        )
        self.heads = nn.ModuleDict({m: nn.Linear(d, task.num_outputs) for m in MODALITIES})
        self.routers = nn.ModuleDict(
            {
                m: nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Dropout(dropout), nn.Linear(d, len(MODALITIES)))
                for m in MODALITIES
            }
        )
        joint = len(MODALITIES) * d
        self.fusion = nn.Sequential(nn.Linear(joint, joint), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(joint, task.num_outputs)

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Experts and their heads first; then routers and fusion, while the experts learn on."""
        self.stage = stage
        first = stage == EXPERTS
        self.heads.requires_grad_(first)
        for part in (self.routers, self.fusion, self.head):
            part.requires_grad_(not first)

    def ask(self, expert: str, x: Tensor, present: Tensor) -> Tensor:
        """What an expert makes of projected frames (N, T, d), of which it attends to those present: (N, T, d)."""
        mask = present.to(x.dtype)[:, None, None, :]  # (N, T) → (N, 1, 1, T)
        for layer in self.experts[expert].children():
            x = layer(x, mask)
        return x

    def unimodal(self, batch: Batch) -> dict[str, Tensor]:
        """Each expert's outputs for its own modality, (N, num_outputs) each: of one that is absent, its bias."""
        outputs = {}
        for m in MODALITIES:
            read = self.ask(m, self.projections[m](batch.features[m]), batch.present[m])  # (N, T_m, d)
            outputs[m] = self.heads[m](masked_mean(read, batch.present[m]))
        return outputs

    def route(self, x: Tensor, modality: str) -> Tensor:
        """The router's weights of the three experts for each projected frame: (N, T, d) → (N, T, 3)."""
        return self.routers[modality](x).softmax(-1)

    def mix(self, batch: Batch, modality: str) -> Tensor:
        """Mean over a modality's present frames of what all experts say of them, (N, d): zeros where it is absent."""
        x, present = self.projections[modality](batch.features[modality]), batch.present[modality]
        said = torch.stack([self.ask(expert, x, present) for expert in MODALITIES], dim=-1)  # (N, T, d, 3)
        mixed = (said @ self.route(x, modality)[..., None]).squeeze(-1)  # (N, T, d, 3) @ (N, T, 3, 1) → (N, T, d)
        return masked_mean(mixed, present)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """First stage: each expert's task loss. Second: that of the mixture."""
        if self.stage == EXPERTS:
            return {f"expert {m}": self.task_loss(outputs, batch) for m, outputs in self.unimodal(batch).items()}
        return {"task": self.task_loss(self.head(self.represent(batch)), batch)}

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Entropy of the routers' weights, beside that of equal weights, which choose nothing."""
        told = {}
        for m in MODALITIES:
            weights = self.route(self.projections[m](batch.features[m]), m)  # (N, T, 3)
            entropies = -(weights * weights.clamp(min=1e-12).log()).sum(-1, keepdim=True)  # (N, T, 1)
            equal = entropies.new_tensor(math.log(len(MODALITIES)))
            told[f"routing {m}"] = (masked_mean(entropies, batch.present[m]).mean(), equal)
        return told

    def represent(self, batch: Batch) -> Tensor:
        """The joint representation, (N, 3 d)."""
        joint = torch.cat([self.mix(batch, m) for m in MODALITIES], dim=1)  # (N, 3 d)
        return joint + self.fusion(joint)

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs); while experts are trained, the mean of theirs."""
        if self.stage == EXPERTS:
            return torch.stack(list(self.unimodal(batch).values())).mean(0)  # 3 x (N, K) → (N, K)
        return self.head(self.represent(batch))
