#!/usr/bin/env bash
#SBATCH --job-name=emds
#SBATCH --output=emds-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --time=4:00:00
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --gpus-per-task=1
#SBATCH --signal=USR1@120
#SBATCH --requeue
# One task of the array that submit.sh sends: a part of `emds run NOISY --out OUT`.
set -uo pipefail
noisy="$1" out="$2"
shift 2

# SLURM signals what srun starts, not this script.
srun $EMDS run "$noisy" --out "$out" --shard slurm "$@"
code=$?

# 75: stopped by the signal, with work left. 138: it came before emds was ready for it.
if ((code == 75 || code == 138)); then
    exec scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
