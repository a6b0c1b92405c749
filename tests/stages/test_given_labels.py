"""Labels that a person gives: reserved ids, images in their place, and where they lie."""

import logging

import numpy as np
import pytest

from emds.config import load_train_config
from emds.errors import DataError, UsageError
from emds.geometry import Roi
from emds.io import create_volume, open_volume
from emds.io.volume import MemoryVolume
from emds.stages.evaluate import evaluate
from emds.stages.given_labels import given_labels
from emds.stages.job import Request, prepare
from emds.stages.plan import InferenceOptions
from emds.stages.train import _open_data
from emds.training.recipes import get_recipe
from tests.small_runs import OFFSETS

VOXEL = (40.0, 4.0, 4.0)
# Sixteen objects of 8 x 8 in every section.
TRUTH = np.kron(np.arange(1, 17).reshape(1, 4, 4), np.ones((4, 8, 8))).astype(np.uint64)


def noisy_image(seed=0, shape=(4, 40, 40), spread=30):
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(120, spread, shape), 0, 255).astype(np.uint8)


def told(labels, **how):
    said = []
    return given_labels(labels, "labels", tell=said.append, **how), said


@pytest.mark.parametrize("less", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.uint64, np.uint32])
def test_reserved_ids_are_no_ground_truth(dtype, less):
    """Half of the pairs of objects on the right are merged: 0.5 bit, whatever lies around."""
    seg = TRUTH.copy()
    seg[:, :, 16:] -= (seg[:, :, 16:] + 1) % 2
    reserved = np.iinfo(dtype).max - (less - 1)
    around = ((0, 0), (16, 16), (16, 16))
    truth = np.pad(TRUTH.astype(dtype), around, constant_values=reserved)
    seg = np.pad(seg, around)
    seg[seg == 0] = np.random.default_rng(0).integers(100, 400, (seg == 0).sum())
    report = evaluate(MemoryVolume(seg), MemoryVolume(truth), protocols=["volume"])
    scores = report.segmentation[0].scores
    assert (scores.voi, scores.voi_split, scores.voi_merge) == pytest.approx((0.5, 0, 0.5))
    assert report.segmentation[0].gt_objects == 16
    assert [note for note in report.notes if f"id {reserved} of ground truth" in note]


def test_the_greatest_ids_of_narrow_types_are_ids():
    ids = np.kron([[253, 254, 255]], np.ones((8, 8))).astype(np.uint8)[None]
    given, said = told(MemoryVolume(ids))
    assert (given.read() == ids).all()
    assert said == []


def test_an_id_that_covers_nearly_all_is_told_of():
    ids = np.pad(TRUTH, ((0, 0), (16, 16), (16, 16)), constant_values=99)
    given, said = told(MemoryVolume(ids))
    assert (given.read() == ids).all()
    assert said == [
        "id 99 covers 75% of labels memory (in a sample); if it marks voxels without ground truth, "
        "set them to 0"
    ]


