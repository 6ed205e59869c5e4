"""The training loop, to be read aloud: one pass over the training images, one measurement, again."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from core.domain.errors import TrainingDiverged
from core.models.outputs import logits_of
from core.training.dataset import Batch, batches
from core.training.learner import Learner, set_learning_rates
from core.training.metrics import Metrics, Tally, Totals, train_metrics, validation_metrics
from core.training.network import compiling, network_truth, run_network, scaler_of
from core.training.optimisation import set_modes
from core.training.progress import OnBatch, Pace, Progress, Usage
from core.training.team import noticing_lost_peers
from core.training.validation import ImageResult, validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochResult:
    """One epoch's figures. ``epoch``: 1 is the first. ``durations``: seconds of ``train`` and ``validate``.

    ``metrics`` are named as core.domain.runs.Epoch says, over the images of all devices;
    ``learning_rate`` is the decoder's at the epoch's last step. Those of OF_THE_MACHINE are of training,
    all but ``images_per_second`` of the leader's process. Every process of a team has the same result,
    timed by the leader's clock.
    """

    epoch: int
    metrics: Metrics
    durations: dict[str, float]


OnImage = Callable[[int, ImageResult], None]
"""Called with (epoch, result) for each validation image as soon as it is measured."""


@dataclass(frozen=True)
class Place:
    """A batch's place among those of one step of the optimiser; usually it is the only one."""

    is_first: bool = True
    is_last: bool = True
    images_before: int = 0  # of this step's batches, on all devices

    @property
    def is_only(self) -> bool:
        """Tell whether the step is of this batch alone."""
        return self.is_first and self.is_last


ALL = Place()


def is_stalled(scores: Mapping[int, float | None], patience: int) -> bool:
    """Tell whether a run has gone so many epochs without a better one, and is to end therefore.

    Args:
        scores: of all epochs so far, from epoch 1 on; higher is better, None (not defined) never is.
            Of equal ones the earlier is the better one.
        patience: 0 never ends a run.
    """
    defined = {epoch: score for epoch, score in scores.items() if score is not None}
    best = min(defined, key=lambda epoch: (-defined[epoch], epoch), default=0)
    return 0 < patience <= max(scores, default=0) - best


