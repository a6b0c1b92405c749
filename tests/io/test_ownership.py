"""What stands beside an output and is not ours stays, whatever is asked; what is ours goes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from layouts import SHAPE, example

from emds.errors import EmdsError, OutputExistsError, UsageError
from emds.files import note_input, one_command, reading, refuse_inputs, write_text, write_whole
from emds.io import create_container, create_volume, open_volume
from emds.io.output import PendingOutput

KINDS = ["out.zarr", "out.tif", "out.h5"]


def state(folder):
    """Everything below a folder: links, folders, files with their content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


def make(target, **how):
    with create_volume(target, shape=SHAPE, dtype="u1", **how) as volume:
        volume.write(volume.roi, example())


# ---- what users may have put there


def a_file(path):
    path.write_text("thesis")


def an_empty_folder(path):
    path.mkdir()


def a_folder_of_data(path):
    path.mkdir()
    (path / "thesis.txt").write_text("all of it")


def an_image_of_emds(path):
    make(path.with_name("copied.zarr"))
    path.with_name("copied.zarr").rename(path)


def a_partial_form_of_another_output(path):
    other = PendingOutput(path.with_name("other.zarr"), overwrite=False, folder=True)
    other.leave()
    other.partial.rename(path)


def a_link_to_a_folder(path):
    (path.parent / "elsewhere").mkdir()
    (path.parent / "elsewhere/thesis.txt").write_text("all of it")
    path.symlink_to("elsewhere")


def a_link_to_a_partial_form(path):
    (path.parent / "away").mkdir()
    left = PendingOutput(path.parent / "away" / path.stem, overwrite=False, folder=True)
    left.leave()
    path.symlink_to(left.partial)


def a_dangling_link(path):
    path.symlink_to("nowhere")


def a_pipe(path):
    os.mkfifo(path)


def a_torn_mark(path):
    (path / ".emds").mkdir(parents=True)
    (path / ".emds/output.json").write_text('{"output": "out.z')
    (path / "thesis.txt").write_text("all of it")


THINGS = [
    a_file,
    an_empty_folder,
    a_folder_of_data,
    an_image_of_emds,
    a_partial_form_of_another_output,
    a_link_to_a_folder,
    a_link_to_a_partial_form,
    a_dangling_link,
    a_pipe,
    a_torn_mark,
]


@pytest.mark.parametrize("claim", ["new", "overwrite", "resume", "share"])
@pytest.mark.parametrize("kind", ["out.zarr", "out.tif"])
@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_what_stands_in_the_place_of_the_partial_form_stays(thing, kind, claim, tmp_path):
    thing(tmp_path / f"{kind}.partial")
    before = state(tmp_path)
    how = {"overwrite": claim == "overwrite", "claim": "new" if claim == "overwrite" else claim}
    with pytest.raises(OutputExistsError, match=r"\.partial' is in the way"):
        PendingOutput(tmp_path / kind, folder=kind == "out.zarr", **how)
    assert state(tmp_path) == before


@pytest.mark.parametrize("kind", ["out.zarr", "out.tif"])
@pytest.mark.parametrize("name", ["replaced.1", "partial.old"])
@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_other_neighbours_are_nothing_to_us(thing, name, kind, tmp_path):
    make(tmp_path / kind)
    thing(tmp_path / f"{kind}.{name}")
    before = state(tmp_path)
    make(tmp_path / kind, overwrite=True)
    after = state(tmp_path)
    assert after.keys() == before.keys()
    beside = [path for path in before if not path.startswith(kind) or name in path]
    assert {path: after[path] for path in beside} == {path: before[path] for path in beside}


def a_note(folder):
    (folder / "notes.txt").write_text("mine")


def labels_of_a_person(folder):
    (folder / "labels/proofread/0").mkdir(parents=True)
    meta = {"zarr_format": 3, "node_type": "array", "attributes": {}}
    (folder / "labels/proofread/0/zarr.json").write_text(json.dumps(meta))


def a_note_beside_the_chunks(folder):
    (folder / "0/notes.txt").write_text("mine")


def a_link(folder):
    (folder / "more").symlink_to("/")


@pytest.mark.parametrize("add", [a_note, labels_of_a_person, a_note_beside_the_chunks, a_link])
def test_an_output_with_something_of_others_in_it_is_not_replaced(add, tmp_path):
    make(tmp_path / "out.zarr")
    add(tmp_path / "out.zarr")
    before = state(tmp_path)
    with pytest.raises(UsageError, match="which emds did not write; it is never overwritten"):
        make(tmp_path / "out.zarr", overwrite=True)
    assert state(tmp_path) == before


