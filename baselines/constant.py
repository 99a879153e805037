"""The floor: the majority category of the training split, whatever the sample."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import Batch, Method, Stage, TaskSpec, register


@register("constant", paper="majority category", trains_on="complete")
class Constant(Method):
    """Predicts the categories' frequencies in the training split, so always the most frequent one."""

    augmentable = False

    def __init__(self, task: TaskSpec) -> None:
        super().__init__(task)
        self.register_buffer("log_frequencies", torch.zeros(task.num_categories))

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Count the categories; there is nothing else to learn."""
        labels = torch.cat([batch.labels for batch in training_set])  # (n,), the whole training split
        counts = torch.bincount(labels, minlength=self.task.num_categories)  # (K,)
        self.log_frequencies = (counts.clamp(min=0.5) / len(labels)).log()  # half a sample at least: log 0 is -inf

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the frequencies; it has no gradient, and the harness runs no epochs."""
        return F.cross_entropy(self.predict(batch), batch.labels)

    def predict(self, batch: Batch) -> Tensor:
        """The same logits for every sample."""
        return self.log_frequencies.expand(len(batch), -1)  # (K,) → (N, K)
