"""A floor that every comparison asks for: early fusion that is trained with whole modalities dropped.

The idea is ModDrop's: Neverova, Wolf, Taylor and Nebout, "ModDrop: Adaptive Multi-modal Gesture Recognition", IEEE
Transactions on Pattern Analysis and Machine Intelligence 38(8), 2016. The network is ours: see ``cards/moddrop.yaml``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, Range, Rate, TaskSpec, register
from benchmark.parts.pooling import masked_mean


@register("moddrop", paper="Neverova et al., TPAMI 2016", trains_on="complete")
class ModDrop(Method):
    """Means of each modality's frames side by side into one network; in training each is dropped at random.

    Parameters
    ----------
    task : TaskSpec
    hidden : int
        Width of a modality's frames and of the fusion.
    drop : float
        Chance that a sample loses a modality, of each on its own.
    dropout : float
        Of single numbers, behind the fusion.
    """

    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(16, 32, 64),
        "hidden": Choice(32, 64, 128, 256),
        "drop": Range(0.1, 0.7),
        "dropout": Range(0.0, 0.5),
    }
    training_defaults = {"learning_rate": 1e-3, "batch_size": 32}

    def __init__(self, task: TaskSpec, *, hidden: Count = 64, drop: Rate = 0.5, dropout: Rate = 0.3) -> None:
        super().__init__(task)
        self.drop = drop
        self.frames = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(task.feature_dims[m], hidden), nn.ReLU()) for m in MODALITIES}
        )
        self.fusion = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, task.num_outputs)

    def pool(self, batch: Batch) -> Tensor:
        """Each modality's mean over present frames, (N, 3, hidden); zero where absent or, in training, dropped."""
        means = [
            masked_mean(self.frames[m](batch.features[m]), batch.present[m]) for m in MODALITIES
        ]  # 3 x (N, hidden)
        pooled = torch.stack(means, dim=1)  # (N, 3, hidden)
        if not self.training:
            return pooled
        # A coin for each sample and modality. Nothing is scaled up for it: at test an absent modality is zero as well.
        kept = torch.rand(pooled.shape[:2], device=pooled.device) >= self.drop  # (N, 3)
        return pooled * kept[:, :, None]

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss alone."""
        return {"task": self.task_loss(self.predict(batch), batch)}

    def represent(self, batch: Batch) -> Tensor:
        """The fused vector, (N, hidden)."""
        return self.fusion(self.pool(batch).flatten(1))  # (N, 3, hidden) → (N, 3 hidden) → (N, hidden)

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
