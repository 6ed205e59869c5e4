"""What networks with heads for regions learn from, on maps small enough to check by eye."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.training.regions import region_targets, signed_distances, usual_sigma


def boxes(dtype: type = np.uint8) -> np.ndarray:
    """Draw two images of 40 x 40: regions 3 and 200 in the first, none in the second."""
    ids = np.zeros((2, 40, 40), dtype)
    ids[0, 4:9, 10:17] = 3  # centre (6, 13)
    ids[0, 30:34, 20:22] = 200  # centre (31.5, 20.5)
    return ids


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_offsets_point_to_the_mean_of_a_regions_pixels(dtype: type) -> None:
    targets = region_targets(boxes(dtype), sigma=2)

    assert targets.offsets.shape == (2, 2, 40, 40) and targets.offsets.dtype == np.float32
    assert targets.offsets[0, :, 4, 10].tolist() == [2, 3]
    assert targets.offsets[0, :, 8, 16].tolist() == [-2, -3]
    assert targets.offsets[0, :, 30, 21].tolist() == [1.5, -0.5]
    assert not targets.offsets[0][:, boxes()[0] == 0].any() and not targets.offsets[1].any()


def test_centres_are_gaussians_with_a_peak_of_1() -> None:
    centres = region_targets(boxes(), sigma=2).centres

    assert centres.shape == (2, 1, 40, 40) and centres.dtype == np.float32
    assert np.argwhere(centres[0, 0] == 1).tolist() == [[6, 13], [32, 20]]
    assert centres[0, 0, 6, 15] == pytest.approx(np.exp(-(2**2) / (2 * 2**2)))
    assert centres[0, 0, 7, 14] == pytest.approx(np.exp(-2 / (2 * 2**2)))
    assert centres[0, 0, 6, 20] == 0, "further away than three sigmas"
    assert not centres[1].any()


def test_where_two_centres_overlap_the_larger_value_counts() -> None:
    ids = np.zeros((1, 20, 20), np.uint8)
    ids[0, 10, 8], ids[0, 10, 11] = 1, 2

    centres = region_targets(ids, sigma=2).centres[0, 0]

    assert centres[10, 8] == centres[10, 11] == 1
    assert centres[10, 9] == pytest.approx(np.exp(-1 / 8))


def test_the_mask_holds_the_regions() -> None:
    is_region = region_targets(boxes(), sigma=2).is_region

    assert is_region.dtype == np.bool_ and np.array_equal(is_region, boxes() > 0)


def test_a_centre_may_lie_outside_of_its_region() -> None:
    ids = np.zeros((1, 30, 30), np.uint16)
    ids[0, 5:25, 5], ids[0, 5:25, 25] = 40_000, 40_000

    targets = region_targets(ids, sigma=1)

    assert targets.centres[0, 0, 14, 15] == 1 and not targets.is_region[0, 14, 15]
    assert targets.offsets[0, :, 5, 25].tolist() == [9.5, -10]


@given(ids=arrays(np.uint8, (2, 9, 11), elements=st.sampled_from([0, 0, 1, 5, 255])))
@settings(max_examples=50, deadline=None)
def test_every_pixel_of_a_region_points_to_one_place(ids: np.ndarray) -> None:
    targets = region_targets(ids, sigma=1.5)

    positions = np.indices((9, 11))
    for image, offsets in zip(ids, targets.offsets, strict=True):
        for number in set(np.unique(image)) - {0}:
            pointed = (positions + offsets)[:, image == number]
            mean = positions[:, image == number].mean(axis=1)
            assert pointed == pytest.approx(np.broadcast_to(mean[:, None], pointed.shape), abs=1e-5)
    assert targets.centres.max() == (1 if ids.any() else 0)


def test_sigma_grows_with_the_image() -> None:
    assert (usual_sigma(512), usual_sigma(256), usual_sigma(64)) == (8, 4, 1)


@given(
    is_true=arrays(np.bool_, (12, 9)),
    is_counted=arrays(np.bool_, (12, 9), elements=st.sampled_from([True, True, True, False])),
)
@settings(max_examples=50, deadline=None)
def test_distances_are_to_the_nearest_pixel_of_the_other_side(
    is_true: np.ndarray, is_counted: np.ndarray
) -> None:
    is_true &= is_counted

    distances = signed_distances(is_true, is_counted)

    assert distances.dtype == np.float32
    sides = (is_true, ~is_true & is_counted)
    if not all(side.any() for side in sides):
        assert not distances.any()
        return
    assert not distances[~is_counted].any()
    ys, xs = np.indices(is_true.shape)
    for (here, there), sign in zip((sides, sides[::-1]), (-1, 1), strict=True):
        for y, x in np.argwhere(here):
            exact = np.hypot(ys - y, xs - x)[there].min()
            assert sign * distances[y, x] + 0.5 == pytest.approx(exact, rel=0.02)
