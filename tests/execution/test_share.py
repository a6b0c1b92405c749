"""Shards partition the blocks, and what is no shard is refused with what to give instead."""

from __future__ import annotations

import pytest

from emds.errors import UsageError
from emds.execution import Execution, Shard, parse_shard

TASK = {"ID": "7", "MIN": "5", "MAX": "8", "COUNT": "4"}


def slurm(**changes: str | None) -> dict[str, str]:
    values = TASK | changes
    return {f"SLURM_ARRAY_TASK_{k}": v for k, v in values.items() if v is not None}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shards_partition_the_blocks(count: int) -> None:
    for blocks in (0, 1, 6, 40):
        owners = [
            [k for k in range(count) if parse_shard(f"{k + 1}/{count}").owns(block)]
            for block in range(blocks)
        ]
        assert all(len(found) == 1 for found in owners)
        shares = [sum(found == [k] for found in owners) for k in range(count)]
        assert max(shares) - min(shares) <= 1


def test_a_shard_is_read_as_it_is_written() -> None:
    assert str(parse_shard("3/7")) == "3/7"
    assert parse_shard("3/7") == Shard(2, 7)


@pytest.mark.parametrize(
    "text",
    ["0/3", "4/3", "-1/3", "1/0", "1", "1/", "/3", "1/3/5", "a/b", "1.0/3", "", " 1/3", "1/3\n"],
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be K/N with K from 1 to N"):
        parse_shard(text)


def test_the_tasks_of_an_array_are_the_shards() -> None:
    shards = [parse_shard("slurm", slurm(ID=str(task))) for task in range(5, 9)]
    assert shards == [Shard(k, 4) for k in range(4)]


@pytest.mark.parametrize("changes", [{name: None} for name in TASK] + [{"ID": "x"}, {"COUNT": ""}])
def test_without_the_variables_of_an_array_there_is_no_slurm_shard(changes: dict) -> None:
    with pytest.raises(UsageError, match=r"SLURM_ARRAY_TASK_ID.*sbatch --array"):
        parse_shard("slurm", slurm(**changes))


@pytest.mark.parametrize("changes", [{"MAX": "11"}, {"COUNT": "3"}, {"MIN": "1"}])
def test_an_array_with_gaps_is_refused(changes: dict) -> None:
    with pytest.raises(UsageError, match="without gaps"):
        parse_shard("slurm", slurm(**changes))


def test_a_task_outside_its_array_is_refused() -> None:
    with pytest.raises(UsageError, match="without gaps"):
        parse_shard("slurm", slurm(ID="9"))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"workers": 0}, "at least 1, not 0"),
        ({"workers": 2, "shard": Shard(0, 2)}, "--shard"),
        ({"launcher": ("srun",), "shard": Shard(0, 2)}, "--launcher"),
    ],
)
def test_ways_that_contradict_are_refused(how: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Execution(**how)


def test_a_launcher_alone_makes_workers() -> None:
    assert not Execution().distributed
    assert not Execution(shard=Shard(0, 2)).distributed
    assert Execution(workers=2).distributed
    assert Execution(launcher=("srun",)).distributed
