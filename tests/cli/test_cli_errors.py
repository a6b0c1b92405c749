"""Every mistake a user can make: one message, the documented exit code, no damaged file."""

import errno
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from emds.cli import reporting
from emds.cli.app import app

NOISE = ("simulate-noise", "raw.tif", "--type", "gaussian")
RUN = ("run", "raw.tif", "--checkpoint", "model.pt", "--out", "seg.zarr")
TRAIN = ("train", "raw.tif", "labels.tif", "--device", "cpu", "--out", "run")
EVALUATE = ("evaluate", "labels.tif", "gt.h5")


def write(name, values):
    tifffile.imwrite(name, values, photometric="minisblack")


def left_behind(place):
    """Return outputs, whole or partial, that should not be there."""
    return [path.name for path in place.iterdir() if path.suffix in (".zarr", ".partial")]


# ---- options


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("runn",), "'run'"),
        (("simulate_noise", "raw.tif"), "'simulate-noise'"),
        (("--verbos",), "--verbose"),
        ((*RUN, "--min-sise", 3), "--min-size"),
        ((*RUN, "--overlapp", 0, 8, 8), "--overlap"),
        ((*TRAIN, "--recipes", "joint"), "--recipe"),
    ],
)
def test_a_misspelt_name_brings_the_nearest_one(place, emds_fails, arguments, hint):
    message = emds_fails(2, *arguments)
    assert hint in message
    assert "--help'" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (RUN[:4], "--out"),
        (("simulate-noise", "raw.tif"), "--type"),
        (("simulate-noise", "raw.tif", "--type", "gausian"), "gaussian-poisson"),
        ((*NOISE, "--sigma", 9, 3), "low <= high"),
        ((*NOISE, "--sigma", -1, 3), "sigma"),
        ((*NOISE, "--film-kernel", 5), "gaussian noise has no option 'kernel'"),
        ((*NOISE, "--roi", "0:99"), "(8, 64, 64)"),
        ((*NOISE, "--roi", "3:3"), "non-empty"),
        ((*NOISE, "--roi", "front"), "z0:z1,y0:y1,x0:x1"),
        ((*NOISE, "--seed", -1), "--seed"),
        ((*NOISE, "--out", "out.jpg"), ".zarr"),
        ((*NOISE, "--out", "nowhere/out.zarr"), "nowhere"),
        ((*RUN, "--tile", 2, 64, 64), "--tile"),
        ((*RUN, "--tile", 1, 60, 60), "multiple of 8"),
        ((*RUN, "--overlap", 0, 99, 99), "overlap"),
        ((*RUN, "--device", "gpu"), "--device"),
        ((*RUN, "--precision", "fp8"), "bf16"),
        ((*RUN, "--uncertainty"), "give --tta as well"),
        (("segment", *RUN[1:], "--uncertainty"), "--uncertainty"),
        ((*RUN, "--backend", "nifty"), "numba"),
        ((*RUN, "--voxel-size", 4, 4), "--voxel-size"),
        (("evaluate",), "nothing to evaluate"),
        (("evaluate", "labels.tif"), "ground truth"),
        (("evaluate", "--denoised", "raw.tif"), "--clean"),
        ((*EVALUATE, "--protocol", "loose"), "strict"),
        ((*EVALUATE, "--convention", "elf"), "skimage"),
        ((*TRAIN, "--train", "6:2"), "z0:z1"),
        ((*TRAIN, "--train", "0:99"), "within the 8 sections"),
        ((*TRAIN, "--train", "0:6", "--validation", "5:8"), "must not overlap"),
        ((*TRAIN, "--init", "denoiser"), "denoiser=PATH"),
        ((*TRAIN, "--recipe", "joined"), "joint"),
        ((*TRAIN, "--recipe", "sequential"), "--init denoiser=PATH"),
        ((*TRAIN, "--preset", "gpu"), "there are paper, modern, cpu"),
        ((*TRAIN, "--set", "optimizer.learning_rate=1"), "Known here: name, lr"),
        ((*TRAIN, "--set", "optimiser.lr=1"), "Did you mean 'optimizer'"),
        ((*TRAIN, "--set", "steps"), "KEY=VALUE"),
        ((*TRAIN, "--set", "crop=30"), "crop"),
        ((*TRAIN, "--resume"), "nothing to resume"),
        ((*TRAIN, "--config", "absent.yaml"), "absent.yaml"),
        (("train", "--out", "run"), "RAW"),
    ],
    ids=lambda value: " ".join(map(str, value[-2:])) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_a_usage_error(place, emds_fails, arguments, words):
    assert words in emds_fails(2, *arguments)
    assert left_behind(place) == []
    assert not (place / "run").exists()


