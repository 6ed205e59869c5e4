"""The cache holds the photos as the network sees them, and batches come from the seed alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.errors import Cancelled, NotEnoughLabels, StorageError
from core.domain.training import DataVersion, LabelledPhoto, TrainingConfig, VersionItem
from core.models.preprocessing import network_image
from core.training.augmentation import augment
from core.training.dataset import (
    Batch,
    Cache,
    CacheSource,
    TrainingData,
    batch_count,
    batches,
    network_labels,
    prepare_cache,
    prepare_data,
    truth_of,
)


class Photos:
    """Passes on to the fixture's reader and counts."""

    def __init__(self, data: TrainingData) -> None:
        self.reads, self._read = 0, data.read_item

    def __call__(self, item: VersionItem) -> LabelledPhoto:
        self.reads += 1
        return self._read(item)


def test_a_cache_holds_each_photo_and_its_labels_at_the_networks_size(data: TrainingData) -> None:
    cache = data.train

    assert cache.images.shape == (5, 64, 64, 3) and cache.labels.shape == (5, 64, 64)
    for row, item in enumerate(cache.items):
        photo = data.read_item(item)
        truth = truth_of(photo, {7: 1, 3: 2})
        assert np.array_equal(cache.images[row], network_image(photo.data, 64))
        assert truth.shape == (100, 150)
        assert set(np.unique(cache.labels[row])) <= set(np.unique(truth)), "no label id that was not drawn"
        assert set(np.unique(cache.labels[row])) == {0, 1, 2}


def test_labels_shrink_by_nearest_neighbour_between_classes_far_apart() -> None:
    truth = np.zeros((300, 200), np.uint8)
    truth[:, np.arange(200) % 6 < 3] = 200

    assert set(np.unique(network_labels(truth, 64))) == {0, 200}


def test_the_same_version_is_read_once(data: TrainingData, tmp_path: Path) -> None:
    photos, steps = Photos(data), []
    source = CacheSource("hash", 64, {7: 1, 3: 2}, photos)

    first = prepare_cache(tmp_path, source, data.train.items, lambda done, total: steps.append((done, total)))
    again = prepare_cache(tmp_path, source, data.train.items, lambda done, total: None)

    assert photos.reads == 5
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert np.array_equal(first.images, again.images) and np.array_equal(first.labels, again.labels)


@pytest.mark.parametrize("change", [{"version_hash": "other"}, {"size": 96}, {"class_index": {7: 2, 3: 1}}])
def test_other_labels_sizes_or_channels_are_another_cache(
    change: dict[str, object], data: TrainingData, tmp_path: Path
) -> None:
    photos = Photos(data)
    source = CacheSource("hash", 64, {7: 1, 3: 2}, photos)
    prepare_cache(tmp_path, source, data.train.items, lambda done, total: None)

    prepare_cache(tmp_path, dataclasses.replace(source, **change), data.train.items, lambda done, total: None)

    assert photos.reads == 10


@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_a_damaged_cache_is_built_anew(damage: str, data: TrainingData, tmp_path: Path) -> None:
    photos = Photos(data)
    source = CacheSource("hash", 64, {7: 1, 3: 2}, photos)
    sound = prepare_cache(tmp_path, source, data.train.items, lambda done, total: None)
    expected = sound.labels.copy()
    file = tmp_path / source.key(data.train.items) / "labels.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if damage == "lose":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flip" else content[:-9])

    rebuilt = prepare_cache(tmp_path, source, data.train.items, lambda done, total: None)

    assert photos.reads == 10
    assert np.array_equal(rebuilt.labels, expected)


