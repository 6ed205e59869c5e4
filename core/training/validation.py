"""Measuring a network on whole photos at their own resolution: the one path of epochs and evaluations."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from core.domain.labels import IGNORED
from core.domain.training import VersionItem
from core.models.outputs import logits_of
from core.models.preprocessing import network_image
from core.models.upsampling import predict_map
from core.training.dataset import Cache, ReadItem, network_labels, truth_of
from core.training.metrics import counted_confusion
from core.training.network import Network, compiling, network_truth, run_network
from core.training.progress import OnBatch, Pace, Progress
from core.training.team import ALONE, Team

TRUTHS_BYTES = 256 << 20
LIGHT_PIXELS = 1 << 26  # of a batch, at the photos' own sizes: what is held for one is a few bytes each


@dataclass(frozen=True)
class ImageResult:
    """How a network did on one photo.

    loss: that of the classes in the batch it was measured in, at the network's size, so that the mean
    over photos stands beside the training loss (Dice over one photo's classes would not).
    confusion: int64 (C, C), rows = truth, at the original size; ignored pixels count nowhere.
    label_map: uint8 (H, W), original size. confidence: uint8 (h, w), long side at most 1024: the
    winning class's probability times 255.
    """

    image_id: str
    loss: float
    confusion: NDArray[np.int64] = field(repr=False)
    label_map: NDArray[np.uint8] = field(repr=False)
    confidence: NDArray[np.uint8] = field(repr=False)


OnImage = Callable[[ImageResult], None]


class Truths:
    """The truths of photos that are measured again each epoch, so that they are painted once.

    They are kept compressed, which takes a few kilobytes of each photo and a tenth of the painting's
    time, up to ``limit`` bytes of them all.
    """

    def __init__(self, limit: int = TRUTHS_BYTES) -> None:
        self._kept: dict[str, tuple[tuple[int, ...], bytes]] = {}
        self._left = limit

    def get(self, image_id: str) -> NDArray[np.uint8] | None:
        """Give a photo's truth uint8 (H, W), not to be written to; None where it is not kept."""
        if image_id not in self._kept:
            return None
        shape, packed = self._kept[image_id]
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)

    def put(self, image_id: str, truth: NDArray[np.uint8]) -> None:
        """Keep a truth, if there is room for it."""
        packed = zlib.compress(truth.tobytes(), 1)
        if len(packed) <= self._left:
            self._left -= len(packed)
            self._kept[image_id] = truth.shape, packed


def validate(
    network: Network,
    items: Sequence[VersionItem],
    read_item: ReadItem,
    on_batch: OnBatch,
    *,
    epoch: int,
    cache: Cache | None = None,
    truths: Truths | None = None,
    team: Team = ALONE,
) -> Iterator[ImageResult]:
    """Measure a network on photos, one result after the other in the order of the items.

    The logits are upsampled to the photo's original size and compared with the annotations painted
    at that size; nothing but the network's input is ever resized. Processes of a team take whole
    batches in turns, so that each photo has the neighbours, and so the bits, that it has in one
    process; a turn of all is one call of ``on_batch``, and each yields the photos it measured.

    While the network computes a batch, a second thread reads the next one's photos and a third compares
    the one before, whose photos are then yielded: figures come one batch later than ``on_batch``. Batches
    of large photos (LIGHT_PIXELS) are done one after the other: three of them at once are too much.

    Args:
        cache: the same items' pixels at the network's size, to save decoding them; it holds
            exactly what is decoded without it.
        truths: where truths are kept for the next time; only for a network's own labels, with a cache.
        epoch: only for ``on_batch``.

    Raises:
        ImageError: a photo cannot be read.
    """
    pace = Pace()
    starts = range(0, len(items), network.batch_size)
    turns = range(0, len(starts), team.size)
    pool = ThreadPoolExecutor(2)

    def read(turn: int) -> Future[_Inputs] | None:
        """Begin to read this process's batch of a turn."""
        for start in starts[turn : turn + team.size][team.rank : team.rank + 1]:
            part = items[start : start + network.batch_size]
            if cache is not None:
                rows = slice(start, start + len(part))
                return pool.submit(_read_cached, network, part, read_item, cache, rows, truths)
            return pool.submit(_read_batch, network, part, read_item)
        return None

    waiting: deque[Future[ImageResult]] = deque()
    coming = read(0)
    try:
        for number, turn in enumerate(turns, start=1):
            inputs, coming = coming.result() if coming else None, None
            is_light = inputs is None or inputs.pixels <= LIGHT_PIXELS
            if is_light:
                coming = read(turn + team.size)
            begun = _begin(network, inputs, pool) if inputs else deque[Future[ImageResult]]()
            inputs = None
            if not is_light:
                waiting.extend(begun)
                begun.clear()
            while waiting:
                yield waiting.popleft().result()
            waiting = begun
            if not is_light:
                coming = read(turn + team.size)
            pace.images = min(len(items), number * team.size * network.batch_size)
            on_batch(Progress("validate", epoch, number, len(turns), pace.images_per_second))
        while waiting:
            yield waiting.popleft().result()
    finally:  # also where on_batch stops it, or nobody asks for the rest: what has not begun never does
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Inputs:
    """A batch's photos: their ids, their truths (H, W) at their own sizes, and what the network sees."""

    image_ids: list[str]
    truths: list[NDArray[np.uint8]]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    @property
    def pixels(self) -> int:
        """Of all photos together."""
        return sum(truth.size for truth in self.truths)


