"""Self-MM: unimodal labels generated from the multimodal ones, for self-supervised multi-task learning.

Paper: Yu, Xu, Yuan and Wu, "Learning Modality-Specific Representations with Self-Supervised Multi-Task Learning for
Multimodal Sentiment Analysis", AAAI 2021. Deviations from the official code are listed in ``cards/self_mm.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from benchmark import MODALITIES, Batch, Choice, Count, Method, Positive, Range, Rate, Stage, TaskSpec, register
from benchmark.parts.sharing import encode_distinct, on_device

_EPSILON = 1e-8  # in divisions by a distance, or by an alpha, that may be zero
FUSION = "f"  # beside the modalities' letters: the multimodal head


class Encoder(nn.Module):
    """A one-layer LSTM whose last state goes through a linear layer: (N, T, d_in) → (N, d_out)."""

    def __init__(self, d_in: int, hidden: int, d_out: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(d_in, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, d_out)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        """Padding is never run over. A sample without a single real frame counts as one zero frame."""
        lengths = frames.sum(1).clamp(min=1).cpu()  # packing knows no empty sample
        _, (state, _) = self.lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return self.linear(state[0])  # (1, N, hidden) → (N, hidden) → (N, d_out)


class Head(nn.Module):
    """From an encoding to F*, the representation whose distances make labels, and from there to the answer."""

    def __init__(self, d_in: int, hidden: int, d_out: int, dropout: float) -> None:
        super().__init__()
        self.represent = nn.Sequential(nn.Dropout(dropout), nn.Linear(d_in, hidden), nn.ReLU())
        self.answer = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, d_out))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, d_in) → F* (N, hidden) and the answer (N, d_out)."""
        representation = self.represent(x)
        return representation, self.answer(representation)


def relative_distances(x: Tensor, centres: Tensor) -> Tensor:
    """How much nearer each of K centres is than the others on average: ``(mean_{j != k} D_j - D_k) / D_k``.

    For the positive one of two centres this is the paper's alpha.

    Parameters
    ----------
    x : Tensor, shape (N, d)
    centres : Tensor, shape (K, d)

    Returns
    -------
    Tensor, shape (N, K)
    """
    # (N, 1, d) - (K, d) → (N, K, d)
    distances = (x[:, None, :] - centres).norm(dim=-1)  # (N, K)
    others = (distances.sum(1, keepdim=True) - distances) / (len(centres) - 1)  # (N, K)
    return (others - distances) / (distances + _EPSILON)


def onto_simplex(x: Tensor) -> Tensor:
    """The probability vector nearest to each row (Duchi et al., ICML 2008), shape (N, K)."""
    descending = x.sort(dim=1, descending=True).values  # (N, K)
    ranks = torch.arange(1, x.shape[1] + 1, device=x.device)  # (K,)
    excess = (descending.cumsum(1) - 1.0) / ranks  # what to take off if so many numbers stay above zero
    kept = (descending > excess).sum(1, keepdim=True)  # (N, 1): how many do, the largest ones
    return (x - excess.gather(1, kept - 1)).clamp(min=0.0)  # those that are kept now add up to one


