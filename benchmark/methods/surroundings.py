"""What code of a method may change for the whole process, put back: other methods' numbers must not depend on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def kept_surroundings() -> Iterator[None]:
    """Have the working folder, standard streams and torch's defaults be after the block what they were before it.

    Without it, cells computed later in this process would come out otherwise than in a worker of their own, and
    relative paths would lead elsewhere.
    """
    import torch  # so that listing methods does not

    of_torch: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    )
    before = [get() for get, _ in of_torch]
    device, folder, streams = torch.get_default_device(), _folder(), (sys.stdout, sys.stderr)
    try:
        yield
    finally:
        for (get, put), value in zip(of_torch, before, strict=True):
            if get() != value:
                put(value)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        if folder and _folder() != folder:
            os.chdir(folder)
        sys.stdout, sys.stderr = streams


def _folder() -> str:
    """The working folder; empty where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - a text
    except OSError:
        return ""
