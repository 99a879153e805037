"""DMD: Decoupled Multimodal Distilling for Emotion Recognition.

Paper: Li, Wang and Cui, CVPR 2023. Deviations from the official code are listed in ``cards/dmd.yaml``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Count, Method, NonNegative, Rate, TaskSpec, register
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import last_frame, masked_mean
from benchmark.parts.transformer import PAIRS, Transformer, attend_across

# Directions (target, source) that the official code favours in advance: from language, and from vision to audio.
_FAVOURED = {"shared": {("a", "l"), ("v", "l")}, "private": {("a", "l"), ("v", "l"), ("a", "v")}}


def margin_loss(shared: Tensor, labels: Tensor, margin: float, *, ordered: bool = False) -> Tensor:
    """Shared vectors lie nearer to another modality's of the same category than to the own modality's of another.

    Mean over the triplets (i, j, k) of ``max(0, margin - cos(i, j) + cos(i, k))`` where i and j are of different
    modalities and the same category, i and k of the same modality and different categories.

    Parameters
    ----------
    shared : Tensor, shape (M, N, d)
        By modality and sample.
    labels : int64 Tensor, shape (N,)
    margin : float
    ordered : bool
        Whether categories are steps of an intensity; then the margin is times the number of steps from i to k.

    Returns
    -------
    Tensor, scalar
        0 where there is no triplet.
    """
    m, n, _ = shared.shape
    # All triplets at once: 48^3 numbers at a batch of 16. Rows are ordered by modality, then sample.
    vectors = F.normalize(shared, dim=-1, eps=1e-6).flatten(0, 1)  # (M * N, d)
    cosine = vectors @ vectors.T  # (M * N, M * N)
    modality = torch.arange(m, device=labels.device).repeat_interleave(n)  # (M * N,): 0 … 0 1 … 1 2 … 2
    same_modality = modality[:, None] == modality[None, :]  # (M * N, M * N)
    steps = (labels[:, None] - labels[None, :]).abs().repeat(m, m)  # (N, N) → (M * N, M * N)
    near, far = (steps == 0) & ~same_modality, same_modality & (steps > 0)  # i with j, i with k
    triplets = near[:, :, None] & far[:, None, :]  # (M * N, M * N, M * N): is (i, j, k) one?
    margins = margin * (steps if ordered else steps.clamp(max=1)).to(cosine.dtype)  # of i and k
    excess = (margins[:, None, :] - cosine[:, :, None] + cosine[:, None, :]).relu()  # the same shape
    return (excess * triplets).sum() / triplets.sum().clamp(min=1)


class GraphDistillation(nn.Module):
    """A graph whose vertices are the modalities; each learned edge weighs how much one learns from another.

    An edge comes from the outputs and representations of its two ends, by sample, and the six edges of a sample sum to
    one. Their means over a batch are held near a prior, or else they would all turn to what is alike already.

    Parameters
    ----------
    num_outputs, width, hidden : int
        K, the size of a representation, and that of what edges are read from.
    favoured : set of (target, source)
        The directions that the prior prefers.
    """

    prior: Tensor
    targets: Tensor
    sources: Tensor

    def __init__(self, num_outputs: int, width: int, hidden: int, favoured: set[tuple[str, str]]) -> None:
        super().__init__()
        self.read_logits = nn.Linear(num_outputs, hidden)
        self.read_representation = nn.Linear(width, hidden)
        self.read_edge = nn.Linear(4 * hidden, 1)  # logits and representation of either end
        preference = torch.tensor([float(pair in favoured) for pair in PAIRS])
        self.register_buffer("prior", (preference / 0.25).softmax(0))  # (6,), at temperature 1/4
        places = torch.tensor([[MODALITIES.index(m) for m in pair] for pair in PAIRS])  # (6, 2)
        self.register_buffer("targets", places[:, 0], persistent=False)
        self.register_buffer("sources", places[:, 1], persistent=False)

    def edges(self, logits: Tensor, representations: Tensor) -> Tensor:
        """Weights of the six directions, in the order of `PAIRS`: (M, N, K) and (M, N, width) → (6, N)."""
        # 2 x (M, N, hidden) → (M, N, 2 hidden); by direction, an edge sees both its ends.
        vertices = torch.cat([self.read_logits(logits), self.read_representation(representations)], dim=-1)
        pairs = torch.cat([vertices[self.targets], vertices[self.sources]], dim=-1)  # (6, N, 4 hidden)
        return (self.read_edge(pairs).squeeze(-1) / 8).softmax(0)  # (6, N), over directions, at temperature 8

    def forward(self, logits: Tensor, representations: Tensor, representation_weight: float) -> Tensor:
        """What the modalities learn from each other along the edges, and the edges' distance to the prior.

        Logits draw near those they learn from (weighted L1 distance). Representations, where they have a weight, move
        away from theirs (positive part of the cosine). Gradients go to the modality that learns, not to the other.
        """
        edges = self.edges(logits, representations)
        # As in the official code: the prior is added to an edge, and held against the mean edges, tenfold.
        weights = edges + self.prior[:, None]  # (6, N)
        distances = (logits[self.targets] - logits[self.sources].detach()).abs().sum(-1)  # (6, N)
        total = (distances * weights).mean(1).sum() + 10.0 * (edges.mean(1) - self.prior).square().sum()
        if representation_weight:
            taught, teaching = representations[self.targets], representations[self.sources].detach()  # (6, N, width)
            alike = F.cosine_similarity(taught, teaching, dim=-1).relu().mean(1)  # (6,)
            total = total + representation_weight * (alike * weights.mean(1)).sum()
        return total


class ResidualHead(nn.Module):
    """Two linear layers with a shortcut around them, then a classifier: (..., d) → what it sees and its K outputs."""

    def __init__(self, d: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(d, d), nn.ReLU(), Dropout(dropout), nn.Linear(d, d))
        self.classifier = nn.Linear(d, num_outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, d) → (N, d) and (N, K)."""
        x = x + self.block(x)
        return x, self.classifier(x)


