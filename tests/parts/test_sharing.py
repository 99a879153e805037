"""Work done once for several rows."""

import pytest
import torch

from benchmark.parts.sharing import Remembered, encode_distinct
from tests.batches import random_batch, small_task


def test_what_stands_in_a_batch_several_times_is_encoded_once():
    """The same sample with the same frames of this modality missing, whatever the others lack."""
    batch = random_batch(small_task(), 6, seed=0, kept=0.5)
    batch.ids[:] = ["a", "b", "a", "a", "b", "c"]
    batch.frames["l"][:] = True
    batch.present["l"][:] = False
    batch.present["l"][:3, 1] = True
    for row, like in ((2, 0), (4, 1)):
        batch.features["l"][row] = batch.features["l"][like]
    batch.present["l"][4] = batch.present["l"][1]
    rows = []

    def encoder(features, frames):
        assert features.shape[:2] == frames.shape
        rows.append(len(features))
        return features.cumsum(1)[:, -1] * 2

    encoded = encode_distinct(encoder, batch, "l")
    assert rows == [4]
    assert torch.equal(encoded, batch.features["l"].cumsum(1)[:, -1] * 2)
    batch.ids[:] = list("abcdef")  # as in training
    assert torch.equal(encode_distinct(encoder, batch, "l"), encoded) and rows == [4, 6]


def test_what_is_remembered_is_found_by_sample():
    batches = [random_batch(small_task(), n, seed=n) for n in (3, 2)]
    batches[0].ids[:], batches[1].ids[:] = list("abc"), list("de")
    asked = []

    def network(batch):
        asked.append(len(batch))
        return batch.labels, batch.features["l"][:, 0]

    remembered = Remembered(network, iter(batches))
    batch = random_batch(small_task(), 3, seed=9)
    batch.ids[:] = ["e", "b", "d"]
    labels, frames = remembered.of(batch)
    assert labels.tolist() == [batches[1].labels[1], batches[0].labels[1], batches[1].labels[0]]
    assert torch.equal(frames[1], batches[0].features["l"][1, 0]) and asked == [3, 2]
    with pytest.raises(RuntimeError, match="when the stage that needs them starts"):
        Remembered().of(batch)
