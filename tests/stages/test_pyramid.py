"""Lower resolutions: where their voxels lie, what they hold, and what a crash leaves."""

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaozarrs
import zarr

from emds.demo.phantom import make_phantom
from emds.errors import (
    IncompleteError,
    InterruptedRunError,
    OutputExistsError,
    UsageError,
    VolumeError,
)
from emds.geometry import iter_blocks
from emds.io import create_container, create_volume, describe, open_volume
from emds.pyramid import mean_of_windows, mode_of_windows
from emds.stages.check import check
from emds.stages.pyramid import pyramid

SHAPE = (11, 45, 38)
CHUNK = (4, 16, 16)
VOXEL_SIZE = (40.0, 8.0, 10.0)
OFFSET = (80.0, 46.0, -10.5)


def fill(volume, values):
    for block in iter_blocks(volume.roi, volume.chunk_shape):
        volume.write(block.write_roi, values[(..., *block.write_roi.slices())])


def write_container(path, image, labels, version="0.5", voxel_size=VOXEL_SIZE, chunk_shape=CHUNK):
    place = {"chunk_shape": chunk_shape, "voxel_size": voxel_size, "offset": OFFSET}
    with create_container(path, ome_version=version) as container:
        fill(container.create_image(None, image.shape, image.dtype, **place), image)
        fill(container.create_labels("neurons", labels.shape, labels.dtype, **place), labels)
        affinities = container.create_image("affinities", image.shape, "u1", channels=2, **place)
        fill(affinities, np.stack([image, image]).astype("u1"))
        container.set_attributes({"command": "run"})


@pytest.fixture(scope="module")
def values():
    image, labels = make_phantom(SHAPE, seed=4)
    return image, labels.astype("u8") << np.uint64(40)  # ids that no float holds


