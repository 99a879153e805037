"""LNLN: Language-dominated Noise-resistant Learning Network.

Paper: Zhang, Wang and Yu, "Towards Robust Multimodal Sentiment Analysis with Incomplete Data", NeurIPS 2024. Deviations
from the official code are listed in ``cards/lnln.yaml``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Count, Method, NonNegative, TaskSpec, register
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.losses import reverse_gradient
from benchmark.parts.transformer import sinusoidal_positions


class Encoder(nn.Module):
    """Pre-norm Transformer layers over learned tokens and a sequence.

    Parameters
    ----------
    d, heads, layers : int
    tokens : int
        How many learned tokens stand before the sequence; where there are any, only their states come back.
    """

    def __init__(self, d: int, *, heads: int, layers: int, tokens: int = 0) -> None:
        super().__init__()
        self.num_tokens = tokens
        if tokens:
            self.tokens = nn.Parameter(torch.randn(1, tokens, d))  # the same for every sample
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d, heads, dim_feedforward=d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )

    def states(self, x: Tensor, frames: Tensor | None = None) -> list[Tensor]:
        """The sequence with positions (and tokens), then after each layer: (N, tokens + T, d) each.

        Parameters
        ----------
        x : Tensor, shape (N, T, d)
        frames : bool Tensor, shape (N, T), optional
            Where padding is not, which is hidden from attention.
        """
        x = x + sinusoidal_positions(x.shape[1], x.shape[2], x.device)  # (N, T, d) + (T, d); tokens get none
        padding = None if frames is None else ~frames  # (N, T); torch wants to know what to hide
        if self.num_tokens:
            x = torch.cat([self.tokens.expand(len(x), -1, -1), x], dim=1)  # (N, tokens + T, d)
            # Tokens are never hidden, so a sample without a frame has something to attend to: (N, tokens + T).
            padding = None if padding is None else F.pad(padding, (self.num_tokens, 0), value=False)
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], src_key_padding_mask=padding))
        return states

    def forward(self, x: Tensor, frames: Tensor | None = None) -> Tensor:
        """The last states, (N, tokens, d), or (N, T, d) where there are no tokens."""
        last = self.states(x, frames)[-1]
        # The tokens have read the sequence, however long, so a modality always comes out as (N, tokens, d).
        return last[:, : self.num_tokens] if self.num_tokens else last


class Attend(nn.Module):
    """Pre-norm attention from one sequence to another: (N, T, d), (N, T', d) → (N, T, d), without a shortcut."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.norm_queries, self.norm_memory = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = nn.MultiheadAttention(d, heads, batch_first=True)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """What the queries get from the memory."""
        memory = self.norm_memory(memory)  # (N, T', d)
        return self.attention(self.norm_queries(queries), memory, memory, need_weights=False)[0]


class Fusion(nn.Module):
    """Language-guided learning of the hyper-modality, then its fusion with the dominant modality.

    Parameters
    ----------
    d, heads, layers, tokens : int
        `layers` of the dominant modality's encoder and of the fusion; the hyper-modality has one more, one for each
        state of that encoder.
    """

    def __init__(self, d: int, *, heads: int, layers: int, tokens: int) -> None:
        super().__init__()
        self.hyper = nn.Parameter(torch.ones(1, tokens, d))  # where the hyper-modality starts
        self.language = Encoder(d, heads=heads, layers=layers)
        self.to_audio = nn.ModuleList(Attend(d, heads) for _ in range(layers + 1))
        self.to_vision = nn.ModuleList(Attend(d, heads) for _ in range(layers + 1))
        self.to_hyper = nn.ModuleList(Attend(d, heads) for _ in range(layers))
        self.feedforward = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, d)) for _ in range(layers)
        )

    def forward(self, dominant: Tensor, audio: Tensor, vision: Tensor) -> Tensor:
        """(N, tokens, d) of each → (N, d)."""
        states = self.language.states(dominant)  # before and after each layer: layers + 1 times (N, tokens, d)
        hyper = self.hyper.expand(len(dominant), -1, -1)  # (1, tokens, d) → (N, tokens, d)
        # Hyper-modality learning: language, layer by layer, asks audio and vision, and keeps what it finds.
        for state, to_audio, to_vision in zip(states, self.to_audio, self.to_vision, strict=True):
            hyper = hyper + to_audio(state, audio) + to_vision(state, vision)
        # Fusion: the encoded dominant modality asks the hyper-modality.
        x = states[-1]
        for to_hyper, feedforward in zip(self.to_hyper, self.feedforward, strict=True):
            x = x + to_hyper(x, hyper)
            x = x + feedforward(x)
        return x.mean(1)  # (N, tokens, d) → (N, d)


class Corrected(NamedTuple):
    """The dominant modality corrected, (N, tokens, d); the proxy it is mended with; and the completeness w (N,)."""

    dominant: Tensor
    proxy: Tensor
    completeness: Tensor


def _mend(language: Tensor, proxy: Tensor, completeness: Tensor) -> Tensor:
    share = completeness[:, None, None]  # (N, 1, 1)
    return share * language + (1.0 - share) * proxy  # (N, tokens, d)


