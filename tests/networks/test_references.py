"""Every network against the same written out from its paper, with random weights."""

import pytest
import reference_networks as reference
import torch

from emds.networks.dncnn import DnCNN
from emds.networks.fusion import FusionNetwork, SecondDenoiser
from emds.networks.ridnet import RIDNet
from emds.networks.transunet import TransUNet, TransUNetSize
from emds.networks.unet import UNet

WIDTHS = (4, 8, 12)


def image_of(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def compare(module, expected, *inputs):
    weights = reference.Weights(reference.randomised(module).state_dict())
    with torch.no_grad():
        found, written_out = module(*inputs), expected(weights, *inputs)
    assert written_out.std() > 1e-3, "test invalid"
    torch.testing.assert_close(found, written_out, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("sections", "channels"), [(1, 1), (3, 10)])
def test_unet(sections, channels):
    compare(UNet(sections, channels, WIDTHS), reference.unet, image_of(2, sections, 16, 24))


@pytest.mark.parametrize("sections", [1, 3])
def test_fusion(sections):
    module = FusionNetwork(sections, 6, WIDTHS, window=16)
    compare(module, reference.fusion, image_of(2, sections, 16, 16), image_of(2, 6, 16, 16))


def test_fusion_beyond_its_window_is_that_of_each_window():
    module = reference.randomised(FusionNetwork(1, 6, WIDTHS, window=16))
    weights = reference.Weights(module.state_dict())
    quarter, eighth = module.embed_quarter, module.embed_eighth
    wide = image_of(1, 8, 4, 8), image_of(1, 8, 4, 8)
    deep = image_of(1, 12, 2, 4), image_of(1, 12, 2, 4)
    for name, embed, (seen, shown), side in (
        ("embed_quarter", quarter, wide, 4),
        ("embed_eighth", eighth, deep, 2),
    ):
        with torch.no_grad():
            halves = [
                reference.embedding(weights[name], seen[..., half], shown[..., half])
                for half in (slice(0, side), slice(side, None))
            ]
            torch.testing.assert_close(embed(seen, shown), torch.cat(halves, dim=-1))


def test_second_denoiser():
    module = SecondDenoiser(1, WIDTHS)

    def written_out(weights, coarse, _):
        return reference.unet(weights["image"], coarse)

    compare(module, written_out, image_of(2, 1, 16, 16), image_of(2, 6, 16, 16))


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_dncnn(residual, bias):
    module = DnCNN(1, 1, 8, depth=6, residual=residual, bias=bias)

    def written_out(weights, image):
        return reference.dncnn(weights, image, 6, residual=residual)

    compare(module, written_out, image_of(2, 1, 12, 9))


@pytest.mark.parametrize("residual", [True, False])
def test_ridnet(residual):
    def written_out(weights, image):
        return reference.ridnet(weights, image, residual=residual)

    compare(RIDNet(1, 1, 32, residual=residual), written_out, image_of(2, 1, 14, 11))


@pytest.mark.parametrize("sections", [1, 5])
def test_transunet(sections):
    size = TransUNetSize(16, (2, 1, 2), 24, 2, 3, 40, (12, 10, 8, 6))

    def written_out(weights, image):
        return reference.transunet(
            weights, image, units=size.units, heads=size.heads, groups=lambda n: min(32, n // 4)
        )

    module = TransUNet(sections, 7, size, crop=48)
    compare(module, written_out, image_of(2, sections, 48, 48))
