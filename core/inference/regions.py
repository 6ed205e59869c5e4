"""Single regions to count: from a network's centres and offsets, or from a label map alone.

Centres given back are in image pixels, x right and y down from the top left pixel's corner.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.objects import LEAST_SHARE

# Cheng et al. 2020 (arXiv 1911.10194): how centres are read off the heat map.
CENTRE_THRESHOLD = 0.1
SUPPRESSION_SIDE_PX = 7
MAX_CENTRES = 200

MAX_REGIONS = 65_535  # what uint16 can number
_CHUNK_DISTANCES = 1 << 18  # 1 MB of float32: stays in the processor's cache
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class Region:
    """One single thing that was found.

    class_index: 1 and up. pixels: how many it covers; share: of the image, 0..1. centre_xy: in image
    pixels. score: 0..1, how sure the network is of it; None where nothing is known about that.
    """

    class_index: int
    pixels: int
    share: float
    centre_xy: tuple[float, float]
    score: float | None


@dataclass(frozen=True)
class Regions:
    """What was found in an image: the regions, largest first, and where each one lies.

    number_map: uint16 (H, W); i where ``regions[i - 1]`` lies, 0 where there is none.
    """

    regions: tuple[Region, ...]
    number_map: NDArray[np.uint16] = field(repr=False)


def regions_by_centres(
    label_map: NDArray[np.uint8],
    logits: NDArray[np.float32],
    centres: NDArray[np.float32],
    offsets: NDArray[np.float32],
    *,
    least_share: float = 0.0,
) -> Regions:
    """Group foreground pixels by the centre that each one's offset points to.

    A region's class is the most frequent one of its pixels, the lowest on a tie; ``label_map`` may show
    another one at a few of them. Its score is the heat at its centre times the mean probability of its
    class over its pixels. The grouping is done at the network's size; at the label map's size a region
    covers the pixels nearest to those, as far as they are foreground there.

    Args:
        label_map: uint8 (H, W) of any size, such as ``predict_map`` gives of ``logits``.
        logits: (C, h, w).
        centres: (h, w), about 1 at the centre of a region and 0 far from any.
        offsets: (2, h, w), pixels of the network's size, down and right, from each pixel to the centre.
        least_share: of the image; smaller regions are left out.

    Raises:
        ValueError: the last three are not of one size.

    Source: Cheng et al. 2020 (arXiv 1911.10194), section 3.2.
    """
    if centres.ndim != 2 or logits.shape[1:] != centres.shape or offsets.shape != (2, *centres.shape):
        raise ValueError(f"{logits.shape}, {centres.shape}, {offsets.shape} are not of one size")
    label_map_of_logits = logits.argmax(axis=0)
    rows, columns = np.nonzero(label_map_of_logits)
    peaks_yx, heats = find_centres(centres)
    if not rows.size or not heats.size:
        return Regions((), np.zeros(label_map.shape, np.uint16))
    targets_yx = np.stack([rows, columns], axis=1) + offsets[:, rows, columns].T
    owners = _nearest(targets_yx.astype(np.float32), peaks_yx)
    classes = _majority(owners, label_map_of_logits[rows, columns], heats.size)
    scores = heats.clip(0, 1) * _mean_probabilities(logits[:, rows, columns], owners, classes)
    numbers = np.zeros(centres.shape, np.uint16)
    numbers[rows, columns] = owners + 1
    number_map = spread(numbers, label_map)
    pixels = _counts(number_map, heats.size)
    centres_yx = (peaks_yx + 0.5) * np.divide(label_map.shape, centres.shape)
    found = [
        Region(
            int(classes[i]), n, n / label_map.size, (float(centres_yx[i, 1]), float(centres_yx[i, 0])), score
        )
        for i, (n, score) in enumerate(zip(pixels.tolist(), scores.tolist(), strict=True))
    ]
    return _largest_first(found, number_map, least_share)


def regions_by_components(
    label_map: NDArray[np.uint8],
    confidence: NDArray[np.uint8] | None = None,
    *,
    least_share: float = LEAST_SHARE,
) -> Regions:
    """Take the connected pixels of a class, corners too, for one region.

    For networks that give classes alone: touching things of one class count as one, and one thing in two
    parts as two. A region's centre is the mean of its pixels, its score the mean confidence.

    Args:
        label_map: uint8 (H, W).
        confidence: uint8 (h, w) of any size, the winning class's probability times 255, such as
            ``predict_map`` gives. Without it scores are None.
        least_share: of the image; smaller regions are left out.
    """
    number_map = np.zeros(label_map.shape, np.int32)
    found: list[Region] = []
    for class_index, mask, (x, y) in _class_masks(label_map):
        count, labels, stats, centroids_xy = cv2.connectedComponentsWithStats(mask, connectivity=8)
        pixels = stats[:, cv2.CC_STAT_AREA]
        kept = 1 + np.flatnonzero(pixels[1:] >= least_share * label_map.size)  # 0 is what is not of it
        table = np.zeros(count, np.int32)
        table[kept] = len(found) + 1 + np.arange(len(kept))
        number_map[y : y + mask.shape[0], x : x + mask.shape[1]] += table[np.asarray(labels, np.int32)]
        centres_xy = (centroids_xy[kept] + (x + 0.5, y + 0.5)).tolist()
        found += [
            Region(class_index, n, n / label_map.size, (cx, cy), None)
            for n, (cx, cy) in zip(pixels[kept].tolist(), centres_xy, strict=True)
        ]
    if confidence is not None:
        scores = _mean_confidences(number_map, confidence, found)
        found = [replace(region, score=score) for region, score in zip(found, scores, strict=True)]
    return _largest_first(found, number_map, least_share)


def in_pixels_of(regions: Regions, size_wh: tuple[int, int]) -> Regions:
    """Give regions of a shrunk image with pixels and centres of the image at (W, H).

    Their pixels are then as exact as the shares are; the number map stays as small as it is.
    """
    width, height = size_wh
    right, down = width / regions.number_map.shape[1], height / regions.number_map.shape[0]
    found = (
        replace(
            region,
            pixels=max(1, round(region.share * width * height)),
            centre_xy=(region.centre_xy[0] * right, region.centre_xy[1] * down),
        )
        for region in regions.regions
    )
    return Regions(tuple(found), regions.number_map)


def spread(number_map: NDArray[Any], label_map: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Bring region numbers (h, w) to the size of a label map (H, W), 0 where that shows background.

    Where the sizes differ the edges do too, by up to half a pixel of the smaller map, so the numbers
    first grow by one pixel.
    """
    grown = number_map.astype(np.uint16, copy=False)
    if number_map.shape != label_map.shape:
        for shape in (cv2.MORPH_CROSS, cv2.MORPH_RECT):  # from the sides before the corners
            wider = cv2.dilate(grown, cv2.getStructuringElement(shape, (3, 3)))
            grown = np.where(grown > 0, grown, wider)
    size_wh = (label_map.shape[1], label_map.shape[0])
    spread_map = np.asarray(cv2.resize(grown, size_wh, interpolation=cv2.INTER_NEAREST_EXACT), np.uint16)
    spread_map[label_map == 0] = 0
    return spread_map


