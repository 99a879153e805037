"""Batches built by hand, for tests of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmark.parts.dropout import Dropout
from benchmark.protocol.method import Batch, Method, TaskSpec
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.target import CATEGORY, INTENSITY, POLARITY, Target

DIMS = {"l": 12, "a": 5, "v": 7}


def small_task(name: str = "mosi", num_frames: dict[str, int] | int = 8) -> TaskSpec:
    """A task with few features: iemocap has four categories, mosi_intensity is one of intensity, others of polarity."""
    frames = dict.fromkeys(MODALITIES, num_frames) if isinstance(num_frames, int) else num_frames
    kind = {"iemocap": CATEGORY, "mosi_intensity": INTENSITY}.get(name, POLARITY)
    target = Target(kind, categories=tuple("abcd") if kind == CATEGORY else ())
    return TaskSpec(name, len(target.categories), DIMS, frames, kind=kind, span=target.span, bins=target.bins)


def random_batch(
    task: TaskSpec,
    n: int,
    *,
    seed: int,
    kept: float = 1.0,
    available: str = "lav",
    lengths: dict[str, list[int]] | None = None,
    training: bool = True,
) -> Batch:
    """N random samples, cut to the longest.

    Parameters
    ----------
    task : TaskSpec
    n, seed : int
    kept : float
        Chance of a real frame to be present.
    available : str
        Modalities that are there at all; ``""`` for none.
    lengths : dict of modality to list of int, optional
        Numbers of real frames, 0 allowed; random from 1 to the task's largest if not given.
    training : bool
        Whether labels and complete features are handed out.
    """
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(task.num_categories, size=n))
    features, present, frames, complete = {}, {}, {}, {}
    for m in MODALITIES:
        longest = task.max_frames[m]
        count = torch.from_numpy(rng.integers(1, longest + 1, size=n) if lengths is None else np.array(lengths[m]))
        t = max(1, int(count.max()))
        frames[m] = torch.arange(t)[None, :] < count[:, None]  # (N, T_m)
        x = rng.standard_normal((n, longest, task.feature_dims[m]), dtype=np.float32)[:, :t]
        complete[m] = torch.from_numpy(x) * frames[m][:, :, None]
        chosen = torch.from_numpy(rng.random((n, longest))[:, :t] < (kept if m in available else 0.0))
        present[m] = frames[m] & chosen
        features[m] = complete[m] * present[m][:, :, None]
    intensity = None if task.kind == CATEGORY else (labels * 2 - 1).float()
    if task.kind == INTENSITY:  # anywhere in a label's bin
        low, high = task.span
        shift = (rng.random(n) - 0.5) * 0.9 * (task.bins[1] - task.bins[0])
        intensity = (torch.tensor(task.bins)[labels] + torch.from_numpy(shift).float()).clamp(low, high)
    batch = Batch([f"sample{i}" for i in range(n)], labels, intensity, features, present, frames, complete)
    return batch if training else as_test(batch)


def as_test(batch: Batch) -> Batch:
    """The same samples as the harness hands them out at validation and test."""
    intensity = None if batch.intensity is None else torch.full_like(batch.intensity, float("nan"))
    return replace(batch, labels=torch.full_like(batch.labels, -1), intensity=intensity, complete=None)


def select(batch: Batch, rows: list[int]) -> Batch:
    """Some samples of a batch, cut to the longest of them."""
    stop = {m: max(1, int(batch.frames[m][rows].sum(1).max())) for m in MODALITIES}

    def cut(part: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {m: part[m][rows][:, : stop[m]] for m in MODALITIES}

    return Batch(
        [batch.ids[i] for i in rows],
        batch.labels[rows],
        None if batch.intensity is None else batch.intensity[rows],
        cut(batch.features),
        cut(batch.present),
        cut(batch.frames),
        None if batch.complete is None else cut(batch.complete),
    )


def pad(batch: Batch, extra: int) -> Batch:
    """The same samples with `extra` more frames of padding."""

    def longer(part: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {m: torch.cat([x, x.new_zeros(len(x), extra, *x.shape[2:])], dim=1) for m, x in part.items()}

    return replace(
        batch,
        features=longer(batch.features),
        present=longer(batch.present),
        frames=longer(batch.frames),
        complete=None if batch.complete is None else longer(batch.complete),
    )


def moved(batch: Batch, device: torch.device) -> Batch:
    """The same batch on a device."""

    def there(part: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {m: x.to(device) for m, x in part.items()}

    return replace(
        batch,
        labels=batch.labels.to(device),
        intensity=None if batch.intensity is None else batch.intensity.to(device),
        features=there(batch.features),
        present=there(batch.present),
        frames=there(batch.frames),
        complete=None if batch.complete is None else there(batch.complete),
    )


def without_dropout(method: Method) -> Method:
    """The method itself, which drops nothing any more."""
    for module in method.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
        for part in ("attention_dropout", "relu_dropout", "dropout"):
            if isinstance(getattr(module, part, None), float | list):
                setattr(module, part, 0.0)
    return method


def lengths_mask(lengths: Sequence[int], t: int) -> Tensor:
    """True for the first of `t` frames, as many as each sample has: (N, T)."""
    return torch.arange(t)[None, :] < torch.tensor(lengths)[:, None]
