"""The job that fills unlabelled photos with the champion's suggestions."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from core.domain.errors import Conflict, FormatError, ImageError, NotFound
from core.domain.images import Image, ImageFilter
from core.domain.labels import ImageState
from core.domain.runs import Job
from core.inference.outputs import Predictor
from core.inference.suggest import Task, model_name, suggest
from core.storage import annotations, images, projects, runs, versions
from core.storage.store import Store
from core.worker.heartbeat import OnProgress
from core.worker.predictor import open_predictor

logger = logging.getLogger(__name__)


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Suggest annotations for a project's unlabelled photos, in the order they came.

    Payload: ``{project_id, run_id, epoch, limit}``. A photo's state stays unlabelled. Left alone are photos
    on which something is drawn, which somebody is at work on, whose suggestions are this model's already
    (so the job goes on where it was broken off), or some of whose suggestions somebody rejected. Older
    suggestions of another model that nobody has touched are replaced. Result: ``{photos, filled, skipped,
    left}``: looked at, now with suggestions, unreadable or changed meanwhile, and beyond the limit.

    Raises:
        NotFound: the checkpoint or the project is gone.
        FormatError: the checkpoint is damaged.
        Cancelled: what was suggested before stays.
    """
    payload = job.payload
    on_progress(0.0, "Opening the model")
    filler = _Filler(store, payload["project_id"], payload["run_id"], payload["epoch"])
    waiting = list(filler.waiting())
    now = waiting[: payload["limit"]]
    filled = skipped = 0
    for done, image in enumerate(now):
        on_progress(done / len(now), f"{done} of {len(now)} photos")
        try:
            filled += filler.fill(image)
        except (Conflict, FormatError, ImageError, NotFound) as error:
            logger.warning("no suggestions for photo %s: %s", image.id, error)
            skipped += 1
    return {"photos": len(now), "filled": filled, "skipped": skipped, "left": len(waiting) - len(now)}


class _Filler:
    """Fills photo by photo, with one model."""

    def __init__(self, store: Store, project_id: str, run_id: str, epoch: int) -> None:
        self._store, self._project = store, projects.get(store, project_id)
        run = runs.get(store, run_id)
        self._classes = versions.get(store, run.data_version_id).categories
        self._author = model_name(run.name, epoch)
        self._model: Predictor = open_predictor(store, run_id, epoch)

    def waiting(self) -> Iterator[Image]:
        """Give the photos that suggestions may be put on."""
        untouched = ImageFilter(state=ImageState.UNLABELLED)
        for image in images.list_page(self._store, self._project.id, untouched):
            is_suggested = image.suggestion_count > 0 and image.annotation_count == 0
            is_another_s = is_suggested and image.author != self._author and self._is_as_suggested(image)
            if image.rev == 0 or is_another_s:
                yield image

    def _is_as_suggested(self, image: Image) -> bool:
        """Whether a job saved its labels last: a person who rejects a suggestion saves under another name."""
        with suppress(NotFound):
            labels = annotations.current(self._store, image.id)
            return all(annotation.author == labels.author for annotation in labels.annotations)
        return False

    def fill(self, image: Image) -> bool:
        """Save suggestions of one photo; tell whether there are any. What was saved meanwhile stays."""
        photo = self._store.blobs.get(images.photo_key(image.sha256, "original"))
        known = frozenset(category.category_id for category in self._project.categories)
        task = Task(image.size_wh, self._classes, known, (), self._author)
        found = suggest(self._model, photo, task)
        if not found.annotations and image.rev == 0:
            return False
        annotations.save(
            self._store,
            image.id,
            found.annotations,
            base_rev=image.rev,
            state=ImageState.UNLABELLED,
            author=self._author,
        )
        return bool(found.annotations)
