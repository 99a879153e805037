"""LNLN: Language-dominated Noise-resistant Learning Network.

Paper: Zhang, Wang and Yu, "Towards Robust Multimodal Sentiment Analysis with Incomplete Data", NeurIPS 2024. Deviations
from the official code are listed in ``cards/lnln.yaml``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, TaskSpec, register
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.losses import reverse_gradient
from benchmark.parts.pooling import padded
from benchmark.parts.transformer import sinusoidal_positions


class Attention(nn.Module):
    """Pre-norm attention, (N, T, d) and (N, T', d) → (N, T, d), without a shortcut.

    Queries, keys and values each have a normalisation of their own and no biases, as in the official code.

    Parameters
    ----------
    d, heads : int
    width : int
        Of a head.
    """

    def __init__(self, d: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_key, self.norm_value = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key, self.value = (nn.Linear(d, heads * width, bias=False) for _ in range(3))
        self.output = nn.Linear(heads * width, d)
        for linear in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """What the queries get from the memory."""
        q, k, v = (
            self.query(self.norm_query(queries)),
            self.key(self.norm_key(memory)),
            self.value(self.norm_value(memory)),
        )
        return self.output(attend(q, k, v, self.heads))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention of heads side by side: (N, T, heads * width) and (N, T', …) twice → the first."""
    # (N, T, heads * width) → (N, T, heads, width) → (N, heads, T, width)
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Layer(nn.Module):
    """Attention and feed-forward part with shortcuts; a sequence asks itself or another one."""

    def __init__(self, d: int, heads: int, width: int) -> None:
        super().__init__()
        self.attention = Attention(d, heads, width)
        self.feedforward = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, d))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(N, T, d) and (N, T', d) → (N, T, d)."""
        x = x + self.attention(x, memory)
        return x + self.feedforward(x)


class Encoder(nn.Module):
    """Transformer layers over learned tokens and a sequence, with learned positions.

    Parameters
    ----------
    length : int
        Of the sequence, without tokens.
    d, heads, width, layers : int
    tokens : int
        How many learned tokens stand before the sequence; where there are any, only their states come back.
    """

    def __init__(self, length: int, d: int, *, heads: int, width: int, layers: int, tokens: int = 0) -> None:
        super().__init__()
        self.num_tokens = tokens
        self.tokens = nn.Parameter(torch.zeros(1, tokens, d)) if tokens else None  # the same for every sample
        # Tokens start apart, frames at the sinusoids, from where the network learns the sooner.
        self.positions = nn.Parameter(torch.cat([torch.randn(tokens, d), sinusoidal_positions(length, d)])[None])
        self.layers = nn.ModuleList(Layer(d, heads, width) for _ in range(layers))

    def states(self, x: Tensor) -> list[Tensor]:
        """The sequence (N, T, d) with tokens and positions, then after each layer: (N, tokens + T, d) each."""
        if self.tokens is not None:
            x = torch.cat([self.tokens.expand(len(x), -1, -1), x], dim=1)  # (N, tokens + T, d)
        states = [x + self.positions]
        for layer in self.layers:
            states.append(layer(states[-1], states[-1]))
        return states

    def forward(self, x: Tensor) -> Tensor:
        """The last states, (N, tokens, d), or (N, T, d) where there are no tokens."""
        last = self.states(x)[-1]
        # The tokens have read the sequence, however long, so a modality always comes out as (N, tokens, d).
        return last[:, : self.num_tokens] if self.num_tokens else last


class HyperLayer(nn.Module):
    """Language asks audio and vision, by the same queries; what it gets is added to the hyper-modality, normalised."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleDict({m: nn.LayerNorm(d) for m in MODALITIES})
        self.norm_hyper = nn.LayerNorm(d)
        self.query = nn.Linear(d, d, bias=False)
        self.keys = nn.ModuleDict({m: nn.Linear(d, d, bias=False) for m in ("a", "v")})
        self.values = nn.ModuleDict({m: nn.Linear(d, d, bias=False) for m in ("a", "v")})
        self.output = nn.Linear(d, d)

    def forward(self, language: Tensor, others: dict[str, Tensor], hyper: Tensor) -> Tensor:
        """(N, tokens, d) of each → (N, tokens, d)."""
        q = self.query(self.norms["l"](language))
        normed = {m: self.norms[m](x) for m, x in others.items()}
        found = [attend(q, self.keys[m](x), self.values[m](x), self.heads) for m, x in normed.items()]
        return self.norm_hyper(hyper) + self.output(torch.stack(found).sum(0))


class Fusion(nn.Module):
    """Language-guided learning of the hyper-modality, then its fusion with the dominant modality.

    Parameters
    ----------
    d, heads, width, layers, tokens : int
        `layers` of the dominant modality's encoder; the hyper-modality has one more, one for each state of it.
    fusion_layers : int
    """

    def __init__(self, d: int, *, heads: int, width: int, layers: int, fusion_layers: int, tokens: int) -> None:
        super().__init__()
        # Where the hyper-modality starts. Ones alone the first normalisation would turn into zeros, whatever its scale.
        self.hyper = nn.Parameter(1.0 + 1e-4 * torch.randn(1, tokens, d))
        self.language = Encoder(tokens, d, heads=heads, width=width, layers=layers)
        self.learning = nn.ModuleList(HyperLayer(d, heads) for _ in range(layers + 1))
        self.token = nn.Parameter(torch.zeros(1, 1, d))  # before both sequences
        self.positions = nn.ParameterDict({k: torch.randn(1, 1 + tokens, d) for k in ("hyper", "dominant")})
        self.layers = nn.ModuleList(Layer(d, heads, width) for _ in range(fusion_layers))

    def forward(self, dominant: Tensor, others: dict[str, Tensor]) -> Tensor:
        """(N, tokens, d) of the dominant modality, audio and vision → (N, d)."""
        states = self.language.states(dominant)  # before and after each layer: layers + 1 times (N, tokens, d)
        hyper = self.hyper.expand(len(dominant), -1, -1)  # (1, tokens, d) → (N, tokens, d)
        # Hyper-modality learning: language, layer by layer, asks audio and vision, and keeps what it finds.
        for state, layer in zip(states, self.learning, strict=True):
            hyper = layer(state, others, hyper)
        # Fusion: the encoded dominant modality asks the hyper-modality. (N, tokens, d) → (N, 1 + tokens, d)
        token = self.token.expand(len(hyper), -1, -1)
        hyper = torch.cat([token, hyper], dim=1) + self.positions["hyper"]
        x = torch.cat([token, states[-1]], dim=1) + self.positions["dominant"]
        for layer in self.layers:
            x = layer(x, hyper)
        return x[:, 1:].mean(1)  # without the token: (N, tokens, d) → (N, d)


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
    head_width : int
        Of all heads but those of the hyper-modality, which together are as wide as d.
    fusion_layers : int
        How often the dominant modality asks the hyper-modality.
    tokens : int
        To how many vectors each modality is compressed.
    completeness_weight, adversarial_weight, reconstruction_weight : float
    proxy_plays_alone : bool
        Whether the proxy alone is to deceive the discriminator, and complete features are goals without a gradient.
        False is the official code's way: all that is made of the proxy drives its generator the other way, the loss of
        the task too; the discriminator trains language and completeness; complete features train the compressors.
    """

    # The official code does not clip: no gradient is as long as 1e9.
    training_defaults = {"learning_rate": 1e-4, "batch_size": 64, "weight_decay": 1e-4, "clip_norm": 1e9}
    per_task = {"mosei": {"fusion_layers": 4}}
    search_space = {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Choice(32, 64, 128),
        "d": Choice(64, 128),
        "layers": Range(1, 4),
        "completeness_weight": Range(0.225, 3.6, log=True),
        "adversarial_weight": Range(0.2, 3.2, log=True),
        "reconstruction_weight": Range(0.025, 0.4, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 128,
        heads: Count = 8,
        head_width: Count = 64,
        layers: Count = 2,
        fusion_layers: Count = 2,
        tokens: Count = 8,
        completeness_weight: NonNegative = 0.9,
        adversarial_weight: NonNegative = 0.8,
        reconstruction_weight: NonNegative = 0.1,
        proxy_plays_alone: bool = True,
    ) -> None:
        super().__init__(task)
        self.proxy_plays_alone = proxy_plays_alone
        self.weights = (completeness_weight, adversarial_weight, reconstruction_weight)

        def encoder(length: int, tokens: int = 0) -> Encoder:
            return Encoder(length, d, heads=heads, width=head_width, layers=layers, tokens=tokens)

        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d) for m in MODALITIES})
        self.compressors = nn.ModuleDict({m: encoder(task.max_frames[m], tokens) for m in MODALITIES})
        self.examiner = encoder(tokens, 1)  # its one token sums up how complete the language is
        self.completeness = nn.Sequential(nn.Linear(d, d // 2), nn.LeakyReLU(0.1), nn.Linear(d // 2, 1), nn.Sigmoid())
        self.draft = nn.Parameter(torch.ones(1, tokens, d))  # what the proxy is made from, beside audio and vision
        self.generator = encoder(3 * tokens, tokens)
        # Two logits: complete, corrected
        self.discriminator = nn.Sequential(nn.Linear(d, d // 2), nn.LeakyReLU(0.1), nn.Linear(d // 2, 2))
        self.reconstructors = nn.ModuleDict({m: encoder(tokens) for m in MODALITIES})
        self.fusion = Fusion(
            d, heads=heads, width=head_width, layers=layers, fusion_layers=fusion_layers, tokens=tokens
        )
        self.head = nn.Linear(d, task.num_outputs)

    def compress(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each modality's frames → (N, tokens, d). Missing frames are zero vectors to it.

        As in the official code, padding is attended to.
        """
        x, _ = padded(features, self.task.max_frames)  # (N, T_m, d_m), T_m the task's
        return {m: self.compressors[m](self.projections[m](x[m])) for m in MODALITIES}

    def correct(self, compressed: dict[str, Tensor]) -> Corrected:
        """Dominant modality completion: ``w language + (1 - w) proxy``, w estimated from the language itself."""
        # (N, 1, d) → (N, d) → (N, 1) → (N,)
        w = self.completeness(self.examiner(compressed["l"])[:, 0]).squeeze(-1)  # in (0, 1), by the sigmoid
        # A stand-in for language made of the two others: (N, 3 tokens, d) → (N, tokens, d)
        draft = self.draft.expand(len(w), -1, -1)
        proxy = self.generator(torch.cat([draft, compressed["a"], compressed["v"]], dim=1))
        proxy = proxy if self.proxy_plays_alone else reverse_gradient(proxy)
        return Corrected(_mend(compressed["l"], proxy, w), proxy, w)

    def completeness_loss(self, estimate: Tensor, batch: Batch) -> Tensor:
        """Squared error against the share of real language frames that are present, 0 where there are none."""
        present, real = batch.present["l"].sum(1), batch.frames["l"].sum(1)  # (N,) each
        return F.mse_loss(estimate, present / real.clamp(min=1))

    def adversarial_loss(self, language: Tensor, corrected: Corrected, complete: Tensor) -> Tensor:
        """The discriminator's cross-entropy on corrected and complete language; the proxy is to deceive it."""
        dominant = corrected.dominant
        if self.proxy_plays_alone:  # the same numbers; gradients find only the way back to the proxy, turned round
            dominant = _mend(language.detach(), reverse_gradient(corrected.proxy), corrected.completeness.detach())
        # (2 N, tokens, d): each of the vectors is judged by itself.
        judged = self.discriminator(torch.cat([dominant, complete])).flatten(0, 1)  # (2 N tokens, 2)
        is_corrected = torch.arange(len(judged), device=judged.device) < len(judged) // 2  # (2 N tokens,)
        return F.cross_entropy(judged, is_corrected.long())

    def reconstruction_loss(self, compressed: dict[str, Tensor], complete: dict[str, Tensor]) -> Tensor:
        """From what the incomplete frames give, what the complete ones give; mean over the modalities."""
        terms = [F.mse_loss(self.reconstructors[m](compressed[m]), complete[m]) for m in MODALITIES]
        return torch.stack(terms).mean()

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss and the three weighted terms."""
        if batch.complete is None:
            raise ValueError("the reconstruction loss needs the complete features, which training batches alone have")
        compressed = self.compress(batch.features)
        # Alone, the proxy has fixed goals; they come nearer only as the compressors learn.
        with torch.set_grad_enabled(not self.proxy_plays_alone):
            complete = self.compress(batch.complete)
        corrected = self.correct(compressed)
        outputs = self.head(self.fusion(corrected.dominant, {m: compressed[m] for m in ("a", "v")}))
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
        compressed, complete = (self.compress(x) for x in (batch.features, batch.complete))
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
        compressed = self.compress(batch.features)
        return self.fusion(self.correct(compressed).dominant, {m: compressed[m] for m in ("a", "v")})

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
