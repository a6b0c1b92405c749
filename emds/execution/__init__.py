"""Numbered blocks of work, done once each: alone, as a shard, or among workers; resumably."""

from emds.execution.done_log import Done, DoneLog
from emds.execution.presence import at_work, wait_for_workers
from emds.execution.record import RunRecord
from emds.execution.serial import BlockWork, Failures, each, run_blocks
from emds.execution.share import Execution, Shard, parse_launcher, parse_shard
from emds.execution.threads import each_in_threads, map_in_threads
from emds.execution.workers import Crew, each_phase, take_blocks

__all__ = [
    "BlockWork",
    "Crew",
    "Done",
    "DoneLog",
    "Execution",
    "Failures",
    "RunRecord",
    "Shard",
    "at_work",
    "each",
    "each_in_threads",
    "each_phase",
    "map_in_threads",
    "parse_launcher",
    "parse_shard",
    "run_blocks",
    "take_blocks",
    "wait_for_workers",
]
