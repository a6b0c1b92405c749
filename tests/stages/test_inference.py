"""From volume to container: blocks never matter, ids are dense, values keep their range."""

import numpy as np
import pytest
import torch

from emds.errors import CheckpointError, DataError, OutputExistsError, UsageError
from emds.geometry import Roi
from emds.io import MemoryVolume, open_volume
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.noise import make_noise_model
from emds.segmentation.affinities import PAPER_SPEC, AffinitySpec
from emds.segmentation.watershed.mutex_watershed import mutex_watershed
from emds.stages.inference import denoise, run, segment
from emds.stages.plan import InferenceOptions
from emds.stages.simulate_noise import simulate_noise

CROP = 16
SHAPE = (5, 40, 37)


def write_checkpoint(path, networks=("denoiser", "segmenter", "fusion")):
    torch.manual_seed(0)
    network = Architecture(networks=networks, width="tiny", window=CROP).build()
    network(torch.randn(4, 1, 32, 32))  # running statistics that are not the initial ones
    segmenting = "segmenter" in networks
    save_checkpoint(
        Checkpoint(
            architecture=network.architecture.to_dict(),
            weights=network.state_dict(),
            offsets=PAPER_SPEC.offsets if segmenting else (),
            attractive=PAPER_SPEC.attractive if segmenting else (),
            crop=CROP,
            recipe="joint",
            voxel_size=(10.0, 10.0, 10.0),
        ),
        path,
    )
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "model.pt")


@pytest.fixture(scope="module")
def noisy():
    values = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    return MemoryVolume(values, voxel_size=(40.0, 10.0, 10.0), offset=(80.0, 20.0, 10.0))


def outputs(location):
    return {
        "image": open_volume(location, role="raw").read(),
        "labels": open_volume(location, role="labels").read(),
        "affinities": open_volume(location, role="affinities").read(),
    }


def test_run_writes_image_labels_and_affinities_in_place(tmp_path, checkpoint, noisy):
    out = run(noisy, checkpoint, out=tmp_path / "seg.zarr", keep_affinities=True)
    image, labels = open_volume(out, role="raw"), open_volume(out, role="labels")
    affinities = open_volume(out, role="affinities")
    for volume in (image, labels, affinities):
        assert volume.shape == SHAPE
        assert volume.voxel_size == (40.0, 10.0, 10.0)
        assert volume.offset == (80.0, 20.0, 10.0)
    assert image.dtype == np.uint8
    ids = labels.read()
    assert ids.dtype == np.uint64
    _, first = np.unique(ids, return_index=True)
    np.testing.assert_array_equal(ids.ravel()[np.sort(first)], np.arange(1, ids.max() + 1))
    assert affinities.channels == 10
    assert AffinitySpec.from_dict(affinities.attributes) == PAPER_SPEC
    whole = mutex_watershed(affinities.read(), PAPER_SPEC, strides=(1, 5, 5))
    np.testing.assert_array_equal(ids, whole)
    made = image.attributes
    assert made["checkpoint"]["recipe"] == "joint"
    assert len(made["checkpoint"]["sha256"]) == len(made["source"]["identity"]) == 64
    assert (made["command"], made["tile"], made["precision"]) == ("run", [1, 32, 32], "fp32")
    assert labels.attributes["mutex_watershed"]["mutex_strides"] == [1, 5, 5]


def test_one_tile_is_the_network_itself(tmp_path, checkpoint, noisy):
    part = MemoryVolume(noisy.read(Roi((0, 0, 0), (1, 32, 32))))
    out = run(part, checkpoint, out=tmp_path / "seg.zarr", keep_affinities=True)
    network = Checkpoint.build(__import__("emds").load_checkpoint(checkpoint))
    with torch.no_grad():
        image = torch.from_numpy(part.read().astype(np.float32))[:, None] / 127.5 - 1
        expected = network(image)
    grey = ((expected.fused[0] + 1) * 127.5).round().clamp(0, 255).numpy()
    got = outputs(out)
    assert np.abs(got["image"].astype(int) - grey).max() <= 1
    probability = expected.logits.sigmoid()[0].numpy() * 255
    assert np.abs(got["affinities"][:, 0].astype(float) - probability).max() <= 0.51


