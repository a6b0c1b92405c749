"""A block counts as done if its line is whole, whoever wrote it; nothing else does."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable
from pathlib import Path

import pytest

from emds.execution import DoneLog


def lines_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("done-*.jsonl"))


def append_all(folder: Path, blocks: Iterable[int]) -> None:
    with DoneLog(folder) as log:
        for block in blocks:
            log.append(block)


def write(folder: Path, *blocks: int) -> Path:
    """Log blocks, and return the file they are in."""
    append_all(folder, blocks)
    (file,) = lines_of(folder)
    return file


def test_nothing_is_done_where_there_is_no_log(tmp_path: Path) -> None:
    assert DoneLog(tmp_path / "absent").read() == set()
    with DoneLog(tmp_path / "absent"):
        pass
    assert not (tmp_path / "absent").exists()


def test_a_block_is_done_as_soon_as_append_returns(tmp_path: Path) -> None:
    with DoneLog(tmp_path) as log:
        for block in (7, 0, 3):
            log.append(block)
            assert block in DoneLog(tmp_path).read()
    assert DoneLog(tmp_path).read() == {0, 3, 7}


def test_a_torn_last_line_counts_as_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, 1, 22)
    first, last = file.read_bytes().splitlines(keepends=True)
    for kept in range(len(last) - 1):
        file.write_bytes(first + last[:kept])
        assert DoneLog(tmp_path).read() == {1}


def test_any_flipped_bit_costs_its_line_alone(tmp_path: Path) -> None:
    file = write(tmp_path, 1, 22, 3)
    whole = file.read_bytes()
    begin = whole.index(b"\n") + 1
    end = whole.index(b"\n", begin)
    for place in range(begin, end):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            found = DoneLog(tmp_path).read()
            # Some bits say nothing: those of blanks between the words.
            assert found in ({1, 3}, {1, 22, 3}), (place, bit, found)
            assert all(type(block) is int for block in found)


def test_a_line_for_another_block_needs_its_own_checksum(tmp_path: Path) -> None:
    file = write(tmp_path, 5)
    entry = json.loads(file.read_text())
    file.write_text(json.dumps(entry | {"block": 6}) + "\n")
    assert DoneLog(tmp_path).read() == set()


@pytest.mark.parametrize("line", ["[1, 2]", "null", "5", "{}", '{"block": 5}', "\xff", "\0" * 50])
def test_what_is_no_entry_is_passed_over(tmp_path: Path, line: str) -> None:
    file = write(tmp_path, 4)
    file.write_bytes(file.read_bytes() + line.encode("latin-1") + b"\n")
    assert DoneLog(tmp_path).read() == {4}


def test_each_process_writes_a_file_of_its_own(tmp_path: Path) -> None:
    parts = [range(k, 60, 3) for k in range(3)]
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=append_all, args=(tmp_path, part)) for part in parts]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert len(lines_of(tmp_path)) == 3
    assert DoneLog(tmp_path).read() == set(range(60))


def test_clear_forgets_what_all_processes_did(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with DoneLog(tmp_path) as log:
        log.append(2)
        log.clear()
        assert log.read() == set()
        log.append(3)
    assert DoneLog(tmp_path).read() == {3}
