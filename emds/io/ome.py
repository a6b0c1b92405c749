"""Writing OME-Zarr metadata, with the models of yaozarrs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from emds.geometry import Triple
from emds.io.multiscale import ome_attributes
from emds.io.volume import Nanometres

OmeVersion = Literal["0.4", "0.5"]


def build_multiscale(
    name: str,
    axes: str,
    voxel_size: Nanometres | None,
    offset: Nanometres,
    version: OmeVersion,
    *,
    labels_of: str | None = None,
) -> dict[str, Any]:
    """Return the group attributes of an image with its one level in the array ``0``.

    Parameters
    ----------
    name : str
        Shown by viewers.
    axes : str
        ``zyx`` or ``czyx``.
    voxel_size, offset : (z, y, x) float
        Nanometres. Without a voxel size the axes carry no unit and a scale of 1, which reads
        back as None, and as the same offset in voxels.
    version : {"0.5", "0.4"}
        Version of OME-Zarr.
    labels_of : str, optional
        Marks the image as labels; the relative path of the image they belong to, or empty.
    """
    from yaozarrs import v04, v05

    models = v05 if version == "0.5" else v04
    unit = {"unit": "nanometer"} if voxel_size is not None else {}
    channel = [1.0] * (len(axes) - 3)
    scale = [*channel, *(voxel_size or (1.0, 1.0, 1.0))]
    shift = [0.0 for _ in channel] + list(offset)
    content: dict[str, Any] = {
        "multiscales": [
            {
                "name": name,
                "axes": [
                    {"name": axis, "type": "channel"}
                    if axis == "c"
                    else {"name": axis, "type": "space", **unit}
                    for axis in axes
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": scale},
                            {"type": "translation", "translation": shift},
                        ],
                    }
                ],
            }
        ]
    }
    if labels_of is None:
        model: Any = models.Image(**content)
    else:
        content["image-label"] = {"source": {"image": labels_of}} if labels_of else {}
        model = models.LabelImage(**content)
    return _wrapped(model, version)


def add_level(attributes: Mapping[str, Any], factor: Triple, method: str) -> dict[str, Any]:
    """Return the attributes of an image's group with one more level, named after its number.

    A position is that of a voxel's centre. The first voxel of the new level stands for `factor`
    voxels of the last, and its centre lies amid theirs: half a voxel further for a factor of 2.

    Parameters
    ----------
    attributes : mapping
        As `build_multiscale` made them, without channels.
    factor : (z, y, x)
        How many voxels of the last level make one of the new.
    method : str
        How its values are computed, for viewers.

    Examples
    --------
    >>> ome = build_multiscale("raw", "zyx", (40, 8, 8), (0, 0, 0), "0.5")
    >>> ome = add_level(ome, (1, 2, 2), "mean")["ome"]
    >>> for transform in ome["multiscales"][0]["datasets"][1]["coordinateTransformations"]:
    ...     print(transform)
    {'type': 'scale', 'scale': [40.0, 16.0, 16.0]}
    {'type': 'translation', 'translation': [0.0, 4.0, 4.0]}
    """
    ome = dict(ome_attributes(attributes))
    image = dict(ome["multiscales"][0])
    levels = list(image["datasets"])
    last = {key: step[key] for step in levels[-1]["coordinateTransformations"] for key in step}
    steps = list(zip(last["scale"], last["translation"], factor, strict=True))
    added = {
        "path": str(len(levels)),
        "coordinateTransformations": [
            {"type": "scale", "scale": [scale * n for scale, _, n in steps]},
            {
                "type": "translation",
                "translation": [shift + scale * (n - 1) / 2 for scale, shift, n in steps],
            },
        ],
    }
    ome["multiscales"] = [image | {"datasets": [*levels, added], "type": method}]
    return {"ome": ome} if "ome" in attributes else ome


def build_label_list(names: Sequence[str], version: OmeVersion) -> dict[str, Any]:
    """Return the attributes of a ``labels`` group that holds these images."""
    from yaozarrs import v04, v05

    models = v05 if version == "0.5" else v04
    return _wrapped(models.LabelsGroup(labels=list(names)), version)


def _wrapped(model: Any, version: OmeVersion) -> dict[str, Any]:
    content: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"ome": content} if version == "0.5" else content
