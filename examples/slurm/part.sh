#!/usr/bin/env bash
#SBATCH --job-name=emds
#SBATCH --output=emds-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --time=4:00:00
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --signal=USR1@120
#SBATCH --requeue
# One task of the array that submit.sh sends: a part of `emds run NOISY --out OUT`.
set -uo pipefail
noisy="$1" out="$2"
shift 2

# A quarter of the job's memory: left to itself, emds would take a quarter of the node's.
memory=(${SLURM_MEM_PER_NODE:+--max-memory "$((SLURM_MEM_PER_NODE / 4))MiB"})

# SLURM signals what srun starts, not this script; since 22.05 a step must be told its processors.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    $EMDS run "$noisy" --out "$out" --shard slurm "${memory[@]}" "$@"
code=$?

# 75: stopped by the signal, with work left. 138: it came before emds was ready for it.
if ((code == 75 || code == 138)); then
    exec scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
