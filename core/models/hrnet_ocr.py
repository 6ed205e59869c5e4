"""HRNet with object-contextual representations (Yuan et al. 2020, arXiv 1909.11065).

Each class's region is first guessed ("soft object regions") and described by the mean of its pixels'
features; each pixel then looks at these descriptions and decides anew.
"""

from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from core.models.plain_unet import ConvBlock, resized

_WIDTH = 512  # of pixels, regions and their context
_KEY_WIDTH = 256
_DROPOUT = 0.05


def build(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the network for images (N, 3, H, W), H and W multiples of 32, on an encoder ``tu-hrnet_...``.

    In training it gives two logits (N, C, H, W): the answer and the first guess. Afterwards it gives
    the answer alone.
    """
    # timm's own name says which weights; smp warns of any other word. "" asks for the four branches as they
    # are, without the classifier's wider ones on top.
    weights = None if encoder_weights is None else True
    hrnet: Any = smp.encoders.get_encoder(encoder, weights=weights, feature_location="")
    return HRNetOcr(hrnet, hrnet.out_channels[-4:], num_classes)


class HRNetOcr(nn.Module):
    """An encoder whose last four features, the finest at 1/4 of the size, are joined, and OCR on them."""

    def __init__(self, encoder: nn.Module, branch_widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        width = sum(branch_widths)
        self.encoder = encoder
        self.guess = nn.Sequential(ConvBlock(width, width, 1), nn.Conv2d(width, num_classes, 1))
        self.pixels = ConvBlock(width, _WIDTH)
        self.attention = RegionAttention()
        self.context = ConvBlock(_KEY_WIDTH, _WIDTH, 1)
        self.fuse = nn.Sequential(ConvBlock(2 * _WIDTH, _WIDTH, 1), nn.Dropout2d(_DROPOUT))
        self.head = nn.Conv2d(_WIDTH, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute logits (N, C, H, W), in training the guess's too."""
        features = _joined(self.encoder(images)[-4:])
        guess, pixels = self.guess(features), self.pixels(features)
        context = self.context(self.attention(pixels, region_features(guess, pixels)))
        answer = resized(self.head(self.fuse(torch.cat([context, pixels], dim=1))), images.shape[-2:])
        return (answer, resized(guess, images.shape[-2:])) if self.training else answer


class RegionAttention(nn.Module):
    """Each pixel's view of the regions: the more alike, the more it takes of a region's description."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Sequential(ConvBlock(_WIDTH, _KEY_WIDTH, 1), ConvBlock(_KEY_WIDTH, _KEY_WIDTH, 1))
        self.key = nn.Sequential(ConvBlock(_WIDTH, _KEY_WIDTH, 1), ConvBlock(_KEY_WIDTH, _KEY_WIDTH, 1))
        self.value = ConvBlock(_WIDTH, _KEY_WIDTH, 1)

    def weights(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Give (N, H * W, C), how much each pixel takes of each region; a pixel's weights sum to 1.

        Args:
            pixels: (N, 512, H, W).
            regions: (N, 512, C, 1).
        """
        query = self.query(pixels).flatten(2).transpose(1, 2)
        key = self.key(regions).flatten(2)
        return (query @ key * _KEY_WIDTH**-0.5).softmax(dim=-1)

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Give each pixel's mixture of the regions (N, 256, H, W)."""
        value = self.value(regions).flatten(2)
        mixture = value @ self.weights(pixels, regions).transpose(1, 2)
        return mixture.unflatten(2, pixels.shape[-2:])


def region_features(guess: Tensor, pixels: Tensor) -> Tensor:
    """Describe each class's region by a mean of all pixels, weighted by how surely they belong to it.

    Args:
        guess: logits (N, C, H, W); for each class their softmax over all pixels gives the weights.
        pixels: features (N, F, H, W).

    Returns:
        (N, F, C, 1).
    """
    weights = guess.flatten(2).softmax(dim=-1)
    return (pixels.flatten(2) @ weights.transpose(1, 2)).unsqueeze(-1)


def _joined(branches: Sequence[Tensor]) -> Tensor:
    """Bring all to the size of the first and concatenate them."""
    return torch.cat([resized(branch, branches[0].shape[-2:]) for branch in branches], dim=1)