def test_block_shapes_give_the_same_bytes(tmp_path, checkpoint):
    """Chunks are 256 wide, so several blocks along y and x."""
    values = np.random.default_rng(2).integers(0, 256, (3, 264, 300)).astype(np.uint8)
    big = MemoryVolume(values)
    fixed = {"tile": (1, 64, 128), "overlap": (0, 16, 32), "batch_size": 4}
    results = []
    for block_shape in (None, (3, 256, 256), (3, 256, 512)):
        options = InferenceOptions(**fixed, block_shape=block_shape)
        out = tmp_path / f"{len(results)}.zarr"
        run(big, checkpoint, out=out, options=options, keep_affinities=True)
        results.append(outputs(out))
    for other in results[1:]:
        for name, values in results[0].items():
            np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_a_region_equals_the_crop_of_the_whole(tmp_path, checkpoint, noisy):
    roi = Roi((1, 7, 3), (3, 20, 30))
    whole = denoise(noisy, checkpoint, out=tmp_path / "whole.zarr")
    options = InferenceOptions(roi=roi)
    part = open_volume(denoise(noisy, checkpoint, out=tmp_path / "part.zarr", options=options))
    np.testing.assert_array_equal(part.read(), open_volume(whole).read(roi))
    assert part.offset == (80.0 + 40.0, 20.0 + 70.0, 10.0 + 30.0)


def test_segment_gives_the_labels_of_run_from_grey_values_and_from_affinities(
    tmp_path, checkpoint, noisy
):
    whole = run(noisy, checkpoint, out=tmp_path / "run.zarr", keep_affinities=True)
    labels = outputs(whole)["labels"]
    grey = segment(noisy, checkpoint, out=tmp_path / "grey.zarr")
    np.testing.assert_array_equal(open_volume(grey, role="labels").read(), labels)
    kept = open_volume(whole, role="affinities")
    again = segment(kept, None, out=tmp_path / "again.zarr")
    np.testing.assert_array_equal(open_volume(again, role="labels").read(), labels)


def test_a_mask_gives_background(tmp_path, checkpoint, noisy):
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 5:20, 5:20] = 1
    out = run(noisy, checkpoint, out=tmp_path / "seg.zarr", mask=MemoryVolume(mask))
    labels = open_volume(out, role="labels").read()
    np.testing.assert_array_equal(labels != 0, mask != 0)


def test_a_mask_of_another_shape_is_refused_before_any_work(tmp_path, checkpoint, noisy):
    mask = MemoryVolume(np.ones((5, 40, 36), np.uint8), location="mask.h5")
    with pytest.raises(DataError, match=r"mask mask\.h5 has \(5, 40, 36\)"):
        run(noisy, checkpoint, out=tmp_path / "seg.zarr", mask=mask)
    assert not list(tmp_path.iterdir())


def test_a_region_samples_mutex_edges_where_the_whole_does(tmp_path, checkpoint, noisy):
    roi = Roi((1, 7, 3), (3, 20, 30))
    options = InferenceOptions(roi=roi)
    whole = run(noisy, checkpoint, out=tmp_path / "whole.zarr", keep_affinities=True)
    kept = open_volume(whole, role="affinities")
    expected = mutex_watershed(kept.read(roi), PAPER_SPEC, strides=(1, 5, 5), origin=roi.offset)
    from_grey = run(noisy, checkpoint, out=tmp_path / "grey.zarr", options=options)
    from_kept = segment(kept, None, out=tmp_path / "kept.zarr", options=options)
    kept_part = run(
        noisy, checkpoint, out=tmp_path / "part.zarr", options=options, keep_affinities=True
    )
    from_part = segment(
        open_volume(kept_part, role="affinities"), None, out=tmp_path / "again.zarr"
    )
    for out in (from_grey, from_kept, kept_part, from_part):
        np.testing.assert_array_equal(open_volume(out, role="labels").read(), expected)
        assert open_volume(out, role="labels").attributes["roi"]["offset"] == [1, 7, 3]


def test_an_input_is_never_replaced_by_its_output(tmp_path, checkpoint, noisy):
    out = run(noisy, checkpoint, out=tmp_path / "seg.zarr", keep_affinities=True)
    for source in (open_volume(out, role="raw"), open_volume(out, role="affinities")):
        with pytest.raises(UsageError, match="never replaced"):
            segment(source, checkpoint, out=out, overwrite=True)
    with pytest.raises(UsageError, match="never replaced"):
        simulate_noise(
            open_volume(out, role="raw"), make_noise_model("film"), out=out, overwrite=True
        )
    assert open_volume(out, role="labels").shape == SHAPE


