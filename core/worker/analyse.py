"""The job that counts what kind of errors a checkpoint makes, from the pictures kept of it."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.analysis import Analysis, ImageCounts, analyses_folder, analysis_key, fingerprint, pack
from core.domain.errors import Conflict, FormatError, NotFound
from core.domain.runs import Job
from core.domain.training import VersionItem
from core.imaging.analysis import analyse_photo
from core.imaging.masks import label_map
from core.imaging.overlay import at_display_size
from core.imaging.reading import decode_grey
from core.storage import runs, versions
from core.storage.patience import patiently
from core.storage.runs import ImageRecord
from core.storage.store import Store
from core.worker.heartbeat import OnProgress

logger = logging.getLogger(__name__)

THREADS = 2
PHOTOS_AT_ONCE = 8  # between two signs of progress: a second's work at most


def handle(store: Store, job: Job, on_progress: OnProgress) -> dict[str, Any]:
    """Count the errors of a checkpoint on a split that it was measured on, and keep the counts.

    Payload: ``{run_id, epoch, split}``. A photo whose labels or pictures are gone or damaged is left out
    and counted, and so is apart from these one that pictures were never kept of. What was kept of an
    earlier measuring is deleted. Result: ``{"photos", "skipped", "unpictured", "analysis": blob key}``.

    Raises:
        NotFound: the checkpoint was not measured on that split, or no photo has anything left.
        Conflict: it was measured anew meanwhile.
    """
    run_id, epoch, split = (job.payload[key] for key in ("run_id", "epoch", "split"))
    version = versions.get(store, runs.get(store, run_id).data_version_id)
    records = runs.records(store, run_id, epoch, split)
    if not records:
        raise NotFound(f"Epoch {epoch} was not measured on {split} photos.")
    if not any(record.has_pictures for record in records):
        raise NotFound(f"No pictures were kept of epoch {epoch}, and errors are counted from these.")
    analyst = _Analyst(store, {item.image_id: item for item in version.items}, version.class_index)
    found = analyst.analyse(records, on_progress)
    if not found.images:
        raise NotFound(f"The pictures of epoch {epoch} are gone. Measure it anew.")
    if _fingerprint(runs.records(store, run_id, epoch, split)) != found.of:
        raise Conflict(f"Epoch {epoch} was measured anew meanwhile. Analyse its errors again.")
    key = analysis_key(run_id, epoch, split, found.of)
    patiently(lambda: store.blobs.put(key, pack(found)), check=lambda: on_progress(1.0, "Keeping the counts"))
    for older, _ in store.blobs.list(analyses_folder(run_id, epoch, split)):
        if older != key:
            store.blobs.delete(older)
    left_out = {"skipped": len(found.skipped), "unpictured": found.unpictured}
    return {"photos": len(found.images), **left_out, "analysis": key}


class _Analyst:
    """Counts photo by photo."""

    def __init__(
        self, store: Store, items: Mapping[str, VersionItem], class_index: Mapping[int, int]
    ) -> None:
        self._store, self._items, self._class_index = store, items, class_index

    def analyse(self, records: list[ImageRecord], on_progress: OnProgress) -> Analysis:
        """Count all photos that pictures were kept of, some at once."""
        cv2.setNumThreads(1)  # the photos are what is done at once
        found: list[ImageCounts] = []
        pictured = [record for record in records if record.has_pictures]
        with ThreadPoolExecutor(THREADS) as executor:
            for start in range(0, len(pictured), PHOTOS_AT_ONCE):
                on_progress(start / len(pictured), f"{start} of {len(pictured)} photos")
                part = pictured[start : start + PHOTOS_AT_ONCE]
                found += [counts for counts in executor.map(self._counts, part) if counts is not None]
        known = {counts.image_id for counts in found}
        skipped = tuple(record.image_id for record in pictured if record.image_id not in known)
        return Analysis(_fingerprint(records), tuple(found), skipped, len(records) - len(pictured))

    def _counts(self, record: ImageRecord) -> ImageCounts | None:
        try:
            truth = self._truth(record.image_id)
            prediction = self._picture(record.prediction, truth.shape)
            confidence = self._picture(record.confidence, truth.shape)
        except (NotFound, FormatError) as error:
            logger.warning("photo %s is left out: %s", record.image_id, error)
            return None
        return analyse_photo(record.image_id, truth, prediction, confidence)

    def _truth(self, image_id: str) -> NDArray[np.uint8]:
        """Paint the labels at the photo's own size, then take the pixels that the predictions' are of."""
        photo = versions.read_item(self._store, self._items[image_id])
        width, height = photo.size_wh
        return at_display_size(label_map(photo.annotations, self._class_index, (height, width)))

    def _picture(self, key: str, size_hw: tuple[int, ...]) -> NDArray[np.uint8]:
        pixels = decode_grey(self._store.blobs.get(key))
        if pixels.shape != size_hw:
            raise FormatError(f"{key} is of {pixels.shape} pixels, its photo of {size_hw}.")
        return pixels


def _fingerprint(records: list[ImageRecord]) -> str:
    return fingerprint((record.image_id, record.prediction, record.confusion) for record in records)
