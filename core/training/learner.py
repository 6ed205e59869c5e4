"""What a run trains: the network, its optimiser and the data, built from the configuration."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from core.domain.errors import pick
from core.domain.labels import IGNORED
from core.domain.training import TrainingConfig
from core.models.card import ModelCard
from core.models.outputs import logits_of
from core.models.registry import MODELS, build_model, encoder_spec, preprocessing_of
from core.models.weights import load_user_weights
from core.training.averaging import Average, start_average
from core.training.checkpoints import load_start_weights
from core.training.class_weights import count_class_pixels
from core.training.criterion import Criterion, build_criterion
from core.training.dataset import TrainingData
from core.training.network import Network, memory_format, open_fabric
from core.training.optimisation import build_optimizer, rate_share
from core.training.sampling import batch_count
from core.training.team import ALONE, Team, noticing_lost_peers
from core.training.validation import Truths

logger = logging.getLogger(__name__)

_TIMED_IMAGES = 2
_TIMED_STEPS = 2
_CLEARLY_FASTER = 0.9
_TOO_SLOW_TO_TIME = 5.0  # seconds for a step: choosing would cost more than it saves


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
    start: Path | None = None  # the checkpoint or the file whose weights it began with
    average: Average | None = None  # of the weights, where they are averaged: what is measured and kept
    truths: Truths = field(default_factory=Truths, repr=False)  # of the photos it is measured on

    @property
    def batches(self) -> int:
        """Training batches per epoch, each shared by all devices."""
        return batch_count(len(self.data.train), self.config)

    @property
    def steps(self) -> int:
        """Steps of the optimiser per epoch: one for each ``accumulate`` batches, the last for fewer."""
        return math.ceil(self.batches / self.config.accumulate)

    @property
    def validation_batches(self) -> int:
        """Calls of ``on_batch`` per validation, in each of which every device measures one batch."""
        return math.ceil(len(self.data.valid) / (self.config.batch_size * self.team.size))


def build_learner(
    config: TrainingConfig,
    data: TrainingData,
    team: Team = ALONE,
    *,
    start: Path | None = None,
    weights: Path | None = None,
) -> Learner:
    """Build a network and its optimiser, with the weights it starts from.

    The memory layout is the one known to suit the encoder, unless a few timed steps are clearly
    faster in the other; deterministic runs and teams, whose processes might time differently, leave
    the timing out.

    Args:
        start: the checkpoint file that ``config.start_from`` names; not needed, and of no effect,
            where a checkpoint of this very run is loaded next.
        weights: the file of weights that ``config.start_weights`` names; likewise.

    Raises:
        UnknownChoice: the model, encoder, start weights or loss is not in its registry.
        WeightsMissing: the pretrained weights cannot be had.
        FormatError: ``start`` or ``weights`` is damaged or of another architecture.
        AppError: this machine does not have the precision.
        PeerLost: another process of the team is gone.
    """
    card = ModelCard(data.categories, preprocessing_of(config.encoder, config.size))
    criterion = _build_criterion(config, data)
    model = _build_network(config, card, start, weights)
    fabric = team.fabric or open_fabric(precision=config.precision)
    is_channels_last = encoder_spec(config.encoder).is_depthwise
    if not config.deterministic and team.size == 1:
        is_channels_last = _is_channels_last_faster(model, fabric, config, usual=is_channels_last)
    if config.compile:
        model.compile()  # in place: wrapped, its weights would have other names
    module = _set_up(model.to(memory_format=memory_format(is_channels_last)), fabric, team)
    network = Network(
        module,
        card,
        dataclasses.replace(criterion, weights=criterion.weights.to(fabric.device)),
        config.batch_size,
        is_channels_last,
        fabric.device,
        is_compiled=config.compile,
        ignored=tuple(category for category, index in data.class_index.items() if index == IGNORED),
    )
    return Learner(
        config,
        data,
        network,
        fabric,
        build_optimizer(module, config),
        team=team,
        start=start or weights,
        average=start_average(module, config.ema) if config.ema else None,
    )


def set_learning_rates(learner: Learner, step: int) -> float:
    """Set each group's rate for a step of the optimiser (0 is the first of the run); give the decoder's.

    The rate is a function of the step among all planned ones, so a resumed run goes on with it.
    """
    config = learner.config
    share = rate_share(config.schedule, step, config.epochs * learner.steps, config.warmup_share)
    for group in learner.optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return learner.optimizer.param_groups[-1]["lr"]


def sharing_statistics(model: nn.Module) -> nn.Module:
    """Have batch normalisations use the statistics of a whole team's batch; CUDA only, when it trains."""
    from timm.layers.norm_act import convert_sync_batchnorm

    # torch's own conversion would lose the activations that timm's normalisations include.
    return convert_sync_batchnorm(model)