def test_unknown_keys_of_a_config_file_are_named(place, emds_fails):
    (place / "config.yaml").write_text("stepps: 3\nnoise: {models: [{kind: film, kernal: 3}]}\n")
    message = emds_fails(2, *TRAIN, "--config", "config.yaml")
    assert "'stepps'. Did you mean 'steps'?" in message
    assert "Did you mean 'kernel'?" in message


def test_without_a_command_the_help_is_shown_and_nothing_done(emds):
    outcome = emds()
    assert outcome.code == 2
    assert "simulate-noise" in outcome.stderr
    assert outcome.stdout == ""


# ---- inputs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("simulate-noise", "absent.tif", "--type", "film"), "absent.tif"),
        (("run", "absent.tif", "-m", "model.pt", "-o", "seg.zarr"), "absent.tif"),
        (("run", "gt.h5", "-k", "volumes/row", "-m", "model.pt", "-o", "seg.zarr"), "volumes/row"),
        ((*RUN[:2], "-m", "absent.pt", "-o", "seg.zarr"), "absent.pt"),
        (("evaluate", "absent.zarr", "gt.h5"), "absent.zarr"),
        (("evaluate", "raw.tif/x", "gt.h5"), "raw.tif"),
        (("info", "absent"), "absent"),
        (("train", "absent.tif", "--out", "run"), "absent.tif"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_is_missing_is_named(place, emds_fails, arguments, words):
    assert words in emds_fails(3, *arguments)
    assert left_behind(place) == []


def test_an_ambiguous_file_lists_its_arrays(place, emds_fails):
    with h5py.File("two.h5", "w") as file:
        for name in ("first", "second"):
            file[name] = np.zeros((2, 32, 32), np.uint8)
    message = emds_fails(3, "run", "two.h5", "-m", "model.pt", "-o", "seg.zarr")
    assert "first" in message
    assert "second" in message
    assert left_behind(place) == []


def with_nan():
    values = np.zeros((2, 32, 32), np.float32)
    values[1, 3, 4] = np.nan
    return values


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (np.zeros((2, 32, 32), np.float32), (), "uint8"),
        (with_nan(), ("--intensity", 0, 1), "NaN"),
        (np.full((2, 32, 32), 7, np.uint8), (), "constant"),
        (np.zeros((2, 32, 32), np.complex64), (), "complex"),
    ],
    ids=["type", "nan", "constant", "complex"],
)
def test_an_image_that_cannot_be_denoised(place, emds_fails, values, options, words):
    np.save("values.npy", values)
    with h5py.File("bad.h5", "w") as file:
        file["raw"] = values
    message = emds_fails(3, "run", "bad.h5", "-m", "model.pt", "-o", "seg.zarr", *options)
    assert words in message
    assert "bad.h5" in message
    assert left_behind(place) == []


def test_colour_is_refused(place, emds_fails):
    tifffile.imwrite("colour.tif", np.zeros((2, 32, 32, 3), np.uint8), photometric="rgb")
    for command in (
        ("simulate-noise", "colour.tif", "--type", "film"),
        ("run", "colour.tif", "-m", "model.pt", "-o", "seg.zarr"),
        ("evaluate", "colour.tif", "gt.h5"),
    ):
        assert "colour.tif" in emds_fails(3, *command)
    assert left_behind(place) == []


def test_noise_is_for_grey_levels(place, emds_fails):
    write("wide.tif", np.zeros((2, 32, 32), np.uint16))
    assert "uint8" in emds_fails(3, "simulate-noise", "wide.tif", "--type", "film")


def test_a_volume_smaller_than_a_tile_is_no_error(place, emds_ok):
    write("small.tif", np.arange(2 * 9 * 11, dtype=np.uint8).reshape(2, 9, 11))
    emds_ok("run", "small.tif", "-m", "model.pt", "-o", "seg.zarr")


