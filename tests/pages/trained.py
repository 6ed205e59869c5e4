"""A finished run without a training: rows and files as a worker leaves them, from drawn predictions."""

from dataclasses import replace

import numpy as np

from core.domain.images import Project
from core.domain.presets import PRESETS
from core.domain.runs import Epoch, Run
from core.domain.scores import score
from core.imaging.confusion import confusion_matrix
from core.imaging.overlay import encode_grey_png
from core.services import pictures, training
from core.storage import images, lifecycle, processes, runs, tables
from core.storage.lifecycle import RUNS, Room
from core.storage.store import Store
from tests.builders import add_image, square


def finish_run(store: Store, project: Project, epochs: int) -> Run:
    """Label six photos and write the epochs of a run whose predictions come nearer to the truth."""
    for seed in range(6):
        split = "train" if seed < 4 else "valid"
        add_image(store, project, seed, square(1, 10 + seed), square(2, 50, 30, 15), split=split)
    run = training.start_run(store, project.id, replace(PRESETS["fast"].config, epochs=epochs))
    claim = lifecycle.claim(store, RUNS, "test", Room(1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    for epoch in range(1, epochs + 1):
        records = [_record(store, run, image, shift=epochs - epoch) for image in _valid(store, run)]
        total = np.sum([record.confusion for record in records], axis=0)
        metrics = {
            "train_loss": 1.0 / epoch,
            "val_loss": 1.2 / epoch,
            "val_miou_foreground": score(total).miou_foreground,
            "val_dice_foreground": score(total).dice_foreground,
            "val_pixel_accuracy": score(total).pixel_accuracy,
            "val_iou/1": score(total).iou[1],
            "val_iou/2": score(total).iou[2],
        }
        row = Epoch(run.id, epoch, 1, metrics, {"train": 1.0}, f"runs/{run.id}/x.pt", tables.now())
        runs.add_epoch(store, claim, row, records)
    lifecycle.succeed(store, RUNS, claim)
    return runs.get(store, run.id)


def _valid(store: Store, run: Run) -> list[images.Image]:
    version = training.data_version(store, run)
    return [images.get(store, item.image_id) for item in version.split("valid")]


def _record(store: Store, run: Run, image: images.Image, shift: int) -> runs.ImageRecord:
    version = training.data_version(store, run)
    truth = pictures.truth_map(store, image, image.rev, version)
    prediction = np.roll(truth, 3 * shift, axis=1)
    key = f"runs/{run.id}/predictions/{image.id}-{shift}.png"
    store.blobs.put(key, encode_grey_png(prediction))
    store.blobs.put(key + ".confidence.png", encode_grey_png(np.full_like(truth, 200)))
    matrix = confusion_matrix(truth, prediction, len(version.categories) + 1)
    return runs.ImageRecord(image.id, matrix, key, key + ".confidence.png")
