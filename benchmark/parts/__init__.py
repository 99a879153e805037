"""What methods are built from, and the only place where code is written for speed.

The methods here use tiny networks (heads of four to six numbers, sequences of fifty frames), so time goes into the
number of operations and into memory that is written and read again, not into arithmetic. Hence:

- :class:`Transformer` runs several Transformers of one shape side by side in batched matrix products. The scale and
  shift of a normalisation are folded into the weights of the product behind it.
- :func:`attend` lays heads out with time innermost, since products with a result four numbers wide are several times
  slower than those with one four numbers high, and keeps none of its T x T' weights for the backward pass.
- :func:`feed_forward` keeps nothing of what lies between its two layers either: both compute it again, block by block,
  in less time than memory takes to hold it.
- :func:`dropout` takes its coins from a stretch of a fixed pool that starts at a random place: the one random number
  it draws decides all.
- :func:`run_grus` steps through both directions of several GRUs at once.

All parts are safe for samples without a single real frame: a Transformer attends to the first position, whatever the
padding behind it, and pooled or gathered results of such a sample are zero.
"""

from benchmark.parts.attention import attend
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.critics import Critic
from benchmark.parts.dropout import Dropout, dropout, dropout_mask
from benchmark.parts.feedforward import feed_forward
from benchmark.parts.losses import central_moment_discrepancy, jensen_shannon_information, reverse_gradient
from benchmark.parts.pooling import filled, last_frame, masked_mean
from benchmark.parts.recurrent import orthogonal_recurrence_, run_grus
from benchmark.parts.sharing import Remembered, encode_distinct, on_device
from benchmark.parts.streams import StreamLinear, StreamNorm
from benchmark.parts.transformer import PAIRS, Transformer, TransformerLayer, attend_across, sinusoidal_positions

__all__ = [
    "PAIRS",
    "Critic",
    "Dropout",
    "Remembered",
    "StreamLinear",
    "StreamNorm",
    "TemporalConv",
    "Transformer",
    "TransformerLayer",
    "attend",
    "attend_across",
    "central_moment_discrepancy",
    "dropout",
    "dropout_mask",
    "encode_distinct",
    "feed_forward",
    "filled",
    "jensen_shannon_information",
    "last_frame",
    "masked_mean",
    "on_device",
    "orthogonal_recurrence_",
    "reverse_gradient",
    "run_grus",
    "sinusoidal_positions",
]
