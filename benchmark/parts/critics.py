"""Learned critics of pairs, for estimates of mutual information."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

CriticForm = Literal["shallow", "deep", "separable"]
Marginals = Literal["all", "shuffled"]


class Critic(nn.Module):
    """F(x, y): scores which are to be high for pairs that belong together.

    Parameters
    ----------
    width : int
        Size of x and of y.
    hidden : int
    form : {"shallow", "deep", "separable"}
        One hidden layer on [x, y]; two; or the product of what a network of its own with one hidden layer makes of x
        and of y (Poole et al., ICML 2019).
    marginals : {"all", "shuffled"}
        Which pairs stand for independent ones: all (x_i, y_j) with i != j, or for each x_i the y of the next sample,
        as training batches are in random order.
    """

    def __init__(self, width: int, hidden: int, *, form: CriticForm = "shallow", marginals: Marginals = "all") -> None:
        super().__init__()
        self.form, self.marginals = form, marginals
        self.x = nn.Linear(width, hidden)
        # One bias is enough for W [x, y] + b = W_x x + b + W_y y.
        self.y = nn.Linear(width, hidden, bias=form == "separable")
        if form == "separable":
            self.of_x, self.of_y = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        else:
            self.second = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU()) if form == "deep" else nn.Identity()
            self.score = nn.Linear(hidden, 1)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Score all pairs of a batch.

        Parameters
        ----------
        x, y : Tensor, shape (N, width)
            Row i of both comes from sample i.

        Returns
        -------
        joint : Tensor, shape (N,)
            Scores of the pairs (x_i, y_i).
        marginal : Tensor, shape (N (N-1),) or (N,)
            Scores of the pairs that stand for independent ones; none of a batch of one sample.
        """
        scores, n = self._scores(x, y), len(x)  # (N, N): score of x_i with y_j in row i
        if n < 2:
            return scores.diagonal(), scores.new_empty(0)
        if self.marginals == "shuffled":
            return scores.diagonal(), scores.roll(-1, 1).diagonal()  # (x_i, y_i+1), and the last with the first
        # Behind each entry of the diagonal, but the last, come the n entries up to the next.
        # So rows of n + 1 end on the diagonal: (N * N - 1,) → (N-1, N+1) → (N-1, N).
        return scores.diagonal(), scores.flatten()[1:].view(n - 1, n + 1)[:, :-1].flatten()

    def _scores(self, x: Tensor, y: Tensor) -> Tensor:
        first_x, first_y = self.x(x), self.y(y)  # (N, hidden) each
        if self.form == "separable":
            product: Tensor = self.of_x(first_x.relu()) @ self.of_y(first_y.relu()).T  # (N, hidden) @ (hidden, N)
            return product
        # (N, 1, hidden) + (1, N, hidden): x and y are each multiplied N times, not N^2 times.
        hidden = (first_x[:, None] + first_y[None, :]).relu()  # (N, N, hidden): first layer on [x_i, y_j]
        scores: Tensor = self.score(self.second(hidden)).squeeze(-1)  # (N, N)
        return scores
