"""A trained model over all settings → its outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.batches import SplitTensors
from benchmark.data.dataset import Dataset, Split
from benchmark.protocol.answers import lack_of_frames, outputs_of, representation_of
from benchmark.protocol.method import Batch, Method
from benchmark.protocol.missing import MODALITIES, Setting, frame_mask, frame_noise
from benchmark.running.arithmetic import is_portable
from benchmark.running.store import setting_name

_NUMBERS_A_BATCH = 2**21  # features in one batch: 8 MiB
_ON_A_GPU = 8  # times as many there, where a batch takes as long as its launches or longer
_REPRESENTED_A_CATEGORY = 100
_DIGEST = 16  # characters of one


@torch.no_grad()
def predict_settings(
    method: Method,
    dataset: Dataset,
    settings: Sequence[Setting],
    *,
    draw: int,
    device: torch.device,
    split_name: str = "test",
) -> NDArray[np.float32]:
    """Outputs for the test split, or another one, in every setting: logits, or intensities.

    Samples of similar length go together, each in all settings at once, so that a few large batches do; the longest
    first, so that what a batch leaves free is large enough for the next.

    Parameters
    ----------
    method : Method
    dataset : Dataset
    settings : sequence of S Setting
    draw : int
        Which draw of the masks.
    device : torch.device
    split_name : {"test", "valid"}
        Masks are made of the samples' ids in either.

    Returns
    -------
    ndarray of float32, shape (S, N, K)
        K is 1 for an intensity.

    Raises
    ------
    ValueError
        If a logit is NaN or infinite; names the setting and the sample.
    """
    tensors = SplitTensors(dataset, split_name, device)
    split = tensors.split
    logits = np.zeros((len(settings), len(tensors), dataset.target.num_outputs), dtype=np.float32)
    kept = {
        m: np.stack([mask(split, m, s, draw) for s in settings])  # (S, N, T_m)
        for m in MODALITIES
    }
    # A dimension that is constant in training has no standard deviation to count noise in.
    varies = {
        m: torch.from_numpy(x.any((0, 1))).to(device) for m, x in dataset.splits["train"].features.items()
    }  # (d_m,)
    order = np.argsort(-np.sum([split.lengths[m] for m in MODALITIES], axis=0), kind="stable")
    width = sum(split.features[m].shape[1] * split.features[m].shape[2] for m in MODALITIES)
    method.eval()
    # A method may take rows of one sample with the same frames for equal, so other noise comes in another batch. How a
    # product is rounded hangs on how many rows it has: portable bits must not hang on what is tested at once.
    alike: dict[tuple[object, ...], list[int]] = {}
    for place, setting in enumerate(settings):
        apart = place if is_portable() else None
        alike.setdefault((apart, *(setting.noise_of(m) for m in MODALITIES)), []).append(place)
    for own in alike.values():
        places = np.array(own)
        noise = [settings[own[0]].noise_of(m) for m in MODALITIES]
        numbers = _NUMBERS_A_BATCH * (_ON_A_GPU if device.type == "cuda" else 1)
        rows_a_batch = max(1, numbers // (width * len(places)))
        for start in range(0, len(order), rows_a_batch):
            rows = order[start : start + rows_a_batch]
            masks = {m: kept[m][np.ix_(places, rows)].reshape(len(places) * len(rows), -1) for m in MODALITIES}
            batch = tensors.batch(np.tile(rows, len(places)), masks, training=False)  # of places * rows samples
            for m, strength in zip(MODALITIES, noise, strict=True):
                _add_noise(batch, m, strength, draw, len(places), varies[m])
            predicted = outputs_of(method, batch).cpu().numpy()  # (places * rows, K)
            logits[np.ix_(places, rows)] = predicted.reshape(len(places), len(rows), -1)
    if not np.isfinite(logits).all():
        s, n, _ = np.argwhere(~np.isfinite(logits))[0]
        sample = tensors.batch(np.array([n]), {m: kept[m][s, [n]] for m in MODALITIES}, training=False)
        where = "sample" if split_name == "test" else "validation sample"
        raise ValueError(
            f"logits hold NaN or infinity in setting {settings[s]}, {where} {split.ids[n]}{lack_of_frames(sample)}"
        )
    return logits


def _add_noise(batch: Batch, modality: str, strength: float, draw: int, copies: int, varies: torch.Tensor) -> None:
    """Add noise to the frames of a modality that are there, in a batch that holds its samples `copies` times.

    Of strength 0, nothing is touched; nor are dimensions that do not vary.
    """
    if not strength:
        return
    features = batch.features[modality]  # (copies * rows, T_m, d_m)
    ids = batch.ids[: len(batch) // copies]
    unit = torch.from_numpy(frame_noise(ids, features.shape[1], features.shape[2], modality, draw)).to(features.device)
    # A product and then a sum, each rounded: in one step some processors would round once.
    features += (unit * varies).repeat(copies, 1, 1) * strength * batch.present[modality][:, :, None]


def mask(split: Split, modality: str, setting: Setting, draw: int) -> NDArray[np.bool_]:
    """Which frames of a split are kept in a setting, shape (N, T_m)."""
    num_frames = split.features[modality].shape[1]
    return frame_mask(split.ids, num_frames, modality, setting, draw, lengths=split.lengths[modality])


def digests(
    split: Split, settings: Sequence[Setting], draw: int, logits: NDArray[np.float32]
) -> dict[str, dict[str, str]]:
    """What tells by setting whether a test was the same one and came out the same: of its masks and noise, and of its
    outputs.

    Parameters
    ----------
    split : Split
    settings : sequence of S Setting
    draw : int
    logits : ndarray of float32, shape (S, N, K)

    Returns
    -------
    dict
        ``masks`` and ``outputs``, each by the setting's name. Masks are of real frames alone: padding does not count.
        With them stand, where there is any, the strength of the noise and the noise of strength 1.
    """
    masks = {}
    noise = {
        m: hashlib.sha256(b"".join(own.tobytes() for own in _noise_of_frames(split, m, draw))).digest()
        for m in MODALITIES
        if any(setting.noise_of(m) for setting in settings)
    }
    for setting in settings:
        content = hashlib.sha256("\n".join(map(str, split.ids)).encode())
        for m in MODALITIES:
            content.update(mask(split, m, setting, draw)[split.frames(m)].tobytes())
            if strength := setting.noise_of(m):
                content.update(np.array(strength, dtype="<f8").tobytes() + noise[m])
        masks[setting_name(setting, draw)] = content.hexdigest()[:_DIGEST]
    outputs = {setting_name(setting, draw): output_digest(own) for setting, own in zip(settings, logits, strict=True)}
    return {"masks": masks, "outputs": outputs}


def _noise_of_frames(split: Split, modality: str, draw: int) -> Iterator[NDArray[np.float32]]:
    """The noise of strength 1 of each sample's real frames, sample by sample."""
    num_features = split.features[modality].shape[2]
    for sample_id, length in zip(split.ids, split.lengths[modality], strict=True):
        yield frame_noise([sample_id], int(length), num_features, modality, draw)