class LabelMemory:
    """The labels and representations of all training samples, kept by sample id across epochs.

    The multimodal label y_m is that of the data and stays: an intensity above or below the middle of its span (C = 1),
    or a one-hot vector (C = K). Each modality's label y_s starts there and moves.

    Parameters
    ----------
    ids : list of str, length n
    labels : Tensor, shape (n, C)
        y_m.
    widths : mapping of head to int
        Of the representations; the heads are the modalities and `FUSION`.
    bound : float
        H: generated intensities stay in [-H, H].
    """

    def __init__(self, ids: list[str], labels: Tensor, widths: Mapping[str, int], bound: float) -> None:
        self.row = {sample_id: i for i, sample_id in enumerate(ids)}
        self.bound = bound
        self.categorical = labels.shape[1] > 1
        self.labels = {h: labels.clone() for h in widths}  # y_s of each head, (n, C); FUSION's stays y_m
        self.features = {h: labels.new_zeros(len(ids), width) for h, width in widths.items()}  # F*, (n, width)
        self.seen = torch.zeros(len(ids), device=labels.device)  # how often, so in which epoch a sample is

    def rows(self, ids: list[str]) -> Tensor:
        """Where the samples are kept, shape (N,)."""
        return on_device([self.row[i] for i in ids], self.seen.device)

    def weights(self, rows: Tensor, modality: str) -> Tensor:
        """``tanh |y_s - y_m|``, shape (N,): zero until a label has moved, so at a sample's first two visits."""
        moved = (self.labels[modality][rows] - self.labels[FUSION][rows]).abs().sum(1)  # (N,)
        return moved.tanh()

    def centres(self, head: str) -> Tensor | None:
        """Mean representation of each category by the head's own labels, (K, d); None while a category is empty."""
        labels = self.labels[head]
        if self.categorical:
            members = F.one_hot(labels.argmax(1), labels.shape[1]).to(labels.dtype)  # (n, K)
        else:
            members = torch.cat([labels < 0, labels >= 0], dim=1).to(labels.dtype)  # (n, 2): negative, positive
        # Before a sample's first visit its representation is but the zeros it starts with.
        members = members * (self.seen > 0)[:, None]
        counts = members.sum(0)  # (K,)
        # (K, n) @ (n, d) → (K, d), as means
        return members.T @ self.features[head] / counts[:, None] if bool((counts > 0).all()) else None

    def update(self, rows: Tensor, features: Mapping[str, Tensor]) -> None:
        """Move the labels of samples that were here before, and keep their new representations.

        ``y_s <- (n - 1) / (n + 1) y_s + 2 / (n + 1) generated``, with n the number of visits, this one included.

        Parameters
        ----------
        rows : Tensor, shape (N,)
        features : mapping of head to Tensor, shape (N, d)
        """
        again = self.seen[rows] > 0  # (N,)
        old = rows[again]  # (N',): in the first epoch there is nothing to move
        # From what was kept before this batch, the batch's own samples included as they were at their last visit.
        centres = {h: self.centres(h) for h in features} if len(old) else {}
        fusion = centres.get(FUSION)
        for m in MODALITIES:
            own = centres.get(m)
            if fusion is None or own is None:
                continue
            alpha_m = relative_distances(features[FUSION][again], fusion)  # (N', K)
            alpha_s = relative_distances(features[m][again], own)  # (N', K)
            generated = self.generate(self.labels[FUSION][old], alpha_s, alpha_m)
            # 2 / (n + 1), as n = seen + 1 with this visit
            share = 2.0 / (self.seen[old] + 2.0)[:, None]
            self.labels[m][old] = (1.0 - share) * self.labels[m][old] + share * generated  # (N', C)
        for h, x in features.items():
            self.features[h][rows] = x
        self.seen[rows] += 1

    def generate(self, y_m: Tensor, alpha_s: Tensor, alpha_m: Tensor) -> Tensor:
        """A modality's labels from the multimodal ones and both relative distances.

        Intensities follow the paper: the mean of ``y_m alpha_s / alpha_m`` and ``y_m + alpha_s - alpha_m``, cut to
        [-H, H]. Probability vectors are shifted by ``softmax(alpha_s) - softmax(alpha_m)``, which keeps their sum at
        one, and put back onto the simplex where a number falls below zero.

        Parameters
        ----------
        y_m : Tensor, shape (N, C)
        alpha_s, alpha_m : Tensor, shape (N, K)

        Returns
        -------
        Tensor, shape (N, C)
        """
        if self.categorical:
            return onto_simplex(y_m + alpha_s.softmax(1) - alpha_m.softmax(1))
        alpha_s, alpha_m = alpha_s[:, 1:], alpha_m[:, 1:]  # towards the positive centre, (N, 1)
        generated = 0.5 * y_m * alpha_s / (alpha_m + _EPSILON) + 0.5 * (y_m + alpha_s - alpha_m)
        return generated.clamp(-self.bound, self.bound)


