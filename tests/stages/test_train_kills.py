"""A training that was killed anywhere and goes on leaves what an undisturbed one leaves."""

import logging

import pytest
from killing import KilledError, calls_of, described, dying_at, outcome_of_training
from toy_cells import write_cells

from emds.config import load_train_config
from emds.errors import CheckpointError, OutputExistsError, UsageError
from emds.execution.presence import held
from emds.stages.train import train
from emds.training.run_folder import RunFolder

OURS = {"best.pt", "last.pt", "metrics.jsonl", "state.pt", "train.json"}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    write_cells(folder, 4, 2, voxel_size=(30.0, 8.0, 8.0))
    return folder


@pytest.fixture(scope="module")
def config(cells):
    """Steps 1 to 4, judged at 2 and 4, kept at 3 and 4."""
    options = {"recipe": "dn_only", "width": "tiny", "crop": 16, "batch_size": 1, "steps": 4}
    options |= {"log_every": 1, "save_every": 3, "validation": {"every": 2, "sections": 1}}
    return load_train_config("cpu", options=options | {"data": {"raw": str(cells / "raw.h5")}})


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    calls = calls_of(lambda: train(config, folder, device="cpu"))
    return calls, outcome_of_training(folder)


def go_on(config, folder, **options):
    """Do what a user does after a kill."""
    begun = RunFolder(folder).is_begun()
    train(config, folder, device="cpu", resume=begun, **options)


def test_a_run_has_these_files(undisturbed):
    calls, outcome = undisturbed
    assert set(outcome["files"]) == OURS
    assert calls > 20


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_anywhere_and_resumed_is_the_undisturbed_one(
    tmp_path, config, undisturbed, every
):
    calls, outcome = undisturbed
    for call in range(0, calls, every):
        folder = tmp_path / f"at-{call}"
        with pytest.raises(KilledError), dying_at(call):
            train(config, folder, device="cpu")
        go_on(config, folder)
        assert outcome_of_training(folder) == outcome, call


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_is_the_undisturbed_one(tmp_path, config, undisturbed):
    """Each start lives for one call longer than the last, so that every one is killed in all."""
    calls, outcome = undisturbed
    for call in range(calls):
        try:
            with dying_at(call):
                go_on(config, tmp_path / "run")
            break
        except KilledError:
            pass
    assert call > 10
    assert outcome_of_training(tmp_path / "run") == outcome


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_replaces_another_is_the_undisturbed_one(
    tmp_path, config, undisturbed
):
    """And what is not its own is never touched."""
    calls, outcome = undisturbed
    other = config.model_copy(update={"seed": 1})
    for call in range(0, calls, 3):
        folder = tmp_path / f"at-{call}"
        train(other, folder, device="cpu")
        (folder / "notes.txt").write_text("all of it")
        with pytest.raises(KilledError), dying_at(call):
            train(config, folder, device="cpu", overwrite=True)
        assert (folder / "notes.txt").read_text() == "all of it"
        train(config, folder, device="cpu", overwrite=True)
        (folder / "notes.txt").unlink()
        assert outcome_of_training(folder) == outcome, call


