"""The job that measures how much a checkpoint doubts the photos that nobody labelled yet."""

import logging
import time
from typing import Any

from core.domain.errors import FormatError, ImageError, NotFound
from core.domain.images import Image, ImageFilter
from core.domain.runs import Job
from core.inference.usefulness import Usefulness, measure, pack, scores_key, unpack
from core.storage import images
from core.storage.patience import patiently
from core.storage.store import Store
from core.worker.heartbeat import OnProgress
from core.worker.predictor import open_predictor

logger = logging.getLogger(__name__)

KEPT_EVERY_SECONDS = 20.0


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Measure a project's photos with a checkpoint and keep what was found, by their content.

    Payload: ``{project_id, run_id, epoch, limit, labelled_limit}``. The photos to be labelled come first, at
    most ``limit``; then finished ones, at most ``labelled_limit`` and the newest first, for the others are to
    be unlike these. What is measured already is not measured again, so the job goes on where it was broken
    off. Result: ``{measured, known, skipped, left}``.

    Raises:
        NotFound: the checkpoint is gone.
        FormatError: the checkpoint is damaged.
        Cancelled: what was measured before stays.
    """
    payload = job.payload
    key = scores_key(payload["run_id"], payload["epoch"])
    found = _known(store, key)
    known = len(found)
    waiting = [i for i in _photos(store, payload) if i.sha256 not in found]
    now = waiting[: payload["limit"]]
    if not now:
        return {"measured": 0, "known": known, "skipped": 0, "left": 0}
    on_progress(0.0, "Opening the model")
    model = open_predictor(store, payload["run_id"], payload["epoch"])
    kept_at, skipped = time.monotonic(), 0
    try:
        for done, image in enumerate(now):
            on_progress(done / len(now), f"{done} of {len(now)} photos")
            try:
                photo = store.blobs.get(images.photo_key(image.sha256, "original"))
                found[image.sha256] = measure(model, photo)
            except (FormatError, ImageError, NotFound) as error:
                logger.warning("photo %s is left out: %s", image.id, error)
                skipped += 1
            if time.monotonic() - kept_at > KEPT_EVERY_SECONDS:
                _keep(store, key, found, on_progress)
                kept_at = time.monotonic()
    finally:
        if len(found) > known:
            store.blobs.put(key, pack(found))
    measured = len(found) - known
    return {"measured": measured, "known": known, "skipped": skipped, "left": len(waiting) - len(now)}


def _photos(store: Store, payload: dict[str, Any]) -> list[Image]:
    """List the photos that are not finished, then the newest finished ones."""
    every = images.list_page(store, payload["project_id"], ImageFilter())
    finished = [image for image in reversed(every) if image.is_labelled]
    return [i for i in every if not i.is_labelled] + finished[: payload["labelled_limit"]]


def _known(store: Store, key: str) -> dict[str, Usefulness]:
    """Read what was measured before; a damaged file is measured anew."""
    try:
        return unpack(store.blobs.get(key))
    except NotFound:
        return {}
    except FormatError as error:
        logger.warning("%s is measured anew: %s", key, error)
        return {}


def _keep(store: Store, key: str, found: dict[str, Usefulness], on_progress: OnProgress) -> None:
    patiently(
        lambda: store.blobs.put(key, pack(found)), check=lambda: on_progress(1.0, "Keeping the figures")
    )
