"""The architectures that torchvision builds: a classifier's body, and a head on what it sees.

FCN (Long et al. 2015, arXiv 1411.4038), DeepLabV3 (Chen et al. 2017, arXiv 1706.05587) and LR-ASPP
(Howard et al. 2019, arXiv 1905.02244). Each builder gives images (N, 3, H, W) to logits (N, C, H, W),
any H and W, and takes one encoder only, which its name in the registry says.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights
from torchvision.models import segmentation as torchvision_nets


class EncoderAndHead(nn.Module):
    """torchvision's two parts under our names, and logits instead of a dictionary.

    ``feature`` names the one feature map that the head wants; None hands it all of them.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, feature: str | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.feature = feature

    def forward(self, images: Tensor) -> Tensor:
        features: dict[str, Tensor] = self.encoder(images)
        logits: Tensor = self.head(features[self.feature] if self.feature else features)
        return interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def build_fcn(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build a fully convolutional network on a ResNet-50 that keeps an eighth of the resolution."""
    assert encoder == "resnet50"
    return _on_resnet50(torchvision_nets.fcn_resnet50, encoder_weights, num_classes)


def build_deeplabv3(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build DeepLabV3 on the same; its image pooling needs two images per training batch."""
    assert encoder == "resnet50"
    return _on_resnet50(torchvision_nets.deeplabv3_resnet50, encoder_weights, num_classes)


def build_lraspp(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
    """Build lite reduced ASPP on a MobileNetV3-Large: the lightest network there is here."""
    assert encoder == "mobilenet_v3_large"
    backbone = MobileNet_V3_Large_Weights.IMAGENET1K_V1 if encoder_weights else None
    network = torchvision_nets.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=backbone, num_classes=num_classes
    )
    return EncoderAndHead(network.backbone, network.classifier, feature=None)


def _on_resnet50(
    builder: Callable[..., Any], encoder_weights: str | None, num_classes: int
) -> EncoderAndHead:
    # Both arguments are needed: left out, weights_backbone asks the network for ImageNet's.
    backbone = ResNet50_Weights.IMAGENET1K_V1 if encoder_weights else None
    network = builder(weights=None, weights_backbone=backbone, num_classes=num_classes, aux_loss=False)
    return EncoderAndHead(network.backbone, network.classifier, feature="out")
