"""Shared by all tests: one thread, a small simulated task, and no time limit on an example."""

import os
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

from benchmark.data.dataset import Dataset
from benchmark.data.simulator import simulate
from benchmark.methods import loading, registry

torch.set_num_threads(1)

# How long an example takes, or drawing it, says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    """Plug-ins of two tests may have one name."""
    yield
    for name, cls in list(registry._classes.items()):
        if cls.__module__.startswith("plugin_"):
            registry.forget(name)
            loading._loaded.pop(name, None)


@pytest.fixture(scope="session")
def small_mosi() -> Dataset:
    return simulate("mosi", {"train": 64, "valid": 32, "test": 48})


@pytest.fixture(scope="session")
def small_iemocap() -> Dataset:
    return simulate("iemocap", {"train": 64, "valid": 32, "test": 48})
