"""Weights before any training are drawn as the papers and PyTorch draw them."""

import math

import pytest
import torch

from emds.networks.dncnn import DnCNN
from emds.networks.iem import make_embedding
from emds.networks.transunet import SIZES, TransUNet


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("channels", [16, 64])
def test_the_attention_starts_as_that_of_pytorch(channels):
    """One Xavier draw for query, key and value stacked: uniform up to √(6 / (3 C + C))."""
    torch.manual_seed(0)
    module = make_embedding(channels, 8, "window")
    theirs = torch.nn.MultiheadAttention(channels, 4)
    bound = math.sqrt(6 / (4 * channels))
    assert theirs.in_proj_weight.abs().max() == pytest.approx(bound, rel=0.02)
    for projection in (module.to_query, module.to_key, module.to_value):
        assert projection.weight.abs().max() == pytest.approx(bound, rel=0.05)
        assert projection.weight.abs().max() <= bound
        assert projection.weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert not projection.bias.any()
    assert not module.to_out.bias.any()


def test_dncnn_starts_from_gaussians_of_its_number_of_features():
    """Zhang et al.: sd √(2 / (9 · 64)), in the first layer, which sees one channel, as well."""
    torch.manual_seed(0)
    layers = [one for one in DnCNN(1, 1).layers if isinstance(one, torch.nn.Conv2d)]
    for conv in layers[:-1]:
        assert conv.weight.std() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.1)
    for conv in (layers[0], layers[-1]):
        assert not conv.bias.any()


def test_the_perceptrons_of_a_transformer_start_small_in_their_biases():
    torch.manual_seed(0)
    network = TransUNet(1, 10, SIZES["transunet-xs"], crop=32)
    for layer in network.layers:
        for linear in (layer.widen, layer.narrow):
            bound = math.sqrt(6 / sum(linear.weight.shape))
            assert linear.weight.abs().max() == pytest.approx(bound, rel=0.01)
            assert linear.bias.std() == pytest.approx(1e-6, rel=0.2)
    assert not network.positions.any()
