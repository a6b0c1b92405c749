"""The model file: whole, harmless, and enough to build the network again."""

import os
import pickle

import pytest
import torch

from emds.errors import CheckpointError
from emds.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.pretrained import shipped_checkpoint
from emds.segmentation.settings import LabelSettings


def make_checkpoint(**changes):
    torch.manual_seed(0)
    network = Architecture(width="tiny", window=16).build()
    fields = {
        "architecture": network.architecture.to_dict(),
        "weights": network.state_dict(),
        "offsets": tuple((0, -reach, 0) for reach in range(1, 11)),
        "attractive": (True,) * 10,
        "crop": 16,
        "recipe": "joint",
        "voxel_size": (10.0, 8.0, 8.0),
    }
    return Checkpoint(**(fields | changes))


def save_as_before_there_were_hashes(checkpoint, path, *absent, **changes):
    """Write format 1, without the fields in `absent`."""
    save_checkpoint(checkpoint, path)
    content = torch.load(path, weights_only=True)
    labels = content.pop("labels")
    content |= {name: labels[name] for name in ("mutex_strides", "min_size", "bias")}
    for name in (*absent, "sha256"):
        del content[name]
    torch.save(content | {"format": 1} | changes, path)


def test_a_saved_checkpoint_comes_back(tmp_path):
    saved = make_checkpoint()
    save_checkpoint(saved, tmp_path / "model.pt")
    loaded = load_checkpoint(tmp_path / "model.pt")
    image = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.build()(image).fused, saved.build()(image).fused, rtol=0, atol=0
        )
    assert loaded.summary()["parameters"] == 344_852
    assert loaded.voxel_size == (10.0, 8.0, 8.0)
    assert loaded.versions["torch"] == torch.__version__


def test_a_network_that_sees_a_stack_comes_back(tmp_path):
    network = Architecture(width="tiny", window=16, in_slices=5, out_slices=3).build()
    stacked = make_checkpoint(
        architecture=network.architecture.to_dict(), weights=network.state_dict()
    )
    save_checkpoint(stacked, tmp_path / "model.pt")
    loaded = load_checkpoint(tmp_path / "model.pt").build()
    assert loaded.architecture == network.architecture
    image = torch.randn(1, 5, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image).fused, network.eval()(image).fused, rtol=0, atol=0)


def test_a_file_from_before_there_were_stacks_holds_a_network_of_one_section(tmp_path):
    new = make_checkpoint()
    save_checkpoint(new, tmp_path / "new.pt")
    architecture = dict(new.architecture)
    del architecture["in_slices"], architecture["out_slices"]
    changes = {"architecture": architecture, "in_slices": 1}
    save_as_before_there_were_hashes(new, tmp_path / "old.pt", **changes)
    old = load_checkpoint(tmp_path / "old.pt")
    assert (old.architecture["in_slices"], old.architecture["out_slices"]) == (1, 1)
    assert old.summary() == load_checkpoint(tmp_path / "new.pt").summary()
    image = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            old.build()(image).fused, new.build()(image).fused, rtol=0, atol=0
        )


def test_a_bias_comes_back_and_a_file_from_before_there_was_one_has_none(tmp_path):
    bias = tuple(channel / 4 for channel in range(10))
    save_checkpoint(make_checkpoint(labels=LabelSettings(bias=bias)), tmp_path / "new.pt")
    assert load_checkpoint(tmp_path / "new.pt").labels.bias == bias
    save_as_before_there_were_hashes(make_checkpoint(), tmp_path / "old.pt", "bias")
    assert load_checkpoint(tmp_path / "old.pt").labels.bias == ()


@pytest.mark.parametrize("bias", [[0.0] * 9, [float("nan")] * 10, [float("inf")] * 10])
def test_a_bias_that_is_no_number_for_each_offset_is_refused(tmp_path, bias):
    save_as_before_there_were_hashes(make_checkpoint(), tmp_path / "model.pt", bias=bias)
    with pytest.raises(CheckpointError, match=r"malformed fields: .*bias"):
        load_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("depth", "voxel_size", "sections", "parameters"),
    [
        (1, (10.0, 10.0, 10.0), 1, 1_368_092),
        (100, (40.0, 4.0, 4.0), 1, 1_368_092),
        (100, None, 1, 1_368_092),
        (7, (10.0, 10.0, 10.0), 7, 595_067),
    ],
)
def test_the_shipped_checkpoints_are_the_three_networks_of_the_paper_in_a_row(
    depth, voxel_size, sections, parameters
):
    network = load_checkpoint(shipped_checkpoint((depth, 99, 99), voxel_size)).build()
    image = torch.randn(1, sections, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prediction = network(image)
        coarse = network.denoiser(image)
        logits = network.segmenter(coarse)
        fused = network.fusion(coarse, logits.sigmoid())
    for got, expected in zip(
        (prediction.coarse, prediction.logits, prediction.fused), (coarse, logits, fused)
    ):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_an_unfinished_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_checkpoint(make_checkpoint(recipe="joint"), path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(make_checkpoint(recipe="dn_only"), path)
    assert load_checkpoint(path).recipe == "joint"
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


class Malicious:
    def __reduce__(self):
        return os.mkdir, (os.environ["EMDS_TEST_TRACE"],)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    trace = tmp_path / "it-ran"
    monkeypatch.setenv("EMDS_TEST_TRACE", str(trace))
    torch.save({"kind": "emds-checkpoint", "format": 1, "weights": Malicious()}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        load_checkpoint(tmp_path / "m.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError, match="not a model file"):
        load_checkpoint(tmp_path / "raw.pt")
    assert not trace.exists()


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-1000])


def garble(path):
    content = bytearray(path.read_bytes())
    content[:200] = b"x" * 200
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_off, garble])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "model.pt"
    save_checkpoint(make_checkpoint(), path)
    damage(path)
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        load_checkpoint(path)


def test_what_is_not_a_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "absent.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not an emds checkpoint"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save({"kind": "emds-checkpoint", "format": 99}, tmp_path / "newer.pt")
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(tmp_path / "newer.pt")
    torch.save({"kind": "emds-checkpoint", "format": 1, "crop": 3}, tmp_path / "short.pt")
    with pytest.raises(CheckpointError, match="architecture"):
        load_checkpoint(tmp_path / "short.pt")


def test_an_architecture_that_says_how_it_was_trained_is_still_read():
    older = make_checkpoint().architecture | {"detach_affinities": True}
    assert make_checkpoint(architecture=older).architecture == make_checkpoint().architecture


def test_weights_of_another_architecture_are_refused():
    weights = dict(make_checkpoint().weights)
    weights.pop("denoiser.encode_full.0.0.weight")
    with pytest.raises(CheckpointError, match="do not fit"):
        make_checkpoint(weights=weights).build()
