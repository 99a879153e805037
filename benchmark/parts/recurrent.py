"""Recurrent networks: bidirectional GRUs stepped through side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from benchmark.parts.stacking import folded


def orthogonal_recurrence_(module: nn.Module) -> None:
    """Start the recurrent weights of all LSTMs and GRUs in a module as orthogonal matrices, in place."""
    for name, parameter in module.named_parameters():
        if "weight_hh" in name:  # torch's name of a layer's recurrent weight, of all its gates
            nn.init.orthogonal_(parameter)


class _Scan(torch.autograd.Function):
    """The steps of S GRUs of one width side by side: h' = n + z (h - n) with n = tanh(gates_n + r (h W_n + b_n)).

    Gradients of the recurrent weights are one product over all steps, after them.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        steps, streams, samples, _ = gates.shape
        h = weight.shape[1]
        # gates, (T, S, N, 3 H), is x W_x + b_x of all steps; r, z and n lie side by side, as in the weight (S, H, 3 H).
        hidden = gates.new_zeros(steps + 1, streams, samples, h)  # hidden[t] goes into step t; from the zero state on
        rz, n, recurrent = gates.clone(), gates.new_empty(steps, streams, samples, h), torch.empty_like(gates)
        for t in range(steps):
            torch.baddbmm(bias, hidden[t], weight, out=recurrent[t])  # (S, N, H) @ (S, H, 3 H) + (S, 1, 3 H)
            r_z = rz[t, ..., : 2 * h].add_(recurrent[t, ..., : 2 * h]).sigmoid_()  # (S, N, 2 H): reset, update gate
            # As in torch, the reset gate acts behind the product with the state: n = tanh(gates_n + r recurrent_n).
            torch.addcmul(gates[t, ..., 2 * h :], r_z[..., :h], recurrent[t, ..., 2 * h :], out=n[t]).tanh_()
            torch.lerp(n[t], hidden[t], r_z[..., h:], out=hidden[t + 1])  # n + z (h - n)
        ctx.save_for_backward(weight, hidden, rz, n, recurrent)
        return hidden[1:]  # (T, S, N, H)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        weight, hidden, rz, n, recurrent = ctx.saved_tensors
        h = weight.shape[1]
        r, z = rz[..., :h], rz[..., h : 2 * h]  # (T, S, N, H) each
        # What does not depend on later steps' gradients is done for all steps at once.
        to_n = (1 - z) * (1 - n * n)  # dh'/dn = 1 - z, and tanh' = 1 - n^2: from dL/dh' to dL/dgates_n
        to_z = (hidden[:-1] - n) * (z * (1 - z))  # dh'/dz = h - n, and sigmoid' = z (1 - z)
        to_r = recurrent[..., 2 * h :] * (r * (1 - r))  # from dL/dgates_n, of which r multiplies recurrent_n
        by_gates, by_recurrent = torch.empty_like(rz), torch.empty_like(rz)  # (T, S, N, 3 H) each
        backwards = weight.transpose(1, 2)  # (S, 3 H, H)
        carried = torch.zeros_like(gradient[0])  # dL/dh' by way of later steps, (S, N, H)
        for t in range(len(gradient) - 1, -1, -1):
            carried += gradient[t]  # and directly, as an output: all of dL/dh'
            by_n = torch.mul(carried, to_n[t], out=by_gates[t, ..., 2 * h :])  # dL/dgates_n
            torch.mul(by_n, r[t], out=by_recurrent[t, ..., 2 * h :])  # dL/drecurrent_n, which stands behind r
            torch.mul(by_n, to_r[t], out=by_recurrent[t, ..., :h])  # dL/drecurrent_r
            torch.mul(carried, to_z[t], out=by_recurrent[t, ..., h : 2 * h])  # dL/drecurrent_z
            # dL/dh = z dL/dh' + dL/drecurrent W^T, for the step before: (S, N, 3 H) @ (S, 3 H, H) → (S, N, H)
            carried = torch.baddbmm(carried * z[t], by_recurrent[t], backwards)
        by_gates[..., : 2 * h] = by_recurrent[..., : 2 * h]  # r and z see the plain sum of gates and recurrent
        # recurrent_t = h_t W + b: dL/dW = sum_t h_t^T dL/drecurrent_t, dL/db = sum_t dL/drecurrent_t, over samples too.
        before, g = (x.transpose(0, 1).flatten(1, 2) for x in (hidden[:-1], by_recurrent))  # (S, T * N, ...)
        return by_gates, before.transpose(1, 2) @ g, g.sum(1, keepdim=True)  # ..., (S, H, 3 H), (S, 1, 3 H)