@register("lnln", paper="Zhang et al., NeurIPS 2024", trains_on="missing")
class LNLN(Method):
    """Language leads; as far as it is incomplete, a proxy made of the other modalities stands in.

    ``loss = task + 0.9 MSE(completeness) + 0.8 CE(discriminator) + 0.1 MSE(reconstruction)``

    Parameters
    ----------
    task : TaskSpec
    d, heads, layers : int
        Of all Transformers.
    tokens : int
        To how many vectors each modality is compressed.
    completeness_weight, adversarial_weight, reconstruction_weight : float
    """

    training_defaults = {"learning_rate": 1e-4, "batch_size": 64, "weight_decay": 1e-4}

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 128,
        heads: Count = 8,
        layers: Count = 2,
        tokens: Count = 8,
        completeness_weight: NonNegative = 0.9,
        adversarial_weight: NonNegative = 0.8,
        reconstruction_weight: NonNegative = 0.1,
    ) -> None:
        super().__init__(task)
        self.weights = (completeness_weight, adversarial_weight, reconstruction_weight)

        def encoder(tokens: int = 0) -> Encoder:
            return Encoder(d, heads=heads, layers=layers, tokens=tokens)

        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d) for m in MODALITIES})
        self.compressors = nn.ModuleDict({m: encoder(tokens) for m in MODALITIES})
        self.examiner = encoder(1)  # its one token sums up how complete the language is
        self.completeness = nn.Sequential(nn.Linear(d, d // 2), nn.LeakyReLU(0.1), nn.Linear(d // 2, 1), nn.Sigmoid())
        self.generator = encoder(tokens)
        # Two logits: complete, corrected
        self.discriminator = nn.Sequential(nn.Linear(d, d // 2), nn.LeakyReLU(0.1), nn.Linear(d // 2, 2))
        self.reconstructors = nn.ModuleDict({m: encoder() for m in MODALITIES})
        self.fusion = Fusion(d, heads=heads, layers=layers, tokens=tokens)
        self.head = nn.Linear(d, task.num_outputs)

    def compress(self, features: dict[str, Tensor], frames: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each modality's frames → (N, tokens, d). Missing frames are zero vectors to it."""
        return {m: self.compressors[m](self.projections[m](features[m]), frames[m]) for m in MODALITIES}

    def correct(self, compressed: dict[str, Tensor]) -> Corrected:
        """Dominant modality completion: ``w language + (1 - w) proxy``, w estimated from the language itself."""
        # (N, 1, d) → (N, d) → (N, 1) → (N,)
        w = self.completeness(self.examiner(compressed["l"])[:, 0]).squeeze(-1)  # in (0, 1), by the sigmoid
        # A stand-in for language made of the two others: (N, 2 tokens, d) → (N, tokens, d)
        proxy = self.generator(torch.cat([compressed["a"], compressed["v"]], dim=1))
        return Corrected(_mend(compressed["l"], proxy, w), proxy, w)

    def completeness_loss(self, estimate: Tensor, batch: Batch) -> Tensor:
        """Squared error against the share of real language frames that are present, 0 where there are none."""
        present, real = batch.present["l"].sum(1), batch.frames["l"].sum(1)  # (N,) each
        return F.mse_loss(estimate, present / real.clamp(min=1))

    def adversarial_loss(self, language: Tensor, corrected: Corrected, complete: Tensor) -> Tensor:
        """The discriminator's cross-entropy on corrected and complete language; the proxy is to deceive it.

        The proxy alone: a completeness that had to deceive, too, would lie.
        """
        proxy = reverse_gradient(corrected.proxy)
        # The discriminator sees the dominant modality, but gradients find only the way back to the proxy, turned round.
        dominant = _mend(language.detach(), proxy, corrected.completeness.detach())
        # (2 N, tokens, d): each of the vectors is judged by itself.
        judged = self.discriminator(torch.cat([dominant, complete])).flatten(0, 1)  # (2 N tokens, 2)
        is_corrected = torch.arange(len(judged), device=judged.device) < len(judged) // 2  # (2 N tokens,)
        return F.cross_entropy(judged, is_corrected.long())

    def reconstruction_loss(self, compressed: dict[str, Tensor], complete: dict[str, Tensor]) -> Tensor:
        """From what the incomplete frames give, what the complete ones would have given; mean over the modalities."""
        terms = [F.mse_loss(self.reconstructors[m](compressed[m]), complete[m]) for m in MODALITIES]
        return torch.stack(terms).mean()

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss and the three weighted terms."""
        if batch.complete is None:
            raise ValueError("the reconstruction loss needs the complete features, which training batches alone have")
        compressed = self.compress(batch.features, batch.frames)
        with torch.no_grad():  # as a goal; it comes nearer only as the compressors learn
            complete = self.compress(batch.complete, batch.frames)
        corrected = self.correct(compressed)
        outputs = self.head(self.fusion(corrected.dominant, compressed["a"], compressed["v"]))
        completeness_weight, adversarial_weight, reconstruction_weight = self.weights
        return {
            "task": self.task_loss(outputs, batch),
            "completeness": completeness_weight * self.completeness_loss(corrected.completeness, batch),
            "adversarial": adversarial_weight * self.adversarial_loss(compressed["l"], corrected, complete["l"]),
            "reconstruction": reconstruction_weight * self.reconstruction_loss(compressed, complete),
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of the estimated completeness and of the reconstructed features, beside that of the mean."""
        assert batch.complete is not None
        compressed, complete = (self.compress(x, batch.frames) for x in (batch.features, batch.complete))
        share = batch.present["l"].sum(1) / batch.frames["l"].sum(1).clamp(min=1)  # (N,)
        every = torch.ones_like(share, dtype=torch.bool)
        told = {"completeness": beside_the_mean(self.correct(compressed).completeness[:, None], share[:, None], every)}
        for m in MODALITIES:
            found, wanted = (
                x.flatten(1) for x in (self.reconstructors[m](compressed[m]), complete[m])
            )  # (N, tokens d)
            told[f"reconstructed {m}"] = beside_the_mean(found, wanted, every)
        return told

    def represent(self, batch: Batch) -> Tensor:
        """The fused vector, (N, d)."""
        compressed = self.compress(batch.features, batch.frames)
        return self.fusion(self.correct(compressed).dominant, compressed["a"], compressed["v"])

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
