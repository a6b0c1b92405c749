"""`--launcher` puts workers on other hosts; network namespaces stand in for those."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def two_hosts():
    """Return the names of two namespaces that share nothing but a cable between them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"emds-{os.getpid()}-{side}" for side in "ab"]
    try:
        ip("netns", "add", names[0])
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        ip("netns", "add", names[1])
        cable = ("cable0", "netns", names[0], "type", "veth", "peer", "cable1", "netns", names[1])
        ip("link", "add", *cable)
        for place, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.213.7.{place + 1}/24", "dev", f"cable{place}")
            ip("-n", name, "link", "set", f"cable{place}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        # By its default route a host finds out under which address others reach it.
        ip("-n", names[0], "route", "add", "default", "via", "10.213.7.2")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_workers_on_another_host_give_the_bytes_of_a_plain_run(two_hosts, place, emds_ok):
    scheduler, elsewhere = two_hosts
    section = tifffile.imread("raw.tif")[0]
    rng = np.random.default_rng(0)
    tifffile.imwrite("deep.tif", rng.permuted(np.stack([section] * 64), axis=0))
    options = ("--checkpoint", "model.pt", "--block-shape", "16", "256", "256")
    (place / "plain").mkdir()
    emds_ok("run", "deep.tif", "--out", "plain/seg.zarr", *options)

    # Each worker notes which network devices it sees, and then begins.
    note = 'ls /sys/class/net >> devices.txt; exec "$@"'
    launcher = f"ip netns exec {elsewhere} sh -c '{note}' worker"
    done = subprocess.run(
        [
            *("ip", "netns", "exec", scheduler, sys.executable, "-m", "emds"),
            *("run", "deep.tif", "--out", "seg.zarr", *options),
            *("--workers", "2", "--launcher", launcher),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    seen = (place / "devices.txt").read_text().split()
    assert seen.count("cable1") >= 2
    assert "cable0" not in seen
    assert files(place / "seg.zarr") == files(place / "plain/seg.zarr")


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
