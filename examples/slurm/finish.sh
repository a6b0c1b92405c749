#!/usr/bin/env bash
#SBATCH --job-name=emds-merge
#SBATCH --output=emds-%j.log
#SBATCH --open-mode=append
#SBATCH --time=12:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --signal=USR1@120
#SBATCH --requeue
# The job that submit.sh sends after the array: joins the parts, and reads all of the result.
set -uo pipefail
out="${1%/}"

step() {
    srun --cpus-per-task="$SLURM_CPUS_PER_TASK" $EMDS "$@"
    local code=$?
    # As in part.sh.
    ((code != 75 && code != 138)) || exec scontrol requeue "$SLURM_JOB_ID"
    ((code == 0)) || exit "$code"
}

# OUT is there when it is whole: then this job was put back into the queue while it read it.
[[ -e $out ]] || step merge "$out" --workers "$WORKERS"
step check "$out"