class Parts(NamedTuple):
    """Each modality's frames, taken apart: dicts of modality to Tensor, shape (N, T_m, d)."""

    x: dict[str, Tensor]
    shared: dict[str, Tensor]
    private: dict[str, Tensor]


@register("dmd", paper="Li et al., CVPR 2023", trains_on="complete")
class DMD(Method):
    """Modalities are decoupled into shared and private parts, and in both spaces they learn from each other.

    ``loss = sum of 8 task + distillation_weight (GD_shared + GD_private)
    + decoupling_weight (L_rec + L_cyc + 0.1 (L_margin + L_ort))``

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of each modality after the temporal convolution.
    heads, layers : int
        Of all twelve Transformers.
    kernel : int
        Of the temporal convolutions.
    input_dropout : float
        On the language features.
    attention_dropout, embedding_dropout, output_dropout : float
    distillation_weight, decoupling_weight, constraint_weight : float
        `constraint_weight` stands for the 0.1 before margin and orthogonality.
    representation_weight : float
        Of what keeps representations apart in the private graph.
    margin : float
    """

    training_defaults = {"learning_rate": 1e-4, "batch_size": 16, "clip_norm": 0.6}

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 50,
        heads: Count = 10,
        layers: Count = 4,
        kernel: Count = 5,
        input_dropout: Rate = 0.5,
        attention_dropout: Rate = 0.2,
        embedding_dropout: Rate = 0.2,
        output_dropout: Rate = 0.5,
        distillation_weight: NonNegative = 0.05,
        decoupling_weight: NonNegative = 0.1,
        constraint_weight: NonNegative = 0.1,
        representation_weight: NonNegative = 10.0,
        margin: NonNegative = 0.15,
    ) -> None:
        super().__init__(task)
        self.weights = (distillation_weight, decoupling_weight, constraint_weight)
        self.representation_weight = representation_weight
        self.margin = margin
        k, count = task.num_outputs, len(MODALITIES)
        self.input_dropout = Dropout(input_dropout)
        self.convolutions = nn.ModuleDict(
            {m: TemporalConv(task.feature_dims[m], d, kernel=kernel, bias=False) for m in MODALITIES}
        )
        self.shared = nn.Linear(d, d, bias=False)  # one for all modalities
        self.private = nn.ModuleDict({m: nn.Linear(d, d, bias=False) for m in MODALITIES})
        self.decoders = nn.ModuleDict({m: nn.Linear(2 * d, d, bias=False) for m in MODALITIES})
        transformer: dict[str, Any] = {
            "heads": heads,
            "layers": layers,
            "attention_dropout": attention_dropout,
            "embedding_dropout": embedding_dropout,
        }
        self.attend_shared = Transformer(count, d, **transformer)  # within each modality's shared part
        self.attend_private = Transformer(len(PAIRS), d, **transformer)  # across modalities, as in MulT
        self.attend_crossed = Transformer(count, 2 * d, **transformer)  # then within each, as wide as two sources
        self.shared_heads = nn.ModuleDict({m: ResidualHead(d, k, output_dropout) for m in MODALITIES})
        self.private_heads = nn.ModuleDict({m: ResidualHead(2 * d, k, output_dropout) for m in MODALITIES})
        self.joint_shared_head = ResidualHead(count * d, k, output_dropout)
        self.gates = nn.ModuleDict({m: nn.Linear(2 * d, 2 * d) for m in MODALITIES})
        self.shared_gate = nn.Linear(count * d, count * d)
        self.head = ResidualHead(3 * count * d, k, output_dropout)  # 3 x 2 d private and 3 d shared numbers
        self.shared_graph = GraphDistillation(k, d, 64, _FAVOURED["shared"])  # the paper's HomoGD
        self.private_graph = GraphDistillation(k, 2 * d, 32, _FAVOURED["private"])  # the paper's HeteroGD

    def decouple(self, batch: Batch) -> Parts:
        """Convolve each modality and take its frames apart. Missing frames are zero vectors to it."""
        features = dict(batch.features)
        features["l"] = self.input_dropout(features["l"])  # the official code drops language inputs only
        # To one width, so that one encoder can take the shared part out of every modality.
        x = {m: self.convolutions[m](features[m]) for m in MODALITIES}
        return Parts(x, {m: self.shared(x[m]) for m in MODALITIES}, {m: self.private[m](x[m]) for m in MODALITIES})

    def fuse(self, parts: Parts, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Shared (N, 3 d), private by modality (N, 2 d), and all of it behind gates (N, 9 d)."""
        masks, causal = [batch.frames[m] for m in MODALITIES], [0] * len(MODALITIES)
        # The shared parts: each attends to itself, 3 x (N, T_m, d), and its last frame counts.
        attended = self.attend_shared([parts.shared[m] for m in MODALITIES], masks, causal_offset=causal)
        shared = torch.cat([last_frame(h, mask) for h, mask in zip(attended, masks, strict=True)], dim=1)  # (N, 3 d)
        # The private parts: each attends to the two others, (N, T_m, 2 d), then to itself.
        crossed = attend_across(self.attend_private, parts.private, batch.frames, self.task.max_frames)
        attended = self.attend_crossed([crossed[m] for m in MODALITIES], masks, causal_offset=causal)
        private = {m: last_frame(h, mask) for m, h, mask in zip(MODALITIES, attended, masks, strict=True)}
        # As in the official code, the sigmoids themselves go on; they are multiplied with nothing.
        gated = [self.gates[m](private[m]).sigmoid() for m in MODALITIES]  # 3 x (N, 2 d)
        return shared, private, torch.cat([*gated, self.shared_gate(shared).sigmoid()], dim=1)

    def decoupling_loss(self, parts: Parts, batch: Batch) -> Tensor:
        """L_rec + L_cyc + 0.1 (L_margin + L_ort), over real frames and summed over the modalities.

        Shared and private together must give the frame back, the rebuilt frame the same private part again; the two
        parts of a frame must not point the same way.
        """
        total = batch.features["l"].new_zeros(())
        ordered = self.task.kind == "intensity"  # then labels are those of the nearest bins
        constraints = margin_loss(self.pool(parts.shared, batch), batch.labels, self.margin, ordered=ordered)
        for m in MODALITIES:
            real = batch.frames[m]
            x, shared, private = parts.x[m][real], parts.shared[m][real], parts.private[m][real]  # (frames, d)
            rebuilt = self.decoders[m](torch.cat([private, shared], dim=-1))  # (frames, 2 d) → (frames, d); L_rec
            again = self.private[m](rebuilt)  # (frames, d); L_cyc
            count = max(1, x.numel())
            total = total + ((rebuilt - x).square().sum() + (again - private).square().sum()) / count
            overlap = F.cosine_similarity(shared, private, dim=-1).relu()  # (frames,); L_ort
            constraints = constraints + overlap.sum() / max(1, len(overlap))
        return total + self.weights[2] * constraints

    def pool(self, frames: dict[str, Tensor], batch: Batch) -> Tensor:
        """Mean over each modality's real frames, (M, N, d)."""
        return torch.stack([masked_mean(frames[m], batch.frames[m]) for m in MODALITIES])

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's losses of the joint, the shared and each modality's heads; distillation; decoupling."""
        parts = self.decouple(batch)
        shared, private, joint = self.fuse(parts, batch)
        pooled = dict(zip(MODALITIES, self.pool(parts.shared, batch), strict=True))  # 3 x (N, d)
        spaces = []
        for heads, x in ((self.shared_heads, pooled), (self.private_heads, private)):
            seen, logits = zip(*(heads[m](x[m]) for m in MODALITIES), strict=True)
            spaces.append((torch.stack(logits), torch.stack(seen)))  # (M, N, K), (M, N, width)
        (shared_logits, shared_seen), (private_logits, private_seen) = spaces
        # Eight classifiers: of all, of the shared parts, of each modality's shared and of its private part.
        answers = [self.head(joint)[1], self.joint_shared_head(shared)[1], *shared_logits, *private_logits]
        # Representations are kept apart in the private space alone, so their weight is zero here.
        distillation = self.shared_graph(shared_logits, shared_seen, 0.0)
        distillation = distillation + self.private_graph(private_logits, private_seen, self.representation_weight)
        distillation_weight, decoupling_weight, _ = self.weights
        return {
            "tasks": torch.stack([self.task_loss(answer, batch) for answer in answers]).sum(),
            "distillation": distillation_weight * distillation,
            "decoupling": decoupling_weight * self.decoupling_loss(parts, batch),
        }

    def represent(self, batch: Batch) -> Tensor:
        """What the classifier sees, (N, 9 d)."""
        return self.head(self.fuse(self.decouple(batch), batch)[2])[0]

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.fuse(self.decouple(batch), batch)[2])[1]
