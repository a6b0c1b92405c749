"""`emds check` on what `emds run` wrote."""

import json

import pytest


@pytest.fixture
def seg(place, emds_ok):
    emds_ok("run", "raw.tif", "--checkpoint", "model.pt", "--out", "seg.zarr")
    return place / "seg.zarr"


def test_check_prints_a_line_for_each_array(seg, emds_ok):
    heading, *lines = emds_ok("check", "seg.zarr").splitlines()
    assert heading.split() == ["array", "type", "shape", "chunks", "bytes", "missing", "damaged"]
    assert [line.split()[0] for line in lines] == ["seg.zarr", "seg.zarr/labels/neurons"]
    assert lines[0].split()[-3:] == [str(8 * 64 * 64), "0", "0"]


def test_check_fails_with_5_and_says_where(seg, emds):
    (seg / "labels/neurons/0/c/0/0/0").unlink()
    outcome = emds("check", "seg.zarr")
    assert outcome.code == 5
    assert "error: seg.zarr is not whole." in outcome.stderr
    assert "chunk (0, 0, 0), voxels z 0:" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    outcome = emds("check", "seg.zarr", "--json")
    assert outcome.code == 5
    assert json.loads(outcome.stdout)["bad_count"] == 1


def test_check_of_an_unfinished_output(seg, emds_fails):
    seg.rename(seg.with_name("seg.zarr.partial"))
    assert "is unfinished" in emds_fails(5, "check", "seg.zarr")


def test_pyramid_says_what_it_added(seg, emds, emds_ok):
    outcome = emds("pyramid", "seg.zarr", "--levels", 2)
    assert outcome.code == 0, outcome
    assert outcome.stdout == ""
    told = [line for line in outcome.stderr.splitlines() if "levels added" in line]
    assert told == [
        f"emds: {place}: 2 levels added; there are 8 × 64 × 64, 4 × 32 × 32, 2 × 16 × 16"
        for place in ("seg.zarr", "seg.zarr/labels/neurons")
    ]
    assert len(emds_ok("check", "seg.zarr").splitlines()) == 1 + 6
    emds_ok("evaluate", "seg.zarr", "gt.h5", "--protocol", "strict")


def test_pyramid_of_what_emds_did_not_write(place, emds_fails):
    assert "not an OME-Zarr container" in emds_fails(3, "pyramid", "raw.tif")
