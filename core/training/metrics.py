"""Figures of one pass over the data: pixel counts and losses are added up, and divided once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.domain.labels import IGNORED, Category
from core.domain.scores import score
from core.imaging.confusion import confusion_matrix

Metrics = dict[str, float | None]


class Totals:
    """What one pass has added up so far.

    ``confusion`` is int64 (C, C), rows = truth. The loss is the mean over images: each batch
    counts by its number of images. No figure depends on the order in which all this was added.
    """

    def __init__(self, num_classes: int) -> None:
        self.confusion: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)
        self.images = 0
        self._losses: list[float] = []

    def add(self, confusion: NDArray[np.int64], loss: float, images: int) -> None:
        """Add the counts and the mean loss of some images."""
        self.confusion += confusion
        self._losses.append(loss * images)
        self.images += images

    def add_all(self, parts: Iterable[Totals]) -> Totals:
        """Add what others have added up; give these totals back."""
        for part in parts:
            self.confusion += part.confusion
            self._losses += part._losses
            self.images += part.images
        return self

    @property
    def loss(self) -> float:
        """The mean loss per image; NaN before the first one."""
        return math.fsum(self._losses) / self.images if self.images else math.nan


class Tally:
    """Adds up a pass's batches; on CUDA each is read one batch late, so that the device never idles."""

    def __init__(self, num_classes: int) -> None:
        self.totals = Totals(num_classes)
        self.is_finite = True  # as far as the losses were read
        self._under_way: _UnderWay | None = None

    def add(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Count a batch: logits (N, C, H, W), labels int64 (N, H, W), its loss (a scalar)."""
        if logits.device.type != "cuda":
            self._count(batch_confusion(logits, labels), float(loss), len(labels))
            return
        newest = _send(logits, labels, loss)
        self.finish()
        self._under_way = newest

    def finish(self) -> Totals:
        """Read what is still under way; give the totals."""
        if self._under_way is not None:
            late, self._under_way = self._under_way, None
            late.arrived.synchronize()
            self._count(late.confusion.numpy(), float(late.loss), late.images)
        return self.totals

    def _count(self, confusion: NDArray[np.int64], loss: float, images: int) -> None:
        self.is_finite = self.is_finite and math.isfinite(loss)
        self.totals.add(confusion, loss, images)


@dataclass(frozen=True)
class _UnderWay:
    """A batch's figures on their way to the host, there once the event has happened."""

    confusion: Tensor  # int64 (C, C)
    loss: Tensor
    images: int
    arrived: torch.cuda.Event


def _send(logits: Tensor, labels: Tensor, loss: Tensor) -> _UnderWay:
    confusion = device_confusion(logits, labels).to("cpu", non_blocking=True)
    on_host = loss.detach().to("cpu", non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return _UnderWay(confusion, on_host, len(labels), arrived)


def batch_confusion(logits: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """Count the pixels of a batch by (truth, prediction), on the CPU; those of IGNORED count nowhere.

    Args:
        logits: float (N, C, H, W); labels: int64 (N, H, W).

    Returns:
        int64 (C, C), rows = truth.
    """
    prediction = logits.detach().max(dim=1).indices  # on a CPU several times faster than argmax
    truth, guess = (
        indices.numpy().astype(np.uint8).reshape(len(labels), -1) for indices in (labels, prediction)
    )
    return counted_confusion(truth, guess, logits.shape[1])


def counted_confusion(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Give the confusion matrix of the pixels whose truth is not IGNORED: int64 (C, C), rows = truth."""
    is_counted = truth != IGNORED
    if not is_counted.all():
        truth, prediction = truth[is_counted], prediction[is_counted]
    return confusion_matrix(truth, prediction, classes)


def device_confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Count like ``batch_confusion``, on the logits' device and without the host waiting for it."""
    classes = logits.shape[1]
    pairs = labels * classes + logits.detach().max(dim=1).indices
    pairs = pairs.masked_fill(labels == IGNORED, classes * classes).flatten()
    counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=logits.device)
    # torch.bincount would ask the device for the largest value first.
    return counts.scatter_add_(0, pairs, torch.ones_like(pairs))[:-1].reshape(classes, classes)


def train_metrics(totals: Totals, categories: Sequence[Category]) -> Metrics:
    """Name the figures of the training pass: ``train_*`` and ``train_iou/<category_id>``.

    They are of the augmented images and of a network that changed while they were added up.
    """
    scores = score(totals.confusion)
    return _plain(
        {
            "train_loss": totals.loss,
            "train_miou_foreground": scores.miou_foreground,
            "train_dice_foreground": scores.dice_foreground,
            "train_pixel_accuracy": scores.pixel_accuracy,
            **_per_category("train_iou", scores.iou, categories),
        }
    )


def validation_metrics(totals: Totals, categories: Sequence[Category]) -> Metrics:
    """Name the figures at original resolution: ``val_*``, ``val_iou/<category_id>``, ``val_dice/...``.

    A figure that is not defined (a category in neither labels nor predictions) is None.
    """
    scores = score(totals.confusion)
    return _plain(
        {
            "val_loss": totals.loss,
            "val_miou_foreground": scores.miou_foreground,
            "val_dice_foreground": scores.dice_foreground,
            "val_pixel_accuracy": scores.pixel_accuracy,
            "val_any_iou": scores.any_iou,
            "val_any_dice": scores.any_dice,
            **_per_category("val_iou", scores.iou, categories),
            **_per_category("val_dice", scores.dice, categories),
        }
    )


def _per_category(name: str, values: Sequence[float], categories: Sequence[Category]) -> dict[str, float]:
    return {f"{name}/{c.category_id}": values[i] for i, c in enumerate(categories, start=1)}


def _plain(values: Mapping[str, float]) -> Metrics:
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