def find_centres(centres: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the peaks of a heat map (h, w), the hottest first, at most MAX_CENTRES.

    A peak is the hottest of the 7 x 7 pixels around it and hotter than the threshold; equally hot
    neighbours are one peak in their middle.

    Returns:
        Rows and columns float32 (K, 2) and heats float32 (K,).
    """
    window = np.ones((SUPPRESSION_SIDE_PX, SUPPRESSION_SIDE_PX), np.uint8)
    is_peak = (centres == cv2.dilate(centres, window)) & (centres > CENTRE_THRESHOLD)
    count, labels, _, centroids_xy = cv2.connectedComponentsWithStats(is_peak.view(np.uint8))
    heats = np.zeros(count, np.float32)
    heats[labels[is_peak]] = centres[is_peak]  # neighbouring peaks are equally hot, else one were none
    hottest = np.argsort(-heats[1:], kind="stable")[:MAX_CENTRES] + 1
    return centroids_xy[hottest, ::-1].astype(np.float32), heats[hottest]


def _nearest(points_yx: NDArray[np.float32], centres_yx: NDArray[np.float32]) -> NDArray[np.intp]:
    """Give the index of the centre nearest to each point (P, 2), the first one on a tie."""
    step = max(1, _CHUNK_DISTANCES // len(centres_yx))
    squares = (centres_yx**2).sum(axis=1)
    owners = np.empty(len(points_yx), np.intp)
    for start in range(0, len(points_yx), step):
        # |p - c|^2 without |p|^2, which is the same for all centres.
        distances = points_yx[start : start + step] @ (-2 * centres_yx.T)
        distances += squares
        distances.argmin(axis=1, out=owners[start : start + step])
    return owners


def _majority(owners: NDArray[np.intp], classes: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Give each owner's most frequent class, the lowest on a tie; 0 for one that owns nothing."""
    votes = np.bincount(owners * 256 + classes, minlength=count * 256)  # class indices are uint8
    return votes.reshape(count, 256).argmax(axis=1)


def _mean_probabilities(
    logits: NDArray[np.float32], owners: NDArray[np.intp], classes: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Give the mean softmax probability of each owner's class over its pixels; 0 if there are none.

    Args:
        logits: (C, P) of the foreground pixels.
        owners: (P,) of each pixel.
        classes: of each owner.
    """
    powers = np.exp(logits - logits.max(axis=0))
    probabilities = powers[classes[owners], np.arange(owners.size)] / powers.sum(axis=0)
    sums = np.bincount(owners, probabilities, classes.size)
    return sums / np.bincount(owners, minlength=classes.size).clip(1)


def _counts(number_map: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Count the pixels of numbers 1..count, strip by strip: bincount makes int64 of what it counts."""
    pixels = np.zeros(count + 1, np.intp)
    flat = number_map.ravel()
    for start in range(0, flat.size, _STRIP_PIXELS):
        pixels += np.bincount(flat[start : start + _STRIP_PIXELS], minlength=count + 1)
    return pixels[1:]


def _class_masks(label_map: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8], tuple[int, int]]]:
    """Give each foreground class that is there, its mask cut to its box, and the box's corner (x, y)."""
    histogram = cv2.calcHist([label_map], [0], None, [256], [0, 256]).ravel()
    for class_index in (np.flatnonzero(histogram[1:]) + 1).tolist():
        mask = (label_map == class_index).view(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        yield class_index, mask[y : y + height, x : x + width], (x, y)


def _mean_confidences(
    number_map: NDArray[np.int32], confidence: NDArray[np.uint8], found: Sequence[Region]
) -> list[float]:
    size_wh = (number_map.shape[1], number_map.shape[0])
    spread = np.asarray(cv2.resize(confidence, size_wh, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    is_inside = number_map > 0
    sums = np.bincount(number_map[is_inside], spread[is_inside], len(found) + 1)[1:]
    return [float(total / (255 * region.pixels)) for total, region in zip(sums, found, strict=True)]


def _largest_first(found: Sequence[Region], number_map: NDArray[Any], least_share: float) -> Regions:
    """Sort and number the regions anew; what is too small, or covers no pixel at all, is left out."""
    least_pixels = max(1, least_share * number_map.size)
    kept = [i for i, region in enumerate(found) if region.pixels >= least_pixels]
    kept = sorted(kept, key=lambda i: -found[i].pixels)[:MAX_REGIONS]
    table = np.zeros(len(found) + 1, np.uint16)
    table[1 + np.asarray(kept, np.intp)] = 1 + np.arange(len(kept))
    return Regions(tuple(found[i] for i in kept), table[number_map])
