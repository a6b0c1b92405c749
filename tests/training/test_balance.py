"""How loss terms are weighed: by formulas written out, at given steps, and for good."""

import math

import pytest
import torch

from emds.config import load_train_config
from emds.errors import ConfigError
from emds.training.balance import LossBalance
from emds.training.recipes import LossWeights, get_recipe

WEIGHTS = LossWeights(coarse=5, affinities=3, fused=10)
UNCERTAIN = LossWeights(coarse=5, affinities=3, fused=10, balance="uncertainty")
LOSSES = {"coarse": 0.03, "affinities": 1.5, "fused": 0.02}


def tensors(values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_fixed_weights_are_a_weighted_sum_without_anything_to_train():
    balance = LossBalance(WEIGHTS)
    for share in (0.1, 1.0):
        assert balance(tensors(LOSSES), share).item() == pytest.approx(5 * 0.03 + 4.5 + 0.2)
    assert not list(balance.parameters())


@pytest.mark.parametrize("balance", ["fixed", "uncertainty"])
@pytest.mark.parametrize(("share", "risen"), [(0.05, 0.125), (0.2, 0.5), (0.4, 1.0), (0.9, 1.0)])
def test_only_the_fused_term_rises(balance, share, risen):
    weights = {"affinities": 3.0, "fused": 10.0, "balance": balance}
    still, rising = (LossBalance(LossWeights(**weights, ramp=ramp)) for ramp in (0.0, 0.4))
    for name in ("affinities", "fused"):
        (loss,) = tensors({name: LOSSES[name]}).values()
        expected = still({name: loss}, share) * (risen if name == "fused" else 1)
        torch.testing.assert_close(rising({name: loss}, share), expected)


def test_uncertainty_starts_at_the_given_weights():
    """The slope along a loss is its weight; the value differs by half the logarithms."""
    losses = {name: value.requires_grad_() for name, value in tensors(LOSSES).items()}
    total = LossBalance(UNCERTAIN)(losses, 1.0)
    total.backward()
    slopes = {name: value.grad.item() for name, value in losses.items()}
    assert slopes == pytest.approx({"coarse": 5, "affinities": 3, "fused": 10})
    logarithms = math.log(5) + math.log(3) + math.log(10)
    assert total.item() == pytest.approx(5 * 0.03 + 4.5 + 0.2 - logarithms / 2)


def test_a_weight_settles_where_it_halves_the_inverse_of_its_loss():
    balance = LossBalance(UNCERTAIN)
    descent = torch.optim.SGD(balance.parameters(), lr=0.5)
    for _ in range(200):
        descent.zero_grad()
        balance(tensors(LOSSES), 1.0).backward()
        descent.step()
    for name, loss in LOSSES.items():
        weight = math.exp(-balance.log_variances[name].item())
        assert weight == pytest.approx(1 / (2 * loss), rel=1e-3), name


def test_a_term_that_weighs_nothing_has_no_variance():
    balance = LossBalance(LossWeights(coarse=1, affinities=3, balance="uncertainty"))
    assert set(balance.log_variances) == {"coarse", "affinities"}


def chosen(recipe, **loss):
    config = load_train_config("cpu", options={"recipe": recipe, "loss": loss})
    return get_recipe(recipe).loss_weights(config)


def test_the_configuration_wins_over_the_recipe():
    assert chosen("joint") == LossWeights(coarse=1, affinities=3, fused=50)
    assert chosen("joint_detach").detach_until == 1
    assert chosen("joint_detach", detach_until=0.25, coarse=0) == LossWeights(
        affinities=3, fused=50, detach_until=0.25
    )


def test_a_term_without_its_network_weighs_nothing():
    assert chosen("dn_only", affinities=3, fused=10) == LossWeights(coarse=1)
    with pytest.raises(ConfigError, match="nothing is left to train in recipe 'dn_only'"):
        chosen("dn_only", coarse=0, fused=10)
