"""The cache holds the photos as the network sees them, and batches come from the seed alone."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import Cancelled, FormatError, NotEnoughLabels, StorageError
from core.domain.labels import IGNORED, Category
from core.domain.training import DataVersion, LabelledPhoto, TrainingConfig, VersionItem
from core.models import registry
from core.models.preprocessing import network_image
from core.training.augmentation import AUGMENTATIONS, augment
from core.training.dataset import (
    Batch,
    Cache,
    CacheSource,
    TrainingData,
    batches,
    network_labels,
    prepare_cache,
    prepare_copies,
    prepare_data,
    preview_rows,
    truth_of,
)
from core.training.sampling import batch_count
from tests.training.builders import Photos, ignore


class CountedPhotos:
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
    photos, steps = CountedPhotos(data), []
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
    photos = CountedPhotos(data)
    source = CacheSource("hash", 64, {7: 1, 3: 2}, photos)
    prepare_cache(tmp_path, source, data.train.items, lambda done, total: None)

    prepare_cache(tmp_path, dataclasses.replace(source, **change), data.train.items, lambda done, total: None)

    assert photos.reads == 10


@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_a_damaged_cache_is_built_anew(damage: str, data: TrainingData, tmp_path: Path) -> None:
    photos = CountedPhotos(data)
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
    plain = dataclasses.replace(config, augmentation="none")

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


def test_an_epoch_draws_as_many_images_as_were_asked_for(data: TrainingData, config: TrainingConfig) -> None:
    more = dataclasses.replace(config, augmentation="none", epoch_images=12)

    drawn = [image.tobytes() for batch in batches(data.train, more, 1) for image in batch.images]

    times = [drawn.count(image.tobytes()) for image in data.train.images]
    assert sum(times) == 12 and set(times) == {2, 3}
    assert batch_count(5, more) == len(list(batches(data.train, more, 1)))


def test_balance_draws_images_of_a_rare_class_more_often(data: TrainingData, config: TrainingConfig) -> None:
    """Of 20 images one shows class 2: its factor is sqrt(20), which makes 200 * 4.47 / 23.47 = 38.1 draws."""
    cache = _many(data, 20)
    labels = np.where(cache.labels == 2, 0, cache.labels).astype(np.uint8)
    labels[4, :8, :8] = 2
    rare = dataclasses.replace(cache, labels=labels)
    balanced = dataclasses.replace(config, augmentation="none", epoch_images=200, balance=1.0)

    drawn = [labels for batch in batches(rare, balanced, 1) for labels in batch.labels]

    assert sum((labels == 2).any() for labels in drawn) in (38, 39)


def test_crops_and_growing_sides_come_out_as_square_batches(
    data: TrainingData, config: TrainingConfig
) -> None:
    cropped = dataclasses.replace(config, crop=32, cutmix=0.5, copy_paste=0.5, augmentation="strong")

    (first, *_) = batches(data.train, cropped, 1)

    assert first.images.shape == (2, 32, 32, 3) and first.labels.shape == (2, 32, 32)
    assert first.instances is None
    assert _bytes(data, cropped, epoch=2) == _bytes(data, cropped, epoch=2)


def test_sides_swap_in_mirrored_batches_where_the_categories_have_them(
    version: DataVersion, config: TrainingConfig, tmp_path: Path
) -> None:
    sided = dataclasses.replace(
        version, categories=(Category(7, "left door", "#E69F00"), Category(3, "right door", "#56B4E9"))
    )
    flips = dataclasses.replace(config, augmentation="flips")
    data = prepare_data(sided, flips, Photos(), tmp_path, ignore)
    plain = {
        image.tobytes(): labels for image, labels in zip(data.train.images, data.train.labels, strict=True)
    }
    swap = np.array([0, 2, 1], np.uint8)
    mirrored = 0

    for batch in batches(data.train, flips, 1):
        for image, labels in zip(batch.images, batch.labels, strict=True):
            if image.tobytes() in plain:
                assert np.array_equal(labels, plain[image.tobytes()])
            else:
                mirrored += 1
                assert np.array_equal(labels[:, ::-1], swap[plain[image[:, ::-1].tobytes()]])

    assert 0 < mirrored < 5


def test_an_ignored_category_is_255_and_another_cache(data: TrainingData, tmp_path: Path) -> None:
    channels = CacheSource("hash", 64, {7: 1}, data.read_item)
    ignoring = dataclasses.replace(channels, class_index={7: 1, 3: IGNORED})

    cache = prepare_cache(tmp_path, ignoring, data.train.items, ignore)

    assert np.array_equal(cache.labels == IGNORED, data.train.labels == 2)
    assert np.array_equal(cache.labels == 1, data.train.labels == 1)
    assert ignoring.key(data.train.items) != channels.key(data.train.items)


def test_a_class_to_ignore_that_the_labels_do_not_name_is_refused(
    version: DataVersion, config: TrainingConfig, tmp_path: Path
) -> None:
    wrong = dataclasses.replace(config, ignore_class="glass")

    with pytest.raises(FormatError, match="which class “glass” is"):
        prepare_data(version, wrong, Photos(), tmp_path, ignore)


def test_an_epoch_of_fewer_images_than_a_batch_needs_is_refused(
    version: DataVersion, config: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match="epoch_images must be 0, for each image once, or at least 2"):
        prepare_data(version, dataclasses.replace(config, epoch_images=1), Photos(), tmp_path, ignore)


def test_a_network_of_regions_sees_them_numbered(
    version: DataVersion, config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(registry.MODELS["three_layers"], has_regions=True)
    monkeypatch.setitem(registry.MODELS, "three_layers", spec)
    standard = dataclasses.replace(config, augmentation="standard", cutmix=0.5)

    data = prepare_data(version, standard, Photos(), tmp_path, ignore)

    assert data.train.instances is not None and data.valid.instances is not None
    assert np.array_equal(data.train.instances, data.train.labels), "dents are drawn first, then scratches"
    for batch in batches(data.train, standard, 1):
        assert batch.instances is not None
        assert np.array_equal(batch.instances > 0, batch.labels > 0)
        for labels, instances in zip(batch.labels, batch.instances, strict=True):
            numbers = set(np.unique(instances).tolist()) - {0}
            assert all(len(np.unique(labels[instances == number])) == 1 for number in numbers)


def test_the_set_is_expanded_once_with_copies_that_the_seed_decides(
    version: DataVersion, config: TrainingConfig, tmp_path: Path
) -> None:
    larger, photos = dataclasses.replace(config, expand_to=12), Photos()
    steps: list[tuple[int, int]] = []

    first = prepare_data(version, larger, photos, tmp_path, lambda *step: steps.append(step))
    built = len(list(tmp_path.iterdir()))
    again = prepare_data(version, larger, photos, tmp_path, ignore)
    other = prepare_data(version, dataclasses.replace(larger, seed=1), photos, tmp_path, ignore)
    plain = prepare_data(version, config, photos, tmp_path, ignore)

    train = first.train
    assert (len(train), len(first.valid), len(plain.train)) == (12, 3, 5)
    assert photos.reads == 8, "copies are made of what was decoded"
    assert (built, len(list(tmp_path.iterdir()))) == (3, 4)
    assert steps[-1] == (12, 12)
    assert np.array_equal(train.images[:5], plain.train.images), "originals are kept"
    assert len({image.tobytes() for image in train.images}) == 12
    assert [item.image_id for item in train.items] == [str(number % 5) for number in range(12)]
    assert np.array_equal(train.images, again.train.images)
    assert not np.array_equal(train.images[5:], other.train.images[5:])
    by_hand = augment(plain.train.sample(1), AUGMENTATIONS["standard"], np.random.default_rng((0, 1, 2, 5)))
    assert np.array_equal(train.images[11], by_hand.image) and np.array_equal(
        train.labels[11], by_hand.labels
    )
    assert sum(len(batch.images) for batch in batches(train, larger, 1)) == 12


def test_copies_without_augmentation_are_refused(
    data: TrainingData, config: TrainingConfig, tmp_path: Path
) -> None:
    plain = dataclasses.replace(config, expand_to=12, augmentation="none")

    with pytest.raises(FormatError, match="all copies are equal"):
        prepare_copies(tmp_path, data.train, "key", plain, ignore)


def test_a_set_larger_than_the_disk_is_refused_before_anything_is_written(
    data: TrainingData, config: TrainingConfig, tmp_path: Path
) -> None:
    pixel = np.zeros((), np.uint8)
    huge = Cache(
        data.train.items,
        np.broadcast_to(pixel, (5, 16384, 16384, 3)),
        np.broadcast_to(pixel, (5, 16384, 16384)),
    )

    with pytest.raises(
        StorageError, match=r"1,000,000 images of 16384 x 16384 pixels need 1,073,741.8 GB, and"
    ):
        prepare_copies(tmp_path / "new", huge, "key", dataclasses.replace(config, expand_to=10**6), ignore)

    assert list((tmp_path / "new").iterdir()) == []


def test_a_preview_shows_what_training_draws(data: TrainingData, config: TrainingConfig) -> None:
    images, labels = data.train.images, data.train.labels
    strong = dataclasses.replace(config, augmentation="strong", crop=32, cutmix=0.5)

    shown, painted = preview_rows(strong, ["dent", "scratch"], images, labels, 7, 9)
    again, _ = preview_rows(strong, ["dent", "scratch"], images, labels, 7, 9)
    other, _ = preview_rows(strong, ["dent", "scratch"], images, labels, 8, 9)
    still, still_labels = preview_rows(
        dataclasses.replace(config, augmentation="none"), [], images, labels, 7, 6
    )

    assert shown.shape == (9, 32, 32, 3) and painted.shape == (9, 32, 32)
    assert np.array_equal(shown, again) and not np.array_equal(shown, other)
    assert np.array_equal(still, images[[0, 1, 2, 3, 4, 0]])
    assert np.array_equal(still_labels, labels[[0, 1, 2, 3, 4, 0]])


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


def _bytes(data: TrainingData, config: TrainingConfig, *, epoch: int) -> list[bytes]:
    return [b.images.tobytes() + b.labels.tobytes() for b in batches(data.train, config, epoch)]
