"""Loss terms that several methods share.

All are mean-reduced, differentiable, and finite for any finite input.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.parts.stacking import folded


def jensen_shannon_information(joint_scores: Tensor, marginal_scores: Tensor) -> Tensor:
    """Jensen-Shannon estimate of mutual information (Hjelm et al., ICLR 2019), to be maximised.

    ``I = E_joint[-softplus(-F)] - E_marginals[softplus(F)]`` from a critic's scores F; at most 0, and larger the
    better the critic tells joint from marginal pairs.

    Parameters
    ----------
    joint_scores, marginal_scores : Tensor, any shape
        An empty one contributes 0 (a batch of one sample has no marginal pairs).

    Returns
    -------
    Tensor, scalar
    """
    # softplus(-F) = -log sigmoid(F): both are cross-entropies of the critic as a classifier, joint or not.
    joint = F.softplus(-joint_scores).sum() / max(1, joint_scores.numel())
    marginal = F.softplus(marginal_scores).sum() / max(1, marginal_scores.numel())
    return -joint - marginal


def central_moment_discrepancy(x: Tensor, y: Tensor, moments: int) -> Tensor:
    """CMD of Zellinger et al. (ICLR 2017) between two sets of vectors with entries in an interval of length one.

    ``|E x - E y| + sum_{k=2..moments} |C_k(x) - C_k(y)|`` with central moments C_k by coordinate, Euclidean lengths.

    Parameters
    ----------
    x, y : Tensor, shape (N, D)
    moments : int

    Returns
    -------
    Tensor, scalar
    """
    x_mean, y_mean = x.mean(0), y.mean(0)  # (D,)
    # The k-th term is divided by the interval's length to the power of k, so here by one.
    total = (x_mean - y_mean).norm()  # unlike a square root's, its gradient at zero is zero
    for k in range(2, moments + 1):
        total = total + ((x - x_mean).pow(k).mean(0) - (y - y_mean).pow(k).mean(0)).norm()
    return total


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)  # another tensor, so that it can have another gradient

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]  # dL/dx = -dL/dy, though y = x


@folded(0)
def reverse_gradient(x: Tensor) -> Tensor:
    """The identity, whose gradient is turned round (Ganin and Lempitsky, ICML 2015).

    A discriminator's loss on ``reverse_gradient(x)`` trains the discriminator to tell and what made x to deceive it,
    in one backward pass.

    Parameters
    ----------
    x : Tensor, any shape

    Returns
    -------
    Tensor, the same shape
    """
    result: Tensor = _ReverseGradient.apply(x)  # type: ignore[no-untyped-call]
    return result
