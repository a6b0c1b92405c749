"""Every network in either part: its size, its wiring, what it does with an image of any size."""

import pytest
import torch

from emds.errors import ConfigError
from emds.networks.backbones import BACKBONES
from emds.networks.dncnn import DnCNN
from emds.networks.fusion import FusionNetwork, SecondDenoiser
from emds.networks.joint import Architecture
from emds.networks.ridnet import RIDNet
from emds.networks.transunet import SIZES, TransUNet
from emds.networks.unet import WIDTHS

FULL_SIZE = {"transunet", "transunet-s", "ridnet", "ridnet-released"}
LIGHT = sorted(BACKBONES.keys() - FULL_SIZE)


def count(module):
    return sum(p.numel() for p in module.parameters())


def part(role, name, crop=32, **changes):
    torch.manual_seed(0)
    architecture = Architecture((role,), **{role: name}, width="tiny", window=crop, **changes)
    return architecture.build().parts()[role].eval()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("dncnn", 556_097),
        ("dncnn-released", 556_032),
        ("dncnn-light", 35_345),
        ("ridnet", 1_497_041),
        ("ridnet-released", 5_980_065),
        ("ridnet-light", 94_325),
    ],
)
def test_parameter_counts_of_the_denoisers(name, parameters):
    assert count(part("denoiser", name)) == parameters


def test_parameter_counts_of_blind_dncnn():
    assert count(DnCNN(1, 1, depth=20)) == 667_073
    assert count(DnCNN(1, 1, depth=20, bias=False)) == 667_008


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("transunet", 105_323_306), ("transunet-s", 16_121_866), ("transunet-xs", 4_942_922)],
)
def test_parameter_counts_of_the_transunets(name, parameters):
    with torch.device("meta"):
        assert count(TransUNet(1, 10, SIZES[name])) == parameters


def test_parameters_of_the_transunets_parts():
    with torch.device("meta"):
        network = TransUNet(1, 10, SIZES["transunet"])
    transformer = count(network.layers) + count(network.norm)
    assert count(network.encoder) == 11_894_848
    assert count(network.embedding) == 787_200
    assert network.positions.numel() == 196_608
    assert transformer == 85_056_000
    assert count(network.layers[0]) == 7_087_872
    assert count(network.widen) + count(network.decoder) == 7_387_200
    assert count(network.head) == 1_450


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize(("role", "channels"), [("denoiser", 1), ("segmenter", 10)])
@pytest.mark.parametrize("shape", [(32, 32), (40, 56), (16, 72)])
def test_every_network_plays_both_parts_on_any_image(name, role, channels, shape):
    network = part(role, name)
    with torch.no_grad():
        assert network(torch.randn(2, 1, *shape)).shape == (2, channels, *shape)


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize(("role", "channels"), [("denoiser", 3), ("segmenter", 10)])
def test_every_network_takes_stacks_of_sections(name, role, channels):
    network = part(role, name, in_slices=5, out_slices=3)
    with torch.no_grad():
        assert network(torch.randn(2, 5, 32, 32)).shape == (2, channels, 32, 32)


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("depth", [1, 5])
def test_an_image_is_what_it_is_without_its_batch_mates(name, depth):
    network = part("segmenter", name, in_slices=depth)
    images = torch.randn(3, depth, 32, 40)
    with torch.no_grad():
        alone, together = network(images[1:2]), network(images)
    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LIGHT)
def test_gradients_reach_every_weight(name):
    network = part("segmenter", name).train()
    network(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", ["dncnn-light", "ridnet-light"])
def test_a_stack_that_says_nothing_leaves_the_image_as_it_is(name):
    denoiser = part("denoiser", name, in_slices=5, out_slices=3)
    last = denoiser.layers[-1] if name.startswith("dncnn") else denoiser.tail
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    image = torch.randn(1, 5, 16, 16)
    torch.testing.assert_close(denoiser(image), image[:, 1:4], rtol=0, atol=0)


def test_the_released_dncnn_predicts_the_image_itself():
    denoiser = part("denoiser", "dncnn-released")
    torch.nn.init.zeros_(denoiser.layers[-1].weight)
    assert not denoiser(torch.randn(1, 1, 16, 16)).any()


def test_ridnet_sees_farther_through_its_dilated_branch():
    block = RIDNet(1, 1, 16).blocks[0]

    def reach(branch):
        image = torch.zeros(1, 16, 31, 31, requires_grad=True)
        branch(image + 1)[0, :, 15, 15].sum().backward()
        touched = image.grad.abs().sum((0, 1)).nonzero()[:, 0]
        return int(touched.max() - touched.min()) // 2

    assert (reach(block.near), reach(block.far)) == (3, 7)


def test_transunet_computes_a_large_image_square_by_square():
    # Squares of 32 on 32 × 80: columns 0-31, 32-63 and 48-79, where the last one wins.
    network = part("segmenter", "transunet-xs")
    image = torch.randn(1, 1, 32, 80)
    with torch.no_grad():
        whole = network(image)
        squares = {x: network(image[..., x : x + 32]) for x in (0, 32, 48)}
    torch.testing.assert_close(whole[..., :32], squares[0])
    torch.testing.assert_close(whole[..., 32:48], squares[32][..., :16])
    torch.testing.assert_close(whole[..., 48:], squares[48])


def test_a_square_of_transunet_is_unlike_a_larger_one():
    """Group norms and positions belong to a square; hence the squares."""
    network, large = part("segmenter", "transunet-xs"), part("segmenter", "transunet-xs", crop=64)
    state = network.state_dict() | {"positions": large.positions}
    large.load_state_dict(state)
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert (network(image) - large(image)).abs().max() > 1e-3


@pytest.mark.parametrize(("crop", "proposed"), [(40, 32), (16, 32), (72, 64)])
def test_transunet_refuses_squares_of_broken_or_single_tokens(crop, proposed):
    with pytest.raises(ConfigError, match=rf"crop = {crop} must be .* Set crop={proposed}\."):
        part("segmenter", "transunet-xs", crop=crop)


@pytest.mark.parametrize("width", ["tiny", "small", "paper", "large"])
def test_the_second_denoiser_is_as_large_as_the_fusion(width):
    with torch.device("meta"):
        fusion = count(FusionNetwork(1, 10, WIDTHS[width], 32))
        assert count(SecondDenoiser(1, WIDTHS[width])) == pytest.approx(fusion, rel=0.02)
