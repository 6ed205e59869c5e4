"""A finished run of many epochs without its training: drawn predictions that come nearer to the truth."""

import numpy as np

from core.domain.images import Image, Project
from core.domain.runs import Epoch, Run
from core.domain.scores import score
from core.domain.training import TrainingConfig
from core.imaging.confusion import confusion_matrix
from core.imaging.overlay import encode_grey_png
from core.services import pictures, training
from core.storage import images, lifecycle, processes, runs, tables
from core.storage.lifecycle import RUNS, Room
from core.storage.store import Store


def finish_run(store: Store, project: Project, epochs: int) -> Run:
    """Write the rows and files that a worker leaves after a run on the project's labels."""
    run = training.start_run(store, project.id, TrainingConfig(epochs=epochs))
    claim = lifecycle.claim(store, RUNS, "bench", Room(1))
    assert claim is not None
    lifecycle.start(store, RUNS, claim, processes.this_process())
    valid = [images.get(store, item.image_id) for item in training.data_version(store, run).split("valid")]
    for epoch in range(1, epochs + 1):
        records = [_record(store, run, image, epoch, epochs) for image in valid]
        total = score(np.sum([record.confusion for record in records], axis=0))
        metrics = {"val_miou_foreground": total.miou_foreground, "val_dice_foreground": total.dice_foreground}
        row = Epoch(run.id, epoch, 1, dict(metrics), {"train": 1.0}, f"runs/{run.id}/x.pt", tables.now())
        runs.add_epoch(store, claim, row, records)
    lifecycle.succeed(store, RUNS, claim)
    return runs.get(store, run.id)


def _record(store: Store, run: Run, image: Image, epoch: int, epochs: int) -> runs.ImageRecord:
    version = training.data_version(store, run)
    truth = pictures.truth_map(store, image, image.rev, version)
    predicted = np.roll(truth, 8 * (epochs - epoch), axis=(0, 1))
    confidence = np.random.default_rng(epoch).integers(120, 255, truth.shape, np.uint8)
    key = f"runs/{run.id}/predictions/epoch_{epoch:03d}/{image.id}"
    store.blobs.put(f"{key}.png", encode_grey_png(predicted))
    store.blobs.put(f"{key}-confidence.png", encode_grey_png(confidence))
    matrix = confusion_matrix(truth, predicted, len(version.categories) + 1)
    return runs.ImageRecord(image.id, matrix, f"{key}.png", f"{key}-confidence.png")
