#!/usr/bin/env bash
# Denoise and segment a volume with a SLURM job array.
#
#   examples/slurm/submit.sh NOISY OUT.zarr [OPTIONS OF emds run]
#
# TASKS    tasks of the array (default 8)
# WORKERS  processes of the job that finishes (default 2)
# EMDS     how emds is called, e.g. "apptainer exec --nv emds.sif emds" (default emds)
set -euo pipefail
if (($# < 2)); then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
here="$(cd "$(dirname "$0")" && pwd)"
export EMDS="${EMDS:-emds}" WORKERS="${WORKERS:-2}"

parts="$(sbatch --parsable --array="1-${TASKS:-8}" "$here/part.sh" "$@")"
merged="$(sbatch --parsable --dependency="afterok:$parts" "$here/finish.sh" "$2")"
echo "array job $parts, then job $merged, write $2"
