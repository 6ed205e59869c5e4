"""The photos of a data version at the network's size, kept on disk, and the batches drawn from them."""

import dataclasses
import hashlib
import json
import math
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

from core.domain.errors import FormatError, NotEnoughLabels, StorageError, pick
from core.domain.labels import IGNORED, Category
from core.domain.sides import mirrored_classes
from core.domain.training import DataVersion, LabelledPhoto, TrainingConfig, VersionItem
from core.imaging.masks import instance_map, label_map
from core.models.preprocessing import network_image
from core.models.registry import MODELS
from core.training.augmentation import AUGMENTATIONS, Sample, augment, mirror_table
from core.training.mixing import Cache, draw_sample, recipe_of
from core.training.sampling import (
    IMAGES_PER_DEVICE,
    batch_count,
    drawn_images,
    epoch_order,
    image_weights,
)

ReadItem = Callable[[VersionItem], LabelledPhoto]
OnProgress = Callable[[int, int], None]
"""Called with (photos done, photos in all); it may raise to stop the work."""
Arrays = Mapping[str, NDArray[np.uint8]]
"""The arrays of a cache by their names: images, labels, and instances where it has them."""

_CACHE_FORMAT = 1


@dataclass(frozen=True)
class TrainingData:
    """All that a run learns from and is measured on.

    class_index: category_id to class index, as the caches were painted; an ignored category's is IGNORED.
    """

    categories: tuple[Category, ...]
    train: Cache
    valid: Cache
    read_item: ReadItem = field(repr=False)
    class_index: Mapping[int, int]


@dataclass(frozen=True)
class Batch:
    """One device's share of a batch.

    images: uint8 (N, S, S, 3); labels: uint8 (N, S, S), 255 is IGNORED; instances: uint8 (N, S, S) of
    a network that tells regions apart, numbered from 1 in each image, else None.
    """

    images: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    whole: int  # images of the batch on all devices together
    instances: NDArray[np.uint8] | None = field(default=None, repr=False)


def prepare_data(
    version: DataVersion,
    config: TrainingConfig,
    read_item: ReadItem,
    folder: Path,
    on_progress: OnProgress,
) -> TrainingData:
    """Build, or find again, the caches of a version's train and valid images in ``folder``.

    With ``expand_to`` what is trained on is the images and augmented copies of them, up to so many.

    Raises:
        NotEnoughLabels: fewer than 2 images per device to train on, or none to validate with.
        FormatError: the configuration does not fit the version: see the sentence.
        UnknownChoice: there is no such model or policy.
        ImageError: a photo cannot be read.
        StorageError: the cache cannot be written.
    """
    train, valid = version.split("train"), version.split("valid")
    _require_enough(len(train), len(valid), config)
    if config.ignore_class and IGNORED not in version.class_index.values():
        raise FormatError(f"The labels of this run do not say which class “{config.ignore_class}” is.")
    has_instances = pick(MODELS, config.model, kind="model").has_regions
    source = CacheSource(version.hash, config.size, version.class_index, read_item, has_instances)
    total = len(train) + len(valid)
    cached = prepare_cache(folder, source, train, lambda done, _: on_progress(done, total))
    measured = prepare_cache(folder, source, valid, lambda done, _: on_progress(len(train) + done, total))
    mirrored = mirrored_classes([category.name for category in version.categories])
    learnt = dataclasses.replace(cached, mirrored=mirrored)
    if config.expand_to > len(train):
        learnt = prepare_copies(folder, learnt, source.key(train), config, on_progress)
    return TrainingData(version.categories, learnt, measured, read_item, version.class_index)


@dataclass(frozen=True)
class CacheSource:
    """Where a cache's pixels come from: the version's hash, the size, the channels, the reader."""

    version_hash: str
    size: int
    class_index: Mapping[int, int]
    read_item: ReadItem = field(repr=False)
    has_instances: bool = False

    def key(self, items: Sequence[VersionItem]) -> str:
        """Name the cache of these items: equal exactly where its content would be equal."""
        ids = [item.image_id for item in items]
        kinds = ["instances"] if self.has_instances else []
        return _digest(
            [_CACHE_FORMAT, self.version_hash, self.size, sorted(self.class_index.items()), ids, *kinds]
        )


