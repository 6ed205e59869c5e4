"""How a photo becomes the network's input: the one definition that training and inference share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.imaging.reading import decode_rgb


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of the network's input; it travels with every checkpoint and export.

    ``size`` is the side of the square in pixels; ``mean`` and ``std`` are per channel (R, G, B) on
    the scale 0..1: the network sees (pixel / 255 - mean) / std.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.size < 1 or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise FormatError(f"This preprocessing cannot be used: {self}.")

    @property
    def factor(self) -> NDArray[np.float32]:
        """Per channel: input = pixel * factor + offset, pixel in 0..255."""
        return (1 / (255 * np.asarray(self.std, np.float64))).astype(np.float32)

    @property
    def offset(self) -> NDArray[np.float32]:
        """Per channel: input = pixel * factor + offset, pixel in 0..255."""
        return (-np.asarray(self.mean, np.float64) / np.asarray(self.std, np.float64)).astype(np.float32)


def preprocessing_to_json(preprocessing: Preprocessing) -> dict[str, Any]:
    """Give the JSON form: ``{size, mean, std}``."""
    return {
        "size": preprocessing.size,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }


def preprocessing_from_json(value: Mapping[str, Any]) -> Preprocessing:
    """Read the JSON form.

    Raises:
        FormatError: a key is missing or not of its type.
    """
    try:
        mean, std = ((float(v[0]), float(v[1]), float(v[2])) for v in (value["mean"], value["std"]))
        return Preprocessing(int(value["size"]), mean, std)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"The preprocessing cannot be read: {error!r}.") from error


def network_image(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode an image file to the network's uint8 pixels (size, size, 3), RGB, upright, stretched.

    Training, evaluation and prediction all come through here, so they see the same pixels.

    Raises:
        ImageError: the file is not a photo that can be read.
    """
    return to_square(decode_rgb(data, at_least=size), size)


def to_square(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Stretch uint8 (H, W, 3) to (size, size, 3): area mean where it shrinks, linear where it grows."""
    height, width = rgb.shape[:2]
    if (height, width) == (size, size):
        return rgb
    if min(height, width) < size < max(height, width):
        # cv2's area filter turns linear, and aliases, as soon as one axis grows: shrink first.
        rgb = _resized(rgb, (min(width, size), min(height, size)), cv2.INTER_AREA)
        height, width = rgb.shape[:2]
    filter_ = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    return _resized(rgb, (size, size), filter_)


def to_input(rgb: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Turn an upright RGB image uint8 (H, W, 3) into the network's input float32 (3, size, size)."""
    square = to_square(rgb, preprocessing.size)
    pixels = square.astype(np.float32)
    pixels *= preprocessing.factor
    pixels += preprocessing.offset
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _resized(rgb: NDArray[np.uint8], size_wh: tuple[int, int], interpolation: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(rgb, size_wh, interpolation=interpolation), np.uint8)
