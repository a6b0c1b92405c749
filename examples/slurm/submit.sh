#!/usr/bin/env bash
# Denoise and segment a volume with a SLURM job array.
#
#   examples/slurm/submit.sh NOISY OUT.zarr [OPTIONS OF emds run]
#
# TASKS    tasks of the array (default 8)
# GPUS     GPUs of each task, 0 for none (default 1 if SLURM can give it, else 0)
# WORKERS  processes of the job that finishes (default 2)
# EMDS     how emds is called, e.g. "apptainer exec --nv emds.sif emds" (default emds)
set -euo pipefail
if (($# < 2)); then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
here="$(cd "$(dirname "$0")" && pwd)"
export EMDS="${EMDS:-emds}" WORKERS="${WORKERS:-2}"

# Only SLURM knows whether the partition that part.sh goes to has GPUs.
if [[ -z ${GPUS-} ]]; then
    GPUS=1
    sbatch --test-only --gres=gpu:1 "$here/part.sh" "$@" >/dev/null 2>&1 || GPUS=0
fi
gpus=()
[[ $GPUS == 0 ]] || gpus=(--gres="gpu:$GPUS")

parts="$(sbatch --parsable --array="1-${TASKS:-8}" "${gpus[@]}" "$here/part.sh" "$@")"
parts="${parts%%;*}" # on some clusters the cluster's name follows
# Without the second option, a task that fails would leave the job that finishes in the queue.
merged="$(sbatch --parsable --dependency="afterok:$parts" --kill-on-invalid-dep=yes \
    "$here/finish.sh" "$2")" || {
    scancel "$parts"
    exit 1
}
echo "array job $parts (GPUs of each task: $GPUS), then job ${merged%%;*}, write $2"
