"""The fusion network: a U-Net over the coarse image, steered by the predicted affinities."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from typing_extensions import override

from emds.networks.iem import IemMode, make_embedding
from emds.networks.unet import UNet, Widths, double_conv

FusionKind = Literal["instance", "plain"]
"""`instance`: a `FusionNetwork`; `plain`: a `SecondDenoiser`."""

_WIDER = 1.105  # widths of a U-Net that has as many parameters as the fusion network


def make_fusion(
    kind: FusionKind,
    sections: int,
    affinity_channels: int,
    widths: Widths,
    window: int,
    mode: IemMode,
) -> nn.Module:
    """Return the network that makes the final image; for the rest see `FusionNetwork`."""
    if kind == "plain":
        return SecondDenoiser(sections, widths)
    return FusionNetwork(sections, affinity_channels, widths, window, mode)


class SecondDenoiser(nn.Module):
    """A U-Net as large as the `FusionNetwork` of these widths, blind to affinities: a control."""

    def __init__(self, sections: int, widths: Widths) -> None:
        super().__init__()
        full, half, quarter = (round(_WIDER * width) for width in widths)
        self.image = UNet(sections, 1, (full, half, quarter))

    @override
    def forward(self, coarse: Tensor, affinities: Tensor | None) -> Tensor:
        """Return the final image (n, 1, y, x) of coarse sections (n, sections, y, x)."""
        out: Tensor = self.image(coarse)
        return out


class FusionNetwork(nn.Module):
    """Denoise once more, letting affinities guide the image features at 1/4 and 1/8.

    Parameters
    ----------
    sections : int
        Adjacent sections of the coarse image.
    affinity_channels : int
        Channels of the affinity probabilities.
    widths : (int, int, int)
        As in `UNet`.
    window : int
        Side of the attention window in input pixels; the training crop.
    mode : str
        See `emds.networks.iem`.

    References
    ----------
    Wang et al., MICCAI 2024, section 2.2.
    """

    def __init__(
        self,
        sections: int,
        affinity_channels: int,
        widths: Widths,
        window: int,
        mode: IemMode = "window",
    ) -> None:
        super().__init__()
        full, half, quarter = widths
        pool = nn.MaxPool2d(2)
        self.image = UNet(sections, 1, widths)
        self.affinities_quarter = nn.Sequential(
            double_conv(affinity_channels, full), pool, double_conv(full, half), pool
        )
        self.affinities_eighth = nn.Sequential(double_conv(half, quarter), pool)
        self.embed_quarter = make_embedding(half, window // 4, mode)
        self.embed_eighth = make_embedding(quarter, window // 8, mode)

    @override
    def forward(self, coarse: Tensor, affinities: Tensor) -> Tensor:
        """Return the final image of the section in the middle.

        Parameters
        ----------
        coarse : (n, sections, y, x)
            Output of the first denoiser, in [-1, 1].
        affinities : (n, c, y, x)
            Probabilities that a pixel and its partner are one object.

        Returns
        -------
        (n, 1, y, x)
        """
        net = self.image
        instance_quarter = self.affinities_quarter(affinities)
        instance_eighth = self.affinities_eighth(instance_quarter)
        full = net.encode_full(coarse)
        half = net.encode_half(net.pool(full))
        quarter = net.encode_quarter(self.embed_quarter(instance_quarter, net.pool(half)))
        deepest = self.embed_eighth(instance_eighth, net.pool(quarter))
        return net.decode(full, half, quarter, deepest)
