"""Edges compared by hand, and with scipy's plain erosion and exact distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.analysis import BoundaryCounts
from core.imaging.boundaries import count_boundaries, tolerance_px, width_px

Mask = NDArray[np.uint8]


def box(size_hw: tuple[int, int], top: int, left: int, height: int, width: int) -> Mask:
    mask = np.zeros(size_hw, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def blobs(rng: np.random.Generator, size_hw: tuple[int, int]) -> Mask:
    smooth = ndimage.gaussian_filter(rng.normal(size=size_hw), rng.uniform(0.6, 3), mode="constant")
    return (smooth > np.quantile(smooth, rng.uniform(0.3, 0.98))).astype(np.uint8)


def plainly_counted(truth: Mask, prediction: Mask, width: int, tolerance: float) -> BoundaryCounts:
    bands, contours = [], []
    for mask in (truth, prediction):
        square = np.ones((3, 3), bool)
        bands.append((mask > 0) & ~ndimage.binary_erosion(mask, square, iterations=width))
        contours.append((mask > 0) & ~ndimage.binary_erosion(mask))
    near = 0
    for one, other in (contours, contours[::-1]):
        if other.any():
            near += np.count_nonzero(ndimage.distance_transform_edt(~other)[one] <= tolerance)
    return BoundaryCounts(
        np.count_nonzero(bands[0] & bands[1]),
        np.count_nonzero(bands[0] | bands[1]),
        near,
        sum(map(np.count_nonzero, contours)),
    )


def test_a_square_shifted_by_two_pixels() -> None:
    truth, prediction = box((30, 30), 10, 10, 10, 10), box((30, 30), 10, 12, 10, 10)

    counts = count_boundaries(truth, prediction, 1, 1.5)

    # Rings of 36 pixels each: eight pixels of the top and of the bottom row lie on both.
    assert (counts.shared, counts.union) == (16, 56)
    # Of each contour nine pixels of the top and of the bottom row, and in the side that the other's rows
    # pass the two beside them.
    assert (counts.near, counts.contour) == (40, 72)
    assert counts.iou == 16 / 56
    assert counts.surface_dice == 40 / 72
    assert count_boundaries(truth, prediction, 1, 2.0).surface_dice == 1.0


def test_a_thin_scratch_off_by_a_pixel_is_no_overlap_but_near() -> None:
    truth, prediction = box((40, 200), 20, 10, 1, 180), box((40, 200), 21, 10, 1, 180)

    counts = count_boundaries(truth, prediction, width_px((40, 200)), tolerance_px((40, 200)))

    assert (counts.iou, counts.surface_dice) == (0.0, 1.0)


def test_what_is_empty_shares_nothing_and_both_empty_count_nothing() -> None:
    empty, square = np.zeros((20, 20), np.uint8), box((20, 20), 5, 5, 4, 4)

    assert count_boundaries(empty, square, 2, 2.0) == BoundaryCounts(0, 16, 0, 12)
    assert count_boundaries(square, empty, 2, 2.0) == BoundaryCounts(0, 16, 0, 12)
    assert count_boundaries(empty, empty, 2, 2.0) == BoundaryCounts(0, 0, 0, 0)
    assert (BoundaryCounts().iou, BoundaryCounts().surface_dice) == (None, None)


def test_a_region_cut_off_by_the_photo_has_an_edge_there() -> None:
    full = np.ones((10, 10), np.uint8)

    assert count_boundaries(full, full, 1, 2.0) == BoundaryCounts(36, 36, 72, 72)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.floats(2, 7.3))
def test_counts_equal_erosion_step_by_step_and_exact_distances(
    seed: int, width: int, tolerance: float
) -> None:
    rng = np.random.default_rng(seed)
    size_hw = (int(rng.integers(1, 40)), int(rng.integers(1, 60)))
    truth, prediction = blobs(rng, size_hw), blobs(rng, size_hw)

    assert count_boundaries(truth, prediction, width, tolerance) == plainly_counted(
        truth, prediction, width, tolerance
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_box_that_holds_both_masks_is_enough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = (np.pad(blobs(rng, (24, 31)), ((7, 3), (5, 11))) for _ in range(2))

    inside = count_boundaries(truth[7:-3, 5:-11], prediction[7:-3, 5:-11], 4, 3.3)

    assert inside == count_boundaries(truth, prediction, 4, 3.3)


@pytest.mark.parametrize(
    ("size_hw", "width", "tolerance"),
    [
        ((480, 640), 16, 4.0),
        ((768, 1024), 26, 6.4),
        ((1024, 2048), 11, 11.45),
        ((30, 40), 1, 2.0),
        ((4, 4), 1, 2.0),
    ],
)
def test_widths_follow_the_diagonal(size_hw: tuple[int, int], width: int, tolerance: float) -> None:
    assert width_px(size_hw) == width
    assert tolerance_px(size_hw) == pytest.approx(tolerance, abs=0.01)