def _read_batch(network: Network, items: Sequence[VersionItem], read_item: ReadItem) -> _Inputs:
    photos = [read_item(item) for item in items]
    truths = [truth_of(photo, _class_index(network)) for photo in photos]
    size = network.card.preprocessing.size
    images = np.stack([network_image(photo.data, size) for photo in photos])
    labels = np.stack([network_labels(truth, size) for truth in truths])
    return _Inputs([photo.image_id for photo in photos], truths, images, labels)


def _read_cached(
    network: Network,
    items: Sequence[VersionItem],
    read_item: ReadItem,
    cache: Cache,
    rows: slice,
    kept: Truths | None,
) -> _Inputs:
    truths: list[NDArray[np.uint8]] = []
    for item in items:
        truth = kept.get(item.image_id) if kept else None
        if truth is None:
            truth = truth_of(read_item(item), _class_index(network))
            if kept:
                kept.put(item.image_id, truth)
        truths.append(truth)
    ids = [item.image_id for item in items]
    return _Inputs(ids, truths, cache.images[rows].copy(), cache.labels[rows].copy())


def _begin(network: Network, inputs: _Inputs, pool: Executor) -> deque[Future[ImageResult]]:
    """Compute a batch's logits, and begin to compare each photo's with its truth."""
    logits, loss = _forward(network, inputs.images, inputs.labels)
    parts = zip(inputs.image_ids, inputs.truths, logits, strict=True)
    return deque(pool.submit(_image_result, image_id, truth, logit, loss) for image_id, truth, logit in parts)


def _forward(
    network: Network, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], float]:
    """Give the logits float32 (N, C, S, S) and the batch's loss."""
    network.module.eval()
    with torch.inference_mode(), compiling(network):
        logits = logits_of(run_network(network, images)).float()
        loss = float(network.loss(logits, network_truth(network, labels)))
        return logits.contiguous().cpu().numpy(), loss


def _image_result(
    image_id: str, truth: NDArray[np.uint8], logits: NDArray[np.float32], loss: float
) -> ImageResult:
    label_map, confidence = predict_map(logits, (truth.shape[0], truth.shape[1]))
    confusion = counted_confusion(truth, label_map, len(logits))
    return ImageResult(image_id, loss, confusion, label_map, confidence)


def _class_index(network: Network) -> Mapping[int, int]:
    channels = {c.category_id: i for i, c in enumerate(network.card.categories, start=1)}
    return channels | dict.fromkeys(network.ignored, IGNORED)
