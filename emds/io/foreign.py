"""What emds does not read: files of other formats, addresses; and what makes it readable."""

from __future__ import annotations

import re
from pathlib import Path

from emds.errors import VolumeError

_BIO = "bfconvert of Bio-Formats (to OME-TIFF)"
_IMAGEJ = "Fiji (save as TIFF)"
_UNPACK = "unpacking it first"

# (where, first bytes, what it is, what converts it); the first that fits counts.
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (208, b"MAP ", "an MRC file", "mrcfile and tifffile in Python, or mrc2tif of IMOD"),
    (344, b"n+1\0", "a NIfTI file", "nibabel and tifffile in Python"),
    (344, b"ni1\0", "a NIfTI header", "nibabel and tifffile in Python"),
    (4, b"n+2\0", "a NIfTI-2 file", "nibabel and tifffile in Python"),
    (0, b"ZISRAWFILE", "a Zeiss CZI file", f"{_BIO}, or czifile"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file", f"{_BIO}, or nd2"),
    (0, b"\0\0\0\x03", "a Gatan DM3 file", f"{_IMAGEJ}, or dm2mrc and mrc2tif of IMOD"),
    (0, b"\0\0\0\x04", "a Gatan DM4 file", f"{_IMAGEJ}, or dm2mrc and mrc2tif of IMOD"),
    (0, b"\x70\0\0\0", "a Leica LIF file", _BIO),
    (0, b"\xd0\xcf\x11\xe0", "an OLE file (such as Olympus OIB or Zeiss ZVI)", _BIO),
    (0, b"II\x97\x01", "an FEI/TIA SER file", _IMAGEJ),
    (0, b"\xff\xd8\xff", "a JPEG image", "any image program (save as PNG or TIFF)"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image", "any image program (save as PNG or TIFF)"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image", "any image program (save as PNG or TIFF)"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image", "any image program (save as PNG or TIFF)"),
    (0, b"GIF8", "a GIF image", "any image program (save as PNG or TIFF)"),
    (0, b"BM", "a BMP image", "any image program (save as PNG or TIFF)"),
    (8, b"WEBP", "a WebP image", "any image program (save as PNG or TIFF)"),
    (8, b"AVI ", "an AVI film", _IMAGEJ),
    (4, b"ftyp", "an MP4, HEIC or AVIF file", _IMAGEJ),
    (0, b"\x1aE\xdf\xa3", "a Matroska film", _IMAGEJ),
    (0, b"8BPS", "a Photoshop file", "any image program (save as PNG or TIFF)"),
    (0, b"P5", "a PGM image", "any image program (save as PNG or TIFF)"),
    (0, b"P6", "a PPM image", "any image program (save as PNG or TIFF)"),
    (0, b"\x93NUMPY", "a numpy file (npy)", "tifffile.imwrite or h5py in Python"),
    (0, b"NRRD0", "an NRRD file", "pynrrd and tifffile in Python, or Fiji"),
    (0, b"# AmiraMesh", "an Amira file", _IMAGEJ),
    (0, b"# Avizo", "an Avizo file", _IMAGEJ),
    (0, b"# vtk", "a VTK file", "meshio or vtk in Python"),
    (0, b"<VTKFile", "a VTK file", "meshio or vtk in Python"),
    (0, b"WKW", "a WEBKNOSSOS file (wkw)", "webknossos in Python (to zarr)"),
    (0, b"SIMPLE  =", "a FITS file", "astropy and tifffile in Python"),
    (128, b"DICM", "a DICOM file", "pydicom and tifffile in Python, or Fiji"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB 5 file", "save -v7.3 in MATLAB (HDF5, which emds reads)"),
    (0, b"CDF\x01", "a netCDF-3 file", "nccopy -k nc4 (to HDF5)"),
    (0, b"CDF\x02", "a netCDF-3 file", "nccopy -k nc4 (to HDF5)"),
    (0, b"\x0e\x03\x13\x01", "an HDF4 file", "h4toh5 (to HDF5)"),
    (0, b"ObjectType", "a MetaImage header", "SimpleITK in Python, or Fiji"),
    (0, b"NDims", "a MetaImage header", "SimpleITK in Python, or Fiji"),
    (0, b"ics_version", "an ICS file", _BIO),
    (0, b"v/1\x01", "an OpenEXR image", "any image program (save as TIFF)"),
    (0, b"%PDF", "a PDF document", _IMAGEJ),
    (0, b"PK\x03\x04", "a zip archive (or npz, or a model)", _UNPACK),
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\xfd7zXZ", "an xz file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7-zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file", "git lfs pull"),
    (0, b"<!DOCTYPE", "a web page", "downloading the file again"),
    (0, b"<html", "a web page", "downloading the file again"),
    (0, b"<?xml", "an XML file", "naming the file it describes"),
)
_START_BYTES = 512
_MRC_SUFFIXES = (".mrc", ".mrcs", ".rec", ".st", ".ali", ".map", ".ccp4")
_RAW_SUFFIXES = (".raw", ".bin", ".dat", ".rawl", ".img")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|(s3|gs|gcs|https?|ftp|file|az|abfss?):/")
_FOLDERS = (
    ("attributes.json", "an N5 container", "n5-utils, or zarr 2 in Python (N5Store)"),
    ("info", "a Neuroglancer volume (precomputed)", "cloud-volume in Python"),
    ("data.n5", "a BigDataViewer folder", "Fiji (to HDF5, or OME-Zarr)"),
    ("header.wkw", "a WEBKNOSSOS magnification (wkw)", "webknossos in Python (to zarr)"),
)


def foreign_error(path: Path) -> VolumeError:
    """Return an error that names the format of a file that emds does not read."""
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    what, tool = _known(path, start)
    if what:
        return VolumeError(
            f"cannot read {str(path)!r}: it is {what}. emds reads TIFF, zarr, HDF5 and PNG; "
            f"convert it, e.g. by {tool}."
        )
    if not start:
        return VolumeError(f"cannot read {str(path)!r}: the file is empty. Make or copy it again.")
    shown = start[:8].decode("latin-1")
    return VolumeError(
        f"cannot read {str(path)!r}: it does not start like a file that emds reads (TIFF, HDF5 or "
        f"PNG), nor like any that it knows; its first bytes are {shown!r}. Convert it to one of "
        "them; if it should be one already, restore it from a copy."
    )


def _known(path: Path, start: bytes) -> tuple[str, str]:
    for place, magic, what, tool in _MAGIC:
        if start[place : place + len(magic)] == magic:
            return what, tool
    suffix = path.suffix.lower()
    if suffix in _MRC_SUFFIXES:
        return "an MRC file of an old kind, by its name", "mrc2tif of IMOD"
    if suffix in _RAW_SUFFIXES:
        return (
            "a raw file by its name, without shape and type",
            "numpy.fromfile(...).reshape(...) and tifffile.imwrite in Python",
        )
    return "", ""


def foreign_folder(folder: Path) -> str:
    """Say what a folder is that is neither zarr nor slices, as a sentence; empty if unknown."""
    for name, what, tool in _FOLDERS:
        if (folder / name).exists():
            return f"It is {what}; convert it, e.g. by {tool}."
    for root, example in ((folder, "color/1"), (folder.parent, "1")):
        if (root / "datasource-properties.json").is_file():
            return f"It belongs to a WEBKNOSSOS data set: name a magnification, e.g. {example}."
    suffixes = {child.suffix.lower() for child in folder.iterdir() if child.is_file()}
    others = sorted(suffixes & {".jpg", ".jpeg", ".jp2", ".bmp", ".gif", ".webp"})
    if others:
        return f"It holds images ({', '.join(others)}); save them as PNG or TIFF."
    return ""


def why_no_address(location: str) -> str | None:
    """Say why an address on the net cannot be opened; None for anything else.

    An address is known too where `pathlib.Path` took a slash from it.
    """
    scheme, _, rest = location.partition(":")
    if not _URL.match(location) or Path(location).exists() or Path(scheme).exists():
        return None
    advice = "copy it to this machine, or mount it as a folder"
    if scheme.lower() == "file":
        advice = f"write its path, {'/' + rest.lstrip('/')!r}"
    return (
        f"{location!r} is an address ({scheme}:), and emds reads and writes local files only: "
        f"{advice}"
    )
