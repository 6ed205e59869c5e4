"""Suggestions: the champion's prediction of a photo as annotations to accept, change or reject."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import AppError, NotFound
from core.domain.images import Image
from core.domain.labels import Annotation, annotation_to_json
from core.domain.runs import Job, Run, WorkState
from core.inference.outputs import Outputs, Predictor, outputs_from_npz
from core.inference.suggest import Suggested, Task, drawn_of, left_out, model_name, suggest
from core.models.preprocessing import Preprocessing, network_image, to_input
from core.services import evaluation, links, predictors, workers
from core.services.home import Store
from core.storage import annotations, champions, images, jobs, projects, runs, versions

NO_CHAMPION = "This project has no champion yet. Train a model and make one of its epochs the champion."
NOTHING_FOUND = "The champion finds nothing on this photo."
MAX_PHOTOS = 500  # in one go; afterwards start again, or train anew


@dataclass(frozen=True)
class Suggestions:
    """What there is to suggest now, and sentences about it; none when nothing is to be said."""

    annotations: tuple[Annotation, ...]
    said: tuple[str, ...] = ()


def to_json(found: Suggestions) -> dict[str, Any]:
    """Give the JSON form that the canvas reads: ``{annotations, said}``."""
    return {"annotations": [annotation_to_json(a) for a in found.annotations], "said": list(found.said)}


@dataclass(frozen=True)
class Waiting:
    """A worker is at it; ask again in a moment."""

    message: str


def link(store: Store, image_id: str) -> str:
    """Give the signed link that suggestions for a photo are asked at, relative to the app's root."""
    return links.sign(store, f"suggest/{image_id}")


def trouble(store: Store, project_id: str) -> str:
    """Say why nothing can be suggested in a project; "" where something can."""
    return "" if champions.champion(store, project_id) else NO_CHAMPION


def for_photo(store: Store, image_id: str, *, is_again: bool = False) -> Suggestions | Waiting:
    """Suggest annotations for a photo; nothing is saved.

    What is drawn on the photo is not suggested again (see ``core.inference.suggest``); suggestions that wait
    there already do not count. Where the champion's network cannot be exported a worker's job computes it:
    ask again until it has.

    Args:
        is_again: whether the answer to the same question was to wait; then a job that failed meanwhile is
            told of, and else tried anew.

    Raises:
        NotFound: the photo was deleted, the project has no champion, or the champion's checkpoint is gone.
        FormatError: the champion's file is damaged.
        ImageError: the photo's file is damaged.
        AppError: the worker's job failed; the sentence says why.
    """
    image = images.get(store, image_id)
    run, epoch = _champion(store, image.project_id)
    model = _model(store, run, epoch, is_again=is_again)
    if isinstance(model, Waiting):
        return model
    photo = store.blobs.get(images.photo_key(image.sha256, "original"))
    if isinstance(model, predictors.WorkersModel):
        outputs = _outputs_of_job(model, image, photo, is_again=is_again)
        if isinstance(outputs, Waiting):
            return outputs
        model = _Computed(model.preprocessing, outputs)
    return _suggestions(store, image, run, epoch, model, photo)


def start_for_queue(store: Store, project_id: str) -> Job:
    """Queue the job that fills the unlabelled photos with suggestions, at most MAX_PHOTOS.

    Their state stays unlabelled. The same one is not queued twice.

    Raises:
        NotFound: there is no champion.
    """
    run, epoch = _champion(store, project_id)
    _model(store, run, epoch)  # queues its export where that is missing
    payload = {"project_id": project_id, "run_id": run.id, "epoch": epoch, "limit": MAX_PHOTOS}
    return jobs.create(store, "suggest", payload, project_id, priority=-1)


def _champion(store: Store, project_id: str) -> tuple[Run, int]:
    chosen = champions.champion(store, project_id)
    if chosen is None:
        raise NotFound(NO_CHAMPION)
    return runs.get(store, chosen.run_id), chosen.epoch


def _model(store: Store, run: Run, epoch: int, *, is_again: bool = False) -> Predictor | Waiting:
    """Open the champion, or have a worker make its exported file where that is missing."""
    try:
        return predictors.open_checkpoint(store, run, epoch)
    except NotFound:
        if is_again:
            _raise_if_failed(store, run.project_id, "export", {"run_id": run.id, "epoch": epoch})
        evaluation.prepare(store, run, epoch)
        return Waiting(_patience(store, "The champion is being prepared for predictions."))


def _suggestions(
    store: Store, image: Image, run: Run, epoch: int, model: Predictor, photo: bytes
) -> Suggestions:
    project = projects.get(store, image.project_id)
    classes = versions.get(store, run.data_version_id).categories
    drawn = drawn_of(annotations.current(store, image.id).annotations)
    known = frozenset(category.category_id for category in project.categories)
    task = Task(image.size_wh, classes, known, drawn, model_name(run.name, epoch))
    found = suggest(model, photo, task)
    said = left_out(found, project.categories, classes)
    return Suggestions(found.annotations, (*_nothing(found), *said))


def _nothing(found: Suggested) -> tuple[str, ...]:
    is_empty = not (found.annotations or found.overlapping or found.gone)
    return (NOTHING_FOUND,) if is_empty else ()


@dataclass(frozen=True)
class _Computed:
    """A model that has computed the one photo already."""

    preprocessing: Preprocessing
    given: Outputs

    def outputs(self, image: NDArray[np.float32]) -> Outputs:
        return self.given


def _outputs_of_job(
    asked: predictors.WorkersModel, image: Image, photo: bytes, *, is_again: bool
) -> Outputs | Waiting:
    """Take what a worker computed, or ask for it; the request is the same for all who ask meanwhile."""
    store, run = asked.store, asked.run
    folder = f"predictions/{run.id}/exchange/suggest_{asked.epoch:03d}_{image.id}"
    keys = {"image": f"{folder}/image.npy", "outputs": f"{folder}/outputs.npz"}
    payload = {"run_id": run.id, "epoch": asked.epoch, **keys}
    if store.blobs.exists(keys["outputs"]):
        data = store.blobs.get(keys["outputs"])
        for key in keys.values():
            store.blobs.delete(key)
        return outputs_from_npz(data)
    if is_again:
        _raise_if_failed(store, run.project_id, "predict", payload)
    if not is_again or not store.blobs.exists(keys["image"]):
        pixels = network_image(photo, asked.preprocessing.size)
        file = io.BytesIO()
        np.save(file, to_input(pixels, asked.preprocessing), allow_pickle=False)
        store.blobs.put(keys["image"], file.getvalue())
    jobs.create(store, "predict", payload, run.project_id, priority=1)
    return Waiting(_patience(store, "A worker looks at this photo."))


def _raise_if_failed(store: Store, project_id: str, kind: str, payload: dict[str, Any]) -> None:
    """Say why the newest job that did this failed, if it did."""
    found = jobs.list_of(store, project_id, kind=kind, limit=20)
    newest = next((job for job in found if job.payload == payload), None)
    if newest is not None and newest.state in (WorkState.FAILED, WorkState.CANCELLED):
        raise AppError(newest.error or "The job was cancelled.")


def _patience(store: Store, sentence: str) -> str:
    return f"{sentence} {workers.trouble(store, 'job')}".strip()
