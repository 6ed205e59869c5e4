"""How a network is minimised: optimisers, the rates of its parts, their course, and what stands still."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from core.domain.errors import pick
from core.domain.training import TrainingConfig
from core.training.averaging import named_parameters

Part = tuple[str, nn.Module | nn.Parameter]
FusedOptimizer = Callable[[list[dict[str, Any]], TrainingConfig, bool], torch.optim.Optimizer]
"""(groups of parameters, configuration, whether one kernel does a whole step) to the optimiser."""

_FIRST_RATE_SHARE = 1 / 25  # of a one-cycle course
_STEPS_DOWN = (0.6, 0.85)  # of the steps after the warm-up, from which on the rate is a tenth of before
_POLY_POWER = 0.9  # Source: DeepLab (Chen et al. 2017, arXiv 1606.00915)

# Children of an encoder that are its stages, and those that belong to the stage of their number.
_STAGE = re.compile(r"_?(?:layers?|blocks?|stages?|denseblock|s)_?(\d+)")
_PART_OF_STAGE = re.compile(r"(?:patch_embed|norm|transition|downsample)_?(\d+)")
_LIST_OF_STAGES = re.compile(r"_?(?:layers|blocks|stages|features)")


def build_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Build the optimiser, with groups that learn at their own rates: the encoder, then all the rest.

    With ``layer_decay`` below 1 each stage of the encoder is a group; the last one has the encoder's
    rate, each one before ``layer_decay`` times that of the next. A group's key ``peak`` is its rate at
    the top of the schedule. Weight decay is decoupled in adamw and part of the gradient in adam and
    sgd; it applies to all weights.

    Raises:
        UnknownChoice: there is no such optimiser.
    """
    build = pick(OPTIMIZERS, config.optimizer, kind="optimizer")
    # One kernel for a whole step also divides gradients by the loss's scale: too late to clip them.
    is_fused = config.precision != "fp16"
    return build(_groups(module, config), config, is_fused)


OPTIMIZERS: dict[str, FusedOptimizer] = {
    "adam": lambda groups, config, fused: torch.optim.Adam(
        groups, weight_decay=config.weight_decay, fused=fused
    ),
    "adamw": lambda groups, config, fused: torch.optim.AdamW(
        groups, weight_decay=config.weight_decay, fused=fused
    ),
    "sgd": lambda groups, config, fused: torch.optim.SGD(
        groups, lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused
    ),
}


def encoder_of(module: nn.Module) -> nn.Module | None:
    """Give the pretrained part of a network, which is its attribute ``encoder``; None where it has none."""
    encoder = getattr(module, "encoder", None)
    return encoder if isinstance(encoder, nn.Module) else None


