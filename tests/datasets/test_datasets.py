"""Data sets: found by their published layouts, refused by name where a file is not as expected."""

import h5py
import numpy as np
import pytest

from emds.datasets import PUBLISHED, Dataset, find_dataset
from emds.errors import ConfigError, DataError, UsageError
from emds.geometry import Roi


def write(path, key, shape, dtype, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        file.create_dataset(key, data=np.full(shape, value, dtype))


def write_ac(folder, sections=(256, 100), side=16):
    for name, depth in zip(("AC3", "AC4"), sections):
        write(folder / f"{name}_inputs.h5", "main", (depth, side, side), np.uint8)
        write(folder / f"{name}_labels.h5", "main", (depth, side, side), np.uint16)


def write_cremi(folder, letter, side=20):
    path = folder / f"sample_{letter}_20160501.hdf"
    write(path, "volumes/raw", (125, side, side), np.uint8)
    write(path, "volumes/labels/neuron_ids", (125, side, side), np.uint64)


def test_ac4_trains_on_ac3_and_tests_on_all_of_ac4(tmp_path):
    write_ac(tmp_path / "deep" / "inside")
    data = find_dataset("ac4", tmp_path)
    assert data.raw.endswith("AC3_inputs.h5:main")
    assert data.tested_labels.endswith("AC4_labels.h5:main")
    assert (data.train, data.validation, data.test) == ((0, 230), (232, 256), (0, 100))
    assert data.rows is None
    assert data.noise == ("gaussian-poisson", "film")


@pytest.mark.parametrize("letter", "ABC")
def test_cremi_as_published(tmp_path, letter):
    write_cremi(tmp_path, letter)
    data = find_dataset(f"cremi-{letter.lower()}", tmp_path)
    assert data.raw.endswith(f"sample_{letter}_20160501.hdf:volumes/raw")
    assert data.labels.endswith(":volumes/labels/neuron_ids")
    assert (data.train, data.validation, data.test) == ((0, 64), (65, 75), (75, 125))


def test_cremi_sections_are_cut_to_the_central_square(tmp_path):
    path = tmp_path / "sample_A_20160501.hdf"
    for key, dtype in (("volumes/raw", np.uint8), ("volumes/labels/neuron_ids", np.uint64)):
        with h5py.File(path, "a") as file:  # chunks nobody writes take no space
            file.create_dataset(key, (125, 1250, 1250), dtype, chunks=(1, 250, 250))
    data = find_dataset("cremi-a", tmp_path)
    assert (data.rows, data.columns) == ((113, 1137), (113, 1137))
    assert data.test_box((125, 1250, 1250)) == Roi((75, 113, 113), (50, 1024, 1024))


def test_cremi_in_the_form_of_the_papers_group(tmp_path):
    write(tmp_path / "cremiB_inputs_interp.h5", "main", (125, 8, 8), np.uint8)
    write(tmp_path / "cremiB_labels.h5", "main", (125, 8, 8), np.uint32)
    assert find_dataset("cremi-b", tmp_path).raw.endswith("cremiB_inputs_interp.h5:main")


def test_open_volumes_have_their_splits(em_data):
    flyem = find_dataset("flyem", em_data)
    assert (flyem.train, flyem.validation, flyem.test) == ((56, 200), (36, 52), (0, 32))
    vnc = find_dataset("vnc", em_data)
    assert vnc.labels.endswith("neuron_ids_2d_cc")
    assert vnc.noise == ("gaussian-poisson",)


def test_a_few_lines_of_yaml_describe_any_volume(tmp_path):
    write(tmp_path / "data" / "mine.h5", "raw", (10, 8, 8), np.uint8)
    write(tmp_path / "data" / "mine.h5", "ids", (10, 8, 8), np.uint32)
    file = tmp_path / "data" / "mine.yaml"
    file.write_text(
        "raw: mine.h5:raw\nlabels: mine.h5:ids\ntrain: [0, 5]\nvalidation: [6, 7]\ntest: [8, 10]\n"
    )
    data = find_dataset(str(file), tmp_path / "elsewhere")
    assert data.name == "mine"
    assert data.raw == str(tmp_path / "data" / "mine.h5:raw")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("train: [0, 7]\nvalidation: [6, 7]\ntest: [8, 10]", "train = 0:7 and validation = 6:7"),
        ("train: [0, 5]\nvalidation: [6, 7]\ntest: [6, 10]", "validation = 6:7 and test = 6:10"),
        ("train: [5, 5]\nvalidation: [6, 7]\ntest: [8, 10]", "train = 5:5 must be a non-empty"),
        ("train: [0, 5]\nvalidation: [6, 7]", "test: Field required"),
        ("trian: [0, 5]\ntrain: [0, 5]\nvalidation: [6, 7]\ntest: [8, 9]", "trian: Extra inputs"),
    ],
)
def test_a_wrong_description_is_refused_by_field(tmp_path, lines, message):
    file = tmp_path / "mine.yaml"
    file.write_text(f"raw: mine.h5:raw\nlabels: mine.h5:ids\n{lines}\n")
    with pytest.raises(ConfigError, match=message):
        find_dataset(str(file), tmp_path)


def test_a_missing_file_is_named_with_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"ac4: found no file.*AC3_inputs\.h5 \(array main\)"):
        find_dataset("ac4", tmp_path)
    with pytest.raises(DataError, match=r"sample_C_20160501\.hdf .*or cremiC_inputs_interp\.h5"):
        find_dataset("cremi-c", tmp_path)


def test_two_files_of_one_name_are_not_guessed_between(tmp_path):
    write_ac(tmp_path / "a")
    write_ac(tmp_path / "b")
    with pytest.raises(DataError, match=r"2 files AC3_inputs\.h5"):
        find_dataset("ac4", tmp_path)


def test_another_number_of_sections_is_not_the_published_volume(tmp_path):
    write_ac(tmp_path, sections=(255, 100))
    with pytest.raises(DataError, match=r"\(255, 16, 16\).*256 sections"):
        find_dataset("ac4", tmp_path)


def test_another_key_is_told(tmp_path):
    write_ac(tmp_path)
    (tmp_path / "AC3_labels.h5").unlink()
    write(tmp_path / "AC3_labels.h5", "volume", (256, 16, 16), np.uint16)
    with pytest.raises(DataError, match=r"AC3_labels\.h5.*main"):
        find_dataset("ac4", tmp_path)


def test_labels_of_another_shape_and_images_of_another_type_are_refused(tmp_path):
    write_ac(tmp_path)
    (tmp_path / "AC4_labels.h5").unlink()
    write(tmp_path / "AC4_labels.h5", "main", (100, 16, 15), np.uint16)
    with pytest.raises(DataError, match=r"one shape.*\(100, 16, 16\).*\(100, 16, 15\)"):
        find_dataset("ac4", tmp_path)
    (tmp_path / "AC3_inputs.h5").unlink()
    write(tmp_path / "AC3_inputs.h5", "main", (256, 16, 16), np.float32)
    with pytest.raises(DataError, match="must be uint8"):
        find_dataset("ac4", tmp_path)


def test_an_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(UsageError, match=", ".join(PUBLISHED)):
        find_dataset("snemi", tmp_path)


def test_ranges_of_two_volumes_may_coincide():
    ranges = {"train": (0, 5), "validation": (6, 7), "test": (0, 5)}
    data = Dataset(name="a", raw="r", labels="l", test_raw="t", test_labels="u", **ranges)
    assert data.tested_raw == "t"
