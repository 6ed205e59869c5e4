"""Evaluation: curves, the best epoch, what a checkpoint made of each image, and the champion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar

import numpy as np

from core.domain.errors import AppError, NotFound
from core.domain.images import Image
from core.domain.labels import IGNORED, Category
from core.domain.runs import MAX_NOTE_LENGTH, Champion, Epoch, Job, Run, WorkState
from core.domain.scores import Scores, score
from core.domain.training import DataVersion
from core.imaging.overlay import at_display_size, encode_grey_png
from core.inference import predict as inference
from core.services import checkpoints, pictures, predictors
from core.services.home import Store
from core.storage import champions as chosen_before
from core.storage import images, jobs, lifecycle, projects, runs, versions
from core.storage.sweep import sweep

METRIC = "val_miou_foreground"
Work = TypeVar("Work", Run, Job)


@dataclass(frozen=True)
class ImageScore:
    """What a checkpoint made of one image, at the image's own resolution.

    ``iou`` and ``dice`` are means over the classes that truth or prediction shows there; None when
    neither shows any. ``any_iou`` is damage against none; ``false_share`` is the share of the
    image that is called damage and is none. ``has_pictures``: the prediction was kept, to be looked at.
    """

    image_id: str
    name: str
    iou: float | None
    dice: float | None
    any_iou: float | None
    false_share: float
    missed_share: float
    class_iou: dict[str, float | None]
    has_pictures: bool = True


@dataclass(frozen=True)
class EpochPicture:
    """One epoch's prediction of one image, as links and figures; the links are "" where none was kept."""

    epoch: int
    prediction_link: str
    confidence_link: str
    iou: float | None
    dice: float | None


@dataclass(frozen=True)
class Look:
    """One image with any checkpoint, predicted on demand."""

    image: Image
    truth_link: str
    picture: EpochPicture
    is_any_damage: bool
    any_iou: float | None
    any_dice: float | None


def epochs(store: Store, run_id: str) -> list[Epoch]:
    """List a run's complete epochs, first to last."""
    return runs.epochs(store, run_id)


def best_epoch(epochs: Sequence[Epoch]) -> Epoch | None:
    """Give the epoch with the highest validation foreground mIoU, the earliest of equals."""
    measured = [epoch for epoch in epochs if epoch.metrics.get(METRIC) is not None]
    return max(measured, key=lambda e: (e.metrics[METRIC] or 0.0, -e.epoch), default=None)


def best_of_project(store: Store, project_id: str) -> float | None:
    """Give the highest validation foreground mIoU of all runs of a project, None without any."""
    found = [best_epoch(runs.epochs(store, run.id)) for run in runs.list_of(store, project_id)]
    return max((epoch.metrics[METRIC] or 0.0 for epoch in found if epoch), default=None)


def resolve_epoch(store: Store, run: Run, wanted: str) -> Epoch:
    """Read "best", "last" or a number. Raises NotFound when the run has no such epoch."""
    done = runs.epochs(store, run.id)
    if not done:
        raise NotFound(f"The run “{run.name}” has no complete epoch yet.")
    if wanted == "last":
        return done[-1]
    if wanted == "best":
        return best_epoch(done) or done[-1]
    for epoch in done:
        if str(epoch.epoch) == wanted:
            return epoch
    raise NotFound(f"The run “{run.name}” has no epoch {wanted}. It has 1 to {done[-1].epoch}.")


def image_scores(store: Store, run: Run, epoch: int, split: str = "valid") -> list[ImageScore]:
    """List what a checkpoint made of each image of a split, worst first; images without a figure last.

    Those that no pictures were kept of follow after all others, in the same order. Photos deleted from
    their project since are left out: there is nothing to look at.
    """
    classes = versions.get(store, run.data_version_id).categories
    names = {image.id: image.name for image in _images_of(store, run)}
    scored = [
        _image_score(record, names[record.image_id], classes)
        for record in runs.records(store, run.id, epoch, split)
        if record.image_id in names
    ]
    return sorted(
        scored,
        key=lambda s: (not s.has_pictures, s.iou is None, s.iou or 0.0, -s.missed_share - s.false_share),
    )