def fit(learner: Learner, epochs: range, on_batch: OnBatch, on_image: OnImage) -> Iterator[EpochResult]:
    """Train and measure, epoch after epoch.

    The learner's weights are those of the epoch just yielded until the next one is asked for.
    Label maps of validation images go to ``on_image`` one by one and are not kept. What
    ``on_batch`` and ``on_image`` raise passes through.

    In a team every process calls this alike and yields together. Each image goes to the ``on_image``
    of the process that measured it, each batch to the ``on_batch`` of all: where one of those raises
    Cancelled or Fenced, all leave at that batch.

    Where weights are averaged, the averages are what is measured.

    Args:
        epochs: range(epochs done, epochs planned), as in ``range(learner.epochs_done, config.epochs)``.

    Raises:
        TrainingDiverged: the loss is not a finite number.
        PeerLost: another process of the team is gone.
    """
    needs_start = bool(learner.config.start_from or learner.config.start_weights)
    assert learner.start or learner.epochs_done or not needs_start, "no weights to start from"

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
    tally, pace, rate = Tally(learner.network.card.num_classes), Pace(), 0.0
    usage, device = Usage(), learner.fabric.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    torch.manual_seed(_epoch_seed(learner.config.seed, epoch, team.rank))
    set_modes(module, learner.config, epoch)
    for number, (batch, place) in enumerate(_placed(learner, epoch), start=1):
        step = (epoch - 1) * learner.steps + (number - 1) // learner.config.accumulate
        if place.is_first:
            rate = set_learning_rates(learner, step)
        tally.add(*train_step(learner, batch, place))
        if learner.average is not None and place.is_last:
            learner.average.update(module, step)
        if team.any(not tally.is_finite):
            raise _diverged(learner, epoch)
        pace.images += batch.whole
        on_batch(Progress("train", epoch, number, learner.batches, pace.images_per_second))
    totals = tally.finish()
    if team.any(not tally.is_finite):
        raise _diverged(learner, epoch)
    seconds = pace.seconds
    # Each device normalised by its own shares, so each has other statistics to measure with.
    team.average(buffer for buffer in module.buffers() if buffer.is_floating_point())
    metrics = train_metrics(_of_all(learner, totals), learner.data.categories)
    metrics |= {"learning_rate": rate, "images_per_second": pace.images / seconds, **usage.figures}
    if device.type == "cuda":
        metrics["gpu_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return metrics, seconds


def _placed(learner: Learner, epoch: int) -> Iterator[tuple[Batch, Place]]:
    """Draw this device's share of an epoch's batches, and say where each stands in its step."""
    images = 0
    for number, batch in enumerate(
        batches(learner.data.train, learner.config, epoch, learner.team.rank), start=1
    ):
        is_first = (number - 1) % learner.config.accumulate == 0
        is_last = number % learner.config.accumulate == 0 or number == learner.batches
        images = 0 if is_first else images
        yield batch, Place(is_first, is_last, images)
        images += batch.whole


def train_step(learner: Learner, batch: Batch, place: Place = ALL) -> tuple[Tensor, Tensor, Tensor]:
    """Learn from one batch; give the logits, the truth and the answer's loss on the network's device.

    The loss given is what validation measures: without what a network of several outputs adds to it in
    training, unless that is not a finite number.

    All three are of this device's share. Shares count by their images, so the gradient of a loss that
    is a mean over pixels is that of the whole batch, however it is shared out; and batches of one step
    likewise, so it is that of one batch of all their images. Dice looks at a share as a whole: in a
    team it is the mean of the shares' Dice, not the Dice of the batch. So do normalisations.
    """
    network, weight = learner.network, _weight(learner, batch, place)
    truth = network_truth(network, batch.labels)
    with noticing_lost_peers(), compiling(network), _sharing_gradients(learner, place.is_last):
        outputs = run_network(network, batch.images)
        loss, answers = network.loss.with_answers(outputs, truth, batch.instances)
        if place.is_first:
            learner.optimizer.zero_grad(set_to_none=True)
        learner.fabric.backward(loss * weight)
    if place.is_last:
        _divide_gradients(learner, batch, place)
        _update(learner)
    whole = loss.detach()
    return logits_of(outputs).detach(), truth, torch.where(whole.isfinite(), answers.detach(), whole)


def _weight(learner: Learner, batch: Batch, place: Place) -> float:
    """Give what a share's mean loss counts; devices' gradients are averaged, whatever their shares.

    What a step's batches add up to is not known before the last one, so among several each counts
    by its images against a usual batch's, and the sum is divided in the end.
    """
    whole = batch.whole if place.is_only else learner.config.batch_size
    return learner.team.size * len(batch.labels) / whole


def _divide_gradients(learner: Learner, batch: Batch, place: Place) -> None:
    if place.is_only:
        return
    share = learner.config.batch_size / (place.images_before + batch.whole)
    gradients = [p.grad for p in learner.network.module.parameters() if p.grad is not None]
    torch._foreach_mul_(gradients, share)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def _update(learner: Learner) -> None:
    """Clip the gradients and take the optimiser's step; in fp16 none where they overflowed."""
    optimizer, scaler = learner.optimizer, scaler_of(learner.fabric)
    if scaler is not None:
        scaler.unscale_(optimizer)
    if learner.config.clip_gradient_norm > 0:
        torch.nn.utils.clip_grad_norm_(learner.network.module.parameters(), learner.config.clip_gradient_norm)
    if scaler is None:
        optimizer.step()
        return
    scaler.step(optimizer)
    scaler.update()


def _sharing_gradients(learner: Learner, is_last: bool) -> AbstractContextManager[Any]:
    """Let a team's gradients be averaged at the end of a step only, over all that it has added up."""
    module = cast("Any", learner.network.module)  # as Fabric set it up
    return learner.fabric.no_backward_sync(module, enabled=not is_last)


def _measure(learner: Learner, epoch: int, on_batch: OnBatch, on_image: OnImage) -> Metrics:
    data, network, team = learner.data, learner.network, learner.team
    totals = Totals(network.card.num_classes)
    with learner.average.in_place_of(network.module) if learner.average else nullcontext():
        for result in validate(
            network,
            data.valid.items,
            data.read_item,
            on_batch,
            epoch=epoch,
            cache=data.valid,
            truths=learner.truths,
            team=team,
        ):
            totals.add(result.confusion, result.loss, 1)
            on_image(epoch, result)
    return validation_metrics(_of_all(learner, totals), data.categories)


def _of_all(learner: Learner, totals: Totals) -> Totals:
    return Totals(learner.network.card.num_classes).add_all(learner.team.gather(totals))


def _diverged(learner: Learner, epoch: int) -> TrainingDiverged:
    config = learner.config
    narrow = ", or compute in bf16 or fp32 instead of fp16" if config.precision == "fp16" else ""
    return TrainingDiverged(
        f"The loss is not a finite number any more in epoch {epoch}. Lower the learning rates "
        f"({config.encoder_learning_rate:g} and {config.decoder_learning_rate:g}), "
        f"or start from pretrained weights{narrow}."
    )


def _epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Give torch's seed of an epoch, another on each device: shares are not to lose the same channels."""
    return int(np.random.SeedSequence((seed, epoch, rank)).generate_state(1)[0])
