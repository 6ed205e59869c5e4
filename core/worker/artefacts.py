"""The files of a run: where they lie, and the pictures of what it made of each photo."""

from collections import deque
from collections.abc import Callable, Container
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.domain.probe import probe_set
from core.domain.runs import Run
from core.domain.splitting import Candidate
from core.domain.training import DataVersion
from core.imaging.overlay import at_display_size, encode_grey_png
from core.storage import runs, versions
from core.storage.blobs import Blobs
from core.storage.patience import patiently
from core.storage.runs import ImageRecord
from core.storage.store import Store

if TYPE_CHECKING:  # it brings torch, which most jobs do without
    from core.training.validation import ImageResult

MAX_WAITING = 32


def run_folder(run_id: str) -> str:
    """Give the key prefix of all files of a run."""
    return f"runs/{run_id}"


def checkpoint_key(run_id: str, epoch: int, attempt: int) -> str:
    """Give the key of an epoch's checkpoint; the attempt keeps a late process from overwriting it."""
    return f"{run_folder(run_id)}/epoch_{epoch:03d}-a{attempt}.pt"


def onnx_key(checkpoint: str) -> str:
    """Give the key of the ONNX file of a checkpoint."""
    return f"{checkpoint.removesuffix('.pt')}.onnx"


def predictions_folder(run_id: str, epoch: int, attempt: int) -> str:
    """Give the key prefix of an epoch's predictions on the validation images."""
    return f"{_predictions(run_id)}/epoch_{epoch:03d}-a{attempt}"


def evaluation_folder(run_id: str, epoch: int, split: str) -> str:
    """Give the key prefix of a checkpoint's predictions on a split, made by an evaluation."""
    return f"{run_folder(run_id)}/evaluations/epoch_{epoch:03d}/{split}"


def mask_key(run_id: str, epoch: int, split: str, image_id: str) -> str:
    """Give the key of a checkpoint's mask of one photo, at the photo's own size."""
    return f"{run_folder(run_id)}/masks/epoch_{epoch:03d}/{split}/{image_id}.png"


def pictured_images(store: Store, run: Run, version: DataVersion) -> frozenset[str]:
    """Choose the validation images that get pictures at each epoch of a run, by id (see ``probe_set``).

    A run that goes on stays with those it began with, however many its program gave pictures then: who
    follows a photo through the epochs is not to lose it halfway.
    """
    if run.config.pictures == 0:
        return frozenset()
    for epoch in range(run.epochs_done, 0, -1):  # one that was measured anew since has other pictures
        keys = runs.picture_keys(store, run.id, epoch)
        if kept := {i for i, (key, _) in keys.items() if key.startswith(f"{_predictions(run.id)}/")}:
            return frozenset(kept)
    items = version.split("valid")
    if len(items) <= run.config.pictures:
        return frozenset(item.image_id for item in items)
    read, classes = versions.reader(store, items), {c.category_id for c in version.categories}
    shown = {item.sha256: {a.category_id for a in read(item).annotations} & classes for item in items}
    chosen = probe_set([Candidate(key, tuple(of)) for key, of in shown.items()], run.config.pictures)
    return frozenset(item.image_id for item in items if item.sha256 in chosen)


def _predictions(run_id: str) -> str:
    return f"{run_folder(run_id)}/predictions"


class PredictionFiles:
    """Writes what a checkpoint made of each photo while the next ones are computed.

    Grey PNGs at display size (long side at most 1024 px): class indices, and the confidence.

    Args:
        check: called while a store that is out of reach is waited for; what it raises ends the wait.
        pictured: ids of the images that get pictures; None means all. The others' records name none.
    """

    def __init__(
        self,
        blobs: Blobs,
        executor: Executor,
        folder: str,
        check: Callable[[], None] | None = None,
        pictured: Container[str] | None = None,
    ) -> None:
        self._blobs, self._executor, self._folder, self._check = blobs, executor, folder, check
        self._pictured = pictured
        self._waiting: deque[Future[None]] = deque()
        self._records: list[ImageRecord] = []

    def add(self, result: "ImageResult") -> None:
        """Have the pictures of one photo written, where it gets any.

        Raises:
            StorageError: an earlier one could not be.
        """
        if self._pictured is not None and result.image_id not in self._pictured:
            self._records.append(ImageRecord(result.image_id, result.confusion, "", ""))
            return
        key = f"{self._folder}/{result.image_id}"
        pictures = {
            f"{key}.png": at_display_size(result.label_map),
            f"{key}_confidence.png": result.confidence,
        }
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft().result()
        for name, pixels in pictures.items():
            self._waiting.append(self._executor.submit(self._write, name, pixels))
        self._records.append(ImageRecord(result.image_id, result.confusion, *pictures))

    def records(self) -> list[ImageRecord]:
        """Wait until all pictures are written; give the photos' records.

        Raises:
            StorageError: one could not be written.
        """
        while self._waiting:
            self._waiting.popleft().result()
        return self._records

    def _write(self, key: str, pixels: NDArray[np.uint8]) -> None:
        patiently(lambda: self._blobs.put(key, encode_grey_png(pixels)), check=self._check)
