"""The architectures and encoders there are. Keys are in databases and checkpoints: never rename one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.domain.errors import pick
from core.models import deeplabv3plus
from core.models.preprocessing import Preprocessing
from core.models.weights import LITE0, WeightsFile, load_packaged, loading_from_hub

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class ModelSpec:
    """One architecture: how it is shown and how it is built.

    ``build(encoder, encoder_weights, num_classes)`` gives a network from images (N, 3, H, W) to
    logits (N, C, H, W) with its pretrained part as the attribute ``encoder``; ``encoder_weights``
    is what the encoder's library calls them, None for random ones.
    """

    title: str
    build: Callable[[str, str | None, int], nn.Module]
    size_multiple: int = 32  # H and W must be multiples of this
    min_batch_size: int = 2  # fewer images in a training batch have no variance to normalise with


@dataclass(frozen=True)
class EncoderSpec:
    """One pretrained part: how it is shown, how its input is normalised, where its weights are.

    ``packaged`` weights come with an installed package; without them the model hub is asked.
    ``is_depthwise`` encoders train faster in channels_last, dense ones do not (measured on AVX2).
    """

    title: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    packaged: WeightsFile | None = None
    is_depthwise: bool = False


MODELS: dict[str, ModelSpec] = {
    "deeplabv3plus": ModelSpec("DeepLabV3+", deeplabv3plus.build),
}

ENCODERS: dict[str, EncoderSpec] = {
    "tu-tf_efficientnet_lite0": EncoderSpec("EfficientNet-Lite0", HALF, HALF, LITE0, is_depthwise=True),
    "mobilenet_v2": EncoderSpec("MobileNetV2", is_depthwise=True),
    "resnet34": EncoderSpec("ResNet-34"),
    "resnet50": EncoderSpec("ResNet-50"),
}

ENCODER_WEIGHTS: dict[str, str] = {
    "imagenet": "Pretrained on ImageNet",
    "none": "Random",
}


def build_model(model: str, encoder: str, encoder_weights: str, num_classes: int) -> nn.Module:
    """Build a network with the weights it starts from.

    Args:
        model: key of MODELS.
        encoder: key of ENCODERS.
        encoder_weights: key of ENCODER_WEIGHTS. "none" takes torch's random state as it is.
        num_classes: channels of the logits, background included.

    Raises:
        UnknownChoice: a name is not in its registry.
        WeightsMissing: the pretrained weights cannot be had; never replaced by random ones.
    """
    spec, encoder_spec = pick(MODELS, model, kind="model"), pick(ENCODERS, encoder, kind="encoder")
    pick(ENCODER_WEIGHTS, encoder_weights, kind="kind of start weights")
    if encoder_weights == "none":
        return spec.build(encoder, None, num_classes)
    if encoder_spec.packaged is None:
        with loading_from_hub(encoder):
            return spec.build(encoder, encoder_weights, num_classes)
    network = spec.build(encoder, None, num_classes)
    load_packaged(network.get_submodule("encoder"), encoder_spec.packaged)
    return network


def preprocessing_of(encoder: str, size: int) -> Preprocessing:
    """Give the input size and normalisation that an encoder's weights were made for.

    Raises:
        UnknownChoice: there is no such encoder.
    """
    spec = pick(ENCODERS, encoder, kind="encoder")
    return Preprocessing(size, spec.mean, spec.std)
