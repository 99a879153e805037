"""What samples of other lengths cost: one method, in small."""

import numpy as np

from tests.speed import lengths


def test_a_method_is_measured(monkeypatch):
    monkeypatch.setattr(lengths, "SIZES", {"train": 6, "valid": 4, "test": 4})
    found = lengths.measure("moddrop", (5, 7, 3))
    assert all(np.isfinite(list(found.values()))) and min(found.values()) > 0
