"""One writer for every kind of file that emds reads, made with other libraries' own functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import numcodecs
import numpy as np
import tifffile
import zarr

from emds.geometry import iter_blocks
from emds.io import create_volume

# No two axes alike, so that swapped ones show.
VOXEL_SIZE = (40.0, 4.6, 5.1)
OFFSET = (80.0, 46.0, -10.2)
SHAPE = (7, 33, 26)

Writer = Callable[[Path, np.ndarray], str]


def example(dtype: str = "uint8", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 250, shape).astype(dtype)


def zarr_v2(folder: Path, values: np.ndarray) -> str:
    array = zarr.create_array(
        str(folder / "v2.zarr"),
        shape=values.shape,
        dtype=values.dtype,
        chunks=(3, 10, 10),
        zarr_format=2,
        compressors=numcodecs.Blosc(),
        attributes={"resolution": VOXEL_SIZE, "offset": OFFSET},
    )
    array[:] = values
    return str(folder / "v2.zarr")


def zarr_v3(folder: Path, values: np.ndarray) -> str:
    group = zarr.create_group(str(folder / "v3.zarr"))
    array = group.create_array(
        "volumes/raw", shape=values.shape, dtype=values.dtype, chunks=(3, 10, 10)
    )
    array.attrs["resolution"] = VOXEL_SIZE
    array.attrs["offset"] = OFFSET
    array[:] = values
    return str(folder / "v3.zarr")


def zarr_sharded(folder: Path, values: np.ndarray) -> str:
    array = zarr.create_array(
        str(folder / "sharded.zarr"),
        shape=values.shape,
        dtype=values.dtype,
        chunks=(2, 5, 5),
        shards=(4, 10, 20),
        attributes={"voxel_size": VOXEL_SIZE, "offset": OFFSET},
    )
    array[:] = values
    return str(folder / "sharded.zarr")


def ome_zarr_04(folder: Path, values: np.ndarray) -> str:
    """Five axes, micrometres, a pyramid, and a scale for the whole pyramid."""
    group = zarr.create_group(str(folder / "ome04.zarr"), zarr_format=2)
    array = group.create_array(
        "s0", shape=(1, 1, *values.shape), dtype=values.dtype, chunks=(1, 1, 3, 10, 10)
    )
    array[:] = values[None, None]
    group.create_array("s1", shape=(1, 1, 3, 16, 13), dtype=values.dtype, chunks=(1, 1, 3, 10, 10))
    z, y, x = (v / 1e3 for v in VOXEL_SIZE)
    shift = [v / 1e3 for v in OFFSET]
    scales = [[1, 1, z / 2, y / 2, x / 2], [1, 1, z, y, x]]
    moves = [[0, 0, *(v / 2 for v in shift)]] * 2
    unit = {"type": "space", "unit": "micrometer"}
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [*axes, *({"name": name, **unit} for name in "zyx")],
            "datasets": [
                {
                    "path": path,
                    "coordinateTransformations": [
                        {"type": "scale", "scale": scale},
                        {"type": "translation", "translation": move},
                    ],
                }
                for path, scale, move in zip(("s0", "s1"), scales, moves, strict=True)
            ],
            "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 2, 2, 2]}],
        }
    ]
    return str(folder / "ome04.zarr")


def ome_zarr_05(folder: Path, values: np.ndarray) -> str:
    """Axes in another order: x first."""
    group = zarr.create_group(str(folder / "ome05.zarr"))
    array = group.create_array(
        "image", shape=values.shape[::-1], dtype=values.dtype, chunks=(10, 10, 3)
    )
    array[:] = values.T
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": name, "type": "space", "unit": "nanometer"} for name in "xyz"],
                "datasets": [
                    {
                        "path": "image",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": VOXEL_SIZE[::-1]},
                            {"type": "translation", "translation": OFFSET[::-1]},
                        ],
                    }
                ],
            }
        ],
    }
    return str(folder / "ome05.zarr")


def hdf5_cremi(folder: Path, values: np.ndarray) -> str:
    with h5py.File(folder / "cremi.h5", "w") as file:
        raw = file.create_dataset("volumes/raw", data=values, chunks=(3, 10, 10), compression="lzf")
        raw.attrs["resolution"], raw.attrs["offset"] = VOXEL_SIZE, OFFSET
        labels = file.create_dataset("volumes/labels/neuron_ids", data=values.astype("u8"))
        labels.attrs["resolution"] = VOXEL_SIZE
        file.create_dataset("annotations/ids", data=np.arange(5))
    return str(folder / "cremi.h5")


def hdf5_main(folder: Path, values: np.ndarray) -> str:
    with h5py.File(folder / "main.hdf", "w") as file:
        main = file.create_dataset("main", data=values.astype(values.dtype.newbyteorder(">")))
        main.attrs["element_size_um"] = np.asarray(VOXEL_SIZE) / 1e3
        main.attrs["offset"] = OFFSET
    return str(folder / "main.hdf")


def tiff(name: str, **options: object) -> Writer:
    def write(folder: Path, values: np.ndarray) -> str:
        tifffile.imwrite(folder / f"{name}.tif", values, **options)
        return str(folder / f"{name}.tif")

    return write


def tiff_pages(folder: Path, values: np.ndarray) -> str:
    """Uncompressed, but with a directory between any two pages."""
    with tifffile.TiffWriter(folder / "pages.tif") as file:
        for page in values:
            file.write(page, metadata=None, rowsperstrip=10)
    return str(folder / "pages.tif")


def tiff_slices(folder: Path, values: np.ndarray) -> str:
    (folder / "tiffs").mkdir()
    for z, page in enumerate(values):
        tifffile.imwrite(folder / "tiffs" / f"z{z + 8}.tif", page)  # z8, z9, z10, ...
    (folder / "tiffs" / "notes.txt").write_text("not a slice")
    return str(folder / "tiffs")


def png_slices(folder: Path, values: np.ndarray) -> str:
    (folder / "pngs").mkdir()
    for z, page in enumerate(values):
        (folder / "pngs" / f"{z + 8}.PNG").write_bytes(imagecodecs.png_encode(page))
    return str(folder / "pngs")


def emds_own(suffix: str, **options: object) -> Writer:
    def write(folder: Path, values: np.ndarray) -> str:
        target = folder / f"own{options.get('ome_version', '')}{suffix}"
        with create_volume(
            target,
            shape=values.shape,
            dtype=values.dtype,
            voxel_size=VOXEL_SIZE,
            offset=OFFSET,
            chunk_shape=(2, 16, 16),
            **options,
        ) as volume:
            for block in iter_blocks(volume.roi, (2, 16, 16)):
                volume.write(block.write_roi, values[block.write_roi.slices()])
        return str(target)

    return write


_z, _y, _x = VOXEL_SIZE
IMAGEJ = {
    "imagej": True,
    "resolution": (1e3 / _x, 1e3 / _y),
    "metadata": {"axes": "ZYX", "spacing": _z / 1e3, "unit": "um"},
}
OME = {
    "ome": True,
    "metadata": {
        "axes": "ZYX",
        "PhysicalSizeX": _x / 1e3,
        "PhysicalSizeY": _y / 1e3,
        "PhysicalSizeZ": _z,
        "PhysicalSizeZUnit": "nm",
    },
}

# Writers whose files tell both voxel size and offset, the voxel size alone, or neither.
PLACED: dict[str, Writer] = {
    "zarr v2": zarr_v2,
    "zarr v3": zarr_v3,
    "zarr sharded": zarr_sharded,
    "ome-zarr 0.4": ome_zarr_04,
    "ome-zarr 0.5": ome_zarr_05,
    "hdf5 cremi": hdf5_cremi,
    "hdf5 main": hdf5_main,
    "emds zarr": emds_own(".zarr"),
    "emds zarr 0.4": emds_own(".zarr", ome_version="0.4"),
    "emds tiff": emds_own(".tif"),
    "emds hdf5": emds_own(".h5"),
}
SIZED: dict[str, Writer] = {"imagej": tiff("imagej", **IMAGEJ), "ome-tiff": tiff("ome.ome", **OME)}
BARE: dict[str, Writer] = {
    "tiff": tiff("plain"),
    "tiff without metadata": tiff("bare", metadata=None),
    "tiff, unitless imagej": tiff("unitless", imagej=True, metadata={"axes": "ZYX"}),
    "tiff of frames": tiff("frames", metadata={"axes": "TYX"}),
    "bigtiff": tiff("big", bigtiff=True, byteorder=">"),
    "tiff lzw": tiff("lzw", compression="lzw", predictor=True),
    "tiff deflate": tiff("deflate", compression="zlib"),
    "tiff zstd": tiff("zstd", compression="zstd"),
    "tiff tiled": tiff("tiled", tile=(16, 16), compression="zlib"),
    "tiff pages": tiff_pages,
    "tiff slices": tiff_slices,
    "png slices": png_slices,
}
ALL = PLACED | SIZED | BARE


def flip_bit(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    place = bit % (8 * len(content))
    content[place // 8] ^= 1 << (place % 8)
    path.write_bytes(content)


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
