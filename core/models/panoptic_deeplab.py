"""Panoptic-DeepLab (Cheng et al. 2020, arXiv 1911.10194): classes, regions' centres and offsets to them.

One encoder; semantics and regions each have their own pyramid (ASPP) and decoder. How single regions
follow from the outputs is in core/inference/regions.py.
"""

from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from core.models.aspp_unet import Aspp
from core.models.outputs import PanopticOutput
from core.models.plain_unet import ConvBlock, resized

_ASPP_WIDTH = 256
_SEMANTIC_WIDTH, _SEMANTIC_SKIP_WIDTHS = 256, (64, 32)
_REGION_WIDTH, _REGION_SKIP_WIDTHS = 128, (32, 16)
_REGION_HEAD_WIDTH = 32
_HEAD_STRIDE = 4  # the heads work at 1/4 of the size


def build(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the network: images (N, 3, H, W) to a PanopticOutput, H and W multiples of 16.

    In training it needs two images per batch: the pyramids' pooling branches normalise over the batch.
    """
    weights: str | bool | None = encoder_weights
    if encoder.startswith("tu-") and encoder_weights is not None:
        weights = True  # timm's own name says which; smp warns of any other word
    trunk: Any = smp.encoders.get_encoder(encoder, weights=weights, output_stride=16)
    return PanopticDeepLab(trunk, trunk.out_channels, num_classes)


class PanopticDeepLab(nn.Module):
    """An encoder with features at 1/4 (index 2), 1/8 (3) and 1/16 (last), two decoders, three heads."""

    def __init__(self, encoder: nn.Module, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        deep, skips = widths[-1], (widths[3], widths[2])
        self.semantic = Decoder(deep, skips, _SEMANTIC_SKIP_WIDTHS, _SEMANTIC_WIDTH)
        self.regions = Decoder(deep, skips, _REGION_SKIP_WIDTHS, _REGION_WIDTH)
        self.class_head = _head(_SEMANTIC_WIDTH, _SEMANTIC_WIDTH, num_classes)
        self.centre_head = _head(_REGION_WIDTH, _REGION_HEAD_WIDTH, 1)
        self.offset_head = _head(_REGION_WIDTH, _REGION_HEAD_WIDTH, 2)

    def forward(self, images: Tensor) -> PanopticOutput:
        """Compute all three outputs at the images' size; offsets are in pixels of that size."""
        features = self.encoder(images)
        deep, skips, size_hw = features[-1], (features[3], features[2]), images.shape[-2:]
        semantic, regions = self.semantic(deep, skips), self.regions(deep, skips)
        return PanopticOutput(
            logits=resized(self.class_head(semantic), size_hw),
            centres=resized(self.centre_head(regions), size_hw),
            # The head itself counts in pixels of its own size, as the paper's does.
            offsets=resized(self.offset_head(regions), size_hw) * _HEAD_STRIDE,
        )


class Decoder(nn.Module):
    """A pyramid, then for each finer feature: resize to it, concatenate it narrowed, convolve."""

    def __init__(
        self, deep_width: int, skip_widths: Sequence[int], narrowed_widths: Sequence[int], width: int
    ) -> None:
        super().__init__()
        self.aspp = Aspp(deep_width, _ASPP_WIDTH, _ASPP_WIDTH)
        self.narrow = nn.ModuleList(
            ConvBlock(i, o, 1) for i, o in zip(skip_widths, narrowed_widths, strict=True)
        )
        joined = zip((_ASPP_WIDTH, width), narrowed_widths, strict=True)
        self.fuse = nn.ModuleList(SeparableBlock(above + narrowed, width) for above, narrowed in joined)

    def forward(self, deep: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Give features of the last skip's size."""
        features = self.aspp(deep)
        for skip, narrow, fuse in zip(skips, self.narrow, self.fuse, strict=True):
            features = fuse(torch.cat([resized(features, skip.shape[-2:]), narrow(skip)], dim=1))
        return features


class SeparableBlock(nn.Sequential):
    """A 5x5 convolution of each channel on its own, then a 1x1 one of them all, each normalised."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 5, padding=2, groups=in_channels, bias=False),
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            ConvBlock(in_channels, out_channels, 1),
        )


def _head(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(SeparableBlock(in_channels, width), nn.Conv2d(width, out_channels, 1))
