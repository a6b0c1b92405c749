"""Bad input is refused with one clear error that says what, where, and what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from layouts import SHAPE, edit_json, example, hdf5_cremi, ome_zarr_05, tiff_slices, zarr_v3

from emds.errors import VolumeError
from emds.geometry import Roi
from emds.io import describe, open_volume


def refuses(location: str | Path, *words: str, role: str | None = "raw", key: str | None = None):
    """Check that opening fails with a message that holds all the words."""
    with pytest.raises(VolumeError) as caught:
        open_volume(location, role=role, key=key)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    return message


def h5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


# Not there, or not a volume.


@pytest.mark.parametrize(
    "name", ["none.tif", "none.h5:volumes/raw", "none.zarr/inner", "no/such/x"]
)
def test_missing_file(name: str, tmp_path: Path) -> None:
    refuses(tmp_path / name, "no such file", name)


def test_missing_key_lists_what_is_there(tmp_path: Path) -> None:
    file = hdf5_cremi(tmp_path, example())
    refuses(f"{file}:volumes/nope", "no 'volumes/nope'", "volumes/raw  uint8 (7, 33, 26)")
    refuses(f"{file}:volumes/raw/deeper", "no 'volumes/raw/deeper'")
    folder = zarr_v3(tmp_path, example())
    refuses(f"{folder}/volumes/nope", "no 'volumes/nope'", "volumes/raw  uint8 (7, 33, 26)")
    refuses(f"{folder}/volumes/raw/deeper", "no 'volumes/raw/deeper'")
    tifffile.imwrite(tmp_path / "a.tif", example())
    refuses(f"{tmp_path}/a.tif:3", "no series '3'")
    refuses(tiff_slices(tmp_path, example()), "slices have no key", key="main")


def test_no_url(tmp_path: Path) -> None:
    refuses("https://example.org/a.zarr", "local files")


def test_files_and_folders_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("not HDF5")
    refuses(tmp_path / "notes.h5", "does not start like", "not HDF5")
    (tmp_path / "empty.tif").write_bytes(b"")
    refuses(tmp_path / "empty.tif", "the file is empty")
    (tmp_path / "folder").mkdir()
    refuses(tmp_path / "folder", "neither zarr", "slices")
    refuses(Path(zarr_v3(tmp_path, example())) / "zarr.json", "name the folder", "v3.zarr")


def test_empty_containers(tmp_path: Path) -> None:
    zarr.create_group(str(tmp_path / "empty.zarr"))
    refuses(tmp_path / "empty.zarr", "holds no arrays")
    refuses(h5(tmp_path / "empty.h5"), "holds no arrays")
    refuses(h5(tmp_path / "none.h5", main=np.zeros((0, 4, 4), "u1")), "empty", "(0, 4, 4)")


# Axes.


def test_colour_images(tmp_path: Path) -> None:
    colour = np.zeros((40, 50, 3), "u1")
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    refuses(tmp_path / "rgb.tif", "RGB", "(40, 50, 3)", "greyscale")
    (tmp_path / "rgb.png").write_bytes(imagecodecs.png_encode(colour))
    refuses(tmp_path / "rgb.png", "RGB", "greyscale")
    (tmp_path / "slices").mkdir()
    tifffile.imwrite(tmp_path / "slices" / "1.tif", colour, photometric="rgb")
    refuses(tmp_path / "slices", "RGB", "1.tif")
    refuses(h5(tmp_path / "rgb.h5", main=colour), "RGB", "greyscale")
    # (z, y, x, 3) without axis names is read as channels first: many channels, no raw image.
    refuses(h5(tmp_path / "stack.h5", main=np.zeros((5, 40, 50, 3), "u1")), "5 channels", "RGB")
    refuses(h5(tmp_path / "labels.h5", a=np.zeros((3, 5, 6, 7), "u1")), "3 channels", role="labels")


def test_unexpected_axes(tmp_path: Path) -> None:
    refuses(h5(tmp_path / "line.h5", main=np.zeros(5, "u1")), "1 axes")
    refuses(h5(tmp_path / "six.h5", main=np.zeros((2, 1, 1, 2, 3, 4), "u1")), "axis ?")
    refuses(
        h5(tmp_path / "time.h5", main=np.zeros((2, 1, 2, 3, 4), "u1")), "axis t", "longer than 1"
    )
    tifffile.imwrite(
        tmp_path / "t.ome.tif", np.zeros((2, 3, 8, 9), "u1"), metadata={"axes": "TZYX"}, ome=True
    )
    refuses(tmp_path / "t.ome.tif", "axis t", "(2, 3, 1, 8, 9")
    refuses(h5(tmp_path / "flat.h5", main=example()), "no channel axis", role="affinities")


def test_pages_of_different_size_are_several_arrays(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as file:
        file.write(np.zeros((3, 8, 9), "u1"), metadata=None, photometric="minisblack")
        file.write(np.zeros((9, 9), "u1"), metadata=None)
    refuses(tmp_path / "mixed.tif", "2 arrays", "(3, 8, 9)", "mixed.tif:0")
    assert open_volume(f"{tmp_path}/mixed.tif:1").shape == (1, 9, 9)


# Types and values.


@pytest.mark.parametrize("dtype", ["uint32", "int64", "float64", "float16", "bool", "complex64"])
def test_raw_types(dtype: str, tmp_path: Path) -> None:
    refuses(h5(tmp_path / "a.h5", main=example(dtype)), dtype.replace("complex64", "real"), "main")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_labels_are_integers(dtype: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", example(dtype))
    refuses(tmp_path / "a.tif", "integers", dtype, role="labels")


def test_affinities_are_not_signed(tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", main=example("int16", (3, *SHAPE)))
    refuses(path, "int16", role="affinities")


def test_text_is_not_a_volume(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["main"] = [["a", "b"]]
    refuses(tmp_path / "a.h5", "not a real number")


def test_negative_labels_are_refused_where_they_are(tmp_path: Path) -> None:
    values = example("int32")
    values[5, 20, 20] = -3
    with open_volume(h5(tmp_path / "a.h5", main=values), role="labels") as volume:
        volume.read(Roi((0, 0, 0), (5, 33, 26)))
        with pytest.raises(VolumeError, match=r"negative label -3 in box 4:6,0:33,0:26"):
            volume.read(Roi((4, 0, 0), (2, 33, 26)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_where_they_are(bad: float, tmp_path: Path) -> None:
    values = example("float32")
    values[5, 20, 21] = bad
    path = h5(tmp_path / "a.h5", main=values)
    with open_volume(path, role="raw") as volume:
        volume.read(Roi((0, 0, 0), (5, 33, 26)))
        with pytest.raises(VolumeError, match=r"box 4:7,10:33,0:26.*voxel .*\(5, 20, 21\)"):
            volume.read(Roi((4, 10, 0), (3, 23, 26)))
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.read(), values)


@pytest.mark.parametrize("kind", ["palette", "miniswhite"])
def test_tiff_numbers_that_are_not_brightness(kind: str, tmp_path: Path) -> None:
    colours = {"colormap": np.zeros((3, 256), "u2")} if kind == "palette" else {}
    (tmp_path / "slices").mkdir()
    for name in ("a.tif", "slices/1.tif"):
        tifffile.imwrite(tmp_path / name, example()[0], photometric=kind, **colours)
    word = "palette" if kind == "palette" else "invert its values"
    refuses(tmp_path / "a.tif", word)
    refuses(tmp_path / "slices", word, "1.tif")


def test_what_is_wrong_with_one_array_leaves_the_others(tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", raw=example(), other=example())
    with h5py.File(path, "a") as file:
        file["other"].attrs["offset"] = [1, 2]
        layout = h5py.VirtualLayout(SHAPE, "u1")
        layout[:] = h5py.VirtualSource(str(path), "raw", SHAPE)
        file.create_virtual_dataset("virtual", layout)
    np.testing.assert_array_equal(open_volume(path, role="raw").read(), example())
    refuses(path, "'offset'", key="other")
    refuses(path, "virtual data set", key="virtual")
    reasons = {a["location"].split(":")[1]: a.get("unusable") for a in describe(path)["arrays"]}
    assert reasons["raw"] is None
    assert "offset" in reasons["other"]
    assert "virtual" in reasons["virtual"]


def test_units_of_zarr_arrays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=SHAPE, dtype="u1")
    array.attrs.update({"voxel_size": [0.04, 4, 5], "offset": [1, 2, 3]})
    array.attrs["units"] = ["um", "nm", "nm"]
    with open_volume(tmp_path / "a.zarr") as volume:
        assert (volume.voxel_size, volume.offset) == ((40, 4, 5), (1000, 2, 3))
    array.attrs["units"] = ["furlong", "nm", "nm"]
    with open_volume(tmp_path / "a.zarr") as volume:
        assert volume.voxel_size is None
    assert "'furlong', no known length" in caplog.text


def test_missing_filters_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk(SHAPE)
        layout.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(SHAPE)
        h5py.h5d.create(file.id, b"main", h5py.h5t.NATIVE_UINT8, space, layout)
    assert "damaged" not in refuses(tmp_path / "a.h5", "filter 32999", "hdf5plugin")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES])
def test_errors_of_the_system_are_not_damage(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", example())

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tifffile, "TiffFile", fail)
    message = refuses(tmp_path / "a.tif", os.strerror(number).lower())
    assert "damaged" not in message


def test_folders_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiff_slices(tmp_path, example())

    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    refuses(folder, "permission denied")


# HDF5 that reaches outside its file.


def test_external_links(tmp_path: Path) -> None:
    secret = h5(tmp_path / "secret.h5", main=example())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/raw"] = h5py.ExternalLink(secret, "/main")
        file["soft"] = h5py.SoftLink("/volumes/raw")
        file["folder"] = h5py.ExternalLink(secret, "/")
    refuses(tmp_path / "a.h5", "external link to", "volumes/raw", "Open that file itself")
    for key in ("volumes/raw", "soft", "folder/main"):
        refuses(tmp_path / "a.h5", "external link", "secret.h5", key=key)


def test_external_storage_and_virtual_data_sets(tmp_path: Path) -> None:
    source = h5(tmp_path / "source.h5", main=example())
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("main", (4, 4), "u1", external=[("/etc/hostname", 0, 16)])
    refuses(tmp_path / "external.h5", "external storage", "/etc/hostname")
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[:] = h5py.VirtualSource(source, "main", SHAPE)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("main", layout)
    for key in (None, "main"):
        refuses(tmp_path / "virtual.h5", "virtual data set", key=key)


def test_links_in_a_circle(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")
        file["main"] = example()
        file["group/self"] = file["/"]  # a hard link to the root
    refuses(tmp_path / "a.h5", "circle", key="a")
    assert open_volume(tmp_path / "a.h5", role="raw").shape == SHAPE


def test_ome_tiff_does_not_open_other_files(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "secret.tif", example()[1])
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="26" '
        'SizeY="33" SizeZ="2" SizeC="1" SizeT="1"><TiffData IFD="0" PlaneCount="1"/>'
        '<TiffData IFD="0" FirstZ="1" PlaneCount="1"><UUID FileName="secret.tif">urn:uuid:1</UUID>'
        "</TiffData></Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", example()[0], description=xml, metadata=None)
    refuses(tmp_path / "a.ome.tif", "several files", "Combine")


# Absurd declarations.


def test_absurd_shapes(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    zarr.create_array(str(folder), shape=SHAPE, dtype="u1", chunks=SHAPE)
    edit_json(folder / "zarr.json", shape=[2**31, 2**31, 2**31])
    refuses(folder, "absurd shape")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("main", shape=(2**40, 2**20, 2**10), dtype="u1", chunks=(1, 4, 4))
    refuses(tmp_path / "a.h5", "absurd shape")


def test_chunks_larger_than_memory_should_hold(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    zarr.create_array(str(folder), shape=(4096, 4096, 4096), dtype="u1", chunks=(4096, 4096, 128))
    open_volume(folder)  # exactly 2 GiB
    grid = {"name": "regular", "configuration": {"chunk_shape": [4096, 4096, 129]}}
    edit_json(folder / "zarr.json", chunk_grid=grid)
    refuses(folder, "2 GiB", "smaller chunks")


# Metadata.


@pytest.mark.parametrize(
    "change",
    [
        {"node_type": "planet"},
        {"shape": "large"},
        {"shape": [-1, 2, 3]},
        {"data_type": "uint9"},
        {"codecs": [{"name": "unheard-of"}]},
        {"chunk_grid": None},
        {"zarr_format": 9},
    ],
)
def test_bad_zarr_metadata(change: dict[str, object], tmp_path: Path) -> None:
    folder = Path(zarr_v3(tmp_path, example()))
    edit_json(folder / "volumes" / "raw" / "zarr.json", **change)
    refuses(folder / "volumes" / "raw", "v3.zarr/volumes/raw")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00\xff"])
def test_zarr_metadata_that_is_no_metadata(content: str, tmp_path: Path) -> None:
    folder = Path(zarr_v3(tmp_path, example()))
    (folder / "zarr.json").write_text(content)
    refuses(folder, "metadata is damaged")


@pytest.mark.parametrize(
    "change",
    [
        {"ome": 3},
        {"ome": {"multiscales": 3}},
        {"ome": {"multiscales": [{}]}},
        {"ome": {"multiscales": [{"datasets": [{"path": "gone"}]}]}},
        {"ome": {"multiscales": [{"datasets": [{"path": "image"}], "axes": [{"name": "x"}]}]}},
        {"scale": [1, 2]},
        {"scale": [0, 1, 1]},
        {"scale": [1, -1, 1]},
        {"scale": [1, 1, "wide"]},
    ],
)
def test_bad_ome_metadata(change: dict[str, object], tmp_path: Path) -> None:
    folder = Path(ome_zarr_05(tmp_path, example()))
    stored = json.loads((folder / "zarr.json").read_text())
    if "scale" in change:
        level = stored["attributes"]["ome"]["multiscales"][0]["datasets"][0]
        level["coordinateTransformations"] = [{"type": "scale", **change}]
    else:
        stored["attributes"].update(change)
    (folder / "zarr.json").write_text(json.dumps(stored))
    refuses(folder, "OME metadata")


@pytest.mark.parametrize("resolution", [[0, 1, 1], [1, 1], ["a", "b", "c"], [np.nan, 1, 1], "4"])
def test_bad_resolution(resolution: list[object], tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", main=example())
    with h5py.File(path, "a") as file:
        file["main"].attrs["resolution"] = resolution
    refuses(path, "resolution", "a.h5:main")


# Slices.


def test_slices_must_be_alike(tmp_path: Path) -> None:
    folder = Path(tiff_slices(tmp_path, example()))
    tifffile.imwrite(folder / "z9.tif", example()[0, :, :-1])
    tifffile.imwrite(folder / "z12.tif", example("uint16")[0])
    message = refuses(folder, "z8.tif: uint8 (33, 26)", "z9.tif: uint8 (33, 25)", "z12.tif: uint16")
    assert "z10.tif" not in message
    for file in folder.glob("*.tif"):
        if file.name != "z8.tif":
            tifffile.imwrite(file, example()[0, 1:])
    refuses(folder, "and 1 more")


def test_slices_of_two_kinds_or_many_pages(tmp_path: Path) -> None:
    folder = Path(tiff_slices(tmp_path, example()))
    (folder / "extra.png").write_bytes(imagecodecs.png_encode(example()[0]))
    refuses(folder, "PNG and TIFF")
    (folder / "extra.png").unlink()
    tifffile.imwrite(folder / "z9.tif", example())
    refuses(folder, "z9.tif", "7 pages")


def test_png_of_two_colours(tmp_path: Path) -> None:
    page = imagecodecs.png_encode(example()[0])
    (tmp_path / "a.png").write_bytes(page[:24] + b"\x01" + page[25:])
    refuses(tmp_path / "a.png", "8 or 16 bits")


# Wrong use inside emds is no user's failure.


def test_boxes_must_lie_inside(tmp_path: Path) -> None:
    with open_volume(hdf5_cremi(tmp_path, example()), role="raw") as volume:
        for roi in (Roi((-1, 0, 0), (2, 2, 2)), Roi((6, 0, 0), (2, 2, 2))):
            with pytest.raises(ValueError, match="leaves"):
                volume.read(roi)
        with pytest.raises(TypeError, match="reading only"):
            volume.write(volume.roi, example())


def test_a_refused_file_is_closed_again(tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", main=example("float64"))
    refuses(path, "float64")
    with h5py.File(path, "a"):
        pass
    shutil.rmtree(tmp_path)
