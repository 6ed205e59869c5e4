"""Figures of one pass over the data: pixel counts and losses are added up, and divided once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.domain.labels import Category
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


def batch_confusion(logits: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """Count the pixels of a batch by (truth, prediction).

    Args:
        logits: float (N, C, H, W); labels: int64 (N, H, W).

    Returns:
        int64 (C, C), rows = truth.
    """
    classes = logits.shape[1]
    prediction = logits.detach().max(dim=1).indices  # on a CPU several times faster than argmax
    if logits.device.type == "cpu":
        truth = labels.numpy().astype(np.uint8).reshape(len(labels), -1)
        return confusion_matrix(truth, prediction.numpy().astype(np.uint8).reshape(len(labels), -1), classes)
    pairs = labels.flatten() * classes + prediction.flatten()
    return pairs.bincount(minlength=classes * classes).reshape(classes, classes).cpu().numpy()


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
