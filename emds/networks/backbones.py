"""The networks that may stand as denoiser or segmenter, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import get_args

from torch import nn

from emds.config import Backbone
from emds.networks.dncnn import DnCNN
from emds.networks.ridnet import RIDNet
from emds.networks.transunet import SIZES, TransUNet
from emds.networks.unet import UNet, Widths
from emds.networks.unet3d import UNet3d


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a network is built for.

    Attributes
    ----------
    channels_in, channels_out : int
        Number of input sections, and of output sections or affinities.
    denoises : bool
        The output is an image; a network made to predict the noise then does so.
    widths : (int, int, int)
        Feature channels of a U-Net, in two dimensions or three.
    crop : int
        Side of a training sample, pixels: the square that a TransUNet sees.
    """

    channels_in: int
    channels_out: int
    denoises: bool
    widths: Widths
    crop: int


def _unet(around: Surroundings) -> UNet:
    return UNet(around.channels_in, around.channels_out, around.widths)


def _unet3d(around: Surroundings) -> UNet3d:
    if around.denoises:
        return UNet3d(around.channels_in, around.channels_out, 1, around.widths)
    return UNet3d(around.channels_in, 1, around.channels_out, around.widths)


def _dncnn(around: Surroundings, features: int = 64) -> DnCNN:
    channels = around.channels_in, around.channels_out
    return DnCNN(*channels, features, residual=around.denoises)


def _released_dncnn(around: Surroundings) -> DnCNN:
    return DnCNN(around.channels_in, around.channels_out, residual=False, bias=False)


def _ridnet(around: Surroundings, features: int = 64) -> RIDNet:
    channels = around.channels_in, around.channels_out
    return RIDNet(*channels, features, residual=around.denoises)


def _transunet(around: Surroundings, size: str) -> TransUNet:
    return TransUNet(around.channels_in, around.channels_out, SIZES[size], around.crop)


BACKBONES: Mapping[Backbone, Callable[[Surroundings], nn.Module]] = {
    "unet": _unet,
    "unet3d": _unet3d,
    "dncnn": _dncnn,
    "dncnn-light": partial(_dncnn, features=16),
    "dncnn-released": _released_dncnn,
    "ridnet": _ridnet,
    "ridnet-light": partial(_ridnet, features=16),
    "ridnet-released": partial(_ridnet, features=128),
    "transunet": partial(_transunet, size="transunet"),
    "transunet-s": partial(_transunet, size="transunet-s"),
    "transunet-xs": partial(_transunet, size="transunet-xs"),
}
assert set(BACKBONES) == set(get_args(Backbone))
