from __future__ import annotations

import numpy as np
import pytest
import tifffile

from emds import __version__
from emds.errors import DataError, OutputExistsError, UsageError, VolumeError
from emds.geometry import Roi
from emds.io import MemoryVolume, create_volume, open_volume
from emds.noise import Film, GaussianPoisson, add_noise, noise_from_dict
from emds.stages import simulate_noise as stage
from emds.stages.simulate_noise import default_output, simulate_noise

MODELS = [GaussianPoisson(), Film()]


@pytest.fixture
def clean():
    values = np.random.default_rng(2).integers(0, 256, (20, 40, 50), dtype=np.uint8)
    return MemoryVolume(
        values, voxel_size=(40.0, 4.0, 8.0), offset=(80.0, 0.0, 16.0), location="scan"
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_the_noisy_volume_is_the_input_with_noise_added(clean, model, tmp_path):
    out = tmp_path / "noisy.zarr"
    calls = []
    assert simulate_noise(
        clean, model, out=out, seed=5, progress=lambda *call: calls.append(call)
    ) == str(out)
    with open_volume(out) as noisy:
        np.testing.assert_array_equal(noisy.read(), add_noise(clean.values, model, seed=5))
        assert noisy.dtype == np.uint8
        assert noisy.voxel_size == clean.voxel_size
        assert noisy.offset == clean.offset
    assert calls == [(1, 2, "simulate-noise"), (2, 2, "simulate-noise")]


def test_model_seed_and_drawn_parameters_are_stored(clean, tmp_path):
    model = GaussianPoisson(sigma=(10, 30))
    roi = Roi((3, 0, 0), (2, 40, 50))
    out = simulate_noise(clean, model, out=tmp_path / "noisy.zarr", seed=5, roi=roi)
    with open_volume(out) as noisy:
        stored = noisy.attributes
    assert stored["emds"] == __version__
    assert stored["command"] == "simulate-noise"
    assert stored["source"]["location"] == "scan"
    assert stored["seed"] == 5
    assert stored["roi"] == {"offset": [3, 0, 0], "shape": [2, 40, 50]}
    assert noise_from_dict(stored["noise"]) == model
    assert stored["drawn"]["section"] == [3, 4]
    assert stored["drawn"]["sigma"] == [model.draw(5, z)["sigma"] for z in (3, 4)]
    assert stored["drawn"]["lam"] == [model.draw(5, z)["lam"] for z in (3, 4)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_a_region_equals_the_crop_of_the_whole(clean, model, tmp_path):
    roi = Roi((2, 35, 10), (3, 5, 30))
    out = simulate_noise(clean, model, out=tmp_path / "noisy.zarr", seed=1, roi=roi)
    with open_volume(out) as noisy:
        whole = add_noise(clean.values, model, seed=1)
        np.testing.assert_array_equal(noisy.read(), whole[roi.slices()])
        assert noisy.offset == (80.0 + 2 * 40, 35 * 4.0, 16.0 + 10 * 8)


@pytest.mark.parametrize("block_voxels", [1, 16 * 256 * 300, 16 * 256 * 700])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_do_not_change_the_bytes(block_voxels, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_BLOCK_VOXELS", block_voxels)
    values = np.random.default_rng(3).integers(0, 256, (18, 270, 290), dtype=np.uint8)
    out = simulate_noise(
        MemoryVolume(values), Film(), out=tmp_path / "noisy.zarr", seed=4, threads=threads
    )
    with open_volume(out) as noisy:
        np.testing.assert_array_equal(noisy.read(), add_noise(values, Film(), seed=4))


@pytest.mark.parametrize("name", ["noisy.tif", "noisy.h5"])
def test_other_formats_hold_the_same_bytes(clean, name, tmp_path):
    out = simulate_noise(clean, GaussianPoisson(), out=tmp_path / name, seed=5)
    with open_volume(out) as noisy:
        expected = add_noise(clean.values, GaussianPoisson(), seed=5)
        np.testing.assert_array_equal(noisy.read(), expected)


def test_the_output_lies_beside_the_input(tmp_path):
    values = np.full((2, 8, 8), 90, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "scan.v2.ome.tif", values)
    (tmp_path / "my.slices").mkdir()
    for z in range(2):
        tifffile.imwrite(tmp_path / "my.slices" / f"{z}.tif", values[z])
    for name in ("raw.h5", "raw.zarr", "deep.ome.zarr"):
        with create_volume(tmp_path / name, shape=(2, 8, 8), dtype=np.uint8) as volume:
            volume.write(volume.roi, values)
    for location, expected in {
        "scan.v2.ome.tif": "scan.v2_noisy.zarr",
        "my.slices": "my.slices_noisy.zarr",
        "raw.h5": "raw_noisy.zarr",
        "raw.h5:volumes/raw": "raw_noisy.zarr",
        "raw.zarr": "raw_noisy.zarr",
        "deep.ome.zarr/0": "deep_noisy.zarr",
    }.items():
        assert default_output(str(tmp_path / location)) == str(tmp_path / expected)
    with open_volume(tmp_path / "my.slices") as slices:
        assert simulate_noise(slices, Film()) == str(tmp_path / "my.slices_noisy.zarr")
    with pytest.raises(VolumeError, match="no such file"):
        default_output(str(tmp_path / "nowhere.tif"))


def test_an_existing_output_is_kept_unless_told_otherwise(clean, tmp_path):
    out = tmp_path / "noisy.zarr"
    simulate_noise(clean, Film(), out=out, seed=1)
    with pytest.raises(OutputExistsError):
        simulate_noise(clean, Film(), out=out, seed=2)
    with open_volume(out) as kept:
        np.testing.assert_array_equal(kept.read(), add_noise(clean.values, Film(), seed=1))
    simulate_noise(clean, Film(), out=out, seed=2, overwrite=True)
    with open_volume(out) as replaced:
        np.testing.assert_array_equal(replaced.read(), add_noise(clean.values, Film(), seed=2))


def test_bad_requests_are_refused_before_anything_is_written(clean, tmp_path):
    out = tmp_path / "noisy.zarr"
    wide = MemoryVolume(clean.values.astype(np.uint16), location="wide.tif")
    colours = MemoryVolume(np.zeros((3, 2, 4, 4), np.uint8), location="rgb.tif")
    with pytest.raises(DataError, match=r"wide.tif is uint16. Rescale it to 0-255"):
        simulate_noise(wide, Film(), out=out)
    with pytest.raises(DataError, match=r"rgb.tif has 3 channels"):
        simulate_noise(colours, Film(), out=out)
    with pytest.raises(UsageError, match="seed"):
        simulate_noise(clean, Film(), out=out, seed=-1)
    with pytest.raises(UsageError, match="threads must be at least 1, not 0"):
        simulate_noise(clean, Film(), out=out, threads=0)
    with pytest.raises(UsageError, match=r"inside scan of shape \(20, 40, 50\)"):
        simulate_noise(clean, Film(), out=out, roi=Roi((0, 0, 0), (21, 1, 1)))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_on_the_way_leaves_no_output(clean, tmp_path, monkeypatch):
    read = MemoryVolume.read

    def fails_late(self, roi=None):
        if roi is not None and roi.offset[0] > 0:
            raise OSError("the disk is gone")
        return read(self, roi)

    monkeypatch.setattr(MemoryVolume, "read", fails_late)
    with pytest.raises(OSError, match="the disk is gone"):
        simulate_noise(clean, Film(), out=tmp_path / "noisy.zarr")
    assert list(tmp_path.iterdir()) == []
