"""Parts that `torch.func.vmap` cannot look into say themselves what they do with several models at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, cast

import torch
from torch import Tensor


def folded(*dims: int, out: int = 0) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorate a function for which more models are but more of what stands in a dimension, such as samples.

    Under `torch.func.vmap` the models' dimension goes into that one, and comes out of it again.

    Parameters
    ----------
    dims : int
        Of each tensor that the function takes by position, the dimension that holds more where there are more models.
    out : int
        The same of its result.
    """

    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def together(models: int, *tensors: Tensor, **options: Any) -> Tensor:
            # (models, ..., n, ...) → (..., models * n, ...)
            joined = [x.movedim(0, dim).flatten(dim, dim + 1) for dim, x in zip(dims, tensors, strict=True)]
            result = function(*joined, **options)
            apart = (*result.shape[:out], models, -1, *result.shape[out + 1 :])
            return result.reshape(apart).movedim(out, 0)  # (..., models * n, ...) → (models, ..., n, ...)

        @wraps(function)
        def call(*tensors: Tensor, **options: Any) -> Tensor:
            return by_rule(function, together, tensors, **options)

        return call

    return decorate


def by_rule(
    alone: Callable[..., Tensor], together: Callable[..., Tensor], tensors: Sequence[Tensor], **options: Any
) -> Tensor:
    """``alone(*tensors)``, or of several models under `vmap` ``together(models, *tensors)``.

    Parameters
    ----------
    alone : callable
    together : callable
        Is given how many models there are and the tensors of all of them, models first; it answers alike. Gradients go
        through it as through any other function.
    tensors : sequence of Tensor
        At least one of which differs between models.
    options : of any kind
        Given to both.
    """
    if not torch._C._are_functorch_transforms_active():
        return alone(*tensors, **options)
    run = cast(Callable[..., Tensor], _ByRule.apply)
    return run(partial(alone, **options), partial(together, **options), *tensors)


class _ByRule(torch.autograd.Function):
    """Only a way to reach `vmap`, which asks a Function for its rule."""

    @staticmethod
    def forward(alone: Callable[..., Tensor], together: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        raise RuntimeError("no tensor differs between the models")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing: `forward` is never run."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        alone: Callable[..., Tensor],
        together: Callable[..., Tensor],
        *tensors: Tensor,
    ) -> tuple[Tensor, int]:
        models = info.batch_size
        of_all = [
            x.expand(models, *x.shape) if dim is None else x.movedim(dim, 0)
            for dim, x in zip(in_dims[2:], tensors, strict=True)
        ]
        return together(models, *of_all), 0
