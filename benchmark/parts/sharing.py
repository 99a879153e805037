"""Work done once for several rows: what stands in a batch several times, and what a frozen network says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from benchmark.protocol.method import Batch


def encode_distinct(encoder: Callable[[Tensor, Tensor], Tensor], batch: Batch, modality: str) -> Tensor:
    """A modality's encoding, computed once for what stands in the batch several times.

    A batch that is tested holds each sample in many settings, and in several of them the same frames of a modality are
    there. For encoders that take longer than the search for such rows.

    Parameters
    ----------
    encoder : callable
        Features (N, T_m, d_m) and real frames (N, T_m) → (N, ...), row by row.
    batch : Batch
    modality : str

    Returns
    -------
    Tensor, shape (N, ...)
    """
    features, frames = batch.features[modality], batch.frames[modality]
    if len(set(batch.ids)) == len(batch):  # in training: no sample stands there twice
        return encoder(features, frames)
    # Rows of one sample are equal where the same frames are present, which is quicker to compare than features; tests
    # with other noise come in other batches.
    first: dict[tuple[str, bytes], int] = {}
    rows = zip(batch.ids, batch.present[modality].cpu().numpy(), strict=True)
    # For each row the first one equal to it, N of them; then where each of these stands among the D distinct ones.
    same = [first.setdefault((sample_id, present.tobytes()), row) for row, (sample_id, present) in enumerate(rows)]
    places = {row: place for place, row in enumerate(first.values())}
    distinct = on_device(list(places), features.device)  # (D,)
    encoded = encoder(features[distinct], frames[distinct])  # (D, T_m, d_m) and (D, T_m) → (D, ...)
    return encoded[on_device([places[row] for row in same], features.device)]  # (D, ...) → (N, ...)


def on_device(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Whole numbers as a tensor on a device, which is not waited for."""
    return torch.tensor(numbers, dtype=torch.int64).to(device, non_blocking=True)


class Remembered(nn.Module):
    """What a frozen network says of every training sample, computed once.

    A module, so that it goes where its method goes; none of it is stored with the method's weights.

    Parameters
    ----------
    network : callable
        A batch → tensors with N rows each.
    training_set : iterable of Batch
        Nothing by default: then there is nothing to ask for.
    """

    def __init__(
        self,
        network: Callable[[Batch], tuple[Tensor, ...]] = lambda batch: (),
        training_set: Iterable[Batch] = (),
    ) -> None:
        super().__init__()
        batches = list(training_set)
        for place, parts in enumerate(zip(*map(network, batches), strict=True)):
            self.register_buffer(f"output{place}", torch.cat(parts), persistent=False)  # (n, ...)
        ids = [sample_id for batch in batches for sample_id in batch.ids]
        self.rows = {sample_id: row for row, sample_id in enumerate(ids)}

    def of(self, batch: Batch) -> list[Tensor]:
        """The tensors' rows of a batch's samples.

        Raises
        ------
        RuntimeError
            If nothing is remembered yet.
        """
        if not self.rows:
            raise RuntimeError("the frozen network's outputs are computed when the stage that needs them starts")
        # By id, since training batches are shuffled anew in each epoch.
        rows = batch.places
        if rows is None:
            rows = on_device([self.rows[i] for i in batch.ids], batch.device)
        return [output[rows] for output in self.buffers()]  # (n, ...) → (N, ...)
