"""Numbers of official code: reading them, and how far our own lie from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmark import MODALITIES, Batch, Method, TaskSpec
from benchmark.protocol.target import POLARITY, Target

FOLDER = Path(__file__).with_name("numbers")
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))

Values = dict[str, Tensor]
"""A method's numbers in one case, by quantity."""


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Everything made within is of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Fixture:
    """What official code gave for one method.

    Parameters
    ----------
    name : str
        The method's registered name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = {key: file[key] for key in file.files}
        self.about: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))

    @cached_property
    def cases(self) -> list[str]:
        """Names of the inputs."""
        return list(dict.fromkeys(key.split("/")[2] for key in self.arrays if key.startswith("expected/")))

    @cached_property
    def parameters(self) -> list[str]:
        """Names of the weights whose gradients are stored, in their order."""
        return [str(name) for name in self.arrays["parameters"]]

    @cached_property
    def weights(self) -> Values:
        """The weights by parameter, in the default type."""
        start = "weights/"
        return {key.removeprefix(start): self.tensor(key) for key in self.arrays if key.startswith(start)}

    def tensor(self, key: str) -> Tensor:
        """One array, numbers in the default type."""
        x = torch.from_numpy(self.arrays[key].copy())
        return x.to(torch.get_default_dtype()) if x.is_floating_point() else x

    def task(self, case: str) -> TaskSpec:
        """The task that a case is of."""
        dims = {m: self.arrays[f"inputs/{m}"].shape[2] for m in MODALITIES}
        longest = self.arrays.get(f"cases/{case}/max_frames", [self.arrays["inputs/l"].shape[1]] * len(MODALITIES))
        frames = {m: int(t) for m, t in zip(MODALITIES, longest, strict=True)}
        target = Target(POLARITY)
        return TaskSpec("mosi", len(target.categories), dims, frames, target.kind, target.span, target.bins)

    def batch(self, case: str) -> Batch:
        """A case's six samples, as a training batch."""
        frames, present = (
            {m: of_m[:, : self.task(case).max_frames[m]] for m, of_m in zip(MODALITIES, self.tensor(key), strict=True)}
            for key in (f"cases/{case}/frames", f"cases/{case}/present")
        )
        values = {m: self.tensor(f"inputs/{m}")[:, : frames[m].shape[1]] for m in MODALITIES}  # (6, T_m, d_m)
        labels, intensity = self.tensor("inputs/labels"), self.tensor("inputs/intensity")
        features, complete = ({m: values[m] * kept[m][:, :, None] for m in MODALITIES} for kept in (present, frames))
        return Batch([f"s{i}" for i in range(len(labels))], labels, intensity, features, present, frames, complete)

    def expected(self, variant: str, case: str) -> dict[str, np.ndarray]:
        """What a variant of the official code gave in a case, by quantity."""
        start = f"expected/{variant}/{case}/"
        return self.by_term({key.removeprefix(start): x for key, x in self.arrays.items() if key.startswith(start)})

    def by_term(self, found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same, and each term of a loss by itself."""
        single = {}
        for quantity, x in found.items():
            names = (
                [f"{quantity}: {name}" for name in self.arrays["terms"]] if quantity.startswith("terms") else [quantity]
            )
            single |= zip(names, x if quantity.startswith("terms") else [x], strict=True)
        return single

    def limit(self, quantity: str, stored: np.dtype, ours: torch.dtype) -> float:
        """What is still rounding, where the official number is of one type and ours of another."""
        if ours == torch.float64:
            limit = max(self.about["limit"], 1e-6 if stored == np.float32 else 0.0)
        else:
            limit = 1e-4 if "gradient" in quantity else self.about.get("limit_in_single", 1e-5)
        return max(limit, self.about.get("limits", {}).get(quantity, 0.0))

    def terms(self, found: Mapping[str, Tensor]) -> Tensor:
        """The terms of a loss, and their sum as `total`, in the stored order."""
        total = {"total": torch.stack(list(found.values())).sum()}
        return torch.stack([{**total, **found}[str(name)] for name in self.arrays["terms"]])

    def gradients(self, found: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Norms of gradients in the stored order, and the numbers of those of fewer than 200 one after another."""
        each = [found[name] for name in self.parameters]
        return torch.stack([g.norm() for g in each]), torch.cat([g.flatten() for g in each if g.numel() < 200])


def gradients_of(method: Method, loss: Tensor) -> Values:
    """Gradients of a loss by parameter, zero where none arrives."""
    method.zero_grad()
    loss.backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in method.named_parameters()}


@dataclass(frozen=True)
class Difference:
    """The largest difference of one quantity in one case, the largest number in it, and what is still rounding."""

    variant: str
    case: str
    quantity: str
    largest: float
    size: float
    limit: float

    @property
    def equal(self) -> bool:
        """Whether it is rounding."""
        return self.largest <= self.limit


def compare(
    name: str,
    ours: Callable[[Fixture, str], Values],
    *,
    dtype: torch.dtype = torch.float64,
    variants: Mapping[str, str | list[str]] | None = None,
) -> list[Difference]:
    """Our numbers beside the official ones, of every variant, case and quantity that both have.

    Parameters
    ----------
    name : str
    ours : callable
        What the method gives in a case.
    dtype : torch.dtype
        Of our side; the official numbers are of float64, some stored as float32.
    variants : mapping of variant to "all" or quantities, optional
        Those that the method is held to by default.
    """
    with precision(dtype):
        fixture = Fixture(name)
        found = []
        for case in fixture.cases:
            mine = fixture.by_term({key: x.detach().double().numpy() for key, x in ours(fixture, case).items()})
            for variant, quantities in (variants or fixture.about["held_to"]).items():
                stored = fixture.expected(variant, case)
                for quantity, expected in (
                    stored.items() if quantities == "all" else [(q, stored[q]) for q in quantities if q in stored]
                ):
                    if mine[quantity].shape != expected.shape:
                        raise ValueError(f"{name}, {quantity}: {mine[quantity].shape}, not {expected.shape}")
                    largest, size = float(np.abs(mine[quantity] - expected).max()), float(np.abs(expected).max())
                    limit = fixture.limit(quantity, expected.dtype, dtype)
                    found.append(Difference(variant, case, quantity, largest, size, limit))
    return found
