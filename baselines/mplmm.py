"""MPLMM: Multimodal Prompt Learning with Missing Modalities.

Paper: Guo, Jin and Zhao, "Multimodal Prompt Learning with Missing Modalities for Sentiment Analysis and Emotion
Recognition", ACL 2024. Deviations from the official code are listed in ``cards/mplmm.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, Range, Rate, Stage, TaskSpec, register
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import last_frame, padded
from benchmark.parts.transformer import PAIRS, Transformer, attend_across, positions_of_frames

BACKBONE = Stage("backbone", trains_on="complete")
PROMPTS = Stage("prompts")

_SMALL = 0.1  # deviation of signal prompts at the start, beside projected frames of about 1


class Generator(nn.Module):
    """Stands in for a missing modality: a generative prompt and what the others translate to, mixed along time.

    Parameters
    ----------
    task : TaskSpec
    target : str
        The modality it stands in for.
    d, length : int
        Width, and how many frames the prompt has.
    """

    def __init__(self, task: TaskSpec, target: str, *, d: int, length: int) -> None:
        super().__init__()
        self.sources = [m for m in MODALITIES if m != target]
        self.prompt = nn.Parameter(torch.randn(length, d))
        self.translate = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d) for m in self.sources})
        # A way of mixing for each set of sources: one, the other, both.
        self.mix = nn.ModuleDict(
            {
                "".join(sources): nn.Linear(length + sum(task.max_frames[m] for m in sources), task.max_frames[target])
                for sources in (*([m] for m in self.sources), self.sources)
            }
        )

    def forward(self, x: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
        """Features (N, max_frames[m], d_m) and which samples have the modality, (N,) → (N, max_frames[target], d).

        A sample without any source is read as zeros of both.
        """
        translated = {m: F.gelu(self.translate[m](x[m])) for m in self.sources}  # (N, T_m, d)
        prompt = self.prompt.expand(len(next(iter(x.values()))), -1, -1)  # (N, length, d)

        def mixed(sources: list[str]) -> Tensor:
            parts = torch.cat([prompt, *(translated[m] for m in sources)], dim=1)  # (N, length + T of all, d)
            # Along time: (N, length + T, d) → (N, d, length + T) → (N, d, T_target) → (N, T_target, d)
            return F.gelu(self.mix["".join(sources)](parts.transpose(1, 2))).transpose(1, 2)

        first, second = self.sources
        alone_first, alone_second = (there[first] & ~there[second]), (there[second] & ~there[first])  # (N,)
        generated = torch.where(alone_first[:, None, None], mixed([first]), mixed(self.sources))
        return torch.where(alone_second[:, None, None], mixed([second]), generated)


@register("mplmm", paper="Guo et al., ACL 2024", trains_on="missing")
class MPLMM(Method):
    """Prompts teach a frozen multimodal Transformer what to do where modalities are missing.

    First MulT is trained on complete samples. Then its Transformers stay as they are, and what is learned are
    generative prompts, which stand in for a missing modality; signal prompts, one for "there" and one for "missing",
    which are added to each modality; and type prompts, made of the signal prompts of the sample's pattern, which stand
    behind the frames and are read out.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of modalities and prompts; a multiple of `heads`.
    layers, heads : int
        Of all nine Transformers.
    prompt_length : int
        Frames of a generative and of a type prompt.
    attention_dropout, relu_dropout, residual_dropout, embedding_dropout, output_dropout : float
    """

    training_defaults = {"learning_rate": 1e-3, "batch_size": 64, "clip_norm": 0.8}
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(32, 64, 128),
        "d": Choice(20, 30, 40, 60),
        "layers": Range(2, 6),
        "prompt_length": Choice(8, 16, 32),
        "attention_dropout": Range(0.0, 0.5),
        "embedding_dropout": Range(0.0, 0.5),
    }
    stages = (BACKBONE, PROMPTS)

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 30,
        layers: Count = 5,
        heads: Count = 5,
        prompt_length: Count = 16,
        attention_dropout: Rate = 0.1,
        relu_dropout: Rate = 0.1,
        residual_dropout: Rate = 0.1,
        embedding_dropout: Rate = 0.25,
        output_dropout: Rate = 0.1,
    ) -> None:
        super().__init__(task)
        self.stage = PROMPTS  # what a trained method is in, when only its weights are loaded
        self.projections = nn.ModuleDict({m: nn.Linear(task.feature_dims[m], d, bias=False) for m in MODALITIES})
        shared: dict[str, Any] = {
            "heads": heads,
            "layers": layers,
            "dropout": residual_dropout,
            "attention_dropout": attention_dropout,
            "relu_dropout": relu_dropout,
            "embedding_dropout": embedding_dropout,
            "positions": positions_of_frames,
        }
        self.crossmodal = Transformer(len(PAIRS), d, **shared)
        self.selfattention = Transformer(len(MODALITIES), 2 * d, **shared)
        joint = 2 * d * len(MODALITIES)  # 6 d
        self.residual = nn.Sequential(
            nn.Linear(joint, joint), nn.ReLU(), Dropout(output_dropout), nn.Linear(joint, joint)
        )
        self.head = nn.Linear(joint, task.num_outputs)
        self.input_dropout = Dropout(embedding_dropout)
        self.generators = nn.ModuleDict({m: Generator(task, m, d=d, length=prompt_length) for m in MODALITIES})
        # Signal prompts: of a modality that is there, then of one that is missing. Type prompts are made of them by a
        # map of each modality's own, and are about as large.
        self.signals = nn.ParameterDict(
            {m: nn.Parameter(_SMALL * torch.randn(2, task.max_frames[m], d)) for m in MODALITIES}
        )
        self.maps = nn.ParameterDict(
            {m: nn.Parameter(torch.randn(task.max_frames[m], 2 * d) * task.max_frames[m] ** -0.5) for m in MODALITIES}
        )
        self.types = nn.Parameter(torch.randn(len(MODALITIES), prompt_length, d) * d**-0.5)

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """The backbone first; then its Transformers are frozen, and prompts, projections and head are trained."""
        self.stage = stage
        first = stage == BACKBONE
        for part in (self.crossmodal, self.selfattention, self.residual):
            part.requires_grad_(first)
        for prompts in (self.generators, self.signals, self.maps):
            prompts.requires_grad_(not first)
        self.types.requires_grad_(not first)

    def complete(self, batch: Batch, *, generate: bool = True) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every modality (N, max_frames[m], d) with its signal prompt, generated where missing, and what to attend to.

        `generate` is False to leave zeros where a modality is missing.
        """
        x, _ = padded(batch.features, self.task.max_frames)  # (N, T_m, d_m), T_m the task's longest from here on
        frames, _ = padded({m: batch.frames[m][..., None] for m in MODALITIES}, self.task.max_frames)
        x["l"] = self.input_dropout(x["l"])
        there = {m: batch.present[m].any(1) for m in MODALITIES}  # (N,)
        filled, seen = {}, {}
        for m in MODALITIES:
            lost = ~there[m][:, None, None]  # (N, 1, 1)
            generated = self.generators[m](x, there) * generate
            # signals: (2, T_m, d); rows by whether a sample lacks the modality → (N, T_m, d)
            filled[m] = torch.where(lost, generated, self.projections[m](x[m])) + self.signals[m][(~there[m]).long()]
            seen[m] = frames[m][..., 0] | lost[..., 0]  # (N, T_m): a generated modality has all its frames
        return filled, seen

    def type_prompts(self, batch: Batch) -> Tensor:
        """Prompts of the patterns of what is missing, (N, 3, prompt_length, 2 d)."""
        matrix = torch.stack(
            [
                # (2, T_m, d) → (2, d, T_m) @ (T_m, 2 d) → (2, d, 2 d), of which each sample takes one: (N, d, 2 d)
                (self.signals[m].transpose(1, 2) @ self.maps[m])[(~batch.present[m].any(1)).long()]
                for m in MODALITIES
            ]
        ).sum(0)
        return self.types @ matrix[:, None]  # (3, length, d) @ (N, 1, d, 2 d) → (N, 3, length, 2 d)

    def read(self, x: dict[str, Tensor], seen: dict[str, Tensor], prompts: Tensor | None) -> Tensor:
        """MulT's Transformers: the last frame of each modality, or of the prompt behind it, side by side: (N, 6 d)."""
        crossed = attend_across(self.crossmodal, x, seen, self.task.max_frames)  # (N, T_m, 2 d)
        if prompts is not None:
            crossed = {m: torch.cat([crossed[m], prompts[:, i]], dim=1) for i, m in enumerate(MODALITIES)}
            seen = {m: F.pad(seen[m], (0, prompts.shape[2]), value=True) for m in MODALITIES}  # (N, T_m + length)
        masks = [seen[m] for m in MODALITIES]
        fused = self.selfattention([crossed[m] for m in MODALITIES], masks, causal_offset=[0] * len(MODALITIES))
        if prompts is not None:
            return torch.cat([h[:, -1] for h in fused], dim=1)  # 3 x (N, 2 d) → (N, 6 d)
        return torch.cat([last_frame(h, mask) for h, mask in zip(fused, masks, strict=True)], dim=1)

    def represent(self, batch: Batch) -> Tensor:
        """What the head sees, (N, 6 d); without prompts while the backbone is trained."""
        if self.stage == BACKBONE:
            x = dict(batch.features)
            x["l"] = self.input_dropout(x["l"])
            joint = self.read({m: self.projections[m](x[m]) for m in MODALITIES}, batch.frames, None)
        else:
            joint = self.read(*self.complete(batch), self.type_prompts(batch))
        return joint + self.residual(joint)

    def loss(self, batch: Batch) -> Tensor:
        """That of the task alone."""
        return self.task_loss(self.predict(batch), batch)

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """The task's loss, beside that with zeros in place of what the generative prompts make."""
        losses = []
        for generate in (True, False):
            joint = self.read(*self.complete(batch, generate=generate), self.type_prompts(batch))
            losses.append(self.task_loss(self.head(joint + self.residual(joint)), batch))
        return {"loss with generated modalities": (losses[0], losses[1])}

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return self.head(self.represent(batch))
