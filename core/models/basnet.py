"""BASNet (Qin et al. 2019, "BASNet: Boundary-Aware Salient Object Detection", CVPR), for several classes.

A predict module gives coarse logits at seven depths, a refine module adds what the finest of them lack.
Where the paper has one channel and a sigmoid, this has one channel per class; all eight outputs are
supervised with the same weight.
"""

from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from core.domain.errors import UnknownChoice
from core.models.plain_unet import ConvBlock, resized, way_down

ENCODER = "resnet34"
_WIDTH = 512  # of the deepest stages and the bridge
_REFINE_WIDTH = 64
_REFINE_STAGES = 4


def build(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the network for images (N, 3, H, W), H and W multiples of 32.

    In training it gives eight logits (N, C, H, W): refined, the decoder's from fine to coarse, the
    bridge's. Afterwards it gives the refined logits alone.

    Raises:
        UnknownChoice: the encoder is not ResNet-34, whose stages the layout is made of.
    """
    if encoder != ENCODER:
        raise UnknownChoice(f"BASNet is built on {ENCODER}, not on “{encoder}”.")
    return Basnet(encoder_weights, num_classes)


class Basnet(nn.Module):
    """The predict module and the refine module."""

    def __init__(self, encoder_weights: str | None, num_classes: int) -> None:
        super().__init__()
        # The paper's stem keeps the image's size: one 3x3 convolution, and no pooling before the stages.
        self.stem = ConvBlock(3, 64)
        self.encoder = _residual_stages(encoder_weights)
        self.deeper = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), *(BasicBlock(_WIDTH, _WIDTH) for _ in range(3))) for _ in range(2)
        )
        self.bridge = _three_convs(_WIDTH, _WIDTH, _WIDTH, dilation=2)
        self.decoder = nn.ModuleList(
            [
                _three_convs(2 * 512, 512, 512),
                _three_convs(2 * 512, 512, 512),
                _three_convs(2 * 512, 512, 256),
                _three_convs(2 * 256, 256, 128),
                _three_convs(2 * 128, 128, 64),
                _three_convs(2 * 64, 64, 64),
            ]
        )
        self.sides = nn.ModuleList(
            nn.Conv2d(width, num_classes, 3, padding=1) for width in (512, 512, 512, 256, 128, 64, 64)
        )
        self.refine = RefineModule(num_classes)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Compute the refined logits (N, C, H, W); in training before those that are supervised too."""
        skips = self._encode(images)
        stages = [self.bridge(skips[-1])]  # coarse to fine
        for stage in self.decoder:
            skip = skips.pop()
            stages.append(stage(torch.cat([resized(stages[-1], skip.shape[-2:]), skip], dim=1)))
        if not self.training:
            return self.refine(self.sides[-1](stages[-1]))
        sides = [
            resized(side(stage), images.shape[-2:]) for side, stage in zip(self.sides, stages, strict=True)
        ]
        return self.refine(sides[-1]), *reversed(sides)

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Compute the six stages' features, at 1, 1/2, ... 1/32 of the size."""
        features = self.stem(images)
        skips: list[Tensor] = []
        for stage in (*self.encoder.children(), *self.deeper):
            features = stage(features)
            skips.append(features)
        return skips


class RefineModule(nn.Module):
    """A small U-shaped network that learns what coarse logits (N, C, H, W) lack, and adds it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        width = _REFINE_WIDTH
        self.down = nn.ModuleList(
            ConvBlock(num_classes if stage == 0 else width, width) for stage in range(_REFINE_STAGES)
        )
        self.bridge = ConvBlock(width, width)
        self.up = nn.ModuleList(ConvBlock(2 * width, width) for _ in range(_REFINE_STAGES))
        self.residual = nn.Conv2d(width, num_classes, 3, padding=1)

    def forward(self, coarse: Tensor) -> Tensor:
        """Refine logits."""
        features, skips = way_down(self.down, coarse)
        features = self.bridge(features)
        for stage in self.up:
            skip = skips.pop()
            features = stage(torch.cat([resized(features, skip.shape[-2:]), skip], dim=1))
        return coarse + self.residual(features)


def _residual_stages(encoder_weights: str | None) -> nn.Sequential:
    """Take ResNet-34's four stages: (N, 64, H, W) to (N, 64, H, W), (128, 1/2), (256, 1/4), (512, 1/8)."""
    resnet: Any = smp.encoders.get_encoder(ENCODER, weights=encoder_weights)
    stages = nn.Sequential()
    for name in ("layer1", "layer2", "layer3", "layer4"):  # the names that weights of ResNets have
        stages.add_module(name, resnet.get_submodule(name))
    return stages


def _three_convs(in_channels: int, width: int, out_channels: int, *, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        ConvBlock(in_channels, width, dilation=dilation),
        ConvBlock(width, width, dilation=dilation),
        ConvBlock(width, out_channels, dilation=dilation),
    )
