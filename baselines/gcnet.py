"""GCNet: Graph Completion Network for Incomplete Multimodal Learning in Conversation.

Paper: Lian, Chen, Sun, Liu and Tao, IEEE TPAMI 2023. The paper's graph joins the utterances of a conversation. Here a
sample is judged by itself, so the conversation is the sample: its modalities are the speakers, and a stretch of time of
a modality is an utterance. This and other deviations are listed in ``cards/gcnet.yaml``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, Rate, TaskSpec, Whole, register
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.pooling import masked_mean

S = len(MODALITIES)


def windows(frames: Tensor, num_windows: int) -> Tensor:
    """Which frames each window covers: the sample's real time, divided into equal parts.

    Window w covers frames ``floor(w T / W)`` to ``ceil((w + 1) T / W)`` of the sample's own T, so none is empty unless
    T is 0; in samples of fewer frames than windows, neighbouring windows share frames.

    Parameters
    ----------
    frames : bool Tensor, shape (N, T)
        Real frames, which come first.
    num_windows : int
        W.

    Returns
    -------
    bool Tensor, shape (N, W, T)
    """
    lengths = frames.sum(1)[:, None, None]  # (N, 1, 1)
    w = torch.arange(num_windows, device=frames.device)[:, None]  # (W, 1)
    t = torch.arange(frames.shape[1], device=frames.device)  # (T,)
    start = w * lengths // num_windows  # (N, W, 1), rounded down
    stop = ((w + 1) * lengths + num_windows - 1) // num_windows  # (N, W, 1), rounded up
    return (t >= start) & (t < stop)  # (T,) against (N, W, 1) → (N, W, T)


def window_mean(x: Tensor, covered: Tensor) -> Tensor:
    """Mean over the frames that each window covers, (N, T, d) and (N, W, T) → (N, W, d); zero where it covers none."""
    weights = covered.to(x.dtype)
    return weights @ x / weights.sum(-1, keepdim=True).clamp(min=1.0)  # (N, W, T) @ (N, T, d), as means


def relations(num_windows: int, past: int, future: int) -> tuple[Tensor, Tensor]:
    """The two graphs over the S W nodes of a sample, modality by modality; entry (r, i, j) is an edge from j to i.

    Both have the same edges, from windows no further than `past` before and `future` after a node's own, of whichever
    modality; they differ in how these are told apart.

    Returns
    -------
    Tensor, shape (3, S W, S W)
        Temporal: from the past, from the same time, from the future.
    Tensor, shape (S S, S W, S W)
        Speaker: from each modality to each.
    """
    time = torch.arange(num_windows).repeat(S)  # of each node, (S W,)
    speaker = torch.arange(S).repeat_interleave(num_windows)  # (S W,)
    later = time[None, :] - time[:, None]  # how much later j is than i
    edges = (later >= -past) & (later <= future)
    temporal = torch.stack([edges & (later.sign() == sign) for sign in (-1, 0, 1)])  # (3, S W, S W)
    kind = speaker[:, None] * S + speaker[None, :]  # (S W, S W): a number for each ordered pair of modalities
    return temporal.float(), torch.stack([edges & (kind == k) for k in range(S * S)]).float()


class GraphNetwork(nn.Module):
    """A relational graph convolution, a plain one, and a bidirectional LSTM over each speaker's nodes.

    Parameters
    ----------
    d : int
        Width of a node.
    num_relations : int
        R.
    hidden : int
        Width of the graph convolutions.
    dropout : float
        Between the layers of the LSTM.
    attention : bool
        Attention over each speaker's nodes after the LSTM.
    """

    def __init__(self, d: int, num_relations: int, hidden: int, *, dropout: float, attention: bool) -> None:
        super().__init__()
        self.relational = nn.Linear(num_relations * d, hidden, bias=False)  # a matrix W_r for each relation
        self.root = nn.Linear(d, hidden)
        self.neighbours = nn.Linear(hidden, hidden)
        self.own = nn.Linear(hidden, hidden, bias=False)
        width = d + hidden
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=True, dropout=dropout, batch_first=True)
        self.match = nn.Linear(2 * width, 2 * width) if attention else None
        self.linear = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Nodes (N, M, d) and edges (N, R, M, M) → (N, M, d + hidden)."""
        n, m, _ = x.shape
        # Relational convolution: W_0 x_i + sum over r of W_r times the mean of i's neighbours by r. All W_r are
        # one matrix, so that the sum over r is part of the product.
        mean = graph / graph.sum(-1, keepdim=True).clamp(min=1.0)  # (N, R, M, M), rows sum to one
        # (N, R, M, M) @ (N, 1, M, d) → (N, R, M, d) → (N, M, R, d) → (N, M, R d)
        received = (mean @ x[:, None]).transpose(1, 2).flatten(2)  # (N, M, R d)
        h = self.root(x) + self.relational(received)  # (N, M, hidden)
        # Plain convolution: each edge is in one relation, so their sum is the graph without kinds, (N, M, M).
        h = self.own(h) + self.neighbours(graph.sum(1) @ h)  # (N, M, hidden)
        # Nodes are ordered modality by modality, so each speaker's W nodes become one sequence in time.
        h, _ = self.lstm(torch.cat([x, h], dim=-1).view(n * S, m // S, -1))  # (N S, W, 2 (d + hidden))
        if self.match is not None:
            # The paper's equations 4 to 6, weights (N S, W, W) over the speaker's nodes
            h = (self.match(h) @ h.transpose(1, 2)).tanh().softmax(-1) @ h
        return self.linear(h).relu().reshape(n, m, -1)  # (N S, W, d + hidden) → (N, M, d + hidden)


class Nodes(NamedTuple):
    """What the graph networks made of the nodes, (N, S W, D), and which nodes there are, (N, S W)."""

    hidden: Tensor
    real: Tensor


@register("gcnet", paper="Lian et al., TPAMI 2023", trains_on="missing")
class GCNet(Method):
    """Two graphs over the windows of all modalities; from the same nodes, the label and what is missing are inferred.

    ``loss = task + reconstruction_weight MSE(missing)``

    Parameters
    ----------
    task : TaskSpec
    num_windows : int
        W, into how many windows each modality is divided.
    hidden : int
        Width of each direction of the context LSTM; the graph convolutions are half as wide.
    past, future : int
        How many windows before and after its own a node has edges from.
    dropout : float
        Between the layers of the LSTMs.
    attention : bool
        Attention after the LSTMs.
    reconstruction_weight : float
    """

    # The official code does not clip: no gradient is as long as 1e9.
    training_defaults = {"learning_rate": 1e-3, "batch_size": 32, "weight_decay": 1e-5, "clip_norm": 1e9}
    temporal_graph: Tensor
    speaker_graph: Tensor
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(16, 32, 64),
        "hidden": Choice(16, 32, 64),
        "num_windows": Choice(4, 8, 16),
        "dropout": Range(0.0, 0.7),
        "reconstruction_weight": Range(0.25, 4.0, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        num_windows: Count = 8,
        hidden: Count = 32,
        past: Whole = 2,
        future: Whole = 2,
        dropout: Rate = 0.5,
        attention: bool = False,
        reconstruction_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__(task)
        self.num_windows = num_windows
        self.reconstruction_weight = reconstruction_weight
        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], 2 * hidden) for m in MODALITIES})
        self.context = nn.LSTM(2 * hidden, hidden, num_layers=2, bidirectional=True, dropout=dropout, batch_first=True)
        temporal, speaker = relations(num_windows, past, future)
        self.register_buffer("temporal_graph", temporal, persistent=False)
        self.register_buffer("speaker_graph", speaker, persistent=False)
        d, width = 2 * hidden, hidden // 2  # of the nodes, and of the graph convolutions
        self.temporal = GraphNetwork(d, len(temporal), width, dropout=dropout, attention=attention)
        self.speaker = GraphNetwork(d, len(speaker), width, dropout=dropout, attention=attention)
        self.head = nn.Linear(d + width, task.num_outputs)
        self.completers = nn.ModuleDict({m: nn.Linear(d + width, task.feature_dims[m]) for m in MODALITIES})

    def nodes(self, batch: Batch) -> Nodes:
        """Run both graph networks over the nodes of each sample, and add what they give.

        A node's features are the mean over the present frames of its window, zero where none is.
        """
        x, real = [], []
        for m in MODALITIES:
            covered = windows(batch.frames[m], self.num_windows)  # (N, W, T_m)
            # (N, W, T_m) & (N, 1, T_m); (N, W, d_m) → (N, W, d)
            x.append(self.projections[m](window_mean(batch.features[m], covered & batch.present[m][:, None])))
            real.append(covered.any(-1))  # (N, W): missing frames are real ones, so their node is there
        nodes, exists = torch.stack(x, dim=1), torch.cat(real, dim=1)  # (N, S, W, d), (N, S W)
        context, _ = self.context(nodes.flatten(0, 1))  # over the windows of one modality, (N S, W, 2 hidden)
        h = context.reshape(len(batch), S * self.num_windows, -1)  # (N, S W, d)
        # Nothing is sent by nodes that are not there: (R, S W, S W) * (N, 1, 1, S W) → (N, R, S W, S W).
        senders = exists[:, None, None, :].to(h.dtype)
        hidden = self.temporal(h, self.temporal_graph * senders) + self.speaker(h, self.speaker_graph * senders)
        return Nodes(hidden, exists)

    def completion_loss(self, nodes: Nodes, batch: Batch) -> Tensor:
        """Mean square of the error in what is missing, summed over modalities, as a share of all windows in time.

        Each node with missing frames must give the mean of their complete features; nothing that is present counts.
        """
        if batch.complete is None:
            raise ValueError("the completion loss needs the complete features, which training batches alone have")
        hidden = nodes.hidden.view(len(batch), S, self.num_windows, -1)  # (N, S, W, D)
        total = hidden.new_zeros(())
        for s, m in enumerate(MODALITIES):
            # Frames of a window that are real and missing, (N, W, T_m) & (N, 1, T_m)
            lost = windows(batch.frames[m], self.num_windows) & (batch.frames[m] & ~batch.present[m])[:, None]
            where = lost.any(-1)  # (N, W)
            target = window_mean(batch.complete[m], lost)[where]  # (nodes, d_m)
            total = total + (self.completers[m](hidden[:, s][where]) - target).square().mean(-1).sum()
        moments = nodes.real.view(len(batch), S, self.num_windows).any(1).sum()  # of any modality
        return total / moments.clamp(min=1)

    def readout(self, nodes: Nodes) -> Tensor:
        """Mean over a sample's nodes, (N, D); zero where there is none."""
        return masked_mean(nodes.hidden, nodes.real)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss and completion."""
        nodes = self.nodes(batch)
        return {
            "task": self.task_loss(self.head(self.readout(nodes)), batch),
            "completion": self.reconstruction_weight * self.completion_loss(nodes, batch),
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of what is completed in windows with missing frames, beside that of the mean."""
        assert batch.complete is not None
        hidden = self.nodes(batch).hidden.view(len(batch), S, self.num_windows, -1)  # (N, S, W, D)
        told = {}
        for s, m in enumerate(MODALITIES):
            lost = windows(batch.frames[m], self.num_windows) & (batch.frames[m] & ~batch.present[m])[:, None]
            wanted = window_mean(batch.complete[m], lost)  # (N, W, d_m)
            told[f"completed {m}"] = beside_the_mean(self.completers[m](hidden[:, s]), wanted, lost.any(-1))
        return told

    def represent(self, batch: Batch) -> Tensor:
        """What the head sees, (N, D)."""
        return self.readout(self.nodes(batch))

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
