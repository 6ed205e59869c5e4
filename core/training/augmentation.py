"""Random changes of a training image and its labels: one warp and one table look-up per image."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_ROTATION = math.radians(10)
MIN_SCALE, MAX_SCALE = 0.75, 1.25
MAX_SHIFT = 0.06  # of the side
MIN_GAIN, MAX_GAIN = 0.75, 1.25
MAX_OFFSET = 25.5  # a fifth of the half range


def augment(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Flip, turn, scale and shift both; brighten or darken the image.

    What comes in from outside is the mirrored border. Labels move by nearest neighbour, so no new
    class index can appear. Left and right are taken as equal in meaning.

    Args:
        image: uint8 (S, S, 3); labels: uint8 (S, S). Neither is changed.
        rng: all randomness; it is asked for the same number of values whatever comes out.
    """
    matrix = _warp_matrix(image.shape[0], rng)
    warped = _warped(image, matrix, cv2.INTER_LINEAR)
    return np.asarray(cv2.LUT(warped, _brightness_table(rng)), np.uint8), _warped(
        labels, matrix, cv2.INTER_NEAREST
    )


def _warp_matrix(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Give the matrix (2, 3) from output pixels to input pixels, both about the image's centre."""
    flip = -1.0 if rng.random() < 0.5 else 1.0
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
    zoom = 1 / rng.uniform(MIN_SCALE, MAX_SCALE)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, size=2) * side
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    turn = np.array([[flip * cos, -flip * sin], [sin, cos]])
    centre = np.full(2, (side - 1) / 2)
    return np.column_stack([turn, centre + shift - turn @ centre])


def _brightness_table(rng: np.random.Generator) -> NDArray[np.uint8]:
    gain, offset = rng.uniform(MIN_GAIN, MAX_GAIN), rng.uniform(-MAX_OFFSET, MAX_OFFSET)
    values = 127.5 + gain * (np.arange(256) - 127.5) + offset
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _warped(pixels: NDArray[np.uint8], matrix: NDArray[np.float64], filter_: int) -> NDArray[np.uint8]:
    flags = filter_ | cv2.WARP_INVERSE_MAP
    size_wh = (pixels.shape[1], pixels.shape[0])
    warped = cv2.warpAffine(pixels, matrix, size_wh, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)