def epoch_pictures(store: Store, run: Run, image_id: str, split: str = "valid") -> list[EpochPicture]:
    """List every epoch's prediction of one validation image, first to last."""
    found = runs.records_of_image(store, run.id, image_id, split)
    return [
        EpochPicture(
            epoch,
            pictures.file_link(store, record.prediction) if record.has_pictures else "",
            pictures.file_link(store, record.confidence) if record.has_pictures else "",
            _number(score(record.confusion).miou_foreground),
            _number(score(record.confusion).dice_foreground),
        )
        for epoch, record in found.items()
    ]


def truth_link(store: Store, run: Run, image: Image) -> str:
    """Give the link of an image's labels as the run knew them; the newest if it did not know the image."""
    version = versions.get(store, run.data_version_id)
    return pictures.truth_link(store, image, _rev_known(version, image), version.id)


def image(store: Store, image_id: str) -> Image:
    """Give one image. Raises NotFound."""
    return images.get(store, image_id)


def labelled_images(store: Store, run: Run, project_id: str) -> list[Image]:
    """List a project's images whose labels count, without pictures of a run's last epoch, newest first.

    Those are the ones that it did not validate on, and where there were many some that it did.
    """
    pictured = runs.picture_keys(store, run.id, run.epochs_done)
    found = images.list_page(store, project_id, images.ImageFilter())
    return [i for i in reversed(found) if i.is_labelled and i.id not in pictured]


def prepare(store: Store, run: Run, epoch: int) -> Job:
    """Queue the export of a checkpoint, after which it is ready; the same one is not queued twice.

    Raises:
        NotFound: the run has no such epoch, or its checkpoint was not kept.
    """
    checkpoints.require_kept(store, run, epoch)
    return jobs.create(store, "export", {"run_id": run.id, "epoch": epoch}, run.project_id)


def look(store: Store, run: Run, epoch: int, image_id: str) -> Look:
    """Predict one labelled image with a checkpoint and measure it against its newest labels.

    Where the image shows a category that the model does not know (see ``pictures.class_index``), the
    figures and the picture are of any damage against none.

    Raises:
        NotFound: the image is gone, or the checkpoint is not exported yet (see ``prepare``).
    """
    photo = images.get(store, image_id)
    version = versions.get(store, run.data_version_id)
    known = pictures.class_index(projects.get(store, photo.project_id), version)
    is_any = any(category_id not in known for category_id in photo.category_ids)
    ignored = [category_id for category_id, channel in known.items() if channel == IGNORED]
    truth = pictures.truth_map(store, photo, photo.rev, None if is_any else version, ignored)
    data = store.blobs.get(images.photo_key(photo.sha256, "original"))
    prediction = inference.predict(predictors.open_checkpoint(store, run, epoch), data)
    shown = (prediction.label_map > 0).astype(np.uint8) if is_any else prediction.label_map
    scores = inference.compare(
        shown, truth, num_classes=None if is_any else len(version.categories) + 1
    ).scores
    folder = f"runs/{run.id}/on_demand/epoch_{epoch:03d}"
    keys = (f"{folder}/{photo.id}{'-any' if is_any else ''}.png", f"{folder}/{photo.id}-confidence.png")
    store.blobs.put(keys[0], encode_grey_png(at_display_size(shown)))
    store.blobs.put(keys[1], encode_grey_png(prediction.confidence))
    return Look(
        image=photo,
        truth_link=pictures.truth_link(
            store, photo, photo.rev, pictures.ANY_DAMAGE if is_any else version.id, ignored
        ),
        picture=EpochPicture(
            epoch,
            pictures.file_link(store, keys[0]),
            pictures.file_link(store, keys[1]),
            _number(scores.miou_foreground),
            _number(scores.dice_foreground),
        ),
        is_any_damage=is_any,
        any_iou=_number(scores.any_iou),
        any_dice=_number(scores.any_dice),
    )


