#!/usr/bin/env bash
# From a clean image with ground truth to a scored segmentation, in three commands.
#
#   examples/three_commands.sh                        with the checkpoint that comes with emds
#   examples/three_commands.sh --checkpoint model.pt  with another one
set -euo pipefail
[[ ${2-} ]] && set -- "$1" "$(realpath "$2")"
cd "$(mktemp -d)"

# A piece of synthetic neuropil stands in for your own raw.tif and gt.h5.
python - <<'PY'
from emds import create_volume
from emds.demo.phantom import make_phantom
from emds.geometry import Roi

raw, gt = make_phantom((4, 192, 192), seed=1)
for path, values, role in (("raw.tif", raw, "raw"), ("gt.h5", gt, "labels")):
    with create_volume(
        path, shape=values.shape, dtype=values.dtype, voxel_size=(10, 10, 10), role=role
    ) as volume:
        volume.write(Roi.whole(volume.shape), values)
PY

emds simulate-noise raw.tif --type gaussian-poisson --seed 1 --out noisy.zarr
emds run noisy.zarr "$@" --out seg.zarr
emds evaluate seg.zarr gt.h5 --denoised seg.zarr --clean raw.tif --protocol strict

echo "everything lies in $PWD"