def encoder_stages(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Sort an encoder's parameters into its stages, the one next to the image first.

    Stages are told by the names of the children: ``layer1``, ``stages_2``, ``blocks.3``, ``features.7``.
    What comes before the first of them is a stage of its own; ``patch_embed2`` or ``norm2`` belong to
    stage 2; anything else to the stage it follows. Where no name is known, each child is a stage.
    """
    trunk = encoder
    while len(parts := _parts(trunk)) == 1 and isinstance(parts[0][1], nn.Module) and _children(parts[0][1]):
        trunk = parts[0][1]
    stages: dict[int, list[nn.Parameter]] = {}
    for number, part in _numbered(trunk):
        owned = [part] if isinstance(part, nn.Parameter) else list(part.parameters())
        stages.setdefault(number, []).extend(owned)
    return [stages[number] for number in sorted(stages)]


def set_modes(module: nn.Module, config: TrainingConfig, epoch: int) -> None:
    """Make a network ready to train in an epoch (1 is the first): what learns, what keeps its statistics.

    In the first ``frozen_epochs`` nothing of the encoder changes, its statistics neither, and no
    gradient is computed for it. With ``batch_norm`` = "frozen" the encoder's batch normalisations keep
    their statistics all along, while their scales and shifts learn.
    """
    module.train()
    encoder = encoder_of(module)
    if encoder is None:
        return
    is_frozen = epoch <= config.frozen_epochs
    if config.frozen_epochs:
        learn(module, learns=not is_frozen, among="encoder.")
    if is_frozen:
        encoder.eval()
    elif config.batch_norm == "frozen":
        for part in encoder.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
                part.eval()


def learn(module: nn.Module, *, learns: bool = True, among: str = "") -> None:
    """Have a network's parameters learn or stand still, but for those that have no part in its output.

    Args:
        among: the beginning of the names that are meant.
    """
    unused: frozenset[str] = getattr(module, "unused", frozenset())
    for name, parameter in named_parameters(module).items():
        if name.startswith(among) and name not in unused:
            parameter.requires_grad_(learns)


def rate_share(schedule: str, step: int, total: int, warmup_share: float) -> float:
    """Give the share of the peak rate, 0..1, for one of ``total`` steps; 0 is the first.

    Each step is taken at its middle, so no rate is 0 but where the schedule's end would be. All but
    one_cycle rise in a straight line over the first ``warmup_share`` of the steps; poly and cosine fall
    to 0 over the others, step falls to a tenth after 60 % of them and once more after 85 %.

    Raises:
        UnknownChoice: there is no such schedule.
    """
    return pick(SCHEDULES, schedule, kind="schedule")((step + 0.5) / total, warmup_share)


def _one_cycle(position: float, warmup_share: float) -> float:
    """Rise from 1/25 along a cosine, then fall to 0 along another (Smith 2018, arXiv 1803.09820)."""
    if position < warmup_share:
        rise = (1 - math.cos(math.pi * position / warmup_share)) / 2
        return _FIRST_RATE_SHARE + (1 - _FIRST_RATE_SHARE) * rise
    return _falling_cosine(_rest(position, warmup_share))


def _rest(position: float, warmup_share: float) -> float:
    return min(max((position - warmup_share) / (1 - warmup_share), 0.0), 1.0)


def _falling_cosine(rest: float) -> float:
    return (1 + math.cos(math.pi * rest)) / 2


def _warm(position: float, warmup_share: float) -> float:
    return min(1.0, position / warmup_share) if warmup_share else 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": _warm,
    "step": lambda position, warmup: (
        _warm(position, warmup) * 0.1 ** sum(_rest(position, warmup) >= place for place in _STEPS_DOWN)
    ),
    "poly": lambda position, warmup: _warm(position, warmup) * (1 - _rest(position, warmup)) ** _POLY_POWER,
    "cosine": lambda position, warmup: _warm(position, warmup) * _falling_cosine(_rest(position, warmup)),
    "one_cycle": _one_cycle,
}
"""(place among all steps 0..1, share of the warm-up) to the share of the peak rate."""


def _groups(module: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    encoder = encoder_of(module)
    learners = list(encoder.parameters()) if encoder is not None else []
    known = {id(parameter) for parameter in learners}
    rest = [parameter for parameter in module.parameters() if id(parameter) not in known]
    stages = encoder_stages(encoder) if encoder is not None and config.layer_decay < 1 else [learners]
    rates = [config.encoder_learning_rate * config.layer_decay**distance for distance in range(len(stages))]
    rated = [*zip(stages, reversed(rates), strict=True), (rest, config.decoder_learning_rate)]
    return [{"params": group, "lr": rate, "peak": rate} for group, rate in rated if group]


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List a module's children that have parameters."""
    return [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]


def _parts(module: nn.Module) -> list[Part]:
    """List a module's own parameters, then its children that have any."""
    return [*module.named_parameters(recurse=False), *_children(module)]


def _numbered(trunk: nn.Module) -> Iterator[tuple[int, nn.Module | nn.Parameter]]:
    """Yield a trunk's parts with the numbers of their stages, gaps allowed; 0 comes before the first."""
    if _is_list(trunk):
        yield from _numbered_list(trunk)
        return
    parts = _parts(trunk)
    known = [1 + int(match[1]) for name, _ in parts if (match := _STAGE.fullmatch(name))]
    if not known and not any(_is_list_of_stages(*part) for part in parts):
        yield from ((number, part) for number, (_, part) in enumerate(parts))
        return
    current = 0
    for name, part in parts:
        if match := _STAGE.fullmatch(name):
            current = 1 + int(match[1])
        elif isinstance(part, nn.Module) and _is_list_of_stages(name, part):
            for current, item in _numbered_list(part):
                yield current, item
            continue
        elif (match := _PART_OF_STAGE.fullmatch(name)) and 1 + int(match[1]) in known:
            yield 1 + int(match[1]), part
            continue
        yield current, part


def _is_list(part: nn.Module | nn.Parameter) -> bool:
    return isinstance(part, nn.Sequential | nn.ModuleList) and all(name.isdigit() for name, _ in _parts(part))


def _is_list_of_stages(name: str, part: nn.Module | nn.Parameter) -> bool:
    return bool(_LIST_OF_STAGES.fullmatch(name)) and _is_list(part)


def _numbered_list(items: nn.Module) -> Iterator[tuple[int, nn.Module]]:
    """Count from 1; a normalisation, whose parameters are all vectors, goes with what it follows."""
    number = 0
    for _, item in _children(items):
        is_norm = all(parameter.ndim <= 1 for parameter in item.parameters())
        number = max(1, number + (not is_norm))
        yield number, item