def output_digest(logits: NDArray[np.float32]) -> str:
    """Of a model's outputs in one setting, shape (N, K)."""
    return hashlib.sha256(np.ascontiguousarray(logits).tobytes()).hexdigest()[:_DIGEST]


def represented(modalities: str) -> Setting:
    """The setting in which joint representations are kept for plots: half of language alone, as in the paper's figure.

    Where the data have no language, it is their first modality.
    """
    return Setting(modalities[0], 0.5)


@torch.no_grad()
def represent_test(
    method: Method, dataset: Dataset, *, draw: int, device: torch.device
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Joint representations of some test samples in the setting `represented`: the first 100 of each category.

    Parameters
    ----------
    method : Method
    dataset : Dataset
    draw : int
    device : torch.device

    Returns
    -------
    rows : ndarray of int, shape (M,)
        The samples' places in the test split.
    values : ndarray of float32, shape (M, D)

        None for a method that has no joint representation.
    """
    test = SplitTensors(dataset, "test", device)
    categories = dataset.target.category_indices(test.split.labels)
    rows = np.sort(
        np.concatenate([np.flatnonzero(categories == k)[:_REPRESENTED_A_CATEGORY] for k in np.unique(categories)])
    )
    masks = {m: mask(test.split, m, represented(dataset.task.modalities), draw)[rows] for m in MODALITIES}
    values = representation_of(method.eval(), test.batch(rows, masks, training=False))
    return None if values is None else (rows, values.cpu().numpy())
