"""`--link-sections` in a run: the labels of the whole volume in memory, whatever the blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_runs import write_checkpoint, write_grey

from emds.errors import InterruptedRunError, OutputExistsError, UsageError
from emds.execution import Execution
from emds.geometry import Roi
from emds.io import MemoryVolume, create_volume, open_volume
from emds.metrics import evaluate_segmentation
from emds.segmentation.affinities import AffinitySpec, affinities_from_labels, quantize
from emds.segmentation.phases import label_affinities
from emds.segmentation.settings import LabelSettings
from emds.stages.inference import run, segment
from emds.stages.plan import InferenceOptions

SHAPE = (20, 24, 272)  # chunks are 16 deep and 256 wide: four blocks that cut sections, too
OFFSETS = ((0, -1, 0), (0, 0, -1), (0, -4, 0), (0, 0, -4))
SPEC = AffinitySpec(OFFSETS, (True, True, False, False))
LINKED = InferenceOptions(mutex_strides=(1, 2, 2), link_sections=0.4)


@pytest.fixture(scope="module")
def affinities(tmp_path_factory):
    """Affinities within sections alone, with noise, of cells that lean as they go through them."""
    z, y, x = np.indices(SHAPE)
    cells = (1 + (x + z // 2) // 8 + 100 * ((y + z // 5) // 6)).astype(np.uint32)
    same, valid = affinities_from_labels(cells, OFFSETS)
    values = 0.15 + 0.7 * (same | ~valid)
    noisy = np.clip(values + np.random.default_rng(0).normal(0, 0.2, values.shape), 0, 1)
    path = tmp_path_factory.mktemp("affinities") / "planar.zarr"
    with create_volume(
        path,
        shape=SHAPE,
        dtype=np.uint8,
        channels=len(OFFSETS),
        role="affinities",
        attributes=SPEC.to_dict(),
    ) as volume:
        volume.write(volume.roi, quantize(noisy))
    return path


def labels_of(affinities, out, options, **how):
    with open_volume(affinities, role="affinities") as source:
        written = segment(source, None, out=out, options=options, **how)
    return open_volume(written, role="labels").read()


@pytest.mark.parametrize("min_size", [0, 15])
@pytest.mark.parametrize("block", [None, (16, 256, 256), (16, 256, 512)])
@pytest.mark.parametrize("roi", [None, Roi((2, 2, 5), (17, 20, 262))])
def test_the_labels_are_those_of_the_whole_in_memory(tmp_path, affinities, min_size, block, roi):
    options = replace(LINKED, min_size=min_size, label_block_shape=block, roi=roi)
    labels = labels_of(affinities, tmp_path / "seg.zarr", options)
    region = roi or Roi.whole(SHAPE)
    values = open_volume(affinities, role="affinities").read(region)
    settings = LabelSettings((1, 2, 2), min_size, link_sections=0.4)
    expected = label_affinities(values, SPEC, settings, origin=region.offset)
    np.testing.assert_array_equal(labels, expected)
    apart = label_affinities(values, SPEC, replace(settings, link_sections=None))
    assert 0 < labels.max() < 0.5 * apart.max(), "test invalid"


@pytest.mark.slow
def test_workers_give_the_same_labels(tmp_path, affinities):
    options = replace(LINKED, label_block_shape=(16, 256, 256))
    alone = labels_of(affinities, tmp_path / "alone.zarr", options)
    workers = Execution(workers=2)
    shared = labels_of(affinities, tmp_path / "shared.zarr", options, execution=workers)
    np.testing.assert_array_equal(shared, alone)


def test_sections_stay_what_they_were(tmp_path, affinities):
    linked = labels_of(affinities, tmp_path / "linked.zarr", LINKED)
    apart = labels_of(affinities, tmp_path / "apart.zarr", replace(LINKED, link_sections=None))
    scores = evaluate_segmentation(MemoryVolume(linked), MemoryVolume(apart), "paper").scores
    assert scores.voi == 0
    for z in range(1, SHAPE[0]):
        assert not np.intersect1d(apart[z - 1], apart[z]).any(), "test invalid"


def test_it_is_part_of_what_a_run_is(tmp_path, affinities):
    out = tmp_path / "seg.zarr"
    labels_of(affinities, out, LINKED)
    stored = open_volume(out, role="labels").attributes["mutex_watershed"]
    assert stored["link_sections"] == 0.4
    out = tmp_path / "stopped.zarr"

    def stop(done, total, what):
        if what == "blocks overlaid":
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError, match="blocks that are done are kept"):
        labels_of(affinities, out, LINKED, progress=stop)
    with pytest.raises(OutputExistsError, match=r"labels\.link_sections was 0.4, now 0.5"):
        labels_of(affinities, out, replace(LINKED, link_sections=0.5), resume=True)
    resumed = labels_of(affinities, out, LINKED, resume=True)
    np.testing.assert_array_equal(resumed, labels_of(affinities, tmp_path / "w.zarr", LINKED))


def test_ids_that_continue_anyway_are_not_linked(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "model.pt")  # with offsets across sections
    options = InferenceOptions(link_sections=0.5, device="cpu")
    with (
        open_volume(write_grey(tmp_path / "grey.zarr")) as grey,
        pytest.raises(UsageError, match="Leave it out"),
    ):
        run(grey, checkpoint, out=tmp_path / "seg.zarr", options=options)
    assert not list(tmp_path.glob("seg*"))
