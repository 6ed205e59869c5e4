"""DeepLabV3+ (Chen et al. 2018, arXiv 1802.02611) as segmentation_models_pytorch builds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import nn


def build(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build the network: images (N, 3, H, W) to logits (N, C, H, W), H and W multiples of 32.

    In training it needs two images per batch: the image-pooling branch normalises over the batch.
    """
    import segmentation_models_pytorch as smp

    return cast(
        "nn.Module",
        smp.DeepLabV3Plus(encoder_name=encoder, encoder_weights=encoder_weights, classes=num_classes),
    )
