"""U-Nets without a pretrained part, and the blocks that our other own networks share with them.

Layout: Ronneberger et al. 2015 (arXiv 1505.04597): two 3x3 convolutions per stage, 2x2 max pooling down,
2x2 transposed convolutions up, skips by concatenation. Unlike there the convolutions are padded, so that
the logits are as large as the image, and normalised over the batch, without which a start from random
weights takes far longer.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.domain.errors import UnknownChoice

_RONNEBERGER_WIDTHS = (64, 128, 256, 512)
_MARS_WIDTHS = (64, 128)


def build_scratch(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build Ronneberger's U-Net: images (N, 3, H, W) to logits (N, C, H, W), H and W multiples of 16.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return UNet(_RONNEBERGER_WIDTHS, num_classes, has_skips=True)


def build_mars(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build two blocks down, a bottleneck, two blocks up, without skips; H and W are multiples of 4.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return UNet(_MARS_WIDTHS, num_classes, has_skips=False)


def build_mars_skips(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build two blocks down, a bottleneck, two blocks up, with skips; H and W are multiples of 4.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return UNet(_MARS_WIDTHS, num_classes, has_skips=True)


def refuse_encoder(encoder: str, encoder_weights: str | None) -> None:
    """Make sure that a network of one piece is not asked for an encoder.

    Raises:
        UnknownChoice: ``encoder`` is not "none", or weights for it are given.
    """
    if encoder != "none":
        raise UnknownChoice(f"This network is of one piece: its encoder must be none, not “{encoder}”.")
    if encoder_weights is not None:
        raise UnknownChoice("This network has no pretrained weights. Choose encoder_weights=none.")


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation, ReLU: (N, in, H, W) to (N, out, H, W), for odd kernels."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, dilation: int = 1
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


def two_convs(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build two 3x3 blocks, the first of which changes the number of channels."""
    return nn.Sequential(ConvBlock(in_channels, out_channels), ConvBlock(out_channels, out_channels))


def resized(features: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Resize features (N, F, h, w) bilinearly to (N, F, H, W), with half-pixel centres."""
    if tuple(features.shape[-2:]) == tuple(size_hw):
        return features
    return functional.interpolate(features, tuple(size_hw), mode="bilinear", align_corners=False)


def way_down(stages: nn.ModuleList, features: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Go through stages with a 2x2 max pooling after each; give what is at the bottom, and each stage's
    output before its pooling, the largest first."""
    skips: list[Tensor] = []
    for stage in stages:
        skips.append(stage(features))
        features = functional.max_pool2d(skips[-1], 2)
    return features, skips


class UpBlock(nn.Module):
    """A 2x2 transposed convolution, then two 3x3 blocks on that and the skip, if there is one.

    (N, in, H, W) and a skip (N, skip, 2H, 2W) to (N, out, 2H, 2W); without a skip ``skip_channels`` is 0.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.convs = two_convs(out_channels + skip_channels, out_channels)

    def forward(self, features: Tensor, skip: Tensor | None) -> Tensor:
        """Upsample, join, convolve."""
        up = self.up(features)
        return self.convs(up if skip is None else torch.cat([skip, up], dim=1))


class UNet(nn.Module):
    """Stages of ``widths`` channels down, a bottleneck of twice the last width, the same stages up."""

    def __init__(self, widths: Sequence[int], num_classes: int, *, has_skips: bool) -> None:
        super().__init__()
        self.has_skips = has_skips
        self.down = nn.ModuleList(two_convs(i, o) for i, o in pairwise((3, *widths)))
        self.bottleneck = two_convs(widths[-1], 2 * widths[-1])
        self.up = nn.ModuleList(
            UpBlock(2 * width, width if has_skips else 0, width) for width in reversed(widths)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, C, H, W)."""
        features, skips = way_down(self.down, images)
        features = self.bottleneck(features)
        for stage in self.up:
            skip = skips.pop()
            features = stage(features, skip if self.has_skips else None)
        return self.head(features)