@pytest.fixture(scope="module")
def made(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for version in ("0.5", "0.4"):
        write_container(folder / f"{version}.zarr", *values, version)
    return folder


@pytest.fixture(params=["0.5", "0.4"])
def container(made, tmp_path, request):
    return Path(shutil.copytree(made / f"{request.param}.zarr", tmp_path / "seg.zarr"))


def levels_of(place, count):
    found = []
    for level in range(count):
        with open_volume(place / str(level)) as volume:
            found.append((volume.read(), volume.voxel_size, volume.offset))
    return found


def test_each_level_is_the_level_before_reduced(container, values):
    grown = pyramid(container, levels=3)
    factors = [(1, 2, 2), (1, 2, 2), (2, 2, 2)]  # 40 8 10, 40 16 20, 40 32 40 nm
    for place, reduce, whole in (
        (container, mean_of_windows, values[0]),
        (container / "labels/neurons", mode_of_windows, values[1]),
    ):
        expected = whole
        for level, (found, *_) in enumerate(levels_of(place, 4)):
            if level:
                expected = reduce(expected, factors[level - 1])
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == whole.dtype
    assert [pyramid.shapes for pyramid in grown] == [
        [SHAPE, (11, 23, 19), (11, 12, 10), (6, 6, 5)]
    ] * 2
    assert [pyramid.added for pyramid in grown] == [3, 3]


def test_voxels_lie_where_the_metadata_say(tmp_path):
    # The value of a voxel is the place of its centre, so that of a mean is the place of the mean.
    shape = (4, 32, 16)
    z, y, x = (offset + size * np.arange(n) for n, size, offset in zip(shape, VOXEL_SIZE, OFFSET))
    ramp = (1e4 * z[:, None, None] + 10 * y[:, None] + x).astype("f4")
    write_container(tmp_path / "seg.zarr", ramp, np.ones(shape, "u1"))
    pyramid(tmp_path / "seg.zarr", levels=3)
    for found, voxel_size, offset in levels_of(tmp_path / "seg.zarr", 4):
        z, y, x = (o + s * np.arange(n) for n, s, o in zip(found.shape, voxel_size, offset))
        np.testing.assert_allclose(found, 1e4 * z[:, None, None] + 10 * y[:, None] + x, rtol=1e-6)


def test_voxels_without_a_size_are_cubes(tmp_path, values):
    write_container(tmp_path / "seg.zarr", *values, voxel_size=None)
    pyramid(tmp_path / "seg.zarr", levels=1)
    ((_, size, _), (level, smaller, offset)) = levels_of(tmp_path / "seg.zarr", 2)
    assert size is smaller is None
    assert level.shape == (6, 23, 19)
    # Without a size a position counts voxels, here those of the level.
    assert offset == tuple((o + 0.5) / 2 for o in OFFSET)


def test_the_metadata_are_ome_zarr(container):
    pyramid(container, levels=2)
    for place, method in ((container, "mean"), (container / "labels/neurons", "mode")):
        yaozarrs.validate_zarr_store(str(place))
        attributes = zarr.open_group(str(place), mode="r").attrs
        (image,) = attributes.get("ome", attributes)["multiscales"]
        assert image["type"] == method
        assert [level["path"] for level in image["datasets"]] == ["0", "1", "2"]
        scale, translation = image["datasets"][1]["coordinateTransformations"]
        assert scale["scale"] == [40, 16, 20]
        assert translation["translation"] == [80, 50, -5.5]
    assert "emds" in zarr.open_group(str(container), mode="r").attrs


def test_everything_still_reads_the_first_level(container, values):
    before = describe(container)
    pyramid(container)
    pyramid(container, levels=2)
    assert describe(container) == before
    for role, expected in (("raw", values[0]), ("labels", values[1])):
        with open_volume(container, role=role) as volume:
            np.testing.assert_array_equal(volume.read(), expected)
    assert check(container).complaint() is None
    assert len(check(container).arrays) == 3 + 2 * 2


def test_affinities_have_one_level(container):
    pyramid(container, levels=2)
    assert not (container / "affinities/1").exists()


def test_images_and_labels_never_differ_in_their_number_of_levels(container, values):
    """OME-Zarr wants it so, also while the next level is being made."""

    def look(done, total, what):
        yaozarrs.validate_zarr_store(str(container))

    pyramid(container, levels=2, progress=look)
    with pytest.raises(UsageError, match=r"name the container.*equally many levels"):
        pyramid(container / "labels/neurons", levels=3)


def test_by_default_small_volumes_get_none(container):
    assert [grown.added for grown in pyramid(container)] == [0, 0]


def test_levels_are_added_to_those_that_are_there(container):
    pyramid(container, levels=3)
    whole = digest(container)
    for level in ("1", "2", "3"):
        shutil.rmtree(container / "labels/neurons" / level)
        shutil.rmtree(container / level)
    drop_levels(container)
    for count in (1, 3, 2):
        pyramid(container, levels=count)
    assert digest(container) == whole


def drop_levels(container):
    for place in (container, container / "labels/neurons"):
        group = zarr.open_group(str(place), mode="r+")
        attributes = dict(group.attrs)
        image = attributes.get("ome", attributes)["multiscales"][0]
        del image["datasets"][1:]
        group.attrs.update(attributes)


def digest(container):
    """Return a hash of every file, by path."""
    return {
        path.relative_to(container): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in container.rglob("*")
        if path.is_file()
    }


class KilledError(BaseException):
    """In place of a signal that cannot be caught."""


def test_stopped_after_any_chunk_it_is_valid_and_goes_on(made, tmp_path, values):
    whole = shutil.copytree(made / "0.5.zarr", tmp_path / "whole.zarr")
    steps = []
    pyramid(whole, levels=2, progress=lambda *step: steps.append(step))
    stopped = shutil.copytree(made / "0.5.zarr", tmp_path / "seg.zarr")

    def stop_now_and_then(done, total, what):
        nonlocal left, calls
        calls += 1
        left -= 1
        if left == 0:
            raise KilledError

    calls = runs = 0
    while True:
        left, runs = 5, runs + 1
        try:
            pyramid(stopped, levels=2, progress=stop_now_and_then)
            break
        except KilledError:
            assert check(stopped).complaint() is None
            with open_volume(stopped, role="raw") as volume:
                np.testing.assert_array_equal(volume.read(), values[0])
    assert runs > len(steps) / 5 > 4, "test invalid"
    assert calls == len(steps)  # nothing was done twice
    assert digest(stopped) == digest(whole)


def test_a_signal_stops_it_and_the_same_call_goes_on(container):
    whole = shutil.copytree(container, container.with_name("whole.zarr"))
    pyramid(whole, levels=2)
    with pytest.raises(InterruptedRunError, match="Continue with the same command"):
        pyramid(container, levels=2, progress=lambda *_: signal.raise_signal(signal.SIGUSR1))
    assert check(container).complaint() is None
    pyramid(container, levels=2)
    assert digest(container) == digest(whole)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (16, 96, 96)).astype("u1")
    whole = tmp_path / "whole.zarr"
    write_container(whole, image, image.astype("u8"), chunk_shape=(4, 16, 16))
    killed = shutil.copytree(whole, tmp_path / "seg.zarr")
    pyramid(whole, levels=3)
    rng = np.random.default_rng(1)
    code = (
        "import sys; from emds.stages.pyramid import pyramid; "
        "pyramid(sys.argv[1], levels=3, progress=lambda *_: print('.', flush=True))"
    )
    alive = 0
    for _ in range(25):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(killed)], stdout=subprocess.PIPE, text=True
        )
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        alive += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert check(killed).complaint() is None
        yaozarrs.validate_zarr_store(str(killed))
    assert alive, "test invalid"
    pyramid(killed, levels=3)
    assert digest(killed) == digest(whole)


