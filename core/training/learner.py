"""What a run trains: the network, its optimiser and the data, built from the configuration."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import nn

from core.domain.errors import pick
from core.domain.training import TrainingConfig
from core.models.card import ModelCard
from core.models.registry import ENCODERS, build_model, preprocessing_of
from core.training.checkpoints import load_start_weights
from core.training.dataset import TrainingData, batch_count
from core.training.losses import LOSSES
from core.training.network import Network, memory_format, open_fabric
from core.training.team import ALONE, Team, noticing_lost_peers

logger = logging.getLogger(__name__)

_TIMED_IMAGES = 2
_TIMED_STEPS = 2
_CLEARLY_FASTER = 0.9
_FIRST_RATE_SHARE = 1 / 25


@dataclass(frozen=True)
class Learner:
    """A training under way. ``epochs_done`` is what its weights have seen: 0, or more after a resume."""

    config: TrainingConfig
    data: TrainingData
    network: Network
    fabric: Fabric = field(repr=False)
    optimizer: torch.optim.Optimizer = field(repr=False)
    epochs_done: int = 0
    team: Team = ALONE
    start: Path | None = None  # the checkpoint whose weights it began with

    @property
    def batches(self) -> int:
        """Training batches per epoch, each shared by all devices."""
        return batch_count(len(self.data.train), self.config)

    @property
    def validation_batches(self) -> int:
        """Calls of ``on_batch`` per validation, in each of which every device measures one batch."""
        return math.ceil(len(self.data.valid) / (self.config.batch_size * self.team.size))


def build_learner(
    config: TrainingConfig, data: TrainingData, team: Team = ALONE, *, start: Path | None = None
) -> Learner:
    """Build a network and its optimiser, with the weights it starts from.

    The memory layout is the one known to suit the encoder, unless a few timed steps are clearly
    faster in the other; deterministic runs and teams, whose processes might time differently, leave
    the timing out.

    Args:
        start: the checkpoint file that ``config.start_from`` names; not needed, and of no effect,
            where a checkpoint of this very run is loaded next.

    Raises:
        UnknownChoice: the model, encoder, start weights or loss is not in its registry.
        WeightsMissing: the pretrained weights cannot be had.
        FormatError: ``start`` is damaged or of another architecture.
        PeerLost: another process of the team is gone.
    """
    loss = pick(LOSSES, config.loss, kind="loss").build()
    card = ModelCard(data.categories, preprocessing_of(config.encoder, config.size))
    torch.manual_seed(config.seed)
    encoder_weights = "none" if config.start_from else config.encoder_weights
    model = build_model(config.model, config.encoder, encoder_weights, card.num_classes)
    if start is not None:
        load_start_weights(start, model, config, card)
    fabric = team.fabric or open_fabric()
    is_channels_last = ENCODERS[config.encoder].is_depthwise
    if not config.deterministic and team.size == 1:
        is_channels_last = _is_channels_last_faster(model, fabric, config.size, usual=is_channels_last)
    module = _set_up(model.to(memory_format=memory_format(is_channels_last)), fabric, team)
    network = Network(module, card, loss, config.batch_size, is_channels_last, fabric.device)
    return Learner(config, data, network, fabric, build_optimizer(module, config), team=team, start=start)


def _set_up(model: nn.Module, fabric: Fabric, team: Team) -> nn.Module:
    """Bring the model to its device; in a team its gradients are averaged over all processes.

    On CUDA a team normalises by the statistics of the whole batch, on CPUs each by its share's: torch
    has no other way there. Names of weights stay what they are.
    """
    if team.size > 1 and fabric.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with noticing_lost_peers():
        return fabric.setup_module(model)


def build_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Build AdamW with two groups: the pretrained ``encoder``, if there is one, and all the rest."""
    groups: dict[str, list[nn.Parameter]] = {"encoder": [], "decoder": []}
    for name, parameter in module.named_parameters():
        groups["encoder" if "encoder" in name.split(".") else "decoder"].append(parameter)
    peaks = {"encoder": config.encoder_learning_rate, "decoder": config.decoder_learning_rate}
    return torch.optim.AdamW(
        [
            {"params": group, "lr": peaks[name], "peak": peaks[name]}
            for name, group in groups.items()
            if group
        ],
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_learning_rates(learner: Learner, step: int) -> float:
    """Set each group's rate for a step (0 is the first of the run); give the decoder's.

    The rate is a function of the step among all planned ones, so a resumed run goes on with it.
    """
    total = learner.config.epochs * learner.batches
    share = one_cycle(step, total, learner.config.warmup_share)
    for group in learner.optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return learner.optimizer.param_groups[-1]["lr"]


def one_cycle(step: int, total: int, warmup_share: float) -> float:
    """Give the share of the peak rate: up from 1/25 along a cosine, then down to 0.

    Each step is taken at its middle, so neither the first nor the last has a rate of 0.
    """
    position = (step + 0.5) / total
    if position < warmup_share:
        rise = (1 - math.cos(math.pi * position / warmup_share)) / 2
        return _FIRST_RATE_SHARE + (1 - _FIRST_RATE_SHARE) * rise
    rest = (position - warmup_share) / (1 - warmup_share)
    return (1 + math.cos(math.pi * min(rest, 1.0))) / 2


def _is_channels_last_faster(model: nn.Module, fabric: Fabric, size: int, *, usual: bool) -> bool:
    """Time both layouts in turns; the usual one stays unless the other is clearly faster.

    On a busy machine single steps vary by a factor of two, hence the turns and the margin.
    """
    steps = {is_last: _trial_step(model, fabric, size, is_last) for is_last in (True, False)}
    seconds = {is_last: math.inf for is_last in steps}
    for turn in range(1 + _TIMED_STEPS):
        for is_last, step in steps.items():
            started = time.perf_counter()
            step()
            if turn > 0:  # the first one warms up
                seconds[is_last] = min(seconds[is_last], time.perf_counter() - started)
    logger.info(
        "a step takes %.0f ms in channels_last, %.0f ms in NCHW", 1e3 * seconds[True], 1e3 * seconds[False]
    )
    return usual if seconds[not usual] > _CLEARLY_FASTER * seconds[usual] else not usual


def _trial_step(model: nn.Module, fabric: Fabric, size: int, is_channels_last: bool) -> Callable[[], None]:
    """Give a step, forward and backward, on a copy of the model in this layout."""
    layout = memory_format(is_channels_last)
    trial = fabric.setup_module(copy.deepcopy(model).to(memory_format=layout)).train()
    images = torch.zeros(_TIMED_IMAGES, 3, size, size, device=fabric.device).to(memory_format=layout)

    def step() -> None:
        fabric.backward(trial(images).mean())
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    return step
