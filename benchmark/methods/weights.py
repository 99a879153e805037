"""A method's weights as bytes."""

from __future__ import annotations

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save

from benchmark.protocol.method import Method


def packed_weights(method: Method) -> bytes:
    """The content of ``model.safetensors``; what has several names, such as tied weights, is stored under each."""
    copies = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in method.state_dict().items()}
    return save(copies)


def unpack_weights(method: Method, content: bytes) -> None:
    """Give a method the weights in ``model.safetensors``, wherever it lies."""
    method.load_state_dict(load_tensors(content))
