"""What is wrong about one class, by kind: along the edge, too much or too little, missed, invented."""

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.analysis import ErrorCounts
from core.imaging.boundaries import Mask, dilate
from core.imaging.objects import Components, Overlaps

WIDTH_SHARE = 0.01  # of the diagonal on either side of an edge; the default of Bernhard et al.'s program

Sides = tuple[bool, bool, bool, bool]


def split_errors(
    truth: Components, prediction: Components, overlaps: Overlaps, width: int, at_edge: Sides
) -> ErrorCounts:
    """Sort the pixels of truth or prediction into what is right and four kinds of error; each counts once.

    A labelled region is *found* if at least one of its pixels was predicted, a predicted region is *shared*
    if at least one of its pixels is labelled. Then

    - right: labelled and predicted;
    - missed: of labelled regions that were not found;
    - false: of predicted regions that are not shared;
    - boundary: of the other wrong pixels those within ``width`` of the edge of a found region: labelled ones
      from which a pixel outside the found regions is at most that many steps to any neighbour away, and
      predicted ones from which a pixel inside is;
    - extent: the rest: more or less of a found region than its edge explains.

    All regions count, however small. Where the photo ends there is no edge: nobody drew it.

    Args:
        truth, prediction: of one array (H, W) that holds all regions of both.
        width: in pixels, 1 and up.
        at_edge: whether the array's top, right, bottom and left side is the photo's.

    Source: the kinds are those of Bernhard et al., WACV 2024, "What's Outside the Intersection?"; theirs go
    by the contour that truth and intersection share, these by the whole contour of a found region.
    """
    is_found = _mentioned(overlaps.truths, len(truth.pixels))
    is_shared = _mentioned(overlaps.predictions, len(prediction.pixels))
    right = int(overlaps.pixels.sum())
    missed, false = int(truth.pixels[~is_found].sum()), int(prediction.pixels[~is_shared].sum())
    near = int(truth.pixels.sum() + prediction.pixels.sum()) - missed - false - 2 * right
    boundary = 0
    if near:
        found, shared = _regions(truth, is_found), _regions(prediction, is_shared)
        boundary = _count_boundary(found, shared, width, at_edge)
    return ErrorCounts(right, boundary, near - boundary, missed, false)


def _mentioned(numbers: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    is_mentioned = np.zeros(count, np.bool_)
    is_mentioned[numbers] = True
    return is_mentioned


def _regions(components: Components, is_chosen: NDArray[np.bool_]) -> Mask:
    if is_chosen.all():
        return (components.numbers > 0).view(np.uint8)
    table = np.concatenate([[False], is_chosen]).astype(np.uint8)
    return table[components.numbers]


def _count_boundary(found: Mask, shared: Mask, width: int, at_edge: Sides) -> int:
    outside = np.ones((found.shape[0] + 2, found.shape[1] + 2), np.uint8)
    outside[1:-1, 1:-1] = 1 - found
    top, right, bottom, left = at_edge
    for is_edge, side in ((top, np.s_[0]), (bottom, np.s_[-1]), (left, np.s_[:, 0]), (right, np.s_[:, -1])):
        if is_edge:
            outside[side] = 0
    inner = dilate(outside, width)[1:-1, 1:-1]
    outer = dilate(found, width)
    lost, added = cv2.subtract(found, shared), cv2.subtract(shared, found)
    return cv2.countNonZero(cv2.bitwise_and(lost, inner)) + cv2.countNonZero(cv2.bitwise_and(added, outer))
