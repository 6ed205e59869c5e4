"""What is learnt of single regions: where their centres are, how far pixels lie from edges. No torch."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_REACH = 3  # of a centre's Gaussian in sigmas; beyond, it is below 1.2 % and left at 0


class RegionTargets(NamedTuple):
    """What a network with heads for regions should give for a batch of images.

    centres: float32 (N, 1, H, W), 1 at the pixel nearest to a region's centre, falling off as a Gaussian;
    where two overlap the larger value. offsets: float32 (N, 2, H, W), pixels (down, right) from a pixel
    to the centre of its region, 0 in no region. is_region: bool (N, H, W).
    """

    centres: NDArray[np.float32]
    offsets: NDArray[np.float32]
    is_region: NDArray[np.bool_]


def usual_sigma(size: int) -> float:
    """Give the Gaussian's sigma in pixels for images of this side: 8 at 512.

    Source: Cheng et al. 2020, arXiv 1911.10194, who take 8 pixels.
    """
    return 8 * size / 512


def region_targets(instances: NDArray[np.uint8] | NDArray[np.uint16], sigma: float) -> RegionTargets:
    """Turn maps of regions into what a network learns to find them by.

    A region's centre is the mean of its pixels, which may lie outside of it.

    Args:
        instances: uint8 or uint16 (N, H, W); 0 is no region, each other number of an image one region,
            in one piece or not. Numbers need not be consecutive.
        sigma: of the Gaussians, in pixels, above 0; see ``usual_sigma``.

    Source: Cheng et al. 2020, arXiv 1911.10194 (Panoptic-DeepLab).
    """
    images, height, width = instances.shape
    centres = np.zeros((images, 1, height, width), np.float32)
    offsets = np.zeros((images, 2, height, width), np.float32)
    for ids, heat, offset in zip(instances, centres[:, 0], offsets, strict=True):
        centre_yx = _centres(ids)
        for y, x in centre_yx[:, _numbers(ids)].T:
            _draw_centre(heat, float(y), float(x), sigma)
        positions = np.indices((height, width), dtype=np.float32, sparse=True)
        for to, centre, position in zip(offset, centre_yx, positions, strict=True):
            np.subtract(centre[ids], position, out=to)
            to[ids == 0] = 0
    return RegionTargets(centres, offsets, instances > 0)


def signed_distances(is_true: NDArray[np.bool_], is_counted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Measure how far the pixels of an image lie from a class's edge.

    Args:
        is_true: bool (H, W), True where the class is.
        is_counted: bool (H, W), False where it is not known what is there; True wherever is_true is.

    Returns:
        float32 (H, W): from a pixel to the nearest one on the other side, centre to centre less half a
        pixel, right within 2 %; negative inside the class. 0 where not counted, and everywhere where
        the class has no pixel or all of them.
    """
    is_other = ~is_true & is_counted
    if not (is_true.any() and is_other.any()):
        return np.zeros(is_true.shape, np.float32)
    outside, inside = (
        cv2.distanceTransform((~side).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5) - 0.5
        for side in (is_true, is_other)
    )
    return np.where(is_true, -inside, np.where(is_other, outside, 0)).astype(np.float32)


def _numbers(ids: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.int64]:
    return np.flatnonzero(np.bincount(ids.ravel())[1:]) + 1


def _centres(ids: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
    """Give the mean position (down, right) of each number's pixels, (2, largest number + 1)."""
    flat = ids.ravel()
    sizes = np.maximum(np.bincount(flat), 1)
    rows, columns = (np.broadcast_to(axis, ids.shape).ravel() for axis in np.indices(ids.shape, sparse=True))
    sums = np.stack([np.bincount(flat, axis) for axis in (rows, columns)])
    return (sums / sizes).astype(np.float32)


def _draw_centre(heat: NDArray[np.float32], y: float, x: float, sigma: float) -> None:
    # Round a whole pixel, as the paper's authors do: so each region has one pixel of exactly 1.
    middle = np.array([round(y), round(x)])
    reach = int(np.ceil(_REACH * sigma))
    low, high = np.maximum(middle - reach, 0), np.minimum(middle + reach + 1, heat.shape)
    down, right = (
        np.exp(-((np.arange(start, end) - at) ** 2) / (2 * sigma**2))
        for start, end, at in zip(low, high, middle, strict=True)
    )
    part = heat[low[0] : high[0], low[1] : high[1]]
    np.maximum(part, np.outer(down, right), out=part, casting="same_kind")
