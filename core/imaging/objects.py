"""Connected regions of truth and prediction, what they share, and which of them match."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.analysis import ObjectCounts
from core.imaging.boundaries import Mask

LEAST_SHARE = 1e-4  # of the image: 26 pixels of 512 x 512; specks below are no objects
LEAST_IOU = 0.5
_MAX_TABLE = 1 << 20  # cells; beyond, what few pairs share pixels are sorted for


@dataclass(frozen=True)
class Components:
    """The connected regions of a mask, corners too.

    numbers: int32 (H, W); i where region i - 1 lies, 0 outside. pixels: int64 (N,) of each region.
    """

    numbers: NDArray[np.int32] = field(repr=False)
    pixels: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True)
class Overlaps:
    """Which regions share pixels: int64 (P,) each, regions numbered from 0, every pair once."""

    truths: NDArray[np.int64] = field(repr=False)
    predictions: NDArray[np.int64] = field(repr=False)
    pixels: NDArray[np.int64] = field(repr=False)


def find_components(mask: Mask) -> Components:
    """Number the connected regions of a mask, uint8 (H, W) of 0 and 1."""
    count, numbers = cv2.connectedComponents(mask, connectivity=8)  # with its statistics ten times slower
    pixels = np.bincount(numbers[mask > 0], minlength=count)[1:]
    return Components(np.asarray(numbers, np.int32), pixels.astype(np.int64))


def find_overlaps(truth: Components, prediction: Components) -> Overlaps:
    """List the pairs of regions that share pixels."""
    columns = len(prediction.pixels) + 1
    is_shared = (truth.numbers > 0) & (prediction.numbers > 0)
    cells = truth.numbers[is_shared].astype(np.int64) * columns + prediction.numbers[is_shared]
    size = (len(truth.pixels) + 1) * columns
    if size <= _MAX_TABLE:
        counts = np.bincount(cells, minlength=size)
        pairs = np.flatnonzero(counts)
        pixels = counts[pairs]
    else:
        pairs, pixels = np.unique(cells, return_counts=True)
    return Overlaps(pairs // columns - 1, pairs % columns - 1, pixels.astype(np.int64))


def count_objects(
    truth: Components, prediction: Components, overlaps: Overlaps, least_pixels: float
) -> ObjectCounts:
    """Match regions one to one at an IoU of at least 0.5.

    Regions of fewer than ``least_pixels`` are left out on both sides: they are neither to be found nor
    false. A match is unique: two regions that both reach 0.5 with a third would each be exactly a half of
    it, so that they fill it, and then, as it is connected, they would touch and be one.

    Source: Kirillov et al. 2019 (arXiv 1801.00868), section 4.1, who take IoU > 0.5; at 0.5 COCO matches too.
    """
    is_truth, is_prediction = truth.pixels >= least_pixels, prediction.pixels >= least_pixels
    truths, predictions = overlaps.truths, overlaps.predictions
    unions = truth.pixels[truths] + prediction.pixels[predictions] - overlaps.pixels
    is_pair = is_truth[truths] & is_prediction[predictions] & (overlaps.pixels >= LEAST_IOU * unions)
    return ObjectCounts(int(is_truth.sum()), int(is_prediction.sum()), int(is_pair.sum()))
