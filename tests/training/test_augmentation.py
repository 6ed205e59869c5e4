"""Random changes of an image: labels move with their pixels, and nothing else changes them."""

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.domain.labels import IGNORED
from core.domain.sides import mirrored_classes
from core.training.augmentation import (
    AUGMENTATIONS,
    AugmentationSpec,
    Sample,
    augment,
    mirror_table,
    shrink,
)

SIDE = 64
STILL = AugmentationSpec("still")
MIRROR = mirror_table(mirrored_classes(["left", "right", "hood"]))


def drawn(seed: int = 0, side: int = SIDE) -> Sample:
    """Draw smooth colours, and blocks of labels 0..3 and IGNORED; an instance is a block."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC
    )
    blocks = rng.choice([0, 1, 2, 3, IGNORED], (4, 4)).astype(np.uint8)
    blocks[0, :3] = 0, 1, IGNORED
    labels = np.repeat(np.repeat(blocks, side // 4, 0), side // 4, 1)
    numbers = np.arange(1, 17, dtype=np.uint8).reshape(4, 4)
    instances = np.repeat(np.repeat(numbers, side // 4, 0), side // 4, 1)
    return Sample(image, labels, np.where((labels > 0) & (labels < IGNORED), instances, 0).astype(np.uint8))


def as_before(sample: Sample, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Do what "standard" did from the first version on, written down once more."""
    side = len(sample.labels)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    angle = rng.uniform(-math.radians(10), math.radians(10))
    zoom = 1 / rng.uniform(0.75, 1.25)
    shift = rng.uniform(-0.06, 0.06, size=2) * side
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    turn = np.array([[flip * cos, -flip * sin], [sin, cos]])
    centre = np.full(2, (side - 1) / 2)
    matrix = np.column_stack([turn, centre + shift - turn @ centre])
    gain, offset = rng.uniform(0.75, 1.25), rng.uniform(-25.5, 25.5)
    table = np.rint(127.5 + gain * (np.arange(256) - 127.5) + offset).clip(0, 255).astype(np.uint8)
    image, labels = (
        cv2.warpAffine(
            pixels,
            matrix,
            (side, side),
            flags=filter_ | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for pixels, filter_ in ((sample.image, cv2.INTER_LINEAR), (sample.labels, cv2.INTER_NEAREST))
    )
    return table[image], labels


def test_standard_is_what_it_always_was() -> None:
    sample = drawn()

    for seed in range(40):
        now = augment(sample, AUGMENTATIONS["standard"], np.random.default_rng(seed))
        image, labels = as_before(sample, np.random.default_rng(seed))

        assert np.abs(now.image.astype(int) - image).max() <= 1, "but for a tie in rounding"
        assert (now.image == image).mean() > 0.999
        assert np.array_equal(now.labels, labels)


def test_none_gives_the_sample_back_and_asks_for_no_randomness() -> None:
    sample, rng = drawn(), np.random.default_rng(0)

    same = augment(sample, AUGMENTATIONS["none"], rng)

    assert same.image is sample.image and same.labels is sample.labels
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("crop", [0, 32])
def test_every_policy_is_drawn_again_exactly_and_makes_no_new_label(name: str, crop: int) -> None:
    sample, spec = drawn(), AUGMENTATIONS[name]
    before = [sample.image.tobytes(), sample.labels.tobytes()]
    changed = 0

    for seed in range(25):
        once, again = (
            augment(sample, spec, np.random.default_rng(seed), crop=crop, mirror=MIRROR) for _ in range(2)
        )

        assert once.image.shape == (crop or SIDE, crop or SIDE, 3) and once.image.dtype == np.uint8
        assert np.array_equal(once.image, again.image) and np.array_equal(once.labels, again.labels)
        assert once.instances is not None and once.instances.shape == once.labels.shape
        assert set(np.unique(once.labels)) <= set(np.unique(sample.labels))
        is_region, is_damage = once.instances > 0, (once.labels > 0) & (once.labels < IGNORED)
        assert is_damage[is_region].all(), "what the border mirrors is damage, but of no region"
        assert spec.moves or np.array_equal(is_region, is_damage)
        changed += crop == 0 and once.image.tobytes() != before[0]
    assert [sample.image.tobytes(), sample.labels.tobytes()] == before, "it is not changed in place"
    assert changed >= (0 if name == "none" or crop else 10)


@pytest.mark.parametrize("name", [name for name, spec in AUGMENTATIONS.items() if spec.moves])
def test_labels_and_instances_move_with_the_pixels(name: str) -> None:
    """An image whose grey is its label, 60 apart, still tells the label after the same warp."""
    labels = drawn(3).labels
    labels = np.where(labels == IGNORED, 0, labels).astype(np.uint8)
    spec = replace(
        AUGMENTATIONS[name], contrast=(1, 1), brightness=0, saturation=(1, 1), lighting=0, blur=0, jpeg=0
    )
    grey, shown = np.repeat(labels[..., None] * np.uint8(60), 3, axis=2), 0

    for seed in range(30):
        moved = augment(Sample(grey, labels, labels), spec, np.random.default_rng(seed), crop=48)

        seen = np.rint(moved.image[..., 0] / 60)
        inner = cv2.erode((seen * 60 == moved.image[..., 0]).astype(np.uint8), np.ones((3, 3))) > 0
        assert inner.mean() > 0.3
        assert (seen == moved.labels)[inner].mean() > 0.995
        assert moved.instances is not None
        is_region = moved.instances > 0
        assert np.array_equal(moved.labels[is_region], moved.instances[is_region])
        shown += int(is_region.sum())
    assert shown > 10_000


@pytest.mark.parametrize(
    ("spec", "by_hand"),
    [
        (replace(STILL, flip=1), lambda pixels: pixels[:, ::-1]),
        (replace(STILL, vertical_flip=1), lambda pixels: pixels[::-1]),
        (replace(STILL, flip=1, vertical_flip=1), lambda pixels: pixels[::-1, ::-1]),
    ],
)
def test_flips_are_exact_and_sides_swap_where_the_picture_is_mirrored(
    spec: AugmentationSpec, by_hand: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    sample = drawn()
    swapped = np.choose(np.where(sample.labels == IGNORED, 4, sample.labels), [0, 2, 1, 3, IGNORED])
    is_mirrored = not (spec.flip and spec.vertical_flip)

    flipped = augment(sample, spec, np.random.default_rng(0), mirror=MIRROR)
    without_sides = augment(sample, spec, np.random.default_rng(0))

    assert np.array_equal(flipped.image, by_hand(sample.image))
    assert np.array_equal(flipped.labels, by_hand(swapped if is_mirrored else sample.labels))
    assert np.array_equal(without_sides.labels, by_hand(sample.labels))
    assert sample.instances is not None and flipped.instances is not None
    assert np.array_equal(flipped.instances, by_hand(sample.instances))


def test_quarter_turns_are_exact_and_keep_the_sides() -> None:
    sample = drawn()
    turns = {np.rot90(sample.labels, k).tobytes(): k for k in range(4)}
    seen: set[int] = set()

    for seed in range(30):
        turned = augment(
            sample, replace(STILL, quarter_turns=True), np.random.default_rng(seed), mirror=MIRROR
        )

        k = turns[turned.labels.tobytes()]
        assert np.array_equal(turned.image, np.rot90(sample.image, k))
        seen.add(k)
    assert seen == {0, 1, 2, 3}


def test_a_crop_is_a_window_of_the_image() -> None:
    sample = drawn()
    corners: set[int] = set()

    for seed in range(40):
        cut = augment(sample, STILL, np.random.default_rng(seed), crop=20)

        windows = np.lib.stride_tricks.sliding_window_view(sample.image, (20, 20, 3))[:, :, 0]
        (at,) = np.flatnonzero((windows == cut.image).all(axis=(2, 3, 4)))[:1]
        row, column = divmod(int(at), SIDE - 19)
        assert np.array_equal(cut.labels, sample.labels[row : row + 20, column : column + 20])
        corners.add(int(at))
    assert len(corners) > 20


@pytest.mark.parametrize("name", ["none", "standard"])
def test_half_of_the_crops_are_cut_around_damage(name: str) -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[50:53, 8:11] = 1
    labels[0:3] = IGNORED
    sample, spec = Sample(drawn().image, labels), AUGMENTATIONS[name]

    cuts = [augment(sample, spec, np.random.default_rng(seed), crop=16).labels for seed in range(2000)]

    assert 0.5 < np.mean([(cut == 1).any() for cut in cuts]) < 0.58, "half of them and the lucky ones"


def test_a_grid_bends_smoothly_and_not_far() -> None:
    rows, columns = np.mgrid[:128, :128]
    image = np.stack([columns, rows, columns], axis=-1).astype(np.uint8)
    bent = augment(
        Sample(image, np.zeros((128, 128), np.uint8)), replace(STILL, grid=1.0), np.random.default_rng(1)
    )

    moved = bent.image[8:-8, 8:-8].astype(int) - image[8:-8, 8:-8]

    assert 2 < np.abs(moved).max() <= math.ceil(0.04 * 128 * 1.3), "a cubic overshoots its knots a little"
    assert np.abs(np.diff(moved, axis=0)).max() <= 1 and np.abs(np.diff(moved, axis=1)).max() <= 1


def test_saturation_mixes_with_grey_and_light_adds_to_each_channel() -> None:
    sample = drawn()
    grey = augment(sample, replace(STILL, saturation=(0, 0)), np.random.default_rng(0)).image
    lit = augment(sample, replace(STILL, lighting=0.5), np.random.default_rng(0)).image

    luma = sample.image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey - luma[..., None]).max() <= 1
    offsets = (lit.astype(int) - sample.image)[(lit > 0).all(-1) & (lit < 255).all(-1)]
    assert np.ptp(offsets, axis=0).max() <= 1 and np.abs(offsets).max() > 1


def test_a_photo_policy_moves_nothing_and_blur_and_jpeg_take_detail_away() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    sample = Sample(noise, drawn(side=256).labels)

    blurred = augment(sample, replace(STILL, blur=1.0), np.random.default_rng(3)).image
    packed = augment(sample, replace(STILL, jpeg=1.0), np.random.default_rng(3)).image

    assert not AUGMENTATIONS["photo"].moves
    assert augment(sample, AUGMENTATIONS["photo"], np.random.default_rng(0)).labels is sample.labels
    for image in (blurred, packed):
        assert image.std() < noise.std() - 1
        assert np.abs(image.mean(axis=(0, 1)) - noise.mean(axis=(0, 1))).max() < 6, "colours stay in place"


def test_a_jpeg_keeps_red_red() -> None:
    red = np.full((32, 32, 3), (220, 30, 40), np.uint8)

    packed = augment(
        Sample(red, red[..., 0]), replace(STILL, jpeg=1.0), np.random.default_rng(0)
    ).image.reshape(-1, 3)

    assert np.abs(packed.mean(axis=0) - (220, 30, 40)).max() < 6


def test_shrinking_takes_area_means_and_labels_that_were_there() -> None:
    sample = drawn()

    small = shrink(sample, 32)

    means = sample.image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(small.image - means).max() <= 0.5
    assert np.array_equal(small.labels, sample.labels[::2, ::2]), "blocks of 16 stay blocks of 8"
    assert small.instances is not None and small.instances.shape == (32, 32)
    assert shrink(sample, SIDE) is sample


def test_a_table_that_changes_nothing_is_none_and_255_stays() -> None:
    assert mirror_table((0, 1, 2)) is None and mirror_table(()) is None
    assert MIRROR is not None
    assert MIRROR[:5].tolist() == [0, 2, 1, 3, 4] and MIRROR[IGNORED] == IGNORED