IMAGES = {
    "noisy": noisy_image(),
    "weak noise": noisy_image(spread=4),
    "16 bit": noisy_image().astype(np.uint16) * 16,
    "64 bit": noisy_image().astype(np.uint64),
    "clipped": np.clip(noisy_image(spread=90).astype(int) * 2 - 120, 0, 255).astype(np.uint8),
}
LABELS = {
    "objects": TRUTH,
    "small objects": np.kron(np.arange(400).reshape(1, 20, 20), np.ones((4, 2, 2), np.uint64)),
    "an id for each voxel": np.arange(4 * 40 * 40, dtype=np.uint64).reshape(4, 40, 40),
    "membranes": np.where(noisy_image() > 0, np.arange(40) % 8 > 0, 0).astype(np.uint8),
    "empty": np.zeros((4, 40, 40), np.uint8),
    "a few voxels": noisy_image(shape=(1, 10, 10)),
    "stray voxels": np.where(noisy_image() > 175, noisy_image(1), 1).astype(np.uint64),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_no_segmentation(name):
    image = MemoryVolume(IMAGES[name], location="scan.tif")
    with pytest.raises(DataError, match=r"scan\.tif looks like an image"):
        told(image)
    objects = MemoryVolume(np.kron(np.arange(1, 26).reshape(1, 5, 5), np.ones((4, 8, 8), int)))
    for pair in ((image, objects), (objects, image)):
        with pytest.raises(DataError, match=r"scan\.tif looks like an image"):
            evaluate(*pair)


@pytest.mark.parametrize("name", LABELS)
def test_a_segmentation_is_no_image(name):
    given, _ = told(MemoryVolume(LABELS[name]))
    assert (given.read() == LABELS[name]).all()


@pytest.mark.parametrize("key", ["volumes/raw", "volumes/labels/neuron_ids"])
def test_real_images_and_labels_are_told_apart(em_data, key):
    role = "labels" if key.endswith("ids") else "raw"
    with open_volume(em_data / "flyem_medulla.h5", key=key, role=role) as volume:
        if role == "labels":
            told(volume)
        else:
            with pytest.raises(DataError, match="looks like an image"):
                told(volume)


def write(path, values, role, offset=(0.0, 0.0, 0.0)):
    with create_volume(
        path, shape=values.shape, dtype=values.dtype, voxel_size=VOXEL, offset=offset, role=role
    ) as volume:
        volume.write(volume.roi, values)
    return str(path)


def data_of(raw, labels=None):
    config = load_train_config("cpu", options={"data": {"raw": raw, "labels": labels}})
    return _open_data(config, get_recipe("joint"))


def test_an_image_as_its_own_labels_is_refused(tmp_path):
    raw = write(tmp_path / "scan.tif", noisy_image(), "raw")
    for labels in (None, raw, f"{tmp_path}/./scan.tif"):
        with pytest.raises(DataError, match="labels and image are one array"):
            data_of(raw, labels)
    copy = write(tmp_path / "copy.h5", noisy_image(), "labels")
    with pytest.raises(DataError, match="looks like an image"):
        data_of(raw, copy)


STEPS = {
    # labels of shape, at offset (voxels): what is trained on, in voxels of the image
    "the same place": ((6, 32, 32), (0, 0, 0), Roi((0, 0, 0), (6, 32, 32)), None),
    "a part": ((3, 16, 24), (2, 8, 4), Roi((2, 8, 4), (3, 16, 24)), "sections count from there"),
    "more": ((8, 40, 40), (-1, -4, -8), Roi((0, 0, 0), (6, 32, 32)), "labels cut to z 1:7"),
    "one section off": ((6, 32, 32), (1, 0, 0), Roi((0, 0, 0), (6, 32, 32)), "offsets differ"),
}


@pytest.mark.parametrize("case", STEPS)
def test_labels_of_another_place_are_laid_where_they_belong(tmp_path, caplog, case):
    """Values say where a voxel lies: 10000 z + 100 y + x of the image, in image and labels."""
    shape, begin, used, word = STEPS[case]
    off = case == "one section off"
    image = np.stack(np.indices((6, 32, 32))).astype(np.uint64)
    place = np.stack(np.indices(shape)) + np.reshape((0, 0, 0) if off else begin, (3, 1, 1, 1))
    labels = (10_000 * (place[0] + 5) + 100 * (place[1] // 8) + place[2] // 8 + 500).astype("u8")
    raw = write(tmp_path / "raw.h5", image[0].astype(np.uint8), "raw")
    offset = tuple(float(b * size) for b, size in zip(begin, VOXEL))
    where = write(tmp_path / "labels.h5", labels, "labels", offset)
    with caplog.at_level(logging.WARNING, "emds"):
        seen, truth = data_of(raw, where)
    assert seen.shape == truth.shape == used.shape
    sections = truth.read() // 10_000 - 5
    assert (sections == seen.read()).all()
    assert [word in record.message for record in caplog.records] == [True] * bool(word)


AFFINITIES = {"offsets": OFFSETS, "attractive": (True,) * 3 + (False,) * 3}


def job_with(mask, roi=None, **place):
    values = np.full((len(OFFSETS), 6, 32, 32), 200, np.uint8)
    source = MemoryVolume(values, voxel_size=VOXEL, attributes=AFFINITIES)
    labels = MemoryVolume(mask, voxel_size=VOXEL, location="mask.h5", **place)
    return prepare(
        Request("segment", "memory", None, "mask.h5", InferenceOptions(roi=roi)), source, labels
    )


def test_a_mask_of_more_is_cut_to_what_it_masks():
    mask = np.zeros((8, 40, 40), np.uint8)
    mask[3, 10, 20] = 1
    job = job_with(mask, offset=(-40.0, -16.0, -32.0))
    assert np.argwhere(job.mask.read()).tolist() == [[2, 6, 12]]
    assert "mask cut to z 1:7, y 4:36, x 8:40" in job.notes[0]


def test_a_mask_of_less_is_for_a_region_inside_it():
    mask = np.zeros((3, 16, 24), np.uint8)
    mask[1, 2, 3] = 1
    job = job_with(mask, Roi((2, 8, 4), (2, 8, 8)), offset=(80.0, 32.0, 16.0))
    assert np.argwhere(job.mask.read()).tolist() == [[1, 2, 3]]
    with pytest.raises(UsageError, match=r"has mask, \(2, 8, 4\) to \(5, 24, 28\)"):
        job_with(mask, offset=(80.0, 32.0, 16.0))


def test_a_mask_that_says_it_lies_elsewhere_is_told_of():
    job = job_with(np.ones((6, 32, 32), np.uint8), offset=(40.0, 0.0, 0.0))
    assert "offsets differ" in job.notes[0]
    assert job_with(np.ones((6, 32, 32), np.uint8)).notes == []


def test_a_mask_of_reserved_ids_masks():
    mask = np.ones((6, 32, 32), np.uint64)
    mask[:, :8] = 2**64 - 3
    job = job_with(mask)
    assert (job.mask.read()[:, :8] == 0).all()
    assert f"id {2**64 - 3} of mask" in job.notes[0]
