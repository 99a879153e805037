"""SMIL: Multimodal Learning with Severely Missing Modality.

Paper: Ma, Ren, Zhao, Tulyakov, Wu and Peng, AAAI 2021. Deviations from the official code are listed in
``cards/smil.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.func import functional_call

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
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.pooling import masked_mean

PRETRAINING = Stage("pretraining", trains_on="complete")
META_LEARNING = Stage("meta-learning")


class Extractor(nn.Module):
    """A temporal convolution, averaged over the present frames: (N, T, d_in) and (N, T) → (N, d)."""

    def __init__(self, d_in: int, d: int, *, kernel: int) -> None:
        super().__init__()
        self.convolution = TemporalConv(d_in, d, kernel=kernel)
        self.output = nn.Linear(d, d)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Zero before the last layer where nothing is present."""
        return self.output(masked_mean(self.convolution(x).relu(), present)).relu()  # (N, T, d) → (N, d)


class Perturbation(nn.Module):
    """Feature regularisation: a positive number to add to each feature, drawn around a learned mean in training."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.mean = nn.Linear(d_in, d_out)
        self.log_variance = nn.Linear(d_in, d_out)

    def forward(self, x: Tensor, noisy: bool) -> Tensor:
        """(N, d_in) → (N, d_out)."""
        mean = self.mean(x)
        if noisy:
            deviation = (0.5 * self.log_variance(x)).exp().clamp(max=1.0)
            # Drawn as mean + deviation * noise, so that gradients reach both.
            mean = mean + deviation * torch.randn_like(mean)
        return F.softplus(mean)  # positive


class Response(NamedTuple):
    """What the network makes of some samples: (N, K), (N, 3 d), (N, hidden)."""

    outputs: Tensor
    joint: Tensor
    hidden: Tensor


class Head(nn.Module):
    """The classifier; features of samples that lack a modality are perturbed before each of its layers."""

    def __init__(self, joint: int, hidden: int, num_outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(joint, hidden)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(hidden, num_outputs)

    def forward(
        self, joint: Tensor, available: Tensor, incomplete: Tensor, perturbations: nn.ModuleList, noisy: bool
    ) -> Response:
        """Classify.

        Parameters
        ----------
        joint : Tensor, shape (N, 3 d)
            The modalities' features, rebuilt where missing.
        available : Tensor, shape (N, 3 d)
            The same, zero where missing.
        incomplete : bool Tensor, shape (N, 1)
        perturbations : ModuleList of two `Perturbation`
        noisy : bool
            Whether they are drawn or fixed.
        """
        joint = joint + incomplete * perturbations[0](available, noisy)  # (N, 1) * (N, 3 d)
        hidden = self.first(joint).relu()  # (N, hidden)
        hidden = hidden + incomplete * perturbations[1](joint, noisy)  # (N, 1) * (N, hidden)
        return Response(self.last(self.dropout(hidden)), joint, hidden)


def labels_of(batch: Batch, rows: Tensor) -> Batch:
    """The batch with the labels of some samples alone, as the task's loss reads them."""
    intensity = None if batch.intensity is None else batch.intensity[rows]
    return replace(batch, labels=batch.labels[rows], intensity=intensity)


