"""Sizes and wiring of the three networks."""

import pytest
import torch

from emds.networks.joint import NETWORKS, Architecture


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("width", "total"),
    [("tiny", 344_852), ("small", 1_368_092), ("paper", 5_449_772), ("large", 21_753_932)],
)
def test_parameter_counts_of_the_widths(width, total):
    assert count(Architecture(width=width).build()) == total


def test_parameter_counts_of_the_parts():
    parts = Architecture(width="paper").build().parts()
    assert {name: count(part) for name, part in parts.items()} == {
        "denoiser": 1_691_521,
        "segmenter": 1_694_122,
        "fusion": 2_064_129,
    }


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Architecture(width="tiny", window=32).build().eval()


def test_data_flows_from_denoiser_over_segmenter_to_fusion(network):
    noisy = torch.randn(2, 1, 32, 32)
    prediction = network(noisy)
    coarse = network.denoiser(noisy)
    logits = network.segmenter(coarse)
    torch.testing.assert_close(prediction.coarse, coarse)
    torch.testing.assert_close(prediction.logits, logits)
    torch.testing.assert_close(prediction.fused, network.fusion(coarse, logits.sigmoid()))
    assert prediction.image is prediction.fused


def test_gradients_of_the_fused_image_reach_all_three(network):
    network(torch.randn(1, 1, 32, 32)).fused.square().mean().backward()
    for name, part in network.parts().items():
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters()), name


@pytest.mark.parametrize(
    ("networks", "there"),
    [
        (("denoiser",), (True, False, False)),
        (("segmenter",), (False, True, False)),
        (("denoiser", "segmenter"), (True, True, False)),
        (("segmenter", "fusion"), (False, True, True)),
        (NETWORKS, (True, True, True)),
    ],
)
def test_what_is_absent_is_passed_through(networks, there):
    network = Architecture(networks=networks, width="tiny", window=16).build().eval()
    prediction = network(torch.randn(1, 1, 16, 16))
    outputs = (prediction.coarse, prediction.logits, prediction.fused)
    assert tuple(output is not None for output in outputs) == there


def test_without_a_denoiser_the_segmenter_reads_the_noisy_image():
    network = Architecture(networks=("segmenter",), width="tiny").build().eval()
    noisy = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(network(noisy).logits, network.segmenter(noisy))


def test_the_denoiser_returns_the_sections_in_the_middle_and_the_others_see_those():
    network = Architecture(width="tiny", window=16, in_slices=7, out_slices=5).build().eval()
    noisy = torch.randn(2, 7, 16, 16)
    prediction = network(noisy)
    assert prediction.coarse.shape == (2, 5, 16, 16)
    torch.testing.assert_close(prediction.coarse, network.denoiser(noisy))
    torch.testing.assert_close(prediction.logits, network.segmenter(prediction.coarse))
    fused = network.fusion(prediction.coarse, prediction.logits.sigmoid())
    torch.testing.assert_close(prediction.fused, fused)
    assert prediction.fused.shape == (2, 1, 16, 16)
    torch.testing.assert_close(prediction.coarse_section, prediction.coarse[:, 2:3])
    network.fusion = None
    torch.testing.assert_close(network(noisy).image, prediction.coarse[:, 2:3])


def test_without_a_denoiser_all_noisy_sections_are_seen():
    architecture = Architecture(("segmenter",), width="tiny", in_slices=5, out_slices=3)
    network = architecture.build().eval()
    noisy = torch.randn(1, 5, 16, 16)
    torch.testing.assert_close(network(noisy).logits, network.segmenter(noisy))


@pytest.mark.parametrize(
    ("outputs", "kept"),
    [
        (("fused", "affinities"), {"denoiser", "segmenter", "fusion"}),
        (("fused",), {"denoiser", "segmenter", "fusion"}),
        (("coarse", "affinities"), {"denoiser", "segmenter"}),
        (("affinities",), {"denoiser", "segmenter"}),
        (("coarse",), {"denoiser"}),
    ],
)
def test_only_what_the_outputs_need_is_kept(network, outputs, kept):
    assert set(network.keep_only(outputs).parts()) == kept
