"""Data sets by their published layouts and splits, as data.

AC3 and AC4 are the labelled parts of the volume of Kasthuri et al. 2015, in HDF5 files with one
array, ``main``, as the group behind the paper keeps them. CREMI is read as cremi.org gives it,
or in that group's form. Of CREMI's 1250 × 1250 pixels the paper uses 1024 × 1024, of which it
does not say where they lie; here it is the centre.

The paper chose checkpoints on the test sections. Here the last training sections are held out
for that, with a gap, since neighbouring sections are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emds.datasets.description import Range


@dataclass(frozen=True, slots=True)
class Files:
    """Names that a file may have, the first that is there is taken, and the array in it."""

    names: tuple[str, ...]
    key: str
    sections: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A published data set.

    Attributes
    ----------
    raw, labels : tuple of Files
        Alternatives, the first whose file is there is taken.
    test_raw, test_labels : tuple of Files
        Of the test sections; empty where they are in the same volume.
    train, validation, test : (int, int)
        Half-open.
    side : int or None
        Sections are cut to the central square of so many pixels.
    noise : tuple of str
        Kinds the paper adds.
    license, attribution : str
        For weights that are trained on it.
    """

    raw: tuple[Files, ...]
    labels: tuple[Files, ...]
    train: Range
    validation: Range
    test: Range
    test_raw: tuple[Files, ...] = ()
    test_labels: tuple[Files, ...] = ()
    side: int | None = None
    noise: tuple[str, ...] = ("gaussian-poisson", "film")
    license: str = "unstated"
    attribution: str = ""


def _single(name: str, key: str, sections: int) -> tuple[Files, ...]:
    return (Files((name,), key, sections),)


def _cremi(letter: str) -> Layout:
    official = (f"sample_{letter}_20160501.hdf", f"sample_{letter}.hdf")
    inputs = (f"cremi{letter}_inputs_interp.h5", f"cremi{letter}_inputs.h5")
    return Layout(
        raw=(Files(official, "volumes/raw", 125), Files(inputs, "main", 125)),
        labels=(
            Files(official, "volumes/labels/neuron_ids", 125),
            Files((f"cremi{letter}_labels.h5",), "main", 125),
        ),
        train=(0, 64),
        validation=(65, 75),
        test=(75, 125),
        side=1024,
        noise=("gaussian-poisson",),
    )


LAYOUTS: Mapping[str, Layout] = {
    "ac4": Layout(
        raw=_single("AC3_inputs.h5", "main", 256),
        labels=_single("AC3_labels.h5", "main", 256),
        train=(0, 230),
        validation=(232, 256),
        test_raw=_single("AC4_inputs.h5", "main", 100),
        test_labels=_single("AC4_labels.h5", "main", 100),
        test=(0, 100),
    ),
    "cremi-a": _cremi("A"),
    "cremi-b": _cremi("B"),
    "cremi-c": _cremi("C"),
    "flyem": Layout(
        raw=_single("flyem_medulla.h5", "volumes/raw", 200),
        labels=_single("flyem_medulla.h5", "volumes/labels/neuron_ids", 200),
        train=(56, 200),
        validation=(36, 52),
        test=(0, 32),
        license="CC BY",
        attribution=(
            "Trained on FIB-SEM data of the Drosophila medulla by the FlyEM project team, Janelia "
            "Research Campus (Takemura et al., PNAS 2015), CC BY; networks derived from it."
        ),
    ),
    "vnc": Layout(
        raw=_single("vnc_larva_stack1.h5", "volumes/raw", 20),
        labels=_single("vnc_larva_stack1.h5", "volumes/labels/neuron_ids_2d_cc", 20),
        train=(0, 12),
        validation=(13, 15),
        test=(16, 20),
        noise=("gaussian-poisson",),
        license="CC BY-NC-SA 3.0",
        attribution=(
            "Trained on ssTEM data of a Drosophila larva's ventral nerve cord, Gerhard et al., "
            "doi:10.6084/m9.figshare.856713, CC BY-NC-SA 3.0."
        ),
    ),
}
"""By name; `ac4` trains on AC3 and is tested on AC4."""
