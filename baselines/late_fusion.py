"""A floor that every comparison asks for: one model a modality, whose answers are averaged over what is present.

The rule is the sum rule of Kittler, Hatef, Duin and Matas, "On Combining Classifiers", IEEE Transactions on Pattern
Analysis and Machine Intelligence 20(3), 1998. The models and their sizes are ours: see ``cards/late_fusion.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, Range, Rate, Stage, TaskSpec, register
from benchmark.parts.pooling import masked_mean


class FrameNetwork(nn.Module):
    """One modality alone: a hidden layer for each frame, the mean over present frames, a linear layer."""

    def __init__(self, d_in: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.frames = nn.Sequential(nn.Linear(d_in, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(N, T, d_in) and present frames (N, T) → (N, outputs)."""
        return self.head(masked_mean(self.frames(x), present))


@register("late_fusion", paper="Kittler et al., TPAMI 1998", trains_on="complete")
class LateFusion(Method):
    """Probabilities, or intensities, of the modalities that are present, averaged; a constant where none is.

    The loss is the sum of each model's own: none learns from another one.

    Parameters
    ----------
    task : TaskSpec
    hidden : int
        Width of each modality's hidden layer.
    dropout : float
        Behind the hidden layer.
    """

    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(16, 32, 64),
        "hidden": Choice(32, 64, 128, 256),
        "dropout": Range(0.0, 0.5),
    }
    training_defaults = {"learning_rate": 1e-3, "batch_size": 32}
    prior: Tensor

    def __init__(self, task: TaskSpec, *, hidden: Count = 64, dropout: Rate = 0.3) -> None:
        super().__init__(task)
        self.models = nn.ModuleDict(
            {m: FrameNetwork(task.feature_dims[m], hidden, task.num_outputs, dropout) for m in MODALITIES}
        )
        # The answer with nothing present; until the training split is seen, no category is likelier than another.
        self.register_buffer("prior", torch.full((task.num_outputs,), 1.0 / task.num_outputs))

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Keep what is answered with nothing present: how frequent categories are, or the median intensity."""
        batches = list(training_set)
        if self.task.kind == "intensity":
            self.prior.fill_(float(torch.cat([b.intensity for b in batches if b.intensity is not None]).median()))
            return
        counts = torch.cat([b.labels for b in batches]).bincount(minlength=self.task.num_outputs)
        self.prior.copy_((counts + 1.0) / (counts + 1.0).sum())  # one more of each, so that no logarithm is infinite

    def answers(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each modality's own outputs, (3, N, outputs), and whether it is present, (3, N)."""
        outputs = torch.stack([self.models[m](batch.features[m], batch.present[m]) for m in MODALITIES])
        return outputs, torch.stack([batch.present[m].any(1) for m in MODALITIES])

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Each modality's own loss, over the samples that have it; zero where none has."""
        outputs, _ = self.answers(batch)
        terms = {}
        for m, output in zip(MODALITIES, outputs, strict=True):
            there = batch.present[m].any(1)  # (N,)
            terms[m] = self._own_loss(output, batch, there)
        return terms

    def _own_loss(self, output: Tensor, batch: Batch, there: Tensor) -> Tensor:
        if self.task.kind == "intensity":
            assert batch.intensity is not None
            each = (output[:, 0] - batch.intensity).abs()  # (N,)
        else:
            each = nn.functional.cross_entropy(output, batch.labels, reduction="none")  # (N,)
        return (each * there).sum() / there.sum().clamp(min=1)

    def predict(self, batch: Batch) -> Tensor:
        """Logarithms of the averaged probabilities, or averaged intensities, shape (N, task.num_outputs)."""
        outputs, there = self.answers(batch)
        is_intensity = self.task.kind == "intensity"
        each = outputs if is_intensity else outputs.softmax(-1)  # (3, N, outputs)
        weights = there / there.sum(0).clamp(min=1)  # (3, N): equal, and together one, over what is present
        mean = (weights[:, :, None] * each).sum(0)  # (N, outputs)
        mean = torch.where(there.any(0)[:, None], mean, self.prior)
        return mean if is_intensity else mean.clamp(min=1e-12).log()
