"""MulT and CorrKD as one would write them down, from torch's own modules: the truth that the fast parts are held to.

One module after another, `nn.MultiheadAttention`, `nn.LayerNorm` and `nn.Dropout`; the frozen teacher is asked again
for each batch. Weights come from the methods themselves (`adopt_mult`, `adopt_corrkd`), so that results can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.mult import MulT
from benchmark import MODALITIES, Batch, Method
from benchmark.parts.pooling import last_frame, masked_mean, padded
from benchmark.parts.transformer import PAIRS, Transformer, sinusoidal_positions
from corrkd.losses import category_prototype, sample_contrastive
from corrkd.method import STUDENT, CorrKD
from corrkd.networks import CorrKDNetwork


class PlainLayer(nn.Module):
    """Pre-norm attention and feed-forward layer."""

    def __init__(self, d: int, heads: int, feedforward: int, attention_dropout: float, relu: float, residual: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(d, heads, dropout=attention_dropout, batch_first=True)
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.expand, self.contract = nn.Linear(d, feedforward), nn.Linear(feedforward, d)
        self.relu_dropout, self.dropout = nn.Dropout(relu), nn.Dropout(residual)

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor] | None, hidden: Tensor, future: Tensor | None) -> Tensor:
        queries = self.norm_attention(x)
        keys, values = (queries, queries) if memory is None else map(self.norm_attention, memory)
        attended, _ = self.attention(
            queries, keys, values, key_padding_mask=hidden, attn_mask=future, need_weights=False
        )
        x = x + self.dropout(attended)
        inner = self.relu_dropout(self.expand(self.norm_feedforward(x)).relu())
        return x + self.dropout(self.contract(inner))


class PlainTransformer(nn.Module):
    """One stream of a `Transformer`, with that stream's weights."""

    def __init__(self, fast: Transformer, stream: int):
        super().__init__()
        first = fast.layers[0]
        d, feedforward = first.expand.weight.shape[1:]
        self.embedding_dropout = nn.Dropout(fast.embedding_dropout.p)
        self.positions = fast.positions
        self.scale = fast.scale
        self.layers = nn.ModuleList(
            PlainLayer(d, layer.heads, feedforward, _of_stream(layer, stream), layer.relu_dropout, layer.dropout.p)
            for layer in fast.layers
        )
        self.norm = nn.LayerNorm(d)
        with torch.no_grad():
            for plain, layer in zip(self.layers, fast.layers, strict=True):
                pieces = (layer.query, layer.key_value)
                plain.attention.in_proj_weight.copy_(torch.cat([piece.weight[stream].T for piece in pieces]))
                plain.attention.in_proj_bias.copy_(torch.cat([piece.bias[stream, 0] for piece in pieces]))
                _copy(plain.attention.out_proj, layer.output, stream)
                _copy(plain.expand, layer.expand, stream)
                _copy(plain.contract, layer.contract, stream)
                _copy(plain.norm_attention, layer.norm_attention, stream)
                _copy(plain.norm_feedforward, layer.norm_feedforward, stream)
            _copy(self.norm, fast.norm, stream)

    def forward(
        self, x: Tensor, frames: Tensor, memory: Tensor | None = None, memory_frames: Tensor | None = None,
        offset: int | None = None,
    ) -> Tensor:  # fmt: skip
        source, real = (x, frames) if memory is None else (memory, memory_frames)
        future = None
        if offset is not None:
            future = torch.ones(x.shape[1], source.shape[1], dtype=torch.bool, device=x.device).triu(1 + offset)
        h = self._embed(x)
        both = None if memory is None else (self._embed(memory), self._embed(memory))  # keys and values
        for layer in self.layers:
            h = layer(h, both, ~real, future)
        return self.norm(h)

    def _embed(self, x: Tensor) -> Tensor:
        positions = (
            sinusoidal_positions(x.shape[1], x.shape[2], x.device) if self.positions is None else self.positions(x)
        )
        return self.embedding_dropout(x * self.scale + positions)


def _of_stream(layer: nn.Module, stream: int) -> float:
    dropout = layer.attention_dropout
    return dropout[stream] if isinstance(dropout, Sequence) else dropout


def _copy(plain: nn.Module, fast: nn.Module, stream: int) -> None:
    weight = fast.weight[stream]
    plain.weight.copy_(weight[0] if isinstance(plain, nn.LayerNorm) else weight.T)
    plain.bias.copy_(fast.bias[stream, 0])


