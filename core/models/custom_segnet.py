"""Three encoder-decoders without skips, of a published car-damage study, here with logits as output.

Every convolution but the last is followed by batch normalisation and ReLU. A 2x2 max pooling ends each
stage down, a bilinear doubling begins each stage up. H and W of the images are multiples of 8.
"""

from collections.abc import Sequence
from typing import TypeAlias

from torch import nn

from core.models.plain_unet import ConvBlock, refuse_encoder

Stage: TypeAlias = tuple[tuple[int, int], ...]
"""The (kernel size, channels) of a stage's convolutions."""

# The last stage up ends with one more convolution, to the classes.
_DOWN_1: tuple[Stage, ...] = (
    ((7, 64), (5, 128)),
    ((5, 256), (3, 512), (3, 512)),
    ((3, 1024), (3, 1024), (3, 1024)),
)
_UP_1: tuple[Stage, ...] = (
    ((5, 512), (5, 256), (7, 128)),
    ((7, 64), (9, 32), (11, 16)),
    ((11, 8),),
)
_DOWN_2: tuple[Stage, ...] = (((3, 64),), ((3, 128),), ((3, 256),))
_DOWN_3: tuple[Stage, ...] = (((3, 64), (3, 64)), ((3, 128), (3, 128)), ((3, 256), (3, 256)))
_UP_2_AND_3: tuple[Stage, ...] = (((3, 128),), ((3, 64),), ())


def build_segnet1(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the large one, kernels of 3 to 13 pixels; very slow.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return SegNet(_DOWN_1, _UP_1, last_kernel_size=13, num_classes=num_classes)


def build_segnet2(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the small one, one 3x3 convolution per stage.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return SegNet(_DOWN_2, _UP_2_AND_3, last_kernel_size=3, num_classes=num_classes)


def build_segnet3(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the small one with two convolutions per stage down.

    Raises:
        UnknownChoice: an encoder or its weights are asked for.
    """
    refuse_encoder(encoder, encoder_weights)
    return SegNet(_DOWN_3, _UP_2_AND_3, last_kernel_size=3, num_classes=num_classes)


class SegNet(nn.Sequential):
    """Images (N, 3, H, W) to logits (N, C, H, W), in the stages that ``down`` and ``up`` list."""

    def __init__(
        self, down: Sequence[Stage], up: Sequence[Stage], *, last_kernel_size: int, num_classes: int
    ) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for stage in down:
            layers += [*_blocks(channels, stage), nn.MaxPool2d(2)]
            channels = stage[-1][1]
        for stage in up:
            layers += [nn.Upsample(scale_factor=2, mode="bilinear"), *_blocks(channels, stage)]
            channels = stage[-1][1] if stage else channels
        layers.append(nn.Conv2d(channels, num_classes, last_kernel_size, padding=last_kernel_size // 2))
        super().__init__(*layers)


def _blocks(in_channels: int, stage: Stage) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for kernel_size, channels in stage:
        blocks.append(ConvBlock(in_channels, channels, kernel_size))
        in_channels = channels
    return blocks
