#!/usr/bin/env bash
#SBATCH --job-name=emds-merge
#SBATCH --output=emds-%j.log
#SBATCH --open-mode=append
#SBATCH --time=12:00:00
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --signal=USR1@120
#SBATCH --requeue
# The job that submit.sh sends after the array: joins the parts, and reads all of the result.
set -uo pipefail

srun $EMDS merge "$1" --workers "$WORKERS"
code=$?

if ((code == 75 || code == 138)); then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
((code == 0)) || exit "$code"
srun $EMDS check "$1"
