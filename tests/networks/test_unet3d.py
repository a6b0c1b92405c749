"""The U-Net in three dimensions: its size, what a section sees, and a reference in the plane."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from emds.networks.device import place
from emds.networks.joint import Architecture
from emds.networks.unet import WIDTHS
from emds.networks.unet3d import UNet3d

TINY = WIDTHS["tiny"]
RADIUS = 56  # pixels that an output looks at on either side, rounded up to whole poolings


def count(module):
    return sum(p.numel() for p in module.parameters())


def trained(network):
    """Running statistics and shifts that are not the initial ones."""
    with torch.no_grad():
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            if name.endswith(("bias", "running_mean")):
                value.normal_(std=0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2)
    return network.eval()


def make(sections, sections_out, channels_out):
    torch.manual_seed(sections)
    return trained(UNet3d(sections, sections_out, channels_out, TINY))


@pytest.mark.parametrize(
    ("width", "single", "stack"),
    [
        ("tiny", (109_001, 109_658), (231_113, 231_770)),
        ("small", (434_193, 435_498), (922_641, 923_946)),
        ("paper", (1_733_153, 1_735_754), (3_686_945, 3_689_546)),
        ("large", (6_925_377, 6_930_570), (14_740_545, 14_745_738)),
    ],
)
def test_parameter_counts_of_denoiser_and_segmenter(width, single, stack):
    """Of a single section, about those of the plain U-Net; of any stack, 2.1 times as many."""
    for slices, expected in (((1, 1), single), ((5, 3), stack), ((7, 5), stack)):
        changes = {"width": width, "in_slices": slices[0], "out_slices": slices[1]}
        with torch.device("meta"):
            network = Architecture(denoiser="unet3d", segmenter="unet3d", **changes).build()
        assert (count(network.denoiser), count(network.segmenter)) == expected
    plain = count(Architecture(("denoiser",), width=width).build())
    assert single[0] == pytest.approx(plain, rel=0.03)


def reference(network, image):
    """Compute the network section by section with convolutions of the plane."""

    def conv(layer, stack):
        depth = layer.kernel_size[0]
        padded = [torch.zeros_like(stack[0])] * (depth // 2)
        padded = [*padded, *stack, *padded]
        return [
            sum(F.conv2d(padded[z + dz], layer.weight[:, :, dz], padding=1) for dz in range(depth))
            for z in range(len(stack))
        ]

    def norm(layer, stack):
        scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
        shift = layer.bias - layer.running_mean * scale
        return [s * scale[:, None, None] + shift[:, None, None] for s in stack]

    def unit(part, stack):
        within = [s.relu() for s in norm(part.within[1], conv(part.within[0], stack))]
        across = norm(part.across[1], conv(part.across[0], within))
        return [(a + b).relu() for a, b in zip(within, across, strict=True)]

    def up(layer, stack, skip):
        weight = layer.weight[:, :, 0]
        larger = [F.conv_transpose2d(s, weight, layer.bias, stride=2) for s in stack]
        return [a + b for a, b in zip(larger, skip, strict=True)]

    def pool(stack):
        return [F.max_pool2d(s, 2) for s in stack]

    full = unit(network.encode_full, list(image.split(1, dim=1)))
    half = unit(network.encode_half, pool(full))
    quarter = unit(network.encode_quarter, pool(half))
    deepest = unit(network.bottleneck, pool(quarter))
    out = unit(network.decode_quarter, up(network.up_quarter, deepest, quarter))
    out = unit(network.decode_half, up(network.up_half, out, half))
    out = unit(network.decode_full, up(network.up_full, out, full))
    first = (len(out) - network.sections_out) // 2
    kept = out[first : first + network.sections_out]
    head = network.head
    made = [F.conv2d(s, head.weight[:, :, 0], head.bias, padding=1) for s in kept]
    return torch.stack(made, dim=2).flatten(1, 2)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 10), (3, 1, 1), (5, 3, 1), (7, 1, 10)])
def test_it_is_a_sum_of_planar_convolutions(shape):
    network = make(*shape)
    image = torch.randn(2, shape[0], 24, 40)
    with torch.no_grad():
        made = network(image)
        assert made.shape == (2, shape[1] * shape[2], 24, 40)
        torch.testing.assert_close(made, reference(network, image), rtol=1e-4, atol=1e-5)


def test_one_kernel_serves_every_section():
    """Away from the ends, a stack shifted by a section gives an output shifted by a section."""
    network = make(19, 3, 1)  # an output looks 7 sections far
    image = torch.randn(1, 20, 16, 16)
    with torch.no_grad():
        one, other = network(image[:, :19]), network(image[:, 1:])
    torch.testing.assert_close(one[:, 1:], other[:, :2])
    assert (one[:, :1] - other[:, :1]).abs().max() > 1e-3, "test invalid"


@pytest.mark.parametrize("sections", [3, 7])
def test_what_it_says_of_the_section_in_the_middle_rests_on_all(sections):
    network = make(sections, 1, 10)
    image = torch.randn(1, sections, 16, 16, requires_grad=True)
    network(image).square().sum().backward()
    assert (image.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 1), (5, 1, 10)])
def test_a_tile_with_enough_around_it_is_part_of_the_whole(shape):
    network = make(*shape)
    image = torch.randn(1, shape[0], 2 * RADIUS + 16, 2 * RADIUS + 48)
    with torch.no_grad():
        whole = network(image)
        tile = network(image[..., 16 : 2 * RADIUS + 32])
    inner = slice(RADIUS, RADIUS + 16)
    torch.testing.assert_close(
        tile[..., inner, inner], whole[..., inner, RADIUS + 16 : RADIUS + 32]
    )


def test_channels_lie_last_in_planar_convolutions_alone():
    network = Architecture(denoiser="unet3d", width="tiny", in_slices=3).build()
    place(network, torch.device("cpu"))
    planar = network.segmenter.encode_full[1][0].weight
    assert planar.is_contiguous(memory_format=torch.channels_last)
    assert not planar.is_contiguous()
    assert network.denoiser.encode_half.across[0].weight.is_contiguous()
