"""Measuring a saved checkpoint on photos, by the very path that measured its epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError, NotEnoughLabels, listed
from core.domain.labels import Category
from core.domain.training import VersionItem
from core.training.checkpoints import load_weights
from core.training.criterion import criterion_of
from core.training.dataset import ReadItem
from core.training.metrics import Metrics, Totals, validation_metrics
from core.training.network import Network, measuring_precision, open_fabric
from core.training.progress import OnBatch
from core.training.validation import OnImage, validate


@dataclass(frozen=True)
class Evaluation:
    """``metrics`` are named as a run's ``val_*`` figures; ``confusion`` is int64 (C, C), rows = truth."""

    epoch: int
    metrics: Metrics
    confusion: NDArray[np.int64] = field(repr=False)


def evaluate(
    checkpoint_path: Path,
    items: Sequence[VersionItem],
    read_item: ReadItem,
    categories: Sequence[Category],
    on_image: OnImage,
    on_batch: OnBatch,
) -> Evaluation:
    """Measure a checkpoint on the photos of some split.

    On a run's own validation images, in their order, the figures equal those of its epoch.

    Args:
        categories: those of the labels; the checkpoint must know each of them by its id.

    Raises:
        NotEnoughLabels: there are no items.
        FormatError: the checkpoint is damaged or does not know a category.
        ImageError: a photo cannot be read.
    """
    if not items:
        raise NotEnoughLabels(
            "There is no labelled image to measure on. Label some, or choose another split."
        )
    model, meta = load_weights(checkpoint_path)
    known = {category.category_id for category in meta.card.categories} | set(meta.ignored)
    if unknown := [c.name for c in categories if c.category_id not in known]:
        raise FormatError(
            f"The labels have categories that this model was not trained on: {listed(unknown)}. "
            "Train a new model, or measure on labels of the model's own categories."
        )
    fabric = open_fabric(precision=measuring_precision(meta.config.precision))
    network = Network(
        module=fabric.setup_module(model),
        card=meta.card,
        loss=criterion_of(meta.config.loss, meta.class_weights, auxiliary_weight=0.0),
        batch_size=meta.config.batch_size,
        is_channels_last=meta.is_channels_last,
        device=fabric.device,
        ignored=meta.ignored,
    )
    totals = Totals(meta.card.num_classes)
    for result in validate(network, items, read_item, on_batch, epoch=meta.epoch):
        totals.add(result.confusion, result.loss, 1)
        on_image(result)
    return Evaluation(meta.epoch, validation_metrics(totals, meta.card.categories), totals.confusion)
