"""MCTN: Multimodal Cyclic Translation Network, the hierarchical one for three modalities.

Paper: Pham, Liang, Manzini, Morency and Póczos, "Found in Translation: Learning Robust Joint Representations by Cyclic
Translations between Modalities", AAAI 2019. Deviations from the official code are listed in ``cards/mctn.yaml``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmark import Batch, Choice, Count, Method, NonNegative, Range, TaskSpec, register
from benchmark.parts.effects import error_of_the_mean
from benchmark.parts.pooling import filled
from benchmark.parts.recurrent import orthogonal_recurrence_


def attend(scores: Tensor, states: Tensor, frames: Tensor) -> Tensor:
    """Softmax of `scores` (N, T) over the real frames, and the mean of `states` (N, T, d) under it: (N, d)."""
    # Every sample has a frame (see `filled`), or its weights would be NaN.
    weights = scores.masked_fill(~frames, float("-inf")).softmax(1)
    return (weights[:, None] @ states).squeeze(1)  # (N, 1, T) @ (N, T, d) → (N, d)


def squared_error(found: Tensor, target: Tensor, frames: Tensor, numbers: int) -> Tensor:
    """Squares of the real frames' errors, divided by the numbers that a sample has in the official code.

    Parameters
    ----------
    found, target : Tensor, shape (N, T, d)
    frames : bool Tensor, shape (N, T)
    numbers : int
        Of a target that is padded to the task's longest sample, and to the width that language and audio share.

    Returns
    -------
    Tensor, scalar
    """
    error = (found - target).square().sum(-1) * frames  # (N, T)
    return error.sum() / (len(found) * numbers)


def start(network: nn.Module) -> None:
    """Weights start by Glorot, recurrent ones as orthogonal matrices, biases at zero, as in the official library."""
    for name, parameter in network.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            nn.init.xavier_uniform_(parameter)
    orthogonal_recurrence_(network)


class Encoder(nn.Module):
    """A bidirectional LSTM; the two directions' states are added. (N, T, d_in) → (N, T, hidden)."""

    def __init__(self, d_in: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(d_in, hidden, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """Padding is not run over; its states are zero. Every sample has a frame, see `filled`."""
        packed = pack_padded_sequence(x, frames.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        forwards, backwards = states.chunk(2, dim=-1)  # (N, T, 2 hidden) → 2 x (N, T, hidden)
        return forwards + backwards


class Decoder(nn.Module):
    """An LSTM that attends to the encoder's states and puts out one frame a step.

    As in the official code, its input is what it attends to, not the frame before.
    """

    def __init__(self, hidden: int, d_out: int) -> None:
        super().__init__()
        self.key = nn.Linear(hidden, hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.cell = nn.LSTMCell(hidden, hidden)
        self.output = nn.Linear(hidden, d_out)

    def forward(self, states: Tensor, frames: Tensor, num_frames: int) -> Tensor:
        """Encoder states (N, T, hidden) and its real frames (N, T) → (N, num_frames, d_out)."""
        # Additive attention, score = w . tanh(W_k state + b + W_q c): the first part is the same in every step.
        keys = self.key(states)  # (N, T, hidden)
        h = c = states.new_zeros(len(states), states.shape[-1])  # (N, hidden)
        outputs = []
        for _ in range(num_frames):
            # As in the official code, it is the cell state that asks, not the output h.
            scores = self.score((keys + self.query(c)[:, None]).tanh()).squeeze(-1)  # (N, T)
            h, c = self.cell(attend(scores, states, frames), (h, c))
            outputs.append(h)
        return self.output(torch.stack(outputs, dim=1))  # (N, num_frames, hidden) → (N, num_frames, d_out)


@register("mctn", paper="Pham et al., AAAI 2019", trains_on="complete")
class MCTN(Method):
    """Language is translated to audio and back, and what the two share to vision; the last encoding is judged.

    ``loss = task + translation_weight (audio + vision) + cycle_weight (language from the translated audio)
    + head_penalty |weights of the last layer|^2``

    Audio and vision are needed for the translations of training alone: the prediction reads nothing but language.

    Parameters
    ----------
    task : TaskSpec
    hidden : int
        Width of all LSTMs.
    translation_weight, cycle_weight : float
        Of the mean squared errors of the translations, and of the translation back.
    head_penalty : float
        Of the squared weights of the last layer.
    """

    # The official code does not clip: no gradient is as long as 1e9.
    training_defaults = {"learning_rate": 1e-4, "batch_size": 32, "clip_norm": 1e9}
    search_space = {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Choice(16, 32, 64),
        "hidden": Choice(16, 32, 64),
        "translation_weight": Range(0.025, 0.4, log=True),
        "cycle_weight": Range(0.025, 0.4, log=True),
        "head_penalty": Range(0.0025, 0.04, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        hidden: Count = 32,
        translation_weight: NonNegative = 0.1,
        cycle_weight: NonNegative = 0.1,
        head_penalty: NonNegative = 0.01,
    ) -> None:
        super().__init__(task)
        self.translation_weight = translation_weight
        self.cycle_weight = cycle_weight
        self.head_penalty = head_penalty
        # One encoder and one decoder translate both ways, so language and audio are padded to one width.
        self.width = max(task.feature_dims["l"], task.feature_dims["a"])
        self.encoder = Encoder(self.width, hidden)  # first level: language ⇄ audio
        self.decoder = Decoder(hidden, self.width)
        self.second_encoder = Encoder(hidden, hidden)  # second level: the first's encoding → vision
        self.second_decoder = Decoder(hidden, task.feature_dims["v"])
        self.reader = nn.LSTM(hidden, hidden, batch_first=True)  # reads the second encoding for the prediction
        self.score = nn.Linear(hidden, 1)
        self.head = nn.Linear(hidden, task.num_outputs)
        start(self)

    def widen(self, x: Tensor) -> Tensor:
        """Zeros behind the features, so that language and audio are equally wide: (N, T, d_m) → (N, T, width)."""
        return F.pad(x, (0, self.width - x.shape[-1]))  # behind the last axis only

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Language's frames (N, T_l), its encoding, and the encoding of that: (N, T_l, hidden) each."""
        frames = filled(batch.frames["l"])
        first = self.encoder(self.widen(batch.features["l"]), frames)
        return frames, first, self.second_encoder(first, frames)

    def read(self, states: Tensor, frames: Tensor) -> Tensor:
        """The joint representation: an LSTM over the last encoding, pooled by attention, (N, hidden)."""
        states, _ = self.reader(states)  # (N, T, hidden); padding comes last, so it cannot reach a real frame
        return attend(self.score(states).squeeze(-1).tanh(), states, frames)  # scores (N, T)

    def translation_losses(
        self, batch: Batch, frames: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Errors of audio translated from language, language translated back from that, and vision."""
        if batch.complete is None:
            raise ValueError("the translations need the complete features, which training batches alone have")
        target, real = batch.complete, batch.frames
        # Language → audio, (N, T_a, width) cut to (N, T_a, d_a): what is beyond the target's width means nothing.
        audio = self.decoder(first, frames, target["a"].shape[1])[..., : target["a"].shape[-1]]
        audio_frames = filled(real["a"])
        # The cycle, by the same encoder and decoder: translated audio → language, (N, T_l, d_l).
        back = self.encoder(self.widen(audio), audio_frames)  # (N, T_a, hidden)
        language = self.decoder(back, audio_frames, target["l"].shape[1])[..., : target["l"].shape[-1]]
        # No cycle here: its source is an encoding, for which there is no ground truth.
        vision = self.second_decoder(second, frames, target["v"].shape[1])  # (N, T_v, d_v)
        longest = self.task.max_frames
        return (
            squared_error(audio, target["a"], real["a"], longest["a"] * self.width),
            squared_error(language, target["l"], real["l"], longest["l"] * self.width),
            squared_error(vision, target["v"], real["v"], longest["v"] * target["v"].shape[-1]),
        )

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss, the translations, the cycle and the penalty of the last layer."""
        frames, first, second = self.encode(batch)
        audio, language, vision = self.translation_losses(batch, frames, first, second)
        return {
            "task": self.task_loss(self.head(self.read(second, frames)), batch),
            "translation": self.translation_weight * (audio + vision),
            "cycle": self.cycle_weight * language,
            "penalty": self.head_penalty * self.head.weight.square().sum(),
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Squared errors of the translations and of the cycle, beside that of the mean."""
        assert batch.complete is not None
        errors = self.translation_losses(batch, *self.encode(batch))
        return {
            name: (error, error_of_the_mean(batch.complete[m], batch.frames[m], squared=True))
            for (name, m), error in zip(
                {"audio": "a", "language again": "l", "vision": "v"}.items(), errors, strict=True
            )
        }

    def represent(self, batch: Batch) -> Tensor:
        """The joint representation, (N, hidden), from language alone."""
        frames, _, second = self.encode(batch)
        return self.read(second, frames)

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
