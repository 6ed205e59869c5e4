"""How well edges agree: Boundary IoU, and the share of the edge within a tolerance.

A mask is uint8 (H, W) of 0 and 1. What lies outside the array counts as outside the mask, so a mask may be
cut to a box that holds all of it, and a region cut off by the photo's edge has an edge there.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.analysis import BoundaryCounts

Mask = NDArray[np.uint8]

# Cheng et al. 2021 use 2 % of the diagonal, and 0.5 % on Cityscapes, whose photos have 2,290 px: an error at
# an edge is as many pixels wide on a larger photo. Maps at display size never come near the limit.
WIDTH_SHARE, WIDTH_SHARE_OF_LARGE = 0.02, 0.005
LARGE_DIAGONAL_PX = 2_000
TOLERANCE_SHARE = 0.005  # of the diagonal: 6.4 px at 1024 x 768
LEAST_TOLERANCE_PX = 2.0
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def width_px(size_hw: tuple[int, int], share: float | None = None) -> int:
    """Give the width of a boundary of a photo of size (H, W), at least 1.

    Args:
        share: of the diagonal; by default 2 %, and 0.5 % where the diagonal is longer than 2,000 px.
    """
    diagonal = math.hypot(*size_hw)
    if share is None:
        share = WIDTH_SHARE_OF_LARGE if diagonal > LARGE_DIAGONAL_PX else WIDTH_SHARE
    return max(1, round(share * diagonal))


def tolerance_px(size_hw: tuple[int, int]) -> float:
    """Give how far apart two edges may lie in a photo of size (H, W) and still agree."""
    return max(LEAST_TOLERANCE_PX, TOLERANCE_SHARE * math.hypot(*size_hw))


def count_boundaries(truth: Mask, prediction: Mask, width: int, tolerance: float) -> BoundaryCounts:
    """Count the pixels of Boundary IoU and of the normalised surface Dice (NSD).

    The boundary of a mask are its pixels from which a pixel outside it is at most ``width`` away, counted
    in steps to any of the eight neighbours; ``shared`` and ``union`` are the intersection and the union of
    the two boundaries. The contour of a mask are its pixels with one of the four neighbours outside it;
    ``near`` are those whose centre lies at most ``tolerance`` from that of a contour pixel of the other
    mask. Where one mask is empty nothing is shared or near and the other counts in full; where both are,
    all counts are 0.

    Args:
        width: in pixels, 1 and up.
        tolerance: in pixels.

    Sources: Cheng et al. 2021 (arXiv 2103.16562), section 4; Nikolov et al. 2018 (arXiv 1809.04430), whose
    surface elements are pixels here.
    """
    bands = [cv2.subtract(mask, erode(mask, width)) for mask in (truth, prediction)]
    shared = cv2.countNonZero(cv2.bitwise_and(*bands))
    union = cv2.countNonZero(bands[0]) + cv2.countNonZero(bands[1]) - shared
    contours = [_contour(mask) for mask in (truth, prediction)]
    lengths = [cv2.countNonZero(contour) for contour in contours]
    near = 0
    if all(lengths):
        near = _near(contours[0], contours[1], tolerance) + _near(contours[1], contours[0], tolerance)
    return BoundaryCounts(shared, union, near, sum(lengths))


def erode(mask: Mask, steps: int) -> Mask:
    """Keep the pixels from which everything within some steps to any neighbour is of the mask."""
    return np.asarray(
        cv2.erode(mask, _square(steps), borderType=cv2.BORDER_CONSTANT, borderValue=(0,)), np.uint8
    )


def dilate(mask: Mask, steps: int) -> Mask:
    """Add the pixels within some steps to any neighbour."""
    return np.asarray(
        cv2.dilate(mask, _square(steps), borderType=cv2.BORDER_CONSTANT, borderValue=(0,)), np.uint8
    )


def _square(steps: int) -> Mask:
    return np.ones((2 * steps + 1, 2 * steps + 1), np.uint8)


def _contour(mask: Mask) -> Mask:
    inside = cv2.erode(mask, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return np.asarray(cv2.subtract(mask, inside), np.uint8)


def _near(contour: Mask, other: Mask, tolerance: float) -> int:
    around = cv2.dilate(other, _disk(tolerance), borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return cv2.countNonZero(cv2.bitwise_and(contour, around))


def _disk(radius: float) -> Mask:
    """Give the pixels whose centres lie within a radius of the middle one's."""
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)