def prepare_cache(
    folder: Path, source: CacheSource, items: tuple[VersionItem, ...], on_progress: OnProgress
) -> Cache:
    """Find the cache of these items in ``folder``, or build it there; a damaged one is built anew.

    It is built beside its place and renamed when it is complete, so an interrupted build leaves
    nothing that a later run could take for a cache.

    Raises:
        ImageError: a photo cannot be read.
        StorageError: the disk refused, or has no room for it.
    """
    blank = _Blank(folder / source.key(items), items, source.size, source.has_instances)
    if (cache := _open_cache(blank)) is not None:
        on_progress(len(items), len(items))
        return cache
    return _built(blank, lambda arrays: _fill(arrays, source, items, on_progress))


def prepare_copies(
    folder: Path, cache: Cache, key: str, config: TrainingConfig, on_progress: OnProgress
) -> Cache:
    """Find, or build, a cache of these rows and augmented copies of them, ``expand_to`` in all.

    The copies follow the rows, each row's first copy in order, then each one's second. A copy is the
    policy applied to the whole image, by (seed, row, number of the copy).

    Args:
        key: names the cache.

    Raises:
        FormatError: the policy changes nothing, so that copies would teach nothing.
        UnknownChoice: there is no such policy.
        StorageError: the disk refused, or has no room for it.
    """
    spec, count, rows = (
        pick(AUGMENTATIONS, config.augmentation, kind="augmentation"),
        config.expand_to,
        len(cache),
    )
    if spec == dataclasses.replace(AUGMENTATIONS["none"], title=spec.title):
        raise FormatError(
            f"expand_to needs an augmentation; with “{config.augmentation}” all copies are equal."
        )
    name = _digest([_CACHE_FORMAT, key, dataclasses.asdict(spec), config.seed, count, cache.mirrored])
    items = tuple(cache.items[number % rows] for number in range(count))
    size, mirror = cache.labels.shape[1], mirror_table(cache.mirrored)
    blank = _Blank(folder / name, items, size, cache.instances is not None)

    def fill(arrays: Arrays) -> None:
        for number in range(count):
            copy, row = divmod(number, rows)
            sample = cache.sample(row)
            if copy > 0:
                rng = np.random.default_rng((config.seed, row, copy, rows))
                sample = augment(sample, spec, rng, mirror=mirror)
            _put(arrays, number, sample)
            on_progress(number + 1, count)

    copies = _open_cache(blank) or _built(blank, fill)
    on_progress(count, count)
    return dataclasses.replace(copies, mirrored=cache.mirrored)


