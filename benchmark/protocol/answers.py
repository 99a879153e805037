"""What a method answers, held to its contract: one line that says what it gave and what it must give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.protocol.method import Batch, Method, Stage
from benchmark.protocol.missing import MODALITIES, MODALITY_NAMES
from benchmark.protocol.target import INTENSITY

_FLOATS = (torch.float32, torch.float64)


class ContractError(TypeError):
    """A method gave what it may not give."""


def stages_of(method: Method) -> Sequence[Stage]:
    """The stages of a method's training, one at least.

    Raises
    ------
    ContractError
        If they are none.
    """
    stages: Any = method.stages
    if not isinstance(stages, list | tuple) or not stages or not all(isinstance(stage, Stage) for stage in stages):
        raise ContractError(
            f"stages is {stages!r}; it must be a tuple of benchmark.Stage, such as (Stage('training'),)"
        )
    return stages


def outputs_of(method: Method, batch: Batch) -> Tensor:
    """`predict`'s answer, float32 or float64, shape (N, task.num_outputs): logits, or one intensity a sample.

    On an intensity task, logits of its bins become the expectation over them.

    Raises
    ------
    ContractError
        If it is none.
    """
    outputs = method.predict(batch)
    task, n = method.task, len(batch)
    wanted = f"predict must return logits of shape (N, K) = {(n, task.num_categories)}, float32"
    allowed = [(n, task.num_categories)]
    if task.kind == INTENSITY:
        allowed.insert(0, (n, 1))
        wanted = (
            f"predict must return intensities of shape (N, 1) = {(n, 1)}, or logits of the task's "
            f"{task.num_categories} bins, float32"
        )
    if not isinstance(outputs, Tensor):
        raise ContractError(f"predict returned {_kind(outputs)}; {wanted}")
    if tuple(outputs.shape) not in allowed:
        more = (
            "(a head of task.num_outputs numbers gives it)" if task.kind == INTENSITY else "(K is task.num_categories)"
        )
        raise ContractError(f"predict returned logits of shape {tuple(outputs.shape)}; {wanted} {more}")
    if outputs.dtype not in _FLOATS:
        raise ContractError(f"predict returned logits of type {_type(outputs)}; {wanted}: return logits.float()")
    if task.kind == INTENSITY and outputs.shape[1] > 1:
        bins = torch.tensor(task.bins, dtype=outputs.dtype, device=outputs.device)  # (K,)
        return outputs.softmax(1) @ bins[:, None]  # (N, K) @ (K, 1)
    return outputs


def terms_of(method: Method, batch: Batch) -> dict[str, Tensor]:
    """What a method's loss is a sum of, by name; ``loss`` alone where its class says no more.

    Raises
    ------
    ContractError
        If a term is no scalar tensor of a float type, or nothing in their sum can be learnt from.
    """
    by_terms = type(method).loss is Method.loss
    terms: Any = method.terms(batch) if by_terms else {"loss": method.loss(batch)}
    if not isinstance(terms, Mapping) or not terms:
        raise ContractError(f"terms(batch) returned {_kind(terms)}; it must return a dict of scalar tensors by name")
    for name, term in terms.items():
        what = f"term {name!r} of terms(batch)" if by_terms else "loss(batch)"
        wanted = "it must be a scalar tensor, such as self.task_loss(outputs, batch)"
        if not isinstance(term, Tensor):
            raise ContractError(f"{what} is {_kind(term)}; {wanted}, and not .item() or float() of one")
        if term.ndim != 0:
            raise ContractError(f"{what} is a tensor of shape {tuple(term.shape)}; {wanted}: take its mean or its sum")
        if not term.is_floating_point():
            raise ContractError(f"{what} is a tensor of type {_type(term)}; {wanted}")
    if not any(term.requires_grad for term in terms.values()):
        what = "terms(batch) have" if by_terms else "loss(batch) has"
        raise ContractError(
            f"{what} no gradient: nothing that is trained goes into it; look for detach(), no_grad(), argmax or numpy"
        )
    return dict(terms)


def representation_of(method: Method, batch: Batch) -> Tensor | None:
    """`represent`'s answer: numbers of shape (N, D), or None.

    Raises
    ------
    ContractError
        If it is neither.
    """
    values = method.represent(batch)
    if values is None:
        return None
    wanted = f"represent must return a float tensor of shape (N, D) with N = {len(batch)}, or None"
    if not isinstance(values, Tensor):
        raise ContractError(f"represent returned {_kind(values)}; {wanted}")
    if values.ndim != 2 or len(values) != len(batch) or not values.is_floating_point():
        raise ContractError(f"represent returned {_type(values)} of shape {tuple(values.shape)}; {wanted}")
    return values.float()  # NumPy, which stores it, knows no bfloat16


def lack_of_frames(batch: Batch, row: int | None = None) -> str:
    """What to say where NaN came of a batch in which a modality has no present frame; empty where all have some.

    Parameters
    ----------
    batch : Batch
    row : int, optional
        The sample it came of; by default any may be.
    """
    rows = slice(None) if row is None else slice(row, row + 1)
    empty = [MODALITY_NAMES[m] for m in MODALITIES if bool((~batch.present[m][rows].any(1)).any())]
    if not empty:
        return ""
    whose = "a sample of that batch" if row is None else "that sample"
    return (
        f" ({whose} has no present frame of {' and '.join(empty)}: attention, or a mean, over nothing gives NaN; "
        "benchmark.parts.filled and masked_mean are safe for it)"
    )


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' or name == 'ndarray' else 'a'} {name}"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
