"""A floor beside the constant: a coin, weighted by the frequencies of the training split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from benchmark import Batch, Method, Stage, TaskSpec, register

_QUANTILES = 101


@register("random", paper="class frequency", trains_on="complete")
class Random(Method):
    """Draws a category for each sample by how frequent it is in training, or an intensity from the training labels.

    The draw is made of the sample's id and the seed alone, so it is the same in every setting and every batch.
    """

    augmentable = False
    known: Tensor
    seed: Tensor
    search_space = {}

    def __init__(self, task: TaskSpec) -> None:
        super().__init__(task)
        size = _QUANTILES if task.kind == "intensity" else task.num_categories
        self.register_buffer("known", torch.zeros(size))  # logarithms of frequencies, or quantiles of the labels
        self.register_buffer("seed", torch.randint(2**62, (1,)))  # drawn as weights are, so by the cell's seed

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Count the categories, or sort the labels; there is nothing else to learn."""
        batches = list(training_set)
        if self.task.kind == "intensity":
            labels = torch.cat([b.intensity for b in batches if b.intensity is not None])
            self.known = labels.quantile(torch.linspace(0, 1, _QUANTILES, device=labels.device))
            return
        categories = torch.cat([batch.labels for batch in batches])  # (n,), the whole training split
        counts = torch.bincount(categories, minlength=self.task.num_categories)  # (K,)
        self.known = (counts.clamp(min=0.5) / len(categories)).log()

    def uniforms(self, ids: list[str], count: int) -> Tensor:
        """Numbers in (0, 1) made of ids and seed, shape (N, count)."""
        key = int(self.seed).to_bytes(8, "little")
        drawn = [
            [
                int.from_bytes(hashlib.blake2b(f"{k}:{i}".encode(), digest_size=4, key=key).digest())
                for k in range(count)
            ]
            for i in ids
        ]
        return ((torch.tensor(drawn, dtype=torch.float64) + 0.5) / 2**32).float().to(self.known)

    def loss(self, batch: Batch) -> Tensor:
        """That of the task; it has no gradient, and the harness runs no epochs."""
        return self.task_loss(self.predict(batch), batch)

    def predict(self, batch: Batch) -> Tensor:
        """Logits, of which each is the largest as often as its category is there (Gumbel-max), or an intensity."""
        if self.task.kind == "intensity":
            places = self.uniforms(batch.ids, 1)[:, 0] * (_QUANTILES - 1)  # (N,)
            return self.known[places.round().long()][:, None]
        uniforms = self.uniforms(batch.ids, self.task.num_categories).clamp(1e-7, 1 - 1e-7)
        return self.known - (-uniforms.log()).log()  # (K,), (N, K) → (N, K)