def network_labels(truth: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bring a label map uint8 (H, W) to (size, size) by nearest neighbour: no index appears anew."""
    resized = cv2.resize(truth, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.uint8)


def truth_of(photo: LabelledPhoto, class_index: Mapping[int, int]) -> NDArray[np.uint8]:
    """Paint a photo's annotations at its original size: uint8 (H, W); 255 where class_index says IGNORED."""
    width, height = photo.size_wh
    return label_map(photo.annotations, class_index, (height, width))


def batches(cache: Cache, config: TrainingConfig, epoch: int, rank: int = 0) -> Iterator[Batch]:
    """Yield one device's share of each batch of one training epoch.

    Order and augmentation depend on (seed, epoch, position in the epoch) and nothing else, so a
    resumed run sees what an uninterrupted one sees, and the shares of all devices make up the batch
    that one alone would see. A last batch with fewer than two images per device, on which batch
    normalisation would fail, joins the batch before.

    Args:
        epoch: 1 is the first.
        rank: whose share, 0 <= rank < config.devices: every so many-th image from there on.

    Raises:
        UnknownChoice: there is no such model or policy.
    """
    weights = image_weights(cache.presence, config.balance) if config.balance else None
    order = epoch_order(len(cache), config, epoch, weights)
    recipe = recipe_of(config, epoch, cache.mirrored)
    count, size = batch_count(len(cache), config), config.batch_size
    for number in range(count):
        positions = range(number * size, len(order) if number == count - 1 else (number + 1) * size)
        drawn = [
            draw_sample(cache, int(order[at]), recipe, np.random.default_rng((config.seed, epoch, at + 1)))
            for at in positions[rank :: config.devices]
        ]
        yield _batch(drawn, len(positions))


def preview_rows(
    config: TrainingConfig,
    names: Sequence[str],
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    seed: int,
    count: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw images as the last epoch of a run draws them.

    Args:
        names: of the classes 1, 2, ...
        images: uint8 (N, size, size, 3) to draw from, in turns; labels: uint8 (N, size, size).
        count: how many to draw.

    Returns:
        images uint8 (count, S, S, 3), labels uint8 (count, S, S), S as ``side_of_epoch`` says.

    Raises:
        UnknownChoice: there is no such model or policy.
    """
    cache = Cache((), images, labels, mirrored=mirrored_classes(names))
    recipe = recipe_of(config, config.epochs, cache.mirrored)
    rngs = [np.random.default_rng((seed, number)) for number in range(count)]
    samples = [draw_sample(cache, i % len(cache), recipe, rng) for i, rng in enumerate(rngs)]
    return np.stack([s.image for s in samples]), np.stack([s.labels for s in samples])


def _require_enough(train: int, valid: int, config: TrainingConfig) -> None:
    least = IMAGES_PER_DEVICE * config.devices
    on_devices = f" on {config.devices} devices" if config.devices > 1 else ""
    if train < least or not valid:
        raise NotEnoughLabels(
            f"Training{on_devices} needs at least {least} labelled images to learn from and 1 to validate "
            f"with; there are {train} and {valid}. Label more images, or move some to the other split."
        )
    if drawn_images(train, config) < least:
        raise FormatError(f"epoch_images must be 0, for each image once, or at least {least}{on_devices}.")


def _batch(samples: Sequence[Sample], whole: int) -> Batch:
    instances = [sample.instances for sample in samples if sample.instances is not None]
    return Batch(
        np.stack([sample.image for sample in samples]),
        np.stack([sample.labels for sample in samples]),
        whole,
        np.stack(instances) if instances else None,
    )


@dataclass(frozen=True)
class _Blank:
    """A cache that is to be found or built: its place, its rows, the side, what it holds."""

    place: Path
    items: tuple[VersionItem, ...]
    size: int
    has_instances: bool

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        plane = (len(self.items), self.size, self.size)
        instances = {"instances": plane} if self.has_instances else {}
        return {"images": (*plane, 3), "labels": plane} | instances


def _built(blank: _Blank, fill: Callable[[Arrays], None]) -> Cache:
    folder = blank.place.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_room(folder, blank)
        building = Path(tempfile.mkdtemp(prefix=f".{blank.place.name}-", dir=folder))
        try:
            arrays = {name: _array_on_disk(building / f"{name}.npy", of) for name, of in blank.shapes.items()}
            fill(arrays)
            for array in arrays.values():
                array.flush()
            sums = {name: _checksum(building / f"{name}.npy") for name in arrays}
            (building / "checksums.json").write_text(json.dumps(sums))
            shutil.rmtree(blank.place, ignore_errors=True)
            building.replace(blank.place)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"The photos could not be prepared for training in {folder}: {error}. Is the disk full?"
        ) from error
    cache = _open_cache(blank)
    if cache is None:
        raise StorageError(f"The photos prepared in {blank.place} cannot be read back. Is the disk damaged?")
    return cache


def _require_room(folder: Path, blank: _Blank) -> None:
    wanted = sum(math.prod(shape) for shape in blank.shapes.values())
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise StorageError(
            f"The photos could not be prepared for training in {folder}: {len(blank.items):,} images of "
            f"{blank.size} x {blank.size} pixels need {_size(wanted)}, and {_size(free)} are free. Make "
            "room, or train on fewer or smaller ones."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _fill(arrays: Arrays, source: CacheSource, items: Sequence[VersionItem], on_progress: OnProgress) -> None:
    for row, item in enumerate(items):
        photo, instances = source.read_item(item), None
        image = network_image(photo.data, source.size)
        labels = network_labels(truth_of(photo, source.class_index), source.size)
        if source.has_instances:
            width, height = photo.size_wh
            numbered = instance_map(photo.annotations, source.class_index, (height, width))
            instances = network_labels(numbered, source.size)
        _put(arrays, row, Sample(image, labels, instances))
        on_progress(row + 1, len(items))


def _put(arrays: Arrays, row: int, sample: Sample) -> None:
    arrays["images"][row] = sample.image
    arrays["labels"][row] = sample.labels
    if sample.instances is not None:
        arrays["instances"][row] = sample.instances


def _array_on_disk(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Make a file of zeros to write to as an array.

    Its room is taken now: where the disk has none left, writing to the array would end the process.
    """
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _open_cache(blank: _Blank) -> Cache | None:
    """Open a cache; None where there is none, or one that is not whole."""
    try:
        sums = json.loads((blank.place / "checksums.json").read_text())
        if sums != {name: _checksum(blank.place / f"{name}.npy") for name in blank.shapes}:
            return None
        arrays = {name: np.load(blank.place / f"{name}.npy", mmap_mode="r") for name in blank.shapes}
    except (OSError, ValueError):
        return None
    return Cache(blank.items, **arrays)


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