@register("self_mm", paper="Yu et al., AAAI 2021", trains_on="complete")
class SelfMM(Method):
    """Late fusion, and a head for each modality that learns labels which the method generates itself.

    ``loss = task(fusion) + sum_s mean(tanh |y_s - y_m| error(answer_s, y_s))``; the error of an intensity is absolute,
    that of a probability vector the cross-entropy.

    Parameters
    ----------
    task : TaskSpec
    hidden_l, hidden_a, hidden_v : int
        Widths of the LSTMs.
    encoded_l, encoded_a, encoded_v : int
        Widths of the encodings.
    post_fusion, post_l, post_a, post_v : int
        Widths of the heads, so of the representations F*.
    fusion_dropout, dropout_l, dropout_a, dropout_v : float
        On the heads' inputs.
    bound : float, optional
        H, the largest intensity, from the middle of the task's span. None: half of the span.
    """

    # The official code adds up the gradients of four batches of 32. To Adam, a weight decay of 1e-3 beside their sum is
    # one of 2.5e-4 beside their mean, which is that of a batch of 128. It does not clip: no gradient is as long as 1e9.
    training_defaults = {"learning_rate": 1e-3, "batch_size": 128, "weight_decay": 2.5e-4, "clip_norm": 1e9}

    # A label moves at a sample's second visit, behind its loss, so that the third epoch is the first to learn it.
    stages = (Stage("training", idle=2),)
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(64, 128, 256),
        "hidden_l": Choice(64, 128, 256),
        "post_fusion": Choice(64, 128, 256),
        "fusion_dropout": Range(0.0, 0.5),
        "dropout_l": Range(0.0, 0.5),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        hidden_l: Count = 128,
        hidden_a: Count = 32,
        hidden_v: Count = 64,
        encoded_l: Count = 128,
        encoded_a: Count = 16,
        encoded_v: Count = 32,
        post_fusion: Count = 128,
        post_l: Count = 64,
        post_a: Count = 16,
        post_v: Count = 32,
        fusion_dropout: Rate = 0.1,
        dropout_l: Rate = 0.0,
        dropout_a: Rate = 0.1,
        dropout_v: Rate = 0.1,
        bound: Positive | None = None,
    ) -> None:
        super().__init__(task)
        self.middle, half = sum(task.span) / 2, (task.span[1] - task.span[0]) / 2
        self.bound = half if bound is None else bound
        self.widths = {FUSION: post_fusion, "l": post_l, "a": post_a, "v": post_v}
        hidden = {"l": hidden_l, "a": hidden_a, "v": hidden_v}
        encoded = {"l": encoded_l, "a": encoded_a, "v": encoded_v}
        dropouts = {"l": dropout_l, "a": dropout_a, "v": dropout_v}
        answers = task.num_categories if task.kind == "category" else 1  # probabilities, or an intensity
        self.encoders = nn.ModuleDict({m: Encoder(task.feature_dims[m], hidden[m], encoded[m]) for m in MODALITIES})
        self.heads = nn.ModuleDict({m: Head(encoded[m], self.widths[m], answers, dropouts[m]) for m in MODALITIES})
        # The multimodal task alone gives the prediction; of a polarity it is cross-entropy over the two categories.
        self.heads[FUSION] = Head(sum(encoded.values()), post_fusion, task.num_outputs, fusion_dropout)
        self.memory: LabelMemory | None = None

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Every modality's label starts as the label of the data."""
        batches = list(training_set)
        labels = torch.cat([self.multimodal_labels(batch) for batch in batches])
        ids = [i for batch in batches for i in batch.ids]
        self.memory = LabelMemory(ids, labels, self.widths, self.bound)

    def multimodal_labels(self, batch: Batch) -> Tensor:
        """y_m: the intensities from the middle of the span (N, 1), or the categories as one-hot vectors (N, K)."""
        if batch.intensity is not None:
            return batch.intensity[:, None] - self.middle
        return F.one_hot(batch.labels, self.task.num_categories).to(torch.float32)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """The modalities' encodings, and side by side as `FUSION`'s. Missing frames are zero vectors."""
        encoded = {m: encode_distinct(self.encoders[m], batch, m) for m in MODALITIES}
        return {**encoded, FUSION: torch.cat([encoded[m] for m in MODALITIES], dim=1)}

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The four tasks; then the labels move, for the sample's next visit."""
        if self.memory is None:
            raise RuntimeError("the labels are kept from the start of the training stage on")
        rows = self.memory.rows(batch.ids)
        outputs = {h: self.heads[h](x) for h, x in self.encode(batch).items()}  # F* (N, width), answer (N, C or K)
        terms = {"task": self.task_loss(outputs[FUSION][1], batch)}
        for m in MODALITIES:
            answer, label = outputs[m][1], self.memory.labels[m][rows]
            if self.memory.categorical:
                errors = F.cross_entropy(answer, label, reduction="none")  # (N,), against a probability vector
            else:
                errors = (answer - label).abs().squeeze(1)  # (N, 1) → (N,)
            terms[f"unimodal {m}"] = (self.memory.weights(rows, m) * errors).mean()
        # Generated labels are targets, so no gradient may run through what they are made of.
        self.memory.update(rows, {h: representation.detach() for h, (representation, _) in outputs.items()})
        return terms

    def represent(self, batch: Batch) -> Tensor:
        """F* of the fusion, (N, post_fusion)."""
        return self.heads[FUSION](self.encode(batch)[FUSION])[0]

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities of the fusion, shape (N, task.num_outputs)."""
        return self.heads[FUSION](self.encode(batch)[FUSION])[1]
