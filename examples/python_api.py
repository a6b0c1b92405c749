"""The Python interface in twenty lines: make noise, remove it, segment, score, draw.

python examples/python_api.py [CHECKPOINT]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from skimage.io import imsave

import emds
from emds.demo.phantom import make_phantom
from emds.io import MemoryVolume
from emds.pretrained import shipped_checkpoint

folder = Path(tempfile.mkdtemp())

clean, truth = make_phantom((2, 192, 192), seed=3)  # (z, y, x); any uint8 array will do
shipped = shipped_checkpoint(clean.shape, voxel_size=(10, 10, 10))
checkpoint = Path(sys.argv[1]) if sys.argv[1:] else shipped

noise = emds.make_noise_model("gaussian-poisson", sigma=(55, 85), lam=(0.6, 0.8))
noisy = emds.add_noise(clean, noise, seed=3)

result = emds.run(MemoryVolume(noisy), checkpoint, out=folder / "seg.zarr")
with (
    emds.open_volume(result, role="raw") as image,
    emds.open_volume(result, role="labels") as labels,
):
    report = emds.evaluate(
        labels,
        MemoryVolume(truth),
        denoised=image,
        clean=MemoryVolume(clean),
        protocols=["strict"],
    )
    picture = np.hstack([clean[0], noisy[0], image.read()[0]])

imsave(folder / "picture.png", picture)
for name, value, note in report.rows():
    print(f"{name:24} {value:8.4f}  {note}")
print(f"picture: {folder / 'picture.png'}")
