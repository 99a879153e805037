"""Types of hyper-parameters with the values that a network can have, for the signatures of methods.

>>> def __init__(self, task, *, layers: Count = 2, dropout: Rate = 0.1) -> None: ...

They are checked before anything runs. Any ``Annotated`` type with :class:`pydantic.Field` does as well:
``heads: Annotated[int, Field(ge=1, le=16)] = 4``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1: layers, heads, a width, a kernel."""

Whole = Annotated[int, Field(ge=0)]
"""A whole number of at least 0."""

Rate = Annotated[float, Field(ge=0, lt=1)]
"""At least 0 and below 1: dropout."""

NonNegative = Annotated[float, Field(ge=0)]
"""At least 0: the weight of a term of a loss, a margin."""

Positive = Annotated[float, Field(gt=0)]
"""Above 0: a learning rate."""
