"""The three correlation-decoupled losses of CorrKD (Li, Yang et al., CVPR 2024).

All are means unless a sum is asked for, differentiable, and finite for any finite input. None picks entries by a mask,
which would make a GPU wait for the count of them.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.parts.losses import jensen_shannon_information

__all__ = ["category_prototype", "jensen_shannon_information", "sample_contrastive", "split_response"]

_EPSILON = 1e-12  # under the root, so that the gradient at a zero vector is finite


def sample_contrastive(
    student: Tensor,
    teacher: Tensor,
    boundary: float,
    *,
    normalised: bool = False,
    reduction: Literal["pairs", "sum", "samples", "width"] = "pairs",
) -> Tensor:
    """Sample-level contrastive distillation (SCD).

    Of the N(N-1) ordered pairs i != j, ``D(s_i, t_i)^2 + max(0, boundary - D(s_i, t_j))^2`` with the Euclidean
    distance D. The paper prints their sum; the mean is ours.

    Parameters
    ----------
    student, teacher : Tensor, shape (N, D)
        Joint representations of the same samples.
    boundary : float
        The distance boundary eta.
    normalised : bool
        Whether each representation is divided by its length first; then distances are at most 2.
    reduction : {"pairs", "sum", "samples", "width"}
        The mean over the pairs; their sum, as printed; the sum divided by N; the mean over pairs and the D numbers.

    Returns
    -------
    Tensor, scalar
        0 for N = 1.
    """
    n, width = student.shape
    if n < 2:
        return student.sum() * 0.0  # no pairs; still a part of the graph, so that backward works
    if normalised:
        student, teacher = _normalise(student), _normalise(teacher)
    positive = (student - teacher).square().sum(1)  # (N,), squared distances
    # Plain differences: exact for equal vectors, and the gradient at distance 0 is 0.
    distance = torch.cdist(student, teacher, compute_mode="donot_use_mm_for_euclid_dist")  # (N, N)
    negative = F.relu(boundary - distance).square()  # (N, N): the hinge, zero for pairs further apart than eta
    own = torch.eye(n, dtype=torch.bool, device=student.device)  # pairs i = j are no negatives
    pairs = n * (n - 1)
    # The sum over j repeats D(s_i, t_i)^2 N-1 times, and the mean over the N(N-1) pairs divides by as much again.
    mean = positive.mean() + negative.masked_fill(own, 0.0).sum() / pairs
    return mean * {"pairs": 1.0, "sum": pairs, "samples": n - 1, "width": 1.0 / width}[reduction]


def category_prototype(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    num_categories: int,
    *,
    prototypes: Literal["own", "teacher"] = "own",
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Category-guided prototype distillation (CPD).

    A network's prototype of a category is the mean of its representations of the batch's samples of that category.
    Over samples and the categories present in the batch, the squared difference between the student's and the
    teacher's cosine to the prototypes.

    Parameters
    ----------
    student, teacher : Tensor, shape (N, D)
    labels : int64 Tensor, shape (N,)
    num_categories : int
        K. Categories absent from the batch are left out (the paper does not say).
    prototypes : {"own", "teacher"}
        Each network is compared with its own, or both with the teacher's.
    reduction : {"mean", "sum"}

    Returns
    -------
    Tensor, scalar
    """
    members = F.one_hot(labels, num_categories).to(student.dtype)  # (N, K)
    counts = members.sum(0)  # (K,)
    # Column k averages the samples of category k; an absent one has zeros, and a zero prototype.
    weights = members / counts.clamp(min=1.0)  # (N, K)

    def similarity(h: Tensor, source: Tensor) -> Tensor:
        centres = weights.T @ source  # c_k: (K, N) @ (N, D) → (K, D)
        return _normalise(h) @ _normalise(centres).T  # M_k(i), cosines: (N, D) @ (D, K) → (N, K)

    of_student = similarity(student, student if prototypes == "own" else teacher)  # (N, K)
    present = counts > 0  # (K,)
    squares = (of_student - similarity(teacher, teacher)).square() * present  # (N, K)
    if reduction == "sum":
        return squares.sum()
    return squares.mean(0).sum() / present.sum().clamp(min=1)  # over N, then the categories there are


def _normalise(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).add(_EPSILON).sqrt()


def split_response(logits: Tensor, labels: Tensor, *, log: bool = False) -> tuple[Tensor, Tensor]:
    """Decouple a response by the true label.

    Parameters
    ----------
    logits : Tensor, shape (N, K)
    labels : int64 Tensor, shape (N,)
    log : bool
        Give the logarithms of the probabilities.

    Returns
    -------
    target : Tensor, shape (N, 1)
        Softmax probability of the true category.
    non_target : Tensor, shape (N, K-1)
        Softmax probabilities of the others, in their order.
    """
    response = logits.log_softmax(-1) if log else logits.softmax(-1)  # (N, K)
    column = torch.arange(logits.shape[1] - 1, device=logits.device)  # (K-1,)
    # From the true category on, columns are one further to the right.
    others = column + (column >= labels[:, None])  # (N, K-1): the categories but the true one
    return response.gather(1, labels[:, None]), response.gather(1, others)  # (N, 1), (N, K-1)
