"""The architectures that segmentation_models_pytorch builds, on its own encoders and on those of timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

# smp keeps the statistics of its own encoders on the model hub. All but these were taught with ImageNet's.
_DPN_STD = 1 / (0.0167 * 255)
_OTHER_STATISTICS = {
    "dpn": ((124 / 255, 117 / 255, 104 / 255), (_DPN_STD, _DPN_STD, _DPN_STD)),
    "inception": (HALF, HALF),
    "xception": (HALF, HALF),
    "timm-tf_efficientnet_lite": (HALF, HALF),
}

_SIDE = 64
_SIDE_OF_PAN = 128  # its feature pyramid attention halves a sixteenth three times

_OPTIONS: dict[str, dict[str, Any]] = {
    # The channels are those of DPT-Base (Ranftl et al. 2021, arXiv 2103.13413). Vision transformers take
    # other sizes than the one they were taught at only when asked to.
    "DPT": {"dynamic_img_size": True, "decoder_intermediate_channels": (96, 192, 384, 768)},
}


class KnownEncoder(NamedTuple):
    """What the libraries' tables say of an encoder: its normalisation (as in Preprocessing), its weights."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    has_weights: bool  # that were pretrained on ImageNet, or that timm takes by default


def look_up(encoder: str) -> KnownEncoder | None:
    """Find an encoder of smp's, or of timm's behind "tu-", without a network; None where nobody knows it."""
    return _of_timm(encoder.removeprefix("tu-")) if encoder.startswith("tu-") else _of_smp(encoder)


def build(
    architecture: str,
    encoder: str,
    encoder_weights: str | None,
    num_classes: int,
    **options: int,
) -> nn.Module:
    """Build a network: images (N, 3, H, W) to logits (N, C, H, W); ``architecture`` is smp's class name.

    Parameters that its output does not depend on, such as the last stages of PSPNet's encoder, are
    frozen: a team of processes waits for the gradient of each parameter that is not. The network's
    attribute ``unused`` is the frozenset of their names.

    Raises:
        Exception: of many kinds, from the libraries, where the architecture and the encoder do not
            go together, or where the weights cannot be fetched.
    """
    import segmentation_models_pytorch as smp

    weights: str | bool | None = encoder_weights
    if encoder.startswith("tu-") and encoder_weights is not None:
        weights = True  # timm's own name says which; smp warns of any other word
    network: nn.Module = getattr(smp, architecture)(
        encoder_name=encoder,
        encoder_weights=weights,
        classes=num_classes,
        **(_OPTIONS.get(architecture, {}) | options),
    )
    _freeze_unused(network, _SIDE_OF_PAN if architecture == "PAN" else _SIDE, num_classes)
    return network


def _freeze_unused(network: nn.Module, side: int, num_classes: int) -> None:
    """Send one image through, which shows what takes part, and that the two parts fit together."""
    import torch

    network.eval()  # neither dropout nor normalisation may leave a trace of this image
    logits = cast("torch.Tensor", network(torch.zeros(1, 3, side, side)))
    if logits.shape != (1, num_classes, side, side):
        raise ValueError(f"{tuple(logits.shape[2:])} pixels come back of {(side, side)}")
    logits.sum().backward()
    unused = frozenset(name for name, parameter in network.named_parameters() if parameter.grad is None)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in unused)
    network.unused = unused  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    network.zero_grad(set_to_none=True)
    network.train()


def _of_smp(name: str) -> KnownEncoder | None:
    from segmentation_models_pytorch.encoders import encoders

    if name not in encoders:
        return None
    families = (family for family in _OTHER_STATISTICS if name.startswith(family))
    mean, std = _OTHER_STATISTICS.get(next(families, ""), (IMAGENET_MEAN, IMAGENET_STD))
    return KnownEncoder(mean, std, "imagenet" in encoders[name]["pretrained_settings"])


def _of_timm(name: str) -> KnownEncoder | None:
    from timm.models import get_pretrained_cfg, is_model, is_model_pretrained

    if not is_model(name):
        return None
    try:
        settings = get_pretrained_cfg(name)
    except RuntimeError:  # the tag behind the dot is of no weights of this model
        return None
    if settings is None:
        return KnownEncoder(IMAGENET_MEAN, IMAGENET_STD, has_weights=False)
    return KnownEncoder(_triple(settings.mean), _triple(settings.std), is_model_pretrained(name))


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
