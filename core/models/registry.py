"""The architectures and encoders there are. Keys are in databases and checkpoints: never rename one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from core.domain.errors import FormatError, UnknownChoice, listed, pick
from core.models import smp_nets
from core.models.preprocessing import Preprocessing
from core.models.smp_nets import HALF, IMAGENET_MEAN, IMAGENET_STD
from core.models.weights import (
    LITE0,
    LITE1,
    LITE2,
    WeightsFile,
    WeightsMissing,
    load_packaged,
    loading_from_hub,
)

if TYPE_CHECKING:
    from torch import nn

NO_ENCODER = "none"
BATCH_NORM_MOMENTUM = 0.1

# What an encoder that is not in ENCODERS may be called: as segmentation_models_pytorch calls it, or "tu-"
# and timm's name. No colon and no slash, with which timm reads folders and foreign repositories.
ANY_NAME = "[a-z0-9][a-z0-9_.-]{0,98}[a-z0-9]"
TIMM_NAME = f"tu-{ANY_NAME}"


@dataclass(frozen=True)
class ModelSpec:
    """One architecture: how it is shown and how it is built.

    ``build(encoder, encoder_weights, num_classes)`` gives a network from images (N, 3, H, W) to
    Outputs (core/models/outputs.py); a pretrained part, if there is one, is its attribute ``encoder``.
    ``encoder_weights`` is what the encoder's library calls them, None for random ones.
    ``encoders`` are the tested ones, the first is the usual one; a network of one piece has (NO_ENCODER,).
    ``other_encoders`` is a pattern of names outside ENCODERS that may work as well; "" where none do.
    """

    title: str
    build: Callable[[str, str | None, int], nn.Module]
    encoders: tuple[str, ...]
    size_multiple: int = 32  # H and W must be multiples of this
    min_size: int = 64  # of H and W
    min_batch_size: int = 2  # fewer images in a training batch have no variance to normalise with
    auxiliary_weight: float = 0.4  # of the loss of each further output, where training gives several
    has_regions: bool = False  # gives a PanopticOutput
    other_encoders: str = ""


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
    size_multiple: int = 1  # H and W must be multiples of this, whatever the architecture
    has_hub_weights: bool = True


ENCODERS: dict[str, EncoderSpec] = {
    "tu-tf_efficientnet_lite0": EncoderSpec("EfficientNet-Lite0", HALF, HALF, LITE0, is_depthwise=True),
    "tu-tf_efficientnet_lite1": EncoderSpec("EfficientNet-Lite1", HALF, HALF, LITE1, is_depthwise=True),
    "tu-tf_efficientnet_lite2": EncoderSpec("EfficientNet-Lite2", HALF, HALF, LITE2, is_depthwise=True),
    "efficientnet-b0": EncoderSpec("EfficientNet-B0", is_depthwise=True),
    "mobilenet_v2": EncoderSpec("MobileNetV2", is_depthwise=True),
    "tu-mobilenetv3_large_100": EncoderSpec("MobileNetV3-Large", is_depthwise=True),
    "mobilenet_v3_large": EncoderSpec("MobileNetV3-Large (torchvision)", is_depthwise=True),
    "resnet18": EncoderSpec("ResNet-18"),
    "resnet34": EncoderSpec("ResNet-34"),
    "resnet50": EncoderSpec("ResNet-50"),
    "tu-convnext_atto": EncoderSpec("ConvNeXt-Atto"),
    "tu-convnext_tiny": EncoderSpec("ConvNeXt-Tiny"),
    "mit_b0": EncoderSpec("Mix Transformer B0"),
    "mit_b1": EncoderSpec("Mix Transformer B1"),
    "mit_b2": EncoderSpec("Mix Transformer B2"),
    "tu-hrnet_w18_small": EncoderSpec("HRNet-W18 small", size_multiple=32),
    "tu-hrnet_w18": EncoderSpec("HRNet-W18", size_multiple=32),
    "tu-vit_tiny_patch16_224": EncoderSpec("ViT-Tiny", HALF, HALF, size_multiple=16),
    "tu-vit_small_patch16_224": EncoderSpec("ViT-Small", HALF, HALF, size_multiple=16),
    "tu-vit_base_patch16_224": EncoderSpec("ViT-Base", HALF, HALF, size_multiple=16),
    NO_ENCODER: EncoderSpec("None, the network is of one piece", has_hub_weights=False),
}

_LITES = ("tu-tf_efficientnet_lite0", "tu-tf_efficientnet_lite1", "tu-tf_efficientnet_lite2")
_MOBILES = ("mobilenet_v2", "tu-mobilenetv3_large_100", "efficientnet-b0")
_DENSE = ("resnet18", "resnet34", "resnet50", "tu-convnext_atto", "tu-convnext_tiny")
_MITS = ("mit_b0", "mit_b1", "mit_b2")
_HRNETS = ("tu-hrnet_w18_small", "tu-hrnet_w18")
_VITS = ("tu-vit_tiny_patch16_224", "tu-vit_small_patch16_224", "tu-vit_base_patch16_224")
_PYRAMIDS = (*_LITES, *_MOBILES, *_DENSE)


def _from(module: str, function: str) -> Callable[[str, str | None, int], nn.Module]:
    """Name a builder of a file that imports torch at its top, without importing it."""

    def build(encoder: str, encoder_weights: str | None, num_classes: int) -> nn.Module:
        builder = getattr(importlib.import_module(f"core.models.{module}"), function)
        return builder(encoder, encoder_weights, num_classes)

    return build


def _smp(
    title: str,
    architecture: str,
    encoders: tuple[str, ...],
    *,
    size_multiple: int,
    min_batch_size: int = 1,
    min_size: int = 32,
    other_encoders: str = ANY_NAME,
    **options: int,
) -> ModelSpec:
    return ModelSpec(
        title,
        partial(smp_nets.build, architecture, **options),
        encoders,
        size_multiple=size_multiple,
        min_size=min_size,
        min_batch_size=min_batch_size,
        other_encoders=other_encoders,
    )


def _own(title: str, module: str, function: str, *, size_multiple: int, min_batch_size: int = 1) -> ModelSpec:
    """Describe a network of one piece that is written here."""
    return ModelSpec(
        title,
        _from(module, function),
        (NO_ENCODER,),
        size_multiple=size_multiple,
        min_size=32,
        min_batch_size=min_batch_size,
    )


_ALL = (*_PYRAMIDS, *_MITS, *_HRNETS)
_DILATED = (*_PYRAMIDS, *_MITS)  # HRNet's strides cannot be turned into dilation

MODELS: dict[str, ModelSpec] = {
    "deeplabv3plus": _smp("DeepLabV3+", "DeepLabV3Plus", _DILATED, size_multiple=16, min_batch_size=2),
    "deeplabv3": _smp("DeepLabV3", "DeepLabV3", _DILATED, size_multiple=8, min_batch_size=2),
    "unet": _smp("U-Net", "Unet", _ALL, size_multiple=1),
    "unetplusplus": _smp("U-Net++", "UnetPlusPlus", (*_PYRAMIDS, *_HRNETS), size_multiple=32),
    "linknet": _smp("LinkNet", "Linknet", (*_PYRAMIDS, *_HRNETS), size_multiple=32),
    "manet": _smp("MA-Net", "MAnet", _ALL, size_multiple=32),
    "fpn": _smp("FPN", "FPN", _ALL, size_multiple=32),
    "fpn_light": _smp(
        "FPN, half as wide",
        "FPN",
        _ALL,
        size_multiple=32,
        decoder_pyramid_channels=128,
        decoder_segmentation_channels=64,
    ),
    "pspnet": _smp("PSPNet", "PSPNet", _ALL, size_multiple=8),
    "pan": _smp("PAN", "PAN", _DILATED, size_multiple=16, min_batch_size=2, min_size=128),
    "segformer": _smp("SegFormer", "Segformer", (*_MITS, *_PYRAMIDS, *_HRNETS), size_multiple=32),
    "upernet": _smp("UPerNet", "UPerNet", _ALL, size_multiple=32, min_batch_size=2),
    "dpt": _smp("DPT", "DPT", _VITS, size_multiple=32, other_encoders=TIMM_NAME),
    "fcn_resnet50": ModelSpec(
        "FCN (torchvision)",
        _from("torchvision_nets", "build_fcn"),
        ("resnet50",),
        size_multiple=1,
        min_size=32,
        min_batch_size=1,
    ),
    "deeplabv3_resnet50": ModelSpec(
        "DeepLabV3 (torchvision)",
        _from("torchvision_nets", "build_deeplabv3"),
        ("resnet50",),
        size_multiple=1,
        min_size=32,
    ),
    "lraspp": ModelSpec(
        "LR-ASPP",
        _from("torchvision_nets", "build_lraspp"),
        ("mobilenet_v3_large",),
        size_multiple=1,
        min_size=32,
        min_batch_size=1,
    ),
    "custom_segnet1": _own("Custom SegNet 1 (very slow)", "custom_segnet", "build_segnet1", size_multiple=8),
    "custom_segnet2": _own("Custom SegNet 2", "custom_segnet", "build_segnet2", size_multiple=8),
    "custom_segnet3": _own("Custom SegNet 3", "custom_segnet", "build_segnet3", size_multiple=8),
    "custom_unet": _own("Custom U-Net, no skips", "custom_unet", "build_unet", size_multiple=8),
    "custom_unet2": _own("Custom U-Net 2", "custom_unet", "build_unet2", size_multiple=8),
    "unet_scratch": _own("U-Net (2015, from scratch)", "plain_unet", "build_scratch", size_multiple=16),
    "mars_unet": _own("Mars U-Net, no skips", "plain_unet", "build_mars", size_multiple=4),
    "mars_unet_skips": _own("Mars U-Net, skips", "plain_unet", "build_mars_skips", size_multiple=4),
    "aspp_unet": _own("ASPP U-Net", "aspp_unet", "build", size_multiple=16, min_batch_size=2),
    "deeplabv3plus_extra": ModelSpec(
        "DeepLabV3+, extra pooling block",
        _from("deeplabv3plus_extra", "build"),
        ("resnet50", *(name for name in _DILATED if name != "resnet50")),
        size_multiple=16,
    ),
    "basnet": ModelSpec(
        "BASNet", _from("basnet", "build"), ("resnet34",), min_batch_size=1, auxiliary_weight=1.0
    ),
    "hrnet_ocr": ModelSpec(
        "HRNet + OCR", _from("hrnet_ocr", "build"), ("tu-hrnet_w18", "tu-hrnet_w18_small")
    ),
    "panoptic_deeplab": ModelSpec(
        "Panoptic-DeepLab",
        _from("panoptic_deeplab", "build"),
        ("resnet50", *_LITES, "mobilenet_v2", "tu-mobilenetv3_large_100", "resnet18", "resnet34"),
        size_multiple=16,
        has_regions=True,
    ),
}

ENCODER_WEIGHTS: dict[str, str] = {
    "imagenet": "Pretrained on ImageNet",
    "none": "Random",
}


def check_pair(model: str, encoder: str, size: int, batch_size: int, encoder_weights: str) -> tuple[str, ...]:
    """Check, without torch, that a network can be built and trained as it is asked for.

    An encoder that is not in ENCODERS is checked by the form of its name only: build_model, in the
    worker, knows whether there is one and whether it fits.

    Args:
        size: side in pixels of the images it is to see; ask once more for a crop.
        batch_size: images in a batch of one device.

    Returns:
        Sentences that the user should know before it starts.

    Raises:
        UnknownChoice: a name is not in its registry, and cannot be one of a library's either.
        FormatError: the parts do not go together; the sentence names what does.
    """
    spec = pick(MODELS, model, kind="model")
    pick(ENCODER_WEIGHTS, encoder_weights, kind="kind of start weights")
    _check_encoder(spec, encoder)
    if encoder == NO_ENCODER and encoder_weights != "none":
        raise FormatError(
            f"{spec.title} has no encoder that could be pretrained: choose random start weights "
            "(encoder_weights=none)."
        )
    multiple, below = size_multiple(model, encoder), size - size % size_multiple(model, encoder)
    if size < spec.min_size:
        raise FormatError(f"{spec.title} needs at least {spec.min_size} pixels a side, not {size}.")
    if size != below:
        raise FormatError(
            f"The size must be a multiple of {multiple} for {spec.title} on {encoder}: "
            f"{max(below, spec.min_size)} or {below + multiple}, not {size}."
        )
    if batch_size < spec.min_batch_size:
        raise FormatError(
            f"{spec.title} needs at least {spec.min_batch_size} photos in a batch of each device, not "
            f"{batch_size}: it normalises over them."
        )
    return () if encoder_weights == "none" else _hub_note(encoder)


def size_multiple(model: str, encoder: str) -> int:
    """Give the number of pixels that a side must be a multiple of; all are powers of two.

    Raises:
        UnknownChoice: there is no such model.
    """
    of_encoder = ENCODERS[encoder].size_multiple if encoder in ENCODERS else 32
    return max(pick(MODELS, model, kind="model").size_multiple, of_encoder)


def build_model(model: str, encoder: str, encoder_weights: str, num_classes: int) -> nn.Module:
    """Build a network with the weights it starts from.

    The running means of its batch norms follow the last dozens of steps (momentum 0.1, torch's default).
    Some libraries average over hundreds, as for a training of days: a short one would end with means of
    weights long gone, and the network would be good in training mode alone.

    Args:
        model: key of MODELS.
        encoder: key of ENCODERS, or a name of smp's or timm's where the model takes others.
        encoder_weights: key of ENCODER_WEIGHTS. "none" takes torch's random state as it is.
        num_classes: channels of the logits, background included.

    Raises:
        UnknownChoice: a name is not in its registry, nor in the libraries' tables.
        FormatError: the model cannot be built on this encoder.
        WeightsMissing: the pretrained weights cannot be had; never replaced by random ones.
    """
    from torch import nn

    spec = pick(MODELS, model, kind="model")
    pick(ENCODER_WEIGHTS, encoder_weights, kind="kind of start weights")
    _check_encoder(spec, encoder)
    network = _build(spec, encoder, encoder_weights, num_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
    return network


def _build(spec: ModelSpec, encoder: str, encoder_weights: str, num_classes: int) -> nn.Module:
    found = encoder_spec(encoder)
    if encoder_weights == "none":
        return _build_random(spec, encoder, num_classes)
    if found.packaged is not None:
        network = _build_random(spec, encoder, num_classes)
        load_packaged(network.get_submodule("encoder"), found.packaged)
        return network
    if not found.has_hub_weights:
        raise WeightsMissing(f"There are no weights of {encoder} (encoder_weights={encoder_weights}).")
    if encoder not in spec.encoders:
        _build_random(spec, encoder, num_classes)  # a pair that does not fit is no fault of the hub
    with loading_from_hub(encoder):
        return spec.build(encoder, encoder_weights, num_classes)


def encoder_spec(name: str) -> EncoderSpec:
    """Describe an encoder: one of ENCODERS, else one that smp, or timm for "tu-" names, can build.

    Loads these libraries, and torch with them, for a name that is not in ENCODERS; asks no network.

    Raises:
        UnknownChoice: nobody knows it.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    known = smp_nets.look_up(name)
    if known is None:
        raise UnknownChoice(
            f"There is no encoder “{name}”, neither here nor in segmentation_models_pytorch or timm (whose "
            f"names begin with tu-). Tested are: {listed(ENCODERS)}."
        )
    return EncoderSpec(name, known.mean, known.std, size_multiple=32, has_hub_weights=known.has_weights)


def preprocessing_of(encoder: str, size: int) -> Preprocessing:
    """Give the input size and normalisation that an encoder's weights were made for.

    Raises:
        UnknownChoice: there is no such encoder.
    """
    spec = encoder_spec(encoder)
    return Preprocessing(size, spec.mean, spec.std)


def _check_encoder(spec: ModelSpec, encoder: str) -> None:
    if encoder in spec.encoders:
        return
    if spec.encoders == (NO_ENCODER,):
        raise FormatError(f"{spec.title} is of one piece: choose no encoder (encoder={NO_ENCODER}).")
    also = ", and others of segmentation_models_pytorch or timm" if spec.other_encoders else ""
    if encoder in ENCODERS:
        raise FormatError(
            f"{spec.title} does not work on {encoder}. It works on: {listed(spec.encoders)}{also}."
        )
    if not (spec.other_encoders and re.fullmatch(spec.other_encoders, encoder)):
        raise UnknownChoice(
            f"There is no encoder “{encoder}” for {spec.title}. There are: {listed(spec.encoders)}{also}."
        )


def _hub_note(encoder: str) -> tuple[str, ...]:
    spec = ENCODERS[encoder] if encoder in ENCODERS else EncoderSpec(encoder)
    if spec.packaged is not None:
        return ()
    installed = listed(s.title for s in ENCODERS.values() if s.packaged)
    return (
        f"The pretrained weights of {spec.title} are fetched from the model hub when the training starts. "
        f"Without a network it fails then: choose {installed}, or random start weights.",
    )


def _build_random(spec: ModelSpec, encoder: str, num_classes: int) -> nn.Module:
    if encoder in spec.encoders:
        return spec.build(encoder, None, num_classes)
    try:
        return spec.build(encoder, None, num_classes)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise FormatError(
            f"{spec.title} does not work on {encoder} ({reason}). It works on: {listed(spec.encoders)}."
        ) from error
