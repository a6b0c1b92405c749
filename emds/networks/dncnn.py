"""DnCNN: a plain stack of convolutions that predicts the noise instead of the image."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override

from emds.geometry import middle


class DnCNN(nn.Module):
    """Convolutions at full resolution; as a denoiser, input minus output.

    Parameters
    ----------
    channels_in, channels_out : int
        Image channels; the output has no activation.
    features : int
        Channels of every layer between.
    depth : int
        Convolutions in all; the first and last stand without batch normalisation.
    residual : bool
        The stack predicts the noise, which is taken from the sections in the middle. Without it
        the stack predicts its target itself, as a segmenter must.
    bias : bool
        Of the first and last convolution. The published code for the paper has neither bias nor
        residual.

    References
    ----------
    Zhang et al., Beyond a Gaussian Denoiser, IEEE TIP 2017.

    Examples
    --------
    >>> sum(p.numel() for p in DnCNN(1, 1).parameters())
    556097
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        features: int = 64,
        depth: int = 17,
        *,
        residual: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        layers: list[nn.Module] = [_conv(channels_in, features, bias), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [_conv(features, features, False), nn.BatchNorm2d(features)]
            layers += [nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, _conv(features, channels_out, bias))

    @override
    def forward(self, image: Tensor) -> Tensor:
        """Map (n, channels_in, y, x) to (n, channels_out, y, x)."""
        out: Tensor = self.layers(image)
        return image[:, middle(image.shape[1], out.shape[1])] - out if self.residual else out


def _conv(channels_in: int, channels_out: int, bias: bool) -> nn.Conv2d:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", mode="fan_out")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
