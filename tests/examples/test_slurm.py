"""The scripts of examples/slurm, sent to a real SLURM: to the one that answers here, if any."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tifffile
import torch

from emds.demo.phantom import make_phantom
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.networks.joint import Architecture

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples/slurm"
PATIENCE = 300  # seconds that a job may take

# What the scripts ask for, but for GPUs, in a job that owes nothing to them.
RESOURCES = ("--ntasks=1", "--cpus-per-task=8", "--mem=64G", "--time=12:00:00", "--wrap=true")


def ask(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


class Cluster:
    """A folder in which jobs are sent, and what SLURM says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "EMDS": f"{sys.executable} -m emds",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TASKS": "2",
        }

    def submit(self, *arguments: str | Path, **variables: str) -> tuple[str, str]:
        """Send the two jobs; return their ids."""
        done = subprocess.run(
            [str(SCRIPTS / "submit.sh"), *map(str, arguments)],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        found = re.match(r"array job (\d+) \(.*\), then job (\d+), write ", done.stdout)
        assert found, done.stdout
        return found[1], found[2]

    def says(self, job: str, field: str) -> str | None:
        shown = ask("scontrol", "--oneliner", "show", "job", job).stdout
        found = re.search(rf"\b{field}=(\S+)", shown)
        return found[1] if found else None

    def wait(self, job: str, *states: str) -> str:
        """Wait until the job is in one of the states; by default, until it has ended."""
        states = states or ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        end = time.monotonic() + PATIENCE
        while (state := self.says(job, "JobState")) not in states:
            assert time.monotonic() < end, f"job {job} is {state}, not {states}\n{self.logs()}"
            time.sleep(0.2)
        return str(state)

    def logs(self) -> str:
        paths = sorted(self.folder.glob("emds-*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in paths)


@pytest.fixture
def cluster(tmp_path):
    if shutil.which("sbatch") is None:
        pytest.skip("there is no sbatch on the PATH: these tests send jobs to a real SLURM")
    for question in (("sinfo",), ("sbatch", "--test-only", *RESOURCES)):
        answer = ask(*question)
        if answer.returncode:
            pytest.skip(f"SLURM cannot take the jobs: {answer.stderr.strip()}")
    return Cluster(tmp_path)


@pytest.fixture
def noisy(tmp_path):
    raw, _ = make_phantom((192, 96, 96), seed=6)
    tifffile.imwrite(tmp_path / "noisy.tif", raw, photometric="minisblack")
    return tmp_path / "noisy.tif"


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    offsets = ((0, -1, 0), (0, 0, -1), (-1, 0, 0), (0, -5, 0), (0, 0, -5))
    architecture = Architecture(
        networks=("denoiser", "segmenter", "fusion"),
        width="tiny",
        affinity_channels=len(offsets),
        window=16,
    )
    checkpoint = Checkpoint(
        architecture=architecture.to_dict(),
        weights=architecture.build().state_dict(),
        offsets=offsets,
        attractive=(True, True, True, False, False),
        crop=16,
        recipe="joint",
        license="CC0-1.0",
    )
    save_checkpoint(checkpoint, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def digest(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_tasks_that_are_stopped_and_put_back_give_the_bytes_of_a_plain_run(cluster, noisy, model):
    out, plain = cluster.folder / "seg.zarr", cluster.folder / "plain/seg.zarr"
    plain.parent.mkdir()
    run = ("run", str(noisy), "--out", str(plain), "--checkpoint", str(model))
    subprocess.run([sys.executable, "-m", "emds", *run], check=True, env=cluster.environment)

    blocks = ("--block-shape", "4", "256", "256")
    parts, merge = cluster.submit(noisy, out, "--checkpoint", model, *blocks)
    assert cluster.says(merge, "Dependency").startswith(f"afterok:{parts}")
    wait_until_each_has_noted_a_block(out, cluster)
    stop(cluster, f"{parts}_2")
    stopped = cluster.folder / f"emds-{parts}_2.log"
    assert "stopped by a signal" in stopped.read_text(), cluster.logs()

    # The last job is stopped as soon as it runs: before or after emds hears of signals.
    cluster.wait(merge, "RUNNING")
    stop(cluster, merge)
    assert cluster.wait(merge) == "COMPLETED", cluster.logs()
    for job, restarts in ((f"{parts}_1", "0"), (f"{parts}_2", "1"), (merge, "1")):
        assert cluster.says(job, "JobState") == "COMPLETED"
        assert cluster.says(job, "Restarts") == restarts
    assert digest(out) == digest(plain)


def wait_until_each_has_noted_a_block(out, cluster):
    end = time.monotonic() + PATIENCE
    logs = []
    while len(logs) < 2 or not all(log.stat().st_size for log in logs):
        assert time.monotonic() < end, cluster.logs()
        time.sleep(0.02)
        logs = list(Path(f"{out}.partial").glob(".emds/done/predict/done-*.jsonl"))


def stop(cluster, job):
    """Send the signal to what the job runs, as --signal does; do not wait for its turn again."""
    end = time.monotonic() + PATIENCE
    while cluster.says(job, "JobState") == "RUNNING":
        assert time.monotonic() < end, cluster.logs()
        ask("scancel", "--signal=USR1", job)
        time.sleep(1)
    assert cluster.wait(job, "PENDING"), cluster.logs()
    assert ask("scontrol", "update", f"jobid={job}", "StartTime=now").returncode == 0


@pytest.mark.slow
def test_a_failed_array_leaves_nothing_in_the_queue_and_may_be_sent_again(cluster, noisy, model):
    out = cluster.folder / "seg.zarr"
    parts, merge = cluster.submit(noisy, out, "--checkpoint", cluster.folder / "no.pt")
    assert cluster.wait(f"{parts}_1") == cluster.wait(f"{parts}_2") == "FAILED", cluster.logs()
    assert cluster.wait(merge) == "CANCELLED"
    assert not out.exists()

    _, merge = cluster.submit(noisy, out, "--checkpoint", model)
    assert cluster.wait(merge) == "COMPLETED", cluster.logs()
    assert out.is_dir()


@pytest.mark.slow
def test_tasks_get_the_gpus_asked_for_or_one_where_there_are_some(cluster, noisy):
    in_default = ask("sinfo", "--noheader", "--format=%P %G").stdout
    some = "1" if re.search(r"^\S+\* \S*gpu", in_default, re.MULTILINE) else None
    for asked, given in (({}, some), ({"GPUS": "0"}, None)):
        parts, merge = cluster.submit(noisy, cluster.folder / "seg.zarr", "--no-such", **asked)
        tres = cluster.says(f"{parts}_1", "TresPerNode")
        assert tres == (given and f"gres:gpu:{given}")
        cluster.wait(merge)


@pytest.mark.slow
def test_workers_run_beside_each_other_by_the_launcher_of_the_documentation(cluster, noisy, model):
    """One that starts them one after the other waits for the last of them until time is up."""
    page = (ROOT / "docs/blockwise.md").read_text(encoding="utf-8")
    launcher = re.search(r'--launcher "(srun [^"]+)"', page)[1]
    command = [sys.executable, "-m", "emds", "run", str(noisy), "--checkpoint", str(model)]
    command += ["--block-shape", "16", "256", "256", "--out", "seg.zarr"]
    command += ["--workers", "2", "--launcher", launcher]
    options = ("--parsable", "--ntasks=2", "--cpus-per-task=4", "--time=4", "--output=emds-%j.log")
    sent = subprocess.run(
        ["sbatch", *options, f"--wrap={shlex.join(command)}"],
        cwd=cluster.folder,
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert cluster.wait(sent.stdout.strip()) == "COMPLETED", cluster.logs()
    assert (cluster.folder / "seg.zarr").is_dir()


def test_the_job_scripts_ask_for_a_signal_in_time_and_may_be_requeued():
    for name in ("part.sh", "finish.sh"):
        script = (SCRIPTS / name).read_text()
        assert "#SBATCH --signal=USR1@120\n#SBATCH --requeue\n" in script