def test_a_run_that_was_killed_before_its_first_state_goes_on_with_a_word(
    tmp_path, config, undisturbed, caplog
):
    logging.getLogger("emds").propagate = True
    with pytest.raises(KilledError), dying_at(5):  # its mark is there, and no more
        train(config, tmp_path / "run", device="cpu")
    assert {path.name for path in (tmp_path / "run").iterdir()} - {".state.pt.emds"} <= {
        "train.json",
        *(p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")),
    }
    with pytest.raises(OutputExistsError, match="--resume"):
        train(config, tmp_path / "run", device="cpu")
    train(config, tmp_path / "run", device="cpu", resume=True)
    assert "starts at step 0" in caplog.text
    assert outcome_of_training(tmp_path / "run") == undisturbed[1]


def test_overwriting_removes_the_files_of_a_run_and_no_other(tmp_path, config):
    folder = tmp_path / "run"
    train(config, folder, device="cpu")
    theirs = {"notes.txt": "a", "raw.h5": "b", "metrics.jsonl.bak": "c", "deep/best.pt": "d"}
    for name, text in theirs.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (tmp_path / "elsewhere.txt").write_text("e")
    (folder / "link").symlink_to(tmp_path / "elsewhere.txt")
    before = described(folder / "last.pt")
    train(config.model_copy(update={"seed": 7}), folder, device="cpu", overwrite=True)
    assert described(folder / "last.pt") != before
    assert {name: (folder / name).read_text() for name in theirs} == theirs
    assert (folder / "link").is_symlink()
    assert (tmp_path / "elsewhere.txt").read_text() == "e"


@pytest.mark.parametrize(
    "names", [["metrics.jsonl"], ["state.pt", "best.pt"], ["thesis.txt"], ["train.json"]]
)
def test_a_folder_without_the_mark_of_a_run_is_left_alone(tmp_path, config, names):
    """Names that a run uses are no mark: others write files of such names, too."""
    folder = tmp_path / "precious"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("mine")
    with pytest.raises(OutputExistsError, match="something other than a training run"):
        train(config, folder, device="cpu", overwrite=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(
        names, "mine"
    )


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_link_that_has_the_name_of_a_file_of_the_run_is_not_followed(tmp_path, config, name):
    folder = tmp_path / "run"
    train(config, folder, device="cpu")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputExistsError, match=r"in the way|something other"):
            train(config, folder, device="cpu", **options)
    assert (tmp_path / name).read_bytes() == before


def test_a_run_from_before_there_were_marks_is_resumed_and_then_marked(tmp_path, config):
    folder = tmp_path / "run"
    train(config, folder, device="cpu")
    (folder / "train.json").unlink()
    with pytest.raises(OutputExistsError, match="did not mark"):
        train(config, folder, device="cpu", overwrite=True)
    train(config, folder, device="cpu", resume=True)
    train(config, folder, device="cpu", overwrite=True)


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"PK")])
def test_a_run_whose_best_checkpoint_is_lost_is_not_resumed(tmp_path, config, damage):
    folder = tmp_path / "run"
    train(config, folder, device="cpu")
    damage(folder / "best.pt")
    with pytest.raises(CheckpointError, match="best checkpoint is lost"):
        train(config, folder, device="cpu", resume=True)


@pytest.mark.parametrize("name", ["last.pt", "metrics.jsonl"])
def test_what_follows_from_the_state_is_made_again(tmp_path, config, undisturbed, name):
    folder = tmp_path / "run"
    train(config, folder, device="cpu")
    (folder / name).unlink()
    train(config, folder, device="cpu", resume=True)
    assert outcome_of_training(folder) == undisturbed[1]


def test_a_damaged_state_is_refused(tmp_path, config):
    folder = tmp_path / "run"
    train(config, folder, device="cpu")
    whole = bytearray((folder / "state.pt").read_bytes())
    whole[len(whole) // 2] ^= 1
    (folder / "state.pt").write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        train(config, folder, device="cpu", resume=True)
    (folder / "state.pt").write_bytes((folder / "last.pt").read_bytes())
    with pytest.raises(CheckpointError, match="not the state of a run"):
        train(config, folder, device="cpu", resume=True)


def test_two_processes_do_not_share_a_run(tmp_path, config):
    folder = tmp_path / "run"
    train(config, folder, device="cpu")
    before = outcome_of_training(folder)
    with held(folder):
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(OutputExistsError, match="another process"):
                train(config, folder, device="cpu", **options)
    assert outcome_of_training(folder) == before


def test_a_run_whose_numbers_fit_no_checkpoint_is_refused_before_it_begins(tmp_path, config):
    with pytest.raises(UsageError, match="crop = 4104"):
        train(config.model_copy(update={"crop": 4104}), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
