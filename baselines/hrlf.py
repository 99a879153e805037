"""HRLF: Hierarchical Representation Learning Framework.

Paper: Li, Yang, Liu et al., "Toward Robust Incomplete Multimodal Sentiment Analysis via Hierarchical Representation
Learning", NeurIPS 2024 (arXiv 2411.02793). There is no official code; what the paper leaves open, and what we chose, is
listed in ``cards/hrlf.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Choice, Count, Method, Range, Rate, Stage, TaskSpec, register
from benchmark.parts.convolution import TemporalConv
from benchmark.parts.critics import Critic
from benchmark.parts.dropout import Dropout
from benchmark.parts.effects import beside_the_mean
from benchmark.parts.losses import jensen_shannon_information, reverse_gradient
from benchmark.parts.pooling import last_frame
from benchmark.parts.sharing import Remembered
from benchmark.parts.transformer import Transformer

TEACHER = Stage("teacher", trains_on="complete")
STUDENT = Stage("student")


class Factors(NamedTuple):
    """Each modality's vector z and what it is factorised into: dicts of modality to Tensor, shape (N, d)."""

    z: dict[str, Tensor]
    sentiment: dict[str, Tensor]
    specific: dict[str, Tensor]


class Outputs(NamedTuple):
    """What a network gives for N samples.

    `scales` are the joint representations of widths 6 d, 4 d and d; `joint` (N, 3 d) is what the classifier sees.
    """

    factors: Factors
    scales: list[Tensor]
    joint: Tensor
    logits: Tensor


class HRLFNetwork(nn.Module):
    """Factorises each modality, then refines the joint representation through layers of 3d, 2d, d, 2d, 3d.

    Parameters
    ----------
    task : TaskSpec
    d, heads, layers, dropout
        See :class:`HRLF`.
    """

    def __init__(self, task: TaskSpec, *, d: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()

        def mlp(d_in: int) -> nn.Module:
            return nn.Sequential(nn.Linear(d_in, d), nn.ReLU(), nn.Linear(d, d))

        self.convolutions = nn.ModuleDict({m: TemporalConv(task.feature_dims[m], d, kernel=3) for m in MODALITIES})
        self.encoders = Transformer(len(MODALITIES), d, heads=heads, layers=layers, dropout=dropout, scaled=False)
        self.sentiment = nn.ModuleDict({m: mlp(d) for m in MODALITIES})
        self.specific = nn.ModuleDict({m: mlp(d) for m in MODALITIES})
        self.decoder = mlp(2 * d)  # one for all pairs of modalities
        widths = [6 * d, 3 * d, 2 * d, d, 2 * d, 3 * d]  # of the input and of the five layers
        self.refinement = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(5))
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(3 * d, task.num_categories)

    def factorise(self, batch: Batch) -> Factors:
        """Last frame of each modality's Transformer, and its two factors. Missing frames are zero vectors to it."""
        masks = [batch.frames[m] for m in MODALITIES]
        encoded = self.encoders([self.convolutions[m](batch.features[m]) for m in MODALITIES], masks)  # 3 x (N, T_m, d)
        z = {m: last_frame(x, mask) for m, x, mask in zip(MODALITIES, encoded, masks, strict=True)}
        return Factors(
            z, {m: self.sentiment[m](z[m]) for m in MODALITIES}, {m: self.specific[m](z[m]) for m in MODALITIES}
        )

    def translate(self, sentiment: Tensor, specific: Tensor) -> Tensor:
        """The decoder: sentiment of one modality in the manner of another, (N, d) each → (N, d)."""
        return self.decoder(torch.cat([sentiment, specific], dim=-1))

    def forward(self, batch: Batch) -> Outputs:
        """Factors, three scales, joint representation and logits."""
        factors = self.factorise(batch)
        # H, (N, 6 d): Q_l, U_l, Q_a, U_a, Q_v, U_v
        hidden = [torch.cat([part[m] for m in MODALITIES for part in (factors.sentiment, factors.specific)], dim=1)]
        for layer in self.refinement:
            hidden.append(self.dropout(layer(hidden[-1]).relu()))
        _, first, second, third, fourth, joint = hidden  # (N, 3d), (N, 2d), (N, d), (N, 2d), (N, 3d)
        # Layers of one width are joined, the way in with the way out: (N, 6d), (N, 4d), (N, d).
        scales = [torch.cat([first, joint], dim=1), torch.cat([second, fourth], dim=1), third]
        return Outputs(factors, scales, joint, self.head(joint))

    def factorisation_loss(self, factors: Factors) -> Tensor:
        """Translation within and across modalities, and reconstruction of the sentiment factors.

        With Z_ba decoded from the sentiment Q_b and the specifics U_a: Z_aa must equal Z_a (mean over three), Z_ba must
        equal Z_a (mean over six), and the sentiment of Z_ba, read by a's encoder, must equal Q_a, that of the modality
        in whose manner it is written (mean over nine).

        What must be equalled has no gradient: the cheapest way to make all alike would be to say the same of every
        sample.
        """
        wanted, meant = ({m: x.detach() for m, x in part.items()} for part in (factors.z, factors.sentiment))
        within: list[Tensor] = []
        across: list[Tensor] = []
        semantic: list[Tensor] = []
        for target in MODALITIES:
            for source in MODALITIES:
                # Z_ba of the docstring, with source b and target a: (N, d)
                z = self.translate(factors.sentiment[source], factors.specific[target])  # in the manner of target
                (within if source == target else across).append(F.mse_loss(z, wanted[target]))
                semantic.append(F.mse_loss(self.sentiment[target](z), meant[target]))
        return torch.stack(within).mean() + torch.stack(across).mean() + torch.stack(semantic).mean()


