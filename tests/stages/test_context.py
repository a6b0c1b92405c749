"""A network that sees K sections: blocks and regions never matter, and K sections do, no others."""

import numpy as np
import pytest
import torch

from emds.geometry import Roi
from emds.io import MemoryVolume, open_volume
from emds.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.segmentation.offset_sets import attract_neighbours
from emds.segmentation.settings import LabelSettings
from emds.segmentation.watershed.mutex_watershed import mutex_watershed
from emds.stages.inference import denoise, run
from emds.stages.plan import InferenceOptions

SPEC = attract_neighbours([(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-1, 3, 0), (0, -5, 0), (0, 0, -5)])
SHAPE = (9, 40, 37)
NETWORKS = ((3, "unet"), (7, "unet"), (5, "unet3d"))


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda p: f"{p[1]}-{p[0]}")
def checkpoint(request, tmp_path_factory):
    torch.manual_seed(0)
    depth, backbone = request.param
    architecture = Architecture(
        denoiser=backbone,
        segmenter=backbone,
        width="tiny",
        affinity_channels=SPEC.channels,
        window=16,
        in_slices=depth,
        out_slices=depth - 2,
    )
    network = architecture.build()
    network(torch.randn(4, depth, 32, 32))  # running statistics that are not the initial ones
    path = tmp_path_factory.mktemp("model") / f"{backbone}-{depth}.pt"
    model = Checkpoint(
        architecture=architecture.to_dict(),
        weights=network.state_dict(),
        offsets=SPEC.offsets,
        attractive=SPEC.attractive,
        labels=LabelSettings((1, 2, 2)),
        crop=16,
        recipe="joint",
    )
    save_checkpoint(model, path)
    return path


@pytest.fixture(scope="module")
def grey():
    return np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)


def predict(values, checkpoint, out, **options):
    """Return image, affinities and labels of a run."""
    location = run(
        MemoryVolume(values),
        checkpoint,
        out=out,
        options=InferenceOptions(**options),
        keep_affinities=True,
        overwrite=True,
    )
    return [open_volume(location, role=role).read() for role in ("raw", "affinities", "labels")]


@pytest.fixture(scope="module")
def wide():
    """Chunks are 256 wide, so there are several blocks along x."""
    return np.random.default_rng(2).integers(0, 256, (9, 40, 300)).astype(np.uint8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, checkpoint, wide):
    return predict(wide, checkpoint, tmp_path_factory.mktemp("whole") / "whole.zarr")


def half_of(checkpoint):
    return load_checkpoint(checkpoint).architecture["in_slices"] // 2


def test_a_section_is_what_the_network_makes_of_it_and_its_neighbours(tmp_path, checkpoint, grey):
    grey = grey[:, :32, :32]
    image, affinities, labels = predict(grey, checkpoint, tmp_path / "a.zarr")
    half, network = half_of(checkpoint), load_checkpoint(checkpoint).build()
    for z in range(half, SHAPE[0] - half):
        stack = torch.from_numpy(grey[z - half : z + half + 1].astype(np.float32))[None]
        with torch.no_grad():
            expected = network(stack / 127.5 - 1)
        made = ((expected.fused[0, 0] + 1) * 127.5).round().clamp(0, 255).numpy()
        assert np.abs(image[z].astype(int) - made).max() <= 1
        probability = expected.logits.sigmoid()[0].numpy() * 255
        assert np.abs(affinities[:, z].astype(float) - probability).max() <= 0.51
    np.testing.assert_array_equal(labels, mutex_watershed(affinities, SPEC, strides=(1, 2, 2)))


@pytest.mark.parametrize("image", ["fused", "coarse"])
def test_an_output_depends_on_its_neighbours_and_on_no_others(tmp_path, checkpoint, grey, image):
    half, z = half_of(checkpoint), 4
    options = InferenceOptions(image=image)

    def section(values):
        out = denoise(
            MemoryVolume(values),
            checkpoint,
            out=tmp_path / "a.zarr",
            options=options,
            overwrite=True,
        )
        return open_volume(out, role="raw").read(Roi((z, 0, 0), (1, *SHAPE[1:])))

    before = section(grey)
    for other in (z - half - 1, z - half, z, z + half, z + half + 1):
        changed = grey.copy()
        changed[other] = 255 - changed[other]
        assert np.array_equal(section(changed), before) == (abs(other - z) > half), other


@pytest.mark.parametrize(
    "options",
    [
        {"block_shape": (1, 256, 256)},
        {"block_shape": (4, 256, 512)},
        {"roi": Roi((3, 0, 0), (2, 40, 300))},
        {"roi": Roi((0, 8, 5), (1, 30, 290))},
        {"roi": Roi((4, 3, 0), (5, 20, 20))},
    ],
)
def test_blocks_and_regions_never_change_a_byte(tmp_path, checkpoint, wide, whole, options):
    part = predict(wide, checkpoint, tmp_path / "part.zarr", **options)
    box = options.get("roi", Roi.whole(wide.shape)).slices()
    for one, other in zip(whole[:2], part[:2], strict=True):
        np.testing.assert_array_equal(one[(..., *box)], other)
    if "roi" not in options:
        np.testing.assert_array_equal(whole[2], part[2])


def test_the_batch_size_is_a_matter_of_rounding(tmp_path, checkpoint, grey):
    one = predict(grey, checkpoint, tmp_path / "one.zarr", batch_size=1)
    three = predict(grey, checkpoint, tmp_path / "three.zarr", batch_size=3)
    for first, second in zip(one[:2], three[:2], strict=True):
        assert np.abs(first.astype(int) - second).max() <= 1


def test_the_ends_are_mirrored(tmp_path, checkpoint, grey):
    half = half_of(checkpoint)
    around = np.pad(grey, [(half, half), (0, 0), (0, 0)], mode="reflect")
    inner = Roi((half, 0, 0), SHAPE)
    for one, other in zip(
        predict(grey, checkpoint, tmp_path / "a.zarr"),
        predict(around, checkpoint, tmp_path / "b.zarr", roi=inner),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_volume_thinner_than_the_stack_is_mirrored_over_and_over(
    tmp_path, checkpoint, grey, depth
):
    half = half_of(checkpoint)
    thin = predict(grey[:depth], checkpoint, tmp_path / "thin.zarr")
    again = np.arange(-half, depth + half) % depth  # for one and two sections a mirror repeats
    roi = Roi((half, 0, 0), (depth, *SHAPE[1:]))
    thick = predict(grey[again], checkpoint, tmp_path / "thick.zarr", roi=roi)
    for one, other in zip(thin, thick, strict=True):
        np.testing.assert_array_equal(one, other)
