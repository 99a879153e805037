"""Whether the mechanisms of a trained method act: epochs kept, parts of the gradient, errors beside idle ones."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.protocol.answers import outputs_of, terms_of
from benchmark.protocol.method import Batch, Method
from benchmark.running.training import Ended

BATCHES = 3
"""Of how many training batches the gradients of a loss's terms are taken."""


@dataclass
class Mechanisms:
    """What is found of a method where its stages end. It looks at copies, and leaves random numbers as they were.

    Parameters
    ----------
    method : Method
    clip_norm : float or None
        Of its training.
    """

    method: Method
    clip_norm: float | None
    found: dict[str, Any] = field(default_factory=lambda: {"stages": [], "effects": {}})
    seconds: float = 0.0

    def on_stage(self, ended: Ended) -> None:
        """Note a stage's kept epoch and its terms' gradients, and of the last one what the method says of itself."""
        of = ended.stage
        stage: dict[str, Any] = {"stage": of.name, "kept": ended.kept, "epochs": ended.epochs, "idle": of.idle}
        self.found["stages"].append(stage)
        with self._copy() as method:
            stage |= gradients(method, islice(ended.training, BATCHES), self.clip_norm)
        if of == self.method.stages[-1]:
            with self._copy() as method:
                self.found["effects"] = effects(method, ended.validation)

    @contextmanager
    def _copy(self) -> Iterator[Method]:
        """A copy to try things on. What goes wrong with it is noted, and costs no trained model."""
        started = time.time()
        on_cpu = all(p.device.type == "cpu" for p in self.method.parameters())
        with torch.random.fork_rng([] if on_cpu else None):
            try:
                yield copy.deepcopy(self.method)
            except Exception as error:
                self.found["fault"] = f"{type(error).__name__}: {error}".partition("\n")[0]
        self.seconds += time.time() - started


def gradients(method: Method, batches: Iterable[Batch], clip_norm: float | None) -> dict[str, Any]:
    """How long the gradient of each term of the loss is, and what clipping leaves of their sum; means over batches.

    Lengths are those in the parameters that the prediction rests on: what a critic or a discriminator learns is none of
    the model's. Clipping looks at all parameters.

    Parameters
    ----------
    method : Method
        Its state may change.
    batches : iterable of Batch
        Of training.
    clip_norm : float or None

    Returns
    -------
    dict
        ``gradient``, norms by the name of the term, and ``clipped``, the factor by which clipping shortens the sum.
        Empty where the loss has one term.

    Raises
    ------
    ValueError
        If a gradient is NaN or infinite.
    """
    method.train()
    parameters = [p for p in method.parameters() if p.requires_grad]
    most = math.inf if clip_norm is None else clip_norm
    norms: dict[str, list[float]] = {}
    factors = []
    for batch in batches:
        terms = terms_of(method, batch)
        if len(terms) < 2:
            return {}
        parts = {name: _gradient(term, parameters) for name, term in terms.items()}
        predicting = [part.any() for part in _gradient(outputs_of(method, batch).sum(), parameters)]
        for name, part in parts.items():
            own = [one for one, counts in zip(part, predicting, strict=True) if counts or not any(predicting)]
            norms.setdefault(name, []).append(_norm(own))
        whole = [torch.stack(same).sum(0) for same in zip(*parts.values(), strict=True)]  # of each parameter
        factors.append(min(1.0, most / max(_norm(whole), 1e-12)))
    means = {name: _finite(sum(found) / len(found), f"the gradient of {name}") for name, found in norms.items()}
    return {"gradient": means, "clipped": sum(factors) / len(factors)}


def _gradient(term: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    if not term.requires_grad:  # of a weight of zero, for instance
        return [torch.zeros_like(p) for p in parameters]
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if part is None else part for p, part in zip(parameters, found, strict=True)]


def _norm(parts: list[Tensor]) -> float:
    return float(torch.stack([part.norm() for part in parts]).norm())


def _finite(number: float, what: str) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}")
    return number


@torch.no_grad()
def effects(method: Method, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
    """What a method says of its mechanism, averaged over samples: by name its ``value``, and that if ``idle``.

    Raises
    ------
    ValueError
        If a number is NaN or infinite.
    """
    method.eval()
    told = [(len(batch), method.mechanism(batch)) for batch in batches]
    samples = sum(n for n, _ in told)
    names = told[0][1] if told else {}
    return {
        name: {
            what: _finite(sum(n * float(found[name][place]) for n, found in told) / samples, name)
            for place, what in enumerate(("value", "idle"))
        }
        for name in names
    }
