"""Convolution over time."""

from __future__ import annotations

from torch import Tensor, nn


class TemporalConv(nn.Module):
    """1-D convolution over time that keeps the number of frames: (N, T, d_in) → (N, T, d_out).

    Frames beyond either end count as zero vectors, exactly as padding does, so the result for a real frame does not
    depend on how far its batch is padded.
    """

    def __init__(self, d_in: int, d_out: int, *, kernel: int, bias: bool = True) -> None:
        super().__init__()
        # "same" puts kernel - 1 zero frames around a sequence: frame t of the result is centred on frame t.
        self.conv = nn.Conv1d(d_in, d_out, kernel, padding="same", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, d_in) → (N, T, d_out)."""
        return self.conv(x.transpose(1, 2)).transpose(1, 2)  # Conv1d wants time last: (N, d_in, T) → (N, d_out, T)