def test_a_damaged_file_is_not_read_as_zeros(place, emds_fails):
    whole = Path("raw.tif").read_bytes()
    Path("cut.tif").write_bytes(whole[: len(whole) // 2])
    emds_fails(3, "simulate-noise", "cut.tif", "--type", "film")
    assert left_behind(place) == []


@pytest.mark.parametrize("name", ["labels.tif", "small.tif"])
def test_shapes_that_differ_are_named(place, emds_fails, name):
    write("small.tif", np.ones((3, 20, 20), np.uint16))
    write("other.tif", np.ones((4, 64, 64), np.uint16))
    message = emds_fails(3, "evaluate", "other.tif", name)
    assert "(4, 64, 64)" in message
    assert ("(8, 64, 64)" if name == "labels.tif" else "(3, 20, 20)") in message
    message = emds_fails(3, "train", "raw.tif", "other.tif", "--out", "run")
    assert "(4, 64, 64)" in message
    assert not (place / "run").exists()


def test_labels_without_objects_cannot_be_scored(place, emds_fails):
    write("empty.tif", np.zeros((8, 64, 64), np.uint16))
    assert "gt.h5" not in emds_fails(3, "evaluate", "labels.tif", "empty.tif")
    emds_fails(3, "evaluate", "empty.tif", "gt.h5")


# ---- checkpoints


class Attack:
    """A pickle that leaves a file behind when it is loaded."""

    def __reduce__(self):
        return exec, ("open('executed', 'w').close()",)


def zipped_pickle(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weights": Attack()}, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def bare_pickle(path):
    path.write_bytes(pickle.dumps(Attack(), protocol=2))


@pytest.mark.parametrize("make", [zipped_pickle, bare_pickle])
def test_a_malicious_checkpoint_is_refused_and_not_executed(place, emds_fails, make):
    evil = place / "evil.pt"
    make(evil)
    emds_fails(3, "run", "raw.tif", "-m", "evil.pt", "-o", "seg.zarr")
    emds_fails(3, "info", "evil.pt")
    emds_fails(3, *TRAIN, "--set", "crop=32", "--init", "denoiser=evil.pt", "--recipe", "dn_only")
    assert not (place / "executed").exists()
    assert left_behind(place) == []


def test_the_malicious_checkpoint_would_have_worked(place):
    bare_pickle(place / "evil.pt")
    code = "import pickle; pickle.load(open('evil.pt', 'rb'))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (place / "executed").exists()


def test_a_damaged_checkpoint_is_refused(place, emds_fails):
    whole = (place / "model.pt").read_bytes()
    (place / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (place / "text.pt").write_text("not a model")
    for name in ("cut.pt", "text.pt", "raw.tif"):
        assert name in emds_fails(3, "run", "raw.tif", "-m", name, "-o", "seg.zarr")
    assert left_behind(place) == []


def test_a_checkpoint_without_the_needed_part_says_what_it_has(
    place, emds_fails, random_checkpoint
):
    random_checkpoint(place / "dn.pt", ("denoiser",))
    for command in ("run", "segment"):
        message = emds_fails(3, command, "raw.tif", "-m", "dn.pt", "-o", "seg.zarr")
        assert "no segmenter, only denoiser" in message


def test_without_the_shipped_checkpoint_the_way_out_is_named(place, emds_fails, monkeypatch):
    monkeypatch.setattr("emds.pretrained.files", lambda _: place)
    for command in ("run", "denoise", "segment"):
        message = emds_fails(3, command, "raw.tif", "--out", "seg.zarr")
        assert "--checkpoint" in message
        assert "emds train" in message


# ---- outputs


@pytest.mark.parametrize(
    "command",
    [
        (*NOISE, "--out", "old.zarr"),
        ("run", "raw.tif", "-m", "model.pt", "-o", "old.zarr"),
        ("denoise", "raw.tif", "-m", "model.pt", "-o", "old.zarr"),
        ("segment", "raw.tif", "-m", "model.pt", "-o", "old.zarr"),
    ],
    ids=lambda command: command[0],
)
def test_an_existing_output_is_left_alone(place, emds_ok, emds_fails, command):
    emds_ok(*NOISE, "--out", "old.zarr")
    before = {p: p.read_bytes() for p in Path("old.zarr").rglob("*") if p.is_file()}
    assert "--overwrite" in emds_fails(4, *command)
    assert {p: p.read_bytes() for p in Path("old.zarr").rglob("*") if p.is_file()} == before
    emds_ok(
        *command,
        "--seed" if command[0] == "simulate-noise" else "--overwrite",
        *(("1", "--overwrite") if command[0] == "simulate-noise" else ()),
    )
    assert {p: p.read_bytes() for p in Path("old.zarr").rglob("*") if p.is_file()} != before


def test_an_unfinished_output_is_pointed_out(place, emds_fails):
    (place / "seg.zarr.partial").mkdir()
    assert "seg.zarr.partial" in emds_fails(4, *RUN)


def test_a_folder_that_is_no_output_is_never_overwritten(place, emds_fails):
    (place / "seg.zarr").mkdir()
    (place / "seg.zarr" / "thesis.tex").write_text("years of work")
    emds_fails(2, *RUN, "--overwrite")
    assert (place / "seg.zarr" / "thesis.tex").read_text() == "years of work"


def test_a_run_folder_with_something_in_it_is_left_alone(place, emds_fails):
    (place / "run").mkdir()
    (place / "run" / "notes.txt").write_text("mine")
    for options in ((), ("--overwrite",)):
        emds_fails(4, *TRAIN, *options)
    assert (place / "run" / "notes.txt").read_text() == "mine"


# ---- bugs and interruptions


@pytest.fixture
def broken_info(monkeypatch):
    """Return a function that makes `emds info` raise."""

    def breaks_with(error):
        def info(_):
            raise error

        monkeypatch.setattr("emds.stages.info.info", info)

    return breaks_with


def test_a_bug_says_that_it_is_one(emds, broken_info):
    broken_info(KeyError("lost"))
    outcome = emds("info", "x")
    assert outcome.code == 1
    assert outcome.stderr.startswith("emds: error: this is a bug in emds: KeyError: 'lost'.")
    assert outcome.stderr.count("\n") == 1
    assert "--debug" in outcome.stderr


def wrapped(error):
    """What a library makes of an error of the machine."""
    try:
        try:
            raise error
        except OSError as cause:
            raise RuntimeError("PytorchStreamWriter failed writing file") from cause
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "seg.zarr"), "device: seg.zarr.\n"),
        (MemoryError(), "out of memory. Lower --batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory. Lower --batch-size"),
        (OSError(errno.EFBIG, "File too large", "a.h5"), "File too large (ulimit -f): a.h5.\n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory. Lower --batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory."),
        (RuntimeError("can't start new thread"), "out of memory."),
        (ImportError("libx.so: failed to map segment from shared object"), "out of memory."),
        (wrapped(OSError(errno.ENOSPC, "No space left on device", "a.pt")), "device: a.pt.\n"),
    ],
)
def test_a_machine_that_fails_is_no_bug(emds, broken_info, error, words):
    broken_info(error)
    outcome = emds("info", "x")
    assert outcome.code == 1
    assert words in outcome.stderr
    assert "bug" not in outcome.stderr


