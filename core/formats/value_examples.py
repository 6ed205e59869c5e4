"""A small picture of what a mask's value marks, for the person who is asked what it means."""

import base64
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError
from core.domain.mask_classes import FoundValue
from core.formats.mask_values import Labelled, Survey
from core.imaging.mask_values import MaskValues, as_colors, decode_mask_values
from core.imaging.overlay import encode_jpeg
from core.imaging.reading import decode_rgb

MAX_EXAMPLES = 40
SIDE = 96  # pixels of an example's long side
MARGIN = 0.4  # of the marked box, shown around it
DIMMED = 0.35  # brightness of what is not marked


def with_examples(
    values: Sequence[FoundValue], surveyed: Survey, photos: Sequence[Labelled]
) -> tuple[FoundValue, ...]:
    """Give the values with examples, as "data:" addresses, if any of them has to be asked about.

    Args:
        surveyed: of the masks of ``photos``, in their order.
    """
    if all(value.is_known for value in values):
        return tuple(values)
    shown = [replace(value, example=_example(value, surveyed, photos)) for value in values[:MAX_EXAMPLES]]
    return (*shown, *values[MAX_EXAMPLES:])


def _example(value: FoundValue, surveyed: Survey, photos: Sequence[Labelled]) -> str:
    """Give the photo that shows most of a value, cut to it; "" where the photo cannot be shown."""
    number = int(value.key[1:], 16) if value.key.startswith("#") else int(value.key)
    photo = photos[surveyed.examples[number]]
    assert photo.mask is not None, "only photos with masks are surveyed"
    try:
        marked = _marked(decode_mask_values(photo.mask()), number, is_color=surveyed.is_color)
        rgb = decode_rgb(photo.image.read())
    except (OSError, FormatError):
        return ""
    if not marked.any() or rgb.shape[:2] != marked.shape:
        return ""
    rows, columns = _around(marked)
    picture = _small(rgb[rows, columns], marked[rows, columns])
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture, 75)).decode("ascii")


def _marked(picture: MaskValues, number: int, *, is_color: bool) -> NDArray[np.bool_]:
    if is_color:
        return np.asarray(as_colors(picture) == number, np.bool_)
    return np.asarray((picture.values >> 16 if picture.is_color else picture.values) == number, np.bool_)


def _around(marked: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Give the rows and columns of what is marked, with some of what lies around."""
    height, width = marked.shape
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    margin = max(int(MARGIN * max(bottom - top, right - left)), SIDE // 4)
    return (
        slice(max(0, top - margin), min(height, bottom + margin)),
        slice(max(0, left - margin), min(width, right + margin)),
    )


def _small(rgb: NDArray[np.uint8], marked: NDArray[np.bool_]) -> NDArray[np.uint8]:
    height, width = marked.shape
    factor = min(1.0, SIDE / max(height, width))
    size_wh = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA)
    share = cv2.resize(marked.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    light = DIMMED + (1 - DIMMED) * share[:, :, None]
    return np.rint(small * light).astype(np.uint8)
