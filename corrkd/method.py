"""CorrKD: correlation-decoupled knowledge distillation.

Paper: Li, Yang et al., "Correlation-Decoupled Knowledge Distillation for Multimodal Sentiment Analysis with Incomplete
Modalities", CVPR 2024 (arXiv 2404.16456). There is no official code; what the paper leaves open, and what we chose, is
listed in ``cards/corrkd.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from benchmark import Batch, Choice, Count, Method, NonNegative, Range, Rate, Stage, TaskSpec, register
from benchmark.parts.critics import Critic, CriticForm, Marginals
from benchmark.parts.sharing import Remembered
from corrkd.losses import category_prototype, jensen_shannon_information, sample_contrastive, split_response
from corrkd.networks import CorrKDNetwork, Head, Pooling

TEACHER = Stage("teacher", trains_on="complete")
STUDENT = Stage("student")


@register("corrkd", paper="Li et al., CVPR 2024", trains_on="missing")
class CorrKD(Method):
    """A teacher that sees complete samples distils into a student that sees incomplete ones.

    ``loss = task + scd_weight SCD + cpd_weight CPD + rcd_weight RCD``

    The rows of the ablation are configurations of this class: weights of zero, another `response_loss`, no `student`.
    So are its readings: what the paper leaves open is an option here, whose default is what the text supports best.

    Parameters
    ----------
    task : TaskSpec
    d : int
        Width of each modality's encoder; the joint representation H has 3 d numbers.
    heads, layers : int
        Of the Transformer encoders. Depth is not in the paper.
    dropout : float
        Not in the paper.
    scaled_inputs : bool
        Whether the convolution's outputs are multiplied by sqrt(d) before positions are added.
    pooling : {"real", "padded", "last"}
        What becomes of a modality's frames: the average over real ones; over all up to the task's longest sample,
        padding among them, which attention then sees too; the last real one.
    head : {"hidden", "linear"}
        With one hidden layer or with none.
    student_start : {"random", "teacher"}
        Weights of its own, or the trained teacher's.
    boundary : float
        Distance boundary eta of SCD.
    scd_distance : {"normalised", "raw"}
        Distances between representations of length one, or as they are.
    scd_reduction : {"pairs", "sum", "samples", "width"}
        Of SCD; see :func:`corrkd.losses.sample_contrastive`.
    cpd_prototypes : {"own", "teacher"}
        The student is compared with its own prototypes or with the teacher's.
    cpd_reduction : {"mean", "sum"}
        Of CPD, over samples and categories.
    rcd_responses : {"probabilities", "log_probabilities"}
        What RCD's critics see.
    critic : {"shallow", "deep", "separable"}
        One hidden layer, two, or a product of two networks; see :class:`benchmark.parts.Critic`. The paper is silent.
    critic_hidden : int
        Width of the critics' layers.
    rcd_marginals : {"all", "shuffled"}
        All pairs of different samples, or one for each sample.
    scd_weight, cpd_weight, rcd_weight : float
        The paper adds the losses unweighted.
    response_loss : {"information", "kl"}
        "kl" puts ``KL(teacher's response || student's response)`` in RCD's place.
    student : bool
        False: nothing is distilled; the teacher, which has seen complete samples only, predicts.
    """

    training_defaults = {"learning_rate": 4e-3, "batch_size": 64}
    per_task = {
        "mosi": {"learning_rate": 4e-3, "batch_size": 64, "heads": 10, "boundary": 1.2},
        "mosei": {"learning_rate": 2e-3, "batch_size": 32, "heads": 8, "boundary": 1.0},
        "iemocap": {"learning_rate": 4e-3, "batch_size": 64, "heads": 10, "boundary": 1.4},
    }
    search_space = {
        "learning_rate": Range(2e-4, 1e-2, log=True),
        "batch_size": Choice(32, 64, 128),
        "d": Choice(40, 80),
        "dropout": Range(0.0, 0.5),
        "boundary": Range(0.6, 2.4),
        "scd_weight": Range(0.25, 4.0, log=True),
        "cpd_weight": Range(0.25, 4.0, log=True),
        "rcd_weight": Range(0.25, 4.0, log=True),
    }

    def __init__(
        self,
        task: TaskSpec,
        *,
        d: Count = 40,
        heads: Count = 10,
        layers: Count = 2,
        dropout: Rate = 0.1,
        scaled_inputs: bool = False,
        pooling: Pooling = "real",
        head: Head = "hidden",
        student_start: Literal["random", "teacher"] = "random",
        boundary: NonNegative = 1.2,
        scd_distance: Literal["normalised", "raw"] = "normalised",
        scd_reduction: Literal["pairs", "sum", "samples", "width"] = "pairs",
        cpd_prototypes: Literal["own", "teacher"] = "own",
        cpd_reduction: Literal["mean", "sum"] = "mean",
        rcd_responses: Literal["probabilities", "log_probabilities"] = "probabilities",
        critic: CriticForm = "shallow",
        critic_hidden: Count = 32,
        rcd_marginals: Marginals = "all",
        scd_weight: NonNegative = 1.0,
        cpd_weight: NonNegative = 1.0,
        rcd_weight: NonNegative = 1.0,
        response_loss: Literal["information", "kl"] = "information",
        student: bool = True,
    ) -> None:
        super().__init__(task)
        self.stages = (TEACHER, STUDENT) if student else (TEACHER,)
        self.stage = self.stages[-1]  # what a trained method is in, when only its weights are loaded
        self.student_start = student_start
        self.boundary, self.scd_normalised, self.scd_reduction = boundary, scd_distance == "normalised", scd_reduction
        self.cpd_prototypes, self.cpd_reduction = cpd_prototypes, cpd_reduction
        self.log_responses = rcd_responses == "log_probabilities"
        self.weights = (scd_weight, cpd_weight, rcd_weight)

        def network() -> CorrKDNetwork:
            return CorrKDNetwork(
                task,
                d=d,
                heads=heads,
                layers=layers,
                dropout=dropout,
                scaled_inputs=scaled_inputs,
                pooling=pooling,
                head=head,
            )

        # Teacher and student: same structure, own parameters.
        self.teacher = network()
        if student:
            self.student = network()
        self.with_critics = student and response_loss == "information"
        if self.with_critics:
            form: dict[str, Any] = {"form": critic, "marginals": rcd_marginals}
            self.target_critic = Critic(1, critic_hidden, **form)  # for R_T, one number
            self.non_target_critic = Critic(task.num_categories - 1, critic_hidden, **form)  # for R_NT, K-1 numbers
        self.teacher_outputs = Remembered()

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Train the teacher first; then freeze it and compute its outputs for the training set once."""
        self.stage = stage
        for name, part in self.named_children():  # the critics are trained with the student
            part.requires_grad_((name == "teacher") == (stage == TEACHER))
        if stage == TEACHER:
            return
        if self.student_start == "teacher":
            self.student.load_state_dict(self.teacher.state_dict())
        # Frozen, in evaluation mode and on complete samples, it says the same in every epoch: once is enough.
        self.teacher_outputs = Remembered(self.teacher.eval().encode, training_set)

    def train(self, mode: bool = True) -> CorrKD:
        """As in torch, but a frozen teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.train(mode and self.stage == TEACHER)
        return self

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Teacher: the task's loss. Student: that and the three distillation losses."""
        if self.stage == TEACHER:
            _, logits = self.teacher.encode(batch)
            return {"task": self.task_loss(logits, batch)}
        # The student sees what the masks left of these samples, the teacher saw them complete.
        student_joint, student_logits = self.student.encode(batch)  # H^s (N, 3 d), (N, K)
        teacher_joint, teacher_logits = self.teacher_outputs.of(batch)  # H^t (N, 3 d), (N, K), without gradients
        scd_weight, cpd_weight, rcd_weight = self.weights
        contrast = sample_contrastive(
            student_joint,
            teacher_joint,
            self.boundary,
            normalised=self.scd_normalised,
            reduction=self.scd_reduction,
        )
        prototypes = category_prototype(
            student_joint,
            teacher_joint,
            batch.labels,
            self.task.num_categories,
            prototypes=self.cpd_prototypes,
            reduction=self.cpd_reduction,
        )
        return {
            "task": self.task_loss(student_logits, batch),
            "SCD": scd_weight * contrast,
            "CPD": cpd_weight * prototypes,
            "RCD": rcd_weight * self._response_loss(student_logits, teacher_logits, batch.labels),
        }

    def _response_loss(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """RCD: minus the information that teacher and student share in the target and the other responses.

        Or, in the ablation, the Kullback-Leibler divergence of the whole responses, averaged over samples.
        """
        if not self.with_critics:
            teacher, student = teacher_logits.log_softmax(-1), student_logits.log_softmax(-1)  # (N, K)
            # torch takes the approximating distribution first: this is KL(teacher || student).
            return F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        log = self.log_responses
        student_target, student_others = split_response(student_logits, labels, log=log)  # (N, 1), (N, K-1)
        teacher_target, teacher_others = split_response(teacher_logits, labels, log=log)  # (N, 1), (N, K-1)
        # Joint pairs are both networks' responses to one sample, marginal pairs those to two.
        target = jensen_shannon_information(*self.target_critic(teacher_target, student_target))
        others = jensen_shannon_information(*self.non_target_critic(teacher_others, student_others))
        return -target - others  # information is to grow, for student and critics alike

    def _predicting(self) -> CorrKDNetwork:
        """The student (the teacher while it is trained, or where there is no student)."""
        return self.teacher if self.stage == TEACHER else self.student

    def represent(self, batch: Batch) -> Tensor:
        """H, (N, 3 d)."""
        return self._predicting().encode(batch)[0]

    def predict(self, batch: Batch) -> Tensor:
        """Logits, shape (N, K); of an intensity those of its bins, since prototypes and responses need categories."""
        return self._predicting().encode(batch)[1]
