"""The floor: the majority category of the training split, or its median intensity, whatever the sample."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from benchmark import Batch, Method, Stage, TaskSpec, register


@register("constant", paper="majority category", trains_on="complete")
class Constant(Method):
    """Predicts the categories' frequencies in the training split, so always the most frequent one.

    Of an intensity it predicts the median, of all constants that with the least absolute error.
    """

    augmentable = False
    search_space = {}

    def __init__(self, task: TaskSpec) -> None:
        super().__init__(task)
        self.register_buffer("outputs", torch.zeros(task.num_outputs))  # logarithms of frequencies, or the median

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Count the categories, or find the median; there is nothing else to learn."""
        batches = list(training_set)
        if self.task.kind == "intensity":
            self.outputs = torch.cat([b.intensity for b in batches if b.intensity is not None]).quantile(0.5)[None]
            return
        labels = torch.cat([batch.labels for batch in batches])  # (n,), the whole training split
        counts = torch.bincount(labels, minlength=self.task.num_categories)  # (K,)
        self.outputs = (counts.clamp(min=0.5) / len(labels)).log()  # half a sample at least: log 0 is -inf

    def loss(self, batch: Batch) -> Tensor:
        """That of the task; it has no gradient, and the harness runs no epochs."""
        return self.task_loss(self.predict(batch), batch)

    def predict(self, batch: Batch) -> Tensor:
        """The same logits, or the same intensity, for every sample."""
        return self.outputs.expand(len(batch), -1)  # (num_outputs,) → (N, num_outputs)
