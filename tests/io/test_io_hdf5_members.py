"""Members of HDF5 files: each is read as h5py reads it, or refused, and hides no other."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from layouts import SHAPE, example

from emds.errors import VolumeError
from emds.geometry import Roi
from emds.io import describe, open_volume
from emds.io.stored import open_stored


def quadruple(file: h5py.File) -> None:
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_size(16)
    kind.set_precision(128)
    kind.set_fields(127, 112, 15, 0, 112)
    kind.set_ebias(16383)
    of_type(file, kind)


def of_type(file: h5py.File, kind: h5py.h5t.TypeID) -> None:
    h5py.h5d.create(file.id, b"odd", kind, h5py.h5s.create_simple(SHAPE))


def with_layout(file: h5py.File, **options: object) -> None:
    file.create_dataset("odd", **options)


def region(file: h5py.File) -> None:
    file.create_dataset("odd", data=file["raw"].regionref[0, 0, 0], dtype=h5py.regionref_dtype)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "raw", SHAPE)
    file.create_virtual_dataset("odd", layout)


def outside(file: h5py.File) -> None:
    file.create_dataset("odd", SHAPE, "u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def circle(file: h5py.File) -> None:
    file["odd"] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink("/odd")


def hard_circle(file: h5py.File) -> None:
    inner = file.create_group("odd/inner")
    inner["back"] = file["odd"]
    inner["top"] = file["/"]


def deep(file: h5py.File) -> None:
    group = file.create_group("odd")
    for _ in range(3000):
        group = group.create_group("g")
    group["raw"] = np.zeros(SHAPE, "u1")


def twice_packed(file: h5py.File) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk(SHAPE)
    layout.set_deflate(9)
    layout.set_deflate(9)
    space = h5py.h5s.create_simple(SHAPE)
    h5py.h5d.create(file.id, b"odd", h5py.h5t.NATIVE_UINT8, space, layout)


def huge_chunk(file: h5py.File) -> None:
    shape = (4, 2**16, 2**16)
    file.create_dataset("odd", shape, "u1", chunks=(1, 2**16, 2**16), compression="gzip")


def odd_attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def make(file: h5py.File) -> None:
        file["odd"] = example()
        file["odd"].attrs[name] = value

    return make


def quadruple_attribute(file: h5py.File) -> None:
    file["odd"] = example()
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_size(16)
    kind.set_precision(128)
    kind.set_fields(127, 112, 15, 0, 112)
    space = h5py.h5s.create_simple((3,))
    h5py.h5a.create(file["odd"].id, b"something", kind, space)


PAIR = np.dtype([("a", "u1"), ("b", "f4")])
# A member `odd` beside `raw`, and a word of the refusal; empty where it is a good volume too.
MEMBERS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "quadruple float": (quadruple, "no like of"),
    "time": (lambda file: of_type(file, h5py.h5t.UNIX_D32LE), "no like of"),
    "bit field": (lambda file: of_type(file, h5py.h5t.STD_B8LE), ""),
    "null": (lambda file: with_layout(file, data=h5py.Empty("u1")), "null data set"),
    "scalar": (lambda file: with_layout(file, data=7), "0 axes"),
    "empty": (lambda file: with_layout(file, shape=(0, 4, 5), dtype="u1"), "empty"),
    "one axis": (lambda file: with_layout(file, data=np.arange(5)), "1 axes"),
    "compound": (lambda file: with_layout(file, shape=SHAPE, dtype=PAIR), "not a real number"),
    "array type": (lambda file: with_layout(file, shape=SHAPE, dtype="3u1"), "not a real number"),
    "opaque": (lambda file: with_layout(file, shape=SHAPE, dtype="V7"), "not a real number"),
    "complex": (lambda file: with_layout(file, shape=SHAPE, dtype="c8"), "not a real number"),
    "text": (lambda file: with_layout(file, data=["a", "b"]), "not a real number"),
    "fixed text": (lambda file: with_layout(file, shape=SHAPE, dtype="S4"), "not a real number"),
    "ragged": (
        lambda file: with_layout(file, shape=SHAPE, dtype=h5py.vlen_dtype("u1")),
        "not a real number",
    ),
    "reference": (
        lambda file: with_layout(file, shape=SHAPE, dtype=h5py.ref_dtype),
        "not a real number",
    ),
    "region": (region, "not a real number"),
    "bool": (lambda file: with_layout(file, data=example() > 9), "must be one of"),
    "half": (lambda file: with_layout(file, data=example("f2")), "must be one of"),
    "long double": (lambda file: with_layout(file, data=example("longdouble")), "must be one of"),
    "enum": (
        lambda file: with_layout(
            file, data=example() % 2, dtype=h5py.enum_dtype({"no": 0, "yes": 1}, "u1")
        ),
        "",
    ),
    "named type": (lambda file: file.__setitem__("odd", np.dtype("u1")), "named type"),
    "virtual": (virtual, "virtual data set"),
    "external storage": (outside, "external storage"),
    "external link": (
        lambda file: file.__setitem__("odd", h5py.ExternalLink("/etc/x.h5", "/raw")),
        "external link",
    ),
    "link to nothing": (lambda file: file.__setitem__("odd", h5py.SoftLink("/none")), "no 'odd'"),
    "links in a circle": (circle, "circle"),
    "groups in a circle": (hard_circle, ""),
    "3,000 groups deep": (deep, "more than 64 deep"),
    "packed twice": (twice_packed, "more than once"),
    "a chunk of 4 GiB": (huge_chunk, "2 GiB"),
    "resolution of text": (odd_attribute("resolution", "wide"), "resolution"),
    "an attribute without value": (odd_attribute("something", h5py.Empty("f4")), ""),
    "an attribute of text": (odd_attribute("something", ["a", "b"]), ""),
    "an attribute of quadruple floats": (quadruple_attribute, ""),
    "gzip": (lambda file: with_layout(file, data=example(), compression="gzip"), ""),
    "gzip, shuffled": (
        lambda file: with_layout(
            file, data=example("u2"), compression="gzip", shuffle=True, fletcher32=True
        ),
        "",
    ),
    "lzf": (lambda file: with_layout(file, data=example(), compression="lzf"), ""),
    "scale and offset": (lambda file: with_layout(file, data=example(), scaleoffset=0), ""),
    "big endian": (lambda file: with_layout(file, data=example(">u2")), ""),
    "may grow": (lambda file: with_layout(file, data=example(), maxshape=(None,) * 3), ""),
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_a_member_hides_no_other(kind: str, tmp_path: Path) -> None:
    make, word = MEMBERS[kind]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = example()
        make(file)
    with open_volume(path, role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), example())
    assert f"{path}:raw" in [array["location"] for array in describe(path)["arrays"]]
    stored = open_stored(path)
    assert all(array.read_chunk(0) is None for array in stored.arrays if array.count)
    stored.close()
    if word:
        with pytest.raises(VolumeError, match=word) as caught:
            open_volume(path, key="odd", role="raw")
        assert "damaged" not in str(caught.value)
        return
    with h5py.File(path) as file, open_volume(path, key="odd", role="raw") as volume:
        name = "odd" if isinstance(file["odd"], h5py.Dataset) else "raw"
        np.testing.assert_array_equal(volume.read(), file[name][()])


def test_each_data_set_comes_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["b/raw"] = example()
        file["a"] = file["b"]
        file["c/raw"] = file["b/raw"]
        file["d"] = h5py.SoftLink("/b/raw")
    places = [array["location"] for array in describe(tmp_path / "a.h5")["arrays"]]
    assert places == [f"{tmp_path}/a.h5:a/raw"]


def test_a_file_of_nothing_but_odd_members_says_what_they_are(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["nothing"] = h5py.Empty("u1")
        file["away"] = h5py.ExternalLink("b.h5", "/raw")
        quadruple(file)
    with pytest.raises(VolumeError) as caught:
        open_volume(tmp_path / "a.h5", role="raw")
    assert all(
        word in str(caught.value)
        for word in ("away: it is an external link to 'b.h5'", "null data set", "no like of")
    )


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("other", example("f8"), True),
        ("other", example("c8"), False),  # no image
        ("table", np.arange(5), False),
        ("labels/cells", example("u8"), False),  # meant for something else
        ("affinities", example("f4", (3, *SHAPE)), False),
    ],
)
def test_images_beside_the_only_fitting_one_are_told(
    name: str, values: np.ndarray, told: bool, tmp_path: Path, caplog
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["main"] = example()
        file[name] = values
    open_volume(tmp_path / "a.h5", role="raw").close()
    assert (f"beside it is {name}" in caplog.text) == told
    caplog.clear()
    open_volume(tmp_path / "a.h5", key="main", role="raw").close()
    assert not caplog.text


# Chunks that unpack to more than they should.


def bomb(path: Path, packed: bytes, shape: tuple[int, int, int] = (8, 64, 64)) -> Path:
    with h5py.File(path, "w") as file:
        raw = file.create_dataset("raw", (16, *shape[1:]), "u1", chunks=shape, compression="gzip")
        raw[8:] = 5
        raw.id.write_direct_chunk((0, 0, 0), packed)
    return path


@pytest.mark.parametrize("edge", [64, 256])  # stored more than the chunk holds, and not
def test_a_chunk_that_swells_is_refused_before_memory_is_taken(edge: int, tmp_path: Path) -> None:
    import resource

    packer = zlib.compressobj(9)
    blocks = [packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]
    packed = blocks[0] + 47 * blocks[1]  # 768 MiB of zeros
    assert len(packed) > 2**19, "test invalid"
    path = bomb(tmp_path / "a.h5", packed, (8, edge, edge))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_volume(path, role="raw") as volume:
        with pytest.raises(VolumeError, match=r"chunk at \(0, 0, 0\) unpacks to more than"):
            volume.read(Roi((0, 3, 3), (9, 4, 4)))
        assert (volume.read(Roi((8, 0, 0), (8, edge, edge))) == 5).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_large_chunks_that_are_honest(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 256, 256), "u1")  # does not compress
    path = bomb(tmp_path / "a.h5", zlib.compress(values[:8].tobytes()), (8, 256, 256))
    with open_volume(path, role="raw") as volume:
        np.testing.assert_array_equal(volume.read(Roi((2, 9, 0), (4, 99, 256))), values[2:6, 9:108])


# Imaris.


def imaris(path: Path, sizes: tuple[object, object, object], *, letters: bool = True) -> np.ndarray:
    padded = np.zeros((8, 64, 64), "u1")
    padded[:7, :40, :48] = np.random.default_rng(1).integers(1, 255, (7, 40, 48))
    with h5py.File(path, "w") as file:
        place = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"
        data = file.create_dataset(place, data=padded, chunks=(4, 32, 32), compression="gzip")
        for axis, size in zip("ZYX", sizes):
            stated = np.array(list(str(size)), "S1") if letters else size
            data.parent.attrs[f"ImageSize{axis}"] = stated
    return padded


@pytest.mark.parametrize("letters", [True, False])
def test_imaris_without_its_padding(letters: bool, tmp_path: Path) -> None:
    padded = imaris(tmp_path / "a.ims", (7, 40, 48), letters=letters)
    with open_volume(tmp_path / "a.ims", role="raw") as volume:
        assert volume.shape == (7, 40, 48)
        np.testing.assert_array_equal(volume.read(), padded[:7, :40, :48])
        roi = Roi((5, 30, 1), (2, 10, 47))
        np.testing.assert_array_equal(volume.read(roi), padded[roi.slices()])
    assert describe(tmp_path / "a.ims")["arrays"][0]["shape"] == [7, 40, 48]


@pytest.mark.parametrize("sizes", [(9, 40, 48), (0, 40, 48), (7, "x", 48), (7, "", 48)])
def test_imaris_sizes_that_do_not_fit(sizes: tuple, tmp_path: Path) -> None:
    imaris(tmp_path / "a.ims", sizes)
    with pytest.raises(VolumeError, match="Imaris states the size"):
        open_volume(tmp_path / "a.ims", role="raw")
