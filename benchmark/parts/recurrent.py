"""Recurrent networks: bidirectional GRUs stepped through side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def orthogonal_recurrence_(module: nn.Module) -> None:
    """Start the recurrent weights of all LSTMs and GRUs in a module as orthogonal matrices, in place."""
    for name, parameter in module.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(parameter)


class _Scan(torch.autograd.Function):
    """The steps of S GRUs of one width side by side: h' = n + z (h - n) with n = tanh(gates_n + r (h W_n + b_n)).

    Gradients of the recurrent weights are one product over all steps, after them.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        steps, streams, samples, _ = gates.shape
        h = weight.shape[1]
        hidden = gates.new_zeros(steps + 1, streams, samples, h)  # from the zero state on
        rz, n, recurrent = gates.clone(), gates.new_empty(steps, streams, samples, h), torch.empty_like(gates)
        for t in range(steps):
            torch.baddbmm(bias, hidden[t], weight, out=recurrent[t])
            r_z = rz[t, ..., : 2 * h].add_(recurrent[t, ..., : 2 * h]).sigmoid_()
            torch.addcmul(gates[t, ..., 2 * h :], r_z[..., :h], recurrent[t, ..., 2 * h :], out=n[t]).tanh_()
            torch.lerp(n[t], hidden[t], r_z[..., h:], out=hidden[t + 1])
        ctx.save_for_backward(weight, hidden, rz, n, recurrent)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        weight, hidden, rz, n, recurrent = ctx.saved_tensors
        h = weight.shape[1]
        r, z = rz[..., :h], rz[..., h : 2 * h]
        # What does not depend on later steps' gradients is done for all steps at once.
        to_n = (1 - z) * (1 - n * n)
        to_z = (hidden[:-1] - n) * (z * (1 - z))
        to_r = recurrent[..., 2 * h :] * (r * (1 - r))
        by_gates, by_recurrent = torch.empty_like(rz), torch.empty_like(rz)
        backwards = weight.transpose(1, 2)
        carried = torch.zeros_like(gradient[0])
        for t in range(len(gradient) - 1, -1, -1):
            carried += gradient[t]
            by_n = torch.mul(carried, to_n[t], out=by_gates[t, ..., 2 * h :])
            torch.mul(by_n, r[t], out=by_recurrent[t, ..., 2 * h :])
            torch.mul(by_n, to_r[t], out=by_recurrent[t, ..., :h])
            torch.mul(carried, to_z[t], out=by_recurrent[t, ..., h : 2 * h])
            carried = torch.baddbmm(carried * z[t], by_recurrent[t], backwards)
        by_gates[..., : 2 * h] = by_recurrent[..., : 2 * h]
        before, g = (x.transpose(0, 1).flatten(1, 2) for x in (hidden[:-1], by_recurrent))  # (S, T * N, ...)
        return by_gates, before.transpose(1, 2) @ g, g.sum(1, keepdim=True)


def run_grus(networks: Sequence[nn.GRU], x: Sequence[Tensor], lengths: Sequence[Tensor]) -> list[Tensor]:
    """Bidirectional GRUs, one stream each, stepped through side by side: what torch gives for packed input.

    Both directions of all streams are one batched product a step. Streams of unequal width are padded with units that
    stay zero, streams of unequal length with frames that nothing sees. (For an LSTM, torch's own is as fast.)

    Parameters
    ----------
    networks : S nn.GRU
        Bidirectional, with biases, without dropout or a state to begin with; all of as many layers.
    x : S Tensors, shape (N, T_s, d_s)
    lengths : S int64 Tensors, shape (N,)
        How many frames of each sample to run over; at least 1.

    Returns
    -------
    list of S Tensors, shape (N, T_s, 2 H_s)
        Forward states, then backward states, of the last layer; zero behind a sample's length.
    """
    widest = max(network.hidden_size for network in networks)
    longest = max(part.shape[1] for part in x)
    time = torch.arange(longest, device=x[0].device)
    real = [time[: part.shape[1]] < length[:, None] for part, length in zip(x, lengths, strict=True)]  # S x (N, T_s)
    mirrored = [  # for the backward direction: frames of a sample in reverse order, what lies behind stays
        torch.where(mask, length[:, None] - 1 - time[: mask.shape[1]], time[: mask.shape[1]])[:, :, None]
        for mask, length in zip(real, lengths, strict=True)
    ]
    outputs = list(x)
    for layer in range(networks[0].num_layers):
        gates, weights, biases = [], [], []
        for network, part, flipped in zip(networks, outputs, mirrored, strict=True):
            for direction in ("", "_reverse"):
                w_x, w_h, b_x, b_h = (
                    getattr(network, f"{name}_l{layer}{direction}")
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                )
                projected = F.linear(part, w_x, b_x)  # (N, T_s, gates * H_s)
                if direction:
                    projected = projected.gather(1, flipped.expand_as(projected))
                missing = widest - network.hidden_size
                gates.append(_widen(projected, network.hidden_size, missing, longest - part.shape[1]))
                weights.append(F.pad(_widen(w_h.T[None], network.hidden_size, missing, 0)[0], (0, 0, 0, missing)))
                biases.append(_widen(b_h[None, None], network.hidden_size, missing, 0)[0])
        stacked = torch.stack(gates).permute(2, 0, 1, 3).contiguous()  # (T, 2 S, N, gates * H)
        scan = cast(Callable[..., Tensor], _Scan.apply)
        hidden = scan(stacked, torch.stack(weights), torch.stack(biases))  # (T, 2 S, N, H)
        for s, (network, flipped) in enumerate(zip(networks, mirrored, strict=True)):
            forward, backward = hidden[: flipped.shape[1], 2 * s : 2 * s + 2, :, : network.hidden_size].unbind(1)
            backward = backward.transpose(0, 1)  # (N, T_s, H_s)
            both = torch.cat([forward.transpose(0, 1), backward.gather(1, flipped.expand_as(backward))], -1)
            outputs[s] = both * real[s][:, :, None]
    return outputs


def _widen(x: Tensor, width: int, by: int, frames: int) -> Tensor:
    """Zeros for `by` more units in each gate, and for `frames` more frames: (N, T, gates * width) to wider."""
    if by == 0 and frames == 0:
        return x
    n, t, _ = x.shape
    return F.pad(x.reshape(n, t, -1, width), (0, by, 0, 0, 0, frames)).reshape(n, t + frames, -1)
