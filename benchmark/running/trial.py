"""What a trial stores: predictions for the validation split, in settings and draws that all methods share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.protocol.method import Method
from benchmark.protocol.missing import Setting, settings_for
from benchmark.running.evaluation import predict_settings
from benchmark.running.store import Damaged, Store, setting_name

DRAWS = (0, 1, 2)
"""Of the masks of the validation split, wherever chance has a part in them."""
_FILE = "validation.npz"

Tried = tuple[Setting, int]


@dataclass(frozen=True)
class Trial:
    """What a trial's model says of the validation split.

    Parameters
    ----------
    labels : ndarray, shape (N,)
        As in the data.
    names : tuple of S str
        Settings and draws, as from :func:`benchmark.running.store.setting_name`.
    logits : ndarray of float32, shape (S, N, K)
        Logits, or intensities.
    """

    labels: NDArray[np.generic]
    names: tuple[str, ...]
    logits: NDArray[np.float32]


def drawn(settings: Sequence[Setting]) -> tuple[Tried, ...]:
    """A grid's settings, each in all of `DRAWS`; once where its masks are the same in every draw."""
    return tuple((s, draw) for s in settings for draw in (DRAWS if s.by_chance else DRAWS[:1]))


def tried_in(tried: Sequence[Tried], modalities: str) -> tuple[Tried, ...]:
    """Those that mean something where the data have some modalities only, as they are tested there."""
    by_draw: dict[int, list[Setting]] = {}
    for setting, draw in tried:
        by_draw.setdefault(draw, []).append(setting)
    return tuple((setting, draw) for draw, own in by_draw.items() for setting in settings_for(own, modalities))


def lacking_validation(record: Mapping[str, Any], tried: Sequence[Tried]) -> tuple[Tried, ...]:
    """Those that a stored trial lacks."""
    there = record.get("tried", ())
    return tuple(each for each in tried if setting_name(*each) not in there)


def try_on_validation(
    method: Method,
    dataset: Dataset,
    tried: Sequence[Tried],
    device: torch.device,
    side: Path,
    before: Trial | None = None,
) -> dict[str, Any]:
    """Predict the validation split into a cell's side folder, behind what was stored `before`.

    Returns
    -------
    dict
        What the cell's record tells of it: ``tried``, and that nothing was tested.
    """
    parts = [] if before is None else [before.logits]
    names = [] if before is None else list(before.names)
    wanted = tried_in(tried, dataset.task.modalities)
    for draw in dict.fromkeys(draw for _, draw in wanted):
        settings = [setting for setting, own in wanted if own == draw]
        parts.append(predict_settings(method, dataset, settings, draw=draw, device=device, split_name="valid"))
        names += [setting_name(setting, draw) for setting in settings]
    labels = dataset.splits["valid"].labels
    np.savez_compressed(side / _FILE, labels=labels, names=np.array(names), logits=np.concatenate(parts))
    return {"tried": names, "settings": [], "masks": {}, "outputs": {}}


def stored_trial(store: Store, key: str) -> Trial | None:
    """What a done trial has stored; None for a cell that is no trial.

    Raises
    ------
    Damaged
        If it is not as it was written.
    """
    arrays = store.arrays(key, _FILE)
    if arrays is None:
        return None
    try:
        return Trial(arrays["labels"], tuple(map(str, arrays["names"])), arrays["logits"])
    except KeyError as error:
        raise Damaged(str(store.path(key) / _FILE), f"it has no {error}") from error