def test_a_partial_form_with_something_of_others_in_it_is_not_removed(tmp_path):
    output = PendingOutput(tmp_path / "out.zarr", overwrite=False, folder=True)
    output.leave()
    a_note(output.partial)
    before = state(tmp_path)
    with pytest.raises(OutputExistsError, match=r"notes\.txt.*did not write"):
        make(tmp_path / "out.zarr", overwrite=True)
    assert state(tmp_path) == before


def test_something_put_there_while_an_output_is_made_stays(tmp_path, caplog):
    volume = create_volume(tmp_path / "out.zarr", shape=SHAPE, dtype="u1")
    a_note(tmp_path / "out.zarr.partial")
    volume.close()
    assert (tmp_path / "out.zarr.partial/notes.txt").read_text() == "mine"
    assert "notes.txt" in caplog.text


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_came_meanwhile_is_not_replaced(kind, overwrite, tmp_path):
    """Nobody has said that this one may be."""
    make(tmp_path / f"other{Path(kind).suffix}")
    volume = create_volume(tmp_path / kind, shape=SHAPE, dtype="u1", overwrite=overwrite)
    volume.write(volume.roi, 255 - example())
    (tmp_path / f"other{Path(kind).suffix}").rename(tmp_path / kind)
    with pytest.raises(OutputExistsError, match="not begun to replace it"), volume:
        pass
    assert (open_volume(tmp_path / kind).read() == example()).all()
    assert (tmp_path / f"{kind}.partial").is_dir()  # what was made is kept, too


def test_resume_does_not_replace_what_it_was_not_begun_to_replace(tmp_path):
    left = PendingOutput(tmp_path / "out.zarr", overwrite=False, folder=True)
    left.leave()
    make(tmp_path / "other.zarr")
    (tmp_path / "other.zarr").rename(tmp_path / "out.zarr")
    before = state(tmp_path)
    with pytest.raises(OutputExistsError, match="not begun to replace it"):
        PendingOutput(tmp_path / "out.zarr", overwrite=False, folder=True, claim="resume")
    assert state(tmp_path) == before


@pytest.mark.parametrize("claim", ["resume", "share", "help"])
def test_a_lost_record_does_not_mean_to_start_anew(claim, tmp_path):
    with create_container(tmp_path / "out.zarr") as container:
        image = container.create_image(None, SHAPE, "u1", chunk_shape=(1, 64, 64))
        image.write(image.roi, example())
        shutil.copytree(tmp_path / "out.zarr.partial", tmp_path / "copy")
    shutil.rmtree(tmp_path / "out.zarr")
    (tmp_path / "copy").rename(tmp_path / "out.zarr.partial")
    before = state(tmp_path / "out.zarr.partial")
    with pytest.raises(OutputExistsError, match=r"run\.json, is lost"):
        create_container(tmp_path / "out.zarr", claim=claim)
    assert state(tmp_path / "out.zarr.partial") == before
    with pytest.raises(OutputExistsError, match="--overwrite"):
        create_container(tmp_path / "out.zarr")
    create_container(tmp_path / "out.zarr", overwrite=True).close()
    assert os.listdir(tmp_path) == []


# ---- links


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dangling", [False, True])
def test_no_output_is_written_through_a_link(kind, dangling, tmp_path):
    if not dangling:
        make(tmp_path / f"real{Path(kind).suffix}")
    (tmp_path / kind).symlink_to(f"real{Path(kind).suffix}")
    before = state(tmp_path)
    with pytest.raises(OutputExistsError, match="exists"):
        make(tmp_path / kind)
    with pytest.raises(UsageError, match="is a link to"):
        make(tmp_path / kind, overwrite=True)
    assert state(tmp_path) == before


# ---- kills


def test_a_kill_at_any_step_of_a_commit_leaves_the_old_or_the_new_output(tmp_path):
    program = Path(__file__).with_name("killed_commit.py")
    told = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, check=True
    )
    steps = [json.loads(line) for line in told.stdout.splitlines()]
    assert sum(step["killed"] for step in steps) > 30, "test invalid"
    for step in steps:
        # Between two renamings neither is there, but the next command puts one back.
        assert step["at_once"] in ("old", "new", None), step
        assert step["next"] in ("old", "new"), step
        assert step["last"] == "last", step
        assert step["names"] == [f"out.{step['kind']}"], step
    assert sum(step["at_once"] is None for step in steps) == 2
    by_claim = {
        claim: {s["next"] for s in steps if s["claim"] == claim} for claim in ("new", "resume")
    }
    assert by_claim == {"new": {"old", "new"}, "resume": {"new"}}


