"""SLURM for a single machine: as much of it as the scripts in examples/slurm use.

Linked as `sbatch`, `srun` and `scontrol` into a folder on the PATH. `sbatch` returns when the job
has ended, and runs the tasks of an array as processes side by side. To the task that
STAND_IN_SIGNAL names it sends SIGUSR1 once, as soon as that has noted its first block, as SLURM
does before time is up. What happened lies in STAND_IN_FOLDER.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("STAND_IN_FOLDER", "."))


def sbatch(words):
    options = list(itertools.takewhile(lambda word: word.startswith("--"), words))
    script, *arguments = words[len(options) :]
    given = dict(option.lstrip("-").partition("=")[::2] for option in options)
    unknown = given.keys() - {"parsable", "array", "dependency"}
    assert not unknown, f"the stand-in knows nothing of {unknown}"
    job = str(len(list(FOLDER.glob("job-*.json"))) + 1)
    needed = given.get("dependency", "").removeprefix("afterok:")
    codes = {"": 0}
    if not needed or set(ended(needed).values()) == {0}:
        codes = run_job(job, given.get("array"), [script, *arguments])
    (FOLDER / f"job-{job}.json").write_text(json.dumps(codes))
    print(job)


def ended(job):
    return json.loads((FOLDER / f"job-{job}.json").read_text())


def run_job(job, array, command):
    names = {"": {"SLURM_JOB_ID": job}}
    if array is not None:
        least, most = map(int, array.split("-"))
        names = {
            f"_{task}": {
                "SLURM_JOB_ID": f"{job}{task}",
                "SLURM_ARRAY_JOB_ID": job,
                "SLURM_ARRAY_TASK_ID": str(task),
                "SLURM_ARRAY_TASK_MIN": str(least),
                "SLURM_ARRAY_TASK_MAX": str(most),
                "SLURM_ARRAY_TASK_COUNT": str(most - least + 1),
            }
            for task in range(least, most + 1)
        }
    running = {name: start(job + name, command, names[name]) for name in names}
    signalled = set()
    codes = {}
    while running:
        time.sleep(0.01)
        for name, process in list(running.items()):
            if name == "_" + os.environ.get("STAND_IN_SIGNAL", "") and name not in signalled:
                signalled |= {name} if warn(job + name, Path(command[2])) else set()
            if process.poll() is None:
                continue
            asked = FOLDER / f"requeue-{job}{name}"
            if asked.exists():
                asked.rename(FOLDER / f"requeued-{job}{name}")
                running[name] = start(job + name, command, names[name])
            else:
                codes[name] = running.pop(name).returncode
    return codes


def start(name, command, variables):
    environment = os.environ | variables | {"STAND_IN_STEP": str(FOLDER / f"step-{name}")}
    with (FOLDER / f"log-{name}.txt").open("a") as log:
        return subprocess.Popen(
            ["bash", *command], env=environment, stdout=log, stderr=subprocess.STDOUT
        )


def warn(name, out):
    """Send the signal, if the step has come so far."""
    step = FOLDER / f"step-{name}"
    number = step.read_text() if step.exists() else "?"
    logs = out.with_name(f"{out.name}.partial").glob(f".emds/done/*/done-*-{number}-*.jsonl")
    if not any(log.stat().st_size for log in logs):
        return False
    os.kill(int(number), signal.SIGUSR1)
    return True


def srun(words):
    Path(os.environ["STAND_IN_STEP"]).write_text(str(os.getpid()))
    os.execvp(words[0], words)


def scontrol(words):
    assert words[0] == "requeue"
    assert re.fullmatch(r"\d+(_\d+)?", words[1])
    (FOLDER / f"requeue-{words[1]}").touch()


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[Path(sys.argv[0]).name](sys.argv[1:])
