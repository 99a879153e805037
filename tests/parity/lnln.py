"""LNLN's stored weights under the names that it has now, and its gradients under the stored names.

The numbers were computed with weights for which the official code equals a network with fewer of them: one normalisation
for queries, keys and values, tokens that are the first positions, sinusoids behind them, and nothing where the fusion has
a token and positions of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from benchmark.parts import sinusoidal_positions
from tests.parity.fixtures import Values

_RENAMED = (
    (r"self_attn\.out_proj", "attention.output"),
    (r"(layers\.\d+)\.norm2", r"\1.feedforward.0"),
    (r"linear1", "feedforward.1"),
    (r"linear2", "feedforward.3"),
    (r"fusion\.feedforward\.(\d+)", r"fusion.layers.\1.feedforward"),
    (r"fusion\.to_hyper\.(\d+)\.attention\.out_proj", r"fusion.layers.\1.attention.output"),
    (r"fusion\.to_hyper\.(\d+)\.norm_queries", r"fusion.layers.\1.attention.norm_query"),
    (r"fusion\.to_audio\.(\d+)\.norm_memory", r"fusion.learning.\1.norms.a"),
    (r"fusion\.to_vision\.(\d+)\.norm_memory", r"fusion.learning.\1.norms.v"),
)


def places(stored: str) -> list[str]:
    """Where a stored weight stands now; in several places equal ones, or parts of it one after another."""
    if found := re.fullmatch(r"(.*layers\.\d+)\.(self_attn\.in_proj|norm1)(_weight|\.weight|\.bias|_bias)", stored):
        layer, kind, part = found.groups()
        start = "norm_" if kind == "norm1" else ""
        return [f"{layer}.attention.{start}{each}.{part[1:]}" for each in ("query", "key", "value")]
    if found := re.fullmatch(r"fusion\.to_hyper\.(\d+)\.attention\.in_proj_(weight|bias)", stored):
        return [f"fusion.layers.{found[1]}.attention.{each}.{found[2]}" for each in ("query", "key", "value")]
    if found := re.fullmatch(r"fusion\.to_hyper\.(\d+)\.norm_memory\.(weight|bias)", stored):
        return [f"fusion.layers.{found[1]}.attention.norm_{each}.{found[2]}" for each in ("key", "value")]
    if found := re.fullmatch(r"fusion\.to_(audio|vision)\.(\d+)\.attention\.in_proj_(weight|bias)", stored):
        m = found[1][0]
        return [f"fusion.learning.{found[2]}.{each}.{found[3]}" for each in ("query", f"keys.{m}", f"values.{m}")]
    if found := re.fullmatch(r"fusion\.to_(?:audio|vision)\.(\d+)\.(attention\.out_proj|norm_queries)\.(.*)", stored):
        now = "output" if "out" in found[2] else "norms.l"
        return [f"fusion.learning.{found[1]}.{now}.{found[3]}"]
    for pattern, now in _RENAMED:
        stored = re.sub(pattern, now, stored)
    return [stored]


def adopt(method: torch.nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Set all weights."""
    now = {name: torch.zeros_like(x) for name, x in method.state_dict().items()}
    for name, x in now.items():
        if name.endswith(".norm_hyper.weight") or name == "draft":
            x.fill_(1.0)
        if name.endswith(".positions"):  # an encoder's; those of the fusion stay zero
            encoder = method.get_submodule(name.removesuffix(".positions"))
            extra = 8 if name == "generator.positions" else 0  # the draft, which has none
            length = x.shape[1] - encoder.num_tokens - extra
            x[0, -length:] = sinusoidal_positions(length, x.shape[2])
    for name, x in stored.items():
        if name.endswith("in_proj_bias"):  # zero, since there is none
            continue
        if name.endswith(".tokens"):
            now[name.replace("tokens", "positions")][:, : x.shape[1]] = x
            continue
        parts = x.chunk(3) if "in_proj" in name else [x] * 3
        for place, part in zip(places(name), parts, strict=False):
            if name.startswith("fusion.to_vision") and name.endswith("out_proj.bias"):
                now[place] += part  # of two outputs that are one
            else:
                now[place] = part
    method.load_state_dict(now)


def as_stored(gradients: Mapping[str, Tensor], names: Iterable[str], sizes: Mapping[str, Tensor]) -> Values:
    """Gradients under the stored names: what is in several places now has the sum of their gradients."""
    found = {}
    for name in names:
        if name.endswith(".tokens"):
            found[name] = gradients[name.replace("tokens", "positions")][:, : sizes[name].shape[1]]
            continue
        parts = [gradients[place] for place in places(name)]
        found[name] = torch.cat(parts) if "in_proj" in name else torch.stack(parts).sum(0)
    return found
