"""All that is counted about the errors in one photo."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.analysis import ANY, ClassCounts, ImageCounts
from core.domain.labels import IGNORED
from core.imaging.boundaries import Mask, count_boundaries, tolerance_px, width_px
from core.imaging.calibration import count_reliability
from core.imaging.error_split import WIDTH_SHARE, Sides, split_errors
from core.imaging.objects import LEAST_SHARE, count_objects, find_components, find_overlaps

LabelMap = NDArray[np.uint8]


def analyse_photo(
    image_id: str, truth: LabelMap, prediction: LabelMap, confidence: NDArray[np.uint8]
) -> ImageCounts:
    """Count the errors of each class that truth or prediction shows, and of all damage as one class.

    What is IGNORED in the truth is background in both, and does not count for the reliability.

    Args:
        truth, prediction: uint8 (H, W) of class indices.
        confidence: uint8 (H, W), the winning class's probability times 255.

    Raises:
        ValueError: they differ in size.
    """
    if not truth.shape == prediction.shape == confidence.shape:
        raise ValueError(f"{truth.shape}, {prediction.shape} and {confidence.shape} are not of one size")
    is_counted = truth != IGNORED
    is_right = truth == prediction
    truth, prediction = truth * is_counted, prediction * is_counted
    is_foreground = (truth | prediction) > 0
    return ImageCounts(
        image_id,
        {index: _count_class(*masks, truth.shape) for index, masks in _class_masks(truth, prediction)},
        foreground=count_reliability(confidence, is_right, is_foreground),
        everything=count_reliability(confidence, is_right, is_counted),
    )


def _class_masks(truth: LabelMap, prediction: LabelMap) -> Iterator[tuple[int, tuple[Mask, Mask, Sides]]]:
    """Give what is there of each class, cut to the box that holds it, and of all of them."""
    x, y, w, h = cv2.boundingRect(cv2.bitwise_or(truth, prediction))
    truth_box, prediction_box = truth[y : y + h, x : x + w], prediction[y : y + h, x : x + w]
    present = sorted({*_values(truth_box), *_values(prediction_box)} - {0})
    for index in [ANY, *present] if present else []:
        if index == ANY:
            masks = (truth_box > 0).view(np.uint8), (prediction_box > 0).view(np.uint8)
        else:
            masks = (truth_box == index).view(np.uint8), (prediction_box == index).view(np.uint8)
        cx, cy, cw, ch = cv2.boundingRect(cv2.bitwise_or(*masks))
        part = np.s_[cy : cy + ch, cx : cx + cw]
        top, left = y + cy, x + cx
        sides = top == 0, left + cw == truth.shape[1], top + ch == truth.shape[0], left == 0
        yield index, (masks[0][part], masks[1][part], sides)


def _values(labels: LabelMap) -> list[int]:
    counts = cv2.calcHist([np.ascontiguousarray(labels)], [0], None, [256], [0, 256])
    return np.flatnonzero(counts).tolist()


def _count_class(truth: Mask, prediction: Mask, at_edge: Sides, size_hw: tuple[int, int]) -> ClassCounts:
    components = find_components(truth), find_components(prediction)
    overlaps = find_overlaps(*components)
    return ClassCounts(
        count_boundaries(truth, prediction, width_px(size_hw), tolerance_px(size_hw)),
        count_objects(*components, overlaps, LEAST_SHARE * size_hw[0] * size_hw[1]),
        split_errors(*components, overlaps, width_px(size_hw, WIDTH_SHARE), at_edge),
    )
