"""Label maps drawn over photos, and both as files a browser shows."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from core.imaging.reading import decode_grey

Pixels = NDArray[np.uint8]

DISPLAY_SIDE = 1024  # long side, in pixels, of the maps that a browser gets
OUTLINE_SHARE = 1 / 400  # of the long side: 2 px at 800 px


def blend(
    rgb: Pixels, label_map: Pixels, colors: Sequence[str], opacity: float, *, outline: bool = False
) -> Pixels:
    """Lay the classes' colours over a photo.

    Args:
        rgb: uint8 (H, W, 3).
        label_map: uint8 (H, W) of class indices.
        colors: "#rrggbb" per class index. The first, background's, is ignored; an index beyond the
            list stays unpainted, as background does.
        opacity: 0 (nothing) to 1 (colour only) of the areas.
        outline: draw each region's inner edge fully opaque.

    Returns:
        A new uint8 (H, W, 3).
    """
    if rgb.shape[:2] != label_map.shape:
        raise ValueError(f"photo {rgb.shape[:2]} and label map {label_map.shape} differ in size")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie in 0..1, got {opacity}")
    table = _palette(colors)
    painted = cv2.LUT(cv2.merge([label_map] * 3), table[None])
    is_region = cv2.inRange(label_map, np.array(1), np.array(min(len(colors) - 1, 255)))
    mixed = cv2.addWeighted(rgb, 1 - opacity, painted, opacity, 0)
    result = rgb.copy()
    cv2.copyTo(mixed, is_region, result)
    if outline:
        cv2.copyTo(painted, cv2.bitwise_and(_edges(label_map), is_region), result)
    return result


def encode_jpeg(rgb: Pixels, quality: int = 90) -> bytes:
    """Encode uint8 (H, W, 3) as JPEG."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality, "RGB", "420")


def encode_index_png(label_map: Pixels, colors: Sequence[str]) -> bytes:
    """Encode a label map as a palette PNG: the pixels are its indices, exactly; index 0 is transparent.

    Args:
        label_map: uint8 (H, W).
        colors: "#rrggbb" per class index; indices beyond the list are black.
    """
    image = Image.fromarray(label_map)  # 8 bits, so that the values are kept whatever the palette holds
    image.putpalette(_palette(colors).tobytes(), "RGB")
    return _png(image, transparency=0)


def decode_index_png(data: bytes) -> Pixels:
    """Decode a palette PNG to its indices, uint8 (H, W).

    Raises:
        ImageError: it cannot be read.
    """
    return decode_grey(data)


def encode_grey_png(grey: Pixels) -> bytes:
    """Encode uint8 (H, W), a confidence map for example, as a grey PNG."""
    return _png(Image.fromarray(grey))


def _png(image: Image.Image, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1, **options)
    return file.getvalue()


def _palette(colors: Sequence[str]) -> Pixels:
    table = np.zeros((256, 3), np.uint8)
    for index, color in enumerate(colors):
        table[index] = tuple(bytes.fromhex(color.removeprefix("#")))
    return table


def _edges(label_map: Pixels) -> Pixels:
    """Mark, with 255, the pixels within an outline's width of another class."""
    width = max(1, round(max(label_map.shape) * OUTLINE_SHARE))
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    lowest, highest = cv2.erode(label_map, square), cv2.dilate(label_map, square)
    return np.array(cv2.compare(lowest, highest, cv2.CMP_NE), np.uint8)


def display_size_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Give the size in which maps of a photo of size (H, W) go to the browser; it never grows."""
    scale = min(1.0, DISPLAY_SIDE / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def at_display_size(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a label map (H, W) to its display size.

    By nearest neighbour, so no new class appears. Truth and prediction must both come from here:
    two ways of picking pixels would show errors that are none.
    """
    height, width = display_size_hw((labels.shape[0], labels.shape[1]))
    if (height, width) == labels.shape:
        return labels
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
