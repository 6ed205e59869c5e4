"""Regions come back as they were drawn, from exact heads, from noisy ones and from label maps alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from core.inference.regions import (
    find_centres,
    in_pixels_of,
    regions_by_centres,
    regions_by_components,
    spread,
)
from core.models.upsampling import predict_map

CLASSES = 4
SIGMA_PX = 3.0


@dataclass(frozen=True)
class Drawn:
    """What a faultless network would give for squares, and their truth."""

    numbers: NDArray[np.int64]  # (h, w), i where square i - 1 lies
    logits: NDArray[np.float32]
    centres: NDArray[np.float32]
    offsets: NDArray[np.float32]

    @property
    def label_map(self) -> NDArray[np.uint8]:
        return self.logits.argmax(axis=0).astype(np.uint8)


def test_three_touching_squares_are_three_regions() -> None:
    drawn = _draw([(1, 10, 10, 15), (1, 10, 25, 15), (2, 25, 10, 9)], side=64)

    found = regions_by_centres(drawn.label_map, drawn.logits, drawn.centres, drawn.offsets)

    assert [(r.class_index, r.pixels) for r in found.regions] == [(1, 225), (1, 225), (2, 81)]
    assert [r.centre_xy for r in found.regions] == [(17.5, 17.5), (32.5, 17.5), (14.5, 29.5)]
    assert found.number_map.dtype == np.uint16
    assert np.array_equal(found.number_map, drawn.numbers)
    # Logits 0 and 6 of four classes, and a heat of 1.
    probability = np.exp(6) / (np.exp(6) + 3)
    assert [r.score for r in found.regions] == pytest.approx([probability] * 3, abs=1e-6)


def test_by_components_the_touching_squares_of_one_class_are_one_region() -> None:
    drawn = _draw([(1, 10, 10, 15), (1, 10, 25, 15), (2, 25, 10, 9)], side=64)

    found = regions_by_components(drawn.label_map)

    assert [(r.class_index, r.pixels, r.score) for r in found.regions] == [(1, 450, None), (2, 81, None)]
    assert [r.centre_xy for r in found.regions] == [(25.0, 17.5), (14.5, 29.5)]
    assert np.array_equal(found.number_map, drawn.label_map), "the larger class is number 1 here"


def test_noise_on_all_heads_changes_edges_at_most() -> None:
    drawn = _draw([(1, 10, 10, 15), (1, 10, 25, 15), (2, 25, 10, 15)], side=64)
    rng = np.random.default_rng(0)

    found = regions_by_centres(
        drawn.label_map,
        drawn.logits + rng.normal(0, 1, drawn.logits.shape).astype(np.float32),
        drawn.centres + rng.uniform(-0.04, 0.04, drawn.centres.shape).astype(np.float32),
        drawn.offsets + rng.normal(0, 2, drawn.offsets.shape).astype(np.float32),
    )

    assert sorted(r.class_index for r in found.regions) == [1, 1, 2]
    for number in (1, 2, 3):
        truth = drawn.numbers == number
        guess = found.number_map == np.bincount(found.number_map[truth]).argmax()
        assert (truth & guess).sum() / (truth | guess).sum() > 0.9


def test_a_regions_class_is_that_of_most_of_its_pixels() -> None:
    drawn = _draw([(1, 10, 10, 15)], side=64)
    drawn.logits[:, 10:15, 10:25] = 0
    drawn.logits[3, 10:15, 10:25] = 6  # a third of the square

    found = regions_by_centres(drawn.label_map, drawn.logits, drawn.centres, drawn.offsets)

    assert [(r.class_index, r.pixels) for r in found.regions] == [(1, 225)]
    sure, unsure = np.exp(6) / (np.exp(6) + 3), 1 / (np.exp(6) + 3)
    assert found.regions[0].score == pytest.approx((2 * sure + unsure) / 3, abs=1e-6)


def test_a_score_is_the_heat_times_the_probability_but_no_more_than_that() -> None:
    drawn = _draw([(1, 10, 10, 15)], side=64)
    probability = np.exp(6) / (np.exp(6) + 3)

    for heat, expected in ((0.5, 0.5 * probability), (1.5, probability)):
        found = regions_by_centres(
            drawn.label_map, drawn.logits, drawn.centres * np.float32(heat), drawn.offsets
        )

        assert [r.score for r in found.regions] == pytest.approx([expected], abs=1e-6)


def test_without_damage_or_without_a_centre_there_are_no_regions() -> None:
    none, one = _draw([], side=32), _draw([(1, 4, 4, 9)], side=32)

    without_damage = regions_by_centres(none.label_map, none.logits, one.centres, one.offsets)
    without_centre = regions_by_centres(
        one.label_map, one.logits, one.centres * np.float32(0.09), one.offsets
    )
    without_classes = regions_by_components(none.label_map)

    for found in (without_damage, without_centre, without_classes):
        assert found.regions == ()
        assert found.number_map.shape == (32, 32)
        assert not found.number_map.any()


def test_one_pixel_is_a_region_unless_it_is_too_small() -> None:
    drawn = _draw([(2, 7, 31, 1)], side=32)
    heads = (drawn.label_map, drawn.logits, drawn.centres, drawn.offsets)

    for found in (regions_by_centres(*heads), regions_by_components(drawn.label_map, least_share=0)):
        assert [(r.class_index, r.pixels, r.centre_xy) for r in found.regions] == [(2, 1, (31.5, 7.5))]
        assert found.number_map[7, 31] == 1 == found.number_map.sum()
    assert regions_by_centres(*heads, least_share=0.01).regions == ()
    assert regions_by_components(drawn.label_map, least_share=0.01).regions == ()


def test_a_centre_that_no_pixel_points_to_is_no_region() -> None:
    drawn = _draw([(1, 10, 10, 9)], side=64)
    drawn.centres[50, 50] = 0.9

    found = regions_by_centres(drawn.label_map, drawn.logits, drawn.centres, drawn.offsets)

    assert [r.pixels for r in found.regions] == [81]


def test_grouping_is_that_of_the_nearest_centre_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(CLASSES, 40, 56)).astype(np.float32)
    offsets = rng.normal(0, 9, (2, 40, 56)).astype(np.float32)
    heat = cv2.GaussianBlur(rng.uniform(size=(40, 56)).astype(np.float32), (0, 0), 3)
    label_map = logits.argmax(axis=0).astype(np.uint8)

    found = regions_by_centres(label_map, logits, heat, offsets)

    peaks_yx, _ = find_centres(heat)
    places = np.stack(np.mgrid[:40, :56], axis=-1) + offsets.transpose(1, 2, 0)
    owners = np.linalg.norm(places[:, :, None] - peaks_yx, axis=-1).argmin(axis=-1)
    assert len(peaks_yx) > 5
    for number, region in enumerate(found.regions, start=1):
        owner = np.flatnonzero((peaks_yx[:, ::-1] + 0.5 == region.centre_xy).all(axis=1))
        assert np.array_equal(found.number_map == number, (owners == owner) & (label_map > 0))
    assert sum(r.pixels for r in found.regions) == (label_map > 0).sum() == (found.number_map > 0).sum()


def test_at_the_photos_size_regions_fill_the_label_map() -> None:
    drawn = _draw([(1, 10, 10, 15), (1, 10, 25, 15), (2, 40, 10, 9)], side=64)
    drawn.logits[1:] *= 6  # surer than background is, so the classes spread past the network's pixels
    label_map, _ = predict_map(drawn.logits, (480, 640))

    found = regions_by_centres(label_map, drawn.logits, drawn.centres, drawn.offsets)

    assert found.number_map.shape == (480, 640)
    assert (label_map > 0).sum() > 1.02 * (drawn.numbers > 0).mean() * label_map.size
    assert np.array_equal(found.number_map > 0, label_map > 0)
    assert [r.class_index for r in found.regions] == [1, 1, 2]
    assert [r.pixels for r in found.regions] == np.bincount(found.number_map.ravel())[1:].tolist()
    assert found.regions[2].centre_xy == pytest.approx((14.5 * 10, 44.5 * 7.5))
    first, second = (found.number_map == 1, found.number_map == 2)
    edge = 25 * 10  # where the two touching squares meet, in the photo's columns
    assert min(np.flatnonzero(first.any(axis=0)).max(), np.flatnonzero(second.any(axis=0)).max()) == edge - 1
    assert max(np.flatnonzero(first.any(axis=0)).min(), np.flatnonzero(second.any(axis=0)).min()) == edge


def test_equally_hot_neighbours_are_one_centre_and_a_lower_one_nearby_is_none() -> None:
    heat = np.zeros((40, 40), np.float32)
    heat[10, 10:12] = 0.8
    heat[12, 13] = 0.7  # within the window of the hotter one
    heat[30, 0] = 0.9
    heat[39, 39] = 0.1  # not above the threshold

    centres_yx, heats = find_centres(heat)

    assert centres_yx.tolist() == [[30, 0], [10, 10.5]]
    assert heats.tolist() == pytest.approx([0.9, 0.8])


def test_components_are_those_of_each_class_and_their_score_the_mean_confidence() -> None:
    label_map = np.zeros((6, 8), np.uint8)
    label_map[0:2, 0:3] = 1
    label_map[2, 3] = 1  # joined across a corner
    label_map[0:2, 3:5] = 2
    label_map[4, 5:8] = 2
    confidence = np.full((3, 4), 255, np.uint8)
    confidence[2] = 51

    found = regions_by_components(label_map, confidence)

    assert [(r.class_index, r.pixels) for r in found.regions] == [(1, 7), (2, 4), (2, 3)]
    assert [r.score for r in found.regions] == pytest.approx([1.0, 1.0, 0.2])
    assert found.regions[1].centre_xy == (4.0, 1.0)
    assert found.number_map.tolist()[2:5] == [
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 3, 3, 3],
    ]


def test_regions_of_a_shrunk_image_are_given_in_pixels_of_the_image() -> None:
    label_map = np.zeros((6, 8), np.uint8)
    label_map[0:2, 0:3] = 1
    label_map[5, 7] = 2

    found = in_pixels_of(regions_by_components(label_map), (80, 30))

    assert [(r.class_index, r.pixels) for r in found.regions] == [(1, 6 * 50), (2, 50)]
    assert [r.share for r in found.regions] == [6 / 48, 1 / 48]
    assert [r.centre_xy for r in found.regions] == [(15.0, 5.0), (75.0, 27.5)]
    assert found.number_map.shape == (6, 8)


def test_numbers_spread_over_a_larger_label_map_and_over_none_that_is_background() -> None:
    small = np.zeros((4, 6), np.uint8)
    small[1:3, 1:3], small[1:3, 3:5] = 1, 2
    label_map = np.zeros((40, 60), np.uint8)
    label_map[7:33, 7:53] = 5  # up to three pixels farther than the numbers

    found = spread(small, label_map)

    expected = np.zeros((40, 60), np.uint16)
    expected[7:33, 7:30], expected[7:33, 30:53] = 1, 2
    assert np.array_equal(found, expected)
    assert np.array_equal(spread(small, (small > 0).astype(np.uint8)), small)


def test_specks_are_no_components() -> None:
    label_map = np.zeros((512, 512), np.uint8)
    label_map[10:15, 10:15] = 1  # 25 pixels, just below one in ten thousand
    label_map[50:53, 50:59] = 1  # 27

    found = regions_by_components(label_map)

    assert [r.pixels for r in found.regions] == [27]
    assert found.number_map[12, 12] == 0


def test_heads_of_different_sizes_are_refused() -> None:
    drawn, other = _draw([], side=32), _draw([], side=16)

    with pytest.raises(ValueError, match="not of one size"):
        regions_by_centres(drawn.label_map, drawn.logits, other.centres, drawn.offsets)
    with pytest.raises(ValueError, match="not of one size"):
        regions_by_centres(drawn.label_map, drawn.logits, drawn.centres, other.offsets)


def _draw(squares: Sequence[tuple[int, int, int, int]], *, side: int) -> Drawn:
    """Draw squares (class, top, left, odd side), each with its heat and its offsets."""
    rows, columns = np.mgrid[:side, :side]
    numbers = np.zeros((side, side), np.int64)
    logits = np.zeros((CLASSES, side, side), np.float32)
    logits[0] = 6
    heat = np.zeros((side, side), np.float32)
    offsets = np.zeros((2, side, side), np.float32)
    for number, (class_index, top, left, length) in enumerate(squares, start=1):
        inside = (slice(top, top + length), slice(left, left + length))
        row, column = top + length // 2, left + length // 2
        numbers[inside] = number
        logits[0][inside], logits[class_index][inside] = 0, 6
        distance2 = (rows - row) ** 2 + (columns - column) ** 2
        heat = np.maximum(heat, np.exp(-distance2 / (2 * SIGMA_PX**2))).astype(np.float32)
        offsets[0][inside], offsets[1][inside] = (row - rows)[inside], (column - columns)[inside]
    return Drawn(numbers, logits, heat, offsets)
