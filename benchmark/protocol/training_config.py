"""The training protocol's settings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from benchmark.files.validation import Strict
from benchmark.protocol.missing import MRM

MIN_EPOCHS = 5
"""The first epoch that may be kept, where nothing else is said; docs/selection.md has the study."""


def _least(data: dict[str, Any]) -> int:
    """The least epoch kept, of the fields that are valid so far."""
    return min(MIN_EPOCHS, data.get("epochs", MIN_EPOCHS))


class MRMConfig(Strict):
    """The distributions of Modality Random Missing; see :class:`benchmark.protocol.missing.MRM`."""

    frame_probability: float = Field(default=MRM.frame_probability, ge=0, le=1)
    modality_probability: float = Field(default=MRM.modality_probability, ge=0, le=1)
    max_ratio: float = Field(default=MRM.max_ratio, ge=0, le=1)


class TrainingConfig(Strict):
    """The training protocol, one for all methods but for what a method's paper says otherwise.

    The checkpoint kept, and the epoch to stop at, are chosen on the validation split, under the same kind of
    missingness as the method trains on, by the rule `selection`: ``loss``, the lowest cross-entropy, of an intensity
    the lowest mean absolute error; ``score``, the best primary metric; ``last``, the last epoch, without an early stop.
    No epoch before `min_epochs` is kept, and `patience` counts from it; where nothing is said, it is `MIN_EPOCHS`, or
    the last of fewer `epochs`. `validation_draws` masks of each validation sample are drawn once for methods that train
    on incomplete samples.
    """

    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=6, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float | None = Field(default=1.0, gt=0)  # None: gradients stay as they are
    validation_draws: int = Field(default=3, ge=1)
    mrm: MRMConfig = MRMConfig()
    selection: Literal["loss", "score", "last"] = "score"
    min_epochs: int = Field(default_factory=_least, ge=1)

    @field_validator("min_epochs")
    @classmethod
    def _at_most_all(cls, value: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs", value)  # absent where it is at fault itself
        if value > epochs:
            raise ValueError(f"more than the {epochs} epochs, so that none could be kept; lower it or raise epochs")
        return value