@folded(1, 0, 0, out=1)
def _scan(gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(T, S, N, 3 H), (S, H, 3 H) and (S, 1, 3 H) → (T, S, N, H)."""
    return cast(Callable[..., Tensor], _Scan.apply)(gates, weight, bias)


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
    time = torch.arange(longest, device=x[0].device)  # (T,)
    real = [time[: part.shape[1]] < length[:, None] for part, length in zip(x, lengths, strict=True)]  # S x (N, T_s)
    mirrored = [  # for the backward direction: frames of a sample in reverse order, what lies behind stays
        torch.where(mask, length[:, None] - 1 - time[: mask.shape[1]], time[: mask.shape[1]])[:, :, None]
        for mask, length in zip(real, lengths, strict=True)  # S x (N, T_s, 1), for gather
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
                # What comes from the input is one product over all frames; only h W_h has to wait for the step before.
                projected = F.linear(part, w_x, b_x)  # (N, T_s, gates * H_s)
                # Mirrored, the backward direction steps forwards too, and padding stays behind.
                if direction:
                    projected = projected.gather(1, flipped.expand_as(projected))
                missing = widest - network.hidden_size
                # A unit whose gates, weights and bias are zero has n = tanh 0 = 0 and stays at the zero state.
                gates.append(_widen(projected, network.hidden_size, missing, longest - part.shape[1]))  # (N, T, 3 H)
                # (3 H_s, H_s) → (H, 3 H), and (3 H_s,) → (1, 3 H)
                weights.append(F.pad(_widen(w_h.T[None], network.hidden_size, missing, 0)[0], (0, 0, 0, missing)))
                biases.append(_widen(b_h[None, None], network.hidden_size, missing, 0)[0])
        stacked = torch.stack(gates).permute(2, 0, 1, 3).contiguous()  # (T, 2 S, N, gates * H)
        hidden = _scan(stacked, torch.stack(weights), torch.stack(biases))  # (T, 2 S, N, H)
        for s, (network, flipped) in enumerate(zip(networks, mirrored, strict=True)):
            # Cut off what pads the stream: (T_s, 2, N, H_s) → 2 x (T_s, N, H_s)
            forward, backward = hidden[: flipped.shape[1], 2 * s : 2 * s + 2, :, : network.hidden_size].unbind(1)
            backward = backward.transpose(0, 1)  # (N, T_s, H_s)
            # Mirroring is its own inverse, so the same indices put backward states at their frames.
            both = torch.cat([forward.transpose(0, 1), backward.gather(1, flipped.expand_as(backward))], -1)
            outputs[s] = both * real[s][:, :, None]  # (N, T_s, 2 H_s), which the next layer runs over
    return outputs


def _widen(x: Tensor, width: int, by: int, frames: int) -> Tensor:
    """Zeros for `by` more units in each gate, and for `frames` more frames: (N, T, gates * width) to wider."""
    if by == 0 and frames == 0:
        return x
    n, t, _ = x.shape
    # (N, T, gates * width) → (N, T, gates, width) → (N, T + frames, gates, width + by) → one row a frame again
    return F.pad(x.reshape(n, t, -1, width), (0, by, 0, 0, 0, frames)).reshape(n, t + frames, -1)
