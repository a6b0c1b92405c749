"""From a name and a folder, or a YAML file, to a data set whose files have been checked."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from emds.config.plain import read_mapping
from emds.datasets.description import Dataset
from emds.datasets.published import LAYOUTS, Files, Layout
from emds.errors import ConfigError, DataError, UsageError
from emds.geometry import Triple
from emds.io import open_volume

PUBLISHED = tuple(LAYOUTS)
"""Names that `find_dataset` knows."""


def find_dataset(name: str, folder: Path) -> Dataset:
    """Return a data set by its name or its YAML file, with everything checked that can be.

    Parameters
    ----------
    name : str
        One of `PUBLISHED`, or a YAML file with the fields of `Dataset`; paths in it are relative
        to the file.
    folder : Path
        Folder that holds the published files, at any depth.

    Raises
    ------
    UsageError, ConfigError
        If the name is unknown, or the YAML is wrong.
    DataError
        If a file is missing, or not as expected: key, type, shape.
    """
    if name.endswith((".yaml", ".yml")):
        dataset = _read(Path(name))
    elif name in LAYOUTS:
        dataset = _published(name, LAYOUTS[name], folder)
    else:
        raise UsageError(
            f"unknown data set {name!r}; there are {', '.join(PUBLISHED)}, or name a YAML file."
        )
    check_dataset(dataset)
    return dataset


def check_dataset(dataset: Dataset) -> None:
    """Open what the data set names, and raise `DataError` if it does not hold what it says."""
    ranges = {"train": dataset.train, "validation": dataset.validation}
    if dataset.test_raw is None:
        _check_pair(dataset, dataset.raw, dataset.labels, ranges | {"test": dataset.test})
    else:
        _check_pair(dataset, dataset.raw, dataset.labels, ranges)
        _check_pair(dataset, dataset.tested_raw, dataset.tested_labels, {"test": dataset.test})


def _check_pair(
    dataset: Dataset, raw: str, labels: str, ranges: dict[str, tuple[int, int]]
) -> None:
    with open_volume(raw, role="raw") as image, open_volume(labels, role="labels") as ids:
        if image.dtype != "uint8" or image.channels is not None:
            raise DataError(
                f"{dataset.name}: {image.location} must be uint8 grey values (z, y, x), not "
                f"{image.dtype}. Convert it first."
            )
        if image.shape != ids.shape:
            raise DataError(
                f"{dataset.name}: images and labels must have one shape, but {image.location} is "
                f"{image.shape} and {ids.location} is {ids.shape} (z, y, x)."
            )
        sides = {"rows": (dataset.rows, 1), "columns": (dataset.columns, 2)}
        chosen = [(name, used, 0) for name, used in ranges.items()]
        chosen += [(name, used, axis) for name, (used, axis) in sides.items() if used]
        for name, (begin, end), axis in chosen:
            if not 0 <= begin < end <= image.shape[axis]:
                raise DataError(
                    f"{dataset.name}: {name} = {begin}:{end} must lie within {image.location} of "
                    f"shape {image.shape} (z, y, x)."
                )


def _read(file: Path) -> Dataset:
    values = read_mapping(file, "data set")
    values.setdefault("name", file.stem)
    for field in ("raw", "labels", "test_raw", "test_labels"):
        if isinstance(values.get(field), str):
            values[field] = str(file.resolve().parent / values[field])
    try:
        return Dataset.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, p['loc'])) or 'data set'}: {p['msg']}" for p in error.errors()
        ]
        raise ConfigError(
            f"data set {file}: {'; '.join(problems)}. Fields: {', '.join(Dataset.model_fields)}."
        ) from None


def _published(name: str, layout: Layout, folder: Path) -> Dataset:
    if not folder.is_dir():
        raise UsageError(f"--data {folder} must be a folder that holds the files of {name}.")
    raw, shape = _locate(name, layout.raw, folder)
    rows, columns = (_centre(n, layout.side) for n in shape[1:])
    tested = layout.test_raw and layout.test_labels
    return Dataset.model_validate(
        {
            "name": name,
            "raw": raw,
            "labels": _locate(name, layout.labels, folder)[0],
            "test_raw": _locate(name, layout.test_raw, folder)[0] if tested else None,
            "test_labels": _locate(name, layout.test_labels, folder)[0] if tested else None,
            "train": layout.train,
            "validation": layout.validation,
            "test": layout.test,
            "rows": rows,
            "columns": columns,
            "noise": layout.noise,
            "license": layout.license,
            "attribution": layout.attribution,
        }
    )


def _locate(name: str, alternatives: tuple[Files, ...], folder: Path) -> tuple[str, Triple]:
    """Return the location of the array and its shape."""
    for files in alternatives:
        for file_name in files.names:
            found = sorted(path for path in folder.rglob(file_name) if path.is_file())
            if len(found) > 1:
                raise DataError(
                    f"{name}: there are {len(found)} files {file_name} under {folder}: "
                    f"{', '.join(map(str, found[:3]))}. Name the folder of one of them."
                )
            if found:
                location = f"{found[0].resolve()}:{files.key}"
                with open_volume(location) as volume:
                    if volume.shape[0] != files.sections:
                        raise DataError(
                            f"{name}: {location} is {volume.shape} (z, y, x); as published it has "
                            f"{files.sections} sections. For another volume write a YAML file."
                        )
                    return location, volume.shape
    wanted = " or ".join(f"{n} (array {f.key})" for f in alternatives for n in f.names)
    raise DataError(f"{name}: found no file under {folder}. Expected {wanted}.")


def _centre(length: int, side: int | None) -> tuple[int, int] | None:
    if side is None or length <= side:
        return None
    first = (length - side) // 2
    return first, first + side
