"""Trainings with what a configuration offers beyond the usual, from the queue to the kept epochs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from core.domain.errors import NotEnoughLabels, UnknownChoice
from core.domain.images import Project
from core.domain.labels import Annotation, ImageState, PolygonOp
from core.domain.runs import Run
from core.domain.training import TrainingConfig
from core.services import training
from core.storage import annotations, projects, runs, versions
from core.storage.store import Store
from tests.worker.builders import add_labelled_photo
from tests.worker.conftest import SPLITS
from tests.worker.small_runs import (
    SMALL,
    Moments,
    carry_out,
    check_succeeded,
    check_whole,
)

EVERYTHING = {
    "loss": "ssim+focal+0.5*dice",
    "crop": 32,
    "progressive": True,
    "augmentation": "strong",
    "cutmix": 0.5,
    "copy_paste": 0.5,
    "expand_to": 9,
    "balance": 1.0,
    "epoch_images": 8,
    "class_weights": "median",
    "background_weight": 0.5,
    "accumulate": 2,
    "optimizer": "sgd",
    "schedule": "poly",
    "layer_decay": 0.9,
    "frozen_epochs": 1,
    "batch_norm": "frozen",
    "ema": 0.9,
    "decoder_learning_rate": 0.01,
}


def test_a_run_with_every_option_at_once_is_as_whole_as_any(
    store: Store, queue_run: Callable[..., Run], moments: Moments
) -> None:
    code, done = carry_out(store, queue_run(epochs=2, **(SMALL | EVERYTHING)))

    check_succeeded(code, done)
    check_whole(store, done, epochs=2)
    assert all(np.isfinite(e.metrics["train_loss"]) for e in runs.epochs(store, done.id))


def test_what_is_ignored_is_neither_learnt_nor_measured(
    store: Store, project: Project, moments: Moments
) -> None:
    with store.write() as connection:
        tape = projects.add_category(connection, project.id, "tape")
    for number, split in enumerate(SPLITS):
        item = add_labelled_photo(store, project, number, split)
        strip = PolygonOp(((0.0, 0.0), (96.0, 0.0), (96.0, 10.0), (0.0, 10.0)))
        with store.read() as connection:
            drawn = annotations.read(connection, item.image_id, 1).annotations
        taped = [*drawn, Annotation("t", tape.category_id, (strip,))]
        annotations.save(store, item.image_id, taped, base_rev=1, state=ImageState.DONE)
    values = {"size": 64, "batch_size": 2, "epochs": 1, "threads": 1, "encoder_weights": "none"}
    config = replace(TrainingConfig(), **(SMALL | values), ignore_class="tape")

    run = training.start_run(store, project.id, config)
    code, done = carry_out(store, run)

    check_succeeded(code, done)
    version = versions.get(store, done.data_version_id)
    assert [c.name for c in version.categories] == ["dent"] and [c.name for c in version.ignored] == ["tape"]
    records = runs.records(store, done.id, 1)
    assert [record.confusion.shape for record in records] == [(2, 2)] * 2
    assert [int(record.confusion.sum()) for record in records] == [96 * 72 - 96 * 10] * 2


def test_ignoring_all_that_is_labelled_or_nothing_there_is_is_refused(store: Store, project: Project) -> None:
    for number, split in enumerate(SPLITS):
        add_labelled_photo(store, project, number, split)

    with pytest.raises(NotEnoughLabels, match="other than “dent”, which is ignored"):
        training.start_run(store, project.id, replace(TrainingConfig(), ignore_class="dent"))
    with pytest.raises(UnknownChoice, match="There is no class “rust”"):
        training.start_run(store, project.id, replace(TrainingConfig(), ignore_class="rust"))
