"""A U-Net whose bottom looks at several scales at once (atrous spatial pyramid pooling).

The pyramid is that of Chen et al. 2017 (arXiv 1706.05587), the rest of the network as in plain_unet.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from core.models.plain_unet import ConvBlock, UpBlock, refuse_encoder, two_convs, way_down

_WIDTHS = (64, 128, 256, 512)
ASPP_RATES = (6, 12, 18)
ASPP_WIDTH = 256


def build(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the network: images (N, 3, H, W) to logits (N, C, H, W), H and W multiples of 16.

    In training it needs two images per batch: the pyramid's pooling branch normalises over the batch.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return AsppUNet(num_classes)


class Aspp(nn.Module):
    """A 1x1 block, 3x3 blocks at several dilations and the image's mean, joined by a 1x1 block.

    (N, in, H, W) to (N, out, H, W); each branch has ``width`` channels.
    """

    def __init__(
        self, in_channels: int, width: int, out_channels: int, rates: Sequence[int] = ASPP_RATES
    ) -> None:
        super().__init__()
        self.local = nn.ModuleList(
            [
                ConvBlock(in_channels, width, 1),
                *(ConvBlock(in_channels, width, dilation=rate) for rate in rates),
            ]
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvBlock(in_channels, width, 1))
        self.join = ConvBlock((len(rates) + 2) * width, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Look at all scales and join them."""
        mean = self.pooled(features).expand(-1, -1, *features.shape[-2:])
        return self.join(torch.cat([*(branch(features) for branch in self.local), mean], dim=1))


class AsppUNet(nn.Module):
    """Four stages down, the pyramid at 1/16 of the size, four stages up with skips."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(two_convs(i, o) for i, o in pairwise((3, *_WIDTHS)))
        self.aspp = Aspp(_WIDTHS[-1], ASPP_WIDTH, _WIDTHS[-1])
        self.up = nn.ModuleList(UpBlock(i, o, o) for i, o in pairwise((_WIDTHS[-1], *reversed(_WIDTHS))))
        self.head = nn.Conv2d(_WIDTHS[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, C, H, W)."""
        features, skips = way_down(self.down, images)
        features = self.aspp(features)
        for stage in self.up:
            features = stage(features, skips.pop())
        return self.head(features)