@register("smil", paper="Ma et al., AAAI 2021", trains_on="missing")
class SMIL(Method):
    """A missing modality is rebuilt from centres of its training features; how, is learned by meta-learning.

    First the network is trained on complete samples; then k-means finds the centres of each modality's features. In
    the second stage, one half of a batch (meta-train) moves the classifier by a gradient step, with a graph:
    ``theta* = theta - inner_learning_rate grad task(theta, meta-train)``, and with ``theta*`` the other half
    (meta-test), which is seen both with what is missing and complete, is to be right and alike:

    ``loss = task(theta, meta-train) + task(theta*, meta-test) + joint_weight MSE(joint) + hidden_weight MSE(hidden)``

    Parameters
    ----------
    task : TaskSpec
    d : int
        Size of a modality's features.
    kernel : int
        Of the temporal convolutions.
    hidden : int
        Width of the classifier.
    dropout : float
        Of the classifier.
    clusters : int
        How many centres a modality has.
    inner_steps : int
    inner_learning_rate : float
    joint_weight, hidden_weight : float
        Of the differences between incomplete and complete samples.
    """

    priors: Tensor
    # The official code does not clip: no gradient is as long as 1e9.
    training_defaults = {"learning_rate": 1e-3, "batch_size": 64, "weight_decay": 1e-4, "clip_norm": 1e9}
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(32, 64, 128),
        "d": Choice(32, 64, 128),
        "dropout": Range(0.0, 0.7),
        "clusters": Range(5, 20),
        "inner_learning_rate": Range(1e-4, 1e-2, log=True),
        "joint_weight": Range(0.0025, 0.04, log=True),
        "hidden_weight": Range(0.0025, 0.04, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 64,
        kernel: Count = 3,
        hidden: Count = 64,
        dropout: Rate = 0.5,
        clusters: Count = 10,
        inner_steps: Count = 1,
        inner_learning_rate: Positive = 1e-3,
        joint_weight: NonNegative = 0.01,
        hidden_weight: NonNegative = 0.01,
    ) -> None:
        super().__init__(task)
        self.stages = (PRETRAINING, META_LEARNING)
        self.stage = META_LEARNING  # what a trained method is in, when only its weights are loaded
        self.inner_steps = inner_steps
        self.inner_learning_rate = inner_learning_rate
        self.weights = (joint_weight, hidden_weight)
        joint = len(MODALITIES) * d
        self.extractors = nn.ModuleDict({m: Extractor(task.feature_dims[m], d, kernel=kernel) for m in MODALITIES})
        self.head = Head(joint, hidden, task.num_outputs, dropout=dropout)
        # Given what is available, and a flag for each modality: the weights of each modality's centres.
        self.reconstruction = nn.Linear(joint + len(MODALITIES), len(MODALITIES) * clusters)
        self.perturbations = nn.ModuleList([Perturbation(joint, joint), Perturbation(joint, hidden)])
        self.register_buffer("priors", torch.zeros(len(MODALITIES), clusters, d))  # found by k-means, not by gradients

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Extractors and classifier first; then the centres of their features are found, and all is trained on."""
        self.stage = stage
        pretraining = stage == PRETRAINING
        self.reconstruction.requires_grad_(not pretraining)
        self.perturbations.requires_grad_(not pretraining)
        if pretraining:
            return
        batches = list(training_set)
        for i, m in enumerate(MODALITIES):
            real = torch.cat([batch.frames[m].any(1) for batch in batches])  # (n,): samples that have the modality
            features = torch.cat([self.extractors[m](batch.features[m], batch.frames[m]) for batch in batches])[real]
            # A modality that no sample has keeps centres of zero.
            if len(features):
                self.priors[i] = self.find_centres(features)

    def find_centres(self, features: Tensor) -> Tensor:
        """The k-means centres of some features, (M, d) → (clusters, d); repeated where there are fewer features."""
        clusters = self.priors.shape[1]
        kmeans = KMeans(n_clusters=min(clusters, len(features)), random_state=0).fit(features.cpu().double().numpy())
        centres = np.resize(kmeans.cluster_centers_, (clusters, features.shape[1]))  # repeats rows to fill up
        return torch.from_numpy(centres).to(features)

    def extract(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Features (N, 3, d), zero for a modality of which no frame is present, and which are there, (N, 3)."""
        there = torch.stack([present[m].any(1) for m in MODALITIES], dim=1)  # (N, 3)
        # 3 x (N, d) → (N, 3, d). With nothing present the last layer's bias is left, so it is set to zero below.
        extracted = torch.stack([self.extractors[m](features[m], present[m]) for m in MODALITIES], dim=1)
        return extracted * there[:, :, None], there

    def rebuild(self, available: Tensor, there: Tensor) -> Tensor:
        """Every modality as a convex combination of its centres: (N, 3, d) and (N, 3) → (N, 3, d)."""
        # (N, 3 d + 3) → (N, 3 C): zeros may also be features, so flags say what is there.
        weights = self.reconstruction(torch.cat([available.flatten(1), there.to(available.dtype)], dim=1))
        # Positive and adding up to one for each modality: (N, 3 C) → (N, 3, C).
        weights = F.normalize(F.softplus(weights.unflatten(1, self.priors.shape[:2])), p=1.0, dim=-1)  # (N, 3, C)
        return torch.einsum("nmc,mcd->nmd", weights, self.priors)  # each modality's weights with its own centres

    def respond(
        self, available: Tensor, there: Tensor, *, noisy: bool, head: Mapping[str, Tensor] | None = None
    ) -> Response:
        """Rebuild what is missing, and classify; with the parameters `head` instead of the classifier's own."""
        # What is there stays as it is: (N, 3, d) → (N, 3 d)
        joint = torch.where(there[:, :, None], available, self.rebuild(available, there)).flatten(1)
        inputs = (joint, available.flatten(1), ~there.all(1, keepdim=True), self.perturbations, noisy)
        return self.head(*inputs) if head is None else functional_call(self.head, dict(head), inputs)

    def adapt(self, available: Tensor, there: Tensor, labels: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The inner steps: the loss of the meta-train half, and the classifier's theta*, with its graph.

        Of the batch `labels`, labels and intensities alone are read.
        """
        head: dict[str, Tensor] = dict(self.head.named_parameters())
        losses = []
        for _ in range(self.inner_steps):
            losses.append(self.task_loss(self.respond(available, there, noisy=True, head=head).outputs, labels))
            # With a graph: the outer loss is differentiated through this step, which takes second derivatives.
            gradients = torch.autograd.grad(losses[-1], list(head.values()), create_graph=True)
            # theta* = theta - rate * gradient, as new tensors beside the parameters, which stay as they are.
            head = {
                name: value - self.inner_learning_rate * gradient
                for (name, value), gradient in zip(head.items(), gradients, strict=True)
            }
        return losses[-1], head

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Pretraining: the task's loss of the samples as they are. Meta-learning: see the class."""
        available, there = self.extract(batch.features, batch.present)
        if self.stage == PRETRAINING:
            return {"task": self.task_loss(self.respond(available, there, noisy=False).outputs, batch)}
        if batch.complete is None:
            raise ValueError("meta-learning needs the complete features, which training batches alone have")
        complete, real = self.extract(batch.complete, batch.frames)  # (N, 3, d), (N, 3)
        rows = torch.arange(len(batch), device=batch.device)
        # Batches are shuffled, so every second sample is as good as a random half.
        train, test = (rows[0::2], rows[1::2]) if len(batch) > 1 else (rows, rows)
        train_loss, head = self.adapt(available[train], there[train], labels_of(batch, train))
        # With theta*, the other half twice: as the masks left it, and complete.
        incomplete = self.respond(available[test], there[test], noisy=False, head=head)
        clean = self.respond(complete[test], real[test], noisy=False, head=head)
        joint_weight, hidden_weight = self.weights
        return {
            "meta-train": train_loss,
            "meta-test": self.task_loss(incomplete.outputs, labels_of(batch, test)),
            "joint": joint_weight * F.mse_loss(incomplete.joint, clean.joint),
            "hidden": hidden_weight * F.mse_loss(incomplete.hidden, clean.hidden),
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of the features that are rebuilt where a modality is missing, beside that of their mean."""
        assert batch.complete is not None
        available, there = self.extract(batch.features, batch.present)  # (N, 3, d), (N, 3)
        complete, real = self.extract(batch.complete, batch.frames)
        rebuilt, lost = self.rebuild(available, there), real & ~there
        return {
            f"rebuilt {m}": beside_the_mean(rebuilt[:, i], complete[:, i], lost[:, i]) for i, m in enumerate(MODALITIES)
        }

    def represent(self, batch: Batch) -> Tensor:
        """What the classifier's last layer sees, (N, hidden)."""
        return self.respond(*self.extract(batch.features, batch.present), noisy=False).hidden

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.respond(*self.extract(batch.features, batch.present), noisy=False).outputs