def _build_network(
    config: TrainingConfig, card: ModelCard, start: Path | None, weights: Path | None
) -> nn.Module:
    """Build it as the seed makes it, then put in what it starts from."""
    torch.manual_seed(config.seed)
    is_given = bool(config.start_from or config.start_weights)
    encoder_weights = "none" if is_given else config.encoder_weights
    model = build_model(config.model, config.encoder, encoder_weights, card.num_classes)
    if start is not None:
        load_start_weights(start, model, config, card)
    if weights is not None:
        load_user_weights(weights, model)
    return model


def _build_criterion(config: TrainingConfig, data: TrainingData) -> Criterion:
    """Build the loss; the training labels are counted where its class weights are to follow them."""
    names = ("background", *(category.name for category in data.categories))
    counted = () if config.class_weights == "none" else data.train.labels
    weight = pick(MODELS, config.model, kind="model").auxiliary_weight
    pixels = count_class_pixels(counted, len(names))
    return build_criterion(config, names, pixels, auxiliary_weight=weight)


def _set_up(model: nn.Module, fabric: Fabric, team: Team) -> nn.Module:
    """Bring the model to its device; in a team its gradients are averaged over all processes.

    On CUDA a team normalises by the statistics of the whole batch, on CPUs each by its share's: torch
    has no other way there. Names of weights stay what they are.
    """
    if team.size > 1 and fabric.device.type == "cuda":
        model = sharing_statistics(model)
    with noticing_lost_peers():
        return fabric.setup_module(model)


def _is_channels_last_faster(
    model: nn.Module, fabric: Fabric, config: TrainingConfig, *, usual: bool
) -> bool:
    """Time both layouts in turns; the usual one stays unless the other is clearly faster.

    On a busy machine single steps vary by a factor of two, hence the turns and the margin.
    """
    side, count = config.crop or config.size, max(_TIMED_IMAGES, MODELS[config.model].min_batch_size)
    images = torch.zeros(count, 3, side, side, device=fabric.device)
    steps = {is_last: _trial_step(model, fabric, images, is_last) for is_last in (True, False)}
    seconds = {is_last: math.inf for is_last in steps}
    for turn in range(1 + _TIMED_STEPS):
        for is_last, step in steps.items():
            started = time.perf_counter()
            step()
            took = time.perf_counter() - started
            if took > _TOO_SLOW_TO_TIME:
                return usual
            if turn > 0:  # the first one warms up
                seconds[is_last] = min(seconds[is_last], took)
    logger.info(
        "a step takes %.0f ms in channels_last, %.0f ms in NCHW", 1e3 * seconds[True], 1e3 * seconds[False]
    )
    return usual if seconds[not usual] > _CLEARLY_FASTER * seconds[usual] else not usual


def _trial_step(
    model: nn.Module, fabric: Fabric, images: Tensor, is_channels_last: bool
) -> Callable[[], None]:
    """Give a step, forward and backward, on a copy of the model in this layout."""
    layout = memory_format(is_channels_last)
    trial = fabric.setup_module(copy.deepcopy(model).to(memory_format=layout)).train()
    inputs = images.to(memory_format=layout)

    def step() -> None:
        fabric.backward(logits_of(trial(inputs)).mean())
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    return step
