"""P-RMF: Proxy-Driven Robust Multimodal Fusion.

Paper: Zhu et al., "Proxy-Driven Robust Multimodal Sentiment Analysis with Incomplete Data", ACL 2025. Deviations from
the official code are listed in ``cards/p_rmf.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, NonNegative, Range, Rate, TaskSpec, register
from benchmark.parts.attention import attend
from benchmark.parts.dropout import Dropout
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.losses import reverse_gradient
from benchmark.parts.streams import StreamLinear, StreamNorm, normalise
from benchmark.parts.transformer import Transformer

EVERYONE = slice(None)  # all three streams, one a modality
ANCHORS = ((2, 0), (1, 0), (1, 2))  # whose distribution is drawn to whose, of `MODALITIES`: v to l, a to l, a to v
_FARTHEST = 10.0  # means and logarithms of variances lie within


class Latent(NamedTuple):
    """A normal distribution for each number of each token of each modality: (3, N, tokens, d) each."""

    mean: Tensor
    log_variance: Tensor


def divergence(p: Latent, q: Latent) -> Tensor:
    """Mean over all numbers of the Kullback-Leibler divergence of the normal distribution p from q."""
    apart = (p.log_variance.exp() + (p.mean - q.mean).square()) / q.log_variance.exp()
    return 0.5 * (q.log_variance - p.log_variance + apart - 1.0).mean()


def trust(log_variance: Tensor) -> Tensor:
    """Weight of each modality, by number: softmax over modalities, (3, N, tokens, d), of one over the deviation."""
    return (-0.5 * log_variance).exp().softmax(0)


class Coder(nn.Module):
    """A linear layer, a Transformer and a linear layer for each modality: tokens (3, N, k, d) → (3, N, k, d_out)."""

    def __init__(self, d: int, d_out: int, **options: Any) -> None:
        super().__init__()
        self.first, self.last = StreamLinear(3, d, d), StreamLinear(3, d, d_out)
        self.transformer = Transformer(3, d, **options)

    def forward(self, x: Tensor) -> Tensor:
        """The three modalities, each by its own layers."""
        shape = x.shape[:-1]
        hidden = self.first(x.flatten(1, 2), EVERYONE).relu().view(x.shape)  # (3, N k, d) → (3, N, k, d)
        hidden = over_tokens(self.transformer, hidden)
        return self.last(hidden.flatten(1, 2), EVERYONE).view(*shape, -1)  # (3, N k, d_out) → (3, N, k, d_out)


def over_tokens(transformer: Transformer, x: Tensor) -> Tensor:
    """Three Transformers on the tokens of three modalities, of which none is ever missing: (3, N, k, d) → the same."""
    mask = torch.ones(x.shape[1:3], dtype=torch.bool, device=x.device)
    return torch.stack(transformer(list(x), [mask] * 3))


class Injection(nn.Module):
    """The proxy asks each modality, and what it gets is added to it, by weight; then a normalised linear layer."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.norm_proxy, self.norm_tokens = StreamNorm(3, d), StreamNorm(3, d)
        self.query, self.key_value, self.output = (StreamLinear(3, d, width) for width in (d, 2 * d, d))
        self.mix = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), Dropout(dropout))

    def forward(self, proxy: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
        """Proxy (N, k, d), the modalities' tokens and their weights (3, N, k, d) → (N, k, d)."""
        _, n, k, d = tokens.shape
        asking = normalise(proxy).flatten(0, 1).expand(3, -1, -1)  # (N, k, d) → (3, N k, d)
        q = self.norm_proxy.then([self.query], asking, EVERYONE)
        kv = self.norm_tokens.then([self.key_value], normalise(tokens).flatten(1, 2), EVERYONE)  # (3, N k, 2 d)
        everything = q.new_ones(3 * n, 1, 1, k)
        # To attention modalities are but more samples: (3, N k, …) → (3 N, k, …)
        found = attend(q.reshape(3 * n, k, d), kv.reshape(3 * n, k, 2 * d), everything, heads=1)
        found = self.output(found.reshape(3, n * k, d), EVERYONE).view(3, n, k, d)
        x = proxy + (weights * found).sum(0)
        return x + self.mix(x)


@register("p_rmf", paper="Zhu et al., ACL 2025", trains_on="missing")
class PRMF(Method):
    """A proxy modality, made of all by how certain each is of itself, asks them one layer after the other.

    Each modality becomes a few tokens, and each token a normal distribution. The proxy is made of the distributions'
    means, weighted by a softmax of one over their deviations. The same weights count for what each modality tells it.
    ``task + reconstruction_weight MSE + variational_weight / 3 (decoding MSE + KL to N(0, 1) + KL between modalities)``

    Parameters
    ----------
    task : TaskSpec
    d, heads, layers : int
        Of all Transformers.
    tokens : int
        To how many vectors each modality is compressed.
    injections : int
        How often the proxy asks, by the same layer.
    dropout : float
        Of that layer and of the classifier.
    reconstruction_weight, variational_weight : float
    reverse_proxy : bool
        Whether the gradient is turned round where it enters the proxy, as in the official code.
    """

    training_defaults = {"learning_rate": 1e-4, "batch_size": 32, "weight_decay": 1e-4}
    search_space = {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "batch_size": Choice(16, 32, 64),
        "d": Choice(64, 128),
        "layers": Range(1, 4),
        "dropout": Range(0.0, 0.7),
        "reconstruction_weight": Range(0.025, 0.4, log=True),
        "variational_weight": Range(0.125, 2.0, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 128,
        heads: Count = 8,
        layers: Count = 2,
        tokens: Count = 8,
        injections: Count = 4,
        dropout: Rate = 0.5,
        reconstruction_weight: NonNegative = 0.1,
        variational_weight: NonNegative = 0.5,
        reverse_proxy: bool = False,
    ) -> None:
        super().__init__(task)
        self.injections, self.reverse_proxy = injections, reverse_proxy
        self.weights = (reconstruction_weight, variational_weight)
        options: dict[str, Any] = {"heads": heads, "layers": layers, "feedforward": d, "scaled": False}
        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d) for m in MODALITIES})
        self.tokens = nn.Parameter(torch.zeros(3, tokens, d))  # positions tell them apart
        self.extractors = Transformer(3, d, **options)
        self.encoders, self.decoders = Coder(d, 2 * d, **options), Coder(d, d, **options)
        self.reconstructors = Transformer(3, d, **options)
        self.injection = Injection(d, dropout)
        self.head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), Dropout(dropout), nn.Linear(d, task.num_outputs))

    def extract(self, features: Mapping[str, Tensor], frames: Mapping[str, Tensor]) -> Tensor:
        """Each modality's frames, those that may be seen, → (3, N, tokens, d)."""
        n, k = len(features["l"]), self.tokens.shape[1]
        x, seen = [], []
        for own, m in zip(self.tokens, MODALITIES, strict=True):
            x.append(torch.cat([own.expand(n, -1, -1), self.projections[m](features[m])], dim=1))  # (N, k + T_m, d)
            seen.append(torch.cat([frames[m].new_ones(n, k), frames[m]], dim=1))  # (N, k + T_m)
        return torch.stack([h[:, :k] for h in self.extractors(x, seen)])

    def encode(self, tokens: Tensor) -> Latent:
        """Tokens (3, N, k, d) → their distributions."""
        mean, log_variance = self.encoders(tokens).clamp(-_FARTHEST, _FARTHEST).chunk(2, -1)
        return Latent(mean, log_variance)

    def fuse(self, tokens: Tensor, latent: Latent, weights: Tensor) -> Tensor:
        """Make the proxy and let it ask: (3, N, k, d) each → (N, d)."""
        proxy = (weights * latent.mean).sum(0)  # (N, k, d)
        if self.reverse_proxy:
            proxy = reverse_gradient(proxy)
        for _ in range(self.injections):
            proxy = self.injection(proxy, tokens, weights)
        return proxy.mean(1)

    def variational_terms(self, latent: Latent, goals: Tensor) -> dict[str, Tensor]:
        """What makes the latents distributions of their modalities, each a third of the sum over modalities.

        Goals are the tokens of the complete samples, (3, N, k, d), which latents drawn at random are decoded to.
        """
        drawn = latent.mean + (0.5 * latent.log_variance).exp() * torch.randn_like(latent.mean)
        standard = Latent(torch.zeros_like(drawn), torch.zeros_like(drawn))
        apart = [divergence(*(Latent(latent.mean[i], latent.log_variance[i]) for i in pair)) for pair in ANCHORS]
        return {
            "decoding": F.mse_loss(self.decoders(drawn), goals),
            "prior": divergence(latent, standard),
            "agreement": torch.stack(apart).mean(),
        }

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss, the reconstruction from tokens, and the three terms of the latents."""
        assert batch.complete is not None
        with torch.no_grad():  # goals, which do not come nearer by themselves
            goals = self.extract(batch.complete, batch.frames)
        tokens = self.extract(batch.features, batch.present)
        latent = self.encode(tokens)
        outputs = self.head(self.fuse(tokens, latent, trust(latent.log_variance)))
        reconstruction_weight, variational_weight = self.weights
        return {
            "task": self.task_loss(outputs, batch),
            "reconstruction": reconstruction_weight * F.mse_loss(over_tokens(self.reconstructors, tokens), goals),
            **{name: variational_weight * term for name, term in self.variational_terms(latent, goals).items()},
        }

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The task's loss with trust by certainty, beside that with equal trust, and errors of reconstructed tokens."""
        assert batch.complete is not None
        tokens, goals = self.extract(batch.features, batch.present), self.extract(batch.complete, batch.frames)
        latent = self.encode(tokens)
        weights = trust(latent.log_variance)
        value, idle = (
            self.task_loss(self.head(self.fuse(tokens, latent, w)), batch)
            for w in (weights, torch.full_like(weights, 1 / 3))
        )
        told = {"loss with trust": (value, idle)}
        for found, wanted, m in zip(over_tokens(self.reconstructors, tokens), goals, MODALITIES, strict=True):
            lacking = (batch.frames[m] & ~batch.present[m]).any(1)  # (N,)
            told[f"reconstructed {m}"] = beside_the_mean(found.flatten(1), wanted.flatten(1), lacking)  # (N, k d)
        return told

    def represent(self, batch: Batch) -> Tensor:
        """The proxy after its last question, its mean over tokens: (N, d)."""
        tokens = self.extract(batch.features, batch.present)
        latent = self.encode(tokens)
        return self.fuse(tokens, latent, trust(latent.log_variance))

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        outputs: Tensor = self.head(self.represent(batch))
        return outputs
