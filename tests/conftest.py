"""Shared by all tests: one thread, and a small simulated task."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from benchmark.data.dataset import Dataset
from benchmark.data.simulator import simulate

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_mosi() -> Dataset:
    return simulate("mosi", {"train": 64, "valid": 32, "test": 48})


@pytest.fixture(scope="session")
def small_iemocap() -> Dataset:
    return simulate("iemocap", {"train": 64, "valid": 32, "test": 48})
