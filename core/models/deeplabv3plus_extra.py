"""DeepLabV3+ with one more convolution block in its image-pooling branch."""

from typing import Any, cast

from segmentation_models_pytorch.base.initialization import initialize_decoder
from torch import Tensor, nn

from core.models import smp_nets
from core.models.plain_unet import ConvBlock


def build(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the network: images (N, 3, H, W) to logits (N, C, H, W), H and W multiples of 16.

    In training it needs two images per batch: the image-pooling branch normalises over the batch.
    """
    network: Any = smp_nets.build("DeepLabV3Plus", encoder, encoder_weights, num_classes)
    branches = network.decoder.aspp[0].convs  # 1x1, three dilated ones, image pooling
    branches[-1] = ImagePooling(network.encoder.out_channels[-1], branches[-1][1].out_channels)
    initialize_decoder(branches[-1])
    return cast("nn.Module", network)


class ImagePooling(nn.Module):
    """The image's mean through two 1x1 blocks, the same at each place: (N, in, H, W) to (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.block = ConvBlock(in_channels, out_channels, 1)
        self.extra_block = ConvBlock(out_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Pool, convolve twice, spread."""
        mean = self.extra_block(self.block(self.pool(features)))
        return mean.expand(-1, -1, *features.shape[-2:])
