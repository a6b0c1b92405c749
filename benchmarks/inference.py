"""Tiled inference from zarr to zarr against the bare network on the same tiles.

Both run in one process, interleaved, and are timed by the wall clock; run it while the machine
does nothing else. The bare network gets ready-made float batches and throws its output away. It
does half of them before and half after, so a machine that slows down favours neither.

    python benchmarks/inference.py --checkpoint model.pt --shape 32 512 512 --repeats 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from emds.io import create_volume, open_volume
from emds.networks.checkpoint import load_checkpoint
from emds.networks.device import choose_device
from emds.stages.inference import denoise
from emds.stages.plan import InferenceOptions, plan_inference


def bare_seconds(checkpoint, outputs, batch: torch.Tensor, batches: int) -> float:
    network = checkpoint.build().keep_only(outputs)
    network.to(batch.device, memory_format=torch.channels_last)
    wait = torch.cuda.synchronize if batch.is_cuda else lambda: None
    with torch.inference_mode():
        network(batch)
        wait()
        started = time.perf_counter()
        for _ in range(batches):
            network(batch)
        wait()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--shape", type=int, nargs=3, default=(32, 512, 512))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    checkpoint = load_checkpoint(arguments.checkpoint)
    options = InferenceOptions(device=arguments.device)
    folder = Path(tempfile.mkdtemp(prefix="emds-bench-"))
    values = np.random.default_rng(0).integers(0, 256, arguments.shape).astype(np.uint8)
    with create_volume(folder / "noisy.zarr", shape=values.shape, dtype=np.uint8) as volume:
        volume.write(volume.roi, values)
    source = open_volume(folder / "noisy.zarr")
    plan = plan_inference(source, checkpoint, options, device.type, channels=1)
    tiles = len(plan.grid.tiles_meeting(source.roi))
    batches = -(-tiles // plan.batch_size)
    sections = checkpoint.architecture["in_slices"]
    batch = torch.rand(plan.batch_size, sections, *plan.grid.tile[1:], device=device) * 2 - 1
    batch = batch.contiguous(memory_format=torch.channels_last)
    outputs = ("fused", "affinities")
    rows = []
    for number in range(arguments.repeats):
        bare = bare_seconds(checkpoint, outputs, batch, batches // 2)
        started = time.perf_counter()
        denoise(source, arguments.checkpoint, out=folder / f"d{number}.zarr", options=options)
        seconds = time.perf_counter() - started
        bare += bare_seconds(checkpoint, outputs, batch, batches - batches // 2)
        rows.append({"bare_s": round(bare, 2), "zarr_to_zarr_s": round(seconds, 2)})
    share = [row["bare_s"] / row["zarr_to_zarr_s"] for row in rows]
    print(
        json.dumps(
            {
                "shape": list(arguments.shape),
                "tile": plan.grid.tile,
                "overlap": plan.grid.overlap,
                "tiles": tiles,
                "threads": torch.get_num_threads(),
                "device": str(device),
                "runs": rows,
                "share_of_bare_median": statistics.median(share),
                "share_of_bare_range": [min(share), max(share)],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
