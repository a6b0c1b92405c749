"""Where to compute."""

from __future__ import annotations

import torch
from torch import nn

from emds.errors import UsageError


def choose_device(name: str = "auto", worker: int = 0) -> torch.device:
    """Return the device of that name; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Without a number, ``cuda`` is the GPU whose turn it is: `worker` modulo how many there are.

    Raises
    ------
    UsageError
        If the device is unknown or not on this machine; nothing falls back in silence.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, there in available.items() if there), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"--device must be auto, cpu, cuda, cuda:N or mps, not {name!r}."
        ) from None
    if not available.get(device.type, device.type == "cpu"):
        raise UsageError(f"--device {name}: PyTorch sees no such device here. Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are only {torch.cuda.device_count()} GPUs here.")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", worker % torch.cuda.device_count())
    return device


def place(network: nn.Module, device: torch.device) -> None:
    """Move a network to a device; planar convolutions get the memory layout they are fastest in.

    Convolutions in three dimensions keep theirs, in which they are as fast.
    """
    network.to(device)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
