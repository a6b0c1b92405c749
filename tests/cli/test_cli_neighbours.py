"""Commands attacked with what may stand beside their output: only what emds made ever changes."""

import hashlib
import os
import shutil

import pytest

NOISE = ("simulate-noise", "raw.tif", "--type", "gaussian")
DENOISE = ("denoise", "raw.tif", "--checkpoint", "model.pt", "--device", "cpu")
RUN = ("run", *DENOISE[1:])
SEGMENT = ("segment", *DENOISE[1:])
TUNE = ("tune", "model.pt", "raw.tif", "labels.tif", "--roi", "0:5", "--device", "cpu")
ADAPT = ("adapt", "model.pt", "raw.tif", "--device", "cpu", "--steps", "1")
PLOT = ("estimate-noise", "raw.tif", "--plot")


def tree(folder):
    """A hash of every file, and where every link leads, below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def a_folder(path):
    path.mkdir(parents=True)
    (path / "thesis.txt").write_text("all of it")


def a_link(path):
    a_folder(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def a_file(path):
    path.write_text("thesis")


# What stands where the command would keep its unfinished output, and stays; the command is refused.
COMMANDS = {
    "noise.zarr": (*NOISE, "--out", "out.zarr"),
    "noise.tif": (*NOISE, "--out", "out.tif"),
    "noise.h5": (*NOISE, "--out", "out.h5"),
    "denoise.zarr": (*DENOISE, "--out", "out.zarr"),
    "denoise.tif": (*DENOISE, "--out", "out.tif"),
    "denoise.h5": (*DENOISE, "--out", "out.h5"),
    "segment": (*SEGMENT, "--out", "out.zarr"),
    "run": (*RUN, "--out", "out.zarr"),
    "resume": (*RUN, "--out", "out.zarr", "--resume"),
    "shard": (*RUN, "--out", "out.zarr", "--shard", "1/2"),
    "adapt": (*ADAPT, "--out", "out.pt"),
    "adapt --resume": (*ADAPT, "--out", "out.pt", "--resume"),
}


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["", "overwrite"])
@pytest.mark.parametrize("thing", [a_folder, a_link, a_file], ids=lambda thing: thing.__name__)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_ours_stays(place, emds_fails, name, thing, overwrite):
    command = COMMANDS[name]
    if overwrite and {"--resume", "--shard"} & set(command):
        pytest.skip("options that exclude each other")
    thing(place / f"{command[command.index('--out') + 1]}.partial")
    before = tree(place)
    message = emds_fails(4, *command, *overwrite)
    assert ".partial' is in the way" in message
    assert tree(place) == before


# Commands that are told to write to what they read, however it is called.
OWN_INPUTS = {
    "noise on its raw": ("raw.tif", (*NOISE, "--out", "{}")),
    "denoise on its input": ("raw.tif", (*DENOISE, "--out", "{}")),
    "noise on one of HDF5": (
        "gt.h5",
        ("simulate-noise", "gt.h5:volumes/raw", *NOISE[2:], "-o", "{}"),
    ),
    "tune on its ground truth": ("labels.tif", (*TUNE, "--out", "{}")),
    "tune on its image": ("raw.tif", (*TUNE, "--out", "{}")),
    "tune on its model": ("model.pt", (*TUNE, "--out", "{}")),
    "adapt on its image": ("raw.tif", (*ADAPT, "--out", "{}")),
    "adapt on its model": ("model.pt", (*ADAPT, "--out", "{}")),
}


def itself(place, name):
    return name


def around(place, name):
    (place / "sub").mkdir()
    return f"sub/../{name}"


def hard_linked(place, name):
    os.link(place / name, place / f"again_{name}")
    return f"again_{name}"


def linked(place, name):
    (place / f"link_{name}").symlink_to(name)
    return f"link_{name}"


def by_folder(place, name):
    (place / "here").symlink_to(".")
    return f"here/{name}"


@pytest.mark.parametrize("way", [itself, around, hard_linked, linked, by_folder])
@pytest.mark.parametrize("case", OWN_INPUTS)
def test_a_command_never_replaces_what_it_reads(place, emds_fails, case, way):
    name, command = OWN_INPUTS[case]
    target = way(place, name)
    before = tree(place)
    message = emds_fails(2, *(word.format(target) for word in command), "--overwrite")
    assert "never replaced" in message
    assert tree(place) == before


@pytest.mark.parametrize("folder", ["a:b", "c d", "x.zarr:volumes"])
def test_a_colon_in_a_folders_name_hides_no_input(place, emds_fails, emds_ok, folder):
    (place / folder).mkdir()
    emds_ok(*NOISE, "--out", f"{folder}/n.zarr")
    shutil.copy("raw.tif", folder)
    before = tree(place)
    for name in ("n.zarr", "raw.tif"):
        command = ("simulate-noise", f"{folder}/{name}", *NOISE[2:], "--out", f"{folder}/{name}")
        assert "never replaced" in emds_fails(2, *command, "--overwrite")
    assert tree(place) == before


def test_a_container_is_an_input_if_an_array_in_it_is(place, emds_fails, emds_ok):
    emds_ok(*NOISE, "--out", "x.zarr")
    before = tree(place)
    for target in ("x.zarr", "x.zarr/more.zarr", "x.zarr/0/more.tif"):
        command = ("simulate-noise", "x.zarr/0", *NOISE[2:], "--out", target, "--overwrite")
        assert "never replaced" in emds_fails(2, *command)
    assert tree(place) == before


def test_a_mask_is_an_input(place, emds_fails, emds_ok):
    emds_ok(*NOISE, "--out", "mask.zarr")
    before = tree(place)
    out = ("--mask", "mask.zarr/0", "--out", "mask.zarr", "--overwrite")
    assert "never replaced" in emds_fails(2, *RUN, *out)
    assert tree(place) == before


def test_a_plot_takes_no_place_but_its_own(place, emds_fails, emds_ok):
    (place / "raw.svg").symlink_to("raw.tif")
    before = tree(place)
    assert "never replaced" in emds_fails(2, *PLOT, "raw.svg", "--overwrite")
    assert tree(place) == before
    emds_ok(*PLOT, "plot.svg")
    emds_ok(*PLOT, "plot.svg", "--overwrite")


def test_a_demo_replaces_what_a_demo_made(place, emds_fails):
    (place / "site").mkdir()
    (place / "site/index.html").write_text("my pages")
    before = tree(place)
    assert "--overwrite" in emds_fails(4, "demo", "--out", "site")
    assert "none of a demo" in emds_fails(2, "demo", "--out", "site", "--overwrite")
    assert tree(place) == before


def test_an_unfinished_output_is_called_unfinished(place, emds_fails, emds_ok):
    emds_ok(*RUN, "--out", "out.zarr", "--shard", "1/2")
    for name in ("out.zarr", "out.zarr/labels/neurons"):
        message = emds_fails(5, "info", name)
        assert "is unfinished" in message
        assert "emds merge out.zarr" in message
    assert "no such file" in emds_fails(3, "info", "other.zarr")


# ---- TIFF and HDF5


@pytest.mark.parametrize("name", ["out.tif", "out.TIFF", "out.h5"])
def test_denoise_writes_what_its_name_says(place, emds_ok, name):
    import numpy as np

    from emds.io import open_volume

    tiles = ("--tile", 1, 32, 32, "--overlap", 0, 8, 8, "--block-shape", 4, 32, 64)
    emds_ok(*DENOISE, *tiles, "--voxel-size", 40, 8, 8, "--out", "out.zarr")
    emds_ok(*DENOISE, *tiles, "--voxel-size", 40, 8, 8, "--out", name)
    with open_volume("out.zarr") as container, open_volume(name, role="raw") as file:
        np.testing.assert_array_equal(file.read(), container.read())
        assert file.dtype == np.uint8
        assert file.voxel_size == pytest.approx((40.0, 8.0, 8.0))
        assert file.attributes == container.attributes
    assert not (place / f"{name}.partial").exists()


@pytest.mark.parametrize("name", ["out.tif", "out.h5"])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--resume",), "--resume"),
        (("--workers", 2), "--workers"),
        (("--shard", "1/2"), "--shard"),
        (("--launcher", "env"), "--launcher"),
        (("--uncertainty", "--tta"), "--uncertainty"),
        (("--resume", "--workers", 2), "--resume, --workers"),
    ],
)
def test_what_a_single_file_cannot_have_is_refused_by_name(place, emds_fails, name, options, named):
    message = emds_fails(2, *DENOISE, *options, "--out", name)
    assert f"with {named}: a TIFF or HDF5 file holds one image" in message
    assert not list(place.glob("out*"))


@pytest.mark.parametrize("command", [RUN, SEGMENT])
def test_labels_are_not_written_to_a_single_file(place, emds_fails, command):
    message = emds_fails(2, *command, "--out", "out.tif")
    assert "must end in .zarr" in message
    assert "emds denoise" in message


@pytest.mark.parametrize("content", [{"zarr.json": "group"}, {".zgroup": "", ".zattrs": ""}])
def test_a_group_that_somebody_added_is_not_overwritten(place, emds_fails, emds_ok, content):
    """It has attributes, a list of points perhaps, and no array."""
    import json

    emds_ok(*RUN, "--out", "o.zarr")
    added = place / "o.zarr/labels/mine"
    added.mkdir()
    for name in content:
        points = {"points": [1, 2]}
        group = {"zarr_format": 3, "node_type": "group", "attributes": points}
        (added / name).write_text(json.dumps(points if name == ".zattrs" else group))
    before = tree(place)
    message = emds_fails(2, *RUN, "--out", "o.zarr", "--overwrite")
    assert "'o.zarr/labels/mine', which emds did not write" in message
    assert tree(place) == before


def test_a_file_in_the_work_folder_is_not_overwritten(place, emds_fails, emds_ok):
    emds_ok(*NOISE, "--out", "o.zarr")
    (place / "o.zarr/.emds/tables").mkdir(parents=True)
    (place / "o.zarr/.emds/tables/thesis.txt").write_text("all of it")
    before = tree(place)
    message = emds_fails(2, *NOISE, "--out", "o.zarr", "--overwrite")
    assert "thesis.txt', which emds did not write" in message
    assert tree(place) == before


@pytest.mark.parametrize("name", ["notes.txt", "0.bak"])
def test_a_file_among_chunks_is_not_overwritten(place, emds_fails, emds_ok, name):
    emds_ok(*NOISE, "--out", "o.zarr")
    chunk = next(path for path in (place / "o.zarr").rglob("c/**/0") if path.is_file())
    (chunk.parent / name).write_text("thesis")
    before = tree(place)
    message = emds_fails(2, *NOISE, "--out", "o.zarr", "--overwrite")
    assert f"{name}', which emds did not write" in message
    assert tree(place) == before
