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
from core.training.validation import ImageResult, validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """One epoch's figures. ``epoch``: 1 is the first. ``durations``: seconds of ``train`` and ``validate``.

    ``metrics`` are named as core.domain.runs.Epoch says; ``learning_rate`` is the decoder's at the
    epoch's last step, ``images_per_second`` that of training.
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

    Args:
        epochs: range(epochs done, epochs planned), as in ``range(learner.epochs_done, config.epochs)``.

    Raises:
        TrainingDiverged: the loss is not a finite number.
    """
    for epoch in (done + 1 for done in epochs):
        totals, seconds, rate = _train_one_epoch(learner, epoch, on_batch)
        metrics = train_metrics(totals, learner.data.categories)
        metrics |= {"learning_rate": rate, "images_per_second": totals.images / seconds}
        measuring = Pace()
        metrics |= _measure(learner, epoch, on_batch, on_image)
        durations = {"train": seconds, "validate": measuring.seconds}
        logger.info("epoch %d: %s", epoch, {k: metrics[k] for k in ("train_loss", "val_miou_foreground")})
        yield EpochResult(epoch, metrics, durations)


def _train_one_epoch(learner: Learner, epoch: int, on_batch: OnBatch) -> tuple[Totals, float, float]:
    """Give the totals, the seconds and the last learning rate."""
    totals, pace, rate = Totals(learner.network.card.num_classes), Pace(), 0.0
    torch.manual_seed(_epoch_seed(learner.config.seed, epoch))
    learner.network.module.train()
    drawn = batches(learner.data.train, learner.config, epoch)
    for number, batch in enumerate(drawn, start=1):
        rate = set_learning_rates(learner, (epoch - 1) * learner.batches + number - 1)
        logits, truth, loss = train_step(learner, batch)
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"The loss became {loss} in epoch {epoch}. Lower the learning rates "
                f"({learner.config.encoder_learning_rate:g} and {learner.config.decoder_learning_rate:g}), "
                "or start from pretrained weights."
            )
        totals.add(batch_confusion(logits, truth), loss, len(truth))
        pace.images += len(truth)
        on_batch(Progress("train", epoch, number, learner.batches, pace.images_per_second))
    return totals, pace.seconds, rate


def train_step(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor, float]:
    """Learn from one batch; give the logits and the truth on the network's device, and the loss."""
    network, optimizer = learner.network, learner.optimizer
    truth = network_truth(network, batch.labels)
    logits = network.module(network_input(network, batch.images))
    loss = network.loss(logits, truth)
    optimizer.zero_grad(set_to_none=True)
    learner.fabric.backward(loss)
    if learner.config.clip_gradient_norm > 0:
        torch.nn.utils.clip_grad_norm_(network.module.parameters(), learner.config.clip_gradient_norm)
    optimizer.step()
    return logits.detach(), truth, float(loss.detach())


def _measure(learner: Learner, epoch: int, on_batch: OnBatch, on_image: OnImage) -> Metrics:
    data, network = learner.data, learner.network
    totals = Totals(network.card.num_classes)
    for result in validate(
        network, data.valid.items, data.read_item, on_batch, epoch=epoch, cache=data.valid
    ):
        totals.add(result.confusion, result.loss, 1)
        on_image(epoch, result)
    return validation_metrics(totals, data.categories)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
