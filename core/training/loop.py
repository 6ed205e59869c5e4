"""The training loop, to be read aloud: one pass over the training images, one measurement, again."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.domain.errors import TrainingDiverged
from core.training.dataset import Batch, batches
from core.training.learner import Learner, set_learning_rates
from core.training.metrics import Metrics, Totals, batch_confusion, train_metrics, validation_metrics
from core.training.network import network_input, network_truth
from core.training.progress import OnBatch, Pace, Progress
from core.training.team import noticing_lost_peers
from core.training.validation import ImageResult, validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """One epoch's figures. ``epoch``: 1 is the first. ``durations``: seconds of ``train`` and ``validate``.

    ``metrics`` are named as core.domain.runs.Epoch says, over the images of all devices;
    ``learning_rate`` is the decoder's at the epoch's last step, ``images_per_second`` that of
    training. Every process of a team has the same result, timed by the leader's clock.
    """

    epoch: int
    metrics: Metrics
    durations: dict[str, float]


OnImage = Callable[[int, ImageResult], None]
"""Called with (epoch, result) for each validation image as soon as it is measured."""


def fit(learner: Learner, epochs: range, on_batch: OnBatch, on_image: OnImage) -> Iterator[EpochResult]:
    """Train and measure, epoch after epoch.

    The learner's weights are those of the epoch just yielded until the next one is asked for.
    Label maps of validation images go to ``on_image`` one by one and are not kept. What
    ``on_batch`` and ``on_image`` raise passes through.

    In a team every process calls this alike and yields together. Each image goes to the ``on_image``
    of the process that measured it, each batch to the ``on_batch`` of all: where one of those raises
    Cancelled or Fenced, all leave at that batch.

    Args:
        epochs: range(epochs done, epochs planned), as in ``range(learner.epochs_done, config.epochs)``.

    Raises:
        TrainingDiverged: the loss is not a finite number.
        PeerLost: another process of the team is gone.
    """
    assert learner.start or learner.epochs_done or not learner.config.start_from, "no weights to start from"

    def on_batch_together(progress: Progress) -> None:
        learner.team.together(lambda: on_batch(progress))

    for epoch in (done + 1 for done in epochs):
        learner.team.wait()  # some may still be keeping the epoch before
        metrics, seconds = _train_one_epoch(learner, epoch, on_batch_together)
        measuring = Pace()
        metrics |= _measure(learner, epoch, on_batch_together, on_image)
        result = EpochResult(epoch, metrics, {"train": seconds, "validate": measuring.seconds})
        result = learner.team.gather(result)[0]
        if learner.team.is_leader:
            figures = {name: metrics[name] for name in ("train_loss", "val_miou_foreground")}
            logger.info("epoch %d: %s", epoch, figures)
        yield result


def _train_one_epoch(learner: Learner, epoch: int, on_batch: OnBatch) -> tuple[Metrics, float]:
    """Give the figures and the seconds."""
    team, module = learner.team, learner.network.module
    totals, pace, rate = Totals(learner.network.card.num_classes), Pace(), 0.0
    torch.manual_seed(_epoch_seed(learner.config.seed, epoch, team.rank))
    module.train()
    drawn = batches(learner.data.train, learner.config, epoch, team.rank)
    for number, batch in enumerate(drawn, start=1):
        rate = set_learning_rates(learner, (epoch - 1) * learner.batches + number - 1)
        logits, truth, loss = train_step(learner, batch)
        if team.any(not math.isfinite(loss)):
            raise _diverged(learner, epoch)
        totals.add(batch_confusion(logits, truth), loss, len(truth))
        pace.images += batch.whole
        on_batch(Progress("train", epoch, number, learner.batches, pace.images_per_second))
    seconds = pace.seconds
    # Each device normalised by its own shares, so each has other statistics to measure with.
    team.average(buffer for buffer in module.buffers() if buffer.is_floating_point())
    metrics = train_metrics(_of_all(learner, totals), learner.data.categories)
    return metrics | {"learning_rate": rate, "images_per_second": pace.images / seconds}, seconds


def train_step(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor, float]:
    """Learn from one batch; give the logits and the truth on the network's device, and the loss.

    All three are of this device's share. Shares count by their images, so the gradient of a loss that
    is a mean over pixels is that of the whole batch, however it is shared out. Dice looks at a share
    as a whole: in a team it is the mean of the shares' Dice, not the Dice of the batch.
    """
    network, optimizer = learner.network, learner.optimizer
    truth = network_truth(network, batch.labels)
    with noticing_lost_peers():
        logits = network.module(network_input(network, batch.images))
        loss = network.loss(logits, truth)
        optimizer.zero_grad(set_to_none=True)
        # The devices' gradients are averaged, whatever their shares.
        learner.fabric.backward(loss * (learner.team.size * len(truth) / batch.whole))
    if learner.config.clip_gradient_norm > 0:
        torch.nn.utils.clip_grad_norm_(network.module.parameters(), learner.config.clip_gradient_norm)
    optimizer.step()
    return logits.detach(), truth, float(loss.detach())


def _measure(learner: Learner, epoch: int, on_batch: OnBatch, on_image: OnImage) -> Metrics:
    data, network, team = learner.data, learner.network, learner.team
    totals = Totals(network.card.num_classes)
    for result in validate(
        network, data.valid.items, data.read_item, on_batch, epoch=epoch, cache=data.valid, team=team
    ):
        totals.add(result.confusion, result.loss, 1)
        on_image(epoch, result)
    return validation_metrics(_of_all(learner, totals), data.categories)


def _of_all(learner: Learner, totals: Totals) -> Totals:
    return Totals(learner.network.card.num_classes).add_all(learner.team.gather(totals))


def _diverged(learner: Learner, epoch: int) -> TrainingDiverged:
    config = learner.config
    return TrainingDiverged(
        f"The loss is not a finite number any more in epoch {epoch}. Lower the learning rates "
        f"({config.encoder_learning_rate:g} and {config.decoder_learning_rate:g}), "
        "or start from pretrained weights."
    )


def _epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Give torch's seed of an epoch, another on each device: shares are not to lose the same channels."""
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1)[0])
