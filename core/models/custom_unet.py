"""Two U-shaped networks of a published car-damage study, here with logits as output.

Stages down: two 3x3 convolutions, then 2x2 max pooling. Stages up: two 3x3 convolutions, then bilinear
doubling. Every convolution but the 1x1 head is followed by batch normalisation and ReLU. H and W of the
images are multiples of 8.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from core.models.plain_unet import refuse_encoder, two_convs

_WIDTHS = (64, 128, 256)
_BOTTLENECK_WIDTH = 512
_DROPOUT = 0.5


def build_unet(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the one without skips.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return CustomUNet(num_classes, has_skips=False, dropout=0.0)


def build_unet2(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the one with skips from the pooled outputs, and dropout of whole channels in the bottleneck.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return CustomUNet(num_classes, has_skips=True, dropout=_DROPOUT)


class CustomUNet(nn.Module):
    """Images (N, 3, H, W) to logits (N, C, H, W).

    With skips each stage up takes its input together with the pooled output, of the same size, of its
    stage down.
    """

    def __init__(self, num_classes: int, *, has_skips: bool, dropout: float) -> None:
        super().__init__()
        self.has_skips = has_skips
        self.down = nn.ModuleList(
            nn.Sequential(*two_convs(i, o), nn.MaxPool2d(2)) for i, o in pairwise((3, *_WIDTHS))
        )
        self.bottleneck = nn.Sequential(
            *two_convs(_WIDTHS[-1], _BOTTLENECK_WIDTH), *([nn.Dropout2d(dropout)] if dropout else [])
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                *two_convs(i + (o if has_skips else 0), o), nn.Upsample(scale_factor=2, mode="bilinear")
            )
            for i, o in pairwise((_BOTTLENECK_WIDTH, *reversed(_WIDTHS)))
        )
        self.head = nn.Conv2d(_WIDTHS[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, C, H, W)."""
        pooled: list[Tensor] = []
        features = images
        for stage in self.down:
            features = stage(features)
            pooled.append(features)
        features = self.bottleneck(features)
        for stage in self.up:
            skip = pooled.pop()
            features = stage(torch.cat([features, skip], dim=1) if self.has_skips else features)
        return self.head(features)
