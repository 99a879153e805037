"""The conformance suite's check of a method's mechanism: each part of it acts on samples that it may learn by heart."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmark.methods.violations import NotApplicable, Violation
from benchmark.protocol.answers import terms_of
from benchmark.protocol.method import Batch, Method

if TYPE_CHECKING:
    from benchmark.methods.conformance import Subject

SAMPLES = 16
FIRST, STEPS, EVERY = 20, 150, 5
"""Steps in each stage before the last, at most so many in the last one, and after how many a method is asked again."""


def check_mechanism(subject: Subject, task: str) -> str:
    """Every term of the loss has a gradient, and some error that the method tells of itself is below that of idling.

    Returns
    -------
    str
        Of several errors, those that never are; they may need more data than there are here.
    """
    dataset = subject.dataset(task)
    batch = subject.batch(dataset, np.arange(SAMPLES), training=True)
    seen: set[str] = set()
    pulling: set[str] = set()
    best: dict[str, float] = {}
    for stage, method in subject.stages(dataset):
        last = stage == method.stages[-1]
        told = tells(method, batch) if last else {}
        for step, terms in enumerate(_trained(method, batch, STEPS if told else FIRST)):
            if step in (0, 1, 2, FIRST - 1):  # what is made of a sample at its first visits may count from the third on
                seen |= terms.keys()
                pulling |= {name for name, term in terms.items() if name not in pulling and _pulls(term, method)}
            if told and step % EVERY == 0:
                for name, share in tells(method, batch).items():
                    best[name] = min(share, best.get(name, math.inf))
                if step >= FIRST and max(best.values()) < 1.0:
                    break
    if not seen:
        raise NotApplicable("nothing to train")
    if idle := sorted(seen - pulling):
        raise Violation(f"no parameter has a gradient of {_listed(idle)}, a term of the loss; is it detached or zero?")
    idle = sorted(name for name, share in best.items() if not share < 1.0)
    if best and len(idle) == len(best):
        raise Violation(
            f"the mechanism never acts: in {STEPS} steps on {SAMPLES} training samples, {_listed(idle)} never came "
            f"below {min(best.values()):.2f} times what doing nothing gives"
        )
    return f"{_listed(idle)} never better than doing nothing here" if idle else ""


def tells(method: Method, batch: Batch) -> dict[str, float]:
    """What a method tells of its mechanism, by name: the share that is left of the error of doing nothing."""
    asked = copy.deepcopy(method).eval()
    with torch.random.fork_rng([]), torch.no_grad():
        found = asked.mechanism(batch)
    shares = {name: (float(value), float(idle)) for name, (value, idle) in found.items()}
    for name, (value, idle) in shares.items():
        if not (math.isfinite(value) and math.isfinite(idle)):
            raise Violation(f"mechanism tells {value} and {idle} of {name}; both must be finite")
    return {name: value / idle if idle else math.inf for name, (value, idle) in shares.items()}


def _trained(method: Method, batch: Batch, steps: int) -> Iterator[dict[str, Tensor]]:
    """The terms of the loss at each step, before it is made."""
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        terms = terms_of(method.train(), batch)
        yield terms
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        optimiser.step()


def _pulls(term: Tensor, method: Method) -> bool:
    if not term.requires_grad:
        return False
    parameters = [p for p in method.parameters() if p.requires_grad]
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return any(part is not None and bool(part.any()) for part in found)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]
