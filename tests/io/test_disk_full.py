"""A disk that is full, or a file that may not grow: one error, and nothing is damaged."""

import errno
import os
import resource
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import tifffile

from emds.io.deferred_file import DeferredFile

PROGRAM = textwrap.dedent(
    """
    import resource, sys
    limit = int(sys.argv[1])
    from emds.cli.app import main
    sys.argv = ["emds", "-q", *sys.argv[2:]]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    main()
    """
)
NOISE = ("simulate-noise", "case.tif", "--type", "gaussian", "--out")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (5, 200, 200), dtype="u1")
    tifffile.imwrite("case.tif", noise, metadata=None, photometric="minisblack")
    return tmp_path


@pytest.mark.parametrize("limit", [0, 3000, 40_000, 190_000])
@pytest.mark.parametrize("kind", ["h5", "tif"])
def test_a_file_that_may_not_grow_is_one_line(kind, limit, place):
    """What the system says of it is EFBIG; a full disk (ENOSPC) takes the same way."""
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit), *NOISE, f"s.{kind}"],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 1, told
    (line,) = told.stderr.splitlines()
    assert line.startswith("emds: error: File too large (ulimit -f): "), line
    assert os.listdir(place) == ["case.tif"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small disk")
@pytest.mark.parametrize("size_kib", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("kind", ["h5", "tif", "zarr"])
def test_a_full_disk_is_one_line_and_keeps_the_old_output(kind, size_kib, place):
    (place / "full").mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", "full"]
    if subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    try:
        (place / "full/notes.txt").write_text("mine")
        command = [sys.executable, "-m", "emds", "-q", *NOISE, f"full/s.{kind}"]
        told = subprocess.run(command, capture_output=True, text=True)
        assert told.returncode == 1, told
        (line,) = told.stderr.splitlines()
        assert line.startswith("emds: error: No space left on device: full/"), line
        assert os.listdir("full") == ["notes.txt"]
    finally:
        subprocess.run(["umount", "full"], check=True)


def limited(size):
    """Let no file of this process grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_deferred_file_tells_of_its_error_when_it_is_asked(tmp_path):
    file = DeferredFile(tmp_path / "a")
    file.write(b"0123456789")
    file.check()
    free = limited(12)
    try:
        assert file.write(b"abcdef") == 6
    finally:
        free()
    with pytest.raises(OSError, match="File too large") as failed:
        file.check()
    assert failed.value.errno == errno.EFBIG
    assert failed.value.filename == str(tmp_path / "a")
    # The library that wrote it reads back all of it, on disk or not.
    assert file.seek(0, os.SEEK_END) == 16
    file.seek(8)
    assert file.read(7) == b"89abcde"
    assert (tmp_path / "a").read_bytes() == b"0123456789ab"
    file.close()


@pytest.mark.parametrize("size", [100, 2000, 20_000])
def test_hdf5_survives_a_deferred_file_that_cannot_be_written(size, tmp_path):
    file = DeferredFile(tmp_path / "a.h5")
    free = limited(size)
    try:
        with h5py.File(file, "w") as content:
            values = np.random.default_rng(0).integers(0, 255, (40, 1000), "u1")
            content.create_dataset("a", data=values, chunks=(1, 1000), compression="gzip")
            np.testing.assert_array_equal(content["a"][:], values)
    finally:
        free()
    with pytest.raises(OSError, match="File too large"):
        file.check()
    file.close()


def test_a_deferred_file_holds_what_was_written(tmp_path):
    """Any order of writes, as into a file of Python's."""
    rng = np.random.default_rng(0)
    with (tmp_path / "plain").open("w+b") as plain, DeferredFile(tmp_path / "a") as file:
        for _ in range(200):
            place, content = int(rng.integers(0, 500)), rng.bytes(int(rng.integers(0, 90)))
            for one in (plain, file):
                one.seek(place)
                one.write(content)
            place = int(rng.integers(0, 600))
            plain.seek(place)
            file.seek(place)
            assert file.read(50) == plain.read(50)
            assert file.tell() == plain.tell() or plain.tell() == place
        file.truncate(300)
        plain.truncate(300)
        file.check()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "plain").read_bytes()