class PlainMulT(Method):
    """MulT, one Transformer after another."""

    def __init__(self, fast: MulT):
        super().__init__(fast.task)
        self.attend_to_padding = fast.attend_to_padding
        self.convolutions = nn.ModuleDict({m: _conv(fast.convolutions[m].conv) for m in MODALITIES})
        self.crossmodal = nn.ModuleList(PlainTransformer(fast.crossmodal, s) for s in range(len(PAIRS)))
        self.selfattention = nn.ModuleList(PlainTransformer(fast.selfattention, s) for s in range(len(MODALITIES)))
        self.input_dropout = nn.Dropout(fast.input_dropout.p)
        first, _, _, second = fast.residual
        self.first, self.second, self.head = _linear(first), _linear(second), _linear(fast.head)
        self.output_dropout = nn.Dropout(fast.output_dropout.p)

    def predict(self, batch: Batch) -> Tensor:
        longest = self.task.max_frames
        x, frames = padded(batch.features, longest) if self.attend_to_padding else (dict(batch.features), batch.frames)
        x["l"] = self.input_dropout(x["l"])
        x = {m: self.convolutions[m](x[m].transpose(1, 2)).transpose(1, 2) for m in MODALITIES}
        crossed: dict[str, list[Tensor]] = {m: [] for m in MODALITIES}
        for (target, source), transformer in zip(PAIRS, self.crossmodal, strict=True):
            offset = abs(longest[target] - longest[source])
            crossed[target].append(transformer(x[target], frames[target], x[source], frames[source], offset))
        last = []
        for m, transformer in zip(MODALITIES, self.selfattention, strict=True):
            last.append(last_frame(transformer(torch.cat(crossed[m], dim=-1), frames[m], offset=0), frames[m]))
        joint = torch.cat(last, dim=1)
        return self.head(joint + self.second(self.output_dropout(self.first(joint).relu())))

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.predict(batch), batch.labels)


class PlainNetwork(nn.Module):
    """CorrKD's teacher or student, one modality after another."""

    def __init__(self, fast: CorrKDNetwork):
        super().__init__()
        self.convolutions = nn.ModuleDict({m: _conv(fast.convolutions[m].conv) for m in MODALITIES})
        self.encoders = nn.ModuleList(PlainTransformer(fast.encoders, s) for s in range(len(MODALITIES)))
        first, _, dropout, second = fast.head
        self.first, self.second, self.dropout = _linear(first), _linear(second), nn.Dropout(dropout.p)

    def forward(self, features: dict[str, Tensor], frames: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        means = []
        for m, encoder in zip(MODALITIES, self.encoders, strict=True):
            x = self.convolutions[m](features[m].transpose(1, 2)).transpose(1, 2)
            means.append(masked_mean(encoder(x, frames[m]), frames[m]))
        joint = torch.cat(means, dim=1)
        return joint, self.second(self.dropout(self.first(joint).relu()))


class PlainCorrKD(Method):
    """The student's stage of CorrKD."""

    stages = (STUDENT,)

    def __init__(self, fast: CorrKD):
        super().__init__(fast.task)
        self.boundary, self.weights = fast.boundary, fast.weights
        self.teacher = PlainNetwork(fast.teacher).eval().requires_grad_(False)
        self.student = PlainNetwork(fast.student)
        self.critics = nn.ModuleList(_critic(c) for c in (fast.target_critic, fast.non_target_critic))

    def train(self, mode: bool = True) -> PlainCorrKD:
        super().train(mode)
        self.teacher.eval()
        return self

    def loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            teacher_joint, teacher_logits = self.teacher(batch.complete, batch.frames)
        joint, logits = self.student(batch.features, batch.frames)
        scd, cpd, rcd = self.weights
        return (
            F.cross_entropy(logits, batch.labels)
            + scd * sample_contrastive(F.normalize(joint), F.normalize(teacher_joint), self.boundary)
            + cpd * category_prototype(joint, teacher_joint, batch.labels, self.task.num_categories)
            - rcd * self._information(teacher_logits.softmax(-1), logits.softmax(-1), batch.labels)
        )

    def _information(self, teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
        n, k = student.shape
        target = torch.zeros(n, k, dtype=torch.bool, device=student.device)
        target[torch.arange(n, device=student.device), labels] = True
        same = torch.eye(n, dtype=torch.bool, device=student.device).flatten()
        total = student.new_zeros(())
        for critic, part in zip(self.critics, (target, ~target), strict=True):
            x, y = teacher[part].view(n, -1), student[part].view(n, -1)
            pairs = torch.cat([x.repeat_interleave(n, 0), y.repeat(n, 1)], dim=1)  # (N * N, 2 width)
            scores = critic(pairs).squeeze(1)
            total = total - F.softplus(-scores[same]).mean() - F.softplus(scores[~same]).mean()
        return total

    def predict(self, batch: Batch) -> Tensor:
        return self.student(batch.features, batch.frames)[1]


def _conv(fast: nn.Conv1d) -> nn.Conv1d:
    plain = nn.Conv1d(
        fast.in_channels, fast.out_channels, fast.kernel_size[0], padding="same", bias=fast.bias is not None
    )
    plain.load_state_dict(fast.state_dict())
    return plain


def _linear(fast: nn.Linear) -> nn.Linear:
    plain = nn.Linear(fast.in_features, fast.out_features)
    plain.load_state_dict(fast.state_dict())
    return plain


def _critic(fast: nn.Module) -> nn.Sequential:
    """One hidden layer on [x, y]."""
    hidden, width = fast.x.weight.shape
    plain = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), _linear(fast.score))
    with torch.no_grad():
        plain[0].weight.copy_(torch.cat([fast.x.weight, fast.y.weight], dim=1))
        plain[0].bias.copy_(fast.x.bias)
    return plain


def without_dropout(methods: Sequence[nn.Module]) -> None:
    """Set every dropout of the methods to zero, that of attention too."""
    for method in methods:
        for module in method.modules():
            if type(module).__name__ == "Dropout":
                module.p = 0.0
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            for name in ("attention_dropout", "relu_dropout"):
                if isinstance(getattr(module, name, None), float | list):
                    setattr(module, name, 0.0)
