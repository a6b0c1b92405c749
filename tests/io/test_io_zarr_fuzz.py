"""Whatever stands in the metadata of a zarr gives a volume, or one error of emds' own."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axis_layouts import LAYOUTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import ALL

from emds.errors import EmdsError
from emds.geometry import Roi
from emds.io import describe, open_volume
from emds.io.stored import open_stored

VOLUME = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
OWN = ["emds zarr", "emds zarr 0.4", "zarr sharded"]
KINDS = [*(kind for kind in LAYOUTS if "zarr" in kind.lower()), *OWN]

# Keys that mean something somewhere, values that are nearly right, and anything else.
KEYS = st.sampled_from([
    *["units", "offset", "resolution", "voxel_size", "axistags", "transform", "pixelResolution"],
    *["_ARRAY_DIMENSIONS", "axis_names", "dimension_names", "emds", "ome", "multiscales", "axes"],
    *["coordinateSystems", "coordinateTransformations", "version", "shape", "fill_value", "path"],
    *["unit", "resolution_unit", "scale_factor", "dimension_separator", "chunk_key_encoding"],
])  # fmt: skip
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 5),
    st.sampled_from([2**31, 2**63, 2**70, 1e300, -1e300, float("nan"), float("inf"), 0.5]),
    st.sampled_from(["", "z", "x", "nm", "NaN", "|O", "<f4", "../..", "/", "s0", "0", "{", "[]"]),
    st.text(max_size=4),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
# Where to change a document (a walk down it, each step modulo what is there), and to what.
CHANGES = st.tuples(
    st.lists(st.integers(0, 11), max_size=8), st.sampled_from(["set", "drop", "add"]), KEYS, VALUES
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    places = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("kind")
        write = ALL[kind] if kind in OWN else lambda f, v, k=kind: LAYOUTS[k].write(f, v, "zyx")
        places[kind] = Path(write(folder, VOLUME))
    return places


def changed(document: Any, change: tuple[list[int], str, str, Any]) -> Any:
    """Change one place of a JSON document."""
    walk, how, key, value = change
    document, node, parent, place = copy.deepcopy(document), None, None, None
    node = document
    for step in walk:
        if isinstance(node, dict | list) and node:
            parent = node
            place = list(node)[step % len(node)] if isinstance(node, dict) else step % len(node)
            node = node[place]
    if parent is None:
        return value
    if how == "drop":
        del parent[place]
    elif how == "add" and isinstance(parent, dict):
        parent[key] = value
    else:
        parent[place] = value
    return document


def use(location: Path, role: Any) -> None:
    """Do with a zarr all that reads it."""
    with suppress(EmdsError), open_volume(location, role=role) as volume:
        assert all(size > 0 for size in (*volume.shape, *volume.chunk_shape))
        assert volume.voxel_size is None or all(0 < size < np.inf for size in volume.voxel_size)
        assert np.isfinite(volume.offset).all()
        volume.read(volume.roi if volume.nbytes < 2**20 else Roi((0, 0, 0), (1, 1, 1)))
    with suppress(EmdsError):
        json.dumps(describe(location), allow_nan=False)
    with suppress(EmdsError):
        for array in open_stored(location).arrays:
            if array.count and array.nbytes < 2**20:
                array.read_chunk(0)


def attack(written: dict[str, Path], data: st.DataObject) -> None:
    location = written[data.draw(st.sampled_from(KINDS))]
    files = sorted(file for file in location.rglob("*") if file.name in METADATA)
    file = data.draw(st.sampled_from(files))
    kept = file.read_text()
    document = json.loads(kept)
    for change in data.draw(st.lists(CHANGES, min_size=1, max_size=3)):
        document = changed(document, change)
    try:
        file.write_text(json.dumps(document))
        use(location, data.draw(st.sampled_from([None, "raw", "labels", "affinities"])))
    finally:
        file.write_text(kept)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_metadata_give_a_volume_or_one_error(data: st.DataObject, written) -> None:
    attack(written, data)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_much_metadata_give_a_volume_or_one_error(data: st.DataObject, written) -> None:
    attack(written, data)


def test_the_attack_begins_with_sound_files(written) -> None:
    for kind, location in written.items():
        with open_volume(location, role="raw") as volume:
            np.testing.assert_array_equal(volume.read(), VOLUME, kind)