def test_mutex_strides_that_skip_sections_are_refused_before_any_work(tmp_path, checkpoint, noisy):
    options = InferenceOptions(mutex_strides=(4, 4, 4))
    with pytest.raises(UsageError, match="must be 1 along z"):
        run(noisy, checkpoint, out=tmp_path / "seg.zarr", options=options)
    assert not list(tmp_path.iterdir())


def test_sixteen_bit_images_need_a_range_and_keep_their_type(tmp_path, checkpoint, noisy):
    wide = MemoryVolume(noisy.read().astype(np.uint16) * 100 + 1000)
    with pytest.raises(DataError, match="--intensity"):
        denoise(wide, checkpoint, out=tmp_path / "refused.zarr")
    options = InferenceOptions(intensity=(1000, 26500))
    narrow = open_volume(denoise(noisy, checkpoint, out=tmp_path / "narrow.zarr")).read()
    out = open_volume(denoise(wide, checkpoint, out=tmp_path / "wide.zarr", options=options))
    assert out.dtype == np.uint16
    inside = (narrow > 0) & (narrow < 255)
    expected = narrow.astype(float) * 100 + 1000
    assert np.abs(out.read().astype(float) - expected)[inside].max() <= 51


def test_min_size_leaves_no_small_segment(tmp_path, checkpoint, noisy):
    options = InferenceOptions(min_size=30)
    out = run(noisy, checkpoint, out=tmp_path / "seg.zarr", options=options)
    _, sizes = np.unique(open_volume(out, role="labels").read(), return_counts=True)
    assert sizes.min() >= 30


def test_a_constant_image_is_refused_and_leaves_nothing(tmp_path, checkpoint):
    grey = MemoryVolume(np.full((2, 32, 32), 7, np.uint8), location="flat.tif")
    with pytest.raises(DataError, match=r"flat\.tif is constant"):
        run(grey, checkpoint, out=tmp_path / "seg.zarr")
    assert not list(tmp_path.iterdir())


def test_an_existing_output_is_left_alone(tmp_path, checkpoint, noisy):
    out = denoise(noisy, checkpoint, out=tmp_path / "seg.zarr")
    before = open_volume(out).read()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        run(noisy, checkpoint, out=out)
    np.testing.assert_array_equal(open_volume(out).read(), before)
    run(noisy, checkpoint, out=out, overwrite=True)
    assert open_volume(out, role="labels").shape == SHAPE


def test_a_model_without_the_part_is_refused(tmp_path, noisy):
    only = write_checkpoint(tmp_path / "dn.pt", ("denoiser",))
    with pytest.raises(CheckpointError, match="no segmenter"):
        run(noisy, only, out=tmp_path / "seg.zarr")
    image = open_volume(denoise(noisy, only, out=tmp_path / "image.zarr"))
    assert image.attributes["image"] == "coarse"


@pytest.mark.parametrize("tile", [(2, 16, 16), (1, 12, 16)])
def test_a_tile_that_does_not_fit_the_network_is_refused(tmp_path, checkpoint, noisy, tile):
    with pytest.raises(UsageError, match="--tile"):
        run(noisy, checkpoint, out=tmp_path / "s.zarr", options=InferenceOptions(tile=tile))


def test_a_distant_voxel_size_is_told(tmp_path, checkpoint, noisy, caplog):
    options = InferenceOptions(voxel_size=(40.0, 4.0, 4.0))
    denoise(noisy, checkpoint, out=tmp_path / "out.zarr", options=options)
    assert "far from" in caplog.text


@pytest.mark.parametrize("shape", [(1, 5, 9), (2, 17, 40), (1, 1, 1)])
def test_a_volume_smaller_than_a_tile_is_mirrored_not_refused(tmp_path, checkpoint, shape):
    values = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    values.flat[0] ^= 255 if values.size > 1 else 0
    source = MemoryVolume(values, location="tiny.tif")
    if values.size == 1:
        with pytest.raises(DataError, match="constant"):
            run(source, checkpoint, out=tmp_path / "seg.zarr")
        return
    out = run(source, checkpoint, out=tmp_path / "seg.zarr")
    assert open_volume(out, role="labels").read().shape == shape


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(tmp_path, checkpoint, noisy):
    cpu = denoise(
        noisy, checkpoint, out=tmp_path / "cpu.zarr", options=InferenceOptions(device="cpu")
    )
    gpu = denoise(
        noisy, checkpoint, out=tmp_path / "gpu.zarr", options=InferenceOptions(device="cuda")
    )
    difference = open_volume(cpu).read().astype(int) - open_volume(gpu).read()
    assert np.abs(difference).max() <= 1
