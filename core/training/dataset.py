"""The photos of a data version at the network's size, kept on disk, and the batches drawn from them."""

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import NotEnoughLabels, StorageError
from core.domain.labels import Category
from core.domain.training import DataVersion, LabelledPhoto, TrainingConfig, VersionItem
from core.imaging.masks import label_map
from core.models.preprocessing import network_image
from core.training.augmentation import augment

ReadItem = Callable[[VersionItem], LabelledPhoto]
OnProgress = Callable[[int, int], None]
"""Called with (photos done, photos in all); it may raise to stop the work."""

_CACHE_FORMAT = 1
_IMAGES_PER_DEVICE = 2  # at least: batch normalisation fails on one
_ARRAYS = ("images", "labels")


@dataclass(frozen=True)
class Cache:
    """Photos and labels at the network's size, as memory maps that are only read.

    images: uint8 (N, S, S, 3) RGB; labels: uint8 (N, S, S) class indices; row i is ``items[i]``.
    """

    items: tuple[VersionItem, ...]
    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class TrainingData:
    """All that a run learns from and is measured on."""

    categories: tuple[Category, ...]
    train: Cache
    valid: Cache
    read_item: ReadItem = field(repr=False)


@dataclass(frozen=True)
class Batch:
    """One device's share of a batch. images: uint8 (N, S, S, 3); labels: uint8 (N, S, S)."""

    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    whole: int  # images of the batch on all devices together


def prepare_data(
    version: DataVersion,
    config: TrainingConfig,
    read_item: ReadItem,
    folder: Path,
    on_progress: OnProgress,
) -> TrainingData:
    """Build, or find again, the caches of a version's train and valid images in ``folder``.

    Raises:
        NotEnoughLabels: fewer than 2 images per device to train on, or none to validate with.
        ImageError: a photo cannot be read.
        StorageError: the cache cannot be written.
    """
    train = version.split("train")
    valid = version.split("valid")
    least = _IMAGES_PER_DEVICE * config.devices
    if len(train) < least or not valid:
        on_devices = f" on {config.devices} devices" if config.devices > 1 else ""
        raise NotEnoughLabels(
            f"Training{on_devices} needs at least {least} labelled images to learn from and 1 to validate "
            f"with; there are {len(train)} and {len(valid)}. Label more images, or move some to the other "
            "split."
        )
    total = len(train) + len(valid)
    source = CacheSource(version.hash, config.size, version.class_index, read_item)
    return TrainingData(
        categories=version.categories,
        train=prepare_cache(folder, source, train, lambda done, _: on_progress(done, total)),
        valid=prepare_cache(folder, source, valid, lambda done, _: on_progress(len(train) + done, total)),
        read_item=read_item,
    )


@dataclass(frozen=True)
class CacheSource:
    """Where a cache's pixels come from: the version's hash, the size, the channels, the reader."""

    version_hash: str
    size: int
    class_index: Mapping[int, int]
    read_item: ReadItem = field(repr=False)

    def key(self, items: Sequence[VersionItem]) -> str:
        """Name the cache of these items: equal exactly where its content would be equal."""
        ids = [item.image_id for item in items]
        text = json.dumps(
            [_CACHE_FORMAT, self.version_hash, self.size, sorted(self.class_index.items()), ids]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def prepare_cache(
    folder: Path, source: CacheSource, items: tuple[VersionItem, ...], on_progress: OnProgress
) -> Cache:
    """Find the cache of these items in ``folder``, or build it there; a damaged one is built anew.

    It is built beside its place and renamed when it is complete, so an interrupted build leaves
    nothing that a later run could take for a cache.

    Raises:
        ImageError: a photo cannot be read.
        StorageError: the disk refused.
    """
    place = folder / source.key(items)
    if (cache := _open_cache(place, items)) is not None:
        on_progress(len(items), len(items))
        return cache
    try:
        folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=folder))
        try:
            _fill(building, source, items, on_progress)
            shutil.rmtree(place, ignore_errors=True)
            building.replace(place)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"The photos could not be prepared for training in {folder}: {error}. Is the disk full?"
        ) from error
    cache = _open_cache(place, items)
    if cache is None:
        raise StorageError(f"The photos prepared in {place} cannot be read back. Is the disk damaged?")
    return cache


def network_labels(truth: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bring a label map uint8 (H, W) to (size, size) by nearest neighbour: no index appears anew."""
    resized = cv2.resize(truth, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.uint8)


def truth_of(photo: LabelledPhoto, class_index: Mapping[int, int]) -> NDArray[np.uint8]:
    """Paint a photo's annotations at its original size: uint8 (H, W)."""
    width, height = photo.size_wh
    return label_map(photo.annotations, class_index, (height, width))


def batch_count(images: int, config: TrainingConfig) -> int:
    """Give the number of batches that ``batches`` yields per epoch."""
    full, rest = divmod(images, config.batch_size)
    return max(1, full + (rest >= _IMAGES_PER_DEVICE * config.devices))


def batches(cache: Cache, config: TrainingConfig, epoch: int, rank: int = 0) -> Iterator[Batch]:
    """Yield one device's share of each batch of one training epoch.

    Order and augmentation depend on (seed, epoch, position in the epoch) and nothing else, so a
    resumed run sees what an uninterrupted one sees, and the shares of all devices make up the batch
    that one alone would see. A last batch with fewer than two images per device, on which batch
    normalisation would fail, joins the batch before.

    Args:
        epoch: 1 is the first.
        rank: whose share, 0 <= rank < config.devices: every so many-th image from there on.
    """
    order = np.random.default_rng((config.seed, epoch)).permutation(len(cache))
    count, size = batch_count(len(cache), config), config.batch_size
    for number in range(count):
        positions = range(number * size, len(cache) if number == count - 1 else (number + 1) * size)
        rows = [
            _training_row(cache, int(order[position]), config, (config.seed, epoch, position + 1))
            for position in positions[rank :: config.devices]
        ]
        images, labels = np.stack([image for image, _ in rows]), np.stack([labels for _, labels in rows])
        yield Batch(images, labels, len(positions))


def _training_row(
    cache: Cache, row: int, config: TrainingConfig, seed: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image, labels = cache.images[row], cache.labels[row]
    return augment(image, labels, np.random.default_rng(seed)) if config.augment else (image, labels)


def _fill(building: Path, source: CacheSource, items: Sequence[VersionItem], on_progress: OnProgress) -> None:
    size, count = source.size, len(items)
    images = _array_on_disk(building / "images.npy", (count, size, size, 3))
    labels = _array_on_disk(building / "labels.npy", (count, size, size))
    for row, item in enumerate(items):
        photo = source.read_item(item)
        images[row] = network_image(photo.data, size)
        labels[row] = network_labels(truth_of(photo, source.class_index), size)
        on_progress(row + 1, count)
    images.flush()
    labels.flush()
    sums = {name: _checksum(building / f"{name}.npy") for name in _ARRAYS}
    (building / "checksums.json").write_text(json.dumps(sums))


def _array_on_disk(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Make a file of zeros to write to as an array.

    Its room is taken now: where the disk has none left, writing to the array would end the process.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _open_cache(place: Path, items: tuple[VersionItem, ...]) -> Cache | None:
    """Open a cache; None where there is none, or one that is not whole."""
    try:
        sums = json.loads((place / "checksums.json").read_text())
        if sums != {name: _checksum(place / f"{name}.npy") for name in _ARRAYS}:
            return None
        images, labels = (np.load(place / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    except (OSError, ValueError):
        return None
    return Cache(items, images, labels)


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
