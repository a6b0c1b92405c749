"""An archive of weights is read whole or not at all, and never takes for ever."""

import errno
import io
import pickle
import resource
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch

from emds.errors import CheckpointError
from emds.networks.archive import content_hash, read_archive, write_archive
from emds.networks.checkpoint import load_checkpoint
from emds.networks.vit_weights import _read
from emds.pretrained import shipped_checkpoint


def content():
    generator = torch.Generator().manual_seed(0)
    weights = {f"part.{i}": torch.randn(3, 5, generator=generator) for i in range(4)}
    state = {0: {"step": torch.tensor(3.0), "average": torch.zeros(2, dtype=torch.bfloat16)}}
    return {"weights": weights, "optimizer": state, "config": {"steps": 3, "lr": 0.5, "a": [None]}}


def write(path, values):
    with path.open("wb") as file:
        write_archive(values, file)
    return path


def same(one, other):
    return content_hash({k: v for k, v in one.items() if k != "sha256"}) == content_hash(other)


def test_what_is_written_comes_back(tmp_path):
    found = read_archive(write(tmp_path / "a.pt", content()))
    for name, weights in content()["weights"].items():
        assert torch.equal(found["weights"][name], weights)
    assert found["config"] == content()["config"]
    assert found["optimizer"][0]["average"].dtype == torch.bfloat16


def flip(whole, bit):
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_no_flipped_bit_gives_other_content(tmp_path):
    """A bit may lie where nothing is: then all that is read is as it was."""
    whole = write(tmp_path / "a.pt", content()).read_bytes()
    refused = 0
    for bit in np.random.default_rng(0).choice(8 * len(whole), 300, replace=False).tolist():
        (tmp_path / "b.pt").write_bytes(flip(whole, bit))
        try:
            assert same(read_archive(tmp_path / "b.pt"), content()), bit
        except CheckpointError:
            refused += 1
    assert refused > 100


@pytest.mark.slow
@pytest.mark.parametrize("hashed", [True, False])
def test_no_bit_at_all_gives_other_content(tmp_path, hashed):
    """Every bit of a small archive, with a hash and as before there were any."""
    small = {"w": torch.arange(3.0), "kind": "small", "a": [1, 2.5, None]}
    file = io.BytesIO()
    write_archive(small, file) if hashed else torch.save(small, file)
    whole = file.getvalue()
    for bit in range(8 * len(whole)):
        (tmp_path / "b.pt").write_bytes(flip(whole, bit))
        with suppress(CheckpointError):
            assert same(read_archive(tmp_path / "b.pt"), small), bit


@pytest.mark.parametrize("shape", [(1, 99, 99), (100, 99, 99)])
def test_a_flipped_bit_in_the_weights_of_a_shipped_checkpoint_is_refused(tmp_path, shape):
    path = shipped_checkpoint(shape, (10.0, 10.0, 10.0))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        data = [one for one in archive.infolist() if "/data/" in one.filename and one.file_size]
    rng = np.random.default_rng(1)
    for member in rng.choice(len(data), 10, replace=False):
        begin = data[member].header_offset
        names = int.from_bytes(whole[begin + 26 : begin + 28], "little")
        padding = int.from_bytes(whole[begin + 28 : begin + 30], "little")
        place = begin + 30 + names + padding + int(rng.integers(data[member].file_size))
        (tmp_path / "b.pt").write_bytes(flip(whole, 8 * place))
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(tmp_path / "b.pt")


def test_another_content_with_sound_checksums_is_refused(tmp_path):
    """As a faulty memory would write it."""
    path = write(tmp_path / "a.pt", content())
    changed = torch.load(path, weights_only=True)
    changed["weights"]["part.0"][1, 2] += 1
    torch.save(changed, path)
    with pytest.raises(CheckpointError, match="does not have the hash"):
        read_archive(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(tmp_path, share):
    whole = write(tmp_path / "a.pt", content()).read_bytes()
    (tmp_path / "b.pt").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"b\.pt"):
        read_archive(tmp_path / "b.pt")


