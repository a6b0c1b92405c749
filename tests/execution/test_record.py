"""A run is continued by one that asks for the same; what differs is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from emds.errors import OutputExistsError
from emds.execution import RunRecord

IDENTITY = {"tile": (1, 64, 64), "weights": {"sha256": "abc"}, "mask": None, "grid": {"z": 16}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    RunRecord({"out": "x"}, IDENTITY).save(path)
    loaded = RunRecord.load(path)
    assert loaded.request == {"out": "x"}
    loaded.refuse_other(IDENTITY, "out.zarr")  # a tuple is a list on disk, and no difference
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tile": (1, 32, 64)}, "tile was [1, 64, 64], now [1, 32, 64]"),
        ({"weights": {"sha256": "abd"}}, "weights.sha256 was 'abc', now 'abd'"),
        ({"mask": "m"}, "mask was None, now 'm'"),
        ({"grid": {}}, "grid.z was 16, now None"),
        ({"more": 1}, "more was None, now 1"),
    ],
)
def test_every_difference_is_named(tmp_path: Path, change: dict, words: str) -> None:
    path = tmp_path / "run.json"
    RunRecord({}, IDENTITY).save(path)
    with pytest.raises(OutputExistsError) as refused:
        RunRecord.load(path).refuse_other(IDENTITY | change, "out.zarr")
    assert words in str(refused.value)
    assert "out.zarr" in str(refused.value)
    assert "--overwrite" in str(refused.value)
    with pytest.raises(OutputExistsError, match=r"tile was .*; version was"):
        RunRecord.load(path).refuse_other(IDENTITY | {"tile": 0, "version": 2}, "out.zarr")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"request": {}}', b"\xff\xfe", b"3"]
)
def test_a_damaged_record_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(OutputExistsError, match=r"run\.json is damaged.*--overwrite"):
        RunRecord.load(path)