# ---- small files


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")

    def stop_halfway():
        with write_whole(path) as file:
            file.write(b"ne")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_halfway()
    assert state(path.parent) == {"a.txt": b"old"}
    with write_whole(path) as file:
        file.write(b"new")
    assert state(path.parent) == {"a.txt": b"new"}


def test_what_a_killed_writer_left_is_used_up_by_the_next(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from emds.files import write_whole\n"
        "with write_whole(Path(sys.argv[1])) as file:\n"
        "    file.write(b'much longer than what comes'); file.flush(); os._exit(9)"
    )
    path = tmp_path / "best.pt"
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 9
    assert state(tmp_path) == {".best.pt.emds": b"much longer than what comes"}
    write_text(path, "short")
    assert state(tmp_path) == {"best.pt": b"short"}


@pytest.mark.parametrize("thing", [an_empty_folder, a_folder_of_data, a_link_to_a_folder, a_pipe])
def test_no_small_file_takes_the_place_of_anything_but_a_file(thing, tmp_path):
    thing(tmp_path / "a.pt")
    before = state(tmp_path) if thing is not a_pipe else None
    with pytest.raises(UsageError, match="cannot write"):
        write_text(tmp_path / "a.pt", "new")
    assert before is None or state(tmp_path) == before


def test_a_users_file_that_is_named_like_a_temporary_one_is_not_written_to(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    os.link(tmp_path / "thesis.txt", tmp_path / ".a.pt.emds")
    with pytest.raises(UsageError, match="in the way"):
        write_text(tmp_path / "a.pt", "new")
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


# ---- inputs


def hard_link(path):
    os.link(path, path.with_name("linked.tif"))
    return path.with_name("linked.tif")


def soft_link(path):
    path.with_name("soft.tif").symlink_to(path)
    return path.with_name("soft.tif")


def roundabout(path):
    (path.parent / "sub").mkdir()
    return path.parent / "sub" / ".." / path.name


def by_a_linked_folder(path):
    (path.parent / "there").symlink_to(path.parent)
    return path.parent / "there" / path.name


@pytest.mark.parametrize("folder", ["plain", "with:colon", "a b"])
@pytest.mark.parametrize("way", [Path, hard_link, soft_link, roundabout, by_a_linked_folder])
def test_an_open_input_is_never_replaced(way, folder, tmp_path):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "in.tif"
    make(path)
    target = way(path)
    before = state(tmp_path)
    with open_volume(path), pytest.raises(UsageError, match="never replaced"):
        make(target, overwrite=True)
    assert state(tmp_path) == before
    if way is not soft_link:
        make(target, overwrite=True)  # once it is closed, it is an output like any other


def test_what_holds_an_input_or_lies_in_it_is_refused_as_well(tmp_path):
    make(tmp_path / "x.zarr")
    with open_volume(tmp_path / "x.zarr/0"):
        for place in ("x.zarr", "x.zarr/more.zarr", "x.zarr/0/plot.svg", "x.zarr/."):
            with pytest.raises(UsageError, match="never replaced"):
                refuse_inputs(tmp_path / place)
        refuse_inputs(tmp_path / "y.zarr")


def test_files_that_a_command_has_read_are_inputs_until_it_ends(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1")
    with one_command():
        note_input(tmp_path / "config.yaml")
        with pytest.raises(UsageError, match="never replaced"):
            write_text(tmp_path / "config.yaml", "")
    with reading(tmp_path / "config.yaml"), pytest.raises(UsageError, match="never replaced"):
        write_text(tmp_path / "config.yaml", "")
    write_text(tmp_path / "config.yaml", "b: 1")


def test_slices_that_are_links_are_inputs_where_they_lie(tmp_path):
    (tmp_path / "stack").mkdir()
    for z in range(2):
        with create_volume(tmp_path / f"real{z}.tif", shape=(1, 8, 8), dtype="u1") as volume:
            volume.write(volume.roi, example()[:1, :8, :8])
        (tmp_path / f"stack/{z}.tif").symlink_to(tmp_path / f"real{z}.tif")
    with open_volume(tmp_path / "stack"):
        for place in ("real1.tif", "stack/0.tif", "stack/new.tif"):
            with pytest.raises(EmdsError, match="never replaced"):
                refuse_inputs(tmp_path / place)
