"""From logits to a label map and its confidence at any size, without holding all classes at that size."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.overlay import display_size_hw

_STRIP_PIXELS = 1 << 16  # 256 kB of float32: the few planes of a strip stay in the processor's cache


def predict_map(
    logits: NDArray[np.float32], size_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upsample logits and decide each pixel's class.

    Bilinear with half-pixel centres (cv2.INTER_LINEAR, torch's align_corners=False), done per
    class in strips of rows, so that C x H x W floats never exist at full size.

    Args:
        logits: float32 (C, h, w), 1 <= C <= 256.
        size_hw: the size (H, W) of the label map.

    Returns:
        The label map uint8 (H, W): argmax over the classes, the lowest class on a tie. And the
        confidence uint8 (h2, w2): the winning class's softmax probability times 255, of the same
        shape or shrunk to a long side of 1024.
    """
    if logits.ndim != 3 or not 1 <= logits.shape[0] <= 256 or min(size_hw) < 1:
        raise ValueError(f"cannot upsample logits {logits.shape} to {size_hw}")
    logits = np.ascontiguousarray(logits, np.float32)
    if display_size_hw(size_hw) == size_hw:
        return _both(logits, size_hw)
    return _label_map(logits, size_hw), _confidence(logits, display_size_hw(size_hw))


def _both(
    logits: NDArray[np.float32], size_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give what the two below give, from logits upsampled once."""
    label_map, confidence = np.zeros(size_hw, np.uint8), np.empty(size_hw, np.uint8)
    for rows, upsampled in _strips(logits, size_hw):
        planes = [upsampled(channel) for channel in range(len(logits))]
        winner, best = label_map[rows], planes[0].copy()
        for channel, plane in enumerate(planes[1:], start=1):
            np.copyto(winner, channel, where=plane > best)
            np.maximum(plane, best, out=best)
        confidence[rows] = _winners_share(planes, best)
    return label_map, confidence


def _label_map(logits: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    label_map = np.zeros(size_hw, np.uint8)
    for rows, upsampled in _strips(logits, size_hw):
        winner, best = label_map[rows], upsampled(0)
        for channel in range(1, len(logits)):
            plane = upsampled(channel)
            np.copyto(winner, channel, where=plane > best)
            np.maximum(plane, best, out=best)
    return label_map


def _confidence(logits: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    confidence = np.empty(size_hw, np.uint8)
    for rows, upsampled in _strips(logits, size_hw):
        planes = [upsampled(channel) for channel in range(len(logits))]
        best = planes[0].copy()
        for plane in planes[1:]:
            np.maximum(plane, best, out=best)
        confidence[rows] = _winners_share(planes, best)
    return confidence


def _winners_share(planes: list[NDArray[np.float32]], best: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the softmax probability of the greatest logit times 255, rounded; the planes are used up."""
    total = np.zeros_like(best)
    for plane in planes:
        np.subtract(plane, best, out=plane)
        np.exp(plane, out=plane)
        total += plane
    return np.rint(255 / total)


class _Strip:
    """Rows of the upsampled logits: one class at a time, as float32 (rows, W)."""

    def __init__(self, logits: NDArray[np.float32], size_hw: tuple[int, int], rows: slice) -> None:
        height = logits.shape[1]
        source = (np.arange(rows.start, rows.stop) + 0.5) * (height / size_hw[0]) - 0.5
        source = np.clip(source, 0, height - 1)
        self._above = source.astype(np.intp)
        self._below = np.minimum(self._above + 1, height - 1)
        self._weight = (source - self._above).astype(np.float32)[:, None]
        self._logits, self._size_wh = logits, (size_hw[1], rows.stop - rows.start)

    def __call__(self, channel: int) -> NDArray[np.float32]:
        plane = self._logits[channel]
        above = plane[self._above]
        rows = above + self._weight * (plane[self._below] - above)
        return np.asarray(cv2.resize(rows, self._size_wh, interpolation=cv2.INTER_LINEAR), np.float32)


def _strips(logits: NDArray[np.float32], size_hw: tuple[int, int]) -> Iterator[tuple[slice, _Strip]]:
    step = max(1, _STRIP_PIXELS // size_hw[1])
    for start in range(0, size_hw[0], step):
        rows = slice(start, min(start + step, size_hw[0]))
        yield rows, _Strip(logits, size_hw, rows)
