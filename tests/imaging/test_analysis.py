"""What is counted of a whole photo: the classes it shows, all damage as one, and nothing that is ignored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from core.domain.analysis import ANY, ClassCounts, ErrorCounts
from core.domain.labels import IGNORED
from core.domain.scores import score
from core.imaging.analysis import analyse_photo
from core.imaging.boundaries import count_boundaries, tolerance_px, width_px
from core.imaging.confusion import confusion_matrix
from core.imaging.error_split import WIDTH_SHARE, split_errors
from core.imaging.objects import LEAST_SHARE, count_objects, find_components, find_overlaps


def label_maps(seed: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Truth and prediction of three classes, the second a noisy copy of the first."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(4, *size_hw)), (0, 4, 4))
    noisy = fields + ndimage.gaussian_filter(rng.normal(size=fields.shape), (0, 3, 3)) * rng.uniform(0, 1)
    fields[0] += 0.05
    noisy[0] += 0.05
    return np.stack([fields.argmax(axis=0), noisy.argmax(axis=0)]).astype(np.uint8)


def test_a_class_that_is_nowhere_has_no_counts() -> None:
    truth, prediction = np.zeros((2, 20, 30), np.uint8)
    truth[5:15, 5:15] = 2
    prediction[5:15, 5:15] = 4

    counts = analyse_photo("a", truth, prediction, np.full_like(truth, 255))

    assert counts.image_id == "a"
    assert sorted(counts.classes) == [ANY, 2, 4]
    assert counts.classes[2].errors == ErrorCounts(missed=100)
    assert counts.classes[4].errors == ErrorCounts(false=100)
    assert counts.classes[ANY].errors == ErrorCounts(right=100), "damage it is"
    assert counts.foreground.bins == [(1.0, 0.0, 100)]
    assert counts.everything.bins == [(1.0, 500 / 600, 600)]


def test_an_undamaged_photo_counts_for_the_reliability_alone() -> None:
    nothing = np.zeros((20, 30), np.uint8)

    counts = analyse_photo("a", nothing, nothing, np.full_like(nothing, 255))

    assert counts.classes == {}
    assert (sum(counts.foreground.pixels), sum(counts.everything.pixels)) == (0, 600)


def test_what_is_ignored_counts_nowhere() -> None:
    truth, prediction = np.zeros((2, 20, 30), np.uint8)
    truth[5:15, 5:15] = 1
    truth[5:15, 15:25] = IGNORED
    prediction[5:15, 5:25] = 1

    counts = analyse_photo("a", truth, prediction, np.full_like(truth, 255))

    assert counts.classes[1].errors == ErrorCounts(right=100)
    assert counts.classes[1].boundaries.iou == 1.0
    assert (sum(counts.foreground.pixels), sum(counts.everything.pixels)) == (100, 500)
    assert IGNORED not in counts.classes


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_each_class_is_counted_as_by_itself_on_the_whole_photo(seed: int) -> None:
    truth, prediction = label_maps(seed)
    size_hw = truth.shape

    counts = analyse_photo("a", truth, prediction, np.zeros_like(truth))

    figures = score(confusion_matrix(truth, prediction, 4))
    for index in range(4):
        masks = [
            (labels > 0 if index == ANY else labels == index).astype(np.uint8)
            for labels in (truth, prediction)
        ]
        components = [find_components(mask) for mask in masks]
        overlaps = find_overlaps(*components)
        alone = ClassCounts(
            count_boundaries(*masks, width_px(size_hw), tolerance_px(size_hw)),
            count_objects(*components, overlaps, LEAST_SHARE * truth.size),
            split_errors(*components, overlaps, width_px(size_hw, WIDTH_SHARE), (True, True, True, True)),
        )
        found = counts.classes.get(index, ClassCounts())
        assert found == alone
        iou = figures.any_iou if index == ANY else figures.iou[index]
        assert found.errors.iou == (None if np.isnan(iou) else iou)


def test_maps_of_several_sizes_are_refused() -> None:
    small, large = np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)

    with pytest.raises(ValueError, match="not of one size"):
        analyse_photo("a", small, small, large)
