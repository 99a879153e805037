"""Shared by all tests: one thread, a small simulated task, and no time limit on an example."""

import os
from collections.abc import Iterator
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

from benchmark.data.dataset import Dataset
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.methods import loading, registry

torch.set_num_threads(1)

# How long an example takes, or drawing it, says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    """Plug-ins of two tests, or what these import, may have one name."""
    before = set(registry._classes)
    yield
    for name, cls in list(registry._classes.items()):
        of_house = cls.__module__.partition(".")[0] in registry.FOLDERS
        if cls.__module__.startswith(registry.PLUGIN_PREFIX):
            registry.forget(name)
        elif name not in before and not of_house:
            del registry._classes[name]
        else:
            continue
        loading._loaded.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def _no_power_cuts() -> Iterator[None]:
    """Files need not reach the disk itself, which takes as long as all else in storing a small cell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def undrawn() -> Iterator[pytest.MonkeyPatch]:
    """Reports make figures and leave their files empty, until this is undone: drawing takes longest, and has its tests."""
    from benchmark.report.drawing import Drawing

    empty = {"png": bytes(24), "pdf": b""}  # the page reads in a picture's first 24 bytes how large it is
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drawing, "draw", lambda self, name, figure: self._drawn.update({name: empty}))
        yield patch


@pytest.fixture
def unpictured(undrawn: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Reports leave out what they can of figures, until this is undone, and have their tables and their page."""
    from benchmark.report import write

    undrawn.setattr(write, "sections", partial(write.sections, pictures=False))
    return undrawn


@pytest.fixture(scope="session")
def small_mosi() -> Dataset:
    return simulate(known_tasks()["mosi"], (64, 32, 48))


@pytest.fixture(scope="session")
def small_iemocap() -> Dataset:
    return simulate(known_tasks()["iemocap"], (64, 32, 48))