def test_a_build_that_is_stopped_leaves_nothing_behind(data: TrainingData, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        prepare_cache(tmp_path, CacheSource("hash", 64, {}, data.read_item), data.train.items, stop)

    assert [path for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_a_disk_that_refuses_is_a_sentence(data: TrainingData, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    with pytest.raises(StorageError, match="Is the disk full"):
        prepare_cache(
            blocked, CacheSource("h", 64, {}, data.read_item), data.train.items, lambda done, total: None
        )


def test_too_few_images_are_refused_with_their_numbers(
    version: DataVersion, config: TrainingConfig, data: TrainingData, tmp_path: Path
) -> None:
    only_valid = dataclasses.replace(version, items=version.split("valid"))

    with pytest.raises(NotEnoughLabels, match="0 and 3"):
        prepare_data(only_valid, config, data.read_item, tmp_path, lambda done, total: None)


def test_every_image_comes_once_per_epoch_and_never_alone(data: TrainingData, config: TrainingConfig) -> None:
    plain = dataclasses.replace(config, augment=False)

    drawn = list(batches(data.train, plain, epoch=1))

    assert [len(batch.images) for batch in drawn] == [2, 3], "the last of five joins the batch before"
    assert batch_count(5, plain) == len(drawn)
    assert [batch.whole for batch in drawn] == [2, 3]
    seen = sorted(image.tobytes() for batch in drawn for image in batch.images)
    assert seen == sorted(image.tobytes() for image in data.train.images)


@pytest.mark.parametrize(
    ("images", "devices", "expected"),
    [(8, 1, 1), (9, 1, 1), (10, 1, 2), (2, 1, 1), (11, 2, 1), (12, 2, 2), (17, 3, 2), (22, 3, 3)],
)
def test_the_number_of_batches_is_known_beforehand(
    images: int, devices: int, expected: int, config: TrainingConfig
) -> None:
    assert batch_count(images, dataclasses.replace(config, batch_size=8, devices=devices)) == expected


@pytest.mark.parametrize("images", [6, 8, 11, 12, 13, 18])
@pytest.mark.parametrize("devices", [2, 3])
def test_the_shares_of_all_devices_make_up_the_batches_of_one(
    images: int, devices: int, data: TrainingData, config: TrainingConfig
) -> None:
    cache = _many(data, images)
    shared = dataclasses.replace(config, batch_size=6, devices=devices)

    shares = [list(batches(cache, shared, 2, rank)) for rank in range(devices)]

    wholes = list(batches(cache, dataclasses.replace(shared, devices=1), 2))
    assert len({len(of_rank) for of_rank in shares}) == 1
    assert all(len(share.images) >= 2 for of_rank in shares for share in of_rank)
    drawn = [_interleaved([of_rank[i] for of_rank in shares]) for i in range(len(shares[0]))]
    assert [len(images) for images in drawn] == [share.whole for share in shares[0]]
    assert [image for images in drawn for image in images] == [
        image.tobytes() + labels.tobytes()
        for whole in wholes
        for image, labels in zip(whole.images, whole.labels, strict=True)
    ]


def test_an_epoch_is_drawn_again_exactly_and_the_next_differs(
    data: TrainingData, config: TrainingConfig
) -> None:
    assert _bytes(data, config, epoch=3) == _bytes(data, config, epoch=3)
    assert _bytes(data, config, epoch=3) != _bytes(data, config, epoch=4)
    assert _bytes(data, config, epoch=3) != _bytes(data, dataclasses.replace(config, seed=1), epoch=3)


def test_an_image_is_changed_anew_in_every_epoch(data: TrainingData, config: TrainingConfig) -> None:
    same = np.repeat(data.train.images[:1], 5, axis=0)
    five_of_one = dataclasses.replace(data.train, images=same)

    drawn = [
        image.tobytes() for epoch in (1, 2) for b in batches(five_of_one, config, epoch) for image in b.images
    ]

    assert len(set(drawn)) == 10


def test_augmentation_moves_labels_with_the_pixels_and_makes_no_new_index() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[20:44, 10:30] = 2
    labels[25:50, 40:60] = 9
    image = np.repeat(((labels > 0) * 200)[:, :, None], 3, axis=2).astype(np.uint8)

    for seed in range(30):
        moved, moved_labels = augment(image, labels, np.random.default_rng(seed))

        assert set(np.unique(moved_labels)) <= {0, 2, 9}
        is_bright = _threshold(moved)
        assert (is_bright == (moved_labels > 0)).mean() > 0.97
    assert not np.array_equal(moved_labels, labels)


def _many(data: TrainingData, images: int) -> Cache:
    """Repeat the photos until there are so many."""
    rows = np.arange(images) % len(data.train)
    items = tuple(data.train.items[row] for row in rows)
    return Cache(items, data.train.images[rows], data.train.labels[rows])


def _interleaved(shares: list[Batch]) -> list[bytes]:
    """Put the images of a batch back in their order from every device's share of them."""
    pairs = [list(zip(share.images, share.labels, strict=True)) for share in shares]
    return [
        share[place][0].tobytes() + share[place][1].tobytes()
        for place in range(len(pairs[0]))
        for share in pairs
        if place < len(share)
    ]


def _threshold(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    grey = image[:, :, 0].astype(int)
    return grey > (int(grey.max()) + int(grey.min())) / 2


def _bytes(data: TrainingData, config: TrainingConfig, *, epoch: int) -> list[bytes]:
    return [b.images.tobytes() + b.labels.tobytes() for b in batches(data.train, config, epoch)]