def test_a_level_that_another_version_began_is_begun_anew(container, monkeypatch):
    whole = shutil.copytree(container, container.with_name("whole.zarr"))
    pyramid(whole, levels=1)

    def stop(done, total, what):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("emds.io.zarr_image.__version__", "0.0.1")
        with pytest.raises(KilledError):
            pyramid(container, levels=1, progress=stop)
    pyramid(container, levels=1)
    assert digest(container) == digest(whole)


def test_what_was_begun_and_is_no_longer_wanted_goes(container):
    def stop_at_second(done, total, what):
        if what.endswith("seg.zarr/2"):
            raise KilledError

    with pytest.raises(KilledError):
        pyramid(container, levels=2, progress=stop_at_second)
    assert (container / "2").exists()
    pyramid(container, levels=1)
    assert not (container / "2").exists()
    assert not (container / ".emds").exists()


def test_a_damaged_chunk_is_named_and_nothing_is_made_of_it(container):
    chunk = "0/c/1/1/1" if (container / "zarr.json").exists() else "0/1/1/1"
    content = (container / chunk).read_bytes()
    (container / chunk).unlink()
    with pytest.raises(IncompleteError, match=r"(?s)1 of \d+ chunks of .*seg.zarr/1 .*missing"):
        pyramid(container, levels=1)
    with open_volume(container, role="raw") as volume:
        assert volume.shape == SHAPE
    (container / chunk).write_bytes(content)
    assert [grown.added for grown in pyramid(container, levels=1)] == [1, 1]


def test_two_at_once_are_refused(container):
    def second(done, total, what):
        with pytest.raises(OutputExistsError, match="another emds is adding"):
            pyramid(container, levels=1)

    pyramid(container, levels=1, progress=second)


def test_only_what_emds_wrote_gets_levels(tmp_path, container):
    foreign = zarr.create_group(str(tmp_path / "other.zarr"))
    foreign.create_array("raw", shape=(4, 4, 4), dtype="u1")
    with create_volume(tmp_path / "a.h5", shape=(2, 8, 8), dtype="u1") as volume:
        volume.write(volume.roi, np.zeros((2, 8, 8), "u1"))
    for place in ("other.zarr", "a.h5"):
        with pytest.raises(VolumeError, match="not an OME-Zarr container that emds wrote"):
            pyramid(tmp_path / place)
    with create_container(tmp_path / "affinities.zarr") as made:
        affinities = made.create_image("affinities", (2, 8, 8), "u1", channels=2)
        affinities.write(affinities.roi, np.zeros((2, 2, 8, 8), "u1"))
        made.set_attributes({"command": "segment"})
    with pytest.raises(VolumeError, match="neither an image nor labels"):
        pyramid(tmp_path / "affinities.zarr")
    container.rename(container.with_name("seg.zarr.partial"))
    with pytest.raises(IncompleteError, match="unfinished"):
        pyramid(container)


def test_an_array_of_others_in_the_place_of_a_level_stays(container):
    theirs = zarr.open_group(str(container), mode="r+").create_array("1", shape=(3, 3), dtype="u1")
    theirs[:] = 7
    (container / "mine.partial").write_text("all of it")
    before = {path: path.read_bytes() for path in container.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="in the way of a lower resolution"):
        pyramid(container, levels=1)
    assert {path: path.read_bytes() for path in before} == before