@register("hrlf", paper="Li et al., NeurIPS 2024", trains_on="missing")
class HRLF(Method):
    """A teacher on complete samples; a student on incomplete ones that shares its information scale by scale.

    ``teacher: task + L_FRF``; ``student: task + L_FRF - sum_i I(E_i^t, E_i^s) + L_HAL + KL(teacher || student)``, where
    L_FRF is the factorisation loss, I the Jensen-Shannon estimate, and L_HAL the loss of discriminators that the
    student deceives through reversed gradients.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of the encoders and of each factor.
    heads, layers : int
        Of the Transformer encoders. Depth is not in the paper.
    dropout : float
        Not in the paper.
    hidden : int
        Width of statistics networks and discriminators; not in the paper.
    """

    training_defaults = {"learning_rate": 1e-3, "batch_size": 128}
    per_task = {
        "mosi": {"learning_rate": 1e-3, "batch_size": 128, "heads": 10},
        "mosei": {"learning_rate": 2e-3, "batch_size": 16, "heads": 8},
        "iemocap": {"learning_rate": 4e-3, "batch_size": 32, "heads": 10},
    }
    stages = (TEACHER, STUDENT)
    search_space = {
        "learning_rate": Range(1e-4, 1e-2, log=True),
        "batch_size": Choice(16, 32, 64, 128),
        "d": Choice(40, 80),
        "layers": Range(1, 4),
        "dropout": Range(0.0, 0.5),
        "hidden": Choice(32, 64, 128),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 40,
        heads: Count = 10,
        layers: Count = 2,
        dropout: Rate = 0.1,
        hidden: Count = 64,
    ) -> None:
        super().__init__(task)
        self.stage = STUDENT  # what a trained method is in, when only its weights are loaded
        self.teacher = HRLFNetwork(task, d=d, heads=heads, layers=layers, dropout=dropout)
        self.student = HRLFNetwork(task, d=d, heads=heads, layers=layers, dropout=dropout)
        widths = (6 * d, 4 * d, d)  # of the three scales
        self.critics = nn.ModuleList(Critic(width, hidden, form="separable") for width in widths)
        self.discriminators = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1)) for width in widths
        )
        self.teacher_outputs = Remembered()

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Train the teacher first; then freeze it, compute its outputs once, and start the student from its weights.

        Were the student to start elsewhere, the discriminators would tell it from the teacher at once, and push it
        about for as long as it is trained.
        """
        self.stage = stage
        for name, part in self.named_children():  # critics and discriminators are trained with the student
            part.requires_grad_((name == "teacher") == (stage == TEACHER))
        if stage == TEACHER:
            return
        self.student.load_state_dict(self.teacher.state_dict())  # ours; the paper says no more than initialised
        self.teacher.eval()
        self.teacher_outputs = Remembered(self._teacher_on, training_set)

    def _teacher_on(self, batch: Batch) -> tuple[Tensor, ...]:
        outputs: Outputs = self.teacher(batch)
        return *outputs.scales, outputs.logits

    def train(self, mode: bool = True) -> HRLF:
        """As in torch, but a frozen teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.train(mode and self.stage == TEACHER)
        return self

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The task's loss and factorisation; for the student also information, discriminators and responses."""
        network = self._predicting()
        own: Outputs = network(batch)
        terms = {
            "task": self.task_loss(own.logits, batch),
            "factorisation": network.factorisation_loss(own.factors),
        }
        if self.stage == TEACHER:
            return terms
        *teacher_scales, teacher_logits = self.teacher_outputs.of(batch)  # (N, 6d), (N, 4d), (N, d), and (N, K)
        responses = (own.logits.log_softmax(-1), teacher_logits.log_softmax(-1))  # (N, K) each
        return terms | {
            "information": -self.information(teacher_scales, own.scales),
            "adversarial": self.adversarial_loss(teacher_scales, own.scales),
            "responses": F.kl_div(*responses, reduction="batchmean", log_target=True),  # KL(teacher || student)
        }

    def information(self, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        """The information that teacher and student share, summed over the scales."""
        terms = [jensen_shannon_information(*c(t, s)) for c, t, s in zip(self.critics, teacher, student, strict=True)]
        return torch.stack(terms).sum()

    def adversarial_loss(self, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        """The discriminators' cross-entropy, summed over the scales; the student's gradients are turned round."""
        terms = []
        for discriminator, t, s in zip(self.discriminators, teacher, student, strict=True):
            # One backward pass for both sides: discriminators learn to tell, the student not to be told apart.
            real, imitated = discriminator(t), discriminator(reverse_gradient(s))  # (N, 1), logits of "teacher"
            terms.append(F.softplus(-real).mean() + F.softplus(imitated).mean())  # -log De(t) - log(1 - De(s))
        return torch.stack(terms).sum()

    def mechanism(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Errors of the translations, beside that of the mean of what they are to equal."""
        factors = self.student.factorise(batch)
        counts = torch.ones(len(batch), dtype=torch.bool, device=batch.device)
        pairs = [
            beside_the_mean(self.student.translate(factors.sentiment[b], factors.specific[a]), factors.z[a], counts)
            for a in MODALITIES
            for b in MODALITIES
        ]
        value, idle = (torch.stack(both).mean() for both in zip(*pairs, strict=True))
        return {"translation": (value, idle)}

    def _predicting(self) -> HRLFNetwork:
        """The student; the teacher while it is trained."""
        return self.teacher if self.stage == TEACHER else self.student

    def represent(self, batch: Batch) -> Tensor:
        """The refined joint representation, (N, 3 d)."""
        return self._predicting()(batch).joint

    def predict(self, batch: Batch) -> Tensor:
        """Logits, shape (N, K); of an intensity those of its bins, since responses are compared."""
        return self._predicting()(batch).logits
