"""Kill -9 at random moments, resume, and compare every byte with an undisturbed run.

    python benchmarks/kill.py --data ../shared/data/flyem_medulla.h5 --out docs/results/kill.json

A crop of the file is made noisy for `emds run`; affinities across sections are made from its
ground truth, with noise, for `emds segment --from-affinities`. Both are done in one process, with
two workers, and in three shards with `emds merge`. Each is killed again and again, and resumed,
until it is complete; then the next begins. The moments are drawn between that at which a process
takes hold of the output and the time that an undisturbed one then takes. With workers, the process
that holds the output is killed, or a worker, or all of them. Blocks that are done twice are those
that lie whole on disk after a kill and are in no log, and those that are in the logs twice.
Where a worker alone is killed the run goes on, and is at its end when it is looked at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from emds.execution import DoneLog, RunRecord, wait_for_workers
from emds.geometry import Roi
from emds.io import create_container, create_volume, open_volume
from emds.io.output import partial_of, run_file_of
from emds.io.volume import CroppedVolume
from emds.noise import make_noise_model
from emds.stages.arrays import create_arrays
from emds.stages.job import Request, open_inputs, prepare
from emds.stages.phases import phases_of
from emds.stages.simulate_noise import simulate_noise

CROP = Roi((0, 0, 0), (48, 64, 64))
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-3, 0, 0), (0, -9, 0), (0, 0, -9))
ATTRACTIVE = (True, True, True, False, False, False)
BLOCK = ("--label-block-shape", "16", "64", "64", "--min-size", "50")
SHARDS = 3


def make_inputs(data: Path, folder: Path) -> dict[str, list[str]]:
    """Write the inputs, and return the words of each command but for where to."""
    with open_volume(data, role="raw") as raw:
        noise = make_noise_model("gaussian-poisson", sigma=(55, 85), lam=(0.6, 0.8))
        noisy = simulate_noise(raw, noise, out=folder / "noisy.zarr", seed=0, roi=CROP)
    with open_volume(data, key="volumes/labels/neuron_ids", role="labels") as labels:
        ids = CroppedVolume(labels, CROP).read()
    rng = np.random.default_rng(0)
    affinities = folder / "affinities.zarr"
    with create_volume(
        affinities,
        shape=CROP.shape,
        dtype=np.uint8,
        channels=len(OFFSETS),
        role="affinities",
        attributes={"offsets": OFFSETS, "attractive": ATTRACTIVE, "mutex_strides": [1, 2, 2]},
    ) as volume:
        same = np.stack([ids == np.roll(ids, tuple(-n for n in o), (0, 1, 2)) for o in OFFSETS])
        values = 255 * np.clip(0.15 + 0.7 * same + rng.normal(0, 0.15, same.shape), 0, 1)
        volume.write(volume.roi, values.astype(np.uint8))
    network = ("--device", "cpu", "--tile", "1", "64", "64", "--overlap", "0", "16", "16")
    network += ("--block-shape", "16", "64", "64")
    return {
        "run": ["run", str(noisy), *network, *BLOCK],
        "segment": ["segment", str(affinities), "--from-affinities", *BLOCK],
    }


def digests(out: Path) -> dict[str, str]:
    """Return a hash of each file of an output."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "emds", "-q", *words],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def workers_of(session: int) -> list[int]:
    """Return the processes that a run with workers has started, by their session."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"worker" in words:
                    found.append(int(entry.name))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return found


def kill(child: subprocess.Popen[bytes], victim: str) -> bool:
    """Kill a run, one of its workers, or all its processes; False if there is none."""
    found = workers_of(child.pid) if victim == "worker" else [child.pid]
    try:
        for pid in found[:1]:
            (os.killpg if victim == "all" else os.kill)(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return bool(found)


def wait_until_held(out: Path, children: list[subprocess.Popen[bytes]]) -> None:
    """Return once a process holds the unfinished output, or all have ended."""
    partial = str(partial_of(out).resolve())
    while any(child.poll() is None for child in children):
        for child in children:
            try:
                if partial in (os.readlink(fd) for fd in Path(f"/proc/{child.pid}/fd").iterdir()):
                    return
            except FileNotFoundError:
                continue  # opened and closed meanwhile
        time.sleep(0.02)


class State:
    """What an unfinished output says of itself: which phase it is in, and what is done twice."""

    def __init__(self, out: Path) -> None:
        path = run_file_of(out)
        self.phase, self.unlogged = "start", 0
        self.logged: Counter[tuple[str, int]] = Counter()
        if not path.is_file():
            self.phase = "end" if out.exists() else "start"
            return
        wait_for_workers(path.parent)
        request = Request.from_dict(RunRecord.load(path).request)
        source, mask = open_inputs(request)
        with source:
            job = prepare(request, source, mask)
            container = create_container(out, claim="help")
            arrays = create_arrays(container, job)
            self.phase = "finish"
            for phase in reversed(phases_of(job)):
                folder = path.parent / "done" / phase.name
                done = DoneLog(folder).read()
                there = {n for n in range(phase.count) if phase.is_there(job, arrays, n)}
                self.unlogged += len(there - done)
                if len(done) < phase.count:
                    self.phase = phase.name
                for file in folder.glob("*.jsonl"):
                    blocks = [line for line in file.read_bytes().splitlines() if b"}" in line]
                    self.logged.update((phase.name, json.loads(b)["block"]) for b in blocks)
            container.leave()

    @property
    def logged_twice(self) -> int:
        return sum(n - 1 for n in self.logged.values())


class Trial:
    """One command done in one way, killed until there were enough kills."""

    def __init__(self, words: list[str], way: str, folder: Path, seed: int) -> None:
        self.words, self.way, self.folder = words, way, folder
        self.how = ["--workers", "2"] if way == "workers" else []
        self.random = random.Random(seed)
        self.kills: list[dict[str, object]] = []
        self.equal = self.rounds = 0
        self.expected: dict[str, str] = {}
        self.seconds = 0.0

    def measure(self) -> None:
        """Run undisturbed, for the bytes and the time."""
        out = self.folder / "whole" / "out.zarr"
        out.parent.mkdir(parents=True)
        words = [sys.executable, "-m", "emds", "-q", *self.words, "-o", str(out), "--overwrite"]
        subprocess.run(words, check=True)  # compiles
        shutil.rmtree(out)
        child = start([*words[4:], *self.how])
        wait_until_held(out, [child])
        started = time.perf_counter()
        if child.wait():
            raise SystemExit(child.communicate()[1].decode())
        self.seconds = time.perf_counter() - started
        self.expected = digests(out)

    def repeat(self, kills: int) -> None:
        """Begin again with each output that is complete, until there were so many kills."""
        while len(self.kills) < kills:
            out = self.folder / "killed" / "out.zarr"
            shutil.rmtree(out.parent, ignore_errors=True)
            out.parent.mkdir()
            if self.way == "shards":
                self.in_shards(out)
            else:
                words = [*self.words, "-o", str(out), *self.how]
                self.until_done(out, words, resume=["--resume"])
            self.rounds += 1
            self.equal += digests(out) == self.expected
            litter = [path.name for path in out.parent.iterdir() if path != out]
            assert not litter, litter

    def until_done(self, out: Path, words: list[str], resume: list[str]) -> None:
        while not out.exists():
            begun = run_file_of(out).parent.parent.exists()
            self.attempt(out, [words + (resume if begun else [])])

    def in_shards(self, out: Path) -> None:
        """Run all shards at a time, twice, as an array of jobs that are queued again; then merge.

        A shard does its part of the first phase that is not done.
        """
        shards = [[*self.words, "-o", str(out), "--shard", f"{k}/{SHARDS}"] for k in (1, 2, 3)]
        self.attempt(out, shards)
        self.attempt(out, shards)
        for words in shards:
            subprocess.run([sys.executable, "-m", "emds", "-q", *words], check=True)
        while not out.exists():
            self.attempt(out, [["merge", str(out)]])

    def attempt(self, out: Path, commands: list[list[str]]) -> None:
        """Start processes at a time, kill one of them at some moment, and let the others end."""
        victim = self.random.choice(
            ["main", "worker", "all"] if self.way == "workers" else ["main"]
        )
        children = [start(words) for words in commands]
        moment = self.random.uniform(0, 1) * self.seconds
        child = self.random.choice(children)
        wait_until_held(out, children)
        killed = False
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            killed = not out.exists() and kill(child, victim)
        for each in children:
            said = each.communicate()[1].decode()
            if each.returncode not in (0, -signal.SIGKILL):
                raise SystemExit(f"{commands} ended with {each.returncode}: {said}")
        if not killed:
            return  # it was done before, or had no worker then
        state = State(out)
        self.kills.append(
            {
                "after_s": round(moment, 2),
                "victim": victim,
                "phase": state.phase,
                "done_twice": state.unlogged + state.logged_twice,
            }
        )
        print(self.way, self.kills[-1], flush=True)

    def report(self) -> dict[str, object]:
        return {
            "command": " ".join(Path(word).name for word in self.words),
            "way": self.way,
            "undisturbed_s": round(self.seconds, 1),
            "kills": len(self.kills),
            "outputs": self.rounds,
            "outputs_with_equal_bytes": self.equal,
            "files_compared": len(self.expected),
            "phases_killed": dict(Counter(str(kill["phase"]) for kill in self.kills)),
            "victims": dict(Counter(str(kill["victim"]) for kill in self.kills)),
            "most_blocks_done_twice_after_a_kill": max(
                (int(str(kill["done_twice"])) for kill in self.kills), default=0
            ),
            "moments": self.kills,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--commands", nargs="+", default=["run", "segment"])
    parser.add_argument("--kills", type=int, default=9, help="of each command in each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    reports = []
    with tempfile.TemporaryDirectory(prefix="emds-kill-") as name:
        folder = Path(name)
        inputs = make_inputs(arguments.data, folder)
        for command in arguments.commands:
            for number, way in enumerate(("serial", "workers", "shards")):
                seed = 10 * arguments.seed + number
                trial = Trial(inputs[command], way, folder / f"{command}-{way}", seed)
                trial.measure()
                trial.repeat(arguments.kills)
                reports.append(trial.report())
                arguments.out.write_text(json.dumps(reports, indent=1) + "\n")
    total = sum(int(str(report["kills"])) for report in reports)
    print(f"{total} kills")


if __name__ == "__main__":
    main()
