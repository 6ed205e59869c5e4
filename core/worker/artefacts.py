"""The files of a run: where they lie, and the pictures of what it made of each photo."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.imaging.overlay import at_display_size, encode_grey_png
from core.storage.blobs import Blobs
from core.storage.patience import patiently
from core.storage.runs import ImageRecord

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
    return f"{run_folder(run_id)}/predictions/epoch_{epoch:03d}-a{attempt}"


def evaluation_folder(run_id: str, epoch: int, split: str) -> str:
    """Give the key prefix of a checkpoint's predictions on a split, made by an evaluation."""
    return f"{run_folder(run_id)}/evaluations/epoch_{epoch:03d}/{split}"


def mask_key(run_id: str, epoch: int, split: str, image_id: str) -> str:
    """Give the key of a checkpoint's mask of one photo, at the photo's own size."""
    return f"{run_folder(run_id)}/masks/epoch_{epoch:03d}/{split}/{image_id}.png"


class PredictionFiles:
    """Writes what a checkpoint made of each photo while the next ones are computed.

    Grey PNGs at display size (long side at most 1024 px): class indices, and the confidence.

    Args:
        check: called while a store that is out of reach is waited for; what it raises ends the wait.
    """

    def __init__(
        self, blobs: Blobs, executor: Executor, folder: str, check: Callable[[], None] | None = None
    ) -> None:
        self._blobs, self._executor, self._folder, self._check = blobs, executor, folder, check
        self._waiting: deque[Future[None]] = deque()
        self._records: list[ImageRecord] = []

    def add(self, result: "ImageResult") -> None:
        """Have the pictures of one photo written.

        Raises:
            StorageError: an earlier one could not be.
        """
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