def test_debug_shows_the_traceback(broken_info):
    broken_info(KeyError("lost"))
    result = CliRunner().invoke(app, ["info", "x", "--debug"])
    assert isinstance(result.exception, KeyError)
    with pytest.raises(KeyError):
        CliRunner().invoke(app, ["--debug", "info", "x"], catch_exceptions=False)


def test_ctrl_c_ends_with_130(emds, broken_info):
    broken_info(KeyboardInterrupt())
    outcome = emds("info", "x")
    assert outcome.code == 130
    assert outcome.stderr == "emds: error: stopped by Ctrl-C.\n"


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 75])
def test_every_exit_code_has_its_error(emds, broken_info, code):
    from emds import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kind = next(kind for kind in kinds if kind.exit_code == code)
    broken_info(kind("what, where, what to do"))
    outcome = emds("info", "x")
    assert (outcome.code, outcome.stderr) == (code, "emds: error: what, where, what to do\n")


def test_a_closed_pipe_is_quiet(place):
    command = f"{sys.executable} -m emds info gt.h5 | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, reporting.BROKEN_PIPE)  # 0 where `true` was the slower one


def test_global_flags_may_stand_anywhere(place, emds):
    for arguments in (("-q", *NOISE), (*NOISE, "--overwrite", "-q")):
        outcome = emds(*arguments)
        assert (outcome.code, outcome.stderr) == (0, "")
    outcome = emds(*NOISE, "--overwrite", "--verbose", "--no-progress")
    assert "took " in outcome.stderr
    assert "peak memory " in outcome.stderr
    assert emds("--version", "-q").stdout.startswith("emds 0.")


def test_what_from_affinities_would_ignore_is_refused(place, emds_ok, emds_fails):
    emds_ok("run", "raw.tif", "-m", "model.pt", "--keep-affinities", "-o", "kept.zarr")
    told = emds_fails(
        2, "segment", "kept.zarr", "--from-affinities", "--voxel-size", 1, 1, 1, "-o", "seg.zarr"
    )
    assert "leave out --voxel-size" in told
    told = emds_fails(2, "segment", "kept.zarr", "--from-affinities", "--tta", "-o", "seg.zarr")
    assert "leave out --tta" in told


def test_a_float_image_needs_its_range(place, emds_ok, emds_fails):
    values = tifffile.imread("raw.tif").astype(np.float32)
    tifffile.imwrite("float.tif", values, photometric="minisblack")
    pair = ("evaluate", "--denoised", "float.tif", "--clean", "float.tif")
    assert "--data-range" in emds_fails(2, *pair)
    assert "PSNR" in emds_ok(*pair, "--data-range", 255)


def test_a_zip_that_is_cut_off_is_no_bug(place, emds_fails):
    (place / "cut.pt").write_bytes((place / "model.pt").read_bytes()[-2000:])
    assert "cut.pt" in emds_fails(3, "info", "cut.pt")