def evaluate(store: Store, run: Run, epoch: int, split: str, *, masks: bool = False) -> Job:
    """Queue the evaluation of a checkpoint on a split of its data version.

    Raises:
        NotFound: the split is empty, there is no such epoch, or its checkpoint was not kept.
    """
    checkpoints.require_kept(store, run, epoch)
    if not any(item.split == split for item in versions.get(store, run.data_version_id).items):
        raise NotFound(f"The run “{run.name}” has no labelled photo in {split}.")
    payload = {"run_id": run.id, "epoch": epoch, "split": split, "masks": masks}
    return jobs.create(store, "evaluate", payload, run.project_id)


def job(store: Store, job_id: str) -> Job:
    """Give one job, with a lost one shown as interrupted. Raises NotFound."""
    sweep(store, lifecycle.JOBS)
    return jobs.get(store, job_id)


def promote(
    store: Store,
    run: Run,
    epoch: int,
    *,
    author: str = "",
    note: str = "",
    replacing: Champion | Literal["any"] | None = "any",
) -> Champion:
    """Make a checkpoint its project's champion, and have it exported.

    Args:
        replacing: the champion that was seen when this was decided, None where there was none; "any" asks
            for no such check.

    Raises:
        AppError: the note is too long.
        Conflict: somebody made another one champion since; nothing was changed.
        NotFound: the run has no such epoch, or its checkpoint was not kept.
    """
    note = note.replace("\0", "").strip()
    if len(note) > MAX_NOTE_LENGTH:
        raise AppError(f"A note has at most {MAX_NOTE_LENGTH:,} characters; this one has {len(note):,}.")
    checkpoints.require_kept(store, run, epoch)
    chosen = Champion(run.project_id, run.id, epoch, note, author[:80], datetime.now(UTC))
    chosen_before.set_champion(store, chosen, replacing=replacing)
    if not predictors.is_ready(store, run.id, epoch):
        prepare(store, run, epoch)
    return chosen


def champions(store: Store, project_id: str) -> list[Champion]:
    """List the checkpoints that a project ever chose, newest first: the first one is its champion."""
    return chosen_before.champions(store, project_id)


def champion(store: Store, project_id: str) -> Champion | None:
    """Give the project's chosen checkpoint, None where none was chosen yet."""
    return chosen_before.champion(store, project_id)


def checkpoint_to_show(store: Store, project_id: str) -> tuple[Run, int]:
    """Give the champion, else the best epoch of the newest run that has one.

    Raises:
        NotFound: no run of the project has a complete epoch.
    """
    chosen = chosen_before.champion(store, project_id)
    if chosen:
        return runs.get(store, chosen.run_id), chosen.epoch
    for run in runs.list_of(store, project_id):
        best = best_epoch(runs.epochs(store, run.id))
        if best:
            return run, best.epoch
    raise NotFound("There is no trained model yet. Train one first.")


def is_over(work: Work) -> bool:
    """Tell whether a run or a job has its verdict."""
    return work.state.is_final


def require_done(work: Work) -> Work:
    """Give back a finished run or job. Raises AppError with the worker's sentence when it failed."""
    if work.state is not WorkState.SUCCEEDED:
        kind = "run" if isinstance(work, Run) else "job"
        raise AppError(work.error or f"The {kind} was {work.state.value}.")
    return work


def _images_of(store: Store, run: Run) -> list[Image]:
    return images.list_page(store, run.project_id, images.ImageFilter())


def _rev_known(version: DataVersion, image: Image) -> int:
    return next((item.rev for item in version.items if item.image_id == image.id), image.rev)


def _image_score(record: runs.ImageRecord, name: str, classes: tuple[Category, ...]) -> ImageScore:
    confusion = record.confusion
    scores: Scores = score(confusion)
    total = max(1, int(confusion.sum()))
    return ImageScore(
        image_id=record.image_id,
        name=name,
        iou=_number(scores.miou_foreground),
        dice=_number(scores.dice_foreground),
        any_iou=_number(scores.any_iou),
        false_share=float(confusion[0, 1:].sum()) / total,
        missed_share=float(confusion[1:, 0].sum()) / total,
        class_iou={c.name: _number(scores.iou[i]) for i, c in enumerate(classes, start=1)},
        has_pictures=record.has_pictures,
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
