"""A record is believed only as it was written."""

import json

import pytest
from toy_plans import plan_for, pretend_to_work

from emds.errors import DataError, OutputExistsError
from emds.stages.reproduce.command import reproduce
from emds.stages.reproduce.records import read_record, write_record

CONTENT = {"seconds": 1.5, "sections": [{"z": 0, "psnr": 20.25}, {"z": 1, "psnr": None}], "a": {}}


def test_a_record_comes_back(tmp_path):
    write_record(tmp_path / "run.json", CONTENT)
    assert read_record(tmp_path / "run.json") == CONTENT


def test_a_record_from_before_there_were_hashes_is_read(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(CONTENT))
    assert read_record(tmp_path / "run.json") == CONTENT


def test_no_flipped_bit_gives_another_record(tmp_path):
    write_record(tmp_path / "run.json", CONTENT)
    whole = (tmp_path / "run.json").read_bytes()
    refused = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "run.json").write_bytes(damaged)
        try:
            found = read_record(tmp_path / "run.json")
        except DataError:
            refused += 1
            continue
        found = {name: value for name, value in found.items() if value != hash_in(whole)}
        assert found == CONTENT
    assert refused > 6 * len(whole)


def hash_in(whole):
    """A flip in its key makes the hash a field like others."""
    return json.loads(whole)["sha256"]


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"a": 1, "sha256": "0"}', "[" * 10**5])
def test_what_is_no_record_is_refused_by_name(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json is damaged.*Remove it"):
        read_record(tmp_path / "run.json")


def test_a_damaged_record_stops_a_plan_until_it_is_removed(data, monkeypatch):
    tried = pretend_to_work(monkeypatch)
    plan = plan_for(data)
    reproduce(plan)
    done = len(tried)
    record = plan.place.record(plan.tasks[0].system)
    record.write_text(record.read_text().replace("1.0", "2.0"))
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        reproduce(plan)
    record.unlink()
    reproduce(plan)
    assert len(tried) == done + 1


def test_a_run_folder_that_is_not_of_the_plan_is_left_alone(data):
    plan = plan_for(data, recipes=("dn_only",))
    folder = plan.place.run_folder(plan.tasks[0].system)
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("all of it")
    with pytest.raises(OutputExistsError, match="reproduce did not put there"):
        reproduce(plan)
    assert (folder / "thesis.txt").read_text() == "all of it"
