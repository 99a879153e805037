"""DMD: Decoupled Multimodal Distilling for Emotion Recognition.

Paper: Li, Wang and Cui, CVPR 2023. Deviations from the official code are listed in ``cards/dmd.yaml``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, Rate, TaskSpec, register
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import last_frame, masked_mean, padded
from benchmark.parts.transformer import PAIRS, Transformer, attend_across, positions_of_frames

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

    def hidden(self, x: Tensor) -> Tensor:
        """What lies between the two linear layers, before dropout: (..., d) → (..., d)."""
        return self.block[:2](x)


class Parts(NamedTuple):
    """Which frames count, (N, T_m), and what they are taken apart into, (N, T_m, d); dicts of modality to Tensor."""

    seen: dict[str, Tensor]
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
    kernel_l, kernel_a, kernel_v : int
        Of the temporal convolutions.
    input_dropout : float
        On the language features.
    attention_dropout, attention_dropout_a, attention_dropout_v : float
        Of attention to language and within what a modality got from the others; to audio; to vision.
    embedding_dropout, output_dropout : float
    distillation_weight, decoupling_weight, constraint_weight : float
        `constraint_weight` stands for the 0.1 before margin and orthogonality.
    representation_weight : float
        Of what keeps representations apart in the private graph.
    margin : float
    attend_to_padding : bool
        Whether padding, up to the task's longest sample, is attended to and read as in the official code, or hidden.
    """

    training_defaults = {"learning_rate": 1e-4, "batch_size": 16, "clip_norm": 0.6}
    per_task = {
        "mosei": {
            "d": 30,
            "heads": 6,
            "kernel_a": 1,
            "kernel_v": 3,
            "input_dropout": 0.3,
            "attention_dropout": 0.4,
            "attention_dropout_a": 0.0,
            "embedding_dropout": 0.0,
        }
    }
    search_space = {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Choice(8, 16, 32),
        "layers": Range(2, 6),
        "attention_dropout": Range(0.0, 0.5),
        "output_dropout": Range(0.0, 0.7),
        "distillation_weight": Range(0.0125, 0.2, log=True),
        "decoupling_weight": Range(0.025, 0.4, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 50,
        heads: Count = 10,
        layers: Count = 4,
        kernel_l: Count = 5,
        kernel_a: Count = 5,
        kernel_v: Count = 5,
        input_dropout: Rate = 0.5,
        attention_dropout: Rate = 0.3,
        attention_dropout_a: Rate = 0.2,
        attention_dropout_v: Rate = 0.0,
        embedding_dropout: Rate = 0.2,
        output_dropout: Rate = 0.5,
        distillation_weight: NonNegative = 0.05,
        decoupling_weight: NonNegative = 0.1,
        constraint_weight: NonNegative = 0.1,
        representation_weight: NonNegative = 10.0,
        margin: NonNegative = 0.15,
        attend_to_padding: bool = False,
    ) -> None:
        super().__init__(task)
        self.attend_to_padding = attend_to_padding
        self.weights = (distillation_weight, decoupling_weight, constraint_weight)
        self.representation_weight = representation_weight
        self.margin = margin
        k, count = task.num_outputs, len(MODALITIES)
        self.input_dropout = Dropout(input_dropout)
        kernels = {"l": kernel_l, "a": kernel_a, "v": kernel_v}
        self.convolutions = nn.ModuleDict(
            {m: TemporalConv(task.feature_dims[m], d, kernel=kernels[m], bias=False) for m in MODALITIES}
        )
        self.shared = nn.Linear(d, d, bias=False)  # one for all modalities
        self.private = nn.ModuleDict({m: nn.Linear(d, d, bias=False) for m in MODALITIES})
        self.decoders = nn.ModuleDict({m: nn.Linear(2 * d, d, bias=False) for m in MODALITIES})
        transformer: dict[str, Any] = {
            "heads": heads,
            "layers": layers,
            "embedding_dropout": embedding_dropout,
            "positions": positions_of_frames,
        }
        to = {"l": attention_dropout, "a": attention_dropout_a, "v": attention_dropout_v}
        # Within each modality's shared part
        self.attend_shared = Transformer(count, d, attention_dropout=[to[m] for m in MODALITIES], **transformer)
        # Across modalities, as in MulT
        self.attend_private = Transformer(
            len(PAIRS), d, attention_dropout=[to[source] for _, source in PAIRS], **transformer
        )
        # Then within each, as wide as two sources
        self.attend_crossed = Transformer(count, 2 * d, attention_dropout=attention_dropout, **transformer)
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
        features, seen = dict(batch.features), batch.frames  # (N, T_m, d_m), (N, T_m)
        if self.attend_to_padding:
            features, seen = padded(features, self.task.max_frames)
        features["l"] = self.input_dropout(features["l"])  # the official code drops language inputs only
        # To one width, so that one encoder can take the shared part out of every modality.
        x = {m: self.convolutions[m](features[m]) for m in MODALITIES}
        shared, private = {m: self.shared(x[m]) for m in MODALITIES}, {m: self.private[m](x[m]) for m in MODALITIES}
        return Parts(seen, x, shared, private)

    def fuse(self, parts: Parts) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Shared (N, 3 d), private by modality (N, 2 d), and all of it behind gates (N, 9 d)."""
        masks, causal = [parts.seen[m] for m in MODALITIES], [0] * len(MODALITIES)
        # The shared parts: each attends to itself, 3 x (N, T_m, d), and its last frame counts.
        attended = self.attend_shared([parts.shared[m] for m in MODALITIES], masks, causal_offset=causal)
        shared = torch.cat([last_frame(h, mask) for h, mask in zip(attended, masks, strict=True)], dim=1)  # (N, 3 d)
        # The private parts: each attends to the two others, (N, T_m, 2 d), then to itself.
        crossed = attend_across(self.attend_private, parts.private, parts.seen, self.task.max_frames)
        attended = self.attend_crossed([crossed[m] for m in MODALITIES], masks, causal_offset=causal)
        private = {m: last_frame(h, mask) for m, h, mask in zip(MODALITIES, attended, masks, strict=True)}
        # As in the official code, the sigmoids themselves go on; they are multiplied with nothing.
        gated = [self.gates[m](private[m]).sigmoid() for m in MODALITIES]  # 3 x (N, 2 d)
        return shared, private, torch.cat([*gated, self.shared_gate(shared).sigmoid()], dim=1)

    def decoupling_loss(self, parts: Parts, batch: Batch) -> Tensor:
        """L_rec + L_cyc + 0.1 (L_margin + L_ort), summed over the modalities.

        Shared and private together must give the frame back, the rebuilt frame the same private part again, both as
        means over what is seen; the two parts of a real frame must not point the same way.
        """
        total = batch.features["l"].new_zeros(())
        ordered = self.task.kind == "intensity"  # then labels are those of the nearest bins
        constraints = margin_loss(self.pool(parts), batch.labels, self.margin, ordered=ordered)
        for m in MODALITIES:
            x, shared, private = parts.x[m], parts.shared[m], parts.private[m]  # (N, T_m, d)
            rebuilt = self.decoders[m](torch.cat([private, shared], dim=-1))  # (N, T_m, 2 d) → (N, T_m, d); L_rec
            again = self.private[m](rebuilt)  # (N, T_m, d); L_cyc
            errors = (rebuilt - x).square().mean(-1) + (again - private).square().mean(-1)  # (N, T_m)
            total = total + (errors * parts.seen[m]).sum() / parts.seen[m].sum().clamp(min=1)
            real = batch.frames[m]  # (N, T), T the batch's
            overlap = F.cosine_similarity(shared[:, : real.shape[1]], private[:, : real.shape[1]], dim=-1)  # L_ort
            constraints = constraints + (overlap.relu() * real).sum() / real.sum().clamp(min=1)
        return total + self.weights[2] * constraints

    def pool(self, parts: Parts) -> Tensor:
        """Mean of each modality's shared part over what is seen, (M, N, d)."""
        return torch.stack([masked_mean(parts.shared[m], parts.seen[m]) for m in MODALITIES])

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's losses of the joint, the shared and each modality's heads; distillation; decoupling."""
        parts = self.decouple(batch)
        shared, private, joint = self.fuse(parts)
        pooled = dict(zip(MODALITIES, self.pool(parts), strict=True))  # 3 x (N, d)
        shared_logits = torch.stack([self.shared_heads[m](pooled[m])[1] for m in MODALITIES])  # (M, N, K)
        # Edges of the shared graph are read from a hidden layer, of the private one from what its classifiers see.
        shared_seen = torch.stack([cast(ResidualHead, self.shared_heads[m]).hidden(pooled[m]) for m in MODALITIES])
        private_seen, private_logits = (
            torch.stack(each) for each in zip(*(self.private_heads[m](private[m]) for m in MODALITIES), strict=True)
        )  # (M, N, 2 d), (M, N, K)
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
        return self.head(self.fuse(self.decouple(batch))[2])[0]

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.fuse(self.decouple(batch))[2])[1]
