"""Averages over symmetries: what they are, what they make of a network, and that they resume."""

import numpy as np
import pytest
import torch
from small_runs import InterruptedHereError, contents, interrupt_after

from emds.errors import UsageError
from emds.io import MemoryVolume, open_volume
from emds.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.segmentation.offset_sets import OFFSET_SETS
from emds.segmentation.settings import LabelSettings
from emds.stages.check import check
from emds.stages.inference import denoise, run, segment
from emds.stages.info import info
from emds.stages.plan import InferenceOptions
from emds.stages.pyramid import pyramid
from emds.symmetry import SYMMETRIES
from emds.tiling.average import routes

SPEC = OFFSET_SETS["anisotropic"]
TTA = InferenceOptions(tta=True)
BOTH = InferenceOptions(tta=True, uncertainty=True)

NETWORKS = {
    "section": {},
    "stack": {"in_slices": 5, "out_slices": 3},
    "transunet": {"segmenter": "transunet-xs", "window": 32},
    "even": {"networks": ("denoiser",), "denoiser": "dncnn-light", "in_slices": 3},
}


def make_even(weights):
    """Average every kernel over all turns and flips; the first one sees the sections as such."""
    for name, kernel in weights.items():
        if kernel.ndim == 4:
            turned = [torch.rot90(kernel, k, (2, 3)) for k in range(4)]
            even = torch.stack([*turned, *(t.flip(3) for t in turned)]).mean(0)
            weights[name] = (even + even.flip(1)) / 2 if kernel.shape[1] == 3 else even
    return weights


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a function that gives the checkpoint of a network."""
    folder = tmp_path_factory.mktemp("models")

    def model(name):
        path = folder / f"{name}.pt"
        if not path.exists():
            torch.manual_seed(0)
            options = {"width": "tiny", "window": 16, "affinity_channels": SPEC.channels}
            architecture = Architecture(**(options | NETWORKS[name]))
            network = architecture.build()
            # Running statistics that are not the initial ones.
            network(torch.randn(4, architecture.in_slices, 32, 32))
            weights = network.state_dict()
            for last in ("segmenter.decode_full.1.weight", "segmenter.head.weight"):
                if last in weights:
                    weights[last] *= 50  # else all affinities are nearly the same
            segments = "segmenter" in architecture.networks
            checkpoint = Checkpoint(
                architecture=architecture.to_dict(),
                weights=make_even(weights) if name == "even" else weights,
                offsets=SPEC.offsets if segments else (),
                attractive=SPEC.attractive if segments else (),
                labels=LabelSettings((1, 2, 2)),
                crop=architecture.window,
                recipe="joint" if segments else "dn_only",
            )
            save_checkpoint(checkpoint, path)
        return path

    return model


def grey(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def read_all(location, *roles):
    return [open_volume(location, role=role).read() for role in roles]


def test_an_image_is_the_mean_of_those_of_turned_and_mirrored_tiles(tmp_path, models):
    checkpoint, values = models("section"), grey((1, 32, 32))
    out = run(MemoryVolume(values), checkpoint, out=tmp_path / "a.zarr", options=BOTH)
    network = load_checkpoint(checkpoint).build()
    section, images = torch.from_numpy(values.astype(np.float32))[None] / 127.5 - 1, []
    for mirrors in ((), (3,)):
        for turns in range(4):
            seen = torch.rot90(section.flip(mirrors), turns, (2, 3))
            with torch.no_grad():
                fused = network(seen).fused
            images.append(torch.rot90(fused, -turns, (2, 3)).flip(mirrors)[0])
    stacked = (torch.stack(images) + 1) * 127.5
    image = open_volume(out, role="raw").read()
    expected = stacked.mean(0).round().clamp(0, 255).numpy()
    assert np.abs(image.astype(int) - expected).max() <= 1
    deviation = open_volume(f"{out}/uncertainty").read()
    np.testing.assert_allclose(deviation, stacked.std(0, correction=0).numpy(), atol=1e-3)
    assert deviation.min() > 0.1, "test invalid"


@pytest.mark.parametrize(
    "name", ["section", "stack", pytest.param("transunet", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("number", [3, 6])
def test_a_turned_volume_gives_the_turned_result(tmp_path, models, name, number):
    """Also in tiles that are no squares: attention and TransUNet cut them into theirs."""
    symmetry = SYMMETRIES[number]
    side = load_checkpoint(models(name)).crop
    values = grey((5, 2 * side, side + 16))
    turned = np.ascontiguousarray(symmetry.apply(values))
    results = []
    for place, volume in (("as-it-is", values), ("turned", turned)):
        options = InferenceOptions(tile=(1, *volume.shape[1:]), tta=True)
        out = run(
            MemoryVolume(volume),
            models(name),
            out=tmp_path / f"{place}.zarr",
            options=options,
            keep_affinities=True,
        )
        results.append(read_all(out, "raw", "affinities"))
    (image, affinities), (turned_image, turned_affinities) = results
    assert np.abs(symmetry.undo(turned_image).astype(int) - image).max() <= 1
    back = symmetry.undo(turned_affinities).astype(int)
    assert np.ptp(affinities) > 50, "test invalid"
    for route in routes(symmetry, SPEC.offsets):
        _, dy, dx = np.abs(SPEC.offsets[route.target])
        inner = (slice(None), slice(dy, -dy or None), slice(dx, -dx or None))
        moved = np.roll(back[route.source], [-n for n in route.shift], (0, 1, 2))
        assert np.abs(moved - affinities[route.target])[inner].max() <= 1


@pytest.mark.parametrize("shape", [(4, 24, 24), (4, 40, 37)])
def test_a_network_that_is_the_same_from_all_sides_gains_nothing(tmp_path, models, shape):
    source = MemoryVolume(grey(shape))
    plain = denoise(source, models("even"), out=tmp_path / "plain.zarr")
    averaged = denoise(source, models("even"), out=tmp_path / "tta.zarr", options=BOTH)
    (one,), (other,) = read_all(plain, "raw"), read_all(averaged, "raw")
    assert np.abs(one.astype(int) - other).max() <= 1
    assert np.ptp(one) > 50, "test invalid"
    assert open_volume(f"{averaged}/uncertainty").read().max() < 0.01


@pytest.mark.parametrize("name", ["section", pytest.param("stack", marks=pytest.mark.slow)])
def test_block_shapes_give_the_same_bytes(tmp_path, models, name):
    """Chunks are 256 wide, so there are several blocks along x."""
    source, results = MemoryVolume(grey((3, 40, 300))), []
    for place, block_shape in (("one", (3, 256, 512)), ("other", (1, 256, 256))):
        options = InferenceOptions(
            tile=(1, 40, 64),
            overlap=(0, 8, 16),
            tta=True,
            uncertainty=True,
            chunk_shape=(1, 256, 256),
            block_shape=block_shape,
        )
        out = run(
            source,
            models(name),
            out=tmp_path / f"{place}.zarr",
            options=options,
            keep_affinities=True,
        )
        deviation = open_volume(f"{out}/uncertainty").read()
        results.append([*read_all(out, "raw", "labels", "affinities"), deviation])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_uncertainty_is_an_image_like_the_others(tmp_path, models):
    source = MemoryVolume(grey((3, 40, 37)), voxel_size=(40.0, 10.0, 10.0), offset=(80.0, 0.0, 5.0))
    out = run(source, models("section"), out=tmp_path / "seg.zarr", options=BOTH)
    deviation = open_volume(f"{out}/uncertainty")
    assert (deviation.dtype, deviation.shape) == (np.float32, source.shape)
    assert (deviation.voxel_size, deviation.offset) == (source.voxel_size, source.offset)
    assert (deviation.attributes["tta"], deviation.attributes["uncertainty"]) == (True, True)
    assert open_volume(out, role="raw").dtype == np.uint8
    told = {array["location"]: array for array in info(out)["arrays"]}
    assert told[f"{out}/uncertainty"]["attributes"]["tta"]
    grown = {image.location: image.added for image in pyramid(out, levels=1)}
    assert grown[f"{out}/uncertainty"] == 1
    assert check(out).complaint() is None
    (tmp_path / "seg.zarr/uncertainty/0/c/0/0/0").unlink()
    (bad,) = check(out).bad_chunks
    assert (bad.location, bad.problem) == (f"{out}/uncertainty", "missing")


@pytest.mark.usefixtures("no_fsync")
def test_a_run_that_was_killed_or_lost_a_chunk_goes_on(examples, tmp_path):
    example = examples["run"].with_options(tta=True, uncertainty=True)
    reference = contents(example.run(tmp_path / "whole"))
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path / "killed", progress=interrupt_after(2))
    chunk = tmp_path / "killed/out.zarr.partial/uncertainty/0/c/0/0/0"
    chunk.unlink()
    assert contents(example.run(tmp_path / "killed", resume=True)) == reference


@pytest.mark.parametrize(
    ("command", "options"),
    [(run, {"tta": False}), (denoise, {"tta": False}), (segment, {"tta": True})],
)
def test_an_uncertainty_without_images_that_differ_is_refused(tmp_path, models, command, options):
    chosen = InferenceOptions(uncertainty=True, **options)
    source = MemoryVolume(grey((1, 32, 32)))
    with pytest.raises(UsageError, match="give --tta as well"):
        command(source, models("section"), out=tmp_path / "seg.zarr", options=chosen)
    assert not list(tmp_path.iterdir())
