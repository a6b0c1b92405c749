"""Published weights of R50-ViT-B/16, as a `.npz` of arrays, put into a `TransUNet`.

The file is read without pickles, so nothing in it can run. What it lacks (decoder and head)
keeps its random start.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from numpy.typing import NDArray
from torch import Tensor, nn

from emds.errors import CheckpointError
from emds.files import note_input
from emds.networks.archive import read_arrays
from emds.networks.transunet import Bottleneck, TransUNet

Arrays = dict[str, NDArray[np.float32]]


def load_vit_weights(network: TransUNet, path: Path) -> None:
    """Copy encoder, embedding, positions and transformer from `path` into `network`.

    The table of positions is interpolated bilinearly to the tokens of the network's crop; the
    class token's entry is dropped. For an image of other than three channels, the kernel of the
    first convolution is its mean over the colours.

    Parameters
    ----------
    network : TransUNet
        A network of the published size; changed in place.
    path : Path
        E.g. ``R50+ViT-B_16.npz``: kernels are (y, x, in, out), dense ones (in, out).

    Raises
    ------
    CheckpointError
        If the file is missing, is no archive of plain arrays, or an array is absent or of another
        shape than the network needs.

    References
    ----------
    Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021.
    """
    arrays = _read(path)
    targets = dict(_targets(network))
    absent = [name for name in targets if name not in arrays]
    if absent:
        raise CheckpointError(
            f"{path} lacks {len(absent)} of {len(targets)} arrays of an R50-ViT, among them "
            f"{absent[0]!r}. Expected weights as published with the Vision Transformer."
        )
    for name, parameter in targets.items():
        value = _fit(torch.from_numpy(arrays[name]), name, parameter)
        if value.shape != parameter.shape:
            raise CheckpointError(
                f"{path}: {name} is {arrays[name].shape}, which does not fit "
                f"{tuple(parameter.shape)} of this network. Published weights fit the size "
                "'transunet' alone."
            )
        with torch.no_grad():
            parameter.copy_(value)


def _read(path: Path) -> Arrays:
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise CheckpointError(f"no weights at {path}: expected an .npz file of arrays.")
    note_input(path)
    return {name: np.asarray(values, np.float32) for name, values in read_arrays(path).items()}


def _fit(value: Tensor, name: str, parameter: nn.Parameter) -> Tensor:
    """Bring an array of the file into the layout of the parameter, as far as it can be."""
    if name == "conv_root/kernel" and parameter.shape[1] != value.shape[2]:
        value = value.mean(dim=2, keepdim=True).expand(-1, -1, parameter.shape[1], -1)
    if name.endswith("pos_embedding"):
        return _interpolate(value, parameter.shape[1])
    if name.endswith("kernel"):
        if parameter.dim() == 4:
            return value.permute(3, 2, 0, 1)
        inputs = parameter.shape[1]
        return value.reshape(inputs, -1).T if value.numel() % inputs == 0 else value
    return value.flatten()


def _interpolate(table: Tensor, tokens: int) -> Tensor:
    """Resize a table (1, 1 + n², hidden), or without the class token, to (1, tokens, hidden)."""
    side = int((table.shape[1]) ** 0.5)
    hidden = table.shape[2]
    grid = table[:, table.shape[1] - side**2 :].transpose(1, 2).reshape(1, hidden, side, side)
    wanted = round(tokens**0.5)
    if wanted != side:
        grid = F.interpolate(grid, (wanted, wanted), mode="bilinear", align_corners=True)
    tokens_last: Tensor = grid.flatten(2)
    return tokens_last.transpose(1, 2)


def _targets(network: TransUNet) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield (name in the file, parameter) of all that the file must hold."""
    yield from _named(network.encoder.root[0], "conv_root", ("kernel",))
    yield from _named(network.encoder.root[1], "gn_root", ("scale", "bias"))
    for b, block in enumerate(network.encoder.blocks, start=1):
        assert isinstance(block, nn.Sequential)
        for u, unit in enumerate(block, start=1):
            assert isinstance(unit, Bottleneck)
            yield from _of_unit(unit, f"block{b}/unit{u}")
    yield from _named(network.embedding, "embedding", ("kernel", "bias"))
    yield "Transformer/posembed_input/pos_embedding", network.positions
    parts = {
        "norm_attention": ("LayerNorm_0", "scale"),
        "query": ("MultiHeadDotProductAttention_1/query", "kernel"),
        "key": ("MultiHeadDotProductAttention_1/key", "kernel"),
        "value": ("MultiHeadDotProductAttention_1/value", "kernel"),
        "out": ("MultiHeadDotProductAttention_1/out", "kernel"),
        "norm_mlp": ("LayerNorm_2", "scale"),
        "widen": ("MlpBlock_3/Dense_0", "kernel"),
        "narrow": ("MlpBlock_3/Dense_1", "kernel"),
    }
    for i, layer in enumerate(network.layers):
        for part, (name, weight) in parts.items():
            module = getattr(layer, part)
            yield from _named(module, f"Transformer/encoderblock_{i}/{name}", (weight, "bias"))
    yield from _named(network.norm, "Transformer/encoder_norm", ("scale", "bias"))


def _of_unit(unit: Bottleneck, place: str) -> Iterator[tuple[str, nn.Parameter]]:
    convolutions = [unit.branch[0], unit.branch[3], unit.branch[6]]
    norms = [unit.branch[1], unit.branch[4], unit.branch[7]]
    for i, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True), start=1):
        yield from _named(convolution, f"{place}/conv{i}", ("kernel",))
        yield from _named(norm, f"{place}/gn{i}", ("scale", "bias"))
    if isinstance(unit.shortcut, nn.Sequential):
        yield from _named(unit.shortcut[0], f"{place}/conv_proj", ("kernel",))
        yield from _named(unit.shortcut[1], f"{place}/gn_proj", ("scale", "bias"))


def _named(
    module: nn.Module, place: str, names: tuple[str, ...]
) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in zip(names, (module.weight, module.bias), strict=False):
        assert isinstance(parameter, nn.Parameter)
        yield f"{place}/{name}", parameter
