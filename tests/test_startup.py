"""What starting costs, counted in imports and not in milliseconds."""

import re
import subprocess
import sys

import pytest

# Without pydantic, which Typer itself loads once there are options to check.
HEAVY = {"elf", "h5py", "numba", "numpy", "rich", "scipy", "skimage", "tifffile", "torch", "yaml"}
HEAVY |= {"yaozarrs", "zarr"}


def imported(*arguments: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter loads."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    names = re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, flags=re.MULTILINE)
    assert "emds" in names, "test invalid: emds itself was not seen"
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "emds", "--help"),
        ("-m", "emds", "--version"),
        ("-m", "emds", "run", "--help"),
        ("-m", "emds", "train", "--help"),
        ("-c", "import emds; dir(emds)"),
        ("-c", "from emds import EmdsError, __version__"),
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(arguments):
    assert imported(*arguments) & HEAVY == set()


def test_the_check_sees_what_is_imported():
    assert {"numpy", "emds"} <= imported("-c", "import emds, numpy")


def test_opening_a_volume_needs_no_torch():
    assert "torch" not in imported("-c", "from emds import open_volume, create_volume")


def test_labelling_needs_no_torch():
    """As a worker starts it; a network is loaded where there is a checkpoint."""
    code = (
        "import emds.cli.app; from emds.stages import execute; from emds.segmentation import phases"
    )
    assert "torch" not in imported("-c", code)


def test_every_public_name_resolves():
    import emds

    assert len(emds.__all__) == len(set(emds.__all__))
    assert set(emds.__all__) <= set(dir(emds))
    for name in emds.__all__:
        assert getattr(emds, name).__doc__ if name != "__version__" else emds.__version__


def test_an_unknown_name_is_an_attribute_error():
    import emds

    with pytest.raises(AttributeError, match="has no attribute 'open_volumes'"):
        _ = emds.open_volumes
