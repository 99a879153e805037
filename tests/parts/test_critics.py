"""Critics against plain loops over the pairs."""

import pytest
import torch

from benchmark.parts.critics import Critic
from benchmark.parts.losses import jensen_shannon_information


def scored(critic, a, b):
    if critic.form == "separable":
        return (critic.of_x(critic.x(a).relu()) * critic.of_y(critic.y(b).relu())).sum().item()
    hidden = (critic.x(a) + critic.y(b)).relu()
    if critic.form == "deep":
        hidden = (critic.second[0].weight @ hidden + critic.second[0].bias).relu()
    return critic.score(hidden).item()


@pytest.mark.parametrize("marginals", ["all", "shuffled"])
@pytest.mark.parametrize("form", ["shallow", "deep", "separable"])
def test_every_pair_has_its_score(form, marginals):
    torch.manual_seed(0)
    critic = Critic(2, 8, form=form, marginals=marginals)
    x, y = torch.randn(4, 2), torch.randn(4, 2)
    joint, marginal = critic(x, y)
    assert joint.tolist() == pytest.approx([scored(critic, x[i], y[i]) for i in range(4)], abs=1e-6)
    pairs = [(i, j) for i in range(4) for j in range(4) if (i != j if marginals == "all" else j == (i + 1) % 4)]
    assert marginal.tolist() == pytest.approx([scored(critic, x[i], y[j]) for i, j in pairs], abs=1e-6)
    joint, marginal = critic(x[:1], y[:1])
    assert joint.shape == (1,) and marginal.shape == (0,)


@pytest.mark.parametrize("form", ["shallow", "deep", "separable"])
def test_a_critic_learns_what_depends_on_what(form):
    """The estimate must rise above that of independent variables when the variables depend on each other."""

    def estimate(dependent):
        torch.manual_seed(0)
        critic = Critic(1, 32, form=form)
        optimiser = torch.optim.Adam(critic.parameters(), lr=1e-2)
        for _ in range(300):
            x = torch.randn(64, 1)
            y = x + 0.1 * torch.randn(64, 1) if dependent else torch.randn(64, 1)
            loss = -jensen_shannon_information(*critic(x, y))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return -loss.item()

    assert estimate(True) > estimate(False) + 0.3
