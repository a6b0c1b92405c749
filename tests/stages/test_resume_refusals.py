"""A run is not continued by one that would write other bytes: each difference is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import (
    InterruptedHereError,
    contents,
    interrupt_after,
    write_affinities,
    write_checkpoint,
    write_grey,
    write_mask,
)

import emds
from emds.errors import OutputExistsError
from emds.execution import Execution, Shard
from emds.geometry import Roi

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def begun(examples, tmp_path_factory):
    """Each example, begun and left in its first phase."""
    folders = {}
    for name, example in examples.items():
        folders[name] = tmp_path_factory.mktemp(f"begun-{name}")
        with pytest.raises(InterruptedHereError):
            example.run(folders[name], progress=interrupt_after(2))
    return folders


def other_input(example, folder, **changes):
    return example.but(source=str(write_grey(folder / "grey.zarr", **changes)))


def one_voxel(example, folder):
    path = write_grey(folder / "grey.zarr", changed=(0, 3, 3))
    return example.but(source=str(path))


CHANGES = {
    "voxels": (lambda e, t: other_input(e, t, seed=1), "input"),
    "one voxel": (one_voxel, "input"),
    "shape": (lambda e, t: other_input(e, t, shape=(37, 24, 16)), "grid.region"),
    "voxel size": (lambda e, t: other_input(e, t, voxel_size=(40.0, 10.0, 10.5)), "input"),
    "voxel size given": (
        lambda e, t: e.with_options(voxel_size=(9.0, 9.0, 9.0)),
        "place.voxel_size",
    ),
    "weights": (
        lambda e, t: e.but(checkpoint=str(write_checkpoint(t / "model.pt", seed=1))),
        "checkpoint.sha256",
    ),
    "recipe": (
        lambda e, t: e.but(checkpoint=str(write_checkpoint(t / "model.pt", recipe="other"))),
        "checkpoint.recipe",
    ),
    "tile": (lambda e, t: e.with_options(tile=(1, 24, 16)), "tile"),
    "overlap": (lambda e, t: e.with_options(overlap=(0, 4, 0)), "overlap"),
    "batch size": (lambda e, t: e.with_options(batch_size=2), "batch_size"),
    "precision": (lambda e, t: e.with_options(precision="bf16"), "precision"),
    "intensity": (lambda e, t: e.with_options(intensity=(0.0, 250.0)), "intensity"),
    "image": (lambda e, t: e.with_options(image="coarse"), "image"),
    "augmentation": (lambda e, t: e.with_options(tta=True), "tta"),
    "uncertainty": (lambda e, t: e.with_options(tta=True, uncertainty=True), "uncertainty"),
    "mutex strides": (lambda e, t: e.with_options(mutex_strides=(1, 3, 3)), "labels.mutex_strides"),
    "min size": (lambda e, t: e.with_options(min_size=13), "labels.min_size"),
    "backend": (
        lambda e, t: e.with_options(backend="elf", label_block_shape=(48, 24, 16)),
        "labels.backend",
    ),
    "block shape": (lambda e, t: e.with_options(block_shape=(32, 24, 16)), "grid.block_shape"),
    "label block shape": (
        lambda e, t: e.with_options(label_block_shape=(32, 24, 16)),
        "grid.label_block_shape",
    ),
    "chunk shape": (lambda e, t: e.with_options(chunk_shape=(8, 24, 16)), "grid.chunk_shape"),
    "region": (lambda e, t: e.with_options(roi=Roi((0, 0, 0), (35, 24, 16))), "grid.region"),
    "region moved": (lambda e, t: e.with_options(roi=Roi((0, 0, 0), (36, 24, 15))), "grid.region"),
    "mask": (lambda e, t: e.but(mask=str(write_mask(t / "mask.zarr"))), "mask"),
    "affinities kept": (lambda e, t: e.but(keep_affinities=True), "keep_affinities"),
    "command": (lambda e, t: e.but(command="denoise"), "command"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_differs_is_refused_and_the_field_named(examples, begun, tmp_path, change):
    make, field = CHANGES[change]
    other = make(examples["run"], tmp_path)
    folder = begun["run"]
    before = contents(folder)
    for how in ({"resume": True}, {"execution": Execution(shard=Shard(0, 2))}):
        with pytest.raises(OutputExistsError) as refused:
            other.run(folder, **how)
        assert refused.value.exit_code == 4
        assert f"{field} was " in str(refused.value)
    after = contents(folder)
    assert after.pop("out.zarr.partial/.emds/workers.lock", b"") == b""
    before.pop("out.zarr.partial/.emds/workers.lock", None)
    assert after == before


def test_another_version_is_refused(examples, begun, monkeypatch):
    monkeypatch.setattr(emds, "__version__", "99.0")
    with pytest.raises(OutputExistsError, match=r"version was '.*', now '99\.0'"):
        examples["run"].run(begun["run"], resume=True)


def test_another_device_is_refused(examples, begun, monkeypatch):
    import torch

    from emds.networks import device

    monkeypatch.setattr(device, "choose_device", lambda name: torch.device("cuda"))
    with pytest.raises(OutputExistsError, match="device was 'cpu', now 'cuda'"):
        examples["run"].run(begun["run"], resume=True)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda e, t: e.but(source=str(write_affinities(t / "a.zarr", seed=1))), "input"),
        (
            lambda e, t: e.but(
                source=str(
                    write_affinities(
                        t / "a.zarr", attractive=(True, True, True, False, False, True)
                    )
                )
            ),
            "labels.attractive",
        ),
        (lambda e, t: e.with_options(min_size=0), "labels.min_size"),
        (lambda e, t: e.with_options(mutex_strides=(2, 2, 2)), "labels.mutex_strides"),
        (lambda e, t: e.with_options(label_block_shape=(48, 24, 16)), "grid.label_block_shape"),
        (lambda e, t: e.with_options(roi=Roi((4, 0, 0), (32, 24, 16))), "grid.region"),
        (lambda e, t: e.but(mask=str(write_mask(t / "mask.zarr"))), "mask"),
    ],
)
def test_labelling_that_differs_is_refused_and_the_field_named(
    examples, begun, tmp_path, make, field
):
    with pytest.raises(OutputExistsError, match=rf"{field} was "):
        make(examples["segment"], tmp_path).run(begun["segment"], resume=True)


def test_several_differences_are_all_named(examples, begun):
    other = examples["run"].with_options(min_size=1, tile=(1, 24, 16))
    with pytest.raises(OutputExistsError, match=r"labels\.min_size was 12, now 1; tile was"):
        other.run(begun["run"], resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"block_shape": None, "label_block_shape": None},  # those of the run that began
        {"max_memory": 2**26},
        {"max_memory": 2**40},
        {"max_residual": 10**6},
    ],
    ids=str,
)
def test_what_changes_no_byte_is_no_reason_to_refuse(examples, references, tmp_path, change):
    example = examples["run"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(2))
    out = example.with_options(**change).run(tmp_path, resume=True)
    assert contents(out) == references["run"]


def test_where_the_inputs_lie_is_no_reason_to_refuse(examples, tmp_path):
    """Another machine may see the same files elsewhere."""
    example = examples["segment"]
    moved = example.but(source=str(Path(example.request.source).rename(tmp_path / "moved.zarr")))
    try:
        with pytest.raises(InterruptedHereError):
            moved.run(tmp_path, progress=interrupt_after(3))
    finally:
        (tmp_path / "moved.zarr").rename(example.request.source)
    assert example.run(tmp_path, resume=True).is_dir()


def test_a_damaged_record_is_refused(examples, tmp_path):
    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(3))
    (tmp_path / "out.zarr.partial/.emds/run.json").write_text('{"request": ')
    with pytest.raises(OutputExistsError, match=r"run\.json is damaged"):
        example.run(tmp_path, resume=True)
    assert (tmp_path / "out.zarr.partial/.emds/done/contract").is_dir()


def test_a_disk_that_fills_up_is_no_reason_to_refuse(examples, references, tmp_path, monkeypatch):
    """What a run needs at most is asked for once: on resume, most of it may be written."""
    import shutil

    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(3))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    assert contents(example.run(tmp_path, resume=True)) == references["segment"]
