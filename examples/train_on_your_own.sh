#!/usr/bin/env bash
# Training on a labelled stack of one's own, then using the model on another one.
#
# A few steps of a very small network, so that it ends in seconds: what it learns is a blur, and
# the number to watch is PSNR. For a real model leave out --set and --steps: `--preset cpu` takes
# an hour or two on a laptop, `--preset modern` is meant for one GPU.
set -euo pipefail
cd "$(mktemp -d)"

# Two pieces of synthetic neuropil: one to train on, one that the network never saw.
python - <<'PY'
from emds import create_volume
from emds.demo.phantom import make_phantom
from emds.geometry import Roi

for name, depth, seed in (("mine", 10, 1), ("other", 2, 2)):
    raw, labels = make_phantom((depth, 128, 128), seed=seed)
    for path, values, role in ((f"{name}.tif", raw, "raw"), (f"{name}.h5", labels, "labels")):
        with create_volume(
            path, shape=values.shape, dtype=values.dtype, voxel_size=(10, 10, 10), role=role
        ) as volume:
            volume.write(Roi.whole(volume.shape), values)
PY

# Sections 8 and 9 are held out: after every 20 steps they decide which weights are kept.
emds train mine.tif mine.h5 --preset cpu --steps 40 \
    --train 0:8 --validation 8:10 \
    --set width=tiny --set crop=64 --set batch_size=4 --set ema_decay=0.9 \
    --set optimizer.warmup_steps=5 --set validation.every=20 --set validation.sections=1 \
    --out runs/mine
tail -n 1 runs/mine/metrics.jsonl

emds simulate-noise other.tif --type gaussian-poisson --seed 7 --out noisy.zarr
emds evaluate --denoised noisy.zarr --clean other.tif
emds run noisy.zarr --checkpoint runs/mine/best.pt --out seg.zarr
emds evaluate seg.zarr other.h5 --denoised seg.zarr --clean other.tif --protocol strict

echo "everything lies in $PWD"
