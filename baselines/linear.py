"""A floor above the majority category: logistic regression on mean-pooled features; ridge regression of an intensity.

Cox, "The Regression Analysis of Binary Sequences", Journal of the Royal Statistical Society B, 1958; Hoerl and Kennard,
"Ridge Regression", Technometrics 12(1), 1970; fitted by scikit-learn. There is nothing to train by gradient: all is
fitted when the stage starts, and kept in parameters without a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmark import MODALITIES, Batch, Count, Method, Positive, Range, Stage, TaskSpec, register
from benchmark.parts.pooling import masked_mean

_NEVER = -20.0  # logit of a category that the training split does not have


@register("linear", paper="Cox, JRSS B 1958", trains_on="complete")
class Linear(Method):
    """Each modality's mean over its present frames, side by side and standardised, into a linear regression.

    Parameters
    ----------
    task : TaskSpec
    regularisation : float
        Strength of the squared penalty: scikit-learn's ``1 / C``, or ridge regression's ``alpha``.
    max_iter : int
        Of the logistic regression's solver.
    """

    augmentable = False
    # A squared error weighs more against the penalty than a logistic loss does.
    per_task = {task: {"regularisation": 1000.0} for task in ("mosi_intensity", "mosei_intensity", "sims", "simsv2")}
    mean: Tensor
    scale: Tensor
    search_space = {
        "regularisation": Range(1.0, 1e5, log=True),
    }

    def __init__(self, task: TaskSpec, *, regularisation: Positive = 100.0, max_iter: Count = 1000) -> None:
        super().__init__(task)
        self.regularisation = regularisation
        self.max_iter = max_iter
        self.widths = [task.feature_dims[m] for m in MODALITIES]
        width = sum(self.widths)  # d_l + d_a + d_v
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.weight = nn.Parameter(torch.zeros(task.num_outputs, width), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(task.num_outputs), requires_grad=False)

    def start_stage(self, stage: Stage, training_set: Iterable[Batch]) -> None:
        """Fit the scaler, then the regression, to the training split."""
        batches = list(training_set)
        pooled = torch.cat([self.pool(batch) for batch in batches]).cpu().double().numpy()  # (N, d_l + d_a + d_v)
        scaler = StandardScaler().fit(pooled)
        # In place, so that their type and device stay; scikit-learn computes in float64.
        self.mean.copy_(torch.from_numpy(scaler.mean_))
        self.scale.copy_(torch.from_numpy(scaler.scale_))
        standard = scaler.transform(pooled)
        if self.task.kind == "intensity":
            intensity = torch.cat([b.intensity for b in batches if b.intensity is not None]).cpu().double().numpy()
            ridge = Ridge(alpha=self.regularisation).fit(standard, intensity)
            self.weight.copy_(torch.from_numpy(ridge.coef_[None]))  # (1, width)
            self.bias.fill_(float(ridge.intercept_))
            return
        self._fit_categories(standard, torch.cat([batch.labels for batch in batches]).cpu().numpy())

    def _fit_categories(self, standard: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        """The logistic regression of labels (N,) on standardised means (N, width)."""
        found = np.unique(labels)  # the categories that there are, in order
        self.weight.zero_()
        self.bias.fill_(_NEVER)
        # With one category there is nothing to separate, and scikit-learn refuses to fit.
        if len(found) < 2:
            self.bias[found] = 0.0
            return
        regression = LogisticRegression(C=1.0 / self.regularisation, max_iter=self.max_iter)
        regression.fit(standard, labels)
        coefficients, intercepts = regression.coef_, regression.intercept_  # a row for each category in found
        if len(found) == 2:  # scikit-learn keeps the second category's row only; the first one's logit is zero
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])  # (2, width)
            intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])  # (2,)
        self.weight[found] = torch.from_numpy(coefficients).to(self.weight)
        self.bias[found] = torch.from_numpy(intercepts).to(self.bias)

    def pool(self, batch: Batch) -> Tensor:
        """Means over present frames, (N, d_l + d_a + d_v); the training split's mean where nothing is present."""
        # (N, 1), (N, d_m), (d_m,) → (N, d_m). For what is missing, the mean, since standardised that is zero.
        parts = [
            torch.where(batch.present[m].any(1, keepdim=True), masked_mean(batch.features[m], batch.present[m]), mean)
            for m, mean in zip(MODALITIES, torch.split(self.mean, self.widths), strict=True)
        ]
        return torch.cat(parts, dim=1)

    def loss(self, batch: Batch) -> Tensor:
        """That of the task; it has no gradient, and the harness runs no epochs."""
        return self.task_loss(self.predict(batch), batch)

    def represent(self, batch: Batch) -> Tensor:
        """The standardised means, (N, d_l + d_a + d_v)."""
        return (self.pool(batch) - self.mean) / self.scale

    def predict(self, batch: Batch) -> Tensor:
        """Logits or intensities, shape (N, task.num_outputs)."""
        return F.linear(self.represent(batch), self.weight, self.bias)