def rewrite(path, *, extra=None, compression=zipfile.ZIP_STORED, **changes):
    """Write the members of an archive anew, some of them changed: {name without root: bytes}."""
    with zipfile.ZipFile(path) as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, changes.get(name.split("/", 1)[1].replace(".", "_"), data))
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path


def nested(levels, width):
    """A list that has itself, so to speak, width ** levels times."""
    value = ["x"]
    for _ in range(levels):
        value = [value] * width
    return value


def cyclic():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [nested(40, 2), nested(9, 10), nested(400, 1), cyclic(), ["x" * 10**6] * 10**4, 2**70],
    ids=["doubled", "tenfold", "deep", "cyclic", "text", "integer"],
)
def test_what_grows_without_end_is_refused_at_once(tmp_path, value):
    torch.save({"kind": "emds-checkpoint", "format": 1, "config": {"a": value}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"too often or too deep|too large"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**9),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(4, device="meta"),
    ],
    ids=["expanded", "sparse", "meta"],
)
def test_a_tensor_that_is_not_in_the_file_is_refused(tmp_path, tensor):
    torch.save({"kind": "emds-checkpoint", "weights": {"a": tensor}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        read_archive(tmp_path / "a.pt")


def test_one_storage_that_is_shown_many_times_is_refused(tmp_path):
    shared = torch.zeros(10**6)
    torch.save({"weights": {str(i): shared for i in range(1000)}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="more numbers than there are"):
        read_archive(tmp_path / "a.pt")


def test_members_that_are_more_than_the_file_are_refused(tmp_path):
    path = write(tmp_path / "a.pt", {"a": torch.zeros(10**6)})
    rewrite(path, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="list of contents"):
        read_archive(path)


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("data_pkl", b"\x80\x02}" + b"]" * 5 * 2**20 + b"."),
        ("data_pkl", b"\x80\x02]q\x00."),
        ("data_pkl", b"garbage"),
        ("data_pkl", pickle.dumps({"a": b"bytes"}, protocol=4)),
        ("data_pkl", b"\x80\x02}X\x01\x00\x00\x00a\x8a\xff" + b"\x7f" * 255 + b"s."),
        ("byteorder", b"middle"),
    ],
    ids=["large", "no mapping", "garbage", "other instructions", "long integer", "byte order"],
)
def test_a_strange_member_is_refused(tmp_path, member, data):
    path = rewrite(write(tmp_path / "a.pt", content()), **{member: data})
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        read_archive(path)


def test_two_lists_of_tensors_are_refused(tmp_path):
    path = rewrite(write(tmp_path / "a.pt", content()), extra={"other/data.pkl": b"\x80\x02}."})
    with pytest.raises(CheckpointError, match="no list of tensors"):
        read_archive(path)


class Full(io.BytesIO):
    """A disk with room for so many bytes."""

    room = 100

    def write(self, data):
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_a_full_disk_is_told_as_such(room):
    file = Full()
    file.room = room
    with pytest.raises(OSError, match="No space left"):
        write_archive({"a": torch.zeros(10**5)}, file)


def test_a_limit_on_the_size_of_files_is_told_as_such(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**4, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write(tmp_path / "a.pt", {"a": torch.zeros(10**6)})
        assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_in_published_weights_is_refused(tmp_path, save):
    arrays = {f"a{i}": np.random.default_rng(i).normal(size=(40, 3)) for i in range(5)}
    save(tmp_path / "a.npz", **arrays)
    whole = (tmp_path / "a.npz").read_bytes()
    for name, values in _read(tmp_path / "a.npz").items():
        np.testing.assert_array_equal(values, arrays[name].astype(np.float32))
    for bit in np.random.default_rng(0).choice(8 * len(whole), 200, replace=False).tolist():
        (tmp_path / "b.npz").write_bytes(flip(whole, bit))
        try:
            found = _read(tmp_path / "b.npz")
        except CheckpointError:
            continue
        assert found.keys() == arrays.keys()
        for name, values in found.items():
            np.testing.assert_array_equal(values, arrays[name].astype(np.float32))
