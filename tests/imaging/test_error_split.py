"""Each wrong pixel is of one kind: by hand, by a plain count, and always adding up to the union."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.analysis import KINDS, ErrorCounts
from core.imaging.error_split import Sides, split_errors
from core.imaging.objects import find_components, find_overlaps

Mask = NDArray[np.uint8]
WHOLE: Sides = (True, True, True, True)


def painted(*boxes: tuple[int, int, int, int], size_hw: tuple[int, int] = (60, 80)) -> Mask:
    """Paint boxes given as (top, left, height, width)."""
    mask = np.zeros(size_hw, np.uint8)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = 1
    return mask


def split(truth: Mask, prediction: Mask, width: int, at_edge: Sides = WHOLE) -> ErrorCounts:
    components = find_components(truth), find_components(prediction)
    return split_errors(*components, find_overlaps(*components), width, at_edge)


def test_a_shift_is_an_error_of_the_boundary() -> None:
    counts = split(painted((10, 10, 20, 20)), painted((10, 12, 20, 20)), 2)

    assert counts == ErrorCounts(right=360, boundary=80)
    assert counts.mostly == "boundary"
    assert counts.iou == 360 / 440


def test_what_lies_beyond_the_band_is_extent() -> None:
    truth, prediction = painted((10, 10, 20, 20)), painted((10, 10, 20, 35))

    assert split(truth, prediction, 3) == ErrorCounts(right=400, boundary=60, extent=240)
    # The other way round: of 15 columns too few the three at the right edge are near it, and of the other
    # twelve the three rows at the top and the bottom.
    assert split(prediction, truth, 3) == ErrorCounts(right=400, boundary=3 * 20 + 12 * 6, extent=12 * 14)


def test_a_hole_in_a_found_region_is_extent() -> None:
    truth = painted((10, 10, 30, 30))
    prediction = truth.copy()
    prediction[20:30, 20:30] = 0

    assert split(truth, prediction, 5) == ErrorCounts(right=800, extent=100)


def test_whole_regions_are_missed_or_false_however_near() -> None:
    truth, prediction = painted((10, 10, 5, 5), (30, 30, 8, 8)), painted((10, 16, 5, 5), (30, 30, 8, 8))

    counts = split(truth, prediction, 10)

    assert counts == ErrorCounts(right=64, missed=25, false=25)
    assert counts.mostly is None, "neither is more than half"


def test_a_predicted_region_touching_two_labelled_ones_is_shared_by_both() -> None:
    truth, prediction = painted((10, 10, 10, 10), (10, 40, 10, 10)), painted((10, 10, 10, 40))

    assert split(truth, prediction, 4) == ErrorCounts(right=200, boundary=80, extent=120)


def test_where_the_photo_ends_there_is_no_edge() -> None:
    truth, prediction = painted((0, 0, 20, 80)), painted((10, 0, 10, 80))

    counts = split(truth, prediction, 3)

    assert counts == ErrorCounts(right=800, extent=800), "the top rows are far from the only edge"
    assert split(truth[:20], prediction[:20], 3, (True, True, False, True)) == counts
    assert split(truth[:20], prediction[:20], 3, (False, True, False, True)).boundary == 240


def test_nothing_is_nothing() -> None:
    counts = split(painted(), painted(), 3)

    assert counts == ErrorCounts()
    assert (counts.iou, counts.share("missed"), counts.mostly) == (None, None, None)


def plainly_split(truth: Mask, prediction: Mask, width: int) -> ErrorCounts:
    eight = np.ones((3, 3))
    (numbers, truths), (others, predictions) = ndimage.label(truth, eight), ndimage.label(prediction, eight)
    found, shared = np.zeros(truth.shape, bool), np.zeros(truth.shape, bool)
    for number in range(1, truths + 1):
        region = numbers == number
        found |= region & bool(prediction[region].any())
    for number in range(1, predictions + 1):
        region = others == number
        shared |= region & bool(truth[region].any())
    inner = ndimage.distance_transform_cdt(np.pad(found, width + 1, mode="edge"), "chessboard")
    inner = inner[width + 1 : -width - 1, width + 1 : -width - 1] <= width
    inner &= not found.all()  # then there is no edge, and scipy's distances mean nothing
    outer = ndimage.distance_transform_cdt(~found, "chessboard") <= width if found.any() else ~found
    lost, added = (truth > 0) & (prediction == 0), (prediction > 0) & (truth == 0)
    boundary = (lost & found & inner) | (added & shared & outer)
    extent = ((lost & found) | (added & shared)) & ~boundary
    masks = ((truth > 0) & (prediction > 0), boundary, extent, lost & ~found, added & ~shared)
    return ErrorCounts(*(int(mask.sum()) for mask in masks))


@settings(max_examples=80, deadline=None)
@example(3_622_677_920, 1)  # all of the photo is found
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_every_pixel_is_counted_once_and_as_a_plain_count_has_it(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    size_hw = (int(rng.integers(1, 40)), int(rng.integers(1, 50)))
    sigma, level = rng.uniform(0.4, 2.5), rng.uniform(-0.1, 0.3)
    base, noise = rng.normal(size=size_hw), rng.uniform(0, 2)
    truth, prediction = (
        np.uint8(ndimage.gaussian_filter(base + noise * rng.normal(size=size_hw), sigma) > level)
        for _ in "ab"
    )

    counts = split(truth, prediction, width)

    assert counts.union == np.count_nonzero(truth | prediction)
    assert counts == plainly_split(truth, prediction, width)
    if counts.union:
        shares = [counts.iou, *(counts.share(kind) for kind in KINDS)]
        assert sum(share for share in shares if share is not None) == pytest.approx(1, abs=1e-12)
